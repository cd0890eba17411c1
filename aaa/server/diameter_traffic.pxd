cimport cython
from aaa.diameter.request cimport Request
from native.diameter cimport Message

cdef bytes SUCCESS

cdef class CommandCounters:
    cdef public list classes
    cdef public list latency
    cdef public object latency_sum_ns

cdef class Traffic:
    cdef public dict received
    cdef public dict sent
    cdef public object results
    cdef public object stopped
    cdef public object drops

    @cython.locals(last=long, request=Request, message=Message, octets=bytes, counters=CommandCounters, bucket=int)
    cpdef note_answers(self, requests, answers, spent_ns)
