/* SPDX-License-Identifier: Apache-2.0
 * unit/link/test_relay.c - what a subscribing end asks for when its outputs change, and what it
 * does when it finds itself upstream of its probe; the probe is written by hand. */
#include "rig.h"

#include <string.h>
#include <zmq.h>

#include "link/msg.h"

#define FAST "retry_min=10ms retry_max=60ms heartbeat=2s"

enum { ME = 101, PEER = 77 };
static struct link *node;
static void *ctx;

static int
setup(void **state)
{
	(void)state;
	node = node_start("node", ME);
	ctx = zmq_ctx_new();
	return 0;
}

static int
teardown(void **state)
{
	(void)state;
	zmq_ctx_term(ctx);
	link_stop(&node);
	return 0;
}

/* ---- a probe by hand, which connects */

struct probe {
	void *s;
	uint64_t me, peer;
	uint8_t room[MSG_MAX];
	struct msg got; /* borrows room */
};

static void
put(struct probe *p, const struct msg *m)
{
	struct buf out = buf_init(0);
	msg_encode(m, &out);
	assert_true(zmq_send(p->s, out.p, out.n, 0) >= 0);
	buf_fini(&out);
}

/* The next message that is no PING; its type, or 0 when none comes in @ms. */
static enum msg_type
get(struct probe *p, int ms)
{
	uint64_t end = clock_mono_us() + (uint64_t)ms * 1000;
	while (clock_mono_us() < end) {
		int n = zmq_recv(p->s, p->room, sizeof(p->room), ZMQ_DONTWAIT);
		if (n < 0) {
			clock_sleep_us(2000);
			continue;
		}
		assert_int_equal(msg_decode(p->room, (size_t)n, &p->got), 0);
		if (p->got.type != M_PING && p->got.type != M_HOST)
			return p->got.type;
	}
	return M_NONE;
}

/* HELLO or HOST with the nodes upstream of this probe: pairs of node and to. */
static void
put_host(struct probe *p, enum msg_type type, const uint64_t (*edges)[2], unsigned n)
{
	struct msg m = MSG(type, p->me, p->peer);
	struct buf path = buf_init(0);
	msg_num(&m, MI_role, MSG_ROLE_PUBLISH);
	msg_num(&m, MI_proto_min, MSG_VERSION);
	msg_num(&m, MI_proto_max, MSG_VERSION);
	msg_num(&m, MI_node_id, PEER);
	msg_text(&m, MI_end, STRV("hand"));
	msg_text(&m, MI_name, STRV("by hand"));
	for (unsigned i = 0; i < n; i++) {
		char name[16];
		snprintf(name, sizeof(name), "n%u", i);
		buf_u64_le(&path, edges[i][0]);
		buf_u64_le(&path, edges[i][1]);
		buf_text(&path, strv_of(name));
	}
	if (n > 0)
		msg_text(&m, MI_path, buf_view(&path));
	put(p, &m);
	buf_fini(&path);
}

static void
probe_connect(struct probe *p, int port, uint64_t session)
{
	char where[64];
	int zero = 0;
	p->s = zmq_socket(ctx, ZMQ_DEALER);
	zmq_setsockopt(p->s, ZMQ_LINGER, &zero, sizeof(zero));
	snprintf(where, sizeof(where), "tcp://127.0.0.1:%d", port);
	assert_int_equal(zmq_connect(p->s, where), 0);
	p->me = session;
	p->peer = 0;
}

static void
probe_open(struct probe *p, int port, uint64_t session)
{
	probe_connect(p, port, session);
	put_host(p, M_HELLO, NULL, 0);
	assert_int_equal(get(p, 3000), M_WELCOME);
	p->peer = p->got.from;
}

/* It is asked for @filter, "" all, within @ms; the answer is @channel. */
static void
asked(struct probe *p, const char *filter, uint64_t channel, int ms)
{
	if (get(p, ms) != M_SUBSCRIBE)
		fail_msg("waited for %s, came message %d", filter, p->got.type);
	if (!strv_eq(p->got.s[MI_filter], strv_of(filter)))
		fail_msg("asked for %.*s, not %s", (int)p->got.s[MI_filter].n, p->got.s[MI_filter].p,
		    filter);
	assert_int_equal(p->got.u[MI_sub], 1);
	struct msg m = MSG(M_SUBSCRIBED, p->me, p->peer);
	msg_num(&m, MI_sub, 1);
	msg_num(&m, MI_channel, channel);
	msg_num(&m, MI_next, 1);
	if (channel != 0)
		put(p, &m);
}

static void
refuse(struct probe *p)
{
	struct msg m = MSG(M_REFUSED, p->me, p->peer);
	msg_num(&m, MI_sub, 1);
	msg_num(&m, MI_code, E_UNKNOWN);
	msg_num(&m, MI_line, 1);
	msg_num(&m, MI_col, 1);
	msg_text(&m, MI_text, STRV("unknown"));
	put(p, &m);
}

static void
wishes(const char *const *filters, unsigned n, struct field_set fields)
{
	struct link_wish w[8];
	for (unsigned i = 0; i < n; i++)
		w[i] = (struct link_wish){"out", filters[i], fields};
	assert_int_equal(link_demand(node, w, n), 0);
}

static void
wish_for(const char *filter)
{
	wishes(&filter, 1, field_set_all());
}

/* ---- what is asked for */

static void
demand_follows_outputs(void **state)
{
	struct end in;
	struct err err;
	struct probe p;
	struct field_set few = {{0, 0}}, got;
	int port = free_port();
	(void)state;
	field_set_add(&few, F_bytes);
	wishes(NULL, 0, few);
	end_open(node, &in, "subscribe tcp://127.0.0.1:%d?bind demand=outputs filter='src_port = 7' "
	    FAST, port);
	probe_open(&p, port, 5);
	/* nobody wants anything: not yet, in case they come back; then nothing, for the statistics */
	assert_int_equal(get(&p, 1500), M_NONE);
	asked(&p, "false", 1, 3000);
	assert_int_equal(p.got.u[MI_stats], 1);
	wishes((const char *[]){"app http"}, 1, few);
	asked(&p, "app ilike \"http\" and src_port = 7", 2, 500);
	assert_int_equal(msg_get_fields(&p.got, &got), 0);
	field_set_add(&few, F_app);
	field_set_add(&few, F_probe);
	field_set_add(&few, F_exporter);
	assert_true(field_set_eq(got, few));
	wishes((const char *[]){"app http", "app dns"}, 2, field_set_all());
	asked(&p, "app ilike (\"dns\", \"http\") and src_port = 7", 3, 1000);
	assert_false(msg_has(&p.got, MI_fields));
	/* less is asked for later, and not at all when the wish comes back */
	wish_for("app dns");
	assert_int_equal(get(&p, 1500), M_NONE);
	wishes((const char *[]){"app http", "app dns"}, 2, field_set_all());
	assert_int_equal(get(&p, 2500), M_NONE);
	wish_for("app dns");
	asked(&p, "app ilike \"dns\" and src_port = 7", 4, 5000);
	/* the end's own options go on to count */
	assert_int_equal(end_set(&in, "filter", "", &err), 0);
	asked(&p, "app ilike \"dns\"", 5, 1000);
	assert_int_equal(end_set(&in, "demand", "own", &err), 0);
	asked(&p, "", 6, 1000);
	assert_int_equal(end_set(&in, "demand", "outputs", &err), 0);
	asked(&p, "app ilike \"dns\"", 7, 1000);
	assert_int_equal(end_counter(&in, C_demand_changes), 3);
	zmq_close(p.s);
	end_close(&in, false);
}

/* A probe that does not know a name is asked for more, never for less. */
static void
refused_is_widened(void **state)
{
	struct end in;
	struct probe p;
	int port = free_port();
	(void)state;
	wishes((const char *[]){"app http and src_port = 1", "app http and src_port = 2"}, 2,
	    field_set_all());
	end_open(node, &in, "subscribe tcp://127.0.0.1:%d?bind demand=outputs " FAST, port);
	probe_open(&p, port, 5);
	asked(&p, "app ilike \"http\" and src_port = 1 or app ilike \"http\" and src_port = 2", 0,
	    1000);
	refuse(&p);
	asked(&p, "app ilike \"http\"", 0, 1000);
	refuse(&p);
	asked(&p, "", 0, 1000);
	refuse(&p);
	assert_true(wait_why(&in, "refused our subscription", 1000));
	assert_int_equal(end_state_now(&in), PORT_DEGRADED);
	zmq_close(p.s);
	end_close(&in, false);
}

/* What waits at the probe is in the channel of what was asked for before: that comes first. */
static void
back_to_the_old_channel(void **state)
{
	struct end in;
	struct probe p;
	int port = free_port();
	(void)state;
	wish_for("app http");
	end_open(node, &in, "subscribe tcp://127.0.0.1:%d?bind demand=outputs " FAST, port);
	probe_open(&p, port, 5);
	asked(&p, "app ilike \"http\"", 42, 1000);
	clock_sleep_us(50000);
	zmq_close(p.s);
	assert_true(wait_up(node, 0, 3000));
	wishes((const char *[]){"app http", "app dns"}, 2, field_set_all());
	probe_open(&p, port, 6);
	asked(&p, "app ilike \"http\"", 42, 1000);
	assert_int_equal(p.got.u[MI_resume_channel], 42);
	asked(&p, "app ilike (\"dns\", \"http\")", 43, 1000);
	zmq_close(p.s);
	end_close(&in, false);
}

/* ---- loops */

/* This node, as its WELCOME makes it known. */
static uint64_t
id_of(const struct msg *welcome)
{
	return welcome->u[MI_node_id] ^ welcome->u[MI_started];
}

static void
send_batch(struct probe *p, uint64_t channel, uint64_t seq)
{
	struct msg m = MSG(M_BATCH, p->me, p->peer);
	struct buf out = buf_init(0);
	msg_num(&m, MI_channel, channel);
	msg_num(&m, MI_seq, seq);
	msg_num(&m, MI_flows, 10);
	msg_encode(&m, &out);
	zmq_send(p->s, out.p, out.n, ZMQ_SNDMORE);
	zmq_send(p->s, "not a frame", 11, 0);
	buf_fini(&out);
}

static void
loops(void **state)
{
	struct end in;
	struct probe p;
	int port = free_port();
	(void)state;
	end_open(node, &in, "subscribe tcp://127.0.0.1:%d?bind " FAST, port);
	probe_open(&p, port, 5);
	uint64_t own_id = id_of(&p.got);
	asked(&p, "", 1, 1000);
	/* this node gives flows to 8, that one to 9, that one to the probe */
	const uint64_t loop[][2] = {{3, PEER}, {9, PEER}, {8, 9}, {own_id, 8}};
	put_host(&p, M_HOST, loop, 3);
	assert_int_equal(get(&p, 300), M_NONE); /* others may be upstream */
	put_host(&p, M_HOST, loop, 4);
	assert_int_equal(get(&p, 1000), M_UNSUBSCRIBE);
	assert_int_equal(get(&p, 1000), M_REFUSED);
	assert_true(strv_eq(p.got.s[MI_text],
	    STRV("loop: this node -> n2 -> n1 -> by hand -> this node")));
	assert_true(wait_why(&in, "loop: this node -> n2 -> n1 -> by hand -> this node", 1000));
	assert_int_equal(end_state_now(&in), PORT_DEGRADED);
	/* what was under way is dropped and counted, and the same again is no news */
	send_batch(&p, 1, 1);
	put_host(&p, M_HOST, loop, 4);
	for (int i = 0; i < 400 && end_counter(&in, C_flow_lost_loop) < 10; i++)
		clock_sleep_us(5000);
	assert_int_equal(end_counter(&in, C_flow_lost_loop), 10);
	assert_int_equal(end_counter(&in, C_loop_found), 1);
	assert_int_equal(get(&p, 1000), M_NONE);
	put_host(&p, M_HOST, loop, 3);
	asked(&p, "", 2, 6000);
	for (int i = 0; i < 400 && end_state_now(&in) != PORT_UP; i++)
		clock_sleep_us(5000);
	assert_int_equal(end_state_now(&in), PORT_UP);
	zmq_close(p.s);
	end_close(&in, false);
}

/* A loop that is there before: nothing is asked for at all. Damaged lists harm nobody. */
static void
loops_from_the_start(void **state)
{
	struct end in;
	struct probe p;
	int port = free_port();
	uint64_t many[80][2];
	(void)state;
	end_open(node, &in, "subscribe tcp://127.0.0.1:%d?bind " FAST, port);
	probe_open(&p, port, 4);
	uint64_t own_id = id_of(&p.got);
	zmq_close(p.s);
	assert_true(wait_up(node, 0, 3000));
	probe_connect(&p, port, 5);
	put_host(&p, M_HELLO, (const uint64_t[][2]){{own_id, PEER}}, 1);
	assert_int_equal(get(&p, 3000), M_WELCOME);
	p.peer = p.got.from;
	assert_int_equal(get(&p, 1000), M_REFUSED);
	assert_int_equal(get(&p, 500), M_NONE);
	struct msg m = MSG(M_HOST, p.me, p.peer);
	msg_text(&m, MI_name, STRV("by hand"));
	msg_text(&m, MI_path, STRV("1234567887654321\x7fshort"));
	uint64_t bad = end_counter(&in, C_msg_bad);
	put(&p, &m);
	asked(&p, "", 1, 2000);
	assert_int_equal(end_counter(&in, C_msg_bad), bad + 1);
	/* more than fit, and a graph that turns in itself, without this node */
	for (unsigned i = 0; i < 80; i++) {
		many[i][0] = 1000 + i % 40;
		many[i][1] = 1000 + (i + 1) % 40;
	}
	put_host(&p, M_HOST, many, 80);
	assert_int_equal(get(&p, 300), M_NONE);
	many[63][0] = own_id;
	put_host(&p, M_HOST, many, 80);
	assert_int_equal(get(&p, 1000), M_UNSUBSCRIBE);
	assert_int_equal(get(&p, 1000), M_REFUSED);
	assert_true(end_why_has(&in, "loop: this node -> ... -> by hand -> this node"));
	zmq_close(p.s);
	end_close(&in, false);
}

/* Its own flows, through a publishing end of the same process. */
static void
itself(void **state)
{
	struct end in, out;
	int port = free_port();
	(void)state;
	end_open(node, &out, "publish tcp://127.0.0.1:%d name=out " FAST, port);
	end_open(node, &in, "subscribe tcp://127.0.0.1:%d name=in " FAST, port);
	assert_true(wait_why(&in, "loop: this node -> this node", 3000));
	assert_true(wait_why(&out, "node does not take our flows: loop: ", 3000));
	assert_int_equal(end_counter(&out, C_msg_bad), 0);
	end_close(&in, false);
	end_close(&out, false);
}

int
main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {TEST(demand_follows_outputs), TEST(refused_is_widened),
	    TEST(back_to_the_old_channel), TEST(loops), TEST(loops_from_the_start), TEST(itself)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
