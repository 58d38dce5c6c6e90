/* SPDX-License-Identifier: Apache-2.0
 * link/spool.c - the thread that writes and reads a spool, and the queues to and from it. */
#include "link/spool.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "link/link_priv.h"
#include "link/spool_disk.h"

enum { SEGMENT_LEAST = 256 << 10, SEGMENT_MOST = 4 << 20 };
enum { JOBS = 8192, SYNC_US = 1000000, READ_MAX = 64 };

enum job_kind { JOB_WRITE, JOB_READ, JOB_TRIM, JOB_META, JOB_DROP };

struct job {
	enum job_kind kind;
	uint64_t channel, seq;
	struct frame *frame;
	struct buf meta;
	unsigned n;
	struct spool_record r[];
};

struct spool {
	int root, lock;
	char path[400];
	struct wake *owner;      /* the link thread's */
	struct freelist *home;
	struct wake wake;
	struct queue *jobs, *done;
	uint64_t segment_max;
	pthread_t thread;
	_Atomic bool stop;
	pthread_mutex_t problem_lock; /* of `problem`: written and read a few times an hour */
	char problem[160];
	struct spool_files *files;    /* the thread's, after spool_open */
};

/* ---- the thread */

static void
set_problem(struct spool *s, const char *what)
{
	char text[sizeof(s->problem)];
	if (what[0] == '\0')
		text[0] = '\0';
	else
		snprintf(text, sizeof(text), "spool: %s: %s", what, strerror(errno));
	pthread_mutex_lock(&s->problem_lock);
	bool changed = strcmp(s->problem, text) != 0;
	memcpy(s->problem, text, sizeof(text));
	pthread_mutex_unlock(&s->problem_lock);
	if (!changed)
		return;
	if (text[0] != '\0')
		log_warn("link: spool %s: %s: unacknowledged frames stay in memory only (free the disk "
		    "or its permissions)", s->path, text);
	else
		log_notice("link: spool %s: writing again", s->path);
}

static void
give(struct spool *s, struct spool_done *d)
{
	while (!queue_push(s->done, d)) {
		if (atomic_load(&s->stop)) { /* nobody takes it any more */
			spool_done_free(&d);
			return;
		}
		wake_signal(s->owner);
		clock_sleep_us(1000);
	}
	wake_signal(s->owner);
}

static struct spool_files *
files_of(struct spool *s, uint64_t id, bool make)
{
	for (struct spool_files *f = s->files; f != NULL; f = f->next)
		if (f->id == id)
			return f;
	struct spool_files *f = make ? spool_files_open(s->root, id, s->segment_max) : NULL;
	if (f != NULL) {
		f->next = s->files;
		s->files = f;
	}
	return f;
}

static void
forget(struct spool *s, uint64_t id)
{
	for (struct spool_files **at = &s->files; *at != NULL; at = &(*at)->next) {
		struct spool_files *f = *at;
		if (f->id != id)
			continue;
		*at = f->next;
		spool_files_free(&f);
		break;
	}
	spool_files_drop(s->root, id);
}

static void
do_write(struct spool *s, struct job *j)
{
	struct spool_done *d = calloc(1, sizeof(*d));
	struct spool_files *f = files_of(s, j->channel, true);
	int rc = f == NULL ? -E_IO : spool_files_append(f, &j->r[0], j->frame != NULL ?
	    j->frame->data : NULL);
	if (rc != 0)
		set_problem(s, "cannot write");
	else
		set_problem(s, "");
	if (d == NULL)
		return; /* it stays in memory: as if it had not been written */
	*d = (struct spool_done){.kind = SPOOL_WRITTEN, .channel = j->channel, .seq = j->r[0].seq,
	    .len = j->r[0].len};
	if (rc == 0) {
		d->segment = j->r[0].segment;
		d->where = j->r[0].where;
	}
	give(s, d);
}

static struct frame *
read_one(struct spool *s, int fd, const struct spool_record *r)
{
	struct frame *x = fd >= 0 ? malloc(sizeof(*x) + r->len) : NULL;
	if (x == NULL)
		return NULL;
	*x = (struct frame){.home = s->home, .flows = r->flows, .len = r->len, .raw_len = r->raw_len,
	    .seq = r->seq};
	atomic_init(&x->refs, 1);
	if (spool_files_read(fd, r, x->data) == 0)
		return x;
	free(x);
	return NULL;
}

static void
do_read(struct spool *s, const struct job *j)
{
	const struct spool_files *f = files_of(s, j->channel, false);
	int fd = f != NULL ? spool_files_segment(f, j->r[0].segment) : -1;
	for (unsigned i = 0; i < j->n; i++) {
		struct spool_done *d = calloc(1, sizeof(*d));
		if (d == NULL)
			break;
		*d = (struct spool_done){.kind = SPOOL_LOADED, .channel = j->channel, .seq = j->r[i].seq,
		    .frame = read_one(s, fd, &j->r[i])};
		give(s, d);
	}
	if (fd >= 0)
		close(fd);
}

static void
meta_failed(struct spool *s, uint64_t channel)
{
	struct spool_done *d = calloc(1, sizeof(*d));
	set_problem(s, "cannot write meta");
	if (d == NULL)
		return; /* the next change of it writes it again */
	*d = (struct spool_done){.kind = SPOOL_META_FAILED, .channel = channel};
	give(s, d);
}

static void
do_job(struct spool *s, struct job *j)
{
	struct spool_files *f;
	switch (j->kind) {
	case JOB_WRITE:
		do_write(s, j);
		break;
	case JOB_READ:
		do_read(s, j);
		break;
	case JOB_TRIM:
		if ((f = files_of(s, j->channel, false)) != NULL)
			spool_files_trim(f, j->seq);
		break;
	case JOB_META:
		f = files_of(s, j->channel, true);
		if (f == NULL || spool_files_meta(f, &j->meta) != 0)
			meta_failed(s, j->channel);
		break;
	case JOB_DROP:
		forget(s, j->channel);
		break;
	default:
		break;
	}
}

static void
job_free(struct job *j)
{
	if (j->frame != NULL)
		frame_sent(NULL, j->frame);
	buf_fini(&j->meta);
	free(j);
}

static void *
spool_main(void *arg)
{
	struct spool *s = arg;
	uint64_t sync_us = 0;
	for (;;) {
		/* read before looking into the queue: what was given before the stop is still written */
		bool stop = atomic_load(&s->stop);
		struct job *j = queue_pop(s->jobs);
		if (j != NULL) {
			do_job(s, j);
			job_free(j);
		}
		uint64_t now = clock_mono_us();
		if (now >= sync_us || (j == NULL && stop)) {
			for (struct spool_files *f = s->files; f != NULL; f = f->next)
				spool_files_sync(f);
			sync_us = now + SYNC_US;
		}
		if (j == NULL && stop)
			return NULL;
		if (j == NULL)
			wake_wait(&s->wake, 1000);
	}
}

/* ---- jobs */

static struct job *
job_new(enum job_kind kind, uint64_t channel, unsigned n)
{
	struct job *j = calloc(1, sizeof(*j) + n * sizeof(j->r[0]));
	if (j == NULL)
		return NULL;
	j->kind = kind;
	j->channel = channel;
	j->n = n;
	j->meta = buf_init(0);
	return j;
}

static bool
push(struct spool *s, struct job *j)
{
	if (!queue_push(s->jobs, j)) {
		job_free(j);
		return false;
	}
	wake_signal(&s->wake);
	return true;
}

bool
spool_write(struct spool *s, uint64_t channel, const struct spool_record *r, struct frame *f)
{
	struct job *j = job_new(JOB_WRITE, channel, 1);
	if (j == NULL)
		return false;
	j->r[0] = *r;
	j->frame = f;
	if (f != NULL)
		frame_ref(f);
	return push(s, j);
}

bool
spool_read(struct spool *s, uint64_t channel, const struct spool_record *r, unsigned n)
{
	struct job *j = job_new(JOB_READ, channel, n);
	if (j == NULL)
		return false;
	memcpy(j->r, r, n * sizeof(*r));
	return push(s, j);
}

bool
spool_trim(struct spool *s, uint64_t channel, uint64_t seq)
{
	struct job *j = job_new(JOB_TRIM, channel, 0);
	if (j == NULL)
		return false;
	j->seq = seq;
	return push(s, j);
}

bool
spool_meta(struct spool *s, const struct spool_meta *m)
{
	struct job *j = job_new(JOB_META, m->id, 0);
	if (j == NULL)
		return false;
	spool_meta_encode(m, &j->meta);
	if (j->meta.err == 0)
		return push(s, j);
	job_free(j);
	return false;
}

bool
spool_drop(struct spool *s, uint64_t channel)
{
	struct job *j = job_new(JOB_DROP, channel, 0);
	return j != NULL && push(s, j);
}

struct spool_done *
spool_poll(struct spool *s)
{
	return queue_pop(s->done);
}

void
spool_done_free(struct spool_done **d)
{
	if (*d != NULL && (*d)->frame != NULL)
		frame_unref((*d)->frame);
	free(*d);
	*d = NULL;
}

void
spool_problem(struct spool *s, char out[160])
{
	pthread_mutex_lock(&s->problem_lock);
	memcpy(out, s->problem, sizeof(s->problem));
	pthread_mutex_unlock(&s->problem_lock);
}

/* ---- open and close */

static int
open_root(struct spool *s, const char *dir, const char *end, struct err *err)
{
	struct stat st;
	if (strcmp(end, ".") == 0 || strcmp(end, "..") == 0)
		return err_set(err, E_INVAL, "an endpoint with a spool cannot be named %s", end);
	int top = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (top < 0)
		return err_sys(err, errno == ENOENT ? E_NOENT : E_IO,
		    "spool directory %s (make it, owned by the daemon's user)", dir);
	if (mkdirat(top, end, 0700) != 0 && errno != EEXIST) {
		int rc = err_sys(err, E_IO, "cannot make %s in spool directory %s", end, dir);
		close(top);
		return rc;
	}
	s->root = openat(top, end, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	close(top);
	if (s->root < 0)
		return err_sys(err, E_IO, "spool %s", s->path);
	if (fstat(s->root, &st) != 0 || st.st_uid != geteuid() || (st.st_mode & 0022) != 0)
		return err_set(err, E_UNSAFE, "spool %s must belong to uid %u and be writable by nobody "
		    "else", s->path, (unsigned)geteuid());
	s->lock = openat(s->root, "lock", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (s->lock < 0)
		return err_sys(err, E_IO, "spool %s: cannot make its lock", s->path);
	if (flock(s->lock, LOCK_EX | LOCK_NB) != 0)
		return err_set(err, E_BUSY, "spool %s is in use by another flowbusd (choose another "
		    "directory)", s->path);
	return 0;
}

static int
scan_channel(struct spool *s, uint64_t id, struct spool_found **list, size_t *n)
{
	struct spool_files *f = spool_files_open(s->root, id, s->segment_max);
	struct spool_found one;
	if (f == NULL)
		return -E_IO;
	int rc = spool_files_scan(f, &one);
	if (rc == -E_FORMAT) { /* killed before it said whose frames they are: nobody's */
		log_warn("link: spool %s: channel %016llx has no usable meta, deleted", s->path,
		    (unsigned long long)id);
		spool_files_free(&f);
		spool_files_drop(s->root, id);
		return 0;
	}
	if (rc == 0 && one.meta.is_clean) {
		/* whoever is killed from now on did not end in order, also if this disk is full then */
		struct spool_meta m = one.meta;
		struct buf b = buf_init(0);
		m.is_clean = false;
		spool_meta_encode(&m, &b);
		if (b.err != 0 || spool_files_meta(f, &b) != 0)
			one.meta.is_clean = false;
		buf_fini(&b);
	}
	if (rc == 0) {
		struct spool_found *more = realloc(*list, (*n + 1) * sizeof(**list));
		if (more == NULL) {
			spool_meta_fini(&one.meta);
			free(one.records);
			rc = -E_NOMEM;
		} else {
			*list = more;
			more[(*n)++] = one;
		}
	}
	if (rc != 0) {
		spool_files_free(&f);
		return rc;
	}
	f->next = s->files;
	s->files = f;
	return 0;
}

static int
scan_all(struct spool *s, struct spool_found **list, size_t *n, struct err *err)
{
	int fd = openat(s->root, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), rc = 0;
	DIR *d = fd >= 0 ? fdopendir(fd) : NULL;
	if (d == NULL) {
		rc = err_sys(err, E_IO, "spool %s", s->path);
		if (fd >= 0)
			close(fd);
		return rc;
	}
	for (struct dirent *e; rc == 0 && (e = readdir(d)) != NULL;) {
		char *end;
		uint64_t id = strtoull(e->d_name, &end, 16);
		if (end == e->d_name + 16 && *end == '\0' && id != 0)
			rc = scan_channel(s, id, list, n);
	}
	closedir(d);
	if (rc != 0)
		err_set(err, -rc, "spool %s: cannot read it: %s", s->path, err_text(rc));
	return rc;
}

static void
spool_free(struct spool **sp)
{
	struct spool *s = *sp;
	if (s == NULL)
		return;
	for (struct job *j; s->jobs != NULL && (j = queue_pop(s->jobs)) != NULL;)
		job_free(j);
	for (struct spool_done *d; s->done != NULL && (d = queue_pop(s->done)) != NULL;)
		spool_done_free(&d);
	while (s->files != NULL) {
		struct spool_files *f = s->files;
		s->files = f->next;
		spool_files_free(&f);
	}
	queue_free(&s->jobs);
	queue_free(&s->done);
	if (s->wake.fd >= 0)
		wake_fini(&s->wake);
	if (s->lock >= 0)
		close(s->lock);
	if (s->root >= 0)
		close(s->root);
	pthread_mutex_destroy(&s->problem_lock);
	free(s);
	*sp = NULL;
}

void
spool_found_free(struct spool_found **found, size_t n)
{
	for (size_t i = 0; *found != NULL && i < n; i++) {
		spool_meta_fini(&(*found)[i].meta);
		free((*found)[i].records);
	}
	free(*found);
	*found = NULL;
}

int
spool_open(const struct spool_where *w, struct wake *wake, struct freelist *home,
    struct spool **out, struct spool_found **found_out, size_t *n_found, struct err *err)
{
	sigset_t all, before;
	struct spool *s = calloc(1, sizeof(*s));
	*found_out = NULL;
	*n_found = 0;
	if (s == NULL)
		return err_set(err, E_NOMEM, "out of memory");
	s->root = s->lock = s->wake.fd = -1;
	s->owner = wake;
	s->home = home;
	s->segment_max = w->size / 64 < SEGMENT_LEAST ? SEGMENT_LEAST : w->size / 64;
	if (s->segment_max > SEGMENT_MOST)
		s->segment_max = SEGMENT_MOST;
	snprintf(s->path, sizeof(s->path), "%s/%s", w->dir, w->end);
	pthread_mutex_init(&s->problem_lock, NULL);
	s->jobs = queue_new(JOBS);
	s->done = queue_new(JOBS);
	int rc = 0;
	if (s->jobs == NULL || s->done == NULL || wake_init(&s->wake) != 0)
		rc = err_set(err, E_NOMEM, "out of memory");
	if (rc == 0)
		rc = open_root(s, w->dir, w->end, err);
	if (rc == 0)
		rc = scan_all(s, found_out, n_found, err);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	if (rc == 0 && pthread_create(&s->thread, NULL, spool_main, s) != 0)
		rc = err_sys(err, E_SYS, "cannot start the spool's thread");
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (rc != 0) {
		spool_found_free(found_out, *n_found);
		*n_found = 0;
		spool_free(&s);
		return rc;
	}
	*out = s;
	return 0;
}

void
spool_close(struct spool **sp)
{
	if (*sp == NULL)
		return;
	atomic_store(&(*sp)->stop, true);
	wake_signal(&(*sp)->wake);
	pthread_join((*sp)->thread, NULL);
	spool_free(sp);
}
