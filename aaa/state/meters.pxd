cimport cython
from aaa.model.records cimport Live, ServiceRecord, SessionRecord

@cython.locals(service=ServiceRecord, other=SessionRecord, live=Live)
cpdef choose_meter(object store, SessionRecord session)
