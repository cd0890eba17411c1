"""Batch datagram socket: recvmmsg and sendmmsg, IPv4 and IPv6; answers leave from the address that was asked.

Knows octets and addresses; knows no protocol, no client, no setting.
The GIL is held over both system calls: neither blocks, and taking it back beside a busy thread can cost a
whole switch interval (5 ms).
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.exc cimport PyErr_SetFromErrno
from cpython.list cimport PyList_GET_ITEM, PyList_GET_SIZE
from cpython.tuple cimport PyTuple_GET_ITEM
from libc.errno cimport EAGAIN, EBADF, EINTR, errno
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcmp, memcpy, memset

cdef extern from *:
    """
    #include <arpa/inet.h>
    #include <linux/sock_diag.h>
    #include <net/if.h>
    #include <netinet/in.h>
    #include <sys/socket.h>
    #include <time.h>
    #include <unistd.h>
    """

cdef extern from "<sys/socket.h>" nogil:
    ctypedef uint32_t socklen_t
    cdef struct iovec:
        void* iov_base
        size_t iov_len
    cdef struct msghdr:
        void* msg_name
        socklen_t msg_namelen
        iovec* msg_iov
        size_t msg_iovlen
        void* msg_control
        size_t msg_controllen
        int msg_flags
    cdef struct mmsghdr:
        msghdr msg_hdr
        unsigned int msg_len
    cdef struct cmsghdr:
        size_t cmsg_len
        int cmsg_level
        int cmsg_type
    cdef struct sockaddr:
        pass
    cdef struct timespec:
        int64_t tv_sec
        int64_t tv_nsec
    cmsghdr* CMSG_FIRSTHDR(msghdr* message)
    cmsghdr* CMSG_NXTHDR(msghdr* message, cmsghdr* control)
    unsigned char* CMSG_DATA(cmsghdr* control)
    size_t CMSG_LEN(size_t length)
    size_t CMSG_SPACE(size_t length)
    int socket(int family, int kind, int protocol)
    int bind(int fd, const sockaddr* address, socklen_t length)
    int getsockname(int fd, sockaddr* address, socklen_t* length)
    int setsockopt(int fd, int level, int option, const void* value, socklen_t length)
    int getsockopt(int fd, int level, int option, void* value, socklen_t* length)
    int recvmmsg(int fd, mmsghdr* messages, unsigned int count, int flags, timespec* timeout)
    int sendmmsg(int fd, mmsghdr* messages, unsigned int count, int flags)
    int AF_INET, AF_INET6, SOCK_DGRAM, SOCK_CLOEXEC, SOCK_NONBLOCK
    int SOL_SOCKET, SO_RCVBUF, SO_SNDBUF, SO_RCVBUFFORCE, SO_SNDBUFFORCE, SO_REUSEPORT, SO_TIMESTAMPNS
    int SO_MEMINFO, SK_MEMINFO_DROPS, SK_MEMINFO_VARS, MSG_DONTWAIT, MSG_TRUNC

cdef extern from "<netinet/in.h>" nogil:
    cdef struct in_addr:
        uint32_t s_addr
    cdef struct in6_addr:
        uint8_t s6_addr[16]
    cdef struct sockaddr_in:
        uint16_t sin_family
        uint16_t sin_port
        in_addr sin_addr
    cdef struct address_in6 "sockaddr_in6":
        uint16_t sin6_family
        uint16_t sin6_port
        in6_addr sin6_addr
        uint32_t sin6_scope_id
    cdef struct in_pktinfo:
        int ipi_ifindex
        in_addr ipi_spec_dst
        in_addr ipi_addr
    cdef struct in6_pktinfo:
        in6_addr ipi6_addr
        unsigned int ipi6_ifindex
    int IPPROTO_IP, IP_PKTINFO, IP_MTU_DISCOVER, IP_PMTUDISC_DONT
    int IPPROTO_IPV6, IPV6_V6ONLY, IPV6_RECVPKTINFO, IPV6_PKTINFO, IPV6_MTU_DISCOVER, IPV6_PMTUDISC_DONT
    uint16_t ntohs(uint16_t value)
    uint16_t htons(uint16_t value)

cdef extern from "<arpa/inet.h>" nogil:
    int inet_pton(int family, const char* text, void* address)
    const char* inet_ntop(int family, const void* address, char* text, socklen_t size)

cdef extern from "<net/if.h>" nogil:
    unsigned int if_nametoindex(const char* name)

cdef extern from "<stdlib.h>" nogil:
    void* aligned_alloc(size_t alignment, size_t size)

cdef extern from "<unistd.h>" nogil:
    int close_fd "close"(int fd)

cdef enum:
    SLOTS_MAX = 1024            # UIO_MAXIOV, what one recvmmsg or sendmmsg takes
    SLOT_SIZE_MAX = 65535       # no UDP payload is longer
    CONTROL_WORDS = 16          # 128 bytes: timestamp (32) and packet info (40), with room
    ADDRESSES_COUNT = 1024      # Bound: 8 KiB of pointers; a power of two
    MEMINFO_WORDS_MAX = 32      # the kernel fills SK_MEMINFO_VARS (9 today) and cuts to what is offered
    LINE = 64                   # bytes of a cache line

cdef struct Part:
    # What a mmsghdr points to.
    iovec vector
    uint64_t control[CONTROL_WORDS]

cdef struct Messages:
    mmsghdr* received
    Part* received_parts
    mmsghdr* sent
    Part* sent_parts


@cython.no_gc
@cython.final
cdef class Arena:
    # The octets of a batch; every slot holds a reference, so none can outlive them.
    cdef unsigned char* octets

    def __cinit__(self, size_t size):
        self.octets = <unsigned char*>aligned_alloc(LINE, size)
        if self.octets is NULL:
            raise MemoryError
        memset(self.octets, 0, size)

    def __dealloc__(self):
        free(self.octets)


cdef inline address_in6* in6(sockaddr_in6* address) noexcept nogil:
    return <address_in6*>address


cdef inline sockaddr_in* in4(sockaddr_in6* address) noexcept nogil:
    return <sockaddr_in*>address


cdef inline int far_octets(sockaddr_in6* address, const unsigned char** octets) noexcept nogil:
    """Where the address's octets lie; returns 4 (IPv4, v4-mapped), 16, or 0 for another family."""
    cdef const unsigned char* start
    if in6(address).sin6_family == AF_INET:
        octets[0] = <const unsigned char*>&in4(address).sin_addr
        return 4
    if in6(address).sin6_family != AF_INET6:
        return 0
    start = in6(address).sin6_addr.s6_addr
    if memcmp(start, b"\0\0\0\0\0\0\0\0\0\0\xff\xff", 12) == 0:
        octets[0] = start + 12
        return 4
    octets[0] = start
    return 16


cdef inline bint is_link_local(const unsigned char* address) noexcept nogil:
    return address[0] == 0xfe and (address[1] & 0xc0) == 0x80


cdef inline bint is_zero(const unsigned char* octets, int count) noexcept nogil:
    cdef int i
    for i in range(count):
        if octets[i]:
            return False
    return True


cdef int parse_address(str host, int port, sockaddr_in6* address) except -1:
    """Fill a socket address from a numeric host, with %zone for IPv6; returns its length."""
    cdef bytes name
    cdef unsigned int scope
    if host is None or not 0 <= port <= 65535:
        raise ValueError(f"not a numeric address and a port: {host!r}, {port}")
    memset(address, 0, sizeof(address_in6))
    text, percent, zone = host.partition("%")
    # inet_pton would stop at a NUL and take what stands before it.
    if not host.isascii() or "\0" in host:
        raise ValueError(f"not a numeric address: {host!r}")
    name = text.encode()
    if not percent and inet_pton(AF_INET, name, &in4(address).sin_addr) == 1:
        in4(address).sin_family = AF_INET
        in4(address).sin_port = htons(port)
        return sizeof(sockaddr_in)
    if inet_pton(AF_INET6, name, &in6(address).sin6_addr) != 1:
        raise ValueError(f"not a numeric address: {host!r}")
    in6(address).sin6_family = AF_INET6
    in6(address).sin6_port = htons(port)
    if percent:
        name = zone.encode()
        scope = int(zone) if zone.isdigit() and len(zone) < 10 else if_nametoindex(name)
        if scope == 0:
            raise ValueError(f"no such interface: {host!r}")
        in6(address).sin6_scope_id = scope
    return sizeof(address_in6)


cdef int set_option(int fd, int level, int option, int value) except -1:
    if setsockopt(fd, level, option, &value, sizeof(value)) < 0:
        PyErr_SetFromErrno(OSError)
    return 0


cdef int set_buffer(int fd, int forced, int normal, int size) except -1:
    """The forced option ignores net.core's maximum but needs CAP_NET_ADMIN; the normal one is cut to it."""
    if setsockopt(fd, SOL_SOCKET, forced, &size, sizeof(size)) < 0:
        set_option(fd, SOL_SOCKET, normal, size)
    return 0


@cython.freelist(256)
@cython.no_gc
cdef class Datagram:
    """One datagram in or out: bytes, the far address, and the local address it came to or leaves from."""

    def __init__(self, bytes payload not None=b"", tuple address=None):
        """An outbound datagram to a numeric (host, port); a bare one becomes a slot of a BatchSocket.

        host: IPv4 or IPv6, the latter with %interface where link-local. port: 1..65535.
        Raises ValueError for anything else.
        """
        cdef sockaddr_in6 peer
        cdef int peer_length = 0
        cdef int port = 0
        cdef bytes far = b""
        if address is not None:
            if len(address) != 2:
                raise ValueError(f"not a (host, port): {address!r}")
            host, port = address
            if port == 0:
                raise ValueError(f"no datagram can go to port 0: {address!r}")
            peer_length = parse_address(host, port, &peer)
            far = far_address(&peer)
            self.peer = peer
        self.peer_length = peer_length
        self.address = far
        self.port = port
        self.owner = payload
        self.data = <unsigned char*>PyBytes_AS_STRING(payload)
        self.length = PyBytes_GET_SIZE(payload)

    cpdef Datagram reply(self, bytes payload):
        """A datagram back to where this one came from, leaving from the address it came to.

        Raises ValueError when this one has no address. Cost: bench/native_datagram.py.
        """
        cdef Datagram answer
        if payload is None:
            raise TypeError("payload must be bytes")
        if self.peer_length == 0:
            raise ValueError("the datagram has no address")
        answer = Datagram.__new__(Datagram)
        answer.data = <unsigned char*>PyBytes_AS_STRING(payload)
        answer.length = PyBytes_GET_SIZE(payload)
        answer.owner = payload
        answer.peer = self.peer
        answer.peer_length = self.peer_length
        memcpy(answer.local, self.local, sizeof(self.local))
        answer.local_index = self.local_index
        answer.address = self.address
        answer.port = self.port
        return answer

    @property
    def payload(self):
        """A copy of the octets."""
        if self.data is NULL:
            return b""
        return PyBytes_FromStringAndSize(<char*>self.data, self.length)

    def __repr__(self):
        return f"<{type(self).__name__} {self.length} octets, far {(self.address or b'').hex()}:{self.port}>"


cdef bytes far_address(sockaddr_in6* address):
    cdef const unsigned char* octets = NULL
    cdef int size = far_octets(address, &octets)
    return PyBytes_FromStringAndSize(<const char*>octets, size) if size else b""


cdef int allocate(BatchSocket batch) except -1:
    cdef Py_ssize_t count = len(batch.slots)
    # An odd number of lines: slots 4096 bytes apart would all begin in one set of the first-level cache.
    cdef Py_ssize_t stride = ((batch.slot_size + LINE - 1) // LINE | 1) * LINE
    cdef Arena arena = Arena(count * stride)
    cdef Messages* messages = <Messages*>calloc(1, sizeof(Messages))
    cdef Datagram slot
    cdef Py_ssize_t i
    batch.messages = messages
    if messages is NULL:
        raise MemoryError
    messages.received = <mmsghdr*>calloc(count, sizeof(mmsghdr))
    messages.received_parts = <Part*>calloc(count, sizeof(Part))
    messages.sent = <mmsghdr*>calloc(count, sizeof(mmsghdr))
    messages.sent_parts = <Part*>calloc(count, sizeof(Part))
    if not (messages.received and messages.received_parts and messages.sent and messages.sent_parts):
        raise MemoryError
    batch.arena = arena.octets
    batch.store = arena
    batch.kept = tuple(batch.slots)
    for i in range(count):
        slot = batch.kept[i]
        slot.owner = arena
        slot.data = arena.octets + i * stride
        slot.length = 0
        slot.peer_length = 0
        messages.received_parts[i].vector.iov_base = slot.data
        messages.received_parts[i].vector.iov_len = batch.slot_size
        messages.received[i].msg_hdr.msg_iov = &messages.received_parts[i].vector
        messages.received[i].msg_hdr.msg_iovlen = 1
        messages.received[i].msg_hdr.msg_name = &slot.peer
        messages.received[i].msg_hdr.msg_control = messages.received_parts[i].control
        messages.sent[i].msg_hdr.msg_iov = &messages.sent_parts[i].vector
        messages.sent[i].msg_hdr.msg_iovlen = 1
    return 0


cdef int set_options(int fd, sockaddr_in6* address, int receive_bytes, int send_bytes) except -1:
    cdef bint wildcard
    set_buffer(fd, SO_RCVBUFFORCE, SO_RCVBUF, receive_bytes)
    set_buffer(fd, SO_SNDBUFFORCE, SO_SNDBUF, send_bytes)
    # Never "don't fragment": a router on the way may cut a long answer, instead of losing one per path.
    # Packet info only on a wildcard: otherwise the bound address is the one that was asked.
    if in6(address).sin6_family == AF_INET:
        set_option(fd, IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DONT)
        wildcard = in4(address).sin_addr.s_addr == 0
        set_option(fd, IPPROTO_IP, IP_PKTINFO, wildcard)
    else:
        set_option(fd, IPPROTO_IPV6, IPV6_V6ONLY, 1)
        set_option(fd, IPPROTO_IPV6, IPV6_MTU_DISCOVER, IPV6_PMTUDISC_DONT)
        wildcard = is_zero(in6(address).sin6_addr.s6_addr, 16)
        set_option(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, wildcard)
    return 0


cdef inline void read_control(Datagram slot, msghdr* message) noexcept:
    cdef cmsghdr* control = CMSG_FIRSTHDR(message)
    cdef unsigned char* data
    cdef timespec* time
    cdef in_pktinfo* info4
    cdef in6_pktinfo* info6
    slot.received_ns = 0
    slot.local_index = 0
    memset(slot.local, 0, sizeof(slot.local))
    while control is not NULL:
        data = CMSG_DATA(control)
        if control.cmsg_level == SOL_SOCKET and control.cmsg_type == SO_TIMESTAMPNS:
            if control.cmsg_len >= CMSG_LEN(sizeof(timespec)):
                time = <timespec*>data
                slot.received_ns = time.tv_sec * 1000000000 + time.tv_nsec
        elif control.cmsg_level == IPPROTO_IP and control.cmsg_type == IP_PKTINFO:
            if control.cmsg_len >= CMSG_LEN(sizeof(in_pktinfo)):
                # Not ipi_addr: for a broadcast that is no address to answer from. No interface either:
                # the way back is routing's choice.
                info4 = <in_pktinfo*>data
                memcpy(slot.local, &info4.ipi_spec_dst, 4)
        elif control.cmsg_level == IPPROTO_IPV6 and control.cmsg_type == IPV6_PKTINFO:
            if control.cmsg_len >= CMSG_LEN(sizeof(in6_pktinfo)):
                info6 = <in6_pktinfo*>data
                if info6.ipi6_addr.s6_addr[0] != 0xff:      # multicast
                    memcpy(slot.local, info6.ipi6_addr.s6_addr, 16)
                if is_link_local(info6.ipi6_addr.s6_addr):
                    slot.local_index = <int>info6.ipi6_ifindex
        control = CMSG_NXTHDR(message, control)


cdef inline int read_address(Datagram slot, list addresses) except -1:
    """Set the slot's far address, with the bytes object that the same address had before where possible."""
    cdef const unsigned char* octets = NULL
    cdef int size = far_octets(&slot.peer, &octets)
    cdef uint32_t last
    cdef Py_ssize_t place
    cdef bytes known
    slot.port = ntohs(in6(&slot.peer).sin6_port)
    if size == 0:
        slot.address = b""
        return 0
    memcpy(&last, octets + size - 4, 4)
    place = ((last * <uint32_t>0x9e3779b1) >> 16) & (ADDRESSES_COUNT - 1)
    known = <bytes>PyList_GET_ITEM(addresses, place)
    if known is None or PyBytes_GET_SIZE(known) != size or memcmp(PyBytes_AS_STRING(known), octets, size) != 0:
        known = PyBytes_FromStringAndSize(<const char*>octets, size)
        addresses[place] = known
    slot.address = known
    return 0


cdef class BatchSocket:
    """A non-blocking UDP socket that receives into an arena of slots, and sends, a batch at a time."""

    def __cinit__(self):
        self.fd = -1

    def __init__(
        self,
        str host not None,
        int port,
        list slots not None,
        *,
        Py_ssize_t slot_size=4096,
        int receive_buffer_bytes=4 << 20,
        int send_buffer_bytes=4 << 20,
        bint reuse_port=False,
        bint timestamps=True,
    ):
        """Bind a non-blocking UDP socket. `slots` are Datagram (or subclass) objects, reused for every batch.

        host: numeric; "::" takes IPv6 only, IPv4 needs a socket of its own. slots: 1..1024, all different.
        slot_size: 1..65535 octets. Buffers go beyond the system's maximum where the process may. Without timestamps
        received_ns stays 0, and the kernel does less per datagram (bench/native_datagram.py).
        Raises OSError as bind() does, ValueError for what is no address or out of range.
        """
        cdef sockaddr_in6 address
        cdef int length
        if self.fd >= 0 or self.messages is not NULL:
            raise ValueError("already bound")
        if not 1 <= len(slots) <= SLOTS_MAX or not 1 <= slot_size <= SLOT_SIZE_MAX:
            raise ValueError(f"slots must be 1..{SLOTS_MAX} of 1..{SLOT_SIZE_MAX} octets")
        if not all(isinstance(slot, Datagram) for slot in slots):
            raise TypeError("slots must be Datagram objects")
        if len({id(slot) for slot in slots}) != len(slots):
            raise ValueError("a slot is given twice")
        length = parse_address(host, port, &address)
        self.slots = slots
        self.slot_size = slot_size
        self.family = in6(&address).sin6_family
        self.addresses = [None] * ADDRESSES_COUNT
        allocate(self)
        self.fd = socket(self.family, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)
        if self.fd < 0:
            PyErr_SetFromErrno(OSError)
        try:
            set_options(self.fd, &address, receive_buffer_bytes, send_buffer_bytes)
            if reuse_port:
                set_option(self.fd, SOL_SOCKET, SO_REUSEPORT, 1)
            if timestamps:
                set_option(self.fd, SOL_SOCKET, SO_TIMESTAMPNS, 1)
            if bind(self.fd, <sockaddr*>&address, length) < 0:
                PyErr_SetFromErrno(OSError)
        except BaseException:
            self.close()
            raise

    def __dealloc__(self):
        cdef Messages* messages = <Messages*>self.messages
        if self.fd >= 0:
            close_fd(self.fd)
        if messages is not NULL:
            free(messages.received)
            free(messages.received_parts)
            free(messages.sent)
            free(messages.sent_parts)
            free(messages)

    @cython.boundscheck(False)
    @cython.wraparound(False)
    cpdef int receive(self) except -1:
        """Drain up to len(slots) datagrams into slots[0:n]; returns n, 0 when nothing is ready.

        Slots borrow the arena: their content is valid until the next receive().
        Raises OSError on a closed socket. Cost: bench/native_datagram.py.
        """
        cdef Messages* messages = <Messages*>self.messages
        cdef mmsghdr* message
        cdef Datagram slot
        cdef int count = <int>len(self.kept) if self.kept is not None else 0
        cdef int i
        for i in range(count):
            message = &messages.received[i]
            message.msg_hdr.msg_namelen = sizeof(address_in6)
            message.msg_hdr.msg_controllen = CONTROL_WORDS * sizeof(uint64_t)
            message.msg_hdr.msg_flags = 0
        count = recvmmsg(self.fd, messages.received, count, MSG_DONTWAIT, NULL) if count else 0
        if count < 0:
            if errno == EAGAIN or errno == EINTR:
                return 0
            PyErr_SetFromErrno(OSError)
        for i in range(count):
            message = &messages.received[i]
            slot = <Datagram>PyTuple_GET_ITEM(self.kept, i)
            if slot.owner is not self.store:
                slot.owner = self.store
            slot.data = <unsigned char*>messages.received_parts[i].vector.iov_base
            slot.length = min(<Py_ssize_t>message.msg_len, self.slot_size)
            slot.truncated = (message.msg_hdr.msg_flags & MSG_TRUNC) != 0
            slot.peer_length = <int>message.msg_hdr.msg_namelen
            read_control(slot, &message.msg_hdr)
            read_address(slot, self.addresses)
        return count

    @cython.boundscheck(False)
    @cython.wraparound(False)
    cpdef int send(self, list datagrams) except -1:
        """Send in order with as few system calls as possible; returns how many the kernel took.

        A datagram that the kernel refuses (unreachable, too long, no address) is skipped and counted in
        send_errors; a full send buffer ends the call early: those before position (taken + refused) are done.
        Raises OSError on a closed socket, TypeError for what is no Datagram; then nothing was sent.
        """
        cdef Py_ssize_t total
        cdef Py_ssize_t start = 0
        cdef Py_ssize_t i
        cdef int count, done, result
        cdef Datagram datagram
        cdef int taken = 0
        cdef Messages* messages = <Messages*>self.messages
        if datagrams is None:
            raise TypeError("datagrams must be a list")
        total = PyList_GET_SIZE(datagrams)
        for i in range(total):
            if not isinstance(<object>PyList_GET_ITEM(datagrams, i), Datagram):
                raise TypeError("datagrams must be Datagram objects")
        if self.fd < 0:
            errno = EBADF
            PyErr_SetFromErrno(OSError)
        while start < total:
            count = <int>min(total - start, <Py_ssize_t>len(self.kept))
            for i in range(count):
                datagram = <Datagram>PyList_GET_ITEM(datagrams, start + i)
                write_message(datagram, &messages.sent[i], &messages.sent_parts[i])
            done = 0
            while done < count:
                result = sendmmsg(self.fd, messages.sent + done, count - done, MSG_DONTWAIT)
                if result > 0:
                    taken += result
                    done += result
                elif errno == EAGAIN:
                    return taken
                elif errno != EINTR:
                    self.send_errors += 1
                    done += 1
            start += count
        return taken

    @property
    def drops(self):
        """Datagrams that the kernel dropped because this socket's receive buffer was full, since bind."""
        cdef uint32_t words[MEMINFO_WORDS_MAX]
        cdef socklen_t size = sizeof(words)
        memset(words, 0, sizeof(words))
        if getsockopt(self.fd, SOL_SOCKET, SO_MEMINFO, words, &size) < 0:
            PyErr_SetFromErrno(OSError)
        return words[SK_MEMINFO_DROPS]

    @property
    def receive_buffer_bytes(self):
        """The receive buffer that the kernel granted: less than asked where net.core.rmem_max cuts it."""
        cdef int value = 0
        cdef socklen_t size = sizeof(value)
        if getsockopt(self.fd, SOL_SOCKET, SO_RCVBUF, &value, &size) < 0:
            PyErr_SetFromErrno(OSError)
        return value // 2       # the kernel doubles what is asked, for its own bookkeeping

    def address(self):
        """The bound (host, port); a link-local host has its %interface number."""
        cdef sockaddr_in6 bound
        cdef socklen_t size = sizeof(address_in6)
        cdef char text[64]
        cdef const void* octets
        memset(&bound, 0, sizeof(address_in6))
        if getsockname(self.fd, <sockaddr*>&bound, &size) < 0:
            PyErr_SetFromErrno(OSError)
        if self.family == AF_INET:
            octets = &in4(&bound).sin_addr
        else:
            octets = &in6(&bound).sin6_addr
        if inet_ntop(self.family, octets, text, sizeof(text)) is NULL:
            PyErr_SetFromErrno(OSError)
        host = (<bytes>text).decode()
        if self.family == AF_INET6 and in6(&bound).sin6_scope_id:
            host += f"%{in6(&bound).sin6_scope_id}"
        return host, ntohs(in6(&bound).sin6_port)

    def fileno(self):
        """The descriptor; -1 once closed."""
        return self.fd

    def close(self):
        """Close the descriptor; what the slots hold stays readable. Closing twice is harmless."""
        cdef int fd = self.fd
        self.fd = -1
        if fd >= 0:
            close_fd(fd)


cdef inline void write_message(Datagram datagram, mmsghdr* message, Part* part) noexcept:
    """Point a message at the datagram, which the caller keeps alive until it is sent."""
    cdef cmsghdr* control = <cmsghdr*>part.control
    cdef in_pktinfo* info4
    cdef in6_pktinfo* info6
    part.vector.iov_base = datagram.data
    part.vector.iov_len = datagram.length
    message.msg_hdr.msg_name = &datagram.peer if datagram.peer_length else NULL
    message.msg_hdr.msg_namelen = datagram.peer_length
    message.msg_hdr.msg_control = NULL
    message.msg_hdr.msg_controllen = 0
    message.msg_hdr.msg_flags = 0
    if datagram.peer_length == 0 or (datagram.local_index == 0 and is_zero(datagram.local, 16)):
        return
    if in6(&datagram.peer).sin6_family == AF_INET:
        control.cmsg_level = IPPROTO_IP
        control.cmsg_type = IP_PKTINFO
        control.cmsg_len = CMSG_LEN(sizeof(in_pktinfo))
        message.msg_hdr.msg_controllen = CMSG_SPACE(sizeof(in_pktinfo))
        info4 = <in_pktinfo*>CMSG_DATA(control)
        memset(info4, 0, sizeof(in_pktinfo))
        memcpy(&info4.ipi_spec_dst, datagram.local, 4)
    else:
        control.cmsg_level = IPPROTO_IPV6
        control.cmsg_type = IPV6_PKTINFO
        control.cmsg_len = CMSG_LEN(sizeof(in6_pktinfo))
        message.msg_hdr.msg_controllen = CMSG_SPACE(sizeof(in6_pktinfo))
        info6 = <in6_pktinfo*>CMSG_DATA(control)
        memcpy(info6.ipi6_addr.s6_addr, datagram.local, 16)
        info6.ipi6_ifindex = datagram.local_index
    message.msg_hdr.msg_control = part.control
