/* SPDX-License-Identifier: Apache-2.0
 * link/zap.c - who may connect: the handler libzmq asks during every handshake (ZAP, RFC 27).
 *
 * It runs in its own thread, from before the first bind until the context ends, for clear-text
 * endpoints too, and answers 400 on any doubt: without a handler libzmq lets every client in. The
 * table is shared with the link thread under a mutex, held for a few dozen instructions: handshakes
 * are rare, and libzmq's I/O threads never hold it. A place granted is pending until the link
 * thread
 * has seen the peer's HELLO, or for GRANT_US. */
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "link/link_priv.h"

#define GRANT_US UINT64_C(10000000)
enum { ZAP_PARTS = 7, ZAP_REFUSALS = 16, ZAP_GRANTS = 1024 };

struct place {
	char ip[48];
	uint64_t n;
};

struct grant {
	char ip[48];
	uint64_t until_us;
};

struct domain {
	struct domain *next;
	char name[64];
	bool curve;
	char key[41]; /* z85, of a shared secret */
	struct trust *trust; /* named keys; NULL: a shared secret, or none */
	uint8_t own[KEY_SIZE];
	char *allow;
	uint64_t max_peers, max_per_address, n_up;
	struct place *up;
	unsigned n_places, cap_places;
	struct grant grants[ZAP_GRANTS];
	struct {
		char ip[48];
		char who[KEY_SHORT];
		char why[160];
		bool told;
	} refused[ZAP_REFUSALS];
	unsigned next_refused;
};

struct zap {
	void *sock;
	pthread_t thread;
	pthread_mutex_t lock;
	struct domain *domains;
};

static struct domain *
domain_find(struct zap *z, const char *name)
{
	struct domain *d = z->domains;
	while (d != NULL && strcmp(d->name, name) != 0)
		d = d->next;
	return d;
}

static void
domain_free(struct domain *d)
{
	free(d->up);
	free(d->allow);
	free(d);
}

static struct place *
place_find(struct domain *d, const char *ip)
{
	for (unsigned i = 0; i < d->n_places; i++)
		if (strcmp(d->up[i].ip, ip) == 0)
			return &d->up[i];
	return NULL;
}

/* As address_peer() says it: IPv4 in IPv6 is IPv4, a Unix socket (":uid:gid:pid") has none. */
static void
plain_ip(char *ip)
{
	if (strncmp(ip, "::ffff:", 7) == 0 && strchr(ip, '.') != NULL)
		memmove(ip, ip + 7, strlen(ip + 7) + 1);
	else if (ip[0] == ':' && ip[1] != ':')
		ip[0] = '\0';
}

/* What one request is about, and what comes of it. */
struct knock {
	const char *ip, *mechanism;
	char key[41];            /* z85; "" none */
	const uint8_t *raw;
	const char *status;      /* ZAP's */
	struct trust_answer who; /* of a named key */
	char user[64];
};

/* NULL: let in (and a place is taken); else why not. */
static const char *
place(struct domain *d, struct knock *k)
{
	uint64_t now = clock_mono_us(), pending = 0, pending_ip = 0;
	const char *ip = k->ip;
	struct grant *spare = NULL;
	for (unsigned i = 0; i < ZAP_GRANTS; i++) {
		struct grant *g = &d->grants[i];
		if (g->until_us <= now) {
			spare = g;
			continue;
		}
		pending++;
		pending_ip += strcmp(g->ip, ip) == 0;
	}
	const struct place *p = place_find(d, ip);
	k->status = "500";
	/* one above the limit may come in: its HELLO is refused in words it can show */
	if (spare == NULL)
		return "too many connections at once, it may come again";
	if (d->n_up + pending > d->max_peers)
		return "too many peers (raise max_peers)";
	if (ip[0] != '\0' && (p != NULL ? p->n : 0) + pending_ip >= d->max_per_address)
		return "too many peers from this address (raise max_peers_per_address)";
	snprintf(spare->ip, sizeof(spare->ip), "%s", ip);
	spare->until_us = now + GRANT_US;
	k->status = "200";
	return NULL;
}

/* As above, from the key on. */
static const char *
verdict(struct domain *d, struct knock *k)
{
	k->status = "400";
	if (strcmp(k->mechanism, d->curve ? "CURVE" : "NULL") != 0)
		return "its security mechanism is not the one of this endpoint";
	if (d->curve && k->key[0] == '\0')
		return "it showed no key";
	if (d->curve && d->trust == NULL && strcmp(k->key, d->key) != 0)
		return "its key is not trusted";
	if (d->trust != NULL) {
		const struct trust_question q = {k->raw, d->own, d->allow, k->ip};
		enum trust_verdict v = trust_check(d->trust, &q, &k->who);
		if (v == TRUST_NO)
			return k->who.why;
		memcpy(k->user, v == TRUST_ENROL ? ZAP_ENROLLING : k->who.name,
		    v == TRUST_ENROL ? sizeof(ZAP_ENROLLING) : sizeof(k->who.name));
		if (v == TRUST_ENROL) { /* it has its own bound and is no peer */
			k->status = "200";
			return NULL;
		}
	} else {
		snprintf(k->user, sizeof(k->user), "%s", "shared");
	}
	return place(d, k);
}

static void
note_refused(struct domain *d, const struct knock *k, const char *why)
{
	unsigned i = d->next_refused++ % ZAP_REFUSALS;
	snprintf(d->refused[i].ip, sizeof(d->refused[i].ip), "%s", k->ip);
	snprintf(d->refused[i].why, sizeof(d->refused[i].why), "refused: %s", why);
	snprintf(d->refused[i].who, sizeof(d->refused[i].who), "%.*s", KEY_SHORT - 1,
	    k->who.print[0] != '\0' ? k->who.print + 7 : "");
	d->refused[i].told = false;
}

/* ZAP's metadata: octet length and name, 4 octets length and value. */
static size_t
put_metadata(uint8_t *out, const char *name, const char *value)
{
	size_t n = strlen(name), v = strlen(value);
	out[0] = (uint8_t)n;
	memcpy(out + 1, name, n);
	memcpy(out + 1 + n, (const uint8_t[]){0, 0, 0, (uint8_t)v}, 4);
	memcpy(out + 5 + n, value, v);
	return 5 + n + v;
}

/* parts: version, request id, domain, address, routing id, mechanism, client key */
static void
answer(struct zap *z, char part[ZAP_PARTS][64], const size_t len[ZAP_PARTS], unsigned n)
{
	struct knock k = {.ip = part[3], .mechanism = part[5], .raw = (const uint8_t *)part[6],
	    .status = "400"};
	const char *why = "unknown endpoint";
	uint8_t more[64];
	size_t n_more = 0;
	if (n == ZAP_PARTS && len[6] == 32)
		zmq_z85_encode(k.key, k.raw, 32);
	plain_ip(part[3]);
	pthread_mutex_lock(&z->lock);
	struct domain *d = n >= 6 && strcmp(part[0], "1.0") == 0 ? domain_find(z, part[2]) : NULL;
	if (d != NULL) {
		why = verdict(d, &k);
		if (why != NULL)
			note_refused(d, &k, why);
		else if (d->trust != NULL)
			n_more = put_metadata(more, "Fb-Key", k.key);
	}
	pthread_mutex_unlock(&z->lock);
	const char *user = why == NULL ? k.user : "", *text = why == NULL ? "OK" : why;
	zmq_send(z->sock, "1.0", 3, ZMQ_SNDMORE);
	zmq_send(z->sock, part[1], len[1], ZMQ_SNDMORE);
	zmq_send(z->sock, k.status, 3, ZMQ_SNDMORE);
	zmq_send(z->sock, text, strlen(text), ZMQ_SNDMORE);
	zmq_send(z->sock, user, strlen(user), ZMQ_SNDMORE);
	zmq_send(z->sock, more, n_more, 0);
}

static void *
zap_main(void *arg)
{
	struct zap *z = arg;
	for (;;) {
		char part[ZAP_PARTS][64] = {{0}};
		size_t len[ZAP_PARTS] = {0};
		unsigned n = 0;
		for (bool more = true; more;) {
			zmq_msg_t m;
			zmq_msg_init(&m);
			if (zmq_msg_recv(&m, z->sock, 0) < 0) {
				zmq_msg_close(&m);
				if (zmq_errno() == EINTR)
					continue;
				zmq_close(z->sock);
				return NULL;
			}
			/* an over-long part is cut and matches nothing */
			if (n < ZAP_PARTS) {
				len[n] = zmq_msg_size(&m) < 63 ? zmq_msg_size(&m) : 63;
				memcpy(part[n], zmq_msg_data(&m), len[n]);
			}
			n++;
			more = zmq_msg_more(&m) != 0;
			zmq_msg_close(&m);
		}
		answer(z, part, len, n);
	}
}

int
zap_start(void *zmq, struct zap **out, struct err *err)
{
	struct zap *z = calloc(1, sizeof(*z));
	if (z == NULL)
		return err_set(err, E_NOMEM, "link: out of memory");
	pthread_mutex_init(&z->lock, NULL);
	z->sock = zmq_socket(zmq, ZMQ_REP);
	if (z->sock == NULL || zmq_bind(z->sock, "inproc://zeromq.zap.01") != 0 ||
	    pthread_create(&z->thread, NULL, zap_main, z) != 0) {
		if (z->sock != NULL)
			zmq_close(z->sock);
		pthread_mutex_destroy(&z->lock);
		free(z);
		return err_sys(err, E_SYS, "link: cannot start the handler that checks keys");
	}
	*out = z;
	return 0;
}

void
zap_stop(struct zap **zp)
{
	struct zap *z = *zp;
	if (z == NULL)
		return;
	*zp = NULL;
	pthread_join(z->thread, NULL);
	while (z->domains != NULL) {
		struct domain *d = z->domains;
		z->domains = d->next;
		domain_free(d);
	}
	pthread_mutex_destroy(&z->lock);
	free(z);
}

int
zap_allow(struct zap *z, const char *domain, const char *client_key, uint64_t max_peers,
    uint64_t max_per_address)
{
	struct domain *d = calloc(1, sizeof(*d));
	if (d == NULL)
		return -E_NOMEM;
	snprintf(d->name, sizeof(d->name), "%s", domain);
	d->curve = client_key == NULL || client_key[0] != '\0';
	if (client_key != NULL)
		snprintf(d->key, sizeof(d->key), "%s", client_key);
	d->max_peers = max_peers;
	d->max_per_address = max_per_address;
	pthread_mutex_lock(&z->lock);
	d->next = z->domains;
	z->domains = d;
	pthread_mutex_unlock(&z->lock);
	return 0;
}

int
zap_named(struct zap *z, const char *domain, struct trust *t, const uint8_t key[KEY_SIZE],
    const char *allow)
{
	char *copy = strv_dup(strv_of(allow));
	if (copy == NULL)
		return -E_NOMEM;
	pthread_mutex_lock(&z->lock);
	struct domain *d = domain_find(z, domain);
	if (d != NULL) {
		char *old = d->allow;
		d->allow = copy;
		copy = old;
		memcpy(d->own, key, KEY_SIZE);
		d->trust = t;
	}
	pthread_mutex_unlock(&z->lock);
	free(copy);
	return 0;
}

void
zap_limits(struct zap *z, const char *domain, uint64_t max_peers, uint64_t max_per_address)
{
	pthread_mutex_lock(&z->lock);
	struct domain *d = domain_find(z, domain);
	if (d != NULL) {
		d->max_peers = max_peers;
		d->max_per_address = max_per_address;
	}
	pthread_mutex_unlock(&z->lock);
}

void
zap_forget(struct zap *z, const char *domain)
{
	pthread_mutex_lock(&z->lock);
	for (struct domain **at = &z->domains; *at != NULL; at = &(*at)->next) {
		struct domain *d = *at;
		if (strcmp(d->name, domain) != 0)
			continue;
		*at = d->next;
		domain_free(d);
		break;
	}
	pthread_mutex_unlock(&z->lock);
}

static void
count_up(struct domain *d, const char *ip)
{
	struct place *p = place_find(d, ip);
	d->n_up++;
	for (unsigned i = 0; i < ZAP_GRANTS; i++) {
		if (d->grants[i].until_us == 0 || strcmp(d->grants[i].ip, ip) != 0)
			continue;
		d->grants[i].until_us = 0;
		break;
	}
	if (p == NULL && d->n_places == d->cap_places) {
		unsigned cap = d->cap_places == 0 ? 8 : d->cap_places * 2;
		struct place *up = realloc(d->up, cap * sizeof(*up));
		if (up == NULL)
			return;
		d->up = up;
		d->cap_places = cap;
	}
	if (p == NULL) {
		p = &d->up[d->n_places++];
		*p = (struct place){0};
		snprintf(p->ip, sizeof(p->ip), "%s", ip);
	}
	p->n++;
}

void
zap_count(struct zap *z, const char *domain, const char *ip, int by)
{
	pthread_mutex_lock(&z->lock);
	struct domain *d = domain_find(z, domain);
	if (d != NULL && by > 0) {
		count_up(d, ip);
	} else if (d != NULL && d->n_up > 0) {
		struct place *p = place_find(d, ip);
		d->n_up--;
		if (p != NULL && --p->n == 0)
			*p = d->up[--d->n_places];
	}
	pthread_mutex_unlock(&z->lock);
}

void
zap_reason(struct zap *z, const char *domain, char ip[48], char who[KEY_SHORT], char why[160])
{
	int found = -1;
	who[0] = '\0';
	pthread_mutex_lock(&z->lock);
	struct domain *d = domain_find(z, domain);
	for (unsigned k = 0; d != NULL && k < ZAP_REFUSALS; k++) {
		unsigned i =
		    (d->next_refused + ZAP_REFUSALS - 1 - k) % ZAP_REFUSALS; /* newest first */
		if (d->refused[i].why[0] == '\0' || (ip[0] != '\0' && strcmp(d->refused[i].ip, ip) != 0))
			continue;
		if (found < 0 || !d->refused[i].told)
			found = (int)i;
	}
	if (found >= 0) {
		memcpy(ip, d->refused[found].ip, sizeof(d->refused[found].ip));
		memcpy(who, d->refused[found].who, sizeof(d->refused[found].who));
		memcpy(why, d->refused[found].why, sizeof(d->refused[found].why));
		d->refused[found].told = true;
	}
	pthread_mutex_unlock(&z->lock);
}

/* One handshake over an abstract Unix socket; the monitor's verdict, 0 when none came. */
static uint32_t
handshake(struct link *l, const struct link_keys *k, const char *pub, const char *secret)
{
	char where[64], mon_name[64];
	uint64_t id;
	uint32_t verdict_event = 0;
	random_bytes(&id, sizeof(id));
	snprintf(where, sizeof(where), "ipc://@flowbus-%016llx", (unsigned long long)id);
	snprintf(mon_name, sizeof(mon_name), "inproc://self-test.%llu",
	    (unsigned long long)l->next_monitor++);
	void *server = zmq_socket(l->zmq, ZMQ_ROUTER), *client = zmq_socket(l->zmq, ZMQ_DEALER);
	void *mon = zmq_socket(l->zmq, ZMQ_PAIR);
	if (server == NULL || client == NULL || mon == NULL)
		goto out;
	sock_set(server, ZMQ_LINGER, 0);
	sock_set(client, ZMQ_LINGER, 0);
	sock_set(mon, ZMQ_LINGER, 0);
	sock_set(client, ZMQ_RECONNECT_IVL, -1);
	sock_set(server, ZMQ_CURVE_SERVER, 1);
	sock_set(server, SOCK_ZAP_ENFORCE_DOMAIN, 1);
	zmq_setsockopt(server, ZMQ_ZAP_DOMAIN, "self-test", 9);
	zmq_setsockopt(server, ZMQ_CURVE_SECRETKEY, k->server_secret, 41);
	zmq_setsockopt(client, ZMQ_CURVE_SERVERKEY, k->server_public, 41);
	zmq_setsockopt(client, ZMQ_CURVE_PUBLICKEY, pub, 41);
	zmq_setsockopt(client, ZMQ_CURVE_SECRETKEY, secret, 41);
	int events = ZMQ_EVENT_HANDSHAKE_SUCCEEDED | ZMQ_EVENT_HANDSHAKE_FAILED_AUTH |
	    ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL | ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL;
	if (zmq_socket_monitor(server, mon_name, events) != 0 || zmq_connect(mon, mon_name) != 0 ||
	    zmq_bind(server, where) != 0 || zmq_connect(client, where) != 0)
		goto out;
	zmq_pollitem_t item = {mon, 0, ZMQ_POLLIN, 0};
	uint16_t event = 0;
	uint8_t b[16];
	if (zmq_poll(&item, 1, 2000) == 1 && zmq_recv(mon, b, sizeof(b), ZMQ_DONTWAIT) >= 6) {
		memcpy(&event, b, 2);
		verdict_event = event;
	}
	zmq_socket_monitor(server, NULL, 0);
out:
	if (server != NULL)
		zmq_close(server);
	if (client != NULL)
		zmq_close(client);
	if (mon != NULL)
		zmq_close(mon);
	return verdict_event;
}

int
zap_self_test(struct link *l, struct err *err)
{
	struct link_keys k;
	char pub[41], secret[41];
	if (zmq_curve_keypair(k.server_public, k.server_secret) != 0 ||
	    zmq_curve_keypair(k.client_public, k.client_secret) != 0 ||
	    zmq_curve_keypair(pub, secret) != 0)
		return err_set(err, E_UNSUP, "link: this libzmq is built without CURVE encryption");
	if (zap_allow(l->zap, "self-test", k.client_public, 8, 8) != 0)
		return err_set(err, E_NOMEM, "link: out of memory");
	uint32_t good = handshake(l, &k, k.client_public, k.client_secret);
	uint32_t bad = handshake(l, &k, pub, secret);
	zap_forget(l->zap, "self-test");
	link_keys_wipe(&k);
	if (good != ZMQ_EVENT_HANDSHAKE_SUCCEEDED || bad != ZMQ_EVENT_HANDSHAKE_FAILED_AUTH)
		return err_set(err, E_KEY, "link: self-test failed: a trusted key gave event 0x%x, an "
		    "untrusted one 0x%x; not opening any link", (unsigned)good, (unsigned)bad);
	return 0;
}
