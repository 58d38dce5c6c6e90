/* SPDX-License-Identifier: Apache-2.0
 * bench/scale_client.c - up to thousands of subscribers in one process: a DEALER each, speaking the
 * protocol of daemon/link/README.md.
 *
 * One thread sleeps in epoll on the sockets' descriptors. These are edge-triggered inside libzmq: a
 * socket is read until it is empty whenever its descriptor is ready and after each sending to it.
 * Every frame's checksum and sequence are looked at; of every so many frames one is decoded, and
 * the time since the end of each of its flows goes into a histogram. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <zmq.h>

#include "base/clock.h"
#include "base/hash.h"
#include "link/link.h"
#include "link/msg.h"
#include "scale.h"

enum {
	EVENTS = 256,
	BINS = 300000, /* of 100 us */
	BIN_US = 100,
	ACK_FRAMES = 16,
	HIGH_WATER = 4096,
};
#define SECOND_US UINT64_C(1000000)
#define SUBSCRIBE_US UINT64_C(60000000)
#define SILENT_US UINT64_C(8000000) /* STATS come every second, PING every two */

struct sub {
	void *sock;
	uint64_t me, peer, channel, window;
	uint64_t expected;            /* next sequence */
	uint64_t acked, unacked_bytes;
	uint64_t ack_due_us;          /* 0: nothing to acknowledge */
	struct sub *ack_next;         /* by due time: all wait the same */
	uint64_t heard_us;
	bool is_listed, is_stopped, is_subscribed, is_broken;
};

struct client {
	struct scale *s;
	void *zmq;
	struct link_keys keys;
	int epoll;
	unsigned n_subscribed;
	struct sub *ack_head, **ack_tail;
	struct frame_work *work;
	struct batch_pool *pool;
	struct buf out;
	uint64_t now_us, ping_us;
	unsigned pinged;              /* the next one to be sent a PING */
	uint64_t since_decode;
	uint32_t bin[BINS];
	struct sub sub[SCALE_SUBS_MAX];
};

static struct scale_row *
row_of(struct client *c, const struct sub *u)
{
	return &c->s->client.row[u - c->sub];
}

static void
say(struct client *c, struct sub *u, const struct msg *m)
{
	buf_reset(&c->out);
	msg_encode(m, &c->out);
	if (c->out.err != 0 || zmq_send(u->sock, c->out.p, c->out.n, ZMQ_DONTWAIT) < 0)
		u->is_broken = true;
}

static void
say_hello(struct client *c, struct sub *u)
{
	char name[16];
	struct msg m = MSG(M_HELLO, u->me, 0);
	snprintf(name, sizeof(name), "s%u", (unsigned)(u - c->sub));
	msg_num(&m, MI_role, MSG_ROLE_SUBSCRIBE);
	msg_num(&m, MI_proto_min, MSG_VERSION);
	msg_num(&m, MI_proto_max, MSG_VERSION);
	msg_num(&m, MI_node_id, 1000 + (uint64_t)(u - c->sub));
	msg_text(&m, MI_end, STRV("scale"));
	msg_text(&m, MI_name, strv_of(name));
	say(c, u, &m);
}

/* Distinct filters that all but a few flows pass: each costs what one that wants all costs. */
static void
say_subscribe(struct client *c, struct sub *u)
{
	char filter[64] = "";
	unsigned k = (unsigned)(u - c->sub) % c->s->o.filters;
	struct msg m = MSG(M_SUBSCRIBE, u->me, u->peer);
	if (c->s->o.filters > 1)
		snprintf(filter, sizeof(filter), "not (proto tcp and dst port %u)", 20000 + k);
	msg_num(&m, MI_sub, 1);
	msg_num(&m, MI_stats, 1);
	msg_text(&m, MI_filter, strv_of(filter));
	if (u->channel != 0) { /* the connection was lost */
		msg_num(&m, MI_resume_channel, u->channel);
		msg_num(&m, MI_resume_seq, u->expected - 1);
	}
	say(c, u, &m);
}

static void
say_ack(struct client *c, struct sub *u)
{
	struct msg m = MSG(M_ACK, u->me, u->peer);
	u->acked = u->expected - 1;
	u->unacked_bytes = 0;
	u->ack_due_us = 0;
	msg_num(&m, MI_channel, u->channel);
	msg_num(&m, MI_seq, u->acked);
	say(c, u, &m);
}

/* What came in order is to be acknowledged: now, or within a second. */
static void
owe_ack(struct client *c, struct sub *u, uint64_t bytes)
{
	u->unacked_bytes += bytes;
	if (u->expected - 1 - u->acked >= ACK_FRAMES || u->unacked_bytes >= u->window / 4) {
		say_ack(c, u);
		return;
	}
	if (u->ack_due_us == 0)
		u->ack_due_us = c->now_us + SECOND_US;
	if (u->is_listed)
		return;
	u->is_listed = true;
	u->ack_next = NULL;
	*c->ack_tail = u;
	c->ack_tail = &u->ack_next;
}

static void
decode(struct client *c, const uint8_t *p, size_t n, int64_t now)
{
	struct batch *b = batch_pool_get(c->pool);
	const struct column *end = NULL;
	if (b == NULL || frame_decode(c->work, p, n, b, c->now_us, NULL) != 0 ||
	    (end = batch_get(b, F_end)) == NULL)
		c->s->client.bad_decode++;
	for (uint32_t r = 0; end != NULL && r < b->n; r++) {
		int64_t age = (now - ((const int64_t *)end->data)[r]) / BIN_US;
		c->bin[age < 0 ? 0 : age < BINS ? age : BINS - 1]++;
	}
	c->s->client.decoded++;
	batch_unref(&b);
}

static void
on_batch(struct client *c, struct sub *u, const struct msg *m, zmq_msg_t *frame)
{
	struct scale_client_result *r = &c->s->client;
	struct frame_info info;
	const uint8_t *p = zmq_msg_data(frame);
	size_t n = zmq_msg_size(frame);
	if (m->u[MI_channel] != u->channel || m->u[MI_seq] != u->expected)
		r->bad_seq++;
	/* the checksum covers all but itself, octets 20 to 23 */
	if (frame_peek(p, n, &info) != 0 || info.flows != m->u[MI_flows] ||
	    crc32c(crc32c(0, p, 20), p + 24, n - 24) != info.crc)
		r->bad_crc++;
	u->expected = m->u[MI_seq] + 1;
	row_of(c, u)->frames++;
	row_of(c, u)->flows += m->u[MI_flows];
	r->frames++;
	r->bytes += n;
	if (++c->since_decode >= c->s->o.decode) {
		c->since_decode = 0;
		decode(c, p, n, clock_real_us());
	}
	owe_ack(c, u, n);
}

static void
on_gap(struct client *c, struct sub *u, const struct msg *m)
{
	if (m->u[MI_channel] != u->channel || m->u[MI_from] > u->expected ||
	    m->u[MI_to] < u->expected)
		c->s->client.bad_seq++;
	u->expected = m->u[MI_to] + 1;
	row_of(c, u)->lost += m->u[MI_flows];
	owe_ack(c, u, 0);
}

static void
on_ping(struct client *c, struct sub *u, const struct msg *m)
{
	struct msg r = MSG(M_PONG, u->me, u->peer);
	uint64_t now = (uint64_t)clock_real_us();
	msg_num(&r, MI_time, now);
	msg_num(&r, MI_recv, now);
	msg_num(&r, MI_echo_time, m->u[MI_time]);
	msg_num(&r, MI_echo_mono, m->u[MI_mono]);
	say(c, u, &r);
}

static void
on_subscribed(struct client *c, struct sub *u, const struct msg *m)
{
	if (u->channel != 0 && (u->channel != m->u[MI_channel] || u->expected != m->u[MI_next]))
		c->s->client.bad_seq++;
	c->n_subscribed += u->channel == 0;
	u->channel = m->u[MI_channel];
	u->window = m->u[MI_window];
	u->expected = m->u[MI_next];
	u->acked = u->expected - 1;
	u->is_subscribed = true;
}

static void
on_message(struct client *c, struct sub *u, const struct msg *m, zmq_msg_t *frame)
{
	u->heard_us = c->now_us;
	if (m->type == M_BATCH && frame != NULL) {
		on_batch(c, u, m, frame);
	} else if (m->type == M_GAP) {
		on_gap(c, u, m);
	} else if (m->type == M_PING) {
		on_ping(c, u, m);
	} else if (m->type == M_STATS) {
		c->s->client.stats++;
	} else if (m->type == M_WELCOME) {
		u->peer = m->from;
		say_subscribe(c, u);
	} else if (m->type == M_SUBSCRIBED) {
		on_subscribed(c, u, m);
	} else if (m->type != M_PONG && m->type != M_HOST && !u->is_stopped) {
		if (m->type == M_REFUSED && u->channel == 0)
			fprintf(stderr, "bench_scale: refused: %.*s\n", (int)m->s[MI_text].n,
			    m->s[MI_text].p);
		u->is_broken = true; /* REFUSED, RESET, BYE */
	}
}

/* Read until the socket is empty: its descriptor tells only once. */
static void
drain(struct client *c, struct sub *u)
{
	zmq_msg_t part[2];
	struct msg m;
	for (;;) {
		zmq_msg_init(&part[0]);
		zmq_msg_init(&part[1]);
		bool got = zmq_msg_recv(&part[0], u->sock, ZMQ_DONTWAIT) >= 0;
		bool two = got && zmq_msg_more(&part[0]) &&
		    zmq_msg_recv(&part[1], u->sock, ZMQ_DONTWAIT) >= 0;
		if (got && msg_decode(zmq_msg_data(&part[0]), zmq_msg_size(&part[0]), &m) == 0)
			on_message(c, u, &m, two ? &part[1] : NULL);
		else if (got)
			u->is_broken = true;
		zmq_msg_close(&part[0]);
		zmq_msg_close(&part[1]);
		if (!got || (u->is_stopped && u->is_subscribed))
			return;
	}
}

static void
set(void *sock, int option, int value)
{
	if (zmq_setsockopt(sock, option, &value, sizeof(value)) != 0)
		scale_die("a socket does not take an option");
}

static void
set_text(void *sock, int option, const char *text)
{
	if (zmq_setsockopt(sock, option, text, strlen(text)) != 0)
		scale_die("a socket does not take a key");
}

static void
open_sub(struct client *c, struct sub *u)
{
	int fd;
	size_t n = sizeof(fd);
	u->sock = zmq_socket(c->zmq, ZMQ_DEALER);
	if (u->sock == NULL)
		scale_die("cannot make so many sockets (raise the limit of descriptors)");
	set(u->sock, ZMQ_LINGER, 0);
	set(u->sock, ZMQ_RECONNECT_IVL, 1 << 29); /* never: it would be another session */
	set(u->sock, ZMQ_RCVHWM, u->is_stopped ? 4 : HIGH_WATER);
	if (!c->s->o.plain) {
		set_text(u->sock, ZMQ_CURVE_SERVERKEY, c->keys.server_public);
		set_text(u->sock, ZMQ_CURVE_PUBLICKEY, c->keys.client_public);
		set_text(u->sock, ZMQ_CURVE_SECRETKEY, c->keys.client_secret);
	}
	struct epoll_event ev = {.events = EPOLLIN | EPOLLET, .data.ptr = u};
	if (zmq_connect(u->sock, c->s->o.address) != 0 ||
	    zmq_getsockopt(u->sock, ZMQ_FD, &fd, &n) != 0 ||
	    epoll_ctl(c->epoll, EPOLL_CTL_ADD, fd, &ev) != 0)
		scale_die("cannot connect");
	random_bytes(&u->me, sizeof(u->me));
	u->heard_us = c->now_us;
	u->peer = 0;
	u->is_subscribed = u->is_broken = false;
	say_hello(c, u);
	drain(c, u);
}

static void
send_acks(struct client *c)
{
	struct sub *u;
	while ((u = c->ack_head) != NULL && (u->ack_due_us == 0 || u->ack_due_us <= c->now_us)) {
		c->ack_head = u->ack_next;
		if (c->ack_head == NULL)
			c->ack_tail = &c->ack_head;
		u->is_listed = false;
		if (u->ack_due_us != 0)
			say_ack(c, u);
		drain(c, u);
	}
}

/* Nothing is heard: a collector comes again and goes on where it was. */
static void
reopen(struct client *c, struct sub *u)
{
	c->s->client.reconnects++;
	u->ack_due_us = 0;
	zmq_close(u->sock); /* and its descriptor, out of epoll */
	open_sub(c, u);
}

/* Each is sent a PING every two seconds, evenly. */
static void
send_pings(struct client *c)
{
	uint64_t each = 2 * SECOND_US / c->s->o.subs;
	for (; c->ping_us <= c->now_us; c->ping_us += each) {
		struct sub *u = &c->sub[c->pinged];
		c->pinged = (c->pinged + 1) % c->s->o.subs;
		if (u->sock == NULL || (u->is_stopped && u->is_subscribed))
			continue;
		if (u->is_broken || c->now_us > u->heard_us + SILENT_US)
			reopen(c, u);
		if (!u->is_subscribed)
			continue;
		struct msg m = MSG(M_PING, u->me, u->peer);
		msg_num(&m, MI_time, (uint64_t)clock_real_us());
		msg_num(&m, MI_mono, c->now_us);
		say(c, u, &m);
		drain(c, u);
	}
}

static void
work(struct client *c)
{
	struct epoll_event ev[EVENTS];
	int n = epoll_wait(c->epoll, ev, EVENTS, 10);
	c->now_us = clock_mono_us();
	for (int i = 0; i < n; i++) {
		struct sub *u = ev[i].data.ptr;
		if (!u->is_stopped || !u->is_subscribed)
			drain(c, u);
	}
	send_acks(c);
	send_pings(c);
}

static uint64_t
percentile(const struct client *c, uint64_t total, double part)
{
	uint64_t below = 0;
	for (uint64_t i = 0; i < BINS; i++) {
		below += c->bin[i];
		if ((double)below > part * (double)total)
			return (i + 1) * BIN_US;
	}
	return BINS * (uint64_t)BIN_US;
}

static void
result(struct client *c)
{
	struct scale_client_result *r = &c->s->client;
	for (uint64_t i = 0; i < BINS; i++) {
		r->n_latency += c->bin[i];
		if (c->bin[i] != 0)
			r->max_us = (i + 1) * BIN_US;
	}
	r->p50_us = percentile(c, r->n_latency, 0.5);
	r->p99_us = percentile(c, r->n_latency, 0.99);
	for (unsigned i = 0; i < c->s->o.subs; i++) {
		struct scale_row *row = row_of(c, &c->sub[i]);
		row->channel = c->sub[i].channel;
		row->is_set = c->sub[i].is_subscribed;
		r->broken += c->sub[i].is_broken;
	}
}

static void
subscribe_all(struct client *c)
{
	for (unsigned i = 0; i < c->s->o.subs; i++) {
		c->sub[i].is_stopped = i < c->s->o.stopped;
		open_sub(c, &c->sub[i]);
		if (i % 16 == 0)
			work(c);
	}
	uint64_t until = c->now_us + SUBSCRIBE_US;
	while (c->n_subscribed < c->s->o.subs && c->now_us < until)
		work(c);
	if (c->n_subscribed < c->s->o.subs)
		scale_die("not all could subscribe");
}

void
scale_client(struct scale *s)
{
	struct err err = {0};
	struct client *c = calloc(1, sizeof(*c));
	if (c == NULL || (c->zmq = zmq_ctx_new()) == NULL || (c->work = frame_work_new()) == NULL ||
	    (c->pool = batch_pool_new(4)) == NULL || (c->epoll = epoll_create1(0)) < 0)
		scale_die("out of memory");
	c->s = s;
	c->ack_tail = &c->ack_head;
	zmq_ctx_set(c->zmq, ZMQ_MAX_SOCKETS, SCALE_SUBS_MAX + 64);
	if (!s->o.plain && link_keys_load(s->o.key, &c->keys, &err) != 0)
		scale_die(err.text);
	while (atomic_load(&s->phase) < SCALE_BOUND)
		clock_sleep_us(5000);
	c->ping_us = c->now_us = clock_mono_us();
	subscribe_all(c);
	struct scale_cpu before = scale_cpu_now();
	atomic_store(&s->phase, SCALE_SUBSCRIBED);
	while (atomic_load(&s->phase) < SCALE_DONE)
		work(c);
	s->client.cpu = scale_cpu_since(before);
	result(c);
	atomic_store(&s->phase, SCALE_READ);
	for (unsigned i = 0; i < s->o.subs; i++)
		zmq_close(c->sub[i].sock);
	zmq_ctx_term(c->zmq);
	link_keys_wipe(&c->keys);
	frame_work_free(&c->work);
	batch_pool_free(&c->pool);
	buf_fini(&c->out);
	free(c);
}
