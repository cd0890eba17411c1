"""MD4, DES and MS-CHAP through libcrypto's low-level functions (no legacy provider needed), and crypt(3).

Knows octets and digests; knows no packet, no subscriber. The contract is crypto.pyi.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdint cimport uint8_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset, strlen

cdef extern from "<openssl/md4.h>" nogil:
    ctypedef struct MD4_CTX:
        pass
    int MD4_Init(MD4_CTX*)
    int MD4_Update(MD4_CTX*, const void*, size_t)
    int MD4_Final(unsigned char*, MD4_CTX*)

cdef extern from "<openssl/md5.h>" nogil:
    ctypedef struct MD5_CTX:
        pass
    int MD5_Init(MD5_CTX*)
    int MD5_Update(MD5_CTX*, const void*, size_t)
    int MD5_Final(unsigned char*, MD5_CTX*)

cdef extern from "<openssl/sha.h>" nogil:
    ctypedef struct SHA_CTX:
        pass
    int SHA1_Init(SHA_CTX*)
    int SHA1_Update(SHA_CTX*, const void*, size_t)
    int SHA1_Final(unsigned char*, SHA_CTX*)

cdef extern from "<openssl/des.h>" nogil:
    ctypedef unsigned char DES_cblock[8]
    ctypedef struct DES_key_schedule:
        pass
    int DES_ENCRYPT
    void DES_set_key_unchecked(DES_cblock*, DES_key_schedule*)
    void DES_ecb_encrypt(DES_cblock*, DES_cblock*, DES_key_schedule*, int)

cdef extern from "<openssl/crypto.h>" nogil:
    int CRYPTO_memcmp(const void*, const void*, size_t)
    void OPENSSL_cleanse(void*, size_t)

cdef extern from "<crypt.h>" nogil:
    cdef struct crypt_data:
        pass
    char* crypt_r(const char*, const char*, crypt_data*)

# Constants of RFC 2759 §8.7 and RFC 3079 §3.4, by their names there.
cdef bytes MAGIC_1_RESPONSE = b"Magic server to client signing constant"
cdef bytes MAGIC_2_RESPONSE = b"Pad to make it do more than one iteration"
cdef bytes MAGIC_1 = b"This is the MPPE Master Key"
cdef bytes MAGIC_2 = (
    b"On the client side, this is the send key; on the server side, it is the receive key."
)
cdef bytes MAGIC_3 = (
    b"On the client side, this is the receive key; on the server side, it is the send key."
)
cdef uint8_t SHS_PAD_1[40]
cdef uint8_t SHS_PAD_2[40]
memset(SHS_PAD_1, 0x00, 40)
memset(SHS_PAD_2, 0xF2, 40)


cdef inline const uint8_t* octets_of(bytes value) noexcept:
    return <const uint8_t*>PyBytes_AS_STRING(value)


cdef inline bytes to_bytes(const uint8_t* at, Py_ssize_t length):
    return PyBytes_FromStringAndSize(<const char*>at, length)


cdef int need(bytes value, Py_ssize_t length, str name) except -1:
    if value is None or len(value) != length:
        raise ValueError(f"{name}: {length} octets")
    return 0


cdef inline void sha1_bytes(SHA_CTX* context, bytes value) noexcept:
    SHA1_Update(context, PyBytes_AS_STRING(value), len(value))


cdef void digest_md4(const uint8_t* data, size_t size, uint8_t* digest) noexcept nogil:
    cdef MD4_CTX context
    MD4_Init(&context)
    MD4_Update(&context, data, size)
    MD4_Final(digest, &context)


cdef void encrypt_des(const uint8_t* clear, const uint8_t* key_56, uint8_t* cipher) noexcept nogil:
    """DES of 8 octets under a key of 7, spread over 8 with room for parity bits (RFC 2759 §8.6)."""
    cdef DES_key_schedule schedule
    cdef uint8_t key[8]
    key[0] = key_56[0]
    key[1] = (key_56[0] << 7) | (key_56[1] >> 1)
    key[2] = (key_56[1] << 6) | (key_56[2] >> 2)
    key[3] = (key_56[2] << 5) | (key_56[3] >> 3)
    key[4] = (key_56[3] << 4) | (key_56[4] >> 4)
    key[5] = (key_56[4] << 3) | (key_56[5] >> 5)
    key[6] = (key_56[5] << 2) | (key_56[6] >> 6)
    key[7] = key_56[6] << 1
    DES_set_key_unchecked(<DES_cblock*>key, &schedule)
    DES_ecb_encrypt(<DES_cblock*>clear, <DES_cblock*>cipher, &schedule, DES_ENCRYPT)


cdef void respond_to(const uint8_t* challenge, const uint8_t* password_hash, uint8_t* response) noexcept nogil:
    cdef uint8_t key[21]
    memcpy(key, password_hash, 16)
    memset(key + 16, 0, 5)
    encrypt_des(challenge, key, response)
    encrypt_des(challenge, key + 7, response + 8)
    encrypt_des(challenge, key + 14, response + 16)


cdef void hash_challenge(
    bytes peer_challenge, bytes authenticator_challenge, bytes user_name, uint8_t* digest
) noexcept:
    """digest: 20 octets, of which the first 8 count."""
    cdef SHA_CTX context
    SHA1_Init(&context)
    sha1_bytes(&context, peer_challenge)
    sha1_bytes(&context, authenticator_challenge)
    sha1_bytes(&context, user_name)
    SHA1_Final(digest, &context)


cdef void derive_key(const uint8_t* master_key, bytes magic, uint8_t* digest) noexcept:
    """GetAsymmetricStartKey of RFC 3079 §3.4; digest: 20 octets, of which the first 16 count."""
    cdef SHA_CTX context
    SHA1_Init(&context)
    SHA1_Update(&context, master_key, 16)
    SHA1_Update(&context, SHS_PAD_1, 40)
    sha1_bytes(&context, magic)
    SHA1_Update(&context, SHS_PAD_2, 40)
    SHA1_Final(digest, &context)


def md4(bytes data not None):
    cdef uint8_t digest[16]
    digest_md4(octets_of(data), len(data), digest)
    return to_bytes(digest, 16)


def nt_hash(bytes password not None):
    cdef str text
    try:
        text = password.decode("utf-8")
    except UnicodeDecodeError:
        text = password.decode("latin-1")
    return md4(text.encode("utf-16-le"))


def challenge_response(bytes challenge, bytes password_hash):
    cdef uint8_t response[24]
    need(challenge, 8, "challenge")
    need(password_hash, 16, "password_hash")
    respond_to(octets_of(challenge), octets_of(password_hash), response)
    return to_bytes(response, 24)


def challenge_hash(bytes peer_challenge, bytes authenticator_challenge, bytes user_name not None):
    cdef uint8_t digest[20]
    need(peer_challenge, 16, "peer_challenge")
    need(authenticator_challenge, 16, "authenticator_challenge")
    hash_challenge(peer_challenge, authenticator_challenge, user_name, digest)
    return to_bytes(digest, 8)


cpdef bint verify_mschap(bytes challenge, bytes response, bytes password_hash) except -1:
    cdef uint8_t expected[24]
    need(challenge, 8, "challenge")
    need(response, 24, "response")
    need(password_hash, 16, "password_hash")
    respond_to(octets_of(challenge), octets_of(password_hash), expected)
    return CRYPTO_memcmp(expected, octets_of(response), 24) == 0


cpdef tuple verify_mschapv2(
    bytes authenticator_challenge, bytes peer_challenge, bytes user_name, bytes response, bytes password_hash
):
    cdef SHA_CTX context
    cdef uint8_t challenge[20]
    cdef uint8_t expected[24]
    cdef uint8_t hash_hash[16]
    cdef uint8_t proof[20]
    cdef uint8_t master_key[20]
    cdef uint8_t send_key[20]
    cdef uint8_t receive_key[20]
    need(authenticator_challenge, 16, "authenticator_challenge")
    need(peer_challenge, 16, "peer_challenge")
    need(response, 24, "response")
    need(password_hash, 16, "password_hash")
    if user_name is None:
        raise TypeError("user_name: bytes")
    hash_challenge(peer_challenge, authenticator_challenge, user_name, challenge)
    respond_to(challenge, octets_of(password_hash), expected)
    if CRYPTO_memcmp(expected, octets_of(response), 24) != 0:
        return None
    digest_md4(octets_of(password_hash), 16, hash_hash)

    SHA1_Init(&context)
    SHA1_Update(&context, hash_hash, 16)
    SHA1_Update(&context, expected, 24)
    sha1_bytes(&context, MAGIC_1_RESPONSE)
    SHA1_Final(proof, &context)
    SHA1_Init(&context)
    SHA1_Update(&context, proof, 20)
    SHA1_Update(&context, challenge, 8)
    sha1_bytes(&context, MAGIC_2_RESPONSE)
    SHA1_Final(proof, &context)

    SHA1_Init(&context)
    SHA1_Update(&context, hash_hash, 16)
    SHA1_Update(&context, expected, 24)
    sha1_bytes(&context, MAGIC_1)
    SHA1_Final(master_key, &context)
    derive_key(master_key, MAGIC_3, send_key)
    derive_key(master_key, MAGIC_2, receive_key)
    return to_bytes(proof, 20), to_bytes(send_key, 16), to_bytes(receive_key, 16)


def mschap_keys(bytes password_hash):
    cdef uint8_t keys[32]
    need(password_hash, 16, "password_hash")
    memset(keys, 0, 32)
    digest_md4(octets_of(password_hash), 16, keys + 8)
    return to_bytes(keys, 32)


cpdef bint verify_chap(int identifier, bytes password, bytes challenge, bytes response) except -1:
    cdef MD5_CTX context
    cdef uint8_t digest[16]
    cdef uint8_t first = identifier & 0xFF
    if not 0 <= identifier <= 255:
        raise ValueError("identifier: 0..255")
    need(response, 16, "response")
    MD5_Init(&context)
    MD5_Update(&context, &first, 1)
    MD5_Update(&context, octets_of(password), len(password))
    MD5_Update(&context, octets_of(challenge), len(challenge))
    MD5_Final(digest, &context)
    return CRYPTO_memcmp(digest, octets_of(response), 16) == 0


cpdef bint equal(bytes a, bytes b) except -1:
    return len(a) == len(b) and CRYPTO_memcmp(octets_of(a), octets_of(b), len(a)) == 0


def crypt(bytes password not None, bytes setting not None):
    cdef const char* clear = PyBytes_AS_STRING(password)
    cdef const char* salt = PyBytes_AS_STRING(setting)
    cdef char* found
    cdef bytes hashed = None
    cdef crypt_data* data
    # crypt(3) reads up to the first NUL: what is behind it would not be checked.
    if strlen(clear) != <size_t>len(password) or strlen(salt) != <size_t>len(setting):
        return None
    data = <crypt_data*>calloc(1, sizeof(crypt_data))
    if data == NULL:
        raise MemoryError()
    with nogil:
        found = crypt_r(clear, salt, data)
    if found != NULL and found[0] != b"*":
        hashed = found
    OPENSSL_cleanse(data, sizeof(crypt_data))
    free(data)
    return hashed
