cdef object _OKAY
cdef object _SUSPECT
cdef object _REOPEN

cdef class Watchdog:
    cdef double _tw_s
    cdef object _jitter
    cdef public object state
    cdef public bint pending
    cdef public object deadline
    cdef int _answers
    cdef double _interval_s

    cpdef tuple received(self, bint is_answer, double now)
