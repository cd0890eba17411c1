cimport cython
from aaa.model.records cimport DecisionRecord, NasRecord, ServiceRecord

@cython.final
@cython.freelist(64)
cdef class Attempt:
    cdef public NasRecord nas
    cdef public bytes user_name
    cdef public int method
    cdef public bytes password
    cdef public int chap_identifier
    cdef public bytes challenge
    cdef public bytes peer_challenge
    cdef public bytes response
    cdef public bytes calling_station
    cdef public bytes called_station
    cdef public bytes nas_port_id
    cdef public bytes circuit_id
    cdef public bytes remote_id
    cdef public bint call_check
    cdef public double at

@cython.final
@cython.freelist(64)
cdef class Outcome:
    cdef public int verdict
    cdef public int cause
    cdef public str message
    cdef public ServiceRecord service
    cdef public DecisionRecord decision
    cdef public long long session_id
    cdef public long session_timeout_s
    cdef public long interim_interval_s
    cdef public bytes framed_ip
    cdef public bytes framed_prefix
    cdef public bytes delegated_prefix
    cdef public tuple proof
    cdef public bytes password_hash
    cdef public object slow
    cdef public bint durable
