/* SPDX-License-Identifier: Apache-2.0
 * batch/pack.c - a batch as one block of this process's memory, and back.
 *
 * Made for keeping: a copy of the columns, one value where all rows have the same, at a small part
 * of what a frame costs. Not for other processes: the bytes are trusted. */
#include <stdlib.h>

#include "base/err.h"
#include "batch/batch.h"

enum { PACK_PLAIN, PACK_ONE, PACK_SPARSE };

struct pack_head {
	uint32_t n, source, text_len, n_columns;
};

struct pack_column {
	uint32_t field, kind;
};

static size_t
align8(size_t n)
{
	return (n + 7) & ~(size_t)7;
}

static size_t
words(uint32_t n)
{
	return ((size_t)n + 63) / 64 * sizeof(uint64_t);
}

size_t
batch_pack_bound(const struct batch *b)
{
	size_t sum = sizeof(struct pack_head) + align8(b->text_len);
	for (int f = 0; f < F_COUNT; f++)
		if (b->col[f].used)
			sum += sizeof(struct pack_column) + words(b->n) +
			    align8(field_width((enum field)f) * b->n);
	return sum;
}

static uint8_t *
put(uint8_t *p, const void *from, size_t n)
{
	memcpy(p, from, n);
	return p + align8(n);
}

size_t
batch_pack(const struct batch *b, void *out)
{
	struct pack_head h = {b->n, b->source, b->text_len, 0};
	uint8_t *p = (uint8_t *)out + sizeof(h);
	for (int f = 0; f < F_COUNT; f++) {
		const struct column *c = &b->col[f];
		size_t w = field_width((enum field)f);
		if (!c->used || b->n == 0)
			continue;
		const uint8_t *d = c->data;
		bool is_one = c->dense && memcmp(d, d + w, w * (b->n - 1)) == 0;
		struct pack_column k = {(uint32_t)f,
		    is_one ? PACK_ONE : c->dense ? PACK_PLAIN : PACK_SPARSE};
		p = put(p, &k, sizeof(k));
		if (k.kind == PACK_SPARSE)
			p = put(p, c->present, words(b->n));
		p = put(p, d, is_one ? w : w * b->n);
		h.n_columns++;
	}
	if (b->text_len > 0)
		p = put(p, b->text, b->text_len);
	memcpy(out, &h, sizeof(h));
	return (size_t)(p - (uint8_t *)out);
}

static bool
take_text(struct batch *b, const uint8_t *p, uint32_t n)
{
	if (b->text_cap < n) {
		char *text = realloc(b->text, n);
		if (text == NULL)
			return false;
		b->text = text;
		b->text_cap = n;
	}
	if (n > 0)
		memcpy(b->text, p, n);
	b->text_len = n;
	return true;
}

int
batch_unpack(const void *in, struct batch *b, uint64_t now_mono_us)
{
	struct pack_head h;
	const uint8_t *p = (const uint8_t *)in + sizeof(h);
	memcpy(&h, in, sizeof(h));
	for (uint32_t i = 0; i < h.n_columns; i++) {
		struct pack_column k;
		memcpy(&k, p, sizeof(k));
		p += sizeof(k);
		size_t w = field_width((enum field)k.field);
		uint8_t *d = batch_column(b, (enum field)k.field, k.kind != PACK_SPARSE);
		if (d == NULL)
			return -E_NOMEM;
		if (k.kind == PACK_SPARSE) {
			memcpy(b->col[k.field].present, p, words(h.n));
			p += words(h.n);
		}
		for (uint32_t r = 0; k.kind == PACK_ONE && r < h.n; r++)
			memcpy(d + r * w, p, w);
		if (k.kind != PACK_ONE)
			memcpy(d, p, w * h.n);
		p += align8(k.kind == PACK_ONE ? w : w * h.n);
	}
	if (!take_text(b, p, h.text_len))
		return -E_NOMEM;
	b->n = h.n;
	b->source = h.source;
	batch_seal(b, now_mono_us);
	return 0;
}
