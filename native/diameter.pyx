# cython: nonecheck=True
"""Diameter codec (RFC 6733 §3, §4): bytes in, offsets and bytes out. The contract is diameter.pyi.

Trust: `index` alone reads lengths from the network; what it put into entries lies within the octets, so everything
else goes by entries without a check. Offsets are 32 bits: a message's length has 24.
"""

cimport cython
from cpython.bytearray cimport PyByteArray_AS_STRING, PyByteArray_GET_SIZE
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.mem cimport PyMem_Calloc, PyMem_Free, PyMem_Malloc
from cpython.object cimport PyObject
from cpython.unicode cimport PyUnicode_DecodeUTF8
from libc.stdint cimport int32_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

FAULTS = ("none", "version", "message_length", "header_bits", "avp_length", "too_many_avps", "depth")

cdef enum:
    NONE = 0
    VERSION = 1
    MESSAGE_LENGTH = 2
    HEADER_BITS = 3
    AVP_LENGTH = 4
    TOO_MANY_AVPS = 5
    DEPTH = 6

FAULT_NONE, FAULT_VERSION, FAULT_MESSAGE_LENGTH, FAULT_HEADER_BITS = NONE, VERSION, MESSAGE_LENGTH, HEADER_BITS
FAULT_AVP_LENGTH, FAULT_TOO_MANY_AVPS, FAULT_DEPTH = AVP_LENGTH, TOO_MANY_AVPS, DEPTH

cdef enum:
    HEADER = 20
    AVP_HEADER = 8
    VENDOR_HEADER = 12
    COUNT_MAX = 4096
    DEPTH_MAX = 12
    LENGTH_MAX = 0xFFFFFF
    REQUEST = 0x80
    PROXIABLE = 0x40
    ERROR = 0x20
    RETRANSMITTED = 0x10
    RESERVED = 0x0F
    SESSION_ID = 263
    ORIGIN_HOST = 264
    SAMENESS = 16               # octets of it before the Session-Id
    VENDOR_BIT = 0x80
    MANDATORY_BIT = 0x40
    RESERVED_BITS = 0x1F
    STACK_COUNT = 64            # AVPs that are found in one walk, without counting them first
    IDENTITY_MAX = 255          # octets; Bound: RFC 6733 §4.3.1: a DiameterIdentity is a name of the DNS (RFC 1035 §2.3.4)
    TEXT_MAX = 1024             # octets; Bound: names and keys are kept with sessions and answers; real ones have 100
    RULES_MAX = 256             # Bound: counts of one check stand on the stack; 3GPP's largest command has 80

HEADER_OCTETS, AVP_COUNT_MAX, GROUP_DEPTH_MAX = HEADER, COUNT_MAX, DEPTH_MAX
IDENTITY_OCTETS_MAX, TEXT_OCTETS_MAX = IDENTITY_MAX, TEXT_MAX
FLAG_REQUEST, FLAG_PROXIABLE, FLAG_ERROR, FLAG_RETRANSMITTED = REQUEST, PROXIABLE, ERROR, RETRANSMITTED
AVP_VENDOR, AVP_MANDATORY, AVP_PROTECTED = VENDOR_BIT, MANDATORY_BIT, 0x20

cdef enum:
    OCTETS = 0
    WORD = 1
    LONG = 2
    GROUPED = 3
    ADDRESS = 4
    IDENTITY = 5
    TEXT = 6

KIND_OCTETS, KIND_32, KIND_64, KIND_GROUPED, KIND_ADDRESS, KIND_IDENTITY = OCTETS, WORD, LONG, GROUPED, ADDRESS, IDENTITY
KIND_TEXT = TEXT

cdef enum:  # Result-Codes, RFC 6733 §7.1.5
    INVALID_AVP_BITS = 3009
    AVP_UNSUPPORTED = 5001
    INVALID_AVP_VALUE = 5004
    MISSING_AVP = 5005
    AVP_NOT_ALLOWED = 5008
    AVP_OCCURS_TOO_MANY_TIMES = 5009
    INVALID_AVP_LENGTH = 5014


cdef inline uint32_t read_u24(const uint8_t* at) noexcept nogil:
    return (<uint32_t>at[0] << 16) | (<uint32_t>at[1] << 8) | at[2]


cdef inline uint32_t read_u32(const uint8_t* at) noexcept nogil:
    return (<uint32_t>at[0] << 24) | read_u24(at + 1)


cdef inline void write_u24(uint8_t* at, uint32_t value) noexcept nogil:
    at[0] = (value >> 16) & 0xFF
    at[1] = (value >> 8) & 0xFF
    at[2] = value & 0xFF


cdef inline void write_u32(uint8_t* at, uint32_t value) noexcept nogil:
    at[0] = value >> 24
    write_u24(at + 1, value)


cdef inline uint8_t* octets_of(bytes value) noexcept:
    return <uint8_t*>PyBytes_AS_STRING(value)


cdef inline uint32_t padded(uint32_t length) noexcept nogil:
    return (length + 3) & ~<uint32_t>3


cdef inline uint64_t key_of(uint32_t code, uint32_t vendor) noexcept nogil:
    return (<uint64_t>vendor << 32) | code


cdef inline uint32_t hash_of(uint64_t key) noexcept nogil:
    return <uint32_t>((key * <uint64_t>0x9E3779B97F4A7C15) >> 32)


cdef inline bint read_entry(const uint8_t* data, uint32_t at, uint32_t end, Entry* entry) noexcept nogil:
    """The AVP at an offset below end; False where its length lies."""
    cdef uint32_t length, header
    if end - at < AVP_HEADER:
        return False
    entry.flags = data[at + 4]
    length = read_u24(data + at + 5)
    header = VENDOR_HEADER if entry.flags & VENDOR_BIT else AVP_HEADER
    if length < header or length > end - at or padded(length) > end - at:
        return False
    entry.code = read_u32(data + at)
    entry.vendor = read_u32(data + at + 8) if entry.flags & VENDOR_BIT else 0
    entry.start = at
    entry.value = at + header
    entry.length = length - header
    return True


@cython.freelist(64)
cdef class Avps:
    def __dealloc__(self):
        PyMem_Free(self.entries)

    cdef int index(self, uint32_t start, uint32_t end) except -1:
        """Find the AVPs in octets[start:end]; sets fault. start and end lie within octets."""
        cdef const uint8_t* data = octets_of(self.octets)
        cdef Entry found[STACK_COUNT]
        cdef Entry* entry
        cdef Entry beyond
        cdef uint32_t at = start
        cdef int count = 0
        self.start = start
        self.end = end
        # What is allocated follows from what was really sent: few AVPs are found at once, many are counted first.
        while at < end:
            entry = &found[count] if count < STACK_COUNT else &beyond
            if not read_entry(data, at, end, entry):
                self.fault = AVP_LENGTH
                break
            if count == COUNT_MAX:
                self.fault = TOO_MANY_AVPS
                break
            count += 1
            at = entry.value + padded(entry.length)
        self.fault_at = at
        if count == 0:
            return 0
        self.entries = <Entry*>PyMem_Malloc(count * sizeof(Entry))
        if self.entries == NULL:
            raise MemoryError()
        self.count = count
        memcpy(self.entries, found, min(count, <int>STACK_COUNT) * sizeof(Entry))
        if count > STACK_COUNT:
            entry = &found[STACK_COUNT - 1]
            at = entry.value + padded(entry.length)
            for position in range(STACK_COUNT, count):
                entry = &self.entries[position]
                read_entry(data, at, end, entry)
                at = entry.value + padded(entry.length)
        return 0

    cdef Entry* find(self, uint32_t code, uint32_t vendor) noexcept:
        cdef int position
        for position in range(self.count):
            if self.entries[position].code == code and self.entries[position].vendor == vendor:
                return &self.entries[position]
        return NULL

    cdef Avps inside(self, Entry* entry):
        """An AVP of this one as a group."""
        cdef Avps group = Avps.__new__(Avps)
        group.octets = self.octets
        group.depth = self.depth + 1
        if group.depth > DEPTH_MAX:
            group.fault = DEPTH
            return group
        group.index(entry.value, entry.value + entry.length)
        return group

    cdef bytes value_of(self, Entry* entry):
        return PyBytes_FromStringAndSize(<const char*>octets_of(self.octets) + entry.value, entry.length)

    cpdef bint has(self, uint32_t code, uint32_t vendor=0):
        return self.find(code, vendor) != NULL

    cpdef bytes get(self, uint32_t code, uint32_t vendor=0):
        cdef Entry* entry = self.find(code, vendor)
        return None if entry == NULL else self.value_of(entry)

    cpdef str get_text(self, uint32_t code, uint32_t vendor=0):
        cdef Entry* entry = self.find(code, vendor)
        if entry == NULL:
            return None
        return PyUnicode_DecodeUTF8(<const char*>octets_of(self.octets) + entry.value, entry.length, "replace")

    cpdef bytes echo(self, uint32_t code, uint32_t vendor=0):
        cdef Entry* entry = self.find(code, vendor)
        return b"" if entry == NULL else copy_of(self.octets, entry)

    cpdef list get_all(self, uint32_t code, uint32_t vendor=0):
        cdef list found = []
        cdef int position
        for position in range(self.count):
            if self.entries[position].code == code and self.entries[position].vendor == vendor:
                found.append(self.value_of(&self.entries[position]))
        return found

    cpdef object get_unsigned32(self, uint32_t code, uint32_t vendor=0):
        cdef Entry* entry = self.find(code, vendor)
        if entry == NULL or entry.length != 4:
            return None
        return read_u32(octets_of(self.octets) + entry.value)

    cpdef object get_unsigned64(self, uint32_t code, uint32_t vendor=0):
        cdef Entry* entry = self.find(code, vendor)
        cdef const uint8_t* at
        if entry == NULL or entry.length != 8:
            return None
        at = octets_of(self.octets) + entry.value
        return (<uint64_t>read_u32(at) << 32) | read_u32(at + 4)

    cpdef object get_integer32(self, uint32_t code, uint32_t vendor=0):
        cdef Entry* entry = self.find(code, vendor)
        if entry == NULL or entry.length != 4:
            return None
        return <int32_t>read_u32(octets_of(self.octets) + entry.value)

    cpdef Avps get_group(self, uint32_t code, uint32_t vendor=0):
        cdef Entry* entry = self.find(code, vendor)
        return None if entry == NULL else self.inside(entry)

    cpdef list get_groups(self, uint32_t code, uint32_t vendor=0):
        cdef list found = []
        cdef int position
        for position in range(self.count):
            if self.entries[position].code == code and self.entries[position].vendor == vendor:
                found.append(self.inside(&self.entries[position]))
        return found

    def avps(self):
        cdef list found = []
        cdef Entry* entry
        cdef int position
        for position in range(self.count):
            entry = &self.entries[position]
            found.append((entry.code, entry.vendor, entry.flags, self.value_of(entry)))
        return found

    def failed(self):
        return failed_at(self.octets, self.fault_at) if self.fault == AVP_LENGTH else b""

    @property
    def raw(self):
        return self.octets


@cython.final
cdef class Message(Avps):
    cpdef bytes sameness(self):
        cdef Entry* session = self.find(SESSION_ID, 0)
        cdef Entry* host = self.find(ORIGIN_HOST, 0)
        cdef uint32_t session_length = 0 if session == NULL else session.length
        cdef uint32_t host_length = 0 if host == NULL else host.length
        cdef const uint8_t* data = octets_of(self.octets)
        cdef bytes made = PyBytes_FromStringAndSize(NULL, SAMENESS + <Py_ssize_t>session_length + host_length)
        cdef uint8_t* at = octets_of(made)
        write_u32(at, self.command)
        write_u32(at + 4, self.application)
        write_u32(at + 8, self.end_to_end)
        write_u32(at + 12, session_length)
        if session_length:
            memcpy(at + SAMENESS, data + session.value, session_length)
        if host_length:
            memcpy(at + SAMENESS + session_length, data + host.value, host_length)
        return made

    @classmethod
    def parse(cls, bytes octets not None):
        return parse_message(octets)


cdef Message parse_message(bytes octets):
    cdef Message self = Message.__new__(Message)
    cdef const uint8_t* data = octets_of(octets)
    cdef Py_ssize_t size = PyBytes_GET_SIZE(octets)
    self.octets = octets
    if size < HEADER:
        self.fault = MESSAGE_LENGTH
        return self
    self.flags = data[4]
    self.command = read_u24(data + 5)
    self.application = read_u32(data + 8)
    self.hop_by_hop = read_u32(data + 12)
    self.end_to_end = read_u32(data + 16)
    if data[0] != 1:
        self.fault = VERSION
    elif read_u24(data + 1) != size or size & 3:
        self.fault = MESSAGE_LENGTH
    elif self.flags & RESERVED or (self.flags & REQUEST and self.flags & ERROR):
        self.fault = HEADER_BITS
    else:
        self.index(HEADER, <uint32_t>size)
    return self


cpdef tuple split(bytearray buffer, uint32_t octets_max):
    cdef list messages = []
    cdef const uint8_t* data
    cdef Py_ssize_t size, at = 0
    cdef uint32_t length
    if buffer is None:
        raise TypeError("buffer is None")
    data = <const uint8_t*>PyByteArray_AS_STRING(buffer)
    size = PyByteArray_GET_SIZE(buffer)
    # A later octet may not have come, but what it would say of the version and the length is known by then.
    while size - at >= 4:
        if data[at] != 1:
            return messages, at, VERSION
        length = read_u24(data + at + 1)
        if length < HEADER or length & 3 or length > octets_max:
            return messages, at, MESSAGE_LENGTH
        if length > size - at:
            break
        messages.append(parse_message(PyBytes_FromStringAndSize(<const char*>data + at, length)))
        at += length
    return messages, at, NONE


# Encoding


cdef bytes new_avp(uint32_t code, uint64_t length, uint32_t vendor, bint mandatory, uint8_t** value):
    """An AVP whose value, of `length` octets, is still to be written; its padding is zero."""
    cdef uint32_t header = VENDOR_HEADER if vendor else AVP_HEADER
    cdef bytes made
    cdef uint8_t* at
    if length + header > LENGTH_MAX:
        raise ValueError(f"an AVP of {length} octets; its length has 24 bits")
    made = PyBytes_FromStringAndSize(NULL, padded(<uint32_t>length + header))
    at = octets_of(made)
    write_u32(at, code)
    at[4] = (VENDOR_BIT if vendor else 0) | (MANDATORY_BIT if mandatory else 0)
    write_u24(at + 5, <uint32_t>length + header)
    if vendor:
        write_u32(at + 8, vendor)
    memset(at + header + length, 0, padded(<uint32_t>length) - <uint32_t>length)
    value[0] = at + header
    return made


cpdef bytes avp(uint32_t code, bytes value, uint32_t vendor=0, bint mandatory=True):
    cdef uint8_t* at
    cdef bytes made
    if value is None:
        raise TypeError("value is None")
    made = new_avp(code, PyBytes_GET_SIZE(value), vendor, mandatory, &at)
    memcpy(at, octets_of(value), PyBytes_GET_SIZE(value))
    return made


cpdef bytes unsigned32_avp(uint32_t code, uint32_t value, uint32_t vendor=0, bint mandatory=True):
    cdef uint8_t* at
    cdef bytes made = new_avp(code, 4, vendor, mandatory, &at)
    write_u32(at, value)
    return made


cpdef bytes integer32_avp(uint32_t code, int32_t value, uint32_t vendor=0, bint mandatory=True):
    cdef uint8_t* at
    cdef bytes made = new_avp(code, 4, vendor, mandatory, &at)
    write_u32(at, <uint32_t>value)
    return made


cpdef bytes unsigned64_avp(uint32_t code, uint64_t value, uint32_t vendor=0, bint mandatory=True):
    cdef uint8_t* at
    cdef bytes made = new_avp(code, 8, vendor, mandatory, &at)
    write_u32(at, <uint32_t>(value >> 32))
    write_u32(at + 4, <uint32_t>(value & 0xFFFFFFFF))
    return made


cdef inline list listed(parts):
    return <list>parts if type(parts) is list else list(parts)


cdef uint64_t size_of(list parts) except? 0xFFFFFFFFFFFFFFFF:
    cdef uint64_t size = 0
    cdef bytes part
    for part in parts:
        if part is None:
            raise TypeError("an AVP is bytes, not None")
        size += PyBytes_GET_SIZE(part)
    return size


cdef void join(uint8_t* at, list parts):
    cdef bytes part
    for part in parts:
        memcpy(at, octets_of(part), PyBytes_GET_SIZE(part))
        at += PyBytes_GET_SIZE(part)


cpdef bytes grouped_avp(uint32_t code, members, uint32_t vendor=0, bint mandatory=True):
    cdef list parts = listed(members)
    cdef uint8_t* at
    cdef bytes made = new_avp(code, size_of(parts), vendor, mandatory, &at)
    join(at, parts)
    return made


cdef bytes new_message(
    int flags, uint32_t command, uint32_t application, uint32_t hop_by_hop, uint32_t end_to_end, list parts
):
    cdef uint64_t size = HEADER + size_of(parts)
    cdef bytes made
    cdef uint8_t* at
    if size > LENGTH_MAX:
        raise ValueError(f"a message of {size} octets; its length has 24 bits")
    if command > LENGTH_MAX:
        raise ValueError(f"command {command}; it has 24 bits")
    made = PyBytes_FromStringAndSize(NULL, <Py_ssize_t>size)
    at = octets_of(made)
    at[0] = 1
    write_u24(at + 1, <uint32_t>size)
    at[4] = flags & 0xFF
    write_u24(at + 5, command)
    write_u32(at + 8, application)
    write_u32(at + 12, hop_by_hop)
    write_u32(at + 16, end_to_end)
    join(at + HEADER, parts)
    return made


cpdef bytes message(
    int flags, uint32_t command, uint32_t application, uint32_t hop_by_hop, uint32_t end_to_end, avps
):
    return new_message(flags, command, application, hop_by_hop, end_to_end, listed(avps))


cpdef bytes answer(Message request, avps, bint error=False):
    cdef int flags
    if request is None:
        raise TypeError("request is None")
    flags = (request.flags & PROXIABLE) | (ERROR if error else 0)
    return new_message(
        flags, request.command, request.application, request.hop_by_hop, request.end_to_end, listed(avps)
    )


cpdef bytes readdressed(bytes octets, uint32_t hop_by_hop, bint retransmitted=False):
    cdef Py_ssize_t size
    cdef bytes made
    cdef uint8_t* at
    if octets is None:
        raise TypeError("octets is None")
    size = PyBytes_GET_SIZE(octets)
    if size < HEADER:
        raise ValueError(f"a message of {size} octets; its header has {HEADER_OCTETS}")
    made = PyBytes_FromStringAndSize(<const char*>octets_of(octets), size)
    at = octets_of(made)
    write_u32(at + 12, hop_by_hop)
    if retransmitted:
        at[4] |= RETRANSMITTED
    return made


# Grammars

cdef Definition unknown
memset(&unknown, 0, sizeof(unknown))


@cython.final
cdef class Definitions:
    def __dealloc__(self):
        PyMem_Free(self.table)

    cdef Definition* slot(self, uint64_t key) noexcept:
        """The definition of a key, or the free place where it would be. The table is never more than half full."""
        cdef uint32_t at
        if self.table == NULL:
            return &unknown
        at = hash_of(key) & self.mask
        while self.table[at].used and self.table[at].key != key:
            at = (at + 1) & self.mask
        return &self.table[at]

    def define(self, uint32_t code, uint32_t vendor, int kind, Grammar group=None):
        cdef uint64_t key = key_of(code, vendor)
        cdef Definition* definition
        if not OCTETS <= kind <= TEXT:
            raise ValueError(f"kind {kind}; it is one of the KIND_ numbers")
        if group is not None and kind != GROUPED:
            raise ValueError("only a grouped AVP has a grammar inside")
        if self.table == NULL or (self.count + 1) * 2 > self.mask:
            self.grow()
        definition = self.slot(key)
        if not definition.used:
            definition.used = True
            definition.key = key
            self.count += 1
        definition.kind = kind
        self.version += 1
        if group is not None:
            if self.groups is None:
                self.groups = {}
            self.groups[key] = group
            definition.group = <PyObject*>group

    cdef int grow(self) except -1:
        """Twice the room."""
        cdef Definition* old = self.table
        cdef uint32_t size = 0 if old == NULL else self.mask + 1
        cdef uint32_t room = 2 * size if size else 256
        cdef Definition* table = <Definition*>PyMem_Calloc(room, sizeof(Definition))
        cdef uint32_t at
        if table == NULL:
            raise MemoryError()
        self.table = table
        self.mask = room - 1
        for at in range(size):
            if old[at].used:
                self.slot(old[at].key)[0] = old[at]
        PyMem_Free(old)
        return 0


@cython.final
cdef class Grammar:
    def __cinit__(self, Definitions definitions not None, rules, bint extensible=True):
        cdef uint32_t size = 4
        cdef int position = 0
        cdef Rule* rule
        cdef list given = list(rules)
        self.definitions = definitions
        self.extensible = extensible
        self.version = -1
        if len(given) > RULES_MAX:
            raise ValueError(f"{len(given)} rules; at most {RULES_MAX}")
        while size < 2 * len(given) + 1:
            size *= 2
        self.mask = size - 1
        self.table = <Rule*>PyMem_Calloc(size, sizeof(Rule))
        self.required = <Rule*>PyMem_Calloc(max(1, len(given)), sizeof(Rule))
        if self.table == NULL or self.required == NULL:
            raise MemoryError()
        for code, vendor, least, most in given:
            if least < 0 or least > 0xFFFE or most == 0 or (most > 0 and most < least) or most > 0xFFFE:
                raise ValueError(f"AVP {code} of vendor {vendor}: between {least} and {most} times")
            rule = self.slot(key_of(code, vendor))
            if rule.used:
                raise ValueError(f"AVP {code} of vendor {vendor} is named twice")
            rule.used = True
            rule.key = key_of(code, vendor)
            rule.place = position
            rule.least = least
            rule.most = 0xFFFF if most < 0 else most
            if least > 0:
                self.required[self.required_count] = rule[0]
                self.required_count += 1
            position += 1
        self.count = position

    def __dealloc__(self):
        PyMem_Free(self.table)
        PyMem_Free(self.required)

    cdef Rule* slot(self, uint64_t key) noexcept:
        cdef uint32_t at = hash_of(key) & self.mask
        while self.table[at].used and self.table[at].key != key:
            at = (at + 1) & self.mask
        return &self.table[at]

    cdef int resolve(self) except -1:
        """Copy what the definitions say of each rule's AVP, so that one look finds both."""
        cdef uint32_t at
        cdef Rule* rule
        cdef Definition* definition
        for at in range(self.mask + 1):
            rule = &self.table[at]
            if rule.used:
                definition = self.definitions.slot(rule.key)
                rule.known = definition.used
                rule.kind = definition.kind
                rule.group = definition.group
        self.version = self.definitions.version
        return 0

    cpdef tuple check(self, Avps avps):
        if avps is None:
            raise TypeError("avps is None")
        if avps.fault == DEPTH or avps.fault == TOO_MANY_AVPS:
            return INVALID_AVP_VALUE, b""
        return self.walk(avps.octets, avps.start, avps.end, avps.depth)

    cdef tuple walk(self, bytes octets, uint32_t start, uint32_t end, int depth):
        """check() of octets[start:end], which stand in `depth` groups."""
        cdef uint16_t counts[RULES_MAX]
        cdef const uint8_t* data = octets_of(octets)
        cdef Entry entry
        cdef Rule* rule
        cdef Definition* definition
        cdef PyObject* group
        cdef uint32_t at = start
        cdef int place, kind, result
        cdef int count = 0
        cdef uint64_t key
        cdef tuple failure
        if depth > DEPTH_MAX:
            return INVALID_AVP_VALUE, b""
        if self.version != self.definitions.version:
            self.resolve()
        memset(counts, 0, self.count * sizeof(uint16_t))
        while at < end:
            if not read_entry(data, at, end, &entry):
                return INVALID_AVP_LENGTH, failed_at(octets, at)
            if count == COUNT_MAX:
                return INVALID_AVP_VALUE, b""
            count += 1
            at = entry.value + padded(entry.length)
            if entry.flags & RESERVED_BITS:
                return INVALID_AVP_BITS, without_reserved(octets, &entry)
            key = key_of(entry.code, entry.vendor)
            rule = self.slot(key)
            if rule.used and rule.known:
                if counts[rule.place] >= rule.most:
                    return AVP_OCCURS_TOO_MANY_TIMES, copy_of(octets, &entry)
                counts[rule.place] += 1
                kind = rule.kind
                group = rule.group
            else:
                definition = self.definitions.slot(key)
                if not definition.used:
                    if entry.flags & MANDATORY_BIT:
                        return AVP_UNSUPPORTED, copy_of(octets, &entry)
                    continue
                if not self.extensible:
                    return AVP_NOT_ALLOWED, copy_of(octets, &entry)
                kind = definition.kind
                group = definition.group
            result = value_fault(kind, data + entry.value, entry.length)
            if result:
                return result, copy_of(octets, &entry)
            if kind == GROUPED and group != NULL:
                failure = (<Grammar>group).walk(octets, entry.value, entry.value + entry.length, depth + 1)
                if failure is not None:
                    return failure[0], wrapped(&entry, failure[1])
        for place in range(self.required_count):
            rule = &self.required[place]
            if counts[rule.place] < rule.least:
                return MISSING_AVP, self.example(rule.key)
        return None

    def example(self, uint64_t key):
        """An AVP that is missing, with zeros of the least length (RFC 6733 §7.1.5)."""
        cdef int kind = self.definitions.slot(key).kind
        cdef uint32_t length = 0
        cdef uint8_t* at
        cdef bytes made
        if kind == WORD:
            length = 4
        elif kind == LONG:
            length = 8
        elif kind == ADDRESS:
            length = 6
        made = new_avp(<uint32_t>(key & 0xFFFFFFFF), length, <uint32_t>(key >> 32), True, &at)
        memset(at, 0, length)
        return made


cdef int value_fault(int kind, const uint8_t* value, uint32_t length) noexcept nogil:
    """The Result-Code of a value that is not of its kind; 0 where it is."""
    cdef uint32_t family
    if kind == WORD:
        return 0 if length == 4 else INVALID_AVP_LENGTH
    if kind == LONG:
        return 0 if length == 8 else INVALID_AVP_LENGTH
    if kind == ADDRESS:
        if length < 2:
            return INVALID_AVP_LENGTH
        family = (<uint32_t>value[0] << 8) | value[1]
        if (family == 1 and length != 6) or (family == 2 and length != 18):
            return INVALID_AVP_LENGTH
        return 0
    if kind == IDENTITY and (length == 0 or length > IDENTITY_MAX):
        return INVALID_AVP_VALUE
    if kind == TEXT and length > TEXT_MAX:
        return INVALID_AVP_VALUE
    return 0


cdef bytes copy_of(bytes octets, Entry* entry):
    """An AVP as it came, with its padding."""
    return PyBytes_FromStringAndSize(
        <const char*>octets_of(octets) + entry.start, entry.value + padded(entry.length) - entry.start
    )


cdef bytes without_reserved(bytes octets, Entry* entry):
    """An AVP as it came, but for the flags that nobody has defined: the answer must not repeat the fault."""
    cdef bytes made = copy_of(octets, entry)
    octets_of(made)[4] &= ~<uint8_t>RESERVED_BITS
    return made


cdef bytes failed_at(bytes octets, uint32_t at):
    """The header of an AVP whose length lies, with no value (RFC 6733 §7.1.5)."""
    cdef uint8_t header[VENDOR_HEADER]
    cdef Py_ssize_t size
    memset(header, 0, VENDOR_HEADER)
    memcpy(header, octets_of(octets) + at, min(PyBytes_GET_SIZE(octets) - at, <Py_ssize_t>VENDOR_HEADER))
    size = VENDOR_HEADER if header[4] & VENDOR_BIT else AVP_HEADER
    write_u24(header + 5, <uint32_t>size)
    return PyBytes_FromStringAndSize(<const char*>header, size)


cdef bytes wrapped(Entry* entry, bytes inner):
    """The head of a group as it came, with nothing but `inner` inside."""
    cdef uint8_t* at
    cdef bytes made = new_avp(
        entry.code, PyBytes_GET_SIZE(inner), entry.vendor, entry.flags & MANDATORY_BIT, &at
    )
    memcpy(at, octets_of(inner), PyBytes_GET_SIZE(inner))
    return made
