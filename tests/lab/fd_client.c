/* freeDiameter as a peer of the tests: an extension that does what it is told over a UNIX socket, whose path is its
 * configuration. Lines in:  call REF MESSAGE | answer REF MESSAGE | answer REF -
 * Lines out: up HOST | answered REF MESSAGE - | failed REF REASON | request REF MESSAGE - | fault TEXT
 * Messages are whole, in hexadecimal digits. What freeDiameter's parser and rules refuse is a fault. The dictionary of
 * what its own extensions lack stands in the file beside the socket, PATH.dictionary (see freediameter.py). */
#include <freeDiameter/extension.h>
#include <sys/socket.h>
#include <sys/un.h>

#define LINE_MAX (1 << 20)
#define WAITING_MAX 1024

static FILE *out;
static pthread_mutex_t writing = PTHREAD_MUTEX_INITIALIZER;
static struct peer_hdr *server;
static struct msg *waiting[WAITING_MAX]; /* requests that wait for their answer, by reference */

static void say(const char *format, ...)
{
	va_list arguments;
	va_start(arguments, format);
	pthread_mutex_lock(&writing);
	vfprintf(out, format, arguments);
	fputc('\n', out);
	fflush(out);
	pthread_mutex_unlock(&writing);
	va_end(arguments);
}

static char *digits(struct msg *message)
{
	uint8_t *octets;
	size_t length, i;
	if (fd_msg_bufferize(message, &octets, &length))
		return strdup("-");
	char *text = malloc(2 * length + 1);
	for (i = 0; i < length; i++)
		sprintf(text + 2 * i, "%02x", octets[i]);
	free(octets);
	return text;
}

static size_t octets_of(const char *text, uint8_t *octets)
{
	size_t n = 0;
	unsigned value;
	while (sscanf(text + 2 * n, "%2x", &value) == 1)
		octets[n++] = value;
	return n;
}

static uint32_t number(const uint8_t *at, int size)
{
	uint32_t value = 0;
	while (size--)
		value = value << 8 | *at++;
	return value;
}

/* AVPs from octets into a message or a group, each by its model in the dictionary, in their order and with their flags. */
static int build(msg_or_avp *parent, const uint8_t *at, const uint8_t *end)
{
	while (at < end) {
		struct dict_avp_request which = {0};
		struct dict_object *model;
		struct dict_avp_data data;
		struct avp_hdr *header;
		struct avp *avp;
		union avp_value value = {{0}};
		uint8_t flags = at[4];
		uint32_t length = number(at + 5, 3), head = flags & AVP_FLAG_VENDOR ? 12 : 8;
		which.avp_code = number(at, 4);
		which.avp_vendor = flags & AVP_FLAG_VENDOR ? number(at + 8, 4) : 0;
		const uint8_t *body = at + head;
		CHECK_FCT(fd_dict_search(fd_g_config->cnf_dict, DICT_AVP, AVP_BY_CODE_AND_VENDOR, &which, &model, ENOENT));
		CHECK_FCT(fd_dict_getval(model, &data));
		CHECK_FCT(fd_msg_avp_new(model, 0, &avp));
		if (data.avp_basetype == AVP_TYPE_GROUPED) {
			CHECK_FCT(build(avp, body, at + length));
		} else {
			if (data.avp_basetype == AVP_TYPE_OCTETSTRING) {
				value.os.data = (uint8_t *)body;
				value.os.len = length - head;
			} else if (length - head == 8) {
				value.u64 = (uint64_t)number(body, 4) << 32 | number(body + 4, 4);
			} else {
				value.u32 = number(body, 4);
			}
			CHECK_FCT(fd_msg_avp_setvalue(avp, &value));
		}
		CHECK_FCT(fd_msg_avp_hdr(avp, &header));
		header->avp_flags = flags;
		CHECK_FCT(fd_msg_avp_add(parent, MSG_BRW_LAST_CHILD, avp));
		at += (length + 3) & ~3u;
	}
	return 0;
}

static void answered(void *reference, struct msg **message)
{
	char *text = digits(*message);
	say("answered %ld %s -", (long)reference, text);
	free(text);
	fd_msg_free(*message);
	*message = NULL;
}

static int call(long reference, const uint8_t *octets, size_t length)
{
	struct dict_object *command;
	struct msg_hdr *header;
	struct msg *message;
	command_code_t code = number(octets + 5, 3);
	CHECK_FCT(fd_dict_search(fd_g_config->cnf_dict, DICT_COMMAND, CMD_BY_CODE_R, &code, &command, ENOENT));
	CHECK_FCT(fd_msg_new(command, MSGFL_ALLOC_ETEID, &message));
	CHECK_FCT(fd_msg_hdr(message, &header));
	header->msg_flags = octets[4];
	header->msg_appl = number(octets + 8, 4);
	header->msg_eteid = number(octets + 16, 4);
	CHECK_FCT(build(message, octets + 20, octets + length));
	/* The hook that tells of a connection is called a moment before messages are routed to it. */
	for (int tries = 0; tries < 500 && server && fd_peer_get_state(server) != STATE_OPEN; tries++)
		usleep(10000);
	return fd_msg_send(&message, answered, (void *)reference);
}

static int answer(long reference, const uint8_t *octets, size_t length)
{
	struct msg *message = waiting[reference];
	waiting[reference] = NULL;
	if (!length)
		return fd_msg_free(message);
	int error = octets[4] & CMD_FLAG_ERROR ? MSGFL_ANSW_ERROR : 0;
	CHECK_FCT(fd_msg_new_answer_from_req(
		fd_g_config->cnf_dict, &message, error | MSGFL_ANSW_NOSID | MSGFL_ANSW_NOPROXYINFO));
	CHECK_FCT(build(message, octets + 20, octets + length));
	return fd_msg_send(&message, NULL, NULL);
}

static int requested(
	struct msg **message, struct avp *avp, struct session *session, void *data, enum disp_action *action)
{
	struct msg_hdr *header;
	(void)avp, (void)session, (void)data, (void)action;
	CHECK_FCT(fd_msg_hdr(*message, &header));
	if (!(header->msg_flags & CMD_FLAG_REQUEST))
		return 0;
	static int next;
	pthread_mutex_lock(&writing);
	int reference = next = (next + 1) % WAITING_MAX;
	waiting[reference] = *message;
	pthread_mutex_unlock(&writing);
	char *text = digits(*message);
	*message = NULL;
	say("request %d %s -", reference, text);
	free(text);
	return 0;
}

static void *listen_to_commands(void *in)
{
	char *line = malloc(LINE_MAX), *text = malloc(LINE_MAX);
	uint8_t *octets = malloc(LINE_MAX);
	char what[16];
	long reference;
	while (fgets(line, LINE_MAX, in)) {
		if (sscanf(line, "%15s %ld %s", what, &reference, text) != 3)
			continue;
		size_t length = text[0] == '-' ? 0 : octets_of(text, octets);
		int failed = what[0] == 'c' ? call(reference, octets, length) : answer(reference, octets, length);
		if (failed)
			say("failed %ld %s", reference, strerror(failed));
	}
	fd_core_shutdown();
	return NULL;
}

static void hooked(
	enum fd_hook_type type, struct msg *message, struct peer_hdr *peer, void *other,
	struct fd_hook_permsgdata *permsgdata, void *data)
{
	(void)message, (void)permsgdata, (void)data;
	if (type == HOOK_PEER_CONNECT_SUCCESS) {
		server = peer;
		say("up %s", peer->info.pi_diamid);
	} else if (type == HOOK_PEER_CONNECT_FAILED) {
		say("closed %s", (char *)other);
	} else {
		say("fault %s", other ? (char *)other : "a message that cannot be read");
	}
}

/* Lines: application ID VENDOR NAME | avp CODE VENDOR FLAGS BASETYPE NAME | command CODE REQUEST NAME |
 * rule COMMAND FIXED MIN MAX CODE VENDOR. What a dictionary of its own already has stays as it is there. */
static int define(const char *path)
{
	struct dictionary *dictionary = fd_g_config->cnf_dict;
	char line[512], name[256];
	unsigned id, vendor;
	int fixed, least, most, flags, type;
	FILE *file = fopen(path, "r");
	if (!file)
		return errno;
	while (fgets(line, sizeof line, file)) {
		if (sscanf(line, "application %u %u %255[^\n]", &id, &vendor, name) == 3) {
			struct dict_application_data data = {id, name};
			struct dict_object *owner = NULL, *application;
			if (vendor)
				CHECK_FCT(fd_dict_search(dictionary, DICT_VENDOR, VENDOR_BY_ID, &vendor, &owner, ENOENT));
			CHECK_FCT(fd_dict_search(dictionary, DICT_APPLICATION, APPLICATION_BY_ID, &id, &application, 0));
			if (!application)
				CHECK_FCT(fd_dict_new(dictionary, DICT_APPLICATION, &data, owner, &application));
			CHECK_FCT(fd_disp_app_support(application, owner, 1, 0));
			struct disp_when when = {.app = application};
			CHECK_FCT(fd_disp_register(requested, DISP_HOW_APPID, &when, NULL, NULL));
		} else if (sscanf(line, "command %u %u %255s", &id, &vendor, name) == 3) {
			struct dict_cmd_data data = {id, name, CMD_FLAG_REQUEST, vendor ? CMD_FLAG_REQUEST : 0};
			CHECK_FCT(fd_dict_new(dictionary, DICT_COMMAND, &data, NULL, NULL));
		} else if (sscanf(line, "avp %u %u %d %d %255s", &id, &vendor, &flags, &type, name) == 5) {
			struct dict_avp_request which = {.avp_vendor = vendor, .avp_code = id};
			struct dict_avp_data data = {id, vendor, name, AVP_FLAG_VENDOR | AVP_FLAG_MANDATORY, flags, type};
			struct dict_object *avp;
			CHECK_FCT(fd_dict_search(dictionary, DICT_AVP, AVP_BY_CODE_AND_VENDOR, &which, &avp, 0));
			if (!avp)
				CHECK_FCT(fd_dict_new(dictionary, DICT_AVP, &data, NULL, NULL));
		} else if (sscanf(line, "rule %255s %d %d %d %u %u", name, &fixed, &least, &most, &id, &vendor) == 6) {
			struct dict_avp_request which = {.avp_vendor = vendor, .avp_code = id};
			struct dict_object *command, *avp;
			struct dict_rule_data data = {.rule_order = fixed, .rule_min = least, .rule_max = most};
			data.rule_position = fixed ? RULE_FIXED_HEAD : least ? RULE_REQUIRED : RULE_OPTIONAL;
			CHECK_FCT(fd_dict_search(dictionary, DICT_COMMAND, CMD_BY_NAME, name, &command, ENOENT));
			CHECK_FCT(fd_dict_search(dictionary, DICT_AVP, AVP_BY_CODE_AND_VENDOR, &which, &avp, ENOENT));
			data.rule_avp = avp;
			CHECK_FCT(fd_dict_new(dictionary, DICT_RULE, &data, command, NULL));
		}
	}
	fclose(file);
	return 0;
}

static int start(char *path)
{
	char name[512];
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	struct fd_hook_hdl *hook;
	pthread_t thread;
	int s = socket(AF_UNIX, SOCK_STREAM, 0);
	strncpy(address.sun_path, path, sizeof address.sun_path - 1);
	if (s < 0 || connect(s, (struct sockaddr *)&address, sizeof address))
		return errno;
	out = fdopen(dup(s), "w");
	snprintf(name, sizeof name, "%s.dictionary", path);
	CHECK_FCT(define(name));
	CHECK_FCT(fd_hook_register(
		HOOK_MASK(HOOK_MESSAGE_PARSING_ERROR, HOOK_MESSAGE_PARSING_ERROR2, HOOK_MESSAGE_ROUTING_ERROR,
			HOOK_MESSAGE_DROPPED, HOOK_PEER_CONNECT_FAILED, HOOK_PEER_CONNECT_SUCCESS),
		hooked, NULL, NULL, &hook));
	return pthread_create(&thread, NULL, listen_to_commands, fdopen(s, "r"));
}

void fd_ext_fini(void) {}

EXTENSION_ENTRY("fd_client", start, "dict_dcca_3gpp");
