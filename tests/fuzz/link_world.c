/* SPDX-License-Identifier: Apache-2.0
 * fuzz/link_world.c */
#include "link_world.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>

struct world *world;

static int sock_here, mon_here; /* stand for the sockets */

#define SOCK ((void *)&sock_here)
#define MON  ((void *)&mon_here)

uint64_t
world_random(void)
{
	uint64_t z = world->random += UINT64_C(0x9e3779b97f4a7c15);
	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return z ^ z >> 31;
}

static struct peer *
peer_of(const void *rid, size_t n)
{
	for (unsigned i = 0; i < PEERS; i++)
		if (n == sizeof(world->peer[i].rid) && memcmp(world->peer[i].rid, rid, n) == 0)
			return &world->peer[i];
	return NULL;
}

static struct peer *
peer_by_fd(int fd)
{
	for (unsigned i = 0; i < PEERS; i++)
		if (world->peer[i].connected && world->peer[i].fd == fd)
			return &world->peer[i];
	return NULL;
}

static void
add_event(uint16_t event, int value)
{
	assert_always(world->n_events < 64);
	world->event[world->n_events].event = event;
	world->event[world->n_events++].value = (uint32_t)value;
}

/* With FUZZ_LINK_TRACE in the environment: who said what. */
static void
trace(const struct peer *p, bool to_end, const void *data, size_t n)
{
	static int wanted = -1;
	struct msg m;
	if (wanted < 0)
		wanted = getenv("FUZZ_LINK_TRACE") != NULL;
	if (wanted == 0)
		return;
	int rc = msg_decode(data, n, &m);
	fprintf(stderr, "%10.3f %u %s %s%s channel %llx seq %llu next %llu from %llu to %llu\n",
	    (double)world->l.now_us / 1e6, p->number, to_end ? "->" : "<-", msg_name(m.type),
	    rc != 0 ? " (bad)" : "", (unsigned long long)m.u[MI_channel],
	    (unsigned long long)m.u[MI_seq], (unsigned long long)m.u[MI_next],
	    (unsigned long long)m.u[MI_from], (unsigned long long)m.u[MI_to]);
}

/* ---- what the end calls */

/* Sequences of a channel only rise within a session. */
static void
note_sequence(struct peer *p, const struct msg *m)
{
	uint64_t channel = m->u[MI_channel];
	uint64_t from = m->type == M_GAP ? m->u[MI_from] : m->u[MI_seq];
	uint64_t to = m->type == M_GAP ? m->u[MI_to] : m->u[MI_seq];
	unsigned i = 0;
	while (i < p->n_seen && p->seen[i].channel != channel)
		i++;
	if (i == p->n_seen) {
		if (i == SEEN_CHANNELS)
			return;
		p->seen[p->n_seen++] = (struct seen){channel, 0};
	}
	assert_always(from > p->seen[i].seq && to >= from);
	p->seen[i].seq = to;
}

static void
deliver(struct peer *p)
{
	struct msg m;
	assert_always(world->out_n == 1 || world->out_n == 2);
	assert_always(msg_decode(world->out[0].p, world->out[0].n, &m) == 0);
	assert_always((m.type == M_BATCH) == (world->out_n == 2));
	if (p->deaf)
		return;
	if (m.type == M_WELCOME || m.type == M_HELLO) {
		p->up = m.type == M_WELCOME;
		p->end = m.from;
		p->n_seen = 0;
	} else if (m.type == M_RESET || m.type == M_BYE) {
		p->up = false;
	} else if (m.type == M_SUBSCRIBED) {
		p->channel = m.u[MI_channel];
		p->next = m.u[MI_next];
	} else if (m.type == M_SUBSCRIBE) {
		p->up = true;
		p->asked = m.u[MI_sub];
	} else if (m.type == M_BATCH || m.type == M_GAP) {
		note_sequence(p, &m);
	}
	trace(p, false, world->out[0].p, world->out[0].n);
	if (p->number == 0)
		world->arrived(p, &m, world->out_n == 2 ? &world->out[1] : NULL);
}

static int
send_part(const void *data, size_t n, int flags)
{
	struct world *w = world;
	if (w->out_to == NULL && w->e->is_bind) {
		struct peer *p = peer_of(data, n);
		assert_always((flags & ZMQ_SNDMORE) != 0);
		if (p == NULL || !p->connected) {
			errno = EHOSTUNREACH;
			return -1;
		}
		if (p->blocked) {
			errno = EAGAIN;
			return -1;
		}
		w->out_to = p;
		return (int)n;
	}
	if (w->out_to == NULL) {
		struct peer *p = NULL;
		for (unsigned i = 0; i < PEERS; i++)
			if (w->peer[i].connected)
				p = &w->peer[i];
		if (p == NULL || p->blocked) {
			errno = EAGAIN;
			return -1;
		}
		w->out_to = p;
	}
	assert_always(w->out_n < PARTS);
	struct part *part = &w->out[w->out_n++];
	*part = (struct part){malloc(n > 0 ? n : 1), n};
	assert_always(part->p != NULL);
	if (n > 0)
		memcpy(part->p, data, n);
	if ((flags & ZMQ_SNDMORE) != 0)
		return (int)n;
	deliver(w->out_to);
	for (; w->out_n > 0; w->out_n--)
		free(w->out[w->out_n - 1].p);
	w->out_to = NULL;
	return (int)n;
}

int __wrap_zmq_send(void *s, const void *data, size_t n, int flags);
int
__wrap_zmq_send(void *s, const void *data, size_t n, int flags)
{
	assert_always(s == SOCK && (flags & ZMQ_DONTWAIT) != 0);
	return send_part(data, n, flags);
}

int __wrap_zmq_msg_send(zmq_msg_t *m, void *s, int flags);
int
__wrap_zmq_msg_send(zmq_msg_t *m, void *s, int flags)
{
	assert_always(s == SOCK && (flags & ZMQ_DONTWAIT) != 0);
	int rc = send_part(zmq_msg_data(m), zmq_msg_size(m), flags);
	if (rc >= 0) {
		zmq_msg_close(m);
		zmq_msg_init(m);
	}
	return rc;
}

static int
give(zmq_msg_t *m, const void *data, size_t n)
{
	assert_always(zmq_msg_init_size(m, n) == 0);
	if (n > 0)
		memcpy(zmq_msg_data(m), data, n);
	return (int)n;
}

static void
inbound_free(struct inbound *b)
{
	for (unsigned i = 0; i < b->n; i++)
		free(b->part[i].p);
	b->n = 0;
}

int __wrap_zmq_msg_recv(zmq_msg_t *m, void *s, int flags);
int
__wrap_zmq_msg_recv(zmq_msg_t *m, void *s, int flags)
{
	struct world *w = world;
	assert_always((flags & ZMQ_DONTWAIT) != 0);
	if (s == MON && w->n_events > 0) {
		uint8_t b[6];
		memcpy(b, &w->event[0].event, 2);
		memcpy(b + 2, &w->event[0].value, 4);
		memmove(w->event, w->event + 1, --w->n_events * sizeof(w->event[0]));
		return give(m, b, sizeof(b));
	}
	if (s == SOCK && w->now_at == w->now.n && w->in_n > 0) {
		inbound_free(&w->now);
		w->now = w->in[w->in_head];
		w->now_at = 0;
		w->in_head = (w->in_head + 1) % INBOUND;
		w->in_n--;
	}
	if (s == SOCK && w->now_at < w->now.n) {
		const struct part *p = &w->now.part[w->now_at++];
		return give(m, p->p, p->n);
	}
	errno = EAGAIN;
	return -1;
}

int __wrap_zmq_msg_more(const zmq_msg_t *m);
int
__wrap_zmq_msg_more(const zmq_msg_t *m)
{
	(void)m;
	return world->now_at < world->now.n;
}

int __wrap_zmq_msg_get(const zmq_msg_t *m, int property);
int
__wrap_zmq_msg_get(const zmq_msg_t *m, int property)
{
	(void)m;
	assert_always(property == ZMQ_SRCFD);
	return world->now.fd;
}

const char *__wrap_zmq_msg_gets(const zmq_msg_t *m, const char *property);
const char *
__wrap_zmq_msg_gets(const zmq_msg_t *m, const char *property)
{
	(void)m;
	return strcmp(property, "User-Id") == 0 ? "shared" : NULL;
}

int __wrap_zmq_setsockopt(void *s, int option, const void *p, size_t n);
int
__wrap_zmq_setsockopt(void *s, int option, const void *p, size_t n)
{
	(void)s;
	(void)option;
	(void)p;
	(void)n;
	return 0;
}

int __wrap_zmq_connect(void *s, const char *to);
int
__wrap_zmq_connect(void *s, const char *to)
{
	(void)to;
	assert_always(s == SOCK);
	world->trying = true;
	return 0;
}

int __wrap_zmq_disconnect(void *s, const char *from);
int
__wrap_zmq_disconnect(void *s, const char *from)
{
	(void)from;
	assert_always(s == SOCK);
	world->trying = false;
	for (unsigned i = 0; i < PEERS; i++)
		peer_lose(&world->peer[i]);
	/* what came by that connection is gone with it */
	for (; world->in_n > 0; world->in_n--) {
		inbound_free(&world->in[world->in_head]);
		world->in_head = (world->in_head + 1) % INBOUND;
	}
	world->n_events = 0;
	return 0;
}

uint64_t __wrap_clock_mono_us(void);
uint64_t
__wrap_clock_mono_us(void)
{
	return world != NULL ? world->l.now_us : 0;
}

int64_t __wrap_clock_real_us(void);
int64_t
__wrap_clock_real_us(void)
{
	return 1700000000000000 + (world != NULL ? (int64_t)world->l.now_us : 0);
}

void __wrap_random_bytes(void *p, size_t n);
void
__wrap_random_bytes(void *p, size_t n)
{
	for (uint8_t *b = p; n > 0; n--)
		*b++ = world != NULL ? (uint8_t)world_random() : 1;
}

void __wrap_address_peer(int fd, char *out, size_t size, char *ip, size_t ip_size);
void
__wrap_address_peer(int fd, char *out, size_t size, char *ip, size_t ip_size)
{
	const struct peer *p = peer_by_fd(fd);
	snprintf(out, size, "%s", p != NULL ? p->address : "");
	snprintf(ip, ip_size, "%.*s", p != NULL ? (int)strcspn(p->address, ":") : 0, out);
}

int __wrap_getsockname(int fd, struct sockaddr *sa, socklen_t *len);
int
__wrap_getsockname(int fd, struct sockaddr *sa, socklen_t *len)
{
	const struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(5556)};
	(void)fd;
	assert_always(*len >= sizeof(in));
	memcpy(sa, &in, sizeof(in));
	*len = sizeof(in);
	return 0;
}

int __wrap_shutdown(int fd, int how);
int
__wrap_shutdown(int fd, int how)
{
	struct peer *p = peer_by_fd(fd);
	(void)how;
	if (p != NULL)
		peer_lose(p);
	return 0;
}

void __wrap_zap_count(struct zap *z, const char *domain, const char *ip, int by);
void
__wrap_zap_count(struct zap *z, const char *domain, const char *ip, int by)
{
	(void)z;
	(void)domain;
	(void)ip;
	world->zap_all += by;
	assert_always(world->zap_all >= 0 && world->zap_all <= PEERS);
}

/* Without a link thread a call of the main thread is done at once. */
int __wrap_link_call(struct link *l, int (*fn)(struct link *, void *, struct call *), void *arg);
int
__wrap_link_call(struct link *l, int (*fn)(struct link *, void *, struct call *), void *arg)
{
	struct call c = {.fn = fn, .arg = arg};
	return fn(l, arg, &c);
}

/* ---- the end's host */

static void
host_push(void *ctx, struct batch **b, bool may_wait)
{
	struct value v;
	(void)ctx;
	(void)may_wait;
	for (uint32_t r = 0; r < (*b)->n; r++)
		if (batch_value(*b, F_bytes, r, &v))
			world->flow(v.u);
	if (world->hold && world->n_held < 256)
		world->held[world->n_held++] = *b;
	else
		batch_unref(b);
	*b = NULL;
}

static void
host_second(void *ctx, const struct stats_second *s)
{
	(void)ctx;
	(void)s;
	world->n_seconds++;
}

static void
host_state(void *ctx, enum port_state state, const char *why)
{
	(void)ctx;
	(void)state;
	assert_always(strlen(why) < 160);
}

/* Positions are saved at once, unless the outputs are stuck. */
static bool
save_marks(void *arg, uint64_t id, const struct link_position *p, size_t n)
{
	(void)arg;
	(void)p;
	assert_always(n <= POSITIONS_MAX + world->e->n_sessions);
	if (world->hold)
		return false;
	link_marked(&world->l, id, id % 5 != 0);
	return true;
}

/* ---- start, stop, time */

static void
set_end(struct link_end *e, bool publish, bool bind)
{
	static const struct port_host host = {.name = "end", .number = 7, .push = host_push,
	    .second = host_second, .state = host_state};
	*e = (struct link_end){.link = &world->l, .host = host, .is_publish = publish,
	    .is_bind = bind, .sock = SOCK, .mon = MON, .max_peers = 16,
	    .max_peers_per_address = 16, .heartbeat_us = 2000000, .retry_min_us = 100000,
	    .retry_max_us = 1000000, .codec = FRAME_NONE, .max_delay_us = 100000,
	    .resume_us = 300000000, .max_channels = 24, .max_subscriptions = 4,
	    .want_stats = true, .due_us = 0};
	snprintf(e->name, sizeof(e->name), "end");
	snprintf(e->addr.endpoint, sizeof(e->addr.endpoint), "tcp://192.0.2.1:5556");
	snprintf(e->bound, sizeof(e->bound), "tcp://0.0.0.0:5556");
	e->greet.fd = e->dial.fd = -1;
	e->addr.bind = bind;
}

void
world_start(bool publish, bool bind, uint64_t ring, uint64_t window)
{
	static struct frame_work *work;
	static struct filter_work *fwork;
	world = calloc(1, sizeof(*world));
	struct link_end *e = calloc(1, sizeof(*e));
	assert_always(world != NULL && e != NULL);
	if (work == NULL) {
		work = frame_work_new();
		fwork = filter_work_new();
		log_set_level(LOG_ERR);
	}
	world->l.work = work;
	world->l.fwork = fwork;
	world->l.relay = relay_new();
	assert_always(world->l.relay != NULL);
	world->l.now_us = 1000000000;
	world->l.wake.fd = world->l.done.fd = -1; /* nobody sleeps */
	world->l.host.node_id = 1;
	snprintf(world->l.host.name, sizeof(world->l.host.name), "node");
	world->l.ends = world->e = e;
	world->l.n_ends = 1;
	world->random = 7;
	world->next_id = 1;
	for (unsigned i = 0; i < PEERS; i++)
		world->peer[i].number = i;
	set_end(e, publish, bind);
	e->ring = ring;
	e->window = window;
	e->want = want_new("", field_set_all(), -1);
	assert_always(e->want != NULL);
	e->batches = publish ? queue_new(64) : NULL;
	e->seconds = publish ? queue_new(SECONDS_QUEUE) : NULL;
	e->pool = batch_pool_new(publish ? UINT32_MAX : 8);
	world->pool = batch_pool_new(128);
	if (!publish && window > 2000)
		link_set_mark(&world->l, save_marks, NULL);
	if (!bind) {
		e->dial.state = DIAL_TRYING;
		e->dial.guard_us = NEVER;
		world->trying = true;
	}
}

void
world_stop(void)
{
	struct world *w = world;
	while (w->e->sessions != NULL)
		session_drop(w->e->sessions, "the end");
	while (w->n_held > 0)
		batch_unref(&w->held[--w->n_held]);
	end_free(w->e);
	for (; w->in_n > 0; w->in_n--) {
		inbound_free(&w->in[w->in_head]);
		w->in_head = (w->in_head + 1) % INBOUND;
	}
	inbound_free(&w->now);
	for (unsigned i = 0; i < KEPT; i++)
		free(w->kept[i].p);
	for (struct freelink *f = freelist_take(&w->l.frames), *next; f != NULL; f = next) {
		next = f->next;
		free(f);
	}
	relay_free(&w->l.relay);
	buf_fini(&w->l.out);
	buf_fini(&w->l.text);
	batch_pool_free(&w->pool);
	free(w);
	world = NULL;
}

void
world_round(void)
{
	struct world *w = world;
	sock_monitor(w->e, w->l.now_us);
	mark_work(&w->l, w->l.now_us);
	end_round(w->e, w->l.now_us);
	assert_always(w->out_n == 0); /* no message was left half said */
	for (struct freelink *f = freelist_take(&w->l.frames), *next; f != NULL; f = next) {
		next = f->next;
		free(f);
	}
	check_bounds();
}

void
world_later(uint64_t us)
{
	world->l.now_us += us;
	world_round();
}

/* ---- peers */

void
peer_connect(struct peer *p)
{
	struct world *w = world;
	if (p->connected || (!w->e->is_bind && !w->trying))
		return;
	unsigned n = w->next_connection++;
	p->connected = true;
	p->blocked = p->deaf = p->up = false;
	p->fd = FD_BASE + (int)n;
	p->end = 0;
	p->n_seen = 0;
	p->rid[0] = 0;
	memcpy(p->rid + 1, &n, 4);
	snprintf(p->address, sizeof(p->address), "192.0.2.%u:%u", 10 + p->number, 1024 + n);
	if (w->e->is_bind) {
		add_event(ZMQ_EVENT_ACCEPTED, p->fd);
		add_event(ZMQ_EVENT_HANDSHAKE_SUCCEEDED, p->fd);
	} else {
		w->trying = false;
		add_event(ZMQ_EVENT_CONNECTED, p->fd);
		add_event(ZMQ_EVENT_HANDSHAKE_SUCCEEDED, p->fd);
	}
	sock_monitor(w->e, w->l.now_us);
}

void
peer_lose(struct peer *p)
{
	if (!p->connected)
		return;
	p->connected = p->blocked = p->up = false;
	add_event(ZMQ_EVENT_DISCONNECTED, p->fd);
}

void
peer_put(struct peer *p, const struct part *parts, unsigned n)
{
	struct world *w = world;
	unsigned at = 0;
	if (!p->connected || n == 0 || n >= PARTS || w->in_n == INBOUND)
		return;
	trace(p, true, parts[0].p, parts[0].n);
	struct inbound *b = &w->in[(w->in_head + w->in_n++) % INBOUND];
	*b = (struct inbound){.fd = p->fd};
	if (w->e->is_bind) {
		b->part[at++] = (struct part){malloc(5), 5};
		memcpy(b->part[0].p, p->rid, 5);
	}
	for (unsigned i = 0; i < n; i++, at++) {
		b->part[at] = (struct part){malloc(parts[i].n > 0 ? parts[i].n : 1), parts[i].n};
		assert_always(b->part[at].p != NULL);
		if (parts[i].n > 0)
			memcpy(b->part[at].p, parts[i].p, parts[i].n);
	}
	b->n = at;
}

void
peer_say(struct peer *p, const struct msg *m, const struct buf *frame)
{
	struct buf out = buf_init(0);
	msg_encode(m, &out);
	struct part parts[2] = {{out.p, out.n}, {NULL, 0}};
	if (frame != NULL)
		parts[1] = (struct part){frame->p, frame->n};
	peer_put(p, parts, frame != NULL ? 2 : 1);
	if (p->number == 0) {
		struct part *k = &world->kept[world->n_kept++ % KEPT];
		free(k->p);
		*k = (struct part){out.p, out.n};
		return;
	}
	buf_fini(&out);
}

/* ---- flows */

struct batch *
batch_make(uint64_t id, uint32_t n)
{
	struct batch *b = batch_pool_get(world->pool);
	assert_always(b != NULL);
	for (uint32_t r = 0; r < n; r++, id++) {
		batch_set_u(b, F_bytes, r, id);
		batch_set_u(b, F_proto, r, id_is_tcp(id) ? 6 : 17);
		batch_set_u(b, F_src_port, r, id * 7919 % 60000);
		batch_set_text(b, F_app, r, id % 3 == 0 ? STRV("http") : STRV("dns"));
	}
	b->n = n;
	batch_seal(b, world->l.now_us);
	return b;
}

void
frame_make(struct buf *out, uint64_t id, uint32_t n, enum frame_codec codec)
{
	struct batch *b = batch_make(id, n);
	assert_always(frame_encode(world->l.work, b, field_set_all(), codec, 0, out, NULL) == 0);
	batch_unref(&b);
}
