# cython: language_level=3
"""Short authenticated tokens: numbers that leave the server and come back, sealed with truncated HMAC-SHA256."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memcpy, memset

cdef extern from "<openssl/sha.h>" nogil:
    int SHA256_Init(SHA256_CTX *c)
    int SHA256_Update(SHA256_CTX *c, const void *data, size_t len)
    int SHA256_Final(unsigned char *md, SHA256_CTX *c)

cdef extern from "<openssl/crypto.h>" nogil:
    int CRYPTO_memcmp(const void *a, const void *b, size_t len)

DEF BODY = 17
DEF MAC = 8
TOKEN_SIZE = BODY + MAC
cdef unsigned char VERSION = 1


cdef inline void store(unsigned char *at, uint64_t value, int size) noexcept nogil:
    cdef int i
    for i in range(size - 1, -1, -1):
        at[i] = value & 0xFF
        value >>= 8


cdef inline uint64_t fetch(const unsigned char *at, int size) noexcept nogil:
    cdef uint64_t value = 0
    cdef int i
    for i in range(size):
        value = value << 8 | at[i]
    return value


cdef class TokenKey:
    def __init__(self, bytes key):
        cdef unsigned char pad[64]
        cdef Py_ssize_t size = PyBytes_GET_SIZE(key)
        cdef int i
        if not 16 <= size <= 64:
            raise ValueError("a token key has 16 to 64 octets")
        memset(pad, 0, 64)
        memcpy(pad, PyBytes_AS_STRING(key), size)
        for i in range(64):
            pad[i] ^= 0x36
        SHA256_Init(&self.inner)
        SHA256_Update(&self.inner, pad, 64)
        for i in range(64):
            pad[i] ^= 0x36 ^ 0x5C
        SHA256_Init(&self.outer)
        SHA256_Update(&self.outer, pad, 64)
        memset(pad, 0, 64)

    cdef void authenticate(self, const unsigned char *body, unsigned char *mac) noexcept:
        cdef SHA256_CTX context = self.inner
        cdef unsigned char digest[32]
        SHA256_Update(&context, body, BODY)
        SHA256_Final(digest, &context)
        context = self.outer
        SHA256_Update(&context, digest, 32)
        SHA256_Final(digest, &context)
        memcpy(mac, digest, MAC)

    cpdef bytes seal(self, uint64_t first, uint32_t second, uint32_t third):
        cdef bytes token = PyBytes_FromStringAndSize(NULL, TOKEN_SIZE)
        cdef unsigned char *at = <unsigned char *> PyBytes_AS_STRING(token)
        at[0] = VERSION
        store(at + 1, first, 8)
        store(at + 9, second, 4)
        store(at + 13, third, 4)
        self.authenticate(at, at + BODY)
        return token

    cpdef tuple open(self, bytes token):
        cdef const unsigned char *at
        cdef unsigned char mac[MAC]
        if token is None or PyBytes_GET_SIZE(token) != TOKEN_SIZE:
            return None
        at = <const unsigned char *> PyBytes_AS_STRING(token)
        if at[0] != VERSION:
            return None
        self.authenticate(at, mac)
        if CRYPTO_memcmp(mac, at + BODY, MAC) != 0:
            return None
        return fetch(at + 1, 8), fetch(at + 9, 4), fetch(at + 13, 4)
