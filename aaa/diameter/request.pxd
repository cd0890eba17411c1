cimport cython
from native.diameter cimport Message

@cython.final
@cython.freelist(128)
cdef class Request:
    cdef public object peer
    cdef public object connection
    cdef public Message message
    cdef public object entry
