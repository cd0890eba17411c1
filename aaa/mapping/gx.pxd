cimport cython
from aaa.diameter.request cimport Request
from aaa.engine.decisions cimport Decisions
from aaa.engine.policy_control cimport BearerOutcome, BearerRequest, PolicyControl
from aaa.model.records cimport DecisionRecord, NasRecord, ServiceRecord, SessionRecord
from native.diameter cimport Avps, Message

cdef unsigned int CREDIT_CONTROL
cdef int V
cdef int SUBSCRIPTION_ID
cdef int SUBSCRIPTION_ID_TYPE
cdef int SUBSCRIPTION_ID_DATA
cdef int END_USER_IMSI
cdef int IMSI_DIGITS_MAX
cdef int SESSION_ID
cdef int ORIGIN_HOST
cdef int ORIGIN_REALM
cdef int CC_REQUEST_NUMBER
cdef int CC_REQUEST_TYPE
cdef int FRAMED_IP_ADDRESS
cdef int FRAMED_IPV6_PREFIX
cdef int CALLED_STATION_ID
cdef int NETWORK_REQUEST_SUPPORT
cdef int BEARER_CONTROL_MODE
cdef int RAT_TYPE
cdef int SGSN_MCC_MNC
cdef int USER_LOCATION_INFO
cdef int PDN_CONNECTION_ID
cdef int EVENT_TRIGGER
cdef int CHARGING_RULE_REPORT
cdef int PCC_RULE_STATUS
cdef int RULE_FAILURE_CODE
cdef int CHARGING_RULE_NAME
cdef int CHARGING_RULE_BASE_NAME
cdef int QOS_INFORMATION
cdef int DEFAULT_EPS_BEARER_QOS
cdef int USAGE_MONITORING_INFORMATION
cdef int MONITORING_KEY
cdef int USAGE_MONITORING_LEVEL
cdef int USED_SERVICE_UNIT
cdef int CC_INPUT_OCTETS
cdef int CC_OUTPUT_OCTETS
cdef int CC_TOTAL_OCTETS
cdef int PROXY_INFO
cdef int FEATURES
cdef int REL9
cdef bytes SUCCESS

cdef class Options:
    cdef public object family
    cdef public str garden_rule
    cdef public str operator
    cdef public bint gy
    cdef public bint monitors
    cdef public tuple keys

cdef class Client:
    cdef public NasRecord nas
    cdef public Options options
    cdef public bytes head
    cdef public str realm
    cdef public str via
    cdef public str operator

cdef class Gx:
    cdef public object store
    cdef public Decisions decisions
    cdef public PolicyControl control
    cdef public object settings
    cdef public dict clients
    cdef public dict options
    cdef public dict places
    cdef public dict apns
    cdef public object policy
    cdef public tuple located
    cdef public dict trigger_avps

    @cython.locals(request=Request, answers=list)
    cpdef list receive(self, requests, double at)
    @cython.locals(message=Message, client=Client, asked=BearerRequest, outcome=BearerOutcome, session=SessionRecord,
                   parts=list, kind=int, changed=bytes)
    cpdef bytes answer(self, Request request, double at)
    cpdef bytes refusal(self, Message message, Client client, int result, str text, bytes failed)
    @cython.locals(host=bytes, realm=bytes, client=Client)
    cpdef Client client_for(self, Request request, Message message)
    @cython.locals(asked=BearerRequest)
    cpdef BearerRequest to_request(self, Message message, Client client, int kind)
    @cython.locals(group=Avps, value=bytes, apn=bytes, place=bytes, known=tuple, plmn=bytes, address=bytes, prefix=bytes,
                   pdn=bytes)
    cpdef read_place(self, Message message, Client client, BearerRequest asked)
    cpdef str learn_apn(self, bytes octets)
    cpdef tuple learn_place(self, Message message, bytes octets)
    @cython.locals(group=Avps, unit=Avps, key=bytes)
    cpdef read_usage(self, Message message, BearerRequest asked)
    @cython.locals(decision=DecisionRecord)
    cpdef tell_all(self, list parts, Message message, Client client, SessionRecord session, BearerOutcome outcome,
                   double at)
    @cython.locals(decision=DecisionRecord, before=DecisionRecord, parts=list, is_new=bint)
    cpdef bytes tell_changes(self, Message message, Client client, SessionRecord session, BearerOutcome outcome,
                             BearerRequest asked, double at)
    @cython.locals(service=ServiceRecord)
    cpdef bint charges(self, SessionRecord session, Options options) except -1
    @cython.locals(online=bint)
    cpdef object profile(self, SessionRecord session, DecisionRecord decision, Options options)
    cpdef long long revalidate_at(self, SessionRecord session, double at) except -1
    cpdef tuple wanted_triggers(self, facts)
    cpdef bytes triggers(self, tuple triggers)

cpdef bint can_monitor(Options options, long long features) except -1
