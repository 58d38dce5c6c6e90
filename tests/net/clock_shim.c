/* SPDX-License-Identifier: Apache-2.0
 * tests/net/clock_shim.c - LD_PRELOAD: a daemon whose CLOCK_REALTIME is off.
 *
 * FLOWBUS_CLOCK_SHIFT names a file of 8 octets, the shift in microseconds (little-endian, signed),
 * which may change at any time. */
#include <dlfcn.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

typedef int gettime_fn(clockid_t id, struct timespec *t);

static gettime_fn *real;
static _Atomic int64_t *shift;

__attribute__((constructor)) static void
begin(void)
{
	const char *path = getenv("FLOWBUS_CLOCK_SHIFT");
	*(void **)&real = dlsym(RTLD_NEXT, "clock_gettime");
	int fd = path != NULL ? open(path, O_RDONLY | O_CLOEXEC) : -1;
	if (fd < 0)
		return;
	void *p = mmap(NULL, sizeof(*shift), PROT_READ, MAP_SHARED, fd, 0);
	close(fd);
	if (p != MAP_FAILED)
		shift = p;
}

int
clock_gettime(clockid_t id, struct timespec *t)
{
	if (real == NULL)
		*(void **)&real = dlsym(RTLD_NEXT, "clock_gettime");
	int rc = real(id, t);
	if (rc != 0 || id != CLOCK_REALTIME || shift == NULL)
		return rc;
	int64_t us = (int64_t)t->tv_sec * 1000000 + t->tv_nsec / 1000 +
	    atomic_load_explicit(shift, memory_order_relaxed);
	t->tv_sec = us / 1000000;
	t->tv_nsec = us % 1000000 * 1000 + t->tv_nsec % 1000;
	return 0;
}
