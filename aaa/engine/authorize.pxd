cimport cython
from aaa.credential.verifier cimport Verifier, is_slow, password_hash, supports, verify_chap, verify_mschap, verify_mschapv2, verify_password
from aaa.engine.decisions cimport Decisions
from aaa.model.access cimport Attempt, Outcome
from aaa.model.records cimport CredentialRecord, DecisionRecord, Live, NasRecord, ServiceRecord, SessionIds, SessionRecord

cdef int ACCEPT
cdef int REJECT
cdef int SLOW
cdef int NONE
cdef int PAP
cdef int CHAP
cdef int MSCHAP
cdef int MSCHAPV2
cdef int UNKNOWN_USER
cdef int WRONG_PASSWORD
cdef int METHOD_UNSUPPORTED
cdef int LOCKED_OUT
cdef int WRONG_PLACE
cdef int DENIED
cdef int TOO_MANY_SESSIONS
cdef int NO_ADDRESS
cdef long long TIMEOUT_MAX_S
cdef double CLOCK_BACK_S

cdef class Authorizer:
    cdef public object store
    cdef public SessionIds session_ids
    cdef public Decisions decisions
    cdef public object addresses
    cdef public object settings
    cdef public bint is_full
    cdef public int nas_failures_max
    cdef public long interim_interval_s
    cdef public double interim_jitter
    cdef public list displaced

    @cython.locals(outcomes=list)
    cpdef list authorize(self, list attempts)
    @cython.locals(nas=NasRecord, credential=CredentialRecord, service=ServiceRecord, live=Live, verifier=Verifier,
                   method=int, password=bytes, outcome=Outcome, proof=tuple, hashed=bytes)
    cpdef Outcome authorize_one(self, Attempt attempt)
    @cython.locals(at=double, live=Live, decision=DecisionRecord, outcome=Outcome, limit=long, interim=long,
                   spread=cython.longlong, timeout=cython.longlong, latest=double, ends_at=double,
                   held=SessionRecord)
    cpdef Outcome admit(self, Attempt attempt, ServiceRecord service)
    cpdef long shorten_interim(self, long interim, ServiceRecord service, DecisionRecord decision) except -1
    cpdef Outcome fail(self, Attempt attempt, ServiceRecord service)
    cpdef bint is_locked(self, Live live, double at) except -1
    cpdef CredentialRecord find_password(self, NasRecord nas, bytes name)

cdef Outcome refuse(int cause, str message, ServiceRecord service)
