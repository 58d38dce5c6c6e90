/* SPDX-License-Identifier: Apache-2.0
 * link/msg.c - encode and decode control messages, driven by msg.def. */
#include "link/msg.h"

#include <stdio.h>

#include "base/cur.h"

enum kind { KIND_U, KIND_T };

struct item_info {
	uint8_t tag, kind;
	uint16_t max;
};

static const struct item_info items[MI_COUNT] = {
#define ITEM(tag, id, kind, max) [MI_##id] = {tag, KIND_##kind, max},
#include "link/msg.def"
};

/* item of a tag plus one; 0 is a tag we do not know */
static const uint8_t by_tag[256] = {
#define ITEM(tag, id, kind, max) [tag] = MI_##id + 1,
#include "link/msg.def"
};

static const struct {
	const char *name;
	uint64_t need;
} types[M_TYPES] = {
#define N(id) (UINT64_C(1) << MI_##id)
#define MESSAGE(number, id, need) [number] = {#id, need},
#include "link/msg.def"
#undef N
};

const char *
msg_name(enum msg_type t)
{
	return t > M_NONE && t < M_TYPES ? types[t].name : "?";
}

void
msg_text(struct msg *m, enum msg_item i, struct strv v)
{
	if (v.n > items[i].max)
		v.n = items[i].max;
	m->s[i] = v;
	m->has |= UINT64_C(1) << i;
}

static void
put_number(struct buf *out, uint64_t v)
{
	uint8_t b[8];
	size_t n = 0;
	for (; v != 0; v >>= 8)
		b[n++] = (uint8_t)v;
	buf_varint(out, n);
	buf_put(out, b, n);
}

void
msg_encode(const struct msg *m, struct buf *out)
{
	buf_put(out, "FL", 2);
	buf_u8(out, MSG_VERSION);
	buf_u8(out, (uint8_t)m->type);
	buf_u64_le(out, m->from);
	buf_u64_le(out, m->to);
	for (enum msg_item i = 0; i < MI_COUNT; i++) {
		if (!msg_has(m, i))
			continue;
		buf_u8(out, items[i].tag);
		if (items[i].kind == KIND_U)
			put_number(out, m->u[i]);
		else
			buf_text(out, m->s[i]);
	}
}

void
msg_readdress(uint8_t *p, uint64_t from, uint64_t to)
{
	for (unsigned i = 0; i < 8; i++) {
		p[4 + i] = (uint8_t)(from >> (8 * i));
		p[12 + i] = (uint8_t)(to >> (8 * i));
	}
}

static int
get_item(struct cur *c, struct msg *m)
{
	uint8_t tag = cur_u8(c);
	struct strv v = cur_text(c, MSG_MAX);
	if (c->err != 0)
		return c->err;
	if (by_tag[tag] == 0)
		return 0;
	enum msg_item i = by_tag[tag] - 1;
	if (v.n > items[i].max || msg_has(m, i))
		return -E_FORMAT;
	if (items[i].kind == KIND_T) {
		msg_text(m, i, v);
		return 0;
	}
	uint64_t u = 0;
	for (size_t k = 0; k < v.n; k++)
		u |= (uint64_t)(uint8_t)v.p[k] << (8 * k);
	msg_num(m, i, u);
	return 0;
}

int
msg_decode(const void *p, size_t n, struct msg *m)
{
	*m = (struct msg){0};
	if (n > MSG_MAX)
		return -E_FORMAT;
	struct cur c = cur_init(p, n);
	const uint8_t *magic = cur_take(&c, 2);
	uint8_t version = cur_u8(&c), type = cur_u8(&c);
	m->from = cur_u64_le(&c);
	m->to = cur_u64_le(&c);
	if (c.err != 0)
		return c.err;
	if (memcmp(magic, "FL", 2) != 0)
		return -E_FORMAT;
	if (version != MSG_VERSION || type == M_NONE || type >= M_TYPES)
		return -E_UNSUP;
	m->type = type;
	while (cur_left(&c) > 0) {
		int rc = get_item(&c, m);
		if (rc != 0)
			return rc;
	}
	return (m->has & types[type].need) == types[type].need ? 0 : -E_FORMAT;
}

void
msg_copy(const struct msg *m, enum msg_item i, char *out, size_t size)
{
	size_t n = m->s[i].n < size ? m->s[i].n : size - 1;
	for (size_t k = 0; k < n; k++) {
		char ch = m->s[i].p[k];
		out[k] = ch >= 0x20 && ch < 0x7f ? ch : '?';
	}
	out[n] = '\0';
}

/* The totals in the order in which they are sent. */
static void
totals_visit(struct stats_totals *t, void (*fn)(void *arg, uint64_t *v), void *arg)
{
	uint64_t *const v[] = {&t->drops_if, &t->drops_kernel, &t->seen, &t->metered, &t->non_ip,
	    &t->malformed, &t->no_flow, &t->opened, &t->ended, &t->active, &t->given, &t->batching,
	    &t->lost_batch};
	for (size_t i = 0; i < sizeof(v) / sizeof(v[0]); i++)
		fn(arg, v[i]);
}

static void
put_total(void *arg, uint64_t *v)
{
	buf_varint(arg, *v);
}

static void
get_total(void *arg, uint64_t *v)
{
	*v = cur_varint(arg);
}

void
msg_put_stats(struct msg *m, const struct stats_second *s, struct buf *scratch)
{
	msg_num(m, MI_second, (uint64_t)s->second);
	msg_text(m, MI_interface, strv_of(s->interface));
	if (s->probe[0] != '\0')
		msg_text(m, MI_probe, strv_of(s->probe));
	msg_num(m, MI_packets, s->packets);
	msg_num(m, MI_bytes, s->bytes);
	msg_num(m, MI_drops_kernel, s->drops_kernel);
	msg_num(m, MI_drops_if, s->drops_if);
	msg_num(m, MI_drops_own, s->drops_own);
	msg_num(m, MI_non_ip, s->non_ip);
	msg_num(m, MI_malformed, s->malformed);
	msg_num(m, MI_flows_active, s->flows_active);
	msg_num(m, MI_flows_new, s->flows_new);
	msg_num(m, MI_flows_ended, s->flows_ended);
	msg_num(m, MI_late, s->late_us);
	size_t totals = scratch->n;
	if (s->totals.is_known)
		totals_visit((struct stats_totals *)(uintptr_t)&s->totals, put_total, scratch);
	size_t apps = scratch->n;
	for (uint32_t i = 0; i < s->n_apps && i < STATS_APPS; i++) {
		buf_text(scratch, strv_of(s->apps[i].name));
		buf_varint(scratch, s->apps[i].flows);
		buf_varint(scratch, s->apps[i].bytes);
	}
	if (scratch->err != 0)
		return;
	const char *p = (const char *)scratch->p;
	if (apps > totals)
		msg_text(m, MI_totals, (struct strv){p + totals, apps - totals});
	if (scratch->n > apps)
		msg_text(m, MI_apps, (struct strv){p + apps, scratch->n - apps});
}

int
msg_get_stats(const struct msg *m, struct stats_second *out)
{
	*out = (struct stats_second){
	    .second = (int64_t)m->u[MI_second],
	    .packets = m->u[MI_packets],
	    .bytes = m->u[MI_bytes],
	    .drops_kernel = m->u[MI_drops_kernel],
	    .drops_if = m->u[MI_drops_if],
	    .drops_own = m->u[MI_drops_own],
	    .non_ip = m->u[MI_non_ip],
	    .malformed = m->u[MI_malformed],
	    .flows_active = m->u[MI_flows_active],
	    .flows_new = m->u[MI_flows_new],
	    .flows_ended = m->u[MI_flows_ended],
	    .late_us = m->u[MI_late] < UINT32_MAX ? (uint32_t)m->u[MI_late] : UINT32_MAX,
	};
	msg_copy(m, MI_interface, out->interface, sizeof(out->interface));
	msg_copy(m, MI_probe, out->probe, sizeof(out->probe));
	if (msg_has(m, MI_totals)) {
		struct cur t = cur_init(m->s[MI_totals].p, m->s[MI_totals].n);
		totals_visit(&out->totals, get_total, &t);
		if (t.err != 0)
			return -E_FORMAT;
		out->totals.is_known = true;
	}
	struct cur c = cur_init(m->s[MI_apps].p, m->s[MI_apps].n);
	while (cur_left(&c) > 0 && out->n_apps < STATS_APPS) {
		struct stats_app *a = &out->apps[out->n_apps];
		struct msg name = {0};
		name.s[MI_name] = cur_text(&c, STATS_NAME - 1);
		a->flows = cur_varint(&c);
		a->bytes = cur_varint(&c);
		if (c.err != 0)
			return -E_FORMAT;
		msg_copy(&name, MI_name, a->name, sizeof(a->name));
		out->n_apps++;
	}
	return 0;
}

void
msg_put_fields(struct msg *m, struct field_set fields, uint8_t out[2 * F_COUNT])
{
	size_t n = 0;
	for (unsigned f = 0; f < F_COUNT; f++) {
		if (!field_set_has(&fields, (enum field)f))
			continue;
		out[n++] = (uint8_t)field_info[f].number;
		out[n++] = (uint8_t)(field_info[f].number >> 8);
	}
	msg_text(m, MI_fields, (struct strv){(const char *)out, n});
}

int
msg_get_fields(const struct msg *m, struct field_set *out)
{
	*out = (struct field_set){0};
	struct cur c = cur_init(m->s[MI_fields].p, m->s[MI_fields].n);
	if (m->s[MI_fields].n % 2 != 0)
		return -E_FORMAT;
	while (cur_left(&c) > 0) {
		enum field f = field_by_number(cur_u16_le(&c));
		if (f != F_NONE && (field_info[f].flags & FF_DERIVED) == 0)
			field_set_add(out, f);
	}
	return 0;
}
