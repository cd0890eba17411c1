cimport cython
from native.diameter cimport Message

cdef unsigned int DESTINATION_HOST, DESTINATION_REALM, ORIGIN_HOST, ORIGIN_REALM

cdef class Gate:
    cdef object _rules
    cdef bytes _host
    cdef bytes _realm
    cdef bint _relays
    cdef frozenset _barred
    cdef object _has_room
    cdef frozenset _origins
    cdef tuple _origin_ends
    cdef bytes _host_seen
    cdef bytes _realm_seen
    cdef tuple _denied_octets
    cdef double _burst
    cdef double _tokens
    cdef double _filled_at

    @cython.locals(host=bytes, realm=bytes)
    cpdef object stops(self, Message message, double now)
    cdef bint _is_own(self, bytes host)
    @cython.locals(name=str)
    cdef object _stops_foreign(self, Message message, bytes host)
    @cython.locals(tokens=double)
    cdef object _restricts(self, object rules, Message message, double now)

cdef class Home:
    cdef public set hosts
    cdef public set realms

    cpdef bint has(self, Message message)
