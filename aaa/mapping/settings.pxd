cdef class Side:
    cdef public bytes identity
    cdef public str host
    cdef public str operator
    cdef public tuple imsis

    cpdef str via(self, str host)

cdef class Settings:
    cdef public object diameter
    cdef public dict peers
    cdef public dict realms
    cdef public dict sides

    cpdef Side side(self, object peer)
    cpdef object entry(self, str origin_host, str realm, str via)
    cpdef object family(self, str origin_host, str realm, str via)
