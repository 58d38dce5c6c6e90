/* SPDX-License-Identifier: Apache-2.0
 * base/cur.h - a reading cursor that latches its first error.
 *
 * After a short read every further read yields zero and the error stays, so that a parser reads ten
 * fields and checks once. No read is ever unchecked. Big-endian readers carry no suffix (network
 * order is what most formats use); little-endian ones end in _le. */
#ifndef FLOWBUS_BASE_CUR_H
#define FLOWBUS_BASE_CUR_H

#include <stdint.h>
#include <string.h>

#include "base/err.h"
#include "base/strv.h"

struct cur {
	const uint8_t *p, *end;
	int err; /* 0 or -E_TRUNC / -E_FORMAT */
};

static inline struct cur
cur_init(const void *p, size_t n)
{
	return (struct cur){p, n > 0 ? (const uint8_t *)p + n : p, 0}; /* NULL + 0 is undefined */
}

static inline size_t
cur_left(const struct cur *c)
{
	return (size_t)(c->end - c->p);
}

/** Borrow the next @n bytes, or NULL (and latch -E_TRUNC). */
static inline const uint8_t *
cur_take(struct cur *c, size_t n)
{
	if (c->err != 0 || n > cur_left(c)) {
		if (c->err == 0)
			c->err = -E_TRUNC;
		c->p = c->end;
		return NULL;
	}
	const uint8_t *p = c->p;
	c->p += n;
	return p;
}

static inline void
cur_skip(struct cur *c, size_t n)
{
	(void)cur_take(c, n);
}

static inline uint8_t
cur_u8(struct cur *c)
{
	const uint8_t *p = cur_take(c, 1);
	return p != NULL ? *p : 0;
}

static inline uint16_t
cur_u16(struct cur *c)
{
	const uint8_t *p = cur_take(c, 2);
	return p != NULL ? (uint16_t)(p[0] << 8 | p[1]) : 0;
}

static inline uint32_t
cur_u32(struct cur *c)
{
	const uint8_t *p = cur_take(c, 4);
	return p != NULL ? (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3] : 0;
}

static inline uint64_t
cur_u64(struct cur *c)
{
	uint64_t hi = cur_u32(c);
	return hi << 32 | cur_u32(c);
}

static inline uint16_t
cur_u16_le(struct cur *c)
{
	const uint8_t *p = cur_take(c, 2);
	return p != NULL ? (uint16_t)(p[1] << 8 | p[0]) : 0;
}

static inline uint32_t
cur_u32_le(struct cur *c)
{
	const uint8_t *p = cur_take(c, 4);
	return p != NULL ? (uint32_t)p[3] << 24 | (uint32_t)p[2] << 16 | (uint32_t)p[1] << 8 | p[0] : 0;
}

static inline uint64_t
cur_u64_le(struct cur *c)
{
	uint64_t lo = cur_u32_le(c);
	return lo | (uint64_t)cur_u32_le(c) << 32;
}

/** LEB128 unsigned number of at most 10 bytes; a longer one latches -E_FORMAT. */
uint64_t cur_varint(struct cur *c);

/** A varint length followed by that many bytes, at most @max; more latches -E_FORMAT. Borrowed. */
struct strv cur_text(struct cur *c, size_t max);

#endif
