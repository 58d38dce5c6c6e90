/* SPDX-License-Identifier: Apache-2.0
 * The socket: who may make it, lines cut anywhere, garbage, too much of anything, slow readers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/log.h"
#include "fake.h"

struct fixture {
	struct engine *e;
	struct control_server *s;
	char dir[64], path[96];
};

static const struct control_limits limits = {64 << 10, 1 << 20, 300000, 16};

static int
setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	snprintf(f->dir, sizeof(f->dir), "/tmp/flowbus-ctl-XXXXXX");
	if (mkdtemp(f->dir) == NULL)
		return -1;
	snprintf(f->path, sizeof(f->path), "%s/sock", f->dir);
	f->e = fake_new();
	log_set_level(LOG_ERR);
	*state = f;
	return control_open(f->e, f->path, &limits, &f->s, NULL);
}

static int
teardown(void **state)
{
	struct fixture *f = *state;
	char cmd[128];
	control_close(&f->s);
	fake_free(&f->e);
	snprintf(cmd, sizeof(cmd), "rm -rf %s", f->dir);
	free(f);
	return system(cmd);
}

static int
code_of(json_t *j)
{
	int code = (int)json_integer_value(json_object_get(j, "code"));
	json_decref(j);
	return code;
}

static void
test_hello(void **state)
{
	struct fixture *f = *state;
	struct stat st;
	assert_int_equal(stat(f->path, &st), 0);
	assert_int_equal(st.st_mode & 07, 0); /* nothing for others */
	struct talk t = talk_connect(f->e, f->path);
	json_t *j = talk_line(&t);
	assert_int_equal(json_integer_value(json_object_get(j, "flowbus")), 1);
	assert_int_equal(json_integer_value(json_object_get(j, "protocol")), CTL_PROTOCOL);
	assert_string_equal(json_string_value(json_object_get(j, "version")), "0.0.1");
	json_decref(j);
	assert_int_equal(talk_ask(&t, "{\"cmd\":\"status\"}", NULL), 1000);
	talk_close(&t);
	assert_int_equal(control_clients(f->s), 0);
}

/* A request cut in two at every byte, and one sent byte by byte. */
static void
test_split(void **state)
{
	struct fixture *f = *state;
	static const char line[] = "{\"id\":7,\"cmd\":\"show types\",\"args\":[]}\n";
	struct talk t = talk_connect(f->e, f->path);
	json_decref(talk_line(&t));
	for (size_t cut = 0; cut <= sizeof(line) - 1; cut++) {
		char part[sizeof(line)];
		snprintf(part, sizeof(part), "%.*s", (int)cut, line);
		talk_send(&t, part);
		talk_spin(f->e, 1);
		talk_send(&t, line + cut);
		for (int row = 0; row < 5; row++) {
			json_t *j = talk_line(&t);
			assert_non_null(json_object_get(j, "row"));
			assert_int_equal(json_integer_value(json_object_get(j, "id")), 7);
			json_decref(j);
		}
		assert_int_equal(code_of(talk_line(&t)), 1000);
	}
	for (size_t i = 0; i < sizeof(line) - 1; i++) {
		const char one[2] = {line[i], '\0'};
		talk_send(&t, one);
		loop_once(f->e->loop, 0);
	}
	assert_int_equal(talk_ask(&t, "", NULL), 1000);
	talk_close(&t);
}

static void
test_pipelined(void **state)
{
	struct fixture *f = *state;
	struct talk t = talk_connect(f->e, f->path);
	json_decref(talk_line(&t));
	for (int i = 0; i < 2000; i++) {
		char line[80];
		snprintf(line, sizeof(line), "{\"id\":%d,\"cmd\":\"log\"}\r\n\n", i);
		talk_send(&t, line);
	}
	for (int i = 0; i < 2000; i++) {
		json_decref(talk_line(&t));
		json_t *j = talk_line(&t);
		assert_int_equal(json_integer_value(json_object_get(j, "id")), i);
		assert_int_equal(code_of(j), 1000);
	}
	talk_close(&t);
}

/* Whatever comes, the answer is an error and the next request works. */
static void
test_garbage(void **state)
{
	struct fixture *f = *state;
	static const char *const t[] = {"x", "{", "[]", "\"status\"", "{}", "{\"cmd\":1}",
	    "{\"cmd\":\"status\",\"args\":{}}", "{\"cmd\":\"status\",\"args\":[1]}",
	    "{\"cmd\":\"status\",\"cmd\":\"help\"}", "{\"id\":{},\"cmd\":\"status\"}",
	    "{\"id\":1.5,\"cmd\":\"status\"}", "{\"cmd\":\"sta\\u0000tus\"}", "\xff\xfe",
	    "{\"cmd\":\"status\"} trailing",
	    ("{\"id\":\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\","
	    "\"cmd\":\"status\"}")};
	struct talk c = talk_connect(f->e, f->path);
	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		int code = talk_ask(&c, t[i], NULL);
		if (code / 1000 != 4)
			fail_msg("%s: %d", t[i], code);
		assert_int_equal(talk_ask(&c, "{\"cmd\":\"log\"}", NULL), 1000);
	}
	char *deep = malloc(60001);
	memset(deep, '[', 60000);
	deep[60000] = '\0';
	assert_int_equal(talk_ask(&c, deep, NULL), 4001);
	char *many = malloc(4096);
	size_t n = (size_t)snprintf(many, 4096, "{\"cmd\":\"help\",\"args\":[\"a\"");
	for (int i = 0; i < 256; i++)
		n += (size_t)snprintf(many + n, 4096 - n, ",\"a\"");
	snprintf(many + n, 4096 - n, "]}");
	assert_int_equal(talk_ask(&c, many, NULL), 4005);
	free(deep);
	free(many);
	talk_close(&c);
}

static void
test_oversize(void **state)
{
	struct fixture *f = *state;
	for (int with_newline = 0; with_newline < 2; with_newline++) {
		char *line = malloc(CTL_LINE_MAX + 3);
		memset(line, 'a', CTL_LINE_MAX + 1);
		line[CTL_LINE_MAX + 1] = with_newline ? '\n' : '\0';
		line[CTL_LINE_MAX + 2] = '\0';
		struct talk t = talk_connect(f->e, f->path);
		json_decref(talk_line(&t));
		talk_send(&t, line);
		assert_int_equal(code_of(talk_line(&t)), 4005);
		assert_null(talk_line(&t));
		assert_true(t.closed);
		talk_close(&t);
		free(line);
	}
	assert_int_equal(control_clients(f->s), 0);
	/* one that just fits is read */
	char *line = malloc(CTL_LINE_MAX + 1);
	memset(line, ' ', CTL_LINE_MAX);
	memcpy(line, "{\"cmd\":\"log\"}", 13);
	line[CTL_LINE_MAX] = '\0';
	struct talk t = talk_connect(f->e, f->path);
	assert_int_equal(talk_ask(&t, line, NULL), 1000);
	talk_close(&t);
	free(line);
}

static void
test_max_clients(void **state)
{
	struct fixture *f = *state;
	struct talk t[8];
	assert_int_equal(conf_daemon_set(&f->e->conf->daemon, "max_clients=2", NULL), 0);
	for (int i = 0; i < 8; i++) {
		t[i] = talk_connect(f->e, f->path);
		json_t *j = talk_line(&t[i]);
		/* this test is root or the daemon's user, an admin: four more than max_clients */
		if (i < 6)
			assert_int_equal(json_integer_value(json_object_get(j, "flowbus")), 1);
		else
			assert_int_equal(json_integer_value(json_object_get(j, "code")), 4005);
		json_decref(j);
	}
	assert_int_equal(control_clients(f->s), 6);
	talk_close(&t[0]);
	struct talk again = talk_connect(f->e, f->path);
	assert_int_equal(talk_ask(&again, "{\"cmd\":\"log\"}", NULL), 1000);
	talk_close(&again);
	for (int i = 1; i < 8; i++)
		talk_close(&t[i]);
	assert_int_equal(control_clients(f->s), 0);
}

static void
test_stream(void **state)
{
	struct fixture *f = *state;
	struct talk t = talk_connect(f->e, f->path);
	json_decref(talk_line(&t));
	talk_send(&t,
	    "{\"id\":1,\"cmd\":\"watch flows\",\"args\":[\"src port >= 2\",\"--count\",\"3\"]}\n"
	    "{\"id\":2,\"cmd\":\"log\"}\n");
	talk_spin(f->e, 5);
	assert_true(fake_flows(f->e, 4)); /* 2 of them pass */
	for (int port = 2; port < 4; port++) {
		json_t *j = talk_line(&t), *row = json_object_get(j, "row");
		assert_int_equal(json_integer_value(json_object_get(row, "src_port")), port);
		json_decref(j);
	}
	assert_true(fake_flows(f->e, 100)); /* only one more is wanted */
	json_decref(talk_line(&t));
	assert_int_equal(code_of(talk_line(&t)), 1000);
	assert_false(fake_flows(f->e, 1)); /* the tap is gone */
	json_decref(talk_line(&t));
	json_t *j = talk_line(&t); /* the request behind the stream had to wait */
	assert_int_equal(json_integer_value(json_object_get(j, "id")), 2);
	json_decref(j);

	talk_send(&t, "{\"cmd\":\"watch stats\",\"args\":[\"--count=2\"]}\n");
	talk_spin(f->e, 5);
	assert_true(fake_second(f->e));
	assert_true(fake_second(f->e));
	j = talk_line(&t);
	assert_int_equal(
	    json_integer_value(json_object_get(json_object_get(j, "row"), "bits")), 8000);
	json_decref(j);
	json_decref(talk_line(&t));
	assert_int_equal(code_of(talk_line(&t)), 1000);

	talk_send(&t, "{\"cmd\":\"watch events\"}\n");
	talk_spin(f->e, 5);
	f->e->listener->fn(f->e->listener->arg, "lan: up");
	j = talk_line(&t);
	assert_string_equal(
	    json_string_value(json_object_get(json_object_get(j, "row"), "event")), "lan: up");
	json_decref(j);
	talk_close(&t); /* closing ends the stream */
	assert_null(f->e->listener);
	assert_int_equal(control_clients(f->s), 0);
}

/* Rows that do not fit are dropped and counted, others are served meanwhile, and in the end the
 * reader that takes nothing is closed. */
static void
test_slow(void **state)
{
	struct fixture *f = *state;
	struct talk t = talk_connect(f->e, f->path), other = talk_connect(f->e, f->path);
	int small = 4096;
	setsockopt(t.fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
	json_decref(talk_line(&t));
	talk_send(&t, "{\"cmd\":\"watch flows\"}\n");
	talk_spin(f->e, 5);
	for (int i = 0; i < 10; i++)
		assert_true(fake_flows(f->e, 4096));
	assert_int_equal(talk_ask(&other, "{\"cmd\":\"status\"}", NULL), 1000);
	unsigned rows = 0;
	uint64_t lost = 0;
	/* now read: every row was either kept or is told as lost, none is both or neither */
	unsigned given = 40960;
	while (rows + lost < given) {
		json_t *j = talk_line(&t);
		if (j == NULL) {
			fake_flows(f->e, 1); /* what was lost is told before the next row */
			given++;
			continue;
		}
		rows += json_object_get(j, "row") != NULL;
		lost += (uint64_t)json_integer_value(json_object_get(j, "lost"));
		json_decref(j);
	}
	assert_int_equal(rows + lost, given);
	assert_true(rows > 100 && lost > 10000);

	for (int i = 0; i < 10; i++)
		fake_flows(f->e, 4096);
	talk_spin(f->e, 1200); /* the deadline is 300 ms, looked at twice a second */
	assert_null(f->e->tap);
	assert_int_equal(control_clients(f->s), 1);
	talk_close(&t);
	talk_close(&other);
}

static void
test_large_answer(void **state)
{
	struct fixture *f = *state;
	struct talk t = talk_connect(f->e, f->path);
	while (f->e->n_endpoints < FAKE_MAX) {
		char line[120];
		snprintf(line, sizeof(line), "{\"cmd\":\"attach\",\"args\":[\"capture\",\"e%u\"]}",
		    f->e->n_endpoints);
		assert_int_equal(talk_ask(&t, line, NULL), 1000);
	}
	unsigned rows;
	assert_int_equal(
	    talk_ask(&t, "{\"cmd\":\"show counters\",\"args\":[\"--all\",\"lan\"]}", &rows), 1000);
	assert_int_equal(rows, C_COUNT);
	struct control_server *tight;
	static const struct control_limits small = {16 << 10, 64 << 10, 300000, 16};
	char path[100];
	snprintf(path, sizeof(path), "%s2", f->path);
	assert_int_equal(control_open(f->e, path, &small, &tight, NULL), 0);
	struct talk c = talk_connect(f->e, path);
	assert_int_equal(
	    talk_ask(&c, "{\"id\":5,\"cmd\":\"show counters\",\"args\":[\"--all\"]}", &rows), 4005);
	assert_int_equal(rows, 0);
	assert_int_equal(talk_ask(&c, "{\"cmd\":\"log\"}", &rows), 1000);
	talk_close(&c);
	control_close(&tight);
	talk_close(&t);
}

/* socat and printf: write, shut down the writing half, read the answers. */
static void
test_half_close(void **state)
{
	struct fixture *f = *state;
	struct talk t = talk_connect(f->e, f->path);
	talk_send(&t, "{\"cmd\":\"log\"}\n{\"id\":2,\"cmd\":\"status\"}\nnot a whole li");
	shutdown(t.fd, SHUT_WR);
	unsigned lines = 0;
	for (json_t *j; (j = talk_line(&t)) != NULL; json_decref(j))
		lines++;
	assert_int_equal(lines, 5); /* hello, twice row and code */
	assert_true(t.closed);
	talk_close(&t);
	assert_int_equal(control_clients(f->s), 0);
}

static void
test_idle(void **state)
{
	struct fixture *f = *state;
	struct talk t = talk_connect(f->e, f->path);
	json_decref(talk_line(&t));
	talk_spin(f->e, 1200); /* far beyond the deadline, which is for readers only */
	assert_int_equal(talk_ask(&t, "{\"cmd\":\"log\"}", NULL), 1000);
	talk_close(&t);
}

static void
test_socket_file(void **state)
{
	struct fixture *f = *state;
	struct control_server *s = NULL;
	struct err err = {0};
	char path[100], cmd[300];
	/* a live one is refused and left alone */
	assert_int_equal(control_open(f->e, f->path, &limits, &s, &err), -E_BUSY);
	assert_null(s);
	assert_non_null(strstr(err.text, "--socket"));
	struct talk t = talk_connect(f->e, f->path);
	assert_int_equal(talk_ask(&t, "{\"cmd\":\"log\"}", NULL), 1000);
	talk_close(&t);
	/* something else is not removed */
	snprintf(path, sizeof(path), "%s/file", f->dir);
	snprintf(cmd, sizeof(cmd), "echo precious > %s", path);
	assert_int_equal(system(cmd), 0);
	assert_int_equal(control_open(f->e, path, &limits, &s, &err), -E_EXIST);
	assert_int_equal(access(path, F_OK), 0);
	/* a stale one is replaced; the last part of a missing directory is made */
	snprintf(path, sizeof(path), "%s/run/sock", f->dir);
	assert_int_equal(control_open(f->e, path, &limits, &s, &err), 0);
	control_close(&s);
	assert_int_not_equal(access(path, F_OK), 0);
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	snprintf(a.sun_path, sizeof(a.sun_path), "%s", path);
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	close(fd);
	assert_int_equal(control_open(f->e, path, &limits, &s, &err), 0);
	/* closing removes only its own */
	snprintf(cmd, sizeof(cmd), "rm %s && echo other > %s", path, path);
	assert_int_equal(system(cmd), 0);
	control_close(&s);
	assert_int_equal(access(path, F_OK), 0);
	char name[200];
	memset(name, 'a', sizeof(name) - 1);
	name[0] = '/';
	name[sizeof(name) - 1] = '\0';
	assert_int_equal(control_open(f->e, name, &limits, &s, &err), -E_LIMIT);
	assert_int_equal(control_open(f->e, "/nonexistent/a/sock", &limits, &s, &err), -E_IO);
}

/* Random bytes and random cuts of right requests, over many connections. */
static void
test_noise(void **state)
{
	struct fixture *f = *state;
	static const char *const bits[] = {"{\"cmd\":\"", "status\"}", "\n", "{", "}", "[", "\"",
	    "\\u0000", "show endpoints\"}\n", "watch flows\",\"args\":[\"--count\",\"1\"]}\n",
	    "\xff", ",", "\"args\":[\"", "lan\"]", "help\"}\n", "\r"};
	srandom(7);
	for (int round = 0; round < 200; round++) {
		struct talk t = talk_connect(f->e, f->path);
		for (int i = 0; i < 40; i++) {
			talk_send(&t, bits[random() % 16]);
			if (random() % 4 == 0)
				loop_once(f->e->loop, 0);
			if (random() % 8 == 0)
				fake_flows(f->e, 3);
		}
		talk_close(&t);
		assert_int_equal(control_clients(f->s), 0);
	}
}

int
main(void)
{
#define T(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
	const struct CMUnitTest tests[] = {T(test_hello), T(test_split), T(test_pipelined),
	    T(test_garbage), T(test_oversize), T(test_max_clients), T(test_stream), T(test_slow),
	    T(test_large_answer), T(test_half_close), T(test_idle), T(test_socket_file),
	    T(test_noise)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
