"""Answers that the machines give themselves, and what others say (RFC 6733 §6.2, §7). Knows no connection."""

from typing import Final

from aaa.diameter import codes
from aaa.diameter.capabilities import Refusal, explained
from aaa.diameter.codes import is_protocol_error
from aaa.diameter.settings import Local
from native import diameter
from native.diameter import Message

REPEATED: Final = (
    codes.AUTH_APPLICATION_ID,
    codes.CC_REQUEST_TYPE,
    codes.CC_REQUEST_NUMBER,
    codes.AUTH_SESSION_STATE,
)
"""What answers of the applications require, and can only repeat."""


def local_identity(local: Local) -> tuple[bytes, bytes]:
    """Origin-Host and Origin-Realm."""
    return (
        diameter.avp(codes.ORIGIN_HOST, local.origin_host.encode()),
        diameter.avp(codes.ORIGIN_REALM, local.origin_realm.encode()),
    )


def result_of(answer: Message) -> int:
    """Result-Code, or Experimental-Result-Code (RFC 6733 §7.6); 0 where an answer has neither."""
    result = answer.get_unsigned32(codes.RESULT_CODE)
    if result is None:
        group = answer.get_group(codes.EXPERIMENTAL_RESULT)
        result = None if group is None else group.get_unsigned32(codes.EXPERIMENTAL_RESULT_CODE)
    return result or 0


def refused(local: Local, request: Message, refusal: Refusal) -> bytes:
    """An answer that says no: an answer-message for 3xxx (RFC 6733 §7.2), else one that passes most grammars."""
    avps = []
    session_id = request.get(codes.SESSION_ID)
    if session_id is not None:
        avps.append(diameter.avp(codes.SESSION_ID, session_id))
    error = is_protocol_error(refusal.result)
    if not error:
        for code in REPEATED:
            value = request.get(code)
            if value is not None:
                avps.append(diameter.avp(code, value))
    avps += local_identity(local)
    avps.append(diameter.unsigned32_avp(codes.RESULT_CODE, refusal.result))
    avps += explained(refusal)
    # RFC 6733 §6.2: as they came, in their order.
    avps += [diameter.avp(codes.PROXY_INFO, value) for value in request.get_all(codes.PROXY_INFO)]
    return diameter.answer(request, avps, error)
