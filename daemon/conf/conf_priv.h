/* SPDX-License-Identifier: Apache-2.0
 * conf/conf_priv.h - what the files of this directory share. */
#ifndef FLOWBUS_CONF_PRIV_H
#define FLOWBUS_CONF_PRIV_H

#include "conf/conf.h"

enum {
	CONF_FILE_MAX = 1 << 20, /* bytes of one configuration file */
	CONF_ASSIGN_MAX = 20000, /* settings in one file: libconfig looks each up linearly */
	CONF_DEPTH_MAX = 16,	 /* nested groups and lists */
	CONF_ENDPOINTS_MAX = 4096,
	CONF_TEXT_MAX = 8191, /* bytes of one option's text */
	CONF_NAMES_MAX = 64,  /* options of one owner */
};

/**
 * Look at the source text for what libconfig 1.5 gets wrong without a word: integers it would
 * wrap, NUL bytes, @include; and for what would make it slow. 0 or -E_* with line, column, source.
 */
int conf_source_check(struct strv text, struct err *err);
/** Copy line @line (1-based) of @text into err->source. */
void conf_source_line(struct strv text, int line, struct err *err);

/** An endpoint of a type without options; NULL without memory. */
struct conf_endpoint *conf_endpoint_new(const char *type);
/** Free what an endpoint holds, not the struct itself. */
void conf_endpoint_fini(struct conf_endpoint *e);
/** Set an option and note where it came from. 0 or -E_* with @err, nothing changed. */
int conf_endpoint_put(struct conf_endpoint *e, const struct option_info *info, struct strv text,
    const char *file, int line, struct err *err);
/** Look an option up by the owner's name; -E_UNKNOWN with @err names the nearest. */
int conf_option_lookup(
    const char *owner, struct strv name, const struct option_info **out, struct err *err);
/** Check and set name, type or address. 0 or -E_* with @err. */
int conf_set_name(struct conf_endpoint *e, struct strv name, struct err *err);
int conf_set_type(
    struct conf_endpoint *e, struct strv type, const char *const *types, struct err *err);
int conf_set_address(struct conf_endpoint *e, struct strv address, struct err *err);
/** Make a name from type and address, when there is none. */
void conf_make_name(struct conf_endpoint *e);
/** Parse yes/no/true/false/on/off. 0 or -E_SYNTAX. */
int conf_bool_parse(struct strv s, bool *out);

#endif
