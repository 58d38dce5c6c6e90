/* SPDX-License-Identifier: Apache-2.0
 * fuzz/fuzz_option.c - words of `attach`: split, parse, print back; and one option's text. The
 * first two bytes choose the option, the rest is its text and also a whole command line. */
#include <stdlib.h>

#include "conf/conf.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char *const types[] = {"capture", "pcap", "publish", "subscribe", "json", NULL};

static void
one_option(const struct option_info *o, struct strv text)
{
	struct conf_option a, b;
	struct err err = {0};
	if (conf_option_parse(o, text, &a, &err) != 0) {
		assert_always(err.code != 0);
		return;
	}
	assert_always(conf_option_parse(o, strv_of(a.text), &b, &err) == 0);
	if (o->type == OT_NUMBER || o->type == OT_SIZE)
		assert_always(a.u == b.u &&
		    ((o->min == 0 && o->max == 0) ||
			(a.u >= (uint64_t)o->min && a.u <= (uint64_t)o->max)));
	if (o->type == OT_SPAN)
		assert_always(a.us >= o->min && (o->max == 0 || a.us <= o->max));
	conf_option_fini(&a);
	conf_option_fini(&b);
}

static void
one_line(const char *line)
{
	char **words;
	unsigned n;
	struct err err = {0};
	struct conf_endpoint *e = NULL;
	if (conf_split(line, &words, &n, &err) != 0)
		return;
	if (conf_endpoint_parse((const char *const *)words, n, types, &e, &err) == 0) {
		struct buf out = buf_init(0);
		struct conf *c = conf_new();
		const struct conf_endpoint *list[] = {e};
		conf_print(&out, list, 1, NULL, 0);
		/* a file wants absolute paths, the command line does not: that is the only difference */
		int r = conf_parse_text(c, buf_view(&out), "fuzz", types, &err);
		assert_always(r == 0 || strstr(err.text, "begins with /") != NULL);
		assert_always(r != 0 || conf_endpoint_eq(c->endpoints[0], e));
		conf_free(&c);
		buf_fini(&out);
	}
	conf_endpoint_free(&e);
	conf_words_free(&words, n);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size < 2)
		return 0;
	struct strv text = {(const char *)data + 2, size - 2};
	one_option(&option_info[(data[0] << 8 | data[1]) % option_count], text);
	char *line = strv_dup(text);
	if (line != NULL)
		one_line(line);
	free(line);
	return 0;
}
