/* SPDX-License-Identifier: Apache-2.0
 * base/counter.c - the counter table. */
#include "base/counter.h"

#define KIND_IN CK_IN
#define KIND_OUT CK_OUT
#define KIND_LOST CK_LOST
#define KIND_INFO CK_INFO

const struct counter_info counter_info[C_COUNT] = {
#define COUNTER(id, unit, kind, text) {#id, #unit, text, KIND_##kind},
#include "flowbus/counters.def"
};
