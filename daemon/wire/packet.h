/* SPDX-License-Identifier: Apache-2.0
 * wire/packet.h - a captured frame to the facts a meter needs. Pure; trusts nothing.
 *
 * Rules: skipped before the IP header are VLAN tags (0x8100 0x88a8 0x9100 0x9200), PPPoE sessions,
 * MPLS stacks whose payload nibble is 4 or 6, LLC/SNAP with OUI 0. The outermost IP header counts;
 * tunnels are not followed. IP length is what the header declares (jumbo option honoured); total
 * length 0 means what is left on the wire. IPv6 extension headers 0 43 60 44 51 are skipped to find
 * the protocol. Ports for TCP UDP DCCP SCTP UDP-Lite when captured and not in a later fragment. */
#ifndef FLOWBUS_WIRE_PACKET_H
#define FLOWBUS_WIRE_PACKET_H

#include <stdbool.h>
#include <stdint.h>

#include "schema/value.h"

enum wire_status { WIRE_IP, WIRE_NON_IP, WIRE_MALFORMED };

enum {
	WIRE_FRAGMENT = 1 << 0,       /* any fragment (offset > 0 or more fragments) */
	WIRE_LATER_FRAGMENT = 1 << 1, /* offset > 0: no ports, no payload */
	WIRE_HAS_PORTS = 1 << 2,
	WIRE_HAS_TCP = 1 << 3,        /* TCP flags were captured */
	WIRE_HAS_ICMP = 1 << 4,       /* type and code were captured */
	WIRE_HAS_MAC = 1 << 5,
	WIRE_HAS_VLAN = 1 << 6,
	WIRE_HAS_INNER_VLAN = 1 << 7,
	WIRE_HAS_MPLS = 1 << 8,
	WIRE_TRUNCATED = 1 << 9,      /* fewer bytes captured than on the wire */
};

struct wire_pkt {
	struct addr src, dst;
	uint16_t sport, dport; /* 0 where there are none */
	uint8_t proto, ip_version;
	uint8_t tos, ttl;
	uint16_t flags;        /* WIRE_* */
	uint16_t tcp_flags;    /* TCP_* (9 bits) */
	uint8_t icmp_type, icmp_code;
	uint16_t vlan, inner_vlan;
	uint32_t mpls_label;
	uint32_t in_if;        /* index of the interface where the link header names it (SLL2), or 0 */
	uint32_t ip_len;       /* declared in the header */
	const uint8_t *mac;    /* 12 bytes dst, src; NULL unless WIRE_HAS_MAC; borrowed */
	const uint8_t *l3;     /* IP header; borrowed from the frame */
	uint32_t l3_len;       /* captured bytes from there, within the IP length */
	const uint8_t *payload;/* after TCP/UDP header; NULL when none was captured or later fragment */
	uint32_t payload_len;  /* captured bytes of it, within the IP length */
	uint32_t tcp_seq, tcp_ack; /* host order; 0 unless WIRE_HAS_TCP */
};

/** Decodes frames of one link type; as wire_packet_decode. */
typedef enum wire_status wire_decode_fn(const uint8_t *frame, uint32_t caplen, uint32_t wirelen,
    struct wire_pkt *out);

/** The decoder of a DLT_/LINKTYPE_ value, to be looked up once a burst; NULL when unknown. */
wire_decode_fn *wire_decoder(int linktype);

/** Can wire_packet_decode read this DLT_/LINKTYPE_ value? */
bool wire_linktype_known(int linktype);

/**
 * Decode one frame of @caplen captured and @wirelen original bytes.
 * @out is written in full for WIRE_IP; for the others only flags and l3 are meaningful.
 */
enum wire_status wire_packet_decode(int linktype, const uint8_t *frame, uint32_t caplen,
    uint32_t wirelen, struct wire_pkt *out);

#endif
