/* SPDX-License-Identifier: Apache-2.0
 * unit/input/test_subscribe.c - the subscribe input as an endpoint type, over a link in one
 * process: what the engine may do with it, and that its counters are complete when it has stopped.
 */
#include "../link/rig.h"
#include "host.h"
#include "input/input.h"

#define FAST "retry_min=10ms retry_max=60ms heartbeat=300ms"

static struct link *probe, *collector;
static struct batch_pool *pool;
static struct conf *conf;

static int
setup(void **state)
{
	(void)state;
	probe = node_start("probe", 101);
	collector = node_start("collector", 201);
	pool = batch_pool_new(4096);
	conf = conf_new();
	return pool == NULL || conf == NULL;
}

static int
teardown(void **state)
{
	(void)state;
	link_stop(&probe);
	link_stop(&collector);
	batch_pool_free(&pool);
	conf_free(&conf);
	return 0;
}

static void *
open_input(struct fake_host *h, int port, const char *options)
{
	char text[256];
	struct err err = {0};
	void *self = NULL;
	host_init(h);
	h->port.link = collector;
	h->port.daemon = &conf->daemon;
	snprintf(text, sizeof(text), "subscribe tcp://127.0.0.1:%dc " FAST " %s", port, options);
	if (host_open(h, &input_subscribe, text, &self, &err) != 0)
		fail_msg("%s", err.text);
	assert_int_equal(input_subscribe.start(self, &err), 0);
	return self;
}

static uint64_t
flows_of(struct fake_host *h)
{
	pthread_mutex_lock(&h->lock);
	uint64_t n = h->flows;
	pthread_mutex_unlock(&h->lock);
	return n;
}

static unsigned
seconds_of(struct fake_host *h)
{
	pthread_mutex_lock(&h->lock);
	unsigned n = h->n_seconds;
	pthread_mutex_unlock(&h->lock);
	return n;
}

static bool
wait_flows(struct fake_host *h, uint64_t n)
{
	for (int i = 0; i < 2000 && flows_of(h) < n; i++)
		clock_sleep_us(5000);
	return flows_of(h) == n;
}

static uint64_t
counter_of(void *self, enum counter c)
{
	uint64_t sum[C_COUNT] = {0};
	input_subscribe.counters(self, sum);
	return sum[c];
}

/** As the engine hands over a changed option. */
static int
set_filter(void *self, int port, const char *filter, struct err *err)
{
	static const char *const types[] = {"subscribe", NULL};
	char address[64], option[128];
	struct conf_endpoint *e = NULL;
	snprintf(address, sizeof(address), "tcp://127.0.0.1:%dc", port);
	snprintf(option, sizeof(option), "filter=%s", filter);
	const char *words[] = {"subscribe", address, option};
	assert_int_equal(conf_endpoint_parse(words, 3, types, &e, err), 0);
	int rc = input_subscribe.set(self, e, "filter", err);
	conf_endpoint_free(&e);
	return rc;
}

/** Flows and seconds come, the state is told, counters stay when it is stopped. */
static void
life(void **state)
{
	(void)state;
	struct end p;
	struct fake_host h;
	struct err err = {0};
	int port = free_port();
	end_open(probe, &p, "publish tcp://127.0.0.1:%d max_delay=20ms " FAST, port);
	void *self = open_input(&h, port, "");
	assert_non_null(input_subscribe_end(self));
	assert_true(wait_subs(probe, 1, 5000));
	flows_push(&p, pool, 0, 10000, 1000);
	assert_true(wait_flows(&h, 10000));
	struct stats_second s = {.second = 1700000000, .interface = "eth0", .packets = 3};
	link_second(p.end, &s);
	for (int i = 0; i < 1000 && seconds_of(&h) == 0; i++)
		clock_sleep_us(5000);
	pthread_mutex_lock(&h.lock);
	assert_int_equal(h.n_seconds, 1);
	assert_int_equal(h.seconds[0].packets, 3);
	assert_int_equal(h.state, PORT_UP);
	pthread_mutex_unlock(&h.lock);
	assert_int_equal(counter_of(self, C_flow_in), 10000);
	assert_true(input_subscribe.memory(self) > 0);
	input_subscribe.stop(self, false);
	assert_null(input_subscribe_end(self));
	assert_int_equal(counter_of(self, C_flow_in), 10000);
	assert_int_equal(counter_of(self, C_flow_out), 10000);
	assert_int_equal(set_filter(self, port, "app dns", &err), -E_CLOSED);
	input_subscribe.stop(self, true); /* twice does nothing */
	input_subscribe.free(&self);
	assert_null(self);
	host_fini(&h);
	end_close(&p, true);
}

/** A filter changed at run time is asked for at the probe. */
static void
set_at_run_time(void **state)
{
	(void)state;
	struct end p;
	struct fake_host h;
	struct err err = {0};
	struct link_subscription s;
	int port = free_port();
	end_open(probe, &p, "publish tcp://127.0.0.1:%d max_delay=20ms " FAST, port);
	void *self = open_input(&h, port, "filter='app http'");
	assert_true(wait_subs(probe, 1, 5000));
	assert_true(sub_row(collector, "", &s));
	uint64_t before = s.channel;
	assert_int_equal(set_filter(self, port, "app dns", &err), 0);
	for (int i = 0; i < 1000 && s.channel == before; i++) {
		clock_sleep_us(5000);
		assert_true(sub_row(collector, "", &s));
	}
	flows_push(&p, pool, 0, 1000, 100);
	assert_true(wait_flows(&h, 200));
	input_subscribe.free(&self); /* stops first */
	host_fini(&h);
	end_close(&p, true);
}

/** Outputs that keep every batch hold the probe up, and nothing is lost; so does a drained stop. */
static void
pool_exhausted(void **state)
{
	(void)state;
	enum { N = 100000 };
	struct end p;
	struct fake_host h;
	int port = free_port();
	end_open(probe, &p,
	    "publish tcp://127.0.0.1:%d max_delay=20ms codec=none window=200K " FAST, port);
	void *self = open_input(&h, port, "max_batches=4");
	pthread_mutex_lock(&h.lock);
	h.keep = 4;
	pthread_mutex_unlock(&h.lock);
	assert_true(wait_subs(probe, 1, 5000));
	flows_push(&p, pool, 0, N, 4096);
	for (int i = 0; i < 1000 && flows_of(&h) < 4; i++)
		clock_sleep_us(5000);
	clock_sleep_us(500000);
	uint64_t held = flows_of(&h);
	assert_true(held > 0 && held <= 4 * 4096);
	assert_int_equal(counter_of(self, C_flow_out), held);
	pthread_mutex_lock(&h.lock);
	h.keep = 0;
	while (h.n_kept > 0)
		batch_unref(&h.kept[--h.n_kept]);
	pthread_mutex_unlock(&h.lock);
	assert_true(wait_flows(&h, N));
	assert_int_equal(counter_of(self, C_flow_in), N);
	input_subscribe.free(&self);
	host_fini(&h);
	end_close(&p, true);
}

/** What arrives while a stop drains is counted. */
static void
stop_counts_what_it_drains(void **state)
{
	(void)state;
	enum { N = 40000 };
	struct end p;
	struct fake_host h;
	int port = free_port();
	end_open(probe, &p, "publish tcp://127.0.0.1:%d max_delay=20ms codec=none " FAST, port);
	void *self = open_input(&h, port, "max_batches=4");
	assert_true(wait_subs(probe, 1, 5000));
	atomic_store(&h.delay_us, 30000); /* received frames wait for a slow output */
	flows_push(&p, pool, 0, N, 4096);
	for (int i = 0; i < 2000 && flows_of(&h) == 0; i++)
		clock_sleep_us(1000);
	input_subscribe.stop(self, true);
	assert_int_equal(counter_of(self, C_flow_out), h.flows);
	input_subscribe.free(&self);
	host_fini(&h);
	end_close(&p, false);
}

static void
refused(void **state)
{
	(void)state;
	struct fake_host h;
	struct err err = {0};
	void *self = NULL;
	host_init(&h);
	assert_int_equal(
	    host_open(&h, &input_subscribe, "subscribe tcp://127.0.0.1:5556", &self, &err),
	    -E_UNSUP);
	h.port.link = collector;
	h.port.daemon = &conf->daemon;
	assert_true(host_open(&h, &input_subscribe, "subscribe nonsense", &self, &err) < 0);
	assert_true(err.text[0] != '\0');
	assert_null(self);
	host_fini(&h);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(life),
	    cmocka_unit_test(set_at_run_time),
	    cmocka_unit_test(pool_exhausted),
	    cmocka_unit_test(stop_counts_what_it_drains),
	    cmocka_unit_test(refused),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
