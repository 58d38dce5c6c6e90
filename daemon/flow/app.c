/* SPDX-License-Identifier: Apache-2.0
 * flow/app.c - application detection: which decoder looks at a packet, and when to stop.
 *
 * A flow is undecided until a decoder names it. Undecided, it gets APP_LOOKS_OPEN packets with
 * payload from one side, or one from each; then nDPI is asked, or nobody. Decided, each side is
 * looked at until it has told what it can (it is "settled") or APP_LOOKS packets were for nothing;
 * with both sides settled the flow is APP_DONE. The payload of a settled side is never touched.
 *
 * A message that goes on in the next segment is held at the end of the flow's text chain, up to
 * APP_TEXT_MAX bytes and APP_LOOKS_HELD segments, and parsed again when it has grown; a gap, the
 * other side's data, or the flow's end conclude it with what is there. Values learnt (struct
 * value_head and bytes) take its place. */
#include "flow/app_priv.h"

#include <stdlib.h>

/* A value in a text chain. */
struct value_head {
	uint8_t field; /* enum field */
	uint8_t cut;
	uint16_t len;
};

struct app_engine *
app_engine_new(const struct app_conf *conf, struct err *err)
{
	struct app_engine *e = calloc(1, sizeof(*e));
	if (e == NULL) {
		err_set(err, E_NOMEM, "application detection: no memory");
		return NULL;
	}
	e->native = conf->native;
	if (app_names_init(e, err) != 0)
		goto fail;
	if (app_texts_init(&e->texts, conf->max_texts) != 0) {
		err_set(err, E_NOMEM, "application detection: no memory for the text of %u flows",
		    conf->max_texts);
		goto fail;
	}
	if (conf->ndpi && app_ndpi_init(e, conf, err) != 0)
		goto fail;
	return e;
fail:
	app_engine_free(&e);
	return NULL;
}

void
app_engine_free(struct app_engine **ep)
{
	struct app_engine *e = *ep;
	if (e == NULL)
		return;
	app_ndpi_fini(e);
	app_texts_fini(&e->texts);
	free(e->entry);
	free(e);
	*ep = NULL;
}

uint64_t
app_engine_memory(const struct app_engine *e)
{
	return sizeof(*e) + (uint64_t)e->texts.n_blocks * APP_BLOCK + app_ndpi_memory(&e->ndpi);
}

void
app_decide(struct app_look *l, uint16_t name, uint8_t by)
{
	struct app_state *st = l->st;
	if (st->by == APP_BY_NATIVE || name == APP_UNKNOWN)
		return;
	static const enum counter count[] = {
		[APP_BY_NATIVE] = C_app_native,
		[APP_BY_NDPI] = C_app_ndpi,
		[APP_BY_PORT] = C_app_port,
	};
	st->name = name;
	st->by = by;
	if ((st->stage & APP_S_NUMBERED) == 0)
		counter_add(l->c, count[by], 1);
	st->stage |= APP_S_NUMBERED;
	if (by == APP_BY_NATIVE && st->ndpi != 0)
		app_ndpi_drop(l->e, st);
}

/* The held message was copied to be read, or is worthless: its place is for values. */
static void
release_held(struct app_look *l)
{
	if ((l->st->stage & APP_S_HELD) == 0)
		return;
	struct app_texts *t = &l->e->texts;
	app_text_truncate(t, &l->st->text, app_text_held(t, l->st->text).base);
	l->st->stage &= (uint8_t)~(APP_S_HELD | APP_S_HELD_REVERSE);
}

void
app_put(struct app_look *l, enum field f, const void *p, size_t n)
{
	uint8_t value[sizeof(struct value_head) + TEXT_MAX];
	size_t k = n <= TEXT_MAX ? n : TEXT_MAX;
	struct value_head head = {(uint8_t)f, k < n, (uint16_t)k};

	if (n == 0)
		return;
	memcpy(value, &head, sizeof(head));
	memcpy(value + sizeof(head), p, k);
	release_held(l); /* a message that gives values has been read to its end */
	if (!app_text_add(&l->e->texts, &l->st->text, value, sizeof(head) + k))
		counter_add(l->c, C_app_text_full, 1);
}

void
app_put_num(struct app_look *l, enum field f, uint16_t v)
{
	app_put(l, f, &v, sizeof(v));
}

void
app_done(struct app_look *l)
{
	l->st->progress = APP_DONE;
	release_held(l);
	if (l->st->ndpi != 0)
		app_ndpi_drop(l->e, l->st);
}

static uint8_t
settled_bit(bool reverse)
{
	return reverse ? APP_S_SETTLED1 : APP_S_SETTLED0;
}

/* The decoder for a stream, by the name the flow has or by its first byte. */
static enum app_parse
parse_stream(struct app_look *l, const uint8_t *p, size_t n)
{
	switch (l->st->name) {
	case APP_TLS:
	case APP_SMTPS:
	case APP_IMAPS:
	case APP_POPS:
		return app_tls_parse(l, p, n);
	case APP_HTTP:
	case APP_HTTP_CONNECT:
	case APP_HTTP_PROXY:
		return app_http_parse(l, p, n);
	case APP_SSH:
		return app_ssh_parse(l, p, n);
	case APP_DNS:
	case APP_MDNS:
	case APP_LLMNR:
		return app_dns_tcp(l, p, n);
	default:
		break;
	}
	enum app_parse r = APP_P_NO;
	if (p[0] >= 20 && p[0] <= 24)
		r = app_tls_parse(l, p, n);
	else if (p[0] == 'S')
		r = app_ssh_parse(l, p, n);
	if (r == APP_P_NO && p[0] >= 'A' && p[0] <= 'Z')
		r = app_http_parse(l, p, n);
	if (r == APP_P_NO && (app_on_port(l, 53) || app_on_port(l, 5353) || app_on_port(l, 5355)))
		r = app_dns_tcp(l, p, n);
	return r;
}

/* What a side's packet came to. */
static void
settle(struct app_look *l, enum app_parse r)
{
	struct app_state *st = l->st;
	uint8_t looks = st->seen[l->reverse], other = st->seen[!l->reverse];

	if (r == APP_P_MORE)
		return;
	if (st->by != APP_BY_NATIVE) {
		if (other > 0 || looks >= APP_LOOKS_OPEN)
			st->stage |= APP_S_NOT_NATIVE;
		return;
	}
	if (r == APP_P_YES || looks >= APP_LOOKS)
		st->stage |= settled_bit(l->reverse);
	const uint8_t both = APP_S_SETTLED0 | APP_S_SETTLED1;
	if ((st->stage & both) == both)
		app_done(l);
}

/* Keep the beginning of a message that goes on, behind the values there are. */
static enum app_parse
hold(struct app_look *l, const struct wire_pkt *pkt)
{
	struct app_texts *t = &l->e->texts;
	struct app_state *st = l->st;
	uint32_t base = app_text_len(t, st->text);

	bool fits = pkt->payload_len < APP_TEXT_MAX - base;
	if (!fits || !app_text_add(t, &st->text, pkt->payload, pkt->payload_len)) {
		if (fits)
			counter_add(l->c, C_app_text_full, 1);
		l->last = true;
		return parse_stream(l, pkt->payload, pkt->payload_len);
	}
	bool syn = (pkt->tcp_flags & TCP_syn) != 0;
	app_text_set_held(t, st->text,
	    (struct app_held){pkt->tcp_seq + syn + pkt->payload_len, (uint16_t)base});
	st->stage |= APP_S_HELD | (l->reverse ? APP_S_HELD_REVERSE : 0);
	return APP_P_MORE;
}

/* Parse the held message; unless it wants more, it is not held any longer afterwards. */
static void
parse_held(struct app_look *l)
{
	struct app_texts *t = &l->e->texts;
	struct strv s = app_text_view(t, l->st->text, l->e->scratch);
	uint16_t base = app_text_held(t, l->st->text).base;

	if (s.p != (const char *)l->e->scratch) /* values will overwrite it in its place */
		memcpy(l->e->scratch, s.p, s.n);
	if (s.n == APP_TEXT_MAX)
		l->last = true;
	enum app_parse r = parse_stream(l, l->e->scratch + base, s.n - base);
	if (r != APP_P_MORE)
		release_held(l);
	settle(l, r);
}

static void
conclude_held(const struct app_look *look)
{
	struct app_look l = *look;
	l.reverse = (l.st->stage & APP_S_HELD_REVERSE) != 0;
	l.last = true;
	parse_held(&l);
}

/* The next segment of a held message. */
static void
grow_held(struct app_look *l, const struct wire_pkt *pkt)
{
	struct app_texts *t = &l->e->texts;
	struct app_held held = app_text_held(t, l->st->text);
	int32_t ahead = (int32_t)(pkt->tcp_seq - held.seq);
	uint32_t known = ahead <= 0 ? (uint32_t)-(int64_t)ahead : 0;

	if (ahead <= 0 && known >= pkt->payload_len)
		return; /* a retransmission */
	if (ahead > 0) {
		conclude_held(l);
		return;
	}
	size_t room = APP_TEXT_MAX - app_text_len(t, l->st->text);
	size_t n = pkt->payload_len - known < room ? pkt->payload_len - known : room;
	if (!app_text_add(t, &l->st->text, pkt->payload + known, n)) {
		counter_add(l->c, C_app_text_full, 1);
		conclude_held(l);
		return;
	}
	held.seq += (uint32_t)n;
	app_text_set_held(t, l->st->text, held);
	l->last = n == room || (pkt->flags & WIRE_TRUNCATED) != 0 ||
	    l->st->seen[l->reverse] >= APP_LOOKS_HELD;
	parse_held(l);
}

static void
native_tcp(struct app_look *l, const struct wire_pkt *pkt)
{
	struct app_state *st = l->st;

	if ((st->stage & APP_S_HELD) != 0) {
		if (l->reverse == ((st->stage & APP_S_HELD_REVERSE) != 0)) {
			grow_held(l, pkt);
			return;
		}
		conclude_held(l);
		if (st->progress == APP_DONE || (st->stage & settled_bit(l->reverse)) != 0)
			return;
	}
	l->last = (pkt->flags & WIRE_TRUNCATED) != 0;
	enum app_parse r = parse_stream(l, pkt->payload, pkt->payload_len);
	if (r == APP_P_MORE)
		r = hold(l, pkt);
	settle(l, r);
}

static void
native_udp(struct app_look *l, const struct wire_pkt *pkt)
{
	enum app_parse r = APP_P_NO;

	l->last = (pkt->flags & WIRE_TRUNCATED) != 0;
	if (app_on_port(l, 53) || app_on_port(l, 5353) || app_on_port(l, 5355)) {
		r = app_dns_udp(l, pkt->payload, pkt->payload_len);
	} else {
		app_decide(l, (uint16_t)app_datagram(l, pkt->payload, pkt->payload_len),
		    APP_BY_NATIVE);
		l->st->stage |= l->st->by == APP_BY_NATIVE ? APP_S_SETTLED0 | APP_S_SETTLED1
		                                           : APP_S_NOT_NATIVE;
	}
	settle(l, r);
}

static void
native_look(struct app_look *l, const struct wire_pkt *pkt)
{
	struct app_state *st = l->st;

	if (pkt->proto != 6 && pkt->proto != 17) {
		app_decide(l, (uint16_t)app_of_proto(pkt->proto), APP_BY_NATIVE);
		app_done(l);
		return;
	}
	if (pkt->payload_len == 0 || pkt->payload == NULL)
		return;
	if (st->seen[l->reverse] < UINT8_MAX)
		st->seen[l->reverse]++;
	if ((st->stage & settled_bit(l->reverse)) != 0) {
		if (st->seen[l->reverse] >= APP_LOOKS_SILENT && st->seen[!l->reverse] == 0)
			app_done(l);
		return;
	}
	if (pkt->proto == 6)
		native_tcp(l, pkt);
	else
		native_udp(l, pkt);
}

void
app_look(struct app_engine *e, struct app_state *st, const struct wire_pkt *pkt, bool reverse,
    int64_t ts_us, struct counters *c)
{
	if (st->progress == APP_DONE)
		return;
	struct app_look l = {e, st, c, pkt->sport, pkt->dport, pkt->proto, reverse, false};
	bool looked = pkt->payload_len > 0;
	if (e->native && (st->stage & APP_S_NOT_NATIVE) == 0) {
		native_look(&l, pkt);
		if (st->progress == APP_DONE || st->by == APP_BY_NATIVE)
			return;
	}
	if (e->ndpi.module != NULL) {
		/* Behind the native decoders nDPI gets what they could not place and what follows,
		 * but only packets with payload: names came out the same, the budget lasts. */
		if (!e->native || looked)
			app_ndpi_look(&l, pkt, ts_us);
	} else if (!e->native || (st->stage & APP_S_NOT_NATIVE) != 0) {
		app_done(&l);
	}
}

void
app_finish(struct app_engine *e, struct app_state *st, uint8_t proto, uint16_t sport,
    uint16_t dport, struct counters *c)
{
	struct app_look l = {e, st, c, sport, dport, proto, false, true};

	if ((st->stage & APP_S_HELD) != 0)
		conclude_held(&l);
	if (e->ndpi.module != NULL && (st->name == APP_UNKNOWN || st->ndpi != 0))
		app_ndpi_finish(&l);
	app_done(&l);
	if (st->name == APP_UNKNOWN)
		counter_add(c, C_app_unknown, 1);
}

void
app_guess(struct app_engine *e, const struct app_state *st, uint8_t proto, uint16_t sport,
    uint16_t dport, struct app_state *out)
{
	*out = *st;
	out->ndpi = 0;
	if (out->name == APP_UNKNOWN && e->ndpi.module != NULL) {
		out->name = app_ndpi_by_port(e, proto, sport, dport);
		out->by = out->name != APP_UNKNOWN ? APP_BY_PORT : 0;
	}
}

void
app_release(struct app_engine *e, struct app_state *st)
{
	if (st->text != 0)
		app_text_drop(&e->texts, &st->text);
	if (st->ndpi != 0)
		app_ndpi_drop(e, st);
	*st = (struct app_state){0};
}

/* The cell of @s in this batch's arena. @cell may be another batch's or stale: it is checked. */
static struct text
name_cell(struct batch *b, struct text *cell, const char *s)
{
	size_t n = strlen(s);
	if (cell->len != n || n == 0 || (size_t)cell->off + n > b->text_len ||
	    memcmp(b->text + cell->off, s, n) != 0)
		*cell = batch_text_add(b, (struct strv){s, n});
	return *cell;
}

static void
write_value(struct batch *b, uint32_t row, const struct value_head *h, const char *p)
{
	if (field_info[h->field].type != FT_TEXT) {
		uint16_t v;
		memcpy(&v, p, sizeof(v));
		batch_set_u(b, (enum field)h->field, row, v);
		return;
	}
	struct text t = batch_text_add(b, (struct strv){p, h->len});
	if (t.len == 0)
		return;
	t.cut = t.cut != 0 || h->cut != 0;
	batch_set_text_cell(b, (enum field)h->field, row, t);
}

void
app_write(struct app_engine *e, const struct app_state *st, struct batch *b, uint32_t row)
{
	if (st->name != APP_UNKNOWN && st->name < e->n_entries) {
		struct app_entry *n = &e->entry[st->name];
		struct text t = name_cell(b, &n->name_cell, n->name);
		if (t.len > 0)
			batch_set_text_cell(b, F_app, row, t);
		t = name_cell(b, &n->category_cell, n->category);
		if (t.len > 0)
			batch_set_text_cell(b, F_app_category, row, t);
		batch_set_u(b, F_app_by, row, st->by);
	}
	if (st->text == 0 || (st->stage & APP_S_HELD) != 0)
		return;
	struct strv s = app_text_view(&e->texts, st->text, e->scratch);
	for (size_t at = 0; s.n - at > sizeof(struct value_head);) {
		struct value_head h;
		memcpy(&h, s.p + at, sizeof(h));
		at += sizeof(h);
		assert_hot(h.len <= s.n - at);
		write_value(b, row, &h, s.p + at);
		at += h.len;
	}
}
