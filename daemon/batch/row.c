/* SPDX-License-Identifier: Apache-2.0
 * batch/row.c - one row: its values, and as a line of JSON. */
#include "base/err.h"
#include "batch/batch.h"

static uint64_t
get_u(const struct column *c, enum field f, uint32_t row)
{
	switch (field_width(f)) {
	case 1:
		return ((const uint8_t *)c->data)[row];
	case 2:
		return ((const uint16_t *)c->data)[row];
	case 4:
		return ((const uint32_t *)c->data)[row];
	default:
		return ((const uint64_t *)c->data)[row];
	}
}

static bool
stored_value(const struct batch *b, enum field f, uint32_t row, struct value *out)
{
	const struct column *c = batch_get(b, f);
	if (c == NULL || !column_has(c, row))
		return false;
	out->type = (enum field_type)field_info[f].type;
	switch (out->type) {
	case FT_ADDR:
		out->addr = ((const struct addr *)c->data)[row];
		break;
	case FT_TEXT:
		out->text = batch_text(b, ((const struct text *)c->data)[row]);
		break;
	case FT_TIME:
	case FT_SPAN:
		out->i = (int64_t)get_u(c, f, row);
		break;
	case FT_U8:
	case FT_U16:
	case FT_U32:
	case FT_U64:
	case FT_MAC:
	case FT_BITS:
	case FT_ENUM:
		out->u = get_u(c, f, row);
		break;
	case FT_COUNT:
		return false;
	}
	return true;
}

bool
batch_value(const struct batch *b, enum field f, uint32_t row, struct value *out)
{
	struct value x, y;
	bool fwd = f == F_total_packets;
	/* the derived fields are absent when what they come from is */
	if ((field_info[f].flags & FF_DERIVED) == 0)
		return stored_value(b, f, row, out);
	out->type = (enum field_type)field_info[f].type;
	if (f == F_duration) {
		if (!stored_value(b, F_start, row, &x) || !stored_value(b, F_end, row, &y))
			return false;
		out->i = (int64_t)((uint64_t)y.i - (uint64_t)x.i);
		return true;
	}
	if (f == F_total_packets || f == F_total_bytes) {
		if (!stored_value(b, fwd ? F_packets : F_bytes, row, &x))
			return false;
		/* unidirectional records have no reverse counts: the total is what there is */
		y.u = 0;
		(void)stored_value(b, fwd ? F_rev_packets : F_rev_bytes, row, &y);
		out->u = x.u + y.u;
		return true;
	}
	return stored_value(b, F_http_host, row, out) || stored_value(b, F_tls_sni, row, out) ||
	    stored_value(b, F_dns_query, row, out);
}

void
batch_row_json(struct buf *out, const struct batch *b, uint32_t row, struct field_set want,
    enum value_style style)
{
	bool first = true, any_cut = false;
	struct value v;
	buf_u8(out, '{');
	for (int f = 0; f < F_COUNT; f++) {
		if (!b->col[f].used || !field_set_has(&want, (enum field)f) ||
		    !stored_value(b, (enum field)f, row, &v))
			continue;
		buf_put(out, first ? "\"" : ",\"", first ? 1 : 2);
		buf_str(out, field_info[f].name);
		buf_put(out, "\":", 2);
		value_print(out, (enum field)f, &v, style);
		first = false;
		if (v.type == FT_TEXT && ((const struct text *)b->col[f].data)[row].cut != 0)
			any_cut = true;
	}
	for (int f = 0, n = 0; any_cut && f < F_COUNT; f++) {
		if (!b->col[f].used || field_info[f].type != FT_TEXT ||
		    !field_set_has(&want, (enum field)f) ||
		    !column_has(&b->col[f], row) ||
		    ((const struct text *)b->col[f].data)[row].cut == 0)
			continue;
		buf_str(out, n++ == 0 ? ",\"cut\":[\"" : ",\"");
		buf_str(out, field_info[f].name);
		buf_u8(out, '"');
	}
	buf_put(out, any_cut ? "]}" : "}", any_cut ? 2 : 1);
}
