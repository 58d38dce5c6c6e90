/* SPDX-License-Identifier: Apache-2.0
 * input/reader_ng.c - the pcapng format: blocks, sections, interfaces.
 *
 * A section header sets the byte order and forgets the interfaces. Interfaces of one file may
 * differ in link type and time resolution: a burst ends where the link type changes, and packets of
 * an interface whose link type we cannot decode are skipped and counted, unless the file begins
 * with nothing else. Blocks we do not know are stepped over without being buffered. */
#include <inttypes.h>
#include <stdlib.h>

#include "input/reader_priv.h"
#include "wire/packet.h"

enum {
	NG_SECTION = 0x0a0d0d0a,
	NG_INTERFACE = 1,
	NG_PACKET_OLD = 2,
	NG_PACKET_SIMPLE = 3,
	NG_PACKET = 6,
};

enum { OPT_END = 0, OPT_TSRESOL = 9, OPT_TSOFFSET = 14 };

enum { NG_HEADER_MAX = 1 << 20 }; /* a longer section or interface block is a damaged file */

static int
read_section(struct reader *r, const uint8_t *p, struct err *err)
{
	unsigned major = reader_u16(r, p + 12);
	unsigned minor = reader_u16(r, p + 14);
	if (major != 1 || (minor != 0 && minor != 2))
		return reader_fault(r, err, E_UNSUP,
		    "pcapng version %u.%u is not supported, only "
		    "1.0 and 1.2; the file may be damaged",
		    major, minor);
	r->n_ifaces = 0;
	return 0;
}

/** Units in a second from the option's octet: a power of 10, or of 2 with the upper bit. 0: no. */
static uint64_t
read_resolution(uint8_t v)
{
	uint64_t units = 1;
	if ((v & 0x80) != 0)
		return (v & 0x7f) < 64 ? UINT64_C(1) << (v & 0x7f) : 0;
	for (int i = 0; i < v; i++)
		if (__builtin_mul_overflow(units, 10, &units))
			return 0;
	return units;
}

/** Options of an interface block: @n bytes at @p. */
static int
read_iface_options(
    struct reader *r, struct reader_iface *iface, const uint8_t *p, size_t n, struct err *err)
{
	for (size_t at = 0; n - at >= 4;) {
		unsigned code = reader_u16(r, p + at);
		size_t len = reader_u16(r, p + at + 2);
		const uint8_t *v = p + at + 4;
		at += 4;
		if (code == OPT_END || len > n - at)
			break;
		if (code == OPT_TSRESOL && len >= 1) {
			iface->units = read_resolution(v[0]);
			if (iface->units == 0)
				return reader_fault(r, err, E_UNSUP,
				    "interface %" PRIu32 " has a time "
				    "resolution we cannot read (0x%02x)",
				    r->n_ifaces, v[0]);
		} else if (code == OPT_TSOFFSET && len == 8) {
			uint64_t u;
			memcpy(&u, v, 8);
			iface->offset_s = (int64_t)(r->is_swapped ? __builtin_bswap64(u) : u);
		}
		len = (len + 3) & ~(size_t)3;
		at = len < n - at ? at + len : n;
	}
	return 0;
}

static int
read_iface(struct reader *r, const uint8_t *p, size_t len, struct err *err)
{
	if (len < 20)
		return reader_fault(r, err, E_FORMAT,
		    "interface block at octet %" PRIu64 " is too short: the file is damaged",
		    r->offset + r->at);
	if (r->n_ifaces >= READER_IFACES_MAX)
		return reader_fault(r, err, E_LIMIT, "more than %d interfaces", READER_IFACES_MAX);
	if (r->n_ifaces == r->cap_ifaces) {
		uint32_t cap = r->cap_ifaces != 0 ? r->cap_ifaces * 2 : 8;
		struct reader_iface *ifaces = realloc(r->ifaces, cap * sizeof(*ifaces));
		if (ifaces == NULL)
			return reader_fault(
			    r, err, E_NOMEM, "no memory for %" PRIu32 " interfaces", cap);
		r->ifaces = ifaces;
		r->cap_ifaces = cap;
	}
	struct reader_iface *iface = &r->ifaces[r->n_ifaces];
	*iface = (struct reader_iface){reader_u16(r, p + 8), reader_u32(r, p + 12), 1000000, 0};
	int rc = read_iface_options(r, iface, p + 16, len - 20, err);
	r->n_ifaces += rc == 0;
	return rc;
}

static int64_t
time_us(const struct reader_iface *iface, uint64_t t)
{
	__extension__ typedef __int128 wide; /* 64 bits times a million */
	wide us = iface->units == 1000000 ? (wide)t : (wide)t * 1000000 / (wide)iface->units;
	us += (wide)iface->offset_s * 1000000;
	if (us > READER_TIME_MAX || us < -READER_TIME_MAX)
		us = us > 0 ? READER_TIME_MAX : -READER_TIME_MAX;
	return (int64_t)us;
}

static int
bad_packet(const struct reader *r, struct err *err, const char *why)
{
	return reader_fault(r, err, E_FORMAT,
	    "packet %" PRIu64 " at octet %" PRIu64 " %s: the file is "
	    "damaged there",
	    r->n_packets + 1, r->offset + r->at, why);
}

/** A packet block of any of the three kinds. 0 with *out and *iface_out, or -E_*. */
static int
read_packet(const struct reader *r, const uint8_t *p, size_t len, uint32_t type,
    struct flow_frame *out, const struct reader_iface **iface_out, struct err *err)
{
	const size_t fixed = type == NG_PACKET_SIMPLE ? 12 : 28;
	if (len < fixed + 4)
		return bad_packet(r, err, "is shorter than its header");
	size_t room = len - fixed - 4;
	uint32_t id = 0;
	if (type == NG_PACKET)
		id = reader_u32(r, p + 8);
	else if (type == NG_PACKET_OLD)
		id = reader_u16(r, p + 8);
	if (id >= r->n_ifaces)
		return bad_packet(r, err, "names an interface that was not described");
	const struct reader_iface *iface = &r->ifaces[id];
	if (type == NG_PACKET_SIMPLE) {
		uint32_t wire = reader_u32(r, p + 8);
		uint32_t cap = wire;
		if (iface->snaplen != 0 && cap > iface->snaplen)
			cap = iface->snaplen;
		if (cap > room)
			cap = (uint32_t)room;
		*out = (struct flow_frame){p + fixed, cap, wire, 0};
	} else {
		uint64_t t = (uint64_t)reader_u32(r, p + 12) << 32 | reader_u32(r, p + 16);
		uint32_t cap = reader_u32(r, p + 20);
		if (cap > room)
			return bad_packet(r, err, "is longer than its block");
		*out =
		    (struct flow_frame){p + fixed, cap, reader_u32(r, p + 24), time_us(iface, t)};
	}
	*iface_out = iface;
	return 0;
}

static bool
is_packet(uint32_t type)
{
	return type == NG_PACKET || type == NG_PACKET_OLD || type == NG_PACKET_SIMPLE;
}

/**
 * The length of the block at `at`, whose first 12 bytes are there; a section header also sets the
 * byte order. 0 when more bytes are needed to tell, -1 with @err.
 */
static int64_t
block_length(struct reader *r, const uint8_t *p, uint32_t *type, struct err *err)
{
	static const uint8_t little[4] = {0x4d, 0x3c, 0x2b, 0x1a},
			     big[4] = {0x1a, 0x2b, 0x3c, 0x4d};
	memcpy(type, p, 4);
	if (*type == NG_SECTION) {
		r->need = 28;
		if (reader_have(r) < 28)
			return 0;
		bool is_little = memcmp(p + 8, little, 4) == 0;
		if (!is_little && memcmp(p + 8, big, 4) != 0) {
			reader_fault(r, err, E_FORMAT,
			    "pcapng section at octet %" PRIu64
			    " names no byte order: the file is damaged",
			    r->offset + r->at);
			return -1;
		}
		r->is_swapped = is_little != (__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__);
	} else {
		*type = reader_u32(r, p);
	}
	uint32_t len = reader_u32(r, p + 4);
	uint32_t max = *type == NG_SECTION || *type == NG_INTERFACE ? NG_HEADER_MAX
		       : is_packet(*type)			    ? READER_CAPLEN_MAX + 4096
								    : UINT32_MAX;
	if (len < 12 || len % 4 != 0 || len > max || (*type == NG_SECTION && len < 28)) {
		reader_fault(r, err, E_FORMAT,
		    "block at octet %" PRIu64 " claims %" PRIu32
		    " octets: the file is damaged there",
		    r->offset + r->at, len);
		return -1;
	}
	return len;
}

/** Walk to the next packet: 1 with its whole block at `at`, 0 when more bytes are wanted, -E_*. */
static int
next_packet(struct reader *r, size_t *len_out, uint32_t *type_out, struct err *err)
{
	for (;;) {
		const uint8_t *p = r->buf + r->at;
		r->need = 12;
		if (r->skip > 0 || reader_have(r) < r->need)
			return 0;
		uint32_t type = 0;
		int64_t len = block_length(r, p, &type, err);
		if (len <= 0)
			return len < 0 ? -err->code : 0;
		bool is_header = type == NG_SECTION || type == NG_INTERFACE;
		size_t have = reader_have(r);
		if (!is_header && !is_packet(type)) {
			r->skip = (size_t)len > have ? (size_t)len - have : 0;
			r->at += (size_t)len > have ? have : (size_t)len;
			continue;
		}
		r->need = (size_t)len;
		if (have < r->need)
			return 0;
		*len_out = (size_t)len;
		*type_out = type;
		if (!is_header)
			return 1;
		int rc = type == NG_SECTION ? read_section(r, p, err)
					    : read_iface(r, p, (size_t)len, err);
		if (rc != 0)
			return rc;
		r->at += (size_t)len;
	}
}

int
reader_ng_step(struct reader *r, struct flow_frame *frames, unsigned max, struct err *err)
{
	unsigned n = 0;
	while (frames == NULL || n < max) {
		size_t len = 0;
		uint32_t type = 0;
		struct err fault = {0};
		struct flow_frame frame = {0};
		const struct reader_iface *iface = NULL;
		int rc = next_packet(r, &len, &type, &fault);
		if (rc > 0) {
			int bad = read_packet(r, r->buf + r->at, len, type, &frame, &iface, &fault);
			rc = bad != 0 ? bad : rc;
		}
		if (rc <= 0) {
			if (n > 0)
				return (int)n; /* these first; a fault is met again */
			if (rc < 0)
				*err = fault;
			return rc;
		}
		/* NOLINTNEXTLINE(clang-analyzer-core.NullDereference): rc > 0 */
		bool is_known = wire_linktype_known(iface->linktype);
		if (frames == NULL)
			return is_known ? 1 : reader_linktype_fault(r, err, iface->linktype);
		if (!is_known) {
			r->skipped_linktype =
			    r->n_skipped == 0 ? iface->linktype : r->skipped_linktype;
			r->n_skipped++;
		} else if (n > 0 && iface->linktype != r->linktype) {
			return (int)n;
		} else {
			r->linktype = iface->linktype;
			frames[n++] = frame;
		}
		r->n_packets++;
		r->at += len;
	}
	return (int)n;
}
