/* SPDX-License-Identifier: Apache-2.0
 * control/guard.c - what attach and set may do over the socket, beyond their row in the table.
 *
 * Operators may meter and collect. What names a file or a key, sends flows away, or puts them on
 * the wire in clear text needs an admin. Files to write must lie below the daemon's output_dirs
 * whoever asks: the socket is not a way to write anywhere as the daemon. */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "control/control_priv.h"

static bool
is_file_type(const char *type)
{
	static const char *const types[] = {CTL_FILE_TYPES};
	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++)
		if (strcmp(type, types[i]) == 0)
			return true;
	return false;
}

static const struct port_type *
type_of(const char *name)
{
	unsigned n;
	const struct port_type *const *types = engine_types(&n);
	for (unsigned i = 0; i < n; i++)
		if (strcmp(types[i]->name, name) == 0)
			return types[i];
	return NULL;
}

static int
need_admin(const struct call *c, struct err *err, const char *what)
{
	enum role role = c->client->peer.role;
	if (role >= ROLE_ADMIN)
		return 0;
	return err_set(err, E_PERM,
	    "%s needs the role admin, you have %s; run it as root or as the daemon's user, or put "
	    "it into a configuration file",
	    what, role_name(role));
}

static int
guard_option(const struct call *c, const struct option_info *o, const char *text, struct err *err)
{
	char what[100];
	if (o->type == OT_PATH) {
		snprintf(what, sizeof(what), "option %s, which names a file,", o->name);
		return need_admin(c, err, what);
	}
	if (strcmp(o->name, "allow") == 0 || strcmp(o->name, "peer") == 0 ||
	    strcmp(o->name, "relays") == 0) {
		snprintf(
		    what, sizeof(what), "option %s, which says who is trusted with what,", o->name);
		return need_admin(c, err, what);
	}
	if (strcmp(o->name, "encryption") == 0 && strcasecmp(text, "none") == 0)
		return need_admin(c, err, "encryption=none");
	return 0;
}

/* Is @path @dir or below it? Both are canonical. */
static bool
is_below(const char *path, const char *dir)
{
	size_t n = strlen(dir);
	return strncmp(path, dir, n) == 0 && (path[n] == '/' || path[n] == '\0' || n == 1);
}

/* The address with its directory made canonical; the file itself need not exist. */
static int
canonical(const char *address, char *out, size_t size, char *dir, struct err *err)
{
	char parent[PATH_MAX];
	const char *slash = strrchr(address, '/');
	if (address[0] != '/')
		return err_set(err, E_INVAL, "%s: the daemon needs an absolute path", address);
	if (slash[1] == '\0' || strcmp(slash, "/.") == 0 || strcmp(slash, "/..") == 0)
		return err_set(err, E_INVAL, "%s: names a directory, not a file", address);
	snprintf(
	    parent, sizeof(parent), "%.*s", slash > address ? (int)(slash - address) : 1, address);
	if (realpath(parent, dir) == NULL)
		return err_sys(err, errno == ENOENT ? E_NOENT : E_IO, "%s", parent);
	if (snprintf(out, size, "%s%s", strcmp(dir, "/") == 0 ? "" : dir, slash) >= (int)size)
		return err_set(err, E_LIMIT, "%s: path too long", address);
	return 0;
}

static int
guard_output_file(const struct call *c, struct conf_endpoint *e, struct err *err)
{
	char path[sizeof(e->address)], parent[PATH_MAX], one[PATH_MAX], real[PATH_MAX];
	const char *dirs = conf_text(&engine_daemon(c->engine)->bag, "output_dirs");
	if (strcmp(e->address, "-") == 0)
		return 0;
	int r = canonical(e->address, path, sizeof(path), parent, err);
	if (r != 0)
		return r;
	for (const char *p = dirs; *p != '\0';) {
		p += strspn(p, ", ");
		size_t n = strcspn(p, ",");
		snprintf(one, sizeof(one), "%.*s", (int)n, p);
		if (n > 0 && realpath(one, real) != NULL && is_below(parent, real)) {
			snprintf(e->address, sizeof(e->address), "%s", path);
			return 0;
		}
		p += n;
	}
	return err_set(err, E_PERM,
	    "%s: not below output_dirs of the daemon (%s); write there, or attach it in a "
	    "configuration file",
	    path, dirs);
}

int
guard_attach(const struct call *c, struct conf_endpoint *e, struct err *err)
{
	char what[100];
	int r = 0;
	const struct port_type *t = type_of(e->type);
	bool is_output = t != NULL && t->direction == PORT_OUTPUT;
	snprintf(what, sizeof(what), "attaching %s", e->type);
	if (is_output || is_file_type(e->type))
		r = need_admin(c, err, what);
	if (r == 0 && strncasecmp(e->address, "ipc:", 4) == 0)
		r = need_admin(c, err, "an ipc address, which names a file,");
	for (unsigned i = 0; r == 0 && i < e->n_options; i++)
		r = guard_option(c, e->options[i].info, e->options[i].text, err);
	if (r == 0 && is_file_type(e->type) && e->address[0] != '/' && strcmp(e->address, "-") != 0)
		r = err_set(err, E_INVAL, "%s: the daemon needs an absolute path", e->address);
	if (r == 0 && is_output && is_file_type(e->type))
		r = guard_output_file(c, e, err);
	return r;
}

int
guard_set(
    const struct call *c, const char *type, const char *const *words, unsigned n, struct err *err)
{
	int r = 0;
	for (unsigned i = 0; r == 0 && i < n; i++) {
		size_t key = strcspn(words[i], "=");
		const struct option_info *o = option_find(type, (struct strv){words[i], key});
		if (o != NULL && words[i][key] == '=')
			r = guard_option(c, o, words[i] + key + 1, err);
	}
	return r;
}
