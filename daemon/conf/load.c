/* SPDX-License-Identifier: Apache-2.0
 * conf/load.c - configuration files to one struct conf.
 *
 * Order: the main file, DIR/conf.d/?*.conf in byte order of their names, then endpoints.conf of the
 * state directory. Each file is parsed alone, so an error is always in the file it names. Endpoints
 * merge by name (a later file may change one option of an endpoint), daemon options are replaced by
 * the later one. endpoints.conf states facts: what it lists replaces, what it removed is gone. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <libconfig.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "conf/conf_priv.h"

struct loader {
	struct conf *c;
	const char *const *types;
	conf_check_fn *check;
	void *check_arg;
	const char *file; /* being read */
	struct strv text; /* its contents */
	bool is_saved;	  /* it is endpoints.conf */
	struct err *err;
};

struct conf *
conf_new(void)
{
	struct conf *c = calloc(1, sizeof(*c));
	if (c == NULL)
		return NULL;
	snprintf(c->daemon.bag.type, sizeof(c->daemon.bag.type), "daemon");
	c->daemon.bag.enabled = true;
	return c;
}

void
conf_free(struct conf **c)
{
	if (*c == NULL)
		return;
	conf_endpoint_fini(&(*c)->daemon.bag);
	for (unsigned i = 0; i < (*c)->n_endpoints; i++)
		conf_endpoint_free(&(*c)->endpoints[i]);
	free((*c)->endpoints);
	conf_words_free(&(*c)->removed, (*c)->n_removed);
	free(*c);
	*c = NULL;
}

/* Say where an error was found: file, line, the line itself with a caret under @key (may be NULL).
 * A filter's own text and column are kept. */
static int
located(const struct loader *l, int line, const char *key, int r)
{
	if (l->err == NULL)
		return r;
	snprintf(l->err->file, sizeof(l->err->file), "%s", l->file);
	l->err->line = line;
	if (l->err->source[0] != '\0')
		return r;
	conf_source_line(l->text, line, l->err);
	const char *at = key != NULL ? strstr(l->err->source, key) : NULL;
	l->err->col =
	    (int)(at != NULL ? at - l->err->source : (ptrdiff_t)strspn(l->err->source, " \t")) + 1;
	return r;
}

#define FAIL_AT(l, line, key, code, ...) \
	located((l), (line), (key), err_set((l)->err, (code), __VA_ARGS__))

static int
line_of(const config_setting_t *s)
{
	return (int)config_setting_source_line(s);
}

static const char *
kind_name(int type)
{
	switch (type) {
	case CONFIG_TYPE_GROUP:
		return "a group { }";
	case CONFIG_TYPE_INT:
	case CONFIG_TYPE_INT64:
		return "an integer";
	case CONFIG_TYPE_FLOAT:
		return "a number with a point";
	case CONFIG_TYPE_STRING:
		return "text";
	case CONFIG_TYPE_BOOL:
		return "true or false";
	case CONFIG_TYPE_ARRAY:
		return "an array [ ]";
	case CONFIG_TYPE_LIST:
		return "a list ( )";
	default:
		return "something else";
	}
}

static const char *
wanted_name(enum option_type type)
{
	switch (type) {
	case OT_BOOL:
		return "true or false";
	case OT_NUMBER:
		return "a number, like 512 or \"64K\"";
	case OT_SIZE:
		return "a size, like \"16M\"";
	case OT_SPAN:
		return "a duration, like \"30s\"";
	case OT_FIELDS:
		return "field names as text";
	case OT_TEXT:
	case OT_PATH:
	case OT_CHOICE:
	case OT_FILTER:
		break;
	}
	return "text in quotes";
}

static bool
is_quantity(enum option_type type)
{
	return type == OT_NUMBER || type == OT_SIZE || type == OT_SPAN;
}

/* ["a", "b"] of a field list as "a,b"; false when an element is not text. */
static bool
join(config_setting_t *s, struct buf *out)
{
	for (int i = 0; i < config_setting_length(s); i++) {
		const char *item = config_setting_get_string_elem(s, i);
		if (item == NULL)
			return false;
		if (i > 0)
			buf_u8(out, ',');
		buf_str(out, item);
	}
	return true;
}

/* The text of a setting as a person would write it for `flowctl set`; false: wrong kind. */
static bool
value_text(config_setting_t *s, enum option_type want, struct buf *out)
{
	switch (config_setting_type(s)) {
	case CONFIG_TYPE_STRING:
		buf_str(out, config_setting_get_string(s));
		return true;
	case CONFIG_TYPE_BOOL:
		buf_str(out, config_setting_get_bool(s) ? "yes" : "no");
		return want == OT_BOOL;
	case CONFIG_TYPE_INT:
	case CONFIG_TYPE_INT64:
		buf_printf(out, "%lld", config_setting_get_int64(s));
		return is_quantity(want);
	case CONFIG_TYPE_ARRAY:
	case CONFIG_TYPE_LIST:
		return want == OT_FIELDS && join(s, out);
	default:
		return false;
	}
}

static int
put_option(struct loader *l, struct conf_endpoint *e, config_setting_t *s)
{
	const struct option_info *info;
	const char *key = config_setting_name(s);
	int line = line_of(s);
	int r = conf_option_lookup(e->type, strv_of(key), &info, l->err);
	if (r != 0)
		return located(l, line, key, r);
	struct buf text = buf_init(CONF_TEXT_MAX + 1);
	if (!value_text(s, info->type, &text)) {
		buf_fini(&text);
		return FAIL_AT(l, line, key, E_TYPE, "%s: expected %s, found %s", key,
		    wanted_name(info->type), kind_name(config_setting_type(s)));
	}
	struct strv v = {text.n > 0 ? (const char *)text.p : "", text.n};
	if (text.err != 0)
		r = err_set(l->err, -text.err, "%s: longer than %d bytes", key, CONF_TEXT_MAX);
	else if (info->type == OT_PATH && v.n > 0 && v.p[0] != '/')
		r = err_set(
		    l->err, E_INVAL, "%s: a path in a configuration file begins with /", key);
	else if (info->type == OT_FILTER && l->check != NULL)
		r = l->check(l->check_arg, info, v, l->err);
	if (r == 0)
		r = conf_endpoint_put(e, info, v, l->file, line, l->err);
	buf_fini(&text);
	return r == 0 ? 0 : located(l, line, key, r);
}

static int
load_daemon(struct loader *l, config_setting_t *group)
{
	if (config_setting_type(group) != CONFIG_TYPE_GROUP)
		return FAIL_AT(l, line_of(group), "daemon", E_TYPE,
		    "daemon: expected a group { }, found %s",
		    kind_name(config_setting_type(group)));
	int r = 0;
	for (int i = 0; r == 0 && i < config_setting_length(group); i++)
		r = put_option(l, &l->c->daemon.bag, config_setting_get_elem(group, (unsigned)i));
	return r;
}

static struct conf_endpoint **
find(struct conf *c, const char *name)
{
	for (unsigned i = 0; i < c->n_endpoints; i++)
		if (strcmp(c->endpoints[i]->name, name) == 0)
			return &c->endpoints[i];
	return NULL;
}

/* The text of a key that every endpoint has; NULL when missing, latched in *r when not text. */
static const char *
text_key(struct loader *l, config_setting_t *group, const char *key, int *r)
{
	config_setting_t *s = config_setting_get_member(group, key);
	if (s == NULL || *r != 0)
		return NULL;
	if (config_setting_type(s) != CONFIG_TYPE_STRING) {
		*r = FAIL_AT(l, line_of(s), key, E_TYPE, "%s: expected text in quotes, found %s",
		    key, kind_name(config_setting_type(s)));
		return NULL;
	}
	return config_setting_get_string(s);
}

/* Everything of the group but name, type and address. */
static int
put_options(struct loader *l, struct conf_endpoint *e, config_setting_t *group)
{
	int r = 0;
	for (int i = 0; r == 0 && i < config_setting_length(group); i++) {
		config_setting_t *s = config_setting_get_elem(group, (unsigned)i);
		const char *key = config_setting_name(s);
		if (strcmp(key, "name") == 0 || strcmp(key, "type") == 0 ||
		    strcmp(key, "address") == 0)
			continue;
		if (strcmp(key, "enabled") != 0) {
			r = put_option(l, e, s);
			continue;
		}
		if (config_setting_type(s) != CONFIG_TYPE_BOOL)
			r = FAIL_AT(l, line_of(s), "enabled", E_TYPE,
			    "enabled: expected true or false, found %s",
			    kind_name(config_setting_type(s)));
		e->enabled = config_setting_get_bool(s) != 0;
	}
	return r;
}

/* A new endpoint with name, type and address, not in the snapshot yet. */
static int
new_endpoint(struct loader *l, int line, const char *const keys[3], struct conf_endpoint **out)
{
	int r = 0;
	*out = NULL;
	if (keys[1] == NULL || keys[2] == NULL)
		return FAIL_AT(l, line, NULL, E_INVAL,
		    "endpoint \"%.63s\" has no %s, and no earlier file defines it", keys[0],
		    keys[1] == NULL ? "type" : "address");
	if (l->c->n_endpoints >= CONF_ENDPOINTS_MAX)
		return FAIL_AT(
		    l, line, NULL, E_LIMIT, "more than %d endpoints", CONF_ENDPOINTS_MAX);
	struct conf_endpoint *e = conf_endpoint_new("");
	if (e == NULL)
		return FAIL_AT(l, line, NULL, E_NOMEM, "out of memory");
	if ((r = conf_set_name(e, strv_of(keys[0]), l->err)) != 0 ||
	    (r = conf_set_type(e, strv_of(keys[1]), l->types, l->err)) != 0 ||
	    (r = conf_set_address(e, strv_of(keys[2]), l->err)) != 0) {
		conf_endpoint_free(&e);
		return located(l, line, NULL, r);
	}
	snprintf(e->file, sizeof(e->file), "%s", l->file);
	e->line = line;
	e->is_saved = l->is_saved;
	e->in_files = !l->is_saved;
	*out = e;
	return 0;
}

/* A group whose name is known already: changes that endpoint. */
static int
merge_endpoint(
    struct loader *l, struct conf_endpoint *e, config_setting_t *group, const char *const keys[3])
{
	int line = line_of(group);
	if (strcmp(e->file, l->file) == 0)
		return FAIL_AT(l, line, NULL, E_EXIST,
		    "endpoint \"%s\" is defined twice, first in line %d", e->name, e->line);
	if (keys[1] != NULL && strcmp(keys[1], e->type) != 0)
		return FAIL_AT(l, line, NULL, E_EXIST,
		    "endpoint \"%s\" is a %s (%s line %d); one of another type needs another name",
		    e->name, e->type, e->file, e->line);
	int r = keys[2] != NULL ? conf_set_address(e, strv_of(keys[2]), l->err) : 0;
	return r != 0 ? located(l, line, NULL, r) : put_options(l, e, group);
}

static int
add_endpoint(struct loader *l, config_setting_t *group, const char *const keys[3])
{
	struct conf_endpoint *e, **old = find(l->c, keys[0]);
	int r = new_endpoint(l, line_of(group), keys, &e);
	if (r != 0)
		return r;
	assert_always(e != NULL);
	r = put_options(l, e, group);
	if (r == 0 && old == NULL) {
		struct conf_endpoint **more = realloc(
		    l->c->endpoints, (l->c->n_endpoints + 1) * sizeof(struct conf_endpoint *));
		if (more == NULL) {
			r = FAIL_AT(l, line_of(group), NULL, E_NOMEM, "out of memory");
		} else {
			l->c->endpoints = more;
			old = &more[l->c->n_endpoints++];
			*old = NULL;
		}
	}
	if (r != 0) {
		conf_endpoint_free(&e);
		return r;
	}
	assert_always(old != NULL);
	if (*old != NULL)
		e->in_files = e->in_files || (*old)->in_files;
	conf_endpoint_free(old);
	*old = e;
	return 0;
}

static int
load_endpoint(struct loader *l, config_setting_t *group)
{
	int r = 0, line = line_of(group);
	if (config_setting_type(group) != CONFIG_TYPE_GROUP)
		return FAIL_AT(l, line, "endpoints", E_TYPE,
		    "endpoints: expected groups { }, found %s",
		    kind_name(config_setting_type(group)));
	const char *keys[3] = {text_key(l, group, "name", &r), text_key(l, group, "type", &r),
	    text_key(l, group, "address", &r)};
	if (r != 0)
		return r;
	if (keys[0] == NULL)
		return FAIL_AT(l, line, NULL, E_INVAL, "an endpoint needs a name: name = \"...\";");
	struct conf_endpoint **old = find(l->c, keys[0]);
	if (old == NULL || (l->is_saved && !(*old)->is_saved))
		return add_endpoint(l, group, keys);
	return merge_endpoint(l, *old, group, keys);
}

static int
load_endpoints(struct loader *l, config_setting_t *list)
{
	if (config_setting_type(list) != CONFIG_TYPE_LIST)
		return FAIL_AT(l, line_of(list), "endpoints", E_TYPE,
		    "endpoints: expected a list ( {...}, {...} ), found %s",
		    kind_name(config_setting_type(list)));
	int r = 0;
	for (int i = 0; r == 0 && i < config_setting_length(list); i++)
		r = load_endpoint(l, config_setting_get_elem(list, (unsigned)i));
	return r;
}

static void
forget(struct conf *c, const char *name)
{
	struct conf_endpoint **e = find(c, name);
	if (e == NULL)
		return;
	conf_endpoint_free(e);
	size_t at = (size_t)(e - c->endpoints);
	c->n_endpoints--;
	memmove(e, e + 1, (c->n_endpoints - at) * sizeof(struct conf_endpoint *));
}

/* Names a person removed at run time: files may define them, they stay away. */
static int
load_removed(struct loader *l, config_setting_t *list)
{
	int type = config_setting_type(list), n = config_setting_length(list);
	if (type != CONFIG_TYPE_ARRAY && type != CONFIG_TYPE_LIST)
		return FAIL_AT(
		    l, line_of(list), "removed", E_TYPE, "removed: expected [ \"name\", ... ]");
	if (n > CONF_ENDPOINTS_MAX)
		return FAIL_AT(
		    l, line_of(list), NULL, E_LIMIT, "more than %d names", CONF_ENDPOINTS_MAX);
	l->c->removed = calloc((size_t)n + 1, sizeof(char *));
	if (l->c->removed == NULL)
		return FAIL_AT(l, line_of(list), NULL, E_NOMEM, "out of memory");
	for (int i = 0; i < n; i++) {
		const char *name = config_setting_get_string_elem(list, i);
		if (name == NULL)
			return FAIL_AT(
			    l, line_of(list), "removed", E_TYPE, "removed: a name is not text");
		forget(l->c, name);
		char *copy = strv_dup(strv_of(name));
		if (copy == NULL)
			return FAIL_AT(l, line_of(list), NULL, E_NOMEM, "out of memory");
		l->c->removed[l->c->n_removed++] = copy;
	}
	return 0;
}

static int
load_root(struct loader *l, config_setting_t *root)
{
	static const char *const keys[] = {"daemon", "endpoints", "removed", NULL};
	int r = 0;
	config_setting_t *removed = config_setting_get_member(root, "removed");
	if (removed != NULL && l->is_saved)
		r = load_removed(l, removed);
	for (int i = 0; r == 0 && i < config_setting_length(root); i++) {
		char q[80];
		config_setting_t *s = config_setting_get_elem(root, (unsigned)i);
		const char *key = config_setting_name(s);
		if (strcmp(key, "daemon") == 0 && !l->is_saved) {
			r = load_daemon(l, s);
		} else if (strcmp(key, "endpoints") == 0) {
			r = load_endpoints(l, s);
		} else if (strcmp(key, "removed") != 0 || !l->is_saved) {
			const char *near = strv_nearest(strv_of(key), keys);
			strv_quote(strv_of(key), q, sizeof(q));
			if (near != NULL && strcmp(near, "removed") != 0 && strcmp(near, key) != 0)
				r = FAIL_AT(l, line_of(s), key, E_UNKNOWN,
				    "unknown setting %s, did you mean \"%s\"?", q, near);
			else
				r = FAIL_AT(l, line_of(s), key, E_UNKNOWN,
				    "unknown setting %s; there are %sendpoints", q,
				    l->is_saved ? "" : "daemon and ");
		}
	}
	return r;
}

/* The file's bytes into @out. *missing_out: there is no such file (then 0 is returned). */
static int
read_file(struct loader *l, struct buf *out, bool *missing_out)
{
	struct stat st;
	*missing_out = false;
	int fd = open(l->file, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	if (fd < 0 && errno == ENOENT) {
		*missing_out = true;
		return 0;
	}
	if (fd < 0)
		return err_sys(l->err, errno == EACCES ? E_PERM : E_IO, "%s", l->file);
	int r = 0;
	if (fstat(fd, &st) == 0 && S_ISDIR(st.st_mode))
		r = err_set(l->err, E_IO, "%s: is a directory", l->file);
	while (r == 0) {
		uint8_t *room = buf_room(out, 65536);
		if (room == NULL) {
			r = err_set(l->err, E_LIMIT, "%s: larger than %d KiB", l->file,
			    CONF_FILE_MAX >> 10);
			break;
		}
		ssize_t n = read(fd, room, 65536);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			r = err_sys(l->err, E_IO, "%s", l->file);
		if (n <= 0)
			break;
		out->n += (size_t)n;
	}
	close(fd);
	buf_u8(out, '\n'); /* libconfig wants one behind a comment */
	if (r == 0 && out->n > CONF_FILE_MAX + 1)
		r = err_set(
		    l->err, E_LIMIT, "%s: larger than %d KiB", l->file, CONF_FILE_MAX >> 10);
	return r;
}

static int
parse_text(struct loader *l, const char *text)
{
	config_t cfg;
	int r = conf_source_check(l->text, l->err);
	if (r != 0) {
		if (l->err != NULL)
			snprintf(l->err->file, sizeof(l->err->file), "%s", l->file);
		return r;
	}
	config_init(&cfg);
	if (config_read_string(&cfg, text) != CONFIG_TRUE) {
		const char *what = config_error_text(&cfg);
		r = FAIL_AT(l, config_error_line(&cfg), NULL, E_SYNTAX,
		    "%s, in this line or just before it", what != NULL ? what : "syntax error");
	} else {
		r = load_root(l, config_root_setting(&cfg));
	}
	config_destroy(&cfg);
	return r;
}

static int
load_file(struct loader *l, const char *file, bool may_miss)
{
	bool missing;
	struct buf text = buf_init(CONF_FILE_MAX + 65536 + 2);
	l->file = file;
	int r = read_file(l, &text, &missing);
	if (r == 0 && missing && !may_miss)
		r = err_set(l->err, E_NOENT, "%s: no such file", file);
	if (r == 0 && !missing) {
		const char *s = buf_cstr(&text);
		l->text = (struct strv){s, text.n};
		r = parse_text(l, s);
	}
	buf_fini(&text);
	return r;
}

int
conf_parse_text(
    struct conf *c, struct strv text, const char *file, const char *const *types, struct err *err)
{
	struct loader l = {.c = c, .types = types, .file = file, .err = err};
	struct buf copy = buf_init(CONF_FILE_MAX + 2);
	buf_strv(&copy, text);
	buf_u8(&copy, '\n');
	const char *s = buf_cstr(&copy);
	l.text = (struct strv){s, copy.n};
	int r = copy.err != 0
		    ? err_set(err, -copy.err, "%s: larger than %d KiB", file, CONF_FILE_MAX >> 10)
		    : parse_text(&l, s);
	buf_fini(&copy);
	return r;
}

static int
is_conf(const struct dirent *d)
{
	size_t n = strlen(d->d_name);
	return d->d_name[0] != '.' && n > 5 && strcmp(d->d_name + n - 5, ".conf") == 0;
}

static int
by_bytes(const struct dirent **a, const struct dirent **b)
{
	return strcmp((*a)->d_name, (*b)->d_name);
}

static int
load_dir(struct loader *l, const char *main_file)
{
	char dir[4096], path[4096 + 300];
	struct dirent **names = NULL;
	const char *slash = strrchr(main_file, '/');
	int len = slash != NULL ? (int)(slash - main_file + 1) : 0;
	if (snprintf(dir, sizeof(dir), "%.*sconf.d", len, main_file) >= (int)sizeof(dir))
		return err_set(l->err, E_LIMIT, "path too long");
	int n = scandir(dir, &names, is_conf, by_bytes), r = 0;
	if (n < 0)
		return errno == ENOENT ? 0 : err_sys(l->err, E_IO, "%s", dir);
	for (int i = 0; i < n; i++) {
		snprintf(path, sizeof(path), "%s/%s", dir, names[i]->d_name);
		if (r == 0)
			r = load_file(l, path, true);
		free(names[i]);
	}
	free(names);
	l->file = NULL; /* it was path */
	return r;
}

int
conf_daemon_set(struct conf_daemon *d, const char *word, struct err *err)
{
	const char *eq = strchr(word, '=');
	char q[80];
	if (eq == NULL)
		return err_set(
		    err, E_SYNTAX, "%s: not option=value", strv_quote(strv_of(word), q, sizeof(q)));
	return conf_endpoint_set(
	    &d->bag, (struct strv){word, (size_t)(eq - word)}, strv_of(eq + 1), err);
}

static int
load_all(
    struct loader *l, const char *main_file, bool may_miss, const char *const *set, unsigned n_set)
{
	char path[4096];
	int r = 0;
	if (main_file != NULL) {
		r = load_file(l, main_file, may_miss);
		if (r == 0)
			r = load_dir(l, main_file);
	}
	for (unsigned i = 0; r == 0 && i < n_set; i++)
		r = conf_daemon_set(&l->c->daemon, set[i], l->err);
	if (r != 0 || main_file == NULL)
		return r;
	if (snprintf(path, sizeof(path), "%s/endpoints.conf",
		conf_text(&l->c->daemon.bag, "state_dir")) >= (int)sizeof(path))
		return err_set(l->err, E_LIMIT, "state_dir: path too long");
	l->is_saved = true;
	r = load_file(l, path, true);
	l->file = NULL; /* it was path */
	return r;
}

int
conf_load_set(const char *main_file, bool may_miss, const char *const *set, unsigned n_set,
    const struct conf_loading *how, struct conf **out, struct err *err)
{
	struct loader l = {
	    .types = how->types, .check = how->check, .check_arg = how->check_arg, .err = err};
	*out = NULL;
	if ((l.c = conf_new()) == NULL)
		return err_set(err, E_NOMEM, "out of memory");
	int r = load_all(&l, main_file, may_miss, set, n_set);
	if (r != 0) {
		conf_free(&l.c);
		return r;
	}
	*out = l.c;
	return 0;
}

int
conf_load(const char *main_file, bool may_miss, const char *const *types, conf_check_fn *check,
    void *check_arg, struct conf **out, struct err *err)
{
	const struct conf_loading how = {types, check, check_arg};
	return conf_load_set(main_file, may_miss, NULL, 0, &how, out, err);
}
