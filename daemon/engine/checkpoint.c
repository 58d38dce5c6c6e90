/* SPDX-License-Identifier: Apache-2.0
 * engine/checkpoint.c - what a collector that is killed needs to go on exactly where it was.
 *
 * The link asks for a mark; it goes to every output as a batch without rows. An output that writes
 * a file tells how long the file is when everything before the mark is in it. When the last output
 * has let go of the mark, positions and lengths are saved together, in one renamed file, and only
 * then are the frames acknowledged. At the next start the files are cut back to those lengths, and
 * the probes are asked for what comes after those positions: nothing is lost, nothing is twice.
 *
 * Standard output cannot be cut back: what follows the last mark may come again there. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "engine/engine_priv.h"
#include "output/output.h"

static const char file_name[] = "positions.json";

struct saved_file {
	char name[64], path[256];
	uint64_t device, inode, size;
};

/** A mark on its way, and what it found. */
struct mark {
	struct batch_mark base;
	struct checkpoint *cp;
	uint64_t id;
	pthread_mutex_t lock; /* of the files: writers of several outputs add to them, once each */
	struct link_position *p;
	struct saved_file *files;
	size_t n_p, n_files;
	unsigned changes; /* of the checkpoint, when it was set */
};

struct checkpoint {
	struct engine *engine;
	struct queue *done;
	struct wake wake;
	pthread_t thread;
	bool is_running;
	_Atomic bool stop;
	_Atomic unsigned changes; /* outputs and ends that came or went */
	pthread_mutex_t lock; /* of the rest: the thread saves, the main thread forgets ends */
	/* what was saved last, or found at the start */
	struct link_position *p;
	struct saved_file *files;
	size_t n_p, n_files;
	bool failing;
};

enum { MARKS = 16, FILE_MAX = 16 << 20 };

/* ---- the file */

static json_t *
positions_json(const struct checkpoint *cp)
{
	json_t *list = json_array(), *files = json_array();
	char node[20], channel[20];
	for (size_t i = 0; i < cp->n_p; i++) {
		const struct link_position *p = &cp->p[i];
		snprintf(node, sizeof(node), "%016" PRIx64, p->node_id);
		snprintf(channel, sizeof(channel), "%016" PRIx64, p->channel);
		json_array_append_new(list, json_pack("{s:s, s:s, s:s, s:s, s:s, s:I}", "endpoint",
		    p->end, "node", node, "peer_endpoint", p->peer_end, "user", p->user, "channel",
		    channel, "sequence", (json_int_t)p->seq));
	}
	for (size_t i = 0; i < cp->n_files; i++) {
		const struct saved_file *f = &cp->files[i];
		json_array_append_new(files, json_pack("{s:s, s:s, s:I, s:I, s:I}", "endpoint", f->name,
		    "path", f->path, "device", (json_int_t)f->device, "inode", (json_int_t)f->inode,
		    "size", (json_int_t)f->size));
	}
	return json_pack("{s:i, s:o, s:o}", "version", 1, "positions", list, "files", files);
}

static int
write_file(const char *dir, const char *text, size_t n)
{
	char path[4200], fresh[4200];
	snprintf(path, sizeof(path), "%s/%s", dir, file_name);
	snprintf(fresh, sizeof(fresh), "%s/%s.new", dir, file_name);
	int fd = open(fresh, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	bool good = fd >= 0 && write(fd, text, n) == (ssize_t)n && fdatasync(fd) == 0;
	int why = errno;
	if (fd >= 0)
		close(fd);
	if (good && rename(fresh, path) == 0)
		return 0;
	why = good ? errno : why;
	/* an old one must not stay: files would be cut back to it, and the probes have let go */
	bool is_gone = unlink(path) == 0 || errno == ENOENT || errno == ENOTDIR;
	errno = why;
	return is_gone ? -E_IO : -E_BUSY;
}

/* -E_BUSY: not saved, and an older state is still there: nothing may be acknowledged. */
static int
save(struct checkpoint *cp)
{
	const char *dir = conf_text(&cp->engine->conf->daemon.bag, "state_dir");
	json_t *j = positions_json(cp);
	char *text = j != NULL ? json_dumps(j, JSON_INDENT(1)) : NULL;
	int rc = text != NULL ? write_file(dir, text, strlen(text)) : -E_NOMEM;
	if (rc != 0 && !cp->failing)
		log_warn("engine: %s/%s cannot be written: %s; if this collector is killed, its last "
		    "records may come twice (set state_dir)", dir, file_name,
		    text != NULL ? strerror(errno) : "out of memory");
	cp->failing = rc != 0;
	free(text);
	json_decref(j);
	return rc;
}

/* ---- marks */

static void
mark_free(struct mark *m)
{
	pthread_mutex_destroy(&m->lock);
	free(m->p);
	free(m->files);
	free(m);
}

static void
mark_done(struct batch_mark *base)
{
	struct mark *m = (struct mark *)base;
	struct checkpoint *cp = m->cp;
	while (!queue_push(cp->done, m)) /* there is one at a time */
		clock_sleep_us(1000);
	wake_signal(&cp->wake);
}

static void
mark_file(struct batch_mark *base, const struct batch_file *f)
{
	struct mark *m = (struct mark *)base;
	pthread_mutex_lock(&m->lock);
	struct saved_file *files = realloc(m->files, (m->n_files + 1) * sizeof(*files));
	if (files == NULL) {
		atomic_store(&base->failed, true);
	} else {
		m->files = files;
		struct saved_file *to = &files[m->n_files++];
		*to = (struct saved_file){.device = f->device, .inode = f->inode, .size = f->size};
		snprintf(to->name, sizeof(to->name), "%s", f->name);
		snprintf(to->path, sizeof(to->path), "%s", f->path);
	}
	pthread_mutex_unlock(&m->lock);
}

/* link_mark_fn, in the link thread. */
static bool
on_mark(void *arg, uint64_t id, const struct link_position *p, size_t n)
{
	struct checkpoint *cp = arg;
	struct mark *m = calloc(1, sizeof(*m));
	struct link_position *copy = malloc((n + 1) * sizeof(*copy));
	struct batch *b = m != NULL ? batch_mark_new(&m->base) : NULL;
	if (m == NULL || copy == NULL || b == NULL) {
		free(m);
		free(copy);
		free(b);
		return false;
	}
	memcpy(copy, p, n * sizeof(*copy));
	m->base.done = mark_done;
	m->base.file = mark_file;
	m->cp = cp;
	m->id = id;
	m->changes = atomic_load(&cp->changes);
	m->p = copy;
	m->n_p = n;
	pthread_mutex_init(&m->lock, NULL);
	bus_push(&cp->engine->bus, NULL, &b, false);
	return true;
}

static void
take(struct checkpoint *cp, struct mark *m)
{
	pthread_mutex_lock(&cp->lock);
	/* what was attached or detached meanwhile is not in it */
	bool good = !atomic_load(&m->base.failed) && m->changes == atomic_load(&cp->changes);
	bool is_same = good && !cp->failing && cp->n_p == m->n_p && cp->n_files == m->n_files &&
	    (m->n_p == 0 || memcmp(cp->p, m->p, m->n_p * sizeof(*m->p)) == 0) &&
	    (m->n_files == 0 || memcmp(cp->files, m->files, m->n_files * sizeof(*m->files)) == 0);
	if (good && !is_same) {
		free(cp->p);
		free(cp->files);
		cp->p = m->p;
		cp->files = m->files;
		cp->n_p = m->n_p;
		cp->n_files = m->n_files;
		m->p = NULL;
		m->files = NULL;
		good = save(cp) != -E_BUSY;
	}
	pthread_mutex_unlock(&cp->lock);
	link_marked(cp->engine->link, m->id, good);
	mark_free(m);
}

static void *
checkpoint_main(void *arg)
{
	struct checkpoint *cp = arg;
	for (;;) {
		bool stop = atomic_load(&cp->stop);
		struct mark *m = queue_pop(cp->done);
		if (m != NULL)
			take(cp, m);
		else if (stop)
			return NULL;
		else
			wake_wait(&cp->wake, -1);
	}
}

/* ---- at the start */

static uint64_t
hex(const json_t *row, const char *key)
{
	const char *text = json_string_value(json_object_get(row, key));
	return text != NULL ? strtoull(text, NULL, 16) : 0;
}

static void
get_text(const json_t *row, const char *key, char *out, size_t size)
{
	const char *text = json_string_value(json_object_get(row, key));
	snprintf(out, size, "%s", text != NULL ? text : "");
}

static uint64_t
get_number(const json_t *row, const char *key)
{
	json_int_t v = json_integer_value(json_object_get(row, key));
	return v > 0 ? (uint64_t)v : 0;
}

static void
parse(struct checkpoint *cp, const json_t *j)
{
	const json_t *p = json_object_get(j, "positions"), *f = json_object_get(j, "files");
	size_t n_p = json_array_size(p), n_f = json_array_size(f);
	cp->p = calloc(n_p + 1, sizeof(*cp->p));
	cp->files = calloc(n_f + 1, sizeof(*cp->files));
	for (size_t i = 0; i < n_p && cp->p != NULL; i++) {
		const json_t *row = json_array_get(p, i);
		struct link_position *to = &cp->p[cp->n_p++];
		get_text(row, "endpoint", to->end, sizeof(to->end));
		get_text(row, "peer_endpoint", to->peer_end, sizeof(to->peer_end));
		get_text(row, "user", to->user, sizeof(to->user));
		to->node_id = hex(row, "node");
		to->channel = hex(row, "channel");
		to->seq = get_number(row, "sequence");
	}
	for (size_t i = 0; i < n_f && cp->files != NULL; i++) {
		const json_t *row = json_array_get(f, i);
		struct saved_file *to = &cp->files[cp->n_files++];
		get_text(row, "endpoint", to->name, sizeof(to->name));
		get_text(row, "path", to->path, sizeof(to->path));
		to->device = get_number(row, "device");
		to->inode = get_number(row, "inode");
		to->size = get_number(row, "size");
	}
}

static void
load(struct checkpoint *cp)
{
	char path[4200];
	json_error_t error;
	snprintf(path, sizeof(path), "%s/%s",
	    conf_text(&cp->engine->conf->daemon.bag, "state_dir"), file_name);
	if (access(path, F_OK) != 0)
		return;
	json_t *j = json_load_file(path, 0, &error);
	if (j == NULL || json_integer_value(json_object_get(j, "version")) != 1)
		log_warn("engine: %s cannot be used (%s): probes are asked for what they still have",
		    path, j == NULL ? error.text : "another version");
	else
		parse(cp, j);
	json_decref(j);
}

static const struct conf_endpoint *
configured(const struct conf *c, const char *name, const char *type)
{
	for (unsigned i = 0; i < c->n_endpoints; i++)
		if (c->endpoints[i] != NULL && strcmp(c->endpoints[i]->name, name) == 0 &&
		    strcmp(c->endpoints[i]->type, type) == 0 && c->endpoints[i]->enabled)
			return c->endpoints[i];
	return NULL;
}

/* Files are cut back only if the probes are asked for the rest. */
static void
cut_back(const struct checkpoint *cp, const struct conf *c)
{
	bool any = false;
	for (size_t i = 0; i < cp->n_p && !any; i++)
		any = configured(c, cp->p[i].end, "subscribe") != NULL;
	for (size_t i = 0; i < cp->n_files && any; i++) {
		const struct saved_file *f = &cp->files[i];
		const struct conf_endpoint *x = configured(c, f->name, "json");
		uint64_t n = 0;
		if (x == NULL || strcmp(x->address, f->path) != 0)
			continue;
		int rc = output_json_cut(f->path, f->device, f->inode, f->size, &n);
		if (rc != 0)
			log_warn("engine: %s: %s cannot be cut back to its last saved length: %s; if it was "
			    "moved, its last records come twice", f->name, f->path,
			    rc == -E_NOENT ? "it is not there any more" : err_text(rc));
		else if (n > 0)
			log_notice("engine: %s: %s cut back by %" PRIu64 " octets: these records were not "
			    "acknowledged, the probes send them again", f->name, f->path, n);
	}
}

int
checkpoint_start(struct engine *e, const struct conf *c, struct err *err)
{
	struct checkpoint *cp = calloc(1, sizeof(*cp));
	if (cp == NULL)
		return err_set(err, E_NOMEM, "out of memory");
	cp->engine = e;
	cp->wake.fd = -1;
	pthread_mutex_init(&cp->lock, NULL);
	cp->done = queue_new(MARKS);
	e->checkpoint = cp;
	if (cp->done == NULL || wake_init(&cp->wake) != 0)
		return err_set(err, E_NOMEM, "out of memory");
	load(cp);
	cut_back(cp, c);
	return 0;
}

int
checkpoint_link(struct engine *e, struct err *err)
{
	struct checkpoint *cp = e->checkpoint;
	sigset_t all, before;
	if (link_restore(e->link, cp->p, cp->n_p) != 0)
		return err_set(err, E_NOMEM, "out of memory");
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	int rc = pthread_create(&cp->thread, NULL, checkpoint_main, cp);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (rc != 0)
		return err_set(err, E_SYS, "cannot start the thread that saves positions");
	cp->is_running = true;
	link_set_mark(e->link, on_mark, cp);
	return 0;
}

/* ---- changes and the end */

void
checkpoint_output(struct engine *e, const struct conf_endpoint *x)
{
	struct checkpoint *cp = e->checkpoint;
	struct stat st;
	if (cp == NULL || !cp->is_running || strcmp(x->type, "json") != 0 ||
	    stat(x->address, &st) != 0 || !S_ISREG(st.st_mode))
		return;
	pthread_mutex_lock(&cp->lock);
	struct saved_file *files = realloc(cp->files, (cp->n_files + 1) * sizeof(*files));
	if (files != NULL) {
		cp->files = files;
		struct saved_file *to = &files[cp->n_files++];
		*to = (struct saved_file){.device = st.st_dev, .inode = st.st_ino,
		    .size = (uint64_t)st.st_size};
		snprintf(to->name, sizeof(to->name), "%s", x->name);
		snprintf(to->path, sizeof(to->path), "%s", x->address);
		(void)save(cp);
	}
	atomic_fetch_add(&cp->changes, 1);
	pthread_mutex_unlock(&cp->lock);
}

void
checkpoint_touch(struct engine *e)
{
	if (e->checkpoint != NULL)
		atomic_fetch_add(&e->checkpoint->changes, 1);
}

void
checkpoint_forget(struct engine *e, const char *end)
{
	struct checkpoint *cp = e->checkpoint;
	if (cp == NULL || e->stopping)
		return;
	pthread_mutex_lock(&cp->lock);
	size_t n = 0;
	for (size_t i = 0; i < cp->n_p; i++)
		if (strcmp(cp->p[i].end, end) != 0)
			cp->p[n++] = cp->p[i];
	bool changed = n != cp->n_p;
	cp->n_p = n;
	if (n == 0) /* nobody would send again what is cut off */
		cp->n_files = 0;
	if (changed)
		(void)save(cp);
	atomic_fetch_add(&cp->changes, 1);
	pthread_mutex_unlock(&cp->lock);
}

/* In order to the end: also what came from elsewhere than a link stays in the files. */
static void
take_lengths(struct checkpoint *cp)
{
	struct stat st;
	for (size_t i = 0; i < cp->n_files; i++) {
		struct saved_file *f = &cp->files[i];
		if (stat(f->path, &st) != 0 || (uint64_t)st.st_size == f->size)
			continue;
		f->device = st.st_dev;
		f->inode = st.st_ino;
		f->size = (uint64_t)st.st_size;
	}
	if (cp->n_files > 0)
		(void)save(cp);
}

void
checkpoint_stop(struct engine *e)
{
	struct checkpoint *cp = e->checkpoint;
	if (cp == NULL)
		return;
	e->checkpoint = NULL;
	if (cp->is_running) {
		atomic_store(&cp->stop, true);
		wake_signal(&cp->wake);
		pthread_join(cp->thread, NULL);
		if (!link_left_open(e->link))
			take_lengths(cp);
	}
	for (struct mark *m; cp->done != NULL && (m = queue_pop(cp->done)) != NULL;)
		mark_free(m);
	queue_free(&cp->done);
	if (cp->wake.fd >= 0)
		wake_fini(&cp->wake);
	pthread_mutex_destroy(&cp->lock);
	free(cp->p);
	free(cp->files);
	free(cp);
}
