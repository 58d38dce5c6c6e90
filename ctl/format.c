/* SPDX-License-Identifier: Apache-2.0
 * ctl/format.c - values for people: units, durations, and no byte a terminal would act on. */
#include <math.h>
#include <stdlib.h>

#include "flowctl.h"

void
format_safe(struct buf *out, struct strv s, bool keep_layout)
{
	for (size_t i = 0; i < s.n;) {
		const uint8_t *p = (const uint8_t *)s.p + i;
		int n = utf8_len(p, s.n - i);
		bool control = *p < 0x20 || *p == 0x7f || (n == 2 && p[0] == 0xc2 && p[1] < 0xa0);
		if ((*p == '\n' || *p == '\t') && keep_layout)
			buf_u8(out, *p);
		else if (n == 0)
			buf_printf(out, "\\x%02x", *p);
		else if (control)
			buf_printf(out, "\\x%02x", p[n - 1]);
		else
			buf_put(out, p, (size_t)n);
		i += n > 0 ? (size_t)n : 1;
	}
}

size_t
format_width(struct strv s)
{
	size_t n = 0;
	for (size_t i = 0; i < s.n; i++)
		n += ((uint8_t)s.p[i] & 0xc0) != 0x80;
	return n;
}

static void
scaled(struct buf *out, double v, double base, const char *const units[6])
{
	unsigned u = 0;
	while (fabs(v) >= base && u < 5) {
		v /= base;
		u++;
	}
	buf_printf(out,
	    u == 0    ? "%.0f%s%s"
	    : v < 10  ? "%.2f%s%s"
	    : v < 100 ? "%.1f%s%s"
		      : "%.0f%s%s",
	    v, units[u][0] != '\0' ? " " : "", units[u]);
}

/* 3d 04:05, 1h 02m, 12.3 s */
static void
duration(struct buf *out, double s)
{
	long long t = (long long)s;
	if (s < 0) {
		buf_u8(out, '-');
		duration(out, -s);
	} else if (t >= 86400) {
		buf_printf(out, "%lldd %02lld:%02lld", t / 86400, t / 3600 % 24, t / 60 % 60);
	} else if (t >= 3600) {
		buf_printf(out, "%lldh %02lldm", t / 3600, t / 60 % 60);
	} else if (t >= 60) {
		buf_printf(out, "%lldm %02llds", t / 60, t % 60);
	} else {
		buf_printf(out, "%.*f s", t >= 10 ? 0 : 1, s);
	}
}

static void
micros(struct buf *out, double us)
{
	if (fabs(us) < 1000)
		buf_printf(out, "%.0f us", us);
	else if (fabs(us) < 1e6)
		buf_printf(out, "%.1f ms", us / 1e3);
	else
		duration(out, us / 1e6);
}

/* RFC 3339 with the date and microseconds left out where a table has no room: 12:34:56. */
static void
clock_time(struct buf *out, const char *s)
{
	if (strlen(s) >= 19 && s[10] == 'T')
		buf_printf(out, "%.10s %.8s", s, s + 11);
	else
		format_safe(out, strv_of(s), false);
}

static void
plain(struct buf *out, const json_t *v)
{
	if (json_is_string(v)) {
		format_safe(out, strv_of(json_string_value(v)), false);
	} else if (json_is_integer(v)) {
		buf_printf(out, "%lld", (long long)json_integer_value(v));
	} else if (json_is_real(v)) {
		buf_printf(out, "%.6g", json_real_value(v));
	} else if (json_is_boolean(v)) {
		buf_str(out, json_is_true(v) ? "yes" : "no");
	} else if (json_is_array(v)) {
		for (size_t i = 0; i < json_array_size(v); i++) {
			if (i > 0)
				buf_u8(out, ' ');
			plain(out, json_array_get(v, i));
		}
	} else if (json_is_object(v)) {
		char *text = json_dumps(v, JSON_COMPACT);
		if (text != NULL)
			format_safe(out, strv_of(text), false);
		free(text);
	}
}

/* Names of the protocols one meets; others are shown as their numbers. */
static const char *
proto_of(json_int_t number)
{
	static const struct {
		json_int_t number;
		const char *name;
	} t[] = {{1, "icmp"}, {2, "igmp"}, {6, "tcp"}, {17, "udp"}, {47, "gre"}, {50, "esp"},
	    {51, "ah"}, {58, "icmp6"}, {89, "ospf"}, {132, "sctp"}};
	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++)
		if (t[i].number == number)
			return t[i].name;
	return NULL;
}

void
format_value(struct buf *out, const json_t *v, enum format f)
{
	static const char *const bits[] = {"b/s", "kb/s", "Mb/s", "Gb/s", "Tb/s", "Pb/s"};
	static const char *const bytes[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
	static const char *const counts[] = {"", "k", "M", "G", "T", "P"};
	if (v == NULL || json_is_null(v))
		return;
	double n = json_number_value(v);
	switch (f) {
	case FMT_BITS:
		scaled(out, n, 1000, bits);
		return;
	case FMT_BYTES:
		scaled(out, n, 1024, bytes);
		return;
	case FMT_COUNT:
		scaled(out, n, 1000, counts);
		return;
	case FMT_SECONDS:
		duration(out, n);
		return;
	case FMT_RATIO:
		buf_printf(out, n < 100 ? "%.2f" : "%.0f", n);
		return;
	case FMT_NANOS:
		micros(out, n / 1e3);
		return;
	case FMT_MICROS:
		micros(out, n);
		return;
	case FMT_TIME:
		if (json_is_string(v)) {
			clock_time(out, json_string_value(v));
			return;
		}
		break;
	case FMT_PROTO:
		if (proto_of(json_integer_value(v)) != NULL) {
			buf_str(out, proto_of(json_integer_value(v)));
			return;
		}
		break;
	case FMT_TEXT:
	case FMT_INT:
	case FMT_LIST:
	case FMT_BOOL:
		break;
	}
	plain(out, v);
}
