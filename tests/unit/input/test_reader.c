/* SPDX-License-Identifier: Apache-2.0
 * unit/input/test_reader.c - capture files of every kind, whole, cut and damaged. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "files.h"
#include "input/reader.h"

struct seen {
	unsigned n;
	int64_t ts[64];
	uint32_t caplen[64], wirelen[64];
	int linktype[64];
	int rc; /* of open, or what ended reading */
	bool is_open_failed;
	struct err err;
	struct reader_facts facts;
};

/** Read @path to its end. Frames are remembered, at most 64. */
static void
read_all(const char *path, struct seen *s)
{
	struct reader *r = NULL;
	struct flow_frame f[FLOW_BURST];
	int linktype;
	memset(s, 0, sizeof(*s));
	s->rc = reader_open(path, -1, &r, &s->err);
	s->is_open_failed = s->rc != 0;
	if (s->rc != 0)
		return;
	while (
	    (s->rc = reader_burst(r, f, FLOW_BURST, &linktype, &s->err)) > 0 || s->rc == -E_AGAIN)
		for (int i = 0; i < s->rc; i++, s->n++) {
			if (s->n >= 64)
				continue;
			s->ts[s->n] = f[i].ts_us;
			s->caplen[s->n] = f[i].caplen;
			s->wirelen[s->n] = f[i].wirelen;
			s->linktype[s->n] = linktype;
		}
	s->facts = reader_facts(r);
	reader_close(&r);
	assert_null(r);
}

static void
read_made(struct maker *m, struct seen *s)
{
	char path[64];
	assert_true(write_file(m, path));
	read_all(path, s);
	unlink(path);
}

static void
test_pcap_kinds(void **state)
{
	(void)state;
	uint8_t p[1600];
	uint32_t n = make_udp(p, 1, 1000, 10);
	for (int big = 0; big < 2; big++) {
		for (int nano = 0; nano < 2; nano++) {
			struct maker m = {buf_init(0), big};
			struct seen s;
			put_pcap_header(&m, nano ? 0xa1b23c4d : 0xa1b2c3d4, 2, 4, 0x14000001);
			put_pcap_packet(&m, 1700000000, nano ? 123456789 : 123456, p, n, n + 5);
			put_pcap_packet(&m, 4000000000u, 1, p, n, n);
			read_made(&m, &s);
			assert_int_equal(s.rc, 0);
			assert_int_equal(s.n, 2);
			assert_true(s.ts[0] == INT64_C(1700000000123456));
			assert_true(s.ts[1] == INT64_C(4000000000000000) + !nano);
			assert_int_equal(s.caplen[0], n);
			assert_int_equal(s.wirelen[0], n + 5);
			assert_int_equal(s.linktype[0], 1); /* the FCS bits are not part of it */
			assert_string_equal(s.facts.format, "pcap");
		}
	}
}

/** Versions before 2.3 have the two lengths the other way round, 2.3 has them either way. */
static void
test_pcap_old(void **state)
{
	(void)state;
	uint8_t p[1600];
	uint32_t n = make_udp(p, 1, 1000, 10);
	for (unsigned minor = 0; minor <= 3; minor++) {
		struct maker m = {buf_init(0), false};
		struct seen s;
		put_pcap_header(&m, 0xa1b2c3d4, 2, minor, 1);
		for (int i = 0; i < 3; i++) {
			put32(&m, 5);
			put32(&m, 6);
			put32(&m, n + 7); /* wire */
			put32(&m, n);	  /* captured */
			buf_put(&m.b, p, n);
		}
		read_made(&m, &s);
		assert_int_equal(s.rc, 0);
		assert_int_equal(s.n, 3);
		assert_int_equal(s.caplen[2], n);
		assert_int_equal(s.wirelen[2], n + 7);
	}
}

static void
expect_refused(struct maker *m, int code, const char *words)
{
	struct seen s;
	read_made(m, &s);
	assert_true(s.is_open_failed);
	assert_int_equal(s.rc, -code);
	if (strstr(s.err.text, words) == NULL)
		fail_msg("\"%s\" not in \"%s\"", words, s.err.text);
}

static void
test_refused(void **state)
{
	(void)state;
	struct maker m = {buf_init(0), false};
	put_pcap_header(&m, 0xa1b2c3d4, 1, 4, 1);
	expect_refused(&m, E_UNSUP, "pcap version 1.4");
	put_pcap_header(&m, 0xa1b2c3d4, 2, 5, 1);
	expect_refused(&m, E_UNSUP, "pcap version 2.5");
	put_pcap_header(&m, 0xa1b2c3d4, 2, 4, 127);
	expect_refused(&m, E_UNSUP, "link type 127 (IEEE802_11_RADIO)");
	buf_put(&m.b, "\x1f\x8b\x08\0\0\0\0\0", 8);
	expect_refused(&m, E_FORMAT, "zcat");
	buf_put(&m.b, "snoop\0\0\0\0\0\0\x02", 12);
	expect_refused(&m, E_FORMAT, "snoop");
	buf_str(&m.b, "hello, world, this is text");
	expect_refused(&m, E_FORMAT, "unknown file format");
	expect_refused(&m, E_FORMAT, "too short");
	buf_put(&m.b, "\xd4\xc3\xb2\xa1\x02\0\x04\0", 8);
	expect_refused(&m, E_FORMAT, "too short");
	struct seen s;
	read_all("/nonexistent/file.pcap", &s);
	assert_int_equal(s.rc, -E_NOENT);
	read_all("/tmp", &s);
	assert_int_equal(s.rc, -E_INVAL);
	assert_non_null(strstr(s.err.text, "directory"));
}

/** A file cut at every octet gives the whole packets before and says where it ends. */
static void
test_pcap_cut(void **state)
{
	(void)state;
	uint8_t p[1600];
	uint32_t n = make_udp(p, 1, 1000, 2);
	size_t whole = 24 + 3 * (16 + (size_t)n);
	for (size_t cut = 24; cut <= whole; cut++) {
		struct maker m = {buf_init(0), false};
		struct seen s;
		put_pcap_header(&m, 0xa1b2c3d4, 2, 4, 1);
		for (int i = 0; i < 3; i++)
			put_pcap_packet(&m, 1, 2, p, n, n);
		m.b.n = cut;
		read_made(&m, &s);
		assert_false(s.is_open_failed);
		assert_int_equal(s.n, (cut - 24) / (16 + n));
		if ((cut - 24) % (16 + n) == 0) {
			assert_int_equal(s.rc, 0);
		} else {
			assert_int_equal(s.rc, -E_TRUNC);
			assert_non_null(strstr(s.err.text, "cut short"));
		}
	}
}

/** An absurd length ends reading; the packets before it have been given. */
static void
test_pcap_damaged(void **state)
{
	(void)state;
	uint8_t p[1600];
	uint32_t n = make_udp(p, 1, 1000, 2);
	struct maker m = {buf_init(0), false};
	struct seen s;
	put_pcap_header(&m, 0xa1b2c3d4, 2, 4, 1);
	for (int i = 0; i < 40; i++)
		put_pcap_packet(&m, 1, 2, p, n, n);
	put32(&m, 1);
	put32(&m, 1);
	put32(&m, 0x7fffffff);
	put32(&m, 0x7fffffff);
	buf_put(&m.b, p, n);
	read_made(&m, &s);
	assert_int_equal(s.n, 40);
	assert_int_equal(s.rc, -E_FORMAT);
	assert_non_null(strstr(s.err.text, "packet 41"));
}

/** Packets longer than the buffer make it grow. */
static void
test_pcap_long(void **state)
{
	(void)state;
	static uint8_t big[700000];
	struct maker m = {buf_init(0), false};
	struct seen s;
	put_pcap_header(&m, 0xa1b2c3d4, 2, 4, 1);
	for (int i = 0; i < 5; i++)
		put_pcap_packet(&m, 1, 2, big, i % 2 != 0 ? sizeof(big) : 60, sizeof(big));
	read_made(&m, &s);
	assert_int_equal(s.rc, 0);
	assert_int_equal(s.n, 5);
	assert_int_equal(s.caplen[3], sizeof(big));
}

static void
put_section(struct maker *m)
{
	struct maker body = {buf_init(0), m->is_big};
	put32(&body, 0x1a2b3c4d);
	put16(&body, 1);
	put16(&body, 0);
	put32(&body, 0xffffffff);
	put32(&body, 0xffffffff);
	put_block(m, 0x0a0d0d0a, &body);
	buf_fini(&body.b);
}

/** @resolution as in if_tsresol, -1 none; @offset seconds, 0 none. */
static void
put_interface(struct maker *m, uint16_t linktype, int resolution, uint32_t offset)
{
	struct maker body = {buf_init(0), m->is_big};
	put16(&body, linktype);
	put16(&body, 0);
	put32(&body, 0);
	if (resolution >= 0) {
		put16(&body, 9);
		put16(&body, 1);
		buf_put(&body.b, (uint8_t[]){(uint8_t)resolution, 0, 0, 0}, 4);
	}
	if (offset != 0) {
		put16(&body, 14);
		put16(&body, 8);
		put32(&body, m->is_big ? 0 : offset);
		put32(&body, m->is_big ? offset : 0);
	}
	put16(&body, 0);
	put16(&body, 0);
	put_block(m, 1, &body);
	buf_fini(&body.b);
}

static void
put_enhanced(struct maker *m, uint32_t iface, uint64_t t, const uint8_t *p, uint32_t n)
{
	struct maker body = {buf_init(0), m->is_big};
	put32(&body, iface);
	put32(&body, (uint32_t)(t >> 32));
	put32(&body, (uint32_t)t);
	put32(&body, n);
	put32(&body, n);
	buf_put(&body.b, p, n);
	put_block(m, 6, &body);
	buf_fini(&body.b);
}

static void
put_unknown(struct maker *m, size_t n)
{
	struct maker body = {buf_init(0), m->is_big};
	memset(buf_room(&body.b, n), 7, n);
	body.b.n = n;
	put_block(m, 0xbad, &body);
	buf_fini(&body.b);
}

static void
test_pcapng(void **state)
{
	(void)state;
	uint8_t p[1600];
	uint32_t n = make_udp(p, 1, 1000, 11);
	for (int big = 0; big < 2; big++) {
		struct maker m = {buf_init(0), big};
		struct seen s;
		put_section(&m);
		put_interface(&m, 1, -1, 0);
		put_interface(&m, 1, 9, 0);	 /* nanoseconds */
		put_interface(&m, 101, 0x8a, 0); /* 1/1024 s, another link type */
		put_interface(&m, 1, 3, 100);	 /* milliseconds, 100 s later */
		put_interface(&m, 147, -1, 0);	 /* not decodable */
		put_enhanced(&m, 0, UINT64_C(1700000000123456), p, n);
		put_enhanced(&m, 1, UINT64_C(1700000000123456789), p, n);
		put_unknown(&m, 1000000); /* longer than the buffer */
		put_enhanced(&m, 2, 1024 * 7 + 512, p + 14, n - 14);
		put_enhanced(&m, 3, 5001, p, n);
		put_enhanced(&m, 4, 1, p, n);
		m.is_big = !big; /* the next section may have the other byte order */
		put_section(&m);
		put_interface(&m, 1, -1, 0);
		put_enhanced(&m, 0, 42, p, n);
		read_made(&m, &s);
		assert_int_equal(s.rc, 0);
		assert_int_equal(s.n, 5);
		assert_true(s.ts[0] == INT64_C(1700000000123456));
		assert_true(s.ts[1] == INT64_C(1700000000123456));
		assert_true(s.ts[2] == 7500000);
		assert_true(s.ts[3] == 105001000);
		assert_true(s.ts[4] == 42);
		assert_int_equal(s.linktype[1], 1);
		assert_int_equal(s.linktype[2], 101);
		assert_int_equal(s.linktype[3], 1);
		assert_int_equal(s.facts.packets, 6);
		assert_int_equal(s.facts.skipped, 1);
		assert_int_equal(s.facts.skipped_linktype, 147);
		assert_string_equal(s.facts.format, "pcapng");
	}
}

static void
test_pcapng_bad(void **state)
{
	(void)state;
	uint8_t p[1600];
	uint32_t n = make_udp(p, 1, 1000, 11);
	struct maker m = {buf_init(0), false};
	struct seen s;
	put_section(&m);
	put_interface(&m, 147, -1, 0);
	put_enhanced(&m, 0, 1, p, n);
	expect_refused(&m, E_UNSUP, "link type 147");
	put_section(&m);
	put_interface(&m, 1, 30, 0); /* 10^-30 s */
	put_enhanced(&m, 0, 1, p, n);
	expect_refused(&m, E_UNSUP, "time resolution");
	put_section(&m);
	put_enhanced(&m, 0, 1, p, n);
	expect_refused(&m, E_FORMAT, "interface that was not described");
	/* a file without packets is fine; one that ends in a block is not */
	put_section(&m);
	read_made(&m, &s);
	assert_int_equal(s.rc, 0);
	assert_int_equal(s.n, 0);
	put_section(&m);
	put_interface(&m, 1, -1, 0);
	put_enhanced(&m, 0, 1, p, n);
	put_enhanced(&m, 0, 1, p, n);
	m.b.n -= 4;
	read_made(&m, &s);
	assert_int_equal(s.rc, -E_TRUNC);
	assert_int_equal(s.n, 1);
	/* a block length that is not a multiple of 4, behind a good packet */
	put_section(&m);
	put_interface(&m, 1, -1, 0);
	put_enhanced(&m, 0, 1, p, n);
	put32(&m, 6);
	put32(&m, 33);
	put32(&m, 0);
	read_made(&m, &s);
	assert_int_equal(s.rc, -E_FORMAT);
	assert_int_equal(s.n, 1);
}

/** A FIFO: nothing is read at open, packets come as they are written, the wake-up ends waiting. */
static void
test_pipe(void **state)
{
	(void)state;
	char dir[] = "/tmp/flowbus-test-XXXXXX", path[64];
	struct flow_frame f[FLOW_BURST];
	struct err err = {0};
	struct reader *r = NULL;
	struct wake wake;
	struct maker m = {buf_init(0), true};
	uint8_t p[1600];
	int linktype;
	uint32_t n = make_udp(p, 1, 1000, 11);
	assert_non_null(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/fifo", dir);
	assert_int_equal(mkfifo(path, 0600), 0);
	assert_int_equal(wake_init(&wake), 0);
	assert_int_equal(reader_open(path, wake.fd, &r, &err), 0);
	assert_true(reader_is_pipe(r));
	assert_int_equal(reader_burst(r, f, FLOW_BURST, &linktype, &err), -E_AGAIN);
	FILE *w = fopen(path, "wb");
	assert_non_null(w);
	put_pcap_header(&m, 0xa1b2c3d4, 2, 4, 1);
	put_pcap_packet(&m, 9, 1, p, n, n);
	put_pcap_packet(&m, 9, 2, p, n, n);
	/* in two pieces, the second beginning inside the second packet */
	fwrite(m.b.p, 1, m.b.n - 20, w);
	fflush(w);
	assert_int_equal(reader_burst(r, f, FLOW_BURST, &linktype, &err), 1);
	assert_int_equal(reader_burst(r, f, FLOW_BURST, &linktype, &err), -E_AGAIN);
	fwrite(m.b.p + m.b.n - 20, 1, 20, w);
	fflush(w);
	assert_int_equal(reader_burst(r, f, FLOW_BURST, &linktype, &err), 1);
	assert_true(f[0].ts_us == 9000002);
	wake_signal(&wake);
	assert_int_equal(reader_burst(r, f, FLOW_BURST, &linktype, &err), -E_AGAIN);
	wake_clear(&wake);
	fclose(w);
	assert_int_equal(reader_burst(r, f, FLOW_BURST, &linktype, &err), 0);
	reader_close(&r);
	wake_fini(&wake);
	buf_fini(&m.b);
	unlink(path);
	rmdir(dir);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_pcap_kinds),
	    cmocka_unit_test(test_pcap_old),
	    cmocka_unit_test(test_refused),
	    cmocka_unit_test(test_pcap_cut),
	    cmocka_unit_test(test_pcap_damaged),
	    cmocka_unit_test(test_pcap_long),
	    cmocka_unit_test(test_pcapng),
	    cmocka_unit_test(test_pcapng_bad),
	    cmocka_unit_test(test_pipe),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
