/* SPDX-License-Identifier: Apache-2.0
 * filter/compile.c - from the normal form to a program.
 *
 * Operands of `and` are ordered by cost / (share that fails), those of `or` by cost / (share that
 * passes): the order with the least expected cost when tests are independent. The estimates are
 * per kind of test; costs were measured with tests/bench/filter.c. */
#include <stdlib.h>

#include "base/err.h"
#include "filter/program.h"

struct gen {
	struct filter *f;
	uint32_t max_insns, max_tests;
	int rc;
};

struct rank {
	const struct node *n;
	float key;
};

static uint32_t
count_tests(const struct node *n)
{
	uint32_t sum = 2;
	for (const struct node *k = n->kid; k != NULL; k = k->next)
		sum += count_tests(k);
	return sum;
}

static void *
get(struct gen *g, size_t size)
{
	void *p = arena_get(&g->f->arena, size);
	if (p == NULL)
		g->rc = -E_NOMEM;
	return p;
}

/* ---- estimates ---- */

static float
set_pass(const struct node *n)
{
	bool narrow = true;
	for (uint32_t i = 0; i < n->n; i++)
		narrow = narrow && n->ranges[i].hi - n->ranges[i].lo < 256;
	if (n->f == F_proto)
		return narrow ? 0.4f : 0.6f;
	if (n->n == 2 && n->ranges[0].hi + 2 == n->ranges[1].lo)
		return 0.9f; /* all but one */
	return narrow ? (n->n > 8 ? 0.3f : 0.1f) : 0.4f;
}

static float
set_cost(const struct node *n)
{
	size_t width = field_width(n->f);
	uint32_t ranges = n->n > RANGES_INLINE ? RANGES_INLINE : n->n;
	float cost = 0.03f * (float)width * (float)ranges + 0.03f;
	if (n->n > RANGES_INLINE)
		cost = width == 1 ? 0.3f : width == 2 ? 1.5f : 6.0f;
	return (field_info[n->f].flags & FF_DERIVED) != 0 ? cost + 0.3f : cost;
}

static void
estimate(const struct node *n, float *cost, float *pass)
{
	*cost = 0.02f;
	*pass = 0.5f;
	switch ((enum node_kind)n->kind) {
	case N_SET:
		*cost = set_cost(n);
		*pass = set_pass(n);
		break;
	case N_HAS:
		*cost = 0.06f;
		break;
	case N_ADDR:
		*cost = n->n <= NETS_INLINE ? 0.6f * (float)n->n : 8.0f;
		*pass = n->negate ? 0.9f : 0.2f;
		break;
	case N_TEXT:
		*cost = n->op == TEXT_EQ && n->n == 1 ? 0.6f
			: n->op <= TEXT_NE	      ? 2.0f
			: n->op == TEXT_LIKE	      ? 4.0f
						      : 5.0f;
		*cost += n->op >= TEXT_LIKE ? 2.0f * (float)(n->n - 1) : 0;
		*pass = n->op == TEXT_NE ? 0.9f : 0.1f;
		break;
	case N_SAME:
		*cost = field_info[n->f].type == FT_TEXT ? 6.0f : 0.5f;
		*pass = n->negate ? 0.9f : 0.1f;
		break;
	case N_CMP:
		*cost = 2.5f;
		break;
	case N_ABSENT:
		*pass = n->negate ? 0.8f : 0.2f;
		break;
	case N_NOT:
		estimate(n->kid, cost, pass);
		*pass = 1 - *pass;
		break;
	case N_AND:
	case N_OR: {
		float left = 1, sum = 0, c, p;
		for (const struct node *k = n->kid; k != NULL; k = k->next) {
			estimate(k, &c, &p);
			sum += left * c;
			left *= n->kind == N_AND ? p : 1 - p;
		}
		*cost = sum;
		*pass = n->kind == N_AND ? left : 1 - left;
		break;
	}
	case N_TRUE:
	case N_FALSE:
	case N_NUM:
	case N_FIELD:
	case N_NEG:
	case N_ADD:
	case N_SUB:
	case N_MUL:
	case N_DIV:
		break;
	}
	/* either end: the second one is asked for rows the first did not take */
	if (n->g != F_NONE && n->kind != N_SAME) {
		*cost *= 2;
		*pass = 1 - (1 - *pass) * (1 - *pass);
	}
}

/* ---- data of tests ---- */

static void
gen_ranges(struct gen *g, const struct node *n, struct test *t)
{
	size_t width = field_width(n->f);
	bool derived = (field_info[n->f].flags & FF_DERIVED) != 0;
	t->flip = field_is_signed(n->f) ? UINT64_C(1) << 63 : 0;
	t->n = n->n;
	t->ranges = get(g, n->n * sizeof(*t->ranges));
	if (t->ranges == NULL)
		return;
	for (uint32_t i = 0; i < n->n; i++)
		t->ranges[i] = (struct k_range){n->ranges[i].lo, n->ranges[i].hi - n->ranges[i].lo};
	t->how = n->n <= RANGES_INLINE ? HOW_RANGES : HOW_SEARCH;
	if (width == 1 && n->n > 1) {
		t->how = HOW_TABLE;
		t->table = get(g, 256);
		for (uint32_t i = 0; t->table != NULL && i < n->n; i++)
			for (uint64_t v = n->ranges[i].lo; v <= n->ranges[i].hi; v++)
				t->table[v] = 0xff;
	} else if (width == 2 && !derived && n->n > RANGES_INLINE) {
		t->how = HOW_BITMAP;
		t->bitmap = get(g, 65536 / 8);
		for (uint32_t i = 0; t->bitmap != NULL && i < n->n; i++)
			for (uint64_t v = n->ranges[i].lo; v <= n->ranges[i].hi; v++)
				t->bitmap[v >> 6] |= UINT64_C(1) << (v & 63);
	}
	/* in the column's own representation; the span is the same */
	for (uint32_t i = 0; t->how == HOW_RANGES && i < n->n; i++)
		t->ranges[i].lo ^= t->flip;
}

static uint64_t
word_be(const uint8_t *p)
{
	uint64_t v = 0;
	for (int i = 0; i < 8; i++)
		v = v << 8 | p[i];
	return v;
}

static void
net_mask(unsigned bits, uint8_t out[16])
{
	memset(out, 0, 16);
	for (unsigned i = 0; i < bits; i++)
		out[i / 8] |= (uint8_t)(0x80 >> (i % 8));
}

/* Does an IPv6 network have ::ffff:0:0/96 within its bits? IPv4 addresses are not meant. */
static bool
around_v4(const struct net *n, const uint8_t mask[16])
{
	static const uint8_t mapped[16] = {[10] = 0xff, [11] = 0xff};
	for (int i = 0; i < 16 && n->bits < 96; i++)
		if ((mapped[i] & mask[i]) != n->addr.b[i])
			return false;
	return n->bits < 96;
}

static void
gen_nets(struct gen *g, const struct node *n, struct test *t)
{
	t->n = n->n;
	t->negate = n->negate;
	t->how = n->n <= NETS_INLINE ? HOW_NETS : HOW_NETSEARCH;
	t->nets = get(g, n->n * sizeof(*t->nets));
	t->v4 = get(g, n->n * sizeof(*t->v4));
	t->v6 = get(g, n->n * sizeof(*t->v6));
	if (g->rc != 0)
		return;
	for (uint32_t i = 0; i < n->n; i++) {
		const struct net *net = &n->nets[i];
		struct k_net *k = &t->nets[i];
		uint8_t m[16];
		net_mask(net->bits, m);
		memcpy(&k->m0, m, 8);
		memcpy(&k->m1, m + 8, 8);
		memcpy(&k->v0, net->addr.b, 8);
		memcpy(&k->v1, net->addr.b + 8, 8);
		k->not_v4 = around_v4(net, m);
		if (net_is_v4(net)) {
			uint32_t v = (uint32_t)word_be(net->addr.b + 8);
			t->v4[t->n_v4++] = (struct k_range){v, (uint32_t)~word_be(m + 8)};
		} else {
			uint64_t hi = word_be(net->addr.b), lo = word_be(net->addr.b + 8);
			t->v6[t->n_v6++] =
			    (struct wide_range){{hi, lo}, {hi | ~word_be(m), lo | ~word_be(m + 8)}};
		}
	}
}

static void
gen_text(struct gen *g, const struct node *n, struct test *t)
{
	t->how = HOW_TEXT;
	t->text_op = n->op;
	t->n = n->n;
	t->least = UINT16_MAX;
	t->texts = get(g, n->n * sizeof(*t->texts));
	t->globs = n->op >= TEXT_LIKE ? get(g, n->n * sizeof(*t->globs)) : NULL;
	for (uint32_t i = 0; g->rc == 0 && i < n->n; i++) {
		char *p = get(g, n->texts[i].n + 1);
		uint32_t least = (uint32_t)n->texts[i].n, most = least;
		if (p == NULL)
			return;
		memcpy(p, n->texts[i].p, n->texts[i].n);
		t->texts[i] = (struct strv){p, n->texts[i].n};
		if (t->globs != NULL) {
			if (!glob_compile(&g->f->arena, t->texts[i], &t->globs[i]))
				g->rc = -E_NOMEM;
			least = t->globs[i].min_len;
			most = t->globs[i].max_len;
		}
		if (least < t->least)
			t->least = least;
		if (most > t->most)
			t->most = most;
	}
	if (t->most > TEXT_MAX)
		t->most = TEXT_MAX;
}

static void
push_op(struct gen *g, struct test *t, struct arith_op op, unsigned depth)
{
	if (depth >= PROGRAM_STACK)
		g->rc = -E_LIMIT;
	if (g->rc == 0)
		t->ops[t->n_ops++] = op;
}

static enum k_op
load_op(enum field f)
{
	if (field_is_signed(f))
		return K_S64;
	size_t w = field_width(f);
	return w == 1 ? K_U8 : w == 2 ? K_U16 : w == 4 ? K_U32 : K_U64;
}

/* Reverse Polish: operands, then the operator; @depth values are on the stack before. */
static void
gen_arith(struct gen *g, const struct node *n, struct test *t, unsigned depth)
{
	struct arith_op op = {0};
	unsigned d = depth;
	for (const struct node *k = n->kid; k != NULL; k = k->next)
		gen_arith(g, k, t, d++);
	op.f = F_NONE;
	if (n->kind == N_NUM) {
		op.op = K_CONST;
		op.value = num_double(&n->num);
	} else if (n->kind == N_FIELD) {
		op = (struct arith_op){(uint8_t)load_op(n->f), true, n->f, 0};
		struct field_set from = field_sources(n->f);
		g->f->fields = field_set_union(g->f->fields, from);
	} else {
		op.op = n->kind == N_NEG   ? K_NEG
			: n->kind == N_ADD ? K_ADD
			: n->kind == N_SUB ? K_SUB
			: n->kind == N_MUL ? K_MUL
			: n->any	   ? K_RATE
					   : K_DIV;
	}
	push_op(g, t, op, depth);
}

static void
gen_cmp(struct gen *g, const struct node *n, struct test *t)
{
	t->how = HOW_CMP;
	t->rel = n->op == T_EQ	 ? K_EQ
		 : n->op == T_NE ? K_NE
		 : n->op == T_LT ? K_LT
		 : n->op == T_LE ? K_LE
		 : n->op == T_GT ? K_GT
				 : K_GE;
	t->ops = get(g, count_tests(n) * sizeof(*t->ops));
	if (t->ops == NULL)
		return;
	gen_arith(g, n->kid, t, 0);
	gen_arith(g, n->kid->next, t, 1);
}

static void
gen_data(struct gen *g, const struct node *n, struct test *t)
{
	if (n->kind == N_SET) {
		gen_ranges(g, n, t);
	} else if (n->kind == N_ADDR) {
		gen_nets(g, n, t);
	} else if (n->kind == N_TEXT) {
		gen_text(g, n, t);
	} else if (n->kind == N_CMP) {
		gen_cmp(g, n, t);
	} else if (n->kind == N_HAS) {
		t->how = HOW_BITS;
		t->mask = n->mask;
		t->any = n->any;
	} else if (n->kind == N_ABSENT) {
		t->how = HOW_ABSENT;
		t->negate = n->negate;
	} else {
		t->how = field_info[n->f].type == FT_TEXT ? HOW_SAMETEXT : HOW_SAME;
		t->g = n->g;
		t->negate = n->negate;
	}
}

/* ---- instructions ---- */

static struct insn *
emit(struct gen *g, enum insn_op op, unsigned dst, unsigned a, unsigned b)
{
	if (g->rc == 0 && (g->f->n_insns >= g->max_insns || dst >= PROGRAM_REGS))
		g->rc = -E_LIMIT;
	if (g->rc != 0)
		return NULL;
	struct insn *i = &g->f->insns[g->f->n_insns++];
	*i = (struct insn){(uint8_t)op, (uint8_t)dst, (uint8_t)a, (uint8_t)b, 0};
	return i;
}

static void
add_fields(struct filter *f, enum field id)
{
	if (id != F_NONE)
		f->fields = field_set_union(f->fields, field_sources(id));
}

static void
gen_test(struct gen *g, const struct node *n, unsigned in, unsigned out, unsigned free_reg)
{
	struct filter *f = g->f;
	if (g->rc != 0 || f->n_tests + 2u > g->max_tests) {
		g->rc = g->rc != 0 ? g->rc : -E_LIMIT;
		return;
	}
	struct test *t = &f->tests[f->n_tests++];
	t->f = n->f;
	t->g = F_NONE;
	gen_data(g, n, t);
	estimate(n, &t->cost, &t->pass);
	add_fields(f, n->f);
	add_fields(f, n->g);
	char *words = get(g, n->text.n + 1);
	if (words == NULL)
		return;
	memcpy(words, n->text.p, n->text.n);
	t->words = (struct strv){words, n->text.n};
	bool ends = n->g != F_NONE && n->kind != N_SAME;
	struct insn *i = emit(g, I_TEST, ends ? free_reg : out, in, 0);
	if (i == NULL)
		return;
	i->arg = (uint16_t)(t - f->tests);
	if (!ends)
		return;
	/* the other end, asked for the rest only */
	struct test *u = &f->tests[f->n_tests++];
	*u = *t;
	u->f = n->g;
	(void)emit(g, I_MINUS, free_reg + 1, in, free_reg);
	i = emit(g, I_TEST, free_reg + 1, free_reg + 1, 0);
	if (i != NULL)
		i->arg = (uint16_t)(u - f->tests);
	(void)emit(g, I_OR, out, free_reg, free_reg + 1);
}

static int
rank_cmp(const void *a, const void *b)
{
	const struct rank *x = a, *y = b;
	return x->key < y->key ? -1 : x->key > y->key;
}

static uint32_t
order_kids(struct gen *g, const struct node *n, struct rank **out)
{
	uint32_t count = 0, i = 0;
	for (const struct node *k = n->kid; k != NULL; k = k->next)
		count++;
	struct rank *r = *out = get(g, count * sizeof(*r));
	if (r == NULL)
		return 0;
	for (const struct node *k = n->kid; k != NULL; k = k->next, i++) {
		float cost, pass;
		estimate(k, &cost, &pass);
		float decides = n->kind == N_AND ? 1 - pass : pass;
		r[i] = (struct rank){k, cost / (decides > 0.001f ? decides : 0.001f)};
	}
	qsort(r, count, sizeof(*r), rank_cmp);
	return count;
}

static void gen_node(
    struct gen *g, const struct node *n, unsigned in, unsigned out, unsigned free_reg);

/* Jumps made since @from that have no target yet go to the next instruction. */
static void
land(struct gen *g, uint32_t from, unsigned reg)
{
	for (uint32_t i = from; i < g->f->n_insns; i++)
		if (g->f->insns[i].op == I_EMPTY && g->f->insns[i].arg == 0 &&
		    g->f->insns[i].a == reg)
			g->f->insns[i].arg = g->f->n_insns;
}

static void
gen_and(struct gen *g, const struct node *n, unsigned in, unsigned out, unsigned free_reg)
{
	struct rank *r;
	uint32_t count = order_kids(g, n, &r), from = g->f->n_insns;
	/* each works on what the one before left in free_reg */
	for (uint32_t i = 0; i < count && g->rc == 0; i++) {
		gen_node(g, r[i].n, i == 0 ? in : free_reg, free_reg, free_reg + 1);
		if (i + 1 < count)
			(void)emit(g, I_EMPTY, 0, free_reg, 0);
	}
	land(g, from, free_reg);
	(void)emit(g, I_COPY, out, free_reg, 0);
}

static void
gen_or(struct gen *g, const struct node *n, unsigned in, unsigned out, unsigned free_reg)
{
	struct rank *r;
	uint32_t count = order_kids(g, n, &r), from = g->f->n_insns;
	unsigned rest = free_reg, hits = free_reg + 1;
	/* rest: not passed yet; the end result is in minus rest */
	for (uint32_t i = 0; i < count && g->rc == 0; i++) {
		gen_node(g, r[i].n, i == 0 ? in : rest, hits, free_reg + 2);
		(void)emit(g, I_MINUS, rest, i == 0 ? in : rest, hits);
		if (i + 1 < count)
			(void)emit(g, I_EMPTY, 0, rest, 0);
	}
	land(g, from, rest);
	(void)emit(g, I_MINUS, out, in, rest);
}

/* Code that puts the rows of register @in that pass @n into @out (which may be @in); registers
 * from @free_reg on are free. */
static void
gen_node(struct gen *g, const struct node *n, unsigned in, unsigned out, unsigned free_reg)
{
	if (n->kind == N_AND) {
		gen_and(g, n, in, out, free_reg);
	} else if (n->kind == N_OR) {
		gen_or(g, n, in, out, free_reg);
	} else if (n->kind == N_NOT) {
		gen_node(g, n->kid, in, free_reg, free_reg + 1);
		(void)emit(g, I_MINUS, out, in, free_reg);
	} else if (n->kind == N_TRUE || n->kind == N_FALSE) {
		(void)emit(g, n->kind == N_TRUE ? I_ALL : I_NONE, out, in, 0);
	} else {
		gen_test(g, n, in, out, free_reg);
	}
}

int
compile(struct filter *f, const struct node *root)
{
	uint32_t most = count_tests(root);
	struct gen g = {f, 8 * most + 8, 2 * most + 2, 0};
	f->insns = get(&g, g.max_insns * sizeof(*f->insns));
	f->tests = get(&g, g.max_tests * sizeof(*f->tests));
	f->all = root->kind == N_TRUE;
	if (g.rc == 0)
		gen_node(&g, root, 0, 1, 2);
	return g.rc;
}
