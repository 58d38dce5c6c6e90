/* SPDX-License-Identifier: Apache-2.0
 * flow/app_ndpi.c - nDPI for the flows that the native decoders cannot name.
 *
 * One detection module per engine; its flow structs come from a pool and are held only while nDPI
 * is undecided. nDPI allocates on the packet path by itself (strings, reassembly), which is one
 * more reason to ask it rarely. The application is nDPI's master protocol where it gives one
 * ("TLS.Google" is tls), as the native decoders cannot know services; its category goes with it. */
#include "flow/app_priv.h"

#include <ndpi/ndpi_main.h>
#include <pthread.h>
#include <stdlib.h>

/* nDPI forbids making modules in parallel (its tables of defaults are process-wide), and workers of
 * several endpoints may start at once: the only lock here, never taken on the packet path. */
static pthread_mutex_t init_lock = PTHREAD_MUTEX_INITIALIZER;

bool
app_ndpi_available(void)
{
	return true;
}

static int
make_module(struct app_ndpi *n)
{
	NDPI_PROTOCOL_BITMASK all;

	pthread_mutex_lock(&init_lock);
	n->module = ndpi_init_detection_module(ndpi_no_prefs);
	if (n->module != NULL) {
		NDPI_BITMASK_SET_ALL(all);
		ndpi_set_protocol_detection_bitmask2(n->module, &all);
		ndpi_finalize_initialization(n->module);
	}
	pthread_mutex_unlock(&init_lock);
	return n->module != NULL ? 0 : -E_NOMEM;
}

int
app_ndpi_init(struct app_engine *e, const struct app_conf *conf, struct err *err)
{
	struct app_ndpi *n = &e->ndpi;

	if (ndpi_detection_get_sizeof_ndpi_flow_struct() != sizeof(struct ndpi_flow_struct))
		return err_set(err, E_UNSUP, "the nDPI library found (%s) is not the one flowbus "
		    "was built with: rebuild, or set app=native", ndpi_revision());
	n->n_flows = conf->ndpi_flows;
	n->budget = conf->ndpi_packets;
	/* NOLINTNEXTLINE(clang-analyzer-unix.MallocSizeof): octets in nDPI's unit */
	n->flows = calloc(n->n_flows > 0 ? n->n_flows : 1, sizeof(struct ndpi_flow_struct));
	n->free = calloc(n->n_flows > 0 ? n->n_flows : 1, sizeof(n->free[0]));
	if (n->flows == NULL || n->free == NULL || make_module(n) != 0)
		return err_set(err, E_NOMEM, "nDPI: no memory for %u flows (lower ndpi_flows)",
		    conf->ndpi_flows);
	n->n_names = ndpi_get_num_supported_protocols(n->module);
	n->name = calloc(n->n_names > 0 ? n->n_names : 1, sizeof(n->name[0]));
	if (n->name == NULL)
		return err_set(err, E_NOMEM, "nDPI: no memory for its names");
	for (uint32_t i = NDPI_PROTOCOL_UNKNOWN + 1; i < n->n_names; i++) {
		ndpi_protocol p = NDPI_PROTOCOL_NULL;
		p.app_protocol = (u_int16_t)i;
		n->name[i] = app_names_add(e, ndpi_get_proto_name(n->module, (u_int16_t)i),
		    ndpi_category_get_name(n->module, ndpi_get_proto_category(n->module, p)));
	}
	return 0;
}

static struct ndpi_flow_struct *
flow_at(const struct app_ndpi *n, uint32_t slot)
{
	return (struct ndpi_flow_struct *)(void *)n->flows + (slot - 1);
}

void
app_ndpi_fini(struct app_engine *e)
{
	struct app_ndpi *n = &e->ndpi;

	if (n->module != NULL) {
		/* flows that the meter did not release, and clean ones: both may be freed */
		for (uint32_t i = 1; i <= n->fresh; i++)
			ndpi_free_flow_data(flow_at(n, i));
		ndpi_exit_detection_module(n->module);
	}
	free(n->flows);
	free(n->free);
	free(n->name);
	*n = (struct app_ndpi){0};
}

static uint32_t
slot_take(struct app_ndpi *n)
{
	if (n->n_free > 0)
		return n->free[--n->n_free];
	return n->fresh < n->n_flows ? ++n->fresh : 0;
}

void
app_ndpi_drop(struct app_engine *e, struct app_state *st)
{
	struct app_ndpi *n = &e->ndpi;
	struct ndpi_flow_struct *f = flow_at(n, st->ndpi);

	ndpi_free_flow_data(f);
	memset(f, 0, sizeof(*f));
	n->free[n->n_free++] = st->ndpi;
	st->ndpi = 0;
}

static void
put_string(struct app_look *l, enum field field, const char *s, size_t max)
{
	if (s != NULL)
		app_put(l, field, s, strnlen(s, max));
}

static void
keep_http(struct app_look *l, const struct ndpi_flow_struct *f)
{
	const char *url = f->http.url;
	size_t host = strnlen(f->host_server_name, sizeof(f->host_server_name));

	put_string(l, F_http_host, f->host_server_name, sizeof(f->host_server_name));
	if (f->http.method != NDPI_HTTP_METHOD_UNKNOWN)
		put_string(l, F_http_method, ndpi_http_method2str(f->http.method), 16);
	if (url != NULL && host > 0 && strncmp(url, f->host_server_name, host) == 0)
		url += host; /* nDPI puts the host in front */
	put_string(l, F_http_url, url, SIZE_MAX);
	put_string(l, F_http_user_agent, f->http.user_agent, SIZE_MAX);
	if (f->http.response_status_code != 0)
		app_put_num(l, F_http_status, f->http.response_status_code);
}

static void
keep_tls(struct app_look *l, const struct ndpi_flow_struct *f)
{
	const char *alpn = f->protos.tls_quic.alpn;

	put_string(l, F_tls_sni, f->host_server_name, sizeof(f->host_server_name));
	if (alpn != NULL)
		app_put(l, F_tls_alpn, alpn, strcspn(alpn, ","));
	if (f->protos.tls_quic.ssl_version >= 0x0300)
		app_put_num(l, F_tls_version, f->protos.tls_quic.ssl_version);
}

/* Text that nDPI has found, for protocols whose fields we have. */
static void
keep_text(struct app_look *l, const struct ndpi_flow_struct *f, uint16_t proto)
{
	switch (proto) {
	case NDPI_PROTOCOL_HTTP:
	case NDPI_PROTOCOL_HTTP_CONNECT:
	case NDPI_PROTOCOL_HTTP_PROXY:
		keep_http(l, f);
		break;
	case NDPI_PROTOCOL_TLS:
	case NDPI_PROTOCOL_QUIC:
	case NDPI_PROTOCOL_MAIL_SMTPS:
	case NDPI_PROTOCOL_MAIL_IMAPS:
	case NDPI_PROTOCOL_MAIL_POPS:
		keep_tls(l, f);
		break;
	case NDPI_PROTOCOL_DNS:
	case NDPI_PROTOCOL_MDNS:
	case NDPI_PROTOCOL_LLMNR:
		put_string(l, F_dns_query, f->host_server_name, sizeof(f->host_server_name));
		if (f->protos.dns.query_type != 0)
			app_put_num(l, F_dns_type, f->protos.dns.query_type);
		if (f->protos.dns.is_query == 0)
			app_put_num(l, F_dns_rcode, f->protos.dns.reply_code);
		break;
	case NDPI_PROTOCOL_SSH:
		put_string(l, F_ssh_client, f->protos.ssh.client_signature,
		    sizeof(f->protos.ssh.client_signature));
		put_string(l, F_ssh_server, f->protos.ssh.server_signature,
		    sizeof(f->protos.ssh.server_signature));
		break;
	default:
		break;
	}
}

static bool
has_fields(uint16_t proto)
{
	return proto == NDPI_PROTOCOL_HTTP || proto == NDPI_PROTOCOL_TLS ||
	    proto == NDPI_PROTOCOL_QUIC || proto == NDPI_PROTOCOL_DNS || proto == NDPI_PROTOCOL_SSH;
}

static uint16_t
name_of(const struct app_ndpi *n, uint16_t proto)
{
	return proto < n->n_names ? n->name[proto] : APP_UNKNOWN;
}

/* nDPI's word is final. */
static void
take(struct app_look *l, const struct ndpi_flow_struct *f, ndpi_protocol p)
{
	uint16_t proto = ndpi_get_lower_proto(p);
	/* what nDPI knows by address is the service, then its master is the port's */
	bool by_port = f->confidence == NDPI_CONFIDENCE_MATCH_BY_PORT ||
	    (f->confidence == NDPI_CONFIDENCE_MATCH_BY_IP &&
	    p.master_protocol != NDPI_PROTOCOL_UNKNOWN);

	app_decide(l, name_of(&l->e->ndpi, proto), by_port ? APP_BY_PORT : APP_BY_NDPI);
	keep_text(l, f, proto);
	app_done(l);
}

void
app_ndpi_look(struct app_look *l, const struct wire_pkt *pkt, int64_t ts_us)
{
	struct app_ndpi *n = &l->e->ndpi;
	struct app_state *st = l->st;

	if ((pkt->flags & WIRE_LATER_FRAGMENT) != 0)
		return;
	if (st->ndpi == 0) {
		st->ndpi = slot_take(n);
		if (st->ndpi == 0) {
			counter_add(l->c, C_app_ndpi_full, 1);
			app_done(l);
			return;
		}
	}
	struct ndpi_flow_struct *f = flow_at(n, st->ndpi);
	uint32_t len = pkt->l3_len < UINT16_MAX ? pkt->l3_len : UINT16_MAX;
	ndpi_protocol p = ndpi_detection_process_packet(n->module, f, pkt->l3, (unsigned short)len,
	    (u_int64_t)(ts_us / 1000));
	counter_add(l->c, C_app_ndpi_packets, 1);
	bool spent = f->num_processed_pkts >= n->budget;
	if (p.app_protocol != NDPI_PROTOCOL_UNKNOWN || p.master_protocol != NDPI_PROTOCOL_UNKNOWN) {
		/* named; stay for what the next packets tell, where there are fields for it */
		if (spent || !has_fields(ndpi_get_lower_proto(p)) ||
		    ndpi_extra_dissection_possible(n->module, f) == 0)
			take(l, f, p);
		else
			app_decide(l, name_of(n, ndpi_get_lower_proto(p)), APP_BY_NDPI);
	} else if (spent) {
		u_int8_t guessed = 0;
		take(l, f, ndpi_detection_giveup(n->module, f, 1, &guessed));
	}
}

uint16_t
app_ndpi_by_port(const struct app_engine *e, uint8_t proto, uint16_t sport, uint16_t dport)
{
	const struct app_ndpi *n = &e->ndpi;
	ndpi_protocol p =
	    ndpi_guess_undetected_protocol(n->module, NULL, proto, 0, sport, 0, dport);
	return name_of(n, ndpi_get_lower_proto(p));
}

uint64_t
app_ndpi_memory(const struct app_ndpi *n)
{
	return (uint64_t)n->n_flows * (sizeof(struct ndpi_flow_struct) + sizeof(n->free[0]));
}

void
app_ndpi_finish(struct app_look *l)
{
	struct app_ndpi *n = &l->e->ndpi;

	if (l->st->ndpi != 0) {
		struct ndpi_flow_struct *f = flow_at(n, l->st->ndpi);
		u_int8_t guessed = 0;
		take(l, f, ndpi_detection_giveup(n->module, f, 1, &guessed));
	}
	if (l->st->name == APP_UNKNOWN)
		app_decide(l, app_ndpi_by_port(l->e, l->proto, l->sport, l->dport), APP_BY_PORT);
}
