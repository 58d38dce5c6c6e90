/* SPDX-License-Identifier: Apache-2.0
 * link/sock.c - the socket of an end, its monitor, and connecting again for ever.
 *
 * libzmq 4.3.4 stops trying after several kinds of failure, so every try is ours: the monitor
 * tells what became of one, we disconnect, wait by cause, and connect again; libzmq's own next try
 * is days away. The monitor's other end is connected before bind or connect, has no high-water
 * mark and is read first in every round: libzmq sends events blocking, and an unread one stops all
 * peers.
 *
 * A pipe of ours ends only by our own zmq_disconnect, between two messages. With IMMEDIATE, or with
 * RECONNECT_IVL -1, libzmq ends it when the connection is lost, at any zmq_msg_recv, also between
 * two parts of a message, and then its fq.cpp aborts the process (`!_more`): unit.link_raw. */
#include <errno.h>
#include <netinet/in.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "link/link_priv.h"

const char sock_words_they_clear[] =
    "the other side is not encrypted: this side has a key, that one has none";
const char sock_words_we_clear[] =
    "the other side is encrypted: that side has a key, this one has none (set key_file)";
const char sock_words_silent[] = "silent: the port is open but nothing answers";
static const char words_no_answer[] = "no connection: no answer within 5 s";

const char *
sock_words_keys(const struct link_end *e)
{
	if (!e->named)
		return "the keys differ (both sides need the same key_file)";
	return e->is_bind
		   ? "the keys differ: it expects another key of this side (peer= there names "
		     "somebody else, or our old key)"
		   : "the keys differ: the listening side does not have the "
		     "key that is trusted here as peer";
}

#define REBIND_US UINT64_C(1000000)
#define MUTE_US   UINT64_C(12000000) /* HANDSHAKE_IVL and some time for HELLO */
#define CONNECT_MS 5000
#define GUARD_US  UINT64_C(11000000) /* connect 5 s, handshake 5 s */
#define NAME_US   UINT64_C(4000000)
#define GREET_US  UINT64_C(20000000)
#define OTHER_KEY_US UINT64_C(50000)    /* before a peer's other key is tried */
#define LAST_US   UINT64_C(500000)   /* for what was said last to leave */
#define NEVER_MS  (1 << 29) /* six days; libzmq adds up to as much again in an int */

void
sock_set(void *sock, int option, int value)
{
	assert_always(zmq_setsockopt(sock, option, &value, sizeof(value)) == 0);
}

static void
set_text(void *sock, int option, const char *text)
{
	assert_always(zmq_setsockopt(sock, option, text, strlen(text)) == 0);
}

static void
set_common(struct link_end *e)
{
	int heartbeat_ms = (int)((e->heartbeat_us + 999) / 1000);
	int64_t max = e->is_publish ? 64 << 10 : FRAME_MAX;
	sock_set(e->sock, ZMQ_LINGER, 0);
	sock_set(e->sock, ZMQ_SNDHWM, SEND_HWM);
	sock_set(e->sock, ZMQ_RCVHWM, RECV_HWM);
	sock_set(e->sock, ZMQ_HANDSHAKE_IVL, 5000);
	sock_set(e->sock, ZMQ_HEARTBEAT_IVL, heartbeat_ms);
	sock_set(e->sock, ZMQ_HEARTBEAT_TIMEOUT, 2 * heartbeat_ms);
	sock_set(e->sock, ZMQ_IPV6, e->addr.v6);
	assert_always(zmq_setsockopt(e->sock, ZMQ_MAXMSGSIZE, &max, sizeof(max)) == 0);
	if (e->is_bind) {
		sock_set(e->sock, ZMQ_ROUTER_MANDATORY, 1);
		set_text(e->sock, ZMQ_ZAP_DOMAIN, e->name);
		sock_set(e->sock, SOCK_ZAP_ENFORCE_DOMAIN, 1);
	} else {
		sock_set(e->sock, ZMQ_RECONNECT_IVL, NEVER_MS);
		if (!e->addr.ipc)
			sock_set(e->sock, ZMQ_CONNECT_TIMEOUT, CONNECT_MS);
	}
	if (e->encrypted && e->is_bind) {
		sock_set(e->sock, ZMQ_CURVE_SERVER, 1);
		set_text(e->sock, ZMQ_CURVE_SECRETKEY, e->keys.server_secret);
	} else if (e->encrypted) {
		if (!e->named) /* else it is set before each try */
			set_text(e->sock, ZMQ_CURVE_SERVERKEY, e->keys.server_public);
		set_text(e->sock, ZMQ_CURVE_PUBLICKEY, e->keys.client_public);
		set_text(e->sock, ZMQ_CURVE_SECRETKEY, e->keys.client_secret);
	}
}

static int
open_monitor(struct link_end *e)
{
	char name[64];
	snprintf(name, sizeof(name), "inproc://monitor.%llu",
	    (unsigned long long)e->link->next_monitor++);
	if (zmq_socket_monitor(e->sock, name, ZMQ_EVENT_ALL) != 0)
		return -E_SYS;
	e->mon = zmq_socket(e->link->zmq, ZMQ_PAIR);
	if (e->mon == NULL)
		return -E_SYS;
	sock_set(e->mon, ZMQ_LINGER, 0);
	sock_set(e->mon, ZMQ_RCVHWM, 0);
	return zmq_connect(e->mon, name) == 0 ? 0 : -E_SYS;
}

static int
bind_end(struct link_end *e, struct err *err)
{
	if (zmq_bind(e->sock, e->addr.endpoint) == 0) {
		size_t n = sizeof(e->bound);
		if (zmq_getsockopt(e->sock, ZMQ_LAST_ENDPOINT, e->bound, &n) != 0)
			snprintf(e->bound, sizeof(e->bound), "%s", e->addr.endpoint);
		return 0;
	}
	int no = zmq_errno();
	if (no == EADDRINUSE)
		return err_set(err, E_BUSY, "%s: %s is in use by another program or endpoint "
		    "(choose another port, or to connect to who is there write ?connect after it)",
		    e->name, e->addr.endpoint);
	if (no == EADDRNOTAVAIL || no == ENODEV)
		return err_set(err, E_INVAL, "%s: %s is not an address of this host "
		    "(use *, or write ?connect after it)", e->name, e->addr.endpoint);
	return err_set(err, E_SYS, "%s: cannot bind %s: %s", e->name, e->addr.endpoint,
	    zmq_strerror(no));
}

static void
dial(struct link_end *e, uint64_t now)
{
	struct dial *d = &e->dial;
	d->state = DIAL_TRYING;
	d->fd = -1;
	d->handshake = d->began = false;
	d->to = e->addr.sa; /* unless it is a name: then the monitor tells */
	d->to_len = e->addr.sa_len;
	d->guard_us = now + GUARD_US;
	end_due(e, e->addr.is_name ? now + NAME_US : d->guard_us);
	if (e->named && !named_dial(e)) {
		sock_down(e, true,
		    "no key of %s is trusted here (`flowctl key trust %s PUBLICKEY`)", e->id.peer,
		    e->id.peer);
		return;
	}
	if (e->named)
		set_text(e->sock, ZMQ_CURVE_SERVERKEY, e->keys.server_public);
	if (e->addr.is_name) /* libzmq takes the first address only: both families in turn */
		sock_set(e->sock, ZMQ_IPV6, e->addr.v6 = !e->addr.v6);
	if (zmq_connect(e->sock, e->addr.endpoint) != 0)
		sock_down(e, false, "cannot connect: %s", zmq_strerror(zmq_errno()));
}

int
sock_open(struct link_end *e, struct err *err)
{
	e->dial.fd = e->greet.fd = -1;
	e->sock = zmq_socket(e->link->zmq, e->is_bind ? ZMQ_ROUTER : ZMQ_DEALER);
	if (e->sock == NULL)
		return err_set(err, E_SYS, "%s: cannot make a socket: %s", e->name,
		    zmq_strerror(zmq_errno()));
	set_common(e);
	if (open_monitor(e) != 0)
		return err_set(err, E_SYS, "%s: cannot watch the socket: %s", e->name,
		    zmq_strerror(zmq_errno()));
	if (!e->is_bind) {
		dial(e, e->link->now_us);
		return 0;
	}
	const char *client = e->named ? NULL : e->encrypted ? e->keys.client_public : "";
	if (zap_allow(e->link->zap, e->name, client, e->max_peers, e->max_peers_per_address) != 0 ||
	    (e->named &&
		zap_named(e->link->zap, e->name, e->link->trust, e->id.own, e->allow) != 0))
		return err_set(err, E_NOMEM, "%s: out of memory", e->name);
	return bind_end(e, err);
}

void
sock_close(struct link_end *e)
{
	greet_stop(&e->greet);
	if (e->sock != NULL) {
		/* what was said last, BYE, may still leave; bound sockets have waited (link.c) */
		sock_set(e->sock, ZMQ_LINGER, !e->is_bind && e->n_sessions > 0 ? 300 : 0);
		zmq_socket_monitor(e->sock, NULL, 0);
		zmq_close(e->sock);
	}
	if (e->mon != NULL)
		zmq_close(e->mon);
	e->sock = e->mon = NULL;
	if (e->is_bind && e->link->zap != NULL)
		zap_forget(e->link->zap, e->name);
}

static unsigned
port_of(const struct sockaddr_storage *sa)
{
	/* NOLINTNEXTLINE(clang-analyzer-core.UndefinedBinaryOperatorResult): the kernel filled it */
	if (sa->ss_family == AF_INET)
		return ntohs(((const struct sockaddr_in *)(const void *)sa)->sin_port);
	if (sa->ss_family == AF_INET6)
		return ntohs(((const struct sockaddr_in6 *)(const void *)sa)->sin6_port);
	return 0;
}

static unsigned
endpoint_port(const char *endpoint)
{
	const char *colon = strrchr(endpoint, ':');
	return colon != NULL ? (unsigned)strtoul(colon + 1, NULL, 10) : 0;
}

/* Wait longer after each failure; a key problem is not going to cure itself in seconds. */
static uint64_t
pause_us(struct link_end *e, bool is_key)
{
	uint64_t jitter;
	struct dial *d = &e->dial;
	random_bytes(&jitter, sizeof(jitter));
	if (is_key)
		return e->retry_max_us + jitter % (e->retry_max_us + 1);
	d->backoff_us = d->backoff_us == 0 ? e->retry_min_us : d->backoff_us * 2;
	if (d->backoff_us > e->retry_max_us)
		d->backoff_us = e->retry_max_us;
	return d->backoff_us - jitter % (d->backoff_us / 4 + 1);
}

void
sock_down(struct link_end *e, bool is_key, const char *fmt, ...)
{
	struct dial *d = &e->dial;
	char why[160];
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(why, sizeof(why), fmt, ap);
	va_end(ap);
	if (d->state == DIAL_WAIT)
		return;
	if (strcmp(d->cause, why) != 0)
		e->down_since_us = clock_real_us();
	d->state = DIAL_WAIT;
	d->fd = -1;
	snprintf(d->cause, sizeof(d->cause), "%s", why);
	while (e->sessions != NULL)
		session_drop(e->sessions, why);
	zmq_disconnect(e->sock, e->addr.endpoint); /* may be gone already */
	d->retry_us = e->link->now_us + pause_us(e, is_key);
	end_due(e, d->retry_us);
	if (greet_is_asking(&e->greet))
		return; /* said when we know more */
	fault_note(e, e->addr.endpoint, true, why);
	end_state(e, PORT_DEGRADED, why);
}

/* Not even a connection. To a collector that is what a probe behind NAT looks like. */
static void
unreached(struct link_end *e, const char *why)
{
	unsigned port = endpoint_port(e->addr.endpoint);
	if (e->is_publish || e->addr.ours)
		sock_down(e, false, "%s", why);
	else
		sock_down(e, false, "%s; %sif NAT is between, let the probe connect: publish tcp://THIS:%u "
		    "there, subscribe tcp://*:%u here", why,
		    e->addr.private ? "a private address: " : "", port, port);
}

void
sock_again(struct link_end *e, uint64_t us)
{
	struct dial *d = &e->dial;
	d->state = DIAL_WAIT;
	d->fd = -1;
	while (e->sessions != NULL)
		session_drop(e->sessions, "connecting again");
	zmq_disconnect(e->sock, e->addr.endpoint); /* may be gone already */
	d->retry_us = us;
	end_due(e, us);
}

static uint64_t conns_tick(struct link_end *e, uint64_t now);

uint64_t
sock_tick(struct link_end *e, uint64_t now)
{
	struct dial *d = &e->dial;
	if (e->is_bind) {
		if (e->rebind_us != 0 && now >= e->rebind_us)
			e->rebind_us = zmq_bind(e->sock, e->bound) == 0 ? 0 : now + REBIND_US;
		return min_u64(conns_tick(e, now), e->rebind_us != 0 ? e->rebind_us : NEVER);
	}
	if (e->draining)
		return NEVER;
	if (d->state == DIAL_WAIT && greet_is_asking(&e->greet))
		return e->greet.deadline_us; /* first hear what answers there */
	if (d->state == DIAL_WAIT && now >= d->retry_us)
		dial(e, now);
	/* libzmq says nothing about a name without an address */
	uint64_t end_us = e->addr.is_name && !d->began ? d->guard_us - GUARD_US + NAME_US : d->guard_us;
	if (d->state == DIAL_TRYING && now >= end_us && end_us < d->guard_us)
		sock_down(e, false, "the name does not resolve");
	else if (d->state == DIAL_TRYING && now >= end_us)
		unreached(e, words_no_answer);
	if (d->state == DIAL_WAIT)
		return d->retry_us;
	return d->state == DIAL_TRYING ? end_us : NEVER;
}

/* What the failure of a handshake means; strong: not only a guess. */
static const char *
handshake_words(const struct link_end *e, uint32_t event, uint32_t value, bool *strong,
    bool *is_key)
{
	*strong = true;
	*is_key = true;
	if (event == ZMQ_EVENT_HANDSHAKE_FAILED_AUTH && e->named && !e->is_bind && value != 500) {
		*is_key = false; /* somebody is about to trust it: look more often */
		return e->id.enrolling
			   ? "enrolment failed: the other side knows no token that is good "
			     "there (used, expired, or it was restarted)"
			   : e->id.unwanted;
	}
	if (event == ZMQ_EVENT_HANDSHAKE_FAILED_AUTH)
		return e->is_bind ? "refused: its key is not trusted, or too many peers" : value == 500 ?
		    "refused by the other side: too many peers there (raise max_peers)" :
		    "refused by the other side: it does not trust our key";
	if (event == ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL &&
	    value == ZMQ_PROTOCOL_ERROR_ZMTP_CRYPTOGRAPHIC)
		return sock_words_keys(e);
	if (event == ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL &&
	    value == ZMQ_PROTOCOL_ERROR_ZMTP_MECHANISM_MISMATCH)
		return e->encrypted ? sock_words_they_clear : sock_words_we_clear;
	*is_key = false;
	if (event == ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL)
		return "the handshake broke the protocol";
	*strong = false;
	if (event == ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL && value == EAGAIN)
		return e->is_bind ? "connected and said nothing: not a flowbus peer" : sock_words_silent;
	return e->is_bind ?
	    "closed during the handshake: perhaps encrypted on one side only, or not a flowbus peer" :
	    "closed during the handshake";
}

/* ---- the connecting side */

static void
dial_failed(struct link_end *e, uint32_t event, uint32_t value, uint64_t now)
{
	struct dial *d = &e->dial;
	bool strong, is_key;
	const char *why = handshake_words(e, event, value, &strong, &is_key);
	d->handshake = true;
	if (e->named && event != ZMQ_EVENT_HANDSHAKE_FAILED_AUTH && named_other_key(e)) {
		sock_again(e, now + OTHER_KEY_US);
		return;
	}
	/* A guess: look at what answers there, from time to time. Also when only one side has a key and
	 * this one knows: then the other does not, and learns it from the look. */
	bool mismatch = strong && event == ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL &&
	    value == ZMQ_PROTOCOL_ERROR_ZMTP_MECHANISM_MISMATCH;
	if ((!strong || mismatch) && d->to_len > 0 && !greet_is_asking(&e->greet) &&
	    now >= d->greet_next_us) {
		d->greet_next_us = now + GREET_US;
		d->greeted[0] = '\0';
		greet_start(e, (struct sockaddr *)&d->to, d->to_len, now);
	}
	if (!strong && d->greeted[0] != '\0')
		sock_down(e, d->greeted_key, "%s", d->greeted);
	else
		sock_down(e, is_key, "%s", why);
}

void
sock_greeted(struct link_end *e, const char *why, bool is_key)
{
	struct dial *d = &e->dial;
	if (d->state != DIAL_WAIT)
		return;
	if (why[0] != '\0') {
		snprintf(d->greeted, sizeof(d->greeted), "%s", why);
		snprintf(d->cause, sizeof(d->cause), "%s", why);
		d->greeted_key = is_key;
		if (is_key)
			d->retry_us = e->link->now_us + pause_us(e, true);
	}
	end_due(e, d->retry_us);
	fault_note(e, e->addr.endpoint, true, d->cause);
	end_state(e, PORT_DEGRADED, d->cause);
}

static void
dial_event(struct link_end *e, uint32_t event, uint32_t value, uint64_t now)
{
	struct dial *d = &e->dial;
	struct sockaddr_storage sa;
	socklen_t len;
	switch (event) {
	case ZMQ_EVENT_CONNECTED:
		if (d->state != DIAL_TRYING)
			break;
		d->fd = (int)value;
		d->began = true;
		len = sizeof(sa);
		/* a name's address; the descriptor may be another connection's by now */
		if (e->addr.is_name && getpeername(d->fd, (struct sockaddr *)&sa, &len) == 0 &&
		    port_of(&sa) == endpoint_port(e->addr.endpoint)) {
			d->to = sa;
			d->to_len = len;
		}
		break;
	case ZMQ_EVENT_CONNECT_DELAYED:
		d->began = true;
		end_due(e, d->guard_us);
		break;
	case ZMQ_EVENT_HANDSHAKE_SUCCEEDED:
		if (d->state != DIAL_TRYING)
			break;
		d->handshake = true;
		d->state = DIAL_OPEN;
		if (e->id.enrolling)
			enrol_say(e);
		else
			session_hello(e);
		end_due(e, 0);
		break;
	case ZMQ_EVENT_HANDSHAKE_FAILED_AUTH:
	case ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL:
	case ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL:
		if (d->state == DIAL_TRYING)
			dial_failed(e, event, value, now);
		break;
	case ZMQ_EVENT_CLOSED:
		if (d->state == DIAL_TRYING && d->fd < 0) /* libzmq does not say why, its patience does */
			unreached(e, now >= d->guard_us - GUARD_US + (CONNECT_MS - 100) * 1000 ?
			    words_no_answer : "no connection: refused or unreachable");
		break;
	case ZMQ_EVENT_DISCONNECTED:
		if (d->state == DIAL_WAIT || (int)value != d->fd)
			break;
		if (d->state == DIAL_TRYING && !d->handshake)
			dial_failed(e, ZMQ_EVENT_DISCONNECTED, 0, now);
		else if (e->sessions != NULL)
			session_die(e->sessions, "connection lost"); /* what it said last is still to be read */
		else
			sock_down(e, false, "connection lost");
		break;
	default:
		break;
	}
}

/* ---- the bound side */

static struct conn *
conn_find(struct link_end *e, int fd)
{
	for (unsigned i = 0; i < e->n_conns; i++)
		if (e->conns[i].fd == fd)
			return &e->conns[i];
	return NULL;
}

/* Strangers must not use up the descriptors: the one that waits longest gives way. */
static void
cut_stranger(struct link_end *e)
{
	struct conn *c = NULL;
	char address[64], ip[48];
	if (e->n_conns < e->max_peers + STRANGERS_MAX)
		return;
	for (unsigned i = 0; i < e->n_conns; i++)
		if (!e->conns[i].counted && !e->conns[i].cut &&
		    (c == NULL || e->conns[i].born_us < c->born_us))
			c = &e->conns[i];
	if (c == NULL)
		return;
	c->cut = true;
	address_peer(c->fd, address, sizeof(address), ip, sizeof(ip));
	if (address[0] != '\0' && strcmp(address, c->address) == 0)
		shutdown(c->fd, SHUT_RDWR);
}

static void
conn_add(struct link_end *e, int fd)
{
	cut_stranger(e);
	if (e->n_conns == e->cap_conns) {
		unsigned cap = e->cap_conns == 0 ? 16 : e->cap_conns * 2;
		struct conn *c = realloc(e->conns, cap * sizeof(*c));
		if (c == NULL)
			return;
		e->conns = c;
		e->cap_conns = cap;
	}
	struct conn *c = &e->conns[e->n_conns++];
	*c = (struct conn){.fd = fd, .born_us = e->link->now_us};
	e->conns_us = min_u64(e->conns_us, c->born_us + MUTE_US);
	end_due(e, e->conns_us);
	/* the descriptor may be another connection's by now */
	struct sockaddr_storage sa;
	socklen_t len = sizeof(sa);
	if (e->addr.ipc || (getsockname(fd, (struct sockaddr *)&sa, &len) == 0 &&
	    port_of(&sa) == endpoint_port(e->bound)))
		address_peer(fd, c->address, sizeof(c->address), c->ip, sizeof(c->ip));
}

/* A connection ended: its session, its place among the peers, and what went wrong. */
static void
conn_gone(struct link_end *e, struct conn *c)
{
	char why[160], who[KEY_SHORT] = "", where[64];
	bool strong, is_key;
	for (struct session *s = e->sessions; s != NULL; s = s->next) {
		if (s->fd == c->fd && strcmp(s->seen, c->address) == 0) {
			/* what it said last, an ACK perhaps, is still to be read */
			session_die(s, "connection lost");
			break;
		}
	}
	if (c->counted) {
		zap_count(e->link->zap, e->name, c->ip, -1);
	} else if (!c->quiet) {
		snprintf(why, sizeof(why), "%s",
		    handshake_words(e, c->cause, c->value, &strong, &is_key));
		if (c->cause == ZMQ_EVENT_HANDSHAKE_FAILED_AUTH)
			zap_reason(e->link->zap, e->name, c->ip, who, why);
		counter_add(&e->counters, C_peer_refused, 1);
		fault_place(c->ip, who, where);
		fault_note(e, where, strong, why);
	}
	*c = e->conns[--e->n_conns];
}

void
sock_counted(struct session *s)
{
	struct link_end *e = s->end;
	struct conn *c = conn_find(e, s->fd);
	if (c == NULL || c->counted || strcmp(c->address, s->seen) != 0)
		return;
	c->counted = true;
	zap_count(e->link->zap, e->name, c->ip, 1);
}

void
sock_quiet_end(struct link_end *e, int fd, const char *address)
{
	struct conn *c = conn_find(e, fd);
	if (c == NULL || c->counted || strcmp(c->address, address) != 0)
		return;
	c->quiet = true;
	c->born_us = e->link->now_us + LAST_US - MUTE_US;
	e->conns_us = min_u64(e->conns_us, c->born_us + MUTE_US);
	end_due(e, c->born_us + MUTE_US);
}

/* Connections that neither fail nor say HELLO are cut. Returns when to look again. */
static uint64_t
conns_tick(struct link_end *e, uint64_t now)
{
	uint64_t due = NEVER;
	char address[64], ip[48];
	if (now < e->conns_us)
		return e->conns_us;
	for (unsigned i = 0; i < e->n_conns; i++) {
		struct conn *c = &e->conns[i];
		if (c->counted)
			continue;
		if (now < c->born_us + MUTE_US) {
			due = min_u64(due, c->born_us + MUTE_US);
			continue;
		}
		address_peer(c->fd, address, sizeof(address), ip, sizeof(ip));
		if (address[0] != '\0' && strcmp(address, c->address) == 0)
			shutdown(c->fd, SHUT_RDWR);
		c->born_us = now;
		due = min_u64(due, now + MUTE_US);
	}
	return e->conns_us = due;
}

static void
bound_event(struct link_end *e, uint32_t event, uint32_t value, uint64_t now)
{
	struct conn *c;
	switch (event) {
	case ZMQ_EVENT_ACCEPTED:
		conn_add(e, (int)value);
		break;
	case ZMQ_EVENT_DISCONNECTED:
	case ZMQ_EVENT_CLOSED:
		if ((c = conn_find(e, (int)value)) != NULL)
			conn_gone(e, c);
		break;
	case ZMQ_EVENT_ACCEPT_FAILED:
		if (e->rebind_us != 0)
			break;
		/* out of descriptors: a listening socket would spin */
		counter_add(&e->counters, C_accept_failed, 1);
		log_line(&e->accept_site, LOG_WARN, "link: %s: cannot accept: %s; not listening for 1 s "
		    "(raise LimitNOFILE)", e->name, zmq_strerror((int)value));
		zmq_unbind(e->sock, e->bound);
		e->rebind_us = now + REBIND_US;
		end_due(e, e->rebind_us);
		break;
	default:
		break;
	}
}

static bool
next_event(void *mon, uint32_t *event, uint32_t *value)
{
	zmq_msg_t m;
	uint16_t ev = 0;
	zmq_msg_init(&m);
	bool ok = zmq_msg_recv(&m, mon, ZMQ_DONTWAIT) >= 6;
	if (ok) {
		memcpy(&ev, zmq_msg_data(&m), 2);
		memcpy(value, (char *)zmq_msg_data(&m) + 2, 4);
		*event = ev;
		while (zmq_msg_more(&m))
			if (zmq_msg_recv(&m, mon, ZMQ_DONTWAIT) < 0)
				break;
	}
	zmq_msg_close(&m);
	return ok;
}

void
sock_monitor(struct link_end *e, uint64_t now)
{
	uint32_t event, value;
	while (next_event(e->mon, &event, &value)) {
		if (!e->is_bind) {
			dial_event(e, event, value, now);
			continue;
		}
		/* a failure does not name its connection; the DISCONNECTED after it does, which may
		 * not have come yet when we read the failure */
		if (event == ZMQ_EVENT_HANDSHAKE_FAILED_AUTH ||
		    event == ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL ||
		    event == ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL) {
			e->failed = event;
			e->failed_value = value;
			continue;
		}
		struct conn *c = event == ZMQ_EVENT_DISCONNECTED ? conn_find(e, (int)value) : NULL;
		if (c != NULL && !c->counted) {
			c->cause = e->failed;
			c->value = e->failed_value;
		}
		if (event == ZMQ_EVENT_DISCONNECTED)
			e->failed = 0;
		bound_event(e, event, value, now);
	}
}
