/* SPDX-License-Identifier: Apache-2.0
 * meter_model.h - the rules of the meter (daemon/flow/README.md), written as simply as possible.
 *
 * Packets are plain facts here, never bytes; flows are a list that is searched from the start and
 * looked through for timeouts at every packet. model_frame makes the same packet as bytes for the
 * real meter. Nothing of daemon/flow is used but the numbers of enums and flags. */
#ifndef FLOWBUS_TEST_METER_MODEL_H
#define FLOWBUS_TEST_METER_MODEL_H

#include <stdbool.h>
#include <stdint.h>

#include "flow/meter.h"

enum { MODEL_FLOWS = 4096, MODEL_RECORDS = 65536, MODEL_FRAME = 128 };

enum model_kind { MODEL_IP, MODEL_NON_IP, MODEL_MALFORMED };
enum model_fragment { MODEL_WHOLE, MODEL_FIRST, MODEL_LATER };

/** A packet; hosts are small numbers, v6 chooses the address family. */
struct model_packet {
	enum model_kind kind;
	int64_t ts_us;
	bool v6;
	uint8_t src, dst, proto, tos, ttl, icmp_type, icmp_code, mac;
	uint16_t sport, dport, tcp_flags, ip_len;
	uint32_t seq, ack;
	int vlan, inner_vlan; /* -1: none */
	enum model_fragment fragment;
};

/** A record, every field; what is absent is -1. Compared as bytes. */
struct model_record {
	int64_t start, end, packets, bytes, rev_packets, rev_bytes, fragments;
	int64_t tcp_flags, rev_tcp_flags, tos, rev_tos, ttl, rev_ttl;
	int64_t vlan, rev_vlan, inner_vlan, src_mac, dst_mac, icmp_type, icmp_code;
	int64_t rtt_client, rtt_server, direction_by, end_reason;
	int64_t v6, src, dst, sport, dport, proto;
};

struct model_side {
	uint8_t host;
	uint16_t port;
	int64_t packets, bytes, tcp_flags;
	struct model_packet first; /* of this record */
	bool fin;
};

struct model_flow {
	bool used, counting, finished;
	bool v6;
	uint8_t proto;
	int vlan;
	struct model_side side[2]; /* 0 is the initiator */
	int by;
	int64_t first, last, start, end, fragments;
	/* handshake */
	int stage, syn_side;
	int64_t stage_us, rtt_client, rtt_server;
	uint32_t stage_seq;
};

struct model {
	int64_t active, idle, tcp_end; /* 0: never */
	bool key_vlan;
	int64_t now, offset;
	int n_back;
	uint64_t seen, metered, non_ip, malformed, back, fragments, opened;
	struct model_flow flow[MODEL_FLOWS];
	struct model_record record[MODEL_RECORDS];
	unsigned n_records;
};

void model_packet(struct model *m, const struct model_packet *p);
/** End everything that is due now. */
void model_due(struct model *m);
void model_flush(struct model *m);

/** The packet as an Ethernet frame in @buf. */
struct flow_frame model_frame(const struct model_packet *p, uint8_t buf[MODEL_FRAME]);
/** Rows of a batch as records. */
void model_read(const struct batch *b, struct model_record *out);

#endif
