cimport cython

from aaa.model.records cimport ServiceRecord

@cython.final
@cython.no_gc
cdef class SimRecord:
    cdef public int no
    cdef public int amf
    cdef public long long revision
    cdef public long long iccid_head
    cdef public long long iccid_tail
    cdef public long long packed_imsi
    cdef public long long sqn
    cdef public long long sqn_reserved
    cdef public str state
    cdef public bytes keys
    cdef public NumberRecord number
    cdef public ServiceRecord service
    cdef public str operator
    cdef public str batch

@cython.final
@cython.no_gc
cdef class NumberRecord:
    cdef public int no
    cdef public long long revision
    cdef public long long packed
    cdef public double until
    cdef public str state
    cdef public SimRecord sim
    cdef public ServiceRecord service
    cdef public str operator

@cython.final
@cython.no_gc
cdef class DeviceRecord:
    cdef public int no
    cdef public object body
    cdef public bytes mac
    cdef public ServiceRecord service

@cython.locals(mixed=cython.ulonglong)
cdef long long spread(long long head, long long tail)

@cython.locals(record=NumberRecord)
cpdef list numbers_between(list records, long long first, long long last)

@cython.final
cdef class DigitIndex:
    cdef public int which
    cdef public Shelf shelf
    cdef public int[::1] slots
    cdef public long long mask
    cdef public long long used
    cdef public long long count

    @cython.locals(number=NumberRecord, sim=SimRecord)
    cdef bint is_at(self, int no, long long head, long long tail)
    @cython.locals(slot=cython.longlong, no=int)
    cpdef int find(self, long long head, long long tail)
    cpdef add(self, int no, long long head, long long tail)
    @cython.locals(slot=cython.longlong)
    cpdef put(self, int no, long long head, long long tail)
    @cython.locals(slot=cython.longlong, no=int)
    cpdef remove(self, long long head, long long tail)
    @cython.locals(old=int[::1], size=cython.longlong, no=int, place=cython.longlong)
    cpdef rebuild(self)
    @cython.locals(number=NumberRecord, sim=SimRecord)
    cdef put_again(self, int no)

@cython.final
cdef class Shelf:
    cdef public list records
    cdef public list free
    cdef public long long count
