"""How a subscriber proves who they are."""

import enum


class Method(enum.IntEnum):
    """Authentication methods that a credential can be held against."""

    NONE = 0
    PAP = 1
    CHAP = 2
    MSCHAP = 3
    MSCHAPV2 = 4
    UNSUPPORTED = 5
    """A proof that cannot be read."""
    EAP = 6
    """No EAP method is served: refused with an EAP-Failure."""
