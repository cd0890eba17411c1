from libc.stdint cimport uint16_t
from native.datagram cimport Datagram

cdef class Packet(Datagram):
    """A RADIUS packet viewed in place; attributes are reached by number and vendor, no dict is built."""
    cdef readonly int fault         # 0 after a sound decode, else a FAULT_ number
    cdef readonly int code
    cdef readonly int identifier
    cdef int size                   # the header's Length, <= Datagram.length
    cdef uint16_t first[256]        # offset of the first attribute of each type; 0 = none
    # further private fields as the implementation needs

    cpdef int decode(self)
    cpdef Packet copy(self)
    cpdef bint has(self, int number)
    cpdef bytes get(self, int number)
    cpdef object get_integer(self, int number)
    cpdef bytes get_vendor(self, int vendor, int number)

cdef class Secret:
    """A shared secret with its digest contexts computed once; never printed."""
    cpdef int verify_message_authenticator(self, Packet packet)
    cpdef bint verify_accounting(self, Packet packet)
    cpdef bytes reveal_password(self, Packet packet)
    cpdef bytes respond(self, Packet request, int code, bytes attributes, bint message_authenticator)
