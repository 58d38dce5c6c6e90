/* SPDX-License-Identifier: Apache-2.0
 * input/input_priv.h - what the inputs that meter packets have in common. */
#ifndef FLOWBUS_INPUT_PRIV_H
#define FLOWBUS_INPUT_PRIV_H

#include "conf/conf.h"
#include "flow/meter.h"
#include "input/input.h"

/** The live options, handed from the main thread to workers. */
struct input_timeouts {
	_Atomic uint64_t active_us, idle_us, tcp_end_us;
	_Atomic uint32_t generation; /* grows with every change */
};

void input_timeouts_set(struct input_timeouts *t, const struct conf_endpoint *conf);
/** Bring a worker's meter up to date; *seen is the worker's memory. */
void input_timeouts_apply(struct input_timeouts *t, uint32_t *seen, struct flow_meter *m);

enum { INPUT_NAME = 64 };

/**
 * The options of METER() as the meter wants them. @probe receives the name of this node (INPUT_NAME
 * bytes, referenced by *out). Callbacks and interface are the caller's to set.
 */
void input_meter_conf(const struct conf_endpoint *conf, const struct port_host *host, char *probe,
    struct flow_meter_conf *out);

/** Octets of memory this machine has; UINT64_MAX when it does not say. */
uint64_t input_machine_memory(void);
/**
 * Refuse @workers meters that reserve more than @machine octets together, before they are used: the
 * kernel would grant them and kill the daemon later. 0, or -E_NOMEM with @err.
 */
int input_memory_check(
    const struct flow_meter *m, unsigned workers, uint64_t machine, struct err *err);

/** Add a set of counters to a sum, as one unit. */
void input_counters_add(const struct counters *c, uint64_t sum[C_COUNT]);
/** A number as a detail row. */
void input_detail_number(port_detail_fn *fn, void *arg, const char *key, uint64_t v);

#endif
