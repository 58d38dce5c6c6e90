/* SPDX-License-Identifier: Apache-2.0
 * unit/link/test_spool.c - the files of a spool: what was written comes back, what was torn or
 * damaged never does. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/hash.h"
#include "link/spool_disk.h"

enum { RECORDS = 60, FRAME = 3000 };

static char top[64];
static int root;

static int
setup(void **state)
{
	(void)state;
	snprintf(top, sizeof(top), "/tmp/fbspoolXXXXXX");
	assert_non_null(mkdtemp(top));
	root = open(top, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_true(root >= 0);
	return 0;
}

static int
teardown(void **state)
{
	(void)state;
	spool_files_drop(root, 7);
	close(root);
	assert_int_equal(rmdir(top), 0); /* nothing is left behind */
	return 0;
}

/* Deterministic octets of record @seq. */
static uint32_t
frame_of(uint64_t seq, uint8_t out[FRAME])
{
	uint32_t n = (uint32_t)(seq * 7919 % FRAME);
	for (uint32_t i = 0; i < n; i++)
		out[i] = (uint8_t)(seq * 31 + i * 7);
	return n;
}

static void
save_meta(struct spool_files *f, uint64_t next, bool is_clean)
{
	struct spool_cursor k[2] = {{.node_id = 11, .sub = 1, .first = 3, .acked = 9, .stats = true,
	    .peer_end = "in", .peer = "col", .user = "shared"}, {.node_id = 12, .acked = 4}};
	struct field_set want = {{0, 0}};
	field_set_add(&want, F_src_addr);
	field_set_add(&want, F_bytes);
	char filter[] = "app http";
	struct spool_meta m = {.id = f->id, .next_seq = next, .is_clean = is_clean, .is_auto = true,
	    .codec = FRAME_ZSTD, .want = want, .filter = filter, .cursors = k, .n_cursors = 2};
	struct buf b = buf_init(0);
	spool_meta_encode(&m, &b);
	assert_int_equal(b.err, 0);
	assert_int_equal(spool_files_meta(f, &b), 0);
	buf_fini(&b);
}

/* Records 1..RECORDS, each tenth a hole of three sequences; small segments. */
static uint64_t
fill(void)
{
	uint8_t frame[FRAME];
	struct spool_files *f = spool_files_open(root, 7, 20000);
	assert_non_null(f);
	uint64_t seq = 1;
	for (int i = 1; i <= RECORDS; i++) {
		struct spool_record r = {.seq = seq, .to = seq, .sealed_us = 1000 + i, .flows = (uint32_t)i,
		    .raw_len = 5};
		if (i % 10 == 0) {
			r.to = seq + 2;
			r.cause = 2;
		} else {
			r.len = frame_of(seq, frame);
		}
		assert_int_equal(spool_files_append(f, &r, frame), 0);
		assert_true(r.segment > 0);
		seq = r.to + 1;
	}
	save_meta(f, seq, false);
	spool_files_free(&f);
	return seq;
}

/* What is found is right, in order, and reads back. Returns how many records. */
static size_t
check(struct spool_found *x)
{
	uint8_t want[FRAME], got[FRAME];
	uint64_t last = 0;
	struct spool_files *f = spool_files_open(root, 7, 20000);
	assert_non_null(f);
	assert_int_equal(spool_files_scan(f, x), 0);
	for (size_t i = 0; i < x->n_records; i++) {
		const struct spool_record *r = &x->records[i];
		assert_true(r->seq > last);
		last = r->to;
		if (r->len == 0) {
			assert_int_equal(r->cause, 2);
			continue;
		}
		assert_int_equal(r->len, frame_of(r->seq, want));
		int fd = spool_files_segment(f, r->segment);
		assert_int_equal(spool_files_read(fd, r, got), 0);
		assert_memory_equal(got, want, r->len);
		close(fd);
	}
	spool_files_free(&f);
	return x->n_records;
}

static void
forget(struct spool_found *x)
{
	spool_meta_fini(&x->meta);
	free(x->records);
}

static void
comes_back(void **state)
{
	struct spool_found x;
	(void)state;
	uint64_t next = fill();
	assert_int_equal(check(&x), RECORDS);
	assert_int_equal(x.meta.next_seq, next);
	assert_false(x.meta.is_clean);
	assert_true(x.meta.is_auto);
	assert_int_equal(x.meta.codec, FRAME_ZSTD);
	assert_string_equal(x.meta.filter, "app http");
	assert_true(field_set_has(&x.meta.want, F_bytes));
	assert_false(field_set_has(&x.meta.want, F_packets));
	assert_int_equal(x.meta.n_cursors, 2);
	assert_int_equal(x.meta.cursors[0].acked, 9);
	assert_string_equal(x.meta.cursors[0].user, "shared");
	assert_int_equal(x.records[9].to, x.records[9].seq + 2);
	forget(&x);
}

static char segment_path[200];

static uint64_t
last_segment(void)
{
	struct stat st;
	for (unsigned n = 1; n < 1000; n++) {
		char path[200];
		snprintf(path, sizeof(path), "%s/%016x/%08x.seg", top, 7, n);
		if (stat(path, &st) != 0)
			break;
		snprintf(segment_path, sizeof(segment_path), "%s", path);
	}
	assert_int_equal(stat(segment_path, &st), 0);
	return (uint64_t)st.st_size;
}

/* Cut anywhere, the whole records before the cut are there, and writing goes on behind them. */
static void
torn(void **state)
{
	struct spool_found x;
	uint8_t frame[FRAME];
	(void)state;
	size_t before = RECORDS;
	uint64_t seq = fill();
	for (int i = 0; i < 60; i++) {
		uint64_t size = last_segment(), cut = 1 + (uint64_t)(i * 37) % 900;
		if (size <= cut)
			break;
		assert_int_equal(truncate(segment_path, (off_t)(size - cut)), 0);
		size_t n = check(&x);
		assert_true(n < before && n > 0);
		before = n;
		seq = x.records[n - 1].to + 1;
		forget(&x);
	}
	struct spool_files *f = spool_files_open(root, 7, 20000);
	assert_int_equal(spool_files_scan(f, &x), 0);
	struct spool_record r = {.seq = seq, .to = seq, .len = frame_of(seq, frame)};
	assert_int_equal(spool_files_append(f, &r, frame), 0);
	spool_files_free(&f);
	forget(&x);
	assert_int_equal(check(&x), before + 1);
	forget(&x);
}

/* One bit wrong anywhere: no record is ever given that differs from what was written. */
static void
damaged(void **state)
{
	(void)state;
	for (int i = 0; i < 40; i++) {
		struct spool_found x;
		uint32_t where;
		uint8_t byte;
		spool_files_drop(root, 7);
		fill();
		uint64_t size = last_segment();
		random_bytes(&where, sizeof(where));
		int fd = open(segment_path, O_RDWR | O_CLOEXEC);
		assert_int_equal(pread(fd, &byte, 1, where % size), 1);
		byte ^= (uint8_t)(1 << (where >> 29));
		assert_int_equal(pwrite(fd, &byte, 1, where % size), 1);
		close(fd);
		assert_true(check(&x) < RECORDS);
		forget(&x);
	}
}

/* Settled segments go, the others stay; without a usable meta nothing is given. */
static void
trimmed(void **state)
{
	struct spool_found x;
	(void)state;
	uint64_t next = fill();
	struct spool_files *f = spool_files_open(root, 7, 20000);
	assert_int_equal(spool_files_scan(f, &x), 0);
	size_t n = f->n_seg;
	forget(&x);
	assert_true(n > 3);
	spool_files_trim(f, f->seg[1].last_seq);
	assert_int_equal(f->n_seg, n - 2);
	spool_files_trim(f, f->seg[0].last_seq - 1);
	assert_int_equal(f->n_seg, n - 2);
	uint64_t first = f->seg[0].last_seq;
	spool_files_free(&f);
	size_t left = check(&x);
	assert_true(left > 0 && left < RECORDS && x.records[0].seq <= first);
	forget(&x);
	f = spool_files_open(root, 7, 20000);
	assert_int_equal(spool_files_scan(f, &x), 0);
	spool_files_trim(f, next);
	assert_int_equal(f->n_seg, 0);
	forget(&x);
	int fd = openat(f->dir, "meta", O_WRONLY | O_CLOEXEC);
	assert_int_equal(pwrite(fd, "X", 1, 30), 1);
	close(fd);
	assert_int_equal(spool_files_scan(f, &x), -E_FORMAT);
	spool_files_free(&f);
}

/* Meta from anywhere: every cut and every flipped bit is refused. */
static void
meta_is_checked(void **state)
{
	struct spool_meta m = {.id = 7, .next_seq = 1, .codec = FRAME_ZLIB}, r;
	char filter[] = "proto tcp";
	struct buf b = buf_init(0);
	(void)state;
	m.filter = filter;
	spool_meta_encode(&m, &b);
	for (size_t n = 0; n < b.n; n++)
		assert_int_equal(spool_meta_decode(b.p, n, &r), -E_FORMAT);
	for (size_t i = 0; i < b.n * 8; i++) {
		b.p[i / 8] ^= (uint8_t)(1 << i % 8);
		assert_int_equal(spool_meta_decode(b.p, b.n, &r), -E_FORMAT);
		b.p[i / 8] ^= (uint8_t)(1 << i % 8);
	}
	assert_int_equal(spool_meta_decode(b.p, b.n, &r), 0);
	spool_meta_fini(&r);
	buf_fini(&b);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(comes_back, setup, teardown),
	    cmocka_unit_test_setup_teardown(torn, setup, teardown),
	    cmocka_unit_test_setup_teardown(damaged, setup, teardown),
	    cmocka_unit_test_setup_teardown(trimmed, setup, teardown),
	    cmocka_unit_test(meta_is_checked),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
