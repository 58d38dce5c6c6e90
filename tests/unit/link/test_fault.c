/* SPDX-License-Identifier: Apache-2.0
 * unit/link/test_fault.c - what does not work is refused safely and said in words, at both ends. */
#include "rig.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"

#define FAST "retry_min=10ms retry_max=60ms heartbeat=300ms"

static struct link *probe, *col;
static struct batch_pool *pool;
static char key_a[64], key_b[64];

/* every warning, to count lines */
static pthread_mutex_t log_lock = PTHREAD_MUTEX_INITIALIZER;
static char log_text[32 << 10];

static void
log_tap(void *arg, enum log_level level, const char *line)
{
	(void)arg;
	(void)level;
	pthread_mutex_lock(&log_lock);
	size_t n = strlen(log_text);
	snprintf(log_text + n, sizeof(log_text) - n, "%s", line);
	pthread_mutex_unlock(&log_lock);
}

static unsigned
log_count(const char *end, const char *words)
{
	unsigned n = 0;
	char copy[sizeof(log_text)], *save = NULL;
	pthread_mutex_lock(&log_lock);
	memcpy(copy, log_text, sizeof(copy));
	pthread_mutex_unlock(&log_lock);
	for (char *l = strtok_r(copy, "\n", &save); l != NULL; l = strtok_r(NULL, "\n", &save))
		n += strstr(l, end) != NULL && strstr(l, words) != NULL;
	return n;
}

static void
log_clear(void)
{
	pthread_mutex_lock(&log_lock);
	log_text[0] = '\0';
	pthread_mutex_unlock(&log_lock);
}

static void
write_file(char path[64], const char *text, mode_t mode)
{
	snprintf(path, 64, "/tmp/flowbus-link-XXXXXX");
	int fd = mkstemp(path);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	assert_int_equal(fchmod(fd, mode), 0);
	close(fd);
}

static int
setup(void **state)
{
	char secret[64];
	(void)state;
	link_secret_new(secret);
	write_file(key_a, secret, 0600);
	link_secret_new(secret);
	write_file(key_b, secret, 0640);
	probe = node_start("probe", 101);
	col = node_start("col", 201);
	pool = batch_pool_new(64);
	log_set_tap(log_tap, NULL);
	return 0;
}

static int
teardown(void **state)
{
	(void)state;
	log_set_tap(NULL, NULL);
	link_stop(&probe);
	link_stop(&col);
	batch_pool_free(&pool);
	flow_passes(NULL, 0);
	unlink(key_a);
	unlink(key_b);
	return 0;
}

static void
encrypted_flows(void **state)
{
	struct end p, a;
	struct link_peer r;
	int port = free_port();
	(void)state;
	end_open(probe, &p, "publish tcp://127.0.0.1:%d max_delay=20ms key_file=%s " FAST, port, key_a);
	end_open(col, &a, "subscribe tcp://127.0.0.1:%d filter='app tls' key_file=%s " FAST, port,
	    key_a);
	assert_true(wait_subs(probe, 1, 5000));
	flows_push(&p, pool, 0, 20000, 1000);
	assert_true(wait_count(&a, 4000, 5000));
	assert_flows(&a, "app tls", 0, 20000);
	assert_true(peer_row(col, "up", &r));
	assert_true(r.encrypted);
	end_close(&a, false);
	end_close(&p, false);
}

/* One fault: @at_probe and @at_col are the words each side must say, exactly once. */
static void
one_fault(const char *probe_key, const char *col_key, bool push, const char *at_probe,
    const char *at_col)
{
	struct end p, a;
	struct link_peer r;
	int port = free_port();
	log_clear();
	end_open(probe, &p, "publish tcp://127.0.0.1:%d%s name=out %s%s " FAST, port,
	    push ? "?connect" : "", probe_key != NULL ? "key_file=" : "",
	    probe_key != NULL ? probe_key : "");
	end_open(col, &a, "subscribe tcp://127.0.0.1:%d%s name=in %s%s " FAST, port,
	    push ? "?bind" : "", col_key != NULL ? "key_file=" : "", col_key != NULL ? col_key : "");
	assert_true(wait_why(push ? &p : &a, push ? at_probe : at_col, 6000));
	assert_true(wait_why(push ? &a : &p, push ? at_col : at_probe, 6000));
	assert_int_equal(end_state_now(push ? &p : &a), PORT_DEGRADED);
	/* some more tries must not make more lines */
	clock_sleep_us(700000);
	assert_int_equal(log_count(" out: ", at_probe), 1);
	assert_int_equal(log_count(" in: ", at_col), 1);
	assert_true(peer_row(probe, "down", &r));
	assert_non_null(strstr(r.why, at_probe));
	assert_true(peer_row(col, "down", &r));
	assert_non_null(strstr(r.why, at_col));
	assert_false(peer_row(col, "up", &r));
	flows_push(&p, pool, 0, 100, 100);
	clock_sleep_us(100000);
	assert_int_equal(end_count(&a), 0);
	end_close(&a, false);
	end_close(&p, false);
}

static void
wrong_key(void **state)
{
	(void)state;
	one_fault(key_a, key_b, false, "keys differ", "keys differ");
}

static void
wrong_key_push(void **state)
{
	(void)state;
	one_fault(key_a, key_b, true, "keys differ", "keys differ");
}

static void
no_key_at_collector(void **state)
{
	(void)state;
	one_fault(key_a, NULL, false, "encrypted", "the other side is encrypted");
}

static void
no_key_at_probe(void **state)
{
	(void)state;
	one_fault(NULL, key_a, false, "encrypted", "the other side is not encrypted");
}

static void
no_key_at_probe_push(void **state)
{
	(void)state;
	one_fault(NULL, key_a, true, "the other side is encrypted", "encrypted");
}

struct listener {
	int fd;
	const char *say;
	pthread_t thread;
};

static void *
listener_main(void *arg)
{
	struct listener *l = arg;
	int all[64], n = 0;
	for (int c; (c = accept(l->fd, NULL, NULL)) >= 0;) {
		if (l->say != NULL)
			assert_true(write(c, l->say, strlen(l->say)) > 0);
		if (n < 64)
			all[n++] = c;
		else
			close(c);
	}
	while (n > 0)
		close(all[--n]);
	return NULL;
}

static void
listener_start(struct listener *l, int port, const char *say)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port),
	    .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	l->say = say;
	l->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(l->fd, (struct sockaddr *)&a, sizeof(a)), 0);
	assert_int_equal(listen(l->fd, 16), 0);
	pthread_create(&l->thread, NULL, listener_main, l);
}

static void
listener_stop(struct listener *l)
{
	shutdown(l->fd, SHUT_RDWR);
	close(l->fd);
	pthread_join(l->thread, NULL);
}

static void
not_a_flowbus_port(void **state)
{
	struct end a;
	struct listener l;
	int port = free_port();
	(void)state;
	listener_start(&l, port, "SSH-2.0-OpenSSH_9.2\r\n");
	end_open(col, &a, "subscribe tcp://127.0.0.1:%d " FAST, port);
	assert_true(wait_why(&a, "not a flowbus port: it says", 5000));
	assert_true(end_why_has(&a, "SSH-2.0-OpenSSH_9.2"));
	end_close(&a, false);
	listener_stop(&l);
}

static void
silent_port(void **state)
{
	struct end a;
	struct listener l;
	int port = free_port();
	(void)state;
	listener_start(&l, port, NULL);
	end_open(col, &a, "subscribe tcp://127.0.0.1:%d " FAST, port);
	assert_true(wait_why(&a, "silent", 9000));
	end_close(&a, false);
	listener_stop(&l);
}

static void
refused_then_there(void **state)
{
	struct end a, p;
	int port = free_port();
	(void)state;
	log_clear();
	end_open(col, &a, "subscribe tcp://127.0.0.1:%d name=in " FAST, port);
	assert_true(wait_why(&a, "refused or unreachable", 3000));
	clock_sleep_us(400000);
	assert_int_equal(log_count(" in: ", "no connection"), 1);
	end_open(probe, &p, "publish tcp://127.0.0.1:%d " FAST, port);
	assert_true(wait_up(col, 1, 3000));
	pthread_mutex_lock(&a.lock);
	assert_int_equal(a.state, PORT_UP); /* under the lock */
	assert_string_equal(a.why, "");
	pthread_mutex_unlock(&a.lock);
	end_close(&a, false);
	end_close(&p, false);
}

static void
names(void **state)
{
	struct end a, p;
	int port = free_port();
	(void)state;
	end_open(probe, &p, "publish tcp://127.0.0.1:%d " FAST, port);
	end_open(col, &a, "subscribe tcp://localhost:%d " FAST, port);
	assert_true(wait_up(col, 1, 5000));
	end_close(&a, false);
	end_close(&p, false);
}

static void
a_name_without_address(void **state)
{
	struct end a;
	(void)state;
	end_open(col, &a, "subscribe tcp://no.such.name.invalid:5556 encryption=none " FAST);
	assert_true(wait_why(&a, "does not resolve", 9000));
	end_close(&a, false);
}

static void
same_role(void **state)
{
	struct end a, b;
	int port = free_port();
	(void)state;
	end_open(probe, &a, "publish tcp://127.0.0.1:%d " FAST, port);
	end_open(col, &b, "publish tcp://127.0.0.1:%d?connect " FAST, port);
	assert_true(wait_why(&b, "one side must subscribe", 5000));
	end_close(&a, false);
	end_close(&b, false);
}

static void
too_many_peers(void **state)
{
	struct end p, a, b, c;
	struct err err;
	int port = free_port();
	(void)state;
	end_open(probe, &p, "publish tcp://127.0.0.1:%d max_peers=1 " FAST, port);
	end_open(col, &a, "subscribe tcp://127.0.0.1:%d name=in1 " FAST, port);
	assert_true(wait_up(probe, 1, 5000));
	end_open(col, &b, "subscribe tcp://127.0.0.1:%d name=in2 " FAST, port);
	assert_true(wait_why(&b, "too many peers", 5000));
	assert_true(wait_up(probe, 1, 1000));
	/* raised while it runs: the second comes in, a third from this address does not */
	assert_int_equal(end_set(&p, "max_peers", "10", &err), 0);
	assert_int_equal(end_set(&p, "max_peers_per_address", "2", &err), 0);
	assert_true(wait_up(probe, 2, 5000));
	end_open(col, &c, "subscribe tcp://127.0.0.1:%d name=in3 " FAST, port);
	assert_true(wait_why(&c, "too many peers", 5000));
	assert_true(wait_up(probe, 2, 1000));
	end_close(&a, false);
	end_close(&b, false);
	end_close(&c, false);
	end_close(&p, false);
}

static void
attach_refused(const char *line, const char *words)
{
	struct end e;
	struct err err;
	assert_int_not_equal(end_attach(probe, &e, &err, "%s", line), 0);
	if (strstr(err.text, words) == NULL)
		fail_msg("%s: expected '%s' in: %s", line, words, err.text);
}

static void
attach_errors(void **state)
{
	char path[64], line[300];
	struct end p;
	(void)state;
	attach_refused("publish tcp://*:5556", "without a key is refused");
	attach_refused("subscribe tcp://192.0.2.1:5556", "without a key is refused");
	attach_refused("subscribe tcp://probe.example:5556", "without a key is refused");
	attach_refused("publish tcp://127.0.0.1:5556 encryption=curve", "needs a key_file");
	attach_refused("publish tcp://127.0.0.1:70000", "1-65535");
	attach_refused("publish tcp://127.0.0.1", "no host and port");
	attach_refused("publish udp://127.0.0.1:5556", "not understood");
	attach_refused("publish tcp://::1:5556", "brackets");
	attach_refused("publish tcp://127.0.0.1:5556?listen", "bind or connect");
	attach_refused("subscribe tcp://*:5556c encryption=none", "wildcard");
	attach_refused("publish tcp://192.0.2.1:5556?bind encryption=none",
	    "not an address of this host");
	attach_refused("subscribe tcp://127.0.0.1:5556 filter='dst prot 80'", ": filter: ");
	attach_refused("publish tcp://127.0.0.1:5556 key_file=/nonexistent/key",
	    ": cannot open key file /nonexistent/key: it does not exist");
	write_file(path, "correct horse battery", 0600);
	snprintf(line, sizeof(line), "publish tcp://127.0.0.1:5556 key_file=%s", path);
	attach_refused(line, ": the secret is weak");
	chmod(path, 0644);
	attach_refused(line, "mode 0644");
	chmod(path, 0620);
	attach_refused(line, "mode 0620");
	unlink(path);
	snprintf(line, sizeof(line), "publish tcp://127.0.0.1:5556 encryption=none key_file=%s", key_a);
	attach_refused(line, "do not go together");
	end_open(probe, &p, "publish tcp://127.0.0.1:%d name=one", free_port());
	snprintf(line, sizeof(line), "%s name=two", p.conf->address);
	char again[320];
	snprintf(again, sizeof(again), "publish %s", line);
	attach_refused(again, "in use");
	attach_refused("publish tcp://127.0.0.1:5999 name=one", "endpoint of this name");
	end_close(&p, false);
	/* written out, it is allowed */
	end_open(probe, &p, "publish tcp://*:%d encryption=none", free_port());
	end_close(&p, false);
}

static void
secrets(void **state)
{
	char one[64], two[64];
	struct link_keys a, b, c;
	struct err err = {0};
	(void)state;
	link_secret_new(one);
	link_secret_new(two);
	assert_string_not_equal(one, two);
	assert_int_equal(strlen(one), 39);
	assert_int_equal(link_keys_derive(strv_of(one), &a, &err), 0);
	assert_int_equal(link_keys_derive(strv_of(one), &b, &err), 0);
	assert_int_equal(link_keys_derive(strv_of(two), &c, &err), 0);
	assert_memory_equal(&a, &b, sizeof(a));
	assert_string_not_equal(a.server_public, c.server_public);
	assert_string_not_equal(a.server_secret, a.client_secret);
	assert_int_equal(link_keys_derive(STRV("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"), &c,
	    &err), -E_KEY);
	assert_int_equal(link_keys_derive(STRV("0123456789abcdef0123456789abcde"), &c, &err), -E_KEY);
	assert_int_equal(link_keys_derive(STRV("0123456789abcdef0123456789abcdef"), &c, &err), 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(secrets),
	    cmocka_unit_test(attach_errors),
	    cmocka_unit_test(encrypted_flows),
	    cmocka_unit_test(wrong_key),
	    cmocka_unit_test(wrong_key_push),
	    cmocka_unit_test(no_key_at_collector),
	    cmocka_unit_test(no_key_at_probe),
	    cmocka_unit_test(no_key_at_probe_push),
	    cmocka_unit_test(not_a_flowbus_port),
	    cmocka_unit_test(silent_port),
	    cmocka_unit_test(refused_then_there),
	    cmocka_unit_test(names),
	    cmocka_unit_test(a_name_without_address),
	    cmocka_unit_test(same_role),
	    cmocka_unit_test(too_many_peers),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
