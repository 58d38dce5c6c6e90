/* SPDX-License-Identifier: Apache-2.0
 * filter/relation.c - one comparison: which operators a type has and what node they make. */
#include <inttypes.h>

#include "filter/filter_priv.h"

#define OP(t) (1u << (t))
enum {
	OPS_EQUAL = OP(T_EQ) | OP(T_NE) | OP(T_IN) | OP(T_IS),
	OPS_ORDER = OP(T_LT) | OP(T_LE) | OP(T_GT) | OP(T_GE),
};

static unsigned
type_ops(enum field f)
{
	uint8_t t = field_info[f].type;
	return OPS_EQUAL | (field_is_number(f) ? OPS_ORDER : 0) | (t == FT_BITS ? OP(T_HAS) : 0) |
	       (t == FT_TEXT ? OP(T_LIKE) | OP(T_ILIKE) : 0);
}

/* The operator at the current token; a bare value stands for @bare. T_END after a failure. */
static enum token_type
parse_operator(struct parser *p, const struct target *t, enum token_type bare)
{
	char show[64];
	const struct token *at = p->tok;
	const char *kind = field_type_name((enum field_type)field_info[t->f].type);
	unsigned ops = type_ops(t->f);
	if (token_is_value(at) && bare != T_END)
		return bare;
	if (at->type < 32 && (ops >> at->type & 1) != 0) {
		p->tok++;
		return (enum token_type)at->type;
	}
	token_show(p, at, show, sizeof(show));
	if (token_is_value(at))
		parse_fail(p, at->off, E_SYNTAX, "an operator is missing: '%s = %.*s'?", t->name,
		    (int)(at->len < 40 ? at->len : 40), p->src.p + at->off);
	else if ((at->type >= T_EQ && at->type <= T_GE) || at->type >= T_IN)
		parse_fail(p, at->off, E_TYPE,
		    "%s does not apply to %s (%s); it has = != in%s%s%s "
		    "'is absent'",
		    show, t->name, kind, ops & OP(T_LT) ? " < <= > >=" : "",
		    ops & OP(T_HAS) ? " has" : "", ops & OP(T_LIKE) ? " like ilike" : "");
	else if (bare != T_END)
		parse_fail(p, at->off, E_SYNTAX, "%s wants a value or 'in (...)' after it, not %s",
		    t->name, show);
	else
		parse_fail(p, at->off, E_SYNTAX,
		    "%s needs a comparison (= != in%s%s 'is absent'), not %s", t->name,
		    ops & OP(T_LT) ? " < <= > >=" : "", ops & OP(T_HAS) ? " has" : "", show);
	return T_END;
}

/* One more list item; false when there are too many. */
static bool
count_item(struct parser *p)
{
	if (++p->items <= FILTER_LIST_MAX)
		return true;
	parse_fail(p, p->tok->off, E_LIMIT, "more than %d items in lists", FILTER_LIST_MAX);
	return false;
}

/* Items of a list that begins at the current token: an upper bound, for memory. */
static size_t
list_bound(const struct parser *p)
{
	size_t n = 1;
	for (const struct token *t = p->tok; t->type != T_END && t->type != T_RPAREN; t++)
		n += t->type == T_COMMA;
	return n;
}

/* Calls @item for a single item or each of "( item {, item} )". */
static bool
parse_list(struct parser *p, const struct target *t, struct node *n,
    bool (*item)(struct parser *, const struct target *, struct node *))
{
	char show[64];
	if (p->tok->type != T_LPAREN)
		return count_item(p) && item(p, t, n);
	do {
		p->tok++;
		if (!count_item(p) || !item(p, t, n))
			return false;
	} while (p->tok->type == T_COMMA);
	if (p->tok->type != T_RPAREN) {
		parse_fail(p, p->tok->off, E_SYNTAX, "expected , or ) in the list, not %s",
		    token_show(p, p->tok, show, sizeof(show)));
		return false;
	}
	p->tok++;
	return true;
}

static struct node *
target_node(struct parser *p, const struct target *t, enum node_kind kind)
{
	struct node *n = node_new(p, kind);
	if (n != NULL) {
		n->f = t->f;
		n->g = t->g;
	}
	return n;
}

static bool
item_range(struct parser *p, const struct target *t, struct node *n)
{
	struct range *r = &n->ranges[n->n];
	uint32_t at = p->tok->off;
	if (operand_key(p, t->f, &r->lo) != 0)
		return false;
	r->hi = r->lo;
	if (p->tok->type == T_SUB) {
		p->tok++;
		if (operand_key(p, t->f, &r->hi) != 0)
			return false;
		if (r->hi < r->lo) {
			parse_fail(p, at, E_RANGE, "the range ends before it begins");
			return false;
		}
	}
	n->n++;
	return true;
}

/* The ranges of "key @op". */
static uint32_t
op_ranges(enum token_type op, uint64_t key, uint64_t max, struct range out[2])
{
	uint32_t n = 0;
	if (op == T_EQ)
		out[n++] = (struct range){key, key};
	if ((op == T_NE || op == T_LT) && key > 0)
		out[n++] = (struct range){0, key - 1};
	if (op == T_LE)
		out[n++] = (struct range){0, key};
	if ((op == T_NE || op == T_GT) && key < max)
		out[n++] = (struct range){key + 1, max};
	if (op == T_GE)
		out[n++] = (struct range){key, max};
	return n;
}

static struct node *
set_node(struct parser *p, const struct target *t, enum token_type op, uint64_t key)
{
	struct node *n = target_node(p, t, N_SET);
	if (n == NULL)
		return NULL;
	n->ranges = arena_get(p->arena, 2 * sizeof(*n->ranges));
	if (n->ranges == NULL) {
		p->rc = -E_NOMEM;
		return NULL;
	}
	n->n = op_ranges(op, key, field_key_max(t->f), n->ranges);
	return n;
}

struct node *
set_from_num(
    struct parser *p, const struct target *t, enum token_type op, const struct num *v, size_t off)
{
	__int128 x;
	(void)num_integer(v, &x);
	__int128 max = (__int128)field_key_max(t->f);
	if (field_is_signed(t->f) ? x > INT64_MAX || x < INT64_MIN : x < 0 || x > max) {
		parse_fail(p, off, E_RANGE, "out of range: %s goes from %s to %" PRIu64, t->name,
		    field_is_signed(t->f) ? "-2^63" : "0",
		    field_is_signed(t->f) ? (uint64_t)INT64_MAX : (uint64_t)max);
		return NULL;
	}
	return set_node(p, t, op,
	    field_is_signed(t->f) ? (uint64_t)(int64_t)x ^ UINT64_C(1) << 63 : (uint64_t)x);
}

/* `(syn, ack)` or one operand: all bits together */
static int
bits_group(struct parser *p, uint16_t *mask)
{
	if (p->tok->type != T_LPAREN)
		return operand_bits(p, mask);
	*mask = 0;
	do {
		uint16_t one;
		p->tok++;
		if (operand_bits(p, &one) != 0)
			return p->rc;
		*mask |= one;
	} while (p->tok->type == T_COMMA);
	if (p->tok->type != T_RPAREN)
		return parse_fail(p, p->tok->off, E_SYNTAX, "expected , or ) among the flags");
	p->tok++;
	return 0;
}

static struct node *
bits_has(struct parser *p, const struct target *t)
{
	struct node *n = target_node(p, t, N_HAS);
	if (n == NULL)
		return NULL;
	if (p->tok->type == T_WORD && strv_ieq(token_text(p, p->tok), STRV("any")) &&
	    (p->tok[1].type == T_LPAREN || token_is_value(&p->tok[1]))) {
		n->any = true;
		p->tok++;
	}
	uint32_t at = p->tok->off;
	if (bits_group(p, &n->mask) != 0)
		return NULL;
	if (n->mask == 0)
		parse_fail(
		    p, at, E_RANGE, "has needs at least one flag; for none write %s = 0", t->name);
	return p->rc == 0 ? n : NULL;
}

/* Integers of every kind: numbers, times, MAC, flags, names. */
static struct node *
int_test(struct parser *p, const struct target *t, enum token_type op)
{
	uint64_t key;
	uint16_t mask;
	if (op == T_HAS)
		return bits_has(p, t);
	if (op == T_IN) {
		struct node *n = target_node(p, t, N_SET);
		if (n == NULL)
			return NULL;
		n->ranges = arena_get(p->arena, list_bound(p) * sizeof(*n->ranges));
		if (n->ranges == NULL)
			p->rc = -E_NOMEM;
		return p->rc == 0 && parse_list(p, t, n, item_range) ? n : NULL;
	}
	if (field_info[t->f].type == FT_BITS) {
		if (bits_group(p, &mask) != 0)
			return NULL;
		key = mask;
	} else if (operand_key(p, t->f, &key) != 0) {
		return NULL;
	}
	return set_node(p, t, op, key);
}

static bool
item_net(struct parser *p, const struct target *t, struct node *n)
{
	if (operand_net(p, t, &n->nets[n->n]) != 0)
		return false;
	n->n++;
	return true;
}

static struct node *
addr_test(struct parser *p, const struct target *t, enum token_type op)
{
	struct node *n = target_node(p, t, N_ADDR);
	if (n == NULL)
		return NULL;
	n->negate = op == T_NE;
	n->nets = arena_get(p->arena, (op == T_IN ? list_bound(p) : 1) * sizeof(*n->nets));
	if (n->nets == NULL)
		p->rc = -E_NOMEM;
	else if (op == T_IN)
		(void)parse_list(p, t, n, item_net);
	else
		(void)item_net(p, t, n);
	return p->rc == 0 ? n : NULL;
}

static bool
item_text(struct parser *p, const struct target *t, struct node *n)
{
	bool pattern = n->op == TEXT_LIKE || n->op == TEXT_ILIKE;
	(void)t;
	if (operand_text(p, pattern, &n->texts[n->n]) != 0)
		return false;
	n->n++;
	return true;
}

static struct node *
text_test(struct parser *p, const struct target *t, enum token_type op)
{
	struct node *n = target_node(p, t, N_TEXT);
	if (n == NULL)
		return NULL;
	bool list = op == T_IN || op == T_LIKE || op == T_ILIKE;
	n->op = op == T_LIKE	? TEXT_LIKE
		: op == T_ILIKE ? TEXT_ILIKE
		: op == T_NE	? TEXT_NE
				: TEXT_EQ;
	n->texts = arena_get(p->arena, (list ? list_bound(p) : 1) * sizeof(*n->texts));
	if (n->texts == NULL)
		p->rc = -E_NOMEM;
	else if (list)
		(void)parse_list(p, t, n, item_text);
	else
		(void)item_text(p, t, n);
	return p->rc == 0 ? n : NULL;
}

/* is absent | is not absent | is present; the `is` is eaten already */
static struct node *
absent_test(struct parser *p, const struct target *t)
{
	struct node *n = target_node(p, t, N_ABSENT);
	if (n == NULL)
		return NULL;
	if (p->tok->type == T_NOT) {
		n->negate = true;
		p->tok++;
	}
	struct strv w = token_text(p, p->tok);
	if (p->tok->type == T_WORD && strv_ieq(w, STRV("present"))) {
		n->negate = !n->negate;
	} else if (p->tok->type != T_WORD || !strv_ieq(w, STRV("absent"))) {
		parse_fail(p, p->tok->off, E_SYNTAX,
		    "'is' goes with 'absent' or 'not absent'; to compare, write =");
		return NULL;
	}
	p->tok++;
	return n;
}

/* Two fields of one type that is not numbers. */
static struct node *
same_test(struct parser *p, const struct target *t, enum token_type op, enum field g)
{
	if (field_info[g].type != field_info[t->f].type) {
		parse_fail(p, p->tok->off, E_TYPE, "%s (%s) and %s (%s) cannot be compared",
		    t->name, field_type_name((enum field_type)field_info[t->f].type),
		    field_info[g].name, field_type_name((enum field_type)field_info[g].type));
		return NULL;
	}
	struct node *n = target_node(p, t, N_SAME);
	if (n == NULL)
		return NULL;
	n->g = g;
	n->negate = op == T_NE;
	p->tok++;
	return n;
}

struct node *
parse_target_test(struct parser *p, const struct target *t)
{
	uint8_t type = field_info[t->f].type;
	uint32_t at = p->tok->off;
	enum field g;
	enum token_type bare = type == FT_TEXT ? T_ILIKE : t->primitive ? T_IN : T_END;
	enum token_type op = parse_operator(p, t, bare);
	if (op == T_END)
		return NULL;
	if (t->g != F_NONE && (op == T_NE || op == T_IS)) {
		parse_fail(p, at, E_TYPE,
		    op == T_NE ? "%s means either end, so != would say little; write 'not %s ...' "
				 "or %s != ..."
			       : "%s means either end: ask one%s, as in '%s is absent'",
		    t->name, op == T_NE ? t->name : "", field_info[t->f].name);
		return NULL;
	}
	if (op == T_IS)
		return absent_test(p, t);
	if (!t->primitive && (op == T_EQ || op == T_NE) && token_field(p, p->tok, &g))
		return same_test(p, t, op, g);
	return type == FT_ADDR	 ? addr_test(p, t, op)
	       : type == FT_TEXT ? text_test(p, t, op)
				 : int_test(p, t, op);
}

/* ---- arithmetic comparisons ---- */

static enum token_type
op_swap(enum token_type op)
{
	return op == T_LT ? T_GT : op == T_GT ? T_LT : op == T_LE ? T_GE : op == T_GE ? T_LE : op;
}

static bool
check_side(struct parser *p, const struct node *n, const struct token *op)
{
	if (n == NULL)
		return false;
	if (!node_is_value(n))
		parse_fail(p, op->off, E_TYPE, "a condition cannot be compared");
	else if (n->kind == N_FIELD && !field_is_number(n->f))
		parse_fail(p, n->off, E_TYPE, "%s (%s) cannot be compared with a number",
		    field_info[n->f].name, field_type_name((enum field_type)field_info[n->f].type));
	return p->rc == 0;
}

static struct node *
make_cmp(struct parser *p, const struct token *at, struct node *a, struct node *b)
{
	static const char *const dims[] = {"a number", "a time span", "a time"};
	enum token_type op = (enum token_type)at->type;
	__int128 whole;
	if (!check_side(p, a, at) || !check_side(p, b, at))
		return NULL;
	if (a->constant && b->constant) {
		parse_fail(
		    p, at->off, E_TYPE, "both sides are constants: a field has to take part");
		return NULL;
	}
	if (a->constant) {
		struct node *x = a;
		a = b;
		b = x;
		op = op_swap(op);
	}
	if (b->kind == N_NUM && b->num.m == 0 && a->dim == DIM_SPAN)
		b->dim = DIM_SPAN; /* zero needs no unit */
	if (a->dim != b->dim) {
		bool unit = a->dim == DIM_SPAN || b->dim == DIM_SPAN;
		parse_fail(p, b->off, E_TYPE, "%s is compared with %s%s", dims[a->dim],
		    dims[b->dim], unit ? "; time spans have units: 250ms, 30s, 5m" : "");
		return NULL;
	}
	if (a->kind == N_FIELD && b->kind == N_NUM && num_integer(&b->num, &whole)) {
		struct target t = {a->f, F_NONE, field_info[a->f].name, false, false};
		p->nodes -= 2; /* both become part of the test */
		return set_from_num(p, &t, op, &b->num, b->off);
	}
	struct node *n = node_new(p, N_CMP);
	if (n == NULL)
		return NULL;
	n->op = (uint8_t)op;
	n->kid = a;
	a->next = b;
	b->next = NULL;
	return n;
}

struct node *
parse_relation(struct parser *p, struct node *left)
{
	const struct token *at = p->tok;
	bool lone = left->kind == N_FIELD, relop = at->type >= T_EQ && at->type <= T_GE;
	enum field g;
	struct target t = {left->f, F_NONE, lone ? field_info[left->f].name : "", false, false};
	if (lone &&
	    (at->type == T_END || at->type == T_RPAREN || at->type == T_AND || at->type == T_OR)) {
		fail_no_test(p, left);
		return NULL;
	}
	if (lone && !(relop && field_is_number(left->f))) {
		p->nodes--; /* the field becomes part of the test */
		return parse_target_test(p, &t);
	}
	if (!relop) {
		parse_fail(p, at->off, E_SYNTAX,
		    "arithmetic needs a comparison after it: "
		    "= != < <= > >=");
		return NULL;
	}
	/* a name or text is read by the field's type; everything else is arithmetic */
	const struct token *rhs = at + 1;
	bool named = rhs->type == T_STRING || (rhs->type == T_WORD && !token_field(p, rhs, &g));
	if (lone && named) {
		p->nodes--;
		return parse_target_test(p, &t);
	}
	p->tok++;
	return make_cmp(p, at, left, parse_sum(p));
}
