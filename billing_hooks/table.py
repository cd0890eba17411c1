"""Every endpoint that asks the engine, from all topics: routes, roles, OpenAPI, docs and tests walk this one table."""

from typing import Final

from billing_hooks import audit, digest, endpoints, exports, feed, inventory, payments, peers, see, snapshot
from billing_hooks.endpoints import Endpoint

ENDPOINTS: Final[tuple[Endpoint, ...]] = (
    *endpoints.ENDPOINTS,
    *snapshot.ENDPOINTS,
    *digest.ENDPOINTS,
    *see.ENDPOINTS,
    *inventory.ENDPOINTS,
    *feed.ENDPOINTS,
    *audit.ENDPOINTS,
    *exports.ENDPOINTS,
    *payments.ENDPOINTS,
    *peers.ENDPOINTS,
)
