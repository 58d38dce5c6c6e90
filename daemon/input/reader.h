/* SPDX-License-Identifier: Apache-2.0
 * input/reader.h - packets out of a capture file or a pipe, a burst at a time.
 *
 * Formats: pcap (both byte orders, microseconds and nanoseconds, versions 2.0 to 2.4, the
 * "modified" variant with longer packet headers) and pcapng. The file is read into one buffer that
 * grows only as far as a packet that is really there needs it; frames point into it. Reading and
 * not mapping, since a file that is cut while it is mapped kills the process. One thread at a time.
 */
#ifndef FLOWBUS_INPUT_READER_H
#define FLOWBUS_INPUT_READER_H

#include "base/err.h"
#include "flow/meter.h"

struct reader;

struct reader_facts {
	const char *format;   /* "pcap" or "pcapng"; "" not known yet (a pipe) */
	int linktype;	      /* of the newest packet or the file; -1 not known yet */
	uint64_t packets;     /* records read */
	uint64_t skipped;     /* of these, with a link type we cannot decode (pcapng) */
	int skipped_linktype; /* the first such link type */
	uint64_t bytes;	      /* of the file, read so far */
};

/**
 * Open @path, "-" is standard input. What a regular file says about itself is checked here; of a
 * pipe only that it opens. @wake_fd ends waiting for a pipe early when readable. 0 and *out, or
 * -E_* with @err.
 */
int reader_open(const char *path, int wake_fd, struct reader **out, struct err *err);
void reader_close(struct reader **r);
/** Is it a pipe, so that packets may come late? */
bool reader_is_pipe(const struct reader *r);

/**
 * The next frames, at most @max, all of one link type; good until the next call. Returns how many,
 * 0 at the end, -E_AGAIN when a pipe has nothing for 100 ms or wake_fd is readable, or -E_* with
 * @err: reading is over, all frames before the fault have been given.
 */
int reader_burst(
    struct reader *r, struct flow_frame *frames, unsigned max, int *linktype_out, struct err *err);

struct reader_facts reader_facts(const struct reader *r);

#endif
