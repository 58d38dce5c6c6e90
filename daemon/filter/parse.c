/* SPDX-License-Identifier: Apache-2.0
 * filter/parse.c - the grammar: conditions joined by and, or, not; sums and products; primitives.
 *
 * Recursive descent. A parenthesis may hold a condition or an arithmetic value, and only what is
 * inside tells, so both go through the same functions and are told apart by node_is_value(). Every
 * level of nesting passes parse_enter(), which bounds the recursion. */
#include <stdio.h>
#include <stdlib.h>

#include "filter/filter_priv.h"

struct node *
node_new(struct parser *p, enum node_kind kind)
{
	if (p->rc != 0)
		return NULL;
	/* a field and a number are counted until they have become one test */
	if (++p->nodes > FILTER_NODES_MAX + 2) {
		parse_fail(
		    p, p->tok->off, E_LIMIT, "more than %d tests and operators", FILTER_NODES_MAX);
		return NULL;
	}
	struct node *n = arena_get(p->arena, sizeof(*n));
	if (n == NULL) {
		p->rc = -E_NOMEM;
		return NULL;
	}
	n->kind = (uint8_t)kind;
	n->f = n->g = F_NONE;
	n->off = p->tok->off;
	return n;
}

bool
parse_enter(struct parser *p)
{
	if (p->depth >= FILTER_DEPTH_MAX) {
		parse_fail(
		    p, p->tok->off, E_LIMIT, "nested deeper than %d levels", FILTER_DEPTH_MAX);
		return false;
	}
	p->depth++;
	return true;
}

void
fail_no_test(struct parser *p, const struct node *n)
{
	const char *name = n->kind == N_FIELD ? field_info[n->f].name : "this value";
	uint8_t type = n->kind == N_FIELD ? field_info[n->f].type : FT_U64;
	const char *how = type == FT_TEXT   ? " \"*.example.org\""
			  : type == FT_BITS ? " has syn"
			  : type == FT_ADDR ? " in 10.0.0.0/8"
					    : " > 100";
	parse_fail(p, n->off, E_SYNTAX, "%s needs a comparison, as in '%s%s'", name,
	    n->kind == N_FIELD ? name : "bytes", how);
}

static struct node *
need_test(struct parser *p, struct node *n)
{
	if (n == NULL || !node_is_value(n))
		return n;
	fail_no_test(p, n);
	return NULL;
}

/* ---- primitives ---- */

static struct node *
join_and(struct parser *p, struct node *a, struct node *b)
{
	struct node *n = a != NULL && b != NULL ? node_new(p, N_AND) : NULL;
	if (n == NULL)
		return NULL;
	n->kid = a;
	a->next = b;
	return n;
}

enum ends { ENDS_NONE, ENDS_SRC, ENDS_DST, ENDS_EITHER, ENDS_BOTH };

static bool
token_is(const struct parser *p, const struct token *t, const char *word)
{
	return t->type == T_WORD && strv_ieq(token_text(p, t), strv_of(word));
}

/* src | dst | src or dst | src and dst (and the other way round) */
static enum ends
parse_ends(struct parser *p)
{
	bool src = token_is(p, p->tok, "src"), dst = token_is(p, p->tok, "dst");
	if (!src && !dst)
		return ENDS_NONE;
	if ((p->tok[1].type == T_OR || p->tok[1].type == T_AND) &&
	    token_is(p, &p->tok[2], src ? "dst" : "src")) {
		enum ends e = p->tok[1].type == T_OR ? ENDS_EITHER : ENDS_BOTH;
		p->tok += 3;
		return e;
	}
	p->tok++;
	return src ? ENDS_SRC : ENDS_DST;
}

static struct node *
primitive_test(struct parser *p, const struct primitive *prim, enum ends ends)
{
	struct target t = {prim->src, prim->dst, prim->word, prim->single, true};
	if (prim->src == prim->dst)
		t.g = F_NONE;
	if (ends == ENDS_BOTH) {
		struct token *again = p->tok;
		t.g = F_NONE;
		struct node *a = parse_target_test(p, &t);
		p->tok = again;
		t.f = prim->dst;
		return join_and(p, a, a != NULL ? parse_target_test(p, &t) : NULL);
	}
	if (ends == ENDS_DST)
		t.f = prim->dst;
	if (ends == ENDS_SRC || ends == ENDS_DST)
		t.g = F_NONE;
	return parse_target_test(p, &t);
}

/* A primitive at the current token, or NULL without an error when there is none. */
static struct node *
parse_primitive(struct parser *p)
{
	char low[64], show[64];
	const struct token *at = p->tok;
	enum field f;
	enum ends ends = parse_ends(p);
	struct strv w = word_lower(token_text(p, p->tok), low, sizeof(low));
	const struct primitive *prim = p->tok->type == T_WORD ? primitive_find(w) : NULL;
	if (ends == ENDS_NONE) {
		/* a word that is also a field is the field when an operator follows */
		if (prim == NULL || (token_field(p, p->tok, &f) && !token_is_value(&p->tok[1])))
			return NULL;
		p->tok++;
		return primitive_test(p, prim, ends);
	}
	if (p->tok->type == T_LIT) /* src 10.0.0.1 */
		return primitive_test(p, &primitives[1], ends);
	if (prim == NULL || prim->src == prim->dst) {
		parse_fail(p, p->tok->off, E_SYNTAX,
		    "%.*s wants host, net, port, portrange, vlan, as or if after it, not %s",
		    (int)at->len, p->src.p + at->off, token_show(p, p->tok, show, sizeof(show)));
		return NULL;
	}
	p->tok++;
	return primitive_test(p, prim, ends);
}

/* ---- words ---- */

static struct node *
proto_node(struct parser *p, unsigned number)
{
	struct node *n = node_new(p, N_SET);
	struct range *r = n != NULL ? arena_get(p->arena, sizeof(*r)) : NULL;
	if (r == NULL)
		return NULL;
	*r = (struct range){number, number};
	n->f = F_proto;
	n->ranges = r;
	n->n = 1;
	return n;
}

static struct node *
family_node(struct parser *p, bool v4)
{
	struct node *n = node_new(p, N_ADDR);
	struct net *net = n != NULL ? arena_get(p->arena, sizeof(*net)) : NULL;
	if (net == NULL)
		return NULL;
	if (v4)
		*net = (struct net){addr_v4((const uint8_t[4]){0, 0, 0, 0}), 96};
	n->f = F_src_addr;
	n->nets = net;
	n->n = 1;
	return n;
}

/* tcp, udp, icmp6, ip, ip6 standing alone; "tcp port 80" is both together. */
static struct node *
parse_proto_word(struct parser *p, struct strv low)
{
	bool ip = strv_eq(low, STRV("ip")), ip6 = strv_eq(low, STRV("ip6"));
	int number = ip || ip6 ? 0 : proto_number(low);
	char next[64];
	if (number < 0)
		return NULL;
	struct node *n = ip || ip6 ? family_node(p, ip) : proto_node(p, (unsigned)number);
	p->tok++;
	struct strv w = word_lower(token_text(p, p->tok), next, sizeof(next));
	bool ends = strv_eq(w, STRV("src")) || strv_eq(w, STRV("dst"));
	if (p->tok->type != T_WORD || (!ends && primitive_find(w) == NULL) || p->rc != 0)
		return n;
	struct node *prim = parse_primitive(p);
	return prim != NULL ? join_and(p, n, prim) : p->rc != 0 ? NULL : n;
}

static struct node *
parse_word(struct parser *p)
{
	char low[64], show[80];
	enum field f;
	struct node *n = parse_primitive(p);
	if (n != NULL || p->rc != 0)
		return n;
	struct strv w = word_lower(token_text(p, p->tok), low, sizeof(low));
	if (token_field(p, p->tok, &f)) {
		n = node_new(p, N_FIELD);
		if (n != NULL) {
			n->f = f;
			n->dim = (uint8_t)field_dim(f);
			p->tok++;
		}
		return n;
	}
	if (strv_eq(w, STRV("true")) || strv_eq(w, STRV("false"))) {
		n = node_new(p, w.p[0] == 't' ? N_TRUE : N_FALSE);
		p->tok++;
		return n;
	}
	n = parse_proto_word(p, w);
	if (n != NULL || p->rc != 0)
		return n;
	const char *near = nearest_word(token_text(p, p->tok));
	token_show(p, p->tok, show, sizeof(show));
	parse_fail(p, p->tok->off, E_UNKNOWN, "no field or word is called %s%s%s%s", show,
	    near != NULL ? "; did you mean '" : "; 'flowctl show fields' lists them",
	    near != NULL ? near : "", near != NULL ? "'?" : "");
	return NULL;
}

/* ---- arithmetic ---- */

static struct node *
parse_literal(struct parser *p)
{
	char show[64];
	struct addr a;
	unsigned bits;
	struct value v;
	enum dim dim;
	struct node *n = node_new(p, N_NUM);
	if (n == NULL)
		return NULL;
	struct strv s = token_text(p, p->tok);
	int rc = num_parse(s, &n->num, &dim);
	if (rc == -E_SYNTAX && s.n >= 10 && value_parse(F_start, s, &v) == 0) {
		n->num =
		    (struct num){v.i < 0 ? UINT64_C(0) - (uint64_t)v.i : (uint64_t)v.i, 0, v.i < 0};
		dim = DIM_TIME;
		rc = time_in_range(v.i) ? 0 : -E_RANGE;
	}
	if (rc == -E_SYNTAX && addr_parse_net(s, &a, &bits) == 0)
		parse_fail(p, p->tok->off, E_TYPE,
		    "an address cannot stand here; the field comes first, as in src_addr = %.*s",
		    (int)s.n, s.p);
	else if (rc != 0)
		parse_fail(p, p->tok->off, rc == -E_RANGE ? E_RANGE : E_SYNTAX, "%s %s",
		    token_show(p, p->tok, show, sizeof(show)),
		    rc == -E_RANGE
			? "is out of range"
			: "is not a number (10, 0x1f, 1.5M), a time span (30s, 250ms) or a time");
	n->dim = (uint8_t)dim;
	n->constant = true;
	p->tok++;
	return p->rc == 0 ? n : NULL;
}

static struct node *
parse_primary(struct parser *p)
{
	char show[64];
	struct node *n;
	if (p->rc != 0)
		return NULL;
	switch ((enum token_type)p->tok->type) {
	case T_LPAREN: {
		uint32_t open = p->tok->off;
		if (!parse_enter(p))
			return NULL;
		p->tok++;
		n = parse_or(p);
		if (n == NULL)
			return NULL;
		if (p->tok->type != T_RPAREN) {
			parse_fail(p, p->tok->off, E_SYNTAX,
			    "expected ) here, for the ( at column %u", open + 1);
			return NULL;
		}
		p->tok++;
		p->depth--;
		return n;
	}
	case T_WORD:
		return parse_word(p);
	case T_LIT:
		return parse_literal(p);
	case T_STRING:
		parse_fail(p, p->tok->off, E_SYNTAX,
		    "text cannot stand here; the field comes first, as in server_name "
		    "\"*.example.org\"");
		return NULL;
	case T_END:
	case T_RPAREN:
	case T_COMMA:
	case T_BAR:
	case T_EQ:
	case T_NE:
	case T_LT:
	case T_LE:
	case T_GT:
	case T_GE:
	case T_ADD:
	case T_SUB:
	case T_MUL:
	case T_DIV:
	case T_AND:
	case T_OR:
	case T_NOT:
	case T_IN:
	case T_HAS:
	case T_IS:
	case T_LIKE:
	case T_ILIKE:
		break;
	}
	parse_fail(p, p->tok->off, E_SYNTAX, "expected a field, a primitive or ( here, not %s",
	    token_show(p, p->tok, show, sizeof(show)));
	return NULL;
}

static struct node *
parse_unary(struct parser *p)
{
	if (p->tok->type != T_SUB)
		return parse_primary(p);
	struct node *n = node_new(p, N_NEG);
	if (n == NULL || !parse_enter(p))
		return NULL;
	p->tok++;
	struct node *kid = parse_unary(p);
	if (kid == NULL)
		return NULL;
	p->depth--;
	if (!node_is_value(kid) || kid->dim == DIM_TIME ||
	    (kid->kind == N_FIELD && !field_is_number(kid->f))) {
		parse_fail(p, n->off, E_TYPE, "- applies to numbers and time spans only");
		return NULL;
	}
	if (kid->kind == N_NUM) {
		kid->num.neg = !kid->num.neg && kid->num.m != 0;
		kid->off = n->off;
		return kid;
	}
	n->kid = kid;
	n->dim = kid->dim;
	return n;
}

/* What kind of value comes out of @a @op @b, or -1. */
static int
dim_of(enum node_kind op, int a, int b)
{
	if (op == N_MUL && (a == DIM_TIME || b == DIM_TIME || (a == DIM_SPAN && b == DIM_SPAN)))
		return -1;
	if (op == N_MUL)
		return a == DIM_SPAN || b == DIM_SPAN ? DIM_SPAN : DIM_NUM;
	if (op == N_DIV)
		return a == DIM_TIME || b == DIM_TIME  ? -1
		       : a == DIM_SPAN && b == DIM_NUM ? DIM_SPAN
						       : DIM_NUM;
	if (a == b)
		return a != DIM_TIME ? a : op == N_SUB ? DIM_SPAN : -1;
	if (a == DIM_TIME && b == DIM_SPAN)
		return DIM_TIME;
	return a == DIM_SPAN && b == DIM_TIME && op == N_ADD ? DIM_TIME : -1;
}

static bool
check_operand(struct parser *p, const struct node *n, const struct token *op)
{
	if (n == NULL)
		return false;
	if (!node_is_value(n))
		parse_fail(p, op->off, E_TYPE, "%.*s needs numbers at both sides, not a condition",
		    (int)op->len, p->src.p + op->off);
	else if (n->kind == N_FIELD && !field_is_number(n->f))
		parse_fail(p, n->off, E_TYPE, "%s is %s: arithmetic needs numbers",
		    field_info[n->f].name, field_type_name((enum field_type)field_info[n->f].type));
	return p->rc == 0;
}

static struct node *
join_arith(
    struct parser *p, enum node_kind op, const struct token *at, struct node *a, struct node *b)
{
	static const char *const dims[] = {"a number", "a time span", "a time"};
	if (!check_operand(p, a, at) || !check_operand(p, b, at))
		return NULL;
	int dim = dim_of(op, a->dim, b->dim);
	if (dim < 0) {
		parse_fail(p, at->off, E_TYPE, "%.*s cannot join %s and %s (spans have units: 30s)",
		    (int)at->len, p->src.p + at->off, dims[a->dim], dims[b->dim]);
		return NULL;
	}
	bool rate = op == N_DIV && a->dim == DIM_NUM && b->dim == DIM_SPAN;
	if (a->kind == N_NUM && b->kind == N_NUM && !rate &&
	    num_fold(op, &a->num, &b->num, &a->num)) {
		a->dim = (uint8_t)dim;
		return a;
	}
	struct node *n = node_new(p, op);
	if (n == NULL)
		return NULL;
	n->off = a->off;
	n->dim = (uint8_t)dim;
	n->any = rate;
	n->constant = a->constant && b->constant;
	n->kid = a;
	a->next = b;
	return n;
}

static struct node *
parse_product(struct parser *p)
{
	struct node *a = parse_unary(p);
	while (a != NULL && (p->tok->type == T_MUL || p->tok->type == T_DIV)) {
		const struct token *op = p->tok++;
		a = join_arith(p, op->type == T_MUL ? N_MUL : N_DIV, op, a, parse_unary(p));
	}
	return a;
}

struct node *
parse_sum(struct parser *p)
{
	struct node *a = parse_product(p);
	while (a != NULL && (p->tok->type == T_ADD || p->tok->type == T_SUB)) {
		const struct token *op = p->tok++;
		a = join_arith(p, op->type == T_ADD ? N_ADD : N_SUB, op, a, parse_product(p));
	}
	return a;
}

/* ---- conditions ---- */

static struct node *
parse_test(struct parser *p)
{
	struct node *n = parse_sum(p);
	uint8_t t = p->tok->type;
	if (n == NULL)
		return NULL;
	if (node_is_value(n)) {
		bool inside = p->depth > 0 && t == T_RPAREN;
		return inside ? n : parse_relation(p, n);
	}
	if ((t >= T_EQ && t <= T_GE) || t == T_IN || t == T_IS || t == T_HAS) {
		parse_fail(p, p->tok->off, E_TYPE,
		    "what stands before is a condition already; it "
		    "cannot be compared");
		return NULL;
	}
	return n;
}

static struct node *
parse_not(struct parser *p)
{
	if (p->tok->type != T_NOT)
		return parse_test(p);
	struct node *n = node_new(p, N_NOT);
	if (n == NULL || !parse_enter(p))
		return NULL;
	p->tok++;
	n->kid = need_test(p, parse_not(p));
	p->depth--;
	return n->kid != NULL ? n : NULL;
}

/* @next { sep @next }: one of them as it is, several below a node of @kind */
static struct node *
parse_joined(struct parser *p, enum token_type sep, enum node_kind kind,
    struct node *(*next)(struct parser *))
{
	struct node *first = next(p), *n, *last;
	if (first == NULL || p->tok->type != sep)
		return first;
	n = node_new(p, kind);
	if (n == NULL || need_test(p, first) == NULL)
		return NULL;
	n->kid = last = first;
	while (p->tok->type == sep) {
		p->tok++;
		struct node *kid = need_test(p, next(p));
		if (kid == NULL)
			return NULL;
		last->next = kid;
		last = kid;
	}
	return n;
}

static struct node *
parse_and(struct parser *p)
{
	return parse_joined(p, T_AND, N_AND, parse_not);
}

struct node *
parse_or(struct parser *p)
{
	return parse_joined(p, T_OR, N_OR, parse_and);
}

struct node *
parse_filter(struct parser *p)
{
	char show[64];
	if (p->tok->type == T_END)
		return node_new(p, N_TRUE);
	struct node *n = need_test(p, parse_or(p));
	if (n != NULL && p->tok->type != T_END) {
		bool open = p->tok->type == T_RPAREN;
		parse_fail(p, p->tok->off, E_SYNTAX,
		    open ? "%s without a ( before it"
			 : "expected 'and', 'or' or the end here, not %s",
		    token_show(p, p->tok, show, sizeof(show)));
	}
	return p->rc == 0 ? n : NULL;
}
