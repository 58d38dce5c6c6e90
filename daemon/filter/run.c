/* SPDX-License-Identifier: Apache-2.0
 * filter/run.c - a program over a batch. */
#include <stdlib.h>

#include "filter/program.h"

/* ---- presence ---- */

/* out = the rows of in that have a value of stored field f */
static void
stored_present(const struct batch *b, enum field f, const uint64_t *in, uint64_t *out, unsigned nw)
{
	const struct column *c = batch_get(b, f);
	for (unsigned w = 0; w < nw; w++)
		out[w] = c == NULL ? 0 : c->dense ? in[w] : in[w] & c->present[w];
}

static void
field_present(const struct batch *b, enum field f, const uint64_t *in, uint64_t *out, unsigned nw)
{
	uint64_t rest[BATCH_WORDS];
	if (f == F_duration) {
		stored_present(b, F_start, in, out, nw);
		stored_present(b, F_end, out, out, nw);
	} else if (f == F_total_packets || f == F_total_bytes) {
		stored_present(b, f == F_total_packets ? F_packets : F_bytes, in, out, nw);
	} else if (f == F_server_name) {
		static const enum field from[] = {F_http_host, F_tls_sni, F_dns_query};
		uint64_t any[BATCH_WORDS] = {0};
		for (int i = 0; i < 3; i++) {
			stored_present(b, from[i], in, rest, nw);
			for (unsigned w = 0; w < nw; w++)
				any[w] |= rest[w];
		}
		memcpy(out, any, nw * sizeof(*out));
	} else {
		stored_present(b, f, in, out, nw);
	}
}

/* ---- numbers ---- */

/* What a derived number is computed from; where b is absent it counts as 0 (totals only). */
struct pair {
	const uint64_t *a, *b, *b_present;
	bool minus;
};

static bool
field_pair(const struct batch *batch, enum field f, struct pair *p)
{
	enum field a, b;
	if (f == F_duration) {
		a = F_end;
		b = F_start;
	} else if (f == F_total_packets) {
		a = F_packets;
		b = F_rev_packets;
	} else if (f == F_total_bytes) {
		a = F_bytes;
		b = F_rev_bytes;
	} else {
		return false;
	}
	const struct column *x = batch_get(batch, a), *y = batch_get(batch, b);
	p->a = x != NULL ? x->data : NULL;
	p->b = y != NULL ? y->data : NULL;
	p->b_present = y != NULL && !y->dense ? y->present : NULL;
	p->minus = f == F_duration;
	return true;
}

static uint64_t
row_value(const void *data, unsigned width, uint32_t row)
{
	return width == 1   ? ((const uint8_t *)data)[row]
	       : width == 2 ? ((const uint16_t *)data)[row]
	       : width == 4 ? ((const uint32_t *)data)[row]
			    : ((const uint64_t *)data)[row];
}

/* Is x in one of the sorted ranges? */
static bool
search(const struct k_range *r, uint32_t n, uint64_t x)
{
	uint32_t at = 0;
	while (n > 1) { /* the last range that begins at or before x */
		uint32_t half = n / 2;
		at += r[at + half].lo <= x ? half : 0;
		n -= half;
	}
	return n > 0 && x - r[at].lo <= r[at].span && x >= r[at].lo;
}

static void
run_search(const struct test *t, const struct batch *b, uint64_t *out, unsigned nw)
{
	struct pair p = {0};
	bool derived = field_pair(b, t->f, &p);
	unsigned width = (unsigned)field_width(t->f);
	const void *data = derived ? NULL : b->col[t->f].data;
	for (unsigned w = 0; w < nw; w++) {
		uint64_t hits = 0;
		for (uint64_t m = out[w]; m != 0; m &= m - 1) {
			uint32_t bit = (uint32_t)__builtin_ctzll(m), row = w * 64 + bit;
			uint64_t x;
			if (derived) {
				bool has = p.b != NULL && (p.b_present == NULL ||
							      (p.b_present[w] >> bit & 1) != 0);
				uint64_t y = has ? p.b[row] : 0;
				/* without a, no bit of out is set */
				/* NOLINTNEXTLINE(clang-analyzer-core.NullDereference) */
				x = p.minus ? p.a[row] - y : p.a[row] + y;
			} else {
				x = row_value(data, width, row);
			}
			hits |= (uint64_t)search(t->ranges, t->n, x ^ t->flip) << bit;
		}
		out[w] = hits;
	}
}

static void
run_bitmap(const struct test *t, const uint16_t *x, uint64_t *out, unsigned nw)
{
	for (unsigned w = 0; w < nw; w++) {
		uint64_t hits = 0;
		for (unsigned i = 0; out[w] != 0 && i < 64; i++) {
			uint16_t v = x[w * 64 + i];
			hits |= (t->bitmap[v >> 6] >> (v & 63) & 1) << i;
		}
		out[w] &= hits;
	}
}

static void
run_set(const struct test *t, const struct filter_work *w, const struct batch *b, uint64_t *out,
    unsigned nw)
{
	struct pair p;
	const void *data = b->col[t->f].data;
	if (t->how == HOW_SEARCH)
		run_search(t, b, out, nw);
	else if (t->how == HOW_TABLE)
		w->k->table(data, t->table, out, out, nw);
	else if (t->how == HOW_BITMAP)
		run_bitmap(t, data, out, nw);
	else if (field_pair(b, t->f, &p))
		w->k->pair_ranges(p.a, p.b, p.b_present, p.minus, t->ranges, t->n, out, out, nw);
	else
		w->k->ranges(data, (unsigned)field_width(t->f), t->ranges, t->n, out, out, nw);
}

/* ---- addresses ---- */

static uint64_t
be64(const uint8_t *p)
{
	uint64_t v;
	memcpy(&v, p, sizeof(v));
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
	v = __builtin_bswap64(v);
#endif
	return v;
}

static bool
search_v6(const struct test *t, uint64_t hi, uint64_t lo)
{
	const struct wide_range *r = t->v6;
	uint32_t at = 0, n = t->n_v6;
	while (n > 1) {
		uint32_t half = n / 2;
		const uint64_t *x = r[at + half].lo;
		at += x[0] < hi || (x[0] == hi && x[1] <= lo) ? half : 0;
		n -= half;
	}
	return n > 0 && (r[at].lo[0] < hi || (r[at].lo[0] == hi && r[at].lo[1] <= lo)) &&
	       (hi < r[at].hi[0] || (hi == r[at].hi[0] && lo <= r[at].hi[1]));
}

static void
run_netsearch(const struct test *t, const struct addr *x, uint64_t *out, unsigned nw)
{
	for (unsigned w = 0; w < nw; w++) {
		uint64_t hits = 0;
		for (uint64_t m = out[w]; m != 0; m &= m - 1) {
			uint32_t bit = (uint32_t)__builtin_ctzll(m);
			const uint8_t *a = x[w * 64 + bit].b;
			uint64_t hi = be64(a), lo = be64(a + 8);
			bool hit = hi == 0 && lo >> 32 == 0xffff
				       ? search(t->v4, t->n_v4, (uint32_t)lo)
				       : search_v6(t, hi, lo);
			hits |= (uint64_t)hit << bit;
		}
		out[w] = hits;
	}
}

static void
run_nets(const struct test *t, const struct filter_work *w, const struct batch *b, uint64_t *out,
    unsigned nw)
{
	uint64_t had[BATCH_WORDS];
	const struct column *c = &b->col[t->f];
	if (t->negate)
		memcpy(had, out, nw * sizeof(*out));
	if (t->how == HOW_NETS)
		w->k->nets(c->data, t->nets, t->n, out, out, nw);
	else
		run_netsearch(t, c->data, out, nw);
	for (unsigned i = 0; t->negate && i < nw; i++)
		out[i] = had[i] & ~out[i];
}

static void
run_same(const struct test *t, const struct filter_work *w, const struct batch *b, uint64_t *out,
    unsigned nw)
{
	uint64_t had[BATCH_WORDS];
	stored_present(b, t->g, out, had, nw);
	const struct column *x = batch_get(b, t->f), *y = batch_get(b, t->g);
	if (x == NULL || y == NULL) {
		memset(out, 0, nw * sizeof(*out));
		return;
	}
	w->k->same(x->data, y->data, (unsigned)field_width(t->f), had, out, nw);
	for (unsigned i = 0; t->negate && i < nw; i++)
		out[i] = had[i] & ~out[i];
}

/* ---- arithmetic ---- */

static uint64_t
present_word(const struct column *c, unsigned w)
{
	return c == NULL ? 0 : c->dense ? ~UINT64_C(0) : c->present[w];
}

static void
load_field(const struct filter_work *work, const struct batch *b, const struct arith_op *op,
    unsigned w, double *to)
{
	struct pair p;
	const struct column *c = batch_get(b, op->f);
	size_t at = (size_t)w * 64;
	if (field_pair(b, op->f, &p) && p.a != NULL && (!p.minus || p.b != NULL)) {
		enum field first = op->f == F_duration	      ? F_end
				   : op->f == F_total_packets ? F_packets
							      : F_bytes;
		uint64_t second = p.b == NULL		? 0
				  : p.b_present != NULL ? p.b_present[w]
							: ~UINT64_C(0);
		uint64_t both =
		    present_word(batch_get(b, first), w) & (p.minus ? second : ~UINT64_C(0));
		work->k->load_pair(
		    p.a + at, p.b != NULL ? p.b + at : NULL, second, p.minus, both, to);
	} else if (c != NULL) {
		work->k->load((enum k_op)op->op, c->data, w * 64, present_word(c, w), to);
	} else {
		for (int i = 0; i < 64; i++)
			to[i] = __builtin_nan("");
	}
}

static uint64_t
cmp_block(const struct test *t, struct filter_work *work, const struct batch *b, unsigned w)
{
	double(*top)[64] = work->stack; /* the next free place */
	for (uint32_t i = 0; i < t->n_ops; i++) {
		const struct arith_op *op = &t->ops[i];
		if (op->load) {
			load_field(work, b, op, w, *top++);
		} else if (op->op == K_CONST) {
			for (int k = 0; k < 64; k++)
				(*top)[k] = op->value;
			top++;
		} else if (op->op == K_NEG) {
			work->k->arith(K_NEG, top[-1], NULL);
		} else {
			top--;
			work->k->arith((enum k_op)op->op, top[-1], top[0]);
		}
	}
	return work->k->compare((enum k_rel)t->rel, work->stack[0], work->stack[1]);
}

static void
run_cmp(const struct test *t, struct filter_work *work, const struct batch *b, const uint64_t *in,
    uint64_t *out, unsigned nw)
{
	for (unsigned w = 0; w < nw; w++)
		out[w] = in[w] != 0 ? in[w] & cmp_block(t, work, b, w) : 0;
}

/* ---- the program ---- */

/* server_name is asked where it comes from: each row in its first source that has one. */
static void
run_server_name(const struct test *t, struct filter_work *w, const struct batch *b,
    const uint64_t *in, uint64_t *out, unsigned nw)
{
	static const enum field from[] = {F_http_host, F_tls_sni, F_dns_query};
	uint64_t rest[BATCH_WORDS], here[BATCH_WORDS], hits[BATCH_WORDS] = {0};
	memcpy(rest, in, nw * sizeof(*rest));
	for (int i = 0; i < 3; i++) {
		const struct column *c = batch_get(b, from[i]);
		if (c == NULL)
			continue;
		stored_present(b, from[i], rest, here, nw);
		for (unsigned k = 0; k < nw; k++)
			rest[k] &= ~here[k];
		run_text(t, w, b, c, here, here, nw);
		for (unsigned k = 0; k < nw; k++)
			hits[k] |= here[k];
	}
	memcpy(out, hits, nw * sizeof(*out));
}

static void
run_test(const struct test *t, struct filter_work *w, const struct batch *b, const uint64_t *in,
    uint64_t *out, unsigned nw)
{
	if (t->how == HOW_CMP) {
		run_cmp(t, w, b, in, out, nw);
		return;
	}
	if (t->how == HOW_SAMETEXT) {
		run_same_text(t, b, in, out, nw);
		return;
	}
	if (t->how == HOW_TEXT && t->f == F_server_name) {
		run_server_name(t, w, b, in, out, nw);
		return;
	}
	uint64_t has[BATCH_WORDS], some = 0;
	field_present(b, t->f, in, has, nw);
	for (unsigned i = 0; i < nw; i++) {
		out[i] = t->how == HOW_ABSENT && !t->negate ? in[i] & ~has[i] : has[i];
		some |= out[i];
	}
	if (some == 0 || t->how == HOW_ABSENT)
		return; /* past here the column exists */
	if (t->how == HOW_TEXT)
		run_text(t, w, b, batch_get(b, t->f), out, out, nw);
	else if (t->how == HOW_BITS)
		w->k->bits(b->col[t->f].data, t->mask, t->any, out, out, nw);
	else if (t->how == HOW_NETS || t->how == HOW_NETSEARCH)
		run_nets(t, w, b, out, nw);
	else if (t->how == HOW_SAME)
		run_same(t, w, b, out, nw);
	else
		run_set(t, w, b, out, nw);
}

static bool
is_empty(const uint64_t *m, unsigned nw)
{
	uint64_t any = 0;
	for (unsigned i = 0; i < nw; i++)
		any |= m[i];
	return any == 0;
}

static void
run_insn(const struct insn *i, uint64_t (*regs)[BATCH_WORDS], unsigned nw)
{
	uint64_t *d = regs[i->dst];
	const uint64_t *a = regs[i->a], *b = regs[i->b];
	for (unsigned w = 0; w < nw; w++)
		d[w] = i->op == I_MINUS	 ? a[w] & ~b[w]
		       : i->op == I_OR	 ? a[w] | b[w]
		       : i->op == I_NONE ? 0
					 : a[w];
}

uint32_t
filter_run(const struct filter *f, struct filter_work *work, const struct batch *b,
    uint64_t mask[BATCH_WORDS])
{
	uint32_t n = b->n < BATCH_ROWS ? b->n : BATCH_ROWS, count = 0;
	unsigned nw = (n + 63) / 64;
	memset(mask, 0, BATCH_WORDS * sizeof(*mask));
	for (unsigned w = 0; w < nw; w++)
		work->regs[0][w] = ~UINT64_C(0);
	if (n % 64 != 0)
		work->regs[0][nw - 1] = (UINT64_C(1) << (n % 64)) - 1;
	for (unsigned pc = 0; nw > 0 && pc < f->n_insns; pc++) {
		const struct insn *i = &f->insns[pc];
		if (i->op == I_TEST)
			run_test(
			    &f->tests[i->arg], work, b, work->regs[i->a], work->regs[i->dst], nw);
		else if (i->op != I_EMPTY)
			run_insn(i, work->regs, nw);
		else if (is_empty(work->regs[i->a], nw))
			pc = i->arg - 1u;
	}
	for (unsigned w = 0; w < nw; w++) {
		mask[w] = work->regs[1][w];
		count += (uint32_t)__builtin_popcountll(mask[w]);
	}
	return count;
}
