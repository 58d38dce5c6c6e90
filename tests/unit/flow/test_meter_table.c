/* SPDX-License-Identifier: Apache-2.0
 * The flow table against a plain array, with good hashes and with ones that all collide. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "flow/table.h"
#include "flow/wheel.h"

enum { KEYS = 500, MAX = 200, STEPS = 200000 };

static struct flow_key
key_of(unsigned k)
{
	return (struct flow_key){{k / 7, k, k % 3, UINT64_C(0xffff0000) << 16, k * 65537u}};
}

static void
table_run(uint64_t hash_mask)
{
	struct flow_table t;
	uint32_t where[KEYS];
	unsigned n = 0;
	uint64_t seed = 1;
	assert_int_equal(flow_table_init(&t, MAX, NULL), 0);
	for (unsigned k = 0; k < KEYS; k++)
		where[k] = FLOW_NONE;
	for (unsigned step = 0; step < STEPS; step++) {
		seed = seed * UINT64_C(6364136223846793005) + 1442695040888963407u;
		unsigned k = (unsigned)(seed >> 33) % KEYS;
		bool take = (seed >> 60) < (step / 20000 % 2 != 0 ? 4 : 12); /* fill, then empty */
		struct flow_key key = key_of(k);
		uint64_t hash = flow_table_hash(&t, &key) & hash_mask;
		assert_int_equal(flow_table_find(&t, &key, hash), where[k]);
		if (where[k] == FLOW_NONE && take) {
			where[k] = flow_table_take(&t, &key, hash);
			if (n == MAX) {
				assert_int_equal(where[k], FLOW_NONE);
			} else {
				assert_true(where[k] < MAX);
				assert_int_equal(flow_table_find(&t, &key, hash), where[k]);
				t.hot[where[k]].last = step;
				n++;
			}
		} else if (where[k] != FLOW_NONE && !take) {
			flow_table_drop(&t, where[k]);
			where[k] = FLOW_NONE;
			n--;
		}
		assert_int_equal(flow_table_count(&t), n);
	}
	for (unsigned k = 0; k < KEYS; k++)
		if (where[k] != FLOW_NONE)
			flow_table_drop(&t, where[k]);
	for (uint32_t b = 0; b <= t.mask; b++) { /* nothing stays behind */
		assert_int_equal(t.bucket[b].passed, 0);
		assert_int_equal(t.bucket[b].tags[0] | t.bucket[b].tags[1], 0);
	}
	flow_table_fini(&t);
}

static void
table_is_a_map(void **state)
{
	(void)state;
	table_run(UINT64_MAX);
}

static void
table_survives_collisions(void **state)
{
	(void)state;
	table_run(3);				 /* four home buckets, one tag */
	table_run(UINT64_C(0x0007000000000001)); /* two buckets, eight tags */
	table_run(0);
}

static void
victim_is_the_most_silent_of_the_next(void **state)
{
	(void)state;
	struct flow_table t;
	assert_int_equal(flow_table_init(&t, 64, NULL), 0);
	for (unsigned k = 0; k < 64; k++) {
		struct flow_key key = key_of(k);
		t.hot[flow_table_take(&t, &key, flow_table_hash(&t, &key))].last = (int64_t)(k ^ 5);
	}
	assert_int_equal(flow_table_victim(&t), 5);  /* of 0..15: last = 0 */
	assert_int_equal(flow_table_victim(&t), 21); /* of 16..31: last = 16 */
	flow_table_fini(&t);
}

/* Keys of real shape spread over buckets and tags as chance would have it. */
static void
hash_spreads(void **state)
{
	(void)state;
	enum { N = 1 << 16 };
	struct flow_table t;
	uint32_t *fill = calloc(N, sizeof *fill);
	assert_non_null(fill);
	assert_int_equal(flow_table_init(&t, MAX, NULL), 0);
	for (int shape = 0; shape < 3; shape++) {
		memset(fill, 0, N * sizeof *fill);
		for (uint64_t k = 0; k < N; k++) {
			uint64_t v4 = UINT64_C(0xffff) << 16;
			struct flow_key key = {{0, v4 | 0x0100000a00000000, 0,
			    v4 | 0x0200000a00000000, UINT64_C(6) << 32 | 443}};
			if (shape == 0)
				key.w[4] |= k << 16; /* ports */
			else if (shape == 1)
				key.w[1] += k << 40; /* one address */
			else
				key.w[1] += (k & 255) << 56, key.w[3] += (k >> 8) << 56;
			fill[flow_table_hash(&t, &key) % N]++;
		}
		unsigned empty = 0, most = 0;
		for (unsigned b = 0; b < N; b++) {
			empty += fill[b] == 0;
			most = fill[b] > most ? fill[b] : most;
		}
		assert_in_range(empty, N * 0.35, N * 0.39); /* 1/e = 0.368 */
		assert_true(most < 16);
	}
	free(fill);
	flow_table_fini(&t);
}

/* Every entry is given out once, after its time and at most a slot later. */
static void
wheel_keeps_time(void **state)
{
	(void)state;
	enum { N = 2000 };
	struct wheel w;
	int64_t due[N], now = INT64_C(1700000000000000), slot = 1 << WHEEL_SHIFT;
	uint64_t seed = 7;
	unsigned left = N;
	assert_int_equal(wheel_init(&w, N), 0);
	wheel_reset(&w, now);
	for (uint32_t i = 0; i < N; i++) {
		seed = seed * UINT64_C(6364136223846793005) + 1442695040888963407u;
		due[i] = now + (int64_t)(seed >> 33) % 400000000; /* three rounds */
		wheel_add(&w, i, due[i]);
		assert_true(wheel_has(&w, i));
	}
	while (left != 0) {
		uint32_t got[7];
		unsigned n;
		int64_t step = 1 + (int64_t)(left * 977 % 300000);
		now += step;
		while ((n = wheel_take(&w, now, got, 7)) != 0)
			for (unsigned k = 0; k < n; k++) {
				uint32_t i = got[k];
				assert_false(wheel_has(&w, i));
				assert_int_not_equal(due[i], 0);
				if (due[i] > now) {
					wheel_add(&w, i, due[i]);
					continue;
				}
				assert_true(now - due[i] <= slot + step);
				due[i] = 0;
				left--;
			}
	}
	wheel_add(&w, 3, now + 5000000);
	uint32_t one;
	assert_int_equal(wheel_take(&w, now + INT64_C(86400000000), &one, 1), 1); /* a long gap */
	assert_int_equal(one, 3);
	wheel_fini(&w);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(table_is_a_map),
	    cmocka_unit_test(table_survives_collisions),
	    cmocka_unit_test(victim_is_the_most_silent_of_the_next),
	    cmocka_unit_test(hash_spreads),
	    cmocka_unit_test(wheel_keeps_time),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
