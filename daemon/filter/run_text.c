/* SPDX-License-Identifier: Apache-2.0
 * filter/run_text.c - text tests: only on candidate rows whose length can match.
 *
 * Cells that share bytes give the same answer, and a meter stores each application name once per
 * batch, so a small direct-mapped memory of (offset, length) answers most rows. Its entries carry
 * the number of the run that made them: nothing has to be cleared. */
#include "filter/program.h"

static bool
match_exact(const struct test *t, struct strv s)
{
	uint32_t at = 0, n = t->n;
	while (n > 0) {
		uint32_t half = n / 2;
		struct strv x = t->texts[at + half];
		size_t len = s.n < x.n ? s.n : x.n;
		int c = len > 0 ? memcmp(s.p, x.p, len) : 0;
		if (c == 0 && s.n == x.n)
			return true;
		if (c > 0 || (c == 0 && s.n > x.n)) {
			at += half + 1;
			n -= half + 1;
		} else {
			n = half;
		}
	}
	return false;
}

static bool
match(const struct test *t, struct filter_work *w, struct strv s)
{
	bool fold = t->text_op == TEXT_ILIKE;
	if (t->text_op <= TEXT_NE)
		return match_exact(t, s);
	for (uint32_t i = 0; i < t->n; i++)
		if (glob_match(&t->globs[i], (const uint8_t *)s.p, s.n, fold, w->scratch))
			return true;
	return false;
}

static bool
match_memo(const struct test *t, struct filter_work *w, const struct batch *b, struct text cell)
{
	uint64_t key = (uint64_t)cell.len << 32 | cell.off;
	struct memo *m = &w->memo[(key * UINT64_C(0x9e3779b97f4a7c15)) >> 56];
	if (m->cell != key || m->generation != w->generation) {
		m->hit = match(t, w, batch_text(b, cell));
		m->cell = key;
		m->generation = w->generation;
	}
	return m->hit;
}

void
run_text(const struct test *t, struct filter_work *w, const struct batch *b, const struct column *c,
    const uint64_t *in, uint64_t *out, unsigned nw)
{
	const struct text *cells = c->data;
	uint64_t can[BATCH_WORDS];
	static const char nothing[1];
	/* one text against one text costs less than looking it up */
	bool plain = t->text_op <= TEXT_NE && t->n == 1;
	struct strv one = t->texts[0];
	if (++w->generation == 0) {
		memset(w->memo, 0, sizeof(w->memo));
		w->generation = 1;
	}
	if (t->least > t->most)
		memset(can, 0, nw * sizeof(*can));
	else
		w->k->text_len(cells, t->least, t->most, in, can, nw);
	for (unsigned k = 0; k < nw; k++) {
		uint64_t hits = 0;
		for (uint64_t m = can[k]; m != 0; m &= m - 1) {
			uint32_t bit = (uint32_t)__builtin_ctzll(m);
			struct text cell = cells[k * 64 + bit];
			bool hit;
			if (plain) /* the lengths are equal already */
				hit = one.n == 0 || memcmp(one.p, b->text + cell.off, one.n) == 0;
			else if (cell.len == 0)
				hit = match(t, w, (struct strv){nothing, 0});
			else
				hit = match_memo(t, w, b, cell);
			hits |= (uint64_t)hit << bit;
		}
		out[k] = t->text_op == TEXT_NE ? in[k] & ~hits : hits;
	}
}

static bool
row_text(const struct batch *b, enum field f, uint32_t row, struct strv *out)
{
	struct value v;
	if (!batch_value(b, f, row, &v))
		return false;
	*out = v.text;
	return true;
}

void
run_same_text(
    const struct test *t, const struct batch *b, const uint64_t *in, uint64_t *out, unsigned nw)
{
	for (unsigned w = 0; w < nw; w++) {
		uint64_t hits = 0;
		for (uint64_t m = in[w]; m != 0; m &= m - 1) {
			uint32_t bit = (uint32_t)__builtin_ctzll(m);
			struct strv x, y;
			if (row_text(b, t->f, w * 64 + bit, &x) &&
			    row_text(b, t->g, w * 64 + bit, &y))
				hits |= (uint64_t)(strv_eq(x, y) != t->negate) << bit;
		}
		out[w] = hits;
	}
}
