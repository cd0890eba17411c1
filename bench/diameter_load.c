/* Diameter load generator: polls, checks every answer, and charges the server's CPU time to its transactions.
 *
 * Theory of operation. One thread owns a few TCP connections, each a peer of its own (gen000, gen001, …). A life is one
 * Gx session (CCR-I, CCR-T), one Gy session (CCR-I, CCR-Us, CCR-T) or one attach (AIR, ULR); many lives are under way,
 * a window of requests is outstanding over all connections, and a life has one request outstanding at most. Requests are
 * made from templates, whole messages in a file that bench/diameter_requests.py writes, by putting other octets over
 * their placeholders. Watchdogs and whatever the server asks are answered. With a rate the loop is open: latency counts
 * from the scheduled time. The loop never sleeps: a sleeping client would make the server pay for its wake-ups.
 *
 * Build: cc -O2 -Wall -Wextra -Wno-deprecated-declarations -o build/bench/diameter_load bench/diameter_load.c -lcrypto
 * Sources: RFC 6733, RFC 8506, TS 29.212, TS 29.272, TS 32.299; TS 35.206 and TS 33.401 Annex A.2 for vectors.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define OPENSSL_SUPPRESS_DEPRECATED
#include <openssl/aes.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

enum {
    CONNECTIONS_MAX = 256,
    LIVES_MAX = 65536,
    PIDS_MAX = 64,
    BUFFER_OCTETS = 1 << 20, /* of each direction of a connection: the window's messages fit many times */
    PLACES_MAX = 4,          /* a field's placeholders in one template */
    SESSION_OCTETS = 38,     /* gen000.bench.example;RRRRRRRR;SSSSSSSS */
    LIFE_BITS = 16,
};
#define SECOND_NS 1000000000ull

enum { REQUEST = 0x80, ERROR_BIT = 0x20, VENDOR_BIT = 0x80 };
enum { BASE = 0, GY = 4, GX = 16777238, S6A = 16777251, TGPP = 10415 };
enum { CAPABILITIES = 257, WATCHDOG = 280, CREDIT_CONTROL = 272, LOCATION = 316, AUTHENTICATION = 318 };
enum { SESSION_ID = 263, ORIGIN_HOST = 264, ORIGIN_REALM = 296, RESULT_CODE = 268, EXPERIMENTAL_RESULT = 297,
       AUTH_APPLICATION = 258, AUTH_SESSION_STATE = 277, REQUEST_TYPE = 416, REQUEST_NUMBER = 415, GRANTED = 431,
       MULTIPLE_SERVICES = 456, TOTAL_OCTETS = 421, RULE_INSTALL = 1001, QOS = 1016, DEFAULT_QOS = 1049,
       AUTHENTICATION_INFO = 1413, VECTOR = 1414, RAND = 1447, XRES = 1448, AUTN = 1449, KASME = 1450,
       SUBSCRIPTION_DATA = 1400, ULA_FLAGS = 1406 };

typedef enum { CER, GX_I, GX_T, GY_I, GY_U, GY_T, AIR, ULR, KINDS } kind_t;
typedef enum { SESSION, HOST, IMSI, MSISDN, ADDRESS, NUMBER, FIELDS } field_t;
static const struct { const char *octets; uint32_t length; } MARKS[FIELDS] = {
    [SESSION] = {"RRRRRRRR;SSSSSSSS", 17}, [HOST] = {"gen000", 6}, [IMSI] = {"999990000000000", 15},
    [MSISDN] = {"88888000000", 11}, [ADDRESS] = {"\xfa\xce\xb0\x0c", 4}, [NUMBER] = {"\xc0\xff\xee\x01", 4},
};

typedef struct {
    uint8_t *octets;
    uint32_t length;
    uint32_t at[FIELDS][PLACES_MAX], count[FIELDS];
} template_t;

typedef struct {
    uint32_t user, serial, step, generation, number;
    uint32_t skip;      /* rounds to let pass before its first request, so that lives overlap evenly */
    uint8_t kind;       /* of the request that is outstanding */
    bool busy, measured;
    uint32_t hop_by_hop, end_to_end;
    uint64_t due_ns;
    uint8_t session[SESSION_OCTETS];
} life_t;

typedef struct {
    int fd;
    uint32_t index, next, lives, outstanding;
    uint64_t next_user;
    size_t in_octets, out_octets;
    uint8_t in[BUFFER_OCTETS], out[BUFFER_OCTETS];
    bool open;
} connection_t;

typedef struct {
    uint64_t sent, answered, lost, asked, unknown, malformed, wrong_session, wrong_result, wrong_type, no_rules, no_grant,
        no_vector, wrong_vector, old_sqn, no_data;
} counters_t;

static struct {
    const char *host, *port, *templates, *application, *ki, *opc, *imsi;
    uint32_t connections, first, window, lives, users, updates, octets;
    double seconds, warmup_s, timeout_s, rate;
    bool json, no_vectors;
    int cpu;
    uint64_t count;
} options = {
    .host = "127.0.0.1", .port = "3868", .templates = "build/bench/diameter.templates", .application = "gx",
    .ki = "465B5CE8B199B49FAA5F0A2EE238A6BC", .opc = "CD63CB71954A9F4E48A5994E37A02BAF", .imsi = "001010000000000",
    .connections = 1, .window = 32, .lives = 2000, .users = 10000, .updates = 8, .octets = 2000,
    .seconds = 3, .warmup_s = 0.5, .timeout_s = 3, .cpu = -1,
};

static template_t templates[KINDS];
static connection_t *connections;
static life_t *lives;
static uint64_t *sqns; /* last SQN of each user */
static counters_t counters;
static int pids[PIDS_MAX], pid_count, poller;
static uint32_t run_id, life_steps, end_to_end, outstanding;
static uint64_t scheduled, first_due_ns, measure_from_ns, idle_ns, reported_octets;
static bool sending = true;
static uint32_t bad_shown;
static uint32_t *latencies; /* in 100 ns */
static size_t latency_count, latency_capacity;
static AES_KEY key;
static uint8_t opc[16];

static __attribute__((noreturn, format(printf, 1, 2))) void refuse(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    fputs("diameter_load: ", stderr);
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

static uint32_t get24(const uint8_t *at) { return (uint32_t)at[0] << 16 | (uint32_t)at[1] << 8 | at[2]; }
static uint32_t get32(const uint8_t *at) { return (uint32_t)at[0] << 24 | get24(at + 1); }
static void put24(uint8_t *at, uint32_t value) { at[0] = (uint8_t)(value >> 16), at[1] = (uint8_t)(value >> 8), at[2] = (uint8_t)value; }
static void put32(uint8_t *at, uint32_t value) { at[0] = (uint8_t)(value >> 24), put24(at + 1, value); }

static void put_digits(uint8_t *at, uint64_t value, int width, uint32_t base) {
    for (int i = width - 1; i >= 0; i--, value /= base) at[i] = (uint8_t)"0123456789abcdef"[value % base];
}

/* ---- templates ---- */

static kind_t kind_of(const uint8_t *message, uint32_t length) {
    uint32_t command = get24(message + 5), application = get32(message + 8), type = 0;
    if (command == CAPABILITIES) return CER;
    if (command == AUTHENTICATION) return AIR;
    if (command == LOCATION) return ULR;
    for (uint32_t at = 20; at + 8 <= length; at += (get24(message + at + 5) + 3) & ~3u)
        if (get32(message + at) == REQUEST_TYPE) type = get32(message + at + 8);
    if (command != CREDIT_CONTROL || type < 1 || type > 3) return KINDS;
    if (application == GX) return type == 1 ? GX_I : type == 3 ? GX_T : KINDS;
    return application == GY ? GY_I + type - 1 : KINDS;
}

static void read_templates(void) {
    FILE *file = fopen(options.templates, "rb");
    uint8_t header[4];
    if (!file) refuse("%s: %s; python -m bench.diameter_requests writes it", options.templates, strerror(errno));
    while (fread(header, 1, 4, file) == 4) {
        uint32_t length = get24(header + 1);
        uint8_t *octets = allocate(1, length < 20 ? 20 : length);
        memcpy(octets, header, 4);
        if (length < 20 || fread(octets + 4, 1, length - 4, file) != length - 4) refuse("%s is cut off", options.templates);
        kind_t kind = kind_of(octets, length);
        if (kind == KINDS) refuse("%s: an unknown message", options.templates);
        template_t *template = &templates[kind];
        template->octets = octets, template->length = length;
        for (field_t field = 0; field < FIELDS; field++)
            for (const uint8_t *from = octets + 20, *found; (found = memmem(from, (size_t)(octets + length - from),
                                                                           MARKS[field].octets, MARKS[field].length));
                 from = found + 1) {
                if (template->count[field] == PLACES_MAX) refuse("%s: too many places", options.templates);
                template->at[field][template->count[field]++] = (uint32_t)(found - octets);
            }
    }
    fclose(file);
    if (!templates[CER].length) refuse("%s: no CER", options.templates);
}

static void put_field(const template_t *template, uint8_t *message, field_t field, const void *octets) {
    for (uint32_t i = 0; i < template->count[field]; i++)
        memcpy(message + template->at[field][i], octets, MARKS[field].length);
}

/* ---- sending ---- */

static uint8_t *room(connection_t *connection, size_t octets) {
    if (connection->out_octets + octets > BUFFER_OCTETS) refuse("the server reads too slowly");
    uint8_t *at = connection->out + connection->out_octets;
    connection->out_octets += octets;
    return at;
}

static void flush(connection_t *connection) {
    size_t done = 0;
    while (done < connection->out_octets) {
        ssize_t sent = send(connection->fd, connection->out + done, connection->out_octets - done, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent < 0 && errno == EAGAIN) break;
        if (sent < 0) refuse("send: %s", strerror(errno));
        done += (size_t)sent;
    }
    memmove(connection->out, connection->out + done, connection->out_octets - done);
    connection->out_octets -= done;
}

static kind_t kind_at(uint32_t step) {
    switch (options.application[1]) {
    case 'x': return step ? GX_T : GX_I;
    case 'y': return !step ? GY_I : step <= options.updates ? GY_U : GY_T;
    default: return step ? ULR : AIR;
    }
}

static void begin(life_t *life) {
    static uint32_t serial;
    /* A connection's lives visit its own users in a scattered order that repeats only after all of them: a subscriber
     * stays with one peer. */
    uint32_t index = (uint32_t)(life - lives) % options.connections, own = options.users / options.connections;
    life->user = (uint32_t)(connections[index].next_user++ * 2654435761ull % own) * options.connections + index + 1;
    life->serial = ++serial;
    life->step = life->number = 0;
}

static void ask(connection_t *connection, life_t *life, uint64_t now, uint64_t due_ns) {
    kind_t kind = kind_at(life->step);
    if (!life->step) begin(life);
    const template_t *template = &templates[kind];
    uint8_t *message = room(connection, template->length), text[24], word[4];
    memcpy(message, template->octets, template->length);
    life->hop_by_hop = ++life->generation << LIFE_BITS | (uint32_t)(life - lives);
    life->end_to_end = ++end_to_end;
    put32(message + 12, life->hop_by_hop);
    put32(message + 16, life->end_to_end);
    put_digits(text, run_id, 8, 16);
    text[8] = ';';
    /* S6a has a new Session-Id for every transaction (TS 29.272 section 7.1.7). */
    put_digits(text + 9, kind == ULR ? life->serial | 0x80000000u : life->serial, 8, 16);
    put_field(template, message, SESSION, text);
    memcpy(life->session, "gen000.bench.example;", 21);
    memcpy(life->session + 21, text, 17);
    memcpy(text, "gen", 3);
    put_digits(text + 3, connection->index + options.first, 3, 10);
    put_field(template, message, HOST, text);
    memcpy(life->session, text, 6);
    put_digits(text, strtoull(options.imsi, NULL, 10) + life->user, 15, 10);
    put_field(template, message, IMSI, text);
    put_digits(text, 15550000000ull + life->user, 11, 10);
    put_field(template, message, MSISDN, text);
    put32(word, 0x0a000000 + life->user);
    put_field(template, message, ADDRESS, word);
    put32(word, life->number);
    put_field(template, message, NUMBER, word);
    life->kind = (uint8_t)kind;
    life->busy = true;
    life->due_ns = due_ns;
    life->measured = now >= measure_from_ns;
    connection->outstanding++, outstanding++, counters.sent++;
}

/* The next life of a connection that can ask; NULL when all wait. */
static life_t *next_life(connection_t *connection) {
    for (uint32_t tried = 0; tried < connection->lives; tried++) {
        life_t *life = &lives[connection->index + connection->next * options.connections];
        if (++connection->next == connection->lives) connection->next = 0;
        if (life->busy) continue;
        if (life->skip) { life->skip--; continue; }
        return life;
    }
    return NULL;
}

/* ---- checking ---- */

typedef struct { const uint8_t *value; uint32_t length; } avp_t;

/* The first AVP of a kind; value NULL where there is none. *sound is cleared where lengths lie. */
static avp_t find(const uint8_t *at, uint32_t length, uint32_t code, uint32_t vendor, bool *sound) {
    for (const uint8_t *end = at + length; at < end;) {
        uint32_t octets = end - at < 8 ? 0 : get24(at + 5), header = end - at >= 12 && at[4] & VENDOR_BIT ? 12 : 8;
        if (octets < header || (octets + 3) / 4 * 4 > (size_t)(end - at)) { *sound = false; break; }
        if (get32(at) == code && (header == 12 ? get32(at + 8) : 0) == vendor) return (avp_t){at + header, octets - header};
        at += (octets + 3) & ~3u;
    }
    return (avp_t){NULL, 0};
}

static bool is_number(avp_t avp, uint32_t value) { return avp.length == 4 && get32(avp.value) == value; }

static void encrypt(uint8_t out[16], const uint8_t in[16]) { AES_encrypt(in, out, &key); }

/* One output of Milenage but f1's: E(rot(temp ^ OPc, r) ^ c) ^ OPc (TS 35.206 section 4.1). */
static void output(uint8_t out[16], const uint8_t temp[16], int rotated_octets, uint8_t constant) {
    uint8_t in[16];
    for (int i = 0; i < 16; i++) in[i] = temp[(i + rotated_octets) & 15] ^ opc[(i + rotated_octets) & 15];
    in[15] ^= constant;
    encrypt(out, in);
    for (int i = 0; i < 16; i++) out[i] ^= opc[i];
}

static uint64_t *check_vector(const life_t *life, const uint8_t *rand, const uint8_t *xres, const uint8_t *autn, const uint8_t *kasme) {
    static const uint8_t SERVING[3] = {0x00, 0xf1, 0x10}; /* PLMN 001-01 */
    uint8_t temp[16], in[16], out1[16], out2[16], cipher[32], sqn[6], text[14] = {0x10, SERVING[0], SERVING[1], SERVING[2], 0, 3}, digest[32];
    for (int i = 0; i < 16; i++) in[i] = rand[i] ^ opc[i];
    encrypt(temp, in);
    output(out2, temp, 0, 1);
    output(cipher, temp, 4, 2);
    output(cipher + 16, temp, 8, 4);
    if (memcmp(out2 + 8, xres, 8)) return &counters.wrong_vector;
    for (int i = 0; i < 6; i++) sqn[i] = autn[i] ^ out2[i];
    uint8_t first[16];
    memcpy(first, sqn, 6), memcpy(first + 6, autn + 6, 2), memcpy(first + 8, first, 8);
    for (int i = 0; i < 16; i++) in[i] = temp[i] ^ first[(i + 8) & 15] ^ opc[(i + 8) & 15];
    encrypt(out1, in);
    for (int i = 0; i < 16; i++) out1[i] ^= opc[i];
    if (memcmp(out1, autn + 8, 8)) return &counters.wrong_vector;
    memcpy(text + 6, autn, 6);
    text[12] = 0, text[13] = 6;
    HMAC(EVP_sha256(), cipher, 32, text, 14, digest, NULL);
    if (memcmp(digest, kasme, 32)) return &counters.wrong_vector;
    uint64_t number = 0;
    for (int i = 0; i < 6; i++) number = number << 8 | sqn[i];
    if (number <= sqns[life->user]) return &counters.old_sqn;
    sqns[life->user] = number;
    return &counters.answered;
}

/* The counter that an answer belongs to: answered, or what is wrong with it. */
static uint64_t *check(life_t *life, const uint8_t *message, uint32_t length) {
    const uint8_t *avps = message + 20;
    bool sound = true;
    length -= 20;
    find(avps, length, 0xffffffff, 0, &sound); /* nobody has this one: a walk over all */
    if (!sound) return &counters.malformed;
    avp_t session = find(avps, length, SESSION_ID, 0, &sound);
    if (session.length != SESSION_OCTETS || memcmp(session.value, life->session, SESSION_OCTETS)) return &counters.wrong_session;
    avp_t result = find(avps, length, RESULT_CODE, 0, &sound);
    if (message[4] & ERROR_BIT || !is_number(result, 2001) || find(avps, length, EXPERIMENTAL_RESULT, 0, &sound).value)
        return &counters.wrong_result;
    if (!find(avps, length, ORIGIN_HOST, 0, &sound).length || !find(avps, length, ORIGIN_REALM, 0, &sound).length)
        return &counters.malformed;
    if (life->kind == AIR || life->kind == ULR) {
        if (!is_number(find(avps, length, AUTH_SESSION_STATE, 0, &sound), 1)) return &counters.wrong_type;
        if (life->kind == ULR)
            return find(avps, length, SUBSCRIPTION_DATA, TGPP, &sound).length && find(avps, length, ULA_FLAGS, TGPP, &sound).length == 4
                       ? &counters.answered : &counters.no_data;
        avp_t info = find(avps, length, AUTHENTICATION_INFO, TGPP, &sound);
        avp_t vector = find(info.value, info.length, VECTOR, TGPP, &sound);
        avp_t rand = find(vector.value, vector.length, RAND, TGPP, &sound), xres = find(vector.value, vector.length, XRES, TGPP, &sound);
        avp_t autn = find(vector.value, vector.length, AUTN, TGPP, &sound), kasme = find(vector.value, vector.length, KASME, TGPP, &sound);
        if (rand.length != 16 || xres.length != 8 || autn.length != 16 || kasme.length != 32) return &counters.no_vector;
        return options.no_vectors ? &counters.answered : check_vector(life, rand.value, xres.value, autn.value, kasme.value);
    }
    uint32_t type = life->kind == GX_I || life->kind == GY_I ? 1 : life->kind == GY_U ? 2 : 3;
    if (!is_number(find(avps, length, REQUEST_TYPE, 0, &sound), type) || !is_number(find(avps, length, REQUEST_NUMBER, 0, &sound), life->number) ||
        !is_number(find(avps, length, AUTH_APPLICATION, 0, &sound), get32(message + 8)))
        return &counters.wrong_type;
    if (life->kind == GX_I &&
        (!find(avps, length, RULE_INSTALL, TGPP, &sound).length || !find(avps, length, QOS, TGPP, &sound).length ||
         !find(avps, length, DEFAULT_QOS, TGPP, &sound).length))
        return &counters.no_rules;
    if (life->kind == GY_I || life->kind == GY_U) {
        avp_t services = find(avps, length, MULTIPLE_SERVICES, 0, &sound);
        avp_t code = find(services.value, services.length, RESULT_CODE, 0, &sound);
        avp_t granted = find(services.value, services.length, GRANTED, 0, &sound);
        avp_t octets = find(granted.value, granted.length, TOTAL_OCTETS, 0, &sound);
        if ((code.value && !is_number(code, 2001)) || octets.length != 8 || !(get32(octets.value) | get32(octets.value + 4)))
            return &counters.no_grant;
    }
    return sound ? &counters.answered : &counters.malformed;
}

/* ---- receiving ---- */

static void record_latency(uint64_t elapsed_ns) {
    if (latency_count == latency_capacity) {
        latency_capacity = latency_capacity ? latency_capacity * 2 : 1 << 20;
        latencies = realloc(latencies, latency_capacity * sizeof *latencies);
        if (!latencies) refuse("out of memory");
    }
    latencies[latency_count++] = (uint32_t)(elapsed_ns / 100);
}

static uint8_t *put_avp(uint8_t *at, uint32_t code, const void *value, uint32_t length) {
    put32(at, code);
    at[4] = 0x40;
    put24(at + 5, length + 8);
    memset(at + 8 + (length & ~3u), 0, length & 3 ? 4 : 0);
    memcpy(at + 8, value, length);
    return at + 8 + ((length + 3) & ~3u);
}

/* Yes to whatever the server asks: DWR, RAR, CLR. */
static void answer(connection_t *connection, const uint8_t *message, uint32_t length) {
    uint8_t made[512], host[24] = "gen000.bench.example", word[4], *at = made + 20;
    bool sound = true;
    avp_t session = find(message + 20, length - 20, SESSION_ID, 0, &sound);
    memcpy(made, message, 20);
    made[4] &= 0x40;
    if (session.length && session.length < 256) at = put_avp(at, SESSION_ID, session.value, session.length);
    put32(word, 2001);
    at = put_avp(at, RESULT_CODE, word, 4);
    put_digits(host + 3, connection->index + options.first, 3, 10);
    at = put_avp(at, ORIGIN_HOST, host, 20);
    at = put_avp(at, ORIGIN_REALM, "bench.example", 13);
    put32(word, 1);
    if (get32(message + 8) == S6A) at = put_avp(at, AUTH_SESSION_STATE, word, 4);
    put24(made + 1, (uint32_t)(at - made));
    memcpy(room(connection, (size_t)(at - made)), made, (size_t)(at - made));
    if (get24(message + 5) != WATCHDOG) counters.asked++;
}

static void settle(connection_t *connection, life_t *life) {
    life->busy = false;
    connection->outstanding--, outstanding--;
}

static void take(connection_t *connection, const uint8_t *message, uint32_t length, uint64_t now) {
    if (message[4] & REQUEST) {
        answer(connection, message, length);
        return;
    }
    if (get24(message + 5) == CAPABILITIES) {
        bool sound = true;
        if (!is_number(find(message + 20, length - 20, RESULT_CODE, 0, &sound), 2001)) refuse("the server refuses the CER of gen%03u", connection->index);
        connection->open = true;
        return;
    }
    uint32_t hop_by_hop = get32(message + 12), index = hop_by_hop & ((1u << LIFE_BITS) - 1);
    life_t *life = index < options.lives ? &lives[index] : NULL;
    if (!life || !life->busy || life->hop_by_hop != hop_by_hop || life->end_to_end != get32(message + 16) ||
        index % options.connections != connection->index) {
        counters.unknown++;
        return;
    }
    uint64_t *result = check(life, message, length);
    ++*result;
    if (result == &counters.answered && life->measured) record_latency(now - life->due_ns);
    if (result != &counters.answered && bad_shown++ < 3) {
        fprintf(stderr, "diameter_load: wrong answer (kind %d, user %u):", life->kind, life->user);
        for (uint32_t i = 0; i < length && i < 1024; i++) fprintf(stderr, "%s%02x", i % 4 ? "" : " ", message[i]);
        fputc('\n', stderr);
    }
    if (life->kind == GY_U || life->kind == GY_T) reported_octets += options.octets;
    life->number++;
    if (++life->step == life_steps) life->step = 0;
    settle(connection, life);
}

static bool receive(connection_t *connection) {
    ssize_t got = recv(connection->fd, connection->in + connection->in_octets, BUFFER_OCTETS - connection->in_octets, MSG_DONTWAIT);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) return false;
    if (got <= 0) refuse("the server closed the connection of gen%03u: %s", connection->index, got ? strerror(errno) : "end");
    uint64_t now = clock_ns();
    connection->in_octets += (size_t)got;
    size_t at = 0;
    while (connection->in_octets - at >= 20) {
        uint32_t length = get24(connection->in + at + 1);
        if (connection->in[at] != 1 || length < 20 || length > BUFFER_OCTETS) refuse("that is not Diameter");
        if (length > connection->in_octets - at) break;
        take(connection, connection->in + at, length, now);
        at += length;
    }
    memmove(connection->in, connection->in + at, connection->in_octets - at);
    connection->in_octets -= at;
    return true;
}

/* ---- the loop ---- */

static uint64_t left(void) { return options.count ? options.count - counters.sent : UINT64_MAX; }

static void turn(connection_t *connection, uint64_t now) {
    uint32_t share = options.window / options.connections;
    while (sending && connection->outstanding < share && left()) {
        uint64_t due = now;
        if (options.rate > 0 && (due = first_due_ns + (uint64_t)((double)scheduled * 1e9 / options.rate)) > now) break;
        life_t *life = next_life(connection);
        if (!life) break;
        ask(connection, life, now, due);
        scheduled++;
    }
    if (connection->out_octets) flush(connection);
}

static void expire(uint64_t now) {
    for (uint32_t i = 0; i < options.lives; i++)
        if (lives[i].busy && now - lives[i].due_ns > (uint64_t)(options.timeout_s * 1e9)) {
            counters.lost++;
            lives[i].step = 0;
            settle(&connections[i % options.connections], &lives[i]);
        }
}

static void poll_all(void) {
    struct epoll_event ready[64];
    int count = epoll_wait(poller, ready, 64, 0);
    for (int i = 0; i < count; i++) receive(ready[i].data.ptr);
}

static void open_connections(void) {
    struct sockaddr_in target = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(options.port))};
    if (inet_pton(AF_INET, options.host, &target.sin_addr) != 1) refuse("-H: \"%s\" is no IPv4 address", options.host);
    connections = allocate(options.connections, sizeof *connections);
    poller = epoll_create1(EPOLL_CLOEXEC);
    for (uint32_t i = 0; i < options.connections; i++) {
        connection_t *connection = &connections[i];
        int on = 1;
        connection->index = i;
        connection->lives = (options.lives - i + options.connections - 1) / options.connections;
        connection->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        setsockopt(connection->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        if (connect(connection->fd, (struct sockaddr *)&target, sizeof target)) refuse("%s port %s: %s", options.host, options.port, strerror(errno));
        struct epoll_event wanted = {.events = EPOLLIN, .data.ptr = connection};
        epoll_ctl(poller, EPOLL_CTL_ADD, connection->fd, &wanted);
        const template_t *cer = &templates[CER];
        uint8_t *message = room(connection, cer->length), host[6] = "gen";
        memcpy(message, cer->octets, cer->length);
        put_digits(host + 3, i + options.first, 3, 10);
        put_field(cer, message, HOST, host);
        put32(message + 12, i), put32(message + 16, i);
        flush(connection);
    }
    for (uint64_t until = clock_ns() + 5 * SECOND_NS;;) {
        uint32_t open = 0;
        poll_all();
        for (uint32_t i = 0; i < options.connections; i++) open += connections[i].open;
        if (open == options.connections) return;
        if (clock_ns() > until) refuse("no CEA within 5 s");
    }
}

/* ---- whose CPU time, and the report ---- */

static double cpu_seconds(void) {
    double ticks = 0;
    for (int i = 0; i < pid_count; i++) {
        char path[64], text[1024];
        unsigned long user = 0, system = 0;
        snprintf(path, sizeof path, "/proc/%d/stat", pids[i]);
        FILE *file = fopen(path, "r");
        if (!file) refuse("process %d is gone", pids[i]);
        text[fread(text, 1, sizeof text - 1, file)] = 0;
        fclose(file);
        const char *after = strrchr(text, ')'); /* the command name may hold blanks and brackets */
        if (!after || sscanf(after + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user, &system) != 2)
            refuse("/proc/%d/stat cannot be read", pids[i]);
        ticks += (double)(user + system);
    }
    return ticks / (double)sysconf(_SC_CLK_TCK);
}

static int compare_latencies(const void *left_, const void *right) {
    uint32_t a = *(const uint32_t *)left_, b = *(const uint32_t *)right;
    return (a > b) - (a < b);
}

static double quantile_us(double quantile) {
    if (!latency_count) return 0;
    size_t rank = (size_t)(quantile * (double)latency_count);
    return latencies[rank < latency_count ? rank : latency_count - 1] / 10.0;
}

static int report(double elapsed, double cpu, const counters_t *start, const counters_t *end) {
    double answered = (double)(end->answered - start->answered), each = answered > 0 ? cpu * 1e6 / answered : 0;
    uint64_t bad = counters.unknown + counters.malformed + counters.wrong_session + counters.wrong_result + counters.wrong_type +
                   counters.no_rules + counters.no_grant + counters.no_vector + counters.wrong_vector + counters.old_sqn + counters.no_data;
    double idle = (double)idle_ns / 1e9 / elapsed;
    if (latency_count) qsort(latencies, latency_count, sizeof *latencies, compare_latencies);
    double p50 = quantile_us(.5), p90 = quantile_us(.9), p99 = quantile_us(.99), p999 = quantile_us(.999), max = quantile_us(1);
    if (!options.json) {
        printf("%s: %.2f s, %.0f answered, %.0f transactions/s, generator idle %.0f %%, lost %llu, bad %llu\n", options.application, elapsed, answered,
               answered / elapsed, idle * 100, (unsigned long long)counters.lost, (unsigned long long)bad);
        if (pid_count) printf("server: %.2f CPU-us per transaction, %.0f %% of one core\n", each, cpu / elapsed * 100);
        printf("latency us: p50 %.1f p90 %.1f p99 %.1f p99.9 %.1f max %.1f\n", p50, p90, p99, p999, max);
    } else {
        printf("{\"application\": \"%s\", \"seconds\": %.4f, \"transactions_per_s\": %.1f, \"generator_idle\": %.4f, ", options.application,
               elapsed, answered / elapsed, idle);
        if (pid_count) printf("\"cpu_us_per_transaction\": %.3f, \"cpu_share\": %.4f, ", each, cpu / elapsed);
        printf("\"latency_us\": {\"p50\": %.1f, \"p90\": %.1f, \"p99\": %.1f, \"p99.9\": %.1f, \"max\": %.1f}, \"octets_reported\": %llu, \"bad\": %llu",
               p50, p90, p99, p999, max, (unsigned long long)reported_octets, (unsigned long long)bad);
#define FIELD(name) printf(", \"" #name "\": %llu", (unsigned long long)counters.name)
        FIELD(sent), FIELD(answered), FIELD(lost), FIELD(asked), FIELD(unknown), FIELD(malformed), FIELD(wrong_session), FIELD(wrong_result);
        FIELD(wrong_type), FIELD(no_rules), FIELD(no_grant), FIELD(no_vector), FIELD(wrong_vector), FIELD(old_sqn), FIELD(no_data);
#undef FIELD
        printf("}\n");
    }
    return bad || !counters.answered ? 1 : 0;
}

/* ---- command line ---- */

static const char HELP[] =
    "usage: diameter_load [options] gx|gy|s6a\n"
    "  -H HOST        server, an IPv4 address (127.0.0.1)\n"
    "  -p PORT        its TCP port (3868)\n"
    "  -m FILE        request templates (build/bench/diameter.templates)\n"
    "  -u N           subscribers, IMSIs from --imsi + 1 (10000)\n"
    "  -s N           connections, each a peer of its own (1)\n"
    "  --first N      number of the first of these peers (0)\n"
    "  -w N           requests outstanding, all connections together (32)\n"
    "  -l N           sessions or attaches under way (2000)\n"
    "  -r RATE        transactions a second on schedule; 0: as fast as answers come (0)\n"
    "  -t SECONDS     how long to measure (3)\n"
    "  -n N           how many requests to send, instead of -t\n"
    "  --updates N    CCR-Us of a Gy session (8)\n"
    "  --warmup S     seconds before measuring (0.5; 0 with -n)\n"
    "  --timeout S    after this a request is lost (3)\n"
    "  --imsi DIGITS  fifteen; the subscribers come after it (001010000000000)\n"
    "  --ki, --opc    of every SIM, 32 hex digits (TS 35.208 test set 1)\n"
    "  --no-vectors   look at the lengths of authentication vectors alone\n"
    "  -P PID[,PID]   processes whose CPU time to charge\n"
    "  --cpu N        run on this core\n"
    "  --json         one JSON object instead of text\n"
    "Exit: 0; 1 when an answer was wrong; 2 when there was nothing to measure.\n";

static double number(const char *name, const char *text, double low, double high) {
    char *end;
    double value = strtod(text, &end);
    if (end == text || *end || !(value >= low && value <= high)) refuse("%s: \"%s\" is not a number from %g to %g", name, text, low, high);
    return value;
}

static void unhex(const char *name, const char *text, uint8_t out[16]) {
    if (strlen(text) != 32) refuse("%s: 32 hex digits are needed", name);
    for (int i = 0; i < 16; i++)
        if (sscanf(text + 2 * i, "%2hhx", &out[i]) != 1) refuse("%s: 32 hex digits are needed", name);
}

static void parse(int argc, char **argv) {
    enum { WARMUP = 256, FIRST, TIMEOUT, UPDATES, IMSI_, KI, OPC, NO_VECTORS, CPU, JSON, HELP_ };
    static const struct option longs[] = {
        {"warmup", 1, 0, WARMUP}, {"first", 1, 0, FIRST}, {"timeout", 1, 0, TIMEOUT}, {"updates", 1, 0, UPDATES}, {"imsi", 1, 0, IMSI_}, {"ki", 1, 0, KI},
        {"opc", 1, 0, OPC}, {"no-vectors", 0, 0, NO_VECTORS}, {"cpu", 1, 0, CPU}, {"json", 0, 0, JSON}, {"help", 0, 0, HELP_}, {0}};
    bool warmup_given = false;
    for (int choice; (choice = getopt_long(argc, argv, "H:p:m:u:s:w:l:r:t:n:P:", longs, NULL)) != -1;) {
        switch (choice) {
        case 'H': options.host = optarg; break;
        case 'p': options.port = optarg; break;
        case 'm': options.templates = optarg; break;
        case 'u': options.users = (uint32_t)number("-u", optarg, 1, 1e6); break;
        case 's': options.connections = (uint32_t)number("-s", optarg, 1, CONNECTIONS_MAX); break;
        case 'w': options.window = (uint32_t)number("-w", optarg, 1, 4096); break;
        case 'l': options.lives = (uint32_t)number("-l", optarg, 1, LIVES_MAX); break;
        case 'r': options.rate = number("-r", optarg, 0, 1e7); break;
        case 't': options.seconds = number("-t", optarg, 0.001, 3600); break;
        case 'n': options.count = (uint64_t)number("-n", optarg, 1, 1e10); break;
        case WARMUP: options.warmup_s = number("--warmup", optarg, 0, 3600), warmup_given = true; break;
        case FIRST: options.first = (uint32_t)number("--first", optarg, 0, 1000 - CONNECTIONS_MAX); break;
        case TIMEOUT: options.timeout_s = number("--timeout", optarg, 0.001, 60); break;
        case UPDATES: options.updates = (uint32_t)number("--updates", optarg, 0, 10000); break;
        case IMSI_: options.imsi = optarg; break;
        case KI: options.ki = optarg; break;
        case OPC: options.opc = optarg; break;
        case NO_VECTORS: options.no_vectors = true; break;
        case CPU: options.cpu = (int)number("--cpu", optarg, 0, CPU_SETSIZE - 1); break;
        case JSON: options.json = true; break;
        case HELP_: fputs(HELP, stdout); exit(0);
        case 'P':
            for (char *part = strtok(optarg, ","); part; part = strtok(NULL, ",")) {
                if (pid_count == PIDS_MAX) refuse("more than %d processes to charge", PIDS_MAX);
                pids[pid_count++] = (int)number("-P", part, 1, 1e9);
            }
            break;
        default: fputs(HELP, stderr); exit(2);
        }
    }
    if (optind + 1 != argc) refuse("one application is needed; see --help");
    options.application = argv[optind];
    if (strcmp(options.application, "gx") && strcmp(options.application, "gy") && strcmp(options.application, "s6a"))
        refuse("\"%s\" is none of gx, gy, s6a", options.application);
    if (options.count && !warmup_given) options.warmup_s = 0;
    if (options.connections > options.window) refuse("-w: %u connections need as many requests outstanding", options.connections);
    if (options.lives > options.users) options.lives = options.users; /* a subscriber has one life at a time */
    if (options.lives < options.window) refuse("-l: fewer lives than requests outstanding");
    if (strlen(options.imsi) != 15) refuse("--imsi: fifteen digits are needed");
}

int main(int argc, char **argv) {
    uint8_t ki[16];
    parse(argc, argv);
    if (options.cpu >= 0) {
        cpu_set_t cores;
        CPU_ZERO(&cores);
        CPU_SET(options.cpu, &cores);
        if (sched_setaffinity(0, sizeof cores, &cores)) refuse("--cpu %d: %s", options.cpu, strerror(errno));
    }
    unhex("--ki", options.ki, ki);
    unhex("--opc", options.opc, opc);
    AES_set_encrypt_key(ki, 128, &key);
    read_templates();
    run_id = (uint32_t)(clock_ns() ^ (uint64_t)getpid() << 16);
    end_to_end = run_id << 20;
    life_steps = options.application[1] == 'y' ? options.updates + 2 : 2;
    for (uint32_t step = 0; step < life_steps; step++)
        if (!templates[kind_at(step)].length) refuse("%s: a request of %s is missing", options.templates, options.application);
    sqns = allocate(options.users + 1, sizeof *sqns);
    lives = allocate(options.lives, sizeof *lives);
    for (uint32_t i = 0; i < options.lives; i++) lives[i].skip = i / options.connections % life_steps;
    open_connections();

    counters_t start = {0}, end = {0};
    uint64_t began = clock_ns(), start_ns = 0, end_ns = 0, drain_until = 0, expired_ns = began;
    double cpu_start = 0, cpu_end = 0;
    first_due_ns = began;
    measure_from_ns = began + (uint64_t)(options.warmup_s * 1e9);
    uint64_t stop_at = options.count ? UINT64_MAX : measure_from_ns + (uint64_t)(options.seconds * 1e9), last = began;
    for (bool measuring = false, ended = false;;) {
        uint64_t now = clock_ns(), before = counters.sent + counters.answered;
        if (!measuring && now >= measure_from_ns) measuring = true, idle_ns = 0, start = counters, cpu_start = cpu_seconds(), start_ns = clock_ns();
        if (sending && (now >= stop_at || (options.count && !left() && !outstanding))) sending = false;
        if (!sending && !ended) {
            ended = true, cpu_end = cpu_seconds(), end = counters, end_ns = clock_ns();
            drain_until = now + (uint64_t)((options.timeout_s + 1) * 1e9);
        }
        poll_all();
        for (uint32_t i = 0; i < options.connections; i++) turn(&connections[i], now);
        if (now - expired_ns > SECOND_NS / 10) expire(now), expired_ns = now;
        if (!sending && (!outstanding || now > drain_until)) break;
        now = clock_ns();
        if (sending && before == counters.sent + counters.answered) idle_ns += now - last;
        last = now;
    }
    return report((double)(end_ns - start_ns) / 1e9, cpu_end - cpu_start, &start, &end);
}
