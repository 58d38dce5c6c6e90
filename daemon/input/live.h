/* SPDX-License-Identifier: Apache-2.0
 * input/live.h - the packet sockets of one interface, one per worker, sharing it by flow.
 *
 * libpcap with its TPACKET_V3 ring. Several sockets join one PACKET_FANOUT_HASH group, whose hash
 * keeps both directions of a flow together. A socket receives everything from the moment it is made
 * until it has joined, so each first gets a filter that rejects all; when all have joined and what
 * slipped in is thrown away, the real filter goes in: no packet is seen twice. */
#ifndef FLOWBUS_INPUT_LIVE_H
#define FLOWBUS_INPUT_LIVE_H

#include <pcap/pcap.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

/*
 * A block of the ring is handed over at the latest LIVE_BLOCK_MS after its first packet, twice that
 * when the kernel's timer is unlucky; so a drained ring has given all packets older than the
 * margin.
 */
enum { LIVE_BLOCK_MS = 20, LIVE_MARGIN_US = 100000 };

struct live_conf {
	const char *device, *filter;
	int snaplen;
	bool promisc;
	uint64_t ring; /* octets per socket */
};

struct live {
	pcap_t *pcap;
	int fd; /* to wait on */
	int linktype;
	unsigned ifindex; /* 0 for the device "any" */
};

/**
 * Open @n sockets. 0, or -E_* with @err saying what to try, and nothing open; -E_AGAIN when the
 * interface is there and down.
 */
int live_open(const struct live_conf *conf, struct live *handles, unsigned n, struct err *err);
/** Would libpcap take this filter on an Ethernet interface? 0, or -E_SYNTAX with @err. */
int live_filter_check(const struct live_conf *conf, struct err *err);

/** A 32-bit count of libpcap's, which wraps within an hour at a million a second, as 64 bits. */
struct live_count {
	uint64_t total;
	uint32_t seen; /* the newest value; 0 for a new socket */
};

static inline void
live_count_add(struct live_count *c, uint32_t now)
{
	c->total += (uint32_t)(now - c->seen);
	c->seen = now;
}

void live_close(struct live *h);
/** Is this the device that means all interfaces? */
bool live_is_any(const char *device);

enum live_link { LIVE_UP, LIVE_LINK_DOWN, LIVE_GONE, LIVE_REPLACED };
/** What has become of the interface since it was opened with @ifindex. */
enum live_link live_check(const char *device, unsigned ifindex);

#endif
