/* SPDX-License-Identifier: Apache-2.0
 * unit/wire/test_packet.c - hand-made frames of every encapsulation, whole and cut at every octet.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "wire/packet.h"

#define MACS "020000000002" "020000000001"
#define TCP \
	"0050c001" \
	"11223344" \
	"55667788" \
	"5118" \
	"ffff" \
	"00000000" \
	"474554" /* NS|ACK|PSH, "GET" */
#define IP4_TCP "4510002b" "00010000" "40060000" "0a000001" "0a000002" TCP      /* 43 octets */
#define UDP "14e90035" "000a0000" "6162"
#define IP4_UDP "4500001e" "00010000" "40110000" "c0000201" "c0000202" UDP
#define A6 "20010db8000000000000000000000001"
#define B6 "20010db8000000000000000000000002"
#define IP6_UDP "6ab00000" "000a1140" A6 B6 UDP

static uint8_t *
unhex(const char *hex, uint32_t *n)
{
	*n = (uint32_t)strlen(hex) / 2;
	uint8_t *p = malloc(*n + 1);
	for (uint32_t i = 0; i < *n; i++) {
		unsigned v;
		assert_int_equal(sscanf(hex + 2 * i, "%2x", &v), 1);
		p[i] = (uint8_t)v;
	}
	return p;
}

/** Decode an exact copy of @caplen octets, so that a read beyond is seen by sanitizers. */
static enum wire_status
decode(int linktype, const uint8_t *p, uint32_t caplen, uint32_t wirelen, struct wire_pkt *out)
{
	uint8_t *copy = malloc(caplen > 0 ? caplen : 1);
	memcpy(copy, p, caplen);
	memset(out, 0xa5, sizeof(*out));
	enum wire_status st = wire_packet_decode(linktype, copy, caplen, wirelen, out);
	if (st == WIRE_IP) { /* borrowed pointers stay inside */
		assert_true(out->l3 >= copy && out->l3 + out->l3_len <= copy + caplen);
		if (out->payload != NULL)
			assert_true(out->payload >= out->l3 &&
			    out->payload + out->payload_len <= out->l3 + out->l3_len);
		else
			assert_int_equal(out->payload_len, 0);
		assert_true(out->mac == ((out->flags & WIRE_HAS_MAC) != 0 ? copy : NULL));
	}
	free(copy);
	return st;
}

/** What a whole frame says, and what it says once it is cut anywhere. */
struct want {
	const char *what, *hex;
	int linktype;
	enum wire_status status;
	uint8_t version, proto;
	uint16_t sport, dport;
	uint32_t ip_len;
	uint16_t flags;   /* all of them */
	uint32_t ip_at;   /* offset of the IP header */
	uint32_t payload; /* octets */
	int vlan, inner_vlan, mpls;
};

enum { E = WIRE_HAS_MAC, P = WIRE_HAS_PORTS, T = WIRE_HAS_PORTS | WIRE_HAS_TCP };

static const struct want table[] = {
    {"ip4 tcp", MACS "0800" IP4_TCP, 1, WIRE_IP, 4, 6, 80, 49153, 43, E | T, 14, 3, 0, 0, 0},
    {"ip4 udp", MACS "0800" IP4_UDP, 1, WIRE_IP, 4, 17, 5353, 53, 30, E | P, 14, 2, 0, 0, 0},
    {"padding", MACS "0800" IP4_UDP "0000000000000000", 1, WIRE_IP, 4, 17, 5353, 53, 30, E | P, 14,
	2, 0, 0, 0},
    {"ip6 udp", MACS "86dd" IP6_UDP, 1, WIRE_IP, 6, 17, 5353, 53, 50, E | P, 14, 2, 0, 0, 0},
    {"vlan",
	MACS "8100"
	     "2064"
	     "0800" IP4_UDP,
	1, WIRE_IP, 4, 17, 5353, 53, 30, E | P | WIRE_HAS_VLAN, 18, 2, 100, 0, 0},
    {"qinq",
	MACS "88a8"
	     "0064"
	     "8100"
	     "00c8"
	     "86dd" IP6_UDP,
	1, WIRE_IP, 6, 17, 5353, 53, 50, E | P | WIRE_HAS_VLAN | WIRE_HAS_INNER_VLAN, 22, 2, 100,
	200, 0},
    {"three tags",
	MACS "9100"
	     "0001"
	     "9200"
	     "0002"
	     "8100"
	     "0003"
	     "0800" IP4_UDP,
	1, WIRE_IP, 4, 17, 5353, 53, 30, E | P | WIRE_HAS_VLAN | WIRE_HAS_INNER_VLAN, 26, 2, 1, 2,
	0},
    {"mpls",
	MACS "8847"
	     "000102ff"
	     "0000a1ff" IP4_UDP,
	1, WIRE_IP, 4, 17, 5353, 53, 30, E | P | WIRE_HAS_MPLS, 22, 2, 0, 0, 16},
    {"mpls ethernet",
	MACS "8847"
	     "000101ff"
	     "00000000" MACS,
	1, WIRE_NON_IP, 0, 0, 0, 0, 0, E | WIRE_HAS_MPLS, 0, 0, 0, 0, 0},
    {"pppoe",
	MACS "8864"
	     "11000001"
	     "0020"
	     "0021" IP4_UDP,
	1, WIRE_IP, 4, 17, 5353, 53, 30, E | P, 22, 2, 0, 0, 0},
    {"pppoe short protocol",
	MACS "8864"
	     "11000001"
	     "0033"
	     "57" IP6_UDP,
	1, WIRE_IP, 6, 17, 5353, 53, 50, E | P, 21, 2, 0, 0, 0},
    {"pppoe lcp",
	MACS "8864"
	     "11000001"
	     "0006"
	     "c021"
	     "01010004",
	1, WIRE_NON_IP, 0, 0, 0, 0, 0, E, 0, 0, 0, 0, 0},
    {"snap",
	MACS "0026"
	     "aaaa03000000"
	     "0800" IP4_UDP,
	1, WIRE_IP, 4, 17, 5353, 53, 30, E | P, 22, 2, 0, 0, 0},
    {"snap, vendor",
	MACS "0026"
	     "aaaa0300000c"
	     "0800" IP4_UDP,
	1, WIRE_NON_IP, 0, 0, 0, 0, 0, E, 0, 0, 0, 0, 0},
    {"stp",
	MACS "0026"
	     "424203"
	     "0000000000",
	1, WIRE_NON_IP, 0, 0, 0, 0, 0, E, 0, 0, 0, 0, 0},
    {"arp",
	MACS "0806"
	     "0001080006040001",
	1, WIRE_NON_IP, 0, 0, 0, 0, 0, E, 0, 0, 0, 0, 0},
    {"version 5",
	MACS "0800"
	     "5500001e00010000401100000a0000010a000002" UDP,
	1, WIRE_MALFORMED, 0, 0, 0, 0, 0, E, 14, 0, 0, 0, 0},
    {"header length 4",
	MACS "0800"
	     "4100001e00010000401100000a0000010a000002" UDP,
	1, WIRE_MALFORMED, 0, 0, 0, 0, 0, E, 14, 0, 0, 0, 0},
    {"total length 19",
	MACS "0800"
	     "4500001300010000401100000a0000010a000002" UDP,
	1, WIRE_MALFORMED, 0, 0, 0, 0, 0, E, 14, 0, 0, 0, 0},
    {"total length 0",
	MACS "0800"
	     "4500000000010000401100000a0000010a000002" UDP,
	1, WIRE_IP, 4, 17, 5353, 53, 30, E | P, 14, 2, 0, 0, 0},
    {"ip4 options",
	MACS "0800"
	     "460000220001000040110000c0000201c0000202"
	     "94040000" UDP,
	1, WIRE_IP, 4, 17, 5353, 53, 34, E | P, 14, 2, 0, 0, 0},
    {"first fragment",
	MACS "0800"
	     "4500001e0001200040110000c0000201c0000202" UDP,
	1, WIRE_IP, 4, 17, 5353, 53, 30, E | P | WIRE_FRAGMENT, 14, 2, 0, 0, 0},
    {"later fragment",
	MACS "0800"
	     "4500001e0001200540110000c0000201c0000202" UDP,
	1, WIRE_IP, 4, 17, 0, 0, 30, E | WIRE_FRAGMENT | WIRE_LATER_FRAGMENT, 14, 0, 0, 0, 0},
    {"tiny first fragment", /* ports, and no flags that the next one could overwrite */
	MACS "0800"
	     "4500001c0001200040060000c0000201c0000202"
	     "0050c00111223344",
	1, WIRE_IP, 4, 6, 80, 49153, 28, E | P | WIRE_FRAGMENT, 14, 0, 0, 0, 0},
    {"overlapping tiny fragment",
	MACS "0800"
	     "4500001c0001000140060000c0000201c0000202"
	     "5566778851180000",
	1, WIRE_IP, 4, 6, 0, 0, 28, E | WIRE_FRAGMENT | WIRE_LATER_FRAGMENT, 14, 0, 0, 0, 0},
    {"last fragment",
	MACS "0800"
	     "4500001e0001000540110000c0000201c0000202" UDP,
	1, WIRE_IP, 4, 17, 0, 0, 30, E | WIRE_FRAGMENT | WIRE_LATER_FRAGMENT, 14, 0, 0, 0, 0},
    {"icmp",
	"4500001c0001000040010000c0000201c0000202"
	"0800f7ff00000000",
	228, WIRE_IP, 4, 1, 0, 0, 28, WIRE_HAS_ICMP, 0, 0, 0, 0, 0},
    {"sctp",
	"450000200001000040840000c0000201c0000202"
	"0b590b59000000000000000c",
	101, WIRE_IP, 4, 132, 2905, 2905, 32, P, 0, 0, 0, 0, 0},
    {"udp-lite",
	"4500001e0001000040880000c0000201c0000202"
	"14e9003500080000"
	"6162",
	12, WIRE_IP, 4, 136, 5353, 53, 30, P, 0, 2, 0, 0, 0},
    {"ah in ip4 is the protocol",
	"450000200001000040330000c0000201c0000202"
	"110100000000000000000000",
	14, WIRE_IP, 4, 51, 0, 0, 32, 0, 0, 0, 0, 0, 0},
    /* hop-by-hop, destination options, routing (16 octets), AH (16), then UDP */
    {"extension chain",
	"6000000000420040" A6 B6 "3c00010400000000"
	"2b00010400000000"
	"3301000000000000"
	"0000000000000000"
	"1102000000000000"
	"0000000000000000" UDP,
	229, WIRE_IP, 6, 17, 5353, 53, 106, P, 0, 2, 0, 0, 0},
    {"atomic fragment", "6000000000122c40" A6 B6 "1100000000000001" UDP, 229, WIRE_IP, 6, 17, 5353,
	53, 58, P, 0, 2, 0, 0, 0},
    {"ip6 first fragment", "6000000000122c40" A6 B6 "1100000100000001" UDP, 229, WIRE_IP, 6, 17,
	5353, 53, 58, P | WIRE_FRAGMENT, 0, 2, 0, 0, 0},
    {"ip6 later fragment", "6000000000122c40" A6 B6 "1100000800000001" UDP, 229, WIRE_IP, 6, 17, 0,
	0, 58, WIRE_FRAGMENT | WIRE_LATER_FRAGMENT, 0, 0, 0, 0, 0},
    {"chain leaves the packet",
	"6000000000043c40" A6 B6 "11000104000000"
	"00" UDP,
	229, WIRE_IP, 6, 60, 0, 0, 44, 0, 0, 0, 0, 0, 0},
    {"jumbo", "6000000000000040" A6 B6 "1100c20400011000" UDP, 229, WIRE_IP, 6, 17, 5353, 53,
	40 + 0x11000, P | WIRE_TRUNCATED, 0, 2, 0, 0, 0},
    {"icmp6", "6000000000083a40" A6 B6 "8700000000000000", 229, WIRE_IP, 6, 58, 0, 0, 48,
	WIRE_HAS_ICMP, 0, 0, 0, 0, 0},
    {"null, little", "02000000" IP4_UDP, 0, WIRE_IP, 4, 17, 5353, 53, 30, P, 4, 2, 0, 0, 0},
    {"null, big, ip6", "0000001e" IP6_UDP, 0, WIRE_IP, 6, 17, 5353, 53, 50, P, 4, 2, 0, 0, 0},
    {"null, other", "07000000" IP4_UDP, 0, WIRE_NON_IP, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0},
    {"loop", "00000018" IP6_UDP, 108, WIRE_IP, 6, 17, 5353, 53, 50, P, 4, 2, 0, 0, 0},
    {"raw, other version", "7500001e", 101, WIRE_MALFORMED, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0},
    {"cooked", "00000001000602000000000100000800" IP4_UDP, 113, WIRE_IP, 4, 17, 5353, 53, 30, P, 16,
	2, 0, 0, 0},
    {"cooked 2", "0800000000000002000104060200000000010000" IP4_UDP, 276, WIRE_IP, 4, 17, 5353, 53,
	30, P, 20, 2, 0, 0, 0},
    {"ppp", "ff030021" IP4_UDP, 9, WIRE_IP, 4, 17, 5353, 53, 30, P, 4, 2, 0, 0, 0},
    {"ppp, no framing", "0057" IP6_UDP, 50, WIRE_IP, 6, 17, 5353, 53, 50, P, 2, 2, 0, 0, 0},
    {"ppp mpls",
	"0281"
	"00010140" IP4_UDP,
	50, WIRE_IP, 4, 17, 5353, 53, 30, P | WIRE_HAS_MPLS, 6, 2, 0, 0, 16},
    {"chdlc", "0f000800" IP4_UDP, 104, WIRE_IP, 4, 17, 5353, 53, 30, P, 4, 2, 0, 0, 0},
    {"nflog",
	"02000000"
	"0800010000000000"
	"05000a0061000000"
	"22000900" IP4_UDP,
	239, WIRE_IP, 4, 17, 5353, 53, 30, P, 24, 2, 0, 0, 0},
    {"nflog, attribute of 3",
	"02000000"
	"03000100",
	239, WIRE_MALFORMED, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0},
    {"unknown link type", MACS "0800" IP4_UDP, 147, WIRE_NON_IP, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0},
};

static void
check_whole(const struct want *w, enum wire_status st, const struct wire_pkt *p)
{
	assert_int_equal(st, w->status);
	assert_int_equal(p->flags, w->flags);
	if (st != WIRE_IP)
		return;
	assert_int_equal(p->ip_version, w->version);
	assert_int_equal(p->proto, w->proto);
	assert_int_equal(p->sport, w->sport);
	assert_int_equal(p->dport, w->dport);
	assert_int_equal(p->ip_len, w->ip_len);
	assert_int_equal(p->payload_len, w->payload);
	assert_int_equal(p->vlan, w->vlan);
	assert_int_equal(p->inner_vlan, w->inner_vlan);
	assert_int_equal(p->mpls_label, w->mpls);
	assert_int_equal(addr_is_v4(&p->src), w->version == 4);
}

static void
test_table(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		const struct want *w = &table[i];
		struct wire_pkt p;
		uint32_t n;
		uint8_t *frame = unhex(w->hex, &n);
		bool is_jumbo = (w->flags & WIRE_TRUNCATED) != 0;
		enum wire_status st = decode(w->linktype, frame, n, is_jumbo ? 0x11028 : n, &p);
		print_message("%s\n", w->what);
		check_whole(w, st, &p);
		free(frame);
	}
}

/** The same frames cut at every octet: nothing is invented, lengths stay what the header says. */
static void
test_cut(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		const struct want *w = &table[i];
		uint32_t n, header = w->version == 4 ? 20 : 40;
		uint8_t *frame = unhex(w->hex, &n);
		for (uint32_t cap = 0; cap < n; cap++) {
			struct wire_pkt p;
			enum wire_status st = decode(w->linktype, frame, cap, n, &p);
			assert_true((p.flags & WIRE_TRUNCATED) != 0);
			if (w->status != WIRE_IP) {
				assert_int_not_equal(st, WIRE_IP);
				continue;
			}
			if (st != WIRE_IP) {
				/* only while the headers up to IP's own are not all there */
				assert_true(cap < w->ip_at + header + 4);
				continue;
			}
			assert_true(cap >= w->ip_at + header);
			if (w->proto != 60 && strcmp(w->what, "jumbo") != 0)
				assert_int_equal(p.ip_len, w->ip_len);
			if ((p.flags & WIRE_HAS_PORTS) != 0) {
				assert_int_equal(p.sport, w->sport);
				assert_int_equal(p.dport, w->dport);
			} else {
				assert_int_equal(p.sport + p.dport, 0);
			}
			assert_true(p.payload_len <= w->payload);
		}
		free(frame);
	}
}

static void
test_fields(void **state)
{
	(void)state;
	struct wire_pkt p;
	uint32_t n;
	uint8_t *f = unhex(MACS "0800" IP4_TCP, &n);
	assert_int_equal(wire_packet_decode(1, f, n, n, &p), WIRE_IP);
	assert_int_equal(p.tos, 0x10);
	assert_int_equal(p.ttl, 64);
	assert_int_equal(p.tcp_seq, 0x11223344);
	assert_int_equal(p.tcp_ack, 0x55667788);
	assert_int_equal(p.tcp_flags, 0x118); /* the ninth bit too */
	assert_memory_equal(p.src.b, "\0\0\0\0\0\0\0\0\0\0\xff\xff\x0a\0\0\x01", 16);
	assert_memory_equal(p.dst.b, "\0\0\0\0\0\0\0\0\0\0\xff\xff\x0a\0\0\x02", 16);
	assert_memory_equal(p.payload, "GET", 3);
	assert_ptr_equal(p.mac, f);
	assert_ptr_equal(p.l3, f + 14);
	assert_int_equal(p.l3_len, 43);
	/* 14 octets of TCP: flags but no payload; 13: not even flags */
	assert_int_equal(wire_packet_decode(1, f, 14 + 20 + 14, n, &p), WIRE_IP);
	assert_int_equal(p.flags, E | T | WIRE_TRUNCATED);
	assert_int_equal(p.tcp_flags, 0x118);
	assert_null(p.payload);
	assert_int_equal(wire_packet_decode(1, f, 14 + 20 + 13, n, &p), WIRE_IP);
	assert_int_equal(p.flags, E | P | WIRE_TRUNCATED);
	assert_int_equal(p.tcp_flags + p.tcp_seq + p.tcp_ack, 0);
	/* a data offset that points into the header: no payload */
	f[14 + 20 + 12] = 0x41;
	assert_int_equal(wire_packet_decode(1, f, n, n, &p), WIRE_IP);
	assert_null(p.payload);
	free(f);
	f = unhex(MACS "86dd" IP6_UDP, &n);
	assert_int_equal(wire_packet_decode(1, f, n, n, &p), WIRE_IP);
	assert_int_equal(p.tos, 0xab);
	assert_int_equal(p.src.b[15], 1);
	assert_int_equal(p.dst.b[15], 2);
	assert_int_equal(p.in_if, 0);
	free(f);
	/* the cooked form of all interfaces says which one */
	f = unhex("0800000000010203000104060200000000010000" IP4_UDP, &n);
	assert_int_equal(wire_packet_decode(276, f, n, n, &p), WIRE_IP);
	assert_int_equal(p.in_if, 0x10203);
	free(f);
}

/** Each link type has one decoder, the same through either way. */
static void
test_linktypes(void **state)
{
	(void)state;
	static const int known[] = {0, 1, 9, 12, 14, 50, 101, 104, 108, 113, 228, 229, 239, 276};
	unsigned n = 0;
	for (int lt = -1; lt < 400; lt++) {
		bool want = n < sizeof(known) / sizeof(known[0]) && known[n] == lt;
		assert_int_equal(wire_linktype_known(lt), want);
		assert_int_equal(wire_decoder(lt) != NULL, want);
		n += want;
	}
}

/** Random octets behind every link type: whatever they say, pointers stay inside. */
static void
test_random(void **state)
{
	(void)state;
	static const int known[] = {0, 1, 9, 12, 14, 50, 101, 104, 108, 113, 228, 229, 239, 276};
	static const uint8_t likely[] = {
	    0, 6, 8, 17, 43, 44, 51, 60, 0x45, 0x60, 0x81, 0x86, 0x88, 0xdd, 0xaa, 3, 0x64, 0x47};
	srand(7);
	for (int i = 0; i < 200000; i++) {
		uint8_t b[160];
		struct wire_pkt p;
		uint32_t n = (uint32_t)rand() % sizeof(b);
		for (uint32_t k = 0; k < n; k++)
			b[k] = rand() % 3 != 0 ? likely[(size_t)rand() % sizeof(likely)] : (uint8_t)rand();
		(void)decode(known[(size_t)rand() % (sizeof(known) / sizeof(known[0]))], b, n,
		    (uint32_t)rand() % 2000, &p);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_table),
	    cmocka_unit_test(test_cut),
	    cmocka_unit_test(test_fields),
	    cmocka_unit_test(test_linktypes),
	    cmocka_unit_test(test_random),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
