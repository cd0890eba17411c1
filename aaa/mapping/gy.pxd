cimport cython
from aaa.diameter.request cimport Request
from aaa.engine.charging cimport Charging
from aaa.engine.decisions cimport Decisions
from aaa.mapping.settings cimport Settings, Side
from aaa.model.records cimport NasRecord, ServiceRecord, SessionRecord
from native.diameter cimport Avps, Message

cdef class Gy:
    cdef public long number
    cdef public object store
    cdef public Decisions decisions
    cdef public Charging charging
    cdef public Settings settings
    cdef public double threshold
    cdef public bytes holding
    cdef public bytes final
    cdef public dict clients
    cdef public dict rendered
    cdef public tuple reads
    cdef public bytes triggers
    cdef public dict results

    cpdef list receive(self, requests, double at)
    @cython.locals(message=Message, side=Side, nas=NasRecord, key=bytes, session=SessionRecord, units=list, cause=int,
                   result=long)
    cpdef bytes answer(self, Request request, double at)
    @cython.locals(octets=bytes, nas=NasRecord)
    cpdef NasRecord client(self, Request request, Message message, Side side)
    @cython.locals(message=Message, place=Avps, service=ServiceRecord, session=SessionRecord)
    cpdef SessionRecord session_of(self, Request request, Side side, NasRecord nas, bytes key, double at)
    cpdef ServiceRecord service_of(self, str imsi, Side side)
    @cython.locals(place=Avps)
    cpdef follow(self, SessionRecord session, Message message)
    @cython.locals(parts=list)
    cpdef bytes compose(self, Message message, Side side, long result, bytes body)
    cpdef bytes services(self, object facts, int kind)
    @cython.locals(octets=bytes)
    cpdef bytes service(self, object group, object grant)
    cpdef bytes encode(self, object group, object grant)

@cython.locals(units=list, group=Avps)
cpdef list units_of(Message message, int kind)
@cython.locals(used=Avps, up=cython.longlong, down=cython.longlong)
cpdef read_used(object unit, Avps avps)
@cython.locals(information=Avps, place=Avps)
cpdef Avps place_of_traffic(Message message)
