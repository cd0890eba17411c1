"""The OpenAPI document against the running server: what fits it, and what breaks it, gets a documented answer."""

from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import content_type_conformance, response_schema_conformance

from billing_hooks.table import ENDPOINTS
from tests.e2e.peers import TOKEN, RunningServer, nas

EXAMPLES = 6
ENDLESS = ("/v1/events", "/v1/events/stream", "/v1/trace")
"""What waits for something to happen, and streams that end when the client goes."""
CHECKS = [not_a_server_error, content_type_conformance, response_schema_conformance]
OPERATIONS = sorted({(endpoint.method, endpoint.path) for endpoint in ENDPOINTS if endpoint.path not in ENDLESS})
PROBES = ("/healthz", "/readyz")
"""They take nothing that could be wrong."""


@pytest.fixture(scope="module")
def contract(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[RunningServer, Any]]:
    server = RunningServer(tmp_path_factory.mktemp("contract"), nas("local", "127.0.0.1"))
    server.plan("home-50", rate={"down_bps": 1_000, "up_bps": 1_000}, quota={"octets": 1_000})
    server.service("0")
    schema = schemathesis.openapi.from_dict(server.api("GET", "/openapi.json"))
    schema.config.update(base_url=server.url)
    yield server, schema
    code = server.stop()
    server.check_log()
    assert code == 0


@pytest.mark.parametrize(("method", "path"), OPERATIONS, ids=[" ".join(operation) for operation in OPERATIONS])
@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE], ids=["fits", "breaks"])
def test_no_request_breaks_the_contract(
    contract: tuple[RunningServer, Any], method: str, path: str, mode: GenerationMode
) -> None:
    _, schema = contract
    headers = {"Authorization": f"Bearer {TOKEN}"}
    if mode is GenerationMode.NEGATIVE and path in PROBES:
        return

    @given(case=schema[path][method].as_strategy(generation_mode=mode))
    @settings(
        max_examples=EXAMPLES, derandomize=True, deadline=None, database=None, phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    def check(case: Any) -> None:
        if isinstance(case.body, dict) and method in ("PUT", "PATCH"):
            # An id beside the one of the path is refused, and nothing behind it is reached.
            case.body.pop("id", None)
        response = case.call(headers=headers, timeout=20)
        case.validate_response(response, checks=CHECKS)
        if response.status_code >= 400:
            assert response.headers["content-type"] == ["application/problem+json"]
            assert response.json()["status"] == response.status_code

    check()
