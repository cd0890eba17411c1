"""What this process runs beside answering requests: the feed that it follows, and the webhooks that it serves."""

import asyncio
import logging

from prometheus_client import CollectorRegistry, Gauge

from billing_hooks.history import History
from billing_hooks.payments import Provider
from billing_hooks.rpc import RpcClient
from billing_hooks.tail import Feed
from billing_hooks.tokens import ApiSettings
from billing_hooks.webhooks import Webhooks

log = logging.getLogger(__name__)


class Outlets:
    """One for each process."""

    def __init__(self, engine: RpcClient, settings: ApiSettings, registry: CollectorRegistry) -> None:
        self.engine = engine
        # Webhooks do not wait for a client's long look back, nor for an export.
        self.feed = Feed(engine, History(settings.store))
        self.exports = History(settings.store)
        self.webhooks = Webhooks(self.feed, engine, History(settings.store), registry)
        readers = Gauge("aaa_event_readers", "Clients that wait for events, or are streamed to", registry=registry)
        readers.set_function(lambda: self.feed.readers)
        self._changes: asyncio.Queue[ApiSettings] = asyncio.Queue()
        self._task: asyncio.Task[None] | None = None
        self.use(settings)

    def use(self, settings: ApiSettings) -> None:
        """After a reload. Streams end, so that their clients come back with a token that is still valid."""
        self.tokens = {token.name: token for token in settings.tokens}
        self.payments = {entry.name: Provider(entry) for entry in settings.payments}
        self.generation = getattr(self, "generation", 0) + 1
        self.feed.look_around()
        self._changes.put_nowait(settings)

    def start(self) -> None:
        """Serve webhooks from now on, in the running loop."""
        self._task = asyncio.get_running_loop().create_task(self._apply())

    async def stop(self) -> None:
        """End streams and polls; let webhooks save how far they are."""
        self.feed.close()
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        await self.webhooks.stop()

    async def _apply(self) -> None:
        while True:
            settings = await self._changes.get()
            try:
                await self.webhooks.use(settings.webhooks)
            except Exception:
                log.exception("webhooks did not take new settings")
