/* SPDX-License-Identifier: Apache-2.0
 * base/buf.c - a growable byte buffer. */
#include "base/buf.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/err.h"

void
buf_fini(struct buf *b)
{
	free(b->p);
	*b = buf_init(b->max);
}

uint8_t *
buf_room(struct buf *b, size_t n)
{
	if (b->err != 0)
		return NULL;
	if (n <= b->cap - b->n)
		return b->p + b->n;
	size_t need = b->n + n;
	if (need < n || (b->max != 0 && need > b->max)) {
		b->err = -E_LIMIT;
		return NULL;
	}
	size_t cap = b->cap < 128 ? 256 : b->cap + b->cap / 2;
	if (cap < need)
		cap = need;
	if (b->max != 0 && cap > b->max)
		cap = b->max;
	uint8_t *p = realloc(b->p, cap);
	if (p == NULL) {
		b->err = -E_NOMEM;
		return NULL;
	}
	b->p = p;
	b->cap = cap;
	return p + b->n;
}

void
buf_u16_le(struct buf *b, uint16_t v)
{
	uint8_t x[2] = {(uint8_t)v, (uint8_t)(v >> 8)};
	buf_put(b, x, sizeof(x));
}

void
buf_u32_le(struct buf *b, uint32_t v)
{
	uint8_t x[4] = {(uint8_t)v, (uint8_t)(v >> 8), (uint8_t)(v >> 16), (uint8_t)(v >> 24)};
	buf_put(b, x, sizeof(x));
}

void
buf_u64_le(struct buf *b, uint64_t v)
{
	buf_u32_le(b, (uint32_t)v);
	buf_u32_le(b, (uint32_t)(v >> 32));
}

void
buf_varint(struct buf *b, uint64_t v)
{
	uint8_t x[10];
	size_t n = 0;
	while (v >= 0x80) {
		x[n++] = (uint8_t)(v | 0x80);
		v >>= 7;
	}
	x[n++] = (uint8_t)v;
	buf_put(b, x, n);
}

void
buf_text(struct buf *b, struct strv s)
{
	buf_varint(b, s.n);
	buf_strv(b, s);
}

void
buf_str(struct buf *b, const char *s)
{
	buf_put(b, s, strlen(s));
}

void
buf_strv(struct buf *b, struct strv s)
{
	if (s.n > 0)
		buf_put(b, s.p, s.n);
}

void
buf_u64_dec(struct buf *b, uint64_t v)
{
	char x[20];
	size_t i = sizeof(x);
	do {
		x[--i] = (char)('0' + v % 10);
		v /= 10;
	} while (v != 0);
	buf_put(b, x + i, sizeof(x) - i);
}

void
buf_vprintf(struct buf *b, const char *fmt, va_list ap)
{
	va_list again;
	va_copy(again, ap);
	char small[256];
	int n = vsnprintf(small, sizeof(small), fmt, ap);
	if (n >= 0 && (size_t)n < sizeof(small)) {
		buf_put(b, small, (size_t)n);
	} else if (n >= 0) {
		uint8_t *to = buf_room(b, (size_t)n + 1);
		if (to != NULL) {
			vsnprintf((char *)to, (size_t)n + 1, fmt, again);
			b->n += (size_t)n;
		}
	}
	va_end(again);
}

void
buf_printf(struct buf *b, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	buf_vprintf(b, fmt, ap);
	va_end(ap);
}

const char *
buf_cstr(struct buf *b)
{
	uint8_t *to = buf_room(b, 1);
	if (to == NULL) {
		if (b->n == 0 || b->p == NULL)
			return "";
		b->p[b->n - 1] = '\0'; /* latched already: the text is cut */
		return (const char *)b->p;
	}
	*to = '\0';
	return (const char *)b->p;
}
