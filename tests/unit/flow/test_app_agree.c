/* SPDX-License-Identifier: Apache-2.0
 * flow/test_app_agree.c - the native decoders and nDPI give a flow the same name.
 *
 * Every packet of the captures l7-*, large-*, many-*, ... of the data directory (FLOWBUS_DATA, else
 * ../shared/data beside the source; FLOWBUS_ALL=1: all of them) goes through three engines: native
 * and nDPI, nDPI alone, native alone. Where the first says `native`, the second must agree, but for
 * the exceptions listed here with their reasons. What Debian's ndpiReader 4.2 said is
 * compared too. VERBOSE=1 lists differences. Without the data the program is skipped (77). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <dirent.h>
#include <jansson.h>
#include <pcap/pcap.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include "flow/app.h"

enum { N_ENGINES = 3, BOTH = 0, NDPI = 1, NATIVE = 2, MAX_FLOWS = 1 << 14 };

struct flow {
	struct addr src, dst;
	uint16_t sport, dport;
	uint8_t proto;
	bool used;
	struct app_state st[N_ENGINES];
};

struct totals {
	unsigned files, flows, native, agree, excused, disagree, wrong_by;
	unsigned expected, expected_same, expected_native, expected_native_same;
	unsigned decided[N_ENGINES], quic, quic_named;
};

static struct flow flows[MAX_FLOWS];
static struct counters counters[N_ENGINES];

/* Native and nDPI differ here, and why the native answer stands. */
static const struct {
	const char *file, *native, *ndpi, *why;
} exceptions[] = {
	{"ip6ext-options", "ospf", "ipsec", "OSPF behind an IPv6 AH, which is looked through"},
	{"l2-tcp-http-with-padding", "http", "", "a request typed byte by byte, put together here"},
	{"l7-whatsapp-login-call", "tls", "applepush", "TLS to Apple's push port: no master given"},
	{"large-mixed", "http", "nats", "SUBSCRIBE of UPnP over HTTP; NATS has no HTTP version"},
};

static bool
excused(const char *file, const char *native, const char *ndpi)
{
	for (size_t i = 0; i < sizeof(exceptions) / sizeof(exceptions[0]); i++) {
		const char *in = exceptions[i].file;
		if (strcmp(exceptions[i].native, native) == 0 &&
		    strcmp(exceptions[i].ndpi, ndpi) == 0 && strncmp(file, in, strlen(in)) == 0)
			return true;
	}
	return false;
}

static struct flow *
flow_of(const struct wire_pkt *p, bool *reverse)
{
	for (size_t i = 0; i < MAX_FLOWS; i++) {
		struct flow *f = &flows[i];
		if (!f->used) {
			*f = (struct flow){.src = p->src, .dst = p->dst, .sport = p->sport,
			    .dport = p->dport, .proto = p->proto, .used = true};
			*reverse = false;
			return f;
		}
		if (f->proto != p->proto)
			continue;
		if (f->sport == p->sport && f->dport == p->dport &&
		    memcmp(&f->src, &p->src, 16) == 0 && memcmp(&f->dst, &p->dst, 16) == 0) {
			*reverse = false;
			return f;
		}
		if (f->sport == p->dport && f->dport == p->sport &&
		    memcmp(&f->src, &p->dst, 16) == 0 && memcmp(&f->dst, &p->src, 16) == 0) {
			*reverse = true;
			return f;
		}
	}
	return NULL;
}

static struct app_engine *
engine(bool native, bool ndpi)
{
	struct err err = {0};
	struct app_conf conf = {native, ndpi, MAX_FLOWS, MAX_FLOWS, 16};
	const char *budget = getenv("FLOWBUS_NDPI_PACKETS");
	if (budget != NULL)
		conf.ndpi_packets = (uint32_t)strtoul(budget, NULL, 10);
	struct app_engine *e = app_engine_new(&conf, &err);
	if (e == NULL)
		fail_msg("%s", err.text);
	return e;
}

static void
read_packets(const char *path, struct app_engine *e[N_ENGINES])
{
	char text[PCAP_ERRBUF_SIZE];
	pcap_t *p = pcap_open_offline(path, text);
	if (p == NULL)
		return; /* some captures are broken on purpose */
	struct pcap_pkthdr *h;
	const u_char *data;
	while (pcap_next_ex(p, &h, &data) == 1) {
		struct wire_pkt pkt;
		if (wire_packet_decode(pcap_datalink(p), data, h->caplen, h->len, &pkt) != WIRE_IP)
			continue;
		bool reverse;
		struct flow *f = flow_of(&pkt, &reverse);
		if (f == NULL)
			continue;
		int64_t ts = (int64_t)h->ts.tv_sec * 1000000 + h->ts.tv_usec;
		for (int i = 0; i < N_ENGINES; i++)
			app_look(e[i], &f->st[i], &pkt, reverse, ts, &counters[i]);
	}
	pcap_close(p);
}

static void
ip_text(const struct addr *a, char out[64])
{
	struct buf b = buf_init(0);
	addr_print(&b, a);
	snprintf(out, 64, "%s", buf_cstr(&b));
	buf_fini(&b);
}

/* What ndpiReader said, its master protocol in lower case; "" when it lists no such flow. */
static void
expected_app(json_t *list, const struct flow *f, char out[64])
{
	char src[64], dst[64];
	size_t i;
	json_t *row;

	out[0] = '\0';
	ip_text(&f->src, src);
	ip_text(&f->dst, dst);
	json_array_foreach (list, i, row) {
		const char *a = json_string_value(json_array_get(row, 1));
		const char *b = json_string_value(json_array_get(row, 3));
		long long ap = json_integer_value(json_array_get(row, 2));
		long long bp = json_integer_value(json_array_get(row, 4));
		if (a == NULL || b == NULL)
			continue;
		bool same = strcmp(a, src) == 0 && strcmp(b, dst) == 0;
		bool swapped = strcmp(a, dst) == 0 && strcmp(b, src) == 0;
		same = same && ap == f->sport && bp == f->dport;
		swapped = swapped && ap == f->dport && bp == f->sport;
		if (json_integer_value(json_array_get(row, 0)) != f->proto || (!same && !swapped))
			continue;
		const char *name = json_string_value(json_array_get(row, 5));
		snprintf(out, 64, "%.*s", (int)strcspn(name, "."), name);
		for (char *c = out; *c != '\0'; c++)
			*c = *c >= 'A' && *c <= 'Z' ? (char)(*c | 0x20) : *c;
		return;
	}
}

static bool
has_value(struct app_engine *e, const struct app_state *st, enum field field)
{
	struct batch_pool *pool = batch_pool_new(1);
	struct batch *b = batch_pool_get(pool);
	struct value v;

	app_write(e, st, b, 0);
	b->n = 1;
	bool has = batch_value(b, field, 0, &v);
	batch_unref(&b);
	batch_pool_free(&pool);
	return has;
}

static void
compare(const char *file, const struct flow *f, struct app_engine *e[N_ENGINES], json_t *list,
    struct totals *t)
{
	const char *both = app_name(e[BOTH], f->st[BOTH].name);
	const char *ndpi = app_name(e[NDPI], f->st[NDPI].name);
	char expect[64];

	t->flows++;
	for (int i = 0; i < N_ENGINES; i++)
		t->decided[i] += f->st[i].name != 0 && f->st[i].by != APP_BY_PORT;
	expected_app(list, f, expect);
	if (expect[0] != '\0') {
		bool unknown = strcmp(expect, "unknown") == 0 && both[0] == '\0';
		bool same = strcmp(expect, both) == 0 || unknown;
		t->expected++;
		t->expected_same += same;
		if (!same && getenv("VERBOSE") != NULL)
			printf("  %s: %u->%u: ours %s by %u, ndpiReader %s\n", file, f->sport,
			    f->dport, both, f->st[BOTH].by, expect);
	}
	bool quic = strcmp(both, "quic") == 0;
	bool named = quic && has_value(e[BOTH], &f->st[BOTH], F_tls_sni);
	t->quic += quic;
	t->quic_named += named;
	if (quic && !named && getenv("VERBOSE") != NULL)
		printf("  %s: %u->%u: QUIC without a server name\n", file, f->sport, f->dport);
	if (f->st[BOTH].by != APP_BY_NATIVE)
		return;
	t->native++;
	if (strcmp(both, ndpi) == 0) {
		t->agree++;
	} else if (excused(file, both, ndpi)) {
		t->excused++;
	} else {
		printf("%s: proto %u %u->%u: native %s, nDPI %s (by %u)\n", file, f->proto,
		    f->sport, f->dport, both, ndpi, f->st[NDPI].by);
		t->disagree++;
	}
}

static void
run_file(const char *dir, const char *file, struct totals *t)
{
	struct app_engine *e[N_ENGINES] = {
		engine(true, true), engine(false, true), engine(true, false),
	};
	char path[1024], base[256];

	memset(flows, 0, sizeof(flows));
	snprintf(path, sizeof(path), "%s/packets/%s", dir, file);
	read_packets(path, e);
	snprintf(base, sizeof(base), "%.*s", (int)strcspn(file, "."), file);
	if (strrchr(file, '.') != NULL)
		snprintf(base, sizeof(base), "%.*s", (int)(strrchr(file, '.') - file), file);
	snprintf(path, sizeof(path), "%s/expected/packets/%s.json", dir, base);
	json_t *doc = json_load_file(path, 0, NULL);
	json_t *list = json_object_get(doc, "ndpi_4.2_flows");
	for (size_t i = 0; i < MAX_FLOWS && flows[i].used; i++) {
		struct flow *f = &flows[i];
		for (int k = 0; k < N_ENGINES; k++)
			app_finish(e[k], &f->st[k], f->proto, f->sport, f->dport, &counters[k]);
		compare(file, f, e, list, t);
		for (int k = 0; k < N_ENGINES; k++)
			app_release(e[k], &f->st[k]);
	}
	json_decref(doc);
	for (int k = 0; k < N_ENGINES; k++)
		app_engine_free(&e[k]);
	t->files++;
}

static const char *
data_dir(void)
{
	const char *env = getenv("FLOWBUS_DATA");
	return env != NULL ? env : FLOWBUS_SOURCE_DIR "/../shared/data";
}

static int
is_wanted(const struct dirent *d)
{
	static const char *const kinds[] = {"l7-", "large-", "many-", "tcp-", "ip6ext-", "l2-"};
	const char *all = getenv("FLOWBUS_ALL"); /* also the broken ones and tunnels */
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		if (strncmp(d->d_name, kinds[i], strlen(kinds[i])) == 0)
			return 1;
	}
	return all != NULL && strstr(d->d_name, ".pcap") != NULL;
}

static void
native_and_ndpi_agree(void **state)
{
	struct totals t = {0};
	struct dirent **list;
	char path[1024];

	(void)state;
	snprintf(path, sizeof(path), "%s/packets", data_dir());
	int n = scandir(path, &list, is_wanted, alphasort);
	assert_true(n > 0);
	for (int i = 0; i < n; i++) {
		run_file(data_dir(), list[i]->d_name, &t);
		free(list[i]);
	}
	free(list);
	printf("%u captures, %u flows; named from packets: native and nDPI %u, nDPI alone %u, "
	    "native alone %u\n", t.files, t.flows, t.decided[BOTH], t.decided[NDPI],
	    t.decided[NATIVE]);
	printf("native %u: nDPI agrees %u, excused %u, disagrees %u\n", t.native, t.agree,
	    t.excused, t.disagree);
	printf("as ndpiReader: %u of %u\n", t.expected_same, t.expected);
	for (int i = 0; i < N_ENGINES; i++)
		printf("engine %d: nDPI looked at %llu packets\n", i,
		    (unsigned long long)counter_get(&counters[i], C_app_ndpi_packets));
	printf("QUIC flows %u, %u with a server name\n", t.quic, t.quic_named);
	assert_int_equal(t.disagree, 0);
	assert_true(t.quic_named > 0);
	assert_true(t.native > 500);
	assert_true(t.expected_same * 100 >= t.expected * 90);
}

int
main(void)
{
	char path[1024];
	snprintf(path, sizeof(path), "%s/packets", data_dir());
	DIR *d = opendir(path);
	if (d == NULL || !app_ndpi_available()) {
		printf("skipped: no %s, or no nDPI\n", path);
		return 77;
	}
	closedir(d);
	const struct CMUnitTest tests[] = {cmocka_unit_test(native_and_ndpi_agree)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
