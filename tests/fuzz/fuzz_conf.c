/* SPDX-License-Identifier: Apache-2.0
 * fuzz/fuzz_conf.c - any text as a configuration file: an error with its place, or a snapshot that
 * prints as text which reads and prints the same again. */
#include <stdio.h>
#include <stdlib.h>

#include "conf/conf.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
const char *__lsan_default_suppressions(void);

/* libconfig 1.5 leaks a string it has read when the line breaks the grammar behind it */
const char *
__lsan_default_suppressions(void)
{
	return "leak:libconfig\n";
}

static const char *const types[] = {"capture", "pcap", "publish", "subscribe", "json", NULL};

static int
read_print(struct strv text, struct buf *out, struct err *err)
{
	struct conf *c = conf_new();
	int r = conf_parse_text(c, text, "fuzz", types, err);
	conf_print_daemon(out, &c->daemon);
	conf_print(out, (const struct conf_endpoint *const *)c->endpoints, c->n_endpoints, NULL, 0);
	for (unsigned i = 0; i < c->n_endpoints; i++) {
		struct conf_endpoint *d = conf_endpoint_dup(c->endpoints[i]);
		assert_always(conf_endpoint_eq(c->endpoints[i], d));
		conf_endpoint_free(&d);
	}
	conf_free(&c);
	return r;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char shown[1024];
	struct err err = {0};
	struct buf once = buf_init(0), twice = buf_init(0);
	if (read_print((struct strv){(const char *)data, size}, &once, &err) != 0) {
		assert_always(err.code != 0 && err.text[0] != '\0');
		err_print(&err, shown, sizeof(shown));
	} else if (once.n < (1 << 20)) {
		assert_always(read_print(buf_view(&once), &twice, &err) == 0);
		assert_always(strv_eq(buf_view(&once), buf_view(&twice)));
	}
	buf_fini(&once);
	buf_fini(&twice);
	return 0;
}
