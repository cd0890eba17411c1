"""Every bound of the server, with its unit and its reason."""

CONFIG_FILE_BYTES_MAX = 16 << 20  # bytes; Bound: a [[nas]] entry is about 200, so this is 80 000 of them
SECRET_FILE_BYTES_MAX = 4096  # bytes; Bound: a secret is a line, a larger file is a mistake in the path

CLIENT_CACHE_COUNT_MAX = 65_536  # addresses; Bound: about 8 MiB; past it the prefix lookup is paid again
NASES_COUNT_MAX = 65_536  # NAS records; Bound: about 40 MiB; a forged source of a wide prefix may ask unsigned for one
UNKNOWN_SOURCES_COUNT = 1_024  # addresses; Bound: a spoofed flood fills a table, not the memory
POSTURE_SOURCES_COUNT_MAX = 65_536  # addresses; Bound: about 16 MiB, above any NAS count behind shared prefixes

LOG_QUEUE_LINES_MAX = 16_384  # lines; Bound: a stuck disk or pipe costs memory up to here, then lines, never the loop
LOG_BATCH_LINES_MAX = 512  # lines; Bound: one write() of about 128 KiB
LOG_VALUE_CHARACTERS_MAX = 2_048  # characters of one field; Bound: a hostile value does not fill the disk
LOG_REPEAT_KEYS_MAX = 4_096  # keys; Bound: spoofed sources do not grow the table of repeated lines

RPC_FRAME_BYTES_MAX = 8 << 20  # bytes; Bound: a list of 1000 large entities; a longer frame is a broken peer
RPC_BUFFER_BYTES_MAX = 256 << 10  # bytes; Bound: what waits unread in the engine before the socket is paused
RPC_SLICE_S = 0.0005  # seconds; Bound: half of the 1 ms for which anything may hold the packet loop
RPC_CALLS_IN_WORK_MAX = 512  # calls; Bound: answers that wait for the disk; past it the socket is not read
RPC_CALLS_IN_FLIGHT_MAX = 1_024  # calls; Bound: what the HTTP process asks at once, then it answers 503
RPC_CALL_TIMEOUT_S = 10.0  # seconds; Bound: longer than a store's retries, shorter than a client's patience

HTTP_BODY_BYTES_MAX = 1 << 20  # bytes; Bound: one entity or a question; a larger one is a mistake
HTTP_SYNC_BODY_BYTES_MAX = 16 << 20  # bytes; Bound: JSON sync is held whole; NDJSON is streamed without this bound
HTTP_SYNC_LINE_BYTES_MAX = 256 << 10  # bytes; Bound: one NDJSON operation, a service with many credentials
HTTP_SYNC_CALL_OPERATIONS = 16  # operations; Bound: applied in one go, at up to 30 µs each, within a slice
HTTP_SYNC_CALL_BYTES = 128 << 10  # bytes; Bound: one call's arguments, whatever the size of an operation
HTTP_SYNC_CALLS_IN_FLIGHT = 128  # calls of one request; Bound: 2048 operations wait for commits of 5 to 40 ms
HTTP_SYNC_ANSWER_MEMORY_BYTES = 1 << 20  # bytes; Bound: answers kept in memory, beyond it in an unlinked file
HTTP_BODY_STALL_S = 30.0  # seconds; Bound: a client that stops in the middle of its body is let go
HTTP_REQUESTS_IN_WORK_MAX = 512  # requests; Bound: each holds a body; past it 503 with Retry-After
HTTP_CONNECTIONS_MAX = 4_096  # connections; Bound: idle ones cost 20 KiB each
HTTP_LIST_COUNT_MAX = 1_000  # items of one page; Bound: one frame and one slice of the engine's loop
HTTP_DRAIN_S = 5  # seconds; Bound: how long requests in work may finish when the server stops

WRITER_COMMIT_RETRIES_MAX = 8  # attempts; Bound: about 4 s of a busy or full disk, then the engine stops answering
RETENTION_INTERVAL_S = 5.0  # seconds; Bound: with the slice below, 17 million rows a day of each kind
RETENTION_SLICE_COUNT = 1_000  # rows; Bound: a transaction of a few milliseconds between commits
STORE_LOCK_WAIT_S = 15.0  # seconds; Bound: a writer whose engine was killed ends within its retries
JOURNAL_GROUPS_IN_FLIGHT_MAX = 4  # groups; Bound: memory ahead of the disk; each group is one wake of the writer
JOURNAL_ROWS_AHEAD_MAX = 20_000  # rows; Bound: about 6 MiB and 0.3 s of writing; past it accounting is not read
CLOSED_AT_ONCE_COUNT_MAX = 256  # sessions; Bound: under 1 ms; a NAS that restarted with more is closed slice by slice
SESSION_PHASES_COUNT_MAX = 8  # resets of a session's counters; Bound: their late reports are told apart so far back
SESSION_KEPT_AFTER_END_S = 3600.0  # seconds; Bound: a NAS's late retransmissions of a Stop; then history only
DECISIONS_INTERNED_MAX = 65_536  # decisions; Bound: one a plan and state, more only with per-service overrides

PASSWORD_OCTETS_MAX = 128  # octets; Bound: RFC 2865 §5.2; longer ones would also make crypt(3) slower
PASSWORD_HASH_CHARACTERS_MAX = 512  # characters; Bound: above every known form, a parser is never given megabytes
BCRYPT_COST_MAX = 13  # log2 of rounds; Bound: 0.7 CPU-seconds a login
CRYPT_ROUNDS_COUNT_MAX = 1_000_000  # rounds of SHA-2 crypt; Bound: 0.4 CPU-seconds a login
YESCRYPT_MEMORY_KIB_MAX = 65_536  # KiB; Bound: 0.15 CPU-seconds a login, and memory times the hash workers
PBKDF2_ROUNDS_COUNT_MAX = 2_000_000  # rounds; Bound: 0.5 CPU-seconds a login with SHA-256, 1.2 with SHA-512
ARGON2_MEMORY_KIB_MAX = 131_072  # KiB; Bound: memory times the hash workers
ARGON2_WORK_KIB_MAX = 524_288  # KiB, memory times passes; Bound: 0.5 CPU-seconds a login
ARGON2_LANES_COUNT_MAX = 8  # lanes; Bound: libargon2 starts a thread for each
MSCHAP_ERROR_OCTETS_MAX = 246  # octets; Bound: a vendor attribute carries 247, one is the ident (RFC 2548 §2.1.5)
CIRCUIT_OCTETS_MAX = 253  # octets; Bound: a RADIUS attribute carries no more

POOL_REMEMBERED_COUNT_MAX = 1_048_576  # released leases a pool; Bound: about 400 MiB, past it the oldest are given out
POOL_RANGES_COUNT_MAX = 4_096  # ranges and exclusions of a pool; Bound: a reload stays under a few milliseconds
POOL_BARRED_COUNT_MAX = 65_536  # leases; Bound: a static /48 over a pool of /64; a typing error never bars a whole pool
POOL_EXPIRE_COUNT_MAX = 256  # leases a call; Bound: about 0.5 ms in the packet loop

UDP_BATCH_COUNT_MAX = 64  # datagrams; Bound: one arena of 64 x 4096 bytes stays in cache, a batch stays under 1 ms
DELAYED_REJECTS_MAX = 65_536  # rejects; Bound: about 64 MiB; past it rejects leave at once, lockouts still hold

CLIENT_IRT_S = 2.0  # seconds; Bound: first wait for an answer (RFC 5080 §2.2.1 IRT)
CLIENT_MRT_S = 16.0  # seconds; Bound: longest wait between two transmissions (MRT)
CLIENT_MRC = 5  # transmissions; Bound: after the last one the exchange has failed (MRC)
CLIENT_MRD_S = 30.0  # seconds; Bound: the whole exchange (MRD)
LIVENESS_SLICE_COUNT = 2_000  # sessions a second; Bound: under 1 ms of the loop; 100 000 sessions are seen in 50 s
DISCONNECTS_IN_WORK_MAX = 1_024  # requests; Bound: each holds a socket for up to 7 s
ADMIN_SLICE_COUNT = 500  # records; Bound: well under 1 ms between two looks at the packets
METRICS_SLICE_SAMPLES = 500  # samples; Bound: about 0.3 ms of the loop, whatever the number of NASes
RECENT_KEYS_MAX = 32_768  # sessions and balances; Bound: about 16 MiB of the writer, 0.5 s of replay at start-up
RECENT_SLICE_COUNT = 512  # rows; Bound: a few milliseconds of one commit
EVENTS_KEPT_MAX = 10_000  # events; Bound: about 8 MiB; the feed reads older ones from the store
ENFORCEMENT_LOG_MAX = 8  # exchanges kept in a receipt; Bound: the first and the last tell the story
AUTOMATION_DEPTH_MAX = 4  # automations that lead to one another; Bound: a loop of rules ends, and is told
VARIANTS_COUNT_MAX = 8  # decisions a service has at different places; Bound: a roaming user makes no more memory
TRACE_RING_COUNT = 1_000  # packets kept for one who traces; Bound: about 2 MiB; what does not fit is counted and told
TRACERS_COUNT_MAX = 8  # traces at a time; Bound: each looks at every packet, about 2 µs
TRACE_IDLE_S = 30.0  # seconds; Bound: a trace that nobody reads any more costs the packet loop nothing after it
TRACE_SLICE_COUNT = 10  # packets decoded by the dictionary at a time; Bound: about 0.5 ms of the loop
TOP_UPS_KNOWN_MAX = 64  # ids a balance remembers; Bound: 2 KiB; a client that repeats one does so within days
TOP_UPS_COUNT_MAX = 64  # unspent top-ups of a balance; Bound: a status and a settlement stay short
HOLDS_COUNT_MAX = 16  # holds of one service; Bound: one for each cause; more is a rule that names them by the minute
TAGS_COUNT_MAX = 32  # tags of one service; Bound: a decision's facts stay short
EVENTS_LOADED_COUNT = 500  # events read back at start; Bound: a feed that reconnects finds the newest in memory
ENFORCED_WAIT_S = 10.0  # seconds; Bound: what a billing system waits by default for the network's answer
ENFORCED_WAIT_S_MAX = 60.0  # seconds; Bound: an answer that takes longer is read from the receipts
ENFORCED_WAITS_MAX = 256  # calls that wait for the network; Bound: half of RPC_CALLS_IN_WORK_MAX, then none waits
ENFORCED_RECEIPTS_MAX = 1_000  # receipts in one answer; Bound: about 250 KiB; the rest is counted
IDEMPOTENCY_KEPT_S = 172_800.0  # seconds; Bound: two days of retries
IDEMPOTENCY_RECENT_MAX = 16_384  # answers in memory; Bound: about 16 MiB; older ones are found in the store
IDEMPOTENCY_CALLS_MAX = 4_096  # stored answers of one request; Bound: 65 536 operations, 8 MiB; later ones run again
SNAPSHOTS_OPEN_MAX = 4  # snapshots; Bound: each remembers one octet for every entity
SNAPSHOT_SILENCE_S = 300.0  # seconds; Bound: a snapshot whose sender is gone makes room for the next
SNAPSHOT_LISTED_MAX = 10_000  # ids of one list; Bound: under 1 MiB of an answer
BACKUP_STEP_PAGES = 2_000  # pages; Bound: 8 MB between two looks at the progress bar
RESTORE_SKIP_NUMBERS = 100_000  # entity numbers; Bound: made between a backup and its restore; 8 bytes each in memory
RESTORE_SKIP_EVENTS = 10_000_000  # event numbers; Bound: two days at 60 a second; numbers cost nothing
PLAIN_DECISIONS_MAX = 16  # decisions a plan keeps for all its plain services; Bound: states, and policies that changed
ENFORCE_SLICE_COST = 500  # units of about 1 µs; Bound: half of the 1 ms for which anything may hold the packet loop
ENFORCE_SEND_COST = 100  # units; Bound: a request made, signed and sent takes about 100 µs, so five a slice
ENFORCE_BACK_OFF_S = (1.0, 2.0, 5.0, 15.0, 60.0, 300.0)  # seconds; Bound: what is silent is asked ever less often
ENFORCE_FAILED_AFTER = 3  # attempts; Bound: then `enforcement.failed` is told once, and a CoA may become a Disconnect
ENFORCE_PROBE_INTERVAL_S = 15.0  # seconds; Bound: a silent NAS whose accounting goes on is tried so often, by one request
ENFORCE_STOP_GRACE_S = 30.0  # seconds; Bound: how long the Stop of a disconnected session may take
ENFORCE_ADOPTED_PER_S = 10  # sessions a second; Bound: 100 000 adopted sessions are enforced in three hours
ENFORCEMENTS_KEPT_MAX = 10_000  # finished enforcements in memory; Bound: about 8 MiB; whoever waits finds them there
SETTLE_ROUNDS_MAX = 8  # rounds of automations and comparisons in one go; Bound: the rest waits for the next slice
