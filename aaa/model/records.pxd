cimport cython

@cython.final
cdef class SessionIds:
    cdef public long long last

    @cython.locals(candidate=cython.longlong)
    cpdef long long next(self, double at)

@cython.final
cdef class PolicyVersion:
    cdef public long long number

@cython.final
cdef class DecisionRecord:
    cdef public long long id
    cdef public object body
    cdef public bint grant
    cdef public long simultaneous_use
    cdef public long session_timeout_s
    cdef public long interim_interval_s
    cdef public str pool
    cdef public dict rendered

@cython.final
@cython.no_gc
cdef class PlanRecord:
    cdef public long long no
    cdef public object body
    cdef public long long version
    cdef public long long services
    cdef public long long add_on_uses
    cdef public bint metered
    cdef public int counts
    cdef public bint zero_rates
    cdef public dict plain

@cython.final
@cython.no_gc
cdef class SubscriberRecord:
    cdef public long long no
    cdef public object body
    cdef object held_services

@cython.final
@cython.no_gc
cdef class CredentialRecord:
    cdef public ServiceRecord service
    cdef public str kind
    cdef public bytes key
    cdef public object verifier

@cython.final
@cython.no_gc
cdef class Account:
    cdef public str kind
    cdef public str key
    cdef public list members
    cdef public double cycle_starts_at
    cdef public double cycle_ends_at
    cdef public long long charged_octets
    cdef public long long settled_octets
    cdef public tuple buckets
    cdef public long long offered_octets
    cdef public long long left_octets
    cdef public long long offers
    cdef public long long next_mark
    cdef public long long alarm
    cdef public tuple told
    cdef public long long reserved_octets
    cdef public bint exhausted
    cdef public tuple known
    cdef public int bought
    cdef public double changes_at
    cdef public bint dirty

@cython.final
@cython.no_gc
cdef class Marks:
    cdef public tuple holds
    cdef public tuple tags

@cython.final
@cython.no_gc
cdef class ServiceRecord:
    cdef public long long no
    cdef public object body
    cdef public SubscriberRecord subscriber
    cdef public PlanRecord plan
    cdef object held_credentials
    cdef object held_equipment
    cdef public Live live
    cdef public Account account
    cdef public Marks marks
    cdef public long long version
    cdef public DecisionRecord decision
    cdef public long long decided_version
    cdef public double decided_until
    cdef public long long decided_below
    cdef public double cycle_starts_at
    cdef public double cycle_ends_at
    cdef public long long input_octets
    cdef public long long output_octets
    cdef public bint dirty
    cdef public bint bare

@cython.final
@cython.no_gc
cdef class Live:
    cdef public list sessions
    cdef public int failures
    cdef public double failed_at
    cdef public double locked_until
    cdef public dict variants

@cython.final
@cython.no_gc
cdef class NasRecord:
    cdef public long long no
    cdef public str name
    cdef public str client_name
    cdef public str family
    cdef public str operator
    cdef public str address
    cdef public bint allow_mac
    cdef public bint allow_circuit
    cdef public bint enforce_adopted
    cdef public bint swap_octets
    cdef public bint trust_event_time
    cdef public long interim_minimum_s
    cdef public bint garden_pool
    cdef public str limit_action
    cdef public dict passwords
    cdef public dict sessions
    cdef public long long live_count
    cdef public double last_accounting_at
    cdef public double restarted_at
    cdef public bint diameter
    cdef public str realm
    cdef public bint down
    cdef public double down_at
    cdef public bint sends_gigawords
    cdef public int failures
    cdef public double window_at

@cython.final
@cython.no_gc
cdef class SessionRecord:
    cdef public long long id
    cdef public ServiceRecord service
    cdef public tuple former
    cdef public NasRecord nas
    cdef public int state
    cdef public int protocol
    cdef public object mobile
    cdef public bint shadowed
    cdef public tuple meter
    cdef public tuple credit
    cdef public tuple aside
    cdef public bint service_session
    cdef public bint adopted
    cdef public bytes key
    cdef public bytes multi_key
    cdef public long long token
    cdef public SessionRecord earlier
    cdef public bytes user_name
    cdef public double authorised_at
    cdef public double started_at
    cdef public double updated_at
    cdef public double heard_at
    cdef public double ended_at
    cdef public int terminate_cause
    cdef public bint ended_by_nas
    cdef public long interim_interval_s
    cdef public long long session_time_s
    cdef public long long input_octets
    cdef public long long output_octets
    cdef public long long raw_input
    cdef public long long raw_output
    cdef public long long base_input
    cdef public long long base_output
    cdef public tuple phases
    cdef public bytes framed_ip
    cdef public bytes framed_ipv6
    cdef public bytes framed_prefix
    cdef public bytes delegated_prefix
    cdef public bytes calling_station
    cdef public bytes called_station
    cdef public bytes nas_port_id
    cdef public bytes circuit_id
    cdef public bytes remote_id
    cdef public dict held_since
    cdef public DecisionRecord decision
    cdef public DecisionRecord desired
    cdef public double diverged_at
    cdef public double converged_at
    cdef public double ends_at
    cdef public object enforcement
    cdef public int dirty
