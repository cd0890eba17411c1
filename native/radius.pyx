# cython: nonecheck=True
"""RADIUS codec (RFC 2865, 2866, 2869, 3579, 5176, 6929, 8044): bytes in, offsets and bytes out.

Knows octets and digests; knows no dictionary, no subscriber, no setting. The contract is radius.pyi.

Trust: `index` alone reads lengths from the network; when it found no fault, every attribute of `data[20:size]` has
2 <= length <= what is left, so the walks below step by length without a check. What is inside an attribute (vendor,
extended, TLV) is checked by each walk, and counts only when it is consumed exactly.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

cdef extern from "<openssl/md5.h>" nogil:
    int MD5_Init(MD5_CTX*)
    int MD5_Update(MD5_CTX*, const void*, size_t)
    int MD5_Final(unsigned char*, MD5_CTX*)

cdef extern from "<openssl/crypto.h>" nogil:
    int CRYPTO_memcmp(const void*, const void*, size_t)

FAULTS = (
    "none",
    "truncated",
    "too_short",
    "length_field",
    "attribute_length",
    "message_authenticator_length",
    "too_many_attributes",
)

cdef enum:
    HEADER_SIZE = 20
    AUTHENTICATOR_AT = 4
    ATTRIBUTE_HEADER_SIZE = 2
    ATTRIBUTE_SIZE_MAX = 255
    VALUE_SIZE_MAX = 253
    VENDOR_HEADER_SIZE = 6          # type, length, Vendor-Id
    EXTENDED_HEADER_SIZE = 3        # type, length, Extended-Type
    LONG_HEADER_SIZE = 4            # and flags
    EVS_HEADER_SIZE = 5             # Vendor-Id, Vendor-Type
    CONTINUATION_HEADER_SIZE = 9    # a Vendor-Specific with type, length, continuation
    MORE = 0x80
    MESSAGE_AUTHENTICATOR_SIZE = 18
    PASSWORD_SIZE_MAX = 128
    TUNNEL_VALUE_SIZE_MAX = 239     # 253 less tag and salt, in blocks of 16, less the length octet
    VENDOR_FORMATS_MAX = 128        # Bound: half of the table, so that a probe always ends

cdef enum:  # packet codes
    ACCESS_REQUEST = 1
    ACCOUNTING_REQUEST = 4
    ACCOUNTING_RESPONSE = 5
    STATUS_SERVER = 12
    DISCONNECT_REQUEST = 40
    COA_REQUEST = 43

cdef enum:  # attribute types
    USER_PASSWORD = 2
    VENDOR_SPECIFIC = 26
    PROXY_STATE = 33
    MESSAGE_AUTHENTICATOR = 80
    EXTENDED_1 = 241
    LONG_EXTENDED_1 = 245
    LONG_EXTENDED_2 = 246

cdef struct Format:
    uint32_t vendor
    uint8_t type_size
    uint8_t length_size
    uint8_t continuation
    uint8_t used

cdef struct Run:
    int end         # offset behind the last fragment
    int octets      # length of the joined value; -1 when the run is broken

cdef Format rfc_format
rfc_format.type_size = 1
rfc_format.length_size = 1
rfc_format.continuation = 0
cdef Format formats[256]
cdef int format_count = 0
memset(formats, 0, sizeof(formats))

cdef tuple PATHS = tuple([(number,) for number in range(256)])


cdef inline uint32_t read_u32(const uint8_t* at) noexcept nogil:
    return (<uint32_t>at[0] << 24) | (<uint32_t>at[1] << 16) | (<uint32_t>at[2] << 8) | at[3]


cdef inline void write_u32(uint8_t* at, uint32_t value) noexcept nogil:
    at[0] = value >> 24
    at[1] = (value >> 16) & 0xFF
    at[2] = (value >> 8) & 0xFF
    at[3] = value & 0xFF


cdef inline uint8_t* octets_of(bytes value) noexcept:
    return <uint8_t*>PyBytes_AS_STRING(value)


cdef inline bytes to_bytes(const uint8_t* at, Py_ssize_t length):
    return PyBytes_FromStringAndSize(<const char*>at, length)


cdef object to_integer(bytes value):
    cdef Py_ssize_t length
    cdef uint64_t number = 0
    cdef Py_ssize_t i
    if value is None:
        return None
    length = len(value)
    if not 1 <= length <= 8:
        return None
    for i in range(length):
        number = (number << 8) | octets_of(value)[i]
    return number


cdef Format* slot_of(uint32_t vendor) noexcept nogil:
    """The vendor's slot in the table, or the free one where it would be."""
    cdef int at = (vendor ^ (vendor >> 8)) & 0xFF
    while formats[at].used and formats[at].vendor != vendor:
        at = (at + 1) & 0xFF
    return &formats[at]


cdef inline const Format* format_of(uint32_t vendor) noexcept nogil:
    cdef const Format* format = slot_of(vendor)
    return format if format.used else &rfc_format


def set_vendor_format(vendor, int type_size, int length_size, bint continuation=False):
    global format_count
    cdef Format* format
    if not 0 <= vendor <= 0xFFFFFFFF:
        raise ValueError("vendor: 0..4294967295")
    if type_size not in (1, 2, 4) or length_size not in (0, 1, 2):
        raise ValueError("vendor format: type of 1, 2 or 4 octets, length of 0, 1 or 2")
    if continuation and (type_size != 1 or length_size != 1):
        raise ValueError("vendor format: continuation goes with a type and a length of one octet")
    format = slot_of(vendor)
    if not format.used:
        if format_count >= VENDOR_FORMATS_MAX:
            raise ValueError(f"vendor format: more than {VENDOR_FORMATS_MAX} vendors")
        format_count += 1
    format.vendor = vendor
    format.type_size = type_size
    format.length_size = length_size
    format.continuation = continuation
    format.used = True


cdef inline int sub_header_size(const Format* format) noexcept nogil:
    return format.type_size + format.length_size + format.continuation


cdef inline int sub_attribute(const uint8_t* at, int left, const Format* format, uint32_t* number) noexcept nogil:
    """Octets of the vendor's sub-attribute at `at`, header included; 0 when it is broken.

    Progress: a result that is not 0 is at least the header, hence at least 1.
    """
    cdef int length
    if left < sub_header_size(format):
        return 0
    if format.type_size == 1:
        number[0] = at[0]
    elif format.type_size == 2:
        number[0] = (<uint32_t>at[0] << 8) | at[1]
    else:
        number[0] = read_u32(at)
    if format.length_size == 0:
        return left
    length = at[format.type_size]
    if format.length_size == 2:
        length = (length << 8) | at[format.type_size + 1]
    if length < sub_header_size(format) or length > left:
        return 0
    # A fragment stands alone in its Vendor-Specific, and `continuation_run` has seen to those.
    if format.continuation and at[2] & MORE:
        return 0
    return length


cdef bint is_sound(const uint8_t* at, int left, const Format* format) noexcept nogil:
    """Sub-attributes, at least one, fill the octets exactly."""
    cdef uint32_t number = 0
    cdef int length
    if left == 0:
        return False
    while left > 0:
        length = sub_attribute(at, left, format, &number)
        if length == 0:
            return False
        at += length
        left -= length
    return True


cdef inline bint starts_run(const uint8_t* at, const Format* format) noexcept nogil:
    return format.continuation and at[1] >= CONTINUATION_HEADER_SIZE and at[8] & MORE


cdef Run continuation_run(const uint8_t* data, int size, int at) noexcept nogil:
    """Vendor-Specifics that carry one value in fragments, the first at `at`: the next ones, one fragment in each.

    at: starts_run() holds there. Attributes of other types may stand between, as for long_run().
    """
    cdef Run run
    cdef uint32_t vendor = read_u32(data + at + 2)
    cdef uint8_t number = data[at + 6]
    cdef int length
    cdef bint more
    run.octets = 0
    while True:
        length = data[at + 1]
        if data[at + 7] != length - VENDOR_HEADER_SIZE:
            run.octets = -1
        if run.octets >= 0:
            run.octets += length - CONTINUATION_HEADER_SIZE
        more = data[at + 8] & MORE
        at += length
        run.end = at
        if not more:
            return run
        while at < size and data[at] != VENDOR_SPECIFIC:
            at += data[at + 1]
        if (
            at >= size
            or data[at + 1] < CONTINUATION_HEADER_SIZE
            or read_u32(data + at + 2) != vendor
            or data[at + 6] != number
        ):
            run.octets = -1
            return run


cdef Run long_run(const uint8_t* data, int size, int at) noexcept nogil:
    """Fragments of one long-extended value, the first at `at` (RFC 6929 §2.2): the next attributes of the same type,
    all of one Extended-Type, all but the last full and with More set. Attributes of other types may stand between.
    """
    cdef Run run
    cdef uint8_t outer = data[at]
    cdef uint8_t inner
    cdef int length
    cdef bint more
    run.octets = 0
    if data[at + 1] <= LONG_HEADER_SIZE:
        run.end = at + data[at + 1]
        run.octets = -1
        return run
    inner = data[at + 2]
    while True:
        length = data[at + 1]
        more = data[at + 3] & MORE
        if length == LONG_HEADER_SIZE or (more and length != ATTRIBUTE_SIZE_MAX):
            run.octets = -1
        if run.octets >= 0:
            run.octets += length - LONG_HEADER_SIZE
        at += length
        run.end = at
        if not more:
            return run
        while at < size and data[at] != outer:
            at += data[at + 1]
        if at >= size or data[at + 1] < LONG_HEADER_SIZE or data[at + 2] != inner:
            run.octets = -1
            return run


cdef Run extended_run(const uint8_t* data, int size, int at) noexcept nogil:
    """The extended or long-extended value that starts at `at`; an empty one is as broken (RFC 6929 §2.1)."""
    cdef Run run
    if data[at] >= LONG_EXTENDED_1:
        return long_run(data, size, at)
    run.end = at + data[at + 1]
    run.octets = data[at + 1] - EXTENDED_HEADER_SIZE
    return run


cdef bytes join(const uint8_t* data, int at, Run run):
    """The values of the attributes of the first one's type from `at` to the run's end, less their headers, as one."""
    cdef bytes joined = PyBytes_FromStringAndSize(NULL, run.octets)
    cdef uint8_t* to = octets_of(joined)
    cdef int outer = data[at]
    cdef int header = LONG_HEADER_SIZE
    cdef int length
    if outer == VENDOR_SPECIFIC:
        header = CONTINUATION_HEADER_SIZE
    elif outer < LONG_EXTENDED_1:
        header = EXTENDED_HEADER_SIZE
    while at < run.end:
        if data[at] == outer:
            length = data[at + 1] - header
            memcpy(to, data + at + header, length)
            to += length
        at += data[at + 1]
    return joined


cdef list walk_tlvs(bytes value):
    cdef const uint8_t* at = octets_of(value)
    cdef Py_ssize_t left = len(value)
    cdef list found = []
    if left == 0:
        return None
    while left > 0:
        if left < 2 or at[1] < 3 or at[1] > left:
            return None
        found.append((at[0], to_bytes(at + 2, at[1] - 2)))
        left -= at[1]
        at += at[1]
    return found


def tlvs(bytes value not None):
    return walk_tlvs(value)


cdef class Packet(Datagram):
    def __cinit__(self, *_, **__):
        self.fault = FAULT_TOO_SHORT

    def __init__(self, payload=b"", address=None):
        # A view of other octets must not outlive them.
        self.size = 0
        self.fault = FAULT_TOO_SHORT
        memset(self.first, 0, sizeof(self.first))
        Datagram.__init__(self, payload, address)

    @classmethod
    def parse(cls, bytes payload not None):
        cdef Packet packet = cls.__new__(cls)
        packet.owner = payload
        packet.data = octets_of(payload)
        packet.length = len(payload)
        packet.address = b""
        packet.index()
        return packet

    @cython.boundscheck(False)
    @cython.wraparound(False)
    cdef int index(self) noexcept:
        cdef const uint8_t* data = self.data
        cdef int size, at, length, number
        cdef int count = 0
        cdef int fault = FAULT_NONE
        self.size = 0
        memset(self.first, 0, sizeof(self.first))
        if self.truncated:
            fault = FAULT_TRUNCATED
        elif self.length < HEADER_SIZE:
            fault = FAULT_TOO_SHORT
        if fault:
            self.code = self.identifier = 0
            self.fault = fault
            return fault
        self.code = data[0]
        self.identifier = data[1]
        size = (data[2] << 8) | data[3]
        if size < HEADER_SIZE or size > PACKET_OCTETS_MAX or size > self.length:
            self.fault = FAULT_LENGTH_FIELD
            return FAULT_LENGTH_FIELD
        at = HEADER_SIZE
        while at < size:
            if size - at < ATTRIBUTE_HEADER_SIZE:
                fault = FAULT_ATTRIBUTE_LENGTH
                break
            number = data[at]
            length = data[at + 1]
            if length < ATTRIBUTE_HEADER_SIZE or length > size - at:
                fault = FAULT_ATTRIBUTE_LENGTH
                break
            if self.first[number] == 0:
                self.first[number] = at
                if number == MESSAGE_AUTHENTICATOR and length != MESSAGE_AUTHENTICATOR_SIZE:
                    fault = FAULT_MESSAGE_AUTHENTICATOR_LENGTH
                    break
            elif number == MESSAGE_AUTHENTICATOR:
                fault = FAULT_MESSAGE_AUTHENTICATOR_LENGTH
                break
            count += 1
            at += length
        if fault == FAULT_NONE and count > ATTRIBUTE_COUNT_MAX:
            fault = FAULT_TOO_MANY_ATTRIBUTES
        if fault:
            memset(self.first, 0, sizeof(self.first))
        else:
            self.size = size
        self.fault = fault
        return fault

    cpdef int decode(self):
        return self.index()

    cpdef Packet copy(self):
        cdef Packet other = type(self).__new__(type(self))
        cdef bytes raw = to_bytes(self.data, self.size)
        other.owner = raw
        other.data = octets_of(raw)
        other.length = self.size
        other.truncated = self.truncated
        other.peer = self.peer
        other.peer_length = self.peer_length
        memcpy(other.local, self.local, sizeof(self.local))
        other.local_index = self.local_index
        other.address = self.address
        other.port = self.port
        other.received_ns = self.received_ns
        other.fault = self.fault
        other.code = self.code
        other.identifier = self.identifier
        other.size = self.size
        memcpy(other.first, self.first, sizeof(self.first))
        return other

    @property
    def authenticator(self):
        if self.size == 0:
            return b""
        return to_bytes(self.data + AUTHENTICATOR_AT, 16)

    @property
    def raw(self):
        return to_bytes(self.data, self.size)

    cpdef bint has(self, int number):
        return 0 <= number <= 255 and self.first[number] != 0

    cpdef bytes get(self, int number):
        cdef int at
        if not 0 <= number <= 255:
            return None
        at = self.first[number]
        if at == 0:
            return None
        return to_bytes(self.data + at + ATTRIBUTE_HEADER_SIZE, self.data[at + 1] - ATTRIBUTE_HEADER_SIZE)

    def get_all(self, int number):
        cdef list found = []
        cdef int at, length
        if not 0 <= number <= 255 or self.first[number] == 0:
            return found
        at = self.first[number]
        while at < self.size:
            if self.data[at] == number:
                length = self.data[at + 1] - ATTRIBUTE_HEADER_SIZE
                found.append(to_bytes(self.data + at + ATTRIBUTE_HEADER_SIZE, length))
            at += self.data[at + 1]
        return found

    cpdef object get_integer(self, int number):
        cdef int at, length, i
        cdef uint64_t value = 0
        if not 0 <= number <= 255:
            return None
        at = self.first[number]
        if at == 0:
            return None
        length = self.data[at + 1]
        if not 1 <= length - ATTRIBUTE_HEADER_SIZE <= 8:
            return None
        for i in range(ATTRIBUTE_HEADER_SIZE, length):
            value = (value << 8) | self.data[at + i]
        return value

    def concat(self, int number):
        if not self.has(number):
            return None
        return b"".join(self.get_all(number))

    cdef object find_vendor(self, int64_t vendor, int64_t number, list into):
        """The first value, or None; every value into `into` where that is a list."""
        cdef const uint8_t* data = self.data
        cdef const uint8_t* inside
        cdef const Format* format
        cdef Run run
        cdef uint32_t found = 0
        cdef int at = self.first[VENDOR_SPECIFIC]
        cdef int left, length, header
        if at == 0 or not 0 <= vendor <= 0xFFFFFFFF:
            return None
        format = format_of(vendor)
        header = sub_header_size(format)
        while at < self.size:
            length = data[at + 1]
            if data[at] != VENDOR_SPECIFIC or length <= VENDOR_HEADER_SIZE or read_u32(data + at + 2) != vendor:
                at += length
                continue
            if starts_run(data + at, format):
                run = continuation_run(data, self.size, at)
                if run.octets >= 0 and data[at + 6] == number:
                    value = join(data, at, run)
                    if into is None:
                        return value
                    into.append(value)
                at = run.end
                continue
            inside = data + at + VENDOR_HEADER_SIZE
            left = length - VENDOR_HEADER_SIZE
            at += length
            if not is_sound(inside, left, format):
                continue
            while left > 0:
                length = sub_attribute(inside, left, format, &found)
                if found == number:
                    value = to_bytes(inside + header, length - header)
                    if into is None:
                        return value
                    into.append(value)
                inside += length
                left -= length
        return None

    cpdef bytes get_vendor(self, int64_t vendor, int64_t number):
        return self.find_vendor(vendor, number, None)

    def get_vendor_all(self, int64_t vendor, int64_t number):
        cdef list found = []
        self.find_vendor(vendor, number, found)
        return found

    def get_vendor_integer(self, int64_t vendor, int64_t number):
        return to_integer(self.find_vendor(vendor, number, None))

    cdef object find_extended(self, tuple path):
        cdef const uint8_t* data = self.data
        cdef Run run
        cdef bytes value
        cdef int at, depth, outer
        cdef list inside
        if len(path) < 2 or not EXTENDED_1 <= path[0] <= LONG_EXTENDED_2:
            return None
        outer = path[0]
        at = self.first[outer]
        if at == 0:
            return None
        while at < self.size:
            if data[at] != outer:
                at += data[at + 1]
                continue
            run = extended_run(data, self.size, at)
            if run.octets <= 0 or data[at + 2] != path[1]:
                at = run.end
                continue
            value = join(data, at, run)
            at = run.end
            depth = 2
            if path[1] == VENDOR_SPECIFIC:
                if (
                    len(path) < 4
                    or len(value) <= EVS_HEADER_SIZE
                    or read_u32(octets_of(value)) != path[2]
                    or octets_of(value)[4] != path[3]
                ):
                    continue
                value = value[EVS_HEADER_SIZE:]
                depth = 4
            for number in path[depth:]:
                inside = walk_tlvs(value)
                value = None
                for found, content in inside or ():
                    if found == number:
                        value = content
                        break
                if value is None:
                    break
            if value is not None:
                return value
        return None

    def get_extended(self, *path):
        return self.find_extended(path)

    def attributes(self):
        cdef const uint8_t* data = self.data
        cdef const uint8_t* inside
        cdef const Format* format
        cdef list found = []
        cdef bytes value
        cdef Run run
        cdef uint32_t vendor
        cdef uint32_t number = 0
        cdef int joined_until[256]      # of the types with fragments: what is before was joined,
        cdef int broken_until[256]      # or is known to belong to nothing sound
        cdef int at = HEADER_SIZE
        cdef int outer, left, length, header
        for outer in (VENDOR_SPECIFIC, LONG_EXTENDED_1, LONG_EXTENDED_2):
            joined_until[outer] = broken_until[outer] = 0
        while at < self.size:
            outer = data[at]
            length = data[at + 1]
            inside = data + at
            at += length
            if outer == VENDOR_SPECIFIC:
                if at <= joined_until[outer]:
                    continue
                if at > broken_until[outer] and length > VENDOR_HEADER_SIZE:
                    vendor = read_u32(inside + 2)
                    format = format_of(vendor)
                    if starts_run(inside, format):
                        run = continuation_run(data, self.size, at - length)
                        if run.octets >= 0:
                            found.append(((outer, vendor, inside[6]), join(data, at - length, run)))
                            joined_until[outer] = run.end
                            continue
                        broken_until[outer] = run.end
                    elif is_sound(inside + VENDOR_HEADER_SIZE, length - VENDOR_HEADER_SIZE, format):
                        header = sub_header_size(format)
                        left = length - VENDOR_HEADER_SIZE
                        inside += VENDOR_HEADER_SIZE
                        while left > 0:
                            length = sub_attribute(inside, left, format, &number)
                            found.append(((outer, vendor, number), to_bytes(inside + header, length - header)))
                            inside += length
                            left -= length
                        continue
            elif EXTENDED_1 <= outer <= LONG_EXTENDED_2:
                if outer >= LONG_EXTENDED_1 and at <= joined_until[outer]:
                    continue
                if outer < LONG_EXTENDED_1 or at > broken_until[outer]:
                    run = extended_run(data, self.size, at - length)
                    if run.octets > 0 and inside[2] != VENDOR_SPECIFIC:
                        found.append(((outer, inside[2]), join(data, at - length, run)))
                        joined_until[outer] = run.end
                        continue
                    if run.octets > EVS_HEADER_SIZE:
                        value = join(data, at - length, run)
                        vendor = read_u32(octets_of(value))
                        number = octets_of(value)[4]
                        found.append(((outer, VENDOR_SPECIFIC, vendor, number), value[EVS_HEADER_SIZE:]))
                        joined_until[outer] = run.end
                        continue
                    broken_until[outer] = run.end
            # Ordinary, or broken inside: whole, and every fragment of a broken run alike.
            found.append((PATHS[outer], to_bytes(inside + ATTRIBUTE_HEADER_SIZE, length - ATTRIBUTE_HEADER_SIZE)))
        return found


def decode(list packets not None, int count):
    cdef int i
    if not 0 <= count <= len(packets):
        raise IndexError("count: more than there are packets")
    for i in range(count):
        (<Packet?>packets[i]).index()


cdef inline void xor_16(uint8_t* to, const uint8_t* other) noexcept nogil:
    cdef int i
    for i in range(16):
        to[i] ^= other[i]


cdef inline bint has_zero_authenticator(int code) noexcept nogil:
    """The request's authenticator is a digest over the content, computed with zeros in its place."""
    return code == ACCOUNTING_REQUEST or code == DISCONNECT_REQUEST or code == COA_REQUEST


cdef void write_header(uint8_t* to, int code, int identifier, int size) noexcept nogil:
    to[0] = code
    to[1] = identifier
    to[2] = size >> 8
    to[3] = size & 0xFF


@cython.auto_pickle(False)
cdef class Secret:
    def __init__(self, bytes secret not None):
        cdef uint8_t key[64]
        cdef int i
        if not secret:
            raise ValueError("secret: empty")
        self.secret = secret
        MD5_Init(&self.prefix)
        MD5_Update(&self.prefix, octets_of(secret), len(secret))
        memset(key, 0, 64)
        if len(secret) > 64:
            self.inner = self.prefix
            MD5_Final(key, &self.inner)
        else:
            memcpy(key, octets_of(secret), len(secret))
        for i in range(64):
            key[i] ^= 0x36
        MD5_Init(&self.inner)
        MD5_Update(&self.inner, key, 64)
        for i in range(64):
            key[i] ^= 0x36 ^ 0x5C
        MD5_Init(&self.outer)
        MD5_Update(&self.outer, key, 64)

    cdef void sign(self, const unsigned char* data, size_t size, unsigned char* digest) noexcept nogil:
        """HMAC-MD5 (RFC 2104) of data under the secret."""
        cdef MD5_CTX context = self.inner
        MD5_Update(&context, data, size)
        MD5_Final(digest, &context)
        context = self.outer
        MD5_Update(&context, digest, 16)
        MD5_Final(digest, &context)

    cdef void close(self, const unsigned char* data, size_t size, unsigned char* digest) noexcept:
        """MD5 of data and then the secret: the authenticators of RFC 2865 §3 and RFC 2866 §3."""
        cdef MD5_CTX context
        MD5_Init(&context)
        MD5_Update(&context, data, size)
        MD5_Update(&context, PyBytes_AS_STRING(self.secret), len(self.secret))
        MD5_Final(digest, &context)

    cdef void pad(self, const unsigned char* data, const unsigned char* salt, unsigned char* digest) noexcept nogil:
        """MD5 of the secret, 16 octets of data and a salt of 2 where there is one: one block of the hiding stream."""
        cdef MD5_CTX context = self.prefix
        MD5_Update(&context, data, 16)
        if salt != NULL:
            MD5_Update(&context, salt, 2)
        MD5_Final(digest, &context)

    cpdef int verify_message_authenticator(self, Packet packet):
        cdef uint8_t content[PACKET_OCTETS_MAX]
        cdef uint8_t digest[16]
        cdef int at = packet.first[MESSAGE_AUTHENTICATOR]
        if at == 0:
            return MA_ABSENT
        at += ATTRIBUTE_HEADER_SIZE
        memcpy(content, packet.data, packet.size)
        memset(content + at, 0, 16)
        if has_zero_authenticator(packet.code):
            memset(content + AUTHENTICATOR_AT, 0, 16)
        self.sign(content, packet.size, digest)
        return MA_VALID if CRYPTO_memcmp(digest, packet.data + at, 16) == 0 else MA_INVALID

    cpdef bint verify_accounting(self, Packet packet):
        cdef uint8_t content[PACKET_OCTETS_MAX]
        cdef uint8_t digest[16]
        if packet.size == 0:
            return False
        memcpy(content, packet.data, packet.size)
        memset(content + AUTHENTICATOR_AT, 0, 16)
        self.close(content, packet.size, digest)
        return CRYPTO_memcmp(digest, packet.data + AUTHENTICATOR_AT, 16) == 0

    def verify_response(self, Packet response not None, bytes request_authenticator not None):
        cdef uint8_t content[PACKET_OCTETS_MAX]
        cdef uint8_t digest[16]
        cdef const uint8_t* data = response.data
        cdef int at = response.first[MESSAGE_AUTHENTICATOR]
        if len(request_authenticator) != 16:
            raise ValueError("request_authenticator: 16 octets")
        if response.size == 0:
            return False
        memcpy(content, data, response.size)
        memcpy(content + AUTHENTICATOR_AT, octets_of(request_authenticator), 16)
        self.close(content, response.size, digest)
        if CRYPTO_memcmp(digest, data + AUTHENTICATOR_AT, 16) != 0:
            return False
        if at == 0:
            return True
        at += ATTRIBUTE_HEADER_SIZE
        memset(content + at, 0, 16)
        self.sign(content, response.size, digest)
        if CRYPTO_memcmp(digest, data + at, 16) == 0:
            return True
        if response.code != ACCOUNTING_RESPONSE:
            return False
        memset(content + AUTHENTICATOR_AT, 0, 16)
        self.sign(content, response.size, digest)
        return CRYPTO_memcmp(digest, data + at, 16) == 0

    cpdef bytes reveal_password(self, Packet packet):
        cdef uint8_t clear[PASSWORD_SIZE_MAX]
        cdef uint8_t digest[16]
        cdef const uint8_t* hidden
        cdef const uint8_t* chain
        cdef int at = packet.first[USER_PASSWORD]
        cdef int length, block
        if at == 0:
            return None
        length = packet.data[at + 1] - ATTRIBUTE_HEADER_SIZE
        if length < 16 or length > PASSWORD_SIZE_MAX or length % 16:
            return None
        hidden = packet.data + at + ATTRIBUTE_HEADER_SIZE
        chain = packet.data + AUTHENTICATOR_AT
        memcpy(clear, hidden, length)
        for block in range(0, length, 16):
            self.pad(chain, NULL, digest)
            xor_16(clear + block, digest)
            chain = hidden + block
        while length > 0 and clear[length - 1] == 0:
            length -= 1
        return to_bytes(clear, length)

    cpdef bytes respond(self, Packet request, int code, bytes attributes, bint message_authenticator):
        cdef const uint8_t* data = request.data
        cdef uint8_t digest[16]
        cdef uint8_t* to
        cdef uint8_t* signed_at = NULL
        cdef bytes response
        cdef int proxy_state = request.first[PROXY_STATE]
        cdef int at = proxy_state
        cdef Py_ssize_t size = HEADER_SIZE + len(attributes)
        if request.size == 0:
            raise ValueError("request: not decoded, or not sound")
        if not 1 <= code <= 255:
            raise ValueError("code: 1..255")
        if message_authenticator:
            size += MESSAGE_AUTHENTICATOR_SIZE
        if at:
            while at < request.size:
                if data[at] == PROXY_STATE:
                    size += data[at + 1]
                at += data[at + 1]
        if size > PACKET_OCTETS_MAX:
            raise ValueError(f"response: {size} octets, more than {PACKET_OCTETS_MAX}")
        response = PyBytes_FromStringAndSize(NULL, size)
        to = octets_of(response)
        write_header(to, code, request.identifier, size)
        memcpy(to + AUTHENTICATOR_AT, data + AUTHENTICATOR_AT, 16)
        to += HEADER_SIZE
        if message_authenticator:
            to[0] = MESSAGE_AUTHENTICATOR
            to[1] = MESSAGE_AUTHENTICATOR_SIZE
            signed_at = to + ATTRIBUTE_HEADER_SIZE
            memset(signed_at, 0, 16)
            to += MESSAGE_AUTHENTICATOR_SIZE
        memcpy(to, octets_of(attributes), len(attributes))
        to += len(attributes)
        at = proxy_state
        if at:
            while at < request.size:
                if data[at] == PROXY_STATE:
                    memcpy(to, data + at, data[at + 1])
                    to += data[at + 1]
                at += data[at + 1]
        to = octets_of(response)
        if signed_at != NULL:
            if code == ACCOUNTING_RESPONSE and request.code != STATUS_SERVER:
                memset(to + AUTHENTICATOR_AT, 0, 16)
            self.sign(to, size, digest)
            memcpy(signed_at, digest, 16)
            memcpy(to + AUTHENTICATOR_AT, data + AUTHENTICATOR_AT, 16)
        self.close(to, size, digest)
        memcpy(to + AUTHENTICATOR_AT, digest, 16)
        return response

    def request(self, int code, int identifier, bytes attributes not None, bytes authenticator=None,
                bint message_authenticator=True):
        cdef uint8_t digest[16]
        cdef uint8_t* to
        cdef bytes request
        cdef int start = HEADER_SIZE + (MESSAGE_AUTHENTICATOR_SIZE if message_authenticator else 0)
        cdef Py_ssize_t size = start + len(attributes)
        if not 1 <= code <= 255:
            raise ValueError("code: 1..255")
        if not 0 <= identifier <= 255:
            raise ValueError("identifier: 0..255")
        if size > PACKET_OCTETS_MAX:
            raise ValueError(f"request: {size} octets, more than {PACKET_OCTETS_MAX}")
        if has_zero_authenticator(code):
            if authenticator is not None:
                raise ValueError(f"authenticator: computed from the content for code {code}")
        elif authenticator is None or len(authenticator) != 16:
            raise ValueError(f"authenticator: 16 octets for code {code}")
        request = PyBytes_FromStringAndSize(NULL, size)
        to = octets_of(request)
        write_header(to, code, identifier, size)
        if authenticator is None:
            memset(to + AUTHENTICATOR_AT, 0, 16)
        else:
            memcpy(to + AUTHENTICATOR_AT, octets_of(authenticator), 16)
        memcpy(to + start, octets_of(attributes), len(attributes))
        if message_authenticator:
            to[HEADER_SIZE] = MESSAGE_AUTHENTICATOR
            to[HEADER_SIZE + 1] = MESSAGE_AUTHENTICATOR_SIZE
            memset(to + HEADER_SIZE + 2, 0, 16)
            self.sign(to, size, digest)
            memcpy(to + HEADER_SIZE + 2, digest, 16)
        if authenticator is None:
            self.close(to, size, digest)
            memcpy(to + AUTHENTICATOR_AT, digest, 16)
        return request

    def hide_password(self, bytes password not None, bytes authenticator not None):
        cdef uint8_t digest[16]
        cdef const uint8_t* chain = octets_of(authenticator)
        cdef uint8_t* to
        cdef bytes hidden
        cdef Py_ssize_t size, block
        if len(password) > PASSWORD_SIZE_MAX:
            raise ValueError(f"password: more than {PASSWORD_SIZE_MAX} octets")
        if len(authenticator) != 16:
            raise ValueError("authenticator: 16 octets")
        size = max(16, (len(password) + 15) // 16 * 16)
        hidden = PyBytes_FromStringAndSize(NULL, size)
        to = octets_of(hidden)
        memset(to, 0, size)
        memcpy(to, octets_of(password), len(password))
        for block in range(0, size, 16):
            self.pad(chain, NULL, digest)
            xor_16(to + block, digest)
            chain = to + block
        return hidden

    def hide_tunnel_password(self, bytes value not None, bytes authenticator not None, bytes salt not None):
        cdef uint8_t digest[16]
        cdef const uint8_t* chain = octets_of(authenticator)
        cdef uint8_t* to
        cdef bytes hidden
        cdef Py_ssize_t size, block
        if len(value) > TUNNEL_VALUE_SIZE_MAX:
            raise ValueError(f"value: more than {TUNNEL_VALUE_SIZE_MAX} octets")
        if len(authenticator) != 16:
            raise ValueError("authenticator: 16 octets")
        if len(salt) != 2:
            raise ValueError("salt: 2 octets")
        size = 2 + (1 + len(value) + 15) // 16 * 16
        hidden = PyBytes_FromStringAndSize(NULL, size)
        to = octets_of(hidden)
        memset(to, 0, size)
        to[0] = octets_of(salt)[0] | 0x80
        to[1] = octets_of(salt)[1]
        to[2] = len(value)
        memcpy(to + 3, octets_of(value), len(value))
        for block in range(2, size, 16):
            self.pad(chain, to if block == 2 else NULL, digest)
            xor_16(to + block, digest)
            chain = to + block
        return hidden

    def reveal_tunnel_password(self, bytes hidden not None, bytes authenticator not None):
        cdef uint8_t clear[256]
        cdef uint8_t digest[16]
        cdef const uint8_t* data = octets_of(hidden)
        cdef const uint8_t* chain = octets_of(authenticator)
        cdef Py_ssize_t size = len(hidden)
        cdef Py_ssize_t block
        if len(authenticator) != 16:
            raise ValueError("authenticator: 16 octets")
        if size < 18 or size > 2 + TUNNEL_VALUE_SIZE_MAX + 1 or (size - 2) % 16:
            return None
        memcpy(clear, data, size)
        for block in range(2, size, 16):
            self.pad(chain, data if block == 2 else NULL, digest)
            xor_16(clear + block, digest)
            chain = data + block
        if clear[2] > size - 3:
            return None
        return to_bytes(clear + 3, clear[2])


def attribute(int number, bytes value not None):
    cdef Py_ssize_t left = len(value)
    cdef Py_ssize_t count = max(1, (left + VALUE_SIZE_MAX - 1) // VALUE_SIZE_MAX)
    cdef const uint8_t* source = octets_of(value)
    cdef uint8_t* to
    cdef bytes encoded
    cdef int part
    if not 1 <= number <= 255:
        raise ValueError("attribute number: 1..255")
    encoded = PyBytes_FromStringAndSize(NULL, left + count * ATTRIBUTE_HEADER_SIZE)
    to = octets_of(encoded)
    while count > 0:
        part = min(left, VALUE_SIZE_MAX)
        to[0] = number
        to[1] = part + ATTRIBUTE_HEADER_SIZE
        memcpy(to + ATTRIBUTE_HEADER_SIZE, source, part)
        to += part + ATTRIBUTE_HEADER_SIZE
        source += part
        left -= part
        count -= 1
    return encoded


cpdef bytes integer_attribute(int number, uint32_t value):
    cdef bytes built = PyBytes_FromStringAndSize(NULL, 6)
    cdef unsigned char* at = <unsigned char*>PyBytes_AS_STRING(built)
    if not 1 <= number <= 255:
        raise ValueError(f"attribute number {number}; 1..255 would be right")
    at[0] = number
    at[1] = 6
    at[2] = value >> 24
    at[3] = value >> 16 & 0xFF
    at[4] = value >> 8 & 0xFF
    at[5] = value & 0xFF
    return built


def vendor_attribute(vendor, number, bytes value not None):
    cdef const Format* format
    cdef uint8_t head[12]
    cdef Py_ssize_t room, part
    cdef Py_ssize_t at = 0
    cdef int size, header
    cdef list fragments
    if not 0 <= vendor <= 0xFFFFFFFF:
        raise ValueError("vendor: 0..4294967295")
    format = format_of(vendor)
    if not 0 <= number < (<int64_t>1 << (8 * format.type_size)):
        raise ValueError(f"vendor {vendor}: attribute number is not of {format.type_size} octet(s)")
    header = sub_header_size(format)
    room = ATTRIBUTE_SIZE_MAX - VENDOR_HEADER_SIZE - header
    if len(value) > room and not format.continuation:
        raise ValueError(f"vendor {vendor}: value over {room} octets")
    fragments = []
    while True:
        part = min(len(value) - at, room)
        size = header + part
        head[0] = VENDOR_SPECIFIC
        head[1] = VENDOR_HEADER_SIZE + size
        write_u32(head + 2, vendor)
        if format.type_size == 4:
            write_u32(head + 6, number)
        elif format.type_size == 2:
            head[6] = <uint32_t>number >> 8
            head[7] = <uint32_t>number & 0xFF
        else:
            head[6] = number
        if format.length_size == 2:
            head[6 + format.type_size] = 0
            head[7 + format.type_size] = size
        elif format.length_size == 1:
            head[6 + format.type_size] = size
        if format.continuation:
            head[8] = MORE if at + part < len(value) else 0
        fragments.append(to_bytes(head, VENDOR_HEADER_SIZE + header))
        fragments.append(value[at : at + part])
        at += part
        if at >= len(value):
            return b"".join(fragments)


def extended_attribute(path, bytes value not None):
    cdef uint8_t head[5]
    cdef Py_ssize_t room, part
    cdef Py_ssize_t at = 0
    cdef int outer, inner, header
    cdef list fragments
    cdef tuple steps = tuple(path)
    if len(steps) < 2 or not EXTENDED_1 <= steps[0] <= LONG_EXTENDED_2 or not 0 <= steps[1] <= 255:
        raise ValueError("path: starts with 241..246 and an Extended-Type")
    outer = steps[0]
    inner = steps[1]
    if inner == VENDOR_SPECIFIC and (
        len(steps) < 4 or not 0 <= steps[2] <= 0xFFFFFFFF or not 0 <= steps[3] <= 255
    ):
        raise ValueError("path: an Extended-Vendor-Specific names vendor and type")
    if not value:
        raise ValueError("value: empty")
    for number in reversed(steps[4 if inner == VENDOR_SPECIFIC else 2 :]):
        if not 0 <= number <= 255 or len(value) > VALUE_SIZE_MAX:
            raise ValueError("path: a TLV holds up to 253 octets under a number 0..255")
        value = bytes((number, len(value) + 2)) + value
    if inner == VENDOR_SPECIFIC:
        write_u32(head, steps[2])
        head[4] = steps[3]
        value = to_bytes(head, EVS_HEADER_SIZE) + value
    header = LONG_HEADER_SIZE if outer >= LONG_EXTENDED_1 else EXTENDED_HEADER_SIZE
    room = ATTRIBUTE_SIZE_MAX - header
    if len(value) > room and outer < LONG_EXTENDED_1:
        raise ValueError(f"value: over {room} octets with its inner headers; type {outer} is not fragmented")
    fragments = []
    while at < len(value):
        part = min(len(value) - at, room)
        head[0] = outer
        head[1] = header + part
        head[2] = inner
        head[3] = MORE if at + part < len(value) else 0
        fragments.append(to_bytes(head, header))
        fragments.append(value[at : at + part])
        at += part
    return b"".join(fragments)
