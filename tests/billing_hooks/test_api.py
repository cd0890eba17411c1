"""The HTTP API as its users see it."""

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from billing_hooks.endpoints import Endpoint
from billing_hooks.problems import CODES
from billing_hooks.table import ENDPOINTS
from billing_hooks.tokens import READERS, ApiSettings
from tests.billing_hooks.conftest import PLAN, ROLES, SERVICE, SETTINGS, Harness, make_token, token_of

PROBLEM = "application/problem+json"


def assert_problem(answer: httpx.Response, status: int, error: str, field: str | None = None) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"].startswith(PROBLEM)
    problem: dict[str, Any] = answer.json()
    assert problem["status"] == status
    assert problem["error"] == error
    assert problem["type"] == f"/docs#{error}"
    assert problem["title"]
    assert problem.get("field") == field
    return problem


def path_of(endpoint: Endpoint) -> str:
    return re.sub(r"\{\w+\}", "u1", endpoint.path)


def test_put_applies_then_is_stale_then_conflicts(api: Harness) -> None:
    first = api.ask("PUT", "/v1/plans/p", json=PLAN)
    assert (first.status_code, first.json()) == (
        200,
        {"kind": "plan", "id": "p", "status": "applied", "revision": 1},
    )
    again = api.ask("PUT", "/v1/plans/p", json=PLAN)
    assert (again.status_code, again.json()["status"]) == (200, "stale")
    other = api.ask("PUT", "/v1/plans/p", json=PLAN | {"name": "other"})
    problem = assert_problem(other, 409, "conflict")
    assert problem["result"]["status"] == "conflict"
    assert problem["result"]["revision"] == 1


def test_patch_changes_a_part_and_keeps_the_rest(seeded: Harness) -> None:
    assert seeded.ask("PUT", "/v1/plans/home-100", json=PLAN).status_code == 200
    answer = seeded.ask("PATCH", "/v1/services/u1", json={"plan_id": "home-100", "revision": 2})
    assert answer.json()["status"] == "applied"
    shown = seeded.ask("GET", "/v1/services/u1").json()
    assert (shown["plan_id"], shown["subscriber_id"], shown["revision"]) == ("home-100", "s1", 2)


def test_patch_of_a_missing_entity_is_not_found(api: Harness) -> None:
    assert_problem(api.ask("PATCH", "/v1/plans/none", json={"revision": 1, "name": "x"}), 404, "not_found")


def test_patch_may_clear_an_optional_field_but_not_a_required_one(seeded: Harness) -> None:
    assert seeded.ask("PATCH", "/v1/plans/home-50", json={"revision": 2, "rate": None}).status_code == 200
    answer = seeded.ask("PATCH", "/v1/services/u1", json={"revision": 2, "plan_id": None})
    assert_problem(answer, 422, "invalid", "$.plan_id")


def test_delete_needs_a_revision_and_leaves_a_tombstone(seeded: Harness) -> None:
    assert_problem(seeded.ask("DELETE", "/v1/services/u1"), 422, "invalid", "revision")
    assert seeded.ask("DELETE", "/v1/services/u1?revision=5").json()["status"] == "applied"
    assert_problem(seeded.ask("GET", "/v1/services/u1"), 404, "not_found")
    assert seeded.ask("PUT", "/v1/services/u1", json=SERVICE).json()["status"] == "stale"


def test_delete_takes_its_revision_from_a_body_too(seeded: Harness) -> None:
    assert seeded.ask("DELETE", "/v1/services/u1", json={"revision": 5}).json()["status"] == "applied"


def test_missing_reference_is_named(api: Harness) -> None:
    answer = api.ask("PUT", "/v1/services/x", json=SERVICE)
    problem = assert_problem(answer, 422, "missing_reference", "$.subscriber_id")
    assert problem["result"]["error"] == "missing_reference"


def test_impossible_state_step_names_the_possible_ones(seeded: Harness) -> None:
    step = seeded.ask("POST", "/v1/services/u1/state", json={"state": "suspended", "revision": 7, "reason": "unpaid"})
    assert step.json()["status"] == "applied"
    back = seeded.ask("POST", "/v1/services/u1/state", json={"state": "pending", "revision": 8})
    problem = assert_problem(back, 409, "invalid_transition", "$.state")
    assert "active, restricted, terminated" in problem["detail"]


def test_credentials_are_replaced_and_shown_without_secrets(seeded: Harness) -> None:
    assert "p1" not in seeded.ask("GET", "/v1/services/u1").text
    body = {"revision": 2, "credentials": [{"type": "password", "username": "u2", "cleartext": "hidden"}]}
    assert seeded.ask("PUT", "/v1/services/u1/credentials", json=body).json()["status"] == "applied"
    shown = seeded.ask("GET", "/v1/services/u1/credentials")
    assert shown.json()["credentials"] == [{"type": "password", "username": "u2"}]


@pytest.mark.parametrize(
    ("body", "field", "suggestion"),
    [
        ({"rate": {"down_bps": 1, "up_bps": 1}}, "$.revision", None),
        ({"revision": "1"}, "$.revision", None),
        ({"revision": -1}, "$.revision", None),
        ({"revision": 2**63}, "$.revision", None),
        ({"revision": 2**70}, "$.revision", None),
        ({"revision": 1, "rte": None}, "$.rte", "rate"),
        ({"revision": 1, "rate": {"velocity": 1}}, "$.rate.velocity", None),
        ({"revision": 1, "rate": {"down_bp": 1, "up_bps": 1}}, "$.rate.down_bp", "down_bps"),
        ({"revision": 1, "on_exhausted": [{"throttl": {}}]}, "$.on_exhausted[0].throttl", "throttle"),
        ({"revision": 1, "kind": "fax"}, "$.kind", None),
        ({"revision": 1, "simultaneous_use": 0}, "$.simultaneous_use", None),
        ({"revision": 1, "id": "other"}, "$.id", None),
        ([], "$", None),
        ("text", "$", None),
    ],
)
def test_a_wrong_field_is_named(api: Harness, body: Any, field: str, suggestion: str | None) -> None:
    problem = assert_problem(api.ask("PUT", "/v1/plans/p", json=body), 422, "invalid", field)
    assert problem.get("suggestion") == suggestion
    assert api.engine.calls == []


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b'{"revision": 1', b"[" * 5000, b'{"revision": NaN}'])
def test_a_body_that_is_no_json_is_a_bad_request(api: Harness, body: bytes) -> None:
    assert_problem(api.ask("PUT", "/v1/plans/p", content=body), 400, "bad_request")


def test_a_large_body_is_refused(api: Harness) -> None:
    assert_problem(api.ask("PUT", "/v1/plans/p", content=b" " * (1 << 20) + b"  "), 413, "too_large")


def test_a_body_that_stops_coming_times_out(api: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("billing_hooks.app.HTTP_BODY_STALL_S", 0)

    async def body() -> AsyncIterator[bytes]:
        yield b"{"
        await asyncio.Event().wait()

    async def push() -> httpx.Response:
        headers = {"Authorization": f"Bearer {token_of('admin')}"}
        return await api.http.put("/v1/plans/p", content=body(), headers=headers)

    assert_problem(api.run(push()), 408, "timeout")


def test_a_json_sync_is_bounded_by_the_configuration(api: Harness) -> None:
    api.door.use_settings(ApiSettings(tokens=SETTINGS.tokens, body_max=1024))
    problem = assert_problem(api.ask("POST", "/v1/sync", json={"operations": [{}] * 1000}), 413, "too_large")
    assert "NDJSON" in problem["detail"]
    streamed = api.ask("POST", "/v1/sync", content=b"{}\n" * 1000, headers={"Content-Type": "application/x-ndjson"})
    assert len(streamed.text.splitlines()) == 1000


def test_a_foreign_media_type_is_refused(api: Harness) -> None:
    answer = api.ask("PUT", "/v1/plans/p", content=b"a: 1", headers={"Content-Type": "application/yaml"})
    assert_problem(answer, 415, "unsupported_media_type")


def test_curl_without_a_content_type_header_works(api: Harness) -> None:
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    assert api.ask("PUT", "/v1/plans/p", content=b'{"revision":1}', headers=headers).status_code == 200


def test_an_id_may_contain_a_slash_and_any_character(api: Harness) -> None:
    assert api.ask("PUT", "/v1/plans/a%2Fb%20%C3%A9%25", json=PLAN).json()["id"] == "a/b é%"
    assert api.ask("GET", "/v1/plans/a%2Fb%20%C3%A9%25").json()["id"] == "a/b é%"
    assert_problem(api.ask("GET", "/v1/plans/%ff"), 400, "bad_request")


def test_an_overlong_id_is_refused(api: Harness) -> None:
    assert api.ask("PUT", f"/v1/plans/{'x' * 253}", json=PLAN).status_code == 200
    assert_problem(api.ask("PUT", f"/v1/plans/{'x' * 254}", json=PLAN), 422, "invalid", "$.id")


def test_lists_go_page_by_page(api: Harness) -> None:
    for name in ("a", "b", "c"):
        api.ask("PUT", f"/v1/plans/{name}", json=PLAN)
    first = api.ask("GET", "/v1/plans?limit=2").json()
    assert ([item["id"] for item in first["items"]], first["next"]) == (["a", "b"], "b")
    second = api.ask("GET", "/v1/plans?limit=2&after=b").json()
    assert ([item["id"] for item in second["items"]], second["next"]) == (["c"], None)


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("limit=0", "limit"),
        ("limit=1001", "limit"),
        ("limit=", "limit"),
        ("lmit=1", "lmit"),
        ("limit=1&limit=1", "limit"),
    ],
)
def test_a_wrong_query_parameter_is_named(api: Harness, query: str, field: str) -> None:
    assert_problem(api.ask("GET", f"/v1/plans?{query}"), 422, "invalid", field)


def test_services_are_filtered(seeded: Harness) -> None:
    found = seeded.ask("GET", "/v1/services?state=active&subscriber_id=s1&q=u").json()["items"]
    assert [item["id"] for item in found] == ["u1"]
    assert seeded.ask("GET", "/v1/services?state=suspended").json()["items"] == []
    assert_problem(seeded.ask("GET", "/v1/services?state=asleep"), 422, "invalid", "state")


def test_status_and_decision(seeded: Harness) -> None:
    status = seeded.ask("GET", "/v1/services/u1/status", role="reader").json()
    assert status["rate"] == {"down_bps": 50_000_000, "up_bps": 10_000_000}
    assert seeded.ask("GET", "/v1/services/u1/decision?nas=lab&at=2026-05-01T12:00:00Z").json()["at"] == 1777636800.0
    assert seeded.engine.calls[-1][2] == {"id": "u1", "nas": "lab", "at": 1777636800.0}


@pytest.mark.parametrize("at", ["yesterday", "2026-05-01T12:00:00", "nan", "inf", "1e999"])
def test_a_moment_without_meaning_is_refused(seeded: Harness, at: str) -> None:
    assert_problem(seeded.ask("GET", f"/v1/services/u1/decision?at={at}"), 422, "invalid", "at")


def test_who_had_an_address(api: Harness) -> None:
    api.engine.leases = [{"address": "192.0.2.1", "service_id": "u1", "from": 100.0, "until": 200.0}]
    found = api.ask("GET", "/v1/leases?address=192.0.2.1&at=150", role="support").json()["items"]
    assert found[0]["service_id"] == "u1"
    assert api.ask("GET", "/v1/leases?address=192.0.2.1&at=200").json()["items"] == []
    assert_problem(api.ask("GET", "/v1/leases"), 422, "invalid", "address")


def test_disconnect(api: Harness) -> None:
    api.engine.sessions = {"1": {"id": "1", "nas": "lab"}, "2": {"id": "2", "nas": "deaf"}}
    assert api.ask("POST", "/v1/sessions/1/disconnect", role="support").status_code == 202
    assert_problem(api.ask("POST", "/v1/sessions/2/disconnect"), 409, "not_possible")
    assert_problem(api.ask("POST", "/v1/sessions/3/disconnect"), 404, "not_found")


def test_reload_reports_every_finding(api: Harness) -> None:
    assert api.ask("POST", "/v1/reload").json()["changed"] == ["nas"]
    api.engine.reload_errors = ["aaa.toml:3: nas.a.secret: missing"]
    problem = assert_problem(api.ask("POST", "/v1/reload"), 422, "invalid")
    assert problem["errors"] == api.engine.reload_errors


def test_health_and_readiness_need_no_token(api: Harness) -> None:
    assert api.ask("GET", "/healthz", role=None).json()["status"] == "ok"
    assert api.ask("GET", "/readyz", role=None).status_code == 200
    api.engine.is_ready = False
    assert assert_problem(api.ask("GET", "/readyz", role=None), 503, "unavailable")["detail"] == "loading"


def test_metrics_join_engine_and_http(api: Harness) -> None:
    api.ask("GET", "/v1/plans")
    text = api.ask("GET", "/metrics", role=None).text
    assert "aaa_requests_total 1\n" in text
    assert 'aaa_http_requests_total{code="200",method="GET",route="/v1/plans"} 1.0' in text


def test_metrics_may_need_a_token(api: Harness) -> None:
    api.door.use_settings(ApiSettings(tokens=SETTINGS.tokens, metrics_open=False))
    assert_problem(api.ask("GET", "/metrics", role=None), 401, "unauthorized")
    assert api.ask("GET", "/metrics", role="reader").status_code == 200
    api.door.use_settings(ApiSettings(tokens=(make_token("reader", "brand"),), metrics_open=False))
    assert_problem(api.ask("GET", "/metrics", role="reader"), 403, "forbidden")


def test_settings_are_replaced_live(api: Harness) -> None:
    api.door.use_settings(ApiSettings(tokens=(make_token("reader"),)))
    assert_problem(api.ask("GET", "/v1/plans", role="admin"), 401, "unauthorized")
    assert api.ask("GET", "/v1/plans", role="reader").status_code == 200


@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda endpoint: f"{endpoint.method} {endpoint.path}")
def test_every_route_holds_its_roles(seeded: Harness, endpoint: Endpoint) -> None:
    # Payment providers sign what they send.
    is_open = endpoint.path in ("/healthz", "/readyz", "/v1/payments/{name}")
    assert is_open == (not endpoint.roles), "a route without a role needs a reason"
    if endpoint.method != "GET" and not is_open:
        assert endpoint.roles < READERS, "a reader changes nothing"
        assert "reader" not in endpoint.roles
    if is_open:
        return
    # A stream of events has an end where the process has one.
    seeded.door.outlets.feed.closing = True
    path = path_of(endpoint)
    unauthorised = seeded.ask(endpoint.method, path, role=None)
    assert_problem(unauthorised, 401, "unauthorized")
    assert unauthorised.headers["www-authenticate"].startswith("Bearer")
    assert_problem(
        seeded.ask(endpoint.method, path, role=None, headers={"Authorization": "Bearer wrong"}), 401, "unauthorized"
    )
    for role in ROLES:
        before = len(seeded.engine.calls)
        answer = seeded.ask(endpoint.method, path, role=role)
        if role in endpoint.roles:
            assert answer.status_code not in (401, 403, 405, 500)
        else:
            assert_problem(answer, 403, "forbidden")
            assert len(seeded.engine.calls) == before


def test_the_application_has_no_route_outside_the_table(api: Harness) -> None:
    document = api.ask("GET", "/openapi.json", role=None).json()
    paths = {(method.upper(), path) for path, methods in document["paths"].items() for method in methods}
    own = {("GET", "/metrics"), ("GET", "/openapi.json"), ("GET", "/docs")}
    assert paths == {(endpoint.method, endpoint.path) for endpoint in ENDPOINTS} | own


def test_the_actor_and_correlation_travel_with_the_call(api: Harness) -> None:
    headers = {"X-Actor": b"jane\xc3\xa9", "X-Correlation-Id": "ticket-1"}
    answer = api.ask("PUT", "/v1/plans/p", json=PLAN, role="billing", headers=headers)
    assert answer.headers["x-correlation-id"] == "ticket-1"
    actor = api.engine.calls[-1][1]
    assert (actor.name, actor.role, actor.correlation_id) == ("billing/jane", "billing", "ticket-1")


def test_the_token_s_operator_scopes_the_actor(api: Harness) -> None:
    api.door.use_settings(ApiSettings(tokens=(make_token("billing", "brand-a"),)))
    api.ask("GET", "/v1/plans", role="billing")
    assert api.engine.calls[-1][1].operator == "brand-a"


def test_unknown_paths_and_methods_are_problems(api: Harness) -> None:
    assert_problem(api.ask("GET", "/v2/plans"), 404, "not_found")
    answer = api.ask("PATCH", "/v1/plans")
    assert_problem(answer, 405, "method_not_allowed")


def test_an_engine_that_is_gone_is_unavailable(api: Harness) -> None:
    api.server.close()
    api.run(api.rpc.closed.wait())
    answer = api.ask("GET", "/v1/plans")
    assert_problem(answer, 503, "unavailable")
    assert answer.headers["retry-after"] == "1"
    assert_problem(api.ask("GET", "/healthz", role=None), 503, "unavailable")


def test_a_defect_of_the_engine_is_an_internal_problem(api: Harness) -> None:
    del api.engine.sessions
    assert_problem(api.ask("GET", "/v1/sessions"), 500, "internal")


def test_the_token_never_shows(api: Harness) -> None:
    answer = api.ask("GET", "/v1/plans", role=None, headers={"Authorization": "Bearer s3cr3t-value"})
    assert "s3cr3t-value" not in answer.text
    assert token_of("admin") not in repr(api.door.settings)


def resolve(document: dict[str, Any], value: Any) -> None:
    """Every reference leads somewhere."""
    if isinstance(value, dict):
        reference = value.get("$ref")
        if isinstance(reference, str):
            assert reference.rpartition("/")[2] in document["components"]["schemas"], reference
        for item in value.values():
            resolve(document, item)
    elif isinstance(value, list):
        for item in value:
            resolve(document, item)


def test_the_openapi_document_is_sound(api: Harness) -> None:
    document = api.ask("GET", "/openapi.json", role=None).json()
    assert document["openapi"] == "3.1.0"
    assert document["info"] == {"title": "AAA server", "version": "1.2.3"}
    resolve(document, document)
    seen = set()
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            assert operation["operationId"] not in seen
            seen.add(operation["operationId"])
            named = {p["name"] for p in operation["parameters"] if p["in"] == "path"}
            assert named == set(re.findall(r"\{(\w+)\}", path))
            assert all(p["required"] for p in operation["parameters"] if p["in"] == "path")
            assert "default" in operation["responses"]
            assert ("requestBody" in operation) <= (method in ("put", "patch", "post"))
    service = document["components"]["schemas"]["Service"]
    assert set(service["required"]) == {"revision", "subscriber_id", "plan_id"}


def test_the_docs_page_names_every_path_and_loads_nothing(api: Harness) -> None:
    answer = api.ask("GET", "/docs", role=None)
    for endpoint in ENDPOINTS:
        assert endpoint.path in answer.text
    assert "<script" not in answer.text
    assert not re.search(r"(src|href)=['\"]?https?:", answer.text)
    assert "id='missing_reference'" in answer.text


def test_every_path_and_problem_is_documented() -> None:
    text = (Path(__file__).parents[2] / "docs/http-api.md").read_text()
    for endpoint in ENDPOINTS:
        assert endpoint.path in text
    for error, (status, _) in CODES.items():
        assert f"| `{error}` | {status} |" in text


def test_slow_strangers_leave_room_for_who_has_a_token(api: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("billing_hooks.app.HTTP_STRANGERS_MAX", 1)

    async def never(began: asyncio.Event) -> AsyncIterator[bytes]:
        yield b"{"
        began.set()
        await asyncio.Event().wait()

    async def work() -> None:
        began = asyncio.Event()
        slow = asyncio.create_task(api.http.post("/v1/payments/x", content=never(began)))
        await began.wait()
        assert_problem(await api.http.post("/v1/payments/x", json={}), 503, "unavailable")
        headers = {"Authorization": f"Bearer {token_of('reader')}"}
        assert (await api.http.get("/v1/plans", headers=headers)).status_code == 200
        slow.cancel()
        await asyncio.gather(slow, return_exceptions=True)
        # Its place is free again.
        assert_problem(await api.http.post("/v1/payments/x", json={}), 404, "not_found")

    api.run(work())


def test_a_body_that_drips_is_not_waited_for_without_end(api: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("billing_hooks.app.HTTP_STRANGER_BODY_S", 0.0)

    async def dripping() -> AsyncIterator[bytes]:
        while True:
            yield b" "
            await asyncio.sleep(0)

    async def post() -> httpx.Response:
        return await api.http.post("/v1/payments/x", content=dripping())

    assert_problem(api.run(post()), 408, "timeout")


def test_the_body_of_a_question_is_not_read(api: Harness) -> None:
    async def never() -> AsyncIterator[bytes]:
        await asyncio.Event().wait()
        yield b""

    async def ask() -> httpx.Response:
        return await api.http.request("GET", "/healthz", content=never())

    assert api.run(ask()).status_code == 200


def test_one_token_leaves_room_for_the_others(api: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("billing_hooks.app.HTTP_TOKEN_REQUESTS_MAX", 1)

    async def never(began: asyncio.Event) -> AsyncIterator[bytes]:
        yield b"{"
        began.set()
        await asyncio.Event().wait()

    async def work() -> None:
        began = asyncio.Event()
        headers = {role: {"Authorization": f"Bearer {token_of(role)}"} for role in ROLES}
        slow = asyncio.create_task(api.http.put("/v1/plans/p", content=never(began), headers=headers["billing"]))
        await began.wait()
        crowded = await api.http.get("/v1/plans", headers=headers["billing"] | {"X-Actor": "anna"})
        assert_problem(crowded, 503, "unavailable")
        assert (await api.http.get("/v1/plans", headers=headers["reader"])).status_code == 200
        slow.cancel()
        await asyncio.gather(slow, return_exceptions=True)
        assert (await api.http.get("/v1/plans", headers=headers["billing"])).status_code == 200

    api.run(work())
