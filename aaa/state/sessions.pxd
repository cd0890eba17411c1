cimport cython

from aaa.model.accounting cimport AccountingRecord
from aaa.model.records cimport Account, NasRecord, PlanRecord, ServiceRecord, SessionRecord

cpdef int apply_accounting(object store, AccountingRecord record) except -2
cpdef SessionRecord find_session(object store, AccountingRecord record)
cpdef int compare(SessionRecord session, AccountingRecord record) except -2
cpdef bint is_former(SessionRecord session, AccountingRecord record) except -1
cpdef bint has_fallen(SessionRecord session, AccountingRecord record) except -1
cpdef SessionRecord open_session(object store, AccountingRecord record)
cpdef bint count_usage(object store, SessionRecord session, AccountingRecord record) except -1
cpdef bint learn_facts(object store, SessionRecord session, AccountingRecord record, bint is_fresh) except -1
cpdef add_octets(
    object store, SessionRecord session, long long new_input, long long new_output, double since, double at)
cpdef add_usage(
    object store, ServiceRecord service, long long input_octets, long long output_octets, double since, double at)
@cython.locals(account=Account, plan=PlanRecord, octets=cython.longlong, charged=cython.longlong)
cdef charge(
    object store, ServiceRecord service, long long input_octets, long long output_octets, double since, double at)
