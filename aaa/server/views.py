"""What the API shows of records: plain data without secrets. Knows the records and no question."""

from __future__ import annotations

from datetime import UTC, datetime
from ipaddress import ip_address
from typing import Any

import msgspec

from aaa.credential.identity import format_mac, show_circuit
from aaa.credential.verifier import Scheme, Verifier
from aaa.engine.facts import epoch
from aaa.model.enforcement import Enforcement
from aaa.model.entities import Hold
from aaa.model.mobile import GX, GY, NO_GROUP, PROTOCOLS, RADIUS, S6A, SY, WHOLE_SESSION, Grant
from aaa.model.records import ACTIVE, ENDED, PENDING, CredentialRecord, NasRecord, ServiceRecord, SessionRecord
from aaa.model.shelves import SimRecord
from aaa.radius.dynamic import ERROR_CAUSES
from aaa.server.dynamic import Posture
from aaa.state.meters import METERS, charged_session
from policy.model import Decision
from policy.quota import Bucket

STATES = {PENDING: "pending", ACTIVE: "active", ENDED: "ended"}
LAST_MOMENT = 253_402_300_800.0
"""The first second of the year 10000: what is never over is told as null."""
FIRST_MOMENT = -62_135_596_800.0
"""The year 1: what is before has no date."""
NUMBER_DIGITS_MAX = 19
RATS = {
    0: "WLAN", 1: "VIRTUAL", 1000: "UTRAN", 1001: "GERAN", 1002: "GAN", 1003: "HSPA_EVOLUTION", 1004: "EUTRAN",
    1005: "EUTRAN-NB-IoT", 1006: "NR", 1007: "LTE-M", 2000: "CDMA2000_1X", 2001: "HRPD", 2002: "UMB", 2003: "EHRPD",
}  # fmt: skip
"""RAT-Type (TS 29.212 §5.3.31); others are shown as numbers."""
SERVICE_MOMENTS = ("activated_at", "expires_at", "grace_until")


def number_of(text: str) -> int | None:
    """A number that was shown as text; None for what never was one."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= NUMBER_DIGITS_MAX else None


def moment(at: float | None) -> str | None:
    """RFC 3339 in UTC; None for never."""
    if not at or not FIRST_MOMENT <= at < LAST_MOMENT:
        return None
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def printable(octets: bytes | None) -> str | None:
    """Text where it is text, else 0x and hex."""
    return None if octets is None else show_circuit(octets)


def address_text(octets: bytes | None) -> str | None:
    """An address of 4 or 16 octets, or a prefix of 17."""
    if octets is None:
        return None
    if len(octets) == 17:
        return f"{ip_address(octets[1:])}/{octets[0]}"
    return str(ip_address(octets))


def service_view(service: ServiceRecord) -> dict[str, Any]:
    """A service as it was pushed, without credentials."""
    body = msgspec.to_builtins(service.body)
    body["state"] = service.body.state
    for name in SERVICE_MOMENTS:
        if name in body:
            body[name] = moment(epoch(getattr(service.body, name)))
    return {"id": service.body.id, **body}


def credential_view(credential: CredentialRecord) -> dict[str, Any]:
    """A credential without its secret."""
    if credential.kind == "password":
        assert isinstance(credential.verifier, Verifier)
        name = credential.key.decode("utf-8", "replace")
        return {"type": "password", "username": name, "scheme": Scheme(credential.verifier.scheme).name.lower()}
    if credential.kind == "mac":
        return {"type": "mac", "mac": format_mac(credential.key)}
    size = int.from_bytes(credential.key[:2], "big")
    circuit, remote = credential.key[2 : 2 + size], credential.key[2 + size :]
    view = {"type": "circuit"}
    if circuit:
        view["circuit_id"] = show_circuit(circuit)
    if remote:
        view["remote_id"] = show_circuit(remote)
    return view


def decision_view(decision: Decision) -> dict[str, Any]:
    """A decision; moments as text."""
    view: dict[str, Any] = msgspec.to_builtins(decision)
    if decision.valid_until is not None:
        view["valid_until"] = moment(decision.valid_until)
    return view


def desired_view(decision: Decision) -> dict[str, Any]:
    """What of a decision a live session runs under."""
    return {
        "grant": decision.grant,
        "reason": decision.reason,
        "rate": msgspec.to_builtins(decision.rate),
        "walled_garden": decision.walled_garden,
    }


def hold_view(hold: Hold) -> dict[str, Any]:
    """A hold; moments as text."""
    view: dict[str, Any] = msgspec.to_builtins(hold)
    return view | {"at": moment(hold.at), "until": moment(hold.until)}


def bucket_view(bucket: Bucket) -> dict[str, Any]:
    """Octets that a balance offers."""
    return {
        "kind": bucket.kind,
        "id": bucket.id,
        "octets": bucket.octets,
        "used_octets": bucket.used,
        "left_octets": bucket.left,
        "expires_at": moment(bucket.ends_at),
    }


def receipt_view(enforcement: Enforcement, at: float) -> dict[str, Any]:
    """What was sent to the network, and what it answered. at: now, for what is not final."""
    log = enforcement.log
    refusals = [reply.error_cause for reply in log if reply.error_cause]
    return {
        "id": enforcement.id,
        "session": str(enforcement.session_id),
        "nas": enforcement.nas,
        "service_id": enforcement.service_id,
        "action": enforcement.action,
        "state": enforcement.state,
        "result": enforcement.result,
        "reason": enforcement.reason,
        "error_cause": refusals[-1] if refusals else None,
        "attempts": enforcement.attempts,
        "sent_at": moment(log[0].sent_at) if log else None,
        "answered_at": moment(log[-1].answered_at) if log else None,
        "seconds": round(max(0.0, (enforcement.finished_at or at) - enforcement.created_at), 6),
    }


def service_id_of(session: SessionRecord) -> str | None:
    """Whose a session is, or was, if its service was deleted."""
    if session.service is not None:
        return session.service.body.id
    return None if session.former is None else session.former[0]


def operator_of(session: SessionRecord) -> str:
    """Whose subscriber a session is, or was; of one that belongs to no service, whose NAS it is on."""
    if session.service is not None:
        return session.service.subscriber.body.operator
    return session.nas.operator if session.former is None else session.former[2]


def session_view(session: SessionRecord) -> dict[str, Any]:
    """A session with everything that is known of it."""
    view: dict[str, Any] = {
        "id": str(session.id),
        "protocol": PROTOCOLS[session.protocol],
        "state": STATES[session.state],
        "service_id": service_id_of(session),
        "nas": session.nas.name,
        "user_name": printable(session.user_name),
        "adopted": session.adopted,
        "authorised_at": moment(session.authorised_at),
        "started_at": moment(session.started_at),
        "updated_at": moment(session.updated_at),
        "ended_at": moment(session.ended_at),
        "session_time_s": session.session_time_s,
        "usage": usage_view(session.input_octets, session.output_octets),
        "framed_ip": address_text(session.framed_ip),
        "framed_ipv6": address_text(session.framed_ipv6),
        "framed_prefix": address_text(session.framed_prefix),
        "delegated_prefix": address_text(session.delegated_prefix),
        "calling_station_id": printable(session.calling_station),
        "called_station_id": printable(session.called_station),
        "nas_port_id": printable(session.nas_port_id),
        "circuit_id": printable(session.circuit_id),
        "remote_id": printable(session.remote_id),
        **mobile_view(session),
        **charge_view(session),
    }
    if session.protocol == RADIUS:
        view["acct_session_id"] = printable(session.key)
    elif session.protocol != S6A:
        view["diameter_session_id"] = printable(session.key)
    if session.state == ENDED:
        view["terminate_cause"] = session.terminate_cause
        view["ended_by_nas"] = session.ended_by_nas
    return view


def mobile_view(session: SessionRecord) -> dict[str, Any]:
    """What is known of a session on a mobile network."""
    facts = session.mobile
    if facts is None:
        return {}
    view: dict[str, Any] = {
        "imsi": facts.imsi or None,
        "msisdn": msisdn_of(session) or None,
        "apn": facts.apn or None,
        "plmn": facts.plmn or None,
        "location": facts.location or None,
        "rat": None if facts.rat < 0 else RATS.get(facts.rat, str(facts.rat)),
        "imei": facts.imei or None,
    }
    if session.protocol == GX:
        view["rules_installed"] = [name for name in facts.rules if name not in facts.failed]
        view["rules_failed"] = [{"name": name, "code": code} for name, code in facts.failed.items()]
        view["monitored_octets"] = facts.monitored
    elif session.protocol == GY:
        view["grants"] = [grant_view(group, grant) for group, grant in facts.grants.items()]
    elif session.protocol == S6A:
        view |= {"mme": session.nas.name, "purged": facts.purged}
    elif session.protocol == SY:
        view["counters"] = dict(facts.told)
    return view


def msisdn_of(session: SessionRecord) -> str:
    """Of the SIM as the inventory has it; as the client told it where that has none."""
    equipment = () if session.service is None else session.service.equipment
    for record in equipment:
        if isinstance(record, SimRecord) and record.number is not None and record.imsi == session.mobile.imsi:
            return record.number.msisdn
    told: str = session.mobile.msisdn
    return told


def grant_view(group: int, grant: Grant) -> dict[str, Any]:
    """Quota that a Gy client has. group: its key in GyFacts.grants."""
    return {
        "rating_group": group if group >= 0 else None,
        "service_identifier": WHOLE_SESSION - 1 - group if group < min(NO_GROUP, WHOLE_SESSION) else None,
        "octets": grant.octets,
        "granted_at": moment(grant.at),
        "validity_s": grant.validity_s or None,
        "final": grant.final,
        "free": grant.free,
        "result_code": grant.result,
    }


def charge_view(session: SessionRecord) -> dict[str, Any]:
    """Whether what a session reports is charged, and, where another session of its bearer is, which one."""
    if session.protocol not in METERS:
        return {}
    if session.state != ACTIVE:
        view: dict[str, Any] = {"charged": not session.shadowed}
    else:
        charged = charged_session(session)
        view = {"charged": charged is session}
        if charged is not None and charged is not session:
            view["charged_by"] = str(charged.id)
    if session.aside is not None:
        aside_input, aside_output = session.aside
        view["charged_usage"] = usage_view(session.input_octets - aside_input, session.output_octets - aside_output)
    return view


def registration_view(session: SessionRecord) -> dict[str, Any]:
    """Where a SIM is registered."""
    facts = mobile_view(session)
    names = ("mme", "plmn", "location", "rat", "imei")
    return {
        "session_id": str(session.id),
        "since": moment(session.started_at),
        "updated_at": moment(session.updated_at),
        **{name: facts[name] for name in names},
    }


def usage_view(input_octets: int, output_octets: int) -> dict[str, int]:
    """Octets; input is from the subscriber."""
    return {
        "input_octets": input_octets,
        "output_octets": output_octets,
        "total_octets": input_octets + output_octets,
    }


def posture_view(posture: Posture) -> dict[str, Any]:
    """How a network access server answered CoA and Disconnect."""
    cause = posture.error_cause
    return {
        "honours_coa": posture.coa,
        "honours_disconnect": posture.disconnect,
        "error_cause": f"{cause} {ERROR_CAUSES.get(cause, '')}".rstrip() if cause else None,
        "error_at": moment(posture.error_at),
        "answered_at": moment(posture.answered_at),
        "timed_out_at": moment(posture.timed_out_at),
    }


def nas_view(nas: NasRecord) -> dict[str, Any]:
    """A network access server as learned."""
    return {
        "name": nas.name,
        "client": nas.client_name,
        "protocol": "diameter" if nas.diameter else "radius",
        "realm": nas.realm or None,
        "address": nas.address,
        "family": nas.family,
        "operator": nas.operator,
        "sessions": nas.live_count,
        "last_accounting_at": moment(nas.last_accounting_at),
        "restarted_at": moment(nas.restarted_at),
        "down": nas.down,
        "sends_gigawords": nas.sends_gigawords,
    }
