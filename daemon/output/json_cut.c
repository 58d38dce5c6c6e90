/* SPDX-License-Identifier: Apache-2.0
 * output/json_cut.c - cut a file, and those rotated since, back to a length that was saved.
 *
 * The file that was open then may have been rotated: it is found by its inode, gets its name back
 * and is cut; what was begun after it holds only records that come again, and goes. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "output/json_priv.h"
#include "output/output.h"

struct search {
	uint64_t device, inode;
	int dir;
	char base[256];
	char found[256]; /* rotated name of the file; "" not found */
};

static bool
is_it(const struct search *s, const char *name)
{
	struct stat st;
	return fstatat(s->dir, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode) &&
	    st.st_dev == s->device && st.st_ino == s->inode;
}

static const char *
rotated_tail(const struct search *s, const char *name)
{
	size_t n = strlen(s->base);
	bool ours = strncmp(name, s->base, n) == 0 && name[n] == '.' && json_is_rotated(name + n + 1);
	return ours ? name + n + 1 : NULL;
}

static DIR *
list(const struct search *s)
{
	int fd = openat(s->dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = fd >= 0 ? fdopendir(fd) : NULL;
	if (d == NULL && fd >= 0)
		close(fd);
	return d;
}

static uint64_t
size_of(const struct search *s, const char *name)
{
	struct stat st;
	return fstatat(s->dir, name, &st, AT_SYMLINK_NOFOLLOW) == 0 ? (uint64_t)st.st_size : 0;
}

/* The file was rotated: those begun later go, it gets its name back. */
static int
undo_rotation(struct search *s, uint64_t *n_cut)
{
	DIR *d = list(s);
	for (struct dirent *e; d != NULL && (e = readdir(d)) != NULL;)
		if (rotated_tail(s, e->d_name) != NULL && is_it(s, e->d_name))
			snprintf(s->found, sizeof(s->found), "%s", e->d_name);
	if (d != NULL)
		closedir(d);
	if (s->found[0] == '\0')
		return -E_NOENT;
	const char *tail = rotated_tail(s, s->found);
	d = list(s);
	for (struct dirent *e; d != NULL && (e = readdir(d)) != NULL;) {
		const char *other = rotated_tail(s, e->d_name);
		if (other == NULL || strcmp(other, tail) <= 0)
			continue;
		*n_cut += size_of(s, e->d_name);
		if (unlinkat(s->dir, e->d_name, 0) != 0)
			*n_cut -= size_of(s, e->d_name);
	}
	if (d != NULL)
		closedir(d);
	*n_cut += size_of(s, s->base);
	return renameat(s->dir, s->found, s->dir, s->base) == 0 ? 0 : -E_IO;
}

int
output_json_cut(const char *path, uint64_t device, uint64_t inode, uint64_t size, uint64_t *n_cut)
{
	char dir_copy[256], base_copy[256];
	struct search s = {.device = device, .inode = inode};
	struct stat st;
	*n_cut = 0;
	snprintf(dir_copy, sizeof(dir_copy), "%s", path);
	snprintf(base_copy, sizeof(base_copy), "%s", path);
	snprintf(s.base, sizeof(s.base), "%s", basename(base_copy));
	s.dir = open(dirname(dir_copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (s.dir < 0)
		return -E_IO;
	int rc = is_it(&s, s.base) ? 0 : undo_rotation(&s, n_cut);
	int fd = rc == 0 ? openat(s.dir, s.base, O_WRONLY | O_CLOEXEC | O_NOFOLLOW) : -1;
	if (rc == 0 && (fd < 0 || fstat(fd, &st) != 0))
		rc = -E_IO;
	if (rc == 0 && (uint64_t)st.st_size > size) {
		*n_cut += (uint64_t)st.st_size - size;
		rc = ftruncate(fd, (off_t)size) == 0 && fdatasync(fd) == 0 ? 0 : -E_IO;
	}
	if (fd >= 0)
		close(fd);
	close(s.dir);
	return rc;
}
