/* SPDX-License-Identifier: Apache-2.0
 * conf/print.c - endpoints back to libconfig text, and endpoints.conf on disk.
 *
 * Options are printed as the text a person gave, so what is read back is the same to the byte. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "conf/conf_priv.h"

static void
quoted(struct buf *out, const char *s)
{
	buf_u8(out, '"');
	for (; *s != '\0'; s++) {
		if (*s == '"' || *s == '\\')
			buf_u8(out, '\\');
		if (*s == '\n')
			buf_str(out, "\\n");
		else if (*s == '\t')
			buf_str(out, "\\t");
		else
			buf_u8(out, (uint8_t)*s);
	}
	buf_u8(out, '"');
}

static void
setting(struct buf *out, const char *key, const char *text)
{
	buf_printf(out, "\t\t%s = ", key);
	quoted(out, text);
	buf_str(out, ";\n");
}

void
conf_print_endpoint(struct buf *out, const struct conf_endpoint *e)
{
	buf_str(out, "\t{\n");
	setting(out, "name", e->name);
	setting(out, "type", e->type);
	setting(out, "address", e->address);
	if (!e->enabled)
		buf_str(out, "\t\tenabled = false;\n");
	for (unsigned i = 0; i < e->n_options; i++)
		setting(out, e->options[i].info->name, e->options[i].text);
	buf_str(out, "\t}");
}

void
conf_print_daemon(struct buf *out, const struct conf_daemon *d)
{
	if (d->bag.n_options == 0)
		return;
	buf_str(out, "daemon = {\n");
	for (unsigned i = 0; i < d->bag.n_options; i++) {
		buf_printf(out, "\t%s = ", d->bag.options[i].info->name);
		quoted(out, d->bag.options[i].text);
		buf_str(out, ";\n");
	}
	buf_str(out, "};\n");
}

void
conf_print(struct buf *out, const struct conf_endpoint *const *endpoints, unsigned n,
    const char *const *removed, unsigned n_removed)
{
	buf_str(out, "endpoints = (");
	for (unsigned i = 0; i < n; i++) {
		buf_str(out, i > 0 ? ",\n" : "\n");
		conf_print_endpoint(out, endpoints[i]);
	}
	buf_str(out, n > 0 ? "\n);\n" : ");\n");
	if (n_removed == 0)
		return;
	buf_str(out, "removed = [");
	for (unsigned i = 0; i < n_removed; i++) {
		buf_str(out, i > 0 ? ", " : " ");
		quoted(out, removed[i]);
	}
	buf_str(out, " ];\n");
}

static int
write_all(int fd, const uint8_t *p, size_t n)
{
	while (n > 0) {
		ssize_t w = write(fd, p, n);
		if (w < 0 && errno == EINTR)
			continue;
		if (w < 0)
			return -1;
		p += w;
		n -= (size_t)w;
	}
	return 0;
}

/* Write aside, sync, rename, sync the directory: a crash leaves the old file or the new one. */
static int
replace_file(const char *dir, const struct buf *text, struct err *err)
{
	char path[4096], aside[4096 + 16];
	if (snprintf(path, sizeof(path), "%s/endpoints.conf", dir) >= (int)sizeof(path))
		return err_set(err, E_LIMIT, "state_dir: path too long");
	snprintf(aside, sizeof(aside), "%s.XXXXXX", path);
	int fd = mkostemp(aside, O_CLOEXEC);
	if (fd < 0)
		return err_sys(err, errno == EACCES ? E_PERM : E_IO,
		    "cannot write into the state directory %s", dir);
	int bad = write_all(fd, text->p, text->n) != 0 || fchmod(fd, 0640) != 0 || fsync(fd) != 0;
	int r = bad ? err_sys(err, E_IO, "%s", aside) : 0;
	if (close(fd) != 0 && r == 0)
		r = err_sys(err, E_IO, "%s", aside);
	if (r == 0 && rename(aside, path) != 0)
		r = err_sys(err, E_IO, "%s", path);
	if (r != 0) {
		unlink(aside);
		return r;
	}
	int d = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (d >= 0) {
		if (fsync(d) != 0)
			r = err_sys(err, E_IO, "%s", dir);
		close(d);
	}
	return r;
}

int
conf_save(const char *state_dir, const struct conf_endpoint *const *endpoints, unsigned n,
    const char *const *removed, unsigned n_removed, struct err *err)
{
	struct buf text = buf_init(CONF_FILE_MAX);
	buf_str(&text, "# Written by `flowctl save`, read after the files of /etc; "
		       "the next save replaces it.\n");
	conf_print(&text, endpoints, n, removed, n_removed);
	int r = text.err != 0
		    ? err_set(err, -text.err, "the endpoints are more than %d KiB of text",
			  CONF_FILE_MAX >> 10)
		    : replace_file(state_dir, &text, err);
	buf_fini(&text);
	return r;
}
