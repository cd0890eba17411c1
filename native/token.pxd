from libc.stdint cimport uint32_t, uint64_t

cdef extern from "<openssl/sha.h>" nogil:
    ctypedef struct SHA256_CTX:
        pass

cdef class TokenKey:
    cdef SHA256_CTX inner
    cdef SHA256_CTX outer

    cdef void authenticate(self, const unsigned char *body, unsigned char *mac) noexcept
    cpdef bytes seal(self, uint64_t first, uint32_t second, uint32_t third)
    cpdef tuple open(self, bytes token)
