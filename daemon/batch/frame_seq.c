/* SPDX-License-Identifier: Apache-2.0
 * batch/frame_seq.c - encoder of sequences of numbers.
 *
 * The look at the data is cheap: minimum and maximum of all numbers, the entropy of magnitudes,
 * differences and bytes of at most 256 of them (four runs, so that neighbours are seen). Only
 * dictionaries and caches are tried in full, and given up early. Costs are counted in bits. */
#include "batch/frame_priv.h"

enum {
	SAMPLE = 256,
	RUN = 64,
	SHORT = 16,       /* sequences this short are written plain */
	CLASSES = 256,
	CACHE_TRIAL = 512,
	CACHE_MAX_MISS = 360, /* misses in the trial that end it */
};

#define NEVER 1e30f

/* What the look found: costs in bits for the whole sequence. */
struct look {
	uint64_t min, max;
	uint32_t width;   /* bits of max - min */
	uint32_t n_plane; /* bytes in which min and max differ, from the lowest */
	float magnitude, delta, packed, planes;
	float plane[8];   /* bits per number */
};

static uint32_t
bit_width(uint64_t v)
{
	return v == 0 ? 0 : 64 - (uint32_t)__builtin_clzll(v);
}

/* Bits of the symbols counted in @hist, with the usual correction for a small sample. Four sums, so
 * that an addition does not wait for the one before. */
static float
entropy(const struct frame_work *w, const uint16_t *hist, uint32_t size, uint32_t n,
    uint32_t *seen_out)
{
	float sum[4] = {0, 0, 0, 0};
	uint32_t seen = 0, i = 0;
	for (; i + 4 <= size; i += 4) {
		for (uint32_t k = 0; k < 4; k++) {
			sum[k] += w->xlogx[hist[i + k]];
			seen += hist[i + k] != 0;
		}
	}
	for (; i < size; i++) {
		sum[0] += w->xlogx[hist[i]];
		seen += hist[i] != 0;
	}
	*seen_out = seen;
	return w->xlogx[n] - (sum[0] + sum[1] + sum[2] + sum[3]) +
	    (seen > 1 ? 0.72f * (float)(seen - 1) : 0);
}

/* Two histograms: the same class twice in a row does not wait for its counter. */
static float
magnitude_bits(const struct frame_work *w, const uint64_t *v, uint32_t n, uint32_t total)
{
	uint16_t hist[2][CLASSES] = {{0}};
	uint32_t extra = 0, top = 0, seen, bits;
	for (uint32_t i = 0; i < n; i++) {
		uint32_t c = magnitude_class(v[i], &bits);
		hist[i & 1][c]++;
		extra += bits;
		top = c > top ? c : top;
	}
	for (uint32_t i = 0; i <= top; i++)
		hist[0][i] = (uint16_t)(hist[0][i] + hist[1][i]);
	float all = entropy(w, hist[0], top + 1, n, &seen);
	return (all + (float)extra) * (float)total / (float)n + 4 * (float)seen + 24;
}

/* Up to SAMPLE numbers in runs; @diff gets differences within the runs, rising ones as they are. */
static uint32_t
take_sample(const uint64_t *v, uint32_t n, uint64_t *some, uint64_t *diff, uint32_t *n_diff)
{
	uint32_t k = 0, d = 0, runs = n > SAMPLE ? SAMPLE / RUN : 1, run = n > SAMPLE ? RUN : n;
	uint64_t falls = 0;
	for (uint32_t r = 0; r < runs; r++) {
		const uint64_t *p = v + (size_t)r * (n / runs);
		for (uint32_t i = 0; i < run; i++) {
			some[k++] = p[i];
			if (i > 0) {
				diff[d] = p[i] - p[i - 1];
				falls |= diff[d++];
			}
		}
	}
	if (falls >> 63 != 0) {
		for (uint32_t i = 0; i < d; i++)
			diff[i] = zigzag(diff[i]);
	}
	*n_diff = d;
	return k;
}

float
frame_seq_guess(const struct frame_work *w, const uint64_t *v, uint32_t n)
{
	uint64_t some[SAMPLE], diff[SAMPLE];
	uint32_t n_diff, k = take_sample(v, n, some, diff, &n_diff);
	if (k < 2)
		return 64;
	float a = magnitude_bits(w, some, k, n), b = magnitude_bits(w, diff, n_diff, n);
	return a < b ? a : b;
}

/* Two at a time, so that the comparisons of one do not wait for those of the other. */
static void
range_of(const uint64_t *v, uint32_t n, uint64_t *min_out, uint64_t *max_out)
{
	uint64_t min = v[0], max = v[0], min2 = v[0], max2 = v[0];
	uint32_t i = n & 1;
	for (; i < n; i += 2) {
		uint64_t x = v[i], y = v[i + 1];
		min = x < min ? x : min;
		max = x > max ? x : max;
		min2 = y < min2 ? y : min2;
		max2 = y > max2 ? y : max2;
	}
	*min_out = min < min2 ? min : min2;
	*max_out = max > max2 ? max : max2;
}

static void
look_at(const struct frame_work *w, const uint64_t *v, uint32_t n, struct look *l)
{
	uint64_t some[SAMPLE], diff[SAMPLE];
	uint32_t n_diff, k, seen;
	range_of(v, n, &l->min, &l->max);
	l->width = bit_width(l->max - l->min);
	l->packed = (float)l->width * (float)n + 72;
	l->n_plane = (bit_width(l->min ^ l->max) + 7) / 8;
	l->magnitude = l->delta = l->planes = NEVER;
	if (n < SHORT || l->width == 0)
		return;
	k = take_sample(v, n, some, diff, &n_diff);
	if (l->n_plane > 1) {
		l->magnitude = magnitude_bits(w, some, k, n);
		l->delta = magnitude_bits(w, diff, n_diff, n);
		if (l->width <= 16) /* two bytes: magnitudes part them as well */
			return;
	}
	l->planes = 96;
	float least = l->magnitude < l->delta ? l->magnitude : l->delta;
	for (uint32_t p = 0; p < l->n_plane && l->planes < least; p++) {
		uint16_t hist[2][256] = {{0}};
		for (uint32_t i = 0; i < k; i++)
			hist[i & 1][some[i] >> 8 * p & 255]++;
		for (uint32_t i = 0; i < 256; i++)
			hist[0][i] = (uint16_t)(hist[0][i] + hist[1][i]);
		l->plane[p] = entropy(w, hist[0], 256, k, &seen) / (float)k;
		l->plane[p] = l->plane[p] > 8 ? 8 : l->plane[p];
		l->planes += l->plane[p] * (float)n + 64;
	}
	if (l->planes >= least)
		l->planes = NEVER;
}

static void
put_packed_bits(uint8_t *to, const uint64_t *v, uint32_t n, uint64_t min, uint32_t width)
{
	uint64_t acc = 0;
	uint32_t have = 0;
	for (uint32_t i = 0; i < n; i++) {
		uint64_t x = v[i] - min;
		acc |= x << have;
		if (have + width >= 64) {
			frame_store64(to, acc);
			to += 8;
			acc = have > 0 ? x >> (64 - have) : 0;
			have = have + width - 64;
		} else {
			have += width;
		}
	}
	for (; have > 0; have -= have < 8 ? have : 8, acc >>= 8)
		*to++ = (uint8_t)acc;
}

static void
put_packed(struct frame_work *w, const uint64_t *v, uint32_t n, uint64_t min, uint32_t width)
{
	size_t bytes = ((size_t)n * width + 7) / 8;
	buf_u64_le(&w->body, min);
	buf_u8(&w->body, (uint8_t)width);
	uint8_t *to = buf_room(&w->body, bytes);
	if (to == NULL)
		return;
	frame_piece(w, PIECE_NOISE);
	put_packed_bits(to, v, n, min, width);
	w->body.n += bytes;
	frame_piece(w, PIECE_SYMBOLS);
}

static void
put_planes(struct frame_work *w, const uint64_t *v, uint32_t n, uint64_t base, uint32_t planes,
    const float *bits)
{
	buf_u64_le(&w->body, base);
	buf_u8(&w->body, (uint8_t)planes);
	for (uint32_t p = planes; p-- > 0;) {
		uint8_t *to = buf_room(&w->body, n);
		if (to == NULL)
			return;
		frame_piece(w, bits != NULL && bits[p] > 7.3f ? PIECE_NOISE : PIECE_SYMBOLS);
		for (uint32_t i = 0; i < n; i++)
			to[i] = (uint8_t)(v[i] >> 8 * p);
		w->body.n += n;
	}
	frame_piece(w, PIECE_SYMBOLS);
}

static void
put_plain(struct frame_work *w, const uint64_t *v, uint32_t n, uint64_t max)
{
	uint32_t width = (bit_width(max | 1) + 7) / 8;
	buf_u8(&w->body, (uint8_t)width);
	for (uint32_t i = 0; i < n; i++) {
		for (uint32_t k = 0; k < width; k++)
			buf_u8(&w->body, (uint8_t)(v[i] >> 8 * k));
	}
}

static void
put_magnitude(struct frame_work *w, const uint64_t *v, uint32_t n)
{
	/* at most a class and 61 bits each, and a last whole word */
	uint8_t *class = buf_room(&w->body, (size_t)n * 9 + 8);
	if (class == NULL)
		return;
	frame_piece(w, PIECE_CLASSES);
	uint8_t *to = class + n;
	uint64_t acc = 0;
	uint32_t have = 0;
	for (uint32_t i = 0; i < n; i++) {
		uint32_t bits, c = magnitude_class(v[i], &bits);
		uint64_t x = v[i] & ((UINT64_C(1) << bits) - 1);
		class[i] = (uint8_t)c;
		acc |= x << have;
		if (have + bits >= 64) {
			frame_store64(to, acc);
			to += 8;
			acc = have > 0 ? x >> (64 - have) : 0;
			have = have + bits - 64;
		} else {
			have += bits;
		}
	}
	for (; have > 0; have -= have < 8 ? have : 8, acc >>= 8)
		*to++ = (uint8_t)acc;
	w->body.n += n;
	frame_piece(w, PIECE_NOISE);
	w->body.n = (size_t)(to - w->body.p);
	frame_piece(w, PIECE_SYMBOLS);
}

/* Replace numbers by differences to @before (or the previous one); returns the mode written. */
static uint8_t
put_mode(struct frame_work *w, uint64_t *d, uint32_t n, bool may_fall)
{
	uint64_t any = 0, all = UINT64_MAX;
	for (uint32_t i = 0; i < n; i++) {
		any |= d[i];
		all &= d[i] - 1; /* the top bit stays only when every one is zero or negative */
	}
	uint8_t mode = any >> 63 == 0 ? 1 : may_fall && all >> 63 != 0 ? 2 : 0;
	for (uint32_t i = 0; mode == 0 && i < n; i++)
		d[i] = zigzag(d[i]);
	for (uint32_t i = 0; mode == 2 && i < n; i++)
		d[i] = 0 - d[i];
	buf_u8(&w->body, mode);
	return mode;
}

static void
put_delta(struct frame_work *w, uint64_t *v, uint32_t n)
{
	buf_u64_le(&w->body, v[0]);
	for (uint32_t i = n - 1; i > 0; i--)
		v[i] -= v[i - 1];
	put_mode(w, v + 1, n - 1, false);
	buf_u8(&w->body, ENC_MAGNITUDE);
	put_magnitude(w, v + 1, n - 1);
}

void
frame_seq_ref(struct frame_work *w, uint64_t *v, uint32_t n, enum field ref,
    const uint64_t *ref_val)
{
	buf_u16_le(&w->body, field_info[ref].number);
	for (uint32_t i = 0; i < n; i++)
		v[i] -= ref_val[i];
	put_mode(w, v, n, true);
	frame_seq_nest(w, v, n, 1, NULL, NULL);
}

/* Try a cache: symbols into w->symbol, misses into w->tmp[0]. Returns the cost, or NEVER. */
static float
try_cache(struct frame_work *w, const uint64_t *v, const struct rows *rows,
    const struct refs *refs, unsigned bits, uint32_t *misses)
{
	uint16_t hist[FRAME_CACHE_WAYS + 1] = {0};
	uint32_t n_miss = 0;
	frame_contexts(w, rows, refs, bits);
	memset(w->cache, 0, sizeof(w->cache[0]) << bits);
	for (uint32_t i = 0; i < rows->n; i++) {
		uint32_t *s = w->cache[w->context[i]], x = (uint32_t)v[i], k;
		w->symbol[i] = 0;
		if (s[0] == x)
			continue;
		uint32_t s1 = s[1], s2 = s[2], s3 = s[3];
		k = s1 == x ? 1 : s2 == x ? 2 : s3 == x ? 3 : 4;
		s[1] = s[0];
		s[2] = k > 1 ? s1 : s2;
		s[3] = k > 2 ? s2 : s3;
		s[0] = x;
		w->tmp[0][n_miss] = v[i];
		n_miss += k == FRAME_CACHE_WAYS;
		w->symbol[i] = (uint8_t)k;
		hist[k]++;
		if (i == CACHE_TRIAL && n_miss > CACHE_MAX_MISS)
			return NEVER;
	}
	hist[0] = (uint16_t)(rows->n - hist[1] - hist[2] - hist[3] - hist[4]);
	*misses = n_miss;
	uint32_t seen;
	float cost = entropy(w, hist, FRAME_CACHE_WAYS + 1, rows->n, &seen) + 60;
	if (n_miss > 0)
		cost += frame_seq_guess(w, w->tmp[0], n_miss);
	return cost;
}

static void
put_cache(struct frame_work *w, uint32_t n, const struct refs *refs, unsigned bits,
    uint32_t misses)
{
	buf_u8(&w->body, (uint8_t)bits);
	buf_u8(&w->body, refs->n);
	for (uint32_t i = 0; i < refs->n; i++)
		buf_u16_le(&w->body, field_info[refs->field[i]].number);
	frame_piece(w, PIECE_SYMBOLS);
	buf_put(&w->body, w->symbol, n);
	frame_piece(w, PIECE_SYMBOLS);
	frame_seq_nest(w, w->tmp[0], misses, 2, NULL, NULL);
}

void
frame_seq_index(struct frame_work *w, const uint64_t *v, uint32_t n, uint32_t top)
{
	if (top <= 1) {
		buf_u8(&w->body, ENC_CONSTANT);
		buf_u64_le(&w->body, 0);
		return;
	}
	if (top <= 256) {
		buf_u8(&w->body, ENC_PLANES);
		put_planes(w, v, n, 0, 1, NULL);
		return;
	}
	uint64_t some[SAMPLE], diff[SAMPLE];
	uint32_t n_diff, k = take_sample(v, n, some, diff, &n_diff), width = bit_width(top - 1);
	if (magnitude_bits(w, some, k, n) < (float)(width * n)) {
		buf_u8(&w->body, ENC_MAGNITUDE);
		put_magnitude(w, v, n);
	} else {
		buf_u8(&w->body, ENC_PACKED);
		put_packed(w, v, n, 0, width);
	}
}

/* The cost of a dictionary when it is below @best; w->dict then has it. */
static float
try_dict(struct frame_work *w, const uint64_t *v, uint32_t n, const struct look *l, float best)
{
	uint32_t limit = n / 2 < 1024 ? n / 2 : 1024;
	if (!frame_dict_numbers(w, v, n, limit))
		return NEVER;
	float entry = l->width < 16 ? (float)l->width : 16;
	float cost = frame_dict_bits(w, n) + (entry + 4) * (float)w->dict.n + 100;
	return cost < best ? cost : NEVER;
}

static void
put_dict(struct frame_work *w, uint32_t n)
{
	struct dict *d = &w->dict;
	if (d->n > 256)
		frame_dict_rank(w, n);
	buf_varint(&w->body, d->n);
	memcpy(w->tmp[1], d->key, d->n * sizeof(d->key[0]));
	frame_seq_nest(w, w->tmp[1], d->n, FRAME_DEPTH, NULL, NULL);
	frame_seq_index(w, d->row, n, d->n);
}

/* The coding among those that the look alone can judge. */
static enum encoding
best_simple(const struct look *l, uint32_t n, float *cost)
{
	if (l->width == 0) {
		*cost = 64;
		return ENC_CONSTANT;
	}
	if (n < SHORT) {
		*cost = 64 * SHORT;
		return ENC_PLAIN;
	}
	enum encoding e = ENC_PACKED;
	*cost = l->packed;
	if (l->planes < *cost * 0.97f) {
		e = ENC_PLANES;
		*cost = l->planes;
	}
	if (l->magnitude < *cost * 0.99f) {
		e = ENC_MAGNITUDE;
		*cost = l->magnitude;
	}
	if (l->delta < *cost * 0.98f) {
		e = ENC_DELTA;
		*cost = l->delta;
	}
	return e;
}

static void
put_simple(struct frame_work *w, uint64_t *v, uint32_t n, const struct look *l, enum encoding e)
{
	if (e == ENC_CONSTANT)
		buf_u64_le(&w->body, l->min);
	else if (e == ENC_PLAIN)
		put_plain(w, v, n, l->max);
	else if (e == ENC_PACKED)
		put_packed(w, v, n, l->min, l->width);
	else if (e == ENC_MAGNITUDE)
		put_magnitude(w, v, n);
	else if (e == ENC_DELTA)
		put_delta(w, v, n);
	else if (l->n_plane == 8)
		put_planes(w, v, n, 0, 8, l->plane);
	else
		put_planes(w, v, n, l->min & ~((UINT64_C(1) << 8 * l->n_plane) - 1), l->n_plane,
		    l->plane);
}

/* Column headers carry the coding, nested sequences a byte in front: then @nested. */
static uint8_t
seq_put(struct frame_work *w, uint64_t *v, uint32_t n, unsigned depth, const struct rows *rows,
    const struct refs *refs, bool nested)
{
	struct look l;
	float best = 0, cost;
	uint32_t misses = 0;
	enum encoding e = ENC_CONSTANT;
	unsigned bits = n >= 2048 ? 11 : n >= 512 ? 10 : 8;
	if (n == 0) {
		memset(&l, 0, sizeof(l));
	} else {
		look_at(w, v, n, &l);
		e = best_simple(&l, n, &best);
	}
	bool more = n >= SHORT && l.width > 0;
	if (refs != NULL && more && l.max <= UINT32_MAX) {
		if (refs->n == 0)
			bits = 0;
		cost = try_cache(w, v, rows, refs, bits, &misses);
		if (cost < best * 0.97f) {
			e = ENC_CACHE;
			best = cost;
		}
	}
	/* numbers of one byte gain nothing by a dictionary: the compressor's code is one */
	if (more && e != ENC_CACHE && l.n_plane > 1 && depth < FRAME_DEPTH &&
	    best > 0.3f * (float)n + 400 && try_dict(w, v, n, &l, best * 0.97f) < best)
		e = ENC_DICT;
	if (nested)
		buf_u8(&w->body, (uint8_t)e);
	if (e == ENC_CACHE)
		put_cache(w, n, refs, bits, misses);
	else if (e == ENC_DICT)
		put_dict(w, n);
	else
		put_simple(w, v, n, &l, e);
	return (uint8_t)e;
}

uint8_t
frame_seq_put(struct frame_work *w, uint64_t *v, uint32_t n, unsigned depth,
    const struct rows *rows, const struct refs *refs)
{
	return seq_put(w, v, n, depth, rows, refs, false);
}

void
frame_seq_nest(struct frame_work *w, uint64_t *v, uint32_t n, unsigned depth,
    const struct rows *rows, const struct refs *refs)
{
	(void)seq_put(w, v, n, depth, rows, refs, true);
}
