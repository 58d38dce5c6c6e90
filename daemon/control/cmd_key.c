/* SPDX-License-Identifier: Apache-2.0
 * control/cmd_key.c - who is trusted: keys of peers and tokens for new ones. */
#include <stdio.h>

#include "control/control_priv.h"
#include "schema/value.h"

#define DONE(c, ...) snprintf((c)->done, sizeof((c)->done), __VA_ARGS__)
#define HOUR_US	     INT64_C(3600000000)
#define TOKEN_US_MAX (30 * 24 * HOUR_US)

int
control_cmd_key_trust(struct call *c)
{
	int r = engine_link_start(c->engine, &c->err);
	if (r == 0)
		r = link_key_trust(
		    engine_link(c->engine), c->args[0], strv_of(c->args[1]), &c->err);
	if (r < 0)
		return r;
	reply_row(
	    c->client, json_pack("{s:o, s:b}", "name", json_cstr(c->args[0]), "changed", r == 0));
	DONE(
	    c, r == 0 ? "%.63s is trusted" : "%.63s was trusted with this key already", c->args[0]);
	return 0;
}

int
control_cmd_key_revoke(struct call *c)
{
	struct strv which = c->n_args > 1 ? strv_of(c->args[1]) : STRV("");
	int r = engine_link_start(c->engine, &c->err);
	if (r == 0)
		r = link_key_revoke(engine_link(c->engine), c->args[0], which, &c->err);
	if (r < 0)
		return r;
	reply_row(c->client, json_pack("{s:o, s:i}", "name", json_cstr(c->args[0]), "keys", r));
	DONE(c, "%d key%s of %.63s revoked", r, r == 1 ? "" : "s", c->args[0]);
	return 0;
}

static void
key_row(void *arg, const struct link_key *k)
{
	struct call *c = arg;
	bool is_token = k->text[0] == '\0';
	reply_row(c->client, json_pack("{s:o, s:s, s:s, s:o, s:o, s:o}", "name", json_cstr(k->name),
				 "kind", is_token ? "token" : "key", "fingerprint", k->print,
				 "public", is_token ? json_null() : json_string(k->text), "up",
				 is_token ? json_null() : json_integer(k->n_up), "expires_s",
				 is_token ? json_seconds(k->left_us) : json_null()));
}

int
control_cmd_key_list(struct call *c)
{
	int r = engine_link_start(c->engine, &c->err);
	return r != 0 ? r : link_keys_each(engine_link(c->engine), key_row, c, &c->err);
}

int
control_cmd_key_token(struct call *c)
{
	char token[TOKEN_TEXT], q[80];
	int64_t span = HOUR_US;
	if (c->span != NULL &&
	    (span_parse(strv_of(c->span), &span) != 0 || span < 1000000 || span > TOKEN_US_MAX))
		return err_set(&c->err, E_RANGE, "--for %s: not a duration from 1s to 30d",
		    strv_quote(strv_of(c->span), q, sizeof(q)));
	int r = engine_link_start(c->engine, &c->err);
	if (r == 0)
		r = link_key_token(engine_link(c->engine), c->args[0],
		    c->n_args > 1 ? c->args[1] : "", (uint64_t)span, token, &c->err);
	if (r != 0)
		return r;
	reply_text(c->client, strv_of(token));
	explicit_bzero(token, sizeof(token));
	DONE(c, "a token for %.63s", c->args[0]);
	return 0;
}
