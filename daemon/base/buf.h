/* SPDX-License-Identifier: Apache-2.0
 * base/buf.h - a growable byte buffer that latches its first error (no memory, limit reached).
 *
 * Write as much as you like and check `err` once at the end. Single thread. */
#ifndef FLOWBUS_BASE_BUF_H
#define FLOWBUS_BASE_BUF_H

#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include "base/strv.h"

struct buf {
	uint8_t *p;
	size_t n, cap, max; /* max 0 = no limit */
	int err;            /* 0, -E_NOMEM or -E_LIMIT */
};

/** An empty buffer that may grow to @max bytes (0: no limit). Nothing is allocated yet. */
static inline struct buf
buf_init(size_t max)
{
	return (struct buf){NULL, 0, 0, max, 0};
}

/** Free the storage; the buffer is empty and usable again. */
void buf_fini(struct buf *b);

/** Forget contents and error, keep the storage. */
static inline void
buf_reset(struct buf *b)
{
	b->n = 0;
	b->err = 0;
}

/** Room for @n more bytes, or NULL (latched). The caller fills it and adds to b->n itself. */
uint8_t *buf_room(struct buf *b, size_t n);

static inline void
buf_put(struct buf *b, const void *p, size_t n)
{
	if (n == 0) /* NULL + 0 is not defined either */
		return;
	uint8_t *to = n <= b->cap - b->n ? b->p + b->n : buf_room(b, n);
	if (to != NULL && b->err == 0) {
		memcpy(to, p, n);
		b->n += n;
	}
}

static inline void
buf_u8(struct buf *b, uint8_t v)
{
	buf_put(b, &v, 1);
}

void buf_u16_le(struct buf *b, uint16_t v);
void buf_u32_le(struct buf *b, uint32_t v);
void buf_u64_le(struct buf *b, uint64_t v);
void buf_varint(struct buf *b, uint64_t v);
/** A varint length and the bytes: what cur_text reads. */
void buf_text(struct buf *b, struct strv s);
void buf_str(struct buf *b, const char *s);
void buf_strv(struct buf *b, struct strv s);
/** Decimal, without printf. */
void buf_u64_dec(struct buf *b, uint64_t v);
void buf_printf(struct buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void buf_vprintf(struct buf *b, const char *fmt, va_list ap) __attribute__((format(printf, 2, 0)));
/** NUL-terminate without counting the NUL; "" when nothing could be stored. Borrowed. */
const char *buf_cstr(struct buf *b);

static inline struct strv
buf_view(const struct buf *b)
{
	return (struct strv){(const char *)b->p, b->n};
}

#endif
