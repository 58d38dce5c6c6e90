/* SPDX-License-Identifier: Apache-2.0
 * flow/meter.h - packets in, flow records out. One meter per worker, one thread, no lock.
 *
 * The meter owns its table, its timers, its batch pool and its application detection. Time is the
 * packets' own, or what the caller says in flow_meter_tick. Timestamps decide when a flow ends; the
 * timer wheel only exports, so results depend neither on burst size nor on reading speed. */
#ifndef FLOWBUS_FLOW_METER_H
#define FLOWBUS_FLOW_METER_H

#include "base/counter.h"
#include "base/err.h"
#include "batch/batch.h"
#include "batch/stats.h"

struct flow_meter;

struct flow_meter_conf {
	uint64_t active_us, idle_us, tcp_end_us; /* 0: a flow ends with the input */
	uint32_t max_flows;      /* size of the pool */
	uint32_t max_batches;    /* batches that may be out at once */
	uint64_t batch_delay_us; /* seal at the latest this long after the first record (200 ms) */
	bool key_vlan;           /* VLAN id is part of the key */
	bool app_native;         /* native application decoders */
	bool app_ndpi;           /* nDPI for what they leave */
	uint32_t ndpi_flows;     /* nDPI flow structs in the pool */
	uint32_t ndpi_packets;   /* packet budget per flow */
	bool l2;                 /* MAC, VLAN, MPLS fields */
	uint32_t in_if;          /* index of the interface for packets that do not say, 0 unknown */
	const char *interface;   /* its name; borrowed until free */
	const char *probe;       /* name of this probe, put on every record; NULL or "": none */
	uint32_t source;         /* for batch.source */
	/** Takes a sealed batch, always. */
	void (*push)(void *arg, struct batch **b);
	/** One second is complete (of packet time, or of tick time). */
	void (*second)(void *arg, const struct stats_second *s);
	/**
	 * Every batch is out: wait until one may have come home, true; false: give up, the record
	 * is lost and counted. NULL: never wait. For inputs that read files.
	 */
	bool (*wait)(void *arg);
	void *arg;
};

/** The defaults of DESIGN 9: active 60 s, idle 15 s, TCP end 2 s, ... */
void flow_meter_conf_default(struct flow_meter_conf *c);

/** NULL with @err when memory does not suffice or nDPI is wanted and not built in. */
struct flow_meter *flow_meter_new(const struct flow_meter_conf *conf, struct err *err);
/** Flows still in the table are dropped: call flow_meter_flush first. */
void flow_meter_free(struct flow_meter **m);
/** Bytes of memory the meter has reserved and bytes per flow entry. */
void flow_meter_memory(const struct flow_meter *m, uint64_t *total_out, uint32_t *per_flow_out);

/** A captured frame; the bytes are borrowed for the call. */
struct flow_frame {
	const uint8_t *data;
	uint32_t caplen, wirelen;
	int64_t ts_us;
};

enum { FLOW_BURST = 32 };

/**
 * Meter up to FLOW_BURST frames of one link type. Lookups of a burst are prefetched together.
 * @mono_us is only for sealing batches late (batch_delay_us).
 */
void flow_meter_burst(struct flow_meter *m, int linktype, const struct flow_frame *f, unsigned n,
    uint64_t mono_us);

/**
 * Time has come to @ts_us without packets: export what is due, complete seconds, seal a batch that
 * is old enough. Never call it with a time ahead of packets still to come: live capture calls it
 * when its ring is drained, files never need it.
 */
void flow_meter_tick(struct flow_meter *m, int64_t ts_us, uint64_t mono_us);

/** End every flow (end_reason forced), push all records, complete the current second. */
void flow_meter_flush(struct flow_meter *m, uint64_t mono_us);

/** New timeouts from the next packet on. */
void flow_meter_timeouts(struct flow_meter *m, uint64_t active_us, uint64_t idle_us,
    uint64_t tcp_end_us);

/** The interface has another index from the next packet on. The meter's thread. */
void flow_meter_interface(struct flow_meter *m, uint32_t in_if);

/**
 * The meter's counters, to be read from any thread; with counters_read they are of one moment
 * between two bursts.
 */
const struct counters *flow_meter_counters(const struct flow_meter *m);
/**
 * Losses before the meter, for the seconds: totals, not deltas. Counters are not touched, they are
 * the input's. The meter's thread.
 */
void flow_meter_drops(struct flow_meter *m, uint64_t kernel, uint64_t interface);

#endif
