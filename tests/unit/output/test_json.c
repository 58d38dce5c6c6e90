/* SPDX-License-Identifier: Apache-2.0
 * unit/output/test_json.c - the json output with a host of the test's own: filter, rotation, a full
 * disk, live change, stop with and without draining. */
#include <dirent.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/clock.h"
#include "conf/conf.h"
#include "output/output.h"

static const char *const types[] = {"json", NULL};

struct host {
	struct port_host port;
	_Atomic int state;
	char why[256];
};

static void
host_state(void *ctx, enum port_state s, const char *why)
{
	struct host *h = ctx;
	snprintf(h->why, sizeof(h->why), "%s", why);
	atomic_store(&h->state, (int)s);
}

static struct conf_endpoint *
configure(const char *text)
{
	struct err err = {0};
	char **words;
	unsigned n;
	struct conf_endpoint *c = NULL;
	assert_int_equal(conf_split(text, &words, &n, &err), 0);
	if (conf_endpoint_parse((const char *const *)words, n, types, &c, &err) != 0)
		fail_msg("%s", err.text);
	conf_words_free(&words, n);
	return c;
}

static void *
begin(struct host *h, const struct conf_endpoint *c)
{
	struct err err = {0};
	void *self = NULL;
	memset(h, 0, sizeof(*h));
	h->port = (struct port_host){.ctx = h, .name = "out", .number = 1, .state = host_state};
	if (output_json.open(c, &h->port, &self, &err) != 0)
		fail_msg("%s", err.text);
	assert_int_equal(output_json.start(self, &err), 0);
	return self;
}

static struct batch *
make(struct batch_pool *p, uint32_t n, uint32_t first)
{
	struct batch *b = batch_pool_get(p);
	assert_non_null(b);
	for (uint32_t i = 0; i < n; i++) {
		batch_set_u(b, F_src_port, i, (first + i) & 0xffff);
		batch_set_u(b, F_bytes, i, i);
	}
	b->n = n;
	batch_seal(b, 0);
	return b;
}

static unsigned
count_lines(const char *path, unsigned *bad)
{
	FILE *f = fopen(path, "r");
	char line[4096];
	unsigned n = 0;
	while (f != NULL && fgets(line, sizeof(line), f) != NULL) {
		size_t len = strlen(line);
		if (len < 3 || line[0] != '{' || strcmp(line + len - 2, "}\n") != 0)
			(*bad)++;
		n++;
	}
	if (f != NULL)
		fclose(f);
	return n;
}

static void
test_filter_and_set(void **state)
{
	char dir[] = "/tmp/fbjsonXXXXXX", text[512], path[256];
	struct host h;
	struct err err = {0};
	unsigned bad = 0;
	uint64_t sum[C_COUNT] = {0};
	(void)state;
	assert_non_null(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/f", dir);
	snprintf(text, sizeof(text), "json %s filter='bytes < 10' fields=src_port", path);
	struct conf_endpoint *c = configure(text);
	void *self = begin(&h, c);
	struct batch_pool *p = batch_pool_new(8);
	assert_true(output_json.take(self, make(p, 100, 0)));
	while (output_json.busy(self))
		clock_sleep_us(1000);
	assert_int_equal(conf_endpoint_set(c, STRV("filter"), STRV("bytes >= 95"), &err), 0);
	assert_int_equal(output_json.set(self, c, "filter", &err), 0);
	assert_true(output_json.take(self, make(p, 100, 0)));
	output_json.stop(self, true);
	output_json.counters(self, sum);
	assert_int_equal(count_lines(path, &bad), 15);
	assert_int_equal(bad, 0);
	assert_int_equal(sum[C_flow_in], 200);
	assert_int_equal(sum[C_flow_out], 15);
	assert_int_equal(sum[C_flow_filtered], 185);
	output_json.free(&self);
	conf_endpoint_free(&c);
	batch_pool_free(&p);
	unlink(path);
	rmdir(dir);
}

/* Rotation by size: no line is lost or cut, and only `keep` old files stay. */
static void
test_rotation(void **state)
{
	char dir[] = "/tmp/fbjsonXXXXXX", text[512], path[256];
	struct host h;
	unsigned bad = 0, files = 0, lines = 0;
	uint64_t sum[C_COUNT] = {0};
	(void)state;
	assert_non_null(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/f.json", dir);
	snprintf(text, sizeof(text), "json %s rotate_size=300K keep=2 flush=1ms", path);
	struct conf_endpoint *c = configure(text);
	void *self = begin(&h, c);
	struct batch_pool *p = batch_pool_new(64);
	for (unsigned i = 0; i < 40; i++) {
		assert_true(output_json.take(self, make(p, 4000, i)));
		while (output_json.busy(self))
			clock_sleep_us(200);
	}
	output_json.stop(self, true);
	output_json.counters(self, sum);
	DIR *d = opendir(dir);
	for (struct dirent *e; (e = readdir(d)) != NULL;) {
		char one[600];
		if (e->d_name[0] == '.')
			continue;
		snprintf(one, sizeof(one), "%s/%s", dir, e->d_name);
		lines += count_lines(one, &bad);
		files++;
		unlink(one);
	}
	closedir(d);
	assert_int_equal(files, 3);
	assert_int_equal(bad, 0);
	assert_true(sum[C_rotations] >= 5);
	assert_int_equal(sum[C_flow_out], 160000);
	assert_true(lines > 0 && lines < 160000);
	output_json.free(&self);
	conf_endpoint_free(&c);
	batch_pool_free(&p);
	rmdir(dir);
}

static void
test_full_disk(void **state)
{
	struct host h;
	uint64_t sum[C_COUNT] = {0};
	(void)state;
	struct conf_endpoint *c = configure("json /dev/full flush=1ms");
	void *self = begin(&h, c);
	struct batch_pool *p = batch_pool_new(8);
	assert_true(output_json.take(self, make(p, 50, 0)));
	output_json.stop(self, true);
	output_json.counters(self, sum);
	assert_int_equal(sum[C_flow_in], 50);
	assert_int_equal(sum[C_flow_out], 0);
	assert_int_equal(sum[C_flow_lost_write], 50);
	assert_int_equal(atomic_load(&h.state), PORT_DEGRADED);
	assert_non_null(strstr(h.why, "No space left"));
	output_json.free(&self);
	conf_endpoint_free(&c);
	batch_pool_free(&p);
}

static void
test_refusals(void **state)
{
	char dir[] = "/tmp/fbjsonXXXXXX", text[512], target[300];
	struct host h = {0};
	struct err err = {0};
	void *self = NULL;
	(void)state;
	h.port = (struct port_host){.ctx = &h, .name = "out", .number = 1, .state = host_state};
	struct conf_endpoint *c = configure("json /nonexistent/dir/f");
	assert_true(output_json.open(c, &h.port, &self, &err) < 0);
	assert_non_null(strstr(err.text, "/nonexistent/dir/f"));
	conf_endpoint_free(&c);
	assert_non_null(mkdtemp(dir));
	snprintf(target, sizeof(target), "%s/link", dir);
	assert_int_equal(symlink("/etc/hostname", target), 0);
	snprintf(text, sizeof(text), "json %s", target);
	c = configure(text);
	assert_int_equal(output_json.open(c, &h.port, &self, &err), -E_UNSAFE);
	assert_null(self);
	conf_endpoint_free(&c);
	unlink(target);
	rmdir(dir);
}

/* Only what rotation made is deleted by keep, only regular files are rotated. */
static void
test_rotation_spares(void **state)
{
	char dir[] = "/tmp/fbjsonXXXXXX", text[512], path[256], mine[300];
	static const char *const names[] = {"1", "2024", "20261122", "20261122T100000.12", "gz"};
	struct host h;
	struct stat st;
	(void)state;
	assert_non_null(mkdtemp(dir));
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		snprintf(mine, sizeof(mine), "%s/f.%s", dir, names[i]);
		fclose(fopen(mine, "w"));
	}
	snprintf(mine, sizeof(mine), "%s/f.20200101T000000.000", dir);
	fclose(fopen(mine, "w"));
	snprintf(path, sizeof(path), "%s/f", dir);
	snprintf(text, sizeof(text), "json %s flush=0 rotate_size=1 keep=1", path);
	struct conf_endpoint *c = configure(text);
	struct batch_pool *p = batch_pool_new(8);
	void *self = begin(&h, c);
	assert_true(output_json.take(self, make(p, 10, 0)));
	for (int i = 0; i < 3000 && stat(mine, &st) == 0; i++)
		clock_sleep_us(1000);
	assert_int_not_equal(stat(mine, &st), 0);
	output_json.stop(self, true);
	output_json.free(&self);
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		snprintf(mine, sizeof(mine), "%s/f.%s", dir, names[i]);
		assert_int_equal(unlink(mine), 0);
	}
	conf_endpoint_free(&c);
	/* a FIFO stays where it is */
	snprintf(path, sizeof(path), "%s/fifo", dir);
	snprintf(text, sizeof(text), "json %s flush=0 rotate_size=1", path);
	assert_int_equal(mkfifo(path, 0600), 0);
	int fd = open(path, O_RDONLY | O_NONBLOCK);
	c = configure(text);
	self = begin(&h, c);
	for (uint32_t i = 0; i < 5; i++) {
		assert_true(output_json.take(self, make(p, 10, 0)));
		while (output_json.busy(self))
			clock_sleep_us(1000);
		clock_sleep_us(60000);
	}
	output_json.stop(self, true);
	output_json.free(&self);
	assert_int_equal(stat(path, &st), 0);
	assert_true(S_ISFIFO(st.st_mode));
	close(fd);
	conf_endpoint_free(&c);
	batch_pool_free(&p);
	(void)unlink(path);
	snprintf(text, sizeof(text), "rm -r %s", dir);
	assert_int_equal(system(text), 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_filter_and_set),
	    cmocka_unit_test(test_rotation),
	    cmocka_unit_test(test_rotation_spares), cmocka_unit_test(test_full_disk),
	    cmocka_unit_test(test_refusals)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
