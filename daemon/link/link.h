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
#include "base/keytext.h"
#include "batch/frame.h"
#include "batch/port.h"
#include "batch/stats.h"
#include "filter/filter.h"

struct link;
struct link_end; /* one attached publish or subscribe endpoint */

/** What a local output wants, for ends with demand=outputs. Borrowed for the call. */
struct link_wish {
	const char *name;        /* of the output */
	const char *filter;      /* "": all flows */
	struct field_set fields;
};

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
/**
 * What the outputs that are not publishing ends want, all of them; replaces what was said before.
 * Wider wishes are asked for at once, narrower ones after some seconds. 0 or -E_NOMEM. [main]
 */
int link_demand(struct link *l, const struct link_wish *w, unsigned n);

/** Where a subscribing end was with one peer: everything up to @seq was pushed. Plain data. */
struct link_position {
	char end[64], peer_end[64];
	char user[64];           /* whom the peer's key stands for */
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
	char key[KEY_PRINT];     /* fingerprint of that key */
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
	char loop[160];          /* why its flows are not asked for, or it does not ask for ours */
	char behind[256];        /* names of nodes whose flows come through it, cut */
	char twice[160];         /* of these, those that are reached over another peer too */
	bool has_second;
	struct stats_second last;/* its newest one-second statistics, interfaces added up */
};

/** Why flows of a subscription are lost: of a hole in a channel, and of a GAP. */
enum gap_cause {
#define CAUSE(number, id, name, text, advice) GAP_##id = (number),
#include "link/causes.def"
	GAP_CAUSES
};
struct gap_cause_info {
	const char *name, *text, *advice;
};
extern const struct gap_cause_info gap_cause_info[GAP_CAUSES];
/** What a subscribing end asks its probes for, and for whom. Plain data. */
struct link_asked {
	char demand[16];         /* own, outputs */
	char how[16];            /* exact, widened, own, nothing */
	char filter[FILTER_TEXT_MAX + 1]; /* canonical */
	char fields[1024];
	char outputs[1024];      /* who wants it: output:peer, space-separated, cut */
	unsigned n_outputs;
	unsigned n_lingering;    /* wishes that have gone and are asked for some seconds more */
	uint64_t changes;        /* SUBSCRIBEs sent because the demand had changed */
};
/** [main] */
void link_asked(struct link_end *e, struct link_asked *out);

/** One subscription of one publisher, or our own at a subscriber. */
struct link_subscription {
	char end[64], peer[64];
	char filter[256];        /* canonical, cut */
	char fields[64];
	char codec[8];
	uint64_t channel;        /* id */
	uint64_t seq_next, seq_acked;
	/* flows, since its first sequence; offered = filtered + passed, and
	 * passed = acked + in_flight + queued (gathered, or in memory) + spooled (on disk only) +
	 * lost */
	uint64_t offered, filtered, passed, acked, in_flight, queued, spooled, lost;
	uint64_t lost_by[GAP_CAUSES]; /* what `lost` is made of */
	uint64_t early;          /* flows lost before the filter: the end's queue was full */
	uint64_t bytes_raw, bytes_sent; /* before compression; frames */
	uint64_t lag_us;
	uint64_t filter_ns;      /* time spent in this channel's filter */
	bool is_cursor;          /* a publisher's: all of the above */
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

/* ---- ledger.c: what every stage took, gave and lost */

/** The queue before a publishing end: taken = handed on to its channels + queued. */
struct link_intake {
	char end[64];
	uint64_t taken, queued, handed;
	uint64_t lost; /* not taken: the queue was full */
	uint64_t unasked; /* of those handed on: there was no subscription */
};

/** The ledger of a subscription as its publisher tells it: see struct link_subscription. */
struct link_flows {
	uint64_t offered, filtered, passed, acked, in_flight, queued, spooled, early;
	uint64_t lost_by[GAP_CAUSES];
};

struct link_account_input {
	char interface[64], probe[64]; /* probe: "" the peer itself */
	int64_t told_us;               /* how long ago it was told */
	struct stats_totals totals;
};

/**
 * What a subscribing end has of one probe since it was attached, over all sessions: received =
 * decoded + lost_decode + waiting + returned; and what the probe says of itself.
 */
struct link_account {
	char end[64], probe[64];
	bool up;
	uint64_t received, decoded, lost_decode, waiting;
	uint64_t returned; /* not decoded when a session ended: they come again */
	uint64_t frames, frames_bad, frames_missing;
	uint64_t gap_flows[GAP_CAUSES]; /* announced as lost */
	uint64_t gaps_unknown;           /* announcements that could not say how many more */
	uint64_t unknown_causes;         /* theirs: bit 1 << enum gap_cause */
	bool is_told;                    /* the rest is there */
	int64_t told_us;                 /* how long ago the probe told it */
	struct link_flows told;
	struct link_account_input input[8]; /* of its seconds, when we ask for them */
	unsigned n_inputs;
};

struct link_ledger {
	void (*intake)(void *arg, const struct link_intake *i);
	void (*subscription)(void *arg, const struct link_subscription *s);
	void (*account)(void *arg, const struct link_account *a);
	void *arg;
};
/**
 * Give the whole ledger of the link, or of one end: one snapshot, made in the link thread. False
 * when there was no moment within a second at which no batch was being taken. [main]
 */
bool link_ledger(struct link *l, struct link_end *e, const struct link_ledger *sink);

/**
 * Named keys: who is trusted under which name. All [main].
 * The directory of trusted keys is read when it is first needed; errors come then.
 */
void link_trust_dir(struct link *l, const char *dir);
/** Read it again; what is in it no longer is cut off. Nothing to do when it was never needed. */
int link_trust_reload(struct link *l, struct err *err);
/**
 * Trust a public key (fbp1-... or Z85) as @name, at once and after restarts. 0, 1 it was already,
 * or -E_*. Ends that connect try again at once.
 */
int link_key_trust(struct link *l, const char *name, struct strv key, struct err *err);
/**
 * Take back all keys of a peer, or the one that @which (key, fingerprint or its beginning) names,
 * and cut the connections that use it. Number of keys, or -E_*.
 */
int link_key_revoke(struct link *l, const char *name, struct strv which, struct err *err);
/**
 * A token that lets one unknown key in as @name, once. @end: the endpoint it is for; "" the only
 * one that listens with a key of its own.
 */
int link_key_token(struct link *l, const char *name, const char *end, uint64_t for_us,
    char out[TOKEN_TEXT], struct err *err);
struct link_key {
	const char *name, *text, *print; /* public key ("" an outstanding token), fingerprint */
	int64_t left_us;                 /* of the token */
	unsigned n_up;                   /* sessions that use the key */
};
typedef void link_key_fn(void *arg, const struct link_key *k);
int link_keys_each(struct link *l, link_key_fn *fn, void *arg, struct err *err);

/* keys.c: shared secrets and key files */
struct link_keys {
	char server_public[41], server_secret[41], client_public[41], client_secret[41];
};
/** Derive both pairs from the secret (DESIGN 5: scrypt). Wipe with link_keys_wipe. */
int link_keys_derive(struct strv secret, struct link_keys *out, struct err *err);
/** Read a secret file: owner root or us, not readable or writable by others, at least 128 bits. */
int link_keys_load(const char *path, struct link_keys *out, struct err *err);
void link_keys_wipe(struct link_keys *k);
/**
 * Read a file that belongs to root or us and has none of the mode bits @bad; terminated. At most
 * KEY_FILE_MAX octets; @size is larger than that.
 */
int link_key_file(const char *path, unsigned bad, char *out, size_t size, size_t *n_out,
    struct err *err);
/** A node's own key pair. */
struct link_identity {
	uint8_t key[KEY_SIZE];   /* public */
	char public_z85[41], secret[41];
};
int link_identity_load(const char *path, struct link_identity *out, struct err *err);
int link_token_load(const char *path, struct key_token *out, struct err *err);
/** A fresh 128-bit secret as text, for `flowctl key secret` and the quickstart. */
void link_secret_new(char out[64]);

#endif
