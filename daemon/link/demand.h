/* SPDX-License-Identifier: Apache-2.0
 * link/demand.h - the union of what several outputs want, as one filter and one set of fields.
 *
 * Pure: texts in, text out. The result always covers every wish: what the filter language cannot
 * hold in one expression (4 KiB, 256 nodes, ...) is asked for more broadly, never less. */
#ifndef FLOWBUS_LINK_DEMAND_H
#define FLOWBUS_LINK_DEMAND_H

#include "base/err.h"
#include "filter/filter.h"

enum { DEMAND_TERMS_MAX = 1024 };

/** What one output wants. */
struct demand_term {
	struct strv filter;      /* canonical; empty: all flows */
	struct field_set fields; /* wanted */
	struct field_set read;   /* by the filter: filter_fields */
};

/** How close the filter comes to the union. */
enum demand_how {
	DEMAND_NOTHING, /* nobody wants anything: `false` */
	DEMAND_EXACT,
	DEMAND_WIDENED, /* conditions were left out: more than is wanted */
	DEMAND_OWN,     /* whatever the endpoint's own filter lets through */
};

struct demand {
	enum demand_how how;
	char *filter; /* canonical; "" all flows */
	struct field_set fields;
};

/**
 * (@own) and (one of @t), canonical; fields: those wanted and those the filters read, as far as
 * @own_fields has them, and always `probe` and `exporter`. Conditions on `probe` are left out: a
 * probe's records do not have it before they arrive here. @least: come no closer than this, after
 * a peer refused the filter. 0, or -E_NOMEM and *out is as it was.
 */
int demand_union(const struct demand_term *t, unsigned n, struct strv own,
    struct field_set own_fields, enum demand_how least, struct demand *out);
void demand_fini(struct demand *d);
const char *demand_how_name(enum demand_how how);

#endif
