/* SPDX-License-Identifier: Apache-2.0
 * input/pcap.c - a capture file or standard input, metered by one worker.
 *
 * Packet times drive everything: the meter is never told the real time, so results do not depend on
 * how fast the file is read or how slow the outputs are. Batches are pushed with may_wait, and when
 * all of the meter's batches are out it waits for one to come home: reading slows down, nothing is
 * lost. With pace = real packets are held back until their time has come; meanwhile the meter is
 * told the time of the newest packet again, which only seals batches that have waited long enough.
 */
#include <errno.h>
#include <inttypes.h>
#include <pcap/pcap.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "input/input_priv.h"
#include "input/reader.h"

enum { GRACE_US = 1000000 }; /* how long a stop waits for batches to come home */

struct pcap_input {
	const struct port_host *host;
	struct reader *reader;
	struct flow_meter *meter;
	struct input_timeouts timeouts;
	uint32_t timeouts_seen;
	struct counters counters; /* what the meter does not count */
	char name[INPUT_NAME];	  /* of the file, as the interface of its flows */
	char probe[INPUT_NAME];
	char *filter;		    /* text; NULL none */
	struct bpf_program program; /* for program_linktype */
	int program_linktype;	    /* -1: none compiled */
	uint64_t max_batches;
	bool is_real_pace;
	bool is_paced;		   /* first_us and first_mono are set */
	int64_t first_us, last_us; /* times of the first packet and of the newest */
	uint64_t first_mono;
	uint64_t mono_us; /* refreshed every few bursts */
	struct wake wake;
	_Atomic bool stopping;
	_Atomic uint64_t give_up_us; /* monotonic; 0: wait for ever */
	pthread_t thread;
	bool is_started;
};

static void
pcap_push(void *arg, struct batch **b)
{
	struct pcap_input *in = arg;
	in->host->push(in->host->ctx, b, true);
}

static void
pcap_second(void *arg, const struct stats_second *s)
{
	struct pcap_input *in = arg;
	in->host->second(in->host->ctx, s);
}

/** The meter has no batch left: outputs are slower than the file. */
static bool
pcap_wait(void *arg)
{
	struct pcap_input *in = arg;
	uint64_t give_up = atomic_load(&in->give_up_us);
	if (give_up != 0 && clock_mono_us() >= give_up)
		return false;
	clock_sleep_us(500);
	return true;
}

/** libpcap's number for a link type of a file: they differ for raw IP. */
static int
dlt_of(int linktype)
{
	return linktype == 101 || linktype == 14 ? DLT_RAW : linktype;
}

/** Compile the filter for a link type. 0 or -E_* with @err. */
static int
compile(struct pcap_input *in, int linktype, struct err *err)
{
	if (in->program_linktype >= 0)
		pcap_freecode(&in->program);
	in->program_linktype = -1;
	pcap_t *dead = pcap_open_dead(dlt_of(linktype), 262144);
	if (dead == NULL)
		return err_set(err, E_NOMEM, "filter: out of memory");
	int rc = 0;
	if (pcap_compile(dead, &in->program, in->filter, 1, PCAP_NETMASK_UNKNOWN) != 0)
		rc = err_set(err, E_SYNTAX, "filter \"%.200s\": %s (write it as for tcpdump)",
		    in->filter, pcap_geterr(dead));
	else
		in->program_linktype = linktype;
	pcap_close(dead);
	return rc;
}

/** Keep the frames the filter wants. How many, or -E_* with @err. */
static int
filter_frames(struct pcap_input *in, struct flow_frame *f, int n, int linktype, struct err *err)
{
	int rc = linktype == in->program_linktype ? 0 : compile(in, linktype, err);
	int kept = 0;
	if (rc != 0)
		return rc;
	for (int i = 0; i < n; i++) {
		struct pcap_pkthdr h = {{0, 0}, f[i].caplen, f[i].wirelen};
		if (pcap_offline_filter(&in->program, &h, f[i].data) != 0)
			f[kept++] = f[i];
	}
	return kept;
}

/** Wait until the packet's time has come, at real pace. False: stopped before. */
static bool
pace(struct pcap_input *in, int64_t ts_us)
{
	if (!in->is_paced) {
		in->is_paced = true;
		in->first_us = in->last_us = ts_us;
		in->first_mono = clock_mono_us();
	}
	for (;;) {
		in->mono_us = clock_mono_us();
		int64_t ahead = ts_us - in->first_us - (int64_t)(in->mono_us - in->first_mono);
		if (ahead <= 500)
			break;
		if (atomic_load(&in->stopping))
			return false;
		flow_meter_tick(in->meter, in->last_us, in->mono_us);
		int ms = ahead > 100000 ? 100 : (int)((ahead + 999) / 1000);
		wake_wait(&in->wake, ms);
	}
	in->last_us = ts_us > in->last_us ? ts_us : in->last_us;
	return true;
}

/** Hand frames to the meter, each when its time has come. */
static void
meter_frames(struct pcap_input *in, const struct flow_frame *f, unsigned n, int linktype)
{
	input_timeouts_apply(&in->timeouts, &in->timeouts_seen, in->meter);
	if (!in->is_real_pace) {
		in->last_us = f[n - 1].ts_us > in->last_us ? f[n - 1].ts_us : in->last_us;
		flow_meter_burst(in->meter, linktype, f, n, in->mono_us);
		return;
	}
	for (unsigned i = 0; i < n && pace(in, f[i].ts_us); i++)
		flow_meter_burst(in->meter, linktype, &f[i], 1, in->mono_us);
}

/** Read to the end, to a fault, or until stopped. 0 or -E_* with @err. */
static int
read_all(struct pcap_input *in, struct err *err)
{
	struct flow_frame frames[FLOW_BURST];
	unsigned rounds = 0;
	while (!atomic_load_explicit(&in->stopping, memory_order_relaxed)) {
		int linktype;
		int n = reader_burst(in->reader, frames, FLOW_BURST, &linktype, err);
		if (rounds++ % 16 == 0 || n == -E_AGAIN) {
			in->mono_us = clock_mono_us();
			counter_set(
			    &in->counters, C_pkt_linktype, reader_facts(in->reader).skipped);
		}
		if (n == -E_AGAIN) {
			if (in->last_us != INT64_MIN)
				flow_meter_tick(in->meter, in->last_us, in->mono_us);
			continue;
		}
		if (n > 0 && in->filter != NULL) {
			int all = n;
			n = filter_frames(in, frames, n, linktype, err);
			if (n >= 0)
				counter_add(&in->counters, C_pkt_filtered, (uint64_t)(all - n));
			if (n == 0)
				continue;
		}
		if (n <= 0)
			return n;
		meter_frames(in, frames, (unsigned)n, linktype);
	}
	return 0;
}

static void *
pcap_thread(void *arg)
{
	struct pcap_input *in = arg;
	struct err err = {0};
	char why[512] = "";
	pthread_setname_np(pthread_self(), "pcap");
	in->mono_us = clock_mono_us();
	int rc = read_all(in, &err);
	in->mono_us = clock_mono_us();
	flow_meter_flush(in->meter, in->mono_us);
	struct reader_facts facts = reader_facts(in->reader);
	counter_set(&in->counters, C_pkt_linktype, facts.skipped);
	if (rc != 0)
		snprintf(why, sizeof(why), "%s", err.text);
	else if (facts.skipped > 0)
		snprintf(why, sizeof(why),
		    "%" PRIu64 " packets of link type %d were skipped, we "
		    "cannot decode it",
		    facts.skipped, facts.skipped_linktype);
	if (why[0] != '\0')
		in->host->state(in->host->ctx, facts.packets > 0 ? PORT_DEGRADED : PORT_DOWN, why);
	if (!atomic_load(&in->stopping))
		in->host->ended(in->host->ctx, rc != 0);
	return NULL;
}

static void
pcap_free(void **self)
{
	struct pcap_input *in = *self;
	if (in == NULL)
		return;
	reader_close(&in->reader);
	flow_meter_free(&in->meter);
	if (in->program_linktype >= 0)
		pcap_freecode(&in->program);
	if (in->wake.fd >= 0)
		wake_fini(&in->wake);
	free(in->filter);
	free(in);
	*self = NULL;
}

/** The file's name without its directory: what its flows and seconds are shown under. */
static const char *
base_name(const char *path)
{
	const char *slash = strrchr(path, '/');
	return strcmp(path, "-") == 0 ? "stdin" : slash != NULL ? slash + 1 : path;
}

/** Reader, filter and meter; on failure the caller frees what there is. */
static int
open_parts(struct pcap_input *in, const struct conf_endpoint *conf, struct err *err)
{
	if (conf->address[0] == '\0')
		return err_set(err, E_INVAL, "pcap: a file is needed, or - for standard input");
	if (wake_init(&in->wake) != 0) {
		in->wake.fd = -1;
		return err_sys(err, E_SYS, "pcap: cannot make an eventfd");
	}
	int rc = reader_open(conf->address, in->wake.fd, &in->reader, err);
	if (rc != 0)
		return rc;
	if (conf_text(conf, "filter")[0] != '\0') {
		in->filter = strdup(conf_text(conf, "filter"));
		if (in->filter == NULL)
			return err_set(err, E_NOMEM, "pcap: out of memory");
		/* a pipe's link type is not known yet: Ethernet finds most mistakes now */
		int linktype = reader_facts(in->reader).linktype;
		rc = compile(in, linktype >= 0 ? linktype : DLT_EN10MB, err);
		if (rc != 0)
			return rc;
	}
	struct flow_meter_conf m;
	input_meter_conf(conf, in->host, in->probe, &m);
	in->max_batches = m.max_batches;
	m.interface = in->name;
	m.push = pcap_push;
	m.second = pcap_second;
	m.wait = pcap_wait;
	m.arg = in;
	in->meter = flow_meter_new(&m, err);
	if (in->meter == NULL)
		return err->code != 0 ? -err->code : -E_NOMEM;
	return input_memory_check(in->meter, 1, input_machine_memory(), err);
}

static int
pcap_open_input(const struct conf_endpoint *conf, const struct port_host *host, void **self_out,
    struct err *err)
{
	struct pcap_input *in = aligned_alloc(64, (sizeof(*in) + 63) / 64 * 64);
	if (in == NULL)
		return err_set(err, E_NOMEM, "pcap: out of memory");
	memset(in, 0, sizeof(*in));
	in->host = host;
	in->program_linktype = -1;
	in->wake.fd = -1;
	in->last_us = INT64_MIN;
	in->is_real_pace = conf_choice(conf, "pace") == 1;
	snprintf(in->name, sizeof(in->name), "%.63s", base_name(conf->address));
	input_timeouts_set(&in->timeouts, conf);
	in->timeouts_seen = atomic_load(&in->timeouts.generation);
	int rc = open_parts(in, conf, err);
	void *self = in;
	if (rc != 0)
		pcap_free(&self);
	*self_out = self;
	return rc;
}

static int
pcap_start(void *self, struct err *err)
{
	struct pcap_input *in = self;
	in->host->state(in->host->ctx, PORT_UP, "");
	int rc = pthread_create(&in->thread, NULL, pcap_thread, in);
	if (rc != 0) {
		errno = rc;
		return err_sys(err, E_SYS, "pcap: cannot start a thread");
	}
	in->is_started = true;
	return 0;
}

static void
pcap_stop(void *self, bool drain)
{
	struct pcap_input *in = self;
	(void)drain; /* the flows are ended and pushed in any case */
	if (!in->is_started)
		return;
	atomic_store(&in->give_up_us, clock_mono_us() + GRACE_US);
	atomic_store(&in->stopping, true);
	wake_signal(&in->wake);
	pthread_join(in->thread, NULL);
	in->is_started = false;
}

static int
pcap_set(void *self, const struct conf_endpoint *conf, const char *option, struct err *err)
{
	struct pcap_input *in = self;
	(void)option, (void)err; /* the live options are the timeouts */
	input_timeouts_set(&in->timeouts, conf);
	return 0;
}

static void
pcap_counters(void *self, uint64_t sum[C_COUNT])
{
	struct pcap_input *in = self;
	input_counters_add(flow_meter_counters(in->meter), sum);
	input_counters_add(&in->counters, sum);
}

static uint64_t
pcap_memory(void *self)
{
	struct pcap_input *in = self;
	uint64_t total;
	uint32_t per_flow;
	flow_meter_memory(in->meter, &total, &per_flow);
	return total + in->max_batches * batch_memory(BATCH_TEXT_FIRST);
}

static void
pcap_detail(void *self, port_detail_fn *fn, void *arg)
{
	struct pcap_input *in = self;
	uint64_t total;
	uint32_t per_flow;
	flow_meter_memory(in->meter, &total, &per_flow);
	fn(arg, "pace", in->is_real_pace ? "real" : "full", false);
	input_detail_number(fn, arg, "meter_bytes", total);
	input_detail_number(fn, arg, "meter_bytes_per_flow", per_flow);
}

const struct port_type input_pcap = {
    .name = "pcap",
    .direction = PORT_INPUT,
    .help =
	"Meter the packets of a pcap or pcapng file; ADDRESS is its path, or - for standard input.",
    .open = pcap_open_input,
    .start = pcap_start,
    .stop = pcap_stop,
    .free = pcap_free,
    .set = pcap_set,
    .counters = pcap_counters,
    .memory = pcap_memory,
    .detail = pcap_detail,
};
