/* SPDX-License-Identifier: Apache-2.0
 * filter/print.c - the canonical text of a normal form.
 *
 * What is printed compiles to the same normal form: tests keep the words they need (an either-end
 * test prints as its primitive), numbers print exactly, text is quoted and escaped. */
#include <stdio.h>

#include "base/err.h"
#include "filter/filter_priv.h"

static void
print_key(struct buf *b, enum field f, uint64_t key)
{
	struct value v = {.type = (enum field_type)field_info[f].type, .u = key};
	const char *name = field_info[f].type == FT_ENUM ? field_enum_name(f, (uint8_t)key)
			   : f == F_proto		 ? proto_name((uint8_t)key)
							 : NULL;
	struct num num = key_num(f, key);
	if (name != NULL)
		buf_str(b, name);
	else if (field_info[f].type == FT_MAC)
		value_print(b, f, &v, VALUE_TEXT);
	else
		num_print(b, &num, field_is_number(f) ? field_dim(f) : DIM_NUM);
}

static void
print_bits(struct buf *b, uint64_t mask)
{
	const char *sep = "";
	bool named = mask != 0, many = (mask & (mask - 1)) != 0;
	uint64_t known = 0;
#define BIT(n, name, letter) known |= UINT64_C(1) << (n);
#include "flowbus/bits.def"
	named = named && (mask & ~known) == 0;
	if (!named) {
		buf_printf(b, mask != 0 ? "0x%llx" : "%llu", (unsigned long long)mask);
		return;
	}
	if (many)
		buf_u8(b, '(');
#define BIT(n, name, letter) \
	if ((mask >> (n)&1) != 0) { \
		buf_str(b, sep); \
		buf_str(b, #name); \
		sep = ", "; \
	}
#include "flowbus/bits.def"
	if (many)
		buf_u8(b, ')');
}

static void
print_range(struct buf *b, enum field f, const struct range *r)
{
	const char *sep = "";
	bool all_named = field_info[f].type == FT_ENUM && r->hi - r->lo < 16;
	for (uint64_t v = r->lo; all_named && v <= r->hi; v++)
		all_named = field_enum_name(f, (uint8_t)v) != NULL;
	if (r->lo == r->hi) {
		print_key(b, f, r->lo);
	} else if (all_named) {
		for (uint64_t v = r->lo; v <= r->hi; v++, sep = ", ") {
			buf_str(b, sep);
			print_key(b, f, v);
		}
	} else if (field_info[f].type == FT_ENUM || f == F_proto) {
		buf_printf(b, "%llu-%llu", (unsigned long long)r->lo, (unsigned long long)r->hi);
	} else {
		print_key(b, f, r->lo);
		buf_u8(b, '-');
		print_key(b, f, r->hi);
	}
}

static unsigned
trailing_zeros(enum field f, uint64_t key)
{
	struct num v = key_num(f, key);
	unsigned n = v.m == 0 ? 99 : 0; /* nothing is rounder than 0 */
	for (; v.m != 0 && v.m % 10 == 0; v.m /= 10)
		n++;
	return n;
}

/* The rounder of the two ways to write a bound: "> 1000000" rather than ">= 1000001". */
static void
print_bound(struct buf *b, enum field f, bool above, uint64_t incl)
{
	uint64_t excl = above ? incl - 1 : incl + 1;
	bool strict = trailing_zeros(f, excl) >= trailing_zeros(f, incl);
	buf_str(b, above ? (strict ? " > " : " >= ") : strict ? " < " : " <= ");
	print_key(b, f, strict ? excl : incl);
}

static void
print_set(struct buf *b, const struct node *n)
{
	const struct range *r = n->ranges;
	enum field f = n->f;
	uint64_t max = field_key_max(f);
	bool bits = field_info[f].type == FT_BITS, ends = n->g != F_NONE;
	buf_str(b, ends ? either_name(f) : field_info[f].name);
	if (n->n == 1 && r->lo == r->hi) {
		buf_str(b, ends ? " " : " = ");
		if (bits)
			print_bits(b, r->lo);
		else
			print_key(b, f, r->lo);
		return;
	}
	bool around = n->n == 2 && r[0].lo == 0 && r[1].hi == max && r[0].hi + 2 == r[1].lo;
	bool but_zero = n->n == 1 && r->lo == 1 && r->hi == max;
	bool but_max = n->n == 1 && r->lo == 0 && r->hi == max - 1;
	bool order = field_is_number(f);
	if (!ends && (around || (!order && (but_zero || but_max)))) {
		uint64_t not_this = around ? r[0].hi + 1 : but_zero ? 0 : max;
		buf_str(b, " != ");
		if (bits)
			print_bits(b, not_this);
		else
			print_key(b, f, not_this);
		return;
	}
	if (order && n->n == 1 && r->hi == max && r->lo > 0) {
		print_bound(b, f, true, r->lo);
		return;
	}
	if (order && n->n == 1 && r->lo == 0 && r->hi < max) {
		print_bound(b, f, false, r->hi);
		return;
	}
	buf_str(b, " in (");
	for (uint32_t i = 0; i < n->n; i++) {
		buf_str(b, i > 0 ? ", " : "");
		print_range(b, f, &r[i]);
	}
	buf_u8(b, ')');
}

static void
print_net(struct buf *b, const struct net *n)
{
	unsigned base = net_is_v4(n) ? 96 : 0;
	addr_print(b, &n->addr);
	if (n->bits < 128)
		buf_printf(b, "/%u", n->bits - base);
}

static void
print_addr(struct buf *b, const struct node *n)
{
	bool ends = n->g != F_NONE, host = n->n == 1 && n->nets[0].bits == 128;
	const char *op = n->n > 1    ? " in ("
			 : ends	     ? " "
			 : n->negate ? " != "
			 : host	     ? " = "
				     : " in ";
	buf_str(b, !ends ? field_info[n->f].name : host ? "host" : "net");
	buf_str(b, op);
	for (uint32_t i = 0; i < n->n; i++) {
		buf_str(b, i > 0 ? ", " : "");
		print_net(b, &n->nets[i]);
	}
	buf_str(b, n->n > 1 ? ")" : "");
}

static void
print_quoted(struct buf *b, struct strv s, bool pattern)
{
	buf_u8(b, '"');
	for (size_t i = 0; i < s.n; i++) {
		unsigned char c = (unsigned char)s.p[i];
		int u = c >= 0x80 ? utf8_len((const uint8_t *)s.p + i, s.n - i) : 0;
		if (u > 1) {
			buf_put(b, s.p + i, (size_t)u);
			i += (size_t)u - 1;
		} else if (c < 32 || c > 126) {
			buf_printf(b, "\\x%02x", c);
		} else if (c == '"' || (c == '\\' && !pattern)) {
			buf_u8(b, '\\');
			buf_u8(b, c);
		} else {
			buf_u8(b, c);
		}
	}
	buf_u8(b, '"');
}

static void
print_text(struct buf *b, const struct node *n)
{
	static const char *const ops[] = {" = ", " != ", " like ", " ilike "};
	buf_str(b, field_info[n->f].name);
	buf_str(b, n->n > 1 && n->op == TEXT_EQ ? " in " : ops[n->op]);
	buf_str(b, n->n > 1 ? "(" : "");
	for (uint32_t i = 0; i < n->n; i++) {
		buf_str(b, i > 0 ? ", " : "");
		print_quoted(b, n->texts[i], n->op >= TEXT_LIKE);
	}
	buf_str(b, n->n > 1 ? ")" : "");
}

static int
level(const struct node *n)
{
	return n->kind == N_OR || n->kind == N_ADD || n->kind == N_SUB	  ? 0
	       : n->kind == N_AND || n->kind == N_MUL || n->kind == N_DIV ? 1
									  : 2;
}

/* Is @k, a kid of @n, written in parentheses? */
static bool
in_parens(const struct node *n, const struct node *k)
{
	bool second = n->kid != k;
	switch ((enum node_kind)n->kind) {
	case N_AND:
	case N_NOT:
	case N_NEG:
		return level(k) < (n->kind == N_AND ? 1 : 2);
	case N_ADD:
	case N_SUB:
		return second && level(k) < 1;
	case N_MUL:
	case N_DIV:
		return level(k) < (second ? 2 : 1);
	case N_TRUE:
	case N_FALSE:
	case N_OR:
	case N_SET:
	case N_HAS:
	case N_ADDR:
	case N_TEXT:
	case N_ABSENT:
	case N_SAME:
	case N_CMP:
	case N_NUM:
	case N_FIELD:
		break;
	}
	return false;
}

static void
print_kid(struct buf *b, const struct node *n, const struct node *k)
{
	bool parens = in_parens(n, k);
	buf_str(b, parens ? "(" : "");
	/* NOLINTNEXTLINE(clang-analyzer-core.NullDereference): called with a kid */
	buf_strv(b, k->text);
	buf_str(b, parens ? ")" : "");
}

static void
print_joined(struct buf *b, const struct node *n, const char *sep)
{
	for (const struct node *k = n->kid; k != NULL; k = k->next) {
		print_kid(b, n, k);
		buf_str(b, k->next != NULL ? sep : "");
	}
}

static const char *
relop(uint8_t op)
{
	return op == T_EQ   ? " = "
	       : op == T_NE ? " != "
	       : op == T_LT ? " < "
	       : op == T_LE ? " <= "
	       : op == T_GT ? " > "
			    : " >= ";
}

static void
print_node(struct buf *b, const struct node *n)
{
	switch ((enum node_kind)n->kind) {
	case N_TRUE:
		buf_str(b, "true");
		break;
	case N_FALSE:
		buf_str(b, "false");
		break;
	case N_AND:
		print_joined(b, n, " and ");
		break;
	case N_OR:
		print_joined(b, n, " or ");
		break;
	case N_NOT:
		buf_str(b, "not ");
		print_kid(b, n, n->kid);
		break;
	case N_SET:
		print_set(b, n);
		break;
	case N_HAS:
		buf_str(b, field_info[n->f].name);
		buf_str(b, n->any ? " has any " : " has ");
		print_bits(b, n->mask);
		break;
	case N_ADDR:
		print_addr(b, n);
		break;
	case N_TEXT:
		print_text(b, n);
		break;
	case N_ABSENT:
		buf_printf(b, "%s is %sabsent", field_info[n->f].name, n->negate ? "not " : "");
		break;
	case N_SAME:
		buf_printf(b, "%s %s %s", field_info[n->f].name, n->negate ? "!=" : "=",
		    field_info[n->g].name);
		break;
	case N_CMP:
		print_joined(b, n, relop(n->op));
		break;
	case N_NUM:
		num_print(b, &n->num, (enum dim)n->dim);
		break;
	case N_FIELD:
		buf_str(b, field_info[n->f].name);
		break;
	case N_NEG:
		buf_u8(b, '-');
		print_kid(b, n, n->kid);
		break;
	case N_ADD:
		print_joined(b, n, " + ");
		break;
	case N_SUB:
		print_joined(b, n, " - ");
		break;
	case N_MUL:
		print_joined(b, n, " * ");
		break;
	case N_DIV:
		print_joined(b, n, " / ");
		break;
	}
}

bool
node_print(struct arena *a, struct node *n)
{
	struct buf b = buf_init(1 << 20);
	bool ok = true;
	for (struct node *k = n->kid; k != NULL && ok; k = k->next)
		ok = k->text.p != NULL || node_print(a, k);
	if (ok)
		print_node(&b, n);
	char *p = ok && b.err == 0 ? arena_get(a, b.n + 1) : NULL;
	if (p != NULL) {
		/* NOLINTNEXTLINE(clang-analyzer-core.NonNullParamChecker): a node prints at least a word */
		memcpy(p, b.p, b.n);
		n->text = (struct strv){p, b.n};
	}
	buf_fini(&b);
	return p != NULL;
}

void
node_measure(
    const struct node *n, unsigned depth, unsigned *nodes, unsigned *items, unsigned *max_depth)
{
	++*nodes;
	if (n->kind == N_SET || n->kind == N_ADDR || n->kind == N_TEXT)
		*items += n->n;
	depth += n->kind == N_NOT || n->kind == N_NEG;
	if (depth > *max_depth)
		*max_depth = depth;
	for (const struct node *k = n->kid; k != NULL; k = k->next)
		node_measure(k, depth + in_parens(n, k), nodes, items, max_depth);
}
