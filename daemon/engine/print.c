/* SPDX-License-Identifier: Apache-2.0
 * engine/print.c - the tables of the manual, printed by the program itself. */
#include <stdio.h>

#include "engine/engine_priv.h"

static void
print_fields(void)
{
	puts("| number | field | type | unit | description |\n|---|---|---|---|---|");
	for (int f = 0; f < F_COUNT; f++) {
		const struct field_info *i = &field_info[f];
		printf("| %u | `%s` | %s | %s | %s%s |\n", i->number, i->name,
		    field_type_name((enum field_type)i->type), field_unit_name((enum field_unit)i->unit),
		    i->text, (i->flags & FF_DERIVED) != 0 ? " Computed." : "");
	}
}

static const char *
option_type_text(const struct option_info *o)
{
	static const char *const names[] = {"yes/no", "number", "size", "duration", "text", "path", "",
	    "fields", "filter"};
	return o->type == OT_CHOICE ? o->choices : names[o->type];
}

static void
print_options(void)
{
	puts("| owner | option | type | default | change | description |\n|---|---|---|---|---|---|");
	for (unsigned i = 0; i < option_count; i++) {
		const struct option_info *o = &option_info[i];
		printf("| %s | `%s` | %s | %s | %s | %s |\n", o->owner, o->name, option_type_text(o),
		    o->def, o->apply == APPLY_LIVE ? "live" : "attach again", o->help);
	}
}

static void
print_commands(void)
{
	puts("| command | role | description |\n|---|---|---|");
#define COMMAND(id, words, arguments, role, shape, summary, manual)                                \
	printf("| `%s%s%s` | %s | %s. %s |\n", words, arguments[0] != '\0' ? " " : "", arguments,  \
	    #role, summary, manual);
#include "flowbus/commands.def"
}

static void
print_counters(void)
{
	puts("| counter | unit | description |\n|---|---|---|");
	for (int c = 0; c < C_COUNT; c++)
		printf("| `%s` | %s | %s%s%s%s |\n", counter_info[c].name, counter_info[c].unit,
		    counter_info[c].kind == CK_LOST ? "LOST: " : "", counter_info[c].text,
		    counter_info[c].advice[0] != '\0' ? ": " : "", counter_info[c].advice);
}

static void
print_errors(void)
{
	puts("| code | exit status | text |\n|---|---|---|");
#define ERR(id, number, control, status, text) printf("| %d | %d | %s |\n", control, status, text);
#include "flowbus/errors.def"
}

int
print_table(const char *what, struct err *err)
{
	static const struct {
		const char *name;
		void (*print)(void);
	} tables[] = {{"fields.md", print_fields}, {"options.md", print_options},
	    {"commands.md", print_commands}, {"counters.md", print_counters},
	    {"errors.md", print_errors}};
	for (size_t i = 0; i < sizeof(tables) / sizeof(tables[0]); i++) {
		if (strcmp(tables[i].name, what) == 0) {
			tables[i].print();
			return 0;
		}
	}
	return err_set(err, E_UNKNOWN, "--print %s: there are fields.md, options.md, commands.md, "
	    "counters.md and errors.md", what);
}
