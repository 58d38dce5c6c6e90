/* SPDX-License-Identifier: Apache-2.0
 * unit/link/test_demand.c - the union of wishes: exact against a naive model on random rows, never
 * less than the wishes where it does not fit, and the fields with it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "link/demand.h"
#include "model.h"

enum { TERMS = 8, LONG = 200 };

static struct filter *
compile(const char *text)
{
	struct filter *f = NULL;
	struct err err = {0};
	if (filter_compile(strv_of(text), &f, &err) != 0)
		fail_msg("%s: %s", text, err.text);
	return f;
}

/* Terms of compiled filters; which fields each wants does not matter to most tests. */
static unsigned
terms(struct filter *const *f, unsigned n, struct demand_term *out)
{
	struct field_set some = {{0, 0}};
	field_set_add(&some, F_bytes);
	for (unsigned i = 0; i < n; i++)
		out[i] = (struct demand_term){filter_canonical(f[i]), some, filter_fields(f[i])};
	return n;
}

static struct demand
unite(const char *const *texts, unsigned n, const char *own, enum demand_how least)
{
	struct filter *f[LONG] = {NULL};
	struct demand_term t[LONG];
	struct demand d = {DEMAND_NOTHING, NULL, {{0, 0}}};
	for (unsigned i = 0; i < n; i++)
		f[i] = compile(texts[i]);
	terms(f, n, t);
	assert_int_equal(demand_union(t, n, strv_of(own), field_set_all(), least, &d), 0);
	for (unsigned i = 0; i < n; i++)
		filter_free(&f[i]);
	return d;
}

static void
expect(const char *const *texts, unsigned n, const char *own, enum demand_how how, const char *want)
{
	struct demand d = unite(texts, n, own, DEMAND_NOTHING);
	assert_string_equal(d.filter, want);
	assert_int_equal(d.how, how);
	demand_fini(&d);
}

static void
test_table(void **state)
{
	(void)state;
	expect(NULL, 0, "", DEMAND_NOTHING, "false");
	expect(NULL, 0, "proto tcp", DEMAND_NOTHING, "false");
	expect((const char *[]){"false", "false"}, 2, "", DEMAND_NOTHING, "false");
	expect((const char *[]){""}, 1, "", DEMAND_EXACT, "");
	expect((const char *[]){"app http", "", "app dns"}, 3, "", DEMAND_EXACT, "");
	expect((const char *[]){"app http", ""}, 2, "src_port = 7", DEMAND_EXACT, "src_port = 7");
	expect((const char *[]){"app http"}, 1, "", DEMAND_EXACT, "app ilike \"http\"");
	/* the same twice, and two values of one field */
	expect((const char *[]){"src_port = 80", "src_port = 81", "src_port = 80"}, 3, "",
	    DEMAND_EXACT, "src_port in (80-81)");
	/* what another one covers adds nothing, whatever the order */
	expect((const char *[]){"bytes > 5 and src_port = 80", "src_port = 80"}, 2, "", DEMAND_EXACT,
	    "src_port = 80");
	expect((const char *[]){"src_port = 80", "bytes > 5 and src_port = 80"}, 2, "", DEMAND_EXACT,
	    "src_port = 80");
	expect((const char *[]){"not src_port = 80", "src_port = 80"}, 2, "", DEMAND_EXACT,
	    "not src_port = 80 or src_port = 80");
}

/* Text that looks like structure stays text. */
static void
test_quoted(void **state)
{
	(void)state;
	struct demand d = unite((const char *[]){"app \"a and b\\\" or (c\" and bytes > 5",
	    "app \"a and b\\\" or (c\""}, 2, "", DEMAND_NOTHING);
	assert_string_equal(d.filter, "app ilike \"a and b\\\" or (c\"");
	demand_fini(&d);
	d = unite((const char *[]){"(app x and bytes > 5) or src_port = 1", "app x"}, 2, "",
	    DEMAND_NOTHING);
	assert_string_equal(d.filter,
	    "app ilike \"x\" or app ilike \"x\" and bytes > 5 or src_port = 1");
	demand_fini(&d);
}

/* A probe's records have no `probe` before they arrive: such conditions cannot be pushed down. */
static void
test_probe(void **state)
{
	(void)state;
	expect((const char *[]){"probe = \"p1\" and src_port = 80", "src_port = 90"}, 2, "",
	    DEMAND_WIDENED, "src_port in (80, 90)");
	expect((const char *[]){"probe = \"p1\"", "src_port = 90"}, 2, "", DEMAND_WIDENED, "");
	expect((const char *[]){"probe = \"p1\" or bytes > 9"}, 1, "src_port = 7", DEMAND_WIDENED,
	    "src_port = 7");
	expect((const char *[]){"not probe = \"p1\" and bytes > 9"}, 1, "", DEMAND_WIDENED,
	    "bytes >= 10");
}

/* Too much for one expression: step by step wider, never narrower. */
static void
test_limits(void **state)
{
	char text[LONG][120];
	const char *texts[LONG];
	(void)state;
	for (unsigned i = 0; i < LONG; i++) {
		snprintf(text[i], sizeof(text[i]), "app http and http_host \"host-%u.with-a-long-name."
		    "example\"", i);
		texts[i] = text[i];
	}
	struct demand d = unite(texts, 20, "", DEMAND_NOTHING);
	assert_int_equal(d.how, DEMAND_EXACT);
	demand_fini(&d);
	/* all have one condition in common, which covers them */
	d = unite(texts, 120, "", DEMAND_NOTHING);
	assert_int_equal(d.how, DEMAND_WIDENED);
	assert_string_equal(d.filter, "app ilike \"http\"");
	demand_fini(&d);
	d = unite(texts, 120, "src_port = 7", DEMAND_NOTHING);
	assert_string_equal(d.filter, "app ilike \"http\" and src_port = 7");
	demand_fini(&d);
	/* nothing in common, nothing shorter */
	for (unsigned i = 0; i < LONG; i++)
		snprintf(text[i], sizeof(text[i]), "http_host \"host-%u.with-a-long-name.example\"", i);
	d = unite(texts, LONG, "src_port = 7", DEMAND_NOTHING);
	assert_int_equal(d.how, DEMAND_OWN);
	assert_string_equal(d.filter, "src_port = 7");
	demand_fini(&d);
	/* too long when joined, short when merged */
	for (unsigned i = 0; i < LONG; i++)
		snprintf(text[i], sizeof(text[i]), "src_addr = 10.0.%u.%u", i / 100, i % 100);
	d = unite(texts, LONG, "", DEMAND_NOTHING);
	assert_int_equal(d.how, DEMAND_EXACT);
	demand_fini(&d);
	/* a peer refused the filter */
	d = unite((const char *[]){"app http and src_port = 1", "app http and src_port = 2"}, 2, "",
	    DEMAND_WIDENED);
	assert_int_equal(d.how, DEMAND_WIDENED);
	assert_string_equal(d.filter, "app ilike \"http\"");
	demand_fini(&d);
	d = unite((const char *[]){"app http"}, 1, "", DEMAND_OWN);
	assert_int_equal(d.how, DEMAND_OWN);
	assert_string_equal(d.filter, "");
	demand_fini(&d);
}

static void
test_fields(void **state)
{
	struct filter *f[] = {compile("app http and duration > 1s"), compile("src_port = 80")};
	struct demand_term t[2];
	struct demand d = {DEMAND_NOTHING, NULL, {{0, 0}}};
	struct field_set want = {{0, 0}}, own = field_set_all();
	(void)state;
	terms(f, 2, t);
	assert_int_equal(demand_union(t, 2, strv_of(""), own, DEMAND_NOTHING, &d), 0);
	static const enum field all[] = {F_bytes, F_app, F_start, F_end, F_src_port, F_probe,
	    F_exporter};
	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
		field_set_add(&want, all[i]);
	assert_true(field_set_eq(d.fields, want));
	/* the endpoint's own fields bound them; names and addresses of probes stay */
	own = (struct field_set){{0, 0}};
	field_set_add(&own, F_bytes);
	field_set_add(&own, F_app);
	assert_int_equal(demand_union(t, 2, strv_of(""), own, DEMAND_NOTHING, &d), 0);
	want = own;
	field_set_add(&want, F_probe);
	field_set_add(&want, F_exporter);
	assert_true(field_set_eq(d.fields, want));
	demand_fini(&d);
	filter_free(&f[0]);
	filter_free(&f[1]);
}

/* ---- random filters against the model */

struct random_terms {
	struct model *m[TERMS + 1]; /* the last is the endpoint's own */
	struct filter *f[TERMS + 1];
	unsigned n;
};

static struct filter *
random_filter(uint64_t *seed, struct model **m)
{
	for (;;) {
		struct buf text = buf_init(0);
		struct filter *f = NULL;
		*m = model_make(seed, model_rnd(seed, 4), &text);
		int rc = text.n <= FILTER_TEXT_MAX ? filter_compile(buf_view(&text), &f, NULL) : -1;
		buf_fini(&text);
		if (rc == 0)
			return f;
		model_free(*m);
	}
}

static void
check_rows(const struct random_terms *x, const struct demand *d, const struct batch *b,
    struct filter_work *w)
{
	struct filter *f = compile(d->filter);
	uint64_t mask[BATCH_WORDS];
	filter_run(f, w, b, mask);
	for (uint32_t r = 0; r < b->n; r++) {
		bool got = (mask[r / 64] >> (r % 64) & 1) != 0, any = false;
		bool own = model_eval(x->m[TERMS], b, r);
		for (unsigned i = 0; i < x->n; i++)
			any = any || model_eval(x->m[i], b, r);
		if (d->how == DEMAND_EXACT || d->how == DEMAND_NOTHING)
			assert_int_equal(got, own && any);
		else if (own && any)
			assert_true(got);
		assert_true(own || !got);
	}
	filter_free(&f);
}

static void
test_model(void **state)
{
	struct batch_pool *pool = batch_pool_new(1);
	struct filter_work *w = filter_work_new();
	uint64_t seed = 7;
	unsigned by_how[DEMAND_OWN + 1] = {0};
	(void)state;
	for (unsigned i = 0; i < 600; i++) {
		struct random_terms x = {.n = i % (TERMS + 1)};
		struct demand_term t[TERMS];
		struct demand d = {DEMAND_NOTHING, NULL, {{0, 0}}};
		for (unsigned k = 0; k <= TERMS; k++)
			x.f[k] = random_filter(&seed, &x.m[k]);
		terms(x.f, x.n, t);
		assert_int_equal(demand_union(t, x.n, filter_canonical(x.f[TERMS]),
		    field_set_all(), (enum demand_how)(i % 5 == 4 ? DEMAND_WIDENED : DEMAND_NOTHING),
		    &d), 0);
		by_how[d.how]++;
		struct batch *b = batch_pool_get(pool);
		model_batch(&seed, b, 100);
		check_rows(&x, &d, b, w);
		batch_unref(&b);
		demand_fini(&d);
		for (unsigned k = 0; k <= TERMS; k++) {
			filter_free(&x.f[k]);
			model_free(x.m[k]);
		}
	}
	for (unsigned i = 0; i <= DEMAND_WIDENED; i++)
		assert_true(by_how[i] > 20); /* else nothing was tested */
	filter_work_free(&w);
	batch_pool_free(&pool);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_table), cmocka_unit_test(test_quoted),
	    cmocka_unit_test(test_probe), cmocka_unit_test(test_limits),
	    cmocka_unit_test(test_fields), cmocka_unit_test(test_model)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
