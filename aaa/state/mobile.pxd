cimport cython
from aaa.model.records cimport DecisionRecord, Live, NasRecord, ServiceRecord, SessionIds, SessionRecord

@cython.locals(session=SessionRecord, ids=SessionIds)
cpdef SessionRecord new_session(
    object store, int protocol, NasRecord nas, bytes key, ServiceRecord service, object mobile, double at)
@cython.locals(nas=NasRecord, former=SessionRecord, live=Live, is_event=bint)
cpdef open_session(object store, SessionRecord session, DecisionRecord decision)
@cython.locals(others=list, other=SessionRecord, oldest=SessionRecord)
cpdef make_room(object store, SessionRecord session)
@cython.locals(session=SessionRecord)
cpdef SessionRecord session_of(NasRecord nas, int protocol, bytes key)
@cython.locals(live=Live, session=SessionRecord, found=list)
cpdef list sessions_of(ServiceRecord service, int protocol, str imsi)
@cython.locals(service=ServiceRecord)
cpdef bint is_foreign(SessionRecord session, str operator) except -1
