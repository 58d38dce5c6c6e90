/* SPDX-License-Identifier: Apache-2.0
 * unit/link/test_keys.c - named keys: the store and its files, who may come in, tokens, and peers
 * that try to be somebody else. */
#include "rig.h"

#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zmq.h>

#include "base/hash.h"
#include "link/msg.h"
#include "link/trust.h"

#define FAST	  "retry_min=10ms retry_max=60ms heartbeat=300ms"
#define SECOND_US UINT64_C(1000000)

static char top[64];

/** A key pair, its file, its public text. */
struct pair {
	struct link_identity id;
	char path[100], text[KEY_TEXT], print[KEY_PRINT];
};

static void
put_file(const char *path, const char *text, mode_t mode)
{
	FILE *f = fopen(path, "w");
	assert_non_null(f);
	assert_true(fputs(text, f) >= 0);
	assert_int_equal(fclose(f), 0);
	assert_int_equal(chmod(path, mode), 0);
}

static void
pair_new(struct pair *p, const char *name)
{
	char text[KEY_TEXT], public[41], secret[41];
	uint8_t raw[KEY_SIZE];
	struct err err = {0};
	assert_int_equal(zmq_curve_keypair(public, secret), 0);
	zmq_z85_decode(raw, secret);
	key_text(KEY_PRIVATE, raw, KEY_SIZE, text, sizeof(text));
	snprintf(p->path, sizeof(p->path), "%s/%s.key", top, name);
	put_file(p->path, text, 0600);
	if (link_identity_load(p->path, &p->id, &err) != 0)
		fail_msg("%s", err.text);
	assert_string_equal(p->id.public_z85, public);
	key_text(KEY_PUBLIC, p->id.key, KEY_SIZE, p->text, sizeof(p->text));
	trust_print(p->id.key, p->print);
}

static int
setup(void **state)
{
	(void)state;
	snprintf(top, sizeof(top), "/tmp/flowbus-keys-XXXXXX");
	assert_non_null(mkdtemp(top));
	return 0;
}

static int
teardown(void **state)
{
	char cmd[100];
	(void)state;
	snprintf(cmd, sizeof(cmd), "rm -rf %s", top);
	flow_passes(NULL, 0);
	return system(cmd);
}

static struct trust *
store_open(const char *name)
{
	char dir[100];
	struct trust *t = NULL;
	struct err err = {0};
	snprintf(dir, sizeof(dir), "%s/%s", top, name);
	if (trust_open(dir, &t, &err) != 0)
		fail_msg("%s", err.text);
	return t;
}

static enum trust_verdict
knock(struct trust *t, const struct pair *who, const struct pair *server, const char *allow,
    struct trust_answer *a)
{
	const struct trust_question q = {who->id.key, server->id.key, allow, "192.0.2.1"};
	return trust_check(t, &q, a);
}

/* ---- the store */

static void
store_and_files(void **state)
{
	struct pair a, b, c;
	struct err err = {0};
	struct trust_answer who;
	char path[140];
	unsigned n;
	(void)state;
	pair_new(&a, "a"), pair_new(&b, "b"), pair_new(&c, "c");
	struct trust *t = store_open("t1");
	assert_int_equal(knock(t, &a, &c, "", &who), TRUST_NO);
	assert_non_null(strstr(who.why, a.print));
	assert_int_equal(trust_add(t, "alice", a.id.key, &err), 0);
	assert_int_equal(trust_add(t, "alice", a.id.key, &err), 1);
	assert_int_equal(trust_add(t, "bob", a.id.key, &err), -E_EXIST);
	assert_int_equal(trust_add(t, "alice", b.id.key, &err), 0);
	assert_int_equal(trust_add(t, "alice", c.id.key, &err), -E_LIMIT);
	assert_int_equal(trust_add(t, "../alice", c.id.key, &err), -E_SYNTAX);
	assert_int_equal(knock(t, &b, &c, "", &who), TRUST_YES);
	assert_string_equal(who.name, "alice");
	assert_int_equal(knock(t, &b, &c, "carol, alicex,alic", &who), TRUST_NO);
	assert_non_null(strstr(who.why, "alice is not allowed on this endpoint"));
	assert_int_equal(knock(t, &b, &c, "carol, alice", &who), TRUST_YES);
	trust_free(&t);
	/* as it was after a restart; taken back by its fingerprint, then as a whole */
	t = store_open("t1");
	assert_int_equal(knock(t, &a, &c, "", &who), TRUST_YES);
	assert_int_equal(trust_remove(t, "alice", STRV("SHA256:none"), &err), -E_NOENT);
	struct strv begin = {a.print + 7, 9};
	assert_int_equal(trust_remove(t, "alice", begin, &err), 1);
	assert_int_equal(knock(t, &a, &c, "", &who), TRUST_NO);
	assert_non_null(strstr(who.why, "revoked"));
	assert_int_equal(knock(t, &b, &c, "", &who), TRUST_YES);
	assert_int_equal(trust_remove(t, "alice", STRV(""), &err), 1);
	assert_int_equal(trust_remove(t, "alice", STRV(""), &err), -E_NOENT);
	snprintf(path, sizeof(path), "%s/t1/alice.pub", top);
	assert_int_not_equal(access(path, F_OK), 0);
	/* put there by hand, and read again */
	put_file(path, c.text, 0644);
	assert_int_equal(trust_reload(t, &err), 0);
	assert_true(trust_has(t, "alice", c.id.key));
	free(trust_rows(t, &n));
	assert_int_equal(n, 1);
	trust_free(&t);
}

static void
unsafe_files(void **state)
{
	struct pair a;
	struct trust *t;
	struct err err = {0};
	char path[140], dir[100], text[300];
	uint8_t zero[KEY_SIZE] = {0}, one[KEY_SIZE] = {1};
	(void)state;
	pair_new(&a, "a");
	t = store_open("t2");
	assert_int_equal(trust_add(t, "zero", zero, &err), -E_KEY); /* anybody could claim these */
	assert_int_equal(trust_add(t, "one", one, &err), -E_KEY);
	assert_int_equal(trust_add(t, "alice", a.id.key, &err), 0);
	trust_free(&t);
	snprintf(dir, sizeof(dir), "%s/t2", top);
	snprintf(path, sizeof(path), "%s/alice.pub", dir);
	for (unsigned i = 0; i < 2; i++) {
		assert_int_equal(chmod(path, i == 0 ? 0664 : 0646), 0);
		t = store_open("t2");
		assert_false(trust_has(t, "alice", a.id.key));
		trust_free(&t);
	}
	/* one bad line, and nothing of the file counts */
	snprintf(text, sizeof(text), "%s\n%.*s\n", a.text, KEY_TEXT - 3, a.text);
	put_file(path, text, 0644);
	t = store_open("t2");
	assert_false(trust_has(t, "alice", a.id.key));
	trust_free(&t);
	assert_int_equal(chmod(dir, 0770), 0);
	assert_int_equal(trust_open(dir, &t, &err), -E_UNSAFE);
	/* an identity that others can read, and a secret where a key should be */
	struct link_identity id;
	struct link_keys keys;
	assert_int_equal(chmod(a.path, 0604), 0);
	assert_int_equal(link_identity_load(a.path, &id, &err), -E_UNSAFE);
	assert_int_equal(chmod(a.path, 0600), 0);
	assert_int_equal(link_keys_load(a.path, &keys, &err), -E_KEY);
	link_secret_new(text);
	put_file(a.path, text, 0600);
	assert_int_equal(link_identity_load(a.path, &id, &err), -E_KEY);
}

/* ---- tokens */

static struct strv
secret_of(const char *text, struct key_token *out)
{
	assert_int_equal(key_token_parse(strv_of(text), out), 0);
	return (struct strv){(const char *)out->secret, TOKEN_SECRET};
}

static void
token_once(void **state)
{
	struct pair s, other, a;
	struct trust *t = store_open("t3");
	struct err err = {0};
	struct trust_answer who;
	struct token_taken taken;
	struct key_token k, k2;
	char one[TOKEN_TEXT], two[TOKEN_TEXT];
	(void)state;
	pair_new(&s, "s"), pair_new(&other, "o"), pair_new(&a, "a");
	assert_int_equal(knock(t, &a, &s, "", &who), TRUST_NO);
	assert_int_equal(token_new(t, "alice", s.id.key, 60 * SECOND_US, one, &err), 0);
	assert_int_equal(knock(t, &a, &s, "", &who), TRUST_ENROL);
	assert_int_equal(knock(t, &a, &other, "", &who), TRUST_NO); /* of another endpoint */
	struct strv x = secret_of(one, &k);
	assert_int_equal(token_take(t, other.id.key, x, "i", &taken), -E_KEY);
	assert_non_null(strstr(taken.why, "another endpoint"));
	assert_int_equal(token_take(t, s.id.key, x, "i", &taken), 0);
	assert_string_equal(taken.name, "alice");
	assert_int_equal(knock(t, &a, &s, "", &who), TRUST_NO);
	assert_non_null(strstr(who.why, "used already (it was for alice)"));
	struct token_taken again;
	assert_int_equal(token_take(t, s.id.key, x, "i", &again), -E_KEY);
	assert_non_null(strstr(again.why, "used already"));
	token_give_back(t, &taken); /* it could not be stored */
	assert_int_equal(token_take(t, s.id.key, x, "i", &again), 0);
	token_give_back(t, &again);
	/* a newer one replaces it, and it dies of age */
	assert_int_equal(token_new(t, "alice", s.id.key, SECOND_US / 20, two, &err), 0);
	assert_int_equal(token_take(t, s.id.key, x, "i", &again), -E_KEY);
	assert_non_null(strstr(again.why, "replaced"));
	clock_sleep_us(SECOND_US / 10);
	assert_int_equal(knock(t, &a, &s, "", &who), TRUST_NO);
	assert_int_equal(token_take(t, s.id.key, secret_of(two, &k2), "i", &again), -E_KEY);
	assert_non_null(strstr(again.why, "expired"));
	/* what is not a secret at all */
	assert_int_equal(token_take(t, s.id.key, STRV(""), "i", &again), -E_KEY);
	assert_int_equal(token_take(t, s.id.key, (struct strv){x.p, 15}, "i", &again), -E_KEY);
	trust_free(&t);
}

static void
token_guessers(void **state)
{
	struct pair s, a;
	struct trust *t = store_open("t4");
	struct err err = {0};
	struct trust_answer who;
	struct token_taken taken;
	struct key_token k;
	char text[TOKEN_TEXT], guess[TOKEN_SECRET] = "guess";
	(void)state;
	pair_new(&s, "s"), pair_new(&a, "a");
	assert_int_equal(token_new(t, "alice", s.id.key, 60 * SECOND_US, text, &err), 0);
	/* two at once of one address, eight in all */
	struct trust_question q = {a.id.key, s.id.key, "", "198.51.100.1"};
	assert_int_equal(trust_check(t, &q, &who), TRUST_ENROL);
	assert_int_equal(trust_check(t, &q, &who), TRUST_ENROL);
	assert_int_equal(trust_check(t, &q, &who), TRUST_NO);
	assert_non_null(strstr(who.why, "too many strangers at once"));
	for (unsigned i = 2; i < 10; i++) {
		char ip[20];
		snprintf(ip, sizeof(ip), "198.51.100.%u", i);
		q.ip = ip;
		assert_int_equal(trust_check(t, &q, &who), i < 8 ? TRUST_ENROL : TRUST_NO);
	}
	/* three wrong ones and the address is left outside; others are not */
	struct strv wrong = {guess, sizeof(guess)};
	for (unsigned i = 0; i < ENROL_WRONG; i++)
		assert_int_equal(token_take(t, s.id.key, wrong, "203.0.113.1", &taken), -E_KEY);
	q.ip = "203.0.113.1";
	assert_int_equal(trust_check(t, &q, &who), TRUST_NO);
	assert_non_null(strstr(who.why, "wait a minute"));
	q.ip = "203.0.113.2";
	assert_int_equal(trust_check(t, &q, &who), TRUST_NO);
	assert_non_null(strstr(who.why, "too many strangers at once"));
	struct strv right = secret_of(text, &k);
	for (unsigned i = ENROL_WRONG; i < ENROL_WRONG_ALL; i++) {
		char ip[20];
		snprintf(ip, sizeof(ip), "192.0.2.%u", i);
		assert_int_equal(token_take(t, s.id.key, wrong, ip, &taken), -E_KEY);
	}
	assert_int_equal(token_take(t, s.id.key, right, "192.0.2.250", &taken), -E_KEY);
	assert_non_null(strstr(taken.why, "too many wrong tries"));
	trust_free(&t);
}

/* ---- nodes */

static struct link *
named_node(const char *name, uint64_t node_id)
{
	static unsigned n;
	char dir[100];
	struct link *l = node_start(name, node_id);
	snprintf(dir, sizeof(dir), "%s/node%u", top, n++);
	link_trust_dir(l, dir);
	return l;
}

static void
trust_key(struct link *l, const char *name, const struct pair *p)
{
	struct err err = {0};
	if (link_key_trust(l, name, strv_of(p->text), &err) < 0)
		fail_msg("%s", err.text);
}

static void
one_up(void *arg, const struct link_key *k)
{
	unsigned *up = arg;
	up[0] += strcmp(k->name, "alice") == 0 ? k->n_up : 0;
	up[1] += strcmp(k->name, "bob") == 0 ? k->n_up : 0;
}

/* Revoking one cuts it and nobody else. */
static void
revoke_cuts_one(void **state)
{
	struct pair p, a, b;
	struct end pub, in_a, in_b;
	struct err err = {0};
	struct link *probe = named_node("probe", 1), *alice = named_node("x", 2),
		    *bob = named_node("y", 3);
	struct batch_pool *pool = batch_pool_new(64);
	int port = free_port();
	unsigned up[2] = {0, 0};
	struct link_peer r;
	(void)state;
	pair_new(&p, "p"), pair_new(&a, "a"), pair_new(&b, "b");
	trust_key(probe, "alice", &a);
	trust_key(probe, "bob", &b);
	trust_key(alice, "p", &p);
	trust_key(bob, "p", &p);
	end_open(probe, &pub, "publish tcp://127.0.0.1:%d max_delay=20ms identity=%s " FAST, port,
	    p.path);
	end_open(
	    alice, &in_a, "subscribe tcp://127.0.0.1:%d identity=%s peer=p " FAST, port, a.path);
	end_open(bob, &in_b, "subscribe tcp://127.0.0.1:%d identity=%s peer=p " FAST, port, b.path);
	assert_true(wait_subs(probe, 2, 5000));
	flows_push(&pub, pool, 0, 5000, 500);
	assert_int_equal(link_key_revoke(probe, "alice", STRV(""), &err), 1);
	assert_true(wait_up(probe, 1, 1000));
	flows_push(&pub, pool, 5000, 5000, 500);
	assert_true(wait_count(&in_b, 10000, 5000));
	assert_flows(&in_b, "", 0, 10000);
	assert_true(wait_why(&in_a, "is not trusted there", 5000));
	assert_true(end_count(&in_a) < 10000);
	assert_int_equal(end_counter(&pub, C_peer_revoked), 1);
	assert_int_equal(end_counter(&pub, C_peer_down), 1);
	assert_int_equal(end_counter(&in_b, C_peer_down), 0);
	assert_true(peer_row(probe, "up", &r));
	assert_true(r.verified);
	assert_string_equal(r.name, "bob");
	assert_string_equal(r.key, b.print);
	assert_int_equal(link_keys_each(probe, one_up, up, &err), 0);
	assert_int_equal(up[0], 0);
	assert_int_equal(up[1], 1);
	end_close(&in_a, false);
	end_close(&in_b, false);
	end_close(&pub, false);
	link_stop(&probe), link_stop(&alice), link_stop(&bob);
	batch_pool_free(&pool);
}

/* A trusted node that copies another's node id and endpoint gets neither its place nor what waits
 * for it. */
static void
no_impostor(void **state)
{
	struct pair p, a, b;
	struct end pub, in_a, in_b;
	struct link *probe = named_node("probe", 1), *alice = named_node("same", 7),
		    *bob = named_node("same", 7);
	struct batch_pool *pool = batch_pool_new(64);
	struct link_subscription s;
	int port = free_port();
	(void)state;
	pair_new(&p, "p"), pair_new(&a, "a"), pair_new(&b, "b");
	trust_key(probe, "alice", &a);
	trust_key(probe, "bob", &b);
	trust_key(alice, "p", &p);
	trust_key(bob, "p", &p);
	end_open(probe, &pub, "publish tcp://127.0.0.1:%d max_delay=20ms identity=%s " FAST, port,
	    p.path);
	end_open(alice, &in_a, "subscribe tcp://127.0.0.1:%d name=in identity=%s peer=p " FAST,
	    port, a.path);
	assert_true(wait_subs(probe, 1, 5000));
	assert_true(sub_row(probe, "alice", &s));
	end_close(&in_a, true); /* its position stays for `resume` */
	assert_true(wait_subs(probe, 0, 5000));
	flows_push(&pub, pool, 0, 1000, 500);
	assert_true(wait_offered(probe, "alice", 1000, 5000));
	end_open(bob, &in_b, "subscribe tcp://127.0.0.1:%d name=in identity=%s peer=p " FAST, port,
	    b.path);
	assert_true(wait_subs(probe, 1, 5000));
	flows_push(&pub, pool, 1000, 1000, 500);
	assert_true(wait_count(&in_b, 1000, 5000));
	assert_flows(&in_b, "", 1000, 2000);
	assert_true(sub_row(probe, "alice", &s));
	assert_true(s.is_parked);
	/* both at once: two peers, not one that comes twice */
	end_open(alice, &in_a, "subscribe tcp://127.0.0.1:%d name=in identity=%s peer=p " FAST,
	    port, a.path);
	assert_true(wait_count(&in_a, 2000, 5000));
	assert_flows(&in_a, "", 0, 2000);
	assert_true(wait_up(probe, 2, 1000));
	end_close(&in_a, false);
	end_close(&in_b, false);
	end_close(&pub, false);
	link_stop(&probe), link_stop(&alice), link_stop(&bob);
	batch_pool_free(&pool);
}

/* ---- a stranger by hand */

static void *
stranger(void *ctx, int port, const struct pair *me, const struct pair *server)
{
	char where[64];
	int zero = 0, wait = 1500, never = -1;
	void *s = zmq_socket(ctx, ZMQ_DEALER);
	assert_non_null(s);
	zmq_setsockopt(s, ZMQ_LINGER, &zero, sizeof(zero));
	zmq_setsockopt(s, ZMQ_RCVTIMEO, &wait, sizeof(wait));
	zmq_setsockopt(s, ZMQ_RECONNECT_IVL, &never, sizeof(never));
	zmq_setsockopt(s, ZMQ_CURVE_SERVERKEY, server->id.public_z85, 41);
	zmq_setsockopt(s, ZMQ_CURVE_PUBLICKEY, me->id.public_z85, 41);
	zmq_setsockopt(s, ZMQ_CURVE_SECRETKEY, me->id.secret, 41);
	snprintf(where, sizeof(where), "tcp://127.0.0.1:%d", port);
	assert_int_equal(zmq_connect(s, where), 0);
	return s;
}

static void
send_msg(void *s, const struct msg *m)
{
	struct buf out = buf_init(0);
	msg_encode(m, &out);
	assert_int_equal(zmq_send(s, out.p, out.n, 0), (int)out.n);
	buf_fini(&out);
}

/* The next message, whose text is kept; M_NONE when none comes. */
static enum msg_type
next_msg(void *s, char text[200])
{
	uint8_t b[4096];
	struct msg m;
	int n = zmq_recv(s, b, sizeof(b), 0);
	text[0] = '\0';
	if (n < 0 || msg_decode(b, (size_t)n, &m) != 0)
		return M_NONE;
	msg_copy(&m, MI_text, text, 200);
	return m.type;
}

static struct msg
hello(uint64_t me)
{
	struct msg m = MSG(M_HELLO, me, 0);
	msg_num(&m, MI_role, MSG_ROLE_SUBSCRIBE);
	msg_num(&m, MI_proto_min, 1);
	msg_num(&m, MI_proto_max, 1);
	msg_num(&m, MI_node_id, 99);
	msg_text(&m, MI_end, STRV("in"));
	msg_text(&m, MI_name, STRV("stranger"));
	return m;
}

/* Let in to show a token, an unknown key gets nothing else, whatever it says. */
static void
strangers_get_nothing(void **state)
{
	struct pair p, x;
	struct end pub;
	struct err err = {0};
	struct link *probe = named_node("probe", 1);
	struct msg m = hello(5);
	struct link_peer r;
	int port = free_port();
	char text[200], token[TOKEN_TEXT], guess[TOKEN_SECRET] = "guess";
	void *ctx = zmq_ctx_new();
	(void)state;
	pair_new(&p, "p"), pair_new(&x, "x");
	end_open(
	    probe, &pub, "publish tcp://127.0.0.1:%d name=hub identity=%s " FAST, port, p.path);
	void *s = stranger(ctx, port, &x, &p);
	send_msg(s, &m);
	assert_int_equal(next_msg(s, text), M_NONE); /* no token: not even a handshake */
	zmq_close(s);
	assert_int_equal(link_key_token(probe, "alice", "", 60 * SECOND_US, token, &err), 0);
	assert_int_equal(link_key_token(probe, "alice", "none", SECOND_US, text, &err), -E_NOENT);
	/* HELLO is refused, and the connection with it */
	s = stranger(ctx, port, &x, &p);
	send_msg(s, &m);
	assert_int_equal(next_msg(s, text), M_REFUSED);
	assert_non_null(strstr(text, "a token and nothing else"));
	m = MSG(M_SUBSCRIBE, 5, 1);
	msg_num(&m, MI_sub, 1);
	send_msg(s, &m);
	assert_int_equal(next_msg(s, text), M_RESET);
	/* a wrong token */
	m = MSG(M_ENROL, 6, 0);
	msg_text(&m, MI_secret, (struct strv){guess, sizeof(guess)});
	send_msg(s, &m);
	assert_int_equal(next_msg(s, text), M_REFUSED);
	assert_string_equal(text,
	    "enrolment failed: the token is not known here: wrong, or made before "
	    "a restart");
	assert_true(peer_row(probe, "down", &r));
	assert_non_null(strstr(r.why, "enrolment failed"));
	assert_false(peer_row(probe, "up", &r));
	assert_int_equal(next_msg(s, text), M_NONE);
	assert_int_equal(zmq_send(s, "x", 1, ZMQ_DONTWAIT), -1); /* and then it was cut */
	zmq_close(s);
	/* the right token, but without a session number to answer: nothing, and it is not used up
	 */
	s = stranger(ctx, port, &x, &p);
	struct key_token k;
	m.from = 0;
	msg_text(&m, MI_secret, secret_of(token, &k));
	send_msg(s, &m);
	assert_int_equal(next_msg(s, text), M_NONE);
	m.from = 7;
	send_msg(s, &m);
	assert_int_equal(next_msg(s, text), M_ENROL);
	assert_int_equal(end_counter(&pub, C_peer_enrolled), 1);
	zmq_close(s);
	s = stranger(ctx, port, &x, &p); /* now it is somebody */
	m = hello(8);
	send_msg(s, &m);
	assert_int_equal(next_msg(s, text), M_WELCOME);
	assert_true(peer_row(probe, "up", &r));
	assert_string_equal(r.name, "alice");
	zmq_close(s);
	zmq_ctx_term(ctx);
	end_close(&pub, false);
	link_stop(&probe);
}

/* Detached, or stopped, in the middle of an enrolment: nothing is left behind. */
static void
detach_while_enrolling(void **state)
{
	struct pair p, x;
	struct link *probe = named_node("probe", 1);
	void *ctx = zmq_ctx_new();
	(void)state;
	pair_new(&p, "p"), pair_new(&x, "x");
	for (unsigned i = 0; i < 2; i++) { /* no more strangers than that at once */
		struct end pub;
		struct err err = {0};
		struct key_token k;
		char token[TOKEN_TEXT];
		int port = free_port();
		end_open(probe, &pub, "publish tcp://127.0.0.1:%d identity=%s " FAST, port, p.path);
		assert_int_equal(link_key_token(probe, "alice", "", SECOND_US, token, &err), 0);
		void *s = stranger(ctx, port, &x, &p);
		struct msg m = MSG(M_ENROL, 7, 0);
		msg_text(&m, MI_secret, secret_of(token, &k));
		send_msg(s, &m);
		clock_sleep_us(2000 + i * 8000);
		end_close(&pub, false);
		zmq_close(s);
		(void)link_key_revoke(
		    probe, "alice", STRV(""), &err); /* it may have been in time */
	}
	zmq_ctx_term(ctx);
	link_stop(&probe);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(store_and_files),
	    cmocka_unit_test(unsafe_files), cmocka_unit_test(token_once),
	    cmocka_unit_test(token_guessers), cmocka_unit_test(revoke_cuts_one),
	    cmocka_unit_test(no_impostor), cmocka_unit_test(strangers_get_nothing),
	    cmocka_unit_test(detach_while_enrolling)};
	return cmocka_run_group_tests(tests, setup, teardown);
}
