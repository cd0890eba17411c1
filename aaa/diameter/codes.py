"""The numbers of the base protocol that the machines go by (RFC 6733 §3.1, §4.5, §5.4.3, §7.1). Knows nothing else."""

from enum import IntEnum
from typing import Final

CAPABILITIES_EXCHANGE: Final = 257
DEVICE_WATCHDOG: Final = 280
DISCONNECT_PEER: Final = 282
BASE: Final = 0
RELAY: Final = 0xFFFFFFFF

ACCT_APPLICATION_ID: Final = 259
AUTH_APPLICATION_ID: Final = 258
AUTH_SESSION_STATE: Final = 277
CC_REQUEST_NUMBER: Final = 415
CC_REQUEST_TYPE: Final = 416
DESTINATION_HOST: Final = 293
DESTINATION_REALM: Final = 283
DISCONNECT_CAUSE: Final = 273
ERROR_MESSAGE: Final = 281
ERROR_REPORTING_HOST: Final = 294
FAILED_AVP: Final = 279
FIRMWARE_REVISION: Final = 267
HOST_IP_ADDRESS: Final = 257
INBAND_SECURITY_ID: Final = 299
ORIGIN_HOST: Final = 264
ORIGIN_REALM: Final = 296
ORIGIN_STATE_ID: Final = 278
PRODUCT_NAME: Final = 269
PROXY_INFO: Final = 284
RESULT_CODE: Final = 268
ROUTE_RECORD: Final = 282
SESSION_ID: Final = 263
SUPPORTED_VENDOR_ID: Final = 265
USER_NAME: Final = 1
VENDOR_ID: Final = 266
VENDOR_SPECIFIC_APPLICATION_ID: Final = 260


class ResultCode(IntEnum):
    """RFC 6733 §7.1: those that the base protocol itself gives."""

    SUCCESS = 2001
    COMMAND_UNSUPPORTED = 3001
    UNABLE_TO_DELIVER = 3002
    REALM_NOT_SERVED = 3003
    TOO_BUSY = 3004
    LOOP_DETECTED = 3005
    APPLICATION_UNSUPPORTED = 3007
    INVALID_HDR_BITS = 3008
    INVALID_AVP_BITS = 3009
    UNKNOWN_PEER = 3010
    AVP_UNSUPPORTED = 5001
    INVALID_AVP_VALUE = 5004
    MISSING_AVP = 5005
    NO_COMMON_APPLICATION = 5010
    UNSUPPORTED_VERSION = 5011
    UNABLE_TO_COMPLY = 5012
    INVALID_AVP_LENGTH = 5014
    INVALID_MESSAGE_LENGTH = 5015
    NO_COMMON_SECURITY = 5017


def is_protocol_error(result: int) -> bool:
    """Whether an answer with this Result-Code bears the E bit (RFC 6733 §7.1.3)."""
    return 3000 <= result < 4000


class DisconnectCause(IntEnum):
    REBOOTING = 0
    BUSY = 1
    DO_NOT_WANT_TO_TALK_TO_YOU = 2


class InbandSecurity(IntEnum):
    NO_INBAND_SECURITY = 0
    TLS = 1
