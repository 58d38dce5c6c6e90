/* SPDX-License-Identifier: Apache-2.0
 * filter/kernel_impl.h - the text of the kernels; included once by each build.
 *
 * The inner loops have 64 rounds, no branches and no calls, so that the compiler makes vector code
 * of them: they fill 64 bytes with 0 or 0xff, which bits64() packs into a word. */
#include <string.h>

#include "filter/kernel.h"

#if defined(__AVX2__) || defined(__SSE2__)
#include <immintrin.h>
#endif

static inline uint64_t
bits64(const uint8_t hit[64])
{
#if defined(__AVX2__)
	__m256i a = _mm256_loadu_si256((const __m256i *)(const void *)hit);
	__m256i b = _mm256_loadu_si256((const __m256i *)(const void *)(hit + 32));
	return (uint32_t)_mm256_movemask_epi8(a) | (uint64_t)(uint32_t)_mm256_movemask_epi8(b)
						       << 32;
#elif defined(__SSE2__)
	uint64_t m = 0;
	for (int i = 0; i < 4; i++) {
		__m128i a = _mm_loadu_si128((const __m128i *)(const void *)(hit + 16 * i));
		m |= (uint64_t)(uint16_t)_mm_movemask_epi8(a) << (16 * i);
	}
	return m;
#else
	uint64_t m = 0;
	for (int i = 0; i < 64; i++)
		m |= (uint64_t)(hit[i] & 1) << i;
	return m;
#endif
}

#define BLOCK(type, bits) \
	static inline uint64_t block##bits(const type *x, const struct k_range *r, uint32_t n) \
	{ \
		uint64_t m = 0; \
		for (uint32_t k = 0; k < n; k++) { \
			uint8_t hit[64]; \
			const type lo = (type)r[k].lo, span = (type)r[k].span; \
			for (int i = 0; i < 64; i++) \
				hit[i] = (uint8_t) - ((type)(x[i] - lo) <= span); \
			m |= bits64(hit); \
		} \
		return m; \
	}
BLOCK(uint8_t, 8)
BLOCK(uint16_t, 16)
BLOCK(uint32_t, 32)
BLOCK(uint64_t, 64)

static void
k_ranges(const void *col, unsigned width, const struct k_range *r, uint32_t n, const uint64_t *in,
    uint64_t *out, unsigned nw)
{
	for (unsigned w = 0; w < nw; w++) {
		size_t at = (size_t)w * 64;
		uint64_t m = in[w];
		if (m != 0)
			m &= width == 1	  ? block8((const uint8_t *)col + at, r, n)
			     : width == 2 ? block16((const uint16_t *)col + at, r, n)
			     : width == 4 ? block32((const uint32_t *)col + at, r, n)
					  : block64((const uint64_t *)col + at, r, n);
		out[w] = m;
	}
}

/* a + b or a - b of 64 rows; b counts as 0 where it is absent */
static inline void
pair(const uint64_t *a, const uint64_t *b, uint64_t b_present, bool minus, uint64_t *x)
{
	if (b == NULL || b_present == 0) {
		memcpy(x, a, 64 * sizeof(*x));
	} else if (b_present == ~UINT64_C(0) && minus) {
		for (int i = 0; i < 64; i++)
			x[i] = a[i] - b[i];
	} else if (b_present == ~UINT64_C(0)) {
		for (int i = 0; i < 64; i++)
			x[i] = a[i] + b[i];
	} else {
		for (int i = 0; i < 64; i++) {
			uint64_t y = b[i] & (UINT64_C(0) - (b_present >> i & 1));
			x[i] = minus ? a[i] - y : a[i] + y;
		}
	}
}

static void
k_pair_ranges(const uint64_t *a, const uint64_t *b, const uint64_t *b_present, bool minus,
    const struct k_range *r, uint32_t n, const uint64_t *in, uint64_t *out, unsigned nw)
{
	for (unsigned w = 0; w < nw; w++) {
		uint64_t x[64], m = in[w];
		if (m != 0) {
			pair(a + (size_t)w * 64, b != NULL ? b + (size_t)w * 64 : NULL,
			    b_present != NULL ? b_present[w] : ~UINT64_C(0), minus, x);
			m &= block64(x, r, n);
		}
		out[w] = m;
	}
}

static void
k_bits(const uint16_t *col, uint16_t mask, bool any, const uint64_t *in, uint64_t *out, unsigned nw)
{
	/* any of the mask = not (all of them clear) */
	const uint16_t want = any ? 0 : mask;
	for (unsigned w = 0; w < nw; w++) {
		const uint16_t *x = col + (size_t)w * 64;
		uint8_t hit[64];
		uint64_t m = in[w];
		if (m != 0) {
			for (int i = 0; i < 64; i++)
				hit[i] = (uint8_t) - ((uint16_t)(x[i] & mask) == want);
			m &= any ? ~bits64(hit) : bits64(hit);
		}
		out[w] = m;
	}
}

static void
k_table(const uint8_t *col, const uint8_t *table, const uint64_t *in, uint64_t *out, unsigned nw)
{
	for (unsigned w = 0; w < nw; w++) {
		const uint8_t *x = col + (size_t)w * 64;
		uint8_t hit[64];
		uint64_t m = in[w];
		if (m != 0) {
			for (int i = 0; i < 64; i++)
				hit[i] = table[x[i]];
			m &= bits64(hit);
		}
		out[w] = m;
	}
}

/* Addresses are pairs of 64-bit words; masks and values were made in the same byte order. */
static inline uint64_t
block_net(const uint64_t *x, const struct k_net *n)
{
	uint64_t d[64];
	uint8_t hit[64];
	const uint64_t m0 = n->m0, v0 = n->v0, m1 = n->m1, v1 = n->v1;
	for (int i = 0; i < 64; i++)
		d[i] = ((x[2 * i] & m0) ^ v0) | ((x[2 * i + 1] & m1) ^ v1);
	for (int i = 0; i < 64; i++)
		hit[i] = (uint8_t) - (d[i] == 0);
	return bits64(hit);
}

static void
k_nets(const void *col, const struct k_net *nets, uint32_t n, const uint64_t *in, uint64_t *out,
    unsigned nw)
{
	struct k_net v4 = {~UINT64_C(0), 0, 0, 0, false};
	memset(&v4.m1, 0xff, 4);
	memcpy(&v4.v1, "\0\0\xff\xff\0\0\0", 8);
	for (unsigned w = 0; w < nw; w++) {
		const uint64_t *x = (const uint64_t *)col + (size_t)w * 128;
		uint64_t m = 0, want = in[w];
		for (uint32_t k = 0; k < n && (want & ~m) != 0; k++) {
			uint64_t hits = block_net(x, &nets[k]);
			if (nets[k].not_v4 && hits != 0)
				hits &= ~block_net(x, &v4);
			m |= hits;
		}
		out[w] = m & want;
	}
}

#define SAME(type, bits) \
	static inline uint64_t same##bits(const type *a, const type *b) \
	{ \
		uint8_t hit[64]; \
		for (int i = 0; i < 64; i++) \
			hit[i] = (uint8_t) - (a[i] == b[i]); \
		return bits64(hit); \
	}
SAME(uint8_t, 8)
SAME(uint16_t, 16)
SAME(uint32_t, 32)
SAME(uint64_t, 64)

static inline uint64_t
same128(const uint64_t *a, const uint64_t *b)
{
	uint8_t hit[64];
	for (int i = 0; i < 64; i++)
		hit[i] = (uint8_t) - (((a[2 * i] ^ b[2 * i]) | (a[2 * i + 1] ^ b[2 * i + 1])) == 0);
	return bits64(hit);
}

static void
k_same(const void *a, const void *b, unsigned width, const uint64_t *in, uint64_t *out, unsigned nw)
{
	for (unsigned w = 0; w < nw; w++) {
		size_t at = (size_t)w * 64;
		uint64_t m = in[w];
		if (m != 0)
			m &= width == 1 ? same8((const uint8_t *)a + at, (const uint8_t *)b + at)
			     : width == 2
				 ? same16((const uint16_t *)a + at, (const uint16_t *)b + at)
			     : width == 4
				 ? same32((const uint32_t *)a + at, (const uint32_t *)b + at)
			     : width == 8
				 ? same64((const uint64_t *)a + at, (const uint64_t *)b + at)
				 : same128(
				       (const uint64_t *)a + 2 * at, (const uint64_t *)b + 2 * at);
		out[w] = m;
	}
}

/* A cell is u32 offset, u16 length, u16 cut: the length as the third 16-bit word. */
static void
k_text_len(const void *cells, uint32_t least, uint32_t most, const uint64_t *in, uint64_t *out,
    unsigned nw)
{
	const uint16_t lo = (uint16_t)least, span = (uint16_t)(most - least);
	for (unsigned w = 0; w < nw; w++) {
		const uint16_t *x = (const uint16_t *)cells + (size_t)w * 256 + 2;
		uint8_t hit[64];
		uint64_t m = in[w];
		if (m != 0) {
			for (int i = 0; i < 64; i++)
				hit[i] = (uint8_t) - ((uint16_t)(x[4 * i] - lo) <= span);
			m &= bits64(hit);
		}
		out[w] = m;
	}
}

/* ---- arithmetic: 64 doubles at a time, NaN is absent ---- */

static inline void
make_absent(double *out, uint64_t present)
{
	for (uint64_t m = ~present; m != 0; m &= m - 1)
		out[__builtin_ctzll(m)] = __builtin_nan("");
}

#define CONVERT(type) \
	do { \
		const type *x = (const type *)col + row; \
		for (int i = 0; i < 64; i++) \
			out[i] = (double)x[i]; \
	} while (0)

static void
k_load(enum k_op type, const void *col, uint32_t row, uint64_t present, double *out)
{
	if (type == K_U8)
		CONVERT(uint8_t);
	else if (type == K_U16)
		CONVERT(uint16_t);
	else if (type == K_U32)
		CONVERT(uint32_t);
	else if (type == K_S64)
		CONVERT(int64_t);
	else
		CONVERT(uint64_t);
	make_absent(out, present);
}

static void
k_load_pair(const uint64_t *a, const uint64_t *b, uint64_t b_present, bool minus, uint64_t present,
    double *out)
{
	uint64_t x[64];
	pair(a, b, b_present, minus, x);
	k_load(minus ? K_S64 : K_U64, x, 0, present, out);
}

/* x + (x - x) is x when x is finite, else NaN */
#define EACH(expr) \
	for (int i = 0; i < 64; i++) { \
		double r = (expr); \
		a[i] = r + (r - r); \
	}

static void
k_arith(enum k_op op, double *restrict a, const double *restrict b)
{
	if (op == K_NEG)
		EACH(-a[i])
	else if (op == K_ADD)
		EACH(a[i] + b[i])
	else if (op == K_SUB)
		EACH(a[i] - b[i])
	else if (op == K_MUL)
		EACH(a[i] * b[i])
	else if (op == K_DIV)
		EACH(a[i] / b[i])
	else if (op == K_RATE) /* per second, of a span in microseconds */
		EACH(a[i] * 1e6 / b[i])
}
#undef EACH

#define COMPARE(cond) \
	for (int i = 0; i < 64; i++) \
		hit[i] = (uint8_t) - (int)(cond);

static uint64_t
k_compare(enum k_rel rel, const double *a, const double *b)
{
	uint8_t hit[64] = {0};
	if (rel == K_EQ)
		COMPARE(a[i] == b[i])
	else if (rel == K_NE) /* false when either is NaN */
		COMPARE((a[i] < b[i]) | (a[i] > b[i]))
	else if (rel == K_LT)
		COMPARE(a[i] < b[i])
	else if (rel == K_LE)
		COMPARE(a[i] <= b[i])
	else if (rel == K_GT)
		COMPARE(a[i] > b[i])
	else
		COMPARE(a[i] >= b[i])
	return bits64(hit);
}

KERNELS_LINKAGE const struct kernels KERNELS = {KERNELS_NAME, k_ranges, k_pair_ranges, k_bits,
    k_table, k_nets, k_same, k_text_len, k_load, k_load_pair, k_arith, k_compare};
