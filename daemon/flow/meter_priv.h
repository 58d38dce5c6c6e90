/* SPDX-License-Identifier: Apache-2.0
 * flow/meter_priv.h - the inside of a meter, shared by meter.c, account.c, end.c and second.c. */
#ifndef FLOWBUS_FLOW_METER_PRIV_H
#define FLOWBUS_FLOW_METER_PRIV_H

#include "flow/app.h"
#include "flow/meter.h"
#include "flow/record.h"
#include "flow/table.h"
#include "flow/wheel.h"

#define METER_NEVER INT64_MAX

enum {
	METER_STEP_US = 60 * 1000000, /* further back than this is a step of the clock ... */
	METER_STEP_PACKETS = 64,      /* ... when so many in a row are */
	METER_EMPTY_SECONDS = 10,     /* seconds without packets that are reported in a row */
	METER_TALLY_APPS = 4096,      /* different applications counted in one second */
};

/* Packet times are held within these, so that no sum of times overflows. */
#define METER_TIME_MAX	(INT64_C(1) << 53)
#define METER_SPAN_MAX	(INT64_C(1) << 53)
#define METER_CLOCK_MAX (INT64_C(1) << 61)

struct meter_tally {
	uint64_t flows, bytes;
};

/* The second being counted: totals when it began, and applications of flows ended since. */
struct meter_second {
	int64_t number; /* seconds since the epoch */
	int64_t end;	/* meter clock at which it is complete */
	uint64_t packets, bytes, non_ip, malformed, opened, ended, no_flow, kernel, interface;
	struct meter_tally *tally; /* by application, 65536 of them; NULL without detection */
	uint16_t *touched;	   /* those that are not zero */
	uint32_t n_touched;
};

struct flow_meter {
	struct flow_table table;
	struct wheel wheel, closing; /* idle and active timeouts; finished flows */

	/* time: the meter clock is packet time + offset and never goes back */
	int64_t now, offset, next_event;
	int64_t idle, active, tcp_end; /* METER_NEVER: none */
	int64_t silence_finished;      /* the lesser of idle and tcp_end */
	int64_t span;	 /* the lesser of idle and active: nobody is queued for later */
	uint32_t n_back; /* packets in a row that look like a step of the clock */
	bool started;

	uint64_t tot[C_COUNT]; /* counters, published after each burst */
	uint64_t active_flows; /* records being counted */
	uint64_t mono_us;
	uint64_t batch_since_us;
	struct record_writer writer;
	struct batch_pool *pool;
	struct app_engine *app; /* NULL: off */
	struct meter_second second;
	uint64_t drops_kernel, drops_if;
	struct flow_meter_conf conf;
	struct counters counters;
};

/** One packet of a burst, looked up. */
struct meter_look {
	struct flow_key key;
	uint64_t hash;
	unsigned side; /* who sent it */
	enum wire_status status;
};

/* account.c */

/** Account an IP packet; the clock has been set. @ts_us is its own time. */
void meter_account(
    struct flow_meter *m, const struct meter_look *l, const struct wire_pkt *pkt, int64_t ts_us);

/* end.c */

struct meter_due {
	int64_t at; /* meter clock; METER_NEVER */
	uint8_t reason;
};

/** When and why a flow will end if nothing more comes. */
struct meter_due meter_due(const struct flow_meter *m, const struct flow *f);
/**
 * End what has to end before a packet with these TCP flags is accounted to entry @i. Returns @i,
 * or FLOW_NONE when the entry has left the table.
 */
uint32_t meter_end_before(struct flow_meter *m, uint32_t i, uint16_t tcp_flags);
/** Make room in a full pool: the flow silent for longest leaves. */
void meter_evict(struct flow_meter *m);
/** Put an entry into the wheel where its next due time is, unless it is there or has none. */
void meter_queue(struct flow_meter *m, uint32_t i);
/** The same for a flow that has just finished: silence of tcp_end. */
void meter_queue_finished(struct flow_meter *m, uint32_t i);
/** Export everything that is due. */
void meter_export_due(struct flow_meter *m);
/** End what is due, looking at every entry. */
void meter_end_due(struct flow_meter *m);
/** End all flows. */
void meter_end_all(struct flow_meter *m);
/** Records in the batch being filled. */
static inline uint64_t
meter_batching(const struct flow_meter *m)
{
	return m->writer.b != NULL ? m->writer.b->n : 0;
}
/** Seal and push the batch being filled, if it has records. */
void meter_push(struct flow_meter *m);

/* second.c */

/** Begin to count the second of packet time @ts_us. */
void second_begin(struct flow_meter *m, int64_t ts_us);
/** The clock has passed the end of the second: report it, some empty ones, and begin anew. */
void second_advance(struct flow_meter *m);
/** Report the second as it is now. */
void second_complete(struct flow_meter *m);
/** A record ended with application @name. */
void second_app(struct flow_meter *m, uint16_t name, uint64_t bytes);

#endif
