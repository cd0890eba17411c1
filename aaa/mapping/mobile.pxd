cimport cython
from native.diameter cimport Avps, Message

@cython.locals(group=Avps, value=bytes)
cpdef str msisdn_of(Message message)
@cython.locals(value=bytes)
cpdef str called_apn(Avps message)
cpdef str apn_of(bytes value)
@cython.locals(value=bytes, place=bytes)
cpdef str plmn_of(Avps message)
@cython.locals(value=bytes)
cpdef str location_of(Avps message)
@cython.locals(group=Avps, value=bytes)
cpdef str imei_of(Avps message)
@cython.locals(host=bytes, realm=bytes)
cpdef tuple origin_of(Message message)
cpdef int acct_cause_of(Message message) except -1
@cython.locals(group=Avps)
cpdef features_of(Message message)
