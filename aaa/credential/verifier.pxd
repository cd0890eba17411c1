cimport cython
from native.crypto cimport equal
from native.crypto cimport verify_chap as chap_matches

cdef int _CLEARTEXT
cdef int _NT_HASH
cdef int _CRYPT
cdef int _ARGON2
cdef int _PBKDF2
cdef int _SSHA

@cython.final
@cython.no_gc
cdef class Verifier:
    cdef readonly int scheme
    cdef readonly bytes secret

cpdef bint is_slow(Verifier verifier)
cpdef bint supports(Verifier verifier, int method)
@cython.locals(scheme=int)
cpdef bint verify_password(Verifier verifier, bytes password) except -1
cpdef bint verify_chap(Verifier verifier, int identifier, bytes challenge, bytes response) except -1
cpdef bytes password_hash(Verifier verifier)
cpdef bint verify_mschap(Verifier verifier, bytes challenge, bytes response) except -1
cpdef tuple verify_mschapv2(Verifier verifier, bytes authenticator_challenge, bytes peer_challenge, bytes user_name,
                            bytes response)
