cimport cython
from aaa.model.records cimport ServiceRecord

cdef class Decisions:
    cdef public object store
    cdef public dict interned

    @cython.locals(version=cython.longlong)
    cpdef object of(self, ServiceRecord service, double at)
    cpdef object renew(self, ServiceRecord service, double at, long long version)
