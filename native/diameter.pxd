from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

cdef struct Entry:
    uint32_t code
    uint32_t vendor
    uint32_t start      # offset of the AVP's header
    uint32_t value      # offset of its value
    uint32_t length     # octets of its value
    uint32_t flags

cdef class Avps:
    """AVPs in a row, viewed in place.

    Invariant: every one of entries[0:count] lies within octets, header, value and padding.
    """
    cdef bytes octets
    cdef Entry* entries
    cdef int count
    cdef readonly int fault
    cdef readonly int depth
    cdef uint32_t fault_at      # offset of the AVP that ended the index

    cdef int index(self, uint32_t start, uint32_t end) except -1
    cdef Entry* find(self, uint32_t code, uint32_t vendor) noexcept
    cdef Avps inside(self, Entry* entry)
    cdef bytes value_of(self, Entry* entry)
    cpdef bint has(self, uint32_t code, uint32_t vendor=*)
    cpdef bytes get(self, uint32_t code, uint32_t vendor=*)
    cpdef object get_unsigned32(self, uint32_t code, uint32_t vendor=*)
    cpdef object get_unsigned64(self, uint32_t code, uint32_t vendor=*)
    cpdef object get_integer32(self, uint32_t code, uint32_t vendor=*)
    cpdef Avps get_group(self, uint32_t code, uint32_t vendor=*)
    cpdef list get_groups(self, uint32_t code, uint32_t vendor=*)

cdef class Message(Avps):
    """A whole Diameter message."""
    cdef readonly int flags
    cdef readonly uint32_t command
    cdef readonly uint32_t application
    cdef readonly uint32_t hop_by_hop
    cdef readonly uint32_t end_to_end

cdef struct Definition:
    uint64_t key
    uint8_t kind
    uint8_t used

cdef class Definitions:
    """What is known of AVPs, by vendor and code."""
    cdef Definition* table
    cdef uint32_t mask
    cdef uint32_t count
    cdef dict groups            # key -> Grammar

    cdef Definition* slot(self, uint64_t key) noexcept
    cdef int grow(self) except -1

cdef struct Rule:
    uint64_t key
    uint16_t least
    uint16_t most
    uint8_t used

cdef class Grammar:
    """How often each AVP may stand in a command or a group."""
    cdef Definitions definitions
    cdef Rule* rules
    cdef Rule* table
    cdef uint32_t mask
    cdef int count
    cdef bint extensible

    cdef Rule* slot(self, uint64_t key) noexcept
    cpdef tuple check(self, Avps avps)
