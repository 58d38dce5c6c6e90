/* SPDX-License-Identifier: Apache-2.0
 * fuzz/fuzz_packet.c - frames of any link type. Input: link type (2 octets), octets that the wire
 * had more (2), frame. */
#include <stdlib.h>

#include "base/err.h"
#include "wire/packet.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct wire_pkt p;
	if (size < 4)
		return 0;
	int linktype = data[0] << 8 | data[1];
	uint32_t caplen = (uint32_t)size - 4, more = (uint32_t)(data[2] << 8 | data[3]);
	const uint8_t *frame = data + 4, *end = data + size;
	if (wire_packet_decode(linktype, frame, caplen, caplen + more, &p) != WIRE_IP)
		return 0;
	assert_always(p.ip_version == 4 || p.ip_version == 6);
	assert_always(p.l3 >= frame && p.l3 + p.l3_len <= end && p.l3_len <= p.ip_len);
	assert_always(p.payload == NULL
			  ? p.payload_len == 0
			  : p.payload > p.l3 && p.payload + p.payload_len <= p.l3 + p.l3_len);
	assert_always((p.flags & WIRE_LATER_FRAGMENT) == 0 || (p.flags & WIRE_HAS_PORTS) == 0);
	assert_always((p.flags & WIRE_HAS_PORTS) != 0 || (p.sport == 0 && p.dport == 0));
	return 0;
}
