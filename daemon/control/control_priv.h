/* SPDX-License-Identifier: Apache-2.0
 * control/control_priv.h - server, client, call: what the files of this directory share.
 *
 * A server owns clients; a client runs one request (a call) at a time and reads no further while
 * it runs or while its output is not taken: a slow reader holds up only itself. Handlers write rows
 * into the client's output buffer and return; streams keep taps and are fed by callbacks. */
#ifndef FLOWBUS_CONTROL_PRIV_H
#define FLOWBUS_CONTROL_PRIV_H

#include <jansson.h>
#include <sys/types.h>

#include "control/control.h"
#include "flowbus/ctl.h"

enum role { ROLE_VIEW, ROLE_OPERATE, ROLE_ADMIN };
enum shape { SHAPE_TABLE, SHAPE_OBJECT, SHAPE_STREAM, SHAPE_TEXT, SHAPE_NONE };

/** Bounds; constants in the daemon, small ones in tests. */
struct control_limits {
	size_t out_pause;      /* unread output above which no request is read and streams drop */
	size_t out_max;        /* an answer larger than this is an error */
	uint64_t deadline_us;  /* a reader that takes nothing for this long is closed */
	unsigned backlog;
};

struct control_server;
struct client;

/** One request being answered. */
struct call {
	struct client *client;
	struct engine *engine;
	const struct command *cmd;
	json_t *id;              /* owned; NULL when none was given */
	char **args;             /* positionals; owned */
	unsigned n_args;
	const char *count;       /* value of --count, NULL when absent; borrowed from `words` */
	const char *span;        /* value of --for, likewise */
	const char *last;        /* value of --last */
	const char *confirm;     /* value of --confirm, NULL when absent; borrowed from `words` */
	bool drain, all;         /* --drain, --all */
	bool confirmed, undo;    /* --confirmed, --undo */
	char **words;            /* everything as given; owned */
	unsigned n_words;
	size_t out_start;        /* of the client's output, where this answer begins */
	struct err err;
	char done[200];          /* text of the final line when it went well */
};

/** 0 done, CALL_STREAM: rows follow until call_end, or -E_* with call->err. */
typedef int command_fn(struct call *c);
enum { CALL_STREAM = 1 };

struct command {
	const char *id, *words, *arguments, *summary, *manual;
	enum role role;
	enum shape shape;
	command_fn *fn;
};

/* dispatch.c */
extern const struct command commands[];
extern const unsigned command_count;
const struct command *command_find(struct strv words);
/** The command whose words the list begins with; *used_out: how many of them. */
const struct command *command_of_words(char *const *words, unsigned n, unsigned *used_out);
/** How many positionals a command takes, from its `arguments`; max UINT_MAX: any number. */
void command_arity(const char *arguments, unsigned *min_out, unsigned *max_out);
const char *role_name(enum role r);
/** Parse one request line, check role and arguments, run. Everything is answered. */
void dispatch_line(struct client *cl, struct strv line);
/** End a stream with success or an error and go on with the client's next request. */
void call_end(struct client *cl, int r);

/* reply.c: rows into the client's buffer */
/** Takes @row. */
void reply_row(struct client *cl, json_t *row);
/** @row is JSON text. */
void reply_row_text(struct client *cl, struct strv row);
/** One row {"text": ...}. */
void reply_text(struct client *cl, struct strv text);
void reply_lost(struct client *cl, uint64_t n);
void reply_final(struct client *cl, const struct call *c, int r);
json_t *json_strv(struct strv s);      /* bytes that are not UTF-8 become \xHH */
json_t *json_cstr(const char *s);
json_t *json_time(int64_t epoch_us);   /* RFC 3339; null for 0 */
json_t *json_seconds(int64_t us);

/* role.c */
struct peer {
	uid_t uid;
	gid_t gid;
	pid_t pid;
	enum role role;
};
/** Credentials of the other end and what they allow; @group: may be NULL or empty. */
int peer_of(int fd, const char *group, struct peer *out);

/* guard.c: what a command would need beyond its row in the table */
/**
 * May this client attach @e? Files, keys, outputs and unencrypted binds need an admin; a file to
 * write must be below output_dirs for anybody, and its address is made canonical. 0 or -E_PERM.
 */
int guard_attach(const struct call *c, struct conf_endpoint *e, struct err *err);
int guard_set(const struct call *c, const char *type, const char *const *words, unsigned n,
    struct err *err);

/* control.c, client.c */
int control_open(struct engine *e, const char *path, const struct control_limits *limits,
    struct control_server **out, struct err *err);
void control_close(struct control_server **s);
struct engine *control_engine(struct control_server *s);
const struct control_limits *control_limits(const struct control_server *s);
unsigned control_clients(const struct control_server *s);
void control_forget(struct control_server *s, struct client *cl);

struct stream;
struct client {
	struct control_server *server;
	struct client *next;
	int fd;
	struct peer peer;
	struct loop_io *io;
	struct loop_timer *later;  /* goes on outside of callbacks: next request, stream end, close */
	struct buf in, out;
	size_t sent;               /* of out */
	uint64_t stalled_us;       /* monotonic since when nothing was taken; 0: not waiting */
	bool eof, doomed, answer_and_close;
	struct call *call;         /* running stream */
	struct stream *stream;
	bool stream_done;
	int stream_result;
};

/** Takes the descriptor; NULL without memory (descriptor closed). */
struct client *client_new(struct control_server *s, int fd, const struct peer *peer);
void client_free(struct client **cl);
/** Write what the socket takes, and set what is polled for. */
void client_flush(struct client *cl);
/** Unread output: streams drop rows while this is true. */
bool client_is_slow(const struct client *cl);
/** Close soon, from the loop. */
void client_doom(struct client *cl);
void client_tick(struct client *cl, uint64_t now_us);
/** Run client->stream_done and pending requests from the loop, not from a callback. */
void client_later(struct client *cl);

/* cmd_endpoint.c */
/** The value of a flag that is a time of 1 s to a day, in microseconds. 0 or -E_RANGE. */
int call_span(struct call *c, const char *flag, const char *text, int64_t *out_us);

/* cmd_link.c */
/** What each probe said to a change of a subscribing endpoint, and how many said what. */
json_t *changes_json(struct call *c, const char *name, unsigned n_out[3]);
enum { CHANGE_TAKEN, CHANGE_REFUSED, CHANGE_ASKED };

/* cmd_watch.c */
void stream_free(struct stream **s);
json_t *second_json(const struct stats_second *s);

#define COMMAND(id, words, arguments, role, shape, summary, manual)                                \
	int control_cmd_##id(struct call *c);
#include "flowbus/commands.def"

#endif
