/* SPDX-License-Identifier: Apache-2.0
 * link/msg.h - control messages of the link as bytes. Pure: no clock, no I/O, no allocation.
 *
 * A message is a header of 20 octets (magic `FL`, protocol version, message number, the sender's
 * session, the receiver's session; all little-endian) and items: tag, varint length, octets. What
 * a reader does not know it skips, so that messages can grow. In memory a message is flat: one
 * number or one borrowed text per item, and a set of the items that are there. */
#ifndef FLOWBUS_LINK_MSG_H
#define FLOWBUS_LINK_MSG_H

#include "base/buf.h"
#include "batch/stats.h"
#include "schema/field.h"

enum { MSG_VERSION = 1, MSG_HEADER = 20, MSG_MAX = 16 << 10 };
enum { MSG_ROLE_PUBLISH = 1, MSG_ROLE_SUBSCRIBE = 2 };

enum msg_type {
	M_NONE,
#define MESSAGE(number, id, need) M_##id = number,
#include "link/msg.def"
	M_TYPES
};

enum msg_item {
#define ITEM(tag, id, kind, max) MI_##id,
#include "link/msg.def"
	MI_COUNT
};
_Static_assert(MI_COUNT <= 64, "struct msg.has is too small");

struct msg {
	enum msg_type type;
	uint64_t from, to; /* sessions; 0 none */
	uint64_t has;      /* bit MI_x: the item is there */
	uint64_t u[MI_COUNT];
	struct strv s[MI_COUNT]; /* borrowed */
};

#define MSG(t, me, peer) ((struct msg){.type = (t), .from = (me), .to = (peer)})

static inline bool
msg_has(const struct msg *m, enum msg_item i)
{
	return (m->has >> i & 1) != 0;
}

static inline void
msg_num(struct msg *m, enum msg_item i, uint64_t v)
{
	m->u[i] = v;
	m->has |= UINT64_C(1) << i;
}

/** Borrows @v until the message is encoded; longer than the item allows: cut. */
void msg_text(struct msg *m, enum msg_item i, struct strv v);

/** Append the message. Errors latch in @out. */
void msg_encode(const struct msg *m, struct buf *out);

/**
 * Parse; texts are borrowed from @p. 0; -E_TRUNC, -E_FORMAT (damaged, too long, a required item is
 * missing), -E_UNSUP (version or message number not known; *m has type and sessions).
 */
int msg_decode(const void *p, size_t n, struct msg *m);

/** Put other sessions into an encoded message. */
void msg_readdress(uint8_t *p, uint64_t from, uint64_t to);

const char *msg_name(enum msg_type t);

/** Copy a text item into a terminated array; bytes that are not printable ASCII become '?'. */
void msg_copy(const struct msg *m, enum msg_item i, char *out, size_t size);

/**
 * Statistics as items and back; @scratch is where totals and applications are put, borrowed by
 * @m; 1 KiB is enough.
 */
void msg_put_stats(struct msg *m, const struct stats_second *s, struct buf *scratch);
int msg_get_stats(const struct msg *m, struct stats_second *out);

/** Field numbers as octets; back: numbers not known are left out. -E_FORMAT on an odd length. */
void msg_put_fields(struct msg *m, struct field_set fields, uint8_t out[2 * F_COUNT]);
int msg_get_fields(const struct msg *m, struct field_set *out);

#endif
