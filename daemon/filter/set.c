/* SPDX-License-Identifier: Apache-2.0
 * filter/set.c - sets of values in normal form: ranges, networks, texts.
 *
 * A set has one normal form, so that equal sets print the same: ranges are sorted, disjoint and not
 * adjacent; networks are the fewest prefixes with the same addresses, IPv4 first. */
#include <stdlib.h>

#include "filter/filter_priv.h"

bool
field_is_signed(enum field f)
{
	return field_info[f].type == FT_TIME || field_info[f].type == FT_SPAN;
}

bool
field_is_number(enum field f)
{
	uint8_t t = field_info[f].type;
	return t == FT_U8 || t == FT_U16 || t == FT_U32 || t == FT_U64 || t == FT_TIME ||
	       t == FT_SPAN;
}

enum dim
field_dim(enum field f)
{
	if (field_info[f].type == FT_TIME)
		return DIM_TIME;
	return field_info[f].unit == FU_MICROSECONDS ? DIM_SPAN : DIM_NUM;
}

uint64_t
field_key_max(enum field f)
{
	if (field_info[f].type == FT_MAC)
		return (UINT64_C(1) << 48) - 1;
	size_t w = field_width(f);
	return w >= 8 ? UINT64_MAX : (UINT64_C(1) << (8 * w)) - 1;
}

struct num
key_num(enum field f, uint64_t key)
{
	if (!field_is_signed(f))
		return (struct num){key, 0, false};
	uint64_t v = key ^ UINT64_C(1) << 63;
	bool neg = (v >> 63) != 0;
	return (struct num){neg ? UINT64_C(0) - v : v, 0, neg};
}

static int
range_cmp(const void *a, const void *b)
{
	const struct range *x = a, *y = b;
	return x->lo < y->lo ? -1 : x->lo > y->lo ? 1 : x->hi < y->hi ? -1 : x->hi > y->hi;
}

void
ranges_normalise(struct range *r, uint32_t *n)
{
	uint32_t to = 0;
	if (*n == 0)
		return;
	qsort(r, *n, sizeof(*r), range_cmp);
	for (uint32_t i = 1; i < *n; i++) {
		if (r[to].hi == UINT64_MAX || r[i].lo <= r[to].hi + 1) {
			if (r[i].hi > r[to].hi)
				r[to].hi = r[i].hi;
		} else {
			r[++to] = r[i];
		}
	}
	*n = to + 1;
}

uint32_t
ranges_and(
    const struct range *a, uint32_t an, const struct range *b, uint32_t bn, struct range *out)
{
	uint32_t i = 0, j = 0, n = 0;
	while (i < an && j < bn) {
		uint64_t lo = a[i].lo > b[j].lo ? a[i].lo : b[j].lo;
		uint64_t hi = a[i].hi < b[j].hi ? a[i].hi : b[j].hi;
		if (lo <= hi)
			out[n++] = (struct range){lo, hi};
		if (a[i].hi < b[j].hi)
			i++;
		else
			j++;
	}
	return n;
}

bool
net_is_v4(const struct net *n)
{
	return n->bits >= 96 && addr_is_v4(&n->addr);
}

static void
addr_mask(struct addr *a, unsigned bits)
{
	for (unsigned i = 0; i < 16; i++) {
		unsigned keep = bits >= 8 * i + 8 ? 8 : bits <= 8 * i ? 0 : bits - 8 * i;
		a->b[i] &= (uint8_t)(0xff00 >> keep);
	}
}

static int
net_cmp(const void *a, const void *b)
{
	const struct net *x = a, *y = b;
	bool x4 = net_is_v4(x), y4 = net_is_v4(y);
	if (x4 != y4)
		return x4 ? -1 : 1;
	int c = memcmp(x->addr.b, y->addr.b, 16);
	return c != 0 ? c : (int)x->bits - (int)y->bits;
}

static bool
net_within(const struct net *inner, const struct net *outer)
{
	struct addr a = inner->addr;
	addr_mask(&a, outer->bits);
	return inner->bits >= outer->bits && memcmp(a.b, outer->addr.b, 16) == 0;
}

/* Two halves of one network: the second becomes it. */
static bool
net_join(const struct net *a, const struct net *b, struct net *out)
{
	unsigned least = net_is_v4(a) ? 96 : 0;
	if (a->bits != b->bits || a->bits <= least)
		return false;
	struct net up = *a;
	up.bits--;
	addr_mask(&up.addr, up.bits);
	if (!net_within(b, &up) || net_is_v4(&up) != net_is_v4(a))
		return false;
	*out = up;
	return true;
}

void
nets_normalise(struct net *nets, uint32_t *n)
{
	uint32_t to = 0;
	for (uint32_t i = 0; i < *n; i++)
		addr_mask(&nets[i].addr, nets[i].bits);
	if (*n > 1)
		qsort(nets, *n, sizeof(*nets), net_cmp);
	for (uint32_t i = 0; i < *n; i++) {
		if (to > 0 && net_is_v4(&nets[to - 1]) == net_is_v4(&nets[i]) &&
		    net_within(&nets[i], &nets[to - 1]))
			continue;
		nets[to++] = nets[i];
		while (to > 1 && net_is_v4(&nets[to - 2]) == net_is_v4(&nets[to - 1]) &&
		       net_join(&nets[to - 2], &nets[to - 1], &nets[to - 2]))
			to--;
	}
	*n = to;
}

static int
text_cmp(const void *a, const void *b)
{
	const struct strv *x = a, *y = b;
	size_t n = x->n < y->n ? x->n : y->n;
	int c = n > 0 ? memcmp(x->p, y->p, n) : 0;
	return c != 0 ? c : x->n < y->n ? -1 : x->n > y->n;
}

void
texts_normalise(struct strv *t, uint32_t *n)
{
	uint32_t to = 0;
	if (*n > 1)
		qsort(t, *n, sizeof(*t), text_cmp);
	for (uint32_t i = 0; i < *n; i++)
		if (to == 0 || !strv_eq(t[to - 1], t[i]))
			t[to++] = t[i];
	*n = to;
}
