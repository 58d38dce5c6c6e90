/* SPDX-License-Identifier: Apache-2.0
 * test_frame.c - the frame codec: what goes in comes out; nothing else is believed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/err.h"
#include "base/hash.h"
#include "batch/frame.h"

/* The second decoder (tests/tools/frame.py) compares what this program leaves in FRAME_DUMP. */
static const char *dump_dir;
static unsigned n_dumped;

static uint64_t seed = 1;

static uint64_t
rnd(void)
{
	seed += UINT64_C(0x9e3779b97f4a7c15);
	uint64_t x = (seed ^ seed >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
	return x ^ x >> 31;
}

enum shape { EQUAL, FEW, SMALL, WIDE, RISING, EXTREME, MIXED, SHAPES };

static uint64_t
number(enum shape shape, uint32_t row, enum field f)
{
	switch (shape) {
	case EQUAL:
		return (uint64_t)f * 7919;
	case FEW:
		return (rnd() % 300) * 65537;
	case SMALL:
		return rnd() % 20;
	case WIDE:
		return rnd();
	case RISING:
		return 1700000000000000 + row * 1000 + rnd() % 1500;
	case EXTREME:
		return rnd() % 2 == 0 ? UINT64_MAX - rnd() % 3 : UINT64_C(1) << 63 | rnd() % 3;
	case MIXED:
	case SHAPES:
	default:
		return rnd() >> rnd() % 64;
	}
}

static uint64_t
cut_to(enum field f, uint64_t v)
{
	if (field_info[f].type == FT_MAC)
		return v & ((UINT64_C(1) << 48) - 1);
	size_t width = field_width(f);
	return width >= 8 ? v : v & ((UINT64_C(1) << 8 * width) - 1);
}

static void
set_addr(struct batch *b, enum field f, uint32_t row, enum shape shape)
{
	struct addr a;
	uint64_t hi = number(shape, row, f), lo = rnd() >> rnd() % 64;
	memcpy(a.b, &hi, 8);
	memcpy(a.b + 8, &lo, 8);
	if (shape == EQUAL || rnd() % 3 != 0) {
		uint8_t v4[4] = {10, (uint8_t)(shape == WIDE ? rnd() : 0), 1,
		    (uint8_t)(shape == EQUAL ? 9 : rnd())};
		a = addr_v4(v4);
	}
	assert_true(batch_set_addr(b, f, row, &a));
}

static void
set_text(struct batch *b, enum field f, uint32_t row, enum shape shape)
{
	char text[TEXT_MAX + 8];
	size_t n = shape == EQUAL ? 5 : shape == EXTREME ? TEXT_MAX + rnd() % 3 : rnd() % 30;
	uint64_t few = rnd() % 7;
	for (size_t i = 0; i < n; i++)
		text[i] = (char)(shape == WIDE ? rnd() : shape == EQUAL ? 'e' : 'a' + few);
	assert_true(batch_set_text(b, f, row, (struct strv){text, n}));
}

static void
set_one(struct batch *b, enum field f, uint32_t row, enum shape shape)
{
	if (field_info[f].type == FT_ADDR)
		set_addr(b, f, row, shape);
	else if (field_info[f].type == FT_TEXT)
		set_text(b, f, row, shape);
	else
		assert_true(batch_set_u(b, f, row, cut_to(f, number(shape, row, f))));
}

/* A batch of @n rows in which every stored field of @want has a value in about @percent of them. */
static struct batch *
make(struct batch_pool *pool, uint32_t n, struct field_set want, int shape, unsigned percent)
{
	struct batch *b = batch_pool_get(pool);
	assert_non_null(b);
	b->n = n;
	for (int f = 0; f < F_COUNT; f++) {
		enum shape s = shape < SHAPES ? (enum shape)shape : (enum shape)(rnd() % SHAPES);
		unsigned p = percent <= 100 ? percent : (unsigned)(rnd() % 3 * 50);
		if (!field_set_has(&want, (enum field)f))
			continue;
		for (uint32_t row = 0; row < n; row++) {
			if (b->text_len > 4 << 20 && field_info[f].type == FT_TEXT)
				break;
			if (rnd() % 100 < p)
				set_one(b, (enum field)f, row, s);
		}
	}
	batch_seal(b, 1);
	return b;
}

static void
assert_cell_equal(const struct batch *a, const struct batch *b, enum field f, uint32_t row)
{
	struct value x, y;
	bool has = batch_value(a, f, row, &x);
	assert_int_equal(has, batch_value(b, f, row, &y));
	if (!has)
		return;
	if (field_info[f].type == FT_TEXT) {
		assert_true(strv_eq(x.text, y.text));
		if ((field_info[f].flags & FF_DERIVED) == 0) {
			const struct text *s = a->col[f].data, *t = b->col[f].data;
			assert_int_equal(s[row].cut, t[row].cut);
		}
	} else if (field_info[f].type == FT_ADDR) {
		assert_memory_equal(x.addr.b, y.addr.b, 16);
	} else {
		assert_true(x.u == y.u);
	}
}

static void
assert_batch_equal(const struct batch *a, const struct batch *b)
{
	assert_int_equal(a->n, b->n);
	assert_true(a->min_start == b->min_start);
	assert_true(a->max_end == b->max_end);
	assert_true(field_set_eq(a->used, b->used));
	for (int f = 0; f < F_COUNT; f++) {
		for (uint32_t row = 0; row < a->n; row++)
			assert_cell_equal(a, b, (enum field)f, row);
	}
}

static void
write_file(const char *suffix, const void *p, size_t n)
{
	char path[4096];
	snprintf(path, sizeof(path), "%s/%04u.%s", dump_dir, n_dumped, suffix);
	FILE *f = fopen(path, "wb");
	assert_non_null(f);
	assert_int_equal(fwrite(p, 1, n, f), n);
	assert_int_equal(fclose(f), 0);
}

static void
rows_json(struct buf *out, const struct batch *b)
{
	for (uint32_t row = 0; row < b->n; row++) {
		batch_row_json(out, b, row, field_set_all(), VALUE_JSON_US);
		buf_u8(out, '\n');
	}
}

static void
dump(const struct batch *b, const uint8_t *p, size_t n)
{
	struct buf json = buf_init(0);
	rows_json(&json, b);
	write_file("frame", p, n);
	write_file("jsonl", json.n > 0 ? (const char *)json.p : "", json.n);
	buf_fini(&json);
	n_dumped++;
}

static void
round_trip(struct frame_work *w, struct batch_pool *pool, const struct batch *a, int codec)
{
	struct buf out = buf_init(0);
	size_t raw = 0;
	unsigned skipped = 9;
	struct frame_info info;
	buf_str(&out, "before");
	assert_int_equal(
	    frame_encode(w, a, field_set_all(), (enum frame_codec)codec, 0, &out, &raw), 0);
	assert_memory_equal(out.p, "before", 6);
	assert_int_equal(frame_peek(out.p + 6, out.n - 6, &info), 0);
	assert_int_equal(info.raw_len, raw);
	assert_int_equal(info.flows, a->n);
	struct batch *b = batch_pool_get(pool);
	assert_int_equal(frame_decode(w, out.p + 6, out.n - 6, b, 2, &skipped), 0);
	assert_int_equal(skipped, 0);
	assert_batch_equal(a, b);
	if (dump_dir != NULL && codec != FRAME_ZSTD && a->n <= 300 && out.n < 100000)
		dump(b, out.p + 6, out.n - 6);
	batch_unref(&b);
	buf_fini(&out);
}

static void
test_round_trips(void **state)
{
	static const uint32_t sizes[] = {0, 1, 2, 7, 15, 16, 17, 64, 65, 300, 1024, 4095, 4096};
	struct frame_work *w = frame_work_new();
	struct batch_pool *pool = batch_pool_new(2);
	(void)state;
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		for (int shape = 0; shape <= SHAPES; shape++) {
			if (sizes[i] > 2000 && shape == EXTREME)
				continue; /* texts beyond the frame's limit: test_too_large */
			struct batch *a = make(pool, sizes[i], field_set_all(), shape,
			    shape == SHAPES ? 101 : 100 - (unsigned)(i % 3) * 40);
			for (int codec = 0; codec < FRAME_CODECS; codec++)
				round_trip(w, pool, a, codec);
			batch_unref(&a);
		}
	}
	batch_pool_free(&pool);
	frame_work_free(&w);
}

/* Many small batches of random fields, sizes, shapes and densities. */
static void
test_random_batches(void **state)
{
	struct frame_work *w = frame_work_new();
	struct batch_pool *pool = batch_pool_new(2);
	(void)state;
	for (int i = 0; i < 400; i++) {
		struct field_set some = {{rnd() & rnd(), rnd() & rnd()}};
		some.w[0] &= field_set_all().w[0];
		some.w[1] &= field_set_all().w[1];
		struct batch *a = make(pool, (uint32_t)(rnd() % 200), some, SHAPES, 101);
		round_trip(w, pool, a, (int)(rnd() % FRAME_CODECS));
		batch_unref(&a);
	}
	batch_pool_free(&pool);
	frame_work_free(&w);
}

static void
test_empty_and_absent_text(void **state)
{
	struct frame_work *w = frame_work_new();
	struct batch_pool *pool = batch_pool_new(2);
	struct batch *a = batch_pool_get(pool), *b = batch_pool_get(pool);
	struct buf out = buf_init(0);
	struct value v;
	(void)state;
	a->n = 3;
	assert_true(batch_set_text(a, F_http_host, 0, STRV("")));
	assert_true(batch_set_text(a, F_http_host, 2, STRV("x")));
	batch_seal(a, 0);
	assert_int_equal(frame_encode(w, a, field_set_all(), FRAME_ZSTD, 0, &out, NULL), 0);
	assert_int_equal(frame_decode(w, out.p, out.n, b, 0, NULL), 0);
	assert_true(batch_value(b, F_http_host, 0, &v));
	assert_int_equal(v.text.n, 0);
	assert_false(batch_value(b, F_http_host, 1, &v));
	assert_true(batch_value(b, F_http_host, 2, &v));
	assert_true(strv_eq(v.text, STRV("x")));
	buf_fini(&out);
	batch_unref(&a);
	batch_unref(&b);
	batch_pool_free(&pool);
	frame_work_free(&w);
}

static void
test_only_wanted_fields(void **state)
{
	struct frame_work *w = frame_work_new();
	struct batch_pool *pool = batch_pool_new(2);
	struct batch *a = make(pool, 100, field_set_all(), SMALL, 100), *b = batch_pool_get(pool);
	struct field_set want = {{0, 0}};
	struct buf out = buf_init(0);
	(void)state;
	field_set_add(&want, F_bytes);
	field_set_add(&want, F_app);
	field_set_add(&want, F_duration); /* derived: never in a frame */
	assert_int_equal(frame_encode(w, a, want, FRAME_ZLIB, 0, &out, NULL), 0);
	assert_int_equal(frame_decode(w, out.p, out.n, b, 0, NULL), 0);
	want = (struct field_set){{0, 0}};
	field_set_add(&want, F_bytes);
	field_set_add(&want, F_app);
	assert_true(field_set_eq(b->used, want));
	assert_true(b->min_start == a->min_start && b->max_end == a->max_end);
	buf_fini(&out);
	batch_unref(&a);
	batch_unref(&b);
	batch_pool_free(&pool);
	frame_work_free(&w);
}

static void
test_too_large(void **state)
{
	struct frame_work *w = frame_work_new();
	struct batch_pool *pool = batch_pool_new(1);
	struct batch *a = batch_pool_get(pool);
	struct buf out = buf_init(0);
	char text[TEXT_MAX];
	(void)state;
	/* 8128 different texts of 1024 bytes fit the arena, but not a frame with their headers */
	a->n = BATCH_ROWS;
	for (uint32_t i = 0; i < 2 * BATCH_ROWS; i++) {
		for (size_t k = 0; k < sizeof(text); k++)
			text[k] = (char)rnd();
		(void)batch_set_text(a, i < BATCH_ROWS ? F_http_host : F_http_url, i % BATCH_ROWS,
		    (struct strv){text, sizeof(text)});
	}
	for (uint32_t i = 0; i < BATCH_ROWS; i++)
		assert_true(batch_set_u(a, F_packets, i, rnd()));
	batch_seal(a, 0);
	buf_str(&out, "kept");
	int r = frame_encode(w, a, field_set_all(), FRAME_ZSTD, 0, &out, NULL);
	assert_int_equal(r, -E_LIMIT);
	assert_int_equal(out.n, 4);
	/* and the working memory is good afterwards */
	struct field_set want = {{0, 0}};
	field_set_add(&want, F_packets);
	assert_int_equal(frame_encode(w, a, want, FRAME_ZSTD, 0, &out, NULL), 0);
	buf_fini(&out);
	batch_unref(&a);
	batch_pool_free(&pool);
	frame_work_free(&w);
}

static int
decode(struct frame_work *w, struct batch_pool *pool, const uint8_t *p, size_t n)
{
	/* an exact copy, so that reading beyond it is seen by the sanitizers */
	uint8_t *exact = malloc(n > 0 ? n : 1);
	assert_non_null(exact);
	memcpy(exact, p, n);
	struct batch *b = batch_pool_get(pool);
	assert_non_null(b);
	int r = frame_decode(w, exact, n, b, 0, NULL);
	batch_unref(&b);
	free(exact);
	return r;
}

static void
put_crc(uint8_t *p, size_t n)
{
	uint32_t crc = crc32c(crc32c(0, p, 20), p + 24, n - 24);
	for (int i = 0; i < 4; i++)
		p[20 + i] = (uint8_t)(crc >> 8 * i);
}

/* Cut at every byte, with the length as it was and with lengths and checksum made to fit. */
static void
test_truncated(void **state)
{
	struct frame_work *w = frame_work_new();
	struct batch_pool *pool = batch_pool_new(2);
	struct batch *a = make(pool, 60, field_set_all(), SHAPES, 101);
	(void)state;
	for (int codec = 0; codec < FRAME_CODECS; codec++) {
		struct buf out = buf_init(0);
		assert_int_equal(
		    frame_encode(w, a, field_set_all(), (enum frame_codec)codec, 0, &out, NULL), 0);
		for (size_t n = 0; n < out.n; n++) {
			assert_int_equal(decode(w, pool, out.p, n), -E_TRUNC);
			if (n < FRAME_HEADER)
				continue;
			uint8_t *p = malloc(n);
			assert_non_null(p);
			memcpy(p, out.p, n);
			for (int i = 0; i < 4; i++) {
				p[16 + i] = (uint8_t)((n - FRAME_HEADER) >> 8 * i);
				if (codec == FRAME_NONE)
					p[12 + i] = p[16 + i];
			}
			put_crc(p, n);
			assert_int_equal(decode(w, pool, p, n), -E_FORMAT);
			free(p);
		}
		buf_u8(&out, 0);
		assert_int_equal(decode(w, pool, out.p, out.n), -E_FORMAT);
		buf_fini(&out);
	}
	batch_unref(&a);
	batch_pool_free(&pool);
	frame_work_free(&w);
}

static void
test_every_bit(void **state)
{
	struct frame_work *w = frame_work_new();
	struct batch_pool *pool = batch_pool_new(2);
	struct batch *a = make(pool, 40, field_set_base(), SHAPES, 100);
	struct buf out = buf_init(0);
	(void)state;
	assert_int_equal(frame_encode(w, a, field_set_all(), FRAME_ZSTD, 0, &out, NULL), 0);
	for (size_t bit = 0; bit < out.n * 8; bit++) {
		out.p[bit / 8] ^= (uint8_t)(1 << bit % 8);
		int r = decode(w, pool, out.p, out.n);
		assert_true(r < 0);
		if (bit / 8 >= FRAME_HEADER || (bit / 8 >= 20 && bit / 8 < FRAME_HEADER))
			assert_int_equal(r, -E_CRC);
		out.p[bit / 8] ^= (uint8_t)(1 << bit % 8);
	}
	assert_int_equal(decode(w, pool, out.p, out.n), 0);
	buf_fini(&out);
	batch_unref(&a);
	batch_pool_free(&pool);
	frame_work_free(&w);
}

/* Damage with a checksum that fits: any answer but a crash, and a whole batch when it is 0. */
static void
test_damaged_on_purpose(void **state)
{
	struct frame_work *w = frame_work_new();
	struct batch_pool *pool = batch_pool_new(2);
	unsigned good = 0, bad = 0;
	(void)state;
	for (int i = 0; i < 60; i++) {
		struct batch *a = make(pool, 1 + (uint32_t)(rnd() % 120), field_set_all(), SHAPES, 101);
		struct buf out = buf_init(0);
		assert_int_equal(frame_encode(w, a, field_set_all(), FRAME_NONE, 0, &out, NULL), 0);
		for (int k = 0; k < 200; k++) {
			size_t at = FRAME_HEADER + rnd() % (out.n - FRAME_HEADER);
			uint8_t was = out.p[at];
			out.p[at] = (uint8_t)rnd();
			put_crc(out.p, out.n);
			int r = decode(w, pool, out.p, out.n);
			assert_true(r == 0 || r == -E_FORMAT);
			good += r == 0;
			bad += r != 0;
			out.p[at] = was;
		}
		buf_fini(&out);
		batch_unref(&a);
	}
	assert_true(good > 0 && bad > 0);
	batch_pool_free(&pool);
	frame_work_free(&w);
}

/* A frame by hand: header around @body, checksum included. */
static size_t
by_hand(uint8_t *p, uint32_t flows, uint16_t columns, const uint8_t *body, size_t n)
{
	memset(p, 0, FRAME_HEADER);
	memcpy(p, "FBF1\1\0", 6);
	p[6] = (uint8_t)columns;
	p[8] = (uint8_t)flows;
	p[9] = (uint8_t)(flows >> 8);
	p[12] = p[16] = (uint8_t)n;
	memcpy(p + FRAME_HEADER, body, n);
	put_crc(p, FRAME_HEADER + n);
	return FRAME_HEADER + n;
}

static void
test_by_hand(void **state)
{
	static const struct {
		const char *what;
		uint32_t flows;
		uint16_t columns;
		uint8_t n, body[40];
		int result;
		unsigned skipped;
	} cases[] = {
	    {"proto 6", 2, 1, 16, {5, 0, 0, 0, 8, 0, 0, 0, 6}, 0, 0},
	    {"unknown field", 2, 1, 16, {0xe7, 3, 0, 0, 8, 0, 0, 0, 6}, 0, 1},
	    {"derived field", 2, 1, 16, {0xe9, 3, 0, 0, 8, 0, 0, 0, 6}, 0, 1},
	    {"unknown encoding", 2, 1, 16, {5, 0, 99, 0, 8, 0, 0, 0, 6}, 0, 1},
	    {"unknown flag", 2, 1, 16, {5, 0, 0, 4, 8, 0, 0, 0, 6}, 0, 1},
	    {"twice", 2, 2, 32,
		{5, 0, 0, 0, 8, 0, 0, 0, 6, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 8, 0, 0, 0, 6},
		-E_FORMAT, 0},
	    {"too wide", 2, 1, 16, {5, 0, 0, 0, 8, 0, 0, 0, 6, 1}, -E_FORMAT, 0},
	    {"length beyond", 2, 1, 16, {5, 0, 0, 0, 9, 0, 0, 0, 6}, -E_FORMAT, 0},
	    {"length short", 2, 1, 15, {5, 0, 0, 0, 7, 0, 0, 0, 6}, -E_FORMAT, 0},
	    {"bytes left over", 2, 1, 17, {5, 0, 0, 0, 8, 0, 0, 0, 6}, -E_FORMAT, 0},
	    {"column left over", 2, 1, 17, {5, 0, 0, 0, 9, 0, 0, 0, 6}, -E_FORMAT, 0},
	    {"presence beyond", 2, 1, 17, {5, 0, 0, 1, 9, 0, 0, 0, 5, 6}, -E_FORMAT, 0},
	    {"presence", 2, 1, 17, {5, 0, 0, 1, 9, 0, 0, 0, 2, 6}, 0, 0},
	    {"dictionary", 2, 1, 14, {5, 0, 7, 0, 6, 0, 0, 0, 1, 1, 1, 6, 1, 1}, -E_FORMAT, 0},
	    {"index beyond", 2, 1, 16, {5, 0, 7, 0, 8, 0, 0, 0, 1, 1, 1, 6, 1, 1, 0, 1}, -E_FORMAT,
		0},
	    {"indexes", 2, 1, 17, {5, 0, 7, 0, 9, 0, 0, 0, 2, 1, 1, 6, 17, 1, 1, 0, 1}, 0, 0},
	    {"entries", 2, 1, 18, {5, 0, 7, 0, 10, 0, 0, 0, 3, 1, 1, 6, 6, 17, 1, 1, 0, 1},
		-E_FORMAT, 0},
	    {"reference to nothing", 2, 1, 14, {5, 0, 6, 0, 6, 0, 0, 0, 6, 0, 1, 1, 1, 6}, 0, 1},
	    {"nested too deep", 2, 1, 18, {5, 0, 7, 0, 10, 0, 0, 0, 1, 7, 1, 7, 1, 7, 1, 7, 1, 7},
		-E_FORMAT, 0},
	    {"cache symbol", 2, 1, 12, {5, 0, 8, 0, 4, 0, 0, 0, 0, 0, 5, 0}, -E_FORMAT, 0},
	    {"cache of zeros", 2, 1, 21, {5, 0, 8, 0, 13, 0, 0, 0, 0, 0, 0, 3}, 0, 0},
	    {"cache too large", 2, 1, 21, {5, 0, 8, 0, 13, 0, 0, 0, 13, 0, 0, 3}, -E_FORMAT, 0},
	    {"magnitude class", 2, 1, 10, {5, 0, 4, 0, 2, 0, 0, 0, 252, 0}, -E_FORMAT, 0},
	    {"text too long", 1, 1, 19, {14, 0, 16, 0, 11, 0, 0, 0, 1, 2, 2, 8}, -E_FORMAT, 0},
	};
	struct frame_work *w = frame_work_new();
	struct batch_pool *pool = batch_pool_new(1);
	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		uint8_t p[FRAME_HEADER + 64];
		unsigned skipped = 0;
		size_t n = by_hand(p, cases[i].flows, cases[i].columns, cases[i].body, cases[i].n);
		struct batch *b = batch_pool_get(pool);
		int r = frame_decode(w, p, n, b, 0, &skipped);
		if (r != cases[i].result || (r == 0 && skipped != cases[i].skipped))
			fail_msg("%s: %d, %u skipped", cases[i].what, r, skipped);
		batch_unref(&b);
	}
	batch_pool_free(&pool);
	frame_work_free(&w);
}

static void
test_header_limits(void **state)
{
	struct frame_info info;
	uint8_t p[FRAME_HEADER + 16], body[16] = {5, 0, 0, 0, 8, 0, 0, 0, 6};
	size_t n = by_hand(p, 4096, 1, body, sizeof(body));
	(void)state;
	assert_int_equal(frame_peek(p, n, &info), 0);
	assert_int_equal(info.flows, 4096);
	n = by_hand(p, 4097, 1, body, sizeof(body));
	assert_int_equal(frame_peek(p, n, &info), -E_FORMAT);
	n = by_hand(p, 1, 1, body, sizeof(body));
	p[15] = 1; /* raw length 16 MiB */
	assert_int_equal(frame_peek(p, n, &info), -E_FORMAT);
	n = by_hand(p, 1, 1, body, sizeof(body));
	p[4] = 2;
	assert_int_equal(frame_peek(p, n, &info), -E_UNSUP);
	p[0] = 'X';
	assert_int_equal(frame_peek(p, n, &info), -E_FORMAT);
	assert_int_equal(frame_peek(p, 39, &info), -E_FORMAT);
	assert_int_equal(frame_peek("FBF1", 4, &info), -E_TRUNC);
}

static void
test_codec_names(void **state)
{
	(void)state;
	for (int i = 0; i < FRAME_CODECS; i++)
		assert_int_equal(frame_codec_parse(strv_of(frame_codec_name((enum frame_codec)i))), i);
	assert_int_equal(frame_codec_parse(STRV("lz4")), -1);
}

static void
read_golden(const char *suffix, struct buf *out)
{
	char path[4096];
	snprintf(path, sizeof(path), "%s/golden.%s", FRAME_GOLDEN, suffix);
	FILE *f = fopen(path, "rb");
	assert_non_null(f);
	uint8_t *p = buf_room(out, 1 << 20);
	assert_non_null(p);
	out->n = fread(p, 1, 1 << 20, f);
	fclose(f);
}

/* A committed frame: when this fails the format has changed, and FRAME_VERSION has to. */
static void
test_golden(void **state)
{
	struct frame_work *w = frame_work_new();
	struct batch_pool *pool = batch_pool_new(1);
	struct batch *b = batch_pool_get(pool);
	struct buf frame = buf_init(0), want = buf_init(0), out = buf_init(0);
	unsigned skipped;
	(void)state;
	read_golden("frame", &frame);
	read_golden("jsonl", &want);
	assert_int_equal(frame_decode(w, frame.p, frame.n, b, 0, &skipped), 0);
	assert_int_equal(skipped, 0);
	rows_json(&out, b);
	assert_true(b->n > 0);
	assert_string_equal(buf_cstr(&out), buf_cstr(&want));
	buf_fini(&frame);
	buf_fini(&want);
	buf_fini(&out);
	batch_unref(&b);
	batch_pool_free(&pool);
	frame_work_free(&w);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_round_trips),
		cmocka_unit_test(test_random_batches),
		cmocka_unit_test(test_empty_and_absent_text),
		cmocka_unit_test(test_only_wanted_fields),
		cmocka_unit_test(test_too_large),
		cmocka_unit_test(test_truncated),
		cmocka_unit_test(test_every_bit),
		cmocka_unit_test(test_damaged_on_purpose),
		cmocka_unit_test(test_by_hand),
		cmocka_unit_test(test_header_limits),
		cmocka_unit_test(test_codec_names),
		cmocka_unit_test(test_golden),
	};
	dump_dir = getenv("FRAME_DUMP");
	return cmocka_run_group_tests(tests, NULL, NULL);
}
