"""Property tests here are decided by behaviour, never by how long an example took."""

from hypothesis import settings

settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")
