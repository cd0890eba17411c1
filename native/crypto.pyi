"""MD4, DES and MS-CHAP through libcrypto's low-level functions (no legacy provider needed), and crypt(3)."""

def md4(data: bytes) -> bytes: ...
def nt_hash(password: bytes) -> bytes:
    """MD4 of the UTF-16LE form of a UTF-8 password; invalid UTF-8 is taken as Latin-1 (RFC 2759 §8.3)."""
def challenge_response(challenge: bytes, password_hash: bytes) -> bytes:
    """24 octets from an 8-octet challenge and a 16-octet hash (RFC 2759 §8.5, RFC 2433 A.5)."""
def challenge_hash(peer_challenge: bytes, authenticator_challenge: bytes, user_name: bytes) -> bytes:
    """8 octets (RFC 2759 §8.2)."""
def verify_mschap(challenge: bytes, response: bytes, password_hash: bytes) -> bool:
    """MS-CHAPv1 NT response, 24 octets. Constant-time."""
def verify_mschapv2(
    authenticator_challenge: bytes, peer_challenge: bytes, user_name: bytes, response: bytes, password_hash: bytes
) -> tuple[bytes, bytes, bytes] | None:
    """None on mismatch; else (authenticator response digest, 20 octets; send key, 16; receive key, 16), server's view
    (RFC 2759 §8.7, RFC 3079 §3.4)."""
def mschap_keys(password_hash: bytes) -> bytes:
    """Value of MS-CHAP-MPPE-Keys before hiding, LM part zero: 8 + 16 + 8 octets (RFC 2548 §2.4.1)."""
def verify_chap(identifier: int, password: bytes, challenge: bytes, response: bytes) -> bool:
    """CHAP with MD5 (RFC 1994). Constant-time."""
def equal(a: bytes, b: bytes) -> bool:
    """Constant-time comparison."""
def crypt(password: bytes, setting: bytes) -> bytes | None:
    """crypt(3) without the GIL; None when the setting is not understood."""
