/* SPDX-License-Identifier: Apache-2.0
 * conf/option.c - the option table of options.def, and one option's text to its value.
 *
 * Whoever gives an option (a file, `flowctl attach`, `flowctl set`, a default) comes through
 * conf_option_parse, so one text means one thing everywhere. */
#include "conf/conf.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "conf/conf_priv.h"
#include "schema/value.h"

const struct option_info option_info[] = {
#define OPTION(owner, name, type, def, min, max, choices, apply, help) \
	{#owner, #name, OT_##type, def, INT64_C(min), INT64_C(max), choices, APPLY_##apply, help},
#include "flowbus/options.def"
};
const unsigned option_count = sizeof(option_info) / sizeof(option_info[0]);

const struct option_info *
option_find(const char *owner, struct strv name)
{
	for (unsigned i = 0; i < option_count; i++)
		if (strcmp(option_info[i].owner, owner) == 0 &&
		    strv_eq(strv_of(option_info[i].name), name))
			return &option_info[i];
	return NULL;
}

void
option_names(const char *owner, const char **names, unsigned max)
{
	unsigned n = 0;
	for (unsigned i = 0; i < option_count && n + 1 < max; i++)
		if (strcmp(option_info[i].owner, owner) == 0)
			names[n++] = option_info[i].name;
	if (max > 0)
		names[n] = NULL;
}

const char *
option_type_name(enum option_type type)
{
	switch (type) {
	case OT_BOOL:
		return "bool";
	case OT_NUMBER:
		return "number";
	case OT_SIZE:
		return "size";
	case OT_SPAN:
		return "span";
	case OT_TEXT:
		return "text";
	case OT_PATH:
		return "path";
	case OT_CHOICE:
		return "choice";
	case OT_FIELDS:
		return "fields";
	case OT_FILTER:
		return "filter";
	}
	return "?";
}

static void
span_text(char *out, size_t size, int64_t us)
{
	if (us % 1000000 == 0)
		snprintf(out, size, "%" PRId64 "s", us / 1000000);
	else if (us % 1000 == 0)
		snprintf(out, size, "%" PRId64 "ms", us / 1000);
	else
		snprintf(out, size, "%" PRId64 "us", us);
}

static void
size_text(char *out, size_t size, int64_t v)
{
	static const char unit[] = " KMGT";
	unsigned u = 0;
	while (v != 0 && v % 1024 == 0 && u < 4) {
		v /= 1024;
		u++;
	}
	if (u == 0)
		snprintf(out, size, "%" PRId64, v);
	else
		snprintf(out, size, "%" PRId64 "%c", v, unit[u]);
}

void
option_range_text(const struct option_info *o, char out[64])
{
	char lo[24] = "", hi[24] = "";
	out[0] = '\0';
	if (o->type == OT_CHOICE) {
		snprintf(out, 64, "%s", o->choices);
		return;
	}
	if (o->type == OT_BOOL) {
		snprintf(out, 64, "yes,no");
		return;
	}
	if (o->min == 0 && o->max == 0)
		return;
	if (o->type == OT_SPAN) {
		span_text(lo, sizeof(lo), o->min);
		span_text(hi, sizeof(hi), o->max);
	} else if (o->type == OT_SIZE) {
		size_text(lo, sizeof(lo), o->min);
		size_text(hi, sizeof(hi), o->max);
	} else {
		snprintf(lo, sizeof(lo), "%" PRId64, o->min);
		snprintf(hi, sizeof(hi), "%" PRId64, o->max);
	}
	snprintf(out, 64, "%s..%s", lo, hi);
}

int
conf_bool_parse(struct strv s, bool *out)
{
	static const struct {
		const char *word;
		bool v;
	} words[] = {{"yes", true}, {"no", false}, {"true", true}, {"false", false}, {"on", true},
	    {"off", false}};
	for (unsigned i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		if (strv_ieq(s, strv_of(words[i].word))) {
			*out = words[i].v;
			return 0;
		}
	return -E_SYNTAX;
}

/* -E_RANGE with the range in the option's own units. */
static int
bad_range(const struct option_info *o, struct strv text, struct err *err)
{
	char q[80], range[64];
	option_range_text(o, range);
	if (range[0] == '\0')
		return err_set(err, E_RANGE, "%s = %s: value too large", o->name,
		    strv_quote(text, q, sizeof(q)));
	return err_set(err, E_RANGE, "%s = %s: out of range, allowed is %s", o->name,
	    strv_quote(text, q, sizeof(q)), range);
}

static int
parse_number(
    const struct option_info *o, struct strv text, struct conf_option *out, struct err *err)
{
	char q[80];
	bool is_size = o->type == OT_SIZE;
	int r = is_size ? size_parse(text, &out->u) : number_parse(text, &out->u);
	if (r == -E_RANGE)
		return bad_range(o, text, err);
	if (r != 0)
		return err_set(err, E_TYPE, "%s = %s: not a %s; write for example %s", o->name,
		    strv_quote(text, q, sizeof(q)), is_size ? "size" : "number",
		    is_size ? "65536, 64K, 16M or 2G" : "512 or 64K");
	if (o->min == 0 && o->max == 0)
		return 0;
	if (out->u < (uint64_t)o->min || out->u > (uint64_t)o->max)
		return bad_range(o, text, err);
	return 0;
}

static int
parse_span(const struct option_info *o, struct strv text, struct conf_option *out, struct err *err)
{
	char q[80];
	int r = span_parse(text, &out->us);
	if (r == -E_RANGE)
		return bad_range(o, text, err);
	if (r != 0)
		return err_set(err, E_TYPE,
		    "%s = %s: not a duration; write for example 250ms, 30s, 5m or 1h", o->name,
		    strv_quote(text, q, sizeof(q)));
	if (out->us < o->min || (o->max != 0 && out->us > o->max))
		return bad_range(o, text, err);
	return 0;
}

static int
parse_choice(
    const struct option_info *o, struct strv text, struct conf_option *out, struct err *err)
{
	char q[80];
	int i = 0;
	for (const char *p = o->choices; *p != '\0'; i++) {
		size_t n = strcspn(p, ",");
		if (strv_ieq(text, (struct strv){p, n})) {
			out->choice = i;
			return 0;
		}
		p += n + (p[n] == ',');
	}
	return err_set(err, E_UNKNOWN, "%s = %s: not one of %s", o->name,
	    strv_quote(text, q, sizeof(q)), o->choices);
}

static int
parse_fields(
    const struct option_info *o, struct strv text, struct conf_option *out, struct err *err)
{
	struct strv bad = {NULL, 0};
	char q[80];
	if (field_set_parse(text, &out->fields, &bad) == 0)
		return 0;
	const char *near = strv_nearest(bad, field_names);
	return err_set(err, E_UNKNOWN, "%s: no field %s%s%s%s; `flowctl show fields` lists them",
	    o->name, strv_quote(bad, q, sizeof(q)), near != NULL ? ", did you mean \"" : "",
	    near != NULL ? near : "", near != NULL ? "\"?" : "");
}

static int
check_text(const struct option_info *o, struct strv text, struct err *err)
{
	if (text.n > CONF_TEXT_MAX)
		return err_set(err, E_LIMIT, "%s: longer than %d bytes", o->name, CONF_TEXT_MAX);
	for (size_t i = 0; i < text.n; i++) {
		unsigned char c = (unsigned char)text.p[i];
		if ((c < 0x20 && c != '\t' && c != '\n') || c == 0x7f)
			return err_set(
			    err, E_SYNTAX, "%s: control character 0x%02x in the value", o->name, c);
	}
	return 0;
}

int
conf_option_parse(
    const struct option_info *info, struct strv text, struct conf_option *out, struct err *err)
{
	char q[80];
	int r = 0;
	memset(out, 0, sizeof(*out));
	out->info = info;
	if ((r = check_text(info, text, err)) != 0)
		return r;
	switch (info->type) {
	case OT_BOOL:
		if (conf_bool_parse(text, &out->b) != 0)
			r = err_set(err, E_TYPE, "%s = %s: not yes or no", info->name,
			    strv_quote(text, q, sizeof(q)));
		break;
	case OT_NUMBER:
	case OT_SIZE:
		r = parse_number(info, text, out, err);
		break;
	case OT_SPAN:
		r = parse_span(info, text, out, err);
		break;
	case OT_CHOICE:
		r = parse_choice(info, text, out, err);
		break;
	case OT_FIELDS:
		r = parse_fields(info, text, out, err);
		break;
	case OT_TEXT:
	case OT_PATH:
	case OT_FILTER:
		break;
	}
	if (r == 0 && (out->text = strv_dup(text)) == NULL)
		r = err_set(err, E_NOMEM, "%s: out of memory", info->name);
	return r;
}

void
conf_option_fini(struct conf_option *o)
{
	free(o->text);
	o->text = NULL;
}

int
conf_option_lookup(
    const char *owner, struct strv name, const struct option_info **out, struct err *err)
{
	const char *names[CONF_NAMES_MAX];
	char q[80];
	if ((*out = option_find(owner, name)) != NULL)
		return 0;
	option_names(owner, names, CONF_NAMES_MAX);
	const char *near = strv_nearest(name, names);
	bool is_daemon = strcmp(owner, "daemon") == 0;
	if (near != NULL)
		return err_set(err, E_UNKNOWN, "%s has no option %s, did you mean \"%s\"?",
		    is_daemon ? "the daemon" : owner, strv_quote(name, q, sizeof(q)), near);
	return err_set(err, E_UNKNOWN, "%s has no option %s; `flowctl show options %s` lists them",
	    is_daemon ? "the daemon" : owner, strv_quote(name, q, sizeof(q)), owner);
}
