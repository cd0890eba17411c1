cimport cython
from aaa.model.access cimport Attempt, Outcome
from aaa.model.records cimport DecisionRecord, NasRecord, ServiceRecord
from aaa.radius.admission cimport Request, Source
from native.radius cimport Packet, Secret, integer_attribute
from native.token cimport TokenKey

cdef int USER_NAME
cdef int USER_PASSWORD
cdef int CHAP_PASSWORD
cdef int SERVICE_TYPE
cdef int FRAMED_PROTOCOL
cdef int CALLED_STATION_ID
cdef int CALLING_STATION_ID
cdef int VENDOR_SPECIFIC
cdef int SESSION_TIMEOUT
cdef int CHAP_CHALLENGE
cdef int EAP_MESSAGE
cdef int ACCT_INTERIM_INTERVAL
cdef int NAS_PORT_ID
cdef int CALL_CHECK
cdef int FRAMED
cdef int PPP
cdef int MICROSOFT
cdef int MS_CHAP_RESPONSE
cdef int MS_CHAP_CHALLENGE
cdef int MS_CHAP2_RESPONSE
cdef int ADSL_FORUM
cdef int AGENT_CIRCUIT_ID
cdef int AGENT_REMOTE_ID
cdef int PAP
cdef int CHAP
cdef int MSCHAP
cdef int MSCHAPV2
cdef int UNSUPPORTED
cdef int EAP
cdef int EAP_FAILURE
cdef int ACCEPT
cdef int REJECT
cdef bytes CLASS_HEADER
cdef bytes FRAMED_ATTRIBUTE
cdef bytes PPP_ATTRIBUTE
cdef bytes HOST_NETMASK
cdef bytes ENCRYPTION

@cython.final
cdef class Rendered:
    cdef readonly bytes attributes
    cdef readonly int generation

@cython.final
cdef class AccessMapping:
    cdef public object render
    cdef public TokenKey token_key
    cdef public int salt
    cdef public int generation

    @cython.locals(attempts=list, request=Request)
    cpdef list to_attempts(self, list requests, double at)
    @cython.locals(packet=Packet, name=bytes, attempt=Attempt)
    cpdef Attempt to_attempt(self, Request request, double at)
    @cython.locals(proof=bytes, challenge=bytes)
    cpdef object read_chap(self, Packet packet, Attempt attempt)
    @cython.locals(proof=bytes, challenge=bytes, usable=bint)
    cpdef object read_mschap(self, Packet packet, Attempt attempt)
    @cython.locals(message=bytes)
    cpdef object read_eap(self, Packet packet, Attempt attempt)
    @cython.locals(replies=list, index=int, outcome=Outcome)
    cpdef list to_replies(self, list requests, list attempts, list outcomes)
    @cython.locals(packet=Packet, decision=DecisionRecord, service=ServiceRecord, name=str, rendered=Rendered,
                   parts=list)
    cpdef bytes accept_attributes(self, Request request, Attempt attempt, Outcome outcome)
    cpdef Rendered render_decision(self, DecisionRecord decision, str name)
    @cython.locals(secret=Secret, authenticator=bytes, salt=int)
    cpdef bytes mschap_attributes(self, Request request, Attempt attempt, Outcome outcome)
    cpdef bytes reject_attributes(self, Attempt attempt, Outcome outcome)
