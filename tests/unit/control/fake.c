/* SPDX-License-Identifier: Apache-2.0 */
#include "fake.h"

#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"

static const char *const type_names[] = {"capture", "pcap", "publish", "subscribe", "json", NULL};
static const struct port_type types[] = {
    {.name = "capture", .direction = PORT_INPUT, .help = "Packets of an interface."},
    {.name = "pcap", .direction = PORT_INPUT, .help = "Packets of a file."},
    {.name = "publish", .direction = PORT_OUTPUT, .help = "Flows to collectors."},
    {.name = "subscribe", .direction = PORT_INPUT, .help = "Flows from probes."},
    {.name = "json", .direction = PORT_OUTPUT, .help = "Flows as JSON."},
};
static const struct port_type *const type_list[] = {
    &types[0], &types[1], &types[2], &types[3], &types[4]};

static void
add(struct engine *e, const char *text)
{
	char **words;
	unsigned n;
	assert_int_equal(conf_split(text, &words, &n, NULL), 0);
	assert_int_equal(conf_endpoint_parse((const char *const *)words, n, type_names,
			     &e->endpoints[e->n_endpoints++], NULL),
	    0);
	conf_words_free(&words, n);
}

struct engine *
fake_new(void)
{
	struct engine *e = calloc(1, sizeof(*e));
	e->loop = loop_new();
	e->conf = conf_new();
	add(e, "capture eth0 name=lan");
	add(e, "publish tcp://127.0.0.1:5556 name=hub");
	return e;
}

void
fake_free(struct engine **ep)
{
	struct engine *e = *ep;
	assert_null(e->tap);
	assert_null(e->listener);
	for (unsigned i = 0; i < e->n_endpoints; i++)
		conf_endpoint_free(&e->endpoints[i]);
	conf_free(&e->conf);
	loop_free(&e->loop);
	free(e);
	*ep = NULL;
}

bool
fake_flows(struct engine *e, unsigned n)
{
	uint64_t mask[BATCH_WORDS];
	if (e->tap == NULL)
		return false;
	struct batch_pool *pool = batch_pool_new(1);
	struct batch *b = batch_pool_get(pool);
	for (uint32_t i = 0; i < n; i++)
		batch_set_u(b, F_src_port, i, i);
	b->n = n;
	batch_seal(b, 1);
	struct filter_work *w = filter_work_new();
	if (filter_run(e->tap->filter, w, b, mask) > 0)
		e->tap->flow_fn(e->tap->arg, b, mask);
	filter_work_free(&w);
	batch_unref(&b);
	batch_pool_free(&pool);
	return true;
}

static const struct stats_second second = {.second = 1700000000,
    .interface = "eth0",
    .packets = 10,
    .bytes = 1000,
    .drops_kernel = 1,
    .flows_active = 3,
    .n_apps = 1,
    .apps = {{"http", 2, 500}}};

bool
fake_second(struct engine *e)
{
	if (e->tap == NULL || e->tap->second_fn == NULL)
		return false;
	e->tap->second_fn(e->tap->arg, &second);
	return true;
}

/* ---- what control calls */

struct loop *
engine_loop(struct engine *e)
{
	return e->loop;
}

struct link *
engine_link(struct engine *e)
{
	return (struct link *)(void *)e; /* never looked into */
}

const struct conf_daemon *
engine_daemon(const struct engine *e)
{
	return &e->conf->daemon;
}

const char *
engine_name(const struct engine *e)
{
	(void)e;
	return "fake";
}

int64_t
engine_started_us(const struct engine *e)
{
	(void)e;
	return clock_real_us() - 1000000;
}

const char *
engine_version(void)
{
	return "0.0.1";
}

const struct port_type *const *
engine_types(unsigned *n_out)
{
	*n_out = 5;
	return type_list;
}

const char *const *
engine_type_names(void)
{
	return type_names;
}

static struct conf_endpoint **
find(struct engine *e, struct strv name, struct err *err)
{
	for (unsigned i = 0; i < e->n_endpoints; i++)
		if (strv_eq(name, strv_of(e->endpoints[i]->name)))
			return &e->endpoints[i];
	err_set(err, E_NOENT, "no endpoint of that name");
	return NULL;
}

int
engine_attach(struct engine *e, struct conf_endpoint **conf, bool persistent, struct err *err)
{
	assert_false(persistent);
	if (find(e, strv_of((*conf)->name), NULL) != NULL)
		return err_set(err, E_EXIST, "%s exists", (*conf)->name);
	if (e->n_endpoints == FAKE_MAX)
		return err_set(err, E_FULL, "full");
	e->endpoints[e->n_endpoints++] = *conf;
	*conf = NULL;
	return 0;
}

int
engine_detach(struct engine *e, struct strv name, bool drain, struct err *err)
{
	struct conf_endpoint **x = find(e, name, err);
	if (x == NULL)
		return -E_NOENT;
	conf_endpoint_free(x);
	*x = e->endpoints[--e->n_endpoints];
	e->n_detached++;
	e->n_drained += drain;
	return 0;
}

int
engine_set(
    struct engine *e, struct strv name, const char *const *words, unsigned n, struct err *err)
{
	struct conf_endpoint **x = find(e, name, err);
	if (x == NULL)
		return -E_NOENT;
	for (unsigned i = 0; i < n; i++) {
		const char *eq = strchr(words[i], '=');
		if (eq == NULL)
			return err_set(err, E_SYNTAX, "not option=value");
		int r = conf_endpoint_set(
		    *x, (struct strv){words[i], (size_t)(eq - words[i])}, strv_of(eq + 1), err);
		if (r != 0)
			return r;
	}
	return 0;
}

int
engine_enable(struct engine *e, struct strv name, bool on, struct err *err)
{
	struct conf_endpoint **x = find(e, name, err);
	if (x == NULL)
		return -E_NOENT;
	(*x)->enabled = on;
	return 0;
}

int
engine_save(struct engine *e, unsigned *n_out, struct err *err)
{
	(void)err;
	*n_out = ++e->n_saved;
	return 0;
}

int
engine_reload(struct engine *e, uint64_t confirm_us, unsigned *changed_out, struct err *err)
{
	e->pending_us = confirm_us;
	e->n_reloads++;
	*changed_out = 2;
	return e->reload_result == 0 ? 0 : err_set(err, -e->reload_result, "one of them failed");
}

int
engine_reload_confirm(struct engine *e, struct err *err)
{
	if (e->pending_us == 0)
		return err_set(err, E_NOENT, "none is pending");
	e->pending_us = 0;
	return 0;
}

int
engine_reload_undo(struct engine *e, unsigned *changed_out, struct err *err)
{
	*changed_out = 2;
	return engine_reload_confirm(e, err);
}

uint64_t
engine_reload_pending_us(const struct engine *e)
{
	return e->pending_us;
}

static void
tested(void *arg, uint64_t now_us)
{
	static const struct strv row[] = {{"{\"proto\":6}", 11}};
	struct engine *e = arg;
	struct engine_test t = {.asked_us = e->test.last_us, .span_us = 5000000, .seen = 10,
	    .matched = 4, .codec = FRAME_ZSTD, .encoded = 4, .frames = 1, .bytes_raw = 90,
	    .bytes = 45, .rows = row, .n_rows = 1};
	(void)now_us;
	loop_timer_del(&e->test_timer);
	if (e->test.fn != NULL)
		e->test.fn(e->test.arg, &t);
	e->test.fn = NULL;
}

int
engine_filter_test(struct engine *e, struct filter **filter, const struct engine_test_ask *asked,
    struct engine_test_job **out, struct err *err)
{
	if (e->test_timer != NULL)
		return err_set(err, E_BUSY, "one is under way");
	filter_free(filter);
	e->test = *asked;
	e->test_timer = loop_timer_add(e->loop, 0, 0, tested, e);
	*out = (struct engine_test_job *)(void *)e;
	return 0;
}

void
engine_filter_test_cancel(struct engine_test_job **job)
{
	if (*job != NULL)
		((struct engine *)(void *)*job)->test.fn = NULL;
	*job = NULL;
}

int
engine_endpoints(
    struct engine *e, struct strv name, engine_endpoint_fn *fn, void *arg, struct err *err)
{
	if (name.n > 0 && find(e, name, err) == NULL)
		return -E_NOENT;
	for (unsigned i = 0; i < e->n_endpoints; i++) {
		const struct conf_endpoint *c = e->endpoints[i];
		if (name.n > 0 && !strv_eq(name, strv_of(c->name)))
			continue;
		bool is_link = strcmp(c->type, "publish") == 0;
		struct engine_endpoint ep = {.name = c->name,
		    .type = c->type,
		    .address = c->address,
		    .why = is_link ? "keys differ" : "",
		    .direction = is_link ? PORT_OUTPUT : PORT_INPUT,
		    .state = c->enabled ? is_link ? PORT_DOWN : PORT_UP : PORT_DISABLED,
		    .since_us = clock_real_us(),
		    .conf = c,
		    .end = is_link ? (struct link_end *)(void *)e : NULL};
		ep.counters[C_pkt_seen] = 7;
		ep.counters[C_flow_lost_queue] = is_link ? 5 : 0;
		fn(arg, &ep);
	}
	return 0;
}

int
engine_ledger(struct engine *e, struct strv name, engine_ledger_fn *fn, void *arg, struct err *err)
{
	if (name.n > 0 && find(e, name, err) == NULL)
		return -E_NOENT;
	struct ledger_row r = {.node = "probe-\xff", .endpoint = "lan", .peer = "", .ledger = "packets",
	    .stage = "kernel", .unit = "packets", .in = 7, .out = 5, .lost = 2,
	    .loss = {{"pkt_dropped_kernel", 2}}, .n_losses = 1, .text = ""};
	fn(arg, &r);
	r = (struct ledger_row){.node = "n", .endpoint = "lan", .peer = "", .ledger = "packets",
	    .stage = "equation", .unit = "packets", .is_equation = true, .in = 7, .out = 8,
	    .text = "a = b", .difference = -1};
	fn(arg, &r);
	return 0;
}

void
engine_losses(struct engine *e, engine_loss_fn *fn, void *arg)
{
	struct engine_loss l = {.node = "n", .endpoint = "lan", .cause = "pkt_dropped_kernel",
	    .text = "dropped", .advice = "raise ring", .unit = "packets", .n = 2, .of = 8};
	if (e->n_saved == 99) /* nothing was lost */
		return;
	fn(arg, &l);
	l.n = 300, l.of = 0, l.has_second = true, l.last_second = 4, l.cause = "pkt_no_flow";
	fn(arg, &l);
}

int
engine_detail(struct engine *e, struct strv name, port_detail_fn *fn, void *arg, struct err *err)
{
	(void)e;
	(void)name;
	(void)err;
	fn(arg, "queue", "12", true);
	fn(arg, "driver", "fake \"1\"", false);
	return 0;
}

const char *
port_state_name(enum port_state s)
{
	static const char *const names[] = {"starting", "up", "degraded", "down", "disabled"};
	return names[s];
}

struct engine_tap *
engine_tap_flows(struct engine *e, struct filter **filter, engine_flow_fn *fn, void *arg)
{
	struct engine_tap *t = calloc(1, sizeof(*t));
	assert_null(e->tap);
	*t = (struct engine_tap){e, fn, NULL, arg, *filter, 0};
	*filter = NULL;
	return e->tap = t;
}

struct engine_tap *
engine_tap_stats(struct engine *e, engine_second_fn *fn, void *arg)
{
	struct engine_tap *t = calloc(1, sizeof(*t));
	assert_null(e->tap);
	*t = (struct engine_tap){e, NULL, fn, arg, NULL, 0};
	return e->tap = t;
}

uint64_t
engine_tap_lost(const struct engine_tap *t)
{
	return t->lost;
}

void
engine_untap(struct engine_tap **t)
{
	if (*t == NULL)
		return;
	(*t)->engine->tap = NULL;
	filter_free(&(*t)->filter);
	free(*t);
	*t = NULL;
}

void
engine_seconds(struct engine *e, engine_second_fn *fn, void *arg)
{
	(void)e;
	fn(arg, &second);
}

struct engine_listener *
engine_listen(struct engine *e, engine_event_fn *fn, void *arg)
{
	e->listener = calloc(1, sizeof(*e->listener));
	*e->listener = (struct engine_listener){e, fn, arg};
	return e->listener;
}

void
engine_unlisten(struct engine_listener **l)
{
	if (*l == NULL)
		return;
	(*l)->engine->listener = NULL;
	free(*l);
	*l = NULL;
}

int
engine_link_start(struct engine *e, struct err *err)
{
	(void)e, (void)err;
	return 0;
}

int
link_key_trust(struct link *l, const char *name, struct strv key, struct err *err)
{
	(void)l;
	if (strcmp(name, "bad") == 0)
		return err_set(err, E_SYNTAX, "bad name");
	return key.n == 3 ? 1 : 0;
}

int
link_key_revoke(struct link *l, const char *name, struct strv which, struct err *err)
{
	(void)l, (void)name, (void)err;
	return which.n > 0 ? 1 : 2;
}

int
link_key_token(struct link *l, const char *name, const char *end, uint64_t for_us,
    char out[TOKEN_TEXT], struct err *err)
{
	(void)l, (void)err;
	snprintf(out, TOKEN_TEXT, "fbe1-%s-%s-%llu", name, end, (unsigned long long)for_us);
	return 0;
}

int
link_keys_each(struct link *l, link_key_fn *fn, void *arg, struct err *err)
{
	const struct link_key key = {"alice", "fbp1-x", "SHA256:aaaa", 0, 1};
	const struct link_key token = {"bob", "", "SHA256:bbbb", 60000000, 0};
	(void)l, (void)err;
	fn(arg, &key);
	fn(arg, &token);
	return 0;
}

void
link_peers(struct link *l, struct link_end *end, link_peer_fn *fn, void *arg)
{
	struct link_peer p = {.end = "hub",
	    .name = "probe-\xff",
	    .version = "1",
	    .state = "up",
	    .addresses = "10.0.0.1 fe80::1",
	    .seen = "198.51.100.7",
	    .interface = "eth0",
	    .is_probe = true,
	    .peer_started_us = clock_real_us() - 5000000,
	    .has_second = true,
	    .last = second};
	(void)l;
	(void)end;
	fn(arg, &p);
	p.has_second = false;
	p.peer_started_us = 0;
	fn(arg, &p);
}

void
link_subscriptions(struct link *l, struct link_end *end, link_subscription_fn *fn, void *arg)
{
	struct link_subscription s = {.end = "hub",
	    .peer = "c",
	    .filter = "app http",
	    .fields = "all",
	    .codec = "zstd",
	    .channel = 1,
	    .passed = 3};
	(void)l;
	(void)end;
	fn(arg, &s);
}

/* ---- the client's end */

struct talk
talk_connect(struct engine *e, const char *path)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	struct talk t = {e, socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0), buf_init(0), 0, false};
	snprintf(a.sun_path, sizeof(a.sun_path), "%s", path);
	assert_int_equal(connect(t.fd, (struct sockaddr *)&a, sizeof(a)), 0);
	return t;
}

struct talk
talk_as(struct engine *e, struct control_server *s, enum role role)
{
	int fd[2];
	const struct peer peer = {1234, 1234, 1, role};
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fd), 0);
	assert_non_null(client_new(s, fd[1], &peer));
	return (struct talk){e, fd[0], buf_init(0), 0, false};
}

void
talk_close(struct talk *t)
{
	close(t->fd);
	buf_fini(&t->got);
	talk_spin(t->e, 5); /* the daemon notices */
}

void
talk_spin(struct engine *e, unsigned ms)
{
	uint64_t end = clock_mono_us() + ms * 1000;
	do
		loop_once(e->loop, 1);
	while (clock_mono_us() < end);
}

static void
pump(struct talk *t)
{
	loop_once(t->e->loop, 1);
	uint8_t *room = buf_room(&t->got, 65536);
	ssize_t n = recv(t->fd, room, 65536, MSG_DONTWAIT);
	if (n > 0)
		t->got.n += (size_t)n;
	else if (n == 0 || errno == ECONNRESET)
		t->closed = true;
}

void
talk_send(struct talk *t, const char *text)
{
	size_t n = strlen(text);
	while (n > 0) {
		ssize_t w = send(t->fd, text, n, MSG_DONTWAIT | MSG_NOSIGNAL);
		if (w < 0 && errno != EAGAIN)
			return; /* closed by the daemon: the test sees it when it reads */
		if (w < 0) {
			pump(t);
			continue;
		}
		text += w;
		n -= (size_t)w;
	}
}

json_t *
talk_line(struct talk *t)
{
	uint64_t end = clock_mono_us() + 1000000;
	for (;;) {
		uint8_t *from = t->got.p + t->at;
		uint8_t *nl = t->got.n > t->at ? memchr(from, '\n', t->got.n - t->at) : NULL;
		if (nl != NULL) {
			json_error_t je;
			json_t *j = json_loadb((const char *)from, (size_t)(nl - from), 0, &je);
			if (j == NULL)
				fail_msg("not JSON: %.*s", (int)(nl - from), (const char *)from);
			t->at += (size_t)(nl - from) + 1;
			return j;
		}
		if (t->closed || clock_mono_us() > end)
			return NULL;
		pump(t);
	}
}

int
talk_ask(struct talk *t, const char *request, unsigned *rows)
{
	talk_send(t, request);
	talk_send(t, "\n");
	if (rows != NULL)
		*rows = 0;
	for (json_t *j; (j = talk_line(t)) != NULL; json_decref(j)) {
		const json_t *code = json_object_get(j, "code");
		if (code != NULL) {
			int v = (int)json_integer_value(code);
			json_decref(j);
			return v;
		}
		if (rows != NULL && json_object_get(j, "row") != NULL)
			(*rows)++;
	}
	return -1;
}
