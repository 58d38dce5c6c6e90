/* SPDX-License-Identifier: Apache-2.0
 * filter/number.c - decimal numbers with units, kept exactly until they meet a column.
 *
 * A number is a 64-bit integer over a power of ten, so that 1.5 is printed as it was written and
 * nothing depends on the locale. Spans and times count microseconds. */
#include "base/err.h"
#include "filter/filter_priv.h"

/* 31 700 years: far from where 64 bits end, so that one more or less always prints */
static const uint64_t SPAN_MOST = UINT64_C(1000000000000000000);

static const struct {
	const char *suffix;
	uint64_t factor;
	enum dim dim;
} units[] = {{"", 1, DIM_NUM}, {"K", 1000, DIM_NUM}, {"k", 1000, DIM_NUM}, {"M", 1000000, DIM_NUM},
    {"G", 1000000000, DIM_NUM}, {"T", UINT64_C(1000000000000), DIM_NUM}, {"Ki", 1024, DIM_NUM},
    {"Mi", 1 << 20, DIM_NUM}, {"Gi", 1 << 30, DIM_NUM}, {"Ti", UINT64_C(1) << 40, DIM_NUM},
    {"us", 1, DIM_SPAN}, {"ms", 1000, DIM_SPAN}, {"s", 1000000, DIM_SPAN},
    {"m", 60000000, DIM_SPAN}, {"min", 60000000, DIM_SPAN}, {"h", UINT64_C(3600000000), DIM_SPAN},
    {"d", UINT64_C(86400000000), DIM_SPAN}, {"w", UINT64_C(604800000000), DIM_SPAN}};

static bool
add_digit(uint64_t *v, unsigned base, unsigned d)
{
	return !__builtin_mul_overflow(*v, base, v) && !__builtin_add_overflow(*v, d, v);
}

static int
hex_parse(struct strv s, struct num *out)
{
	for (size_t i = 2; i < s.n; i++) {
		char c = s.p[i];
		unsigned d = c >= '0' && c <= '9'   ? (unsigned)(c - '0')
			     : c >= 'a' && c <= 'f' ? (unsigned)(c - 'a') + 10
			     : c >= 'A' && c <= 'F' ? (unsigned)(c - 'A') + 10
						    : 16;
		if (d == 16)
			return -E_SYNTAX;
		if (!add_digit(&out->m, 16, d))
			return -E_RANGE;
	}
	return s.n > 2 ? 0 : -E_SYNTAX;
}

int
num_parse(struct strv s, struct num *out, enum dim *dim_out)
{
	size_t i = 0;
	*out = (struct num){0, 0, false};
	*dim_out = DIM_NUM;
	if (s.n > 1 && s.p[0] == '0' && (s.p[1] == 'x' || s.p[1] == 'X'))
		return hex_parse(s, out);
	for (; i < s.n && s.p[i] >= '0' && s.p[i] <= '9'; i++)
		if (!add_digit(&out->m, 10, (unsigned)(s.p[i] - '0')))
			return -E_RANGE;
	if (i == 0)
		return -E_SYNTAX;
	if (i + 1 < s.n && s.p[i] == '.' && s.p[i + 1] >= '0' && s.p[i + 1] <= '9')
		for (i++; i < s.n && s.p[i] >= '0' && s.p[i] <= '9'; i++, out->k++)
			if (out->k == 15 || !add_digit(&out->m, 10, (unsigned)(s.p[i] - '0')))
				return -E_RANGE;
	struct strv unit = {s.p + i, s.n - i};
	for (size_t u = 0; u < sizeof(units) / sizeof(units[0]); u++) {
		if (!strv_eq(unit, strv_of(units[u].suffix)))
			continue;
		unsigned __int128 v = (unsigned __int128)out->m * units[u].factor;
		for (; out->k > 0 && v % 10 == 0; out->k--)
			v /= 10;
		if (v > UINT64_MAX || (units[u].dim == DIM_SPAN && v > SPAN_MOST))
			return -E_RANGE;
		out->m = (uint64_t)v;
		*dim_out = units[u].dim;
		return 0;
	}
	return -E_SYNTAX;
}

double
num_double(const struct num *v)
{
	double scale = 1;
	for (unsigned i = 0; i < v->k; i++)
		scale *= 10;
	return (v->neg ? -1 : 1) * ((double)v->m / scale);
}

bool
num_integer(const struct num *v, __int128 *out)
{
	*out = v->neg ? -(__int128)v->m : (__int128)v->m;
	return v->k == 0;
}

bool
num_fold(enum node_kind op, const struct num *a, const struct num *b, struct num *out)
{
	__int128 x, y, r;
	const __int128 most = (__int128)1 << NUM_EXACT_BITS;
	if (!num_integer(a, &x) || !num_integer(b, &y) || x > most || x < -most || y > most ||
	    y < -most)
		return false;
	if (op == N_DIV && (y == 0 || x % y != 0))
		return false;
	r = op == N_ADD ? x + y : op == N_SUB ? x - y : op == N_MUL ? x * y : x / y;
	if (r > most || r < -most)
		return false;
	*out = (struct num){(uint64_t)(r < 0 ? -r : r), 0, r < 0};
	return true;
}

void
num_print(struct buf *out, const struct num *v, enum dim dim)
{
	uint64_t scale = 1, m = v->m;
	const char *unit = "";
	if (dim == DIM_TIME && v->k == 0 && v->m <= INT64_MAX) {
		int64_t us = v->neg ? -(int64_t)v->m : (int64_t)v->m;
		time_print(out, us);
		return;
	}
	if (dim == DIM_SPAN && v->k == 0) {
		unit = m % 1000000 == 0 ? "s" : m % 1000 == 0 ? "ms" : "us";
		m /= m % 1000000 == 0 ? 1000000 : m % 1000 == 0 ? 1000 : 1;
	} else if (dim == DIM_SPAN) {
		unit = "us";
	}
	if (v->neg)
		buf_u8(out, '-');
	for (unsigned i = 0; i < v->k; i++)
		scale *= 10;
	buf_u64_dec(out, m / scale);
	if (v->k > 0)
		buf_u8(out, '.');
	for (unsigned i = 0; i < v->k; i++) {
		scale /= 10;
		buf_u8(out, (uint8_t)('0' + m / scale % 10));
	}
	buf_str(out, unit);
}
