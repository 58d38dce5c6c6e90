/* SPDX-License-Identifier: Apache-2.0
 * ctl/render_json.c - answers for programs, in a shape that does not change:
 * {"rows":[...],"code":1000,"text":"..."} or, for streams, one row a line. */
#include <stdlib.h>

#include "flowctl.h"

struct render_json {
	FILE *out;
	bool is_stream;
	json_t *rows;
};

struct render_json *
render_json_new(const struct ctl_command *cmd, FILE *out)
{
	struct render_json *r = calloc(1, sizeof(*r));
	assert_always(r != NULL);
	r->out = out;
	r->is_stream = cmd->shape == SHAPE_STREAM;
	r->rows = json_array();
	return r;
}

void
render_json_row(void *self, json_t *row)
{
	struct render_json *r = self;
	if (!r->is_stream) {
		json_array_append(r->rows, row);
		return;
	}
	json_dumpf(row, r->out, JSON_COMPACT | JSON_REAL_PRECISION(15));
	fputc('\n', r->out);
	fflush(r->out);
}

void
render_json_end(struct render_json **rp, const json_t *final)
{
	struct render_json *r = *rp;
	if (!r->is_stream) {
		const char *key;
		json_t *v, *all = json_object(), *copy = json_deep_copy(final);
		json_object_set(all, "rows", r->rows);
		json_object_foreach(copy, key, v) if (strcmp(key, "id") != 0)
		    json_object_set(all, key, v);
		json_dumpf(all, r->out, JSON_COMPACT | JSON_REAL_PRECISION(15));
		fputc('\n', r->out);
		json_decref(copy);
		json_decref(all);
	}
	json_decref(r->rows);
	free(r);
	*rp = NULL;
}
