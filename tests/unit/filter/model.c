/* SPDX-License-Identifier: Apache-2.0
 * unit/filter/model.c - random conditions on random batches: the compiled filter must agree with
 * the naive model on every row, and its canonical text must be the same filter. */
#include "fixture.h"
#include "filter/program.h"
#include "model.h"

static void
check(const struct filter *f, const struct model *m, struct filter_work *w, const struct batch *b,
    const char *text)
{
	uint64_t mask[BATCH_WORDS];
	uint32_t count = filter_run(f, w, b, mask), want = 0;
	for (uint32_t r = 0; r < BATCH_ROWS; r++) {
		bool got = (mask[r / 64] >> (r % 64) & 1) != 0;
		bool expect = r < b->n && model_eval(m, b, r);
		want += expect;
		if (got != expect)
			fail_msg("row %u of %u: %s, model says %s:\n%s\n%.*s", r, b->n,
			    got ? "passes" : "fails", expect ? "passes" : "fails", text,
			    (int)filter_canonical(f).n, filter_canonical(f).p);
	}
	assert_int_equal(count, want);
}

static void
round_of(struct batch_pool *pool, struct filter_work *w, uint64_t *seed, uint32_t rows, int filters)
{
	struct batch *b = batch_pool_get(pool);
	assert_non_null(b);
	model_batch(seed, b, rows);
	for (int i = 0; i < filters; i++) {
		struct buf text = buf_init(0), copy = buf_init(0);
		struct model *m = model_make(seed, model_rnd(seed, 5), &text);
		if (text.n <= FILTER_TEXT_MAX) {
			struct filter *f = must_compile(buf_cstr(&text));
			check(f, m, w, b, buf_cstr(&text));
			buf_strv(&copy, filter_canonical(f));
			struct filter *g = must_compile(buf_cstr(&copy));
			if (!strv_eq(filter_canonical(g), buf_view(&copy)))
				fail_msg("no fixpoint: %s\n%s\n%.*s", buf_cstr(&text),
				    buf_cstr(&copy), (int)filter_canonical(g).n,
				    filter_canonical(g).p);
			check(g, m, w, b, buf_cstr(&copy));
			filter_free(&f);
			filter_free(&g);
		}
		model_free(m);
		buf_fini(&text);
		buf_fini(&copy);
	}
	batch_unref(&b);
}

static void
test_model(void **state)
{
	static const uint32_t sizes[] = {0, 1, 63, 64, 65, 127, 300};
	struct batch_pool *pool = batch_pool_new(1);
	struct filter_work *w = filter_work_new();
	uint64_t seed = 20261122;
	(void)state;
	for (int i = 0; i < 60; i++)
		round_of(pool, w, &seed, sizes[i % 7], 60);
	filter_work_free(&w);
	batch_pool_free(&pool);
}

static void
test_model_large(void **state)
{
	struct batch_pool *pool = batch_pool_new(1);
	struct filter_work *w = filter_work_new();
	uint64_t seed = 4096;
	(void)state;
	for (int i = 0; i < 4; i++)
		round_of(pool, w, &seed, i % 2 ? 4095 : 4096, 30);
	filter_work_free(&w);
	batch_pool_free(&pool);
}

/* The kernels for any CPU, where others would be chosen. */
static void
test_model_base(void **state)
{
	struct batch_pool *pool = batch_pool_new(1);
	struct filter_work *w = filter_work_new();
	uint64_t seed = 1;
	(void)state;
	w->k = &kernels_base;
	for (int i = 0; i < 30; i++)
		round_of(pool, w, &seed, i % 2 ? 129 : 64, 60);
	filter_work_free(&w);
	batch_pool_free(&pool);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_model),
	    cmocka_unit_test(test_model_large), cmocka_unit_test(test_model_base)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
