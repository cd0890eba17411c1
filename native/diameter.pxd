from cpython.object cimport PyObject
from libc.stdint cimport int32_t, uint8_t, uint16_t, uint32_t, uint64_t

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
    cdef uint32_t start         # where the AVPs stand in octets
    cdef uint32_t end

    cdef int index(self, uint32_t start, uint32_t end) except -1
    cdef Entry* find(self, uint32_t code, uint32_t vendor) noexcept
    cdef Avps inside(self, Entry* entry)
    cdef bytes value_of(self, Entry* entry)
    cpdef bint has(self, uint32_t code, uint32_t vendor=*)
    cpdef bytes get(self, uint32_t code, uint32_t vendor=*)
    cpdef str get_text(self, uint32_t code, uint32_t vendor=*)
    cpdef bytes echo(self, uint32_t code, uint32_t vendor=*)
    cpdef list get_all(self, uint32_t code, uint32_t vendor=*)
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

    cpdef bytes sameness(self)

cdef struct Definition:
    uint64_t key
    PyObject* group     # Grammar, kept by Definitions.groups, or NULL
    uint8_t kind
    uint8_t used

cdef class Definitions:
    """What is known of AVPs, by vendor and code."""
    cdef Definition* table
    cdef uint32_t mask
    cdef uint32_t count
    cdef int version            # grows with every change
    cdef dict groups            # key -> Grammar

    cdef Definition* slot(self, uint64_t key) noexcept
    cdef int grow(self) except -1

cdef struct Rule:
    uint64_t key
    PyObject* group             # Grammar or NULL
    uint16_t place              # of its count
    uint16_t least
    uint16_t most
    uint8_t used
    uint8_t known               # it is defined, as `kind`
    uint8_t kind

cdef class Grammar:
    """How often each AVP may stand in a command or a group."""
    cdef Definitions definitions
    cdef Rule* table
    cdef Rule* required         # those with a least number
    cdef uint32_t mask
    cdef int count
    cdef int required_count
    cdef int version            # of the definitions that the table has resolved
    cdef bint extensible

    cdef Rule* slot(self, uint64_t key) noexcept
    cdef int resolve(self) except -1
    cpdef tuple check(self, Avps avps)
    cdef tuple walk(self, bytes octets, uint32_t start, uint32_t end, int depth)

cdef Message parse_message(bytes octets)
cpdef tuple split(bytearray buffer, uint32_t octets_max)
cpdef bytes avp(uint32_t code, bytes value, uint32_t vendor=*, bint mandatory=*)
cpdef bytes unsigned32_avp(uint32_t code, uint32_t value, uint32_t vendor=*, bint mandatory=*)
cpdef bytes integer32_avp(uint32_t code, int32_t value, uint32_t vendor=*, bint mandatory=*)
cpdef bytes unsigned64_avp(uint32_t code, uint64_t value, uint32_t vendor=*, bint mandatory=*)
cpdef bytes grouped_avp(uint32_t code, members, uint32_t vendor=*, bint mandatory=*)
cpdef bytes message(
    int flags, uint32_t command, uint32_t application, uint32_t hop_by_hop, uint32_t end_to_end, avps
)
cpdef bytes answer(Message request, avps, bint error=*)
cpdef bytes readdressed(bytes octets, uint32_t hop_by_hop, bint retransmitted=*)
