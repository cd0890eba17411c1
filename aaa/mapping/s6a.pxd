cimport cython
from aaa.diameter.request cimport Request
from aaa.engine.mobility cimport Admission, Mobility
from aaa.mapping.settings cimport Settings, Side
from aaa.model.records cimport DecisionRecord, NasRecord, ServiceRecord, SessionRecord
from aaa.model.shelves cimport NumberRecord, SimRecord
from native.diameter cimport Avps, Message

@cython.final
cdef class Profile:
    cdef public bytes ambr
    cdef public list apns
    cdef public list configurations
    cdef public bytes profile

cdef class S6a:
    cdef public long long number
    cdef public object store
    cdef public Settings settings
    cdef public Mobility mobility
    cdef public object random
    cdef public long long transactions
    cdef public bytes tau

    @cython.locals(message=Message, command=cython.longlong, side=Side)
    cpdef list receive(self, requests, double at)
    @cython.locals(eutran=Avps, utran=Avps, wanted=Avps, admission=Admission, sim=SimRecord, plmn=bytes, told=bytes,
                   keys=bytes, host=str)
    cdef list authenticate(self, Side side, Message message, double at)
    @cython.locals(rands=bytes, rand=bytes, vector=bytes, tail=bytes, body=bytes, number=int)
    cdef make_vectors(self, list vectors, SimRecord sim, bytes keys, int count, long long slot, bytes plmn)
    @cython.locals(admission=Admission, sim=SimRecord, decision=DecisionRecord, service=ServiceRecord,
                   record=NumberRecord, nas=NasRecord, plmn=bytes, flags=cython.longlong, rat=cython.longlong)
    cdef list update_location(self, Side side, Message message, double at)
    cdef list purge(self, Side side, Message message, double at)
    cdef list notify(self, Side side, Message message, double at)
    cdef bint is_known(self, str imsi, Side side) except -1
    @cython.locals(profile=Profile)
    cdef bytes subscription(self, ServiceRecord service, DecisionRecord decision, str msisdn, int apns_max)

cdef Profile profile_of(ServiceRecord service, DecisionRecord decision)
cdef bytes cut(Profile profile, int apns_max)
@cython.locals(before=Profile, after=Profile)
cdef tuple parts_of(ServiceRecord service, DecisionRecord confirmed, DecisionRecord desired)
cdef int count_of(Avps wanted) except -1
cdef str imei_of(Message message)
cdef str gateway_of(Message message)
cdef str lower(bytes value)
cdef str digits(bytes value)
