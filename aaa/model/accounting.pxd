cimport cython
from aaa.model.records cimport NasRecord

@cython.final
@cython.freelist(64)
cdef class AccountingRecord:
    cdef public NasRecord nas
    cdef public int status
    cdef public bytes session_key
    cdef public bytes multi_key
    cdef public bint service_session
    cdef public long long token_session
    cdef public long long token_service
    cdef public long long token_decision
    cdef public bytes user_name
    cdef public double at
    cdef public double received_at
    cdef public long long session_time_s
    cdef public long long input_octets
    cdef public long long output_octets
    cdef public bint wide
    cdef public int terminate_cause
    cdef public bytes framed_ip
    cdef public bytes framed_ipv6
    cdef public bytes framed_prefix
    cdef public bytes delegated_prefix
    cdef public bytes calling_station
    cdef public bytes called_station
    cdef public bytes nas_port_id
    cdef public bytes circuit_id
    cdef public bytes remote_id
    cdef public object mobile
