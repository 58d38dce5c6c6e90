/* SPDX-License-Identifier: Apache-2.0
 * flow/direction.c - the initiator by SYN, by known service, by first packet (direction.h). */
#include "flow/direction.h"

/* Registered or customary server ports above 1023, ascending. */
static const uint16_t high_services[] = {1080, 1194, 1433, 1434, 1494, 1521, 1701, 1720, 1723, 1812,
    1813, 1883, 1900, 1935, 2049, 2055, 2181, 2375, 2376, 2404, 3128, 3260, 3268, 3269, 3306, 3389,
    3478, 3479, 4369, 4500, 4739, 4789, 5004, 5060, 5061, 5222, 5223, 5269, 5353, 5355, 5432, 5556,
    5671, 5672, 5683, 5684, 5900, 5938, 5984, 5985, 5986, 6343, 6379, 6443, 6667, 6881, 7000, 8000,
    8008, 8080, 8081, 8086, 8088, 8333, 8443, 8472, 8883, 8888, 9000, 9042, 9090, 9092, 9100, 9200,
    9300, 9418, 10050, 10051, 10250, 11211, 25565, 27017, 44818, 47808, 51820};

bool
flow_port_is_service(uint16_t port)
{
	if (port < 1024)
		return port != 0 && port != 68 && port != 546;
	unsigned lo = 0, hi = sizeof high_services / sizeof high_services[0];
	while (lo < hi) {
		unsigned mid = (lo + hi) / 2;
		if (high_services[mid] < port)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo < sizeof high_services / sizeof high_services[0] && high_services[lo] == port;
}

/* 1: the sender is the initiator; -1: the receiver; 0: the type does not say. */
static int
icmp_asks(uint8_t proto, uint8_t type)
{
	if (proto == 1)
		switch (type) {
		case 8:
		case 13:
		case 15:
		case 17: /* echo, timestamp, information, mask request */
			return 1;
		case 0:
		case 14:
		case 16:
		case 18:
			return -1;
		default:
			return 0;
		}
	switch (type) {
	case 128:
	case 139:
	case 144: /* echo, node information, home agent request */
		return 1;
	case 129:
	case 140:
	case 145:
		return -1;
	default:
		return 0;
	}
}

/* The same for ports: only one end is a service; below 1024 counts more than well known. */
static int
ports_ask(uint16_t sport, uint16_t dport)
{
	bool s = flow_port_is_service(sport), d = flow_port_is_service(dport);
	if (s && d) {
		s = sport < 1024;
		d = dport < 1024;
	}
	return s == d ? 0 : d ? 1 : -1;
}

bool
flow_direction(const struct wire_pkt *pkt, unsigned *by_out)
{
	int asks = 0;
	if ((pkt->flags & WIRE_HAS_TCP) != 0 && (pkt->tcp_flags & TCP_syn) != 0) {
		*by_out = DIRECTION_BY_SYN;
		return (pkt->tcp_flags & TCP_ack) == 0;
	}
	if ((pkt->flags & WIRE_HAS_ICMP) != 0)
		asks = icmp_asks(pkt->proto, pkt->icmp_type);
	else if ((pkt->flags & WIRE_HAS_PORTS) != 0)
		asks = ports_ask(pkt->sport, pkt->dport);
	*by_out = asks != 0 ? DIRECTION_BY_SERVICE : DIRECTION_BY_FIRST;
	return asks >= 0;
}
