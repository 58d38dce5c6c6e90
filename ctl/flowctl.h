/* SPDX-License-Identifier: Apache-2.0
 * ctl/flowctl.h - what the files of flowctl share.
 *
 * flowctl is a table-driven client: commands.def says which words there are and what shape their
 * answer has, options.def which words are paths. It sends words and renders rows; everything is
 * decided in the daemon. */
#ifndef FLOWBUS_CTL_FLOWCTL_H
#define FLOWBUS_CTL_FLOWCTL_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "base/buf.h"
#include "base/err.h"
#include "flowbus/ctl.h"

enum { EXIT_OK = 0, EXIT_REFUSED = 1, EXIT_USAGE = 2, EXIT_DOWN = 3, EXIT_TIMEOUT = 5 };
enum shape { SHAPE_TABLE, SHAPE_OBJECT, SHAPE_STREAM, SHAPE_TEXT, SHAPE_NONE };

/** What was asked on the command line. */
struct ask {
	const char *socket;
	bool json;
	bool color;
	int timeout_ms;    /* 0: none; -1: the command's own */
	char **words;      /* of the command and its arguments; owned */
	unsigned n_words;
};

/* words.c */
struct ctl_command {
	const char *id, *words, *arguments, *summary;
	enum shape shape;
};
extern const struct ctl_command ctl_commands[];
extern const unsigned ctl_command_count;
/**
 * The command the words begin with; each may be shortened while unambiguous. *used_out: how many.
 * 0, or -E_UNKNOWN with @err naming the candidates or the nearest.
 */
int words_command(char *const *words, unsigned n, const struct ctl_command **out,
    unsigned *used_out, struct err *err);
/** Number of words in a command's `words`. */
unsigned words_count(const char *words);
/** Make file names of an attach or set absolute, in place. 0 or -E_NOMEM. */
int words_absolute(const struct ctl_command *cmd, char **args, unsigned n);

struct ctl_option {
	const char *owner, *name, *choices, *help;
	bool is_path, is_bool;
};
extern const struct ctl_option ctl_options[];
extern const unsigned ctl_option_count;

/* client.c */
typedef void client_row_fn(void *arg, json_t *row);
typedef void client_lost_fn(void *arg, uint64_t n);
struct client_sink {
	client_row_fn *row;
	client_lost_fn *lost;
	void *arg;
};
/**
 * Send one request and give its rows to @sink. Returns an exit status; *final_out is the daemon's
 * last line ({"code","text",...}) or NULL with the reason in @err.
 */
int client_run(const char *path, const struct ctl_command *cmd, char *const *args, unsigned n,
    int timeout_ms, const struct client_sink *sink, json_t **final_out, struct err *err);
/** Exit status for a control code. */
int client_status(int code);

/* render_*.c */
struct render;
struct render *render_text_new(const struct ctl_command *cmd, bool color, FILE *out);
void render_text_row(void *self, json_t *row);
void render_text_end(struct render **r, bool failed);

struct render_json;
struct render_json *render_json_new(const struct ctl_command *cmd, FILE *out);
void render_json_row(void *self, json_t *row);
/** @final: the daemon's last line, borrowed. */
void render_json_end(struct render_json **r, const json_t *final);

/* format.c: values for people */
enum format { FMT_TEXT, FMT_INT, FMT_BITS, FMT_BYTES, FMT_COUNT, FMT_SECONDS, FMT_MICROS, FMT_TIME,
	FMT_LIST, FMT_BOOL, FMT_PROTO, FMT_NANOS, FMT_RATIO };
/** Print @v into @out: never a control character, nothing for null. */
void format_value(struct buf *out, const json_t *v, enum format f);
/** Characters, not bytes. */
size_t format_width(struct strv s);
/** Text from the daemon or the network without anything a terminal would act on. */
void format_safe(struct buf *out, struct strv s, bool keep_layout);

/* key.c, complete.c: commands that run here */
/** What a command of this file does; NULL: it is the daemon's. */
const char *key_help(const struct ctl_command *cmd);
int key_command(const struct ask *a, const struct ctl_command *cmd, char *const *words,
    unsigned n);
int complete_command(const struct ask *a);

#endif
