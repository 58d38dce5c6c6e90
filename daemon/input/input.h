/* SPDX-License-Identifier: Apache-2.0
 * input/input.h - the input endpoint types. */
#ifndef FLOWBUS_INPUT_INPUT_H
#define FLOWBUS_INPUT_INPUT_H

#include "batch/port.h"

extern const struct port_type input_capture;   /* live packets of an interface */
extern const struct port_type input_pcap;      /* a capture file or stdin */
extern const struct port_type input_subscribe; /* flows from probes over the link */

/** The end of the link behind a subscribe input that is open. */
struct link_end *input_subscribe_end(void *self);

/** Interfaces and speeds of running capture inputs, for the probe's host facts. */
uint64_t input_interface_speed(const char *name); /* bits per second; 0 unknown */

#endif
