/* SPDX-License-Identifier: Apache-2.0
 * filter/canon.c - the normal form of a condition.
 *
 * Only rewrites that keep two-valued logic are made: a test is false when its field is absent, so
 * sets of one field may be united below `or` and intersected below `and`, but a `not` never moves
 * into a comparison. What is left is sorted by its canonical text and duplicates go. */
#include <stdlib.h>

#include "filter/filter_priv.h"

static struct node *canon_node(struct arena *a, struct node *n);

static bool
ranges_are(const struct node *n, uint64_t lo, uint64_t hi)
{
	return n->n == 1 && n->ranges[0].lo == lo && n->ranges[0].hi == hi;
}

/* A set in normal form; sets of everything and of nothing become simpler nodes. */
static void
canon_set(struct node *n)
{
	ranges_normalise(n->ranges, &n->n);
	if (n->n == 0)
		n->kind = N_FALSE;
	else if (n->g == F_NONE && ranges_are(n, 0, field_key_max(n->f))) {
		n->kind = N_ABSENT;
		n->negate = true;
	}
}

static bool
canon_patterns(struct arena *a, struct node *n)
{
	bool plain = true, caseless = true, any = false;
	for (uint32_t i = 0; i < n->n; i++) {
		char *p = arena_get(a, n->texts[i].n + 1);
		if (p == NULL)
			return false;
		memcpy(p, n->texts[i].p, n->texts[i].n);
		glob_normalise(p, &n->texts[i].n, n->op == TEXT_ILIKE);
		n->texts[i].p = p;
		plain = plain && glob_is_plain(n->texts[i]);
		caseless = caseless && glob_is_caseless(n->texts[i]);
		any = any || glob_is_any(n->texts[i]);
	}
	if (any) {
		n->kind = N_ABSENT;
		n->negate = true;
		return true;
	}
	if (n->op == TEXT_ILIKE && caseless)
		n->op = TEXT_LIKE;
	for (uint32_t i = 0; n->op == TEXT_LIKE && plain && i < n->n; i++) {
		char *p = arena_get(a, n->texts[i].n + 1);
		if (p == NULL)
			return false;
		memcpy(p, n->texts[i].p, n->texts[i].n);
		glob_unquote(p, &n->texts[i].n);
		n->texts[i].p = p;
	}
	if (n->op == TEXT_LIKE && plain)
		n->op = TEXT_EQ;
	return true;
}

static bool
canon_leaf(struct arena *a, struct node *n)
{
	if (n->kind == N_SET)
		canon_set(n);
	else if (n->kind == N_ADDR)
		nets_normalise(n->nets, &n->n);
	else if (n->kind == N_SAME && n->f > n->g) {
		enum field f = n->f;
		n->f = n->g;
		n->g = f;
	} else if (n->kind == N_HAS && (n->mask & (n->mask - 1)) == 0)
		n->any = false; /* all of one is any of one */
	else if (n->kind == N_TEXT && n->op >= TEXT_LIKE && !canon_patterns(a, n))
		return false;
	if (n->kind == N_TEXT)
		texts_normalise(n->texts, &n->n);
	return true;
}

/* Arithmetic: x + y and x * y in the order of their texts; a comparison too. */
static bool
canon_arith(struct arena *a, struct node *n)
{
	for (struct node *k = n->kid; k != NULL; k = k->next)
		if (!canon_arith(a, k) || !node_print(a, k))
			return false;
	struct node *x = n->kid, *y = x != NULL ? x->next : NULL;
	if (y == NULL || (n->kind != N_ADD && n->kind != N_MUL && n->kind != N_CMP))
		return true;
	size_t len = x->text.n < y->text.n ? x->text.n : y->text.n;
	int c = memcmp(x->text.p, y->text.p, len);
	bool swap = c > 0 || (c == 0 && x->text.n > y->text.n);
	/* constants come last */
	if (x->constant != y->constant)
		swap = x->constant;
	if (!swap)
		return true;
	n->kid = y;
	y->next = x;
	x->next = NULL;
	if (n->kind == N_CMP)
		n->op = n->op == T_LT	? T_GT
			: n->op == T_GT ? T_LT
			: n->op == T_LE ? T_GE
			: n->op == T_GE ? T_LE
					: n->op;
	return true;
}

/* ---- and, or ---- */

/* A range without an end on a signed field prints as a comparison only, never within a list. */
static bool
open_ended(const struct node *n)
{
	for (uint32_t i = 0; field_is_signed(n->f) && i < n->n; i++)
		if (n->ranges[i].lo == 0 || n->ranges[i].hi == UINT64_MAX)
			return true;
	return false;
}

static bool
mergeable(const struct node *x, const struct node *y, bool is_and)
{
	if (x->kind != y->kind || x->f != y->f || x->g != y->g)
		return false;
	if (x->kind == N_SET)
		return (!is_and || x->g == F_NONE) && !open_ended(x) && !open_ended(y);
	if (is_and)
		return false;
	return (x->kind == N_ADDR && !x->negate && !y->negate) ||
	       (x->kind == N_TEXT && x->op == y->op && x->op != TEXT_NE);
}

static void *
joined(struct arena *a, const void *x, uint32_t xn, const void *y, uint32_t yn, size_t size)
{
	char *to = arena_get(a, (xn + yn) * size);
	if (to == NULL)
		return NULL;
	memcpy(to, x, xn * size);
	memcpy(to + xn * size, y, yn * size);
	return to;
}

/* x becomes both; y is to be dropped. */
static bool
merge(struct arena *a, struct node *x, const struct node *y, bool is_and)
{
	void *to;
	if (x->kind == N_SET && is_and) {
		struct range *r = arena_get(a, (x->n + y->n) * sizeof(*r));
		if (r == NULL)
			return false;
		x->n = ranges_and(x->ranges, x->n, y->ranges, y->n, r);
		x->ranges = r;
		return true;
	}
	if (x->kind == N_SET) {
		to = x->ranges = joined(a, x->ranges, x->n, y->ranges, y->n, sizeof(*x->ranges));
	} else if (x->kind == N_ADDR) {
		to = x->nets = joined(a, x->nets, x->n, y->nets, y->n, sizeof(*x->nets));
	} else {
		to = x->texts = joined(a, x->texts, x->n, y->texts, y->n, sizeof(*x->texts));
	}
	x->n += y->n;
	return to != NULL;
}

static bool
same_set(const struct node *x, const struct node *y)
{
	if (x->kind != y->kind || x->n != y->n || x->g != F_NONE || y->g != F_NONE)
		return false;
	if (x->kind == N_SET)
		return memcmp(x->ranges, y->ranges, x->n * sizeof(*x->ranges)) == 0;
	if (x->kind != N_ADDR || x->negate || y->negate)
		return false;
	for (uint32_t i = 0; i < x->n; i++)
		if (x->nets[i].bits != y->nets[i].bits ||
		    memcmp(&x->nets[i].addr, &y->nets[i].addr, sizeof(struct addr)) != 0)
			return false;
	return true;
}

/* src X or dst X: one either-end test. True when y is to be dropped. */
static bool
pair_ends(struct node *x, struct node *y)
{
	for (int i = 0; i < N_PRIMITIVES; i++) {
		const struct primitive *p = &primitives[i];
		if (p->src == p->dst)
			continue;
		if (((x->f == p->src && y->f == p->dst) || (x->f == p->dst && y->f == p->src)) &&
		    same_set(x, y)) {
			x->f = p->src;
			x->g = p->dst;
			return true;
		}
	}
	return false;
}

/* One pass over all pairs of kids; the dropped ones leave the list. */
static bool
merge_kids(struct arena *a, struct node *n, bool pairs)
{
	bool is_and = n->kind == N_AND;
	for (struct node *x = n->kid; x != NULL; x = x->next) {
		bool changed = false;
		for (struct node **at = &x->next; *at != NULL;) {
			struct node *y = *at;
			bool drop = false;
			if (pairs) {
				drop = pair_ends(x, y);
			} else if (mergeable(x, y, is_and)) {
				if (!merge(a, x, y, is_and))
					return false;
				drop = changed = true;
			}
			if (drop)
				*at = y->next;
			else
				at = &y->next;
		}
		if (changed && x->kind == N_SET)
			ranges_normalise(x->ranges, &x->n);
		else if (changed && x->kind == N_ADDR)
			nets_normalise(x->nets, &x->n);
		else if (changed && x->kind == N_TEXT)
			texts_normalise(x->texts, &x->n);
	}
	return true;
}

/* Kids in normal form, kids of the same kind taken in, what decides or adds nothing removed. */
static int
canon_kids(struct arena *a, struct node *n)
{
	struct node *kids = n->kid, **to = &n->kid;
	n->kid = NULL;
	for (struct node *k = kids, *next; k != NULL; k = next) {
		next = k->next;
		k->next = NULL;
		k = canon_node(a, k);
		if (k == NULL)
			return -1;
		*to = k->kind == n->kind ? k->kid : k;
		while (*to != NULL)
			to = &(*to)->next;
	}
	return 0;
}

static int
node_cmp(const void *a, const void *b)
{
	const struct node *x = *(const struct node *const *)a, *y = *(const struct node *const *)b;
	size_t n = x->text.n < y->text.n ? x->text.n : y->text.n;
	int c = memcmp(x->text.p, y->text.p, n);
	return c != 0 ? c : x->text.n < y->text.n ? -1 : x->text.n > y->text.n;
}

/* Sort by text, drop duplicates. */
static bool
sort_kids(struct arena *a, struct node *n)
{
	size_t count = 0, i = 0;
	for (struct node *k = n->kid; k != NULL; k = k->next, count++)
		if (!node_print(a, k))
			return false;
	struct node **v = arena_get(a, (count + 1) * sizeof(struct node *));
	if (v == NULL)
		return false;
	for (struct node *k = n->kid; k != NULL; k = k->next)
		v[i++] = k;
	if (count > 1)
		qsort(v, count, sizeof(struct node *), node_cmp);
	struct node **to = &n->kid;
	for (i = 0; i < count; i++) {
		if (i > 0 && strv_eq(v[i]->text, v[i - 1]->text))
			continue;
		*to = v[i];
		to = &v[i]->next;
	}
	*to = NULL;
	return true;
}

static struct node *
canon_joined(struct arena *a, struct node *n)
{
	uint8_t empty = n->kind == N_AND ? N_TRUE : N_FALSE;
	uint8_t decides = n->kind == N_AND ? N_FALSE : N_TRUE;
	if (canon_kids(a, n) != 0 || !merge_kids(a, n, false))
		return NULL;
	/* two ends with one set become one test, which may join another one like it */
	if (n->kind == N_OR && (!merge_kids(a, n, true) || !merge_kids(a, n, false)))
		return NULL;
	for (struct node **at = &n->kid; *at != NULL;) {
		struct node *k = *at;
		if (k->kind == N_SET)
			canon_set(k);
		if (k->kind == decides) {
			k->next = NULL;
			return k;
		}
		if (k->kind == empty)
			*at = k->next;
		else
			at = &k->next;
	}
	if (!sort_kids(a, n))
		return NULL;
	if (n->kid == NULL) {
		n->kind = empty;
		return n;
	}
	if (n->kid->next == NULL)
		return n->kid;
	return n;
}

static struct node *
canon_not(struct arena *a, struct node *n)
{
	struct node *k = n->kid = canon_node(a, n->kid);
	if (k == NULL)
		return NULL;
	if (k->kind == N_NOT)
		return k->kid;
	if (k->kind == N_TRUE || k->kind == N_FALSE)
		k->kind = k->kind == N_TRUE ? N_FALSE : N_TRUE;
	else if (k->kind == N_ABSENT)
		k->negate = !k->negate;
	else
		return n;
	return k;
}

static struct node *
canon_node(struct arena *a, struct node *n)
{
	if (n->kind == N_AND || n->kind == N_OR)
		return canon_joined(a, n);
	if (n->kind == N_NOT)
		return canon_not(a, n);
	if (n->kind == N_CMP)
		return canon_arith(a, n) ? n : NULL;
	return canon_leaf(a, n) ? n : NULL;
}

struct node *
canon(struct arena *a, struct node *n)
{
	n = canon_node(a, n);
	return n != NULL && node_print(a, n) ? n : NULL;
}
