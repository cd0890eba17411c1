cimport cython
from aaa.model.access cimport Attempt, Outcome
from aaa.radius.admission cimport Admission, Request, Source
from native.datagram cimport BatchSocket, Datagram
from native.duplicates cimport DuplicateCache
from native.radius cimport Packet

cdef class Statistics:
    cdef public list latency
    cdef public long long latency_sum_ns
    cdef public list causes
    cdef public long long answered

    @cython.locals(spent_ns=cython.longlong, spent_us=cython.longlong, bucket=int)
    cpdef object observe(self, long long received_ns, long long sent_ns)

@cython.final
@cython.freelist(64)
cdef class Answer:
    cdef public Request request
    cdef public bytes payload
    cdef public Datagram reply
    cdef public double due

cdef class Port:
    cdef public BatchSocket socket
    cdef public Admission admission
    cdef public Statistics statistics
    cdef public object status_attributes
    cdef public object tap

    cpdef object on_readable(self)
    @cython.locals(count=int, packets=list, requests=list, admitted=list, admission=Admission, request=Request, datagrams=list,
                   answer=Datagram)
    cpdef list take(self, double now, double at, int status_code)
    cpdef bytes sign(self, Request request, int code, bytes attributes, bint message_authenticator)
    cpdef Datagram answer_status(self, Request request, int code, double now)
    cpdef object send(self, list datagrams)
    @cython.locals(answer=Answer, duplicates=DuplicateCache, now=double, datagrams=list, sent_ns=cython.longlong)
    cpdef object send_late(self, list answers)

cdef class AccessPort(Port):
    cdef public object mapping
    cdef public object authorizer
    cdef public object journal
    cdef public double reject_delay_s
    cdef public object check_slowly
    cdef public object note_reject
    cdef public object delayed

    @cython.locals(now=double, at=double, requests=list, attempts=list, outcomes=list)
    cpdef object on_readable(self)
    @cython.locals(request=Request, outcome=Outcome, packet=Packet, source=Source, index=int, replies=list,
                   duplicates=DuplicateCache, causes=list, payload=bytes, datagrams=list, answered=list, statistics=Statistics,
                   sent_ns=cython.longlong)
    cpdef object finish(self, list requests, list attempts, list outcomes, double now, double arrived)

cdef class AccountingPort(Port):
    cdef public object mapping
    cdef public object accountant
    cdef public object journal

    @cython.locals(request=Request, now=double, at=double, requests=list, records=list, outcomes=list, answers=list, packet=Packet,
                   payload=bytes)
    cpdef object on_readable(self)

cdef int ACCESS_ACCEPT
cdef int ACCESS_REJECT
cdef int ACCOUNTING_RESPONSE
cdef int STATUS_SERVER
cdef int ACCEPT
cdef int REJECT
cdef int SLOW
cdef int UNKNOWN_SOURCE
cdef int OVERLOAD
cdef int RESPONSE_TOO_LONG
