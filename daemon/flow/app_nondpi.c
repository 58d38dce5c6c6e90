/* SPDX-License-Identifier: Apache-2.0
 * flow/app_nondpi.c - stands in for app_ndpi.c in builds without nDPI. */
#include "flow/app_priv.h"

bool
app_ndpi_available(void)
{
	return false;
}

int
app_ndpi_init(struct app_engine *e, const struct app_conf *conf, struct err *err)
{
	(void)e;
	(void)conf;
	return err_set(err, E_UNSUP, "application detection by nDPI is not built in (build with "
	    "FLOWBUS_NDPI=ON, or set app=native)");
}

void
app_ndpi_fini(struct app_engine *e)
{
	(void)e;
}

void
app_ndpi_look(struct app_look *l, const struct wire_pkt *pkt, int64_t ts_us)
{
	(void)l;
	(void)pkt;
	(void)ts_us;
}

void
app_ndpi_finish(struct app_look *l)
{
	(void)l;
}

void
app_ndpi_drop(struct app_engine *e, struct app_state *st)
{
	(void)e;
	st->ndpi = 0;
}

uint16_t
app_ndpi_by_port(const struct app_engine *e, uint8_t proto, uint16_t sport, uint16_t dport)
{
	(void)e;
	(void)proto;
	(void)sport;
	(void)dport;
	return APP_UNKNOWN;
}

uint64_t
app_ndpi_memory(const struct app_ndpi *n)
{
	(void)n;
	return 0;
}
