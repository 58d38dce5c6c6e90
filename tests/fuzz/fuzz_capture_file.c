/* SPDX-License-Identifier: Apache-2.0
 * fuzz/fuzz_capture_file.c - a capture file of any content: every frame lies in the buffer (its
 * octets are read), reading ends, memory stays bounded. */
#include <stdlib.h>
#include <sys/mman.h>
#include <stdio.h>
#include <unistd.h>

#include "input/reader.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct flow_frame f[FLOW_BURST];
	struct reader *r = NULL;
	struct err err = {0};
	char path[64];
	int linktype, n;
	int fd = memfd_create("fuzz", MFD_CLOEXEC);
	if (fd < 0 || write(fd, data, size) != (ssize_t)size)
		abort();
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	if (reader_open(path, -1, &r, &err) == 0) {
		uint64_t frames = 0;
		unsigned sum = 0;
		while ((n = reader_burst(r, f, FLOW_BURST, &linktype, &err)) > 0) {
			frames += (unsigned)n;
			for (int i = 0; i < n; i++)
				for (uint32_t k = 0; k < f[i].caplen; k++)
					sum += f[i].data[k];
		}
		assert_always(frames * 16 <= size && sum <= size * 255);
		assert_always(n == 0 || err.code == -n);
		assert_always(reader_facts(r).packets == frames + reader_facts(r).skipped);
		reader_close(&r);
	} else {
		assert_always(err.code != 0 && err.text[0] != '\0' && r == NULL);
	}
	close(fd);
	return 0;
}
