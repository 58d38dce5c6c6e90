/* SPDX-License-Identifier: Apache-2.0
 * output/output.h - the output endpoint types. */
#ifndef FLOWBUS_OUTPUT_OUTPUT_H
#define FLOWBUS_OUTPUT_OUTPUT_H

#include "batch/port.h"

extern const struct port_type output_publish; /* flows to collectors over the link */
extern const struct port_type output_json;    /* one object a line, file or stdout */

/**
 * Cut the file at @path back to @size octets: the file that had this device and inode, also when it
 * was rotated since (then those begun after it are deleted and it gets its name back). *n_cut:
 * octets that went. 0, -E_NOENT: it is not there any more, -E_IO. Main thread, before it is opened.
 */
int output_json_cut(const char *path, uint64_t device, uint64_t inode, uint64_t size,
    uint64_t *n_cut);

/** The end of the link behind a publish output that is open. */
struct link_end *output_publish_end(void *self);

#endif
