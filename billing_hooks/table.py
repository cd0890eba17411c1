"""Every endpoint that asks the engine, from all topics: routes, roles, OpenAPI, docs and tests walk this one table."""

from typing import Final

from billing_hooks import endpoints, see
from billing_hooks.endpoints import Endpoint

ENDPOINTS: Final[tuple[Endpoint, ...]] = (*endpoints.ENDPOINTS, *see.ENDPOINTS)
