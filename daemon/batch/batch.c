/* SPDX-License-Identifier: Apache-2.0
 * batch/batch.c - making, filling, sharing and gathering batches. */
#include "batch/batch.h"

#include <stdlib.h>

#include "base/err.h"

struct batch_pool {
	struct freelist home;    /* came home from other threads */
	struct batch *free;      /* the owner's own list */
	uint32_t made, max;
	_Atomic uint32_t holders;/* the owner, and every batch that is out */
	_Atomic bool closed;
};

struct batch_pool *
batch_pool_new(uint32_t max_batches)
{
	struct batch_pool *p = calloc(1, sizeof(*p));
	if (p == NULL)
		return NULL;
	p->max = max_batches;
	atomic_init(&p->holders, 1);
	return p;
}

static void
batch_destroy(struct batch *b)
{
	for (int f = 0; f < F_COUNT; f++)
		free(b->col[f].data);
	free(b->text);
	free(b);
}

static void
pool_take_home(struct batch_pool *p)
{
	struct freelink *l = freelist_take(&p->home);
	while (l != NULL) {
		struct batch *b = (struct batch *)l;
		l = l->next;
		b->link.next = (struct freelink *)p->free;
		p->free = b;
	}
}

static void
pool_drop(struct batch_pool *p)
{
	if (atomic_fetch_sub_explicit(&p->holders, 1, memory_order_acq_rel) != 1)
		return;
	pool_take_home(p);
	while (p->free != NULL) {
		struct batch *b = p->free;
		p->free = (struct batch *)b->link.next;
		batch_destroy(b);
	}
	free(p);
}

void
batch_pool_free(struct batch_pool **p)
{
	if (*p == NULL)
		return;
	struct batch_pool *pool = *p;
	*p = NULL;
	pool_drop(pool);
}

uint32_t
batch_pool_out(const struct batch_pool *p)
{
	return atomic_load_explicit(&p->holders, memory_order_acquire) - 1;
}

struct batch *
batch_pool_get(struct batch_pool *p)
{
	if (p->free == NULL)
		pool_take_home(p);
	struct batch *b = p->free;
	if (b != NULL) {
		p->free = (struct batch *)b->link.next;
	} else {
		if (p->made >= p->max)
			return NULL;
		b = calloc(1, sizeof(*b));
		if (b == NULL)
			return NULL;
		b->pool = p;
		p->made++;
	}
	b->link.next = NULL;
	b->n = 0;
	b->source = 0;
	b->text_len = 0;
	b->min_start = b->max_end = 0;
	b->sealed_us = 0;
	for (int f = 0; f < F_COUNT; f++)
		b->col[f].used = false;
	b->used = (struct field_set){{0, 0}};
	atomic_store_explicit(&b->refs, 1, memory_order_relaxed);
	atomic_fetch_add_explicit(&p->holders, 1, memory_order_relaxed);
	return b;
}

struct batch *
batch_mark_new(struct batch_mark *m)
{
	struct batch *b = calloc(1, sizeof(*b));
	if (b == NULL)
		return NULL;
	b->mark = m;
	atomic_init(&b->refs, 1);
	return b;
}

bool
batch_pool_is_low(const struct batch_pool *p)
{
	return batch_pool_out(p) >= p->max / 2;
}

void
batch_ref(struct batch *b)
{
	uint32_t was = atomic_fetch_add_explicit(&b->refs, 1, memory_order_relaxed);
	assert_hot(was > 0);
	(void)was;
}

void
batch_unref(struct batch **bp)
{
	struct batch *b = *bp;
	*bp = NULL;
	if (b == NULL || atomic_fetch_sub_explicit(&b->refs, 1, memory_order_acq_rel) != 1)
		return;
	struct batch_pool *p = b->pool;
	if (b->mark != NULL) {
		b->mark->done(b->mark);
		free(b);
		return;
	}
	freelist_push(&p->home, &b->link);
	pool_drop(p);
}

void *
batch_column(struct batch *b, enum field f, bool dense)
{
	struct column *c = &b->col[f];
	if (c->used)
		return c->data;
	if (c->data == NULL) {
		size_t size = field_width(f) * BATCH_ROWS;
		c->data = aligned_alloc(64, (size + 63) / 64 * 64);
		if (c->data == NULL)
			return NULL;
		memset(c->data, 0, size);
	}
	if (!dense)
		memset(c->present, 0, sizeof(c->present));
	c->dense = dense;
	c->used = true;
	field_set_add(&b->used, f);
	return c->data;
}

uint64_t
batch_memory(uint32_t text_max)
{
	uint64_t sum = sizeof(struct batch) + text_max;
	for (int f = 0; f < F_COUNT; f++)
		if ((field_info[f].flags & FF_DERIVED) == 0)
			sum += field_width((enum field)f) * BATCH_ROWS;
	return sum;
}

static struct column *
column_for(struct batch *b, enum field f, uint32_t row)
{
	if (batch_column(b, f, false) == NULL)
		return NULL;
	struct column *c = &b->col[f];
	if (!c->dense)
		column_mark(c, row);
	return c;
}

bool
batch_set_u(struct batch *b, enum field f, uint32_t row, uint64_t v)
{
	struct column *c = column_for(b, f, row);
	if (c == NULL)
		return false;
	switch (field_width(f)) {
	case 1:
		((uint8_t *)c->data)[row] = (uint8_t)v;
		break;
	case 2:
		((uint16_t *)c->data)[row] = (uint16_t)v;
		break;
	case 4:
		((uint32_t *)c->data)[row] = (uint32_t)v;
		break;
	default:
		((uint64_t *)c->data)[row] = v;
		break;
	}
	return true;
}

bool
batch_set_time(struct batch *b, enum field f, uint32_t row, int64_t us)
{
	return batch_set_u(b, f, row, (uint64_t)us);
}

bool
batch_set_addr(struct batch *b, enum field f, uint32_t row, const struct addr *a)
{
	struct column *c = column_for(b, f, row);
	if (c == NULL)
		return false;
	((struct addr *)c->data)[row] = *a;
	return true;
}

struct text
batch_text_add(struct batch *b, struct strv s)
{
	struct text t = {0, 0, 0};
	if (s.n > TEXT_MAX) {
		s.n = TEXT_MAX;
		t.cut = 1;
	}
	if (b->text_cap - b->text_len < s.n) {
		uint32_t cap = b->text_cap == 0 ? BATCH_TEXT_FIRST : b->text_cap * 2;
		if (cap > BATCH_TEXT_MAX)
			cap = BATCH_TEXT_MAX;
		char *p = cap - b->text_len >= s.n ? realloc(b->text, cap) : NULL;
		if (p == NULL)
			return (struct text){0, 0, 0};
		b->text = p;
		b->text_cap = cap;
	}
	t.off = b->text_len;
	t.len = (uint16_t)s.n;
	if (s.n > 0)
		memcpy(b->text + b->text_len, s.p, s.n);
	b->text_len += (uint32_t)s.n;
	return t;
}

bool
batch_set_text_cell(struct batch *b, enum field f, uint32_t row, struct text t)
{
	struct column *c = column_for(b, f, row);
	if (c == NULL)
		return false;
	((struct text *)c->data)[row] = t;
	return true;
}

bool
batch_set_text(struct batch *b, enum field f, uint32_t row, struct strv s)
{
	struct text t = batch_text_add(b, s);
	if (t.len == 0 && s.n > 0)
		return false;
	return batch_set_text_cell(b, f, row, t);
}

/* How many of rows 0..n-1 have a value; bits from n on are cleared. */
static uint32_t
column_count(struct column *c, uint32_t n)
{
	uint32_t count = 0;
	for (uint32_t w = 0; w < BATCH_WORDS; w++) {
		if (w * 64 >= n)
			c->present[w] = 0;
		else if (n - w * 64 < 64)
			c->present[w] &= (UINT64_C(1) << (n - w * 64)) - 1;
		count += (uint32_t)__builtin_popcountll(c->present[w]);
	}
	return count;
}

static void
seal_times(struct batch *b)
{
	const struct column *start = batch_get(b, F_start), *end = batch_get(b, F_end);
	int64_t lo = INT64_MAX, hi = INT64_MIN;
	for (uint32_t r = 0; start != NULL && r < b->n; r++) {
		int64_t v = ((const int64_t *)start->data)[r];
		if (column_has(start, r) && v < lo)
			lo = v;
	}
	for (uint32_t r = 0; end != NULL && r < b->n; r++) {
		int64_t v = ((const int64_t *)end->data)[r];
		if (column_has(end, r) && v > hi)
			hi = v;
	}
	b->min_start = lo == INT64_MAX ? 0 : lo;
	b->max_end = hi == INT64_MIN ? 0 : hi;
}

void
batch_seal(struct batch *b, uint64_t now_mono_us)
{
	for (int f = 0; f < F_COUNT; f++) {
		struct column *c = &b->col[f];
		if (!c->used)
			continue;
		uint32_t count = c->dense ? b->n : column_count(c, b->n);
		if (count == 0) {
			c->used = false;
			b->used.w[f >> 6] &= ~(UINT64_C(1) << (f & 63));
		} else if (count == b->n) {
			c->dense = true;
		}
	}
	seal_times(b);
	b->sealed_us = now_mono_us;
}

/* Mark rows at..at+n-1. */
static void
mark_range(struct column *c, uint32_t at, uint32_t n)
{
	for (uint32_t end = at + n; at < end;) {
		uint32_t bit = at & 63, take = 64 - bit < end - at ? 64 - bit : end - at;
		uint64_t ones = take == 64 ? ~UINT64_C(0) : (UINT64_C(1) << take) - 1;
		c->present[at >> 6] |= ones << bit;
		at += take;
	}
}

static void
gather_plain(void *to, const void *from, size_t width, const uint16_t *rows, uint32_t n,
    uint32_t at)
{
	if ((uint32_t)(rows[n - 1] - rows[0]) == n - 1) { /* a run: the usual case without a filter */
		memcpy((char *)to + at * width, (const char *)from + rows[0] * width, n * width);
		return;
	}
	switch (width) {
	case 1:
		for (uint32_t i = 0; i < n; i++)
			((uint8_t *)to)[at + i] = ((const uint8_t *)from)[rows[i]];
		break;
	case 2:
		for (uint32_t i = 0; i < n; i++)
			((uint16_t *)to)[at + i] = ((const uint16_t *)from)[rows[i]];
		break;
	case 4:
		for (uint32_t i = 0; i < n; i++)
			((uint32_t *)to)[at + i] = ((const uint32_t *)from)[rows[i]];
		break;
	case 8:
		for (uint32_t i = 0; i < n; i++)
			((uint64_t *)to)[at + i] = ((const uint64_t *)from)[rows[i]];
		break;
	default:
		for (uint32_t i = 0; i < n; i++)
			((struct addr *)to)[at + i] = ((const struct addr *)from)[rows[i]];
		break;
	}
}

enum { TEXT_MEMO = 64 };

/* Text cells move to the other arena; cells that share bytes (names) still share them there. */
static int
gather_text(struct batch *dst, const struct batch *src, const struct column *c,
    const uint16_t *rows, uint32_t n, uint32_t at, struct text *to)
{
	struct text from_memo[TEXT_MEMO], to_memo[TEXT_MEMO];
	memset(from_memo, 0xff, sizeof(from_memo));
	for (uint32_t i = 0; i < n; i++) {
		to[at + i] = (struct text){0, 0, 0};
		if (!column_has(c, rows[i]))
			continue;
		struct text t = ((const struct text *)c->data)[rows[i]];
		unsigned slot = (t.off * 2654435761u) >> 26;
		if (from_memo[slot].off == t.off && from_memo[slot].len == t.len &&
		    from_memo[slot].cut == t.cut) {
			to[at + i] = to_memo[slot];
			continue;
		}
		struct text moved = batch_text_add(dst, batch_text(src, t));
		if (moved.len != t.len)
			return -E_NOMEM;
		moved.cut = t.cut;
		from_memo[slot] = t;
		to_memo[slot] = moved;
		to[at + i] = moved;
	}
	return 0;
}

/* A destination column that was absent or dense so far must say which rows it has. */
static int
gather_column(struct batch *dst, const struct batch *src, enum field f, const uint16_t *rows,
    uint32_t n, uint32_t at)
{
	const struct column *c = batch_get(src, f);
	bool was = dst->col[f].used;
	void *to = batch_column(dst, f, false);
	if (to == NULL)
		return -E_NOMEM;
	struct column *d = &dst->col[f];
	if (was && d->dense) {
		memset(d->present, 0, sizeof(d->present));
		mark_range(d, 0, at);
		d->dense = false;
	}
	if (field_info[f].type == FT_TEXT) {
		int rc = gather_text(dst, src, c, rows, n, at, to);
		if (rc != 0)
			return rc;
	} else {
		gather_plain(to, c->data, field_width(f), rows, n, at);
	}
	if (c->dense)
		mark_range(d, at, n);
	for (uint32_t i = 0; i < n && !c->dense; i++)
		if (column_has(c, rows[i]))
			column_mark(d, at + i);
	return 0;
}

/* Bytes of text the rows would bring along at most, so that the arena is never overrun half-way. */
static uint32_t
rows_that_fit(const struct batch *dst, const struct batch *src, struct field_set fields,
    const uint16_t *rows, uint32_t n)
{
	uint32_t room = dst->text_len < BATCH_TEXT_SEAL ? BATCH_TEXT_SEAL - dst->text_len : 0;
	if (src->text_len <= room)
		return n;
	uint32_t sum = 0, i = 0;
	for (; i < n; i++) {
		for (int f = 0; f < F_COUNT; f++) {
			const struct column *c = &src->col[f];
			if (c->used && field_info[f].type == FT_TEXT &&
			    field_set_has(&fields, (enum field)f) && column_has(c, rows[i]))
				sum += ((const struct text *)c->data)[rows[i]].len;
		}
		if (sum > room && (i > 0 || dst->n > 0))
			break;
	}
	return i;
}

int
batch_gather(struct batch *dst, const struct batch *src, const uint64_t mask[BATCH_WORDS],
    struct field_set want, uint32_t *from)
{
	uint16_t rows[BATCH_ROWS];
	uint32_t n = 0, room = BATCH_ROWS - dst->n, row = *from;
	while (row < src->n && n < room) {
		uint64_t w = mask[row >> 6] >> (row & 63);
		if (w == 0) {
			row = (row | 63) + 1;
			continue;
		}
		row += (uint32_t)__builtin_ctzll(w);
		if (row >= src->n)
			break;
		rows[n++] = (uint16_t)row++;
	}
	if (row > src->n)
		row = src->n;
	uint32_t fit = rows_that_fit(dst, src, want, rows, n);
	if (fit < n) {
		row = rows[fit];
		n = fit;
	}
	if (n == 0) {
		*from = row;
		return 0;
	}
	for (int f = 0; f < F_COUNT; f++) {
		if (!src->col[f].used || !field_set_has(&want, (enum field)f))
			continue;
		int rc = gather_column(dst, src, (enum field)f, rows, n, dst->n);
		if (rc != 0)
			return rc;
	}
	/* columns only the earlier rows have: the new rows are absent in them */
	for (int f = 0; f < F_COUNT; f++) {
		struct column *d = &dst->col[f];
		if (d->used && d->dense && !src->col[f].used) {
			memset(d->present, 0, sizeof(d->present));
			mark_range(d, 0, dst->n);
			d->dense = false;
		}
	}
	dst->n += n;
	*from = row;
	return (int)n;
}
