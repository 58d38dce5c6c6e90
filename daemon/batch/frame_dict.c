/* SPDX-License-Identifier: Apache-2.0
 * batch/frame_dict.c - the distinct values of a column, for the encoder.
 *
 * An open-addressing table over at most 4096 entries. Values come from the network, so a search
 * ends after FRAME_PROBES slots and the value then simply gets another entry: larger, never
 * slow. */
#include "batch/frame_priv.h"

enum {
	LOOK_ROWS = 256, /* rows after which a dictionary without repetition is given up */
	LOOK_MAX = 200,
	KEY_BITS = 38,
};

static void
dict_clear(struct dict *d)
{
	d->n = 0;
	memset(d->slot, 0, sizeof(d->slot));
}

static inline uint32_t
dict_hash(uint64_t key)
{
	return (uint32_t)((key ^ key >> 29) * FRAME_MUL >> (64 - FRAME_HASH_BITS));
}

static inline uint32_t
next_slot(uint32_t h)
{
	return (h + 1) & ((1u << FRAME_HASH_BITS) - 1);
}

static inline void
dict_enter(struct dict *d, uint32_t h, uint32_t row, uint64_t key, uint64_t low)
{
	uint32_t e = d->n++;
	d->slot[h] = (uint16_t)(e + 1);
	d->key[e] = key;
	d->low[e] = low;
	d->count[e] = 1;
	d->row[row] = e;
}

static inline bool
hopeless(const struct dict *d, uint32_t row, uint32_t n, uint32_t limit)
{
	return d->n > limit || (row == LOOK_ROWS && limit < n && d->n > LOOK_MAX);
}

bool
frame_dict_numbers(struct frame_work *w, const uint64_t *v, uint32_t n, uint32_t limit)
{
	struct dict *d = &w->dict;
	dict_clear(d);
	for (uint32_t i = 0; i < n; i++) {
		uint32_t h = dict_hash(v[i]), probes = 0;
		while (d->slot[h] != 0 && d->key[d->slot[h] - 1] != v[i] && ++probes < FRAME_PROBES)
			h = next_slot(h);
		if (d->slot[h] != 0 && probes < FRAME_PROBES) {
			uint32_t e = d->slot[h] - 1u;
			d->count[e]++;
			d->row[i] = e;
			continue;
		}
		dict_enter(d, h, i, v[i], 0);
		if (hopeless(d, i, n, limit))
			return false;
	}
	return true;
}

bool
frame_dict_addrs(struct frame_work *w, const uint64_t *hi, const uint64_t *lo, uint32_t n,
    uint32_t limit)
{
	struct dict *d = &w->dict;
	dict_clear(d);
	for (uint32_t i = 0; i < n; i++) {
		uint32_t h = dict_hash(hi[i] * FRAME_MUL ^ lo[i]), probes = 0, e;
		while ((e = d->slot[h]) != 0 && (d->key[e - 1] != hi[i] || d->low[e - 1] != lo[i]) &&
		    ++probes < FRAME_PROBES)
			h = next_slot(h);
		if (e != 0 && probes < FRAME_PROBES) {
			d->count[e - 1]++;
			d->row[i] = e - 1;
			continue;
		}
		dict_enter(d, h, i, hi[i], lo[i]);
		if (hopeless(d, i, n, limit))
			return false;
	}
	return true;
}

static inline struct text
cell_text(uint64_t cell)
{
	struct text t;
	memcpy(&t, &cell, sizeof(t));
	return t;
}

static bool
same_text(const struct batch *b, uint64_t x, uint64_t y)
{
	struct text s = cell_text(x), t = cell_text(y);
	return x == y || (s.len == t.len && s.cut == t.cut &&
	    (s.len == 0 || memcmp(b->text + s.off, b->text + t.off, s.len) == 0));
}

/* Few bytes (applications, methods) by two overlapping loads, names by the keyed hash. */
static uint64_t
text_hash(const struct frame_work *w, const struct batch *b, struct text t)
{
	const char *p = b->text + t.off;
	uint64_t x = 0, y = 0;
	if (t.len > 16)
		return hash_bytes(w->key, p, t.len);
	if (t.len >= 8) {
		memcpy(&x, p, 8);
		memcpy(&y, p + t.len - 8, 8);
	} else {
		for (uint32_t i = 0; i < t.len; i++)
			x = x << 8 | (uint8_t)p[i];
	}
	return (x * FRAME_MUL ^ y ^ w->key.k0) * FRAME_MUL + t.len;
}

bool
frame_dict_texts(struct frame_work *w, const struct batch *b, const uint64_t *cell, uint32_t n,
    uint32_t limit)
{
	struct dict *d = &w->dict;
	dict_clear(d);
	for (uint32_t i = 0; i < n; i++) {
		uint32_t h = dict_hash(text_hash(w, b, cell_text(cell[i]))), probes = 0, e;
		while ((e = d->slot[h]) != 0 && !same_text(b, d->key[e - 1], cell[i]) &&
		    ++probes < FRAME_PROBES)
			h = next_slot(h);
		if (e != 0 && probes < FRAME_PROBES) {
			d->count[e - 1]++;
			d->row[i] = e - 1;
			continue;
		}
		dict_enter(d, h, i, cell[i], 0);
		if (hopeless(d, i, n, limit))
			return false;
	}
	return true;
}

/* Order entries by 38-bit keys: five passes of eight bits, those that change nothing left out. */
static void
sort_keys(const uint64_t *key, uint32_t n, uint16_t *order, uint16_t *spare)
{
	uint16_t *from = order, *to = spare;
	for (uint32_t i = 0; i < n; i++)
		from[i] = (uint16_t)i;
	for (uint32_t shift = 0; shift < KEY_BITS; shift += 8) {
		uint32_t at[256] = {0}, sum = 0;
		for (uint32_t i = 0; i < n; i++)
			at[key[i] >> shift & 255]++;
		if (at[key[0] >> shift & 255] == n)
			continue;
		for (uint32_t i = 0; i < 256; i++) {
			uint32_t c = at[i];
			at[i] = sum;
			sum += c;
		}
		for (uint32_t i = 0; i < n; i++)
			to[at[key[from[i]] >> shift & 255]++] = from[i];
		uint16_t *t = from;
		from = to;
		to = t;
	}
	if (from != order)
		memcpy(order, from, n * sizeof(*order));
}

/* Within equally frequent entries by family and low bits, so that they form rising runs. */
static uint64_t
rank_key(const struct dict *d, uint32_t e)
{
	uint64_t rare = (uint64_t)__builtin_clz(d->count[e]) - 19;
	if (d->low[e] == 0)
		return rare << 33 | (d->key[e] & UINT32_MAX);
	return rare << 33 | (uint64_t)(d->key[e] != 0) << 32 | (d->low[e] & UINT32_MAX);
}

void
frame_dict_rank(struct frame_work *w, uint32_t rows)
{
	struct dict *d = &w->dict;
	uint16_t order[BATCH_ROWS], place[BATCH_ROWS];
	if (d->n == 0)
		return;
	for (uint32_t i = 0; i < d->n; i++)
		w->sorted[i] = rank_key(d, i);
	sort_keys(w->sorted, d->n, order, place);
	for (uint32_t i = 0; i < d->n; i++) {
		place[order[i]] = (uint16_t)i;
		w->sorted[i] = d->key[order[i]];
	}
	memcpy(d->key, w->sorted, d->n * sizeof(d->key[0]));
	for (uint32_t i = 0; i < d->n; i++)
		w->sorted[i] = d->low[order[i]];
	memcpy(d->low, w->sorted, d->n * sizeof(d->low[0]));
	for (uint32_t i = 0; i < rows; i++)
		d->row[i] = place[d->row[i]];
}

float
frame_dict_bits(const struct frame_work *w, uint32_t n)
{
	float bits = w->xlogx[n];
	for (uint32_t i = 0; i < w->dict.n; i++)
		bits -= w->xlogx[w->dict.count[i]];
	return bits;
}
