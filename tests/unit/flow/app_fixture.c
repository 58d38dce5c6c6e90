/* SPDX-License-Identifier: Apache-2.0
 * flow/app_fixture.c - see app_fixture.h. */
#include "app_fixture.h"

#include <stdlib.h>

struct app_engine *
app_engine_native(uint32_t max_texts)
{
	struct err err = {0};
	struct app_conf conf = {.native = true, .max_texts = max_texts};
	struct app_engine *e = app_engine_new(&conf, &err);
	assert_non_null(e);
	return e;
}

int
app_setup(void **state)
{
	struct fixture *f = aligned_alloc(64, (sizeof(*f) + 63) & ~(size_t)63);
	assert_non_null(f);
	memset(f, 0, sizeof(*f));
	f->e = app_engine_native(64);
	f->pool = batch_pool_new(2);
	f->b = batch_pool_get(f->pool);
	assert_non_null(f->b);
	f->proto = 6;
	f->sport = 40000;
	f->dport = 4444;
	f->seq[0] = 0xffffff00; /* sequence numbers wrap */
	f->seq[1] = 77;
	*state = f;
	return 0;
}

int
app_teardown(void **state)
{
	struct fixture *f = *state;
	app_release(f->e, &f->st);
	app_engine_free(&f->e);
	batch_unref(&f->b);
	batch_pool_free(&f->pool);
	free(f);
	return 0;
}

void
look_at(struct fixture *f, bool reverse, uint32_t seq, const void *p, size_t n, uint16_t flags)
{
	uint8_t *copy = malloc(n > 0 ? n : 1);
	assert_non_null(copy);
	memcpy(copy, p, n);
	struct wire_pkt pkt = {.proto = f->proto, .ip_version = 4, .flags = flags,
	    .sport = reverse ? f->dport : f->sport, .dport = reverse ? f->sport : f->dport,
	    .payload = n > 0 ? copy : NULL, .payload_len = (uint32_t)n, .tcp_seq = seq};
	app_look(f->e, &f->st, &pkt, reverse, 1000000, &f->c);
	free(copy);
}

void
say(struct fixture *f, bool reverse, const void *p, size_t n)
{
	look_at(f, reverse, f->seq[reverse], p, n, 0);
	f->seq[reverse] += (uint32_t)n;
}

void
client(struct fixture *f, const char *s)
{
	say(f, false, s, strlen(s));
}

void
server(struct fixture *f, const char *s)
{
	say(f, true, s, strlen(s));
}

void
end(struct fixture *f)
{
	app_finish(f->e, &f->st, f->proto, f->sport, f->dport, &f->c);
	assert_int_equal(f->st.progress, APP_DONE);
	batch_unref(&f->b);
	f->b = batch_pool_get(f->pool);
	assert_non_null(f->b);
	app_write(f->e, &f->st, f->b, 0);
	f->b->n = 1;
}

void
again(struct fixture *f)
{
	app_release(f->e, &f->st);
	f->seq[0] = f->seq[1] = 1;
}

void
expect_text(struct fixture *f, enum field field, const char *want)
{
	struct value v;
	if (!batch_value(f->b, field, 0, &v)) {
		if (want != NULL)
			fail_msg("%s is absent, not %s", field_info[field].name, want);
		return;
	}
	if (want == NULL || v.text.n != strlen(want) || memcmp(v.text.p, want, v.text.n) != 0)
		fail_msg("%s is %.*s, not %s", field_info[field].name, (int)v.text.n, v.text.p,
		    want != NULL ? want : "absent");
}

void
expect_num(struct fixture *f, enum field field, int want)
{
	struct value v;
	if (!batch_value(f->b, field, 0, &v))
		assert_int_equal(want, -1);
	else
		assert_int_equal(v.u, want);
}

void
expect_app(struct fixture *f, const char *app, const char *category)
{
	expect_text(f, F_app, app);
	expect_text(f, F_app_category, category);
	expect_num(f, F_app_by, app != NULL ? APP_BY_NATIVE : -1);
}
