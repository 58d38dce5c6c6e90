/* SPDX-License-Identifier: Apache-2.0
 * flow/direction.h - who opened a flow, when its first packet is all there is to see. */
#ifndef FLOWBUS_FLOW_DIRECTION_H
#define FLOWBUS_FLOW_DIRECTION_H

#include <stdbool.h>

#include "wire/packet.h"

/**
 * Who is the initiator, judged by the first packet of a flow: the one who sends a SYN, the one who
 * talks to a known service or sends an ICMP request, else the sender.
 * *by_out becomes DIRECTION_BY_*. Returns true when the sender is the initiator.
 */
bool flow_direction(const struct wire_pkt *pkt, unsigned *by_out);

/** Is @port one that servers listen on: below 1024 (but clients' own 68 and 546), or well known. */
bool flow_port_is_service(uint16_t port);

#endif
