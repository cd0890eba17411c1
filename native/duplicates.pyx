"""Duplicate cache (RFC 5080 §2.2.2): fixed memory, set-associative, nothing allocated per packet but its response.

Knows the 20 octets of a RADIUS header and where they came from; knows no clock and no attribute.
"""

import os

from cpython.bytes cimport PyBytes_AS_STRING
from cpython.object cimport PyObject
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport free
from libc.string cimport memcmp, memcpy, memset
from native.datagram cimport Datagram

cdef extern from "<Python.h>":
    void INCREF "Py_INCREF"(PyObject* value)
    void DECREF "Py_DECREF"(PyObject* value)

cdef extern from "<stdlib.h>" nogil:
    void* aligned_alloc(size_t alignment, size_t size)

cdef enum:
    WAYS = 8
    ENTRIES_COUNT_MAX = 1 << 24     # Bound: 1 GiB
    HEADER_SIZE = 20                # code, identifier, Length, Request Authenticator

cdef enum State:
    EMPTY = 0
    WORKING = 1
    ANSWERED = 2

cdef enum Answer:
    # What check() answers beside a response.
    ANSWER_NEW = 0
    ANSWER_IN_WORK = 1

NEW = ANSWER_NEW
IN_WORK = ANSWER_IN_WORK

cdef struct Identity:
    # Who asked, under which number: what a retransmission and its first have in common.
    uint8_t address[16]     # an IPv4 address, and zeros
    uint16_t port
    uint8_t size            # octets of the address
    uint8_t code
    uint8_t identifier
    uint8_t zero[3]

cdef struct Entry:
    Identity identity
    uint8_t authenticator[16]
    PyObject* response      # a bytes object with a reference of ours, or NULL

cdef struct EntrySet:
    # Tags, states and deadlines of all ways come first: a packet that is not here touches two cache lines.
    uint32_t tags[WAYS]
    uint8_t states[WAYS]
    double deadlines[WAYS]
    uint64_t spare[3]
    Entry entries[WAYS]


cdef struct SipState:
    uint64_t v0, v1, v2, v3


cdef inline uint64_t rotate(uint64_t value, int bits) noexcept nogil:
    return (value << bits) | (value >> (64 - bits))


cdef inline void mix(SipState* v) noexcept nogil:
    v.v0 += v.v1
    v.v2 += v.v3
    v.v1 = rotate(v.v1, 13) ^ v.v0
    v.v3 = rotate(v.v3, 16) ^ v.v2
    v.v0 = rotate(v.v0, 32)
    v.v2 += v.v1
    v.v0 += v.v3
    v.v1 = rotate(v.v1, 17) ^ v.v2
    v.v3 = rotate(v.v3, 21) ^ v.v0
    v.v2 = rotate(v.v2, 32)


cdef inline void absorb(SipState* v, uint64_t word) noexcept nogil:
    v.v3 ^= word
    mix(v)
    v.v0 ^= word


cdef inline uint64_t keyed_hash(Identity* identity, uint64_t key0, uint64_t key1) noexcept nogil:
    """SipHash-1-3 of the identity: who does not know the key cannot choose packets that fall into one set."""
    cdef SipState v
    cdef uint64_t words[3]
    memcpy(words, identity, sizeof(words))
    v.v0 = key0 ^ <uint64_t>0x736f6d6570736575
    v.v1 = key1 ^ <uint64_t>0x646f72616e646f6d
    v.v2 = key0 ^ <uint64_t>0x6c7967656e657261
    v.v3 = key1 ^ <uint64_t>0x7465646279746573
    absorb(&v, words[0])
    absorb(&v, words[1])
    absorb(&v, words[2])
    absorb(&v, <uint64_t>sizeof(words) << 56)
    v.v2 ^= 0xff
    mix(&v)
    mix(&v)
    mix(&v)
    return v.v0 ^ v.v1 ^ v.v2 ^ v.v3


cdef inline int identify(Datagram packet, Identity* identity) except -1:
    """Fill the identity of a request. Raises ValueError under 20 octets: then authenticator is out of reach."""
    cdef bytes address
    if packet is None or packet.length < HEADER_SIZE or packet.address is None:
        raise ValueError("a packet has 20 octets and an address")
    address = packet.address
    memset(identity, 0, sizeof(Identity))
    identity.size = <uint8_t>min(len(address), 16)
    memcpy(identity.address, PyBytes_AS_STRING(address), identity.size)
    identity.port = <uint16_t>packet.port
    identity.code = packet.data[0]
    identity.identifier = packet.data[1]
    return 0


cdef class DuplicateCache:
    """Answers given lately, so that a retransmission gets the same octets and has no second effect.

    Fixed memory: sets of eight entries, 64 bytes each, and the kept responses. A new packet in a full set displaces
    what is expired, else the oldest answered one, else the oldest in work.
    """

    def __cinit__(self, Py_ssize_t entries=65536, double lifetime_s=5.0, bytes key=None):
        """entries: 1..2^24, rounded up to a power of two, at least 8. lifetime_s: over 0; RFC 5080 names 5..30 s.

        key: 16 octets that place packets in sets; random unless a simulation must repeat itself.
        Raises ValueError out of range.
        """
        cdef size_t size
        if not 1 <= entries <= ENTRIES_COUNT_MAX or not 0 < lifetime_s < float("inf"):
            raise ValueError("entries must be 1..2^24 and lifetime_s over 0")
        if key is None:
            key = os.urandom(16)
        if len(key) != 16:
            raise ValueError("the key must have 16 octets")
        memcpy(&self.key0, PyBytes_AS_STRING(key), 8)
        memcpy(&self.key1, PyBytes_AS_STRING(key) + 8, 8)
        self.lifetime_s = lifetime_s
        self.sets_count = 1
        while self.sets_count * WAYS < entries:
            self.sets_count *= 2
        size = self.sets_count * sizeof(EntrySet)
        self.sets = <EntrySet*>aligned_alloc(64, size)
        if self.sets is NULL:
            raise MemoryError
        memset(self.sets, 0, size)

    def __dealloc__(self):
        cdef Py_ssize_t i
        cdef int way
        if self.sets is NULL:
            return
        for i in range(self.sets_count):
            for way in range(WAYS):
                if self.sets[i].entries[way].response is not NULL:
                    DECREF(self.sets[i].entries[way].response)
        free(self.sets)

    def __len__(self):
        """Entries held; an expired one counts until it is displaced."""
        return self.count

    cpdef object check(self, Datagram packet, double now):
        """The kept response of a retransmission; IN_WORK when its first is not yet answered; NEW otherwise, and the
        packet is then recorded as in work.

        A packet is the same when far address and port, code, identifier and Request Authenticator are the same; same
        address, port, code and identifier with another authenticator replaces it. now: monotonic seconds.
        Raises ValueError for a packet under 20 octets. Cost: bench/native_datagram.py.
        """
        cdef Identity identity
        cdef EntrySet* entries
        cdef Entry* entry
        cdef uint64_t hashed
        cdef int way
        identify(packet, &identity)
        hashed = keyed_hash(&identity, self.key0, self.key1)
        entries = &self.sets[hashed & (self.sets_count - 1)]
        way = find(entries, <uint32_t>(hashed >> 32), &identity)
        if way >= 0:
            entry = &entries.entries[way]
            if entries.deadlines[way] > now and memcmp(entry.authenticator, packet.data + 4, 16) == 0:
                if entries.states[way] == ANSWERED:
                    return <object>entry.response
                return <int>ANSWER_IN_WORK
        else:
            way = victim(entries, now)
            if entries.states[way] == EMPTY:
                self.count += 1
            elif entries.deadlines[way] > now:
                self.displaced += 1
        entry = &entries.entries[way]
        entry.identity = identity
        memcpy(entry.authenticator, packet.data + 4, 16)
        entries.tags[way] = <uint32_t>(hashed >> 32)
        entries.states[way] = WORKING
        entries.deadlines[way] = now + self.lifetime_s
        set_response(entry, NULL)
        return <int>ANSWER_NEW

    cpdef void keep(self, Datagram packet, bytes response, double now) except *:
        """Record the response, for lifetime_s from now; nothing happens when the entry was displaced or replaced."""
        cdef EntrySet* entries
        cdef int way
        if response is None:
            raise TypeError("response must be bytes")
        way = self.locate(packet, &entries)
        if way >= 0:
            entries.states[way] = ANSWERED
            entries.deadlines[way] = now + self.lifetime_s
            set_response(&entries.entries[way], <PyObject*>response)

    cpdef void forget(self, Datagram packet) except *:
        """The packet was dropped without an answer: its retransmission is new."""
        cdef EntrySet* entries
        cdef int way = self.locate(packet, &entries)
        if way >= 0:
            entries.states[way] = EMPTY
            self.count -= 1
            set_response(&entries.entries[way], NULL)

    cdef int locate(self, Datagram packet, EntrySet** entries) except -2:
        """The way that holds this very packet, authenticator included, or -1; `entries` is its set."""
        cdef Identity identity
        cdef uint64_t hashed
        cdef int way
        identify(packet, &identity)
        hashed = keyed_hash(&identity, self.key0, self.key1)
        entries[0] = &self.sets[hashed & (self.sets_count - 1)]
        way = find(entries[0], <uint32_t>(hashed >> 32), &identity)
        if way >= 0 and memcmp(entries[0].entries[way].authenticator, packet.data + 4, 16) != 0:
            return -1
        return way


cdef inline int find(EntrySet* entries, uint32_t tag, Identity* identity) noexcept nogil:
    cdef int way
    for way in range(WAYS):
        if entries.tags[way] == tag and entries.states[way] != EMPTY:
            if memcmp(&entries.entries[way].identity, identity, sizeof(Identity)) == 0:
                return way
    return -1


cdef inline int victim(EntrySet* entries, double now) noexcept nogil:
    """Where a new entry goes: an empty way, an expired one, the oldest answered, the oldest in work."""
    cdef int best = 0
    cdef int best_rank = 4
    cdef int way, rank
    for way in range(WAYS):
        if entries.states[way] == EMPTY:
            return way
        rank = 1 if entries.deadlines[way] <= now else 2 if entries.states[way] == ANSWERED else 3
        if rank < best_rank or (rank == best_rank and entries.deadlines[way] < entries.deadlines[best]):
            best = way
            best_rank = rank
    return best


cdef inline void set_response(Entry* entry, PyObject* response) noexcept:
    cdef PyObject* previous = entry.response
    if response is not NULL:
        INCREF(response)
    entry.response = response
    if previous is not NULL:
        DECREF(previous)
