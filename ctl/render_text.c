/* SPDX-License-Identifier: Apache-2.0
 * ctl/render_text.c - answers for people: aligned tables, units, colours on a terminal only.
 *
 * A table's columns are rows of `columns`; a command without any shows all keys of its first row.
 * Tables wait for their last row to know the widths, streams have fixed widths. */
#include <stdlib.h>

#include "flowctl.h"

struct column {
	const char *id; /* of the command */
	const char *key, *head;
	enum format format;
	int width; /* of streams; negative: to the left */
};

static const struct column columns[] = {
    {"show_endpoints", "name", "NAME", FMT_TEXT, 0},
    {"show_endpoints", "type", "TYPE", FMT_TEXT, 0},
    {"show_endpoints", "address", "ADDRESS", FMT_TEXT, 0},
    {"show_endpoints", "state", "STATE", FMT_TEXT, 0},
    {"show_endpoints", "for_s", "FOR", FMT_SECONDS, 0},
    {"show_endpoints", "packets", "PACKETS", FMT_INT, 0},
    {"show_endpoints", "flows", "FLOWS", FMT_INT, 0},
    {"show_endpoints", "lost_packets", "LOST-PKT", FMT_INT, 0},
    {"show_endpoints", "lost_flows", "LOST-FLOWS", FMT_INT, 0},
    {"show_endpoints", "why", "WHY", FMT_TEXT, 0},
    {"show_peers", "name", "NAME", FMT_TEXT, 0},
    {"show_peers", "role", "ROLE", FMT_TEXT, 0},
    {"show_peers", "state", "STATE", FMT_TEXT, 0},
    {"show_peers", "addresses", "ADDRESSES", FMT_LIST, 0},
    {"show_peers", "seen", "SEEN-FROM", FMT_TEXT, 0},
    {"show_peers", "interface", "INTERFACE", FMT_TEXT, 0},
    {"show_peers", "speed_bps", "SPEED", FMT_BITS, 0},
    {"show_peers", "drops_per_s", "DROPS/s", FMT_INT, 0},
    {"show_peers", "packets_per_s", "PKT/s", FMT_COUNT, 0},
    {"show_peers", "bits_per_s", "BIT/s", FMT_BITS, 0},
    {"show_peers", "flows_active", "ACTIVE", FMT_INT, 0},
    {"show_peers", "uptime_s", "UPTIME", FMT_SECONDS, 0},
    {"show_peers", "version", "VERSION", FMT_TEXT, 0},
    {"show_peers", "clock", "CLOCK", FMT_TEXT, 0},
    {"show_peers", "clock_offset_us", "OFFSET", FMT_MICROS, 0},
    {"show_peers", "rtt_us", "RTT", FMT_MICROS, 0},
    {"show_peers", "lag_us", "LAG", FMT_MICROS, 0},
    {"show_peers", "flows", "FLOWS", FMT_INT, 0},
    {"show_peers", "lost_flows", "LOST", FMT_INT, 0},
    {"show_peers", "encrypted", "ENCR", FMT_BOOL, 0},
    {"show_peers", "verified", "VERIF", FMT_BOOL, 0},
    {"show_peers", "endpoint", "ENDPOINT", FMT_TEXT, 0},
    {"show_peers", "why", "WHY", FMT_TEXT, 0},
    {"show_subscriptions", "endpoint", "ENDPOINT", FMT_TEXT, 0},
    {"show_subscriptions", "peer", "PEER", FMT_TEXT, 0},
    {"show_subscriptions", "filter", "FILTER", FMT_TEXT, 0},
    {"show_subscriptions", "codec", "CODEC", FMT_TEXT, 0},
    {"show_subscriptions", "offered", "OFFERED", FMT_INT, 0},
    {"show_subscriptions", "passed", "MATCHED", FMT_INT, 0},
    {"show_subscriptions", "acked", "ACKED", FMT_INT, 0},
    {"show_subscriptions", "queued", "QUEUED", FMT_INT, 0},
    {"show_subscriptions", "spooled", "SPOOLED", FMT_INT, 0},
    {"show_subscriptions", "lost", "LOST", FMT_INT, 0},
    {"show_subscriptions", "bytes_raw", "RAW", FMT_BYTES, 0},
    {"show_subscriptions", "bytes_sent", "SENT", FMT_BYTES, 0},
    {"show_subscriptions", "ratio", "RATIO", FMT_RATIO, 0},
    {"show_subscriptions", "filter_ns", "FILTER-CPU", FMT_NANOS, 0},
    {"show_subscriptions", "filter_ns_per_flow", "NS/FLOW", FMT_RATIO, 0},
    {"show_subscriptions", "lag_us", "LAG", FMT_MICROS, 0},
    {"show_subscriptions", "seq_first", "FROM-SEQ", FMT_INT, 0},
    {"show_subscriptions", "change", "CHANGE", FMT_TEXT, 0},
    {"show_subscriptions", "refused", "REFUSED", FMT_TEXT, 0},
    {"show_ledger", "node", "NODE", FMT_TEXT, 0},
    {"show_ledger", "endpoint", "ENDPOINT", FMT_TEXT, 0},
    {"show_ledger", "peer", "PEER", FMT_TEXT, 0},
    {"show_ledger", "stage", "STAGE", FMT_TEXT, 0},
    {"show_ledger", "unit", "UNIT", FMT_TEXT, 0},
    {"show_ledger", "in", "IN", FMT_INT, 0},
    {"show_ledger", "out", "OUT", FMT_INT, 0},
    {"show_ledger", "held", "HELD", FMT_INT, 0},
    {"show_ledger", "filtered", "FILTERED", FMT_INT, 0},
    {"show_ledger", "lost", "LOST", FMT_INT, 0},
    {"show_ledger", "what", "WHAT", FMT_TEXT, 0},
    {"explain_drops", "text", "WHAT WAS LOST, WHY, WHAT TO DO", FMT_TEXT, 0},
    {"show_counters", "endpoint", "ENDPOINT", FMT_TEXT, 0},
    {"show_counters", "counter", "COUNTER", FMT_TEXT, 0},
    {"show_counters", "value", "VALUE", FMT_INT, 0},
    {"show_counters", "unit", "UNIT", FMT_TEXT, 0},
    {"show_counters", "text", "WHAT", FMT_TEXT, 0},
    {"key_list", "name", "NAME", FMT_TEXT, 0},
    {"key_list", "kind", "KIND", FMT_TEXT, 0},
    {"key_list", "fingerprint", "FINGERPRINT", FMT_TEXT, 0},
    {"key_list", "up", "UP", FMT_INT, 0},
    {"key_list", "expires_s", "EXPIRES", FMT_SECONDS, 0},
    {"key_list", "public", "PUBLIC", FMT_TEXT, 0},
    {"watch_flows", "end", "END", FMT_TIME, -19},
    {"watch_flows", "proto", "PROTO", FMT_PROTO, -6},
    {"watch_flows", "src_addr", "FROM", FMT_TEXT, 15},
    {"watch_flows", "src_port", "PORT", FMT_INT, 5},
    {"watch_flows", "dst_addr", "TO", FMT_TEXT, 15},
    {"watch_flows", "dst_port", "PORT", FMT_INT, 5},
    {"watch_flows", "packets", "PKT", FMT_COUNT, 6},
    {"watch_flows", "bytes", "BYTES", FMT_BYTES, 9},
    {"watch_flows", "rev_bytes", "BACK", FMT_BYTES, 9},
    {"watch_flows", "app", "APP", FMT_TEXT, -10},
    {"watch_flows", "http_host", "", FMT_TEXT, -1},
    {"watch_flows", "tls_sni", "", FMT_TEXT, -1},
    {"watch_flows", "dns_query", "", FMT_TEXT, -1},
    {"watch_stats", "second", "SECOND", FMT_TIME, -19},
    {"watch_stats", "probe", "PROBE", FMT_TEXT, -12},
    {"watch_stats", "interface", "INTERFACE", FMT_TEXT, -12},
    {"watch_stats", "packets", "PKT/s", FMT_COUNT, 8},
    {"watch_stats", "bits", "BIT/s", FMT_BITS, 10},
    {"watch_stats", "drops_kernel", "DROPS", FMT_INT, 6},
    {"watch_stats", "flows_active", "ACTIVE", FMT_INT, 8},
    {"watch_stats", "flows_new", "NEW", FMT_INT, 7},
    {"watch_stats", "flows_ended", "ENDED", FMT_INT, 7},
    {"watch_events", "time", "TIME", FMT_TIME, -19},
    {"watch_events", "event", "EVENT", FMT_TEXT, -1},
};

/* How keys of single objects are shown. */
static const struct {
	const char *key;
	enum format format;
} keys[] = {{"uptime_s", FMT_SECONDS}, {"for_s", FMT_SECONDS}, {"since", FMT_TIME},
    {"started", FMT_TIME}, {"memory_bytes", FMT_BYTES}, {"asked_s", FMT_SECONDS},
    {"span_s", FMT_SECONDS}, {"bytes_raw", FMT_BYTES}, {"bytes", FMT_BYTES},
    {"history_bytes", FMT_BYTES}, {"reload_pending_s", FMT_SECONDS}, {"pending_s", FMT_SECONDS},
    {"bits", FMT_BITS}};

enum { COLUMNS_MAX = 48 };

struct render {
	const struct ctl_command *cmd;
	FILE *out;
	bool color, head_done, failed;
	const struct column *col[COLUMNS_MAX];
	struct column made[COLUMNS_MAX]; /* for commands without rows in `columns` */
	unsigned n_col;
	json_t *rows;
};

struct render *
render_text_new(const struct ctl_command *cmd, bool color, FILE *out)
{
	struct render *r = calloc(1, sizeof(*r));
	assert_always(r != NULL);
	r->cmd = cmd;
	r->color = color;
	r->out = out;
	r->rows = json_array();
	for (size_t i = 0; i < sizeof(columns) / sizeof(columns[0]); i++)
		if (strcmp(columns[i].id, cmd->id) == 0 && r->n_col < COLUMNS_MAX)
			r->col[r->n_col++] = &columns[i];
	return r;
}

static const char *
color_of(const char *key, const char *text)
{
	if (strcmp(key, "state") == 0) {
		if (strcmp(text, "up") == 0)
			return "\033[32m";
		if (strcmp(text, "down") == 0)
			return "\033[31m";
		return "\033[33m";
	}
	bool is_loss = strncmp(key, "lost", 4) == 0 || strncmp(key, "drops", 5) == 0;
	return is_loss && text[0] != '\0' && strcmp(text, "0") != 0 ? "\033[31m" : NULL;
}

/* One cell, padded to @width; numbers and units to the right. */
static void
cell(struct render *r, const char *key, struct buf *text, size_t width, bool left, bool last)
{
	const char *s = buf_cstr(text);
	size_t have = format_width(buf_view(text)), pad = width > have ? width - have : 0;
	const char *color = r->color ? color_of(key, s) : NULL;
	if (!left)
		fprintf(r->out, "%*s", (int)pad, "");
	fprintf(r->out, "%s%s%s", color != NULL ? color : "", s, color != NULL ? "\033[0m" : "");
	if (last)
		return;
	fprintf(r->out, "%*s", left ? (int)pad + 2 : 2, "");
}

static bool
is_left(enum format f)
{
	return f == FMT_TEXT || f == FMT_TIME || f == FMT_LIST || f == FMT_BOOL;
}

static void
stream_head(struct render *r)
{
	struct buf b = buf_init(256);
	if (r->color)
		fputs("\033[1m", r->out);
	for (unsigned i = 0; i < r->n_col; i++) {
		int w = r->col[i]->width;
		buf_reset(&b);
		buf_str(&b, r->col[i]->head);
		cell(r, "", &b, (size_t)abs(w), w < 0, i + 1 == r->n_col);
	}
	fputs(r->color ? "\033[0m\n" : "\n", r->out);
	buf_fini(&b);
}

static void
stream_row(struct render *r, const json_t *row)
{
	struct buf b = buf_init(1 << 16);
	if (!r->head_done)
		stream_head(r);
	r->head_done = true;
	for (unsigned i = 0; i < r->n_col; i++) {
		int w = r->col[i]->width;
		const json_t *v = json_object_get(row, r->col[i]->key);
		if (v == NULL && w == -1)
			continue; /* one of several that may be there */
		buf_reset(&b);
		format_value(&b, v, r->col[i]->format);
		cell(r, r->col[i]->key, &b, (size_t)abs(w), w < 0, i + 1 == r->n_col);
	}
	fputc('\n', r->out);
	fflush(r->out);
	buf_fini(&b);
}

/* Without columns of its own a command shows every key of its first row. */
static void
make_columns(struct render *r)
{
	const char *key;
	json_t *v, *first = json_array_get(r->rows, 0);
	json_object_foreach(first, key, v)
	{
		if (r->n_col == COLUMNS_MAX)
			break;
		struct column *c = &r->made[r->n_col];
		*c = (struct column){
		    r->cmd->id, key, key, json_is_integer(v) ? FMT_INT : FMT_TEXT, 0};
		r->col[r->n_col++] = c;
	}
}

static void
upper(struct buf *b)
{
	for (size_t i = 0; i < b->n; i++)
		if (b->p[i] >= 'a' && b->p[i] <= 'z')
			b->p[i] = (uint8_t)(b->p[i] - 'a' + 'A');
}

static void
table(struct render *r)
{
	size_t width[COLUMNS_MAX] = {0}, n_rows = json_array_size(r->rows);
	struct buf b = buf_init(1 << 20);
	if (r->n_col == 0)
		make_columns(r);
	for (unsigned c = 0; c < r->n_col; c++) {
		width[c] = strlen(r->col[c]->head);
		for (size_t i = 0; i < n_rows; i++) {
			buf_reset(&b);
			format_value(&b,
			    json_object_get(json_array_get(r->rows, i), r->col[c]->key),
			    r->col[c]->format);
			size_t w = format_width(buf_view(&b));
			width[c] = w > width[c] ? w : width[c];
		}
	}
	if (r->color)
		fputs("\033[1m", r->out);
	for (unsigned c = 0; c < r->n_col; c++) {
		buf_reset(&b);
		buf_str(&b, r->col[c]->head);
		upper(&b);
		cell(r, "", &b, width[c], is_left(r->col[c]->format), c + 1 == r->n_col);
	}
	fputs(r->color ? "\033[0m\n" : "\n", r->out);
	for (size_t i = 0; i < n_rows; i++) {
		for (unsigned c = 0; c < r->n_col; c++) {
			const char *key = r->col[c]->key;
			buf_reset(&b);
			format_value(&b, json_object_get(json_array_get(r->rows, i), key),
			    r->col[c]->format);
			cell(r, key, &b, width[c], is_left(r->col[c]->format), c + 1 == r->n_col);
		}
		fputc('\n', r->out);
	}
	buf_fini(&b);
}

static enum format
format_of(const char *key)
{
	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++)
		if (strcmp(keys[i].key, key) == 0)
			return keys[i].format;
	return FMT_TEXT;
}

static void
object(struct render *r, const json_t *row, int indent)
{
	const char *key;
	json_t *v, *copy = json_copy((json_t *)(uintptr_t)row);
	int width = 0;
	json_object_foreach(copy, key, v) width =
	    (int)strlen(key) > width ? (int)strlen(key) : width;
	json_object_foreach(copy, key, v)
	{
		struct buf b = buf_init(1 << 20);
		fprintf(r->out, "%*s%-*s", indent, "", width + 2, key);
		if (strcmp(key, "rows") == 0) {
			fputc('\n', r->out);
			for (size_t i = 0; i < json_array_size(v); i++) {
				buf_reset(&b);
				format_value(&b, json_array_get(v, i), FMT_TEXT);
				fprintf(r->out, "%*s%s\n", indent + 4, "", buf_cstr(&b));
			}
		} else if (json_is_object(json_array_get(v, 0))) {
			fputc('\n', r->out);
			for (size_t i = 0; i < json_array_size(v); i++)
				object(r, json_array_get(v, i), indent + 4);
		} else if (json_is_object(v)) {
			fputc('\n', r->out);
			object(r, v, indent + 4);
		} else if (strcmp(key, "problems") == 0) {
			size_t n = json_array_size(v);
			fputs(n == 0 ? "none\n" : "\n", r->out);
			for (size_t i = 0; i < n; i++) {
				buf_reset(&b);
				format_value(&b, json_array_get(v, i), FMT_TEXT);
				fprintf(r->out, "%*s%s\n", indent + 4, "", buf_cstr(&b));
			}
		} else {
			format_value(&b, v, format_of(key));
			cell(r, key, &b, 0, true, true);
			fputc('\n', r->out);
		}
		buf_fini(&b);
	}
	json_decref(copy);
}

static void
text(struct render *r, const json_t *row)
{
	struct buf b = buf_init(32 << 20);
	const char *s = json_string_value(json_object_get(row, "text"));
	format_safe(&b, strv_of(s != NULL ? s : ""), true);
	fputs(buf_cstr(&b), r->out);
	if (b.n > 0 && b.p[b.n - 1] != '\n')
		fputc('\n', r->out);
	buf_fini(&b);
}

void
render_text_row(void *self, json_t *row)
{
	struct render *r = self;
	switch (r->cmd->shape) {
	case SHAPE_STREAM:
		stream_row(r, row);
		break;
	case SHAPE_TEXT:
		text(r, row);
		break;
	case SHAPE_OBJECT:
		object(r, row, 0);
		break;
	case SHAPE_TABLE:
	case SHAPE_NONE:
		if (json_object_get(row, "options") == NULL) {
			json_array_append(r->rows, row);
			break;
		}
		object(r, row, 0); /* show endpoints NAME: all there is to know */
		r->head_done = true;
		break;
	}
}

void
render_text_end(struct render **rp, bool failed)
{
	(*rp)->failed = failed;
	if ((*rp)->cmd->shape == SHAPE_TABLE && !(*rp)->failed && !(*rp)->head_done)
		table(*rp);
	json_decref((*rp)->rows);
	free(*rp);
	*rp = NULL;
}
