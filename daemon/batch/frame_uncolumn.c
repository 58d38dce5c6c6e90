/* SPDX-License-Identifier: Apache-2.0
 * batch/frame_uncolumn.c - decoder of columns into a batch. */
#include "batch/frame_priv.h"

/* The widest number a field may hold. */
static uint64_t
field_max(enum field f)
{
	size_t width = field_width(f);
	if (field_info[f].type == FT_MAC)
		return (UINT64_C(1) << 48) - 1;
	return width < 8 ? (UINT64_C(1) << 8 * width) - 1 : UINT64_MAX;
}

static void
store(void *data, size_t width, const uint16_t *pick, const uint64_t *v, uint32_t n)
{
	uint8_t *p8 = data;
	uint16_t *p16 = data;
	uint32_t *p32 = data;
	uint64_t *p64 = data;
	if (pick != NULL) {
		for (uint32_t i = 0; i < n; i++) {
			if (width == 1)
				p8[pick[i]] = (uint8_t)v[i];
			else if (width == 2)
				p16[pick[i]] = (uint16_t)v[i];
			else if (width == 4)
				p32[pick[i]] = (uint32_t)v[i];
			else
				p64[pick[i]] = v[i];
		}
		return;
	}
	for (uint32_t i = 0; width == 1 && i < n; i++)
		p8[i] = (uint8_t)v[i];
	for (uint32_t i = 0; width == 2 && i < n; i++)
		p16[i] = (uint16_t)v[i];
	for (uint32_t i = 0; width == 4 && i < n; i++)
		p32[i] = (uint32_t)v[i];
	if (width == 8)
		memcpy(p64, v, n * sizeof(*v));
}

static int
get_numbers(struct frame_work *w, struct cur *c, uint8_t enc, const struct rows *rows,
    enum field f, void *data, const uint16_t *pick, uint32_t n)
{
	uint64_t max = field_max(f);
	if (!frame_seq_get(w, c, enc, w->val, n, 0, rows))
		return 0;
	if (c->err != 0)
		return -E_FORMAT;
	for (uint32_t i = 0; i < n; i++) {
		if (w->val[i] > max)
			return -E_FORMAT;
	}
	store(data, field_width(f), pick, w->val, n);
	return 1;
}

static void
store_be(uint8_t *p, uint64_t v)
{
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
	v = __builtin_bswap64(v);
#endif
	memcpy(p, &v, sizeof(v));
}

/* @k addresses into w->val (high halves) and w->low. */
static bool
get_addr_list(struct frame_work *w, struct cur *c, uint32_t k, const struct rows *rows)
{
	uint64_t *hi = w->val, *zero = w->sorted, *rest = w->dict.key;
	uint32_t n_zero = 0, iz = 0, ir = 0;
	if (!frame_seq_unnest(w, c, hi, k, 1, rows))
		return false;
	if (c->err != 0)
		return true;
	for (uint32_t i = 0; i < k; i++)
		n_zero += hi[i] == 0;
	if (!frame_seq_unnest(w, c, zero, n_zero, 1, NULL) ||
	    !frame_seq_unnest(w, c, rest, k - n_zero, 1, NULL))
		return false;
	for (uint32_t i = 0; c->err == 0 && i < k; i++)
		w->low[i] = hi[i] == 0 ? zero[iz++] : rest[ir++];
	return true;
}

static int
get_addrs(struct frame_work *w, struct cur *c, uint8_t enc, const struct rows *rows,
    struct addr *to, const uint16_t *pick, uint32_t n)
{
	uint64_t k = n, *index = NULL;
	if (enc != ENC_ADDR && enc != ENC_ADDR_DICT)
		return 0;
	if (enc == ENC_ADDR_DICT && (k = cur_varint(c)) > n)
		return -E_FORMAT;
	if (!get_addr_list(w, c, (uint32_t)k, enc == ENC_ADDR ? rows : NULL))
		return 0;
	if (enc == ENC_ADDR_DICT) {
		index = w->dict.row;
		if (c->err == 0 && !frame_seq_unnest(w, c, index, n, 1, NULL))
			return 0;
	}
	if (c->err != 0)
		return -E_FORMAT;
	for (uint32_t i = 0; i < n; i++) {
		uint64_t e = index != NULL ? index[i] : i;
		if (e >= k)
			return -E_FORMAT;
		uint8_t *p = to[pick != NULL ? pick[i] : i].b;
		/* NOLINTNEXTLINE(clang-analyzer-core.NullDereference): made with the work */
		store_be(p, w->val[e]);
		store_be(p + 8, w->low[e]);
	}
	return 1;
}

/* @k texts into cells, their bytes into the batch's arena. */
static int
get_texts(struct frame_work *w, struct cur *c, struct batch *b, uint32_t k, struct text *cell)
{
	uint64_t *len = w->low;
	if (!frame_seq_unnest(w, c, len, k, 1, NULL))
		return 0;
	if (c->err != 0)
		return -E_FORMAT;
	for (uint32_t i = 0; i < k; i++) {
		uint64_t n = len[i] >> 1;
		if (n > TEXT_MAX)
			return -E_FORMAT;
		const uint8_t *p = cur_take(c, n);
		if (p == NULL)
			return -E_FORMAT;
		cell[i] = (struct text){0, 0, 0};
		if (n > 0) {
			cell[i] = batch_text_add(b, (struct strv){(const char *)p, n});
			if (cell[i].len != n)
				return -E_NOMEM;
		}
		cell[i].cut = (uint16_t)(len[i] & 1);
	}
	return 1;
}

static int
get_text_column(struct frame_work *w, struct cur *c, uint8_t enc, const struct rows *rows,
    struct batch *b, struct text *to, const uint16_t *pick, uint32_t n)
{
	struct text *cell = w->cell;
	uint64_t k = n, *index = NULL;
	if (enc != ENC_TEXT && enc != ENC_TEXT_DICT)
		return 0;
	if (enc == ENC_TEXT_DICT && (k = cur_varint(c)) > n)
		return -E_FORMAT;
	int r = get_texts(w, c, b, (uint32_t)k, cell);
	if (r != 1)
		return r;
	if (enc == ENC_TEXT_DICT) {
		index = w->val;
		if (!frame_seq_unnest(w, c, index, n, 1, rows))
			return 0;
	}
	if (c->err != 0)
		return -E_FORMAT;
	for (uint32_t i = 0; i < n; i++) {
		uint64_t e = index != NULL ? index[i] : i;
		if (e >= k)
			return -E_FORMAT;
		/* NOLINTNEXTLINE(clang-analyzer-core.NullDereference): made with the work */
		to[pick != NULL ? pick[i] : i] = cell[e];
	}
	return 1;
}

/* Read the bitmap; rows with a value into @pick. -E_FORMAT when a bit beyond the rows is set. */
static int
get_presence(struct cur *c, uint32_t rows, uint64_t present[BATCH_WORDS], uint16_t *pick)
{
	uint32_t n = 0;
	const uint8_t *p = cur_take(c, (rows + 7) / 8);
	if (p == NULL || (rows % 8 != 0 && p[rows / 8] >> rows % 8 != 0))
		return -E_FORMAT;
	for (uint32_t i = 0; i < (rows + 7) / 8; i++)
		present[i / 8] |= (uint64_t)p[i] << 8 * (i % 8);
	for (uint32_t i = 0; i < rows; i++) {
		pick[n] = (uint16_t)i;
		n += p[i / 8] >> i % 8 & 1;
	}
	return (int)n;
}

int
frame_column_get(struct frame_work *w, struct cur *c, uint8_t enc, uint8_t flags,
    enum field f, struct batch *b, struct field_set known)
{
	struct rows rows = {b, b->n, known};
	uint64_t present[BATCH_WORDS] = {0};
	uint16_t pick[BATCH_ROWS + 1], *picked = NULL;
	uint32_t n = b->n;
	bool sparse = (flags & FRAME_SPARSE) != 0;
	if ((flags & ~FRAME_SPARSE) != 0)
		return 0;
	if (sparse) {
		int r = get_presence(c, n, present, pick);
		if (r < 0)
			return r;
		n = (uint32_t)r;
		picked = pick;
		rows.n = 0;
	}
	void *data = w->spare;
	int r;
	if (field_info[f].type == FT_ADDR)
		r = get_addrs(w, c, enc, &rows, data, picked, n);
	else if (field_info[f].type == FT_TEXT)
		r = get_text_column(w, c, enc, &rows, b, data, picked, n);
	else
		r = get_numbers(w, c, enc, &rows, f, data, picked, n);
	if (r != 1)
		return r;
	if (cur_left(c) != 0)
		return -E_FORMAT;
	void *to = batch_column(b, f, !sparse);
	if (to == NULL)
		return -E_NOMEM;
	memcpy(to, data, b->n * field_width(f));
	if (sparse)
		memcpy(b->col[f].present, present, sizeof(present));
	return 1;
}
