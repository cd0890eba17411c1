cimport cython
from aaa.model.records cimport DecisionRecord, PlanRecord, PolicyVersion, ServiceRecord

cdef class Decisions:
    cdef public PolicyVersion policy_version
    cdef public dict interned

    cpdef DecisionRecord intern(self, whole)

    @cython.locals(version=cython.longlong)
    cpdef DecisionRecord of(self, ServiceRecord service, double at)
    @cython.locals(plan=PlanRecord, decision=DecisionRecord)
    cpdef DecisionRecord renew(self, ServiceRecord service, double at, long long version)
