/* SPDX-License-Identifier: Apache-2.0
 * unit/link/rig.c */
#include "rig.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/hash.h"
#include "filter/filter.h"

static const char *const types[] = {"publish", "subscribe", NULL};
static const char *const apps[] = {"http", "tls", "dns", "ssh", "ntp"};

double
slowness(void)
{
	const char *text = getenv("FLOWBUS_SLOW");
	double x = text != NULL ? strtod(text, NULL) : 1;
	return x >= 1 ? x : 1;
}

struct link *
node_start(const char *name, uint64_t node_id)
{
	struct link_host h = {.version = "0.1.0", .node_id = node_id, .started_us = clock_real_us(),
	    .addresses = "192.0.2.7 2001:db8::7", .interface = "eth0 eth1", .speed_bps = 20000000000};
	struct link *l = NULL;
	struct err err = {0};
	snprintf(h.name, sizeof(h.name), "%s", name);
	if (link_start(&h, &l, &err) != 0)
		fail_msg("%s", err.text);
	return l;
}

static void
host_push(void *ctx, struct batch **b, bool may_wait)
{
	struct end *e = ctx;
	struct value v;
	(void)may_wait;
	pthread_mutex_lock(&e->lock);
	for (uint32_t r = 0; r < (*b)->n; r++) {
		assert_true(batch_value(*b, F_bytes, r, &v));
		assert_true(e->n_ids < IDS_MAX);
		e->ids[e->n_ids++] = v.u;
		if (batch_value(*b, F_probe, r, &v))
			snprintf(e->probe, sizeof(e->probe), "%.*s", (int)v.text.n, v.text.p);
	}
	if (e->hold) {
		e->held[e->n_held++] = *b;
		*b = NULL;
	}
	pthread_mutex_unlock(&e->lock);
	batch_unref(b);
}

static void
host_second(void *ctx, const struct stats_second *s)
{
	struct end *e = ctx;
	pthread_mutex_lock(&e->lock);
	e->second = *s;
	e->n_seconds++;
	pthread_mutex_unlock(&e->lock);
}

static void
host_state(void *ctx, enum port_state state, const char *why)
{
	struct end *e = ctx;
	pthread_mutex_lock(&e->lock);
	e->state = state;
	e->n_states++;
	snprintf(e->why, sizeof(e->why), "%s", why);
	pthread_mutex_unlock(&e->lock);
}

static __attribute__((format(printf, 4, 0))) int
attach_v(struct link *l, struct end *e, struct err *err, const char *fmt, va_list ap)
{
	char text[600], **words;
	unsigned n;
	*e = (struct end){.link = l};
	*err = (struct err){0};
	vsnprintf(text, sizeof(text), fmt, ap);
	if (conf_split(text, &words, &n, err) != 0)
		fail_msg("%s", err->text);
	int rc = conf_endpoint_parse((const char *const *)words, n, types, &e->conf, err);
	conf_words_free(&words, n);
	if (rc != 0)
		fail_msg("%s: %s", text, err->text);
	pthread_mutex_init(&e->lock, NULL);
	e->ids = malloc(IDS_MAX * sizeof(*e->ids));
	assert_non_null(e->ids);
	e->host = (struct port_host){.ctx = e, .name = e->conf->name, .number = 7, .link = l,
	    .push = host_push, .second = host_second, .state = host_state};
	rc = link_attach(l, e->conf, &e->host, &e->end, err);
	if (rc != 0) {
		conf_endpoint_free(&e->conf);
		free(e->ids);
		e->ids = NULL;
	}
	return rc;
}

int
end_attach(struct link *l, struct end *e, struct err *err, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	int rc = attach_v(l, e, err, fmt, ap);
	va_end(ap);
	return rc;
}

void
end_open(struct link *l, struct end *e, const char *fmt, ...)
{
	struct err err;
	va_list ap;
	va_start(ap, fmt);
	int rc = attach_v(l, e, &err, fmt, ap);
	va_end(ap);
	if (rc != 0)
		fail_msg("%s", err.text);
}

void
end_close(struct end *e, bool drain)
{
	assert_ledger(e->link);
	link_detach(e->link, &e->end, drain, clock_mono_us() + 5000000);
	end_hold(e, false);
	conf_endpoint_free(&e->conf);
	pthread_mutex_destroy(&e->lock);
	free(e->ids);
}

int
end_set(struct end *e, const char *option, const char *value, struct err *err)
{
	*err = (struct err){0};
	assert_int_equal(conf_endpoint_set(e->conf, strv_of(option), strv_of(value), err), 0);
	return link_set(e->end, e->conf, option, err);
}

void
end_hold(struct end *e, bool hold)
{
	pthread_mutex_lock(&e->lock);
	e->hold = hold;
	while (!hold && e->n_held > 0)
		batch_unref(&e->held[--e->n_held]);
	pthread_mutex_unlock(&e->lock);
}

size_t
end_count(struct end *e)
{
	pthread_mutex_lock(&e->lock);
	size_t n = e->n_ids;
	pthread_mutex_unlock(&e->lock);
	return n;
}

uint64_t
end_counter(struct end *e, enum counter c)
{
	uint64_t sum[C_COUNT] = {0};
	link_counters(e->end, sum);
	return sum[c];
}

enum port_state
end_state_now(struct end *e)
{
	pthread_mutex_lock(&e->lock);
	enum port_state state = e->state;
	pthread_mutex_unlock(&e->lock);
	return state;
}

unsigned
end_seconds(struct end *e)
{
	pthread_mutex_lock(&e->lock);
	unsigned n = e->n_seconds;
	pthread_mutex_unlock(&e->lock);
	return n;
}

bool
end_why_has(struct end *e, const char *words)
{
	pthread_mutex_lock(&e->lock);
	bool has = strstr(e->why, words) != NULL;
	pthread_mutex_unlock(&e->lock);
	return has;
}

static void
fill_row(struct batch *b, uint32_t r, uint64_t id)
{
	uint8_t v4[4] = {10, 0, (uint8_t)(id >> 8), (uint8_t)id};
	struct addr src = addr_v4(v4);
	v4[0] = 192;
	struct addr dst = addr_v4(v4);
	batch_set_addr(b, F_src_addr, r, &src);
	batch_set_addr(b, F_dst_addr, r, &dst);
	batch_set_u(b, F_src_port, r, 1024 + id * 7919 % 60000);
	batch_set_u(b, F_dst_port, r, id % 3 == 0 ? 443 : 80);
	batch_set_u(b, F_proto, r, id % 4 == 0 ? 17 : 6);
	batch_set_u(b, F_bytes, r, id);
	batch_set_u(b, F_packets, r, 1 + id % 9);
	batch_set_time(b, F_start, r, 1700000000000000 + (int64_t)id * 100);
	batch_set_time(b, F_end, r, 1700000000000000 + (int64_t)id * 100 + 5000);
	batch_set_text(b, F_app, r, strv_of(apps[id % 5]));
}

void
flows_push(struct end *e, struct batch_pool *pool, uint64_t from, uint64_t n, uint32_t rows)
{
	while (n > 0) {
		struct batch *b;
		while ((b = batch_pool_get(pool)) == NULL)
			clock_sleep_us(500);
		for (b->n = 0; b->n < rows && n > 0; b->n++, n--)
			fill_row(b, b->n, from++);
		batch_seal(b, clock_mono_us());
		while (!link_take(e->end, b))
			clock_sleep_us(500);
	}
}

bool
flows_offer(struct end *e, struct batch_pool *pool, uint64_t from, uint32_t rows)
{
	struct batch *b;
	while ((b = batch_pool_get(pool)) == NULL)
		clock_sleep_us(500);
	for (b->n = 0; b->n < rows; b->n++)
		fill_row(b, b->n, from + b->n);
	batch_seal(b, clock_mono_us());
	if (link_take(e->end, b))
		return true;
	link_lost(e->end, rows);
	batch_unref(&b);
	return false;
}

bool
flow_passes(const char *filter, uint64_t id)
{
	static struct filter *f;
	static struct filter_work *w;
	static struct batch_pool *pool;
	static char text[256] = "\1";
	uint64_t mask[BATCH_WORDS];
	if (filter == NULL) { /* end of the tests: free what was kept */
		filter_free(&f);
		filter_work_free(&w);
		batch_pool_free(&pool);
		text[0] = '\1';
		return false;
	}
	if (strcmp(text, filter) != 0) {
		filter_free(&f);
		assert_int_equal(filter_compile(strv_of(filter), &f, NULL), 0);
		snprintf(text, sizeof(text), "%s", filter);
	}
	if (w == NULL)
		w = filter_work_new();
	if (pool == NULL)
		pool = batch_pool_new(1);
	struct batch *b = batch_pool_get(pool);
	fill_row(b, 0, id);
	b->n = 1;
	batch_seal(b, 0);
	bool pass = filter_run(f, w, b, mask) == 1;
	batch_unref(&b);
	return pass;
}

static int
by_value(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
	return x < y ? -1 : x > y;
}

void
assert_flows(struct end *e, const char *filter, uint64_t from, uint64_t to)
{
	size_t k = 0;
	pthread_mutex_lock(&e->lock);
	qsort(e->ids, e->n_ids, sizeof(*e->ids), by_value);
	for (uint64_t id = from; id < to; id++) {
		if (!flow_passes(filter, id))
			continue;
		if (k >= e->n_ids || e->ids[k] != id)
			fail_msg("at %zu of %zu: expected flow %llu, got %llu", k, e->n_ids,
			    (unsigned long long)id, k < e->n_ids ? (unsigned long long)e->ids[k] : 0);
		k++;
	}
	assert_int_equal(k, e->n_ids);
	pthread_mutex_unlock(&e->lock);
}

bool
wait_count(struct end *e, size_t n, int ms)
{
	ms = (int)(ms * slowness());
	for (int i = 0; i < ms / 5 && end_count(e) < n; i++)
		clock_sleep_us(5000);
	return end_count(e) >= n;
}

static void
count_up(void *arg, const struct link_peer *p)
{
	*(unsigned *)arg += strcmp(p->state, "up") == 0;
}

bool
wait_up(struct link *l, unsigned peers, int ms)
{
	unsigned n = 0;
	for (int i = 0; i < (int)(ms * slowness()) / 5; i++) {
		n = 0;
		link_peers(l, NULL, count_up, &n);
		if (n == peers)
			return true;
		clock_sleep_us(5000);
	}
	return false;
}

static void
count_subs(void *arg, const struct link_subscription *s)
{
	*(unsigned *)arg += !s->is_parked;
}

bool
wait_subs(struct link *l, unsigned subs, int ms)
{
	for (int i = 0; i < (int)(ms * slowness()) / 5; i++) {
		unsigned n = 0;
		link_subscriptions(l, NULL, count_subs, &n);
		if (n == subs)
			return true;
		clock_sleep_us(5000);
	}
	return false;
}

static void
count_open(void *arg, const struct link_subscription *s)
{
	*(uint64_t *)arg += s->passed - s->acked - s->lost;
}

bool
wait_acked(struct link *l, int ms)
{
	for (int i = 0; i < (int)(ms * slowness()) / 5; i++) {
		uint64_t n = 0;
		link_subscriptions(l, NULL, count_open, &n);
		if (n == 0)
			return true;
		clock_sleep_us(5000);
	}
	return false;
}

bool
wait_why(struct end *e, const char *words, int ms)
{
	for (int i = 0; i < (int)(ms * slowness()) / 5; i++) {
		if (end_why_has(e, words))
			return true;
		clock_sleep_us(5000);
	}
	return false;
}

struct pick {
	const char *key;
	void *out;
	bool found;
};

static void
pick_sub(void *arg, const struct link_subscription *s)
{
	struct pick *p = arg;
	if (p->key[0] != '\0' && strcmp(p->key, s->peer) != 0)
		return;
	*(struct link_subscription *)p->out = *s;
	p->found = true;
}

bool
sub_row(struct link *l, const char *peer, struct link_subscription *out)
{
	struct pick p = {peer, out, false};
	link_subscriptions(l, NULL, pick_sub, &p);
	return p.found;
}

static void
pick_peer(void *arg, const struct link_peer *r)
{
	struct pick *p = arg;
	if (strcmp(p->key, r->state) != 0)
		return;
	*(struct link_peer *)p->out = *r;
	p->found = true;
}

bool
peer_row(struct link *l, const char *state, struct link_peer *out)
{
	struct pick p = {state, out, false};
	link_peers(l, NULL, pick_peer, &p);
	return p.found;
}

static void
check_intake(void *arg, const struct link_intake *i)
{
	(void)arg;
	assert_int_equal(i->taken, i->handed + i->queued);
}

static void
check_subscription(void *arg, const struct link_subscription *s)
{
	uint64_t lost = 0;
	(void)arg;
	if (s->is_cursor)
		assert_int_equal(s->offered, s->filtered + s->passed);
	assert_int_equal(s->passed, s->acked + s->in_flight + s->queued + s->spooled + s->lost);
	for (int i = 0; i < GAP_CAUSES; i++)
		lost += s->lost_by[i];
	if (s->is_cursor)
		assert_int_equal(lost, s->lost);
}

/* What was received here; and the probe's own ledger, as it came. */
static void
check_account(void *arg, const struct link_account *a)
{
	const struct link_flows *f = &a->told;
	uint64_t lost = 0;
	(void)arg;
	assert_int_equal(a->received, a->decoded + a->lost_decode + a->waiting + a->returned);
	for (int i = 0; i < GAP_CAUSES; i++)
		lost += f->lost_by[i];
	assert_int_equal(f->offered, f->filtered + f->passed);
	assert_int_equal(f->passed, f->acked + f->in_flight + f->queued + f->spooled + lost);
}

void
assert_ledger(struct link *l)
{
	const struct link_ledger check = {check_intake, check_subscription, check_account, NULL};
	assert_true(link_ledger(l, NULL, &check));
}

static void
pick_account(void *arg, const struct link_account *a)
{
	*(struct link_account *)arg = *a;
}

static void
no_intake(void *arg, const struct link_intake *i)
{
	(void)arg, (void)i;
}

static void
no_subscription(void *arg, const struct link_subscription *s)
{
	(void)arg, (void)s;
}

void
account_row(struct end *e, struct link_account *out)
{
	const struct link_ledger pick = {no_intake, no_subscription, pick_account, out};
	*out = (struct link_account){0};
	assert_true(link_ledger(e->link, e->end, &pick));
}

int
free_port(void)
{
	for (;;) { /* anywhere: other tests look for one at the same time */
		uint16_t r;
		random_bytes(&r, sizeof(r));
		int port = 20000 + r % 12000;
		struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port),
		    .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
		int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
		int rc = bind(fd, (struct sockaddr *)&a, sizeof(a));
		close(fd);
		if (rc == 0)
			return port;
	}
}

bool
wait_offered(struct link *l, const char *peer, uint64_t n, int ms)
{
	struct link_subscription s;
	for (int i = 0; i < (int)(ms * slowness()) / 5; i++) {
		if (sub_row(l, peer, &s) && s.offered >= n)
			return true;
		clock_sleep_us(5000);
	}
	return false;
}
