/* SPDX-License-Identifier: Apache-2.0
 * link/session.c - one peer: HELLO to BYE, who is who, heartbeats, and sending to it.
 *
 * A session is two random numbers, one of each side, and every message after WELCOME carries
 * both: a
 * message that does not fit is dropped, counted and answered with RESET. Who the peer is, is its
 * HELLO's node id and endpoint name together with the user the key stands for; the routing id
 * only says where to send. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "link/link_priv.h"

static struct session **
bucket_of(struct link_end *e, const uint8_t *rid, size_t rid_len)
{
	return &e->bucket[rid_len > 0 ? rid[rid_len - 1] : 0];
}

static struct session *
session_find(struct link_end *e, const void *rid, size_t rid_len)
{
	struct session *s = rid_len <= RID_MAX ? *bucket_of(e, rid, rid_len) : NULL;
	while (s != NULL && (s->rid_len != rid_len || memcmp(s->rid, rid, rid_len) != 0))
		s = s->bucket;
	return s;
}

struct session *
session_new(struct link_end *e, const void *rid, size_t rid_len)
{
	struct session *s = rid_len <= RID_MAX ? calloc(1, sizeof(*s)) : NULL;
	if (s == NULL)
		return NULL;
	s->end = e;
	if (rid_len > 0)
		memcpy(s->rid, rid, rid_len);
	s->rid_len = rid_len;
	do
		random_bytes(&s->me, sizeof(s->me));
	while (s->me == 0);
	s->fd = -1;
	s->pend_tail = &s->pend;
	s->born_us = s->last_rx_us = e->link->now_us;
	s->since_us = clock_real_us();
	s->ping_due_us = NEVER;
	struct session **b = bucket_of(e, s->rid, rid_len);
	s->bucket = *b;
	*b = s;
	s->next = e->sessions;
	e->sessions = s;
	e->n_sessions++;
	session_due(e, 0);
	return s;
}

/* Cut the connection by its descriptor, if that is still the same connection. */
static void
cut(struct session *s)
{
	char address[64], ip[48];
	if (s->fd < 0 || s->seen[0] == '\0')
		return;
	address_peer(s->fd, address, sizeof(address), ip, sizeof(ip));
	if (strcmp(address, s->seen) == 0)
		shutdown(s->fd, SHUT_RDWR);
}

void
session_cut(struct session *s, const char *why)
{
	cut(s);
	session_drop(s, why);
}

void
session_die(struct session *s, const char *why)
{
	if (!s->dead)
		s->dead_why = why;
	s->dead = true;
	s->end->any_dead = true;
	end_due(s->end, 0);
}

void
session_wake(struct session *s)
{
	struct link_end *e = s->end;
	if (s->is_ready)
		return;
	s->is_ready = true;
	s->ready = NULL;
	if (e->ready == NULL)
		e->ready_tail = &e->ready;
	*e->ready_tail = s;
	e->ready_tail = &s->ready;
}

static void
not_ready(struct session *s)
{
	struct link_end *e = s->end;
	if (!s->is_ready)
		return;
	struct session **at = &e->ready;
	while (*at != s)
		at = &(*at)->ready;
	*at = s->ready;
	if (s->ready == NULL)
		e->ready_tail = at;
	s->is_ready = false;
}

static void accept_session(struct session *s);

void
session_drop(struct session *s, const char *why)
{
	struct link_end *e = s->end;
	struct session *challenger = s->challenger;
	if (s->up) {
		counter_add(&e->counters, C_peer_down, 1);
		log_info("link: %s: peer %s (%s) down: %s", e->name, s->name,
		    s->seen[0] != '\0' ? s->seen : "local", why);
		if (e->is_publish)
			publish_gone(s, e->link->now_us);
		else
			subscribe_gone(s);
	}
	for (struct session *t = e->sessions; t != NULL; t = t->next)
		if (t->challenger == s)
			t->challenger = NULL;
	struct session **at = &e->sessions;
	/* NOLINTNEXTLINE(clang-analyzer-core.NullDereference): s is in the list */
	while (*at != s)
		at = &(*at)->next;
	*at = s->next;
	for (at = bucket_of(e, s->rid, s->rid_len); *at != s;)
		at = &(*at)->bucket;
	*at = s->bucket;
	e->n_sessions--;
	not_ready(s);
	while (s->pend != NULL) {
		struct pending *p = s->pend;
		s->pend = p->next;
		free(p);
	}
	free(s->relayed);
	free(s->path);
	free(s->second);
	bool gave = s->up && !e->is_publish;
	want_gone(s);
	free(s);
	if (gave)
		path_update(e->link);
	if (challenger != NULL)
		accept_session(challenger);
}

void
session_reap(struct link_end *e)
{
	if (!e->any_dead)
		return;
	e->any_dead = false;
	for (struct session *s = e->sessions; s != NULL;) {
		if (!s->dead) {
			s = s->next;
			continue;
		}
		if (e->is_bind) {
			cut(s);
			session_drop(s, s->dead_why);
		} else {
			sock_down(e, false, "%s", s->dead_why);
		}
		s = e->sessions; /* others may have gone or come with it */
	}
}

int
session_put(struct session *s, const struct buf *control, zmq_msg_t *body)
{
	struct link_end *e = s->end;
	int more = body != NULL ? ZMQ_SNDMORE : 0;
	if (s->dead || control->err != 0)
		return -E_CLOSED;
	int rc = 0;
	if (s->rid_len > 0)
		rc = zmq_send(e->sock, s->rid, s->rid_len, ZMQ_DONTWAIT | ZMQ_SNDMORE);
	/* only the first part may be refused: the rest follows it or vanishes with the peer */
	if (rc >= 0)
		rc = zmq_send(e->sock, control->p, control->n, ZMQ_DONTWAIT | more);
	if (rc >= 0 && body != NULL)
		rc = zmq_msg_send(body, e->sock, ZMQ_DONTWAIT);
	if (rc >= 0) {
		counter_add(&e->counters, C_msg_out, 1);
		return 0;
	}
	if (zmq_errno() == EAGAIN) {
		s->blocked = true;
		s->retry_us = e->link->now_us + BLOCKED_US;
		end_due(e, s->retry_us);
		session_wake(s);
		return -E_AGAIN;
	}
	session_die(s, "connection lost");
	return -E_CLOSED;
}

static void
send_encoded(struct session *s, const struct buf *b, bool is_stats)
{
	if (s->pend == NULL && !s->blocked && session_put(s, b, NULL) != -E_AGAIN)
		return;
	if (s->n_pend >= (is_stats ? CONTROL_MAX / 2 : CONTROL_MAX)) {
		if (is_stats)
			counter_add(&s->end->counters, C_stats_lost, 1);
		else
			session_die(s, "it reads nothing: too many messages wait for it");
		return;
	}
	struct pending *p = b->err == 0 ? malloc(sizeof(*p) + b->n) : NULL;
	if (p == NULL) {
		session_die(s, "out of memory");
		return;
	}
	*p = (struct pending){NULL, is_stats, b->n};
	memcpy(p->data, b->p, b->n);
	*s->pend_tail = p;
	s->pend_tail = &p->next;
	s->n_pend++;
	session_wake(s);
}

void
session_send(struct session *s, const struct msg *m)
{
	struct buf *out = &s->end->link->out;
	buf_reset(out);
	msg_encode(m, out);
	send_encoded(s, out, m->type == M_STATS);
}

void
session_send_encoded(struct session *s, struct buf *b, bool is_stats)
{
	if (b->err == 0)
		msg_readdress(b->p, s->me, s->peer);
	send_encoded(s, b, is_stats);
}

void
session_pump(struct link_end *e, uint64_t now)
{
	struct session *s = e->ready, *next;
	e->ready = NULL;
	for (; s != NULL; s = next) {
		next = s->ready;
		s->is_ready = false;
		if (s->dead || s->is_challenger)
			continue;
		if (s->blocked && now < s->retry_us) {
			session_wake(s);
			end_due(e, s->retry_us);
			continue;
		}
		s->blocked = false;
		if (!session_flush(s) || !e->is_publish || publish_pump(s) || s->dead || s->blocked)
			continue;
		s->retry_us = now + BLOCKED_US; /* no memory */
		end_due(e, s->retry_us);
		session_wake(s);
	}
}

bool
session_flush(struct session *s)
{
	while (s->pend != NULL) {
		struct pending *p = s->pend;
		struct buf b = {p->data, p->len, p->len, 0, 0};
		if (session_put(s, &b, NULL) != 0)
			return false;
		s->pend = p->next;
		s->n_pend--;
		free(p);
	}
	s->pend_tail = &s->pend;
	return !s->dead;
}

static void
put_host(struct msg *m, const struct link_end *e)
{
	const struct link_host *h = &e->link->host;
	msg_num(m, MI_role, e->is_publish ? MSG_ROLE_PUBLISH : MSG_ROLE_SUBSCRIBE);
	msg_num(m, MI_node_id, h->node_id);
	msg_text(m, MI_end, strv_of(e->name));
	msg_text(m, MI_name, strv_of(h->name));
	msg_text(m, MI_version, strv_of(h->version));
	msg_num(m, MI_started, (uint64_t)h->started_us);
	msg_text(m, MI_addresses, strv_of(h->addresses));
	msg_text(m, MI_interface, strv_of(h->interface));
	msg_num(m, MI_speed, h->speed_bps);
	buf_reset(&e->link->upstream);
	path_put(m, e, &e->link->upstream);
}

static void
get_host(struct session *s, const struct msg *m)
{
	msg_copy(m, MI_name, s->name, sizeof(s->name));
	msg_copy(m, MI_version, s->version, sizeof(s->version));
	msg_copy(m, MI_addresses, s->addresses, sizeof(s->addresses));
	msg_copy(m, MI_interface, s->interface, sizeof(s->interface));
	s->peer_started_us = (int64_t)m->u[MI_started];
	s->speed_bps = m->u[MI_speed];
	named_claim(s);
	path_get(s, m);
}

static void
get_identity(struct session *s, const struct msg *m)
{
	get_host(s, m);
	s->node_id = m->u[MI_node_id];
	msg_copy(m, MI_end, s->peer_end, sizeof(s->peer_end));
}

void
session_host(struct session *s)
{
	struct msg m = MSG(M_HOST, s->me, s->peer);
	if (!s->up)
		return;
	put_host(&m, s->end);
	session_send(s, &m);
}

void
session_bye(struct session *s, const char *why)
{
	struct msg m = MSG(M_BYE, s->me, s->peer);
	if (!s->up)
		return;
	msg_text(&m, MI_text, strv_of(why));
	session_send(s, &m);
}

void
session_hello(struct link_end *e)
{
	struct session *s = session_new(e, NULL, 0);
	if (s == NULL)
		return;
	struct msg m = MSG(M_HELLO, s->me, 0);
	put_host(&m, e);
	msg_num(&m, MI_proto_min, MSG_VERSION);
	msg_num(&m, MI_proto_max, MSG_VERSION);
	s->fd = e->dial.fd;
	char ip[48];
	address_of((const struct sockaddr *)&e->dial.to, e->dial.to_len, s->seen, sizeof(s->seen), ip,
	    sizeof(ip));
	session_send(s, &m);
}

static void
up(struct session *s)
{
	struct link_end *e = s->end;
	s->up = true;
	s->since_us = clock_real_us();
	s->last_rx_us = e->link->now_us;
	s->ping_due_us = e->link->now_us;
	session_due(e, 0); /* a PING at once */
	counter_add(&e->counters, C_peer_up, 1);
	fault_clear(e, s->seen);
	if (s->verified)
		fault_clear_key(e, s->key);
	log_info("link: %s: peer %s (%s) up, flowbus %s%s%s", e->name, s->name,
	    s->seen[0] != '\0' ? s->seen : "local", s->version,
	    e->encrypted ? ", encrypted" : ", not encrypted", s->verified ? ", verified" : "");
	end_up(e);
	if (e->is_publish)
		return;
	path_update(e->link); /* told to our subscribers before we ask */
	subscribe_up(s);
}

static void
accept_session(struct session *s)
{
	struct msg m = MSG(M_WELCOME, s->me, s->peer);
	s->is_challenger = false;
	put_host(&m, s->end);
	msg_num(&m, MI_protocol, MSG_VERSION);
	msg_text(&m, MI_seen, strv_of(s->seen));
	session_send(s, &m);
	up(s);
}

/* Say no to a HELLO and forget the session. */
static void
refuse(struct session *s, int code, const char *text)
{
	struct link_end *e = s->end;
	struct msg m = MSG(M_REFUSED, s->me, s->peer);
	msg_num(&m, MI_code, (uint64_t)code);
	msg_text(&m, MI_text, strv_of(text));
	session_send(s, &m);
	counter_add(&e->counters, C_peer_refused, 1);
	fault_note(e, s->seen, true, text);
	session_drop(s, text);
}

static const char in_use_words[] = "node id in use by another connection";

/* The session that is up has proved that it lives. */
static void
in_use(struct session *s)
{
	struct session *c = s->challenger;
	s->challenger = NULL;
	refuse(c, E_BUSY, in_use_words);
}

/* The time of a challenged session is over. What it says without answering the PING may be what its
 * connection still had under way when the peer gave it up: after an outage that comes beside the
 * new connection, and the end of the old one right behind it. So it gets as much time again, and
 * then has to have said something in it: a slow way can keep the PING waiting. */
static void
verdict(struct session *s, uint64_t now)
{
	bool has_spoken = now < s->last_rx_us + TAKEOVER_US;
	if (!has_spoken) {
		session_die(s, "replaced"); /* the challenger comes up when this one is reaped */
	} else if (s->is_last_verdict) {
		in_use(s);
	} else {
		s->is_last_verdict = true;
		s->verdict_us = now + TAKEOVER_US;
	}
}

/* The session that is up for the same peer; one that has lost its connection gives way at once. */
static struct session *
same_identity(const struct session *s)
{
	for (struct session *t = s->end->sessions; t != NULL;) {
		if (t == s || !t->up || t->node_id != s->node_id ||
		    strcmp(t->peer_end, s->peer_end) != 0 || strcmp(t->user, s->user) != 0) {
			t = t->next;
			continue;
		}
		if (!t->dead)
			return t;
		session_drop(t, "connection lost");
		t = s->end->sessions; /* one that waited for this comes up with it */
	}
	return NULL;
}

static void
ping(struct session *s)
{
	struct msg m = MSG(M_PING, s->me, s->peer);
	msg_num(&m, MI_time, (uint64_t)clock_real_us());
	msg_num(&m, MI_mono, clock_mono_us());
	uint8_t room[512];
	struct buf scratch = {room, 0, sizeof(room), sizeof(room), 0};
	if (s->end->is_publish) {
		msg_num(&m, MI_age, publish_age(s, s->end->link->now_us));
		ledger_put(&m, s, &scratch);
	}
	session_send(s, &m);
}

static void
on_hello(struct link_end *e, struct session *s, zmq_msg_t *rid, zmq_msg_t *body,
    const struct msg *m, uint64_t now)
{
	char ip[48];
	uint64_t role = e->is_publish ? MSG_ROLE_SUBSCRIBE : MSG_ROLE_PUBLISH;
	if (s != NULL)
		session_drop(s, "said HELLO again");
	s = session_new(e, zmq_msg_data(rid), zmq_msg_size(rid));
	if (s == NULL || m->from == 0) {
		counter_add(&e->counters, C_msg_bad, 1);
		if (s != NULL)
			session_drop(s, "bad HELLO");
		return;
	}
	s->peer = m->from;
	s->fd = zmq_msg_get(body, ZMQ_SRCFD);
	address_peer(s->fd, s->seen, sizeof(s->seen), ip, sizeof(ip));
	const char *user = zmq_msg_gets(body, "User-Id");
	snprintf(s->user, sizeof(s->user), "%s", user != NULL ? user : "");
	const char *why = e->named ? named_hello(s, body) : NULL;
	get_identity(s, m);
	if (why != NULL) {
		sock_quiet_end(e, s->fd, s->seen);
		refuse(s, E_KEY, why);
		return;
	}
	sock_counted(s);
	if (m->u[MI_role] != role) {
		refuse(s, E_INVAL, e->is_publish ?
		    "this endpoint publishes flows and so does yours (one side must subscribe)" :
		    "this endpoint subscribes to flows and so does yours (one side must publish)");
		return;
	}
	if (m->u[MI_proto_min] > MSG_VERSION || m->u[MI_proto_max] < MSG_VERSION) {
		refuse(s, E_UNSUP, "no protocol version in common, this side speaks version 1");
		return;
	}
	if (e->n_sessions > e->max_peers) {
		refuse(s, E_LIMIT, "too many peers (raise max_peers)");
		return;
	}
	struct session *old = same_identity(s);
	if (old == NULL) {
		accept_session(s);
	} else if (old->challenger != NULL) {
		refuse(s, E_BUSY, in_use_words);
	} else {
		old->challenger = s;
		old->challenged_us = clock_mono_us();
		old->verdict_us = now + TAKEOVER_US;
		old->is_last_verdict = false;
		s->is_challenger = true;
		session_due(e, old->verdict_us);
		ping(old);
	}
}

static void
on_welcome(struct session *s, const struct msg *m)
{
	struct link_end *e = s->end;
	uint64_t role = e->is_publish ? MSG_ROLE_SUBSCRIBE : MSG_ROLE_PUBLISH;
	if (m->u[MI_role] != role || m->from == 0 || m->u[MI_protocol] != MSG_VERSION) {
		counter_add(&e->counters, C_msg_bad, 1);
		sock_down(e, true, "the other side does not fit: wrong role or protocol version");
		return;
	}
	s->peer = m->from;
	named_welcome(s);
	get_identity(s, m);
	msg_copy(m, MI_seen, s->our_seen, sizeof(s->our_seen));
	e->dial.state = DIAL_UP;
	e->dial.backoff_us = 0;
	e->dial.cause[0] = '\0';
	up(s);
}

static void
on_ping(struct session *s, const struct msg *m)
{
	struct msg r = MSG(M_PONG, s->me, s->peer);
	int64_t now = clock_real_us();
	if (msg_has(m, MI_age))
		s->peer_age_us = m->u[MI_age];
	if (!s->end->is_publish)
		account_told(s, m);
	msg_num(&r, MI_echo_time, m->u[MI_time]);
	msg_num(&r, MI_echo_mono, m->u[MI_mono]);
	msg_num(&r, MI_recv, (uint64_t)now);
	msg_num(&r, MI_time, (uint64_t)now);
	if (s->end->is_publish)
		msg_num(&r, MI_age, publish_age(s, s->end->link->now_us));
	session_send(s, &r);
}

/* A message that fits no session: the sender starts again with HELLO. */
static void
stale(struct link_end *e, zmq_msg_t *rid, const struct msg *m)
{
	struct buf *out = &e->link->out;
	struct msg r = MSG(M_RESET, m->to, m->from);
	counter_add(&e->counters, C_msg_stale, 1);
	if (m->type == M_RESET)
		return;
	buf_reset(out);
	msg_encode(&r, out);
	if (rid != NULL && zmq_send(e->sock, zmq_msg_data(rid), zmq_msg_size(rid),
	    ZMQ_DONTWAIT | ZMQ_SNDMORE) < 0)
		return;
	if (zmq_send(e->sock, out->p, out->n, ZMQ_DONTWAIT) >= 0)
		counter_add(&e->counters, C_msg_out, 1);
}

static void
on_reset(struct session *s, uint64_t now)
{
	struct link_end *e = s->end;
	bool soon = now - s->born_us < 1000000;
	if (e->is_bind) {
		session_drop(s, "the peer does not know this session");
	} else if (soon) {
		sock_down(e, false, "the other side keeps forgetting the session");
	} else {
		session_drop(s, "the other side does not know this session");
		session_hello(e);
	}
}

/* Messages that come before, or end, a session at the connecting side. True: dealt with. */
static bool
early_message(struct session *s, const struct msg *m)
{
	struct link_end *e = s->end;
	char text[160], quoted[sizeof(text)];
	if (m->to != s->me || s->peer != 0)
		return false;
	if (m->type == M_WELCOME) {
		on_welcome(s, m);
		return true;
	}
	if (m->type == M_ENROL) {
		enrol_answered(s);
		return true;
	}
	if (m->type != M_REFUSED)
		return false;
	msg_copy(m, MI_text, text, sizeof(text));
	snprintf(quoted, sizeof(quoted), "%s", text);
	counter_add(&e->counters, C_peer_refused, 1);
	sock_down(e, true, "refused by the other side: %s", quoted);
	return true;
}

static void
common_message(struct session *s, const struct msg *m, zmq_msg_t *frame, uint64_t now)
{
	struct link_end *e = s->end;
	char text[160];
	if (m->type == M_PING) {
		on_ping(s, m);
	} else if (m->type == M_PONG) {
		if (clock_sample(s, m) && s->challenger != NULL &&
		    m->u[MI_echo_mono] >= s->challenged_us)
			in_use(s);
	} else if (m->type == M_HOST) {
		get_host(s, m);
		if (!e->is_publish)
			path_update(e->link);
	} else if (m->type == M_BYE) {
		msg_copy(m, MI_text, text, sizeof(text));
		if (e->is_bind)
			session_drop(s, text[0] != '\0' ? text : "said BYE");
		else
			sock_down(e, false, "the other side said goodbye: %s", text);
	} else if (e->is_publish) {
		publish_message(s, m, now);
	} else {
		subscribe_message(s, m, frame, now);
	}
}

void
session_receive(struct link_end *e, zmq_msg_t *parts, unsigned n, uint64_t now)
{
	struct msg m;
	zmq_msg_t *rid = e->is_bind ? &parts[0] : NULL;
	unsigned at = e->is_bind ? 1 : 0;
	counter_add(&e->counters, C_msg_in, 1);
	if (n <= at || n > at + 2 ||
	    msg_decode(zmq_msg_data(&parts[at]), zmq_msg_size(&parts[at]), &m) != 0 ||
	    (n == at + 2) != (m.type == M_BATCH)) {
		counter_add(&e->counters, C_msg_bad, 1);
		return;
	}
	/* what it is sent from now on it leaves to the next session */
	if (e->said_bye && (!e->is_publish || m.type == M_HELLO))
		return;
	struct session *s = rid != NULL ? session_find(e, zmq_msg_data(rid), zmq_msg_size(rid)) :
					  e->sessions;
	if (e->is_bind && m.type == M_HELLO) {
		on_hello(e, s, rid, &parts[at], &m, now);
		return;
	}
	if (e->is_bind && m.type == M_ENROL) {
		if (s != NULL)
			session_drop(s, "said ENROL");
		enrol_asked(e, rid, &parts[at], &m);
		return;
	}
	if (!e->is_bind && s != NULL && early_message(s, &m))
		return;
	if (s == NULL || s->is_challenger || !s->up || m.to != s->me || m.from != s->peer) {
		if (s != NULL && m.type == M_RESET && m.to == s->me)
			on_reset(s, now);
		else
			stale(e, rid, &m);
		return;
	}
	s->last_rx_us = now;
	s->retry_us = 0; /* it has read something, perhaps */
	if (m.type == M_RESET)
		on_reset(s, now);
	else
		common_message(s, &m, n == at + 2 ? &parts[at + 1] : NULL, now);
}

static uint64_t
session_tick(struct session *s, uint64_t now)
{
	struct link_end *e = s->end;
	uint64_t silent = s->last_rx_us + 4 * e->heartbeat_us;
	if (s->challenger != NULL && now >= s->verdict_us) {
		verdict(s, now);
		return now;
	}
	if (s->is_challenger)
		return NEVER;
	if (!s->up) {
		if (now < s->born_us + HELLO_US)
			return s->born_us + HELLO_US;
		sock_down(e, true, "%s", e->id.enrolling ? "enrolment failed: no answer to ENROL" :
		    "connected, but no WELCOME: not a flowbus port");
		return now;
	}
	if (now >= silent) {
		if (e->unread) /* what it said may wait in our own socket */
			return now + TURN_US;
		session_die(s, "nothing heard for four heartbeats");
		return now;
	}
	if (now >= s->ping_due_us) {
		ping(s);
		s->ping_due_us = now + e->heartbeat_us;
	}
	uint64_t due = min_u64(s->ping_due_us, silent);
	if (s->challenger != NULL)
		due = min_u64(due, s->verdict_us);
	return e->is_publish ? due :
	    min_u64(due, min_u64(subscribe_tick(s, now), path_tick(s, now)));
}

/* With many sessions something is due for one of them all the time: then all wait a little. */
static uint64_t
not_before(const struct link_end *e, uint64_t us)
{
	uint64_t least = e->ticked_us + e->n_sessions * TICK_US;
	return us > least ? us : least;
}

void
session_due(struct link_end *e, uint64_t us)
{
	e->tick_us = min_u64(e->tick_us, not_before(e, us));
	end_due(e, e->tick_us);
}

uint64_t
session_ticks(struct link_end *e, uint64_t now)
{
	uint64_t due = NEVER;
	if (now < e->tick_us)
		return e->tick_us;
	e->tick_us = NEVER; /* what sessions ask for while others are looked at counts */
	for (struct session *s = e->sessions, *next; s != NULL; s = next) {
		due = min_u64(due, session_tick(s, now)); /* may drop its challenger; dialled: itself */
		next = e->is_bind ? s->next : NULL;
	}
	e->ticked_us = now;
	return e->tick_us = min_u64(e->tick_us, not_before(e, due));
}
