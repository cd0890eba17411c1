/* A Gx, Gy and S6a server on freeDiameter that knows nobody and keeps nothing: what the daemon itself costs. An extension
 * for freeDiameterd; its dictionaries (dict_nasreq, dict_dcca, dict_dcca_3gpp) must be loaded before it. */
#include <freeDiameter/extension.h>

enum { TGPP = 10415, GX = 16777238, GY = 4, S6A = 16777251, CREDIT_CONTROL = 272, LOCATION = 316, AUTHENTICATION = 318 };
enum { REQUEST_TYPE = 416, REQUEST_NUMBER = 415, AUTH_APPLICATION = 258, AUTH_SESSION_STATE = 277 };

typedef enum { END, U32, U64, TEXT, GROUP } kind_t;

/* An AVP of an answer; a group's members follow it up to its END. */
struct item {
	uint32_t code, vendor;
	kind_t kind;
	uint64_t number;
	const char *text;
	struct dict_object *model;
};

#define NUMBER(code, vendor, value) {code, vendor, U32, value, NULL, NULL}
#define OCTETS(code, vendor, size, value) {code, vendor, TEXT, size, value, NULL}
#define BEGIN(code, vendor) {code, vendor, GROUP, 0, NULL, NULL}
#define FINISH {0, 0, END, 0, NULL, NULL}
#define QOS(code) BEGIN(code, TGPP), NUMBER(1028, TGPP, 9), BEGIN(1034, TGPP), NUMBER(1046, TGPP, 8), NUMBER(1047, TGPP, 1), \
	NUMBER(1048, TGPP, 0), FINISH, FINISH
#define AMBR BEGIN(1435, TGPP), NUMBER(516, TGPP, 10000000), NUMBER(515, TGPP, 20000000), FINISH

static struct item session_rules[] = {
	BEGIN(1016, TGPP), NUMBER(1041, TGPP, 10000000), NUMBER(1040, TGPP, 20000000), FINISH,
	QOS(1049),
	BEGIN(1001, TGPP), BEGIN(1003, TGPP), OCTETS(1005, TGPP, 7, "default"), NUMBER(1010, TGPP, 100), QOS(1016),
	BEGIN(1058, TGPP), OCTETS(507, TGPP, 33, "permit out ip from any to assigned"), NUMBER(1080, TGPP, 3), FINISH,
	FINISH, FINISH, FINISH};
static struct item grant[] = {
	BEGIN(456, 0), BEGIN(431, 0), {421, 0, U64, 100000000, NULL, NULL}, FINISH, NUMBER(432, 0, 1), NUMBER(448, 0, 3600),
	NUMBER(268, 0, 2001), FINISH, FINISH};
static struct item vector[] = {
	BEGIN(1413, TGPP), BEGIN(1414, TGPP), OCTETS(1447, TGPP, 16, "0123456789abcdef"), OCTETS(1448, TGPP, 8, "01234567"),
	OCTETS(1449, TGPP, 16, "0123456789abcdef"), OCTETS(1450, TGPP, 32, "0123456789abcdef0123456789abcdef"), FINISH, FINISH,
	FINISH};
static struct item subscription[] = {
	NUMBER(1406, TGPP, 1),
	BEGIN(1400, TGPP), OCTETS(701, TGPP, 6, "\x51\x55\x00\x00\x00\xf1"), NUMBER(1424, TGPP, 0), NUMBER(1417, TGPP, 0), AMBR,
	BEGIN(1429, TGPP), NUMBER(1423, TGPP, 1), NUMBER(1428, TGPP, 0),
	BEGIN(1430, TGPP), NUMBER(1423, TGPP, 1), NUMBER(1456, TGPP, 0), OCTETS(493, 0, 8, "internet"), QOS(1431), AMBR, FINISH,
	FINISH, FINISH, FINISH};
static struct item request_type = NUMBER(REQUEST_TYPE, 0, 0), request_number = NUMBER(REQUEST_NUMBER, 0, 0);
static struct item application = NUMBER(AUTH_APPLICATION, 0, 0), state = NUMBER(AUTH_SESSION_STATE, 0, 1);

static int model(struct item *item)
{
	static const int TYPES[] = {[U32] = AVP_TYPE_UNSIGNED32, [U64] = AVP_TYPE_UNSIGNED64, [TEXT] = AVP_TYPE_OCTETSTRING,
	                            [GROUP] = AVP_TYPE_GROUPED};
	struct dictionary *dictionary = fd_g_config->cnf_dict;
	struct dict_avp_request which = {.avp_vendor = item->vendor, .avp_code = item->code};
	CHECK_FCT(fd_dict_search(dictionary, DICT_AVP, AVP_BY_CODE_AND_VENDOR, &which, &item->model, 0));
	if (!item->model) {
		char name[32];
		int flags = AVP_FLAG_MANDATORY | (item->vendor ? AVP_FLAG_VENDOR : 0);
		struct dict_avp_data data = {item->code, item->vendor, name, AVP_FLAG_VENDOR | AVP_FLAG_MANDATORY, flags, TYPES[item->kind]};
		snprintf(name, sizeof name, "Bench-%u-%u", item->vendor, item->code);
		CHECK_FCT(fd_dict_new(dictionary, DICT_AVP, &data, NULL, &item->model));
	}
	return 0;
}

static int models(struct item *item)
{
	for (int depth = 0; depth || item->kind != END; item++) {
		if (item->kind != END)
			CHECK_FCT(model(item));
		depth += item->kind == GROUP ? 1 : item->kind == END ? -1 : 0;
	}
	return 0;
}

static int add(msg_or_avp *parent, struct item *item, uint64_t number, struct avp **made)
{
	union avp_value value;
	CHECK_FCT(fd_msg_avp_new(item->model, 0, made));
	if (item->kind == TEXT)
		value.os.data = (uint8_t *)item->text, value.os.len = number;
	else if (item->kind == U64)
		value.u64 = number;
	else
		value.u32 = number;
	if (item->kind != GROUP)
		CHECK_FCT(fd_msg_avp_setvalue(*made, &value));
	return fd_msg_avp_add(parent, MSG_BRW_LAST_CHILD, *made);
}

/* Adds items up to their END; returns where it stands, or NULL. */
static struct item *add_all(msg_or_avp *parent, struct item *item)
{
	struct avp *avp;
	for (; item->kind != END; item++) {
		if (add(parent, item, item->number, &avp) || (item->kind == GROUP && !(item = add_all(avp, item + 1))))
			return NULL;
	}
	return item;
}

static int word(struct msg *message, struct item *item, uint32_t *value)
{
	struct avp *avp;
	struct avp_hdr *header;
	CHECK_FCT(fd_msg_search_avp(message, item->model, &avp));
	if (!avp)
		return ENOENT;
	CHECK_FCT(fd_msg_avp_hdr(avp, &header));
	*value = header->avp_value->u32;
	return 0;
}

static int requested(struct msg **message, struct avp *unused, struct session *session, void *data, enum disp_action *action)
{
	struct msg_hdr *header;
	struct avp *avp;
	uint32_t type = 0, number = 0;
	struct item *more = NULL;
	(void)unused, (void)session, (void)data, (void)action;
	CHECK_FCT(fd_msg_hdr(*message, &header));
	if (!(header->msg_flags & CMD_FLAG_REQUEST))
		return 0;
	uint32_t id = header->msg_appl;
	if (id == S6A) {
		more = header->msg_code == AUTHENTICATION ? vector : subscription;
	} else {
		CHECK_FCT(word(*message, &request_type, &type));
		CHECK_FCT(word(*message, &request_number, &number));
		if (type != 3)
			more = id == GX ? session_rules : grant;
	}
	CHECK_FCT(fd_msg_new_answer_from_req(fd_g_config->cnf_dict, message, 0));
	CHECK_FCT(fd_msg_rescode_set(*message, "DIAMETER_SUCCESS", NULL, NULL, 1));
	if (id == S6A) {
		CHECK_FCT(add(*message, &state, 1, &avp));
	} else {
		CHECK_FCT(add(*message, &application, id, &avp));
		CHECK_FCT(add(*message, &request_type, type, &avp));
		CHECK_FCT(add(*message, &request_number, number, &avp));
	}
	if (more && !add_all(*message, more))
		return EINVAL;
	return fd_msg_send(message, NULL, NULL);
}

static int serve(uint32_t id, uint32_t vendor, char *name)
{
	struct dictionary *dictionary = fd_g_config->cnf_dict;
	struct dict_application_data data = {id, name};
	struct dict_object *owner = NULL, *app;
	if (vendor)
		CHECK_FCT(fd_dict_search(dictionary, DICT_VENDOR, VENDOR_BY_ID, &vendor, &owner, ENOENT));
	CHECK_FCT(fd_dict_search(dictionary, DICT_APPLICATION, APPLICATION_BY_ID, &id, &app, 0));
	if (!app)
		CHECK_FCT(fd_dict_new(dictionary, DICT_APPLICATION, &data, owner, &app));
	CHECK_FCT(fd_disp_app_support(app, owner, 1, 0));
	struct disp_when when = {.app = app};
	return fd_disp_register(requested, DISP_HOW_APPID, &when, NULL, NULL);
}

static int command(uint32_t code, char *request, char *answer)
{
	struct dict_cmd_data one = {code, request, CMD_FLAG_REQUEST, CMD_FLAG_REQUEST}, other = {code, answer, CMD_FLAG_REQUEST, 0};
	struct dict_object *found;
	CHECK_FCT(fd_dict_search(fd_g_config->cnf_dict, DICT_COMMAND, CMD_BY_CODE_R, &code, &found, 0));
	if (found)
		return 0;
	CHECK_FCT(fd_dict_new(fd_g_config->cnf_dict, DICT_COMMAND, &one, NULL, NULL));
	return fd_dict_new(fd_g_config->cnf_dict, DICT_COMMAND, &other, NULL, NULL);
}

static int start(char *unused)
{
	(void)unused;
	struct item *single[] = {&request_type, &request_number, &application, &state};
	for (size_t i = 0; i < sizeof single / sizeof *single; i++)
		CHECK_FCT(model(single[i]));
	CHECK_FCT(models(session_rules));
	CHECK_FCT(models(grant));
	CHECK_FCT(models(vector));
	CHECK_FCT(models(subscription));
	CHECK_FCT(command(AUTHENTICATION, "Authentication-Information-Request", "Authentication-Information-Answer"));
	CHECK_FCT(command(LOCATION, "Update-Location-Request", "Update-Location-Answer"));
	CHECK_FCT(serve(GX, TGPP, "Gx"));
	CHECK_FCT(serve(GY, 0, "Gy"));
	return serve(S6A, TGPP, "S6a");
}

EXTENSION_ENTRY("fd_server", start);
