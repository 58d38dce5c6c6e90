/* SPDX-License-Identifier: Apache-2.0
 * fuzz/fuzz_filter.c - any text: compile; what compiles must have a canonical text that compiles to
 * itself and passes the same rows, and a plan. What does not must say where and why. */
#include <stdlib.h>

#include "filter/filter.h"

static void
must(bool ok)
{
	if (!ok)
		abort();
}

/* A fixed batch: every kind of column, some of them with gaps. */
static struct batch *
make_batch(struct batch_pool *pool)
{
	static const char *const names[] = {"http", "tls", "www.example.org", "A", "", "dns"};
	struct batch *b = batch_pool_get(pool);
	must(b != NULL);
	for (uint32_t r = 0; r < 130; r++) {
		for (int f = 0; f < F_COUNT; f++) {
			enum field id = (enum field)f;
			struct addr a = {{0}};
			if ((field_info[f].flags & FF_DERIVED) != 0 || (f * 7 + (int)r) % 5 < f % 3)
				continue;
			if (field_info[f].type == FT_TEXT) {
				batch_set_text(b, id, r, strv_of(names[(r + (uint32_t)f) % 6]));
			} else if (field_info[f].type == FT_ADDR) {
				if (r % 3 > 0)
					a = addr_v4((const uint8_t[4]){
					    10, (uint8_t)(r % 4), 0, (uint8_t)r});
				a.b[15] = (uint8_t)r;
				batch_set_addr(b, id, r, &a);
			} else {
				batch_set_u(b, id, r, r % 11 == 0 ? UINT64_MAX : r * r);
			}
		}
	}
	b->n = 130;
	batch_seal(b, 0);
	return b;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct batch *b;
	static struct filter_work *w;
	struct filter *f, *g;
	struct err e = {0};
	uint64_t x[BATCH_WORDS], y[BATCH_WORDS];
	if (b == NULL) {
		b = make_batch(batch_pool_new(1));
		w = filter_work_new();
		must(w != NULL);
	}
	if (filter_compile((struct strv){(const char *)data, size}, &f, &e) != 0) {
		must(f == NULL && e.code != 0 && e.text[0] != '\0');
		must(e.line > 0 || size > FILTER_TEXT_MAX);
		return 0;
	}
	must(filter_compile(filter_canonical(f), &g, &e) == 0);
	must(strv_eq(filter_canonical(f), filter_canonical(g)));
	must(field_set_eq(filter_fields(f), filter_fields(g)));
	must(filter_run(f, w, b, x) == filter_run(g, w, b, y));
	must(memcmp(x, y, sizeof(x)) == 0);
	struct buf plan = buf_init(0);
	filter_explain(f, &plan);
	must(plan.err == 0 && plan.n > 0);
	buf_fini(&plan);
	filter_free(&f);
	filter_free(&g);
	return 0;
}
