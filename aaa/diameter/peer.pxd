cimport cython
from aaa.diameter.request cimport Request
from aaa.diameter.watchdog cimport Watchdog
from native.diameter cimport Grammar, Message

cdef int REQUEST
cdef object OKAY
cdef long UNSENT_BYTES_MAX

cdef class Connection:
    cdef public object _node
    cdef public list _out
    cdef public list _messages
    cdef public int _fault
    cdef public object link
    cdef public Peer peer
    cdef public object remote_address
    cdef public object addresses
    cdef public bint secure
    cdef public bint starts_tls
    cdef public object certificate
    cdef public Message cer
    cdef public bint closing
    cdef public object deadline
    cdef public bytearray received
    cdef public set waiting
    cdef public long unsent_octets

    @cython.locals(messages=list, found=list, events=list, message=Message)
    cpdef list receive_data(self, data, double now, count_max=*)
    cpdef bytes data_to_send(self)
    cpdef write(self, bytes octets)

cdef class Peer:
    cdef public object _node
    cdef public object remote
    cdef public object state
    cdef public Watchdog watchdog
    cdef public object capabilities
    cdef public object drops
    cdef public object refusals
    cdef public object origin_state_id
    cdef public object _jitter
    cdef public Connection _initiator
    cdef public Connection _responder
    cdef public object _offered
    cdef public unsigned int _hop_by_hop
    cdef public dict _in_flight
    cdef public object _deadline
    cdef public object _redial_at
    cdef public bint _wanted
    cdef public double _redial_factor
    cdef public object _cause
    cdef public object _reason
    cdef public object _detail
    cdef public int _repeated_cers
    cdef public Grammar _usual
    cdef public unsigned int _usual_application
    cdef public unsigned int _usual_command
    cdef public Connection _usual_connection
    cdef public Py_ssize_t _waiting_max

    @cython.locals(connection=Connection)
    cpdef bint send_answer(self, Request request, bytes octets) except -1
    cpdef bint receive_usual(self, Connection connection, Message message, double now, list events) except -1
    cpdef receive(self, Connection connection, Message message, double now, list events)
