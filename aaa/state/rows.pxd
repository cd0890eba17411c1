cimport cython
from aaa.model.records cimport ServiceRecord, SessionRecord

cpdef tuple session_row(SessionRecord session)
@cython.locals(facts=dict, service=ServiceRecord, addresses=list, held=dict, since=double, value=bytes)
cpdef str session_facts(SessionRecord session)
