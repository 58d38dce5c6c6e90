/* SPDX-License-Identifier: Apache-2.0
 * filter/kernel.h - loops over whole columns that give bits.
 *
 * Every kernel looks at 64 rows at a time and skips those where no row is a candidate (`in`); it
 * writes out[w] for w < nw, only candidates set. in and out may be the same. Two builds of one text
 * (kernel_impl.h): for any CPU, and for AVX2. */
#ifndef FLOWBUS_FILTER_KERNEL_H
#define FLOWBUS_FILTER_KERNEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct k_range {
	uint64_t lo, span; /* lo <= x <= lo + span in the field's own order: (x - lo) <= span */
};

/* One network as two masked words, in memory order. */
struct k_net {
	uint64_t m0, v0, m1, v1;
	bool not_v4; /* an IPv6 network around ::ffff:0:0/96: IPv4 is not in it */
};

enum k_op { K_CONST, K_U8, K_U16, K_U32, K_U64, K_S64, K_NEG, K_ADD, K_SUB, K_MUL, K_DIV, K_RATE };
enum k_rel { K_EQ, K_NE, K_LT, K_LE, K_GT, K_GE };

struct kernels {
	const char *name;
	/* column of @width bytes within any of @n ranges */
	void (*ranges)(const void *col, unsigned width, const struct k_range *r, uint32_t n,
	    const uint64_t *in, uint64_t *out, unsigned nw);
	/* the 64-bit values a[i] + b[i], b where bit i of b_present is set (b NULL: none), or
	 * with minus a[i] - b[i] */
	void (*pair_ranges)(const uint64_t *a, const uint64_t *b, const uint64_t *b_present,
	    bool minus, const struct k_range *r, uint32_t n, const uint64_t *in, uint64_t *out,
	    unsigned nw);
	/* (x & mask) == want, or with any (x & mask) != 0 */
	void (*bits)(const uint16_t *col, uint16_t mask, bool any, const uint64_t *in,
	    uint64_t *out, unsigned nw);
	/* 8-bit column through a table of 256 bytes, 0 or 0xff */
	void (*table)(const uint8_t *col, const uint8_t *table, const uint64_t *in, uint64_t *out,
	    unsigned nw);
	void (*nets)(const void *col, const struct k_net *nets, uint32_t n, const uint64_t *in,
	    uint64_t *out, unsigned nw);
	/* equal cells of two columns of @width bytes (1 2 4 8 16) */
	void (*same)(const void *a, const void *b, unsigned width, const uint64_t *in,
	    uint64_t *out, unsigned nw);
	/* text cells with least <= len <= most */
	void (*text_len)(const void *cells, uint32_t least, uint32_t most, const uint64_t *in,
	    uint64_t *out, unsigned nw);
	/* 64 doubles of a column at @row; NaN where the bit of @present is clear */
	void (*load)(enum k_op type, const void *col, uint32_t row, uint64_t present, double *out);
	/* the sum or difference above as doubles */
	void (*load_pair)(const uint64_t *a, const uint64_t *b, uint64_t b_present, bool minus,
	    uint64_t present, double *out);
	/* a = a op b; what is not finite becomes NaN, and so does everything divided by 0 */
	void (*arith)(enum k_op op, double *a, const double *b);
	uint64_t (*compare)(enum k_rel rel, const double *a, const double *b);
};

extern const struct kernels kernels_base;
/** NULL when not built for this machine. */
const struct kernels *kernels_avx2(void);

#endif
