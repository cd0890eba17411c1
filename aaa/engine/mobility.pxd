cimport cython
from aaa.engine.decisions cimport Decisions
from aaa.model.records cimport DecisionRecord, NasRecord, ServiceRecord, SessionRecord
from aaa.model.shelves cimport NumberRecord, SimRecord

@cython.final
cdef class Admission:
    cdef public int verdict
    cdef public str message
    cdef public SimRecord sim
    cdef public DecisionRecord decision

@cython.final
cdef class Mobility:
    cdef public object store
    cdef public Decisions decisions
    cdef public object roaming_plmns

    @cython.locals(sim=SimRecord, service=ServiceRecord, decision=DecisionRecord)
    cpdef Admission admit(
        self, str imsi, str operator, str host, str plmn, long long rat, str imei, double at
    )
    @cython.locals(decisions=Decisions, number=NumberRecord)
    cpdef DecisionRecord decide(self, ServiceRecord service, SimRecord sim, str host, str plmn, double at)
    cpdef bint lock_allows(self, ServiceRecord service, str host, long long rat, str imei) except -1
    @cython.locals(session=SessionRecord)
    cpdef SessionRecord registration(self, NasRecord nas, str imsi)
    @cython.locals(session=SessionRecord)
    cpdef bint is_current(self, NasRecord nas, str imsi, DecisionRecord decision) except -1
    @cython.locals(session=SessionRecord, known=SessionRecord, other=SessionRecord)
    cpdef SessionRecord register(
        self, NasRecord nas, ServiceRecord service, facts, DecisionRecord decision, double at
    )
    cpdef purge(self, SessionRecord session, double at)
    cpdef note(self, SessionRecord session, str apn, str gateway, str imei, double at)

cpdef bint is_leaving(SessionRecord session) except -1
cpdef bint is_home(str imsi, str plmn) except -1
cpdef bint is_barred(DecisionRecord decision) except -1
cpdef first_qos(ServiceRecord service, DecisionRecord decision)
