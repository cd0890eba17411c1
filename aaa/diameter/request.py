"""A request of a peer on its way through the server. Knows nothing else; compiled, because every request is one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from native.diameter import Message

if TYPE_CHECKING:
    from aaa.diameter.peer import Connection, Peer


class Request:
    """To be answered by peer.send_answer(). Its grammar was checked, unless this node relays."""

    def __init__(self, peer: Peer, connection: Connection, message: Message) -> None:
        self.peer = peer
        self.connection = connection
        self.message = message
        self.entry: Any = None
        """Of the table of duplicates: what is known of this request."""

    def __repr__(self) -> str:
        return f"<Request {self.message.hop_by_hop:#x} of {self.peer!r}>"
