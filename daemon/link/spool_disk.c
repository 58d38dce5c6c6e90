/* SPDX-License-Identifier: Apache-2.0
 * link/spool_disk.c - segments of records, and the file that says whose they are. */
#include "link/spool_disk.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/cur.h"
#include "base/hash.h"
#include "conf/conf.h"

enum {
	HEADER = 48,
	FRAME_LIMIT = FRAME_RAW_MAX + (64 << 10),
	META_MAX = 4 << 20,
	CURSORS_MAX = 1 << 16,
};

static const char segment_magic[4] = "FBS1", meta_magic[4] = "FBM1";

/* ---- records */

static void
put_header(const struct spool_record *r, const void *frame, uint8_t out[HEADER])
{
	struct buf b = {out, 0, HEADER, HEADER, 0};
	buf_put(&b, segment_magic, 4);
	buf_u32_le(&b, 0);
	buf_u64_le(&b, r->seq);
	buf_u64_le(&b, r->to);
	buf_u64_le(&b, (uint64_t)r->sealed_us);
	buf_u32_le(&b, r->flows);
	buf_u32_le(&b, r->len);
	buf_u32_le(&b, r->raw_len);
	buf_u32_le(&b, r->cause);
	uint32_t crc = crc32c(crc32c(0, out + 8, HEADER - 8), frame, r->len);
	b.n = 4;
	buf_u32_le(&b, crc);
}

static int
get_header(const uint8_t in[HEADER], struct spool_record *r, uint32_t *crc)
{
	struct cur c = cur_init(in, HEADER);
	const uint8_t *magic = cur_take(&c, 4);
	*crc = cur_u32_le(&c);
	*r = (struct spool_record){.seq = cur_u64_le(&c)};
	r->to = cur_u64_le(&c);
	r->sealed_us = (int64_t)cur_u64_le(&c);
	r->flows = cur_u32_le(&c);
	r->len = cur_u32_le(&c);
	r->raw_len = cur_u32_le(&c);
	r->cause = (uint8_t)cur_u32_le(&c);
	bool good = memcmp(magic, segment_magic, 4) == 0 && r->len <= FRAME_LIMIT && r->seq > 0 &&
	    r->to >= r->seq && r->to < UINT64_MAX / 2 && (r->len == 0 || r->to == r->seq);
	return good ? 0 : -E_FORMAT;
}

/* ---- segments */

static void
segment_name(uint32_t number, char out[20])
{
	snprintf(out, 20, "%08" PRIx32 ".seg", number);
}

static struct segment *
segment_add(struct spool_files *f, uint32_t number)
{
	if (f->n_seg == f->cap_seg) {
		size_t cap = f->cap_seg == 0 ? 16 : f->cap_seg * 2;
		struct segment *seg = realloc(f->seg, cap * sizeof(*seg));
		if (seg == NULL)
			return NULL;
		f->seg = seg;
		f->cap_seg = cap;
	}
	f->seg[f->n_seg] = (struct segment){.number = number};
	return &f->seg[f->n_seg++];
}

struct spool_files *
spool_files_open(int root, uint64_t id, uint64_t segment_max)
{
	char name[20];
	snprintf(name, sizeof(name), "%016" PRIx64, id);
	if (mkdirat(root, name, 0700) != 0 && errno != EEXIST)
		return NULL;
	struct spool_files *f = calloc(1, sizeof(*f));
	if (f == NULL)
		return NULL;
	f->id = id;
	f->fd = -1;
	f->segment_max = segment_max;
	f->next_number = 1;
	f->dir = openat(root, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	if (f->dir < 0) {
		free(f);
		return NULL;
	}
	return f;
}

void
spool_files_free(struct spool_files **fp)
{
	struct spool_files *f = *fp;
	if (f == NULL)
		return;
	if (f->fd >= 0)
		close(f->fd);
	close(f->dir);
	free(f->seg);
	free(f);
	*fp = NULL;
}

void
spool_files_sync(struct spool_files *f)
{
	if (f->dirty && f->fd >= 0)
		(void)fdatasync(f->fd); /* an error shows in the next write */
	f->dirty = false;
}

static void
segment_end(struct spool_files *f)
{
	if (f->fd < 0)
		return;
	spool_files_sync(f);
	close(f->fd);
	f->fd = -1;
}

static int
segment_begin(struct spool_files *f)
{
	char name[20];
	segment_name(f->next_number, name);
	int fd = openat(f->dir, name, O_WRONLY | O_CREAT | O_EXCL | O_APPEND | O_CLOEXEC | O_NOFOLLOW,
	    0600);
	if (fd < 0)
		return -E_IO;
	if (segment_add(f, f->next_number) == NULL) {
		close(fd);
		unlinkat(f->dir, name, 0);
		errno = ENOMEM;
		return -E_IO;
	}
	f->fd = fd;
	f->next_number++;
	return 0;
}

int
spool_files_append(struct spool_files *f, struct spool_record *r, const void *frame)
{
	uint8_t header[HEADER];
	if (f->fd >= 0 && f->seg[f->n_seg - 1].size >= f->segment_max)
		segment_end(f);
	if (f->fd < 0 && segment_begin(f) != 0)
		return -E_IO;
	struct segment *s = &f->seg[f->n_seg - 1];
	put_header(r, frame, header);
	union { /* writev does not write to what it is given */
		const void *in;
		void *out;
	} u = {frame};
	struct iovec v[2] = {{header, HEADER}, {u.out, r->len}};
	size_t want = HEADER + (size_t)r->len;
	ssize_t n;
	do
		n = writev(f->fd, v, r->len > 0 ? 2 : 1);
	while (n < 0 && errno == EINTR);
	if (n != (ssize_t)want) {
		int why = n < 0 ? errno : ENOSPC;
		/* whole records only; if even that fails the scan cuts it */
		if (ftruncate(f->fd, (off_t)s->size) != 0)
			segment_end(f);
		errno = why;
		return -E_IO;
	}
	r->segment = s->number;
	r->where = s->size + HEADER;
	s->size += want;
	s->last_seq = r->to;
	f->dirty = true;
	return 0;
}

int
spool_files_segment(const struct spool_files *f, uint32_t number)
{
	char name[20];
	segment_name(number, name);
	return openat(f->dir, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
}

static bool
read_all(int fd, void *p, size_t n, uint64_t at)
{
	uint8_t *to = p;
	while (n > 0) {
		ssize_t k = pread(fd, to, n, (off_t)at);
		if (k < 0 && errno == EINTR)
			continue;
		if (k <= 0)
			return false;
		to += k;
		at += (uint64_t)k;
		n -= (size_t)k;
	}
	return true;
}

int
spool_files_read(int fd, const struct spool_record *r, void *out)
{
	uint8_t header[HEADER];
	struct spool_record is;
	uint32_t crc;
	if (r->where < HEADER || !read_all(fd, header, HEADER, r->where - HEADER) ||
	    !read_all(fd, out, r->len, r->where))
		return -E_IO;
	if (get_header(header, &is, &crc) != 0 || is.seq != r->seq || is.len != r->len ||
	    crc32c(crc32c(0, header + 8, HEADER - 8), out, r->len) != crc)
		return -E_CRC;
	return 0;
}

void
spool_files_trim(struct spool_files *f, uint64_t seq)
{
	size_t n = 0;
	char name[20];
	while (n < f->n_seg && f->seg[n].last_seq <= seq) {
		const struct segment *s = &f->seg[n];
		if (n + 1 == f->n_seg && f->fd >= 0) {
			if (s->size < f->segment_max / 16)
				break; /* goes on with it */
			f->dirty = false;
			segment_end(f);
		}
		segment_name(s->number, name);
		unlinkat(f->dir, name, 0);
		n++;
	}
	memmove(f->seg, f->seg + n, (f->n_seg - n) * sizeof(f->seg[0]));
	f->n_seg -= n;
}

static void
delete_all(int dir)
{
	DIR *d = fdopendir(dir);
	if (d == NULL) {
		close(dir);
		return;
	}
	for (struct dirent *e; (e = readdir(d)) != NULL;)
		if (e->d_name[0] != '.')
			unlinkat(dirfd(d), e->d_name, 0);
	closedir(d);
}

void
spool_files_drop(int root, uint64_t id)
{
	char name[20];
	snprintf(name, sizeof(name), "%016" PRIx64, id);
	int dir = openat(root, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	if (dir >= 0)
		delete_all(dir);
	unlinkat(root, name, AT_REMOVEDIR);
}

/* ---- meta */

void
spool_meta_fini(struct spool_meta *m)
{
	free(m->filter);
	free(m->cursors);
	m->filter = NULL;
	m->cursors = NULL;
}

void
spool_meta_encode(const struct spool_meta *m, struct buf *out)
{
	size_t at = out->n;
	uint16_t n_fields = 0;
	buf_put(out, meta_magic, 4);
	buf_u32_le(out, 0);
	buf_u64_le(out, m->id);
	buf_u64_le(out, m->next_seq);
	buf_u8(out, m->is_clean);
	buf_u8(out, m->is_auto);
	buf_u8(out, (uint8_t)m->codec);
	for (unsigned f = 0; f < F_COUNT; f++)
		n_fields += field_set_has(&m->want, (enum field)f);
	buf_u16_le(out, n_fields);
	for (unsigned f = 0; f < F_COUNT; f++)
		if (field_set_has(&m->want, (enum field)f))
			buf_u16_le(out, field_info[f].number);
	buf_text(out, strv_of(m->filter));
	buf_u32_le(out, (uint32_t)m->n_cursors);
	for (size_t i = 0; i < m->n_cursors; i++) {
		const struct spool_cursor *c = &m->cursors[i];
		buf_u64_le(out, c->node_id);
		buf_u64_le(out, c->sub);
		buf_u64_le(out, c->first);
		buf_u64_le(out, c->acked);
		buf_u8(out, c->stats);
		buf_text(out, strv_of(c->peer_end));
		buf_text(out, strv_of(c->peer));
		buf_text(out, strv_of(c->user));
	}
	if (out->err != 0)
		return;
	uint32_t crc = crc32c(0, out->p + at + 8, out->n - at - 8);
	for (int i = 0; i < 4; i++)
		out->p[at + 4 + (size_t)i] = (uint8_t)(crc >> (8 * i));
}

static void
get_name(struct cur *c, char out[64])
{
	struct strv s = cur_text(c, 63);
	if (s.n > 0)
		memcpy(out, s.p, s.n);
	out[s.n] = '\0';
}

static int
get_cursors(struct cur *c, struct spool_meta *m)
{
	uint32_t n = cur_u32_le(c);
	if (c->err != 0 || n > CURSORS_MAX)
		return -E_FORMAT;
	m->cursors = calloc(n > 0 ? n : 1, sizeof(*m->cursors));
	if (m->cursors == NULL)
		return -E_NOMEM;
	for (uint32_t i = 0; i < n && c->err == 0; i++) {
		struct spool_cursor *k = &m->cursors[i];
		k->node_id = cur_u64_le(c);
		k->sub = cur_u64_le(c);
		k->first = cur_u64_le(c);
		k->acked = cur_u64_le(c);
		k->stats = cur_u8(c) != 0;
		get_name(c, k->peer_end);
		get_name(c, k->peer);
		get_name(c, k->user);
	}
	m->n_cursors = n;
	return c->err;
}

int
spool_meta_decode(const void *p, size_t n, struct spool_meta *m)
{
	struct cur c = cur_init(p, n);
	*m = (struct spool_meta){0};
	const uint8_t *magic = cur_take(&c, 4);
	uint32_t crc = cur_u32_le(&c);
	if (c.err != 0 || memcmp(magic, meta_magic, 4) != 0 || crc32c(0, c.p, cur_left(&c)) != crc)
		return -E_FORMAT;
	m->id = cur_u64_le(&c);
	m->next_seq = cur_u64_le(&c);
	m->is_clean = cur_u8(&c) != 0;
	m->is_auto = cur_u8(&c) != 0;
	m->codec = cur_u8(&c);
	for (unsigned left = cur_u16_le(&c); left > 0 && c.err == 0; left--) {
		enum field f = field_by_number(cur_u16_le(&c));
		if (f != F_NONE)
			field_set_add(&m->want, f);
	}
	m->filter = strv_dup(cur_text(&c, META_MAX));
	int rc = m->filter == NULL ? -E_NOMEM : get_cursors(&c, m);
	if (rc == 0 && (m->id == 0 || m->codec >= FRAME_CODECS || m->next_seq == 0))
		rc = -E_FORMAT;
	if (rc != 0)
		spool_meta_fini(m);
	return rc;
}

int
spool_files_meta(struct spool_files *f, const struct buf *bytes)
{
	int fd = openat(f->dir, "meta.new", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW,
	    0600);
	if (fd < 0)
		return -E_IO;
	bool good = write(fd, bytes->p, bytes->n) == (ssize_t)bytes->n && fdatasync(fd) == 0;
	int why = errno;
	close(fd);
	errno = why;
	if (!good || renameat(f->dir, "meta.new", f->dir, "meta") != 0)
		return -E_IO;
	return 0;
}

/* ---- reading everything back */

static int
load_meta(struct spool_files *f, struct spool_meta *out)
{
	struct stat st;
	int fd = openat(f->dir, "meta", O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		return errno == ENOENT ? -E_FORMAT : -E_IO;
	int rc = -E_FORMAT;
	uint8_t *p = NULL;
	if (fstat(fd, &st) != 0)
		rc = -E_IO;
	else if (st.st_size > 0 && st.st_size <= META_MAX) {
		p = malloc((size_t)st.st_size);
		rc = p == NULL ? -E_NOMEM : 0;
	}
	if (rc == 0 && !read_all(fd, p, (size_t)st.st_size, 0))
		rc = -E_IO;
	if (rc == 0)
		rc = spool_meta_decode(p, (size_t)st.st_size, out);
	if (rc == 0 && out->id != f->id) {
		spool_meta_fini(out);
		rc = -E_FORMAT;
	}
	free(p);
	close(fd);
	return rc;
}

static int
by_number(const void *a, const void *b)
{
	uint32_t x = ((const struct segment *)a)->number, y = ((const struct segment *)b)->number;
	return x < y ? -1 : x > y;
}

static int
list_segments(struct spool_files *f)
{
	int fd = openat(f->dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = fd >= 0 ? fdopendir(fd) : NULL;
	int rc = 0;
	if (d == NULL) {
		if (fd >= 0)
			close(fd);
		return -E_IO;
	}
	for (struct dirent *e; rc == 0 && (e = readdir(d)) != NULL;) {
		char *end;
		unsigned long n = strtoul(e->d_name, &end, 16);
		if (end != e->d_name + 8 || strcmp(end, ".seg") != 0 || n == 0 || n >= UINT32_MAX)
			continue;
		if (segment_add(f, (uint32_t)n) == NULL)
			rc = -E_NOMEM;
	}
	closedir(d);
	if (f->n_seg > 0) {
		qsort(f->seg, f->n_seg, sizeof(f->seg[0]), by_number);
		f->next_number = f->seg[f->n_seg - 1].number + 1;
	}
	return rc;
}

struct scan {
	struct spool_found *found;
	size_t cap;
	uint64_t last; /* sequence of the record before */
	uint8_t *room;
};

static int
keep_record(struct scan *s, const struct spool_record *r)
{
	struct spool_found *x = s->found;
	if (x->n_records == s->cap) {
		size_t cap = s->cap == 0 ? 256 : s->cap * 2;
		struct spool_record *all = realloc(x->records, cap * sizeof(*all));
		if (all == NULL)
			return -E_NOMEM;
		x->records = all;
		s->cap = cap;
	}
	x->records[x->n_records++] = *r;
	s->last = r->to;
	return 0;
}

/* Records until the end or the first that is not whole; the rest is cut off. */
static int
scan_segment(struct spool_files *f, struct segment *seg, struct scan *s)
{
	uint8_t header[HEADER];
	struct spool_record r;
	uint32_t crc;
	char name[20];
	struct stat st;
	segment_name(seg->number, name);
	int rc = 0, fd = openat(f->dir, name, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		return 0; /* what is missing shows as a gap in the sequence */
	uint64_t at = 0, size = fstat(fd, &st) == 0 ? (uint64_t)st.st_size : 0;
	while (rc == 0 && size - at >= HEADER) {
		if (!read_all(fd, header, HEADER, at) || get_header(header, &r, &crc) != 0 ||
		    r.len > size - at - HEADER || !read_all(fd, s->room, r.len, at + HEADER) ||
		    crc32c(crc32c(0, header + 8, HEADER - 8), s->room, r.len) != crc || r.seq <= s->last)
			break;
		r.segment = seg->number;
		r.where = at + HEADER;
		rc = keep_record(s, &r);
		at += HEADER + r.len;
	}
	seg->size = at;
	seg->last_seq = s->last;
	if (rc == 0 && at < size && ftruncate(fd, (off_t)at) != 0)
		rc = -E_IO;
	close(fd);
	return rc;
}

int
spool_files_scan(struct spool_files *f, struct spool_found *out)
{
	struct scan s = {.found = out, .room = malloc(FRAME_LIMIT)};
	*out = (struct spool_found){0};
	int rc = s.room == NULL ? -E_NOMEM : load_meta(f, &out->meta);
	if (rc == 0)
		rc = list_segments(f);
	for (size_t i = 0; rc == 0 && i < f->n_seg; i++)
		rc = scan_segment(f, &f->seg[i], &s);
	free(s.room);
	if (rc != 0) {
		spool_meta_fini(&out->meta);
		free(out->records);
		*out = (struct spool_found){0};
	}
	return rc;
}
