/* SPDX-License-Identifier: Apache-2.0
 * link/link.h - the probe-collector protocol over ZeroMQ (DESIGN 5, ZMQ facts in README.md).
 *
 * One link thread per process owns every ZeroMQ socket, monitor and the ZAP handler's allow-lists.
 * A *publisher* takes sealed batches, runs its channels' filters, gathers, encodes once per
 * distinct
 * subscription and sends; a *subscriber* asks for flows and gives decoded batches. Either may bind
 * or connect: the bound side is a ROUTER, the connected side a DEALER.
 *
 * Functions marked [main] are called from the main thread and return when the link thread has done
 * the work; the link thread never waits for anyone. */
#ifndef FLOWBUS_LINK_LINK_H
#define FLOWBUS_LINK_LINK_H

#include "base/counter.h"
#include "base/err.h"
#include "batch/frame.h"
#include "batch/port.h"
#include "batch/stats.h"

struct link;
struct link_end; /* one attached publish or subscribe endpoint */

/** Facts about this host for HELLO, shown by `show peers` at the other end. Copied. */
struct link_host {
	char name[64];          /* of the daemon */
	char version[32];
	uint64_t node_id;       /* random, kept in the state directory by the engine */
	int64_t started_us;     /* epoch */
	char addresses[256];    /* local addresses, space-separated */
	char interface[64];     /* what is captured: names, space-separated */
	uint64_t speed_bps;     /* sum of the captured interfaces' speeds; 0 unknown */
};

/** Start the thread, the ZAP handler and its self-test. 0 and *out, or -E_* with @err. [main] */
int link_start(const struct link_host *host, struct link **out, struct err *err);
/** All ends must be detached. [main] */
void link_stop(struct link **l);
/** New facts (an input was attached); sent to peers at once. [main] */
void link_set_host(struct link *l, const struct link_host *host);

/** Where a subscribing end was with one peer: everything up to @seq was pushed. Plain data. */
struct link_position {
	char end[64], peer_end[64];
	uint64_t node_id, channel, seq;
};

/**
 * Frames are acknowledged when their flows are safe. @fn is called in the link thread when enough
 * waits: what the ends have pushed so far is described by @p (borrowed), what they push later comes
 * later. When the outputs have it and the positions are saved, link_marked() is called with @id:
 * then it is acknowledged. False: not now, it is asked for again. One mark at a time. Without a
 * function frames are acknowledged as soon as they were pushed. [main, before the first attach]
 */
typedef bool link_mark_fn(void *arg, uint64_t id, const struct link_position *p, size_t n);
void link_set_mark(struct link *l, link_mark_fn *fn, void *arg);
/** The answer to a mark; not @saved: it is asked for again. Any thread. */
void link_marked(struct link *l, uint64_t id, bool saved);
/** Was an end closed before all it had received was safe? Files hold more than is saved. [main] */
bool link_left_open(struct link *l);
/** Positions of an earlier process, for ends that are attached later. Copied. [main] */
int link_restore(struct link *l, const struct link_position *p, size_t n);

/**
 * Attach one end. @conf's type is "publish" or "subscribe"; address syntax tcp://HOST:PORT[c],
 * ?bind ?connect. Fails atomically with what to try: port in use, address not local, key file
 * missing, readable by others or weak, non-loopback bind without a key. [main]
 */
int link_attach(struct link *l, const struct conf_endpoint *conf, const struct port_host *host,
    struct link_end **out, struct err *err);
/**
 * With @drain a publisher waits until everything queued is acknowledged, a subscriber until what it
 * received is pushed, at most until @deadline_us (monotonic), and a subscriber's position stays at
 * the probe for `resume`. Without, a subscriber gives its subscription up. [main] */
void link_detach(struct link *l, struct link_end **e, bool drain, uint64_t deadline_us);
/** The same, and the end's last counters are added to @sum: what was drained counts too. [main] */
void link_detach_sum(struct link *l, struct link_end **e, bool drain, uint64_t deadline_us,
    uint64_t sum[C_COUNT]);
/** Change a live option; takes effect at a frame boundary, without a reconnect. [main] */
int link_set(struct link_end *e, const struct conf_endpoint *conf, const char *option,
    struct err *err);

/** Publisher: take a batch (one reference) from any thread; false when the queue is full. */
bool link_take(struct link_end *e, struct batch *b);
/** Publisher: a batch that was not taken is given up: @flows are lost before the filter. Any
 * thread. */
void link_lost(struct link_end *e, uint32_t flows);
/** Publisher: one second of statistics, any thread; lost and counted when the queue is full. */
void link_second(struct link_end *e, const struct stats_second *s);
/** Anything queued, in a gather batch, in the ring or unacknowledged? [main] */
bool link_busy(struct link_end *e);
void link_counters(struct link_end *e, uint64_t sum[C_COUNT]); /* [main] */

/** One peer of one end, as `show peers` prints it. Plain data. */
struct link_peer {
	char end[64];            /* endpoint name */
	bool is_probe;           /* the peer publishes to us */
	bool verified;           /* name bound to a key (named key pairs only) */
	bool encrypted;
	uint64_t node_id;
	char name[64], version[32];
	char addresses[256];     /* what it says its local addresses are */
	char seen[64];           /* the address we see it from */
	char our_seen[64];       /* the address it sees us from (our public address) */
	char interface[64];
	uint64_t speed_bps;
	char state[16];          /* connecting handshake up down */
	char why[160];           /* last cause when not up */
	int64_t since_us;        /* epoch: of this state */
	int64_t peer_started_us; /* epoch, its clock */
	int64_t clock_offset_us; /* its clock minus ours */
	bool has_clock;          /* the offset and the round trip are measured */
	bool is_clock_wrong;     /* a probe's, by more than clock_limit */
	uint64_t rtt_us;
	/* how late the oldest undelivered frame is, at a subscriber what the peer says; 0 while it
	 * is only being gathered (max_delay) or waits less than 1.5 s for its acknowledgement */
	uint64_t lag_us;
	uint64_t flows, frames, bytes; /* received from it, or acknowledged by it */
	uint64_t lost_flows;     /* announced in GAPs */
	bool has_second;
	struct stats_second last;/* its newest one-second statistics, interfaces added up */
};

/** One subscription of one publisher, or our own at a subscriber. */
struct link_subscription {
	char end[64], peer[64];
	char filter[256];        /* canonical, cut */
	char fields[64];
	char codec[8];
	uint64_t channel;        /* id */
	uint64_t seq_next, seq_acked;
	/* flows, since its first sequence; offered = filtered + passed, and
	 * passed = acked + in_flight + queued (gathered, or in memory) + spooled (on disk only) + lost
	 * (by name in counters) */
	uint64_t offered, filtered, passed, acked, in_flight, queued, spooled, lost;
	uint64_t early;          /* flows lost before the filter: the end's queue was full */
	uint64_t bytes_raw, bytes_sent; /* before compression; frames */
	uint64_t lag_us;
	uint64_t filter_ns;      /* time spent in this channel's filter */
	bool is_shared;          /* the channel has other subscribers */
	bool is_parked;          /* its collector is away; kept for `resume` */
	bool is_ours;            /* we are the subscriber: what was offered and filtered is not known */
	/* it takes effect at sequence `first` of the channel; what it replaced live, if anything,
	 * ends at old_last (UINT64_MAX: not known) of old_channel */
	uint64_t first, old_channel, old_last;
	char change[8];          /* of the newest change: taken, asked or refused (the old goes on) */
	char refused[240];
	uint32_t change_line, change_col;
};

typedef void link_peer_fn(void *arg, const struct link_peer *p);
typedef void link_subscription_fn(void *arg, const struct link_subscription *s);
/** Call @fn for each, from a consistent snapshot. @e NULL: all ends. [main] */
void link_peers(struct link *l, struct link_end *e, link_peer_fn *fn, void *arg);
void link_subscriptions(struct link *l, struct link_end *e, link_subscription_fn *fn, void *arg);

/* keys.c: shared secrets */
struct link_keys {
	char server_public[41], server_secret[41], client_public[41], client_secret[41];
};
/** Derive both pairs from the secret (DESIGN 5: scrypt). Wipe with link_keys_wipe. */
int link_keys_derive(struct strv secret, struct link_keys *out, struct err *err);
/** Read a secret file: owner root or us, not readable or writable by others, at least 128 bits. */
int link_keys_load(const char *path, struct link_keys *out, struct err *err);
void link_keys_wipe(struct link_keys *k);
/** A fresh 128-bit secret as text, for `flowctl key secret` and the quickstart. */
void link_secret_new(char out[64]);

#endif
