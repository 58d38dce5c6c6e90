/* SPDX-License-Identifier: Apache-2.0
 * engine/demand.c - what the local outputs want, for relays that ask their probes for no more.
 *
 * Publishing ends are not named: the link knows what their subscribers want. An output without an
 * option `filter` or `fields` wants all. Taps of `watch flows` are not counted: to look on must not
 * change what flows. */
#include "engine/engine_priv.h"
#include "output/output.h"

static struct link_wish
wish_of(const struct endpoint *ep)
{
	struct link_wish w = {ep->name, "", field_set_all()};
	if (option_find(ep->type->name, STRV("filter")) != NULL)
		w.filter = conf_text(ep->conf, "filter");
	if (option_find(ep->type->name, STRV("fields")) != NULL)
		w.fields = conf_fields(ep->conf, "fields");
	return w;
}

void
demand_update(struct engine *e)
{
	struct link_wish w[MAX_ENDPOINTS];
	unsigned n = 0;
	if (e->link == NULL)
		return;
	for (unsigned i = 0; i < e->n_ep; i++)
		if (e->ep[i]->on_bus && e->ep[i]->type != &output_publish)
			w[n++] = wish_of(e->ep[i]);
	if (link_demand(e->link, w, n) != 0)
		log_err("engine: no memory to tell the link what outputs want");
}
