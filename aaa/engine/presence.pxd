cimport cython
from aaa.model.records cimport ServiceRecord, SessionRecord

cdef class Presence:
    cdef public object store
    cdef public object decisions
    cdef public object enforcer

    @cython.locals(session=SessionRecord)
    cpdef note(self, double at)
    @cython.locals(service=ServiceRecord)
    cpdef begin(self, SessionRecord session, long long mark, double at)
    @cython.locals(data=dict, service=ServiceRecord)
    cpdef end(self, SessionRecord session, double at)
    @cython.locals(data=dict)
    cpdef dict facts_of(self, SessionRecord session)
