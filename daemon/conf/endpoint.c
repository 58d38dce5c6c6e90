/* SPDX-License-Identifier: Apache-2.0
 * conf/endpoint.c - a configured endpoint: made from words, copied, compared, asked for values.
 *
 * Only options a person gave are stored; every accessor falls back to the table's default, so a
 * new default reaches saved endpoints too. */
#include <stdio.h>
#include <stdlib.h>

#include "conf/conf_priv.h"

struct conf_endpoint *
conf_endpoint_new(const char *type)
{
	struct conf_endpoint *e = calloc(1, sizeof(*e));
	if (e == NULL)
		return NULL;
	snprintf(e->type, sizeof(e->type), "%s", type);
	e->enabled = true;
	return e;
}

void
conf_endpoint_fini(struct conf_endpoint *e)
{
	for (unsigned i = 0; i < e->n_options; i++)
		conf_option_fini(&e->options[i]);
	free(e->options);
	e->options = NULL;
	e->n_options = 0;
}

void
conf_endpoint_free(struct conf_endpoint **e)
{
	if (*e == NULL)
		return;
	conf_endpoint_fini(*e);
	free(*e);
	*e = NULL;
}

static bool
is_name_char(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
	       c == '.' || c == '_' || c == ':' || c == '-' || c == '@';
}

int
conf_set_name(struct conf_endpoint *e, struct strv name, struct err *err)
{
	char q[80];
	bool ok = name.n > 0 && name.n < sizeof(e->name) && name.p[0] != '-';
	for (size_t i = 0; ok && i < name.n; i++)
		ok = is_name_char(name.p[i]);
	if (!ok)
		return err_set(err, E_SYNTAX,
		    "name = %s: a name is 1 to 63 letters, digits and . _ : @ -, and does not "
		    "begin "
		    "with -",
		    strv_quote(name, q, sizeof(q)));
	memcpy(e->name, name.p, name.n);
	e->name[name.n] = '\0';
	return 0;
}

int
conf_set_type(struct conf_endpoint *e, struct strv type, const char *const *types, struct err *err)
{
	char q[80], list[256];
	size_t n = 0;
	for (unsigned i = 0; types[i] != NULL; i++)
		if (strv_eq(type, strv_of(types[i]))) {
			snprintf(e->type, sizeof(e->type), "%s", types[i]);
			return 0;
		}
	const char *near = strv_nearest(type, types);
	strv_quote(type, q, sizeof(q));
	if (near != NULL)
		return err_set(
		    err, E_UNKNOWN, "no endpoint type %s, did you mean \"%s\"?", q, near);
	list[0] = '\0';
	for (unsigned i = 0; types[i] != NULL && n < sizeof(list); i++)
		n += (size_t)snprintf(list + n, sizeof(list) - n, " %s", types[i]);
	return err_set(err, E_UNKNOWN, "no endpoint type %s; there are%s", q, list);
}

int
conf_set_address(struct conf_endpoint *e, struct strv address, struct err *err)
{
	if (address.n == 0)
		return err_set(err, E_INVAL, "the address is empty");
	if (address.n >= sizeof(e->address))
		return err_set(
		    err, E_LIMIT, "the address is longer than %zu bytes", sizeof(e->address) - 1);
	for (size_t i = 0; i < address.n; i++)
		if ((unsigned char)address.p[i] < 0x20 || address.p[i] == 0x7f)
			return err_set(err, E_SYNTAX, "control character in the address");
	memcpy(e->address, address.p, address.n);
	e->address[address.n] = '\0';
	return 0;
}

/* type-address with everything else than name characters folded to one '-'; a long address keeps
 * its end, which is where files and ports differ. */
void
conf_make_name(struct conf_endpoint *e)
{
	char word[sizeof(e->address)];
	size_t n = 0;
	for (const char *p = e->address; *p != '\0'; p++) {
		bool keep = is_name_char(*p) && *p != ':' && *p != '-';
		if (keep)
			word[n++] = *p;
		else if (n > 0 && word[n - 1] != '-')
			word[n++] = '-';
	}
	while (n > 0 && word[n - 1] == '-')
		n--;
	word[n] = '\0';
	size_t room = sizeof(e->name) - 1 - strlen(e->type) - 1;
	const char *tail = n > room ? word + (n - room) : word;
	snprintf(e->name, sizeof(e->name), "%s%s%.62s", e->type, n > 0 ? "-" : "", tail);
}

static struct conf_option *
given(const struct conf_endpoint *e, const struct option_info *info)
{
	for (unsigned i = 0; i < e->n_options; i++)
		if (e->options[i].info == info)
			return &e->options[i];
	return NULL;
}

int
conf_endpoint_put(struct conf_endpoint *e, const struct option_info *info, struct strv text,
    const char *file, int line, struct err *err)
{
	struct conf_option o;
	int r = conf_option_parse(info, text, &o, err);
	if (r != 0)
		return r;
	snprintf(o.file, sizeof(o.file), "%s", file);
	o.line = line;
	struct conf_option *old = given(e, info);
	if (old != NULL) {
		conf_option_fini(old);
		*old = o;
		return 0;
	}
	struct conf_option *more = realloc(e->options, (e->n_options + 1) * sizeof(*more));
	if (more == NULL) {
		conf_option_fini(&o);
		return err_set(err, E_NOMEM, "out of memory");
	}
	e->options = more;
	e->options[e->n_options++] = o;
	return 0;
}

int
conf_endpoint_set(struct conf_endpoint *e, struct strv option, struct strv text, struct err *err)
{
	const struct option_info *info;
	int r = conf_option_lookup(e->type, option, &info, err);
	return r != 0 ? r : conf_endpoint_put(e, info, text, "", 0, err);
}

/* One option=value word behind the address. */
static int
put_word(struct conf_endpoint *e, struct strv word, struct err *err)
{
	char q[80];
	const char *eq = memchr(word.p, '=', word.n);
	if (eq == NULL || eq == word.p)
		return err_set(err, E_SYNTAX, "%s: not option=value; quote values with spaces",
		    strv_quote(word, q, sizeof(q)));
	struct strv key = {word.p, (size_t)(eq - word.p)};
	struct strv text = {eq + 1, word.n - key.n - 1};
	if (strv_eq(key, STRV("name"))) {
		if (e->name[0] != '\0')
			return err_set(err, E_INVAL, "name given twice");
		return conf_set_name(e, text, err);
	}
	if (strv_eq(key, STRV("enabled"))) {
		if (conf_bool_parse(text, &e->enabled) != 0)
			return err_set(err, E_TYPE, "enabled = %s: not yes or no",
			    strv_quote(text, q, sizeof(q)));
		return 0;
	}
	const struct option_info *info;
	int r = conf_option_lookup(e->type, key, &info, err);
	if (r != 0)
		return r;
	if (given(e, info) != NULL)
		return err_set(err, E_INVAL, "option %s given twice", info->name);
	return conf_endpoint_put(e, info, text, "", 0, err);
}

/* `attach capture promisc=no`: the address was forgotten, not an interface of that name. */
static bool
looks_like_option(const struct conf_endpoint *e, struct strv word)
{
	const char *eq = memchr(word.p, '=', word.n);
	if (eq == NULL)
		return false;
	struct strv key = {word.p, (size_t)(eq - word.p)};
	return strv_eq(key, STRV("name")) || option_find(e->type, key) != NULL;
}

int
conf_endpoint_parse(const char *const *words, unsigned n, const char *const *types,
    struct conf_endpoint **out, struct err *err)
{
	*out = NULL;
	if (n < 2)
		return err_set(err, E_INVAL, "usage: TYPE ADDRESS [name=N] [option=value ...]");
	struct conf_endpoint *e = conf_endpoint_new("");
	if (e == NULL)
		return err_set(err, E_NOMEM, "out of memory");
	struct strv address = strv_of(words[1]);
	int r = conf_set_type(e, strv_of(words[0]), types, err);
	if (r == 0 && looks_like_option(e, address)) {
		char q[80];
		r = err_set(err, E_INVAL, "%s: the address is missing before %s", e->type,
		    strv_quote(address, q, sizeof(q)));
	}
	if (r == 0)
		r = conf_set_address(e, address, err);
	for (unsigned i = 2; r == 0 && i < n; i++)
		r = put_word(e, strv_of(words[i]), err);
	if (r != 0) {
		conf_endpoint_free(&e);
		return r;
	}
	if (e->name[0] == '\0')
		conf_make_name(e);
	*out = e;
	return 0;
}

struct conf_endpoint *
conf_endpoint_dup(const struct conf_endpoint *e)
{
	struct conf_endpoint *d = malloc(sizeof(*d));
	if (d == NULL)
		return NULL;
	*d = *e;
	d->n_options = 0;
	d->options = calloc(e->n_options > 0 ? e->n_options : 1, sizeof(*d->options));
	for (unsigned i = 0; d->options != NULL && i < e->n_options; i++) {
		d->options[i] = e->options[i];
		d->options[i].text = strv_dup(strv_of(e->options[i].text));
		d->n_options++;
		if (d->options[i].text == NULL)
			break;
	}
	if (d->options == NULL || d->n_options != e->n_options ||
	    (d->n_options > 0 && d->options[d->n_options - 1].text == NULL))
		conf_endpoint_free(&d);
	return d;
}

/*
 * The option's value: what was given, else the parsed default in *space, whose text is the table's.
 * A default that does not parse is a mistake in options.def; a test parses them all.
 */
static const struct conf_option *
value_of(const struct conf_endpoint *e, const struct option_info *info, struct conf_option *space)
{
	const struct conf_option *o = given(e, info);
	if (o != NULL)
		return o;
	assert_always(conf_option_parse(info, strv_of(info->def), space, NULL) == 0);
	conf_option_fini(space);
	return space;
}

static const struct option_info *
must_find(const struct conf_endpoint *e, const char *option)
{
	const struct option_info *info = option_find(e->type, strv_of(option));
	assert_always(info != NULL);
	return info;
}

static bool
same_value(
    const struct conf_endpoint *a, const struct conf_endpoint *b, const struct option_info *info)
{
	struct conf_option sa, sb;
	const struct conf_option *oa = value_of(a, info, &sa), *ob = value_of(b, info, &sb);
	switch (info->type) {
	case OT_BOOL:
		return oa->b == ob->b;
	case OT_NUMBER:
	case OT_SIZE:
		return oa->u == ob->u;
	case OT_SPAN:
		return oa->us == ob->us;
	case OT_CHOICE:
		return oa->choice == ob->choice;
	case OT_FIELDS:
		return field_set_eq(oa->fields, ob->fields);
	case OT_TEXT:
	case OT_PATH:
	case OT_FILTER:
		break;
	}
	return strcmp(conf_text(a, info->name), conf_text(b, info->name)) == 0;
}

bool
conf_endpoint_eq(const struct conf_endpoint *a, const struct conf_endpoint *b)
{
	if (strcmp(a->name, b->name) != 0 || strcmp(a->type, b->type) != 0 ||
	    strcmp(a->address, b->address) != 0 || a->enabled != b->enabled)
		return false;
	for (unsigned i = 0; i < option_count; i++)
		if (strcmp(option_info[i].owner, a->type) == 0 &&
		    !same_value(a, b, &option_info[i]))
			return false;
	return true;
}

bool
conf_bool(const struct conf_endpoint *e, const char *option)
{
	struct conf_option space;
	const struct option_info *info = must_find(e, option);
	assert_always(info->type == OT_BOOL);
	return value_of(e, info, &space)->b;
}

uint64_t
conf_number(const struct conf_endpoint *e, const char *option)
{
	struct conf_option space;
	const struct option_info *info = must_find(e, option);
	assert_always(info->type == OT_NUMBER || info->type == OT_SIZE);
	return value_of(e, info, &space)->u;
}

int64_t
conf_span_us(const struct conf_endpoint *e, const char *option)
{
	struct conf_option space;
	const struct option_info *info = must_find(e, option);
	assert_always(info->type == OT_SPAN);
	return value_of(e, info, &space)->us;
}

const char *
conf_text(const struct conf_endpoint *e, const char *option)
{
	const struct option_info *info = must_find(e, option);
	const struct conf_option *o = given(e, info);
	return o != NULL ? o->text : info->def;
}

int
conf_choice(const struct conf_endpoint *e, const char *option)
{
	struct conf_option space;
	const struct option_info *info = must_find(e, option);
	assert_always(info->type == OT_CHOICE);
	return value_of(e, info, &space)->choice;
}

struct field_set
conf_fields(const struct conf_endpoint *e, const char *option)
{
	struct conf_option space;
	const struct option_info *info = must_find(e, option);
	assert_always(info->type == OT_FIELDS);
	return value_of(e, info, &space)->fields;
}

bool
conf_given(const struct conf_endpoint *e, const char *option)
{
	return given(e, must_find(e, option)) != NULL;
}
