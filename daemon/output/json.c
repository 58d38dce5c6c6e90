/* SPDX-License-Identifier: Apache-2.0
 * output/json.c - flow records as JSON, one object a line, to a file or stdout.
 *
 * A writer thread of its own takes batches from a bounded queue, runs the filter, prints and
 * writes: the only thread that may block on a slow disk or pipe. Lines are whole: a write that
 * stops half-way on a full disk is cut back to the last line end. A pipe is waited for with poll,
 * so that a stop ends in time though nobody reads it; meanwhile batches that other outputs and
 * their maker need do not stay in its queue. Only regular files are rotated. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "conf/conf.h"
#include "filter/filter.h"
#include "output/json_priv.h"
#include "output/output.h"

enum { PRINT_CHUNK = 256 << 10, ROTATED_MAX = 4096, POLL_MS = 100, STOP_US = 5000000 };
enum { LATE_US = 2000000 }; /* how long a pipe may keep a batch that may not wait */

/* What `set` can change; the writer takes a new one over between two batches. */
struct settings {
	struct filter *filter;
	struct field_set fields;
	enum value_style style;
	uint64_t rotate_us, rotate_size, flush_us, keep;
};

struct json {
	struct port_host host;
	char path[256]; /* "-" is stdout */
	bool is_stdout;
	bool is_file; /* regular: is cut after a failed write, rotated, synced */
	bool takes_marks; /* began as a regular file; never changes */
	bool is_pipe; /* or a terminal: is as slow as who reads it */
	int fd;
	struct queue *queue;
	struct wake wake;
	pthread_t thread;
	bool running;
	_Atomic bool stop, drain;
	_Atomic uint64_t give_up_us; /* monotonic: what is not written then is lost; 0: never */
	_Atomic uint32_t pending; /* batches taken and not yet written */
	_Atomic(struct settings *) fresh;
	struct counters counters; /* the writer's, and of those who bring batches: added to shared */
	/* the writer's own */
	struct settings *now;
	struct filter_work *work;
	struct batch *held; /* taken from the queue, not yet printed */
	struct buf out;
	uint32_t out_flows;
	uint64_t oldest_us, opened_us, size;
	bool failing;
};

static void
settings_free(struct settings **s)
{
	if (*s == NULL)
		return;
	filter_free(&(*s)->filter);
	free(*s);
	*s = NULL;
}

static int
settings_new(const struct conf_endpoint *conf, struct settings **out, struct err *err)
{
	struct settings *s = calloc(1, sizeof(*s));
	if (s == NULL)
		return err_set(err, E_NOMEM, "out of memory");
	int rc = filter_compile(strv_of(conf_text(conf, "filter")), &s->filter, err);
	if (rc != 0) {
		free(s);
		return rc;
	}
	s->fields = conf_fields(conf, "fields");
	s->style = conf_choice(conf, "time") == 1 ? VALUE_JSON_US : VALUE_JSON;
	s->rotate_us = (uint64_t)conf_span_us(conf, "rotate");
	s->rotate_size = conf_number(conf, "rotate_size");
	s->flush_us = (uint64_t)conf_span_us(conf, "flush");
	s->keep = conf_number(conf, "keep");
	*out = s;
	return 0;
}

static bool
is_read_by_somebody(const struct stat *st, int fd)
{
	return S_ISFIFO(st->st_mode) || S_ISSOCK(st->st_mode) || isatty(fd);
}

static int
open_file(struct json *j)
{
	struct stat st;
	/* O_NONBLOCK: a FIFO that nobody reads must not hold up the daemon */
	j->fd = open(j->path,
	    O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY, 0640);
	if (j->fd < 0)
		return -E_IO;
	bool known = fstat(j->fd, &st) == 0;
	j->is_file = known && S_ISREG(st.st_mode);
	j->is_pipe = known && is_read_by_somebody(&st, j->fd);
	j->size = j->is_file ? (uint64_t)st.st_size : 0;
	j->opened_us = clock_mono_us();
	return 0;
}

/* Standard output. A pipe or terminal is opened once more: not to wait in write is a property of
 * the open file, which others share with us. */
static int
open_stdout(struct json *j)
{
	struct stat st;
	bool known = fstat(STDOUT_FILENO, &st) == 0;
	j->fd = -1;
	j->is_pipe = known && is_read_by_somebody(&st, STDOUT_FILENO);
	if (known && (S_ISFIFO(st.st_mode) || S_ISCHR(st.st_mode)))
		j->fd = open("/proc/self/fd/1", O_WRONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (j->fd < 0)
		j->fd = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 0);
	return j->fd >= 0 ? 0 : -E_IO;
}

static int
open_failed(const struct json *j, struct err *err)
{
	if (errno == ELOOP)
		return err_set(err, E_UNSAFE, "%s is a symbolic link; give the file itself", j->path);
	if (errno == ENXIO)
		return err_set(err, E_IO, "%s: nobody reads this FIFO or socket (start its reader first)",
		    j->path);
	return err_sys(err, E_IO, "cannot open %s", j->path);
}

static int
json_open(const struct conf_endpoint *conf, const struct port_host *host, void **self_out,
    struct err *err)
{
	struct json *j = aligned_alloc(64, (sizeof(*j) + 63) / 64 * 64);
	if (j == NULL)
		return err_set(err, E_NOMEM, "out of memory");
	memset(j, 0, sizeof(*j));
	j->host = *host;
	j->fd = -1;
	j->wake.fd = -1;
	j->out = buf_init(0);
	snprintf(j->path, sizeof(j->path), "%s", conf->address);
	j->is_stdout = strcmp(j->path, "-") == 0;
	int rc = settings_new(conf, &j->now, err);
	if (rc == 0) {
		j->queue = queue_new(conf_number(conf, "queue"));
		j->work = filter_work_new();
		if (j->queue == NULL || j->work == NULL || wake_init(&j->wake) != 0)
			rc = err_set(err, E_NOMEM, "out of memory");
	}
	if (rc == 0 && j->is_stdout && open_stdout(j) != 0)
		rc = err_sys(err, E_IO, "stdout");
	else if (rc == 0 && !j->is_stdout && open_file(j) != 0)
		rc = open_failed(j, err);
	j->takes_marks = j->is_file;
	*self_out = j;
	if (rc != 0)
		output_json.free(self_out);
	return rc;
}

/* ---- writing */

static void
fail(struct json *j, const char *what)
{
	char why[200];
	int saved = errno;
	snprintf(why, sizeof(why), "%s: %s", what, strerror(saved));
	counter_add(&j->counters, C_write_errors, 1);
	if (!j->failing)
		j->host.state(j->host.ctx, PORT_DEGRADED, why);
	j->failing = true;
}

/* What is taken out of the queue is in hand until it is filtered, written or lost. */
static struct batch *
take_out(struct json *j)
{
	counters_begin_shared(&j->counters);
	struct batch *b = queue_pop(j->queue);
	if (b != NULL) {
		counter_add_shared(&j->counters, C_flow_queued, -(int64_t)b->n);
		counter_add_shared(&j->counters, C_flow_in_hand, b->n);
	}
	counters_end_shared(&j->counters);
	return b;
}

static void
lose(struct json *j, struct batch **b, enum counter why)
{
	counters_begin_shared(&j->counters);
	counter_add_shared(&j->counters, why, (*b)->n);
	counter_add_shared(&j->counters, C_flow_in_hand, -(int64_t)(*b)->n);
	counters_end_shared(&j->counters);
	batch_unref(b);
	atomic_fetch_sub(&j->pending, 1);
}

/* A pipe's reader is too slow: what others wait for is not kept for it. */
static bool
is_late(const struct json *j, const struct batch *b, uint64_t now)
{
	return j->is_pipe && !b->may_wait && now >= b->sealed_us + LATE_US;
}

/* The oldest batch that is still to be printed, or NULL; it stays ours in `held`. Those before it
 * that waited too long for a slow reader are lost: kept, they would soon be all that their maker
 * has, and the outputs that are not slow would get nothing more. */
static struct batch *
next_batch(struct json *j, uint64_t now)
{
	for (;;) {
		if (j->held == NULL)
			j->held = take_out(j);
		if (j->held == NULL || !is_late(j, j->held, now))
			return j->held;
		lose(j, &j->held, C_flow_lost_queue);
		if (!j->failing)
			j->host.state(j->host.ctx, PORT_DEGRADED,
			    "flows are lost, its reader is too slow (the other outputs go on)");
		j->failing = true;
	}
}

static void
recovered(struct json *j)
{
	if (j->failing)
		j->host.state(j->host.ctx, PORT_UP, "");
	j->failing = false;
}

static uint32_t
count_lines(const uint8_t *p, size_t n)
{
	uint32_t lines = 0;
	for (const uint8_t *end = p + n; (p = memchr(p, '\n', (size_t)(end - p))) != NULL; p++)
		lines++;
	return lines;
}

/* Write until all is out, it fails, or a stop has waited long enough. How much got out. */
static size_t
write_out(struct json *j)
{
	size_t done = 0;
	while (done < j->out.n) {
		ssize_t n = write(j->fd, j->out.p + done, j->out.n - done);
		if (n > 0) {
			done += (size_t)n;
			continue;
		}
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN) {
			struct pollfd p = {j->fd, POLLOUT, 0};
			uint64_t give_up = atomic_load(&j->give_up_us);
			if (give_up == 0 || clock_mono_us() < give_up) {
				(void)poll(&p, 1, POLL_MS);
				(void)next_batch(j, clock_mono_us());
				continue;
			}
			errno = EAGAIN;
		}
		fail(j, "write");
		break;
	}
	return done;
}

/* Cut the half line behind the last @extra octets off; others may have cut the file meanwhile. */
static void
cut(struct json *j, size_t extra)
{
	struct stat st;
	if (!j->is_file || extra == 0)
		return;
	if (fstat(j->fd, &st) != 0 || (size_t)st.st_size < extra ||
	    ftruncate(j->fd, st.st_size - (off_t)extra) != 0)
		log_warn("json: %s: cannot cut a half line", j->host.name);
}

/* Write what is printed. On failure the lines that did not get out are lost, counted. */
static void
flush(struct json *j)
{
	int64_t lost = 0;
	size_t done = write_out(j);
	if (done < j->out.n) {
		/* keep whole lines only: cut a file back to the last line end that got out */
		size_t whole = done;
		while (whole > 0 && j->out.p[whole - 1] != '\n')
			whole--;
		cut(j, done - whole);
		uint32_t lines = count_lines(j->out.p, whole);
		lost = j->out_flows - lines;
		j->out_flows = lines;
		done = whole;
	} else if (done > 0) {
		recovered(j);
	}
	j->size += done;
	counter_add(&j->counters, C_write_bytes, done);
	counters_begin_shared(&j->counters);
	counter_add_shared(&j->counters, C_flow_lost_write, lost);
	counter_add_shared(&j->counters, C_flow_out, j->out_flows);
	counter_add_shared(&j->counters, C_flow_in_hand, -(lost + (int64_t)j->out_flows));
	counters_end_shared(&j->counters);
	buf_reset(&j->out);
	j->out_flows = 0;
}

static int
by_name(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

bool
json_is_rotated(const char *tail)
{
	static const char form[] = "dddddddd" "T" "dddddd" "." "ddd";
	size_t i = 0;
	for (; form[i] != '\0' && tail[i] != '\0'; i++)
		if (form[i] == 'd' ? tail[i] < '0' || tail[i] > '9' : tail[i] != form[i])
			return false;
	return form[i] == '\0' && tail[i] == '\0';
}

/* Delete the oldest rotated files beyond `keep`: their names begin with ours and sort by time. */
static void
prune(struct json *j)
{
	char dir_copy[256], base_copy[256], *names[ROTATED_MAX];
	unsigned n = 0;
	snprintf(dir_copy, sizeof(dir_copy), "%s", j->path);
	snprintf(base_copy, sizeof(base_copy), "%s", j->path);
	const char *dir = dirname(dir_copy), *base = basename(base_copy);
	size_t len = strlen(base);
	DIR *d = opendir(dir);
	for (struct dirent *e; d != NULL && (e = readdir(d)) != NULL && n < ROTATED_MAX;) {
		if (strncmp(e->d_name, base, len) == 0 && e->d_name[len] == '.' &&
		    json_is_rotated(e->d_name + len + 1) && (names[n] = strdup(e->d_name)) != NULL)
			n++;
	}
	if (n > 0)
		qsort(names, n, sizeof(names[0]), by_name);
	for (unsigned i = 0; i < n; i++) {
		if (i + j->now->keep < n && unlinkat(dirfd(d), names[i], 0) != 0)
			log_warn("json: %s: cannot delete %s: %s", j->host.name, names[i],
			    strerror(errno));
		free(names[i]);
	}
	if (d != NULL)
		closedir(d);
}

static void
rotate(struct json *j)
{
	char to[320];
	struct tm tm;
	time_t now = (time_t)(clock_real_us() / 1000000);
	unsigned k = 0;
	struct stat st;
	gmtime_r(&now, &tm);
	do
		snprintf(to, sizeof(to), "%s.%04d%02d%02dT%02d%02d%02d.%03u", j->path, tm.tm_year + 1900,
		    tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec, k);
	while (lstat(to, &st) == 0 && ++k < 1000);
	if (k == 1000)
		return; /* a thousand in this second: go on in this file until the next */
	if (rename(j->path, to) != 0 && errno != ENOENT) {
		fail(j, "rename for rotation");
		j->opened_us = clock_mono_us();
		return;
	}
	int old = j->fd;
	if (open_file(j) != 0) {
		j->fd = old; /* go on in the renamed file rather than lose records */
		fail(j, "open after rotation");
		return;
	}
	if (fsync(old) != 0)
		fail(j, "fsync");
	close(old);
	counter_add(&j->counters, C_rotations, 1);
	if (j->now->keep > 0)
		prune(j);
}

static void
rotate_if_due(struct json *j, uint64_t now_us)
{
	const struct settings *s = j->now;
	if (!j->is_file || j->size == 0)
		return;
	if ((s->rotate_us > 0 && now_us - j->opened_us >= s->rotate_us) ||
	    (s->rotate_size > 0 && j->size >= s->rotate_size))
		rotate(j);
}

static void
print_batch(struct json *j, const struct batch *b)
{
	uint64_t mask[BATCH_WORDS];
	uint32_t passed = filter_run(j->now->filter, j->work, b, mask);
	counters_begin_shared(&j->counters);
	counter_add_shared(&j->counters, C_flow_filtered, b->n - passed);
	counter_add_shared(&j->counters, C_flow_in_hand, (int64_t)passed - b->n);
	counters_end_shared(&j->counters);
	for (unsigned w = 0; w < BATCH_WORDS; w++) {
		for (uint64_t m = mask[w]; m != 0; m &= m - 1) {
			uint32_t row = w * 64 + (uint32_t)__builtin_ctzll(m);
			if (j->out.n == 0)
				j->oldest_us = clock_mono_us();
			size_t before = j->out.n;
			batch_row_json(&j->out, b, row, j->now->fields, j->now->style);
			buf_u8(&j->out, '\n');
			if (j->out.err != 0) { /* without memory: this record is lost, named */
				j->out.n = before;
				j->out.err = 0;
				counters_begin_shared(&j->counters);
				counter_add_shared(&j->counters, C_flow_lost_write, 1);
				counter_add_shared(&j->counters, C_flow_in_hand, -1);
				counters_end_shared(&j->counters);
				flush(j);
				continue;
			}
			j->out_flows++;
			if (j->out.n >= PRINT_CHUNK) {
				flush(j);
				rotate_if_due(j, clock_mono_us());
			}
		}
	}
}

/* Everything before a mark is in the file, on the disk, before it is said so. */
static void
reach(struct json *j, struct batch_mark *m)
{
	struct stat st;
	if (j->out.n > 0)
		flush(j);
	if (!j->is_file)
		return; /* rotation met something else under this name */
	if (fdatasync(j->fd) != 0)
		fail(j, "fdatasync");
	if (fstat(j->fd, &st) != 0) {
		atomic_store(&m->failed, true);
		return;
	}
	struct batch_file f = {j->host.name, j->path, st.st_dev, st.st_ino, (uint64_t)st.st_size};
	m->file(m, &f);
}

static void
adopt(struct json *j)
{
	struct settings *fresh = atomic_exchange(&j->fresh, NULL);
	if (fresh == NULL)
		return;
	settings_free(&j->now);
	j->now = fresh;
}

static void
drop_queue(struct json *j)
{
	while (j->held != NULL || (j->held = take_out(j)) != NULL)
		lose(j, &j->held, C_flow_lost_stop);
}

static void *
writer(void *arg)
{
	struct json *j = arg;
	for (;;) {
		adopt(j);
		/* read before looking into the queue: what was taken before stop is still written */
		bool stop = atomic_load(&j->stop);
		uint64_t now = clock_mono_us();
		if (stop && (!atomic_load(&j->drain) || now >= atomic_load(&j->give_up_us)))
			drop_queue(j);
		struct batch *b = next_batch(j, now);
		if (b != NULL) {
			j->held = NULL;
			if (b->mark != NULL)
				reach(j, b->mark);
			else
				print_batch(j, b);
			batch_unref(&b);
			if (j->out.n > 0 && now - j->oldest_us >= j->now->flush_us)
				flush(j);
			atomic_fetch_sub(&j->pending, 1);
			continue;
		}
		if (stop)
			break;
		if (j->out.n > 0 && now - j->oldest_us >= j->now->flush_us)
			flush(j);
		rotate_if_due(j, now);
		wake_wait(&j->wake, j->out.n > 0 || j->now->rotate_us > 0 ? 50 : 1000);
	}
	if (j->out.n > 0)
		flush(j);
	return NULL;
}

/* ---- the endpoint */

static int
json_start(void *self, struct err *err)
{
	struct json *j = self;
	if (pthread_create(&j->thread, NULL, writer, j) != 0)
		return err_set(err, E_SYS, "json: cannot start a thread");
	j->running = true;
	j->host.state(j->host.ctx, PORT_UP, "");
	return 0;
}

static bool
json_take(void *self, struct batch *b)
{
	struct json *j = self;
	uint32_t n = b->n;
	if (b->mark != NULL && !j->takes_marks) { /* nothing to cut back: nobody waits for a pipe */
		batch_unref(&b);
		return true;
	}
	atomic_fetch_add(&j->pending, 1);
	counters_begin_shared(&j->counters);
	bool taken = queue_push(j->queue, b);
	if (taken) {
		counter_add_shared(&j->counters, C_batch_in, 1);
		counter_add_shared(&j->counters, C_flow_in, n);
		counter_add_shared(&j->counters, C_flow_queued, n);
	}
	counters_end_shared(&j->counters);
	if (taken)
		wake_signal(&j->wake);
	else
		atomic_fetch_sub(&j->pending, 1);
	return taken;
}

static bool
json_busy(void *self)
{
	struct json *j = self;
	return atomic_load(&j->pending) > 0;
}

static void
json_stop(void *self, bool drain)
{
	struct json *j = self;
	if (!j->running)
		return;
	const struct conf_daemon *d = j->host.daemon;
	uint64_t patience = d != NULL ? (uint64_t)conf_span_us(&d->bag, "stop_timeout") : STOP_US;
	atomic_store(&j->give_up_us, clock_mono_us() + (drain ? patience : 0));
	atomic_store(&j->drain, drain);
	atomic_store(&j->stop, true);
	wake_signal(&j->wake);
	pthread_join(j->thread, NULL);
	j->running = false;
	if (j->is_file && fsync(j->fd) != 0)
		log_warn("json: %s: fsync: %s", j->host.name, strerror(errno));
}

static void
json_free(void **self)
{
	struct json *j = *self;
	struct settings *fresh = atomic_exchange(&j->fresh, NULL);
	settings_free(&fresh);
	settings_free(&j->now);
	batch_unref(&j->held);
	for (struct batch *b; j->queue != NULL && (b = queue_pop(j->queue)) != NULL;)
		batch_unref(&b);
	queue_free(&j->queue);
	filter_work_free(&j->work);
	buf_fini(&j->out);
	if (j->wake.fd >= 0)
		wake_fini(&j->wake);
	if (j->fd >= 0)
		close(j->fd);
	free(j);
	*self = NULL;
}

static int
json_set(void *self, const struct conf_endpoint *conf, const char *option, struct err *err)
{
	struct json *j = self;
	struct settings *s;
	(void)option; /* one settings object holds all that can change */
	int rc = settings_new(conf, &s, err);
	if (rc != 0)
		return rc;
	struct settings *unread = atomic_exchange(&j->fresh, s);
	settings_free(&unread);
	wake_signal(&j->wake);
	return 0;
}

static void
json_counters(void *self, uint64_t sum[C_COUNT])
{
	struct json *j = self;
	(void)counters_read(&j->counters, sum);
}

/* What is printed and not written; the batches in the queue are their makers'. */
static uint64_t
json_memory(void *self)
{
	(void)self;
	return PRINT_CHUNK * 3 / 2 + (uint64_t)F_COUNT * TEXT_MAX * 6 + sizeof(struct json);
}

static void
json_detail(void *self, port_detail_fn *fn, void *arg)
{
	struct json *j = self;
	char text[32];
	snprintf(text, sizeof(text), "%u", atomic_load(&j->pending));
	fn(arg, "queued_batches", text, true);
	snprintf(text, sizeof(text), "%zu", queue_capacity(j->queue));
	fn(arg, "queue_capacity", text, true);
}

const struct port_type output_json = {
    .name = "json",
    .direction = PORT_OUTPUT,
    .help = "Writes flow records as JSON, one object a line; ADDRESS is a file, or - for stdout.",
    .open = json_open,
    .start = json_start,
    .take = json_take,
    .busy = json_busy,
    .stop = json_stop,
    .free = json_free,
    .set = json_set,
    .counters = json_counters,
    .memory = json_memory,
    .detail = json_detail,
};
