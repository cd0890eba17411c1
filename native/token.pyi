"""Short authenticated tokens: numbers that leave the server and come back, sealed with truncated HMAC-SHA256."""

from typing import Final

TOKEN_SIZE: Final = 25

class TokenKey:
    def __init__(self, key: bytes) -> None:
        """key: 16 to 64 octets. Raises ValueError otherwise."""
    def seal(self, first: int, second: int, third: int) -> bytes:
        """A token of 25 octets over a 64-bit and two 32-bit numbers: version, numbers, 8 octets of HMAC-SHA256."""
    def open(self, token: bytes) -> tuple[int, int, int] | None:
        """The numbers; None when the token is not one sealed with this key. Constant-time."""
