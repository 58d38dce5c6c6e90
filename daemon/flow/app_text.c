/* SPDX-License-Identifier: Apache-2.0
 * flow/app_text.c - the pool of text that flows hold: chains of small blocks.
 *
 * Most flows hold a server name and a few numbers and fit one block of 128 bytes; a long URL or a
 * ClientHello in pieces takes more. The pool is reserved at start, and touched as far as used. */
#include "flow/app_priv.h"

#include <stdlib.h>

struct head {
	uint32_t next; /* 1-based, 0 = last; every block begins with it */
	uint32_t tail; /* last block of the chain */
	uint32_t held_seq;
	uint16_t held_base;
	uint16_t len;  /* bytes in the whole chain */
	uint16_t used; /* bytes in the last block */
	uint8_t data[APP_BLOCK - 18];
};

struct more {
	uint32_t next;
	uint8_t data[APP_BLOCK - 4];
};
_Static_assert(sizeof(struct head) == APP_BLOCK && sizeof(struct more) == APP_BLOCK, "block");
_Static_assert(APP_TEXT_MAX < UINT16_MAX, "head.len is too small");

enum { HEAD_ROOM = APP_BLOCK - 18, MORE_ROOM = APP_BLOCK - 4 };

static struct head *
head_at(const struct app_texts *t, uint32_t i)
{
	return (struct head *)(void *)(t->mem + (size_t)(i - 1) * APP_BLOCK);
}

static struct more *
more_at(const struct app_texts *t, uint32_t i)
{
	return (struct more *)(void *)(t->mem + (size_t)(i - 1) * APP_BLOCK);
}

int
app_texts_init(struct app_texts *t, uint32_t max_chains)
{
	uint64_t n = (uint64_t)max_chains * 2 + APP_TEXT_MAX / MORE_ROOM + 1;
	if (n >= UINT32_MAX)
		return -E_RANGE;
	*t = (struct app_texts){.n_blocks = (uint32_t)n, .max_chains = max_chains};
	t->mem = calloc(n, APP_BLOCK);
	return t->mem != NULL ? 0 : -E_NOMEM;
}

void
app_texts_fini(struct app_texts *t)
{
	free(t->mem);
	*t = (struct app_texts){0};
}

static uint32_t
block_take(struct app_texts *t)
{
	uint32_t i = t->free;
	if (i != 0) {
		t->free = more_at(t, i)->next;
		t->n_free--;
	} else {
		i = ++t->fresh;
	}
	more_at(t, i)->next = 0;
	return i;
}

static bool
has_room(const struct app_texts *t, uint32_t chain, size_t n)
{
	size_t left = HEAD_ROOM, need = 0;

	if (chain == 0) {
		if (t->n_chains == t->max_chains || n > APP_TEXT_MAX)
			return false;
		need = 1;
	} else {
		const struct head *h = head_at(t, chain);
		if (n > (size_t)(APP_TEXT_MAX - h->len))
			return false;
		left = (h->tail == chain ? HEAD_ROOM : MORE_ROOM) - (size_t)h->used;
	}
	if (n > left)
		need += (n - left + MORE_ROOM - 1) / MORE_ROOM;
	return need <= (size_t)t->n_free + (t->n_blocks - t->fresh);
}

bool
app_text_add(struct app_texts *t, uint32_t *chain, const void *p, size_t n)
{
	const uint8_t *from = p;

	if (n == 0 || !has_room(t, *chain, n))
		return n == 0;
	if (*chain == 0) {
		*chain = block_take(t);
		t->n_chains++;
		struct head *h = head_at(t, *chain);
		h->tail = *chain;
		h->held_seq = 0;
		h->held_base = h->len = h->used = 0;
	}
	struct head *h = head_at(t, *chain);
	while (n > 0) {
		bool first = h->tail == *chain;
		size_t room = (size_t)(first ? HEAD_ROOM : MORE_ROOM) - h->used;
		if (room == 0) {
			uint32_t next = block_take(t);
			more_at(t, h->tail)->next = next;
			h->tail = next;
			h->used = 0;
			continue;
		}
		size_t k = n < room ? n : room;
		memcpy((first ? h->data : more_at(t, h->tail)->data) + h->used, from, k);
		h->used = (uint16_t)(h->used + k);
		h->len = (uint16_t)(h->len + k);
		from += k;
		n -= k;
	}
	return true;
}

uint32_t
app_text_len(const struct app_texts *t, uint32_t chain)
{
	return chain != 0 ? head_at(t, chain)->len : 0;
}

struct strv
app_text_view(const struct app_texts *t, uint32_t chain, uint8_t scratch[APP_TEXT_MAX])
{
	if (chain == 0)
		return (struct strv){NULL, 0};
	const struct head *h = head_at(t, chain);
	if (h->tail == chain)
		return (struct strv){(const char *)h->data, h->len};
	memcpy(scratch, h->data, HEAD_ROOM);
	size_t n = HEAD_ROOM;
	for (uint32_t i = h->next; i != 0; i = more_at(t, i)->next) {
		size_t k = i == h->tail ? h->used : (size_t)MORE_ROOM;
		memcpy(scratch + n, more_at(t, i)->data, k);
		n += k;
	}
	return (struct strv){(const char *)scratch, n};
}

static void
blocks_give(struct app_texts *t, uint32_t i)
{
	for (uint32_t next; i != 0; i = next) {
		struct more *b = more_at(t, i);
		next = b->next;
		b->next = t->free;
		t->free = i;
		t->n_free++;
	}
}

void
app_text_drop(struct app_texts *t, uint32_t *chain)
{
	blocks_give(t, *chain);
	if (*chain != 0)
		t->n_chains--;
	*chain = 0;
}

void
app_text_truncate(struct app_texts *t, uint32_t *chain, uint32_t len)
{
	if (len == 0) {
		app_text_drop(t, chain);
		return;
	}
	struct head *h = head_at(t, *chain);
	if (len >= h->len)
		return;
	uint32_t last = *chain, left = len, room = HEAD_ROOM;
	for (; left > room; room = MORE_ROOM) {
		left -= room;
		last = more_at(t, last)->next;
	}
	uint32_t rest = more_at(t, last)->next;
	more_at(t, last)->next = 0;
	h->tail = last;
	h->len = (uint16_t)len;
	h->used = (uint16_t)left;
	blocks_give(t, rest);
}

struct app_held
app_text_held(const struct app_texts *t, uint32_t chain)
{
	const struct head *h = head_at(t, chain);
	return (struct app_held){h->held_seq, h->held_base};
}

void
app_text_set_held(struct app_texts *t, uint32_t chain, struct app_held held)
{
	struct head *h = head_at(t, chain);
	h->held_seq = held.seq;
	h->held_base = held.base;
}
