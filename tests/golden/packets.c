/* SPDX-License-Identifier: Apache-2.0
 * golden/packets.c - print a capture file as flowbus reads it: a line per packet, for corpus.py.
 *
 *     packets FILE          ts_us caplen wirelen linktype status flags [proto src sport dst
 *                           dport bytes tcp_flags vlan]
 *     packets -b FILE       read and decode as fast as possible; counts and rate
 *     packets -r FILE       the same without decoding */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "input/reader.h"
#include "wire/packet.h"

static void
print(const struct flow_frame *f, int linktype)
{
	static const char *const names[] = {"ip", "non_ip", "malformed"};
	struct wire_pkt p = {0};
	enum wire_status st = wire_packet_decode(linktype, f->data, f->caplen, f->wirelen, &p);
	printf("%" PRId64 " %" PRIu32 " %" PRIu32 " %d %s %u", f->ts_us, f->caplen, f->wirelen,
	    linktype, names[st], p.flags);
	if (st == WIRE_IP) {
		struct buf src = buf_init(0), dst = buf_init(0);
		addr_print(&src, &p.src);
		addr_print(&dst, &p.dst);
		printf(" %u %s %u %s %u %" PRIu32 " %u %d", p.proto, buf_cstr(&src), p.sport,
		    buf_cstr(&dst), p.dport, p.ip_len, p.tcp_flags,
		    (p.flags & WIRE_HAS_VLAN) != 0 ? p.vlan : -1);
		buf_fini(&src);
		buf_fini(&dst);
	}
	putchar('\n');
}

int
main(int argc, char **argv)
{
	struct reader *r = NULL;
	struct err err = {0};
	struct flow_frame f[FLOW_BURST];
	int linktype = -1, n;
	uint64_t packets = 0, ports = 0, bytes = 0, start = clock_mono_us();
	bool is_bench = argc == 3 && argv[1][0] == '-' && argv[1][1] == 'b';
	bool is_read = argc == 3 && argv[1][0] == '-' && argv[1][1] == 'r';
	if (argc < 2 || reader_open(argv[argc - 1], -1, &r, &err) != 0) {
		fprintf(stderr, "%s\n", argc < 2 ? "usage: packets [-b | -r] FILE" : err.text);
		return 1;
	}
	while ((n = reader_burst(r, f, FLOW_BURST, &linktype, &err)) != 0) {
		if (n == -E_AGAIN)
			continue;
		if (n < 0) {
			fprintf(stderr, "%s\n", err.text);
			break;
		}
		packets += (unsigned)n;
		for (int i = 0; i < n; i++) {
			struct wire_pkt p;
			if (is_read)
				bytes += f[i].wirelen;
			else if (!is_bench)
				print(&f[i], linktype);
			else if (wire_packet_decode(linktype, f[i].data, f[i].caplen, f[i].wirelen,
				     &p) == WIRE_IP) {
				bytes += p.ip_len;
				ports += p.sport + p.dst.b[15] + p.payload_len;
			}
		}
	}
	struct reader_facts facts = reader_facts(r);
	if (is_bench || is_read) {
		double s = (double)(clock_mono_us() - start) / 1e6;
		printf("%" PRIu64 " packets, %" PRIu64 " octets (%" PRIu64
		       "), %.3f s, %.1f Mpps, %.1f ns\n",
		    packets, bytes, ports, s, (double)packets / s / 1e6, s * 1e9 / (double)packets);
	}
	if (facts.skipped > 0)
		fprintf(stderr, "%" PRIu64 " packets of link type %d skipped\n", facts.skipped,
		    facts.skipped_linktype);
	reader_close(&r);
	return n == 0 ? 0 : 3;
}
