from libc.stdint cimport int64_t, uint16_t, uint32_t
from native.datagram cimport Datagram

cdef extern from "<openssl/md5.h>" nogil:
    ctypedef struct MD5_CTX:
        pass

cpdef enum:
    FAULT_NONE = 0
    FAULT_TRUNCATED = 1
    FAULT_TOO_SHORT = 2
    FAULT_LENGTH_FIELD = 3
    FAULT_ATTRIBUTE_LENGTH = 4
    FAULT_MESSAGE_AUTHENTICATOR_LENGTH = 5
    FAULT_TOO_MANY_ATTRIBUTES = 6

cpdef enum:
    MA_ABSENT = 0
    MA_VALID = 1
    MA_INVALID = 2

cpdef enum:
    PACKET_OCTETS_MAX = 4096    # RFC 2865 §3
    ATTRIBUTE_COUNT_MAX = 512   # Bound: more than a full packet of ordinary attributes (8 octets each) holds

cdef class Packet(Datagram):
    """A RADIUS packet viewed in place; attributes are reached by number and vendor, no dict is built.

    Invariant: size is 0 unless the last decode was sound, and then every attribute lies within size.
    """
    cdef readonly int fault         # 0 after a sound decode, else a FAULT_ number
    cdef readonly int code
    cdef readonly int identifier
    cdef int size                   # the header's Length, <= Datagram.length
    cdef uint16_t first[256]        # offset of the first attribute of each type; 0 = none

    cdef int index(self) noexcept
    cdef object find_vendor(self, int64_t vendor, int64_t number, list into)
    cdef object find_extended(self, tuple path)

    cpdef int decode(self)
    cpdef Packet copy(self)
    cpdef bint has(self, int number)
    cpdef bytes get(self, int number)
    cpdef object get_integer(self, int number)
    cpdef bytes get_vendor(self, int64_t vendor, int64_t number)

cdef class Secret:
    """A shared secret with its digest contexts computed once; never printed."""
    cdef bytes secret
    cdef MD5_CTX prefix             # MD5 after the secret: hiding of passwords
    cdef MD5_CTX inner              # HMAC-MD5 after key xor ipad
    cdef MD5_CTX outer              # HMAC-MD5 after key xor opad

    cdef void sign(self, const unsigned char* data, size_t size, unsigned char* digest) noexcept nogil
    cdef void close(self, const unsigned char* data, size_t size, unsigned char* digest) noexcept
    cdef void pad(self, const unsigned char* data, const unsigned char* salt, unsigned char* digest) noexcept nogil

    cpdef int verify_message_authenticator(self, Packet packet)
    cpdef bint verify_accounting(self, Packet packet)
    cpdef bytes reveal_password(self, Packet packet)
    cpdef bytes respond(self, Packet request, int code, bytes attributes, bint message_authenticator)

cpdef bytes integer_attribute(int number, uint32_t value)
