/* SPDX-License-Identifier: Apache-2.0
 * batch/frame_unseq.c - decoder of sequences. Every length is checked before it is used.
 *
 * Errors latch in the cursor. A coding this version does not know is no error: the caller skips the
 * column, as it would skip a column it does not know. */
#include "batch/frame_priv.h"

static void
bad(struct cur *c)
{
	if (c->err == 0)
		c->err = -E_FORMAT;
}

static inline uint64_t
load_le(const uint8_t *p, uint32_t width)
{
	uint64_t v = 0;
	for (uint32_t k = 0; k < width; k++)
		v |= (uint64_t)p[k] << 8 * k;
	return v;
}

static void
get_constant(struct cur *c, uint64_t *to, uint32_t n)
{
	uint64_t v = cur_u64_le(c);
	for (uint32_t i = 0; i < n; i++)
		to[i] = v;
}

static void
get_plain(struct cur *c, uint64_t *to, uint32_t n)
{
	uint32_t width = cur_u8(c);
	if (width < 1 || width > 8) {
		bad(c);
		return;
	}
	const uint8_t *p = cur_take(c, (size_t)n * width);
	for (uint32_t i = 0; p != NULL && i < n; i++)
		to[i] = load_le(p + (size_t)i * width, width);
}

/* Reads bits least significant first; what lies beyond the end reads as zero. */
struct bits {
	const uint8_t *p;
	size_t n, at; /* bytes there are, bits taken */
};

static uint64_t
bits_slow(const struct bits *b, uint32_t n)
{
	uint64_t v = 0;
	for (uint32_t got = 0; got < n;) {
		size_t byte = (b->at + got) >> 3;
		uint32_t shift = (uint32_t)(b->at + got) & 7;
		uint64_t x = byte < b->n ? (uint64_t)b->p[byte] >> shift : 0;
		v |= x << got;
		got += 8 - shift;
	}
	return n < 64 ? v & ((UINT64_C(1) << n) - 1) : v;
}

static inline uint64_t
bits_take(struct bits *b, uint32_t n)
{
	uint64_t v;
	if (n <= 56 && (b->at >> 3) + 8 <= b->n)
		v = frame_load64(b->p + (b->at >> 3)) >> (b->at & 7) & ((UINT64_C(1) << n) - 1);
	else
		v = bits_slow(b, n);
	b->at += n;
	return v;
}

static void
get_packed(struct cur *c, uint64_t *to, uint32_t n)
{
	uint64_t min = cur_u64_le(c);
	uint32_t width = cur_u8(c);
	if (width > 64) {
		bad(c);
		return;
	}
	size_t bytes = ((size_t)n * width + 7) / 8;
	const uint8_t *p = cur_take(c, bytes);
	if (p == NULL)
		return;
	struct bits b = {p, bytes, 0};
	for (uint32_t i = 0; i < n; i++)
		to[i] = min + bits_take(&b, width);
}

static void
get_planes(struct cur *c, uint64_t *to, uint32_t n)
{
	uint64_t base = cur_u64_le(c);
	uint32_t planes = cur_u8(c);
	if (planes < 1 || planes > 8) {
		bad(c);
		return;
	}
	const uint8_t *p = cur_take(c, (size_t)n * planes);
	if (p == NULL)
		return;
	for (uint32_t i = 0; i < n; i++)
		to[i] = 0;
	for (uint32_t k = planes; k-- > 0; p += n) {
		for (uint32_t i = 0; i < n; i++)
			to[i] |= (uint64_t)p[i] << 8 * k;
	}
	for (uint32_t i = 0; i < n; i++)
		to[i] += base;
}

static void
get_magnitude(struct cur *c, uint64_t *to, uint32_t n)
{
	const uint8_t *class = cur_take(c, n);
	size_t total = 0;
	if (class == NULL)
		return;
	for (uint32_t i = 0; i < n; i++) {
		if (class[i] >= 8 + 61 * 4) {
			bad(c);
			return;
		}
		total += magnitude_extra(class[i]);
	}
	size_t bytes = (total + 7) / 8;
	const uint8_t *p = cur_take(c, bytes);
	if (p == NULL)
		return;
	struct bits b = {p, bytes, 0};
	for (uint32_t i = 0; i < n; i++) {
		uint32_t k = class[i], extra = magnitude_extra(k);
		if (k < 8)
			to[i] = k;
		else
			to[i] = (uint64_t)(4 | ((k - 8) & 3)) << extra | bits_take(&b, extra);
	}
}

/* Residuals as the mode says: 0 signed, 1 to be added, 2 to be subtracted. */
static void
apply_mode(struct cur *c, uint8_t mode, uint64_t *d, uint32_t n)
{
	if (mode > 2)
		bad(c);
	for (uint32_t i = 0; mode == 0 && i < n; i++)
		d[i] = unzigzag(d[i]);
	for (uint32_t i = 0; mode == 2 && i < n; i++)
		d[i] = 0 - d[i];
}

static bool
get_delta(struct frame_work *w, struct cur *c, uint64_t *to, uint32_t n, unsigned depth)
{
	uint64_t first = cur_u64_le(c);
	uint8_t mode = cur_u8(c);
	if (n == 0) {
		bad(c);
		return true;
	}
	if (!frame_seq_unnest(w, c, to + 1, n - 1, depth + 1, NULL))
		return false;
	if (c->err != 0)
		return true;
	apply_mode(c, mode, to + 1, n - 1);
	to[0] = first;
	for (uint32_t i = 1; i < n; i++)
		to[i] += to[i - 1];
	return true;
}

static bool
get_ref(struct frame_work *w, struct cur *c, uint64_t *to, uint32_t n, unsigned depth,
    const struct rows *rows)
{
	enum field f = field_by_number(cur_u16_le(c));
	uint8_t mode = cur_u8(c);
	if (f == F_NONE || !frame_ref_ok(rows, f))
		return false;
	if (!frame_seq_unnest(w, c, to, n, depth + 1, NULL))
		return false;
	if (c->err != 0)
		return true;
	apply_mode(c, mode, to, n);
	/* NOLINTNEXTLINE(clang-analyzer-core.NullDereference): frame_ref_ok: rows is there */
	frame_load_ref(rows->b, f, w->aux);
	for (uint32_t i = 0; i < n; i++)
		to[i] += w->aux[i];
	return true;
}

static bool
get_dict(struct frame_work *w, struct cur *c, uint64_t *to, uint32_t n, unsigned depth)
{
	uint64_t k = cur_varint(c);
	if (k > n || depth >= FRAME_DEPTH) {
		bad(c);
		return true;
	}
	uint64_t *entry = w->tmp[depth];
	if (!frame_seq_unnest(w, c, entry, (uint32_t)k, depth + 1, NULL) ||
	    !frame_seq_unnest(w, c, to, n, depth + 1, NULL))
		return false;
	for (uint32_t i = 0; c->err == 0 && i < n; i++) {
		if (to[i] >= k)
			bad(c);
		else
			to[i] = entry[to[i]];
	}
	return true;
}

static bool
get_cache(struct frame_work *w, struct cur *c, uint64_t *to, uint32_t n, unsigned depth,
    const struct rows *rows)
{
	struct refs refs = {0, {0}};
	uint32_t bits = cur_u8(c), n_refs = cur_u8(c), n_miss = 0;
	if (bits > FRAME_CACHE_BITS || n_refs > FRAME_REFS || depth >= FRAME_DEPTH) {
		bad(c);
		return true;
	}
	for (uint32_t i = 0; i < n_refs; i++) {
		enum field f = field_by_number(cur_u16_le(c));
		if (c->err == 0 && (f == F_NONE || !frame_ref_ok(rows, f)))
			return false;
		refs.field[refs.n++] = (uint8_t)f;
	}
	const uint8_t *symbol = cur_take(c, n);
	if (symbol == NULL)
		return true;
	for (uint32_t i = 0; i < n; i++) {
		if (symbol[i] > FRAME_CACHE_WAYS) {
			bad(c);
			return true;
		}
		n_miss += symbol[i] == FRAME_CACHE_WAYS;
	}
	uint64_t *miss = w->tmp[depth];
	if (!frame_seq_unnest(w, c, miss, n_miss, depth + 1, NULL))
		return false;
	if (c->err != 0)
		return true;
	if (refs.n > 0)
		frame_contexts(w, rows, &refs, bits);
	else
		memset(w->context, 0, n * sizeof(w->context[0]));
	memset(w->cache, 0, sizeof(w->cache[0]) << bits);
	for (uint32_t i = 0; i < n; i++) {
		uint32_t *s = w->cache[w->context[i]], k = symbol[i];
		uint64_t v = k < FRAME_CACHE_WAYS ? s[k] : *miss++;
		if (v > UINT32_MAX) {
			bad(c);
			return true;
		}
		for (k -= k == FRAME_CACHE_WAYS; k > 0; k--)
			s[k] = s[k - 1];
		s[0] = (uint32_t)v;
		to[i] = v;
	}
	return true;
}

bool
frame_seq_get(struct frame_work *w, struct cur *c, uint8_t enc, uint64_t *to, uint32_t n,
    unsigned depth, const struct rows *rows)
{
	if (depth > FRAME_DEPTH) {
		bad(c);
		return true;
	}
	switch (enc) {
	case ENC_CONSTANT:
		get_constant(c, to, n);
		return true;
	case ENC_PLAIN:
		get_plain(c, to, n);
		return true;
	case ENC_PACKED:
		get_packed(c, to, n);
		return true;
	case ENC_PLANES:
		get_planes(c, to, n);
		return true;
	case ENC_MAGNITUDE:
		get_magnitude(c, to, n);
		return true;
	case ENC_DELTA:
		return get_delta(w, c, to, n, depth);
	case ENC_REF:
		return get_ref(w, c, to, n, depth, rows);
	case ENC_DICT:
		return get_dict(w, c, to, n, depth);
	case ENC_CACHE:
		return get_cache(w, c, to, n, depth, rows);
	default:
		return false;
	}
}

bool
frame_seq_unnest(struct frame_work *w, struct cur *c, uint64_t *to, uint32_t n, unsigned depth,
    const struct rows *rows)
{
	return frame_seq_get(w, c, cur_u8(c), to, n, depth, rows);
}
