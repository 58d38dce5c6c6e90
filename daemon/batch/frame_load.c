/* SPDX-License-Identifier: Apache-2.0
 * batch/frame_load.c - numbers out of columns, and what earlier columns say about a row. */
#include "batch/frame_priv.h"

void
frame_load(const struct batch *b, enum field f, uint64_t *to)
{
	const void *data = b->col[f].data;
	const uint8_t *p8 = data;
	const uint16_t *p16 = data;
	const uint32_t *p32 = data;
	switch (field_width(f)) {
	case 1:
		for (uint32_t i = 0; i < b->n; i++)
			to[i] = p8[i];
		break;
	case 2:
		for (uint32_t i = 0; i < b->n; i++)
			to[i] = p16[i];
		break;
	case 4:
		for (uint32_t i = 0; i < b->n; i++)
			to[i] = p32[i];
		break;
	default: /* also the cells of texts */
		memcpy(to, data, b->n * sizeof(*to));
	}
}

void
frame_load_ref(const struct batch *b, enum field f, uint64_t *to)
{
	if (field_info[f].type != FT_ADDR) {
		frame_load(b, f, to);
		return;
	}
	const struct addr *a = b->col[f].data;
	for (uint32_t i = 0; i < b->n; i++) {
		/* addr_is_v4 without a call: ten zero bytes, two of 0xff */
		uint64_t hi = frame_load64(a[i].b), lo = frame_load64(a[i].b + 8);
		to[i] = (hi | ((lo & UINT32_MAX) ^ 0xffff0000u)) == 0 ? 4 : 6;
	}
}

bool
frame_ref_ok(const struct rows *rows, enum field f)
{
	return rows != NULL && rows->n > 0 && f < F_COUNT && field_set_has(&rows->known, f) &&
	    rows->b->col[f].used && rows->b->col[f].dense && field_info[f].type != FT_TEXT;
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
	for (uint32_t k = 0; k < refs->n; k++) {
		enum field f = (enum field)refs->field[k];
		const uint64_t *v = w->aux;
		if (field_width(f) == 8)
			v = rows->b->col[f].data;
		else
			frame_load_ref(rows->b, f, w->aux);
		for (uint32_t i = 0; i < rows->n; i++)
			h[i] = ((k > 0 ? h[i] : 0) ^ v[i]) * FRAME_MUL;
	}
	for (uint32_t i = 0; i < rows->n; i++)
		w->context[i] = (uint32_t)(h[i] >> (64 - bits));
}
