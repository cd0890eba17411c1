cimport cython
from aaa.model.access cimport Attempt
from aaa.model.records cimport Account, DecisionRecord, Live, NasRecord, PlanRecord, PolicyVersion, ServiceRecord, SessionRecord

cdef class Decisions:
    cdef public object store
    cdef public object policy
    cdef public PolicyVersion policy_version
    cdef public tuple reads
    cdef public bint shares
    cdef public dict interned
    cdef public dict marked

    cpdef DecisionRecord intern(self, whole)

    @cython.locals(version=cython.longlong, account=Account)
    cpdef DecisionRecord of(self, ServiceRecord service, double at)
    @cython.locals(service=ServiceRecord, nas=NasRecord)
    cpdef DecisionRecord of_session(self, SessionRecord session, double at)
    @cython.locals(nas=NasRecord)
    cpdef DecisionRecord of_attempt(self, ServiceRecord service, Attempt attempt, double at)
    @cython.locals(version=cython.longlong, account=Account, live=Live, variants=dict, kept=tuple,
                   decision=DecisionRecord, below=cython.longlong)
    cpdef DecisionRecord of_place(self, ServiceRecord service, tuple place, double at)
    @cython.locals(version=cython.longlong, until=double, live=Live)
    cpdef double holds_until(self, ServiceRecord service) except -1
    @cython.locals(plan=PlanRecord, decision=DecisionRecord, account=Account, below=cython.longlong, shares=bint,
                   live=Live)
    cpdef DecisionRecord renew(self, ServiceRecord service, double at, long long version)
