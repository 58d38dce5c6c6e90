/* SPDX-License-Identifier: Apache-2.0
 * link/job.c - a key trusted on behalf of the link thread, which must not wait for a disk.
 *
 * Enrolments are rare and bounded by tokens, so each has a thread for the milliseconds it takes. */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/log.h"
#include "link/trust.h"

struct trust_job {
	struct trust *trust;
	char name[64];
	uint8_t key[KEY_SIZE];
	char *remove;
	pthread_t thread;
	struct err err;
	int rc;
	_Atomic bool done;
};

static void *
job_main(void *arg)
{
	struct trust_job *j = arg;
	j->rc = trust_add(j->trust, j->name, j->key, &j->err);
	if (j->rc >= 0 && j->remove != NULL && unlink(j->remove) != 0 && errno != ENOENT)
		log_line(NULL, LOG_WARN, "link: the used token %s cannot be removed: %s", j->remove,
		    strerror(errno));
	atomic_store_explicit(&j->done, true, memory_order_release);
	return NULL;
}

struct trust_job *
trust_job_start(struct trust *t, const char *name, const uint8_t key[KEY_SIZE], const char *remove)
{
	struct trust_job *j = calloc(1, sizeof(*j));
	if (j == NULL)
		return NULL;
	j->trust = t;
	snprintf(j->name, sizeof(j->name), "%s", name);
	memcpy(j->key, key, KEY_SIZE);
	atomic_init(&j->done, false);
	if (remove != NULL)
		j->remove = strv_dup(strv_of(remove));
	if ((remove != NULL && j->remove == NULL) ||
	    pthread_create(&j->thread, NULL, job_main, j) != 0) {
		free(j->remove);
		free(j);
		return NULL;
	}
	return j;
}

bool
trust_job_done(const struct trust_job *j)
{
	return atomic_load_explicit(&j->done, memory_order_acquire);
}

int
trust_job_end(struct trust_job **jp, struct err *err)
{
	struct trust_job *j = *jp;
	if (j == NULL)
		return 0;
	*jp = NULL;
	pthread_join(j->thread, NULL);
	int rc = j->rc;
	if (rc < 0 && err != NULL)
		*err = j->err;
	free(j->remove);
	free(j);
	return rc;
}
