/* SPDX-License-Identifier: Apache-2.0
 * base/clock.h - the two clocks, in microseconds. Only engine, input, output and link ask the time;
 * everything below gets it as a parameter. */
#ifndef FLOWBUS_BASE_CLOCK_H
#define FLOWBUS_BASE_CLOCK_H

#include <stdint.h>

/** CLOCK_MONOTONIC: delays, lag, rotation. */
uint64_t clock_mono_us(void);
/** CLOCK_REALTIME, UTC since the epoch: what is shown to people and put on flows. */
int64_t clock_real_us(void);
/** Sleep on the monotonic clock; returns early on a signal. */
void clock_sleep_us(uint64_t us);

#endif
