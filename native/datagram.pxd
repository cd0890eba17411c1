from libc.stdint cimport int64_t

cdef extern from "<netinet/in.h>" nogil:
    cdef struct sockaddr_in6:
        pass

cdef class Datagram:
    """One datagram in or out: bytes, the far address, and the local address it came to or leaves from."""
    cdef unsigned char* data        # borrowed from an arena, or from `owner`
    cdef Py_ssize_t length          # octets at data
    cdef readonly bint truncated    # the kernel had more than the slot could hold
    cdef object owner               # keeps data alive: the payload, or the arena of a slot; never part of a cycle
    cdef sockaddr_in6 peer          # AF_INET or AF_INET6, large enough for both
    cdef int peer_length
    cdef unsigned char local[16]    # address asked; 4 octets used for AF_INET; zeros leave the choice to the kernel
    cdef int local_index            # interface of a link-local address; 0 when unused
    cdef readonly bytes address     # far address: 4 octets (IPv4 and v4-mapped) or 16
    cdef readonly int port          # far port
    cdef readonly int64_t received_ns   # kernel receive time, epoch nanoseconds; 0 when unknown

    cpdef Datagram reply(self, bytes payload)

cdef class BatchSocket:
    cdef readonly int fd
    cdef readonly list slots        # list[Datagram], filled from index 0
    cdef readonly int64_t send_errors
    cdef int family
    cdef Py_ssize_t slot_size
    cdef unsigned char* arena
    cdef void* messages             # private: mmsghdr, iovec and control buffers
    cdef object store               # the Arena that `arena` points into
    cdef tuple kept                 # the slots again, out of reach of a change to the list
    cdef list addresses             # far addresses seen lately, to share one bytes object each

    cpdef int receive(self) except -1
    cpdef int send(self, list datagrams) except -1
