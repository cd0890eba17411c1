"""Payments: a provider's webhook into this server lifts the holds that non-payment has laid. Knows Stripe's form.

Theory of operation. Stripe signs every request, so no token is needed. What a payment does is one call to the engine,
under a key made of the event's id: lifting, topping up, the event `payment.received` and the remembered answer are one
journal group, so a repetition is answered from what is stored and does nothing. Then the network's answer is waited
for, within a bound; a change that takes longer is durable and goes on, and the answer says what is pending.
"""

import hashlib
import hmac
import time
from typing import Any, Final

import msgspec
from litestar.response import Response
from msgspec import Struct

from aaa.model.operations import Actor
from billing_hooks.endpoints import JSON, WAIT_GRACE_S, Context, Endpoint, refuse
from billing_hooks.problems import ProblemError, parse_json
from billing_hooks.rpc import RpcUnavailable
from billing_hooks.schema import Enforced
from billing_hooks.settings import PaymentSettings
from billing_hooks.tokens import EVERYBODY

SIGNATURES_MAX: Final = 16
"""Bound: of one header; Stripe sends one for each secret of the endpoint."""
HEADER_LENGTH_MAX: Final = 4096
PAID: Final = frozenset(
    (
        "invoice.paid",
        "invoice.payment_succeeded",
        "checkout.session.completed",
        "checkout.session.async_payment_succeeded",
        "payment_intent.succeeded",
    )
)
FAILED: Final = frozenset(
    ("invoice.payment_failed", "checkout.session.async_payment_failed", "payment_intent.payment_failed")
)
UNPAID_CHECKOUT: Final = "unpaid"
"""`payment_status` of a checkout whose money is still to come."""
DIGEST: Final = b"payment"
TEXT_LENGTH_MAX: Final = 253
OCTETS_MAX: Final = 2**56


class StripeEvent(Struct):
    """Stripe's Event object; what else it has is not looked at."""

    id: str
    type: str
    data: dict[str, Any]


class PaidService(Struct):
    """What a payment did to a service."""

    service_id: str
    lifted: list[str] = []
    """Causes of the holds that were lifted."""
    topped_up: bool = False


class PaymentAnswer(Enforced, kw_only=True, omit_defaults=True):
    """What came of a payment."""

    status: str
    """restored: done, and the network has confirmed. pending: done; the network has not answered everything. noted: a
    failed payment was told as an event. unmatched: nobody here is meant. ignored: events of this type mean nothing."""
    event_id: str
    services: list[PaidService] = msgspec.field(default_factory=list)


class Payment(Struct):
    """A payment as the engine is told it."""

    name: str
    paid: bool
    event_id: str
    event_type: str
    object_id: str
    amount: int | None
    currency: str
    service_id: str
    subscribers: list[str]
    top_up_octets: int
    purchase: str
    """Names the purchase: all events of one bear it, so that octets are added once."""


class Provider:
    """One [[payment]] entry."""

    def __init__(self, settings: PaymentSettings) -> None:
        self.settings = settings

    def verify(self, header: str, body: bytes, at: float) -> None:
        """Check Stripe-Signature. at: epoch seconds. Raises ProblemError (bad_signature).

        Security: every signature is compared, in constant time each. Source: Stripe, "Verify webhook signatures".
        """
        fields = [part.strip().partition("=")[::2] for part in header[:HEADER_LENGTH_MAX].split(",")]
        moments = [value for name, value in fields if name == "t"]
        given = [value for name, value in fields if name == "v1"][:SIGNATURES_MAX]
        if len(moments) != 1 or not moments[0].isascii() or not moments[0].isdigit() or not given:
            raise ProblemError("bad_signature", "Stripe-Signature needs t= and v1=", "Stripe-Signature")
        if abs(at - float(moments[0][:18])) > self.settings.tolerance_s:
            detail = f"signed more than {self.settings.tolerance_s:g} s ago or ahead; is a clock wrong?"
            raise ProblemError("bad_signature", detail, "Stripe-Signature")
        expected = hmac.new(self.settings.secret, f"{moments[0]}.".encode() + body, hashlib.sha256).hexdigest().encode()
        matches = [hmac.compare_digest(expected, each.encode("utf-8", "replace")) for each in given]
        if not any(matches):
            raise ProblemError("bad_signature", "no signature fits the body and this endpoint's secret", None)

    def read(self, event: StripeEvent) -> tuple[Payment, str] | None:
        """The payment that an event tells, and the customer's id; None: it tells none."""
        paid = event.type in PAID
        subject = event.data.get("object")
        if not isinstance(subject, dict) or (not paid and event.type not in FAILED):
            return None
        if event.type == "checkout.session.completed" and subject.get("payment_status") == UNPAID_CHECKOUT:
            return None
        settings, metadata = self.settings, metadata_of(subject)
        amount = next(
            (
                subject[name]
                for name in ("amount_paid", "amount_total", "amount_received", "amount_due", "amount")
                if isinstance(subject.get(name), int) and subject[name] > 0
            ),
            None,
        )
        octets = text_of(metadata.get(settings.top_up_key))
        subscriber = text_of(metadata.get(settings.subscriber_key))
        payment = Payment(
            name=settings.name,
            paid=paid,
            event_id=event.id[:TEXT_LENGTH_MAX],
            event_type=event.type,
            object_id=text_of(subject.get("id")),
            amount=amount,
            currency=text_of(subject.get("currency")),
            service_id=text_of(metadata.get(settings.service_key)),
            subscribers=[subscriber] if subscriber else [],
            top_up_octets=min(int(octets[:18]), OCTETS_MAX) if octets.isascii() and octets.isdigit() else 0,
            purchase=identity_in(subject.get("payment_intent")) or text_of(subject.get("id")),
        )
        return payment, identity_in(subject.get("customer"))


def metadata_of(subject: dict[str, Any]) -> dict[str, Any]:
    """An object's metadata; an invoice's own goes before its subscription's, wherever the API's version has it."""
    found: dict[str, Any] = {}
    parent = subject.get("parent")
    for holder in (subject, parent if isinstance(parent, dict) else {}):
        details = holder.get("subscription_details")
        if isinstance(details, dict) and isinstance(details.get("metadata"), dict):
            found = details["metadata"] | found
    own = subject.get("metadata")
    return found | own if isinstance(own, dict) else found


def text_of(value: Any) -> str:
    """Metadata as text, cut; "" where it is none."""
    return value[:TEXT_LENGTH_MAX] if isinstance(value, str) else ""


def identity_in(value: Any) -> str:
    """An id, or that of the object which Stripe has put in its place."""
    return text_of(value.get("id") if isinstance(value, dict) else value)


async def receive(context: Context) -> Response[bytes]:
    """One event of the provider."""
    provider = context.outlets.payments.get(context.path["name"])
    if provider is None:
        raise ProblemError("not_found", f"no payment hook {context.path['name']!r}")
    provider.verify(context.headers.get("stripe-signature", ""), context.body, time.time())
    try:
        event = msgspec.convert(parse_json(context.body), StripeEvent)
    except msgspec.ValidationError as error:
        raise ProblemError("invalid", f"not an event of Stripe's: {error}", "$") from None
    found = provider.read(event)
    if found is None:
        return answer(PaymentAnswer(status="ignored", event_id=event.id))
    payment, customer = found
    if not payment.service_id and not payment.subscribers and customer:
        payment.subscribers = await subscribers_of(context, provider.settings.customer_fact, customer)
    settings = provider.settings
    actor = Actor(f"payment:{settings.name}", "billing", settings.operator, payment.event_id)
    done = await apply(context, actor, payment)
    if isinstance(done, Response):
        return done
    if not done.services:
        return answer(PaymentAnswer(status="unmatched", event_id=event.id))
    if not payment.paid:
        return answer(PaymentAnswer(status="noted", event_id=event.id, services=done.services))
    scope = {"services": [each.service_id for each in done.services], "after": done.after, "timeout_s": settings.wait_s}
    enforced = Enforced()
    try:
        waited = await context.engine.call("enforced", actor, scope, settings.wait_s + WAIT_GRACE_S)
        if waited.status == 200:
            enforced = msgspec.json.decode(waited.body, type=Enforced)
    except RpcUnavailable:
        pass  # What is durable goes on without anybody waiting.
    status = "restored" if enforced.converged else "pending"
    more = msgspec.structs.asdict(enforced)
    return answer(PaymentAnswer(status=status, event_id=event.id, services=done.services, **more))


class Done(Struct):
    """The engine's answer."""

    services: list[PaidService]
    after: int
    """Number of the last enforcement before."""


async def apply(context: Context, actor: Actor, payment: Payment) -> Done | Response[bytes]:
    """Let the engine do it once, whatever is repeated; a Response: it refused."""
    scope = hashlib.sha256(f"payment\0{payment.name}\0{payment.event_id}".encode()).hexdigest()[:32]
    key = f"{scope}.0"
    rows = await context.history.rows("SELECT answer FROM idempotency WHERE key = ?", (key,))
    if rows:
        return msgspec.json.decode(rows[0][0], type=Done)
    asked = msgspec.to_builtins(payment)
    done = await context.outlets.engine.call("payment", actor, asked, key=key, digest=DIGEST)
    if done.status >= 400:
        return refuse(done)
    return msgspec.json.decode(done.body, type=Done)


async def subscribers_of(context: Context, fact: str, customer: str) -> list[str]:
    """Subscribers whose billing fact is this customer's id."""
    # The text is looked for first: reading a million JSON bodies takes a second, finding a few of them a tenth.
    rows = await context.outlets.exports.rows("SELECT body FROM subscriber WHERE instr(body, ?) > 0", (customer,))
    found = []
    for (body,) in rows:
        subscriber = msgspec.json.decode(body)
        if subscriber.get("billing", {}).get("extra", {}).get(fact) == customer:
            found.append(subscriber["id"])
    return found


def answer(body: PaymentAnswer) -> Response[bytes]:
    """What the provider gets: 202 while the network has not confirmed."""
    status = 202 if body.status == "pending" else 200
    return Response(msgspec.json.encode(body), status_code=status, media_type=JSON)


ENDPOINTS: Final[tuple[Endpoint, ...]] = (
    Endpoint(
        method="POST", path="/v1/payments/{name}", roles=EVERYBODY, tag="Payments", handler=receive, body=StripeEvent,
        answer=PaymentAnswer,
        summary="Take an event of a payment provider, who signs it; a payment lifts holds. 202: the network is pending",
    ),
)  # fmt: skip
