/* SPDX-License-Identifier: Apache-2.0
 * output/json_priv.h - what json.c and json_cut.c share. */
#ifndef FLOWBUS_OUTPUT_JSON_PRIV_H
#define FLOWBUS_OUTPUT_JSON_PRIV_H

#include <stdbool.h>

/** Is this the tail that rotation puts behind a name? 20261122T100000.000: nothing else is ours. */
bool json_is_rotated(const char *tail);

#endif
