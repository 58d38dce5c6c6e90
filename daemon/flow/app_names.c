/* SPDX-License-Identifier: Apache-2.0
 * flow/app_names.c - the engine's table of application names and their categories.
 *
 * The native names come first, at indexes fixed by enum app_id; nDPI's others follow in its order.
 * Names are nDPI's in lower case. When nDPI is there, its word on the category is taken. */
#include "flow/app_priv.h"

#include <stdlib.h>
#include <strings.h>

static const struct {
	const char *name, *category;
} native[] = {
	[APP_UNKNOWN] = {"", ""},
#define APP(id, name, category) [APP_##id] = {name, category},
	APP_NATIVE_TABLE(APP)
#undef APP
};

static void
lower(char out[APP_NAME_LEN], const char *s)
{
	size_t i = 0;
	for (; i < APP_NAME_LEN - 1 && s[i] != '\0'; i++)
		out[i] = s[i] >= 'A' && s[i] <= 'Z' ? (char)(s[i] | 0x20) : s[i];
	out[i] = '\0';
}

int
app_names_init(struct app_engine *e, struct err *err)
{
	e->entry = calloc(APP_NAMES_MAX, sizeof(e->entry[0]));
	if (e->entry == NULL)
		return err_set(err, E_NOMEM, "application detection: no memory for the names");
	for (size_t i = 0; i < APP_NATIVE_COUNT; i++) {
		lower(e->entry[i].name, native[i].name);
		lower(e->entry[i].category, native[i].category);
	}
	e->n_entries = APP_NATIVE_COUNT;
	return 0;
}

uint16_t
app_names_find(const struct app_engine *e, const char *name)
{
	for (uint16_t i = 1; i < e->n_entries; i++) {
		if (strncasecmp(e->entry[i].name, name, APP_NAME_LEN - 1) == 0)
			return i;
	}
	return APP_UNKNOWN;
}

uint16_t
app_names_add(struct app_engine *e, const char *name, const char *category)
{
	uint16_t i = app_names_find(e, name);
	if (i == APP_UNKNOWN) {
		if (e->n_entries == APP_NAMES_MAX || name[0] == '\0')
			return APP_UNKNOWN;
		i = e->n_entries++;
		lower(e->entry[i].name, name);
	}
	lower(e->entry[i].category, strcasecmp(category, "unspecified") != 0 ? category : "");
	return i;
}

const char *
app_name(const struct app_engine *e, uint16_t name)
{
	return name < e->n_entries ? e->entry[name].name : "";
}
