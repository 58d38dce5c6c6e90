/* SPDX-License-Identifier: Apache-2.0
 * flow/app_priv.h - parts of the application detection, private to flow/app*.c.
 *
 * A decoder is a function over the bytes one side has sent so far. It stores what it learns as
 * values of registry fields in the flow's text (app_put, app_put_num) and says with enum app_parse
 * whether that side has more to tell. Everything else, which is direction, budgets, waiting for
 * the rest of a message, handing over to nDPI, is app.c's. */
#ifndef FLOWBUS_FLOW_APP_PRIV_H
#define FLOWBUS_FLOW_APP_PRIV_H

#include "flow/app.h"

/* What the native path can name: APP(constant, nDPI's name in lower case, nDPI's category). */
#define APP_NATIVE_TABLE(APP) \
	APP(TLS, "tls", "web") \
	APP(SMTPS, "smtps", "email") \
	APP(IMAPS, "imaps", "email") \
	APP(POPS, "pops", "email") \
	APP(HTTP, "http", "web") \
	APP(HTTP_CONNECT, "http_connect", "web") \
	APP(HTTP_PROXY, "http_proxy", "web") \
	APP(DNS, "dns", "network") \
	APP(MDNS, "mdns", "network") \
	APP(LLMNR, "llmnr", "network") \
	APP(SSH, "ssh", "remoteaccess") \
	APP(NTP, "ntp", "system") \
	APP(DHCP, "dhcp", "network") \
	APP(SSDP, "ssdp", "system") \
	APP(QUIC, "quic", "web") \
	APP(ICMP, "icmp", "network") \
	APP(ICMPV6, "icmpv6", "network") \
	APP(IGMP, "igmp", "network") \
	APP(GRE, "gre", "network") \
	APP(IPSEC, "ipsec", "vpn") \
	APP(EGP, "egp", "network") \
	APP(SCTP, "sctp", "network") \
	APP(OSPF, "ospf", "network") \
	APP(IPIP, "ip_in_ip", "network") \
	APP(VRRP, "vrrp", "network")

enum app_id {
	APP_UNKNOWN,
#define APP(id, name, category) APP_##id,
	APP_NATIVE_TABLE(APP)
#undef APP
	APP_NATIVE_COUNT,
};

enum {
	APP_NAME_LEN = 32,
	APP_NAMES_MAX = 1024,      /* native ones and nDPI's */
	APP_BLOCK = 128,           /* unit of the text pool */
	APP_TEXT_MAX = 8192,       /* bytes a flow's text or unfinished message can have */
	APP_LOOKS = 4,             /* payload packets of a side that a decided flow waits for */
	APP_LOOKS_OPEN = 2,        /* and an undecided one */
	APP_LOOKS_HELD = 48,       /* segments a message may come in, each a parse of all so far */
	APP_LOOKS_SILENT = 64,     /* payload packets of one side while the other says nothing */
};

/* A name with its category, and where the batch being filled has them (verified at each use). */
struct app_entry {
	char name[APP_NAME_LEN], category[APP_NAME_LEN];
	struct text name_cell, category_cell;
};

/* Chains of blocks; a flow's chain is named by its first block, 1-based. */
struct app_texts {
	uint8_t *mem;
	uint32_t n_blocks, fresh; /* blocks from `fresh` on were never used */
	uint32_t free, n_free;    /* chain of those given back */
	uint32_t n_chains, max_chains;
};

struct ndpi_detection_module_struct;

/* nDPI's side, empty when it is not built in. */
struct app_ndpi {
	struct ndpi_detection_module_struct *module;
	uint8_t *flows;           /* n_flows structs */
	uint32_t *free, n_free;   /* stack of 1-based free slots */
	uint32_t n_flows, fresh, budget;
	uint16_t *name;           /* nDPI's id to our index */
	uint32_t n_names;
};

struct app_engine {
	bool native;
	uint16_t n_entries;
	struct app_texts texts;
	struct app_ndpi ndpi;
	struct app_entry *entry;
	uint8_t scratch[APP_TEXT_MAX];  /* a chain as one piece */
	uint8_t message[APP_TEXT_MAX];  /* a TLS handshake message without record headers */
};

/* st->stage */
enum {
	APP_S_SETTLED0 = 1 << 0,   /* the initiator's side has nothing more to tell */
	APP_S_SETTLED1 = 1 << 1,   /* nor has the responder's */
	APP_S_HELD = 1 << 2,       /* the text chain ends with an unfinished message */
	APP_S_HELD_REVERSE = 1 << 3, /* and it is the responder's */
	APP_S_NOT_NATIVE = 1 << 4, /* the native decoders have given up */
	APP_S_REQUEST = 1 << 5,    /* the first request, query, ClientHello was read */
	APP_S_RESPONSE = 1 << 6,   /* the first response, answer, ServerHello was read */
	APP_S_NUMBERED = 1 << 7,   /* app_native or app_ndpi has counted this flow */
};

/* A look at one packet. */
struct app_look {
	struct app_engine *e;
	struct app_state *st;
	struct counters *c;
	uint16_t sport, dport;
	uint8_t proto;
	bool reverse;
	bool last;  /* no more bytes of this message will come: take what is there */
};

enum app_parse {
	APP_P_NO,   /* not this protocol, or nothing to learn from these bytes */
	APP_P_MORE, /* wants the bytes that follow; never returned when l->last */
	APP_P_YES,  /* learnt what this side has to tell */
};

/* Name the flow; a name given natively stays. */
void app_decide(struct app_look *l, uint16_t name, uint8_t by);
/* Close it: nothing more will be looked at. */
void app_done(struct app_look *l);
/* Keep a value of a text or number field for app_write. Empty text is not kept. */
void app_put(struct app_look *l, enum field f, const void *p, size_t n);
void app_put_num(struct app_look *l, enum field f, uint16_t v);

/* app_tls.c, app_http.c, app_dns.c, app_small.c: @p, @n is one side's stream from its beginning. */
enum app_parse app_tls_parse(struct app_look *l, const uint8_t *p, size_t n);
enum app_parse app_http_parse(struct app_look *l, const uint8_t *p, size_t n);
enum app_parse app_dns_tcp(struct app_look *l, const uint8_t *p, size_t n);
enum app_parse app_dns_udp(struct app_look *l, const uint8_t *p, size_t n);
enum app_parse app_ssh_parse(struct app_look *l, const uint8_t *p, size_t n);
/* Datagrams that show at a glance what they are (NTP, DHCP, SSDP, QUIC): a name or APP_UNKNOWN. */
enum app_id app_datagram(const struct app_look *l, const uint8_t *p, size_t n);
/* Protocols above IP that are their own application, else APP_UNKNOWN. */
enum app_id app_of_proto(uint8_t proto);
/* Is a TLS record header at @p? Needs 5 bytes. */
bool app_tls_record(const uint8_t *p, size_t n);

static inline bool
app_on_port(const struct app_look *l, uint16_t port)
{
	return l->sport == port || l->dport == port;
}

/* app_text.c */
int app_texts_init(struct app_texts *t, uint32_t max_chains);
void app_texts_fini(struct app_texts *t);
/* Append all or nothing; *chain 0 opens a chain. False: full. */
bool app_text_add(struct app_texts *t, uint32_t *chain, const void *p, size_t n);
uint32_t app_text_len(const struct app_texts *t, uint32_t chain);
/* The chain's bytes as one piece: in place when one block holds them, else copied to @scratch. */
struct strv app_text_view(const struct app_texts *t, uint32_t chain, uint8_t scratch[APP_TEXT_MAX]);
void app_text_drop(struct app_texts *t, uint32_t *chain);
/* Shorten to @len bytes, 0 gives the chain back. */
void app_text_truncate(struct app_texts *t, uint32_t *chain, uint32_t len);
/* For the caller: where a held message begins in the chain, and which sequence number is next. */
struct app_held {
	uint32_t seq;
	uint16_t base;
};
struct app_held app_text_held(const struct app_texts *t, uint32_t chain);
void app_text_set_held(struct app_texts *t, uint32_t chain, struct app_held held);

/* app_names.c */
/* Fill the table with the native names. */
int app_names_init(struct app_engine *e, struct err *err);
/* Index of a name (any case), added when new; APP_UNKNOWN when the table is full. */
uint16_t app_names_add(struct app_engine *e, const char *name, const char *category);
uint16_t app_names_find(const struct app_engine *e, const char *name);

/* app_ndpi.c or, without it, app_nondpi.c */
int app_ndpi_init(struct app_engine *e, const struct app_conf *conf, struct err *err);
void app_ndpi_fini(struct app_engine *e);
/* One packet of an undecided flow; decides, or closes it when the budget is spent. */
void app_ndpi_look(struct app_look *l, const struct wire_pkt *pkt, int64_t ts_us);
/* The flow ends undecided: nDPI's best guess. */
void app_ndpi_finish(struct app_look *l);
/* The name that nDPI has for these ports, or APP_UNKNOWN. */
uint16_t app_ndpi_by_port(
    const struct app_engine *e, uint8_t proto, uint16_t sport, uint16_t dport);
/* Octets reserved for its flows. */
uint64_t app_ndpi_memory(const struct app_ndpi *n);
/* Give the flow's slot back. */
void app_ndpi_drop(struct app_engine *e, struct app_state *st);

#endif
