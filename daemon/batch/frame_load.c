/* SPDX-License-Identifier: Apache-2.0
 * batch/frame_load.c - numbers out of columns, and what earlier columns say about a row. */
#include "batch/frame_priv.h"

void
frame_load(const struct batch *b, enum field f, uint64_t *to, uint32_t n)
{
	const void *data = b->col[f].data;
	const uint8_t *p8 = data;
	const uint16_t *p16 = data;
	const uint32_t *p32 = data;
	switch (field_width(f)) {
	case 1:
		for (uint32_t i = 0; i < n; i++)
			to[i] = p8[i];
		break;
	case 2:
		for (uint32_t i = 0; i < n; i++)
			to[i] = p16[i];
		break;
	case 4:
		for (uint32_t i = 0; i < n; i++)
			to[i] = p32[i];
		break;
	default: /* also the cells of texts */
		memcpy(to, data, n * sizeof(*to));
	}
}

/* addr_is_v4 without a call: ten zero bytes, two of 0xff */
static inline uint64_t
address_family(const struct addr *a)
{
	uint64_t hi = frame_load64(a->b), lo = frame_load64(a->b + 8);
	return (hi | ((lo & UINT32_MAX) ^ 0xffff0000u)) == 0 ? 4 : 6;
}

void
frame_load_ref(const struct batch *b, enum field f, uint64_t *to)
{
	if (field_info[f].type != FT_ADDR) {
		frame_load(b, f, to, b->n);
		return;
	}
	const struct addr *a = b->col[f].data;
	for (uint32_t i = 0; i < b->n; i++)
		to[i] = address_family(&a[i]);
}

bool
frame_ref_ok(const struct rows *rows, enum field f)
{
	return rows != NULL && rows->n > 0 && f < F_COUNT && field_set_has(&rows->known, f) &&
	    rows->b->col[f].used && rows->b->col[f].dense && field_info[f].type != FT_TEXT;
}

/* One more reference into the hashes of the rows, read in the width it has. */
static void
mix_reference(const struct rows *rows, enum field f, uint64_t *h)
{
	const void *data = rows->b->col[f].data;
	const uint8_t *p8 = data;
	const uint16_t *p16 = data;
	const uint32_t *p32 = data;
	const uint64_t *p64 = data;
	uint32_t n = rows->n;
	switch (field_info[f].type == FT_ADDR ? 16 : field_width(f)) {
	case 1:
		for (uint32_t i = 0; i < n; i++)
			h[i] = (h[i] ^ p8[i]) * FRAME_MUL;
		break;
	case 2:
		for (uint32_t i = 0; i < n; i++)
			h[i] = (h[i] ^ p16[i]) * FRAME_MUL;
		break;
	case 4:
		for (uint32_t i = 0; i < n; i++)
			h[i] = (h[i] ^ p32[i]) * FRAME_MUL;
		break;
	case 8:
		for (uint32_t i = 0; i < n; i++)
			h[i] = (h[i] ^ p64[i]) * FRAME_MUL;
		break;
	default:
		for (uint32_t i = 0; i < n; i++)
			h[i] = (h[i] ^ address_family((const struct addr *)data + i)) * FRAME_MUL;
	}
}

void
frame_contexts(struct frame_work *w, const struct rows *rows, const struct refs *refs,
    unsigned bits)
{
	uint64_t *h = w->sorted;
	if (bits == 0 || refs->n == 0) {
		memset(w->context, 0, rows->n * sizeof(w->context[0]));
		return;
	}
	memset(h, 0, rows->n * sizeof(*h));
	for (uint32_t k = 0; k < refs->n; k++)
		mix_reference(rows, (enum field)refs->field[k], h);
	for (uint32_t i = 0; i < rows->n; i++)
		w->context[i] = (uint32_t)(h[i] >> (64 - bits));
}
