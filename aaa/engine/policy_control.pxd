cimport cython
from aaa.engine.decisions cimport Decisions
from aaa.model.records cimport Account, DecisionRecord, Live, NasRecord, ServiceRecord, SessionRecord
from aaa.model.shelves cimport SimRecord

@cython.final
@cython.freelist(64)
cdef class BearerRequest:
    cdef public NasRecord nas
    cdef public bytes key
    cdef public long long number
    cdef public str operator
    cdef public bint monitors
    cdef public str imsi
    cdef public str msisdn
    cdef public str realm
    cdef public str via
    cdef public str apn
    cdef public str plmn
    cdef public str location
    cdef public str imei
    cdef public str pdn
    cdef public int rat
    cdef public long long features
    cdef public bytes framed_ip
    cdef public bytes framed_prefix
    cdef public bint reported
    cdef public object used_input
    cdef public object used_output
    cdef public dict failed
    cdef public list restored
    cdef public int cause

@cython.final
@cython.freelist(64)
cdef class BearerOutcome:
    cdef public int verdict
    cdef public str message
    cdef public SessionRecord session
    cdef public DecisionRecord decision
    cdef public DecisionRecord confirmed
    cdef public bint whole
    cdef public bint repeated
    cdef public long long granted

cdef class PolicyControl:
    cdef public object store
    cdef public Decisions decisions
    cdef public bint adopt
    cdef public long long slice
    cdef public long long slice_min

    @cython.locals(nas=NasRecord, session=SessionRecord, outcome=BearerOutcome)
    cpdef BearerOutcome begin(self, BearerRequest request, double at)
    @cython.locals(nas=NasRecord, session=SessionRecord, outcome=BearerOutcome, service=ServiceRecord,
                   decision=DecisionRecord, placed=bint)
    cpdef BearerOutcome update(self, BearerRequest request, double at)
    @cython.locals(nas=NasRecord, session=SessionRecord)
    cpdef BearerOutcome end(self, BearerRequest request, double at)
    cpdef end_with(self, SessionRecord session, BearerRequest request, double at)
    @cython.locals(sim=SimRecord, nas=NasRecord, service=ServiceRecord, session=SessionRecord, decision=DecisionRecord,
                   outcome=BearerOutcome)
    cpdef BearerOutcome open(self, BearerRequest request, int kind, double at)
    cpdef supersede(self, SessionRecord session, double at)
    @cython.locals(service=ServiceRecord, decision=DecisionRecord)
    cpdef DecisionRecord decide(self, SessionRecord session, double at)
    cpdef bint learn(self, SessionRecord session, BearerRequest request, double at) except -1
    @cython.locals(service=ServiceRecord)
    cpdef count(self, SessionRecord session, BearerRequest request, double at)
    @cython.locals(service=ServiceRecord)
    cpdef bint meters(self, SessionRecord session, bint monitors) except -1
    @cython.locals(service=ServiceRecord, account=Account, octets=cython.longlong, below=cython.longlong,
                   charged=cython.longlong, left=cython.longlong)
    cpdef long long portion(self, SessionRecord session, bint monitors) except -1
    @cython.locals(live=Live, was=cython.longlong)
    cpdef monitor(self, SessionRecord session, long long octets)
    @cython.locals(service=ServiceRecord)
    cpdef int counts(self, SessionRecord session) except -1
    @cython.locals(service=ServiceRecord)
    cpdef double holds_until(self, SessionRecord session) except -1

@cython.locals(session=SessionRecord)
cpdef SessionRecord known_session(BearerRequest request)
cpdef bint is_subscribed(DecisionRecord decision, str apn) except -1
cpdef bint is_bearable(SessionRecord session, DecisionRecord decision) except -1
@cython.locals(outcome=BearerOutcome, decision=DecisionRecord)
cpdef BearerOutcome repeated(SessionRecord session, bint is_latest)
