/* SPDX-License-Identifier: Apache-2.0
 * unit/filter/model_gen.c - random conditions and random batches. */
#include "model.h"

#include <stdio.h>
#include <stdlib.h>

static const enum field ints[] = {F_src_port, F_dst_port, F_proto, F_packets, F_bytes,
    F_rev_packets, F_rev_bytes, F_in_if, F_ttl, F_vlan, F_total_packets, F_total_bytes,
    F_http_status};
static const enum field all_texts[] = {F_app, F_http_host, F_tls_sni, F_dns_query, F_server_name};
static const enum field addrs[] = {F_src_addr, F_dst_addr, F_exporter};
static const enum field any_fields[] = {F_vlan, F_app, F_bytes, F_total_bytes, F_duration,
    F_server_name, F_exporter, F_tcp_flags, F_end_reason, F_src_mac, F_start, F_ssh_client};

uint32_t
model_rnd(uint64_t *seed, uint32_t n)
{
	*seed = *seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return (uint32_t)(*seed >> 33) % n;
}

/* A small number mostly, so that tests hit; now and then the limits of the type. */
static uint64_t
some_value(uint64_t *s, enum field f)
{
	size_t w = field_width(f);
	uint64_t max = w == 8 ? UINT64_MAX : (UINT64_C(1) << (8 * w)) - 1;
	uint32_t r = model_rnd(s, 40);
	return r == 0 ? max : r == 1 ? max - 1 : r == 2 ? max / 2 + 1 : model_rnd(s, 24);
}

static void
some_addr(uint64_t *s, struct addr *a)
{
	static const uint8_t v6[3][4] = {{0x20, 1, 0x0d, 0xb8}, {0, 0, 0, 0}, {0xfe, 0x80, 0, 0}};
	if (model_rnd(s, 3) > 0) {
		uint8_t p[4] = {(uint8_t)(10 + model_rnd(s, 2)), (uint8_t)model_rnd(s, 2), 0,
		    (uint8_t)model_rnd(s, 5)};
		*a = addr_v4(p);
		return;
	}
	memset(a, 0, sizeof(*a));
	memcpy(a->b, v6[model_rnd(s, 3)], 4);
	a->b[11] = (uint8_t)model_rnd(s, 2);
	a->b[15] = (uint8_t)model_rnd(s, 5);
}

static void
some_text(uint64_t *s, char *out, const char *letters)
{
	unsigned n = model_rnd(s, 6), k = (unsigned)strlen(letters);
	for (unsigned i = 0; i < n; i++)
		out[i] = letters[model_rnd(s, k)];
	out[n] = '\0';
}

static const char *const op_names[] = {"=", "!=", "<", "<=", ">", ">=", "in", "like", "ilike"};

static void
put_number(struct buf *out, enum field f, __int128 v)
{
	if (field_info[f].type == FT_SPAN)
		buf_printf(out, "%lldus", (long long)v);
	else if (field_info[f].type == FT_TIME)
		time_print(out, (int64_t)v);
	else
		buf_printf(out, "%llu", (unsigned long long)v);
}

static __int128
some_number(uint64_t *s, enum field f)
{
	if (field_info[f].type == FT_SPAN)
		return (__int128)model_rnd(s, 24) - 2;
	if (field_info[f].type == FT_TIME)
		return (__int128)1795341600000000 + model_rnd(s, 24);
	return some_value(s, f);
}

static void
make_num(uint64_t *s, struct model *m, struct buf *out)
{
	static const enum field more[] = {F_duration, F_start, F_end_reason, F_src_mac};
	m->f = model_rnd(s, 4) > 0 ? ints[model_rnd(s, 13)] : more[model_rnd(s, 4)];
	bool ends = model_rnd(s, 8) == 0;
	m->op = (enum model_op)model_rnd(s, 7);
	if ((m->f == F_src_mac || m->f == F_end_reason) && m->op > O_NE)
		m->op = O_EQ;
	if (ends) {
		m->f = F_src_port;
		m->g = F_dst_port;
		m->op = m->op == O_NE ? O_EQ : m->op;
	}
	buf_printf(out, "%s %s ", ends ? "port" : field_info[m->f].name, op_names[m->op]);
	m->n = m->op == O_IN ? 1 + model_rnd(s, MODEL_ITEMS) : 1;
	buf_str(out, m->op == O_IN ? "(" : "");
	for (unsigned i = 0; i < m->n; i++) {
		m->lo[i] = m->hi[i] = some_number(s, m->f);
		if (m->f == F_src_mac) {
			m->lo[i] = m->hi[i] = model_rnd(s, 4);
			buf_printf(
			    out, "%s00:00:00:00:00:%02x", i > 0 ? ", " : "", (unsigned)m->lo[i]);
			continue;
		}
		if (m->f == F_end_reason)
			m->lo[i] = m->hi[i] = model_rnd(s, 8);
		buf_str(out, i > 0 ? ", " : "");
		put_number(out, m->f, m->lo[i]);
		if (m->op == O_IN && m->lo[i] < 20 && m->lo[i] >= 0 && model_rnd(s, 2) == 0) {
			m->hi[i] += model_rnd(s, 3);
			buf_u8(out, '-');
			put_number(out, m->f, m->hi[i]);
		}
	}
	buf_str(out, m->op == O_IN ? ")" : "");
}

static void
make_addr(uint64_t *s, struct model *m, struct buf *out)
{
	bool ends = model_rnd(s, 3) == 0;
	m->f = ends ? F_src_addr : addrs[model_rnd(s, 3)];
	m->g = ends ? F_dst_addr : F_NONE;
	m->op = ends || model_rnd(s, 2) == 0 ? O_IN : model_rnd(s, 2) ? O_EQ : O_NE;
	m->n = m->op == O_IN ? 1 + model_rnd(s, MODEL_ITEMS) : 1;
	buf_printf(out, "%s %s ", ends ? "net" : field_info[m->f].name, op_names[m->op]);
	buf_str(out, m->op == O_IN ? "(" : "");
	for (unsigned i = 0; i < m->n; i++) {
		struct model_net *n = &m->nets[i];
		some_addr(s, &n->addr);
		n->v4 = addr_is_v4(&n->addr);
		n->bits = model_rnd(s, 2) ? 128 : n->v4 ? 96 + model_rnd(s, 33) : model_rnd(s, 129);
		buf_str(out, i > 0 ? ", " : "");
		addr_print(out, &n->addr);
		if (n->bits < 128)
			buf_printf(out, "/%u", n->v4 ? n->bits - 96 : n->bits);
	}
	buf_str(out, m->op == O_IN ? ")" : "");
}

static void
make_text(uint64_t *s, struct model *m, struct buf *out)
{
	static const enum model_op ops[] = {O_EQ, O_NE, O_IN, O_LIKE, O_ILIKE};
	m->f = all_texts[model_rnd(s, 5)];
	m->op = ops[model_rnd(s, 5)];
	m->n = m->op >= O_IN ? 1 + model_rnd(s, 3) : 1;
	buf_printf(
	    out, "%s %s %s", field_info[m->f].name, op_names[m->op], m->op >= O_IN ? "(" : "");
	for (unsigned i = 0; i < m->n; i++) {
		some_text(s, m->texts[i], m->op >= O_LIKE ? "aB**?" : "aB");
		buf_printf(out, "%s\"%s\"", i > 0 ? ", " : "", m->texts[i]);
	}
	buf_str(out, m->op >= O_IN ? ")" : "");
}

static void
make_arith(uint64_t *s, struct model *m, struct buf *out)
{
	unsigned n = 2 + model_rnd(s, 3);
	m->kind = M_ARITH;
	m->n = n;
	m->op = (enum model_op)model_rnd(s, 6);
	m->number = model_rnd(s, 3) == 0 ? 0.5 * model_rnd(s, 20) : model_rnd(s, 30);
	/* written with all its parentheses, from the left: ((a + b) * c) */
	for (unsigned i = 1; i < n; i++)
		buf_u8(out, '(');
	for (unsigned i = 0; i < n; i++) {
		struct model_term *t = &m->terms[i];
		t->f = i == 0 || model_rnd(s, 3) > 0 ? ints[model_rnd(s, 13)] : F_NONE;
		t->number = model_rnd(s, 5);
		t->op = i == 0 ? 0 : "+-*/"[model_rnd(s, 4)];
		if (i > 0)
			buf_printf(out, " %c ", t->op);
		if (t->f == F_NONE)
			buf_printf(out, "%u", (unsigned)t->number);
		else
			buf_str(out, field_info[t->f].name);
		buf_str(out, i > 0 ? ")" : "");
	}
	buf_printf(out, " %s %.1f", op_names[m->op], m->number);
}

static void
make_other(uint64_t *s, struct model *m, struct buf *out)
{
	static const enum field pairs[][2] = {{F_src_addr, F_dst_addr}, {F_http_host, F_tls_sni},
	    {F_server_name, F_dns_query}, {F_tcp_flags, F_rev_tcp_flags}, {F_src_mac, F_dst_mac}};
	m->negate = model_rnd(s, 2) == 0;
	if (m->kind == M_HAS) {
		m->f = model_rnd(s, 2) ? F_tcp_flags : F_rev_tcp_flags;
		m->mask = (uint16_t)(1 + model_rnd(s, 31));
		m->any = model_rnd(s, 2) == 0;
		buf_printf(
		    out, "%s has %s0x%x", field_info[m->f].name, m->any ? "any " : "", m->mask);
	} else if (m->kind == M_ABSENT) {
		m->f = any_fields[model_rnd(s, 12)];
		buf_printf(out, "%s is %sabsent", field_info[m->f].name, m->negate ? "not " : "");
	} else {
		const enum field *p = pairs[model_rnd(s, 5)];
		m->f = p[0];
		m->g = p[1];
		buf_printf(out, "%s %s %s", field_info[m->f].name, m->negate ? "!=" : "=",
		    field_info[m->g].name);
	}
}

struct model *
model_make(uint64_t *s, unsigned depth, struct buf *out)
{
	struct model *m = calloc(1, sizeof(*m));
	if (m == NULL)
		abort();
	m->f = m->g = F_NONE;
	if (depth > 0 && model_rnd(s, 4) > 0) {
		m->kind = (enum model_kind)model_rnd(s, 3);
		buf_str(out, m->kind == M_NOT ? "not (" : "(");
		m->kid[0] = model_make(s, depth - 1, out);
		if (m->kind != M_NOT) {
			buf_str(out, m->kind == M_AND ? " and " : " or ");
			m->kid[1] = model_make(s, depth - 1, out);
		}
		buf_str(out, ")");
		return m;
	}
	m->kind = (enum model_kind)(M_NUM + model_rnd(s, 7));
	if (m->kind == M_NUM)
		make_num(s, m, out);
	else if (m->kind == M_ADDR)
		make_addr(s, m, out);
	else if (m->kind == M_TEXT)
		make_text(s, m, out);
	else if (m->kind == M_ARITH)
		make_arith(s, m, out);
	else
		make_other(s, m, out);
	return m;
}

void
model_free(struct model *m)
{
	if (m == NULL)
		return;
	model_free(m->kid[0]);
	model_free(m->kid[1]);
	free(m);
}

static void
fill_cell(uint64_t *s, struct batch *b, enum field f, uint32_t row)
{
	char text[MODEL_TEXT];
	struct addr a;
	switch ((enum field_type)field_info[f].type) {
	case FT_ADDR:
		some_addr(s, &a);
		batch_set_addr(b, f, row, &a);
		break;
	case FT_TEXT:
		some_text(s, text, "aAbB");
		batch_set_text(b, f, row, strv_of(text));
		break;
	case FT_TIME:
		batch_set_time(b, f, row, INT64_C(1795341600000000) + model_rnd(s, 24));
		break;
	case FT_BITS:
	case FT_ENUM:
		batch_set_u(b, f, row, model_rnd(s, field_info[f].type == FT_BITS ? 32 : 8));
		break;
	case FT_MAC:
		batch_set_u(b, f, row, model_rnd(s, 4));
		break;
	case FT_U8:
	case FT_U16:
	case FT_U32:
	case FT_U64:
	case FT_SPAN:
	case FT_COUNT:
		batch_set_u(b, f, row, some_value(s, f));
		break;
	}
}

void
model_batch(uint64_t *s, struct batch *b, uint32_t n)
{
	for (int f = 0; f < F_COUNT; f++) {
		if ((field_info[f].flags & FF_DERIVED) != 0)
			continue;
		/* all rows, some rows, none */
		uint32_t how = model_rnd(s, 4);
		for (uint32_t r = 0; how != 0 && r < n; r++)
			if (how > 1 || model_rnd(s, 3) > 0)
				fill_cell(s, b, (enum field)f, r);
	}
	b->n = n;
	batch_seal(b, 0);
}
