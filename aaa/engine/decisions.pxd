cimport cython
from aaa.model.access cimport Attempt
from aaa.model.records cimport (
    Account, DecisionRecord, Live, NasRecord, PlanRecord, PolicyVersion, ServiceRecord, SessionRecord
)

cdef class Decisions:
    cdef public object store
    cdef public object policy
    cdef public PolicyVersion policy_version
    cdef public tuple reads
    cdef public bint places_all
    cdef public object placed_operators
    cdef public bint shares
    cdef public dict interned
    cdef public long long count
    cdef public dict marked

    cpdef DecisionRecord intern(self, whole)

    @cython.locals(version=cython.longlong, account=Account, decision=DecisionRecord)
    cpdef DecisionRecord of(self, ServiceRecord service, double at)
    @cython.locals(service=ServiceRecord, nas=NasRecord)
    cpdef DecisionRecord of_session(self, SessionRecord session, double at)
    cpdef bint is_placed(self, ServiceRecord service) except -1
    @cython.locals(nas=NasRecord)
    cpdef DecisionRecord of_attempt(self, ServiceRecord service, Attempt attempt, double at)
    @cython.locals(version=cython.longlong, account=Account, live=Live, kept=tuple, decision=DecisionRecord)
    cpdef DecisionRecord of_place(self, ServiceRecord service, tuple place, double at)
    @cython.locals(live=Live, account=Account, charged=cython.longlong)
    cpdef bound(self, ServiceRecord service, long long version, double at, double until, long long below)
    @cython.locals(version=cython.longlong)
    cpdef double holds_until(self, ServiceRecord service) except -1
    @cython.locals(plan=PlanRecord, decision=DecisionRecord, account=Account, shares=bint)
    cpdef DecisionRecord renew(self, ServiceRecord service, double at, long long version)
