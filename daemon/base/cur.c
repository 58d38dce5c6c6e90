/* SPDX-License-Identifier: Apache-2.0
 * base/cur.c - the reading cursor's longer reads. */
#include "base/cur.h"

uint64_t
cur_varint(struct cur *c)
{
	uint64_t v = 0;
	for (unsigned shift = 0; shift < 70; shift += 7) {
		uint8_t b = cur_u8(c);
		if (c->err != 0)
			return 0;
		if (shift == 63 && b > 1)
			break;
		v |= (uint64_t)(b & 0x7f) << shift;
		if ((b & 0x80) == 0)
			return v;
	}
	c->err = -E_FORMAT;
	c->p = c->end;
	return 0;
}

struct strv
cur_text(struct cur *c, size_t max)
{
	uint64_t n = cur_varint(c);
	if (c->err == 0 && n > max) {
		c->err = -E_FORMAT;
		c->p = c->end;
	}
	const uint8_t *p = c->err == 0 ? cur_take(c, n) : NULL;
	return (struct strv){(const char *)p, p != NULL ? (size_t)n : 0};
}
