/* SPDX-License-Identifier: Apache-2.0
 * schema/field.h - the field table, generated from include/flowbus/fields.def.
 *
 * In memory a field is a small dense index (enum field), usable in a struct field_set; on the wire
 * it is its registry number. */
#ifndef FLOWBUS_SCHEMA_FIELD_H
#define FLOWBUS_SCHEMA_FIELD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/strv.h"

enum field {
#define FIELD(number, id, type, unit, flags, text) F_##id,
#include "flowbus/fields.def"
	F_COUNT,
	F_NONE = 0xff,
};

enum field_type { FT_U8, FT_U16, FT_U32, FT_U64, FT_TIME, FT_SPAN, FT_ADDR, FT_MAC, FT_BITS,
	FT_ENUM, FT_TEXT, FT_COUNT };
enum field_unit { FU_NONE, FU_OCTETS, FU_PACKETS, FU_MICROSECONDS };
enum { FF_KEY = 1, FF_SUM = 2, FF_UNTRUSTED = 4, FF_BASE = 8, FF_DERIVED = 16 };

enum {
#define EVAL(field, number, constant, name) constant = number,
#include "flowbus/enums.def"
};

enum {
#define BIT(n, name, letter) TCP_##name = 1 << n,
#include "flowbus/bits.def"
};

struct field_info {
	const char *name;
	const char *text; /* one sentence */
	uint16_t number;  /* on the wire */
	uint8_t type;     /* enum field_type */
	uint8_t unit;     /* enum field_unit */
	uint8_t flags;    /* FF_* */
};

extern const struct field_info field_info[F_COUNT];

/** Names of all fields, NULL-terminated, for strv_nearest and completion. */
extern const char *const field_names[F_COUNT + 1];

/** F_NONE when there is no such field. */
enum field field_by_name(struct strv name);
enum field field_by_number(uint16_t number);
/** Bytes of one value in a column: 1, 2, 4, 8 or 16 (TEXT: sizeof(struct text)). */
size_t field_width(enum field f);
const char *field_type_name(enum field_type t);
const char *field_unit_name(enum field_unit u);
/** Name of value @v of ENUM field @f, or NULL. */
const char *field_enum_name(enum field f, uint8_t v);
/** Value of a name of ENUM field @f, or 0. */
uint8_t field_enum_value(enum field f, struct strv name);
/** Bit mask of a flag's name ("syn"), or 0. */
uint16_t field_bit_value(struct strv name);
/** NULL-terminated names of the values of ENUM field @f (at most 15), into @names. */
void field_enum_names(enum field f, const char *names[16]);

/** A set of fields. */
struct field_set {
	uint64_t w[2];
};
_Static_assert(F_COUNT <= 128, "struct field_set is too small");

static inline bool
field_set_has(const struct field_set *s, enum field f)
{
	return (s->w[f >> 6] >> (f & 63) & 1) != 0;
}

static inline void
field_set_add(struct field_set *s, enum field f)
{
	s->w[f >> 6] |= UINT64_C(1) << (f & 63);
}

static inline struct field_set
field_set_union(struct field_set a, struct field_set b)
{
	return (struct field_set){{a.w[0] | b.w[0], a.w[1] | b.w[1]}};
}

static inline bool
field_set_eq(struct field_set a, struct field_set b)
{
	return a.w[0] == b.w[0] && a.w[1] == b.w[1];
}

/** All stored (not derived) fields; the 16 base fields. */
struct field_set field_set_all(void);
struct field_set field_set_base(void);
/**
 * Parse "all", "base" or a comma-separated list of names, also mixed ("base,http_host"); spaces are
 * allowed. Derived names stand for the stored fields they come from. 0 or -E_UNKNOWN with *bad_out
 * set to the offending word (borrowed from @list).
 */
int field_set_parse(struct strv list, struct field_set *out, struct strv *bad_out);
/** Stored fields a field is computed from (itself, when stored). */
struct field_set field_sources(enum field f);

#endif
