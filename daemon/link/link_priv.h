/* SPDX-License-Identifier: Apache-2.0
 * link/link_priv.h - what the files of this directory share.
 *
 * struct link (thread) > struct link_end (one socket with its monitor) > struct session (one peer).
 * A publishing end also has channels (one distinct filter, fields and codec: gather batch, ring of
 * frames); a cursor is one subscriber's position in one channel and outlives its session by the
 * option `resume` (then it is parked). A subscribing end's session has inboxes, one per channel.
 *
 * All of it belongs to the link thread except: the queues of an end (any thread fills them), its
 * counters (any thread reads them), struct zap (its own lock), and frames that libzmq holds. */
#ifndef FLOWBUS_LINK_PRIV_H
#define FLOWBUS_LINK_PRIV_H

#include <pthread.h>
#include <sys/socket.h>
#include <zmq.h>

#include "base/hash.h"
#include "base/log.h"
#include "base/queue.h"
#include "conf/conf.h"
#include "filter/filter.h"
#include "link/demand.h"
#include "link/link.h"
#include "link/msg.h"
#include "link/spool.h"
#include "link/trust.h"

enum {
	SOCK_ZAP_ENFORCE_DOMAIN = 93, /* a draft name in zmq.h, works in released libzmq */
	RID_MAX = 32,            /* libzmq makes 5 octets */
	BUCKETS = 256,
	SEND_HWM = 64,           /* messages libzmq may queue per peer */
	RECV_HWM = 4096,         /* above what any window allows in flight */
	FLIGHT_MAX = 1024,       /* frames and gaps sent and not acknowledged, per cursor */
	CONTROL_MAX = 512,       /* control messages waiting for one blocked peer */
	RECV_BURST = 256,        /* messages taken from one socket before the clock is looked at */
	PARTS_MAX = 4,
	FRAME_MAX = FRAME_RAW_MAX + (64 << 10),
	STRANGERS_MAX = 256,     /* connections that have not said HELLO, above max_peers */
	INBOX_MAX = 24,          /* channels of one session at a subscriber: live changes overlap */
	POSITIONS_MAX = 1024,    /* remembered positions of an end */
	SLOTS_MAX = 1 << 20,     /* frames of a channel that wait, in memory and on disk */
	LOADED_MAX = 1024,       /* frames of a channel read back and not yet let go */
	ASKED_MAX = 8,           /* changes of a subscription under way */
	JUMPS_MAX = 8,
	SUB_NUMBER = 1,          /* an end has one subscription */
	FAULTS_MAX = 32,         /* addresses whose failures are told apart */
	ACK_EVERY = 16,
	SECONDS_QUEUE = 1024,
	SECONDS_MAX = 256,       /* interfaces of one peer whose newest second is kept */
	PATH_MAX_EDGES = 64,
};
#define WINDOW_MAX  (UINT64_C(1) << 30) /* whatever a publisher says: the greatest `window` */
#define ACK_US      UINT64_C(1000000)
#define BLOCKED_US  UINT64_C(5000)
#define TURN_US     UINT64_C(10000) /* receiving, or taking batches, before others have a turn */
#define TICK_US     UINT64_C(100)   /* a session's share of the time between two looks at all */
#define HELLO_US    UINT64_C(5000000)
#define ASK_HOLD_US UINT64_C(3000000)
#define TAKEOVER_US UINT64_C(2000000)
#define BYE_US      UINT64_C(300000)
#define NEVER       UINT64_MAX

struct session;
struct channel;


enum on_full { ON_FULL_DROP_OLDEST, ON_FULL_DROP_NEWEST, ON_FULL_BLOCK };

/** One sealed frame, shared by its slot, the spool's thread and libzmq's queues. */
struct frame {
	struct freelink link; /* first: on its way home to the link thread */
	struct freelist *home;
	_Atomic uint32_t refs;
	uint32_t flows, len, raw_len;
	uint64_t seq, sealed_us;
	uint8_t data[];
};

/**
 * The place of a sealed frame in its channel. The frame is in memory, on disk or both; without
 * octets it is a hole. Slots follow each other without a gap in their sequences.
 */
struct slot {
	uint64_t seq, to;      /* stands for these; only holes for more than one */
	uint64_t before;       /* flows of all frames sealed earlier in this channel */
	uint64_t sealed_us;
	uint64_t where;        /* offset in the segment */
	struct frame *f;       /* NULL: not in memory */
	uint32_t segment;      /* of the spool; 0: not on disk */
	uint32_t flows, len, raw_len;
	uint8_t cause;         /* of a hole */
	bool is_loaded;        /* f was read back */
	bool is_wanted;        /* being read back */
	bool is_pending;       /* being written */
};

/** Something sent and not yet acknowledged: a frame, or an announced gap. */
struct flight {
	uint64_t seq;      /* of the frame; of a gap its last */
	uint64_t gap_from; /* 0: a frame */
	uint64_t flows, bytes, sealed_us;
	uint8_t cause;
};

struct cursor {
	struct cursor *next;     /* of the channel */
	struct cursor *sess_next;/* of the session, oldest first */
	struct channel *ch;
	struct session *sess;    /* NULL: parked */
	uint64_t node_id, sub;   /* whose */
	char peer_end[64], peer[64], user[64];
	bool stats;
	uint64_t parked_us;
	uint64_t last;           /* 0, or: replaced, ends after this sequence */
	uint64_t first;          /* first sequence it gets */
	uint64_t at;             /* next sequence to send */
	uint64_t acked;          /* last sequence acknowledged or announced as lost */
	struct flight *fl;       /* circular, fl_cap a power of two */
	uint32_t fl_cap, fl_head, fl_n;
	uint64_t fl_bytes, fl_flows;
	uint64_t gap_from, gap_to, gap_flows, gap_bytes; /* dropped, not yet announced; from 0: none */
	uint8_t gap_cause;
	bool is_recovered;       /* from the spool; its subscriber may be further than we know */
	uint64_t base_offered, base_filtered, base_passed, base_ns, base_early;
	uint64_t old_channel, old_last; /* what it replaced, live, and the last sequence of that */
	uint64_t end_offered, end_filtered, end_passed, end_early, end_ns; /* frozen with `last` */
	uint64_t acked_flows, acked_frames, acked_bytes, lost_flows, sent_bytes, sent_raw;
	uint64_t lost_by[GAP_CAUSES]; /* their sum is lost_flows */
};

struct channel {
	struct channel *next;
	struct link_end *end;
	uint64_t id;
	struct filter *filter;
	struct field_set want;
	enum frame_codec codec;
	bool auto_codec;         /* follows the end's option */
	struct batch *gather;    /* NULL: nothing gathered */
	uint64_t gather_us;      /* when its first row came */
	struct slot *slots;      /* circular, cap_slots a power of two */
	uint32_t cap_slots, slot_head, n_slots;
	uint64_t next_seq;
	uint64_t sealed_flows;   /* of all frames and holes up to next_seq */
	uint64_t mem_bytes;      /* of frames in memory, but for those read back */
	uint64_t mem_from;       /* slots before this sequence are on disk only */
	uint64_t disk_bytes;     /* of slots on disk */
	uint64_t submit_from;    /* slots from this sequence are still to be given to the spool */
	uint64_t trimmed;        /* what the spool was last told nobody needs */
	uint64_t *loaded;        /* sequences read back, oldest first; LOADED_MAX of them */
	uint32_t loaded_head, n_loaded;
	uint64_t loaded_bytes;
	bool meta_changed;       /* who subscribes */
	bool acked_changed;      /* only how far they are */
	bool meta_saved;         /* ever */
	uint64_t pending_bytes;  /* of frames given to the spool and not yet written */
	uint64_t spool_retry_us; /* writing failed: not before */
	uint64_t acked_us;       /* when how far they are was saved last */
	uint64_t offered, filtered, passed, filter_ns;
	struct cursor *cursors;
};

/** What a subscriber asks for. Shared by reference: its end, its sessions, their positions. */
struct want {
	_Atomic unsigned refs;
	struct field_set fields;
	int codec;               /* -1: the publisher's choice */
	char filter[];
};

/** What became of the newest change of a subscription, at the subscriber. */
struct change {
	uint64_t channel, first; /* takes effect at this sequence; 0: not known */
	uint64_t old_channel, old_last; /* 0: nothing was replaced; NEVER: its end is not known */
	char refused[240];       /* "" or why; the old subscription goes on, if there is one */
	int code, line, col;
};

/** A control message waiting for a blocked peer. */
struct pending {
	struct pending *next;
	bool is_stats;
	size_t len;
	uint8_t data[];
};

/** A frame received and not yet decoded. */
struct inframe {
	struct inframe *next;
	bool is_gap, unknown;
	uint64_t seq, flows, cause;
	zmq_msg_t msg;
};

/** One channel as its subscriber sees it. */
struct inbox {
	uint64_t channel, window;
	uint64_t received; /* last sequence received */
	uint64_t done;     /* last sequence pushed to the host */
	uint64_t marked;   /* `done` when the mark under way was set */
	uint64_t safe;     /* last sequence whose flows the outputs have and that is saved */
	bool is_saved, is_marked; /* its position, once: nothing is pushed before */
	uint64_t acked;    /* last sequence acknowledged */
	uint64_t jump[JUMPS_MAX]; /* where a SUBSCRIBED went on: no hole in the sequence; 0 none */
	uint64_t ack_due_us;
	struct inframe *head, *tail;
	uint32_t n_waiting;
	uint64_t waiting_bytes, unacked_bytes, marked_bytes;
};

struct session {
	struct session *next;     /* of the end */
	struct account *account;  /* subscribing end: of this probe, set when it is up */
	struct session *bucket;   /* same last octet of the routing id */
	struct session *ready;    /* next of those that have something to send */
	bool is_ready;            /* in that list */
	uint64_t retry_us;        /* blocked: not before */
	struct link_end *end;
	uint8_t rid[RID_MAX];
	size_t rid_len;           /* 0: the one peer of a DEALER */
	uint64_t me, peer;        /* session numbers; peer 0: no WELCOME yet */
	bool up, dead;
	const char *dead_why;
	int fd;
	uint64_t node_id;
	char peer_end[64], name[64], version[32], addresses[256], interface[64];
	char seen[64], our_seen[64];
	char user[64];            /* whom its key stands for; "shared", "" in clear text */
	bool verified;            /* `user` is the name of a key of its own, and `name` is that */
	bool told_claim, told_renamed;
	uint8_t key[KEY_SIZE];    /* that key */
	uint64_t speed_bps;
	int64_t peer_started_us, since_us;
	uint64_t last_rx_us, ping_due_us, born_us;
	int64_t offset_us;
	uint64_t rtt_us, rtt_best_us, peer_age_us;
	unsigned rtt_age;         /* samples since rtt_best_us */
	bool clock_wrong;         /* a probe's clock differs by more than clock_limit */
	struct log_site clock_site;
	bool blocked;
	struct pending *pend, **pend_tail;
	unsigned n_pend;
	/* another connection says it is this node: it waits while this one must answer a PING */
	struct session *challenger;
	bool is_challenger;
	uint64_t challenged_us, verdict_us;
	bool is_last_verdict;
	/* publishing end */
	struct cursor *cursors;
	/* subscribing end */
	unsigned n_inbox;
	uint64_t current;         /* channel of the newest SUBSCRIBED; 0: none yet */
	char sub_codec[8];
	char sub_filter[256];     /* canonical, as the publisher says; cut */
	struct want *want;        /* what `current` answers; NULL: nothing yet */
	struct want *asked[ASKED_MAX]; /* not answered yet, oldest first */
	unsigned n_asked;
	bool ask_again;           /* changed once more while that was full */
	struct change change;
	uint64_t sub_first;
	struct stats_second *second; /* newest of each interface and probe */
	unsigned n_second;
	char *relayed;            /* filter of the last SUBSCRIBE of a relay; NULL: none sent */
	struct field_set relayed_fields;
	struct path *path;        /* what gives flows to the peer; NULL: nothing */
	bool is_subscribed;       /* SUBSCRIBE was sent, and not taken back */
	bool is_twin;             /* it was told that its records come over another peer too */
	char loop[160];           /* why its flows are refused: they would come back */
	uint64_t loop_until_us;   /* refused at least until then */
	unsigned n_loops;
	/* both */
	uint64_t flows, frames, bytes, lost_flows, raw_bytes;
	/* large, and a publishing end with a thousand sessions never touches them: last */
	struct inbox inbox[INBOX_MAX];
};

/** What a subscribing end has of one probe, over all its sessions (ledger.c). */
struct account {
	struct account *next;
	uint64_t node_id;
	char peer_end[64], user[64];
	struct link_account a; /* as shown; waiting, up and told_us are filled in when it is */
	uint64_t told_mono_us; /* when the probe sent its ledger; 0: never */
	uint64_t input_mono_us[8];
};

/** Where a subscriber was with a peer, for the next session. */
struct position {
	uint64_t node_id;
	char peer_end[64], user[64];
	uint64_t channel;
	uint64_t seq, marked, safe; /* as of an inbox: done, marked, safe */
	bool is_live;  /* a session goes on with it */
	struct want *want; /* that channel is its; NULL: not known, the end's */
	uint64_t used; /* age for replacement */
};

/** What failed with whom: told when it changes, then once a minute with a count. */
struct fault {
	char address[64];
	char why[160];
	bool strong;         /* not only a guess */
	bool held;           /* `guess` is certain; whose it is may become known yet */
	unsigned count, weak;
	char guess[160];
	uint64_t next_log_us, seen_us;
	uint64_t strong_us, weak_us, weak_last_us;
	int64_t since_us;
	struct log_site site;
};

/** A connection accepted by a binding end, from its monitor. */
struct conn {
	int fd;
	bool cut;           /* by us */
	bool counted;       /* said HELLO: in the ZAP handler's number of peers */
	bool quiet;         /* its end is no fault: it enrolled, or was told why not */
	uint64_t born_us;
	char address[64];   /* ip:port */
	char ip[48];
	uint32_t cause;     /* of the handshake's failure: event, 0 none */
	uint32_t value;
};

enum dial_state { DIAL_WAIT, DIAL_TRYING, DIAL_OPEN, DIAL_UP };

/** The connecting side's supervision (the bound side does not use it). */
struct dial {
	enum dial_state state;
	int fd;
	bool handshake;
	bool began;         /* libzmq has an address to connect to */
	uint64_t retry_us, guard_us;
	uint64_t backoff_us;
	char cause[160];
	char greeted[160];  /* what a look at the port found; "" nothing */
	bool greeted_key;
	struct sockaddr_storage to;
	socklen_t to_len;
	uint64_t greet_next_us;
};

enum greet_state { GREET_IDLE, GREET_CONNECT, GREET_READ, GREET_LINGER };

/** One look at what answers on a port (greet.c). */
struct greet {
	enum greet_state state;
	int fd;
	uint64_t deadline_us;
	uint8_t b[64];
	size_t n;
	bool is_mismatch; /* one side has a key and the other has none */
};

struct address {
	bool bind, ipc, loopback, is_name, v6;
	bool wildcard; /* * or the unspecified address */
	bool ours;     /* numeric: of this host; localhost */
	bool private;  /* numeric: not routed in the Internet */
	bool stated;   /* ?bind, ?connect or a trailing c decided `bind` */
	char endpoint[256]; /* for libzmq */
	char host[200];
	struct sockaddr_storage sa; /* of a numeric host */
	socklen_t sa_len;           /* 0: none */
};

/** What an end with an identity has beyond its key pair. */
struct named_end {
	uint8_t own[KEY_SIZE];    /* public */
	/* of a side that connects */
	char peer[64];
	char unwanted[140];       /* what to say when our key is refused */
	uint8_t peer_key[KEY_SIZE];/* what the listening side must have, in this try */
	bool turn;                /* the next try takes the peer's other key */
	unsigned tries;           /* with other keys since the last that everybody heard of */
	bool enrolling;
	struct key_token token;
	char token_file[256];
	struct trust_job *job;    /* the peer's key is being stored */
	/* of a side that listens */
	struct enrolment *enrolments;
};

struct link_end {
	struct link_end *next;
	struct link *link;
	char name[64];
	bool is_publish, is_bind, encrypted;
	bool named;               /* keys of our own: struct named_end */
	struct port_host host;
	struct address addr;
	char bound[256];          /* what to unbind */
	struct link_keys keys;
	struct named_end id;
	void *sock, *mon;
	struct counters counters;
	_Atomic uint64_t early_flows; /* lost before the filter: the queue was full */
	_Atomic uint64_t early_seconds;
	/* of the queue: what takers put in; begun and ended make a change of both one unit */
	_Atomic uint64_t take_begun, take_ended, taken_flows, queued_flows;
	uint64_t due_us;
	/* options */
	uint64_t max_peers, max_peers_per_address;
	char *allow, *relays;     /* lists of names */
	uint64_t heartbeat_us, retry_min_us, retry_max_us;
	enum frame_codec codec;
	uint64_t max_delay_us, ring, window, resume_us, max_channels, max_subscriptions;
	enum on_full on_full;
	uint64_t spool_size;
	struct want *want;
	bool want_stats;
	bool by_outputs;          /* asks for what the outputs want (relay.c) */
	struct demand demand;     /* then; filter NULL: not known yet */
	enum demand_how demand_least;
	uint64_t ask_next_us, ask_hold_us;
	uint64_t n_asked;         /* changes told to peers */
	uint64_t clock_limit_us;  /* 0: no probe is marked */
	/* sessions */
	struct session *sessions, *bucket[BUCKETS];
	unsigned n_sessions;
	struct session *ready, **ready_tail; /* have, or may have, something to send */
	bool any_dead;            /* some session is to be reaped */
	bool unread;              /* the last round did not read all there was */
	uint64_t tick_us, ticked_us; /* sessions are looked at: next, last */
	uint64_t conns_us, parked_us;/* the same, connections and parked positions: next */
	struct dial dial;
	struct greet greet;
	struct conn *conns;
	unsigned n_conns, cap_conns;
	uint32_t failed, failed_value; /* the last failure of a handshake, not yet of a connection */
	uint64_t rebind_us;       /* unbound for want of descriptors; 0: no */
	struct fault faults[FAULTS_MAX];
	enum port_state state;
	char state_why[160];
	int64_t down_since_us;
	struct log_site gap_site, accept_site;
	/* publisher */
	struct queue *batches, *seconds;
	struct batch_pool *pool;  /* gather batches; at a subscriber the decoded ones */
	struct channel *channels;
	unsigned n_channels;
	struct spool *spool;
	struct spool_found *found; /* channels of the spool, until the end is in the link thread */
	size_t n_found;
	uint64_t disk_bytes;      /* of all channels */
	char spool_why[160];      /* why it cannot be written; "" it can */
	uint64_t meta_us;         /* when positions were last given to the spool */
	bool closing;             /* channels go, what is on disk stays */
	_Atomic bool is_full;     /* on_full = block_file_input: takes no batch at the moment */
	/* subscriber */
	struct position *positions;
	unsigned n_positions;
	uint64_t position_clock;
	struct account *accounts; /* of probes, newest first */
	unsigned n_accounts;
	bool starved;             /* frames wait for batches to come home */
	struct call *set_call;    /* waits for answers to a change */
	uint64_t set_us;          /* at most until then */
	/* orderly stop */
	bool draining, said_bye;
	uint64_t drain_us;
	struct call *drain_call;
};

/** Work of the main thread for the link thread; the caller sleeps until `done`. */
struct call {
	int (*fn)(struct link *l, void *arg, struct call *c);
	void *arg;
	int rc;
	bool later; /* fn will have call_done called itself */
	_Atomic bool done;
};

/** A node gives its flows to another; nodes are told apart by path_id. */
struct edge {
	uint64_t node, to;
	char name[64]; /* of node */
};

/** What is upstream of a node, relays first. */
struct path {
	unsigned n;
	struct edge at[PATH_MAX_EDGES];
};

/** The outputs' wishes of this daemon and who is upstream of it. */
struct relay;
struct zap;

struct link {
	void *zmq;
	pthread_t thread;
	struct wake wake;       /* work for the link thread */
	struct wake done;       /* a call is done */
	struct queue *calls;
	struct zap *zap;
	char trust_dir[4000];
	struct trust *trust;    /* NULL until somebody needs it; then it stays */
	struct relay *relay;
	struct path path;       /* announced by publishing ends */
	struct link_host host;
	struct link_end *ends;
	unsigned n_ends;
	bool stop;
	struct freelist frames; /* came home from libzmq's threads */
	struct frame_work *work;
	struct filter_work *fwork;
	struct buf out, text;   /* scratch: an encoded message, an encoded frame */
	struct buf upstream;    /* scratch: path as an item */
	zmq_pollitem_t *items;
	unsigned cap_items;
	uint64_t now_us;
	uint64_t next_monitor;
	/* marks (mark.c): what was pushed before one is with the outputs, and saved, after it */
	link_mark_fn *mark_fn;
	void *mark_arg;
	uint64_t mark_id;         /* of the one under way, or the last */
	bool is_marking;
	bool left_open;           /* an end was closed before all it had received was safe */
	uint64_t mark_due_us, marked_us;
	_Atomic uint64_t marked_ok, marked_failed; /* ids, from the engine's thread */
	struct link_position *restored; /* positions of an earlier process, by end */
	size_t n_restored;
};

/* link.c */
int link_call(struct link *l, int (*fn)(struct link *, void *, struct call *), void *arg);
void link_call_done(struct link *l, struct call *c);
/** One end's part of a round of the loop: receive, work, send, what is due. When to come again. */
uint64_t end_round(struct link_end *e, uint64_t now);
static inline void
end_due(struct link_end *e, uint64_t us)
{
	if (us < e->due_us)
		e->due_us = us;
}
static inline uint64_t
min_u64(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

/* addr.c */
int address_parse(const char *text, struct address *out, struct err *err);
void address_of(const struct sockaddr *sa, socklen_t len, char *out, size_t size, char *ip,
    size_t ip_size);
/** Peer of a descriptor as ip:port and ip; "" when it has none. */
void address_peer(int fd, char *out, size_t size, char *ip, size_t ip_size);

/* end.c */
void end_state(struct link_end *e, enum port_state state, const char *why);
/** Up, unless a loop keeps one of its peers from being asked. */
void end_up(struct link_end *e);
uint64_t end_tick(struct link_end *e, uint64_t now);
void end_free(struct link_end *e);
int end_options(struct link_end *e, const struct conf_endpoint *conf, struct err *err);

/* sock.c */
int sock_open(struct link_end *e, struct err *err);
void sock_close(struct link_end *e);
void sock_monitor(struct link_end *e, uint64_t now);
uint64_t sock_tick(struct link_end *e, uint64_t now);
/** The connection is of no use: disconnect and try again later, by cause. */
void sock_down(struct link_end *e, bool is_key, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
void sock_set(void *sock, int option, int value);
/** What a look at the port found; "": nothing more than was known. */
void sock_greeted(struct link_end *e, const char *why, bool is_key);
/** The connection of this session said HELLO. */
void sock_counted(struct session *s);
/** Its end is no fault, or one that was told already: cut this connection in a moment. */
void sock_quiet_end(struct link_end *e, int fd, const char *address);
/** A session of our own making is over: connect again, at @us, without a word. */
void sock_again(struct link_end *e, uint64_t us);
/** The two sides have keys that do not fit, in words. */
const char *sock_words_keys(const struct link_end *e);
extern const char sock_words_they_clear[], sock_words_we_clear[], sock_words_silent[];

/* fault.c */
void fault_note(struct link_end *e, const char *address, bool strong, const char *why);
void fault_clear(struct link_end *e, const char *address);
/** The same for whoever has this key, from wherever it tried. */
void fault_clear_key(struct link_end *e, const uint8_t key[KEY_SIZE]);
/** An address for fault_note(): several peers of one address are told apart by their keys. */
void fault_place(const char *ip, const char *who, char out[64]);
/** Say guesses that repeated and were not replaced by knowledge. Returns when to look again. */
uint64_t fault_tick(struct link_end *e, uint64_t now);
bool fault_is_recent(const struct fault *f, uint64_t now);

/* greet.c */
void greet_start(struct link_end *e, const struct sockaddr *to, socklen_t len, uint64_t now);
void greet_poll(struct link_end *e, uint64_t now);
void greet_stop(struct greet *g);
/** Is what answers there still to be heard? */
bool greet_is_asking(const struct greet *g);

/* zap.c */
int zap_start(void *zmq, struct zap **out, struct err *err);
/** After the context was shut down. */
void zap_stop(struct zap **z);
/** Let @client_key (z85; "" = no encryption, NULL = nobody yet) in to @domain. */
int zap_allow(struct zap *z, const char *domain, const char *client_key, uint64_t max_peers,
    uint64_t max_per_address);
void zap_limits(struct zap *z, const char *domain, uint64_t max_peers, uint64_t max_per_address);
void zap_forget(struct zap *z, const char *domain);
/** A connection from @ip is up (+1) or gone (-1). */
void zap_count(struct zap *z, const char *domain, const char *ip, int by);
/** This domain takes clients by their names; @key is its own, @allow the list of its option. */
int zap_named(struct zap *z, const char *domain, struct trust *t, const uint8_t key[KEY_SIZE],
    const char *allow);
/**
 * Why @ip was refused, the oldest time that was not asked for yet, else the last; @ip "": of all,
 * and the address goes there. @who: the first groups of the key's fingerprint, or "".
 */
void zap_reason(struct zap *z, const char *domain, char ip[48], char who[KEY_SHORT], char why[160]);
#define ZAP_ENROLLING "?" /* the user of a connection that may only show a token */
int zap_self_test(struct link *l, struct err *err);

/* named.c */
/** Options of an end with an identity. */
int named_read(struct link_end *e, const struct conf_endpoint *conf, struct err *err);
int named_lists(struct link_end *e, const struct conf_endpoint *conf, struct err *err);
/** The key the listening side must have in the next try; false when none is trusted. */
bool named_dial(struct link_end *e);
/** That key was the wrong one: is there another to try at once? */
bool named_other_key(struct link_end *e);
/** Who says HELLO, by its key. NULL, or why it may not. */
const char *named_hello(struct session *s, zmq_msg_t *body);
/** The listening side of a session that came up is whom we dialled. */
void named_welcome(struct session *s);
/** The name of a peer is its key's; what it calls itself is told once. */
void named_claim(struct session *s);
/** Cut whom the store and the lists no longer let in; connecting ends that wait try at once. */
void named_recheck(struct link_end *e);
/** The store, opened when it was not. [main] */
int named_store(struct link *l, struct trust **out, struct err *err);
void named_free(struct link_end *e);

/* enrol.c */
/** Say ENROL on a new connection. */
void enrol_say(struct link_end *e);
/** A listening end was sent ENROL. */
void enrol_asked(struct link_end *e, zmq_msg_t *rid, zmq_msg_t *body, const struct msg *m);
/** A connecting end was answered. */
void enrol_answered(struct session *s);
uint64_t enrol_tick(struct link_end *e, uint64_t now);
/** May wait for a disk. [main] */
void enrol_free(struct link_end *e);

/* session.c */
/** Cut its connection, if it is still the same, and forget it. */
void session_cut(struct session *s, const char *why);
struct session *session_new(struct link_end *e, const void *rid, size_t rid_len);
void session_drop(struct session *s, const char *why);
void session_hello(struct link_end *e);
void session_receive(struct link_end *e, zmq_msg_t *parts, unsigned n, uint64_t now);
/** Send a control message, or keep it until the peer can take it. */
void session_send(struct session *s, const struct msg *m);
/** What waits; false when the peer is still blocked (or gone: s->dead). */
bool session_flush(struct session *s);
void session_host(struct session *s);
void session_bye(struct session *s, const char *why);
void session_reap(struct link_end *e);
/** It is to be reaped, not now. @why is a literal. */
void session_die(struct session *s, const char *why);
/** It may have something to send: session_pump() looks at those only. */
void session_wake(struct session *s);
/** Send what may be sent to those that were woken. */
void session_pump(struct link_end *e, uint64_t now);
/** Look at sessions at @us, or a little later when there are many. */
void session_due(struct link_end *e, uint64_t us);
/** What is due for all sessions. Returns when to look again. */
uint64_t session_ticks(struct link_end *e, uint64_t now);
/** An encoded message, as session_send(): the sessions' numbers in it are filled in. */
void session_send_encoded(struct session *s, struct buf *b, bool is_stats);
/** Raw sending of parts: 0, -E_AGAIN, -E_CLOSED. *body is consumed on success. */
int session_put(struct session *s, const struct buf *control, zmq_msg_t *body);

/* clock.c */
/**
 * A PONG came: the offset and round trip of the peer, and whether its clock is still right. False:
 * it does not fit any PING.
 */
bool clock_sample(struct session *s, const struct msg *m);
/** Mark a probe whose clock is wrong, by the end's clock_limit. */
void clock_judge(struct session *s);
/** Records of a probe whose clock is wrong get its offset, unless they have one already. */
void clock_fill(const struct session *s, struct batch *b);

/* channel.c */
struct channel *channel_find(struct link_end *e, const struct filter *f, struct field_set want,
    enum frame_codec codec, bool is_auto);
/** Takes *filter. NULL when the end has too many or without memory. */
struct channel *channel_new(struct link_end *e, struct filter **filter, struct field_set want,
    enum frame_codec codec, bool is_auto);
void channel_free(struct channel *ch);
/** Its subscribers may have something to send. */
void channel_wake(struct channel *ch);
void channel_take(struct channel *ch, const struct batch *b, uint64_t now);
void channel_seal(struct channel *ch, uint64_t now);
/** The slot that stands for this sequence; NULL when it is not kept (any more, or yet). */
struct slot *channel_slot(const struct channel *ch, uint64_t seq);
/** Flows of everything sealed before @seq. */
uint64_t channel_before(const struct channel *ch, uint64_t seq);
/** Have a slot's frame read back, and some behind it. */
void channel_fetch(struct channel *ch, struct slot *s);
/** Let go of frames that every cursor has settled. */
void channel_trim(struct channel *ch);
/** Drop by the end's policy until memory and disk fit their bounds. */
void channel_bound(struct channel *ch);
/** An end that took no batches for want of room takes them again when there is some. */
void channel_unblock(struct link_end *e);
/** Channels of the spool, with parked cursors, in a new end. 0 or -E_NOMEM. */
int channel_recover(struct link_end *e);
/** What the spool has done, and give it what waits. */
void channel_spool(struct link_end *e, uint64_t now);
/** The end closes in order: what is gathered is sealed, written and remembered. */
void channel_keep_all(struct link_end *e);
void frame_unref(struct frame *f);
void frame_ref(struct frame *f);
/** zmq_free_fn: hint is the frame. */
void frame_sent(void *data, void *hint);

/* cursor.c */
struct cursor *cursor_new(struct channel *ch, struct session *s, uint64_t sub, bool stats);
void cursor_free(struct cursor *c);
/** The session is gone; the position stays for `resume`. */
void cursor_park(struct cursor *c, uint64_t now);
/** Back with a new session; @seq: the last sequence the peer has. */
void cursor_resume(struct cursor *c, struct session *s, uint64_t seq);
/** Slot @s is given up, or a hole that is next: lost for a cursor that has not sent it. */
void cursor_drop(struct cursor *c, const struct slot *s, enum gap_cause cause);
/** Flows that passed the filter cannot even become a hole. */
void cursor_lose(struct cursor *c, uint64_t flows);
void cursor_ack(struct cursor *c, uint64_t seq);
/** No frames after the newest sealed one: the subscription was replaced. */
void cursor_end(struct cursor *c);
/** Send what may be sent. False: the peer is blocked or gone, or no memory. */
bool cursor_pump(struct cursor *c);
/** Everything sealed is acknowledged or announced? */
bool cursor_idle(const struct cursor *c);
/**
 * How late the oldest undelivered frame is. 0 while there is only what the link takes its time
 * for: gathering (max_delay), and acknowledgement up to its second.
 */
uint64_t cursor_lag_us(const struct cursor *c, uint64_t now);
/** Flows sealed or gathered and not yet sent; *spooled_out (may be NULL): those on disk only. */
uint64_t cursor_waiting(const struct cursor *c, uint64_t *spooled_out);

/* ledger.c */
/** The probe behind a session that came up. NULL without memory. */
struct account *account_open(struct session *s);
/** A gap was dealt with. */
void account_gap(struct session *s, uint64_t flows, uint64_t cause, bool unknown);
/** A frame has come and waits. */
void account_received(struct session *s, uint64_t flows);
/** It waits no longer: decoded, with @rows (its message said @flows), or lost. */
void account_frame(struct session *s, uint64_t flows, uint64_t rows, bool is_decoded);
/** Received and not decoded, and it comes again: the session ended. */
void account_return(struct session *s, uint64_t flows);
void account_missing(struct session *s, uint64_t frames);
void account_second(struct session *s, const struct stats_second *sec);
/** What the probe says of this subscription, from its PING. */
void account_told(struct session *s, const struct msg *m);
void accounts_free(struct link_end *e);
/** Publisher: the ledgers of a session's subscriptions into a PING; @scratch is borrowed by @m. */
void ledger_put(struct msg *m, const struct session *s, struct buf *scratch);
/** What a GAP says; what this version does not know is GAP_SEVERAL. */
enum gap_cause gap_cause_of(uint64_t number);
/** Are there losses that nobody could count? */
static inline bool
gap_is_unknown(enum gap_cause cause)
{
	return cause == GAP_PROBE_RESTART || cause == GAP_DAMAGED;
}
/** What is under way when a publisher goes is lost: in its queue, rings and on the wire. */
void ledger_abandon(struct link_end *e);

/* show.c */
struct rows {
	const struct link_end *only;
	void *p;
	size_t n, cap, width;
};
/** A zeroed row, or NULL without memory. */
void *row_add(struct rows *r);
/** A row of struct link_subscription for every cursor and inbox of an end. */
void show_subscriptions(struct rows *r, const struct link_end *e, uint64_t now);

/* publish.c */
void publish_message(struct session *s, const struct msg *m, uint64_t now);
void publish_queues(struct link_end *e, uint64_t now);
/** Frames and gaps of all cursors. False: the peer is blocked or gone, or no memory. */
bool publish_pump(struct session *s);
uint64_t publish_tick(struct link_end *e, uint64_t now);
void publish_gone(struct session *s, uint64_t now);
bool publish_busy(const struct link_end *e);
uint64_t publish_age(const struct session *s, uint64_t now);

/* want.c */
/** One reference; NULL without memory. */
struct want *want_new(const char *filter, struct field_set fields, int codec);
struct want *want_ref(struct want *w);
void want_unref(struct want **w);
bool want_eq(const struct want *a, const struct want *b);
/** Say SUBSCRIBE; its answer will be about @w. @p: go on from there, may be NULL. */
void want_ask(struct session *s, struct want *w, const struct position *p);
/** The answers, in the order asked; before the session takes over what SUBSCRIBED says. */
void want_taken(struct session *s, const struct msg *m);
void want_refused(struct session *s, const struct msg *m);
void want_gone(struct session *s);
/** Change what an end asks for, from the main thread: link_call's function. */
int want_set_call(struct link *l, void *arg, struct call *c);
struct want_set {
	struct link_end *e;
	struct want *want;   /* taken */
	bool by_outputs;
	bool want_stats;
	/* by_outputs and want_stats come back as they were */
	struct want *before; /* given: what it was */
	bool changed;
};
struct want_undo {
	struct link_end *e;
	struct want *before; /* taken when it is put back */
	bool by_outputs, want_stats; /* as before */
	struct err *err;
};
/** If all refused it: back to what it was, and -E_* with why. link_call's function. */
int want_undo_call(struct link *l, void *arg, struct call *c);
/** Has everybody answered a change, or is it time? Returns when to look again. */
uint64_t want_tick(struct link_end *e, uint64_t now);

/* subscribe.c */
void subscribe_up(struct session *s);
void subscribe_message(struct session *s, const struct msg *m, zmq_msg_t *frame, uint64_t now);
/** Decode what waits while batches are at home. */
void subscribe_work(struct link_end *e, uint64_t now);
uint64_t subscribe_tick(struct session *s, uint64_t now);
void subscribe_gone(struct session *s);
void subscribe_ack(struct session *s, bool all, uint64_t now);
bool subscribe_busy(const struct link_end *e);
/** UNSUBSCRIBE, and forget what has not been decoded. */
void subscribe_give_up(struct session *s);

/* relay.c */
struct relay *relay_new(void);
void relay_free(struct relay **r);
/** The set of channels of a publishing end has changed. */
void relay_touch(struct link *l);
/** Options of an end that asks for what outputs want have changed, or it was attached. */
void relay_end_changed(struct link_end *e);
/** A session of such an end may ask; @p: its position or NULL. */
void relay_up(struct session *s, const struct position *p);
/** Its SUBSCRIBE was refused because of the filter: ask more broadly. False: it cannot. */
bool relay_refused(struct session *s);
/** Ask where the demand has changed. Returns when to look again. */
uint64_t relay_tick(struct link *l, uint64_t now);

/* path.c */
uint64_t path_id(uint64_t node_id, int64_t started_us);
void path_put(struct msg *m, const struct link_end *e, struct buf *room);
void path_get(struct session *s, const struct msg *m);
/** Sessions or their paths have changed: recheck loops, tell subscribers, look for twins. */
void path_update(struct link *l);
/** May the flows of this peer be asked for? False: they would come back. */
bool path_allows(struct session *s);
/** Ask again where a loop is gone. Returns when to look again. */
uint64_t path_tick(struct session *s, uint64_t now);
/** The subscriber does not take our flows, because of a loop. */
void path_refused(struct session *s, const struct msg *m);
/** Names of nodes whose flows come through @s and through @o as well; false: none. */
bool path_twin(const struct session *s, const struct session *o, char *out, size_t size);

/* mark.c */
/** Ask for a mark when enough waits to be acknowledged, take over the last one's answer. */
void mark_work(struct link *l, uint64_t now);
/** Is anything received that could not be acknowledged yet? */
bool mark_open(const struct link_end *e);
/** Positions of an earlier process, for a new end. */
void mark_restore(struct link_end *e);

#endif
