/* SPDX-License-Identifier: Apache-2.0
 * link/path.c - who is upstream: loops of relays, and probes that are reached twice.
 *
 * Each publishing end tells its subscribers (HELLO, WELCOME, HOST) which nodes give flows to this
 * one, directly or through others, as edges of a graph. A node that finds itself upstream of a peer
 * does not ask that peer for flows, or gives its subscription up. An edge is announced before its
 * SUBSCRIBE is sent, and announcements go before frames on the same connection: whoever would get
 * its own flows back hears of the loop before the first of them comes.
 *
 * A loop that is being closed is refused by the link that closes it, the others never notice. When
 * several close at the same moment all of them may give way; then they come back, the node of the
 * least number last, and it finds the loop closed. */
#include <stdio.h>
#include <stdlib.h>

#include "base/cur.h"
#include "base/hash.h"
#include "link/link_priv.h"

#define SOON_US  UINT64_C(200000)
#define LATER_US UINT64_C(3000000)

/* Daemons that share a state directory share a node id: the start tells them apart. */
uint64_t
path_id(uint64_t node_id, int64_t started_us)
{
	return node_id ^ (uint64_t)started_us;
}

static uint64_t
my_id(const struct link *l)
{
	return path_id(l->host.node_id, l->host.started_us);
}

static uint64_t
peer_id(const struct session *s)
{
	return path_id(s->node_id, s->peer_started_us);
}

/* ---- on the wire */

void
path_put(struct msg *m, const struct link_end *e, struct buf *room)
{
	const struct path *p = &e->link->path;
	if (!e->is_publish || p->n == 0)
		return;
	for (unsigned i = 0; i < p->n; i++) {
		buf_u64_le(room, p->at[i].node);
		buf_u64_le(room, p->at[i].to);
		buf_text(room, strv_of(p->at[i].name));
	}
	if (room->err == 0)
		msg_text(m, MI_path, buf_view(room));
}

void
path_get(struct session *s, const struct msg *m)
{
	struct cur c = cur_init(m->s[MI_path].p, m->s[MI_path].n);
	struct path *p = s->path;
	if (s->end->is_publish)
		return;
	if (cur_left(&c) == 0) {
		free(p);
		s->path = NULL;
		return;
	}
	if (p == NULL)
		p = s->path = malloc(sizeof(*p));
	if (p == NULL)
		return;
	memset(p, 0, sizeof(*p));
	while (cur_left(&c) > 0 && p->n < PATH_MAX_EDGES) {
		struct edge *x = &p->at[p->n];
		struct msg name = {0};
		x->node = cur_u64_le(&c);
		x->to = cur_u64_le(&c);
		name.s[MI_name] = cur_text(&c, sizeof(x->name) - 1);
		if (c.err != 0) {
			counter_add(&s->end->counters, C_msg_bad, 1);
			return;
		}
		msg_copy(&name, MI_name, x->name, sizeof(x->name));
		p->n++;
	}
}

/* ---- loops */

static bool
is_upstream(const struct session *s, uint64_t id)
{
	for (unsigned i = 0; s->path != NULL && i < s->path->n; i++)
		if (s->path->at[i].node == id)
			return true;
	return peer_id(s) == id;
}

static const char *
name_of(const struct session *s, uint64_t id)
{
	for (unsigned i = 0; i < s->path->n; i++)
		if (s->path->at[i].node == id)
			return s->path->at[i].name;
	return s->name;
}

/* The way from this node to the peer: ids of the nodes, the last first. False: parts of it are
 * not in what the peer told. */
static bool
way(const struct session *s, uint64_t me, uint64_t ids[PATH_MAX_EDGES + 1], unsigned *n_out)
{
	const struct path *p = s->path;
	unsigned from[PATH_MAX_EDGES + 1], n = 0, at = 0;
	uint64_t seen[PATH_MAX_EDGES + 1];
	seen[n++] = me;
	for (bool found = me == peer_id(s); !found && at < n; at++)
		for (unsigned i = 0; p != NULL && i < p->n && n <= PATH_MAX_EDGES && !found; i++) {
			bool known = p->at[i].node != seen[at];
			for (unsigned k = 0; k < n && !known; k++)
				known = seen[k] == p->at[i].to;
			if (known)
				continue;
			from[n] = at;
			seen[n++] = p->at[i].to;
			found = p->at[i].to == peer_id(s);
		}
	*n_out = 0;
	if (seen[n - 1] != peer_id(s))
		return false;
	for (unsigned i = n - 1; i > 0; i = from[i])
		ids[(*n_out)++] = seen[i];
	return true;
}

/* Words for the loop. True when this node is the one of it that gives way for longer. */
static bool
describe(struct session *s, uint64_t me)
{
	uint64_t ids[PATH_MAX_EDGES + 1];
	unsigned n = 0;
	bool is_least = true;
	char *out = s->loop;
	size_t size = sizeof(s->loop), k = 0;
	bool is_whole = way(s, me, ids, &n);
	k += (size_t)snprintf(out, size, "loop: this node -> %s", is_whole ? "" : "... -> ");
	for (unsigned i = n; i > 0 && k < size; i--) {
		k += (size_t)snprintf(out + k, size - k, "%.63s -> ", i == 1 ? s->name :
		    name_of(s, ids[i - 1]));
		is_least = is_least && me < ids[i - 1];
	}
	if (!is_whole && k < size)
		k += (size_t)snprintf(out + k, size - k, "%.63s -> ", s->name);
	if (k < size)
		snprintf(out + k, size - k, "this node");
	return is_least;
}

static void
give_way(struct session *s, uint64_t me)
{
	struct link_end *e = s->end;
	struct msg m = MSG(M_REFUSED, s->me, s->peer);
	bool is_least = describe(s, me);
	uint64_t wait = SOON_US;
	uint32_t jitter;
	random_bytes(&jitter, sizeof(jitter));
	counter_add(&e->counters, C_loop_found, 1);
	if (s->is_subscribed) {
		wait = (is_least ? LATER_US : SOON_US) << (s->n_loops < 4 ? s->n_loops : 4);
		s->n_loops++;
		subscribe_give_up(s);
	}
	s->loop_until_us = e->link->now_us + wait + jitter % SOON_US;
	log_warn("link: %s: %s: flows of %s are not asked for, they would come back (take one "
	    "of these subscriptions away)", e->name, s->loop, s->name);
	msg_num(&m, MI_code, E_EXIST);
	msg_text(&m, MI_text, strv_of(s->loop));
	session_send(s, &m);
	end_state(e, PORT_DEGRADED, s->loop);
}

static void
check(struct session *s, uint64_t me)
{
	bool is_loop = is_upstream(s, me);
	if (is_loop && s->loop[0] == '\0')
		give_way(s, me);
	else if (!is_loop && s->loop[0] != '\0')
		session_due(s->end, s->loop_until_us);
}

bool
path_allows(struct session *s)
{
	return s->loop[0] == '\0';
}

uint64_t
path_tick(struct session *s, uint64_t now)
{
	struct link_end *e = s->end;
	if (s->loop[0] == '\0' || is_upstream(s, my_id(e->link)))
		return NEVER; /* the next HOST is looked at */
	if (now < s->loop_until_us)
		return s->loop_until_us;
	log_notice("link: %s: the loop through %s is open, asking for its flows", e->name, s->name);
	s->loop[0] = '\0';
	end_up(e);
	path_update(e->link);
	subscribe_up(s);
	return NEVER;
}

void
path_refused(struct session *s, const struct msg *m)
{
	msg_copy(m, MI_text, s->loop, sizeof(s->loop));
	char why[320];
	snprintf(why, sizeof(why), "%.63s does not take our flows: %s", s->name, s->loop);
	log_notice("link: %s: %s", s->end->name, why);
	counter_add(&s->end->counters, C_peer_refused, 1);
	end_state(s->end, PORT_UP, why);
}

/* ---- what is upstream of this node */

static bool
gives_flows(const struct session *s)
{
	return s->up && !s->dead && s->loop[0] == '\0';
}

static void
add(struct path *p, uint64_t node, uint64_t to, const char *name)
{
	for (unsigned i = 0; i < p->n; i++)
		if (p->at[i].node == node && p->at[i].to == to)
			return;
	if (p->n == PATH_MAX_EDGES)
		return;
	struct edge *x = &p->at[p->n++];
	x->node = node;
	x->to = to;
	snprintf(x->name, sizeof(x->name), "%s", name);
}

/* Relays first: only they can be part of a loop, and the list is bounded. */
static void
collect(const struct link *l, struct path *out)
{
	memset(out, 0, sizeof(*out));
	for (int relays = 1; relays >= 0; relays--)
		for (const struct link_end *e = l->ends; e != NULL; e = e->next)
			for (const struct session *s = e->sessions; s != NULL && !e->is_publish;
			    s = s->next) {
				const struct path *p = s->path;
				if (!gives_flows(s) || e->draining)
					continue;
				if (relays == (p != NULL))
					add(out, peer_id(s), my_id(l), s->name);
				for (unsigned i = 0; p != NULL && i < p->n; i++) {
					bool is_relay = false;
					for (unsigned k = 0; k < p->n; k++)
						is_relay = is_relay || p->at[k].to == p->at[i].node;
					if (relays == is_relay)
						add(out, p->at[i].node, p->at[i].to, p->at[i].name);
				}
			}
}

/* ---- nodes that are reached over two peers */

bool
path_twin(const struct session *s, const struct session *o, char *out, size_t size)
{
	size_t n = 0;
	if (o == s || o->end->is_publish || !gives_flows(o) || !gives_flows(s))
		return false;
	if (is_upstream(o, peer_id(s)))
		n += (size_t)snprintf(out, size, "%s", s->name);
	for (unsigned i = 0; s->path != NULL && i < s->path->n && n < size; i++)
		if (is_upstream(o, s->path->at[i].node))
			n += (size_t)snprintf(out + n, size - n, "%s%s", n > 0 ? " " : "",
			    s->path->at[i].name);
	return n > 0;
}

static void
tell_twins(struct session *s)
{
	char names[160] = "";
	bool has_twin = false;
	for (struct link_end *e = s->end->link->ends; e != NULL && !has_twin; e = e->next)
		for (struct session *o = e->sessions; o != NULL && !has_twin; o = o->next) {
			has_twin = path_twin(s, o, names, sizeof(names));
			if (!has_twin || s->is_twin)
				continue;
			log_notice("link: %s: %s is reached through %s (%s) and through %s (%s): records "
			    "that both are asked for come twice", s->end->name, names, s->name,
			    s->end->name, o->name, o->end->name);
			o->is_twin = true;
		}
	s->is_twin = has_twin;
}

static bool
is_same(const struct path *a, const struct path *b)
{
	if (a->n != b->n)
		return false;
	for (unsigned i = 0; i < a->n; i++)
		if (a->at[i].node != b->at[i].node || a->at[i].to != b->at[i].to ||
		    strcmp(a->at[i].name, b->at[i].name) != 0)
			return false;
	return true;
}

void
path_update(struct link *l)
{
	struct path fresh;
	for (struct link_end *e = l->ends; e != NULL; e = e->next)
		for (struct session *s = e->sessions; s != NULL && !e->is_publish; s = s->next)
			if (s->up && !s->dead)
				check(s, my_id(l));
	collect(l, &fresh);
	if (!is_same(&fresh, &l->path)) {
		l->path = fresh;
		for (struct link_end *e = l->ends; e != NULL; e = e->next)
			for (struct session *s = e->sessions; s != NULL && e->is_publish; s = s->next)
				session_host(s);
	}
	for (struct link_end *e = l->ends; e != NULL; e = e->next)
		for (struct session *s = e->sessions; s != NULL && !e->is_publish; s = s->next)
			if (s->up)
				tell_twins(s);
}
