cimport cython
from aaa.model.accounting cimport AccountingRecord
from aaa.model.records cimport NasRecord
from aaa.radius.admission cimport Request
from native.radius cimport Packet
from native.token cimport TokenKey

cdef int USER_NAME
cdef int FRAMED_IP_ADDRESS
cdef int CLASS
cdef int VENDOR_SPECIFIC
cdef int CALLED_STATION_ID
cdef int CALLING_STATION_ID
cdef int ACCT_STATUS_TYPE
cdef int ACCT_DELAY_TIME
cdef int ACCT_INPUT_OCTETS
cdef int ACCT_OUTPUT_OCTETS
cdef int ACCT_SESSION_ID
cdef int ACCT_SESSION_TIME
cdef int ACCT_TERMINATE_CAUSE
cdef int ACCT_MULTI_SESSION_ID
cdef int ACCT_INPUT_GIGAWORDS
cdef int ACCT_OUTPUT_GIGAWORDS
cdef int EVENT_TIMESTAMP
cdef int NAS_PORT_ID
cdef int FRAMED_IPV6_PREFIX
cdef int DELEGATED_IPV6_PREFIX
cdef int FRAMED_IPV6_ADDRESS
cdef int ADSL_FORUM
cdef int AGENT_CIRCUIT_ID
cdef int AGENT_REMOTE_ID
cdef int VENDOR_3GPP
cdef int IMSI_3GPP
cdef int IMSI_DIGITS_MAX
cdef long long INTEGER_MAX
cdef long long GIGAWORDS_MAX
cdef int DELAY_MAX_S
cdef double EVENT_AGE_MAX_S
cdef double EVENT_AHEAD_MAX_S

@cython.final
cdef class AccountingMapping:
    cdef public TokenKey token_key

    cpdef list to_records(self, list requests, double at)
    @cython.locals(packet=Packet, nas=NasRecord, status=cython.longlong, key=bytes, name=bytes, address=bytes, record=AccountingRecord)
    cpdef AccountingRecord to_record(self, Request request, double at)
    @cython.locals(delay=cython.longlong, stamp=cython.longlong)
    cpdef double event_time(self, Packet packet, NasRecord nas, double at) except? -1
    @cython.locals(received=cython.longlong, sent=cython.longlong)
    cpdef object read_octets(self, Packet packet, AccountingRecord record, NasRecord nas)
    cpdef object read_class(self, Packet packet, AccountingRecord record)
    @cython.locals(imsi=bytes)
    cpdef object read_vendor(self, Packet packet, AccountingRecord record)

cdef bytes prefix(bytes value)
cdef long long integer(Packet packet, int number) except? -1
cdef long long vendor_integer(Packet packet, long long vendor, long long number) except? -1
cdef long long gigawords(long long count) except? -1
