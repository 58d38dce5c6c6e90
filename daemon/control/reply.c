/* SPDX-License-Identifier: Apache-2.0
 * control/reply.c - rows and final lines into a client's output buffer. */
#include <stdlib.h>

#include "control/control_priv.h"
#include "schema/value.h"

static int
to_buf(const char *p, size_t n, void *arg)
{
	struct buf *b = arg;
	buf_put(b, p, n);
	return b->err == 0 ? 0 : -1;
}

/* {"id":..., or just { */
static void
open_line(struct client *cl, const json_t *id)
{
	buf_u8(&cl->out, '{');
	if (id == NULL)
		return;
	buf_str(&cl->out, "\"id\":");
	json_dump_callback(id, to_buf, &cl->out, JSON_COMPACT | JSON_ENCODE_ANY);
	buf_u8(&cl->out, ',');
}

static const json_t *
id_of(const struct client *cl)
{
	return cl->call != NULL ? cl->call->id : NULL;
}

void
reply_row_text(struct client *cl, struct strv row)
{
	open_line(cl, id_of(cl));
	buf_str(&cl->out, "\"row\":");
	buf_strv(&cl->out, row);
	buf_str(&cl->out, "}\n");
}

void
reply_row(struct client *cl, json_t *row)
{
	if (row == NULL)
		return;
	open_line(cl, id_of(cl));
	buf_str(&cl->out, "\"row\":");
	json_dump_callback(row, to_buf, &cl->out, JSON_COMPACT | JSON_REAL_PRECISION(15));
	buf_str(&cl->out, "}\n");
	json_decref(row);
}

void
reply_text(struct client *cl, struct strv text)
{
	reply_row(cl, json_pack("{s:o}", "text", json_strv(text)));
}

void
reply_lost(struct client *cl, uint64_t n)
{
	open_line(cl, id_of(cl));
	buf_printf(&cl->out, "\"lost\":%llu}\n", (unsigned long long)n);
}

json_t *
json_strv(struct strv s)
{
	struct buf quoted = buf_init(0);
	json_text(&quoted, s);
	json_t *j = quoted.err == 0
			? json_loadb((const char *)quoted.p, quoted.n, JSON_DECODE_ANY, NULL)
			: NULL;
	buf_fini(&quoted);
	return j != NULL ? j : json_string("");
}

json_t *
json_cstr(const char *s)
{
	json_t *j = json_string(s); /* NULL when it is not UTF-8 */
	return j != NULL ? j : json_strv(strv_of(s));
}

json_t *
json_time(int64_t epoch_us)
{
	if (epoch_us == 0)
		return json_null();
	struct buf b = buf_init(64);
	time_print(&b, epoch_us);
	json_t *j = json_stringn(b.p != NULL ? (const char *)b.p : "", b.n);
	buf_fini(&b);
	return j;
}

json_t *
json_seconds(int64_t us)
{
	return json_real((double)us / 1e6);
}

/* An error's whole story: what and where, the line and the caret. */
static json_t *
error_json(const struct call *c, int r)
{
	char text[1024];
	const struct err *e = &c->err;
	int code = err_control(r);
	if (e->code == 0)
		return json_pack("{s:i, s:s}", "code", code, "text", err_text(r));
	err_print(e, text, sizeof(text));
	json_t *j = json_pack("{s:i, s:o}", "code", code, "text", json_cstr(text));
	if (e->file[0] != '\0')
		json_object_set_new(j, "file", json_cstr(e->file));
	if (e->line > 0)
		json_object_set_new(j, "line", json_integer(e->line));
	if (e->col > 0)
		json_object_set_new(j, "col", json_integer(e->col));
	if (e->source[0] != '\0')
		json_object_set_new(j, "source", json_cstr(e->source));
	return j;
}

void
reply_final(struct client *cl, const struct call *c, int r)
{
	json_t *j = r == 0 ? json_pack("{s:i, s:o}", "code", CTL_OK, "text",
				 json_cstr(c->done[0] != '\0' ? c->done : "done"))
			   : error_json(c, r);
	char *text = j != NULL ? json_dumps(j, JSON_COMPACT) : NULL;
	open_line(cl, c->id);
	/* behind the brace that open_line wrote */
	buf_str(&cl->out, text != NULL ? text + 1 : "\"code\":8001,\"text\":\"out of memory\"}");
	buf_u8(&cl->out, '\n');
	free(text);
	json_decref(j);
}
