/* SPDX-License-Identifier: Apache-2.0
 * link/named.c - ends whose peers are known by their keys: options, whom to dial, who may stay.
 *
 * The bound side is CURVE's server and knows a client by the key it shows, which the ZAP handler
 * turns into a name; the connecting side must know the server's key beforehand, the one trusted as
 * `peer`. Both survive a change of the other's key: two may be trusted, and a try with the wrong
 * one of two is followed by one with the other. */
#include <stdio.h>
#include <stdlib.h>

#include <openssl/crypto.h>

#include "base/clock.h"
#include "link/link_priv.h"

/* ---- options */

int
named_store(struct link *l, struct trust **out, struct err *err)
{
	int rc = 0;
	if (l->trust == NULL && l->trust_dir[0] == '\0')
		rc = err_set(err, E_INVAL, "there is no trust directory (daemon option trust_dir)");
	else if (l->trust == NULL)
		rc = trust_open(l->trust_dir, &l->trust, err);
	*out = l->trust;
	return rc;
}

static int
check_fit(const struct link_end *e, const struct conf_endpoint *conf, struct err *err)
{
	const char *identity = conf_text(conf, "identity");
	const char *const only[] = {"allow", "peer", "enrol"};
	for (unsigned i = 0; i < 3; i++) {
		bool is_given = conf_text(conf, only[i])[0] != '\0';
		if (is_given && identity[0] == '\0')
			return err_set(err, E_INVAL,
			    "%s: %s is for an endpoint with a key of its own (give "
			    "identity, made with `flowctl key new`)",
			    e->name, only[i]);
		if (is_given && e->is_bind != (i == 0))
			return err_set(err, E_INVAL,
			    "%s: %s is for the side that %s, and this one %s", e->name, only[i],
			    i == 0 ? "listens" : "connects", e->is_bind ? "listens" : "connects");
	}
	if (identity[0] == '\0')
		return 0;
	if (conf_text(conf, "key_file")[0] != '\0')
		return err_set(err, E_INVAL,
		    "%s: a shared key_file and an identity do not go together "
		    "(leave out one of them)",
		    e->name);
	if (strcmp(conf_text(conf, "encryption"), "none") == 0)
		return err_set(err, E_INVAL,
		    "%s: encryption=none and an identity do not go together "
		    "(leave out one of them)",
		    e->name);
	if (!e->is_bind && !key_name_ok(strv_of(conf_text(conf, "peer"))))
		return err_set(err, E_INVAL,
		    "%s: whom to expect at %s? (give peer=NAME, the name under "
		    "which its key is trusted here)",
		    e->name, e->addr.endpoint);
	return 0;
}

/* A token that is no longer there was used: then the peer is trusted. */
static int
read_token(struct link_end *e, const char *path, struct trust *t, struct err *err)
{
	uint8_t keys[TRUST_PER_NAME][KEY_SIZE];
	struct named_end *id = &e->id;
	if (strlen(path) >= sizeof(id->token_file))
		return err_set(err, E_LIMIT, "%s: enrol: path too long", e->name);
	int rc = link_token_load(path, &id->token, err);
	if (rc == -E_NOENT && trust_keys(t, id->peer, keys) > 0)
		return 0;
	if (rc != 0) {
		err_prefix(err, "%s: enrol: ", e->name);
		return rc;
	}
	snprintf(id->token_file, sizeof(id->token_file), "%s", path);
	id->enrolling = true;
	return 0;
}

int
named_read(struct link_end *e, const struct conf_endpoint *conf, struct err *err)
{
	struct link_identity mine;
	struct named_end *id = &e->id;
	struct trust *t = NULL;
	char print[KEY_PRINT];
	int rc = check_fit(e, conf, err);
	if (rc != 0 || conf_text(conf, "identity")[0] == '\0')
		return rc;
	rc = link_identity_load(conf_text(conf, "identity"), &mine, err);
	if (rc == 0)
		rc = named_store(e->link, &t, err);
	if (rc != 0) {
		err_prefix(err, "%s: ", e->name);
		OPENSSL_cleanse(&mine, sizeof(mine));
		return rc;
	}
	e->named = e->encrypted = true;
	memcpy(id->own, mine.key, KEY_SIZE);
	trust_print(id->own, print);
	snprintf(id->unwanted, sizeof(id->unwanted),
	    "refused by the other side: our key %s is not "
	    "trusted there, or not on that endpoint",
	    print);
	memcpy(e->is_bind ? e->keys.server_secret : e->keys.client_secret, mine.secret, 41);
	memcpy(e->is_bind ? e->keys.server_public : e->keys.client_public, mine.public_z85, 41);
	OPENSSL_cleanse(&mine, sizeof(mine));
	snprintf(id->peer, sizeof(id->peer), "%s", conf_text(conf, "peer"));
	const char *token = conf_text(conf, "enrol");
	return token[0] != '\0' ? read_token(e, token, t, err) : 0;
}

static int
read_list(
    const struct link_end *e, const char *option, const char *list, char **out, struct err *err)
{
	char q[80];
	bool is_any = strcmp(list, "*") == 0 && strcmp(option, "relays") == 0;
	for (const char *p = list; *p != '\0' && !is_any;) {
		p += strspn(p, ", ");
		struct strv name = {p, strcspn(p, ", ")};
		if (name.n > 0 && !key_name_ok(name))
			return err_set(err, E_SYNTAX, "%s: %s: %s is not a peer's name", e->name,
			    option, strv_quote(name, q, sizeof(q)));
		p += name.n;
	}
	char *copy = strv_dup(strv_of(list));
	if (copy == NULL)
		return err_set(err, E_NOMEM, "%s: out of memory", e->name);
	free(*out);
	*out = copy;
	return 0;
}

int
named_lists(struct link_end *e, const struct conf_endpoint *conf, struct err *err)
{
	const char *allow = conf_text(conf, "allow");
	if (allow[0] != '\0' && !(e->named && e->is_bind))
		return err_set(
		    err, E_INVAL, "%s: allow is for a side that listens with an identity", e->name);
	int rc = read_list(e, "allow", allow, &e->allow, err);
	return rc != 0 ? rc
		       : read_list(e, "relays", e->is_publish ? "" : conf_text(conf, "relays"),
			     &e->relays, err);
}

void
named_free(struct link_end *e)
{
	OPENSSL_cleanse(&e->id, sizeof(e->id));
	free(e->allow);
	free(e->relays);
}

/* ---- whom to dial */

bool
named_dial(struct link_end *e)
{
	uint8_t keys[TRUST_PER_NAME][KEY_SIZE];
	struct named_end *id = &e->id;
	unsigned at = 0, n = 1;
	if (id->enrolling)
		memcpy(keys[0], id->token.server, KEY_SIZE);
	else
		n = trust_keys(e->link->trust, id->peer, keys);
	if (n == 0)
		return false;
	while (at < n && memcmp(keys[at], id->peer_key, KEY_SIZE) != 0)
		at++;
	at = at == n ? 0 : id->turn ? (at + 1) % n : at;
	id->turn = false;
	memcpy(id->peer_key, keys[at], KEY_SIZE);
	return zmq_z85_encode(e->keys.server_public, id->peer_key, KEY_SIZE) != NULL;
}

bool
named_other_key(struct link_end *e)
{
	uint8_t keys[TRUST_PER_NAME][KEY_SIZE];
	struct named_end *id = &e->id;
	unsigned n = id->enrolling ? 1 : trust_keys(e->link->trust, id->peer, keys);
	id->turn = n > 1;
	if (id->tries + 1 >= n) {
		id->tries = 0;
		return false;
	}
	id->tries++;
	return true;
}

/* ---- who is there */

/* The key of a connection, as the ZAP handler noted it. */
static bool
key_of(zmq_msg_t *body, uint8_t out[KEY_SIZE])
{
	const char *z85 = zmq_msg_gets(body, "Fb-Key");
	return z85 != NULL && strlen(z85) == 40 && zmq_z85_decode(out, z85) != NULL;
}

static const char *
may_stay(const struct link_end *e, const char *name, const uint8_t key[KEY_SIZE])
{
	if (!trust_has(e->link->trust, name, key))
		return "its key was revoked";
	if (e->is_bind && e->allow[0] != '\0' && !trust_listed(e->allow, name))
		return "it is not allowed on this endpoint any more";
	return NULL;
}

const char *
named_hello(struct session *s, zmq_msg_t *body)
{
	if (!key_of(body, s->key))
		return "the key of this connection is not known";
	if (strcmp(s->user, ZAP_ENROLLING) == 0)
		return "enrolment failed: this connection may show a token and nothing else";
	s->verified = true;
	return may_stay(s->end, s->user, s->key);
}

void
named_welcome(struct session *s)
{
	struct link_end *e = s->end;
	if (!e->named)
		return;
	s->verified = true;
	e->id.tries = 0;
	snprintf(s->user, sizeof(s->user), "%s", e->id.peer);
	memcpy(s->key, e->id.peer_key, KEY_SIZE);
}

void
named_claim(struct session *s)
{
	if (!s->verified || strcmp(s->name, s->user) == 0)
		return;
	if (!s->told_claim)
		log_line(NULL, LOG_NOTICE,
		    "link: %s: %s (%s) calls itself %s, the name of its key counts", s->end->name,
		    s->user, s->seen[0] != '\0' ? s->seen : "local", s->name);
	s->told_claim = true;
	memcpy(s->name, s->user, sizeof(s->name));
}

static bool
cut_one(struct link_end *e)
{
	for (struct session *s = e->sessions; s != NULL; s = s->next) {
		const char *why = s->verified ? may_stay(e, s->user, s->key) : NULL;
		if (why == NULL)
			continue;
		counter_add(&e->counters, C_peer_revoked, 1);
		session_cut(s, why);
		return true;
	}
	return false;
}

void
named_recheck(struct link_end *e)
{
	struct dial *d = &e->dial;
	if (!e->named || e->draining)
		return;
	if (e->is_bind) {
		while (cut_one(e))
			continue;
	} else if (d->state == DIAL_WAIT) {
		d->retry_us = e->link->now_us;
		d->backoff_us = 0;
	} else if (!e->id.enrolling && !trust_has(e->link->trust, e->id.peer, e->id.peer_key)) {
		counter_add(&e->counters, C_peer_revoked, 1);
		sock_down(e, true, "the key of %s was revoked here", e->id.peer);
	}
	end_due(e, 0);
}

static int
recheck_call(struct link *l, void *arg, struct call *c)
{
	(void)arg, (void)c;
	for (struct link_end *e = l->ends; e != NULL; e = e->next)
		named_recheck(e);
	return 0;
}

/* ---- what people ask for */

void
link_trust_dir(struct link *l, const char *dir)
{
	snprintf(l->trust_dir, sizeof(l->trust_dir), "%s", dir);
}

int
link_trust_reload(struct link *l, struct err *err)
{
	int rc = l->trust != NULL ? trust_reload(l->trust, err) : 0;
	if (rc == 0 && l->trust != NULL)
		link_call(l, recheck_call, NULL);
	return rc;
}

int
link_key_trust(struct link *l, const char *name, struct strv key, struct err *err)
{
	uint8_t raw[KEY_SIZE];
	char z85[41] = "";
	struct trust *t;
	int rc = key_parse(key, KEY_PUBLIC, raw, KEY_SIZE);
	if (rc == -E_TYPE && key.n == 40) {
		memcpy(z85, key.p, 40);
		rc = zmq_z85_decode(raw, z85) != NULL ? 0 : -E_TYPE;
	}
	if (rc != 0)
		return err_set(err, E_KEY,
		    "that is not a public key: %s (it begins with %s; `flowctl key "
		    "show FILE` prints it at the peer)",
		    rc == -E_CRC      ? "its checksum differs, mistyped"
		    : rc == -E_FORMAT ? "cut or mistyped"
				      : "something else",
		    KEY_PUBLIC);
	rc = named_store(l, &t, err);
	if (rc == 0)
		rc = trust_add(t, name, raw, err);
	if (rc >= 0)
		link_call(l, recheck_call, NULL);
	return rc;
}

int
link_key_revoke(struct link *l, const char *name, struct strv which, struct err *err)
{
	struct trust *t;
	int rc = named_store(l, &t, err);
	if (rc == 0)
		rc = trust_remove(t, name, which, err);
	if (rc > 0)
		link_call(l, recheck_call, NULL);
	return rc;
}

/* The end a token is for. */
struct pick {
	const char *end, *name;
	uint8_t key[KEY_SIZE];
	struct err *err;
};

static int
pick_call(struct link *l, void *arg, struct call *c)
{
	struct pick *p = arg;
	const struct link_end *found = NULL;
	(void)c;
	for (const struct link_end *e = l->ends; e != NULL; e = e->next) {
		if (!e->named || !e->is_bind || (p->end[0] != '\0' && strcmp(p->end, e->name) != 0))
			continue;
		if (found != NULL && memcmp(found->id.own, e->id.own, KEY_SIZE) != 0)
			return err_set(p->err, E_INVAL,
			    "several endpoints listen with keys of their own, "
			    "%s and %s (name one)",
			    found->name, e->name);
		found = e;
	}
	if (found == NULL)
		return err_set(p->err, E_NOENT,
		    p->end[0] != '\0'
			? "endpoint %s does not listen with identity="
			: "no endpoint %slistens with identity=: nobody could use a token",
		    p->end);
	if (found->allow[0] != '\0' && !trust_listed(found->allow, p->name))
		return err_set(p->err, E_INVAL,
		    "%s is not allowed on %s (add it there first: `flowctl set "
		    "%s allow=...`)",
		    p->name, found->name, found->name);
	memcpy(p->key, found->id.own, KEY_SIZE);
	return 0;
}

int
link_key_token(struct link *l, const char *name, const char *end, uint64_t for_us,
    char out[TOKEN_TEXT], struct err *err)
{
	uint8_t keys[TRUST_PER_NAME][KEY_SIZE];
	struct trust *t;
	struct pick p = {.end = end, .name = name, .err = err};
	int rc = named_store(l, &t, err);
	if (rc == 0)
		rc = link_call(l, pick_call, &p);
	if (rc == 0 && trust_keys(t, name, keys) == TRUST_PER_NAME)
		rc = err_set(err, E_LIMIT, "%s has %d trusted keys already (revoke the old one)",
		    name, TRUST_PER_NAME);
	return rc == 0 ? token_new(t, name, p.key, for_us, out, err) : rc;
}

struct uses {
	const struct trust_row *rows;
	unsigned *up;
	unsigned n;
};

static int
uses_call(struct link *l, void *arg, struct call *c)
{
	struct uses *u = arg;
	(void)c;
	for (const struct link_end *e = l->ends; e != NULL; e = e->next)
		for (const struct session *s = e->sessions; s != NULL; s = s->next)
			for (unsigned i = 0; s->up && s->verified && i < u->n; i++)
				u->up[i] += u->rows[i].text[0] != '\0' &&
					    memcmp(u->rows[i].key, s->key, KEY_SIZE) == 0;
	return 0;
}

int
link_keys_each(struct link *l, link_key_fn *fn, void *arg, struct err *err)
{
	struct trust *t;
	unsigned n = 0;
	int rc = named_store(l, &t, err);
	if (rc != 0)
		return rc;
	struct trust_row *rows = trust_rows(t, &n);
	struct uses u = {rows, calloc(n + 1, sizeof(unsigned)), n};
	if (rows != NULL && u.up != NULL) {
		link_call(l, uses_call, &u);
		for (unsigned i = 0; i < n; i++) {
			const struct link_key k = {
			    rows[i].name, rows[i].text, rows[i].print, rows[i].left_us, u.up[i]};
			fn(arg, &k);
		}
	} else {
		rc = err_set(err, E_NOMEM, "out of memory");
	}
	free(rows);
	free(u.up);
	return rc;
}
