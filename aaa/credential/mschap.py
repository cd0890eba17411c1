"""What MS-CHAP says to a supplicant that it refuses. Knows the text; knows no packet."""

import enum

from aaa.limits import MSCHAP_ERROR_OCTETS_MAX


class MsChapError(enum.IntEnum):
    """Codes of the E field (RFC 2433 §6, RFC 2759 §6)."""

    RESTRICTED_LOGON_HOURS = 646
    ACCT_DISABLED = 647
    PASSWD_EXPIRED = 648
    NO_DIALIN_PERMISSION = 649
    AUTHENTICATION_FAILURE = 691
    CHANGING_PASSWORD = 709


def format_mschap_error(error: int, challenge: bytes, *, retry: bool = False, message: str = "") -> bytes:
    """Text of MS-CHAP-Error behind its ident octet: `E=691 R=0 C=<hex> V=3 M=...`.

    challenge: 16 octets for MS-CHAPv2 (V=3, with M), 8 octets for MS-CHAPv1 (V=2, which has no M); fresh and random
    where `retry` allows another try with it. message: for the user; cut where the attribute would overflow.
    Raises ValueError for another challenge length.

    Source: RFC 2759 §6, RFC 2433 §6, RFC 2548 §2.1.5.
    """
    head = b"E=%d R=%d C=%s" % (error, retry, challenge.hex().upper().encode())
    if len(challenge) == 8:
        return head + b" V=2"
    if len(challenge) != 16:
        raise ValueError("an MS-CHAP challenge is 8 or 16 octets")
    head += b" V=3 M="
    text = message.encode("utf-8", "replace")[: MSCHAP_ERROR_OCTETS_MAX - len(head)]
    return head + text.decode("utf-8", "ignore").encode()
