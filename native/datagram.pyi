"""Batch datagram socket: recvmmsg and sendmmsg, IPv4 and IPv6; answers leave from the address that was asked."""

class Datagram:
    address: bytes
    """Far address: 4 octets (IPv4, also when v4-mapped) or 16 (IPv6)."""
    port: int
    received_ns: int
    """Kernel receive time (SO_TIMESTAMPNS), epoch nanoseconds; 0 when unknown."""
    truncated: bool
    """The kernel had more octets than the slot could hold."""

    def __init__(self, payload: bytes = b"", address: tuple[str, int] | None = None) -> None:
        """An outbound datagram to a numeric (host, port); a bare one becomes a slot of a BatchSocket."""
    def reply(self, payload: bytes) -> Datagram:
        """A datagram back to where this one came from, leaving from the address it came to."""
    @property
    def payload(self) -> bytes:
        """A copy of the octets."""

class BatchSocket:
    fd: int
    send_errors: int
    slots: list[Datagram]

    def __init__(
        self,
        host: str,
        port: int,
        slots: list[Datagram],
        *,
        slot_size: int = 4096,
        receive_buffer_bytes: int = 4 << 20,
        send_buffer_bytes: int = 4 << 20,
        reuse_port: bool = False,
        timestamps: bool = True,
    ) -> None:
        """Bind a non-blocking UDP socket. `slots` are Datagram (or subclass) objects, reused for every batch.

        Without timestamps received_ns stays 0 and the kernel does less. Raises OSError as bind() does, ValueError for
        a host that is not numeric.
        """
    def receive(self) -> int:
        """Drain up to len(slots) datagrams into slots[0:n]; returns n, 0 when nothing is ready.

        Slots borrow the arena: their content is valid until the next receive().
        """
    def send(self, datagrams: list[Datagram]) -> int:
        """Send in order with as few system calls as possible; returns how many the kernel took.

        A datagram that the kernel refuses (unreachable, too long) is skipped and counted in
        send_errors; a full send buffer ends the call early.
        """
    @property
    def drops(self) -> int:
        """Datagrams dropped by the kernel because the receive buffer was full, since bind."""
    @property
    def receive_buffer_bytes(self) -> int:
        """The receive buffer that the kernel granted."""
    def address(self) -> tuple[str, int]:
        """The bound (host, port)."""
    def fileno(self) -> int: ...
    def close(self) -> None: ...
