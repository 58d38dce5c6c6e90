/* SPDX-License-Identifier: Apache-2.0
 * bench/scale.h - what the probe and the client of bench_scale share: options, and one block of
 * memory with the phase they are in and what each of them found. */
#ifndef FLOWBUS_BENCH_SCALE_H
#define FLOWBUS_BENCH_SCALE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	SCALE_SUBS_MAX = 4096,
	SCALE_FILTERS_MAX = 1000,
	SCALE_PATIENCE_S = 180, /* then a process ends by SIGALRM */
};

struct scale_options {
	const char *file, *codec;
	unsigned subs, filters, stopped, seconds, delay_ms, decode;
	uint64_t rate;
	bool plain;
	char address[64], key[96]; /* key "": clear text */
};

/** One subscription, as one side saw it. */
struct scale_row {
	uint64_t channel, frames, flows, lost, passed;
	bool is_set;
};

struct scale_cpu {
	double all, io, feeder; /* seconds: the process, libzmq's I/O thread, who makes the flows */
};

struct scale_probe_result {
	struct scale_cpu cpu;
	double fed_s, seconds;            /* first push to last, to last acknowledgement */
	uint64_t offered, early;          /* flows; those that did not get into the queue */
	uint64_t encoded, sent, bytes;    /* frames made, frames sent, octets of frames made */
	uint64_t peers_down, refused;
	uint64_t rss_bare, rss_idle, rss_peak; /* octets: no peer, all subscribed, most */
	struct scale_row row[SCALE_SUBS_MAX];
};

struct scale_client_result {
	struct scale_cpu cpu;
	uint64_t frames, bytes, decoded, stats;
	uint64_t bad_crc, bad_seq, bad_decode, broken; /* broken: sessions that ended */
	uint64_t reconnects;
	uint64_t n_latency, p50_us, p99_us, max_us; /* end of a flow to arrival of its frame */
	struct scale_row row[SCALE_SUBS_MAX];
};

enum scale_phase {
	SCALE_START,
	SCALE_BOUND,
	SCALE_SUBSCRIBED,
	SCALE_DONE,
	SCALE_READ,
	SCALE_FAILED,
};

struct scale {
	struct scale_options o;
	_Atomic int phase;
	struct scale_probe_result probe;
	struct scale_client_result client;
};

/** Run the publishing side: attach, wait for the subscribers, feed, wait for acknowledgement. */
void scale_probe(struct scale *s);
/** Run all subscribers until the probe says it is done. */
void scale_client(struct scale *s);

/* scale.c */
_Noreturn void scale_die(const char *what);
struct scale_cpu scale_cpu_now(void);
struct scale_cpu scale_cpu_since(struct scale_cpu before);
/** A value of /proc/self/status in octets: "VmRSS:" or "VmHWM:". */
uint64_t scale_memory(const char *what);

#endif
