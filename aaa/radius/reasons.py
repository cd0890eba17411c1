"""Why a packet was met with silence: every drop is counted under exactly one of these, a metric label."""

import enum


class DropReason(enum.IntEnum):
    """Causes of silence. The first seven are native.radius.FAULTS, by the same numbers."""

    NONE = 0
    TRUNCATED = 1
    """Longer than 4096 octets."""
    TOO_SHORT = 2
    LENGTH_FIELD = 3
    ATTRIBUTE_LENGTH = 4
    MESSAGE_AUTHENTICATOR_LENGTH = 5
    TOO_MANY_ATTRIBUTES = 6
    UNEXPECTED_CODE = 7
    """No request that this port serves."""
    UNKNOWN_SOURCE = 8
    """No [[nas]] covers the address, or none claims its NAS-Identifier."""
    TOO_LATE = 9
    """Waited longer than radius.response_budget."""
    RATE_LIMITED = 10
    BAD_AUTHENTICATOR = 11
    """Wrong secret or altered content: Request Authenticator or Message-Authenticator does not match."""
    MISSING_MESSAGE_AUTHENTICATOR = 12
    PROXY_STATE_UNSIGNED = 13
    """Proxy-State without Message-Authenticator: what CVE-2024-3596 needs."""
    DUPLICATE_IN_WORK = 14
    """A retransmission of a request that is still being answered."""
    OVERLOAD = 15
    """A queue is full: slow hashes, delayed rejects, or records ahead of the disk."""
    SEND_FAILED = 16
    """The kernel took no more answers."""
    RESPONSE_TOO_LONG = 17
    """The request's Proxy-States leave no room for an answer in 4096 octets."""
