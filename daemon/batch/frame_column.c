/* SPDX-License-Identifier: Apache-2.0
 * batch/frame_column.c - encoder of columns: header, presence bitmap, numbers, addresses, texts. */
#include "batch/frame_priv.h"

/* Which earlier columns foretell a column. Only a hint: the data decides whether it is used. */
static bool
refs_of(enum field f, struct refs *r)
{
	static const struct {
		uint8_t field, n, ref[FRAME_REFS];
	} hints[] = {
		{F_src_addr, 1, {F_dst_addr}},
		{F_rev_packets, 2, {F_packets, F_proto}},
		{F_tcp_flags, 2, {F_packets, F_proto}},
		{F_rev_tcp_flags, 2, {F_rev_packets, F_tcp_flags}},
		{F_bytes, 3, {F_packets, F_dst_port, F_dst_addr}},
		{F_rev_bytes, 3, {F_rev_packets, F_dst_port, F_dst_addr}},
		{F_app, 2, {F_proto, F_dst_port}},
		{F_app_category, 2, {F_proto, F_dst_port}},
		{F_app_by, 2, {F_proto, F_dst_port}},
		{F_direction_by, 2, {F_proto, F_tcp_flags}},
		{F_end_reason, 2, {F_proto, F_tcp_flags}},
		{F_ip_version, 1, {F_dst_addr}},
		{F_rev_tos, 1, {F_tos}},
		{F_rev_ttl, 1, {F_ttl}},
		{F_rev_vlan, 1, {F_vlan}},
		{F_icmp_type, 1, {F_proto}},
		{F_dst_as, 1, {F_dst_addr}},
	};
	for (size_t i = 0; i < sizeof(hints) / sizeof(hints[0]); i++) {
		if (hints[i].field == f) {
			r->n = hints[i].n;
			memcpy(r->field, hints[i].ref, sizeof(r->field));
			return true;
		}
	}
	return false;
}

/* The hinted references, when every one of them can be used. */
static const struct refs *
usable_refs(const struct rows *rows, enum field f, struct refs *r)
{
	if (rows->n == 0 || !refs_of(f, r))
		return NULL;
	for (uint32_t i = 0; i < r->n; i++) {
		if (!frame_ref_ok(rows, (enum field)r->field[i]))
			return NULL;
	}
	return r;
}

static uint8_t
put_numbers(struct frame_work *w, const struct rows *rows, enum field f, uint32_t n)
{
	struct refs refs;
	enum field other = f == F_start ? F_end : f == F_end ? F_start : F_NONE;
	if (other != F_NONE && n > 1 && frame_ref_ok(rows, other)) {
		uint64_t *ref = w->low, *d = w->aux;
		frame_load(rows->b, other, ref, n);
		for (uint32_t i = 0; i < n; i++)
			d[i] = f == F_end ? w->val[i] - ref[i] : ref[i] - w->val[i];
		if (frame_seq_guess(w, d, n) < frame_seq_guess(w, w->val, n)) {
			frame_seq_ref(w, w->val, n, other, ref);
			return ENC_REF;
		}
	}
	return frame_seq_put(w, w->val, n, 0, rows, usable_refs(rows, f, &refs));
}

/* High halves; then the low halves of those whose high half is 0 (IPv4), then of the others. */
static void
put_addr_list(struct frame_work *w, uint64_t *hi, const uint64_t *lo, uint32_t n,
    const struct rows *rows, const struct refs *refs)
{
	uint64_t *zero = w->tmp[2], *rest = w->tmp[3];
	uint32_t n_zero = 0, n_rest = 0;
	for (uint32_t i = 0; i < n; i++) {
		zero[n_zero] = lo[i];
		rest[n_rest] = lo[i];
		n_zero += hi[i] == 0;
		n_rest += hi[i] != 0;
	}
	frame_seq_nest(w, hi, n, 1, rows, refs);
	frame_seq_nest(w, zero, n_zero, FRAME_DEPTH, NULL, NULL);
	frame_seq_nest(w, rest, n_rest, FRAME_DEPTH, NULL, NULL);
}

static uint64_t
load_be(const uint8_t *p)
{
	uint64_t v;
	memcpy(&v, p, sizeof(v));
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
	v = __builtin_bswap64(v);
#endif
	return v;
}

static bool
dict_pays(const struct frame_work *w, uint32_t n)
{
	float all = 0, entries = 0;
	for (uint32_t i = 0; i < w->dict.n; i++) {
		float one = w->dict.key[i] == 0 ? 20 : 36; /* typical bits of an address in a list */
		entries += one;
		all += one * w->dict.count[i];
	}
	return frame_dict_bits(w, n) + entries < all;
}

static uint8_t
put_addrs(struct frame_work *w, const struct rows *rows, enum field f, const uint16_t *pick,
    uint32_t n)
{
	const struct addr *a = rows->b->col[f].data;
	uint64_t *hi = w->val, *lo = w->low;
	for (uint32_t i = 0; i < n; i++) {
		const struct addr *x = &a[pick != NULL ? pick[i] : i];
		hi[i] = load_be(x->b);
		lo[i] = load_be(x->b + 8);
	}
	if (frame_dict_addrs(w, hi, lo, n, n - n / 8) && dict_pays(w, n)) {
		struct dict *d = &w->dict;
		uint32_t k = d->n;
		frame_dict_rank(w, n);
		buf_varint(&w->body, k);
		/* the entries' own coding may need the dictionary's memory */
		memcpy(w->aux, d->row, n * sizeof(*w->aux));
		memcpy(hi, d->key, k * sizeof(*hi));
		memcpy(lo, d->low, k * sizeof(*lo));
		put_addr_list(w, hi, lo, k, NULL, NULL);
		frame_seq_index(w, w->aux, n, k);
		return ENC_ADDR_DICT;
	}
	struct refs refs;
	put_addr_list(w, hi, lo, n, rows, usable_refs(rows, f, &refs));
	return ENC_ADDR;
}

static struct text
as_text(uint64_t cell)
{
	struct text t;
	memcpy(&t, &cell, sizeof(t));
	return t;
}

static void
put_texts(struct frame_work *w, const struct batch *b, const uint64_t *cell, uint32_t n)
{
	uint64_t *len = w->tmp[2];
	for (uint32_t i = 0; i < n; i++) {
		struct text t = as_text(cell[i]);
		len[i] = (uint64_t)t.len << 1 | (t.cut != 0);
	}
	frame_seq_nest(w, len, n, FRAME_DEPTH, NULL, NULL);
	for (uint32_t i = 0; i < n; i++) {
		struct strv s = batch_text(b, as_text(cell[i]));
		buf_put(&w->body, s.p, s.n);
	}
}

static uint8_t
put_text_column(struct frame_work *w, const struct rows *rows, enum field f, uint32_t n)
{
	struct refs refs;
	if (!frame_dict_texts(w, rows->b, w->val, n, n - n / 4)) {
		put_texts(w, rows->b, w->val, n);
		return ENC_TEXT;
	}
	if (w->dict.n > 256)
		frame_dict_rank(w, n);
	buf_varint(&w->body, w->dict.n);
	memcpy(w->val, w->dict.row, n * sizeof(w->val[0]));
	put_texts(w, rows->b, w->dict.key, w->dict.n);
	frame_seq_nest(w, w->val, n, FRAME_DEPTH, rows, usable_refs(rows, f, &refs));
	return ENC_TEXT_DICT;
}

/* The presence bitmap, and the rows that have a value into @pick; returns their number. */
static uint32_t
put_presence(struct frame_work *w, const struct column *c, uint32_t rows, uint16_t *pick)
{
	uint32_t n = 0, bytes = (rows + 7) / 8;
	uint8_t *to = buf_room(&w->body, bytes + 8);
	if (to == NULL)
		return 0;
	for (uint32_t i = 0; i < rows; i += 64) {
		uint64_t bits = c->present[i >> 6];
		if (rows - i < 64)
			bits &= (UINT64_C(1) << (rows - i)) - 1;
		frame_store64(to + i / 8, bits);
		for (; bits != 0; bits &= bits - 1)
			pick[n++] = (uint16_t)(i + (uint32_t)__builtin_ctzll(bits));
	}
	w->body.n += bytes;
	return n;
}

/* Does every row have the same value? Most columns that differ do so in the first rows. */
static bool
all_same(const struct column *c, enum field f, uint32_t n)
{
	size_t width = field_width(f);
	const uint8_t *p = c->data;
	return n > 1 && memcmp(p, p + width, (n - 1) * width) == 0;
}

/* A column that is one value throughout: the interface, the probe, MAC addresses on a link. */
static uint8_t
put_same(struct frame_work *w, const struct batch *b, enum field f)
{
	frame_load(b, f, w->val, 1);
	if (field_info[f].type != FT_TEXT) {
		buf_u64_le(&w->body, w->val[0]);
		return ENC_CONSTANT;
	}
	buf_varint(&w->body, 1);
	put_texts(w, b, w->val, 1);
	buf_u8(&w->body, ENC_CONSTANT);
	buf_u64_le(&w->body, 0);
	return ENC_TEXT_DICT;
}

/* The rows in @pick of a sparse column: taken in place, since a row is never before its place. */
static void
load_picked(struct frame_work *w, const struct batch *b, enum field f, const uint16_t *pick,
    uint32_t n)
{
	frame_load(b, f, w->val, n > 0 ? pick[n - 1] + 1u : 0);
	for (uint32_t i = 0; i < n; i++)
		w->val[i] = w->val[pick[i]];
}

void
frame_column_put(struct frame_work *w, const struct rows *rows, enum field f)
{
	const struct column *c = &rows->b->col[f];
	struct rows mine = *rows;
	uint32_t n = rows->b->n;
	uint16_t pick[BATCH_ROWS + 1];
	size_t head = w->body.n;
	uint8_t enc;
	buf_u16_le(&w->body, field_info[f].number);
	buf_u16_le(&w->body, c->dense ? 0 : FRAME_SPARSE << 8);
	buf_u32_le(&w->body, 0);
	if (!c->dense) {
		n = put_presence(w, c, n, pick);
		mine.n = 0; /* no longer one number per row */
	}
	if (field_info[f].type == FT_ADDR) {
		enc = put_addrs(w, &mine, f, c->dense ? NULL : pick, n);
	} else if (c->dense && all_same(c, f, n)) {
		enc = put_same(w, rows->b, f);
	} else {
		if (c->dense)
			frame_load(rows->b, f, w->val, n);
		else
			load_picked(w, rows->b, f, pick, n);
		if (field_info[f].type == FT_TEXT)
			enc = put_text_column(w, &mine, f, n);
		else
			enc = put_numbers(w, &mine, f, n);
	}
	if (w->body.err != 0)
		return;
	uint32_t len = (uint32_t)(w->body.n - head - FRAME_COLUMN_HEADER);
	w->body.p[head + 2] = enc;
	for (int i = 0; i < 4; i++)
		w->body.p[head + 4 + (size_t)i] = (uint8_t)(len >> 8 * i);
}
