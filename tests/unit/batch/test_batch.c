/* SPDX-License-Identifier: Apache-2.0
 * unit/batch/test_batch.c - filling, sealing, gathering, sharing; rows as JSON. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "base/err.h"
#include "batch/batch.h"

static void
fill(struct batch *b, uint32_t n, uint32_t seed)
{
	for (uint32_t r = 0; r < n; r++) {
		uint32_t x = (seed + r) * 2654435761u;
		struct addr a = {{0x20, 1, (uint8_t)(x >> 8), (uint8_t)x}};
		uint32_t row = b->n++;
		assert_true(batch_set_addr(b, F_src_addr, row, &a));
		assert_true(batch_set_u(b, F_src_port, row, x >> 16));
		assert_true(batch_set_u(b, F_bytes, row, x));
		assert_true(batch_set_time(b, F_start, row, (int64_t)x - 1000));
		assert_true(batch_set_time(b, F_end, row, (int64_t)x));
		if (x % 3 == 0) {
			char name[32];
			snprintf(name, sizeof(name), "host%u.example", x % 17);
			assert_true(batch_set_text(b, F_tls_sni, row, strv_of(name)));
		}
		if (x % 5 == 0)
			assert_true(batch_set_u(b, F_vlan, row, x % 4096));
	}
}

static void
assert_same_value(const struct batch *a, uint32_t ra, const struct batch *b, uint32_t rb,
    enum field f)
{
	struct value x, y;
	bool has = batch_value(a, f, ra, &x);
	assert_int_equal(has, batch_value(b, f, rb, &y));
	if (!has)
		return;
	if (x.type == FT_TEXT)
		assert_true(strv_eq(x.text, y.text));
	else if (x.type == FT_ADDR)
		assert_memory_equal(x.addr.b, y.addr.b, 16);
	else
		assert_true(x.u == y.u);
}

static void
test_seal(void **state)
{
	struct batch_pool *p = batch_pool_new(2);
	struct batch *b = batch_pool_get(p);
	(void)state;
	fill(b, 100, 1);
	assert_non_null(batch_column(b, F_dns_query, false)); /* never given a value */
	batch_seal(b, 77);
	assert_null(batch_get(b, F_dns_query));
	assert_true(b->col[F_src_port].dense);
	assert_false(b->col[F_tls_sni].dense);
	assert_int_equal(b->sealed_us, 77);
	int64_t lo = INT64_MAX, hi = INT64_MIN;
	struct value v;
	for (uint32_t r = 0; r < 100; r++) {
		assert_true(batch_value(b, F_start, r, &v));
		lo = v.i < lo ? v.i : lo;
		assert_true(batch_value(b, F_end, r, &v));
		hi = v.i > hi ? v.i : hi;
		assert_true(batch_value(b, F_duration, r, &v));
		assert_true(v.i == 1000);
	}
	assert_true(b->min_start == lo && b->max_end == hi);
	batch_unref(&b);
	/* recycled: nothing of the last life shows */
	b = batch_pool_get(p);
	assert_int_equal(b->n, 0);
	assert_null(batch_get(b, F_src_port));
	assert_true(batch_set_u(b, F_vlan, 5, 9));
	assert_false(column_has(&b->col[F_vlan], 0));
	batch_unref(&b);
	batch_pool_free(&p);
}

/* Gathering any masks from several batches into one gives exactly the chosen rows, in order. */
static void
test_gather(void **state)
{
	struct batch_pool *p = batch_pool_new(8);
	struct field_set want = field_set_all();
	(void)state;
	srandom(4);
	for (int round = 0; round < 60; round++) {
		struct batch *dst = batch_pool_get(p), *src[3];
		uint32_t at = 0;
		for (int k = 0; k < 3; k++) {
			src[k] = batch_pool_get(p);
			fill(src[k], 1 + (uint32_t)random() % (round % 2 ? 4096 : 70), (uint32_t)random());
			if (k == 1) { /* a column the others do not have */
				for (uint32_t r = 0; r < src[k]->n; r++)
					batch_set_u(src[k], F_ttl, r, r);
			}
			batch_seal(src[k], 0);
		}
		for (int k = 0; k < 3; k++) {
			uint64_t mask[BATCH_WORDS];
			int style = (int)random() % 3;
			for (unsigned w = 0; w < BATCH_WORDS; w++)
				mask[w] = style == 0 ? ~UINT64_C(0) : style == 1 ? 0 :
				    (uint64_t)random() << 32 ^ (uint64_t)random();
			for (uint32_t from = 0, row = 0; from < src[k]->n;) {
				uint32_t before = dst->n;
				int got = batch_gather(dst, src[k], mask, want, &from);
				assert_true(got >= 0);
				assert_int_equal(dst->n, before + (uint32_t)got);
				for (uint32_t i = before; i < dst->n; i++, row++) {
					while ((mask[row >> 6] >> (row & 63) & 1) == 0)
						row++;
					for (int f = 0; f < F_COUNT; f++)
						assert_same_value(src[k], row, dst, i, (enum field)f);
				}
				at++;
				if (from < src[k]->n) { /* full: begin a new one */
					assert_true(batch_full(dst));
					batch_seal(dst, 0);
					batch_unref(&dst);
					dst = batch_pool_get(p);
				}
			}
			batch_unref(&src[k]);
		}
		assert_true(at > 0);
		batch_unref(&dst);
	}
	batch_pool_free(&p);
}

/* Text close to the seal limit is never cut or lost by gathering. */
static void
test_gather_text(void **state)
{
	struct batch_pool *p = batch_pool_new(8);
	struct batch *src = batch_pool_get(p), *dst = batch_pool_get(p);
	char big[TEXT_MAX + 10];
	uint64_t mask[BATCH_WORDS];
	uint32_t from = 0, moved = 0, frames = 0;
	(void)state;
	memset(mask, 0xff, sizeof(mask));
	memset(big, 'u', sizeof(big));
	while (!batch_full(src)) {
		assert_true(batch_set_text(src, F_http_url, src->n, (struct strv){big, sizeof(big)}));
		assert_true(batch_set_text(src, F_http_host, src->n, (struct strv){big, 900}));
		src->n++;
	}
	batch_seal(src, 0);
	assert_int_equal(((struct text *)src->col[F_http_url].data)[3].cut, 1);
	while (from < src->n) {
		uint32_t before = dst->n;
		int got = batch_gather(dst, src, mask, field_set_all(), &from);
		assert_true(got >= 0);
		moved += (uint32_t)got;
		for (uint32_t i = before; i < dst->n; i++)
			assert_int_equal(((struct text *)dst->col[F_http_url].data)[i].cut, 1);
		if (from < src->n || batch_full(dst)) {
			assert_true(dst->n > 0);
			batch_unref(&dst);
			dst = batch_pool_get(p);
			frames++;
		}
	}
	assert_int_equal(moved, src->n);
	assert_true(frames >= 1);
	batch_unref(&src);
	batch_unref(&dst);
	batch_pool_free(&p);
}

static void
test_text_limits(void **state)
{
	struct batch_pool *p = batch_pool_new(1);
	struct batch *b = batch_pool_get(p);
	char big[TEXT_MAX];
	uint32_t n = 0;
	(void)state;
	memset(big, 'x', sizeof(big));
	while (batch_set_text(b, F_http_url, n % BATCH_ROWS, (struct strv){big, sizeof(big)}))
		n++;
	assert_int_equal(n, BATCH_TEXT_MAX / TEXT_MAX); /* full, refused, nothing overrun */
	assert_null(batch_pool_get(p)); /* the only one is out */
	assert_int_equal(batch_pool_out(p), 1);
	batch_unref(&b);
	assert_int_equal(batch_pool_out(p), 0);
	batch_pool_free(&p);
}

static void *
release(void *arg)
{
	struct batch **b = arg;
	for (int i = 0; i < 64; i++)
		batch_unref(&b[i]);
	return NULL;
}

/* Batches come home from another thread, also after the pool was given up by its owner. */
static void
test_threads(void **state)
{
	struct batch_pool *p = batch_pool_new(64);
	pthread_t t[2];
	struct batch *a[64], *b[64];
	(void)state;
	for (int round = 0; round < 20; round++) {
		for (int i = 0; i < 64; i++) {
			a[i] = b[i] = batch_pool_get(p);
			assert_non_null(a[i]);
			batch_set_u(a[i], F_bytes, 0, 1);
			a[i]->n = 1;
			batch_seal(a[i], 0);
			batch_ref(a[i]);
		}
		assert_int_equal(pthread_create(&t[0], NULL, release, a), 0);
		assert_int_equal(pthread_create(&t[1], NULL, release, b), 0);
		if (round == 19)
			batch_pool_free(&p);
		pthread_join(t[0], NULL);
		pthread_join(t[1], NULL);
	}
}

/* Packed and unpacked into a batch that was used before, a batch is the same; constant columns and
 * absent values included. The bound holds. */
static void
test_pack(void **state)
{
	static const uint32_t sizes[] = {1, 2, 63, 64, 65, 1000, BATCH_ROWS, 0};
	struct batch_pool *p = batch_pool_new(2);
	(void)state;
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		struct batch *b = batch_pool_get(p), *c = batch_pool_get(p);
		fill(b, sizes[i], (uint32_t)i);
		for (uint32_t r = 0; r < b->n; r++) {
			assert_true(batch_set_u(b, F_proto, r, 6));
			assert_true(batch_set_text(b, F_probe, r, STRV("here")));
		}
		b->source = 7;
		batch_seal(b, 1);
		size_t bound = batch_pack_bound(b);
		uint8_t *room = malloc(bound + 8);
		memset(room, 0xa5, bound + 8);
		size_t n = batch_pack(b, room);
		assert_true(n <= bound && room[bound] == 0xa5);
		assert_int_equal(batch_unpack(room, c, 9), 0);
		assert_int_equal(c->n, b->n);
		assert_int_equal(c->source, 7);
		assert_int_equal(c->sealed_us, 9);
		assert_true(c->min_start == b->min_start && c->max_end == b->max_end);
		assert_true(field_set_eq(c->used, b->used));
		for (uint32_t r = 0; r < b->n; r++)
			for (int f = 0; f < F_COUNT; f++)
				assert_same_value(b, r, c, r, (enum field)f);
		free(room);
		batch_unref(&b);
		batch_unref(&c);
	}
	batch_pool_free(&p);
}

static void
test_json(void **state)
{
	struct batch_pool *p = batch_pool_new(1);
	struct batch *b = batch_pool_get(p);
	struct buf out = buf_init(0);
	char big[TEXT_MAX + 1];
	(void)state;
	memset(big, 'a', sizeof(big));
	b->n = 2;
	batch_set_u(b, F_src_port, 0, 80);
	batch_set_u(b, F_tcp_flags, 0, TCP_syn);
	batch_set_text(b, F_http_host, 0, STRV("x\"y"));
	batch_set_u(b, F_src_port, 1, 81);
	batch_set_text(b, F_http_url, 1, (struct strv){big, sizeof(big)});
	batch_seal(b, 0);
	batch_row_json(&out, b, 0, field_set_all(), VALUE_JSON);
	assert_string_equal(buf_cstr(&out),
	    "{\"src_port\":80,\"tcp_flags\":\"S\",\"http_host\":\"x\\\"y\"}");
	buf_reset(&out);
	struct field_set few = {{0, 0}};
	field_set_add(&few, F_src_port);
	batch_row_json(&out, b, 1, few, VALUE_JSON);
	assert_string_equal(buf_cstr(&out), "{\"src_port\":81}");
	buf_reset(&out);
	batch_row_json(&out, b, 1, field_set_all(), VALUE_JSON);
	assert_non_null(strstr(buf_cstr(&out), "aaa\",\"cut\":[\"http_url\"]}"));
	buf_fini(&out);
	batch_unref(&b);
	batch_pool_free(&p);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_seal), cmocka_unit_test(test_gather),
	    cmocka_unit_test(test_gather_text), cmocka_unit_test(test_text_limits),
	    cmocka_unit_test(test_pack),
	    cmocka_unit_test(test_threads), cmocka_unit_test(test_json)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
