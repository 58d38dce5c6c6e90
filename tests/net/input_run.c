/* SPDX-License-Identifier: Apache-2.0
 * net/input_run.c - run one input without the daemon and print what it gives, for the net tests.
 *
 *     input_run "capture eth0 workers=4"
 *
 * Lines on standard output: "state STATE WHY", "second {...}", "flow {...}", "ended 0|1", and after
 * standard input is closed "counters NAME=VALUE ...". */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/queue.h"
#include "batch/port.h"
#include "conf/conf.h"
#include "input/input.h"

static void
run_push(void *ctx, struct batch **b, bool may_wait)
{
	struct buf out = buf_init(0);
	(void)ctx, (void)may_wait;
	for (uint32_t r = 0; r < (*b)->n; r++) {
		buf_str(&out, "flow ");
		batch_row_json(&out, *b, r, field_set_all(), VALUE_JSON_US);
		buf_u8(&out, '\n');
	}
	flockfile(stdout);
	fwrite(out.p, 1, out.n, stdout);
	fflush(stdout);
	funlockfile(stdout);
	buf_fini(&out);
	batch_unref(b);
}

static void
run_second(void *ctx, const struct stats_second *s)
{
	(void)ctx;
	printf("second {\"second\": %" PRId64 ", \"interface\": \"%s\", \"packets\": %" PRIu64
	       ", \"bytes\": %" PRIu64 ", \"drops_kernel\": %" PRIu64 ", \"flows_active\": %" PRIu64
	       ", \"flows_new\": %" PRIu64 ", \"late_us\": %" PRIu32 "}\n",
	    s->second, s->interface, s->packets, s->bytes, s->drops_kernel, s->flows_active,
	    s->flows_new, s->late_us);
	fflush(stdout);
}

static void
run_state(void *ctx, enum port_state state, const char *why)
{
	static const char *const names[] = {"starting", "up", "degraded", "down", "disabled"};
	(void)ctx;
	printf("state %s %s\n", names[state], why);
	fflush(stdout);
}

static void
run_ended(void *ctx, bool failed)
{
	(void)ctx;
	printf("ended %d\n", failed);
	fflush(stdout);
}

static int
run(const struct port_type *type, const struct conf_endpoint *conf, struct err *err)
{
	struct port_host host = {
	    NULL, "test", 1, NULL, NULL, run_push, run_second, run_state, run_ended};
	uint64_t sum[C_COUNT] = {0};
	void *self = NULL;
	char c;
	int rc = type->open(conf, &host, &self, err);
	if (rc == 0)
		rc = type->start(self, err);
	if (rc == 0) {
		while (read(STDIN_FILENO, &c, 1) > 0)
			continue;
		type->stop(self, true);
		type->counters(self, sum);
		printf("counters");
		for (int i = 0; i < C_COUNT; i++)
			printf(" %s=%" PRIu64, counter_info[i].name, sum[i]);
		printf("\n");
	}
	type->free(&self);
	return rc;
}

int
main(int argc, char **argv)
{
	static const char *const types[] = {"capture", "pcap", NULL};
	struct conf_endpoint *conf = NULL;
	struct err err = {0};
	char **words = NULL;
	unsigned n = 0;
	int rc = argc == 2
		     ? conf_split(argv[1], &words, &n, &err)
		     : err_set(&err, E_INVAL, "usage: input_run 'TYPE ADDRESS [option=value ...]'");
	if (rc == 0)
		rc = conf_endpoint_parse((const char *const *)words, n, types, &conf, &err);
	if (rc == 0)
		rc =
		    run(strcmp(conf->type, "pcap") == 0 ? &input_pcap : &input_capture, conf, &err);
	if (rc != 0)
		fprintf(stderr, "%s\n", err.text);
	conf_words_free(&words, n);
	conf_endpoint_free(&conf);
	return rc != 0;
}
