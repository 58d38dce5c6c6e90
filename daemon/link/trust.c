/* SPDX-License-Identifier: Apache-2.0
 * link/trust.c - the directory of trusted keys and its copy in memory. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <openssl/err.h>
#include <openssl/evp.h>

#include "base/clock.h"
#include "base/log.h"
#include "link/link.h"
#include "link/trust_priv.h"

static const char suffix[] = ".pub";

void
trust_print(const uint8_t key[KEY_SIZE], char out[KEY_PRINT])
{
	uint8_t digest[32] = {0};
	assert_always(EVP_Digest(key, KEY_SIZE, digest, NULL, EVP_sha256(), NULL) == 1);
	key_print(digest, out);
}

bool
trust_listed(const char *list, const char *name)
{
	size_t len = strlen(name);
	for (const char *p = list; *p != '\0';) {
		p += strspn(p, ", ");
		size_t n = strcspn(p, ", ");
		if (n == len && n > 0 && memcmp(p, name, n) == 0)
			return true;
		p += n;
	}
	return false;
}

/* ---- reading */

struct loaded {
	struct trusted *keys;
	unsigned n, cap;
};

static int
loaded_add(struct loaded *l, const char *name, const uint8_t key[KEY_SIZE])
{
	for (unsigned i = 0; i < l->n; i++)
		if (memcmp(l->keys[i].key, key, KEY_SIZE) == 0)
			return strcmp(l->keys[i].name, name) == 0 ? 0 : -E_EXIST;
	if (l->n == TRUST_MAX)
		return -E_LIMIT;
	if (l->n == l->cap) {
		unsigned cap = l->cap == 0 ? 16 : l->cap * 2;
		struct trusted *keys = realloc(l->keys, cap * sizeof(*keys));
		if (keys == NULL)
			return -E_NOMEM;
		l->keys = keys;
		l->cap = cap;
	}
	struct trusted *k = &l->keys[l->n++];
	*k = (struct trusted){.name = ""};
	snprintf(k->name, sizeof(k->name), "%s", name);
	memcpy(k->key, key, KEY_SIZE);
	return 0;
}

/* A point of small order: what such a key agrees on is zero whatever the other's is, so anybody
 * could claim it. libcrypto refuses to derive that. */
static bool
is_weak(const uint8_t key[KEY_SIZE])
{
	uint8_t secret[KEY_SIZE];
	size_t n = sizeof(secret);
	EVP_PKEY *mine = EVP_PKEY_Q_keygen(NULL, NULL, "X25519");
	EVP_PKEY *theirs = EVP_PKEY_new_raw_public_key(EVP_PKEY_X25519, NULL, key, KEY_SIZE);
	EVP_PKEY_CTX *c = mine != NULL ? EVP_PKEY_CTX_new(mine, NULL) : NULL;
	bool ok = c != NULL && theirs != NULL && EVP_PKEY_derive_init(c) == 1 &&
		  EVP_PKEY_derive_set_peer(c, theirs) == 1 && EVP_PKEY_derive(c, secret, &n) == 1;
	EVP_PKEY_CTX_free(c);
	EVP_PKEY_free(theirs);
	EVP_PKEY_free(mine);
	ERR_clear_error();
	explicit_bzero(secret, sizeof(secret));
	return !ok;
}

/* The keys of one file; what is wrong with it is told, and then it counts for nothing. */
static int
load_file(const char *path, const char *name, struct loaded *l, struct err *err)
{
	char text[KEY_FILE_MAX + 1];
	size_t n = 0;
	unsigned here = 0, line = 0;
	int rc = link_key_file(path, 0022, text, sizeof(text), &n, err);
	for (size_t at = 0; rc == 0 && at < n;) {
		struct strv s = {text + at, strcspn(text + at, "\n")};
		uint8_t key[KEY_SIZE];
		at += s.n + 1;
		line++;
		s = key_line(s);
		if (s.n == 0)
			continue;
		if (key_parse(s, KEY_PUBLIC, key, KEY_SIZE) != 0)
			rc = err_set(err, E_FORMAT, "%s: line %u is not a public key (%s...)", path,
			    line, KEY_PUBLIC);
		else if (is_weak(key))
			rc = err_set(err, E_KEY, "%s: line %u is no key: anybody could claim it",
			    path, line);
		else if (++here > TRUST_PER_NAME)
			rc = err_set(err, E_LIMIT, "%s: more than %d keys", path, TRUST_PER_NAME);
		else if ((rc = loaded_add(l, name, key)) == -E_EXIST)
			err_set(err, E_EXIST,
			    "%s: the key of line %u is trusted under another name", path, line);
		else if (rc != 0)
			err_set(err, -rc, "%s: more than %d keys in all", path, TRUST_MAX);
	}
	return rc;
}

/* NAME of NAME.pub into @name; false for other files. */
static bool
name_of(const char *file, char name[64])
{
	size_t n = strlen(file), tail = sizeof(suffix) - 1;
	if (n <= tail || strcmp(file + n - tail, suffix) != 0 ||
	    !key_name_ok((struct strv){file, n - tail}))
		return false;
	memcpy(name, file, n - tail);
	name[n - tail] = '\0';
	return true;
}

static int
check_dir(int fd, const char *dir, struct err *err)
{
	struct stat st;
	if (fstat(fd, &st) != 0)
		return err_sys(err, E_SYS, "trust directory %s", dir);
	if (st.st_uid != 0 && st.st_uid != geteuid())
		return err_set(err, E_UNSAFE,
		    "trust directory %s belongs to uid %u, it must belong to "
		    "root or to uid %u (chown it)",
		    dir, (unsigned)st.st_uid, (unsigned)geteuid());
	if ((st.st_mode & 0022) != 0)
		return err_set(err, E_UNSAFE,
		    "trust directory %s has mode %04o: others can put keys "
		    "there (chmod go-w it, and look at what is in it)",
		    dir, (unsigned)(st.st_mode & 07777));
	return 0;
}

static int
load(const char *dir, struct loaded *l, struct err *err)
{
	char path[PATH_MAX], name[64];
	*l = (struct loaded){NULL, 0, 0};
	int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0 && errno == ENOENT)
		return 0;
	int rc = fd < 0 ? err_sys(err, E_IO, "trust directory %s", dir) : check_dir(fd, dir, err);
	DIR *d = rc == 0 ? fdopendir(fd) : NULL;
	if (d == NULL) {
		if (fd >= 0)
			close(fd);
		return rc != 0 ? rc : err_sys(err, E_IO, "trust directory %s", dir);
	}
	for (const struct dirent *f; (f = readdir(d)) != NULL;) {
		struct err one = {0};
		unsigned before = l->n;
		if (!name_of(f->d_name, name))
			continue;
		snprintf(path, sizeof(path), "%s/%s", dir, f->d_name);
		if (load_file(path, name, l, &one) == 0)
			continue;
		l->n = before;
		log_line(NULL, LOG_WARN, "link: %s is not trusted: %s", name, one.text);
	}
	closedir(d);
	return 0;
}

int
trust_open(const char *dir, struct trust **out, struct err *err)
{
	struct loaded l = {NULL, 0, 0};
	struct trust *t = calloc(1, sizeof(*t));
	if (t == NULL)
		return err_set(err, E_NOMEM, "out of memory");
	int rc = strlen(dir) < sizeof(t->dir)
		     ? load(dir, &l, err)
		     : err_set(err, E_LIMIT, "trust directory: path too long");
	if (rc != 0) {
		free(t);
		return rc;
	}
	pthread_mutex_init(&t->lock, NULL);
	pthread_mutex_init(&t->files, NULL);
	snprintf(t->dir, sizeof(t->dir), "%s", dir);
	t->keys = l.keys;
	t->n_keys = l.n;
	*out = t;
	return 0;
}

void
trust_free(struct trust **tp)
{
	struct trust *t = *tp;
	if (t == NULL)
		return;
	*tp = NULL;
	pthread_mutex_destroy(&t->lock);
	pthread_mutex_destroy(&t->files);
	free(t->keys);
	free(t);
}

static bool
contains(const struct trusted *keys, unsigned n, const struct trusted *k)
{
	for (unsigned i = 0; i < n; i++)
		if (memcmp(keys[i].key, k->key, KEY_SIZE) == 0 &&
		    strcmp(keys[i].name, k->name) == 0)
			return true;
	return false;
}

static void
remember_revoked(struct trust *t, const struct trusted *k)
{
	t->revoked[t->next_revoked++ % TRUST_REVOKED] = *k;
}

/* Put a new list in; what is no longer in it was revoked. Takes the list. */
static void
put_list(struct trust *t, struct loaded *l)
{
	pthread_mutex_lock(&t->lock);
	for (unsigned i = 0; i < t->n_keys; i++)
		if (!contains(l->keys, l->n, &t->keys[i]))
			remember_revoked(t, &t->keys[i]);
	free(t->keys);
	t->keys = l->keys;
	t->n_keys = l->n;
	pthread_mutex_unlock(&t->lock);
}

int
trust_reload(struct trust *t, struct err *err)
{
	struct loaded l = {NULL, 0, 0};
	pthread_mutex_lock(&t->files);
	int rc = load(t->dir, &l, err);
	if (rc == 0)
		put_list(t, &l);
	pthread_mutex_unlock(&t->files);
	return rc;
}

/* ---- changing */

/* Write aside, sync, rename, sync the directory; without keys: remove. */
static int
write_file(const char *dir, const char *name, const struct loaded *l, struct err *err)
{
	char path[PATH_MAX], aside[PATH_MAX], text[TRUST_PER_NAME * (KEY_TEXT + 1)];
	size_t n = 0;
	int d = -1, rc = 0;
	snprintf(path, sizeof(path), "%s/%s%s", dir, name, suffix);
	snprintf(aside, sizeof(aside), "%s/.%s.XXXXXX", dir, name);
	for (unsigned i = 0; i < l->n; i++) {
		if (strcmp(l->keys[i].name, name) != 0)
			continue;
		key_text(KEY_PUBLIC, l->keys[i].key, KEY_SIZE, text + n, KEY_TEXT);
		n += KEY_TEXT;
		text[n - 1] = '\n';
	}
	if (mkdir(dir, 0700) != 0 && errno != EEXIST)
		return err_sys(
		    err, E_IO, "cannot make the trust directory %s (daemon option trust_dir)", dir);
	d = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	rc = d < 0 ? err_sys(err, E_IO, "trust directory %s", dir) : check_dir(d, dir, err);
	if (rc == 0 && n == 0) {
		if (unlink(path) != 0 && errno != ENOENT)
			rc = err_sys(err, E_IO, "cannot remove %s", path);
	} else if (rc == 0) {
		int fd = mkostemp(aside, O_CLOEXEC);
		bool bad = fd < 0 || write(fd, text, n) != (ssize_t)n || fchmod(fd, 0644) != 0 ||
			   fsync(fd) != 0;
		if (bad || rename(aside, path) != 0)
			rc = err_sys(err, E_IO, "cannot write %s", path);
		if (fd >= 0)
			close(fd);
		if (rc != 0 && fd >= 0)
			unlink(aside);
	}
	if (rc == 0 && fsync(d) != 0)
		rc = err_sys(err, E_IO, "trust directory %s", dir);
	if (d >= 0)
		close(d);
	return rc;
}

/* A copy of the list to work on; `files` is held, so nobody else changes it. */
static int
copy_list(struct trust *t, struct loaded *out)
{
	*out = (struct loaded){calloc(t->n_keys + 1, sizeof(*t->keys)), t->n_keys, t->n_keys + 1};
	if (out->keys == NULL)
		return -E_NOMEM;
	if (t->n_keys > 0)
		memcpy(out->keys, t->keys, t->n_keys * sizeof(*t->keys));
	return 0;
}

static int
add_locked(struct trust *t, const char *name, const uint8_t key[KEY_SIZE], struct err *err)
{
	struct loaded l = {NULL, 0, 0};
	unsigned here = 0;
	char print[KEY_PRINT];
	trust_print(key, print);
	for (unsigned i = 0; i < t->n_keys; i++) {
		bool same_name = strcmp(t->keys[i].name, name) == 0;
		bool same_key = memcmp(t->keys[i].key, key, KEY_SIZE) == 0;
		if (same_key && same_name)
			return 1;
		if (same_key)
			return err_set(err, E_EXIST,
			    "the key %s is trusted already, as %s (a key has one "
			    "name; revoke that one first)",
			    print, t->keys[i].name);
		here += same_name;
	}
	if (here >= TRUST_PER_NAME)
		return err_set(err, E_LIMIT,
		    "%s has %d trusted keys already (revoke the old one: "
		    "`flowctl key revoke %s FINGERPRINT`)",
		    name, TRUST_PER_NAME, name);
	int rc = copy_list(t, &l);
	if (rc == 0)
		rc = loaded_add(&l, name, key);
	if (rc != 0)
		err_set(err, -rc,
		    rc == -E_LIMIT ? "%d keys are trusted, no more are possible"
				   : "out of memory beyond %d keys",
		    (int)l.n);
	if (rc == 0)
		rc = write_file(t->dir, name, &l, err);
	if (rc == 0)
		put_list(t, &l);
	else
		free(l.keys);
	return rc;
}

static int
check_name(const char *name, struct err *err)
{
	char q[80];
	if (key_name_ok(strv_of(name)))
		return 0;
	return err_set(err, E_SYNTAX,
	    "name %s: 1 to 63 letters, digits and . _ : @ -, and does not "
	    "begin with . or -",
	    strv_quote(strv_of(name), q, sizeof(q)));
}

int
trust_add(struct trust *t, const char *name, const uint8_t key[KEY_SIZE], struct err *err)
{
	int rc = check_name(name, err);
	if (rc == 0 && is_weak(key))
		rc = err_set(err, E_KEY, "this is no key: anybody could claim it");
	if (rc != 0)
		return rc;
	pthread_mutex_lock(&t->files);
	rc = add_locked(t, name, key, err);
	pthread_mutex_unlock(&t->files);
	return rc;
}

/* Does a person mean this key by its text or (the beginning of) its fingerprint? */
static bool
is_meant(const struct trusted *k, struct strv which)
{
	char text[KEY_TEXT], print[KEY_PRINT];
	key_text(KEY_PUBLIC, k->key, KEY_SIZE, text, sizeof(text));
	trust_print(k->key, print);
	struct strv tail = {print + 7, strlen(print) - 7};
	return which.n == 0 || strv_eq(which, strv_of(text)) || strv_eq(which, strv_of(print)) ||
	       (which.n >= 9 && which.n <= tail.n && memcmp(which.p, tail.p, which.n) == 0);
}

int
trust_remove(struct trust *t, const char *name, struct strv which, struct err *err)
{
	struct loaded l = {NULL, 0, 0};
	unsigned n = 0, here = 0;
	int rc = check_name(name, err);
	if (rc != 0)
		return rc;
	pthread_mutex_lock(&t->files);
	rc = copy_list(t, &l);
	if (rc != 0)
		err_set(err, E_NOMEM, "out of memory");
	for (unsigned i = 0, to = 0, all = l.n; rc == 0 && i < all; i++) {
		bool is_name = strcmp(l.keys[i].name, name) == 0;
		here += is_name;
		if (is_name && is_meant(&l.keys[i], which)) {
			n++;
			l.n--;
		} else {
			l.keys[to++] = l.keys[i];
		}
	}
	if (rc == 0 && n == 0)
		rc = here == 0 ? err_set(err, E_NOENT, "%s is not trusted here", name)
			       : err_set(err, E_NOENT,
				     "%s has no such key (`flowctl key list` shows them)", name);
	if (rc == 0)
		rc = write_file(t->dir, name, &l, err);
	if (rc == 0)
		put_list(t, &l);
	else
		free(l.keys);
	pthread_mutex_unlock(&t->files);
	return rc == 0 ? (int)n : rc;
}

/* ---- asking */

unsigned
trust_keys(struct trust *t, const char *name, uint8_t keys[TRUST_PER_NAME][KEY_SIZE])
{
	unsigned n = 0;
	pthread_mutex_lock(&t->lock);
	for (unsigned i = 0; i < t->n_keys && n < TRUST_PER_NAME; i++)
		if (strcmp(t->keys[i].name, name) == 0)
			memcpy(keys[n++], t->keys[i].key, KEY_SIZE);
	pthread_mutex_unlock(&t->lock);
	return n;
}

bool
trust_has(struct trust *t, const char *name, const uint8_t key[KEY_SIZE])
{
	uint8_t keys[TRUST_PER_NAME][KEY_SIZE];
	unsigned n = trust_keys(t, name, keys);
	for (unsigned i = 0; i < n; i++)
		if (memcmp(keys[i], key, KEY_SIZE) == 0)
			return true;
	return false;
}

/* Not trusted: why, as far as we know. The lock is held. */
static void
stranger_words(struct trust *t, const struct trust_question *q, struct trust_answer *a)
{
	char more[80];
	for (unsigned i = 0; i < TRUST_REVOKED; i++)
		if (t->revoked[i].name[0] != '\0' &&
		    memcmp(t->revoked[i].key, q->key, KEY_SIZE) == 0) {
			snprintf(a->why, sizeof(a->why), "the key of %s (%s) was revoked",
			    t->revoked[i].name, a->print);
			return;
		}
	token_epitaph(t, q->server, more, sizeof(more));
	snprintf(a->why, sizeof(a->why), "its key %s is not trusted%s%s", a->print,
	    more[0] != '\0' ? "; " : "", more);
}

enum trust_verdict
trust_check(struct trust *t, const struct trust_question *q, struct trust_answer *a)
{
	enum trust_verdict v = TRUST_NO;
	*a = (struct trust_answer){.name = ""};
	trust_print(q->key, a->print);
	pthread_mutex_lock(&t->lock);
	for (unsigned i = 0; i < t->n_keys && a->name[0] == '\0'; i++)
		if (memcmp(t->keys[i].key, q->key, KEY_SIZE) == 0)
			memcpy(a->name, t->keys[i].name, sizeof(a->name));
	if (a->name[0] == '\0') {
		bool any = false;
		const char *why = token_admit(t, q->server, q->ip, &any);
		if (any && why == NULL)
			v = TRUST_ENROL;
		else if (any)
			snprintf(a->why, sizeof(a->why), "%s", why);
		else
			stranger_words(t, q, a);
	} else if (q->allow[0] != '\0' && !trust_listed(q->allow, a->name)) {
		snprintf(a->why, sizeof(a->why), "%s is not allowed on this endpoint", a->name);
	} else {
		v = TRUST_YES;
	}
	pthread_mutex_unlock(&t->lock);
	return v;
}

struct trust_row *
trust_rows(struct trust *t, unsigned *n_out)
{
	uint64_t now = clock_mono_us();
	unsigned n = 0;
	*n_out = 0;
	pthread_mutex_lock(&t->lock);
	struct trust_row *rows = calloc(t->n_keys + TOKENS_MAX, sizeof(*rows));
	for (unsigned i = 0; rows != NULL && i < t->n_keys; i++, n++) {
		memcpy(rows[n].name, t->keys[i].name, sizeof(rows[n].name));
		memcpy(rows[n].key, t->keys[i].key, KEY_SIZE);
		key_text(KEY_PUBLIC, t->keys[i].key, KEY_SIZE, rows[n].text, KEY_TEXT);
		trust_print(t->keys[i].key, rows[n].print);
	}
	for (unsigned i = 0; rows != NULL && i < TOKENS_MAX; i++) {
		const struct token *k = &t->tokens[i];
		if (k->state != TOKEN_OUT || now >= k->until_us)
			continue;
		memcpy(rows[n].name, k->name, sizeof(rows[n].name));
		memcpy(rows[n].key, k->server, KEY_SIZE);
		trust_print(k->server, rows[n].print);
		rows[n++].left_us = (int64_t)(k->until_us - now);
	}
	pthread_mutex_unlock(&t->lock);
	*n_out = n;
	return rows;
}
