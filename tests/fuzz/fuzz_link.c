/* SPDX-License-Identifier: Apache-2.0
 * fuzz/fuzz_link.c - the state machine of the link: messages in any order, damaged, forged.
 *
 * The input's first octet chooses the end (publishing or subscribing, bound or connecting, a small
 * ring), then come steps of an octet and its arguments. Peers 1-3 are hostile; peer 0 keeps to the
 * protocol (link_honest.c) and must get, or deliver, each flow once, without losing its session.
 * After every round link_check.c looks at ledgers and bounds; at the end all must have arrived. */
#include "link_world.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct in {
	const uint8_t *p;
	size_t n;
	bool claims; /* hostile peers may say that they are the honest one */
	bool lazy;   /* the honest one does not acknowledge */
};

static uint8_t
octet(struct in *in)
{
	if (in->n == 0)
		return 0;
	in->n--;
	return *in->p++;
}

static const char *const filters[] = {"", "proto tcp", "proto 6", "app http", "proto nonsense",
    "(", "bytes > 10 and bytes > 10", "src port 80 or dst port in (1,2,3-9)"};

static uint64_t
number(struct in *in, const struct peer *p, enum msg_item i)
{
	uint8_t how = octet(in);
	if (how < 0xc0) { /* what fits */
		if (i == MI_channel || i == MI_resume_channel)
			return (how & 1) != 0 ? p->channel : how == 2 ? world->peer[0].channel :
			    0xbadU + how / 8U;
		if (i == MI_seq || i == MI_next || i == MI_from || i == MI_to || i == MI_resume_seq)
			return p->next + how;
		if (i == MI_node_id)
			return in->claims && how == 7 ? honest_node() : 0x2000 + p->number + how / 8U;
		if (i == MI_role)
			return world->e->is_publish ? MSG_ROLE_SUBSCRIBE : MSG_ROLE_PUBLISH;
		if (i == MI_proto_min || i == MI_proto_max || i == MI_protocol)
			return MSG_VERSION;
		if (i == MI_time || i == MI_echo_time || i == MI_recv || i == MI_mono || i == MI_echo_mono)
			return world->l.now_us;
		return how & 7;
	}
	static const uint64_t edges[] = {0, 1, 2, 255, 4096, 4097, UINT32_MAX, UINT64_C(1) << 32,
	    INT64_MAX, UINT64_C(1) << 63, UINT64_MAX - 1, UINT64_MAX};
	return edges[how % (sizeof(edges) / sizeof(edges[0]))];
}

static struct strv
words(struct in *in, const struct peer *p, enum msg_item i)
{
	static char long_text[5000];
	uint8_t how = octet(in);
	if (i == MI_filter)
		return strv_of(filters[how % (sizeof(filters) / sizeof(filters[0]))]);
	if (i == MI_end)
		return in->claims && how == 7 ? STRV("honest") : STRV("hostile");
	if (i == MI_fields) {
		memcpy(long_text, "\1\0\2\0\5\0\7\0\11\0\377\377", 12);
		return (struct strv){long_text, how % 13};
	}
	if (how < 0x20)
		return (struct strv){long_text, how * 20U};
	size_t n = how % 32 < in->n ? how % 32 : in->n;
	struct strv s = {(const char *)in->p, n};
	in->p += n;
	in->n -= n;
	(void)p;
	return s;
}

/* Which items are numbers is in the table; which ones come, in the input. */
static void
fill(struct in *in, const struct peer *p, struct msg *m, uint64_t mask)
{
	static const uint8_t is_text[MI_COUNT] = {
#define KIND_IS_T 1
#define KIND_IS_U 0
#define ITEM(tag, id, kind, max) KIND_IS_##kind,
#include "link/msg.def"
	};
	for (enum msg_item i = 0; i < MI_COUNT; i++) {
		if ((mask >> i & 1) == 0)
			continue;
		if (is_text[i])
			msg_text(m, i, words(in, p, i));
		else
			msg_num(m, i, number(in, p, i));
	}
}

static uint64_t
needed(enum msg_type t)
{
	switch ((int)t) {
#define N(id) (UINT64_C(1) << MI_##id)
#define MESSAGE(n, id, need) case n: return need;
#include "link/msg.def"
#undef N
	default: return 0;
	}
}

/* A claim to be the honest peer while that is away is no attack but what a shared secret allows. */
static bool
may_claim(void)
{
	if (honest_is_up() && world->e->is_bind && !world->peer[0].blocked)
		return true;
	honest_may_be_forgotten = true;
	return false;
}

static void
body(struct in *in, struct buf *out)
{
	uint8_t how = octet(in);
	if (how < 0x80) {
		frame_make(out, 1 + how, how % 7, how % 3);
	} else if (how < 0xa0) {
		frame_make(out, 1, 3, FRAME_NONE);
		out->n -= out->n * (how & 15) / 16;
	} else if (how < 0xc0) {
		size_t n = (size_t)((how & 31) + 1) << 14;
		uint8_t *p = buf_room(out, n);
		assert_always(p != NULL);
		memset(p, 0, n);
		out->n += n;
	}
}

static void
say(struct in *in, struct peer *p)
{
	uint8_t type = octet(in), whose = octet(in);
	struct msg m = MSG((enum msg_type)(1 + type % 15), p->me, p->end);
	if (m.type == M_HELLO) {
		m.from = p->me = (whose & 0x80) != 0 ? world->peer[0].me : world_random() | 1;
		m.to = 0;
	} else if ((whose & 0xc0) == 0xc0) { /* forged: another's session, none, the honest one's */
		m.to = (whose & 1) != 0 ? world->peer[0].end : whose & 2 ? 0 : world_random();
		m.from = (whose & 4) != 0 ? world->peer[0].me : p->me;
	}
	uint64_t mask = needed(m.type);
	if ((whose & 0x30) == 0x20) {
		mask |= (uint64_t)octet(in) << 13;
		mask |= (uint64_t)octet(in) << 36;
	}
	if ((whose & 0x30) == 0x10)
		mask &= ~(UINT64_C(1) << octet(in) % MI_COUNT);
	in->claims = in->claims && (m.type != M_HELLO || may_claim());
	fill(in, p, &m, mask);
	struct buf out = buf_init(0);
	unsigned times = (whose & 0x08) != 0 ? 1 + octet(in) : 1;
	bool with = (m.type == M_BATCH) != ((whose & 0x0f) == 0x07);
	if (with)
		body(in, &out);
	for (; times > 0; times--) {
		peer_say(p, &m, with ? &out : NULL);
		m.u[MI_seq]++; /* a stream of frames */
		if (m.type == M_GAP)
			m.u[MI_from] = ++m.u[MI_to];
		if (times % 64 == 1)
			world_round();
	}
	if (m.type == M_BATCH || m.type == M_GAP) /* the next one may go on from here */
		p->next = m.type == M_GAP ? m.u[MI_to] : m.u[MI_seq];
	buf_fini(&out);
}

/* What a good peer would say at this point: greet, then ask or answer. */
static void
proper(struct in *in, struct peer *p)
{
	bool publish = world->e->is_publish;
	struct msg m = MSG(world->e->is_bind ? M_HELLO : M_WELCOME, p->me, p->end);
	if (p->up) {
		m.type = publish ? M_SUBSCRIBE : M_SUBSCRIBED;
		msg_num(&m, MI_sub, publish ? octet(in) % 6 : 1);
		msg_num(&m, MI_channel, 0x100 + octet(in) % 30U);
		msg_num(&m, MI_next, 1);
		msg_num(&m, MI_stats, 1);
		msg_num(&m, MI_window, UINT64_C(1) << octet(in) % 64);
		if (publish)
			msg_text(&m, MI_filter, strv_of(filters[octet(in) % 4]));
		p->channel = publish ? p->channel : m.u[MI_channel];
		p->next = publish ? p->next : 1;
		peer_say(p, &m, NULL);
		return;
	}
	m.from = p->me = world_random() | 1;
	m.to = world->e->is_bind ? 0 : p->end;
	msg_num(&m, MI_role, publish ? MSG_ROLE_SUBSCRIBE : MSG_ROLE_PUBLISH);
	msg_num(&m, MI_proto_min, MSG_VERSION);
	msg_num(&m, MI_proto_max, MSG_VERSION);
	msg_num(&m, MI_protocol, MSG_VERSION);
	uint8_t who = octet(in);
	bool claim = in->claims && who < 0x40 && may_claim();
	msg_num(&m, MI_node_id, claim ? honest_node() : 0x2000 + who % 64U);
	msg_text(&m, MI_end, claim ? STRV("honest") : STRV("hostile"));
	msg_text(&m, MI_name, STRV("hostile"));
	peer_say(p, &m, NULL);
}

static void
raw(struct in *in, struct peer *p)
{
	struct part parts[PARTS];
	unsigned n = octet(in) % PARTS;
	for (unsigned i = 0; i < n; i++) {
		size_t len = octet(in);
		parts[i] = (struct part){(uint8_t *)(uintptr_t)in->p, len < in->n ? len : in->n};
		in->p += parts[i].n;
		in->n -= parts[i].n;
	}
	peer_put(p, parts, n);
}

/* Something the honest peer said, whole or cut, from another connection. */
static void
replay(struct in *in, struct peer *p)
{
	struct part k = world->kept[octet(in) % KEPT];
	uint8_t cut = octet(in);
	struct msg m;
	if (k.p == NULL || (msg_decode(k.p, k.n, &m) == 0 &&
	    (m.type == M_HELLO || m.type == M_WELCOME) && !(in->claims && may_claim())))
		return;
	if (cut < 0x80)
		k.n = k.n * cut / 0x80;
	peer_put(p, &k, 1);
}

static void
step(struct in *in)
{
	uint8_t op = octet(in);
	struct peer *p = &world->peer[1 + (op >> 4) % (PEERS - 1)];
	static const uint32_t spans[] = {1000, 20000, 100000, 1000000, 2500000, 9000000, 60000000,
	    310000000};
	uint32_t n;
	switch (op & 15) {
	case 0:
	case 1:
	case 2:
		peer_connect(p);
		say(in, p);
		break;
	case 3:
		peer_connect(p);
		proper(in, p);
		break;
	case 4:
		peer_connect(p);
		raw(in, p);
		break;
	case 5:
		peer_connect(p);
		replay(in, p);
		break;
	case 6:
		peer_lose(p);
		break;
	case 7:
		p->blocked = p->connected && (op & 0x10) != 0;
		break;
	case 8:
	case 9:
		n = octet(in);
		honest_flows(n < 0xf0 ? n % 64 : 4096);
		break;
	case 10:
		n = spans[op >> 4 & 7];
		if (n >= 1000000)
			honest_excuse();
		world_later(n);
		break;
	case 11:
		honest_excuse();
		peer_lose(&world->peer[0]);
		break;
	case 12:
		honest_filter((op & 0x10) != 0);
		break;
	case 13:
		world->hold = (op & 0x10) != 0;
		while (!world->hold && world->n_held > 0)
			batch_unref(&world->held[--world->n_held]);
		break;
	case 14: /* slow, and then its session may end */
		if (in->claims || !world->peer[0].connected)
			break;
		honest_excuse();
		world->peer[0].blocked = (op & 0x10) != 0;
		break;
	default: /* a second of statistics, habits of the honest one */
		if (op >> 4 == 1 || op >> 4 == 2)
			in->lazy = op >> 4 == 1;
		if (op >> 4 == 3 && !in->claims && honest_is_up()) {
			honest_excuse();
			world->peer[0].deaf = true;
		}
		if (world->e->is_publish) {
			struct stats_second s = {.second = 1, .interface = "eth0"};
			link_second(world->e, &s);
		}
	}
	if ((op & 0x80) != 0)
		return; /* more happens before the end looks */
	if (world->e->is_bind)
		honest_step(in->lazy || (op & 0x40) != 0);
	world_round();
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct in in = {data, size, false, false};
	uint8_t mode = octet(&in);
	bool bind = (mode & 2) != 0;
	in.claims = (mode & 8) != 0;
	world_start((mode & 1) != 0, bind, (mode & 4) != 0 ? 3000 : 1 << 20,
	    (mode & 16) != 0 ? 2000 : 1 << 20);
	honest_start();
	for (unsigned i = 0; bind && i < 3; i++) {
		honest_step(false);
		world_round();
	}
	assert_always(!bind || honest_is_up());
	for (unsigned i = 0; in.n > 0 && i < 400; i++)
		step(&in);
	honest_finish();
	honest_stop();
	world_stop();
	return 0;
}
