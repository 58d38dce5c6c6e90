/* SPDX-License-Identifier: Apache-2.0
 * conf/conf.h - the option table and what was configured with it.
 *
 * One row in include/flowbus/options.def per option drives the libconfig loader, `flowctl attach`,
 * help, completion, `--check` and the manual. An option has an *owner*: an endpoint type, or
 * "daemon" for the options of the whole process. Sizes, counts, rates and durations are text with
 * units everywhere. Main thread only; a snapshot is immutable once built. */
#ifndef FLOWBUS_CONF_CONF_H
#define FLOWBUS_CONF_CONF_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "schema/field.h"

enum option_type {
	OT_BOOL,   /* yes no true false on off */
	OT_NUMBER, /* count: 512, 64K (1000), 2Mi; min..max */
	OT_SIZE,   /* bytes: K M G are powers of 1024 */
	OT_SPAN,   /* duration, stored in microseconds */
	OT_TEXT,
	OT_PATH,   /* a file; flowctl makes it absolute */
	OT_CHOICE, /* one of the words in `choices`, comma-separated */
	OT_FIELDS, /* list of fields: field_set_parse */
	OT_FILTER, /* a filter expression; checked by the type that owns it */
};

/** What a change of the option needs: nothing (live), or a new attach. */
enum option_apply { APPLY_LIVE, APPLY_REATTACH };

struct option_info {
	const char *owner;   /* "capture", "publish", ..., or "daemon" */
	const char *name;
	enum option_type type;
	const char *def;     /* default as text, "" none */
	int64_t min, max;    /* of NUMBER, SIZE, SPAN (microseconds); both 0 = no limit */
	const char *choices; /* of CHOICE */
	enum option_apply apply;
	const char *help;    /* one sentence */
};

extern const struct option_info option_info[];
extern const unsigned option_count;

/** NULL when the owner has no such option. */
const struct option_info *option_find(const char *owner, struct strv name);
/** NULL-terminated names of an owner's options into @names (at most @max - 1). */
void option_names(const char *owner, const char **names, unsigned max);

/** "bool", "number", ... */
const char *option_type_name(enum option_type type);
/** What is allowed, in the option's units ("1ms..60s", "a,b,c"); "" when anything is. */
void option_range_text(const struct option_info *o, char out[64]);

/** One option given by a person, where it came from. */
struct conf_option {
	const struct option_info *info;
	char *text;          /* as given */
	union {
		bool b;
		uint64_t u;  /* NUMBER, SIZE */
		int64_t us;  /* SPAN */
		int choice;  /* index into choices */
		struct field_set fields;
	};
	char file[160];
	int line;
};

struct conf_endpoint {
	char name[64];
	char type[32];
	char address[256];
	bool enabled;        /* `enabled = false` in a file, or `flowctl disable` */
	struct conf_option *options; /* those given; defaults come from the table */
	unsigned n_options;
	char file[160];      /* empty: attached at run time */
	int line;
	bool is_saved;       /* came from endpoints.conf: the next save must write it again */
	bool in_files;       /* a file that a person wrote defines it, perhaps beneath the saved one */
};

/** A check of an option's value by someone above conf (filter syntax). 0 or -E_* with @err. */
typedef int conf_check_fn(void *arg, const struct option_info *o, struct strv text,
    struct err *err);

/** Parse and range-check one option's text into *out (its text is copied). 0 or -E_* with @err. */
int conf_option_parse(const struct option_info *info, struct strv text, struct conf_option *out,
    struct err *err);
void conf_option_fini(struct conf_option *o);

/**
 * Build an endpoint from words, as `flowctl attach` and `--attach` give them: TYPE ADDRESS
 * [name=N] [option=value ...]. A missing name is made from type and address. Unknown types and
 * options name the nearest known one. @types: NULL-terminated known type names.
 */
int conf_endpoint_parse(const char *const *words, unsigned n, const char *const *types,
    struct conf_endpoint **out, struct err *err);
/** Split one string into words as a shell would (quotes, backslash), for --attach. */
int conf_split(const char *text, char ***words_out, unsigned *n_out, struct err *err);
void conf_words_free(char ***words, unsigned n);
struct conf_endpoint *conf_endpoint_dup(const struct conf_endpoint *e);
void conf_endpoint_free(struct conf_endpoint **e);
/** Set or replace one option by text. 0 or -E_* with @err and nothing changed. */
int conf_endpoint_set(struct conf_endpoint *e, struct strv option, struct strv text,
    struct err *err);
bool conf_endpoint_eq(const struct conf_endpoint *a, const struct conf_endpoint *b);

/* Values of an endpoint's options; the table's default when not given. The option must exist. */
bool conf_bool(const struct conf_endpoint *e, const char *option);
uint64_t conf_number(const struct conf_endpoint *e, const char *option); /* NUMBER and SIZE */
int64_t conf_span_us(const struct conf_endpoint *e, const char *option);
const char *conf_text(const struct conf_endpoint *e, const char *option); /* any type; "" none */
int conf_choice(const struct conf_endpoint *e, const char *option);
struct field_set conf_fields(const struct conf_endpoint *e, const char *option);
bool conf_given(const struct conf_endpoint *e, const char *option);

/** The daemon-wide options: an endpoint-like bag with owner "daemon". */
struct conf_daemon {
	struct conf_endpoint bag; /* type "daemon": use conf_*(&d->bag, ...) */
};

struct conf {
	struct conf_daemon daemon;
	struct conf_endpoint **endpoints; /* by name, in order of first appearance */
	unsigned n_endpoints;
	char **removed; /* names endpoints.conf says were removed at run time */
	unsigned n_removed;
};

/** An empty snapshot with all defaults; NULL without memory. */
struct conf *conf_new(void);
void conf_free(struct conf **c);

/**
 * Load @main_file (may be missing only if @may_miss), then DIR/conf.d of the same directory in
 * name order,
 * then endpoints.conf of the state directory. The first error stops: file, line, nearest known key.
 */
int conf_load(const char *main_file, bool may_miss, const char *const *types, conf_check_fn *check,
    void *check_arg, struct conf **out, struct err *err);

struct conf_loading {
	const char *const *types;
	conf_check_fn *check; /* called for FILTER options; may be NULL */
	void *check_arg;
};
/**
 * conf_load with daemon options from the command line ("name=value" words), which win over files
 * and already decide where endpoints.conf is. @main_file NULL: read no file at all.
 */
int conf_load_set(const char *main_file, bool may_miss, const char *const *set, unsigned n_set,
    const struct conf_loading *how, struct conf **out, struct err *err);
/** Merge one text as a file named @file into @c; on error @c holds what came before it. */
int conf_parse_text(struct conf *c, struct strv text, const char *file, const char *const *types,
    struct err *err);
/** Set one daemon option from "name=value". */
int conf_daemon_set(struct conf_daemon *d, const char *word, struct err *err);

/** A whole file: endpoints = ( ... ); and, if there are any, removed = [ ... ]; */
void conf_print(struct buf *out, const struct conf_endpoint *const *endpoints, unsigned n,
    const char *const *removed, unsigned n_removed);
/** The given daemon options as daemon = { ... };  nothing when none was given. */
void conf_print_daemon(struct buf *out, const struct conf_daemon *d);
/** Print endpoints as libconfig text that conf_load reads back to the same. */
void conf_print_endpoint(struct buf *out, const struct conf_endpoint *e);
/**
 * Write endpoints.conf: @endpoints as attached at run time, @removed as names that files define but
 * a person removed. Atomic (written aside, synced, renamed).
 */
int conf_save(const char *state_dir, const struct conf_endpoint *const *endpoints, unsigned n,
    const char *const *removed, unsigned n_removed, struct err *err);

#endif
