"""Tells each MME once that a backup was restored, when it is connected: it registers its subscribers again."""

from __future__ import annotations

import time
from contextlib import closing

from aaa.diameter.codes import RESULT_CODE
from aaa.diameter.peer import Peer
from aaa.limits import DIAMETER_RESET_AGAIN_S, DIAMETER_RESET_DELAY_S
from aaa.mapping.s6a import S6a
from aaa.server.diameter import Diameter
from aaa.state import schema
from aaa.state.resets import Resets
from aaa.state.store import Store
from native.diameter import Message


class ResetTeller:
    """Sends an RSR where one is owed."""

    def __init__(self, store: Store, path: str, diameter: Diameter, s6a: S6a) -> None:
        """path: of the store's database."""
        self._journal = store.journal
        self._diameter = diameter
        self._s6a = s6a
        with closing(schema.connect(path)) as db:
            self._resets = Resets(store, db)

    def note_opened(self, peer: Peer) -> None:
        """A peer is connected. One behind a relay is not known here; it registers in its own time."""
        host = peer.remote.origin_host
        capabilities = peer.capabilities
        if capabilities is None or self._s6a.number not in capabilities.applications or capabilities.relay:
            return
        if self._resets.owes(host.lower()):
            self._diameter.loop.call_later(DIAMETER_RESET_DELAY_S, self._tell, peer)

    def _tell(self, peer: Peer) -> None:
        host, realm = peer.remote.origin_host, peer.remote.origin_realm
        if not peer.is_open or not self._resets.owes(host.lower()):
            return

        def answered(message: Message | None, reason: str) -> None:
            code = None if message is None else message.get_unsigned32(RESULT_CODE)
            # An MME that does not know the command has answered as well.
            if message is not None and (code is None or not 3002 <= code < 4000):
                self._resets.note_told(host.lower())
                self._journal.flush()

        request = self._s6a.reset_request()
        assert request.session_id is not None
        self._diameter.send(
            host, realm, self._s6a.number, request.command, request.session_id, request.avps, answered, time.time()
        )
        self._diameter.loop.call_later(DIAMETER_RESET_AGAIN_S, self._tell, peer)
