/* SPDX-License-Identifier: Apache-2.0
 * unit/filter/model_eval.c - the value of a random condition for one row, the naive way. */
#include "model.h"

#include <math.h>

static bool
relation(enum model_op op, bool less, bool equal)
{
	return op == O_EQ   ? equal
	       : op == O_NE ? !equal
	       : op == O_LT ? less
	       : op == O_LE ? less || equal
	       : op == O_GT ? !less && !equal
			    : !less;
}

static bool
get_int(const struct batch *b, enum field f, uint32_t row, __int128 *out)
{
	struct value v;
	if (!batch_value(b, f, row, &v))
		return false;
	*out = v.type == FT_TIME || v.type == FT_SPAN ? (__int128)v.i : (__int128)v.u;
	return true;
}

static bool
eval_num(const struct model *m, enum field f, const struct batch *b, uint32_t row)
{
	__int128 x;
	if (!get_int(b, f, row, &x))
		return false;
	if (m->op != O_IN)
		return relation(m->op, x < m->lo[0], x == m->lo[0]);
	for (unsigned i = 0; i < m->n; i++)
		if (x >= m->lo[i] && x <= m->hi[i])
			return true;
	return false;
}

static bool
eval_addr(const struct model *m, enum field f, const struct batch *b, uint32_t row)
{
	struct value v;
	bool within = false;
	if (!batch_value(b, f, row, &v))
		return false;
	for (unsigned i = 0; i < m->n && !within; i++) {
		const struct model_net *n = &m->nets[i];
		within = n->v4 == addr_is_v4(&v.addr);
		for (unsigned k = 0; k < n->bits && within; k++)
			within = ((n->addr.b[k / 8] ^ v.addr.b[k / 8]) >> (7 - k % 8) & 1) == 0;
	}
	return within != (m->op == O_NE);
}

static char
fold_char(char c, bool fold)
{
	return fold && c >= 'A' && c <= 'Z' ? (char)(c + 32) : c;
}

static bool
glob(const char *p, const char *s, size_t n, bool fold)
{
	if (*p == '\0')
		return n == 0;
	if (*p == '*')
		return glob(p + 1, s, n, fold) || (n > 0 && glob(p, s + 1, n - 1, fold));
	return n > 0 && (*p == '?' || fold_char(*p, fold) == fold_char(*s, fold)) &&
	       glob(p + 1, s + 1, n - 1, fold);
}

static bool
eval_text(const struct model *m, const struct batch *b, uint32_t row)
{
	struct value v;
	bool hit = false;
	if (!batch_value(b, m->f, row, &v))
		return false;
	for (unsigned i = 0; i < m->n; i++)
		hit = hit ||
		      (m->op >= O_LIKE ? glob(m->texts[i], v.text.p, v.text.n, m->op == O_ILIKE)
				       : strv_eq(v.text, strv_of(m->texts[i])));
	return hit != (m->op == O_NE);
}

static bool
eval_arith(const struct model *m, const struct batch *b, uint32_t row)
{
	double x = 0;
	for (unsigned i = 0; i < m->n; i++) {
		const struct model_term *t = &m->terms[i];
		__int128 v = 0;
		double y = t->number;
		if (t->f != F_NONE) {
			if (!get_int(b, t->f, row, &v))
				return false;
			y = (double)(uint64_t)v;
		}
		if (t->op == '/' && y == 0)
			return false;
		x = t->op == 0	   ? y
		    : t->op == '+' ? x + y
		    : t->op == '-' ? x - y
		    : t->op == '*' ? x * y
				   : x / y;
		if (!isfinite(x))
			return false;
	}
	return relation(m->op, x < m->number, !(x < m->number) && !(x > m->number));
}

static bool
eval_same(const struct model *m, const struct batch *b, uint32_t row)
{
	struct value x, y;
	if (!batch_value(b, m->f, row, &x) || !batch_value(b, m->g, row, &y))
		return false;
	bool same = x.type == FT_TEXT	? strv_eq(x.text, y.text)
		    : x.type == FT_ADDR ? memcmp(&x.addr, &y.addr, sizeof(x.addr)) == 0
					: x.u == y.u;
	return same != m->negate;
}

bool
model_eval(const struct model *m, const struct batch *b, uint32_t row)
{
	struct value v;
	switch (m->kind) {
	case M_AND:
		return model_eval(m->kid[0], b, row) && model_eval(m->kid[1], b, row);
	case M_OR:
		return model_eval(m->kid[0], b, row) || model_eval(m->kid[1], b, row);
	case M_NOT:
		return !model_eval(m->kid[0], b, row);
	case M_NUM:
		return eval_num(m, m->f, b, row) || (m->g != F_NONE && eval_num(m, m->g, b, row));
	case M_ADDR:
		return eval_addr(m, m->f, b, row) || (m->g != F_NONE && eval_addr(m, m->g, b, row));
	case M_TEXT:
		return eval_text(m, b, row);
	case M_HAS:
		return batch_value(b, m->f, row, &v) &&
		       (m->any ? (v.u & m->mask) != 0 : (v.u & m->mask) == m->mask);
	case M_ABSENT:
		return batch_value(b, m->f, row, &v) == m->negate;
	case M_SAME:
		return eval_same(m, b, row);
	case M_ARITH:
		return eval_arith(m, b, row);
	}
	return false;
}
