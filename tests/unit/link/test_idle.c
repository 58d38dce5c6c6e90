/* SPDX-License-Identifier: Apache-2.0
 * unit/link/test_idle.c - hours in seconds: the clock is the test's, the sockets are real.
 *
 * base/clock.c is not linked: the functions below take its place, and both ends read a clock that
 * jumps from one heartbeat to the next as soon as everybody has answered the last one. libzmq's
 * own heartbeats go on by the real clock. */
#include "rig.h"

#include <string.h>
#include <time.h>

#include "base/log.h"
#include "link/link_priv.h"

#define S(n)   ((uint64_t)(n)*1000000)
#define HOURS  S(3 * 3600)

static _Atomic uint64_t ahead_us;
static struct link *probe, *col_a, *col_b;
static struct batch_pool *pool;

/* ---- the clock */

static uint64_t
real_us(clockid_t id)
{
	struct timespec t;
	clock_gettime(id, &t);
	return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

uint64_t
clock_mono_us(void)
{
	return real_us(CLOCK_MONOTONIC) + atomic_load(&ahead_us);
}

int64_t
clock_real_us(void)
{
	return (int64_t)(real_us(CLOCK_REALTIME) + atomic_load(&ahead_us));
}

void
clock_sleep_us(uint64_t us)
{
	struct timespec t = {(time_t)(us / 1000000), (long)(us % 1000000) * 1000};
	nanosleep(&t, NULL);
}

static int
nothing(struct link *l, void *arg, struct call *c)
{
	(void)l;
	(void)arg;
	(void)c;
	return 0;
}

/* A whole round of @l at the new time: the call comes first in a round, the next one ends it. */
static void
turn(struct link *l)
{
	link_call(l, nothing, NULL);
	link_call(l, nothing, NULL);
}

static void
jump(uint64_t us)
{
	atomic_fetch_add(&ahead_us, us);
	turn(probe);
	turn(col_a);
	turn(col_b);
}

/* ---- the log: every line, and how many events it stands for */

static pthread_mutex_t log_lock = PTHREAD_MUTEX_INITIALIZER;
static unsigned n_lines, n_told, n_odd;
static const char *expected = "";

static void
log_tap(void *arg, enum log_level level, const char *line)
{
	unsigned n = 1;
	const char *times = strrchr(line, '(');
	(void)arg;
	pthread_mutex_lock(&log_lock);
	if (level <= LOG_WARN && expected[0] != '\0' && strstr(line, expected) != NULL) {
		if (times != NULL && strstr(times, " times since the last line)") != NULL)
			n = (unsigned)strtoul(times + 1, NULL, 10);
		n_lines++;
		n_told += n;
	} else if (level <= LOG_WARN) {
		n_odd++;
	}
	pthread_mutex_unlock(&log_lock);
}

static void
log_expect(const char *words)
{
	pthread_mutex_lock(&log_lock);
	n_lines = n_told = n_odd = 0;
	expected = words;
	pthread_mutex_unlock(&log_lock);
}

static int
setup(void **state)
{
	(void)state;
	log_set_tap(log_tap, NULL);
	probe = node_start("probe", 101);
	col_a = node_start("col-a", 201);
	col_b = node_start("col-b", 202);
	pool = batch_pool_new(64);
	return 0;
}

static int
teardown(void **state)
{
	(void)state;
	link_stop(&probe);
	link_stop(&col_a);
	link_stop(&col_b);
	assert_int_equal(batch_pool_out(pool), 0);
	batch_pool_free(&pool);
	flow_passes(NULL, 0);
	log_set_tap(NULL, NULL);
	return 0;
}

static bool
wait_in(struct end *e, uint64_t messages)
{
	uint64_t until = real_us(CLOCK_MONOTONIC) + S(5);
	while (end_counter(e, C_msg_in) < messages && real_us(CLOCK_MONOTONIC) < until)
		clock_sleep_us(20);
	return end_counter(e, C_msg_in) >= messages;
}

/* Heartbeats for @us: each end's PING is answered before time goes on. */
static void
beat(struct end *ends[], unsigned n, uint64_t us, uint64_t heartbeat_us)
{
	uint64_t before[8];
	for (uint64_t t = 0; t < us; t += heartbeat_us) {
		for (unsigned i = 0; i < n; i++)
			before[i] = end_counter(ends[i], C_msg_in);
		atomic_fetch_add(&ahead_us, heartbeat_us);
		link_call(probe, nothing, NULL);
		link_call(col_a, nothing, NULL);
		link_call(col_b, nothing, NULL);
		for (unsigned i = 0; i < n; i++)
			if (!wait_in(ends[i], before[i] + 2) || end_counter(ends[i], C_peer_down) > 0)
				fail_msg("no heartbeat at %s after %llu s", ends[i]->host.name,
				    (unsigned long long)(t / 1000000));
	}
}

/* ---- tests */

/* Poll mode and push mode side by side, no flow for three hours. */
static void
sessions_stay(void **state)
{
	struct end p, p2, a, b, *ends[] = {&p, &p2, &a, &b};
	struct link_peer before, after;
	int port = free_port(), port2 = free_port();
	(void)state;
	end_open(col_b, &b, "subscribe tcp://127.0.0.1:%d?bind", port2);
	end_open(probe, &p, "publish tcp://127.0.0.1:%d max_delay=50ms", port);
	end_open(probe, &p2, "publish tcp://127.0.0.1:%dc max_delay=50ms", port2);
	end_open(col_a, &a, "subscribe tcp://127.0.0.1:%d", port);
	assert_true(wait_subs(probe, 2, 5000));
	flows_push(&p, pool, 0, 1000, 500);
	flows_push(&p2, pool, 0, 1000, 500);
	assert_true(wait_count(&a, 1000, 5000) && wait_count(&b, 1000, 5000));
	jump(S(2));
	assert_true(wait_acked(probe, 3000));
	assert_true(peer_row(col_a, "up", &before));
	log_expect("");
	uint64_t pings = end_counter(&a, C_msg_out), frames = end_counter(&p, C_frame_out);
	beat(ends, 4, HOURS, S(2));
	for (unsigned i = 0; i < 4; i++) {
		assert_int_equal(end_counter(ends[i], C_peer_up), 1);
		assert_int_equal(end_counter(ends[i], C_peer_down), 0);
		assert_int_equal(end_counter(ends[i], C_msg_stale), 0);
		assert_int_equal(end_counter(ends[i], C_msg_bad), 0);
		assert_int_equal(end_state_now(ends[i]), PORT_UP);
	}
	/* a PING and a PONG each heartbeat, and nothing else */
	pings = end_counter(&a, C_msg_out) - pings;
	assert_in_range(pings, 2 * HOURS / S(2) - 20, 2 * HOURS / S(2) + 20);
	assert_int_equal(end_counter(&p, C_frame_out), frames);
	assert_int_equal(n_odd, 0);
	assert_true(peer_row(col_a, "up", &after));
	assert_int_equal(after.since_us, before.since_us);
	assert_true(after.rtt_us < S(2) && after.lag_us == 0);
	assert_true(after.clock_offset_us > -1000000 && after.clock_offset_us < 1000000);
	flows_push(&p, pool, 1000, 1000, 500);
	flows_push(&p2, pool, 1000, 1000, 500);
	assert_true(wait_count(&a, 2000, 5000) && wait_count(&b, 2000, 5000));
	assert_flows(&a, "", 0, 2000);
	assert_flows(&b, "", 0, 2000);
	jump(S(2));
	assert_true(wait_acked(probe, 3000));
	assert_ledger(probe);
	end_close(&a, false);
	end_close(&b, false);
	end_close(&p, false);
	end_close(&p2, false);
}

/* A position waits for its collector as long as `resume` says, not longer. */
static void
positions_wait(void **state)
{
	struct end p, a;
	struct link_subscription s;
	int port = free_port();
	(void)state;
	end_open(probe, &p, "publish tcp://127.0.0.1:%d max_delay=50ms resume=3h", port);
	for (int late = 0; late < 2; late++) {
		uint64_t from = late == 0 ? 0 : 2000;
		end_open(col_a, &a, "subscribe tcp://127.0.0.1:%d", port);
		assert_true(wait_subs(probe, 1, 5000));
		flows_push(&p, pool, from, 1000, 500);
		assert_true(wait_count(&a, 1000, 5000));
		jump(S(2));
		assert_true(wait_acked(probe, 3000));
		end_close(&a, true);
		assert_true(wait_subs(probe, 0, 5000));
		assert_true(sub_row(probe, "col-a", &s) && s.is_parked);
		flows_push(&p, pool, from + 1000, 1000, 500);
		assert_true(wait_offered(probe, "col-a", 2000, 5000));
		for (uint64_t t = 0; t < HOURS - S(60); t += S(30))
			jump(S(30));
		assert_true(sub_row(probe, "col-a", &s) && s.is_parked);
		assert_int_equal(s.queued, 1000);
		assert_ledger(probe);
		if (late == 1)
			break;
		end_open(col_a, &a, "subscribe tcp://127.0.0.1:%d", port);
		assert_true(wait_count(&a, 1000, 5000));
		assert_flows(&a, "", 1000, 2000);
		jump(S(2));
		assert_true(wait_acked(probe, 3000));
		end_close(&a, false);
		assert_true(wait_subs(probe, 0, 5000)); /* or the next one meets this */
	}
	jump(S(61));
	for (int i = 0; i < 400 && sub_row(probe, "col-a", &s); i++)
		turn(probe);
	assert_false(sub_row(probe, "col-a", &s));
	assert_int_equal(end_counter(&p, C_flow_lost_expired), 1000);
	end_close(&p, false);
}

static int
is_waiting(struct link *l, void *arg, struct call *c)
{
	const struct link_end *e = arg;
	(void)l;
	(void)c;
	return e->dial.state == DIAL_WAIT && !greet_is_asking(&e->greet);
}

/* Nobody listens for three hours: a try every retry_max, one line a minute, and up at once then. */
static void
nobody_listens(void **state)
{
	struct end p, a;
	int port = free_port();
	(void)state;
	log_expect("refused or unreachable");
	end_open(col_a, &a, "subscribe tcp://127.0.0.1:%d", port);
	for (uint64_t t = 0; t < HOURS; t += S(1)) {
		jump(S(1));
		uint64_t until = real_us(CLOCK_MONOTONIC) + S(5);
		while (link_call(col_a, is_waiting, a.end) == 0)
			assert_true(real_us(CLOCK_MONOTONIC) < until);
	}
	pthread_mutex_lock(&log_lock);
	/* pauses of 22.5 to 30 s once it has backed off; the last ones are not told yet */
	assert_in_range(n_told, HOURS / S(31) - 3, HOURS * 10 / S(225) + 10);
	assert_in_range(n_lines, HOURS / S(90), HOURS / S(60) + 1);
	assert_int_equal(n_odd, 0);
	pthread_mutex_unlock(&log_lock);
	assert_int_equal(end_state_now(&a), PORT_DEGRADED);
	end_open(probe, &p, "publish tcp://127.0.0.1:%d max_delay=50ms", port);
	for (int s = 0; s < 31 && !wait_up(col_a, 1, 50); s++)
		jump(S(1));
	assert_true(wait_up(col_a, 1, 100));
	/* a connection that is lost again is tried again after the first pause, not the last */
	end_close(&p, false);
	assert_true(wait_why(&a, "goodbye", 3000));
	end_open(probe, &p, "publish tcp://127.0.0.1:%d max_delay=50ms", port);
	jump(S(1));
	assert_true(wait_up(col_a, 1, 3000));
	log_expect("");
	end_close(&a, false);
	end_close(&p, false);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(sessions_stay),
	    cmocka_unit_test(positions_wait),
	    cmocka_unit_test(nobody_listens),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
