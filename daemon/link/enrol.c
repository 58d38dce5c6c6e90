/* SPDX-License-Identifier: Apache-2.0
 * link/enrol.c - a new peer shows a one-time token, and both sides trust each other's keys.
 *
 * The connecting side knows the listening side's key from the token, so it talks to nobody else.
 * The ZAP handler lets its unknown key in, while a token is outstanding, as nobody: ENROL is all
 * such a connection may say. Either side stores the other's key aside (job.c), then the connecting
 * side connects again, now as a peer with a name. A key that is trusted already is told so: an
 * answer that was lost on the way does not strand anybody. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/crypto.h>

#include "base/clock.h"
#include "link/link_priv.h"

#define LOOK_US UINT64_C(10000)

/** Who showed a token that is good; its key is being stored. */
struct enrolment {
	struct enrolment *next;
	uint8_t rid[RID_MAX];
	size_t rid_len;
	uint64_t peer; /* its session number */
	int fd;
	char seen[64], ip[48];
	uint8_t key[KEY_SIZE];
	struct token_taken taken;
	struct trust_job *job;
};

/* ---- the listening side */

static void
say(struct link_end *e, const struct enrolment *n, struct msg *m)
{
	struct buf *out = &e->link->out;
	m->to = n->peer;
	do
		random_bytes(&m->from, sizeof(m->from));
	while (m->from == 0);
	buf_reset(out);
	msg_encode(m, out);
	if (out->err == 0 &&
	    zmq_send(e->sock, n->rid, n->rid_len, ZMQ_DONTWAIT | ZMQ_SNDMORE) >= 0 &&
	    zmq_send(e->sock, out->p, out->n, ZMQ_DONTWAIT) >= 0)
		counter_add(&e->counters, C_msg_out, 1);
	sock_quiet_end(e, n->fd, n->seen);
}

static void
say_no(struct link_end *e, const struct enrolment *n, const char *why, const char *detail)
{
	char text[160], where[64], print[KEY_PRINT], who[KEY_SHORT];
	struct msg m = MSG(M_REFUSED, 0, 0);
	snprintf(text, sizeof(text), "enrolment failed: %.100s", why);
	msg_num(&m, MI_code, E_KEY);
	msg_text(&m, MI_text, strv_of(text));
	say(e, n, &m);
	counter_add(&e->counters, C_peer_refused, 1);
	trust_print(n->key, print);
	snprintf(who, sizeof(who), "%.*s", KEY_SHORT - 1, print + 7);
	fault_place(n->ip, who, where);
	if (detail[0] != '\0')
		snprintf(text, sizeof(text), "enrolment failed: %.130s", detail);
	fault_note(e, where, true, text);
}

static void
say_yes(struct link_end *e, const struct enrolment *n, const char *name)
{
	struct msg m = MSG(M_ENROL, 0, 0);
	msg_text(&m, MI_name, strv_of(name));
	say(e, n, &m);
}

static void
store(struct link_end *e, const struct enrolment *who)
{
	struct enrolment *n = malloc(sizeof(*n));
	if (n != NULL) {
		*n = *who;
		n->job = trust_job_start(e->link->trust, n->taken.name, n->key, NULL);
	}
	if (n == NULL || n->job == NULL) {
		free(n);
		token_give_back(e->link->trust, &who->taken);
		say_no(e, who, "the other side is out of memory", "out of memory");
		return;
	}
	n->next = e->id.enrolments;
	e->id.enrolments = n;
	end_due(e, e->link->now_us + LOOK_US);
}

void
enrol_asked(struct link_end *e, zmq_msg_t *rid, zmq_msg_t *body, const struct msg *m)
{
	struct enrolment n = {
	    .rid_len = zmq_msg_size(rid), .peer = m->from, .fd = zmq_msg_get(body, ZMQ_SRCFD)};
	const char *user = zmq_msg_gets(body, "User-Id"), *z85 = zmq_msg_gets(body, "Fb-Key");
	if (!e->named || n.rid_len > RID_MAX || m->from == 0 || user == NULL || z85 == NULL ||
	    strlen(z85) != 40 || zmq_z85_decode(n.key, z85) == NULL) {
		counter_add(&e->counters, C_msg_bad, 1);
		return;
	}
	memcpy(n.rid, zmq_msg_data(rid), n.rid_len);
	address_peer(n.fd, n.seen, sizeof(n.seen), n.ip, sizeof(n.ip));
	for (const struct enrolment *o = e->id.enrolments; o != NULL; o = o->next)
		if (o->rid_len == n.rid_len && memcmp(o->rid, n.rid, n.rid_len) == 0)
			return; /* it is being answered */
	int rc = token_take(e->link->trust, e->id.own, m->s[MI_secret], n.ip, &n.taken);
	OPENSSL_cleanse(zmq_msg_data(body), zmq_msg_size(body)); /* the secret was in it */
	bool is_known = strcmp(user, ZAP_ENROLLING) != 0;
	if (is_known && rc == 0 && strcmp(n.taken.name, user) != 0)
		token_give_back(e->link->trust, &n.taken);
	if (is_known)
		say_yes(e, &n, user);
	else if (rc != 0)
		say_no(e, &n, n.taken.why, "");
	else
		store(e, &n);
}

static void
stored(struct link_end *e, struct enrolment *n)
{
	struct err err = {0};
	char print[KEY_PRINT];
	int rc = trust_job_end(&n->job, &err);
	trust_print(n->key, print);
	if (rc < 0) {
		token_give_back(e->link->trust, &n->taken);
		say_no(e, n, "the other side cannot store the key (its log says why)", err.text);
		return;
	}
	counter_add(&e->counters, C_peer_enrolled, 1);
	log_line(NULL, LOG_NOTICE, "link: %s: %s has enrolled itself from %s with the key %s",
	    e->name, n->taken.name, n->ip[0] != '\0' ? n->ip : "this host", print);
	fault_clear_key(e, n->key);
	say_yes(e, n, n->taken.name);
}

/* ---- the connecting side */

void
enrol_say(struct link_end *e)
{
	struct session *s = session_new(e, NULL, 0);
	if (s == NULL)
		return;
	struct msg m = MSG(M_ENROL, s->me, 0);
	msg_text(&m, MI_secret, (struct strv){(const char *)e->id.token.secret, TOKEN_SECRET});
	msg_text(&m, MI_name, strv_of(e->link->host.name));
	session_send(s, &m);
	OPENSSL_cleanse(e->link->out.p, e->link->out.cap);
}

void
enrol_answered(struct session *s)
{
	struct link_end *e = s->end;
	struct named_end *id = &e->id;
	if (!id->enrolling) {
		counter_add(&e->counters, C_msg_bad, 1);
		return;
	}
	s->born_us = e->link->now_us;
	if (id->job == NULL)
		id->job =
		    trust_job_start(e->link->trust, id->peer, id->token.server, id->token_file);
	if (id->job == NULL)
		sock_down(e, true, "enrolment failed: out of memory");
	end_due(e, e->link->now_us + LOOK_US);
}

static void
trusted(struct link_end *e, uint64_t now)
{
	struct err err = {0};
	struct named_end *id = &e->id;
	if (trust_job_end(&id->job, &err) < 0) {
		sock_down(e, true, "enrolment failed: %s", err.text);
		return;
	}
	id->enrolling = false;
	OPENSSL_cleanse(&id->token, sizeof(id->token));
	log_line(NULL, LOG_NOTICE, "link: %s: enrolled at %s, which is %s from here on", e->name,
	    e->addr.endpoint, id->peer);
	fault_clear(e, "");
	e->dial.cause[0] = '\0';
	sock_again(e, now);
}

/* ---- both */

uint64_t
enrol_tick(struct link_end *e, uint64_t now)
{
	struct named_end *id = &e->id;
	if (id->job != NULL && trust_job_done(id->job))
		trusted(e, now);
	for (struct enrolment **at = &id->enrolments; *at != NULL;) {
		struct enrolment *n = *at;
		if (!trust_job_done(n->job)) {
			at = &n->next;
			continue;
		}
		stored(e, n);
		*at = n->next;
		free(n);
	}
	return id->job != NULL || id->enrolments != NULL ? now + LOOK_US : NEVER;
}

void
enrol_free(struct link_end *e)
{
	(void)trust_job_end(&e->id.job, NULL);
	while (e->id.enrolments != NULL) {
		struct enrolment *n = e->id.enrolments;
		e->id.enrolments = n->next;
		(void)trust_job_end(&n->job, NULL);
		free(n);
	}
}
