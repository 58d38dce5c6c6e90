/* SPDX-License-Identifier: Apache-2.0
 * input/seconds.h - the one-second statistics of several workers as one of the interface.
 *
 * A second is given to the host when all workers have delivered theirs, or when it is overdue. What
 * a worker delivers later is given as well, on its own: sums over all seconds are always complete.
 */
#ifndef FLOWBUS_INPUT_SECONDS_H
#define FLOWBUS_INPUT_SECONDS_H

#include "batch/port.h"
#include "batch/stats.h"

struct seconds;

/** For at most 64 workers. NULL without memory. */
struct seconds *seconds_new(unsigned n_workers, const struct port_host *host);
void seconds_free(struct seconds **s);
/** Worker @worker has completed a second. Any thread. */
void seconds_add(
    struct seconds *s, unsigned worker, const struct stats_second *part, int64_t now_us);
/** Give what is overdue at @now_us (INT64_MAX: everything). Any thread. */
void seconds_poll(struct seconds *s, int64_t now_us);

#endif
