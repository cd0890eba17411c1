from libc.stdint cimport int64_t, uint64_t
from native.datagram cimport Datagram

cdef struct EntrySet            # private to duplicates.pyx

cdef class DuplicateCache:
    """Duplicate cache (RFC 5080 §2.2.2)."""
    cdef readonly int64_t displaced
    cdef double lifetime_s
    cdef uint64_t key0
    cdef uint64_t key1
    cdef Py_ssize_t count
    cdef Py_ssize_t sets_count      # a power of two
    cdef EntrySet* sets

    cdef int locate(self, Datagram packet, EntrySet** entries) except -2

    cpdef object check(self, Datagram packet, double now)
    cpdef void keep(self, Datagram packet, bytes response, double now) except *
    cpdef void forget(self, Datagram packet) except *
