/* SPDX-License-Identifier: Apache-2.0
 * flow/app.h - which application a flow carries: native decoders first, nDPI for the rest.
 *
 * The application is the protocol: where nDPI says "TLS.Google" it is tls, as natively.
 * The native decoders (TLS, HTTP, DNS, SSH) look at the first payload bytes of a flow and need no
 * state beyond struct app_state in the flow entry. When they have decided, or given up after their
 * budget, no payload is looked at again. Names are nDPI's in lower case, so both paths agree.
 * Text found (server name, URL, ...) goes into an app_text from a pool, taken on first need. */
#ifndef FLOWBUS_FLOW_APP_H
#define FLOWBUS_FLOW_APP_H

#include "base/counter.h"
#include "base/err.h"
#include "batch/batch.h"
#include "wire/packet.h"

struct app_engine; /* one per worker: nDPI module, pools, name table */

enum app_progress { APP_OPEN, APP_DONE }; /* APP_DONE: do not call again for this flow */

/** In the flow entry, zeroed when the flow opens. At most 16 bytes. */
struct app_state {
	uint32_t text;    /* 1-based index of an app_text slot, 0 none */
	uint32_t ndpi;    /* 1-based index of an nDPI flow slot, 0 none */
	uint16_t name;    /* index into the engine's name table, 0 unknown */
	uint8_t by;       /* APP_BY_* or 0 */
	uint8_t progress; /* enum app_progress */
	uint8_t seen[2];  /* payload packets looked at, per direction */
	uint8_t stage;    /* private to the decoders */
	uint8_t spare;
};
_Static_assert(sizeof(struct app_state) <= 16, "struct app_state is in every flow entry");

struct app_conf {
	bool native, ndpi;
	uint32_t max_texts;    /* flows that can hold text at once */
	uint32_t ndpi_flows, ndpi_packets;
};

/** NULL with @err. */
struct app_engine *app_engine_new(const struct app_conf *conf, struct err *err);
void app_engine_free(struct app_engine **e);
/** Octets reserved for texts and nDPI's flows. */
uint64_t app_engine_memory(const struct app_engine *e);

/** Was nDPI built in? */
bool app_ndpi_available(void);

/**
 * Look at a packet of a flow that is still APP_OPEN. Call it for every packet that app_wants
 * while open.
 * @reverse  the packet came from the responder
 * @ts_us    its time
 * Updates @st; when it becomes APP_DONE the nDPI slot has been returned to the pool.
 */
void app_look(struct app_engine *e, struct app_state *st, const struct wire_pkt *pkt, bool reverse,
    int64_t ts_us, struct counters *c);

/**
 * Would app_look make anything of this packet? Without payload only nDPI alone (without the native
 * decoders) would, and protocols that are their own application.
 */
static inline bool
app_wants(bool is_native, const struct wire_pkt *pkt)
{
	return pkt->payload_len != 0 || !is_native || (pkt->proto != 6 && pkt->proto != 17);
}

/**
 * What a record says of a flow that goes on: @out is for app_write, shares the text of @st, and is
 * never released. A flow without a name may get nDPI's guess by port; nothing is decided, nothing
 * counted.
 */
void app_guess(struct app_engine *e, const struct app_state *st, uint8_t proto, uint16_t sport,
    uint16_t dport, struct app_state *out);

/**
 * The flow ends; once for every flow, also for one that is APP_DONE: last guess by nDPI when there
 * is no name yet (then `by` may be ndpi or port), and the count of flows without a name.
 */
void app_finish(struct app_engine *e, struct app_state *st, uint8_t proto, uint16_t sport,
    uint16_t dport, struct counters *c);

/**
 * Write what is known into row @row of a batch being filled: app, app_category, app_by, http_*,
 * tls_*, dns_*, ssh_*. Names are put into a batch's arena once (the engine remembers per batch).
 */
void app_write(struct app_engine *e, const struct app_state *st, struct batch *b, uint32_t row);

/** The record is written: give back slots. @st is zeroed. */
void app_release(struct app_engine *e, struct app_state *st);

/** Name of an index, "" for 0. Static. */
const char *app_name(const struct app_engine *e, uint16_t name);

#endif
