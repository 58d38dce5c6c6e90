/* SPDX-License-Identifier: Apache-2.0
 * schema/field.c - the field table. Duplicate numbers do not compile (see the switch below). */
#include "schema/field.h"

#include "base/err.h"
#include "schema/value.h"

#define KEY FF_KEY
#define SUM FF_SUM
#define UNTRUSTED FF_UNTRUSTED
#define BASE FF_BASE
#define DERIVED FF_DERIVED

const struct field_info field_info[F_COUNT] = {
#define FIELD(number, id, type, unit, flags, text)                                                 \
	[F_##id] = {#id, text, number, FT_##type, FU_##unit, flags},
#include "flowbus/fields.def"
};

const char *const field_names[F_COUNT + 1] = {
#define FIELD(number, id, type, unit, flags, text) #id,
#include "flowbus/fields.def"
    NULL,
};

#define FIELD(number, id, type, unit, flags, text)                                                 \
	_Static_assert((number) > 0 && (number) < 65536, "field number of " #id);
#include "flowbus/fields.def"

enum field
field_by_name(struct strv name)
{
	for (int f = 0; f < F_COUNT; f++)
		if (strv_eq(name, strv_of(field_info[f].name)))
			return (enum field)f;
	return F_NONE;
}

enum field
field_by_number(uint16_t number)
{
	switch (number) { /* a number used twice is a compiler error here */
#define FIELD(number, id, type, unit, flags, text)                                                 \
	case number:                                                                               \
		return F_##id;
#include "flowbus/fields.def"
	default:
		return F_NONE;
	}
}

size_t
field_width(enum field f)
{
	static const uint8_t width[FT_COUNT] = {[FT_U8] = 1, [FT_U16] = 2, [FT_U32] = 4,
	    [FT_U64] = 8, [FT_TIME] = 8, [FT_SPAN] = 8, [FT_ADDR] = sizeof(struct addr),
	    [FT_MAC] = 8, [FT_BITS] = 2, [FT_ENUM] = 1, [FT_TEXT] = sizeof(struct text)};
	return width[field_info[f].type];
}

const char *
field_type_name(enum field_type t)
{
	static const char *const names[FT_COUNT] = {[FT_U8] = "u8", [FT_U16] = "u16",
	    [FT_U32] = "u32", [FT_U64] = "u64", [FT_TIME] = "time", [FT_SPAN] = "span",
	    [FT_ADDR] = "addr", [FT_MAC] = "mac", [FT_BITS] = "bits", [FT_ENUM] = "enum",
	    [FT_TEXT] = "text"};
	return names[t];
}

const char *
field_unit_name(enum field_unit u)
{
	static const char *const names[] = {"", "octets", "packets", "microseconds"};
	return names[u];
}

static const struct {
	uint8_t field, value;
	const char *name;
} enum_values[] = {
#define EVAL(field, number, constant, name) {F_##field, number, name},
#include "flowbus/enums.def"
};

const char *
field_enum_name(enum field f, uint8_t v)
{
	for (size_t i = 0; i < sizeof(enum_values) / sizeof(enum_values[0]); i++)
		if (enum_values[i].field == f && enum_values[i].value == v)
			return enum_values[i].name;
	return NULL;
}

uint8_t
field_enum_value(enum field f, struct strv name)
{
	for (size_t i = 0; i < sizeof(enum_values) / sizeof(enum_values[0]); i++)
		if (enum_values[i].field == f && strv_ieq(name, strv_of(enum_values[i].name)))
			return enum_values[i].value;
	return 0;
}

void
field_enum_names(enum field f, const char *names[16])
{
	unsigned n = 0;
	for (size_t i = 0; i < sizeof(enum_values) / sizeof(enum_values[0]) && n < 15; i++)
		if (enum_values[i].field == f)
			names[n++] = enum_values[i].name;
	names[n] = NULL;
}

uint16_t
field_bit_value(struct strv name)
{
#define BIT(n, id, letter)                                                                         \
	if (strv_ieq(name, STRV(#id)))                                                             \
		return 1 << n;
#include "flowbus/bits.def"
	return 0;
}

static struct field_set
set_where(uint8_t must, uint8_t must_not)
{
	struct field_set s = {{0, 0}};
	for (int f = 0; f < F_COUNT; f++)
		if ((field_info[f].flags & must) == must && (field_info[f].flags & must_not) == 0)
			field_set_add(&s, (enum field)f);
	return s;
}

struct field_set
field_set_all(void)
{
	return set_where(0, FF_DERIVED);
}

struct field_set
field_set_base(void)
{
	return set_where(FF_BASE, FF_DERIVED);
}

struct field_set
field_sources(enum field f)
{
	struct field_set s = {{0, 0}};
	static const struct {
		uint8_t derived, from[3], n;
	} table[] = {
	    {F_duration, {F_start, F_end}, 2},
	    {F_total_packets, {F_packets, F_rev_packets}, 2},
	    {F_total_bytes, {F_bytes, F_rev_bytes}, 2},
	    {F_server_name, {F_http_host, F_tls_sni, F_dns_query}, 3},
	};
	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		for (unsigned k = 0; table[i].derived == f && k < table[i].n; k++)
			field_set_add(&s, (enum field)table[i].from[k]);
	}
	if ((field_info[f].flags & FF_DERIVED) == 0)
		field_set_add(&s, f);
	return s;
}

int
field_set_parse(struct strv list, struct field_set *out, struct strv *bad_out)
{
	struct field_set s = {{0, 0}};
	size_t i = 0;
	for (;;) {
		while (i < list.n && (list.p[i] == ' ' || list.p[i] == ','))
			i++;
		size_t from = i;
		while (i < list.n && list.p[i] != ' ' && list.p[i] != ',')
			i++;
		struct strv word = {list.p + from, i - from};
		if (word.n == 0)
			break;
		enum field f = field_by_name(word);
		if (strv_eq(word, STRV("all"))) {
			s = field_set_union(s, field_set_all());
		} else if (strv_eq(word, STRV("base"))) {
			s = field_set_union(s, field_set_base());
		} else if (f != F_NONE) {
			s = field_set_union(s, field_sources(f));
		} else {
			*bad_out = word;
			return -E_UNKNOWN;
		}
	}
	*out = s;
	return 0;
}
