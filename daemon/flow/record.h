/* SPDX-License-Identifier: Apache-2.0
 * flow/record.h - ended flows become rows of a batch.
 *
 * The arrays of the columns are looked up once per batch; a record is then some 40 plain stores. */
#ifndef FLOWBUS_FLOW_RECORD_H
#define FLOWBUS_FLOW_RECORD_H

#include "batch/batch.h"
#include "flow/table.h"

/** One column being filled; `present` is NULL when every row has a value. */
struct record_column {
	void *data;
	uint64_t *present;
};

struct record_writer {
	struct batch *b; /* NULL: begin one first */
	struct record_column col[F_COUNT];
	struct text interface, probe; /* cells of this batch */
	/* what is the same on every record */
	const char *interface_name, *probe_name;
	bool l2;
};

/** Take an empty batch to fill. False without memory: the caller keeps it. */
bool record_begin(struct record_writer *w, struct batch *b);
/** Write the record of a flow into the next row; the caller then counts the row (b->n). */
void record_write(
    struct record_writer *w, const struct flow *f, const struct flow_cold *c, uint8_t end_reason);

#endif
