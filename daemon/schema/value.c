/* SPDX-License-Identifier: Apache-2.0
 * schema/value.c - print one value. */
#include "schema/value.h"

#include <inttypes.h>
#include <stdio.h>

static const char hexdigits[] = "0123456789abcdef";

struct addr
addr_v4(const uint8_t b[4])
{
	struct addr a = {{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, b[0], b[1], b[2], b[3]}};
	return a;
}

static char *
put_dec(char *p, unsigned v)
{
	char x[10];
	int n = 0;
	do {
		x[n++] = (char)('0' + v % 10);
		v /= 10;
	} while (v != 0);
	while (n > 0)
		*p++ = x[--n];
	return p;
}

static char *
put_hex16(char *p, unsigned v)
{
	bool on = false;
	for (int shift = 12; shift >= 0; shift -= 4) {
		unsigned d = v >> shift & 15;
		on = on || d != 0 || shift == 0;
		if (on)
			*p++ = hexdigits[d];
	}
	return p;
}

/* RFC 5952: lower case, no leading zeros, the first longest run of two or more zero words as
 * "::" */
static char *
put_v6(char *p, const struct addr *a)
{
	unsigned w[8];
	int best = -1, best_n = 1;
	for (int i = 0; i < 8; i++)
		w[i] = (unsigned)(a->b[2 * i] << 8 | a->b[2 * i + 1]);
	for (int i = 0; i < 8; i++) {
		int n = 0;
		while (i + n < 8 && w[i + n] == 0)
			n++;
		if (n > best_n) {
			best = i;
			best_n = n;
		}
	}
	for (int i = 0; i < 8; i++) {
		if (i == best) {
			*p++ = ':';
			*p++ = ':';
			i += best_n - 1;
			continue;
		}
		if (i > 0 && p[-1] != ':')
			*p++ = ':';
		p = put_hex16(p, w[i]);
	}
	return p;
}

void
addr_print(struct buf *out, const struct addr *a)
{
	char x[64], *p = x;
	if (addr_is_v4(a)) {
		for (int i = 12; i < 16; i++) {
			p = put_dec(p, a->b[i]);
			if (i < 15)
				*p++ = '.';
		}
	} else {
		p = put_v6(p, a);
	}
	buf_put(out, x, (size_t)(p - x));
}

static char *
put_fixed(char *p, unsigned v, int digits)
{
	for (int i = digits - 1; i >= 0; i--) {
		p[i] = (char)('0' + v % 10);
		v /= 10;
	}
	return p + digits;
}

void
time_print(struct buf *out, int64_t us)
{
	/* days to year, month, day of the proleptic Gregorian calendar: eras of 400 years that
	 * begin in March, so that the leap day is the last of its year */
	int64_t sec = us / 1000000, frac = us % 1000000;
	if (frac < 0) {
		frac += 1000000;
		sec--;
	}
	int64_t day = sec / 86400, rest = sec % 86400;
	if (rest < 0) {
		rest += 86400;
		day--;
	}
	int64_t z = day + 719468, era = (z >= 0 ? z : z - 146096) / 146097;
	unsigned doe = (unsigned)(z - era * 146097);
	unsigned yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
	unsigned doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
	unsigned mp = (5 * doy + 2) / 153, d = doy - (153 * mp + 2) / 5 + 1;
	unsigned m = mp < 10 ? mp + 3 : mp - 9;
	int64_t y = (int64_t)yoe + era * 400 + (m <= 2);
	char x[64], *p = x;
	if (y < 0 || y > 9999) {
		buf_printf(out, "%" PRId64 "-", y);
	} else {
		p = put_fixed(p, (unsigned)y, 4);
		*p++ = '-';
	}
	p = put_fixed(p, m, 2);
	*p++ = '-';
	p = put_fixed(p, d, 2);
	*p++ = 'T';
	p = put_fixed(p, (unsigned)(rest / 3600), 2);
	*p++ = ':';
	p = put_fixed(p, (unsigned)(rest / 60 % 60), 2);
	*p++ = ':';
	p = put_fixed(p, (unsigned)(rest % 60), 2);
	*p++ = '.';
	p = put_fixed(p, (unsigned)frac, 6);
	*p++ = 'Z';
	buf_put(out, x, (size_t)(p - x));
}

void
json_text(struct buf *out, struct strv s)
{
	buf_u8(out, '"');
	const uint8_t *p = (const uint8_t *)s.p;
	for (size_t i = 0, run = 0;; i += run) {
		run = 0;
		while (i + run < s.n && p[i + run] >= 0x20 && p[i + run] < 0x7f &&
		    p[i + run] != '"' && p[i + run] != '\\')
			run++;
		buf_put(out, p + i, run);
		i += run;
		if (i >= s.n)
			break;
		int len = utf8_len(p + i, s.n - i);
		/* in JSON's own escaping a backslash is two: the value reads \xHH */
		char x[5] = {'\\', '\\', 'x', hexdigits[p[i] >> 4], hexdigits[p[i] & 15]};
		run = 1;
		if (p[i] == '"') {
			buf_put(out, "\\\"", 2);
		} else if (p[i] == '\\') {
			buf_put(out, "\\\\\\\\", 4); /* the value reads \\\\ */
		} else if (p[i] < 0x20 || p[i] == 0x7f) {
			buf_printf(out, "\\u%04x", p[i]);
		} else if (len > 1) {
			buf_put(out, p + i, (size_t)len);
			run = (size_t)len;
		} else {
			buf_put(out, x, sizeof(x));
		}
	}
	buf_u8(out, '"');
}

static void
put_bits(struct buf *out, uint64_t v)
{
	static const struct {
		uint8_t bit;
		char letter;
	} bits[] = {
#define BIT(n, name, letter) {n, letter},
#include "flowbus/bits.def"
	};
	char x[16];
	size_t n = 0;
	for (size_t i = sizeof(bits) / sizeof(bits[0]); i-- > 0;)
		if ((v >> bits[i].bit & 1) != 0)
			x[n++] = bits[i].letter;
	buf_put(out, x, n);
}

static void
put_span(struct buf *out, int64_t us)
{
	uint64_t v = us < 0 ? 0 - (uint64_t)us : (uint64_t)us;
	if (us < 0)
		buf_u8(out, '-');
	buf_u64_dec(out, v / 1000000);
	char x[8] = ".";
	put_fixed(x + 1, (unsigned)(v % 1000000), 6);
	buf_put(out, x, 7);
}

static void
put_text_plain(struct buf *out, struct strv s)
{
	char x[TEXT_MAX * 4 + 8];
	for (size_t i = 0; i < s.n; i++) {
		if ((uint8_t)s.p[i] < 0x20 || (uint8_t)s.p[i] == 0x7f) {
			strv_quote(s, x, sizeof(x));
			buf_str(out, x);
			return;
		}
	}
	struct buf tmp = buf_init(0); /* the JSON form already deals with what is not UTF-8 */
	json_text(&tmp, s);
	if (tmp.err == 0)
		buf_put(out, tmp.p + 1, tmp.n - 2);
	buf_fini(&tmp);
}

static void
put_name(struct buf *out, const char *name, uint64_t v, bool json)
{
	if (name != NULL)
		buf_printf(out, json ? "\"%s\"" : "%s", name);
	else
		buf_u64_dec(out, v);
}

void
value_print(struct buf *out, enum field f, const struct value *v, enum value_style style)
{
	bool json = style != VALUE_TEXT;
	bool quote = json &&
	    (v->type == FT_ADDR || v->type == FT_MAC || v->type == FT_BITS ||
		(v->type == FT_TIME && style == VALUE_JSON));
	if (quote)
		buf_u8(out, '"');
	switch (v->type) {
	case FT_U8:
		if (f == F_proto && !json)
			put_name(out, proto_name((uint8_t)v->u), v->u, false);
		else
			buf_u64_dec(out, v->u);
		break;
	case FT_U16:
	case FT_U32:
	case FT_U64:
		buf_u64_dec(out, v->u);
		break;
	case FT_TIME:
		if (style == VALUE_JSON_US) {
			if (v->i < 0)
				buf_u8(out, '-');
			buf_u64_dec(out, v->i < 0 ? 0 - (uint64_t)v->i : (uint64_t)v->i);
		} else {
			time_print(out, v->i);
		}
		break;
	case FT_SPAN:
		put_span(out, v->i);
		break;
	case FT_ADDR:
		addr_print(out, &v->addr);
		break;
	case FT_MAC:
		for (int i = 5; i >= 0; i--) {
			uint8_t b = (uint8_t)(v->u >> (8 * i));
			char x[3] = {hexdigits[b >> 4], hexdigits[b & 15], ':'};
			buf_put(out, x, i > 0 ? 3 : 2);
		}
		break;
	case FT_BITS:
		put_bits(out, v->u);
		break;
	case FT_ENUM:
		put_name(out, field_enum_name(f, (uint8_t)v->u), v->u, json);
		break;
	case FT_TEXT:
		if (json)
			json_text(out, v->text);
		else
			put_text_plain(out, v->text);
		break;
	case FT_COUNT:
		break;
	}
	if (quote)
		buf_u8(out, '"');
}
