/* RADIUS load generator: polls, verifies every reply, and charges the server's CPU time to its requests.
 *
 * Theory of operation. One thread owns many connected UDP sockets per stream; a (socket, identifier) pair is a
 * slot. A closed-loop stream keeps a window of requests outstanding on each socket. An open-loop stream sends at
 * scheduled times, whatever comes back, and counts latency from the scheduled time, so a stalled server cannot hide
 * its stall by slowing the clients. Requests that expect a reject stand outside the window: servers delay rejects.
 * The loop never sleeps: a sleeping client would make the server pay for its wake-ups.
 *
 * Build: cc -O2 -Wall -Wextra -Wno-deprecated-declarations -o build/bench/load bench/load.c -lcrypto
 * Sources: RFC 2865, 2866, 2869 (Message-Authenticator), 2548 and 2759 (MS-CHAPv2).
 */
#define _GNU_SOURCE
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <getopt.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <sched.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define OPENSSL_SUPPRESS_DEPRECATED
#include <openssl/des.h>
#include <openssl/md4.h>
#include <openssl/md5.h>
#include <openssl/sha.h>

enum {
    IDENTIFIERS = 256,
    BATCH = 64,                  /* datagrams per system call */
    REQUEST_OCTETS_MAX = 768,    /* our largest request is below 400 */
    REPLY_OCTETS_MAX = 4096,     /* RFC 2865 section 3 */
    PIDS_MAX = 64,
    STREAMS_MAX = 8,
    SOCKET_BUFFER_BYTES = 4 << 20,
    REPLY_ATTRIBUTES_MAX = 64,
};
#define SECOND_NS 1000000000ull
#define QUARANTINE_NS (10 * SECOND_NS) /* an identifier whose reply never came is not used again before */

enum { ACCESS_REQUEST = 1, ACCESS_ACCEPT = 2, ACCESS_REJECT = 3, ACCOUNTING_REQUEST = 4, ACCOUNTING_RESPONSE = 5 };
enum { MESSAGE_AUTHENTICATOR = 80, VENDOR_SPECIFIC = 26, MICROSOFT = 311, MS_CHAP2_RESPONSE = 25, MS_CHAP2_SUCCESS = 26 };

typedef enum { PAP, CHAP, MSCHAP, ACCT } method_t;
static const char *const METHOD_NAMES[] = {"pap", "chap", "mschap", "acct"};

typedef enum { FREE, OUTSTANDING, EXPIRED } slot_state_t;

typedef struct {
    uint8_t authenticator[16];
    uint64_t due_ns;
    uint32_t user;
    uint32_t session;
    uint32_t generation;
    uint16_t octets;
    uint8_t state;
    uint8_t expected_code;
    uint8_t tries;
    bool measured;
} slot_t;

typedef struct {
    uint64_t at_ns;
    uint32_t slot;
    uint32_t generation;
} timer_t_;

/* First in, first out: every entry waits equally long, so the head is always the next to fire. */
typedef struct {
    timer_t_ *entries;
    size_t head, count, capacity;
} timers_t;

typedef struct {
    uint64_t input_octets, output_octets;
    uint32_t user;
    uint32_t serial;  /* which life of this place it is; part of Acct-Session-Id */
    uint32_t step;    /* records sent in this life */
    uint32_t skip;    /* rounds to let pass before the first Start, so that lives overlap evenly */
    bool busy;        /* a record is unanswered: a NAS sends a session's records in order */
} session_t;

typedef struct {
    uint8_t nt_response[24];
    uint8_t success[20];
} mschap_t;

typedef struct {
    uint64_t sent, answered, accepted, rejected, accounted, lost, retransmitted, late, duplicate;
    uint64_t bad_authenticator, bad_message_authenticator, no_message_authenticator, wrong_code, bad_mschap, malformed;
} counters_t;

typedef struct {
    int fd;
    uint32_t outstanding, windowed;
    uint8_t free_ids[IDENTIFIERS];
    uint32_t free_head, free_count;
} socket_t;

typedef struct {
    method_t method;
    char port[8];
    double rate;        /* requests per second; 0 is a closed loop */
    uint64_t interval_ns;
    uint64_t first_due_ns;
    uint64_t scheduled; /* open loop: requests scheduled so far */
    uint64_t issued;    /* requests built so far */
    socket_t *sockets;
    slot_t *slots;
    uint8_t *kept;      /* the bytes of each slot's request, for retransmission */
    timers_t timers, quarantine;
    uint32_t next_socket, next_session;
    uint32_t outstanding, windowed;
    counters_t counters;
    uint32_t *latencies; /* in 100 ns */
    size_t latency_count, latency_capacity;
    uint8_t sample[REPLY_OCTETS_MAX]; /* the first good reply, for the report */
    size_t sample_octets;
} stream_t;

static struct {
    const char *host, *secret, *user_template, *password_template, *nas_identifier;
    uint32_t users, sockets, window, sessions, interims, retries;
    uint64_t count, seed;
    double seconds, warmup_s, timeout_s, wrong_share;
    bool sign_requests, require_signed, json, tree;
    int cpu;
} options = {
    .host = "127.0.0.1", .secret = "testing123", .user_template = "u%06d", .password_template = "p%06d",
    .nas_identifier = "bng-1", .users = 10000, .sockets = 64, .window = 256, .sessions = 10000, .interims = 8,
    .seconds = 3, .warmup_s = 0.5, .timeout_s = 3, .cpu = -1,
};

static stream_t streams[STREAMS_MAX];
static int stream_count;
static int pids[PIDS_MAX];
static int pid_count;
static mschap_t *mschap_table;
static session_t *sessions;
static MD5_CTX secret_context;       /* after the secret: User-Password starts here */
static MD5_CTX hmac_inner, hmac_outer;
static size_t secret_octets;
static uint64_t random_state;
static uint32_t run_id;
static uint32_t event_time;
static uint64_t measure_from_ns;     /* requests due earlier are warm-up */
static bool sending = true;
static bool segmented = true;
static uint64_t idle_ns, idle_from_ns; /* time spent in polls that found nothing */

static __attribute__((noreturn, format(printf, 1, 2))) void refuse(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    fputs("load: ", stderr);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
    exit(2);
}

static void *allocate(size_t count, size_t size) {
    void *memory = calloc(count, size);
    if (!memory) refuse("out of memory");
    return memory;
}

static uint64_t clock_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * SECOND_NS + (uint64_t)now.tv_nsec;
}

/* splitmix64: one multiply chain per 8 octets, good enough to make authenticators unique. */
static uint64_t mix(uint64_t value) {
    value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9ull;
    value = (value ^ (value >> 27)) * 0x94d049bb133111ebull;
    return value ^ (value >> 31);
}

static uint64_t next_random(void) { return mix(random_state += 0x9e3779b97f4a7c15ull); }

/* ---- names and attributes ---- */

/* Expands a checked template ("u%06d") with a number; returns the octets written, at most 64. */
static size_t expand(uint8_t *out, const char *template, uint32_t number) {
    const char *mark = strchr(template, '%');
    size_t length = (size_t)(mark - template), digits = 0;
    memcpy(out, template, length);
    char text[10];
    size_t width = (size_t)strtoul(mark + 1, NULL, 10);
    do text[digits++] = (char)('0' + number % 10);
    while (number /= 10);
    while (digits < width) text[digits++] = '0';
    while (digits) out[length++] = (uint8_t)text[--digits];
    const char *rest = strchr(mark, 'd') + 1;
    size_t rest_octets = strlen(rest);
    memcpy(out + length, rest, rest_octets);
    return length + rest_octets;
}

static void check_template(const char *name, const char *template) {
    const char *mark = strchr(template, '%');
    size_t width_digits = mark ? strspn(mark + 1, "0123456789") : 0;
    if (!mark || mark[1 + width_digits] != 'd' || strchr(mark + 1, '%') || width_digits > 2 ||
        strtoul(mark + 1, NULL, 10) > 10 || strlen(template) > 48)
        refuse("%s: \"%s\" must hold one %%d or %%0Nd (N up to 10), 48 octets at most", name, template);
}

static void put16(uint8_t *out, uint32_t value) { out[0] = (uint8_t)(value >> 8), out[1] = (uint8_t)value; }

static void put32(uint8_t *out, uint32_t value) { put16(out, value >> 16), put16(out + 2, value); }

static uint8_t *add(uint8_t *at, uint8_t type, const void *value, size_t octets) {
    at[0] = type;
    at[1] = (uint8_t)(octets + 2);
    memcpy(at + 2, value, octets);
    return at + 2 + octets;
}

static uint8_t *add32(uint8_t *at, uint8_t type, uint32_t value) {
    at[0] = type, at[1] = 6;
    put32(at + 2, value);
    return at + 6;
}

static uint8_t *put_decimal(uint8_t *at, uint32_t value, int width) {
    for (int i = width - 1; i >= 0; i--, value /= 10) at[i] = (uint8_t)('0' + value % 10);
    return at + width;
}

static uint8_t *put_hex(uint8_t *at, uint32_t value, int width) {
    for (int i = width - 1; i >= 0; i--, value >>= 4) at[i] = (uint8_t)"0123456789abcdef"[value & 15];
    return at + width;
}

/* What a PPPoE BNG says of the line of one subscriber, and of itself. */
static uint8_t *add_line(uint8_t *at, uint32_t user) {
    uint8_t text[32], *end;
    at = add32(at, 4, 0x7f000001);             /* NAS-IP-Address */
    at = add32(at, 5, 0x10000000 | user);      /* NAS-Port */
    at = add32(at, 61, 15);                    /* NAS-Port-Type: Ethernet */
    memcpy(text, "eth 0/1/", 8);               /* NAS-Port-Id: port, S-VLAN, C-VLAN */
    end = put_decimal(text + 8, (user >> 20) & 7, 1);
    *end++ = ':';
    end = put_decimal(end, 100 + ((user >> 10) & 1023), 4);
    *end++ = '.';
    end = put_decimal(end, 100 + (user & 1023), 4);
    at = add(at, 87, text, (size_t)(end - text));
    memcpy(text, "02:00:00:", 9);              /* Calling-Station-Id */
    end = put_hex(text + 9, (user >> 16) & 255, 2);
    *end++ = ':';
    end = put_hex(end, (user >> 8) & 255, 2);
    *end++ = ':';
    end = put_hex(end, user & 255, 2);
    at = add(at, 31, text, (size_t)(end - text));
    at = add(at, 30, "internet", 8);           /* Called-Station-Id: the PPPoE service */
    at = add(at, 32, options.nas_identifier, strlen(options.nas_identifier));
    at = add32(at, 6, 2);                      /* Service-Type: Framed-User */
    return add32(at, 7, 1);                    /* Framed-Protocol: PPP */
}

/* ---- digests ---- */

static void prepare_secret(const char *secret) {
    secret_octets = strlen(secret);
    if (secret_octets == 0 || secret_octets > 64) refuse("the secret must have 1 to 64 octets");
    MD5_Init(&secret_context);
    MD5_Update(&secret_context, secret, secret_octets);
    uint8_t inner[64], outer[64];
    memset(inner, 0x36, 64), memset(outer, 0x5c, 64);
    for (size_t i = 0; i < secret_octets; i++) inner[i] ^= (uint8_t)secret[i], outer[i] ^= (uint8_t)secret[i];
    MD5_Init(&hmac_inner), MD5_Update(&hmac_inner, inner, 64);
    MD5_Init(&hmac_outer), MD5_Update(&hmac_outer, outer, 64);
}

/* HMAC-MD5 keyed with the secret (RFC 2869 section 5.14). */
static void sign(uint8_t out[16], const uint8_t *data, size_t octets) {
    MD5_CTX context = hmac_inner;
    MD5_Update(&context, data, octets);
    MD5_Final(out, &context);
    context = hmac_outer;
    MD5_Update(&context, out, 16);
    MD5_Final(out, &context);
}

static void expand_des_key(DES_cblock key, const uint8_t in[7]) {
    uint64_t bits = 0;
    for (int i = 0; i < 7; i++) bits = bits << 8 | in[i];
    for (int i = 7; i >= 0; i--, bits >>= 7) key[i] = (uint8_t)(bits << 1);
}

static void mschap_challenges(uint32_t user, uint8_t authenticator[16], uint8_t peer[16]) {
    uint64_t parts[4];
    for (uint64_t i = 0; i < 4; i++) parts[i] = mix(options.seed + user * 4ull + i + 1);
    memcpy(authenticator, parts, 16);
    memcpy(peer, parts + 2, 16);
}

/* The response of one user and the proof the server must give back (RFC 2759 section 8). */
static void mschap_compute(uint32_t user, mschap_t *out) {
    static const char magic1[] = "Magic server to client signing constant";
    static const char magic2[] = "Pad to make it do more than one iteration";
    uint8_t name[64], password[64], unicode[128], hash[21] = {0}, hash_hash[16], challenges[32], digest[20];
    size_t name_octets = expand(name, options.user_template, user);
    size_t password_octets = expand(password, options.password_template, user);
    for (size_t i = 0; i < password_octets; i++) unicode[2 * i] = password[i], unicode[2 * i + 1] = 0;
    MD4(unicode, password_octets * 2, hash);

    SHA_CTX sha;
    mschap_challenges(user, challenges, challenges + 16);
    uint8_t challenge[20];
    SHA1_Init(&sha);
    SHA1_Update(&sha, challenges + 16, 16);
    SHA1_Update(&sha, challenges, 16);
    SHA1_Update(&sha, name, name_octets);
    SHA1_Final(challenge, &sha);
    for (int i = 0; i < 3; i++) {
        DES_cblock key;
        DES_key_schedule schedule;
        expand_des_key(key, hash + 7 * i);
        DES_set_key_unchecked(&key, &schedule);
        DES_ecb_encrypt((const_DES_cblock *)challenge, (DES_cblock *)(out->nt_response + 8 * i), &schedule, DES_ENCRYPT);
    }
    MD4(hash, 16, hash_hash);
    SHA1_Init(&sha);
    SHA1_Update(&sha, hash_hash, 16);
    SHA1_Update(&sha, out->nt_response, 24);
    SHA1_Update(&sha, magic1, sizeof magic1 - 1);
    SHA1_Final(digest, &sha);
    SHA1_Init(&sha);
    SHA1_Update(&sha, digest, 20);
    SHA1_Update(&sha, challenge, 8);
    SHA1_Update(&sha, magic2, sizeof magic2 - 1);
    SHA1_Final(out->success, &sha);
}

/* ---- building requests ---- */

/* The n-th login visits the users in a scattered order that repeats only after all of them. */
static uint32_t user_of(uint64_t n) { return (uint32_t)(n * 2654435761ull % options.users) + 1; }

static uint8_t *add_credentials(uint8_t *at, method_t method, slot_t *slot, bool wrong) {
    uint8_t text[64];
    at = add(at, 1, text, expand(text, options.user_template, slot->user));
    if (method == MSCHAP) {
        static const uint8_t challenge_head[] = {VENDOR_SPECIFIC, 24, 0, 0, MICROSOFT >> 8, MICROSOFT & 255, 11, 18};
        static const uint8_t response_head[] = {VENDOR_SPECIFIC, 58, 0, 0, MICROSOFT >> 8, MICROSOFT & 255,
                                                MS_CHAP2_RESPONSE, 52, 1, 0};
        memcpy(at, challenge_head, 8);
        uint8_t *challenge = at + 8;
        memcpy(at + 24, response_head, 10);
        mschap_challenges(slot->user, challenge, at + 34);
        memset(at + 50, 0, 8);
        memcpy(at + 58, mschap_table[slot->user].nt_response, 24);
        if (wrong) at[58] ^= 1;
        return at + 82;
    }
    uint8_t password[64] = {0};
    size_t octets = expand(password, options.password_template, slot->user);
    if (wrong) password[0] ^= 1;
    if (method == CHAP) {
        uint8_t value[17] = {(uint8_t)slot->user};
        uint64_t challenge[2] = {next_random(), next_random()};
        MD5_CTX context;
        MD5_Init(&context);
        MD5_Update(&context, value, 1);
        MD5_Update(&context, password, octets);
        MD5_Update(&context, challenge, 16);
        MD5_Final(value + 1, &context);
        return add(add(at, 3, value, 17), 60, challenge, 16);
    }
    size_t padded = (octets + 15) & ~(size_t)15;
    const uint8_t *previous = slot->authenticator;
    for (size_t start = 0; start < padded; start += 16) {
        uint8_t pad[16];
        MD5_CTX context = secret_context;
        MD5_Update(&context, previous, 16);
        MD5_Final(pad, &context);
        for (int i = 0; i < 16; i++) password[start + i] ^= pad[i];
        previous = password + start;
    }
    return add(at, 2, password, padded);
}

/* The next session that may send, or NULL when every one has a record unanswered. */
static session_t *next_session(stream_t *stream) {
    for (uint32_t tried = 0; tried < options.sessions; tried++) {
        session_t *session = &sessions[stream->next_session];
        if (++stream->next_session == options.sessions) stream->next_session = 0;
        if (session->skip) session->skip--;
        else if (!session->busy) return session;
    }
    return NULL;
}

/* One record of a session's life: Start, interims that grow, Stop; then another life with a new Acct-Session-Id. */
static uint8_t *add_record(uint8_t *at, session_t *session) {
    uint32_t place = (uint32_t)(session - sessions);
    if (session->step == 0) {
        session->user = (uint32_t)(((uint64_t)session->serial * options.sessions + place) % options.users) + 1;
        session->input_octets = session->output_octets = 0;
    } else {
        uint64_t random = next_random();
        session->input_octets += 1000000 + (random & 0xffffff);
        session->output_octets += 20000000 + (random >> 32 & 0x1fffffff);
    }
    bool stop = session->step == options.interims + 1;
    uint8_t text[64], *end;
    at = add32(at, 40, session->step == 0 ? 1 : stop ? 2 : 3); /* Acct-Status-Type */
    end = put_hex(put_hex(put_hex(text, run_id, 8), place, 6), session->serial, 8);
    at = add(at, 44, text, (size_t)(end - text));               /* Acct-Session-Id */
    at = add(at, 1, text, expand(text, options.user_template, session->user));
    at = add32(at, 45, 1);                                      /* Acct-Authentic: RADIUS */
    at = add32(at, 55, event_time);                             /* Event-Timestamp */
    at = add32(at, 41, 0);                                      /* Acct-Delay-Time */
    at = add32(at, 8, 0x64400000 + session->user);              /* Framed-IP-Address in 100.64.0.0/10 */
    at = add_line(at, session->user);
    if (session->step) {
        at = add32(at, 46, session->step * 300);                /* Acct-Session-Time */
        at = add32(at, 42, (uint32_t)session->input_octets);
        at = add32(at, 43, (uint32_t)session->output_octets);
        at = add32(at, 47, (uint32_t)(session->input_octets / 400));
        at = add32(at, 48, (uint32_t)(session->output_octets / 1200));
        at = add32(at, 52, (uint32_t)(session->input_octets >> 32));
        at = add32(at, 53, (uint32_t)(session->output_octets >> 32));
    }
    if (stop) {
        at = add32(at, 49, 1);                                  /* Acct-Terminate-Cause: User-Request */
        session->step = 0, session->serial++;
    } else {
        session->step++;
    }
    session->busy = true;
    return at;
}

/* Builds one request for a slot; returns its octets, or 0 when no session may send now. */
static size_t build(stream_t *stream, slot_t *slot, uint8_t identifier, uint8_t *packet) {
    bool accounting = stream->method == ACCT, wrong = false;
    session_t *session = NULL;
    if (accounting && !(session = next_session(stream))) return 0;
    uint8_t *at = packet + 20, *signature = NULL;
    packet[0] = accounting ? ACCOUNTING_REQUEST : ACCESS_REQUEST;
    packet[1] = identifier;
    if (options.sign_requests) {
        signature = at + 2;
        at[0] = MESSAGE_AUTHENTICATOR, at[1] = 18;
        memset(signature, 0, 16);
        at += 18;
    }
    if (accounting) {
        slot->session = (uint32_t)(session - sessions);
        slot->expected_code = ACCOUNTING_RESPONSE;
        at = add_record(at, session);
        memset(slot->authenticator, 0, 16);
    } else {
        uint64_t random[2] = {next_random(), next_random()};
        memcpy(slot->authenticator, random, 16);
        slot->user = user_of(stream->issued);
        wrong = options.wrong_share > 0 && (double)(next_random() >> 11) * 0x1p-53 < options.wrong_share;
        slot->expected_code = wrong ? ACCESS_REJECT : ACCESS_ACCEPT;
        at = add_credentials(at, stream->method, slot, wrong);
        at = add_line(at, slot->user);
    }
    size_t octets = (size_t)(at - packet);
    put16(packet + 2, (uint32_t)octets);
    memcpy(packet + 4, slot->authenticator, 16);
    if (signature) sign(signature, packet, octets);
    if (accounting) {
        MD5_CTX context;
        MD5_Init(&context);
        MD5_Update(&context, packet, octets);
        MD5_Update(&context, options.secret, secret_octets);
        MD5_Final(slot->authenticator, &context);
        memcpy(packet + 4, slot->authenticator, 16);
    }
    stream->issued++;
    return octets;
}

/* ---- timers ---- */

static void timers_push(timers_t *timers, timer_t_ entry) {
    if (timers->count == timers->capacity) {
        size_t capacity = timers->capacity ? timers->capacity * 2 : 1 << 16;
        timer_t_ *entries = allocate(capacity, sizeof *entries);
        for (size_t i = 0; i < timers->count; i++) entries[i] = timers->entries[(timers->head + i) % timers->capacity];
        free(timers->entries);
        *timers = (timers_t){entries, 0, timers->count, capacity};
    }
    timers->entries[(timers->head + timers->count++) & (timers->capacity - 1)] = entry;
}

static timer_t_ *timers_head(timers_t *timers) { return timers->count ? &timers->entries[timers->head] : NULL; }

static void timers_pop(timers_t *timers) {
    timers->head = (timers->head + 1) & (timers->capacity - 1);
    timers->count--;
}

/* ---- sending ---- */

static bool windowed(const slot_t *slot) { return slot->expected_code != ACCESS_REJECT; }

static void free_identifier(socket_t *socket, uint8_t identifier) {
    socket->free_ids[(socket->free_head + socket->free_count++) % IDENTIFIERS] = identifier;
}

/* Sends one datagram per vector. Neighbours of one length go down the stack as one segmented message (UDP GSO):
 * the server still receives datagrams one by one, but sending costs a quarter, and that is most of our time. */
static void transmit(int fd, struct iovec *vectors, unsigned count) {
    static union {
        char space[CMSG_SPACE(sizeof(uint16_t))];
        struct cmsghdr align;
    } controls[BATCH];
    struct mmsghdr messages[BATCH];
    unsigned used = 0;
    for (unsigned first = 0, next; first < count; first = next) {
        for (next = first + 1; segmented && next < count && vectors[next].iov_len == vectors[first].iov_len;) next++;
        struct msghdr *header = &messages[used].msg_hdr;
        *header = (struct msghdr){.msg_iov = &vectors[first], .msg_iovlen = next - first};
        if (next - first > 1) {
            header->msg_control = controls[used].space;
            header->msg_controllen = sizeof controls[used].space;
            struct cmsghdr *control = CMSG_FIRSTHDR(header);
            control->cmsg_level = IPPROTO_UDP, control->cmsg_type = UDP_SEGMENT;
            control->cmsg_len = CMSG_LEN(sizeof(uint16_t));
            uint16_t octets = (uint16_t)vectors[first].iov_len;
            memcpy(CMSG_DATA(control), &octets, sizeof octets);
        }
        used++;
    }
    for (unsigned sent = 0; sent < used;) {
        int result = sendmmsg(fd, messages + sent, used - sent, 0);
        if (result > 0) sent += (unsigned)result;
        else if (errno == ECONNREFUSED) continue; /* the error of an earlier datagram; this one was not tried */
        else if (errno != EINTR && errno != EAGAIN && errno != ENOBUFS)
            refuse("sendmmsg: %s%s", strerror(errno), segmented ? " (does --no-gso help?)" : "");
    }
}

/* Sends up to `wanted` requests on one socket; due_ns of the i-th is first_due + i * step. Returns how many. */
static unsigned send_batch(stream_t *stream, uint32_t index, unsigned wanted, uint64_t now, uint64_t first_due,
                           uint64_t step) {
    static uint8_t buffers[BATCH][REQUEST_OCTETS_MAX];
    struct iovec vectors[BATCH];
    socket_t *socket = &stream->sockets[index];
    unsigned count = 0;
    if (wanted > BATCH) wanted = BATCH;
    while (count < wanted && socket->free_count) {
        uint8_t identifier = socket->free_ids[socket->free_head];
        uint32_t number = index * IDENTIFIERS + identifier;
        slot_t *slot = &stream->slots[number];
        uint8_t *packet = stream->kept ? stream->kept + (size_t)number * REQUEST_OCTETS_MAX : buffers[count];
        size_t octets = build(stream, slot, identifier, packet);
        if (!octets) break;
        socket->free_head = (socket->free_head + 1) % IDENTIFIERS, socket->free_count--;
        slot->due_ns = first_due + count * step;
        slot->measured = slot->due_ns >= measure_from_ns;
        slot->state = OUTSTANDING;
        slot->tries = 0;
        slot->generation++;
        slot->octets = (uint16_t)octets;
        timers_push(&stream->timers, (timer_t_){now + (uint64_t)(options.timeout_s * 1e9), number, slot->generation});
        socket->outstanding++, stream->outstanding++;
        if (windowed(slot)) socket->windowed++, stream->windowed++;
        stream->counters.sent += slot->measured;
        vectors[count++] = (struct iovec){packet, octets};
    }
    if (count) transmit(socket->fd, vectors, count);
    return count;
}

static void settle(stream_t *stream, uint32_t index, slot_t *slot) {
    socket_t *socket = &stream->sockets[index];
    socket->outstanding--, stream->outstanding--;
    if (windowed(slot)) socket->windowed--, stream->windowed--;
    if (stream->method == ACCT) sessions[slot->session].busy = false;
}

static void expire(stream_t *stream, uint64_t now) {
    timer_t_ *timer;
    while ((timer = timers_head(&stream->timers))) {
        slot_t *slot = &stream->slots[timer->slot];
        bool waiting = slot->generation == timer->generation && slot->state == OUTSTANDING;
        if (waiting && timer->at_ns > now) break;
        timer_t_ fired = *timer;
        timers_pop(&stream->timers);
        if (!waiting) continue;
        uint32_t index = fired.slot / IDENTIFIERS;
        if (slot->tries < options.retries) {
            struct iovec vector = {stream->kept + (size_t)fired.slot * REQUEST_OCTETS_MAX, slot->octets};
            transmit(stream->sockets[index].fd, &vector, 1);
            slot->tries++;
            stream->counters.retransmitted += slot->measured;
            timers_push(&stream->timers,
                        (timer_t_){now + (uint64_t)(options.timeout_s * 1e9), fired.slot, slot->generation});
            continue;
        }
        slot->state = EXPIRED;
        stream->counters.lost += slot->measured;
        settle(stream, index, slot);
        timers_push(&stream->quarantine, (timer_t_){now + QUARANTINE_NS, fired.slot, slot->generation});
    }
    while ((timer = timers_head(&stream->quarantine)) && timer->at_ns <= now) {
        free_identifier(&stream->sockets[timer->slot / IDENTIFIERS], (uint8_t)(timer->slot % IDENTIFIERS));
        timers_pop(&stream->quarantine);
    }
}

/* ---- verifying replies ---- */

static bool success_matches(const uint8_t *value, size_t octets, const uint8_t expected[20]) {
    if (octets != 43 || value[1] != 'S' || value[2] != '=') return false;
    for (int i = 0; i < 40; i++) {
        uint8_t nibble = i & 1 ? expected[i / 2] & 15 : expected[i / 2] >> 4;
        if (toupper(value[3 + i]) != "0123456789ABCDEF"[nibble]) return false;
    }
    return true;
}

/* Returns the counter that a reply belongs to; `answered` is the good one. The packet is changed. */
static uint64_t *verify(stream_t *stream, const slot_t *slot, uint8_t *packet, size_t received) {
    counters_t *counters = &stream->counters;
    size_t octets = received >= 20 ? (size_t)packet[2] << 8 | packet[3] : 0;
    if (octets < 20 || octets > received) return &counters->malformed;
    uint8_t authenticator[16], digest[16];
    memcpy(authenticator, packet + 4, 16);
    memcpy(packet + 4, slot->authenticator, 16);
    MD5_CTX context;
    MD5_Init(&context);
    MD5_Update(&context, packet, octets);
    MD5_Update(&context, options.secret, secret_octets);
    MD5_Final(digest, &context);
    if (memcmp(digest, authenticator, 16)) return &counters->bad_authenticator;

    bool proved = stream->method != MSCHAP || slot->expected_code != ACCESS_ACCEPT;
    uint8_t *signature = NULL;
    for (size_t at = 20; at < octets; at += packet[at + 1]) {
        if (octets - at < 2 || packet[at + 1] < 2 || packet[at + 1] > octets - at) return &counters->malformed;
        uint8_t *value = packet + at + 2;
        size_t value_octets = packet[at + 1] - 2u;
        if (packet[at] == MESSAGE_AUTHENTICATOR) {
            if (value_octets != 16 || signature) return &counters->malformed;
            signature = value;
        } else if (!proved && packet[at] == VENDOR_SPECIFIC && value_octets == 49 && value[2] == MICROSOFT >> 8 &&
                   value[3] == (MICROSOFT & 255) && value[4] == MS_CHAP2_SUCCESS && value[5] == 45) {
            proved = success_matches(value + 6, 43, mschap_table[slot->user].success);
        }
    }
    if (signature) {
        uint8_t received_signature[16];
        memcpy(received_signature, signature, 16);
        memset(signature, 0, 16);
        sign(digest, packet, octets);
        if (memcmp(digest, received_signature, 16)) return &counters->bad_message_authenticator;
    } else if (options.require_signed) {
        return &counters->no_message_authenticator;
    }
    if (packet[0] != slot->expected_code) return &counters->wrong_code;
    if (!proved) return &counters->bad_mschap;
    if (!stream->sample_octets && packet[0] != ACCESS_REJECT) {
        memcpy(stream->sample, packet, octets);
        stream->sample_octets = octets;
    }
    return &counters->answered;
}

static void record_latency(stream_t *stream, uint64_t elapsed_ns) {
    if (stream->latency_count == stream->latency_capacity) {
        stream->latency_capacity = stream->latency_capacity ? stream->latency_capacity * 2 : 1 << 20;
        stream->latencies = realloc(stream->latencies, stream->latency_capacity * sizeof *stream->latencies);
        if (!stream->latencies) refuse("out of memory");
    }
    stream->latencies[stream->latency_count++] = (uint32_t)(elapsed_ns / 100);
}

/* Takes what has arrived on one socket; returns how many datagrams. */
static int receive(stream_t *stream, uint32_t index) {
    static uint8_t buffers[BATCH][REPLY_OCTETS_MAX];
    static struct iovec vectors[BATCH];
    static struct mmsghdr messages[BATCH];
    if (!vectors[0].iov_base) {
        for (int i = 0; i < BATCH; i++) {
            vectors[i] = (struct iovec){buffers[i], REPLY_OCTETS_MAX};
            messages[i].msg_hdr.msg_iov = &vectors[i];
            messages[i].msg_hdr.msg_iovlen = 1;
        }
    }
    socket_t *socket = &stream->sockets[index];
    int count = recvmmsg(socket->fd, messages, BATCH, MSG_DONTWAIT, NULL);
    if (count < 0) {
        if (errno != EAGAIN && errno != EINTR && errno != ECONNREFUSED) refuse("recvmmsg: %s", strerror(errno));
        return 0;
    }
    uint64_t now = clock_ns();
    counters_t *counters = &stream->counters;
    for (int i = 0; i < count; i++) {
        uint8_t *packet = buffers[i];
        if (messages[i].msg_len < 20) {
            counters->malformed++;
            continue;
        }
        slot_t *slot = &stream->slots[index * IDENTIFIERS + packet[1]];
        if (slot->state != OUTSTANDING) {
            if (slot->state == EXPIRED) counters->late++;
            else counters->duplicate++;
            continue;
        }
        uint64_t *result = verify(stream, slot, packet, messages[i].msg_len);
        ++*result;
        /* A forged reply answers nothing; any other ends the request, right or wrong. */
        if (result == &counters->bad_authenticator || result == &counters->malformed) continue;
        if (result == &counters->answered) {
            if (packet[0] == ACCESS_ACCEPT) counters->accepted++;
            else if (packet[0] == ACCESS_REJECT) counters->rejected++;
            else counters->accounted++;
            if (slot->measured && packet[0] != ACCESS_REJECT) record_latency(stream, now - slot->due_ns);
        }
        slot->state = FREE;
        settle(stream, index, slot);
        free_identifier(socket, packet[1]);
    }
    return count;
}

/* ---- the loop ---- */

/* Ends one step of the loop, charging its time to idleness unless it did some work; returns the time. */
static uint64_t end_step(bool worked) {
    uint64_t now = clock_ns();
    if (!worked && sending) idle_ns += now - idle_from_ns;
    return idle_from_ns = now;
}

/* How many requests a stream has yet to send. */
static uint64_t left(const stream_t *stream) {
    return options.count ? options.count - stream->counters.sent : UINT64_MAX;
}

static uint64_t least(uint64_t a, uint64_t b) { return a < b ? a : b; }

static void turn_closed(stream_t *stream, uint64_t now) {
    uint32_t share = options.window / options.sockets;
    for (uint32_t i = 0; i < options.sockets; i++) {
        socket_t *socket = &stream->sockets[i];
        bool worked = socket->outstanding && receive(stream, i);
        if (sending && socket->windowed < share && left(stream)) {
            uint64_t wanted = least(share - socket->windowed, left(stream));
            worked |= send_batch(stream, i, (unsigned)wanted, now, now, 0) > 0;
        }
        now = end_step(worked);
    }
}

static void turn_open(stream_t *stream, uint64_t now) {
    for (uint32_t tried = 0; sending && tried < options.sockets && left(stream); tried++) {
        uint64_t due = stream->first_due_ns + (uint64_t)((double)stream->scheduled * 1e9 / stream->rate);
        if (due > now) break;
        uint64_t wanted = least(least((now - due) / stream->interval_ns + 1, BATCH), left(stream));
        if (++stream->next_socket == options.sockets) stream->next_socket = 0;
        unsigned sent = send_batch(stream, stream->next_socket, (unsigned)wanted, now, due, stream->interval_ns);
        stream->scheduled += sent;
        if (sent) tried = 0;
        now = end_step(true);
    }
    for (uint32_t i = 0; i < options.sockets; i++)
        if (stream->sockets[i].outstanding) end_step(receive(stream, i) > 0);
}

static void open_sockets(stream_t *stream) {
    struct addrinfo hints = {.ai_socktype = SOCK_DGRAM, .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV}, *target;
    int error = getaddrinfo(options.host, stream->port, &hints, &target);
    if (error) refuse("%s port %s: %s", options.host, stream->port, gai_strerror(error));
    stream->sockets = allocate(options.sockets, sizeof *stream->sockets);
    stream->slots = allocate((size_t)options.sockets * IDENTIFIERS, sizeof *stream->slots);
    if (options.retries) stream->kept = allocate((size_t)options.sockets * IDENTIFIERS, REQUEST_OCTETS_MAX);
    for (uint32_t i = 0; i < options.sockets; i++) {
        socket_t *socket_ = &stream->sockets[i];
        int bytes = SOCKET_BUFFER_BYTES;
        socket_->fd = socket(target->ai_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        if (socket_->fd < 0) refuse("socket: %s", strerror(errno));
        if (setsockopt(socket_->fd, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof bytes))
            setsockopt(socket_->fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof bytes);
        setsockopt(socket_->fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof bytes);
        if (connect(socket_->fd, target->ai_addr, target->ai_addrlen)) refuse("connect: %s", strerror(errno));
        for (int id = 0; id < IDENTIFIERS; id++) free_identifier(socket_, (uint8_t)id);
    }
    freeaddrinfo(target);
}

/* ---- whose CPU time ---- */

static bool is_pid(const char *name) { return *name && name[strspn(name, "0123456789")] == 0; }

/* Parent of a process, or 0 when it is gone; *ticks gets user and system time of all its threads. */
static int read_stat(int pid, uint64_t *user_ticks, uint64_t *system_ticks) {
    char path[64], text[1024];
    snprintf(path, sizeof path, "/proc/%d/stat", pid);
    FILE *file = fopen(path, "r");
    if (!file) return 0;
    size_t octets = fread(text, 1, sizeof text - 1, file);
    fclose(file);
    text[octets] = 0;
    const char *after = strrchr(text, ')'); /* the command name may hold blanks and brackets */
    int parent = 0;
    unsigned long user = 0, system = 0;
    if (!after || sscanf(after + 1, " %*c %d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &parent, &user, &system) != 3)
        return 0;
    if (user_ticks) *user_ticks = user, *system_ticks = system;
    return parent ? parent : -1;
}

static bool listed(int pid) {
    for (int i = 0; i < pid_count; i++)
        if (pids[i] == pid) return true;
    return false;
}

static void add_pid(int pid) {
    if (listed(pid)) return;
    if (pid_count == PIDS_MAX) refuse("more than %d processes to charge", PIDS_MAX);
    pids[pid_count++] = pid;
}

static void add_descendants(void) {
    for (bool grew = true; grew;) {
        grew = false;
        DIR *proc = opendir("/proc");
        for (struct dirent *entry; proc && (entry = readdir(proc));) {
            int pid = is_pid(entry->d_name) ? atoi(entry->d_name) : 0;
            if (!pid || listed(pid)) continue;
            int parent = read_stat(pid, NULL, NULL);
            if (parent > 0 && listed(parent)) add_pid(pid), grew = true;
        }
        if (proc) closedir(proc);
    }
}

static bool holds_socket(int pid, unsigned long inode) {
    char path[64], target[64], wanted[64];
    snprintf(path, sizeof path, "/proc/%d/fd", pid);
    snprintf(wanted, sizeof wanted, "socket:[%lu]", inode);
    DIR *directory = opendir(path);
    bool found = false;
    for (struct dirent *entry; !found && directory && (entry = readdir(directory));) {
        ssize_t octets = readlinkat(dirfd(directory), entry->d_name, target, sizeof target - 1);
        if (octets > 0) target[octets] = 0, found = !strcmp(target, wanted);
    }
    if (directory) closedir(directory);
    return found;
}

/* Refuses unless the listed processes, and nobody else, hold the socket with this inode. */
static void check_holders(const char *port, unsigned long inode) {
    bool ours = false;
    DIR *proc = opendir("/proc");
    for (struct dirent *entry; proc && (entry = readdir(proc));) {
        if (!is_pid(entry->d_name)) continue;
        int pid = atoi(entry->d_name);
        if (!holds_socket(pid, inode)) continue;
        if (!listed(pid)) refuse("port %s: process %d holds the socket and is not charged (-P)", port, pid);
        ours = true;
    }
    if (proc) closedir(proc);
    if (!ours) refuse("port %s: none of the given processes holds the socket", port);
}

static void check_owner(const stream_t *stream) {
    unsigned long wanted_port = strtoul(stream->port, NULL, 10);
    int found = 0;
    static const char *const tables[] = {"/proc/net/udp", "/proc/net/udp6"};
    for (int table = 0; table < 2; table++) {
        FILE *file = fopen(tables[table], "r");
        char line[512];
        while (file && fgets(line, sizeof line, file)) {
            unsigned port, remote_port;
            unsigned long inode;
            if (sscanf(line, " %*d: %*[0-9A-Fa-f]:%x %*[0-9A-Fa-f]:%x %*x %*x:%*x %*x:%*x %*x %*u %*u %lu", &port,
                       &remote_port, &inode) != 3)
                continue;
            if (port != wanted_port || remote_port) continue;
            check_holders(stream->port, inode);
            found++;
        }
        if (file) fclose(file);
    }
    if (!found) refuse("port %s: nothing listens there", stream->port);
}

typedef struct {
    uint64_t at_ns;
    uint64_t user[PIDS_MAX], system[PIDS_MAX];
    counters_t counters[STREAMS_MAX];
} snapshot_t;

static void take_snapshot(snapshot_t *snapshot) {
    memset(snapshot, 0, sizeof *snapshot);
    for (int i = 0; i < pid_count; i++)
        if (!read_stat(pids[i], &snapshot->user[i], &snapshot->system[i])) refuse("process %d is gone", pids[i]);
    for (int i = 0; i < stream_count; i++) snapshot->counters[i] = streams[i].counters;
    snapshot->at_ns = clock_ns();
}

/* ---- report ---- */

static int compare_latencies(const void *left, const void *right) {
    uint32_t a = *(const uint32_t *)left, b = *(const uint32_t *)right;
    return (a > b) - (a < b);
}

static double quantile_us(const stream_t *stream, double quantile) {
    if (!stream->latency_count) return 0;
    size_t rank = (size_t)(quantile * (double)stream->latency_count);
    if (rank >= stream->latency_count) rank = stream->latency_count - 1;
    return stream->latencies[rank] / 10.0;
}

static uint64_t bad_replies(const counters_t *counters) {
    return counters->bad_authenticator + counters->bad_message_authenticator + counters->no_message_authenticator +
           counters->wrong_code + counters->bad_mschap + counters->malformed;
}

static int report(const snapshot_t *start, const snapshot_t *end) {
    double elapsed = (double)(end->at_ns - start->at_ns) / 1e9, tick = 1.0 / (double)sysconf(_SC_CLK_TCK);
    double user = 0, system = 0;
    uint64_t answered = 0, bad = 0;
    for (int i = 0; i < pid_count; i++) {
        user += (double)(end->user[i] - start->user[i]) * tick;
        system += (double)(end->system[i] - start->system[i]) * tick;
    }
    for (int i = 0; i < stream_count; i++) answered += end->counters[i].answered - start->counters[i].answered;
    double per_request = answered ? (user + system) * 1e6 / (double)answered : 0;
    double idle = (double)idle_ns / 1e9 / elapsed, own = answered ? (1 - idle) * elapsed * 1e6 / (double)answered : 0;
    if (options.json) {
        printf("{\"seconds\": %.4f, \"answered\": %llu, \"requests_per_s\": %.1f, \"generator_idle\": %.4f, \"generator_us_per_request\": %.3f, ", elapsed,
               (unsigned long long)answered, (double)answered / elapsed, idle, own);
        if (pid_count)
            printf("\"cpu_us_per_request\": %.3f, \"cpu_user_s\": %.2f, \"cpu_system_s\": %.2f, \"cpu_share\": %.4f, ",
                   per_request, user, system, (user + system) / elapsed);
        printf("\"streams\": [");
    } else {
        printf("%.2f s, %llu answered, %.0f requests/s, generator %.2f us per request, idle %.0f %%\n", elapsed,
               (unsigned long long)answered, (double)answered / elapsed, own, idle * 100);
        if (pid_count)
            printf("server: %.2f CPU-us per request (user %.2f s, system %.2f s, %.0f %% of one core)\n", per_request, user,
                   system, (user + system) / elapsed * 100);
        printf("%-7s %9s %10s %9s %9s %7s %6s %6s %5s %9s %9s %9s %9s %9s\n", "method", "target/s", "answered/s", "accepted",
               "rejected", "lost", "resent", "late", "bad", "p50 us", "p90 us", "p99 us", "p99.9 us", "max us");
    }
    for (int i = 0; i < stream_count; i++) {
        stream_t *stream = &streams[i];
        const counters_t *total = &stream->counters;
        double rate = (double)(end->counters[i].answered - start->counters[i].answered) / elapsed;
        if (stream->latency_count)
            qsort(stream->latencies, stream->latency_count, sizeof *stream->latencies, compare_latencies);
        double p50 = quantile_us(stream, .5), p90 = quantile_us(stream, .9), p99 = quantile_us(stream, .99);
        double p999 = quantile_us(stream, .999), max = quantile_us(stream, 1);
        bad += bad_replies(total);
        if (!options.json) {
            printf("%-7s %9.0f %10.0f %9llu %9llu %7llu %6llu %6llu %5llu %9.1f %9.1f %9.1f %9.1f %9.1f\n",
                   METHOD_NAMES[stream->method], stream->rate, rate,
                   (unsigned long long)(total->accepted + total->accounted), (unsigned long long)total->rejected,
                   (unsigned long long)total->lost, (unsigned long long)total->retransmitted,
                   (unsigned long long)total->late, (unsigned long long)bad_replies(total), p50, p90, p99, p999, max);
            continue;
        }
        printf("%s{\"method\": \"%s\", \"rate_target\": %.1f, \"requests_per_s\": %.1f, ", i ? ", " : "",
               METHOD_NAMES[stream->method], stream->rate, rate);
#define FIELD(name) printf("\"%s\": %llu, ", #name, (unsigned long long)total->name)
        FIELD(sent), FIELD(answered), FIELD(accepted), FIELD(rejected), FIELD(accounted), FIELD(lost);
        FIELD(retransmitted), FIELD(late), FIELD(duplicate), FIELD(bad_authenticator), FIELD(bad_message_authenticator);
        FIELD(no_message_authenticator), FIELD(wrong_code), FIELD(bad_mschap), FIELD(malformed);
#undef FIELD
        printf("\"latency_us\": {\"p50\": %.1f, \"p90\": %.1f, \"p99\": %.1f, \"p99.9\": %.1f, \"max\": %.1f}, ", p50, p90,
               p99, p999, max);
        printf("\"reply_octets\": %zu, \"reply_attributes\": [", stream->sample_octets);
        for (size_t at = 20; at < stream->sample_octets; at += stream->sample[at + 1])
            printf("%s%d", at == 20 ? "" : ", ", stream->sample[at]);
        printf("]}");
    }
    if (options.json) printf("]}\n");
    return bad ? 1 : 0;
}

/* ---- command line ---- */

static const char HELP[] =
    "usage: load [options] METHOD:PORT[:RATE] ...\n"
    "METHOD is pap, chap, mschap (MS-CHAPv2) or acct; RATE (requests/s) makes the stream open-loop.\n"
    "  -H HOST           server, a numeric address (127.0.0.1)\n"
    "  -S SECRET         shared secret (testing123)\n"
    "  -u N              users, numbered from 1 (10000)\n"
    "  -U TEMPLATE       user names (u%06d)\n"
    "  -W TEMPLATE       passwords (p%06d)\n"
    "  -s N              sockets, 256 identifiers each (64)\n"
    "  -w N              closed loop: requests outstanding, all sockets together (256)\n"
    "  -t SECONDS        how long to measure (3)\n"
    "  -n N              how many requests to measure, of each stream, instead of -t\n"
    "  --warmup S        seconds before measuring (0.5; 0 with -n)\n"
    "  --timeout S       after this a request is lost, or sent again (3)\n"
    "  --retries N       times a request is sent again, the same bytes (0)\n"
    "  --wrong SHARE     share of logins with a wrong password, which must be rejected (0)\n"
    "  --sign            Message-Authenticator in requests\n"
    "  --require-signed  a reply without Message-Authenticator is an error\n"
    "  --sessions N      accounting sessions that live at a time (10000)\n"
    "  --interims N      Interim-Updates between Start and Stop (8)\n"
    "  --nas-identifier  NAS-Identifier (bng-1)\n"
    "  -P PID[,PID]      processes whose CPU time to charge; they must own every socket on the ports\n"
    "  --tree            charge their descendants too\n"
    "  --no-gso          one datagram per send: no UDP segmentation offload\n"
    "  --cpu N           run on this core\n"
    "  --seed N          make authenticators and Acct-Session-Ids repeatable\n"
    "  --json            one JSON object instead of a table\n"
    "Exit: 0; 1 when a reply was wrong; 2 when there was nothing to measure.\n";

static double number(const char *name, const char *text, double low, double high) {
    char *end;
    double value = strtod(text, &end);
    if (end == text || *end || !(value >= low && value <= high)) refuse("%s: \"%s\" is not a number from %g to %g", name, text, low, high);
    return value;
}

static void add_stream(const char *text) {
    if (stream_count == STREAMS_MAX) refuse("more than %d streams", STREAMS_MAX);
    stream_t *stream = &streams[stream_count++];
    const char *colon = strchr(text, ':');
    for (method_t method = PAP; method <= ACCT; method++)
        if (colon && strlen(METHOD_NAMES[method]) == (size_t)(colon - text) &&
            !strncmp(text, METHOD_NAMES[method], (size_t)(colon - text))) {
            char port[8] = "";
            const char *second = strchr(colon + 1, ':');
            snprintf(port, sizeof port, "%.*s", (int)(second ? second - colon - 1 : 7), colon + 1);
            number("port", port, 1, 65535);
            memcpy(stream->port, port, sizeof port);
            stream->method = method;
            if (second) stream->rate = number("rate", second + 1, 1e-3, 1e7);
            if (stream->rate > 0) stream->interval_ns = (uint64_t)(1e9 / stream->rate);
            return;
        }
    refuse("\"%s\" is not METHOD:PORT[:RATE]", text);
}

static void parse(int argc, char **argv) {
    enum { WARMUP = 256, TIMEOUT, RETRIES, WRONG, SIGN, REQUIRE, SESSIONS, INTERIMS, NASID, TREE, NOGSO, CPU, SEED, JSON, HELP_ };
    static const struct option longs[] = {
        {"warmup", 1, 0, WARMUP}, {"timeout", 1, 0, TIMEOUT}, {"retries", 1, 0, RETRIES}, {"wrong", 1, 0, WRONG},
        {"sign", 0, 0, SIGN}, {"require-signed", 0, 0, REQUIRE}, {"sessions", 1, 0, SESSIONS},
        {"interims", 1, 0, INTERIMS}, {"nas-identifier", 1, 0, NASID}, {"tree", 0, 0, TREE}, {"no-gso", 0, 0, NOGSO}, {"cpu", 1, 0, CPU},
        {"seed", 1, 0, SEED}, {"json", 0, 0, JSON}, {"help", 0, 0, HELP_}, {0}};
    bool warmup_given = false;
    options.seed = clock_ns() ^ (uint64_t)getpid() << 40;
    for (int choice; (choice = getopt_long(argc, argv, "H:S:u:U:W:s:w:t:n:P:", longs, NULL)) != -1;) {
        switch (choice) {
        case 'H': options.host = optarg; break;
        case 'S': options.secret = optarg; break;
        case 'u': options.users = (uint32_t)number("-u", optarg, 1, 4000000); break;
        case 'U': options.user_template = optarg; break;
        case 'W': options.password_template = optarg; break;
        case 's': options.sockets = (uint32_t)number("-s", optarg, 1, 1024); break;
        case 'w': options.window = (uint32_t)number("-w", optarg, 1, 65536); break;
        case 't': options.seconds = number("-t", optarg, 0.001, 3600); break;
        case 'n': options.count = (uint64_t)number("-n", optarg, 1, 1e10); break;
        case WARMUP: options.warmup_s = number("--warmup", optarg, 0, 3600), warmup_given = true; break;
        case TIMEOUT: options.timeout_s = number("--timeout", optarg, 0.001, 60); break;
        case RETRIES: options.retries = (uint32_t)number("--retries", optarg, 0, 20); break;
        case WRONG: options.wrong_share = number("--wrong", optarg, 0, 1); break;
        case SIGN: options.sign_requests = true; break;
        case REQUIRE: options.require_signed = true; break;
        case SESSIONS: options.sessions = (uint32_t)number("--sessions", optarg, 1, 4000000); break;
        case INTERIMS: options.interims = (uint32_t)number("--interims", optarg, 0, 10000); break;
        case NASID: options.nas_identifier = optarg; break;
        case NOGSO: segmented = false; break;
        case TREE: options.tree = true; break;
        case CPU: options.cpu = (int)number("--cpu", optarg, 0, CPU_SETSIZE - 1); break;
        case SEED: options.seed = (uint64_t)number("--seed", optarg, 0, 9e15); break;
        case JSON: options.json = true; break;
        case HELP_: fputs(HELP, stdout); exit(0);
        case 'P':
            for (char *part = strtok(optarg, ","); part; part = strtok(NULL, ",")) add_pid((int)number("-P", part, 1, 1e9));
            break;
        default: fputs(HELP, stderr); exit(2);
        }
    }
    if (optind == argc) refuse("no stream given; see --help");
    while (optind < argc) add_stream(argv[optind++]);
    if (options.count && !warmup_given) options.warmup_s = 0;
    if (options.sockets > options.window) options.sockets = options.window;
    if (options.window / options.sockets > IDENTIFIERS) refuse("-w: %u sockets hold %u requests at most", options.sockets, options.sockets * IDENTIFIERS);
    check_template("-U", options.user_template);
    check_template("-W", options.password_template);
    if (strlen(options.nas_identifier) > 64) refuse("--nas-identifier: 64 octets at most");
}

static void prepare(void) {
    random_state = options.seed;
    run_id = (uint32_t)next_random();
    prepare_secret(options.secret);
    bool mschap = false, accounting = false;
    for (int i = 0; i < stream_count; i++) {
        open_sockets(&streams[i]);
        mschap |= streams[i].method == MSCHAP;
        if (streams[i].method == ACCT && accounting) refuse("one accounting stream at most");
        accounting |= streams[i].method == ACCT;
    }
    if (mschap) {
        mschap_table = allocate(options.users + 1, sizeof *mschap_table);
        for (uint32_t user = 1; user <= options.users; user++) mschap_compute(user, &mschap_table[user]);
    }
    if (accounting) {
        sessions = allocate(options.sessions, sizeof *sessions);
        for (uint32_t i = 0; i < options.sessions; i++) sessions[i].skip = i % (options.interims + 2);
    }
}

int main(int argc, char **argv) {
    parse(argc, argv);
    if (options.cpu >= 0) {
        cpu_set_t cores;
        CPU_ZERO(&cores);
        CPU_SET(options.cpu, &cores);
        if (sched_setaffinity(0, sizeof cores, &cores)) refuse("--cpu %d: %s", options.cpu, strerror(errno));
    }
    if (options.tree) add_descendants();
    if (pid_count)
        for (int i = 0; i < stream_count; i++) check_owner(&streams[i]);
    prepare();

    static snapshot_t start, end;
    uint64_t began = clock_ns(), drain_until = 0;
    measure_from_ns = began + (uint64_t)(options.warmup_s * 1e9);
    uint64_t stop_at = options.count ? UINT64_MAX : measure_from_ns + (uint64_t)(options.seconds * 1e9);
    for (int i = 0; i < stream_count; i++) streams[i].first_due_ns = began;
    for (bool measuring = false, ended = false;;) {
        uint64_t now = clock_ns();
        event_time = (uint32_t)time(NULL);
        if (!measuring && now >= measure_from_ns) {
            measuring = true, idle_ns = 0;
            take_snapshot(&start);
        }
        if (sending && now >= stop_at) sending = false;
        if (sending && options.count) {
            bool all = true;
            for (int i = 0; i < stream_count; i++) all &= !left(&streams[i]) && !streams[i].windowed;
            if (all) sending = false;
        }
        if (!sending && !ended) {
            ended = true;
            take_snapshot(&end);
            drain_until = now + (uint64_t)(options.timeout_s * (options.retries + 1) * 1e9) + SECOND_NS;
        }
        uint32_t outstanding = 0;
        for (int i = 0; i < stream_count; i++) {
            if (streams[i].rate > 0) turn_open(&streams[i], now);
            else turn_closed(&streams[i], now);
            expire(&streams[i], now);
            outstanding += streams[i].outstanding;
        }
        if (!sending && (!outstanding || now > drain_until)) break;
        end_step(false);
    }
    return report(&start, &end);
}
