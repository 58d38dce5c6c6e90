/* SPDX-License-Identifier: Apache-2.0
 * schema/parse.c - text to one value: addresses, times, numbers with units, names. */
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/err.h"
#include "schema/value.h"

static const struct {
	uint8_t number;
	const char *name;
} protos[] = {{1, "icmp"}, {2, "igmp"}, {4, "ipip"}, {6, "tcp"}, {8, "egp"}, {17, "udp"},
    {33, "dccp"}, {41, "ipv6"}, {46, "rsvp"}, {47, "gre"}, {50, "esp"}, {51, "ah"},
    {58, "icmpv6"}, {88, "eigrp"}, {89, "ospf"}, {94, "ipip2"}, {97, "etherip"}, {103, "pim"},
    {108, "ipcomp"}, {112, "vrrp"}, {115, "l2tp"}, {132, "sctp"}, {136, "udplite"}, {137, "mpls"}};

const char *
proto_name(uint8_t proto)
{
	for (size_t i = 0; i < sizeof(protos) / sizeof(protos[0]); i++)
		if (protos[i].number == proto)
			return protos[i].name;
	return NULL;
}

int
proto_number(struct strv name)
{
	if (strv_ieq(name, STRV("icmp6")) || strv_ieq(name, STRV("ipv6-icmp")))
		return 58;
	for (size_t i = 0; i < sizeof(protos) / sizeof(protos[0]); i++)
		if (strv_ieq(name, strv_of(protos[i].name)))
			return protos[i].number;
	return -1;
}

int
addr_parse(struct strv s, struct addr *out)
{
	char x[64];
	uint8_t v4[4];
	if (s.n == 0 || s.n >= sizeof(x))
		return -E_SYNTAX;
	memcpy(x, s.p, s.n);
	x[s.n] = '\0';
	if (strlen(x) != s.n)
		return -E_SYNTAX;
	if (inet_pton(AF_INET, x, v4) == 1) {
		*out = addr_v4(v4);
		return 0;
	}
	return inet_pton(AF_INET6, x, out->b) == 1 ? 0 : -E_SYNTAX;
}

/* Plain decimal digits; -E_SYNTAX without any, -E_RANGE beyond 64 bits. Moves *i. */
static int
digits(struct strv s, size_t *i, uint64_t *out)
{
	uint64_t v = 0;
	size_t from = *i;
	for (; *i < s.n && s.p[*i] >= '0' && s.p[*i] <= '9'; (*i)++) {
		unsigned d = (unsigned)(s.p[*i] - '0');
		if (v > (UINT64_MAX - d) / 10)
			return -E_RANGE;
		v = v * 10 + d;
	}
	*out = v;
	return *i > from ? 0 : -E_SYNTAX;
}

int
addr_parse_net(struct strv s, struct addr *out, unsigned *bits_out)
{
	size_t slash = 0;
	while (slash < s.n && s.p[slash] != '/')
		slash++;
	int rc = addr_parse((struct strv){s.p, slash}, out);
	if (rc != 0)
		return rc;
	bool dotted = memchr(s.p, ':', slash) == NULL; /* ::ffff:1.2.3.4/120 counts 128 bits */
	unsigned base = dotted ? 96 : 0;
	uint64_t len = 128 - base;
	if (slash < s.n) {
		size_t i = slash + 1;
		if (digits(s, &i, &len) != 0 || i != s.n)
			return -E_SYNTAX;
		if (len > 128 - base)
			return -E_RANGE;
	}
	*bits_out = base + (unsigned)len;
	return 0;
}

/* A number with an optional fraction and a multiplier of @unit: value * unit, rounded down. */
static int
scaled(uint64_t whole, struct strv frac, uint64_t unit, uint64_t *out)
{
	unsigned __int128 v = (unsigned __int128)whole * unit;
	uint64_t part = 0, scale = 1;
	for (size_t i = 0; i < frac.n && i < 18; i++, scale *= 10)
		part = part * 10 + (unsigned)(frac.p[i] - '0');
	v += (unsigned __int128)part * unit / scale;
	if (v > UINT64_MAX)
		return -E_RANGE;
	*out = (uint64_t)v;
	return 0;
}

static int
with_fraction(struct strv s, size_t *i, uint64_t *whole, struct strv *frac)
{
	int rc = digits(s, i, whole);
	if (rc != 0)
		return rc;
	*frac = (struct strv){s.p, 0};
	if (*i < s.n && s.p[*i] == '.') {
		uint64_t ignored;
		size_t from = ++*i;
		rc = digits(s, i, &ignored);
		if (rc == -E_SYNTAX)
			return rc;
		while (*i < s.n && s.p[*i] >= '0' && s.p[*i] <= '9')
			(*i)++;
		*frac = (struct strv){s.p + from, *i - from};
	}
	return 0;
}

static int
parse_scaled(struct strv s, bool binary, uint64_t *out)
{
	uint64_t whole, unit = 1;
	struct strv frac;
	size_t i = 0;
	int rc;
	if (s.n > 2 && s.p[0] == '0' && (s.p[1] == 'x' || s.p[1] == 'X')) {
		char x[32], *end;
		if (s.n >= 19)
			return -E_RANGE;
		memcpy(x, s.p, s.n);
		x[s.n] = '\0';
		*out = strtoull(x + 2, &end, 16);
		return *end == '\0' ? 0 : -E_SYNTAX;
	}
	rc = with_fraction(s, &i, &whole, &frac);
	if (rc != 0)
		return rc;
	struct strv u = {s.p + i, s.n - i};
	if (u.n > 0) {
		static const char letters[] = "KMGT";
		const char *at = strchr(letters, u.p[0] >= 'a' ? u.p[0] - 32 : u.p[0]);
		if (at == NULL || u.p[0] == '\0')
			return -E_SYNTAX;
		bool i_suffix = u.n == 2 && (u.p[1] == 'i' || u.p[1] == 'I');
		if (u.n > 1 && !i_suffix)
			return -E_SYNTAX;
		for (const char *p = letters; p <= at; p++)
			unit *= binary || i_suffix ? 1024 : 1000;
	} else if (frac.n > 0) {
		return -E_SYNTAX; /* 1.5 of nothing */
	}
	return scaled(whole, frac, unit, out);
}

int
number_parse(struct strv s, uint64_t *out)
{
	return parse_scaled(s, false, out);
}

int
size_parse(struct strv s, uint64_t *out)
{
	if (s.n > 1 && (s.p[s.n - 1] == 'B' || s.p[s.n - 1] == 'b'))
		s.n--; /* 64KB, 64KiB */
	return parse_scaled(s, true, out);
}

int
span_parse(struct strv s, int64_t *out_us)
{
	static const struct {
		const char *unit;
		uint64_t us;
	} units[] = {{"", 1000000}, {"us", 1}, {"ms", 1000}, {"s", 1000000}, {"m", 60000000},
	    {"min", 60000000}, {"h", UINT64_C(3600000000)}, {"d", UINT64_C(86400000000)},
	    {"w", UINT64_C(604800000000)}};
	uint64_t whole, v;
	struct strv frac;
	size_t i = 0;
	int rc = with_fraction(s, &i, &whole, &frac);
	if (rc != 0)
		return rc;
	struct strv u = {s.p + i, s.n - i};
	for (size_t k = 0; k < sizeof(units) / sizeof(units[0]); k++) {
		if (!strv_eq(u, strv_of(units[k].unit)))
			continue;
		rc = scaled(whole, frac, units[k].us, &v);
		if (rc != 0 || v > INT64_MAX)
			return -E_RANGE;
		*out_us = (int64_t)v;
		return 0;
	}
	return -E_SYNTAX;
}

static int
two(struct strv s, size_t at, char sep, unsigned max, unsigned *out)
{
	if (at + 2 > s.n || (sep != '\0' && (at == 0 || s.p[at - 1] != sep)))
		return -E_SYNTAX;
	if (s.p[at] < '0' || s.p[at] > '9' || s.p[at + 1] < '0' || s.p[at + 1] > '9')
		return -E_SYNTAX;
	*out = (unsigned)(s.p[at] - '0') * 10 + (unsigned)(s.p[at + 1] - '0');
	return *out <= max ? 0 : -E_RANGE;
}

static int64_t
days_from_civil(int64_t y, unsigned m, unsigned d)
{
	y -= m <= 2;
	int64_t era = (y >= 0 ? y : y - 399) / 400;
	unsigned yoe = (unsigned)(y - era * 400);
	unsigned doy = (153 * (m > 2 ? m - 3 : m + 9) + 2) / 5 + d - 1;
	unsigned doe = yoe * 365 + yoe / 4 - yoe / 100 + doy;
	return era * 146097 + (int64_t)doe - 719468;
}

/* RFC 3339: 2026-11-22T10:00:00[.frac][Z|+hh:mm], also a date alone or a space for T */
static int
time_parse(struct strv s, int64_t *out)
{
	unsigned mo, d, h = 0, mi = 0, se = 0;
	uint64_t y, frac_us = 0;
	size_t i = 0;
	if (s.n < 10 || digits((struct strv){s.p, 4}, &i, &y) != 0 || i != 4 || s.p[4] != '-')
		return -E_SYNTAX;
	int rc = two(s, 5, '-', 12, &mo);
	if (rc == 0)
		rc = two(s, 8, '-', 31, &d);
	if (rc == 0 && (mo == 0 || d == 0))
		rc = -E_RANGE;
	i = 10;
	if (rc == 0 && s.n > 10) {
		if (s.p[10] != 'T' && s.p[10] != 't' && s.p[10] != ' ')
			return -E_SYNTAX;
		rc = two(s, 11, '\0', 23, &h);
		if (rc == 0)
			rc = two(s, 14, ':', 59, &mi);
		i = 16;
		if (rc == 0 && s.n > 16 && s.p[16] == ':') {
			rc = two(s, 17, ':', 60, &se);
			i = 19;
		}
	}
	if (rc != 0)
		return rc;
	if (i < s.n && s.p[i] == '.') {
		uint64_t scale = 100000;
		for (i++; i < s.n && s.p[i] >= '0' && s.p[i] <= '9'; i++, scale /= 10)
			frac_us += (uint64_t)(s.p[i] - '0') * scale;
	}
	int64_t sec = days_from_civil((int64_t)y, mo, d) * 86400 + h * 3600 + mi * 60 + se;
	if (i < s.n && (s.p[i] == 'Z' || s.p[i] == 'z')) {
		i++;
	} else if (i < s.n && (s.p[i] == '+' || s.p[i] == '-')) {
		unsigned oh, om;
		rc = two(s, i + 1, s.p[i], 23, &oh);
		if (rc == 0)
			rc = two(s, i + 4, ':', 59, &om);
		if (rc != 0)
			return rc;
		int64_t off = (int64_t)oh * 3600 + (int64_t)om * 60;
		sec += s.p[i] == '+' ? -off : off;
		i += 6;
	}
	if (i != s.n)
		return -E_SYNTAX;
	*out = sec * 1000000 + (int64_t)frac_us;
	return 0;
}

static int
parse_bits(struct strv s, uint64_t *out)
{
	uint64_t v = 0;
	if (number_parse(s, out) == 0)
		return *out <= UINT16_MAX ? 0 : -E_RANGE;
	bool letters = s.n > 0;
	for (size_t i = 0; i < s.n && letters; i++) {
		letters = false;
#define BIT(n, name, letter)                                                                       \
	if (s.p[i] == (letter)) {                                                                  \
		v |= 1u << (n);                                                                    \
		letters = true;                                                                    \
	}
#include "flowbus/bits.def"
	}
	*out = v;
	if (letters || s.n == 0)
		return 0;
	v = 0;
	for (size_t i = 0, from = 0; i <= s.n; i++) {
		if (i < s.n && s.p[i] != '|' && s.p[i] != ',')
			continue;
		uint16_t bit = field_bit_value((struct strv){s.p + from, i - from});
		if (bit == 0)
			return -E_SYNTAX;
		v |= bit;
		from = i + 1;
	}
	*out = v;
	return 0;
}

static int
parse_mac(struct strv s, uint64_t *out)
{
	uint64_t v = 0;
	if (s.n != 17)
		return -E_SYNTAX;
	for (size_t i = 0; i < 17; i++) {
		char c = s.p[i];
		int d = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 :
		    c >= 'A' && c <= 'F'			       ? c - 'A' + 10 :
									 -1;
		if (i % 3 == 2 ? c != ':' && c != '-' : d < 0)
			return -E_SYNTAX;
		if (i % 3 != 2)
			v = v << 4 | (unsigned)d;
	}
	*out = v;
	return 0;
}

static int
parse_time_value(struct strv s, int64_t *out)
{
	uint64_t whole, us;
	struct strv frac;
	size_t i = 0;
	if (time_parse(s, out) == 0)
		return 0;
	if (with_fraction(s, &i, &whole, &frac) != 0 || i != s.n)
		return time_parse(s, out);
	int rc = scaled(whole, frac, 1000000, &us);
	if (rc != 0 || us > INT64_MAX)
		return -E_RANGE;
	*out = (int64_t)us;
	return 0;
}

int
value_parse(enum field f, struct strv s, struct value *out)
{
	uint64_t v = 0;
	int rc = 0;
	memset(out, 0, sizeof(*out));
	out->type = (enum field_type)field_info[f].type;
	switch (out->type) {
	case FT_U8:
		if (f == F_proto && proto_number(s) >= 0) {
			out->u = (uint64_t)proto_number(s);
			return 0;
		}
		/* fall through */
	case FT_U16:
	case FT_U32:
	case FT_U64:
		rc = number_parse(s, &v);
		if (rc == 0 && out->type != FT_U64 && v >> (8 * field_width(f)) != 0)
			rc = -E_RANGE;
		out->u = v;
		return rc;
	case FT_TIME:
		return parse_time_value(s, &out->i);
	case FT_SPAN: {
		bool neg = s.n > 0 && s.p[0] == '-';
		rc = span_parse(neg ? (struct strv){s.p + 1, s.n - 1} : s, &out->i);
		if (neg)
			out->i = -out->i;
		return rc;
	}
	case FT_ADDR:
		return addr_parse(s, &out->addr);
	case FT_MAC:
		return parse_mac(s, &out->u);
	case FT_BITS:
		return parse_bits(s, &out->u);
	case FT_ENUM:
		out->u = field_enum_value(f, s);
		if (out->u != 0)
			return 0;
		rc = number_parse(s, &v);
		out->u = v;
		return rc != 0 ? rc : v <= 255 ? 0 : -E_RANGE;
	case FT_TEXT:
		out->text = s;
		return 0;
	case FT_COUNT:
		break;
	}
	return -E_INVAL;
}
