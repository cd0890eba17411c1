cimport cython
from aaa.diameter.request cimport Request

@cython.final
@cython.freelist(64)
cdef class _Entry:
    cdef double at
    cdef bytes key
    cdef bytes answer
    cdef list repeats
    cdef long long octets

cdef class Duplicates:
    cdef int _count_max
    cdef long long _octets_max
    cdef public long long octets
    cdef double _kept_s
    cdef dict _entries
    cdef object _order
    cdef public long long repeated

    @cython.locals(key=bytes, entry=_Entry)
    cpdef tuple is_new(self, Request request, double now)
    @cython.locals(entry=_Entry, repeats=list, again=Request)
    cpdef list answered(self, Request request, bytes octets)
    @cython.locals(entry=_Entry)
    cpdef list abandoned(self, Request request)
    @cython.locals(entry=_Entry)
    cdef _forget(self, double now)
    @cython.locals(entry=_Entry)
    cdef _drop_first(self)

cdef tuple _NEW
cdef tuple _IN_WORK
cdef tuple _TOO_OFTEN
