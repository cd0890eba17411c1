cimport cython
from aaa.engine.decisions cimport Decisions
from aaa.model.records cimport Account, DecisionRecord, NasRecord, PlanRecord, ServiceRecord, SessionRecord

cdef class Charging:
    cdef public object store
    cdef public Decisions decisions
    cdef public object settings
    cdef public dict ends

    cpdef SessionRecord find(self, NasRecord nas, bytes key)
    cpdef SessionRecord find_event(self, NasRecord nas, bytes key, long long number)
    @cython.locals(session=SessionRecord, looked=int)
    cpdef SessionRecord look_up(self, NasRecord nas, bytes key, long long event)
    cpdef long begin(
        self, SessionRecord session, int kind, long long number, list units, bint single, int cause, double at
    ) except -1
    @cython.locals(address=bytes, prefix=bytes, other=SessionRecord, is_same=bint)
    cpdef supersede(self, SessionRecord session, double at)
    @cython.locals(is_repeated=bint, known=cython.longlong)
    cpdef long go_on(
        self, SessionRecord session, int kind, long long number, list units, bint single, int cause, double at
    ) except -1
    @cython.locals(decision=DecisionRecord, refusal=long)
    cpdef long apply(
        self, SessionRecord session, int kind, long long number, list units, bint single, int cause, double at
    ) except -1
    cpdef long refusal_of(self, SessionRecord session) except -1
    @cython.locals(since=double, time_s=cython.longlong, used_input=cython.longlong, used_output=cython.longlong,
                   free_input=cython.longlong, free_output=cython.longlong, nas=NasRecord)
    cpdef count(self, SessionRecord session, list units, double at)
    cpdef bint is_free(self, SessionRecord session, object facts, object group, double at) except -1
    @cython.locals(account=Account, left=cython.longlong)
    cpdef bint has_credit(self, SessionRecord session, long long octets, double at) except -1
    @cython.locals(service=ServiceRecord, plan=PlanRecord, account=Account, until=double, validity_s=long,
                   octets=cython.longlong, is_free=bint, answered=list, counts=int)
    cpdef allot(self, SessionRecord session, DecisionRecord decision, list units, double at)
    cpdef refuse(self, SessionRecord session, list units, long result, double at)
    @cython.locals(octets=cython.longlong)
    cpdef give_up(self, object facts, Account account, list units)
    @cython.locals(service=ServiceRecord, most=cython.longlong, to_change=cython.longlong, octets=cython.longlong,
                   left=cython.longlong, room=cython.longlong)
    cpdef long long portion(self, SessionRecord session, Account account, double at) except -1
    @cython.locals(service=ServiceRecord, left=cython.longlong)
    cpdef bint is_final(self, SessionRecord session, Account account, long long octets, double at) except -1
    @cython.locals(service=ServiceRecord, version=cython.longlong, is_placed=bint, ends=bint)
    cpdef bint is_last(self, SessionRecord session, double at) except -1

cpdef long denial_code(DecisionRecord decision) except -1
cpdef object free_groups(DecisionRecord decision, str apn)
