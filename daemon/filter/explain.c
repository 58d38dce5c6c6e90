/* SPDX-License-Identifier: Apache-2.0
 * filter/explain.c - the plan in words. */
#include "filter/program.h"

static void
how_text(struct buf *out, const struct test *t)
{
	static const char *const ops[] = {"equal", "not equal", "pattern", "pattern, any case"};
	buf_printf(out, "text, %s, %u to %u bytes long", ops[t->text_op], t->least, t->most);
	if (t->n > 1)
		buf_printf(out, ", any of %u", t->n);
}

static void
how_words(struct buf *out, const struct test *t)
{
	switch ((enum test_how)t->how) {
	case HOW_ABSENT:
		buf_str(out, "presence bits");
		break;
	case HOW_RANGES:
		buf_printf(out, "whole column, %u range%s", t->n, t->n == 1 ? "" : "s");
		break;
	case HOW_TABLE:
		buf_str(out, "whole column through a table");
		break;
	case HOW_BITMAP:
		buf_printf(out, "bitmap of 65536 bits, %u ranges", t->n);
		break;
	case HOW_SEARCH:
		buf_printf(out, "binary search in %u ranges, candidates only", t->n);
		break;
	case HOW_BITS:
		buf_printf(out, "whole column, %s bits of 0x%x", t->any ? "any" : "all", t->mask);
		break;
	case HOW_NETS:
		buf_printf(out, "whole column, %u masked comparison%s", t->n, t->n == 1 ? "" : "s");
		break;
	case HOW_NETSEARCH:
		buf_printf(out,
		    "binary search in %u IPv4 and %u IPv6 networks, "
		    "candidates only",
		    t->n_v4, t->n_v6);
		break;
	case HOW_TEXT:
		how_text(out, t);
		break;
	case HOW_SAME:
		buf_str(out, "two whole columns");
		break;
	case HOW_SAMETEXT:
		buf_str(out, "two texts, candidates only");
		break;
	case HOW_CMP:
		buf_printf(out, "arithmetic, %u steps on 64 rows at a time", t->n_ops);
		break;
	}
}

static void
explain_test(struct buf *out, const struct filter *f, const struct insn *i)
{
	const struct test *t = &f->tests[i->arg];
	buf_printf(out, "r%u = r%u where ", i->dst, i->a);
	buf_strv(out, t->words);
	if (t->how == HOW_CMP) {
		buf_str(out, "  [");
	} else {
		buf_printf(out, "  [%s %s: ", field_info[t->f].name,
		    field_type_name((enum field_type)field_info[t->f].type));
	}
	how_words(out, t);
	buf_printf(
	    out, "; about %.2f ns a row, passes %.0f%%]\n", (double)t->cost, 100 * (double)t->pass);
}

void
filter_explain(const struct filter *f, struct buf *out)
{
	buf_str(out, "filter: ");
	if (f->all)
		buf_str(out, "(everything passes)");
	else
		buf_strv(out, f->canonical);
	buf_str(out, "\nr0 has all rows, r1 is the result\n");
	for (unsigned n = 0; n < f->n_insns; n++) {
		const struct insn *i = &f->insns[n];
		buf_printf(out, "%3u  ", n + 1);
		switch ((enum insn_op)i->op) {
		case I_TEST:
			explain_test(out, f, i);
			break;
		case I_MINUS:
			buf_printf(out, "r%u = r%u without r%u\n", i->dst, i->a, i->b);
			break;
		case I_OR:
			buf_printf(out, "r%u = r%u or r%u\n", i->dst, i->a, i->b);
			break;
		case I_COPY:
		case I_ALL:
			buf_printf(out, "r%u = r%u\n", i->dst, i->a);
			break;
		case I_NONE:
			buf_printf(out, "r%u = no row\n", i->dst);
			break;
		case I_EMPTY:
			buf_printf(out, "if r%u is empty go to %u\n", i->a, i->arg + 1u);
			break;
		}
	}
}
