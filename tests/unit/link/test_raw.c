/* SPDX-License-Identifier: Apache-2.0
 * unit/link/test_raw.c - messages as bytes, and a peer that does not keep to the protocol. */
#include "rig.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <zmq.h>

#include "base/hash.h"
#include "base/log.h"
#include "link/msg.h"

#define FAST "retry_min=10ms retry_max=60ms heartbeat=300ms"

static struct link *node;
static struct batch_pool *pool;
static void *ctx;

static int
setup(void **state)
{
	(void)state;
	node = node_start("node", 101);
	pool = batch_pool_new(16);
	ctx = zmq_ctx_new();
	return 0;
}

static int
teardown(void **state)
{
	(void)state;
	zmq_ctx_term(ctx);
	link_stop(&node);
	batch_pool_free(&pool);
	return 0;
}

/* ---- bytes */

static void
messages_survive(void **state)
{
	struct buf out = buf_init(0);
	struct msg m = MSG(M_SUBSCRIBE, 0x1122334455667788, 5), r;
	(void)state;
	msg_num(&m, MI_sub, 1);
	msg_num(&m, MI_codec, 0);
	msg_num(&m, MI_resume_seq, UINT64_MAX);
	msg_text(&m, MI_filter, STRV("app http"));
	msg_encode(&m, &out);
	assert_int_equal(out.err, 0);
	assert_int_equal(msg_decode(out.p, out.n, &r), 0);
	assert_int_equal(r.type, M_SUBSCRIBE);
	assert_int_equal(r.from, m.from);
	assert_int_equal(r.to, 5);
	assert_int_equal(r.has, m.has);
	assert_int_equal(r.u[MI_codec], 0);
	assert_int_equal(r.u[MI_resume_seq], UINT64_MAX);
	assert_true(strv_eq(r.s[MI_filter], STRV("app http")));
	/* cut anywhere it is refused, or misses what it needs */
	for (size_t n = 0; n < out.n; n++) {
		int rc = msg_decode(out.p, n, &r);
		if (rc == 0)
			assert_true(msg_has(&r, MI_sub));
		else
			assert_true(rc == -E_TRUNC || rc == -E_FORMAT);
	}
	/* items of a later version are skipped; an item twice, or a wrong magic, is not accepted */
	buf_put(&out, "\xfe\x03xyz", 5);
	assert_int_equal(msg_decode(out.p, out.n, &r), 0);
	buf_put(&out, "\x0d\x01\x01", 3);
	assert_int_equal(msg_decode(out.p, out.n, &r), -E_FORMAT);
	out.p[0] = 'X';
	assert_int_equal(msg_decode(out.p, out.n, &r), -E_FORMAT);
	buf_fini(&out);
}

static void
statistics_survive(void **state)
{
	struct stats_second s = {.second = -5, .interface = "eth0", .probe = "p", .packets = 1,
	    .bytes = UINT64_MAX, .drops_kernel = 2, .drops_if = 3, .drops_own = 4, .non_ip = 5,
	    .malformed = 6, .flows_active = 7, .flows_new = 8, .flows_ended = 9, .late_us = 10,
	    .n_apps = STATS_APPS,
	    .totals = {true, 11, 12, UINT64_MAX, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23}}, r;
	struct buf out = buf_init(0), apps = buf_init(0);
	struct msg m = MSG(M_STATS, 1, 2), d;
	(void)state;
	for (int i = 0; i < STATS_APPS; i++) {
		memset(s.apps[i].name, 'a' + i, STATS_NAME - 1);
		s.apps[i].flows = s.apps[i].bytes = UINT64_MAX - (uint64_t)i;
	}
	msg_put_stats(&m, &s, &apps);
	msg_encode(&m, &out);
	assert_int_equal(msg_decode(out.p, out.n, &d), 0);
	assert_int_equal(msg_get_stats(&d, &r), 0);
	assert_memory_equal(&r, &s, sizeof(s));
	buf_fini(&out);
	buf_fini(&apps);
}

static void
fields_survive(void **state)
{
	uint8_t room[2 * F_COUNT];
	struct msg m = {0};
	struct field_set got, want = field_set_base();
	(void)state;
	msg_put_fields(&m, want, room);
	assert_int_equal(msg_get_fields(&m, &got), 0);
	assert_true(field_set_eq(got, want));
	m.s[MI_fields] = STRV("\x01\x00\xff\xff"); /* src_addr, and a number of the future */
	assert_int_equal(msg_get_fields(&m, &got), 0);
	want = (struct field_set){{0, 0}};
	field_set_add(&want, F_src_addr);
	assert_true(field_set_eq(got, want));
	m.s[MI_fields] = STRV("\x01");
	assert_int_equal(msg_get_fields(&m, &got), -E_FORMAT);
}

/* ---- a peer by hand */

static void *
raw_open(int type, int port)
{
	char where[64];
	int zero = 0, wait = 3000;
	void *s = zmq_socket(ctx, type);
	assert_non_null(s);
	zmq_setsockopt(s, ZMQ_LINGER, &zero, sizeof(zero));
	zmq_setsockopt(s, ZMQ_RCVTIMEO, &wait, sizeof(wait));
	snprintf(where, sizeof(where), "tcp://127.0.0.1:%d", port);
	assert_int_equal(type == ZMQ_DEALER ? zmq_connect(s, where) : zmq_bind(s, where), 0);
	return s;
}

static void
raw_send(void *s, const struct msg *m)
{
	struct buf out = buf_init(0);
	msg_encode(m, &out);
	assert_true(zmq_send(s, out.p, out.n, 0) >= 0);
	buf_fini(&out);
}

/* Read until a message of @type; other ones (PING, STATS) are passed over. */
static void
raw_expect(void *s, enum msg_type type, uint8_t room[MSG_MAX], struct msg *m)
{
	for (int before = 0, more = 0;; before = more) {
		int n = zmq_recv(s, room, MSG_MAX, 0);
		size_t len = sizeof(more);
		if (n < 0)
			fail_msg("no %s came", msg_name(type));
		zmq_getsockopt(s, ZMQ_RCVMORE, &more, &len);
		if (more != 0)
			continue;
		int rc = msg_decode(room, (size_t)n, m);
		if (rc != 0 && before != 0) /* the frame of a BATCH */
			continue;
		assert_int_equal(rc, 0);
		if (m->type == type)
			return;
	}
}

static struct msg
hello(uint64_t session, int role)
{
	struct msg m = MSG(M_HELLO, session, 0);
	msg_num(&m, MI_role, (uint64_t)role);
	msg_num(&m, MI_proto_min, 1);
	msg_num(&m, MI_proto_max, 1);
	msg_num(&m, MI_node_id, 77);
	msg_text(&m, MI_end, STRV("hand"));
	msg_text(&m, MI_name, STRV("by hand"));
	return m;
}

static void
sessions_are_checked(void **state)
{
	struct end p;
	struct msg m, r;
	uint8_t room[MSG_MAX];
	int port = free_port();
	(void)state;
	end_open(node, &p, "publish tcp://127.0.0.1:%d " FAST, port);
	void *s = raw_open(ZMQ_DEALER, port);
	/* without HELLO */
	m = MSG(M_PING, 11, 22);
	msg_num(&m, MI_time, 1);
	msg_num(&m, MI_mono, 1);
	raw_send(s, &m);
	raw_expect(s, M_RESET, room, &r);
	assert_int_equal(r.to, 11);
	assert_int_equal(end_counter(&p, C_msg_stale), 1);
	m = hello(11, MSG_ROLE_SUBSCRIBE);
	raw_send(s, &m);
	raw_expect(s, M_WELCOME, room, &r);
	uint64_t peer = r.from;
	assert_int_equal(r.to, 11);
	assert_int_equal(r.u[MI_node_id], 101);
	assert_true(r.s[MI_seen].n > 10);
	/* with the wrong session of either side */
	m = MSG(M_PING, 11, peer + 1);
	msg_num(&m, MI_time, 1);
	msg_num(&m, MI_mono, 1);
	raw_send(s, &m);
	raw_expect(s, M_RESET, room, &r);
	m.from = 12;
	m.to = peer;
	raw_send(s, &m);
	raw_expect(s, M_RESET, room, &r);
	m.from = 11;
	raw_send(s, &m);
	raw_expect(s, M_PONG, room, &r);
	assert_int_equal(r.u[MI_echo_mono], 1);
	/* a wrong protocol version is refused in words */
	m = hello(13, MSG_ROLE_SUBSCRIBE);
	m.u[MI_proto_min] = m.u[MI_proto_max] = 9;
	raw_send(s, &m);
	raw_expect(s, M_REFUSED, room, &r);
	assert_int_equal(r.u[MI_code], E_UNSUP);
	zmq_close(s);
	end_close(&p, false);
}

/* A message that changes nothing. */
static void
raw_noise(void *s, uint64_t from, uint64_t to)
{
	struct msg m = MSG(M_UNSUBSCRIBE, from, to);
	msg_num(&m, MI_sub, 9);
	raw_send(s, &m);
}

/* A second connection of a node: late messages of the first are no proof that it lives. */
static void
a_peer_comes_again(void **state)
{
	struct end p;
	struct msg m, r;
	uint8_t room[MSG_MAX];
	int port = free_port(), second = 1000;
	(void)state;
	end_open(node, &p, "publish tcp://127.0.0.1:%d heartbeat=20s", port);
	void *old = raw_open(ZMQ_DEALER, port), *new = raw_open(ZMQ_DEALER, port);
	m = hello(11, MSG_ROLE_SUBSCRIBE);
	raw_send(old, &m);
	raw_expect(old, M_WELCOME, room, &r);
	uint64_t old_peer = r.from;
	raw_expect(old, M_PING, room, &r);
	m = hello(12, MSG_ROLE_SUBSCRIBE);
	raw_send(new, &m);
	raw_expect(old, M_PING, room, &r);
	raw_noise(old, 11, old_peer);
	zmq_setsockopt(new, ZMQ_RCVTIMEO, &second, sizeof(second));
	assert_true(zmq_recv(new, room, sizeof(room), 0) < 0);
	/* its end comes behind what was late */
	raw_noise(old, 11, old_peer);
	clock_sleep_us(50000);
	zmq_close(old);
	raw_expect(new, M_WELCOME, room, &r);
	uint64_t peer = r.from;
	assert_int_equal(end_counter(&p, C_peer_refused), 0);
	raw_expect(new, M_PING, room, &r);
	/* the answer to the PING is a proof, at once */
	void *third = raw_open(ZMQ_DEALER, port);
	m = hello(13, MSG_ROLE_SUBSCRIBE);
	raw_send(third, &m);
	raw_expect(new, M_PING, room, &r);
	m = MSG(M_PONG, 12, peer);
	msg_num(&m, MI_time, r.u[MI_time]);
	msg_num(&m, MI_echo_time, r.u[MI_time]);
	msg_num(&m, MI_echo_mono, r.u[MI_mono] - 1000000); /* of an earlier one: none */
	msg_num(&m, MI_recv, r.u[MI_time]);
	raw_send(new, &m);
	zmq_setsockopt(third, ZMQ_RCVTIMEO, &second, sizeof(second));
	assert_true(zmq_recv(third, room, sizeof(room), 0) < 0);
	msg_num(&m, MI_echo_mono, r.u[MI_mono]);
	raw_send(new, &m);
	raw_expect(third, M_REFUSED, room, &r);
	assert_int_equal(r.u[MI_code], E_BUSY);
	/* and so is to go on speaking, for as long as the other one waits */
	m = hello(14, MSG_ROLE_SUBSCRIBE);
	raw_send(third, &m);
	for (int i = 0; i < 16; i++) {
		assert_int_equal(end_counter(&p, C_peer_refused), 1);
		raw_noise(new, 12, peer);
		clock_sleep_us(200000);
	}
	raw_expect(third, M_REFUSED, room, &r);
	assert_int_equal(r.u[MI_code], E_BUSY);
	zmq_close(third);
	zmq_close(new);
	end_close(&p, false);
}

static void
refuse_text(void *s, struct msg m, int code, const char *words)
{
	struct msg r;
	uint8_t room[MSG_MAX];
	char text[481];
	raw_send(s, &m);
	raw_expect(s, M_REFUSED, room, &r);
	msg_copy(&r, MI_text, text, sizeof(text));
	assert_int_equal(r.u[MI_sub], m.u[MI_sub]);
	assert_int_equal(r.u[MI_code], code);
	if (strstr(text, words) == NULL)
		fail_msg("expected '%s' in: %s", words, text);
}

static void
subscriptions_are_checked(void **state)
{
	struct end p;
	struct msg m, r;
	uint8_t room[MSG_MAX];
	int port = free_port();
	(void)state;
	end_open(node, &p, "publish tcp://127.0.0.1:%d max_channels=3 max_subscriptions=2 " FAST, port);
	void *s = raw_open(ZMQ_DEALER, port);
	m = hello(11, MSG_ROLE_SUBSCRIBE);
	raw_send(s, &m);
	raw_expect(s, M_WELCOME, room, &r);
	struct msg sub = MSG(M_SUBSCRIBE, 11, r.from);
	msg_num(&sub, MI_sub, 5);
	msg_text(&sub, MI_filter, STRV("app http and dts port 80"));
	raw_send(s, &sub);
	raw_expect(s, M_REFUSED, room, &r);
	assert_true(r.u[MI_line] == 1 && r.u[MI_col] == 14);
	assert_true(r.s[MI_text].n > 0);
	msg_text(&sub, MI_filter, STRV("app http"));
	m = sub;
	msg_text(&m, MI_script, STRV("return true"));
	refuse_text(s, m, E_UNSUP, "scripts");
	m = sub;
	msg_num(&m, MI_codec, 99);
	refuse_text(s, m, E_UNSUP, "codec");
	m = sub;
	msg_text(&m, MI_fields, STRV("\xff\xff"));
	refuse_text(s, m, E_INVAL, "fields");
	raw_send(s, &sub);
	raw_expect(s, M_SUBSCRIBED, room, &r);
	assert_int_equal(r.u[MI_next], 1);
	m = sub;
	msg_num(&m, MI_sub, 6);
	refuse_text(s, m, E_EXIST, "already");
	msg_text(&m, MI_filter, STRV("app dns"));
	raw_send(s, &m);
	raw_expect(s, M_SUBSCRIBED, room, &r);
	msg_num(&m, MI_sub, 7);
	msg_text(&m, MI_filter, STRV("app tls"));
	refuse_text(s, m, E_LIMIT, "max_subscriptions");
	/* an ACK of what was never sent, and messages of the other role, are counted */
	uint64_t bad = end_counter(&p, C_msg_bad);
	m = MSG(M_ACK, 11, sub.to);
	msg_num(&m, MI_channel, r.u[MI_channel]);
	msg_num(&m, MI_seq, UINT64_MAX);
	raw_send(s, &m);
	m = MSG(M_SUBSCRIBED, 11, sub.to);
	msg_num(&m, MI_sub, 1);
	msg_num(&m, MI_channel, 1);
	msg_num(&m, MI_next, 1);
	raw_send(s, &m);
	for (int i = 0; i < 400 && end_counter(&p, C_msg_bad) < bad + 2; i++)
		clock_sleep_us(5000);
	assert_int_equal(end_counter(&p, C_msg_bad), bad + 2);
	zmq_close(s);
	end_close(&p, false);
}

/* A probe that refuses the filter, and one that sends frames that do not decode. */
static void
a_strange_probe(void **state)
{
	struct end a;
	struct msg m, r = {0};
	uint8_t room[MSG_MAX], rid[64], frame[100];
	int port = free_port(), n = 0;
	(void)state;
	void *s = raw_open(ZMQ_ROUTER, port);
	end_open(node, &a, "subscribe tcp://127.0.0.1:%d filter='app http' " FAST, port);
	int rid_n = zmq_recv(s, rid, sizeof(rid), 0);
	assert_true(rid_n > 0);
	n = zmq_recv(s, room, sizeof(room), 0);
	assert_int_equal(msg_decode(room, (size_t)n, &r), 0);
	assert_int_equal(r.type, M_HELLO);
	uint64_t peer = r.from;
	m = hello(33, MSG_ROLE_PUBLISH);
	m.type = M_WELCOME;
	m.to = peer;
	msg_num(&m, MI_protocol, 1);
	zmq_send(s, rid, (size_t)rid_n, ZMQ_SNDMORE);
	raw_send(s, &m);
	m = MSG(M_REFUSED, 33, peer);
	msg_num(&m, MI_sub, 1);
	msg_num(&m, MI_code, E_UNKNOWN);
	msg_num(&m, MI_line, 1);
	msg_num(&m, MI_col, 5);
	msg_text(&m, MI_text, STRV("unknown application 'http'\x1b[31m"));
	zmq_send(s, rid, (size_t)rid_n, ZMQ_SNDMORE);
	raw_send(s, &m);
	assert_true(wait_why(&a, "line 1 column 5: unknown application 'http'?[31m", 3000));
	assert_int_equal(end_state_now(&a), PORT_DEGRADED);
	m = MSG(M_SUBSCRIBED, 33, peer);
	msg_num(&m, MI_sub, 1);
	msg_num(&m, MI_channel, 9);
	msg_num(&m, MI_next, 1);
	zmq_send(s, rid, (size_t)rid_n, ZMQ_SNDMORE);
	raw_send(s, &m);
	for (uint64_t seq = 1; seq <= 20; seq++) {
		struct buf out = buf_init(0);
		m = MSG(M_BATCH, 33, peer);
		msg_num(&m, MI_channel, 9);
		msg_num(&m, MI_seq, seq);
		msg_num(&m, MI_flows, 10);
		msg_encode(&m, &out);
		random_bytes(frame, sizeof(frame));
		zmq_send(s, rid, (size_t)rid_n, ZMQ_SNDMORE);
		zmq_send(s, out.p, out.n, ZMQ_SNDMORE);
		zmq_send(s, frame, sizeof(frame), 0);
		buf_fini(&out);
	}
	for (int i = 0; i < 400 && end_counter(&a, C_frame_bad) < 20; i++)
		clock_sleep_us(5000);
	assert_int_equal(end_counter(&a, C_frame_bad), 20);
	assert_int_equal(end_counter(&a, C_flow_lost_decode), 200);
	raw_expect(s, M_ACK, room, &r); /* a bad frame costs itself only: it is acknowledged */
	assert_true(r.u[MI_seq] >= 16);
	zmq_close(s);
	end_close(&a, false);
}

static void
throw_garbage(void *s, bool to_router, const uint8_t *rid, size_t rid_n)
{
	uint8_t bytes[3000];
	for (int i = 0; i < 3000; i++) {
		uint16_t n;
		struct buf out = buf_init(0);
		random_bytes(bytes, sizeof(bytes));
		memcpy(&n, bytes, 2);
		n %= sizeof(bytes) - 300;
		buf_put(&out, "FL\1", 3);
		buf_u8(&out, (uint8_t)(bytes[2] % 18));
		buf_put(&out, bytes + 3, i % 3 == 0 ? n % 60u : n);
		if (!to_router)
			zmq_send(s, rid, rid_n, ZMQ_SNDMORE);
		zmq_send(s, i % 2 == 0 ? out.p : bytes, i % 2 == 0 ? out.n : n,
		    bytes[5] % 3 == 0 ? ZMQ_SNDMORE : 0);
		if (bytes[5] % 3 == 0)
			zmq_send(s, bytes, 100, bytes[6] % 5 == 0 ? ZMQ_SNDMORE : 0);
		if (bytes[5] % 3 == 0 && bytes[6] % 5 == 0)
			for (int k = 0; k < 7; k++)
				zmq_send(s, bytes, 1, k < 6 ? ZMQ_SNDMORE : 0);
		buf_fini(&out);
	}
}

static void
garbage(void **state)
{
	struct end p, a, b;
	uint8_t rid[64];
	int port = free_port(), port2 = free_port();
	struct link *other = node_start("other", 102);
	(void)state;
	end_open(node, &p, "publish tcp://127.0.0.1:%d name=out max_delay=20ms " FAST, port);
	end_open(other, &a, "subscribe tcp://127.0.0.1:%d name=in " FAST, port);
	assert_true(wait_subs(node, 1, 5000));
	/* at a publisher that serves another one */
	void *s = raw_open(ZMQ_DEALER, port);
	throw_garbage(s, true, NULL, 0);
	flows_push(&p, pool, 0, 1000, 100);
	assert_true(wait_count(&a, 1000, 5000));
	assert_true(end_counter(&p, C_msg_bad) > 1000);
	zmq_close(s);
	/* at a subscriber */
	s = raw_open(ZMQ_ROUTER, port2);
	end_open(node, &b, "subscribe tcp://127.0.0.1:%d name=in2 " FAST, port2);
	int n = zmq_recv(s, rid, sizeof(rid), 0);
	assert_true(n > 0);
	throw_garbage(s, false, rid, (size_t)n);
	for (int i = 0; i < 400 && end_counter(&b, C_msg_bad) < 1000; i++)
		clock_sleep_us(5000);
	assert_true(end_counter(&b, C_msg_bad) > 1000);
	assert_int_equal(end_count(&b), 0);
	zmq_close(s);
	flows_push(&p, pool, 1000, 1000, 100);
	assert_true(wait_count(&a, 2000, 5000));
	assert_flows(&a, "", 0, 2000);
	flow_passes(NULL, 0);
	end_close(&b, false);
	end_close(&a, false);
	end_close(&p, false);
	link_stop(&other);
}

struct stall {
	_Atomic bool reached, go_on;
};

static void
stall_on_gap(void *arg, enum log_level level, const char *line)
{
	struct stall *w = arg;
	(void)level;
	if (strstr(line, "before they were sent") == NULL)
		return;
	atomic_store(&w->reached, true);
	for (int i = 0; i < 1000 && !atomic_load(&w->go_on); i++)
		clock_sleep_us(5000);
}

/* To the peer of a raw ROUTER, or over a raw DEALER (@rid_n 0). */
static void
raw_send_to(void *s, const uint8_t *rid, int rid_n, const struct msg *m, struct strv frame)
{
	struct buf out = buf_init(0);
	msg_encode(m, &out);
	if (rid_n > 0)
		assert_true(zmq_send(s, rid, (size_t)rid_n, ZMQ_SNDMORE) >= 0);
	assert_true(zmq_send(s, out.p, out.n, frame.n > 0 ? ZMQ_SNDMORE : 0) >= 0);
	if (frame.n > 0)
		assert_true(zmq_send(s, frame.p, frame.n, 0) >= 0);
	buf_fini(&out);
}

/* A probe made by hand, up and subscribed to; gives the session number of the end. */
static uint64_t
raw_probe(void *s, bool binds, uint8_t rid[64], int *rid_n)
{
	struct msg m = hello(33, MSG_ROLE_PUBLISH), r = {0};
	uint8_t room[MSG_MAX];
	*rid_n = 0;
	if (binds) {
		*rid_n = zmq_recv(s, rid, 64, 0);
		assert_true(*rid_n > 0);
		raw_expect(s, M_HELLO, room, &r);
		m.type = M_WELCOME;
		m.to = r.from;
		msg_num(&m, MI_protocol, 1);
	}
	raw_send_to(s, rid, *rid_n, &m, (struct strv){NULL, 0});
	raw_expect(s, M_SUBSCRIBE, room, &r);
	m = MSG(M_SUBSCRIBED, 33, r.from);
	msg_num(&m, MI_sub, 1);
	msg_num(&m, MI_channel, 9);
	msg_num(&m, MI_next, 1);
	raw_send_to(s, rid, *rid_n, &m, (struct strv){NULL, 0});
	return r.from;
}

/* libzmq looks at what its threads told it at every hundredth zmq_msg_recv, also between two parts
 * of a message. That the connection is gone must not end the pipe then: fq.cpp asserts that the
 * second part is there. The link thread is held up at a GAP until 150 messages and the end of the
 * connection behind them wait for it; the hundredth read is that of a frame. */
static void
gone_between_two_parts(bool binds)
{
	struct end a;
	struct stall stall = {false, false};
	struct msg m;
	uint8_t rid[64];
	char frame[100] = {0};
	int port = free_port(), rid_n;
	void *s = binds ? raw_open(ZMQ_ROUTER, port) : NULL;
	end_open(node, &a, "subscribe tcp://127.0.0.1:%d?%s heartbeat=20s retry_min=10ms "
	    "retry_max=20ms", port, binds ? "connect" : "bind");
	if (!binds)
		s = raw_open(ZMQ_DEALER, port);
	uint64_t peer = raw_probe(s, binds, rid, &rid_n);
	clock_sleep_us(200000);
	log_set_tap(stall_on_gap, &stall);
	m = MSG(M_GAP, 33, peer);
	msg_num(&m, MI_channel, 9);
	msg_num(&m, MI_from, 1);
	msg_num(&m, MI_to, 1);
	msg_num(&m, MI_flows, 1);
	msg_num(&m, MI_bytes, 1);
	raw_send_to(s, rid, rid_n, &m, (struct strv){NULL, 0});
	for (int i = 0; i < 1000 && !atomic_load(&stall.reached); i++)
		clock_sleep_us(5000);
	assert_true(atomic_load(&stall.reached));
	for (uint64_t seq = 2; seq <= 150; seq++) {
		m = MSG(M_BATCH, 33, peer);
		msg_num(&m, MI_channel, 9);
		msg_num(&m, MI_seq, seq);
		msg_num(&m, MI_flows, 10);
		raw_send_to(s, rid, rid_n, &m, (struct strv){frame, sizeof(frame)});
	}
	clock_sleep_us(200000);
	zmq_close(s);
	clock_sleep_us(300000);
	atomic_store(&stall.go_on, true);
	for (int i = 0; i < 400 && end_counter(&a, C_peer_down) < 1; i++)
		clock_sleep_us(5000);
	log_set_tap(NULL, NULL);
	assert_int_equal(end_counter(&a, C_peer_down), 1);
	/* what came before the connection ended was read */
	assert_int_equal(end_counter(&a, C_frame_in), 149);
	end_close(&a, false);
}

static void
send_gap(void *s, uint64_t peer, uint64_t seq, uint64_t cause, bool unknown)
{
	struct msg m = MSG(M_GAP, 33, peer);
	msg_num(&m, MI_channel, 9);
	msg_num(&m, MI_from, seq);
	msg_num(&m, MI_to, seq);
	msg_num(&m, MI_flows, seq);
	msg_num(&m, MI_bytes, 1);
	msg_num(&m, MI_cause, cause);
	if (unknown)
		msg_num(&m, MI_unknown, 1);
	raw_send_to(s, NULL, 0, &m, (struct strv){NULL, 0});
}

static void
send_ledger(void *s, uint64_t peer, struct strv ledger)
{
	struct msg m = MSG(M_PING, 33, peer);
	msg_num(&m, MI_time, 1);
	msg_num(&m, MI_mono, 1);
	msg_text(&m, MI_ledger, ledger);
	raw_send_to(s, NULL, 0, &m, (struct strv){NULL, 0});
}

/* What a probe of another version may say: causes and numbers not known here. */
static void
what_a_probe_tells(void **state)
{
	struct end a;
	struct link_account x = {0};
	uint8_t rid[64];
	int port = free_port(), rid_n;
	(void)state;
	end_open(node, &a, "subscribe tcp://127.0.0.1:%d?bind heartbeat=20s", port);
	void *s = raw_open(ZMQ_DEALER, port);
	uint64_t peer = raw_probe(s, false, rid, &rid_n);
	send_gap(s, peer, 1, GAP_RING_FULL, false);
	send_gap(s, peer, 2, 99, true);
	send_gap(s, peer, 3, GAP_PROBE_RESTART, false);
	/* subscription 7 is not ours; ours has two causes more than we know: 100 and 20 flows */
	send_ledger(s, peer, STRV("\x07\x01\x05\x01\x12\xc8\x01\x0a\xbe\x01\x12\x03\x04\x05\x06"
	    "\x00\x0a\x00\x00\x00\x00\x1e\x00\x64\x14"));
	for (int i = 0; i < 1000 && (end_counter(&a, C_flow_lost_gap) < 6 || !x.is_told); i++) {
		clock_sleep_us(5000);
		account_row(&a, &x);
	}
	assert_int_equal(x.gap_flows[GAP_RING_FULL], 1);
	assert_int_equal(x.gap_flows[GAP_SEVERAL], 2);
	assert_int_equal(x.gap_flows[GAP_PROBE_RESTART], 3);
	assert_int_equal(x.gaps_unknown, 2);
	assert_int_equal(x.unknown_causes, 1 << GAP_SEVERAL | 1 << GAP_PROBE_RESTART);
	assert_int_equal(x.told.offered, 200);
	assert_int_equal(x.told.passed, 190);
	assert_int_equal(x.told.spooled, 5);
	assert_int_equal(x.told.early, 6);
	assert_int_equal(x.told.lost_by[GAP_RING_FULL], 10);
	assert_int_equal(x.told.lost_by[GAP_SEVERAL], 30 + 100 + 20);
	/* one that ends in the middle changes nothing */
	send_ledger(s, peer, STRV("\x01\x12\xc9"));
	for (int i = 0; i < 1000 && end_counter(&a, C_msg_bad) < 1; i++)
		clock_sleep_us(5000);
	assert_int_equal(end_counter(&a, C_msg_bad), 1);
	account_row(&a, &x);
	assert_int_equal(x.told.offered, 200);
	zmq_close(s);
	end_close(&a, false);
}

static void
a_probe_gone_between_two_parts(void **state)
{
	(void)state;
	gone_between_two_parts(true);
	gone_between_two_parts(false);
}

/* ---- peers that keep to the protocol and mean harm */

static uint64_t
raw_up(void *s, uint64_t session, uint64_t node_id)
{
	struct msg r, m = hello(session, MSG_ROLE_SUBSCRIBE);
	uint8_t room[MSG_MAX];
	m.u[MI_node_id] = node_id;
	raw_send(s, &m);
	raw_expect(s, M_WELCOME, room, &r);
	return r.from;
}

/* What was given up is free at once, not at the next heartbeat. */
static void
subscriptions_come_and_go(void **state)
{
	struct end p;
	struct msg m, r;
	uint8_t room[MSG_MAX];
	char text[64];
	int port = free_port();
	(void)state;
	end_open(node, &p, "publish tcp://127.0.0.1:%d max_channels=3 heartbeat=20s", port);
	void *s = raw_open(ZMQ_DEALER, port);
	uint64_t to = raw_up(s, 11, 77);
	for (unsigned i = 1; i <= 300; i++) {
		m = MSG(M_SUBSCRIBE, 11, to);
		snprintf(text, sizeof(text), "dst port %u", i);
		msg_num(&m, MI_sub, i);
		msg_text(&m, MI_filter, strv_of(text));
		raw_send(s, &m);
		raw_expect(s, M_SUBSCRIBED, room, &r);
		assert_int_equal(r.u[MI_sub], i);
		m = MSG(M_UNSUBSCRIBE, 11, to);
		msg_num(&m, MI_sub, i);
		raw_send(s, &m);
	}
	assert_true(wait_subs(node, 0, 1000));
	zmq_close(s);
	end_close(&p, false);
}

static void
count_parked(void *arg, const struct link_subscription *s)
{
	*(unsigned *)arg += s->is_parked;
}

/* Whoever comes again and again under new names does not fill the memory with positions. */
static void
names_come_and_go(void **state)
{
	struct end p;
	struct msg m, r;
	uint8_t room[MSG_MAX];
	unsigned n = 0;
	int port = free_port();
	(void)state;
	end_open(node, &p, "publish tcp://127.0.0.1:%d max_peers=5 heartbeat=20s", port);
	for (unsigned i = 1; i <= 40; i++) {
		void *s = raw_open(ZMQ_DEALER, port);
		m = MSG(M_SUBSCRIBE, i, raw_up(s, i, 1000 + i));
		msg_num(&m, MI_sub, 1);
		raw_send(s, &m);
		raw_expect(s, M_SUBSCRIBED, room, &r);
		zmq_close(s);
		assert_true(wait_up(node, 0, 3000));
	}
	link_subscriptions(node, NULL, count_parked, &n);
	assert_int_equal(n, 5);
	end_close(&p, false);
}

/* Connections that say nothing do not use up the descriptors. */
static void
strangers(void **state)
{
	enum { N = 400 };
	static int fd[N];
	struct end p;
	unsigned closed = 0;
	int port = free_port();
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port),
	    .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	(void)state;
	end_open(node, &p, "publish tcp://127.0.0.1:%d max_peers=5 heartbeat=20s", port);
	void *s = raw_open(ZMQ_DEALER, port);
	raw_up(s, 11, 77);
	for (int i = 0; i < N; i++) {
		fd[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
		assert_int_equal(connect(fd[i], (struct sockaddr *)&to, sizeof(to)), 0);
	}
	for (int tries = 0; tries < 100 && closed < N - 5 - 256; tries++) {
		char b[64];
		closed = 0;
		clock_sleep_us(20000);
		for (int i = 0; i < N; i++) {
			while (recv(fd[i], b, sizeof(b), MSG_DONTWAIT) > 0)
				;
			closed += recv(fd[i], b, sizeof(b), MSG_DONTWAIT) == 0;
		}
	}
	assert_true(closed >= N - 5 - 256);
	assert_true(wait_up(node, 1, 100)); /* the peer is still there */
	for (int i = 0; i < N; i++)
		close(fd[i]);
	zmq_close(s);
	end_close(&p, false);
}

/* Lag is lateness: gathering and waiting for an ACK are not, a peer that never acknowledges is. */
static void
lag(void **state)
{
	struct end p, a;
	struct link_subscription sub;
	struct msg m, r;
	uint8_t room[MSG_MAX];
	int port = free_port();
	struct link *other = node_start("other", 102);
	(void)state;
	end_open(node, &p, "publish tcp://127.0.0.1:%d name=out max_delay=800ms " FAST, port);
	end_open(other, &a, "subscribe tcp://127.0.0.1:%d name=in " FAST, port);
	assert_true(wait_subs(node, 1, 5000));
	flows_push(&p, pool, 0, 10, 10);
	for (int i = 0; i < 100; i++) {
		assert_true(sub_row(node, "other", &sub));
		assert_true(sub.lag_us < 300000);
		clock_sleep_us(20000);
	}
	assert_int_equal(end_count(&a), 10);
	end_close(&a, false);
	link_stop(&other);
	void *s = raw_open(ZMQ_DEALER, port);
	m = MSG(M_SUBSCRIBE, 11, raw_up(s, 11, 77));
	msg_num(&m, MI_sub, 1);
	raw_send(s, &m);
	raw_expect(s, M_SUBSCRIBED, room, &r);
	flows_push(&p, pool, 0, 10, 10);
	uint64_t until = clock_mono_us() + 3600000, to = m.to, seen = 0;
	while (clock_mono_us() < until && seen < 1500000) { /* it answers, but acknowledges nothing */
		m = MSG(M_PING, 11, to);
		msg_num(&m, MI_time, 1);
		msg_num(&m, MI_mono, 1);
		raw_send(s, &m);
		raw_expect(s, M_PONG, room, &r);
		seen = r.u[MI_age];
		clock_sleep_us(50000);
	}
	assert_true(seen >= 1500000);
	zmq_close(s);
	end_close(&p, false);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(messages_survive),
	    cmocka_unit_test(what_a_probe_tells),
	    cmocka_unit_test(statistics_survive),
	    cmocka_unit_test(fields_survive),
	    cmocka_unit_test(sessions_are_checked),
	    cmocka_unit_test(a_peer_comes_again),
	    cmocka_unit_test(subscriptions_are_checked),
	    cmocka_unit_test(a_strange_probe),
	    cmocka_unit_test(garbage),
	    cmocka_unit_test(a_probe_gone_between_two_parts),
	    cmocka_unit_test(subscriptions_come_and_go),
	    cmocka_unit_test(names_come_and_go),
	    cmocka_unit_test(strangers),
	    cmocka_unit_test(lag),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
