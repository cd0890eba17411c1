cimport cython
from native.datagram cimport Datagram
from native.duplicates cimport DuplicateCache
from native.radius cimport Packet, Secret

@cython.final
cdef class Source:
    cdef public bytes address
    cdef public object client
    cdef public list counters
    cdef public object nas
    cdef public Secret secret
    cdef public bint rotating
    cdef public bint limited
    cdef public long long with_count
    cdef public long long without_count
    cdef public bint proxy_state

@cython.final
@cython.freelist(64)
cdef class Request:
    cdef public Packet packet
    cdef public Source source
    cdef public Secret secret
    cdef public bint signed

    cpdef Request detach(self)

cdef class Admission:
    cdef public object clients
    cdef public DuplicateCache duplicates
    cdef public int code
    cdef public list drops
    cdef public list resends
    cdef public dict sources
    cdef public dict identified
    cdef public long long budget_ns
    cdef public object nas_of

    @cython.locals(index=int, packet=Packet, oldest_ns=cython.longlong, requests=list)
    cpdef list admit(self, list packets, int count, double now, double at)
    @cython.locals(code=int, source=Source, counters=list, signed=bint, state=int, reason=int)
    cpdef Request admit_one(self, Packet packet, double now, double at, long long oldest_ns)
    cpdef Request refuse(self, list counters, int reason, int counter)
    cpdef int refuse_unsigned(self, Source source, Packet packet) except -1
    cpdef bint other_secret(self, Source source, Packet packet) except -1
    cpdef bint guess_secret(self, Source source, Packet packet) except -1
    cpdef bint take_secret(self, Source source, Secret secret) except -1
    cpdef Source resolve(self, Packet packet, double at)
