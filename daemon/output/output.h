/* SPDX-License-Identifier: Apache-2.0
 * output/output.h - the output endpoint types. */
#ifndef FLOWBUS_OUTPUT_OUTPUT_H
#define FLOWBUS_OUTPUT_OUTPUT_H

#include "batch/port.h"

extern const struct port_type output_publish; /* flows to collectors over the link */
extern const struct port_type output_json;    /* one object a line, file or stdout */

/** The end of the link behind a publish output that is open. */
struct link_end *output_publish_end(void *self);

#endif
