/* SPDX-License-Identifier: Apache-2.0
 * fuzz/link_world.h - one end of the link without a thread, a network or a clock.
 *
 * The linker gives the link's calls of ZeroMQ, of the clock and of the random generator to this
 * file (--wrap): what peers send waits in `in` until the end's round takes it, what the end sends
 * goes to the peer it is for, at once. Everything follows from the input's octets. */
#ifndef LINK_WORLD_H
#define LINK_WORLD_H

#include <stdlib.h>

#include "link/link_priv.h"

enum { PEERS = 4, PARTS = 6, INBOUND = 512, SEEN_CHANNELS = 64, KEPT = 16, FD_BASE = 1 << 20 };

struct part {
	uint8_t *p;
	size_t n;
};

/** A message on its way to the end. */
struct inbound {
	struct part part[PARTS];
	unsigned n;
	int fd;
};

/** What an end said to a peer in one session about one channel. */
struct seen {
	uint64_t channel, seq;
};

/** The other side of a connection. Number 0 keeps to the protocol, the others do what they like. */
struct peer {
	unsigned number;
	uint8_t rid[5];
	int fd;
	bool connected, blocked;
	bool deaf;         /* what is sent to it is lost with its connection, later */
	bool up;           /* has said and heard who it is */
	char address[32];
	uint64_t me;       /* the session we made up */
	uint64_t end;      /* the end's, of its last WELCOME, HELLO or other message */
	uint64_t channel, next, asked; /* what the end said last */
	struct seen seen[SEEN_CHANNELS];
	unsigned n_seen;
};

struct world {
	struct link l;
	struct link_end *e;
	struct peer peer[PEERS];
	struct inbound in[INBOUND];
	unsigned in_head, in_n;
	struct inbound now;    /* being received, from part now_at */
	unsigned now_at;
	struct {
		uint16_t event;
		uint32_t value;
	} event[64];
	unsigned n_events;
	struct part out[PARTS];/* being sent */
	unsigned out_n;
	struct peer *out_to;
	uint64_t random;
	uint64_t zap_up[PEERS];
	int64_t zap_all;
	unsigned next_connection;
	bool trying;           /* zmq_connect was called and nothing came of it yet */
	struct part kept[KEPT];/* messages of the honest peer, for replay */
	unsigned n_kept;
	/* what the end's host was given */
	bool hold;
	struct batch *held[256];
	unsigned n_held;
	uint64_t n_seconds;
	/* of the honest probe's frames: the last one taken, and rounds since with one waiting */
	uint64_t served;
	unsigned waits;
	struct batch_pool *pool;   /* of batches made here */
	uint64_t next_id;          /* of flows pushed into a publishing end */
	void *honest;
	/** A message of the end arrived at a peer. */
	void (*arrived)(struct peer *p, const struct msg *m, const struct part *frame);
	/** The end gave a flow of this id to its host. */
	void (*flow)(uint64_t id);
};

extern struct world *world;

/** The end under test: publishing or subscribing, bound or connecting. */
void world_start(bool publish, bool bind, uint64_t ring, uint64_t window);
void world_stop(void);
/** The link's round: monitor, end, what the frames' owner takes home. */
void world_round(void);
void world_later(uint64_t us);
uint64_t world_random(void);

/** Bound ends: the peer connects; connecting ends: their try succeeds. */
void peer_connect(struct peer *p);
void peer_lose(struct peer *p);
void peer_put(struct peer *p, const struct part *parts, unsigned n);
/** One control message, and @frame when not NULL. */
void peer_say(struct peer *p, const struct msg *m, const struct buf *frame);

/** A frame of @n flows with ids from @id on. */
void frame_make(struct buf *out, uint64_t id, uint32_t n, enum frame_codec codec);
struct batch *batch_make(uint64_t id, uint32_t n);
/** Does "proto tcp" pass the flow of this id? */
static inline bool
id_is_tcp(uint64_t id)
{
	return id % 4 != 0;
}

/* link_honest.c: the peer that keeps to the protocol, and must get, or deliver, everything */
void honest_start(void);
void honest_stop(void);
/** It reads, answers, acknowledges, connects again. @lazy: it does not acknowledge. */
void honest_step(bool lazy);
/** Wait until all is delivered; at most a minute of the world's time. */
void honest_finish(void);
/** A publishing end meters @n flows; an honest probe makes a frame of @n. */
void honest_flows(uint32_t n);
void honest_filter(bool tcp);
/** Somebody may have taken its place while it was away: then it may not be known any more. */
extern bool honest_may_be_forgotten;
bool honest_is_up(void);
/** From now until its next session it may lose this one: silence, or a cut. */
void honest_excuse(void);
uint64_t honest_node(void);

/* link_check.c */
void check_bounds(void);

#endif
