"""Milenage and what a vector is made of, through libcrypto: AES by the processor's own instructions where it has them.

Knows octets and sequence numbers; knows no SIM, no store. The contract is milenage.pyi.
Source: TS 35.206 §4, TS 33.102 §6.3, TS 33.401 Annex A.2.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport uint8_t, uint64_t
from libc.string cimport memcpy, memset

cdef extern from "<openssl/evp.h>" nogil:
    ctypedef struct EVP_CIPHER:
        pass
    ctypedef struct EVP_CIPHER_CTX:
        pass
    const EVP_CIPHER* EVP_aes_128_ecb()
    EVP_CIPHER_CTX* EVP_CIPHER_CTX_new()
    int EVP_EncryptInit_ex(EVP_CIPHER_CTX*, const EVP_CIPHER*, void*, const unsigned char*, const unsigned char*)
    int EVP_EncryptUpdate(EVP_CIPHER_CTX*, unsigned char*, int*, const unsigned char*, int)
    int EVP_CIPHER_CTX_set_padding(EVP_CIPHER_CTX*, int)

cdef extern from "<openssl/sha.h>" nogil:
    ctypedef struct SHA256_CTX:
        pass
    int SHA256_Init(SHA256_CTX*)
    int SHA256_Update(SHA256_CTX*, const void*, size_t)
    int SHA256_Final(unsigned char*, SHA256_CTX*)

cdef extern from "<openssl/crypto.h>" nogil:
    int CRYPTO_memcmp(const void*, const void*, size_t)
    void OPENSSL_cleanse(void*, size_t)

cdef uint64_t SQN_END = <uint64_t>1 << 48

cdef struct Outputs:
    uint8_t mac[16]         # MAC-A of f1, MAC-S of f1*
    uint8_t out2[16]        # AK of f5 in the first 6, RES of f2 in the last 8
    uint8_t ck[16]
    uint8_t ik[16]
    uint8_t out5[16]        # AK of f5* in the first 6

# One for all calls: they hold the GIL, and a key is wiped from it by the next.
cdef EVP_CIPHER_CTX* CONTEXT = EVP_CIPHER_CTX_new()
if CONTEXT == NULL or EVP_EncryptInit_ex(CONTEXT, EVP_aes_128_ecb(), NULL, NULL, NULL) != 1:
    raise MemoryError("no AES in libcrypto")
EVP_CIPHER_CTX_set_padding(CONTEXT, 0)
cdef uint8_t NO_KEY[16]
memset(NO_KEY, 0, 16)


cdef inline const uint8_t* octets_of(bytes value) noexcept:
    return <const uint8_t*>PyBytes_AS_STRING(value)


cdef inline bytes to_bytes(const uint8_t* at, Py_ssize_t length):
    return PyBytes_FromStringAndSize(<const char*>at, length)


cdef inline int need(bytes value, Py_ssize_t length, str name) except -1:
    if value is None or PyBytes_GET_SIZE(value) != length:
        raise ValueError(f"{name} has {length} octets")
    return 0


cdef inline void mix(uint8_t* into, const uint8_t* left, const uint8_t* right, int count) noexcept nogil:
    cdef int at
    for at in range(count):
        into[at] = left[at] ^ right[at]


cdef int start(const uint8_t* k) except -1 nogil:
    if EVP_EncryptInit_ex(CONTEXT, NULL, NULL, k, NULL) != 1:
        with gil:
            raise RuntimeError("AES failed")
    return 0


cdef int encrypt(uint8_t* into, const uint8_t* blocks, int count) except -1 nogil:
    cdef int written = 0
    if EVP_EncryptUpdate(CONTEXT, into, &written, blocks, 16 * count) != 1 or written != 16 * count:
        with gil:
            raise RuntimeError("AES failed")
    return 0


cdef int compute(
    const uint8_t* k, const uint8_t* opc, const uint8_t* rand, const uint8_t* sqn, const uint8_t* amf, Outputs* outputs
) except -1 nogil:
    """All of f1 to f5* by six blocks, the last five of them in one call. Lengths were checked by who calls."""
    cdef uint8_t temp[16]
    cdef uint8_t mixed[16]
    cdef uint8_t blocks[80]
    cdef uint8_t* out = <uint8_t*>outputs
    cdef int at, row
    start(k)
    mix(mixed, rand, opc, 16)
    encrypt(temp, mixed, 1)
    # f1: IN1 = SQN || AMF || SQN || AMF, mixed with OPc, turned by r1 = 64 bits; c1 is zero.
    memcpy(mixed, sqn, 6)
    memcpy(mixed + 6, amf, 2)
    memcpy(mixed + 8, mixed, 8)
    for at in range(16):
        blocks[at] = temp[at] ^ mixed[(at + 8) & 15] ^ opc[(at + 8) & 15]
    # f2 to f5*: turned by r2 to r5 = 0, 32, 64, 96 bits; c2 to c5 are 1, 2, 4, 8 in the last octet.
    mix(mixed, temp, opc, 16)
    for row in range(4):
        for at in range(16):
            blocks[16 + 16 * row + at] = mixed[(at + 4 * row) & 15]
        blocks[31 + 16 * row] ^= 1 << row
    encrypt(out, blocks, 5)
    for row in range(5):
        mix(out + 16 * row, out + 16 * row, opc, 16)
    OPENSSL_cleanse(temp, 16)
    OPENSSL_cleanse(mixed, 16)
    OPENSSL_cleanse(blocks, 80)
    return 0


cdef void write_sqn(uint8_t* into, uint64_t sqn) noexcept nogil:
    cdef int at
    for at in range(6):
        into[at] = <uint8_t>(sqn >> (40 - 8 * at))


cdef int challenge(bytes keys, bytes rand, object sqn, object amf, Outputs* outputs, uint8_t* autn) except -1:
    """Outputs and AUTN of a challenge."""
    cdef uint64_t number
    cdef uint8_t octets[6]
    cdef uint8_t field[2]
    cdef int management
    need(keys, 32, "K with OPc")
    need(rand, 16, "RAND")
    if not 0 <= sqn < SQN_END:
        raise ValueError("an SQN has 48 bits")
    if not 0 <= amf < 0x10000:
        raise ValueError("an AMF has 16 bits")
    number = sqn
    management = amf
    write_sqn(octets, number)
    field[0], field[1] = management >> 8, management & 0xFF
    compute(octets_of(keys), octets_of(keys) + 16, octets_of(rand), octets, field, outputs)
    mix(autn, octets, outputs.out2, 6)
    memcpy(autn + 6, field, 2)
    memcpy(autn + 8, outputs.mac, 8)
    return 0


cdef void forget(Outputs* outputs) noexcept:
    """Security: neither keys nor what came of them stay behind a call."""
    EVP_EncryptInit_ex(CONTEXT, NULL, NULL, NO_KEY, NULL)
    OPENSSL_cleanse(outputs, sizeof(Outputs))


cdef void derive(uint8_t* kasme, const Outputs* outputs, const uint8_t* plmn, const uint8_t* autn) noexcept nogil:
    """HMAC-SHA-256 under CK || IK of FC 0x10, the network's identity and SQN xor AK, each with its length."""
    cdef SHA256_CTX context
    cdef uint8_t pad[64]
    cdef uint8_t text[14]
    cdef uint8_t inner[32]
    cdef int at
    text[0] = 0x10
    memcpy(text + 1, plmn, 3)
    text[4], text[5] = 0, 3
    memcpy(text + 6, autn, 6)
    text[12], text[13] = 0, 6
    memset(pad, 0x36, 64)
    for at in range(16):
        pad[at] ^= outputs.ck[at]
        pad[16 + at] ^= outputs.ik[at]
    SHA256_Init(&context)
    SHA256_Update(&context, pad, 64)
    SHA256_Update(&context, text, 14)
    SHA256_Final(inner, &context)
    for at in range(64):
        pad[at] ^= 0x36 ^ 0x5C
    SHA256_Init(&context)
    SHA256_Update(&context, pad, 64)
    SHA256_Update(&context, inner, 32)
    SHA256_Final(kasme, &context)
    OPENSSL_cleanse(pad, 64)
    OPENSSL_cleanse(inner, 32)
    OPENSSL_cleanse(&context, sizeof(context))


cpdef bytes derive_opc(bytes k, bytes op):
    cdef uint8_t opc[16]
    need(k, 16, "K")
    need(op, 16, "OP")
    start(octets_of(k))
    encrypt(opc, octets_of(op), 1)
    mix(opc, opc, octets_of(op), 16)
    EVP_EncryptInit_ex(CONTEXT, NULL, NULL, NO_KEY, NULL)
    try:
        return to_bytes(opc, 16)
    finally:
        OPENSSL_cleanse(opc, 16)


cpdef tuple functions(bytes keys, bytes rand, object sqn, object amf):
    cdef Outputs outputs
    cdef uint8_t autn[16]
    challenge(keys, rand, sqn, amf, &outputs, autn)
    try:
        return (
            to_bytes(outputs.mac, 8), to_bytes(outputs.mac + 8, 8), to_bytes(outputs.out2 + 8, 8),
            to_bytes(outputs.ck, 16), to_bytes(outputs.ik, 16), to_bytes(outputs.out2, 6), to_bytes(outputs.out5, 6),
        )
    finally:
        forget(&outputs)


cpdef bytes eps_vector(bytes keys, bytes rand, object sqn, object amf, bytes plmn):
    cdef Outputs outputs
    cdef uint8_t vector[72]
    need(plmn, 3, "Visited-PLMN-Id")
    challenge(keys, rand, sqn, amf, &outputs, vector + 24)
    memcpy(vector, octets_of(rand), 16)
    memcpy(vector + 16, outputs.out2 + 8, 8)
    derive(vector + 40, &outputs, octets_of(plmn), vector + 24)
    forget(&outputs)
    try:
        return to_bytes(vector, 72)
    finally:
        OPENSSL_cleanse(vector, 72)


cpdef bytes umts_vector(bytes keys, bytes rand, object sqn, object amf):
    cdef Outputs outputs
    cdef uint8_t vector[72]
    challenge(keys, rand, sqn, amf, &outputs, vector + 24)
    memcpy(vector, octets_of(rand), 16)
    memcpy(vector + 16, outputs.out2 + 8, 8)
    memcpy(vector + 40, outputs.ck, 16)
    memcpy(vector + 56, outputs.ik, 16)
    forget(&outputs)
    try:
        return to_bytes(vector, 72)
    finally:
        OPENSSL_cleanse(vector, 72)


cpdef object verify_auts(bytes keys, bytes rand, bytes auts):
    cdef Outputs outputs
    cdef uint8_t sqn[6]
    cdef uint8_t field[2]
    cdef uint64_t number = 0
    cdef int at, same
    need(keys, 32, "K with OPc")
    need(rand, 16, "RAND")
    need(auts, 14, "AUTS")
    # The AMF of MAC-S is zero, whatever the challenge's was (TS 33.102 §6.3.3). AK* does not depend on the SQN.
    field[0], field[1] = 0, 0
    memset(sqn, 0, 6)
    compute(octets_of(keys), octets_of(keys) + 16, octets_of(rand), sqn, field, &outputs)
    mix(sqn, octets_of(auts), outputs.out5, 6)
    compute(octets_of(keys), octets_of(keys) + 16, octets_of(rand), sqn, field, &outputs)
    same = CRYPTO_memcmp(outputs.mac + 8, octets_of(auts) + 6, 8)
    forget(&outputs)
    if same != 0:
        return None
    for at in range(6):
        number = number << 8 | sqn[at]
    return number
