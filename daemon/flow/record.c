/* SPDX-License-Identifier: Apache-2.0
 * flow/record.c - writing rows (record.h). "Side" is the canonical order of the key, 0 or 1. */
#include "flow/record.h"

#include <string.h>

/* Columns every record has, and those that some lack. */
static const uint8_t dense_fields[] = {F_src_addr, F_dst_addr, F_src_port, F_dst_port, F_proto,
    F_start, F_end, F_packets, F_bytes, F_rev_packets, F_rev_bytes, F_tcp_flags, F_rev_tcp_flags,
    F_in_if, F_out_if, F_ip_version, F_direction_by, F_end_reason, F_fragments};
static const uint8_t sparse_fields[] = {
    F_tos, F_rev_tos, F_ttl, F_rev_ttl, F_icmp_type, F_icmp_code, F_rtt_client, F_rtt_server};
static const uint8_t l2_fields[] = {
    F_vlan, F_rev_vlan, F_inner_vlan, F_mpls_label, F_src_mac, F_dst_mac};

static bool
columns_begin(struct record_writer *w, const uint8_t *fields, size_t n, bool dense)
{
	for (size_t i = 0; i < n; i++) {
		enum field f = fields[i];
		struct record_column *c = &w->col[f];
		c->data = batch_column(w->b, f, dense);
		c->present = dense ? NULL : w->b->col[f].present;
		if (c->data == NULL)
			return false;
	}
	return true;
}

static bool
text_begin(struct record_writer *w, enum field f, const char *text, struct text *cell)
{
	if (text == NULL || text[0] == '\0')
		return true;
	*cell = batch_text_add(w->b, strv_of(text));
	uint8_t one = (uint8_t)f;
	return cell->len != 0 && columns_begin(w, &one, 1, true);
}

bool
record_begin(struct record_writer *w, struct batch *b)
{
	memset(w->col, 0, sizeof w->col);
	w->b = b;
	bool ok = columns_begin(w, dense_fields, sizeof dense_fields, true) &&
		  columns_begin(w, sparse_fields, sizeof sparse_fields, false) &&
		  (!w->l2 || columns_begin(w, l2_fields, sizeof l2_fields, false)) &&
		  text_begin(w, F_interface, w->interface_name, &w->interface) &&
		  text_begin(w, F_probe, w->probe_name, &w->probe);
	if (!ok)
		w->b = NULL;
	return ok;
}

#define PUT(f, type, row, v) (((type *)w->col[f].data)[row] = (v))
#define PUT_SOME(f, type, row, v) \
	(PUT(f, type, row, v), w->col[f].present[(row) >> 6] |= UINT64_C(1) << ((row)&63))

static uint64_t
mac_number(const uint8_t *p)
{
	return (uint64_t)p[0] << 40 | (uint64_t)p[1] << 32 | (uint64_t)p[2] << 24 |
	       (uint64_t)p[3] << 16 | (uint64_t)p[4] << 8 | p[5];
}

static void
write_l2(struct record_writer *w, uint32_t row, const struct flow_facts *fwd,
    const struct flow_facts *rev)
{
	if (fwd != NULL) {
		if ((fwd->flags & WIRE_HAS_MAC) != 0) {
			PUT_SOME(F_dst_mac, uint64_t, row, mac_number(fwd->mac));
			PUT_SOME(F_src_mac, uint64_t, row, mac_number(fwd->mac + 6));
		}
		if ((fwd->flags & WIRE_HAS_VLAN) != 0)
			PUT_SOME(F_vlan, uint16_t, row, fwd->vlan);
		if ((fwd->flags & WIRE_HAS_INNER_VLAN) != 0)
			PUT_SOME(F_inner_vlan, uint16_t, row, fwd->inner_vlan);
		if ((fwd->flags & WIRE_HAS_MPLS) != 0)
			PUT_SOME(F_mpls_label, uint32_t, row, fwd->mpls_label);
	}
	if (rev != NULL && (rev->flags & WIRE_HAS_VLAN) != 0)
		PUT_SOME(F_rev_vlan, uint16_t, row, rev->vlan);
}

static void
write_some(struct record_writer *w, uint32_t row, const struct flow *f, const struct flow_cold *c,
    unsigned from)
{
	const struct flow_facts *fwd = f->packets[from] != 0 ? &c->facts[from] : NULL;
	const struct flow_facts *rev = f->packets[!from] != 0 ? &c->facts[!from] : NULL;
	if (fwd != NULL) {
		PUT_SOME(F_tos, uint8_t, row, fwd->tos);
		PUT_SOME(F_ttl, uint8_t, row, fwd->ttl);
		if ((fwd->flags & WIRE_HAS_ICMP) != 0) {
			PUT_SOME(F_icmp_type, uint8_t, row, fwd->icmp_type);
			PUT_SOME(F_icmp_code, uint8_t, row, fwd->icmp_code);
		}
	}
	if (rev != NULL) {
		PUT_SOME(F_rev_tos, uint8_t, row, rev->tos);
		PUT_SOME(F_rev_ttl, uint8_t, row, rev->ttl);
	}
	if ((f->flags & FLOW_HAS_RTT_CLIENT) != 0)
		/* NOLINTNEXTLINE(clang-analyzer-core.NullDereference): all have it */
		PUT_SOME(F_rtt_client, uint32_t, row, c->rtt_client);
	if ((f->flags & FLOW_HAS_RTT_SERVER) != 0)
		/* NOLINTNEXTLINE(clang-analyzer-core.NullDereference): all have it */
		PUT_SOME(F_rtt_server, uint32_t, row, c->rtt_server);
	if (w->l2)
		write_l2(w, row, fwd, rev);
}

void
record_write(
    struct record_writer *w, const struct flow *f, const struct flow_cold *c, uint8_t end_reason)
{
	uint32_t row = w->b->n;
	unsigned from = (f->flags & FLOW_SWAPPED) != 0, to = !from;

	memcpy((struct addr *)w->col[F_src_addr].data + row, &f->key.w[from * 2], 16);
	memcpy((struct addr *)w->col[F_dst_addr].data + row, &f->key.w[to * 2], 16);
	PUT(F_src_port, uint16_t, row, flow_key_port(&f->key, from));
	PUT(F_dst_port, uint16_t, row, flow_key_port(&f->key, to));
	PUT(F_proto, uint8_t, row, flow_key_proto(&f->key));
	PUT(F_ip_version, uint8_t, row, flow_key_version(&f->key));
	PUT(F_start, int64_t, row, f->start);
	PUT(F_end, int64_t, row, f->end);
	PUT(F_packets, uint64_t, row, f->packets[from]);
	PUT(F_bytes, uint64_t, row, f->bytes[from]);
	PUT(F_rev_packets, uint64_t, row, f->packets[to]);
	PUT(F_rev_bytes, uint64_t, row, f->bytes[to]);
	PUT(F_tcp_flags, uint16_t, row, f->tcp_flags[from]);
	PUT(F_rev_tcp_flags, uint16_t, row, f->tcp_flags[to]);
	PUT(F_in_if, uint32_t, row, f->in_if[f->packets[from] != 0 ? from : to]);
	PUT(F_out_if, uint32_t, row, 0);
	PUT(F_direction_by, uint8_t, row, (f->flags & FLOW_BY_MASK) >> FLOW_BY_SHIFT);
	PUT(F_end_reason, uint8_t, row, end_reason);
	PUT(F_fragments, uint32_t, row, f->fragments);
	if (w->col[F_interface].data != NULL)
		PUT(F_interface, struct text, row, w->interface);
	if (w->col[F_probe].data != NULL)
		PUT(F_probe, struct text, row, w->probe);
	write_some(w, row, f, c, from);
}
