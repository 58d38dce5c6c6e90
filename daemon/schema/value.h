/* SPDX-License-Identifier: Apache-2.0
 * schema/value.h - one value of a field: parse it, print it.
 *
 * Addresses are 16 bytes; IPv4 is mapped (::ffff:a.b.c.d) and prints as dotted quad. Times print as
 * RFC 3339 UTC with six decimals. Text is bytes: in JSON what is not UTF-8 is written \\xHH. */
#ifndef FLOWBUS_SCHEMA_VALUE_H
#define FLOWBUS_SCHEMA_VALUE_H

#include "base/buf.h"
#include "schema/field.h"

struct addr {
	uint8_t b[16];
};

/** A TEXT cell of a column: where its bytes are in the batch's text arena. */
struct text {
	uint32_t off;
	uint16_t len; /* at most TEXT_MAX */
	uint16_t cut; /* 1: the original was longer */
};
enum { TEXT_MAX = 1024 };

struct value {
	enum field_type type;
	union {
		uint64_t u; /* U8..U64, MAC (low 48 bits, first byte highest), BITS, ENUM */
		int64_t i;  /* TIME, SPAN */
		struct addr addr;
		struct strv text; /* borrowed */
	};
};

static inline bool
addr_is_v4(const struct addr *a)
{
	static const uint8_t prefix[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
	return memcmp(a->b, prefix, 12) == 0;
}

struct addr addr_v4(const uint8_t b[4]);
/** Parse IPv4 or IPv6 text; 0 or -E_SYNTAX. */
int addr_parse(struct strv s, struct addr *out);
/** Parse ADDR or ADDR/LEN. *bits_out counts within the 128 bits (IPv4 /8 gives 104). */
int addr_parse_net(struct strv s, struct addr *out, unsigned *bits_out);

enum value_style {
	VALUE_JSON,    /* quoted and escaped where JSON needs it */
	VALUE_JSON_US, /* the same, times as integers of microseconds */
	VALUE_TEXT,    /* for people: tables */
};

/** Print a value of field @f. Spans print in seconds with six decimals (JSON: number). */
void value_print(struct buf *out, enum field f, const struct value *v, enum value_style style);
/** Print bytes as a JSON string, quotes included; bytes that are not UTF-8 as \\xHH. */
void json_text(struct buf *out, struct strv s);
void addr_print(struct buf *out, const struct addr *a);
/** RFC 3339 UTC with microseconds, 27 characters. */
void time_print(struct buf *out, int64_t us);

/**
 * Parse what value_print(VALUE_TEXT) printed, and the forms people write: proto names, hex, flags
 * "SA" or "syn|ack", RFC 3339 or epoch seconds, spans with units (30s, 5m, 1h, 250ms), numbers with
 * K M G. TEXT is taken as it is (borrowed). 0 or -E_SYNTAX, -E_RANGE.
 */
int value_parse(enum field f, struct strv s, struct value *out);

/** "512", "64K", "2M", "5G" (powers of 1000; Ki Mi Gi: of 1024): 0, -E_SYNTAX, -E_RANGE. */
int number_parse(struct strv s, uint64_t *out);
/** Like number_parse, but K M G are powers of 1024: sizes in bytes. */
int size_parse(struct strv s, uint64_t *out);
/** "10us" "250ms" "30s" "5m" "1h" "2d" (no unit: seconds; decimals allowed) to microseconds. */
int span_parse(struct strv s, int64_t *out_us);

/** IANA protocol name in lower case ("tcp"), or NULL; number of a name, or -1. */
const char *proto_name(uint8_t proto);
int proto_number(struct strv name);

#endif
