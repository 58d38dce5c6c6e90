/* SPDX-License-Identifier: Apache-2.0
 * flow/table.h - the live flows of one meter: a keyed hash index over a fixed pool.
 *
 * Both directions of a flow share one entry: the key holds the lower endpoint first (side 0), the
 * other one second (side 1), and a packet carries FLOW_SWAPPED when side 1 sent it. The index is
 * open addressing in buckets of one cache line (eight 16-bit tags, eight 32-bit pool indexes), so a
 * lookup usually touches one line of the index and the two of the entry. Nothing moves: an entry
 * keeps its place until it is dropped. What only the first packets and the record need is in a
 * second array (struct flow_cold), which the packet path does not touch. One thread, no locks. */
#ifndef FLOWBUS_FLOW_TABLE_H
#define FLOWBUS_FLOW_TABLE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "flow/app.h"
#include "wire/packet.h"

#define FLOW_NONE UINT32_MAX

enum {
	FLOW_USED = 1 << 0,    /* the entry is in the table */
	FLOW_OPEN = 1 << 1,    /* a record is being counted (else only its identity is kept) */
	FLOW_SWAPPED = 1 << 2, /* side 1 is the initiator */
	FLOW_FIN0 = 1 << 3,    /* side 0 sent FIN */
	FLOW_FIN1 = 1 << 4,
	FLOW_FINISHED = 1 << 5, /* both FIN, or RST */
	FLOW_HAS_RTT_CLIENT = 1 << 6,
	FLOW_HAS_RTT_SERVER = 1 << 7,
	FLOW_APP_OPEN = 1 << 8,	  /* application detection wants to see packets */
	FLOW_SYN_SIDE1 = 1 << 10, /* who sent the SYN being timed */
	FLOW_BY_SHIFT = 12,	  /* two bits: DIRECTION_BY_* */
	FLOW_BY_MASK = 3 << FLOW_BY_SHIFT,
	FLOW_HS_SHIFT = 14, /* two bits: enum flow_handshake */
	FLOW_HS_MASK = 3 << FLOW_HS_SHIFT,
};

/** How far the timing of a TCP handshake has come. */
enum flow_handshake { HS_NONE, HS_SYN, HS_SYNACK, HS_OVER };

/** Addresses of side 0 and side 1, then ports, protocol, version, VLAN. */
struct flow_key {
	uint64_t w[5];
};

/** What every packet touches: two cache lines. */
struct flow {
	_Alignas(64) struct flow_key key;
	int64_t last;	/* meter clock at the newest packet */
	uint32_t flags; /* FLOW_* */
	uint32_t hash;	/* low bits of the key's hash: its home bucket */
	uint32_t fragments;
	uint16_t tcp_flags[2]; /* arrays are by side */
	/* second line */
	uint64_t packets[2], bytes[2];
	int64_t first;	    /* meter clock when the record began */
	int64_t start, end; /* least and greatest packet time of the record */
	uint32_t in_if[2];  /* where the first packet of the record was seen */
};
_Static_assert(sizeof(struct flow) == 128, "struct flow is two cache lines");

/** Facts of the first packet of one direction of a record. */
struct flow_facts {
	uint8_t mac[12]; /* destination, source */
	uint32_t mpls_label;
	uint16_t vlan, inner_vlan;
	uint16_t flags; /* WIRE_HAS_* */
	uint8_t tos, ttl;
	uint8_t icmp_type, icmp_code;
};

struct flow_cold {
	struct flow_facts facts[2]; /* by side */
	struct app_state app;
	int64_t hs_us;	 /* packet time of the SYN or SYN-ACK being timed */
	uint32_t hs_seq; /* its sequence number */
	uint32_t rtt_client, rtt_server;
};
_Static_assert(sizeof(struct flow_cold) == 96, "struct flow_cold grows the pool");

struct flow_bucket {
	_Alignas(64) uint64_t tags[2]; /* eight 16-bit tags, 0 = free */
	uint32_t slot[8];
	uint32_t passed; /* entries that found this bucket full and went on */
};
_Static_assert(sizeof(struct flow_bucket) == 64, "a bucket is one cache line");

struct flow_table {
	struct flow *hot;
	struct flow_cold *cold;
	struct flow_bucket *bucket;
	uint32_t *spare; /* stack of entries given back */
	uint32_t n_spare;
	uint32_t fresh; /* entries from here on were never taken */
	uint32_t max;
	uint32_t mask; /* buckets - 1 */
	uint32_t hand; /* where the next search for a victim begins */
	uint64_t secret[6];
	uint64_t reserved; /* octets of memory */
};

enum { FLOW_VICTIMS = 16 }; /* entries compared when one has to leave */

/** Reserve everything for @max flows (at least 1). 0 or -E_NOMEM with @err. */
int flow_table_init(struct flow_table *t, uint32_t max, struct err *err);
void flow_table_fini(struct flow_table *t);
/** Anonymous zeroed memory, huge pages advised; NULL when there is none. */
void *flow_memory_get(size_t bytes);
void flow_memory_put(void *p, size_t bytes);

/** Entries in use. */
static inline uint32_t
flow_table_count(const struct flow_table *t)
{
	return t->fresh - t->n_spare;
}

/**
 * Take an entry for a key that is not in the table: zeroed but for key, hash and FLOW_USED;
 * of the cold part only the application state is zeroed. FLOW_NONE when the pool is spent.
 */
uint32_t flow_table_take(struct flow_table *t, const struct flow_key *key, uint64_t hash);
/** Take the entry out of the table; its memory may be reused at the next take. */
void flow_table_drop(struct flow_table *t, uint32_t i);
/** Of the next FLOW_VICTIMS entries in turn the most silent. Only when the pool is spent. */
uint32_t flow_table_victim(struct flow_table *t);

/** The entry that the n-th take from now will give, or FLOW_NONE: for prefetching. */
static inline uint32_t
flow_table_upcoming(const struct flow_table *t, uint32_t n)
{
	if (n < t->n_spare)
		return t->spare[t->n_spare - 1 - n];
	n += t->fresh - t->n_spare;
	return n < t->max ? n : FLOW_NONE;
}

/**
 * Key of a packet. @vlan is 0 when VLANs are not part of it. Returns true when the sender is
 * side 1. When both endpoints are equal the sender is always side 0.
 */
static inline bool
flow_key_make(struct flow_key *k, const struct wire_pkt *p, uint16_t vlan)
{
	uint64_t s0, s1, d0, d1, sport = p->sport, dport = p->dport;
	memcpy(&s0, p->src.b, 8);
	memcpy(&s1, p->src.b + 8, 8);
	memcpy(&d0, p->dst.b, 8);
	memcpy(&d1, p->dst.b + 8, 8);
	bool swap = s1 != d1 ? s1 > d1 : s0 != d0 ? s0 > d0 : sport > dport;
	/* no branch: which endpoint is lower is a coin toss */
	uint64_t m = -(uint64_t)swap;
	uint64_t x0 = (s0 ^ d0) & m, x1 = (s1 ^ d1) & m, xp = (sport ^ dport) & m;
	k->w[0] = s0 ^ x0;
	k->w[1] = s1 ^ x1;
	k->w[2] = d0 ^ x0;
	k->w[3] = d1 ^ x1;
	k->w[4] = (sport ^ xp) | (dport ^ xp) << 16 | (uint64_t)p->proto << 32 |
		  (uint64_t)p->ip_version << 40 | (uint64_t)vlan << 48;
	return swap;
}

static inline uint16_t
flow_key_port(const struct flow_key *k, unsigned side)
{
	return (uint16_t)(k->w[4] >> (side * 16));
}

static inline uint8_t
flow_key_proto(const struct flow_key *k)
{
	return (uint8_t)(k->w[4] >> 32);
}

static inline uint8_t
flow_key_version(const struct flow_key *k)
{
	return (uint8_t)(k->w[4] >> 40);
}

static inline bool
flow_key_eq(const struct flow_key *a, const struct flow_key *b)
{
	return ((a->w[0] ^ b->w[0]) | (a->w[1] ^ b->w[1]) | (a->w[2] ^ b->w[2]) |
		   (a->w[3] ^ b->w[3]) | (a->w[4] ^ b->w[4])) == 0;
}

static inline uint64_t
flow_fold(uint64_t a, uint64_t b)
{
	__extension__ unsigned __int128 p = (unsigned __int128)a * b;
	return (uint64_t)p ^ (uint64_t)(p >> 64);
}

/**
 * Keyed multiply-and-fold over the five words, key random per table. It spreads real and chosen
 * addresses evenly as long as the key is secret; it is no cryptographic function, and somebody who
 * could read hash values or time single lookups well might find collisions (cost: longer probes).
 */
static inline uint64_t
flow_table_hash(const struct flow_table *t, const struct flow_key *k)
{
	uint64_t a = flow_fold(k->w[0] ^ t->secret[0], k->w[1] ^ t->secret[1]);
	uint64_t b = flow_fold(k->w[2] ^ t->secret[2], k->w[3] ^ t->secret[3]);
	uint64_t h = flow_fold(a ^ k->w[4] ^ t->secret[4], b ^ t->secret[5]);
	/* one fold leaves consecutive ports in steps; the second breaks them up */
	return flow_fold(h ^ t->secret[2], UINT64_C(0x9fb21c651e98df25));
}

/** Bit 15 of each 16-bit lane of @w that equals the lane of @pattern; exact. */
static inline uint64_t
flow_lanes_equal(uint64_t w, uint64_t pattern)
{
	const uint64_t low = UINT64_C(0x7fff7fff7fff7fff);
	uint64_t x = w ^ pattern;
	return ~(((x & low) + low) | x | low);
}

static inline uint64_t
flow_tag_lanes(uint64_t hash)
{
	uint64_t tag = hash >> 48;
	return (tag != 0 ? tag : 1) * UINT64_C(0x0001000100010001);
}

/** The pool index of a key, or FLOW_NONE. */
static inline uint32_t
flow_table_find(const struct flow_table *t, const struct flow_key *key, uint64_t hash)
{
	uint64_t pattern = flow_tag_lanes(hash);
	uint32_t at = (uint32_t)hash & t->mask;
	for (uint32_t n = 0; n <= t->mask; n++, at = (at + 1) & t->mask) {
		const struct flow_bucket *b = &t->bucket[at];
		for (unsigned half = 0; half < 2; half++) {
			uint64_t m = flow_lanes_equal(b->tags[half], pattern);
			for (; m != 0; m &= m - 1) {
				uint32_t i = b->slot[half * 4 + (unsigned)__builtin_ctzll(m) / 16];
				if (flow_key_eq(&t->hot[i].key, key))
					return i;
			}
		}
		if (b->passed == 0)
			break;
	}
	return FLOW_NONE;
}

/** The first entry of the home bucket whose tag matches, or FLOW_NONE: for prefetching. */
static inline uint32_t
flow_table_likely(const struct flow_table *t, uint64_t hash)
{
	const struct flow_bucket *b = &t->bucket[(uint32_t)hash & t->mask];
	uint64_t pattern = flow_tag_lanes(hash);
	uint64_t m = flow_lanes_equal(b->tags[0], pattern);
	if (m != 0)
		return b->slot[(unsigned)__builtin_ctzll(m) / 16];
	m = flow_lanes_equal(b->tags[1], pattern);
	return m != 0 ? b->slot[4 + (unsigned)__builtin_ctzll(m) / 16] : FLOW_NONE;
}

static inline void
flow_table_prefetch(const struct flow_table *t, uint32_t i)
{
	__builtin_prefetch(&t->hot[i], 1);
	__builtin_prefetch((const char *)&t->hot[i] + 64, 1);
}

static inline void
flow_cold_prefetch(const struct flow_table *t, uint32_t i)
{
	__builtin_prefetch(&t->cold[i], 1);
	__builtin_prefetch((const char *)&t->cold[i] + sizeof t->cold[i] - 1, 1);
}

static inline void
flow_bucket_prefetch(const struct flow_table *t, uint32_t hash)
{
	__builtin_prefetch(&t->bucket[hash & t->mask], 1);
}

#endif
