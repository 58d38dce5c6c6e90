/* SPDX-License-Identifier: Apache-2.0
 * unit/engine/test_once.c - ends: of file inputs, of --once, of stops with outputs that are stuck;
 * and that counters stay true over all of it. */
#include "fixture.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"

#define PCAP "app=off max_flows=65536 idle=0 active=0 tcp_end=0"

static char input[400], output[400];

/* ---- counters */

static void
counters(struct engine *e)
{
	assert_int_equal(attach(e, "json %s name=out", file_of("o")), 0);
	assert_int_equal(attach(e, "%s name=in", input), 0);
	wait_ended(e, "in");
	struct seen in = look(e, "in");
	assert_int_equal(in.counters[C_flow_ended], 300);
	assert_int_equal(in.counters[C_flow_out], 300); /* given to the bus once */
	assert_int_equal(in.counters[C_batch_out], 1);
	assert_int_equal(in.counters[C_pkt_seen], 600);
	/* an endpoint keeps its counters over a stop and a start */
	assert_int_equal(engine_enable(e, STRV("in"), false, NULL), 0);
	assert_int_equal(look(e, "in").counters[C_pkt_seen], 600);
	assert_int_equal(engine_enable(e, STRV("out"), false, NULL), 0);
	assert_int_equal(look(e, "out").counters[C_flow_out], 300);
	assert_int_equal(engine_enable(e, STRV("out"), true, NULL), 0);
	assert_int_equal(engine_enable(e, STRV("in"), true, NULL), 0);
	wait_ended(e, "in");
	in = look(e, "in");
	assert_int_equal(in.counters[C_pkt_seen], 1200);
	assert_int_equal(in.counters[C_flow_active], 0);
	wait_written(e, "out", 600);
	struct seen out = look(e, "out");
	assert_int_equal(out.counters[C_flow_in], 600);
}

/* ---- memory: every open endpoint says what it takes at most */

struct told {
	uint64_t memory;
};

static void
detail(void *arg, const char *key, const char *value, bool is_number)
{
	struct told *t = arg;
	if (is_number && strcmp(key, "memory_max_bytes") == 0)
		t->memory = strtoull(value, NULL, 10);
}

static uint64_t
memory_of(struct engine *e, const char *name)
{
	struct told t = {0};
	assert_int_equal(engine_detail(e, strv_of(name), detail, &t, NULL), 0);
	return t.memory;
}

static void
memory(struct engine *e)
{
	assert_int_equal(attach(e, "%s name=in max_batches=8", input), 0);
	uint64_t small = memory_of(e, "in");
	assert_int_equal(attach(e, "%s name=in2 max_batches=16", input), 0);
	assert_int_equal(memory_of(e, "in2") - small, 8 * batch_memory(BATCH_TEXT_FIRST));
	assert_true(memory_of(e, "json-dev-null") > 100000);
	assert_int_equal(attach(e, "publish tcp://127.0.0.1:* name=hub ring=1M max_channels=2"), 0);
	uint64_t hub = memory_of(e, "hub");
	assert_true(hub > 2 << 20 && hub < 10 << 20);
	assert_int_equal(set(e, "hub", "ring=2M", NULL), 0);
	assert_int_equal(memory_of(e, "hub") - hub, 2 << 20);
	assert_int_equal(engine_enable(e, STRV("in"), false, NULL), 0);
	assert_int_equal(memory_of(e, "in"), 0);
}

static void
test_memory(void **state)
{
	(void)state;
	snprintf(input, sizeof(input), "pcap %s " PCAP, make_pcap("p", 10));
	assert_int_equal(RUN(memory, "--attach", "json /dev/null"), 0);
}

static void
test_counters(void **state)
{
	(void)state;
	snprintf(input, sizeof(input), "pcap %s " PCAP, make_pcap("p", 300));
	assert_int_equal(RUN(counters, "--attach", "json /dev/null"), 0);
}

/* ---- --once */

static void *
slow_reader(void *arg)
{
	const char *path = arg;
	static char text[8192];
	int fd = open(path, O_RDONLY);
	unsigned long lines = 0;
	for (ssize_t n; (n = read(fd, text, sizeof(text))) > 0;) {
		for (ssize_t i = 0; i < n; i++)
			lines += text[i] == '\n';
		clock_sleep_us(1000);
	}
	close(fd);
	return (void *)lines; /* NOLINT: a number through pthread_join */
}

/* Slower than stop_timeout: --once is done when all is written, not when patience ends. */
static void
test_slow_output(void **state)
{
	pthread_t t;
	void *lines;
	char *path = strdup(file_of("fifo"));
	(void)state;
	assert_int_equal(mkfifo(path, 0600), 0);
	snprintf(input, sizeof(input), "pcap %s " PCAP, make_pcap("p", 20000));
	snprintf(output, sizeof(output), "json %s", path);
	assert_int_equal(pthread_create(&t, NULL, slow_reader, path), 0);
	clock_sleep_us(50000);
	assert_int_equal(RUN(NULL, "--once", "--set", "stop_timeout=100ms", "--attach", output,
	    "--attach", input), 0);
	pthread_join(t, &lines);
	assert_int_equal((unsigned long)lines, 20000);
	free(path);
}

static void
test_once_ends(void **state)
{
	(void)state;
	alarm(30);
	snprintf(input, sizeof(input), "pcap %s enabled=no " PCAP, make_pcap("p", 10));
	assert_int_equal(RUN(NULL, "--once", "--attach", input), 0);
	/* without an input that can end it would never */
	snprintf(output, sizeof(output), "json %s", file_of("o"));
	assert_int_equal(RUN(NULL, "--once", "--attach", output), 2);
	snprintf(input, sizeof(input), "pcap %s " PCAP, file_of("missing"));
	assert_int_equal(RUN(NULL, "--once", "--attach", input), 4);
	/* what was not written is told by the exit status */
	snprintf(input, sizeof(input), "pcap %s " PCAP, make_pcap("p", 10));
	assert_int_equal(RUN(NULL, "--once", "--attach", input, "--attach", "json /dev/full"), 1);
	alarm(0);
}

/* ---- a reader that reads nothing */

static void
stuck(struct engine *e)
{
	assert_int_equal(attach(e, "%s name=in", input), 0);
	for (int i = 0; i < 2000 && look(e, "out").counters[C_flow_in] == 0; i++)
		clock_sleep_us(1000);
	uint64_t from = clock_mono_us();
	assert_int_equal(engine_detach(e, STRV("out"), true, NULL), 0);
	assert_true(clock_mono_us() - from < 3000000);
	/* another one stays stuck until the stop */
	assert_int_equal(attach(e, "%s", output), 0);
	assert_int_equal(attach(e, "%s name=in2", input), 0);
	for (int i = 0; i < 2000 && look(e, "out").counters[C_flow_in] == 0; i++)
		clock_sleep_us(1000);
}

static void
test_stuck_output(void **state)
{
	char *path = strdup(file_of("fifo"));
	(void)state;
	alarm(60);
	assert_int_equal(mkfifo(path, 0600), 0);
	/* nobody reads it: refused, not waited for */
	snprintf(output, sizeof(output), "json %s name=out queue=4", path);
	assert_int_equal(RUN(NULL, "--attach", output), 1);
	int fd = open(path, O_RDONLY | O_NONBLOCK);
	assert_true(fd >= 0);
	snprintf(input, sizeof(input), "pcap %s max_batches=4 " PCAP, make_pcap("p", 60000));
	uint64_t from = clock_mono_us();
	assert_int_equal(RUN(stuck, "--set", "stop_timeout=300ms", "--attach", output), 0);
	assert_true(clock_mono_us() - from < 12000000);
	close(fd);
	alarm(0);
	free(path);
}

#define T(name) cmocka_unit_test_setup_teardown(name, lab_setup, lab_teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {T(test_counters), T(test_memory), T(test_slow_output),
	    T(test_once_ends), T(test_stuck_output)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
