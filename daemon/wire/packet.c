/* SPDX-License-Identifier: Apache-2.0
 * wire/packet.c - one decoder per link type, all ending in the same IPv4 and IPv6 readers.
 *
 * Nearly every frame is Ethernet with IPv4 or IPv6 directly behind the type and TCP or UDP behind
 * that: this path is inlined into each link type's decoder and reads nothing twice. Everything else
 * (tags, labels, PPPoE, LLC, extension headers, fragments) is out of line.
 *
 * A position is an offset from the frame's start, always compared with the captured length before
 * anything there is read. What ends before its own rules say so is malformed. */
#include "wire/packet.h"

#include <string.h>

#define LIKELY(x)   __builtin_expect(!!(x), 1)
#define UNLIKELY(x) __builtin_expect(!!(x), 0)
#define FORCEINLINE static inline __attribute__((always_inline))
#define OUTLINE	    static __attribute__((noinline))

enum {
	PROTO_HOPOPT = 0,
	PROTO_ICMP = 1,
	PROTO_TCP = 6,
	PROTO_UDP = 17,
	PROTO_DCCP = 33,
	PROTO_ROUTING = 43,
	PROTO_FRAGMENT = 44,
	PROTO_AH = 51,
	PROTO_ICMP6 = 58,
	PROTO_DSTOPT = 60,
	PROTO_SCTP = 132,
	PROTO_UDPLITE = 136,
};

enum { ETYPE_IP4 = 0x0800, ETYPE_IP6 = 0x86dd };

/** A frame, and what was met before its IP header. */
struct frame {
	const uint8_t *p;
	uint32_t caplen, wirelen;
	uint32_t mpls_label, in_if;
	uint16_t vlan, inner_vlan;
	uint16_t flags;
};

FORCEINLINE uint16_t
be16(const uint8_t *p)
{
	uint16_t v;
	memcpy(&v, p, 2);
	return __builtin_bswap16(v);
}

FORCEINLINE uint32_t
be32(const uint8_t *p)
{
	uint32_t v;
	memcpy(&v, p, 4);
	return __builtin_bswap32(v);
}

FORCEINLINE bool
has(const struct frame *f, uint32_t off, uint32_t n)
{
	return f->caplen >= n && off <= f->caplen - n;
}

FORCEINLINE enum wire_status
malformed(const struct frame *f, struct wire_pkt *out, uint32_t off)
{
	out->flags = f->flags;
	out->l3 = off < f->caplen ? f->p + off : NULL;
	return WIRE_MALFORMED;
}

FORCEINLINE enum wire_status
non_ip(const struct frame *f, struct wire_pkt *out)
{
	out->flags = f->flags;
	out->l3 = NULL;
	return WIRE_NON_IP;
}

FORCEINLINE void
addr_put_v4(struct addr *a, const uint8_t *b)
{
	uint64_t zero = 0;
	uint8_t low[8] = {0, 0, 0xff, 0xff, b[0], b[1], b[2], b[3]};
	memcpy(a->b, &zero, 8);
	memcpy(a->b + 8, low, 8);
}

FORCEINLINE bool
proto_has_ports(uint8_t proto)
{
	return proto == PROTO_TCP || proto == PROTO_UDP || proto == PROTO_SCTP ||
	       proto == PROTO_DCCP || proto == PROTO_UDPLITE;
}

/** What the link layer said, and no transport yet. */
FORCEINLINE void
put_link(const struct frame *f, struct wire_pkt *out)
{
	out->flags = f->flags;
	out->vlan = f->vlan;
	out->inner_vlan = f->inner_vlan;
	out->mpls_label = f->mpls_label;
	out->in_if = f->in_if;
	out->mac = (f->flags & WIRE_HAS_MAC) != 0 ? f->p : NULL;
	out->sport = out->dport = 0;
	out->tcp_flags = 0;
	out->icmp_type = out->icmp_code = 0;
	out->tcp_seq = out->tcp_ack = 0;
	out->payload = NULL;
	out->payload_len = 0;
}

/** Payload is what is captured in @l from @off on, within @n bytes. */
FORCEINLINE void
put_payload(struct wire_pkt *out, const uint8_t *l, uint32_t off, uint32_t n)
{
	if (off < n) {
		out->payload = l + off;
		out->payload_len = n - off;
	}
}

OUTLINE void
put_rare_transport(struct wire_pkt *out, const uint8_t *l, uint32_t n)
{
	if (proto_has_ports(out->proto)) {
		if (n < 4)
			return;
		out->sport = be16(l);
		out->dport = be16(l + 2);
		out->flags |= WIRE_HAS_PORTS;
		if (out->proto == PROTO_TCP && n >= 14) {
			out->tcp_seq = be32(l + 4);
			out->tcp_ack = be32(l + 8);
			out->tcp_flags = be16(l + 12) & 0x1ff;
			out->flags |= WIRE_HAS_TCP;
		}
		if (out->proto == PROTO_UDPLITE)
			put_payload(out, l, 8, n);
	} else if ((out->proto == PROTO_ICMP || out->proto == PROTO_ICMP6) && n >= 2) {
		out->icmp_type = l[0];
		out->icmp_code = l[1];
		out->flags |= WIRE_HAS_ICMP;
	}
}

/** The transport header: @n captured bytes at @l, within the IP length. */
FORCEINLINE void
put_transport(struct wire_pkt *out, const uint8_t *l, uint32_t n)
{
	if (LIKELY(out->proto == PROTO_TCP && n >= 20)) {
		uint16_t off_flags = be16(l + 12);
		uint32_t header = (uint32_t)(off_flags >> 12) * 4;
		out->sport = be16(l);
		out->dport = be16(l + 2);
		out->tcp_seq = be32(l + 4);
		out->tcp_ack = be32(l + 8);
		out->tcp_flags = off_flags & 0x1ff;
		out->flags |= WIRE_HAS_PORTS | WIRE_HAS_TCP;
		if (header >= 20)
			put_payload(out, l, header, n);
	} else if (LIKELY(out->proto == PROTO_UDP && n >= 8)) {
		uint32_t length = be16(l + 4);
		out->sport = be16(l);
		out->dport = be16(l + 2);
		out->flags |= WIRE_HAS_PORTS;
		put_payload(out, l, 8, length >= 8 && length < n ? length : n);
	} else {
		put_rare_transport(out, l, n);
	}
}

/** IPv4 at @off. */
FORCEINLINE enum wire_status
read_ip4(const struct frame *f, uint32_t off, struct wire_pkt *out)
{
	if (UNLIKELY(!has(f, off, 20)))
		return malformed(f, out, off);
	const uint8_t *h = f->p + off;
	uint32_t left = f->caplen - off;
	uint32_t header = (uint32_t)(h[0] & 15) * 4;
	uint32_t length = be16(h + 2);
	if (UNLIKELY(h[0] >> 4 != 4 || header < 20 || header > left))
		return malformed(f, out, off);
	if (UNLIKELY(length < header)) {
		if (length != 0)
			return malformed(f, out, off);
		length = f->wirelen > off ? f->wirelen - off : 0;
	}
	put_link(f, out);
	addr_put_v4(&out->src, h + 12);
	addr_put_v4(&out->dst, h + 16);
	out->ip_version = 4;
	out->tos = h[1];
	out->ttl = h[8];
	out->proto = h[9];
	out->ip_len = length;
	out->l3 = h;
	out->l3_len = left < length ? left : length;
	uint32_t fragment = be16(h + 6) & 0x3fff;
	if (UNLIKELY(fragment != 0)) {
		out->flags |= WIRE_FRAGMENT;
		if ((fragment & 0x1fff) != 0) {
			out->flags |= WIRE_LATER_FRAGMENT;
			return WIRE_IP;
		}
	}
	if (LIKELY(out->l3_len > header))
		put_transport(out, h + header, out->l3_len - header);
	return WIRE_IP;
}

FORCEINLINE bool
is_extension(uint8_t next)
{
	return next == PROTO_HOPOPT || next == PROTO_ROUTING || next == PROTO_DSTOPT ||
	       next == PROTO_FRAGMENT || next == PROTO_AH;
}

/**
 * Skip the extension headers of an IPv6 packet with @left captured bytes. Sets the protocol, and
 * the length when there is a jumbo option. Returns the offset of the transport header, beyond @left
 * when it was not captured.
 */
OUTLINE uint32_t
skip_extensions(const uint8_t *h, uint32_t left, struct wire_pkt *out)
{
	uint8_t next = h[6];
	uint64_t length = out->ip_len;
	uint32_t at = 40;
	while (is_extension(next)) {
		/* a chain that leaves its packet ends here; without a length nothing does */
		if (at + 8 > left || (length > 40 && at + 8 > length))
			break;
		const uint8_t *e = h + at;
		if (next == PROTO_FRAGMENT) {
			uint16_t fragment = be16(e + 2);
			next = e[0];
			at += 8;
			/* offset 0 and no more to come: a whole packet (RFC 6946) */
			if ((fragment & 0xfff9) != 0)
				out->flags |= WIRE_FRAGMENT;
			if ((fragment & 0xfff8) != 0) {
				out->flags |= WIRE_LATER_FRAGMENT;
				break;
			}
			continue;
		}
		uint32_t size = next == PROTO_AH ? (e[1] + 2u) * 4 : (e[1] + 1u) * 8;
		if (next == PROTO_HOPOPT && length == 40 && size == 8 && e[2] == 0xc2 && e[3] == 4)
			length += be32(e + 4);
		next = e[0];
		at += size;
	}
	out->proto = next;
	out->ip_len = length < UINT32_MAX ? (uint32_t)length : UINT32_MAX;
	return at;
}

/** IPv6 at @off. */
FORCEINLINE enum wire_status
read_ip6(const struct frame *f, uint32_t off, struct wire_pkt *out)
{
	if (UNLIKELY(!has(f, off, 40)))
		return malformed(f, out, off);
	const uint8_t *h = f->p + off;
	uint32_t left = f->caplen - off;
	if (UNLIKELY(h[0] >> 4 != 6))
		return malformed(f, out, off);
	put_link(f, out);
	memcpy(out->src.b, h + 8, 16);
	memcpy(out->dst.b, h + 24, 16);
	out->ip_version = 6;
	out->tos = (uint8_t)(be16(h) >> 4);
	out->ttl = h[7];
	out->proto = h[6];
	out->ip_len = 40u + be16(h + 4);
	out->l3 = h;
	uint32_t at = 40;
	if (UNLIKELY(
		out->proto != PROTO_TCP && out->proto != PROTO_UDP && is_extension(out->proto)))
		at = skip_extensions(h, left, out);
	out->l3_len = left < out->ip_len ? left : out->ip_len;
	if (UNLIKELY((out->flags & WIRE_LATER_FRAGMENT) != 0))
		return WIRE_IP;
	if (LIKELY(out->l3_len > at))
		put_transport(out, h + at, out->l3_len - at);
	return WIRE_IP;
}

OUTLINE enum wire_status
slow_ip4(const struct frame *f, uint32_t off, struct wire_pkt *out)
{
	return read_ip4(f, off, out);
}

OUTLINE enum wire_status
slow_ip6(const struct frame *f, uint32_t off, struct wire_pkt *out)
{
	return read_ip6(f, off, out);
}

/** IP of either version; what else there may be depends on who asks. */
static enum wire_status
read_by_nibble(const struct frame *f, uint32_t off, struct wire_pkt *out, enum wire_status other)
{
	uint8_t version = has(f, off, 1) ? f->p[off] >> 4 : 0;
	if (version == 4)
		return slow_ip4(f, off, out);
	if (version == 6)
		return slow_ip6(f, off, out);
	return other == WIRE_MALFORMED ? malformed(f, out, off) : non_ip(f, out);
}

/** An MPLS label stack; its payload says nothing about itself, so the nibble decides. */
static enum wire_status
read_mpls(struct frame *f, uint32_t off, struct wire_pkt *out)
{
	for (bool is_last = false; !is_last; off += 4) {
		if (!has(f, off, 4))
			return malformed(f, out, off);
		uint32_t label = be32(f->p + off);
		is_last = (label & 0x100) != 0;
		if ((f->flags & WIRE_HAS_MPLS) == 0)
			f->mpls_label = label >> 12;
		f->flags |= WIRE_HAS_MPLS;
	}
	return read_by_nibble(f, off, out, WIRE_NON_IP);
}

static enum wire_status
read_ppp(struct frame *f, uint32_t off, struct wire_pkt *out)
{
	if (!has(f, off, 1))
		return malformed(f, out, off);
	uint32_t proto = f->p[off];
	if ((proto & 1) == 0) { /* not compressed to one byte */
		if (!has(f, off, 2))
			return malformed(f, out, off);
		proto = be16(f->p + off);
		off++;
	}
	off++;
	switch (proto) {
	case 0x0021:
		return slow_ip4(f, off, out);
	case 0x0057:
		return slow_ip6(f, off, out);
	case 0x0281:
	case 0x0283:
		return read_mpls(f, off, out);
	default:
		return non_ip(f, out);
	}
}

static bool
is_vlan_type(uint32_t type)
{
	return type == 0x8100 || type == 0x88a8 || type == 0x9100 || type == 0x9200;
}

/** Step over a VLAN tag at *off; the first two are remembered. False: not captured. */
static bool
read_vlan(struct frame *f, uint32_t *off, uint32_t *type)
{
	if (!has(f, *off, 4))
		return false;
	uint16_t id = be16(f->p + *off) & 0xfff;
	if ((f->flags & WIRE_HAS_VLAN) == 0) {
		f->vlan = id;
		f->flags |= WIRE_HAS_VLAN;
	} else if ((f->flags & WIRE_HAS_INNER_VLAN) == 0) {
		f->inner_vlan = id;
		f->flags |= WIRE_HAS_INNER_VLAN;
	}
	*type = be16(f->p + *off + 2);
	*off += 4;
	return true;
}

/** LLC with SNAP and OUI 0 carries an Ethernet type. 0: something else; -1: not captured. */
static int
read_snap(const struct frame *f, uint32_t off)
{
	static const uint8_t snap[6] = {0xaa, 0xaa, 3, 0, 0, 0};
	for (uint32_t i = 0; i < 6; i++) {
		if (!has(f, off, i + 1))
			return i < 3 ? -1 : 0;
		if (f->p[off + i] != snap[i])
			return 0;
	}
	if (!has(f, off, 8))
		return -1;
	uint16_t type = be16(f->p + off + 6);
	return type > 1500 ? type : 0;
}

/** What an Ethernet type announces at @off, through any number of tags. */
OUTLINE enum wire_status
read_type(struct frame *f, uint32_t off, uint32_t type, struct wire_pkt *out)
{
	for (;;) {
		if (type == ETYPE_IP4)
			return slow_ip4(f, off, out);
		if (type == ETYPE_IP6)
			return slow_ip6(f, off, out);
		if (is_vlan_type(type)) {
			if (!read_vlan(f, &off, &type))
				return malformed(f, out, off);
		} else if (type == 0x8847 || type == 0x8848) {
			return read_mpls(f, off, out);
		} else if (type == 0x8864) {
			return read_ppp(f, off + 6, out);
		} else if (type <= 1500) {
			int inner = read_snap(f, off);
			if (inner < 0)
				return malformed(f, out, off);
			if (inner == 0)
				return non_ip(f, out);
			type = (uint32_t)inner;
			off += 8;
		} else {
			return non_ip(f, out);
		}
	}
}

FORCEINLINE struct frame
frame_of(const uint8_t *p, uint32_t caplen, uint32_t wirelen)
{
	return (struct frame){
	    p, caplen, wirelen, 0, 0, 0, 0, caplen < wirelen ? WIRE_TRUNCATED : 0};
}

/** A link header with its Ethernet type at @type_at and the payload at @off. */
FORCEINLINE enum wire_status
decode_typed(struct frame *f, uint32_t type_at, uint32_t off, struct wire_pkt *out)
{
	if (UNLIKELY(!has(f, type_at, 2)))
		return malformed(f, out, 0);
	uint32_t type = be16(f->p + type_at);
	if (LIKELY(type == ETYPE_IP4))
		return read_ip4(f, off, out);
	if (LIKELY(type == ETYPE_IP6))
		return read_ip6(f, off, out);
	return read_type(f, off, type, out);
}

static enum wire_status
decode_ethernet(const uint8_t *p, uint32_t caplen, uint32_t wirelen, struct wire_pkt *out)
{
	struct frame f = frame_of(p, caplen, wirelen);
	f.flags |= caplen >= 12 ? WIRE_HAS_MAC : 0;
	return decode_typed(&f, 12, 14, out);
}

static enum wire_status
decode_sll(const uint8_t *p, uint32_t caplen, uint32_t wirelen, struct wire_pkt *out)
{
	struct frame f = frame_of(p, caplen, wirelen);
	return decode_typed(&f, 14, 16, out);
}

static enum wire_status
decode_sll2(const uint8_t *p, uint32_t caplen, uint32_t wirelen, struct wire_pkt *out)
{
	struct frame f = frame_of(p, caplen, wirelen);
	f.in_if = caplen >= 8 ? be32(p + 4) : 0;
	return decode_typed(&f, 0, 20, out);
}

static enum wire_status
decode_chdlc(const uint8_t *p, uint32_t caplen, uint32_t wirelen, struct wire_pkt *out)
{
	struct frame f = frame_of(p, caplen, wirelen);
	return decode_typed(&f, 2, 4, out);
}

static enum wire_status
decode_raw(const uint8_t *p, uint32_t caplen, uint32_t wirelen, struct wire_pkt *out)
{
	struct frame f = frame_of(p, caplen, wirelen);
	if (LIKELY(caplen > 0 && p[0] >> 4 == 4))
		return read_ip4(&f, 0, out);
	return read_by_nibble(&f, 0, out, WIRE_MALFORMED);
}

static enum wire_status
decode_ip4(const uint8_t *p, uint32_t caplen, uint32_t wirelen, struct wire_pkt *out)
{
	struct frame f = frame_of(p, caplen, wirelen);
	return read_ip4(&f, 0, out);
}

static enum wire_status
decode_ip6(const uint8_t *p, uint32_t caplen, uint32_t wirelen, struct wire_pkt *out)
{
	struct frame f = frame_of(p, caplen, wirelen);
	return read_ip6(&f, 0, out);
}

/** An address family of the BSDs (they differ for IPv6), or of Linux. */
static enum wire_status
read_family(struct frame *f, uint32_t family, struct wire_pkt *out)
{
	if (family == 2)
		return slow_ip4(f, 4, out);
	if (family == 10 || family == 24 || family == 28 || family == 30)
		return slow_ip6(f, 4, out);
	return non_ip(f, out);
}

static enum wire_status
decode_loop(const uint8_t *p, uint32_t caplen, uint32_t wirelen, struct wire_pkt *out)
{
	struct frame f = frame_of(p, caplen, wirelen);
	if (caplen < 4)
		return malformed(&f, out, 0);
	return read_family(&f, be32(p), out);
}

/** The same in the byte order of the machine that captured: a family is less than 65536. */
static enum wire_status
decode_null(const uint8_t *p, uint32_t caplen, uint32_t wirelen, struct wire_pkt *out)
{
	struct frame f = frame_of(p, caplen, wirelen);
	if (caplen < 4)
		return malformed(&f, out, 0);
	uint32_t family = be32(p);
	if (p[0] != 0 || p[1] != 0)
		family = __builtin_bswap32(family);
	return read_family(&f, family, out);
}

static enum wire_status
decode_ppp(const uint8_t *p, uint32_t caplen, uint32_t wirelen, struct wire_pkt *out)
{
	struct frame f = frame_of(p, caplen, wirelen);
	bool is_framed = caplen >= 1 && p[0] == 0xff && (caplen < 2 || p[1] == 3);
	return read_ppp(&f, is_framed ? 2 : 0, out);
}

/** NFLOG: attributes (little-endian length and type, padded to 4); number 9 is the packet. */
static enum wire_status
decode_nflog(const uint8_t *p, uint32_t caplen, uint32_t wirelen, struct wire_pkt *out)
{
	struct frame f = frame_of(p, caplen, wirelen);
	if (caplen == 0)
		return malformed(&f, out, 0);
	for (uint32_t off = 4; has(&f, off, 4);) {
		uint32_t size = (uint32_t)p[off] | (uint32_t)p[off + 1] << 8;
		uint32_t type = (uint32_t)p[off + 2] | (uint32_t)p[off + 3] << 8;
		if (size < 4)
			return malformed(&f, out, off);
		if (type == 9)
			return p[0] == 2 ? slow_ip4(&f, off + 4, out) : slow_ip6(&f, off + 4, out);
		off += (size + 3) & ~3u;
	}
	return non_ip(&f, out);
}

static enum wire_status
decode_unknown(const uint8_t *p, uint32_t caplen, uint32_t wirelen, struct wire_pkt *out)
{
	struct frame f = frame_of(p, caplen, wirelen);
	return non_ip(&f, out);
}

wire_decode_fn *
wire_decoder(int linktype)
{
	switch (linktype) {
	case 1:
		return decode_ethernet;
	case 0:
		return decode_null;
	case 108:
		return decode_loop;
	case 12:
	case 14:
	case 101:
		return decode_raw;
	case 228:
		return decode_ip4;
	case 229:
		return decode_ip6;
	case 113:
		return decode_sll;
	case 276:
		return decode_sll2;
	case 9:
	case 50:
		return decode_ppp;
	case 104:
		return decode_chdlc;
	case 239:
		return decode_nflog;
	default:
		return NULL;
	}
}

bool
wire_linktype_known(int linktype)
{
	return wire_decoder(linktype) != NULL;
}

enum wire_status
wire_packet_decode(
    int linktype, const uint8_t *frame, uint32_t caplen, uint32_t wirelen, struct wire_pkt *out)
{
	if (LIKELY(linktype == 1))
		return decode_ethernet(frame, caplen, wirelen, out);
	wire_decode_fn *decode = wire_decoder(linktype);
	return (decode != NULL ? decode : decode_unknown)(frame, caplen, wirelen, out);
}
