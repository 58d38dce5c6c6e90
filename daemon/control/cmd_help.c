/* SPDX-License-Identifier: Apache-2.0
 * control/cmd_help.c - the tables themselves, and help made from them. */
#include <stdio.h>

#include "control/control_priv.h"

int
control_cmd_show_fields(struct call *c)
{
	for (unsigned i = 0; i < F_COUNT; i++) {
		const struct field_info *f = &field_info[i];
		reply_row(c->client,
		    json_pack("{s:s, s:i, s:s, s:s, s:b, s:b, s:s}", "field", f->name, "number",
			(int)f->number, "type", field_type_name((enum field_type)f->type), "unit",
			field_unit_name((enum field_unit)f->unit), "base",
			(f->flags & FF_BASE) != 0, "derived", (f->flags & FF_DERIVED) != 0, "text",
			f->text));
	}
	return 0;
}

static const struct port_type *
find_type(struct call *c, const char *name, bool or_daemon)
{
	unsigned n;
	char q[80];
	const struct port_type *const *types = engine_types(&n);
	for (unsigned i = 0; i < n; i++)
		if (strcmp(types[i]->name, name) == 0)
			return types[i];
	const char *near = strv_nearest(strv_of(name), engine_type_names());
	strv_quote(strv_of(name), q, sizeof(q));
	if (near != NULL)
		err_set(&c->err, E_NOENT, "no endpoint type %s, did you mean \"%s\"?", q, near);
	else
		err_set(&c->err, E_NOENT, "no endpoint type %s%s; `flowctl show types` lists them",
		    q, or_daemon ? " (and not daemon)" : "");
	return NULL;
}

int
control_cmd_show_options(struct call *c)
{
	const char *owner = c->n_args > 0 ? c->args[0] : NULL;
	if (owner != NULL && strcmp(owner, "daemon") != 0 && find_type(c, owner, true) == NULL)
		return -E_NOENT;
	for (unsigned i = 0; i < option_count; i++) {
		const struct option_info *o = &option_info[i];
		char range[64];
		if (owner != NULL && strcmp(o->owner, owner) != 0)
			continue;
		option_range_text(o, range);
		reply_row(c->client,
		    json_pack("{s:s, s:s, s:s, s:s, s:s, s:b, s:s}", "owner", o->owner, "option",
			o->name, "type", option_type_name(o->type), "default", o->def, "range",
			range, "live", o->apply == APPLY_LIVE, "text", o->help));
	}
	return 0;
}

int
control_cmd_show_types(struct call *c)
{
	unsigned n;
	const struct port_type *const *types = engine_types(&n);
	for (unsigned i = 0; i < n; i++)
		reply_row(
		    c->client, json_pack("{s:s, s:s, s:s}", "type", types[i]->name, "direction",
				   types[i]->direction == PORT_INPUT ? "input" : "output", "text",
				   types[i]->help));
	return 0;
}

static void
help_all(struct buf *out)
{
	buf_str(out, "usage: flowctl [--json] [--socket PATH] [--timeout SPAN] COMMAND ...\n\n");
	for (unsigned i = 0; i < command_count; i++) {
		char usage[160];
		const struct command *cmd = &commands[i];
		snprintf(usage, sizeof(usage), "%s%s%s", cmd->words,
		    cmd->arguments[0] != '\0' ? " " : "", cmd->arguments);
		if (strlen(usage) > 38)
			buf_printf(out, "  %s\n  %-38s %s\n", usage, "", cmd->summary);
		else
			buf_printf(out, "  %-38s %s\n", usage, cmd->summary);
	}
	buf_str(out,
	    "\nCommands that run without the daemon:\n"
	    "  key secret [FILE]                      Make the secret of a link\n"
	    "  key new FILE                           Make a key pair for this node\n"
	    "  key show FILE                          Public key and fingerprint of a key file\n"
	    "\nWords may be shortened as long as they are unambiguous: flowctl sh peers.\n"
	    "`flowctl help COMMAND` tells more, `flowctl help attach TYPE` lists options.\n");
}

static void
help_command(struct buf *out, const struct command *cmd)
{
	buf_printf(out, "flowctl %s%s%s\n\n%s.\n", cmd->words, cmd->arguments[0] != '\0' ? " " : "",
	    cmd->arguments, cmd->summary);
	if (cmd->manual[0] != '\0')
		buf_printf(out, "%s\n", cmd->manual);
	buf_printf(out, "Role: %s.\n", role_name(cmd->role));
}

static void
help_type(struct buf *out, const struct port_type *t)
{
	buf_printf(out, "flowctl attach %s ADDRESS [name=N] [option=value ...]\n\n%s (%s)\n\n",
	    t->name, t->help, t->direction == PORT_INPUT ? "input" : "output");
	for (unsigned i = 0; i < option_count; i++) {
		const struct option_info *o = &option_info[i];
		char range[64];
		if (strcmp(o->owner, t->name) != 0)
			continue;
		option_range_text(o, range);
		buf_printf(out, "  %s=%s\n      %s\n      %s%s%s, %s\n", o->name,
		    o->def[0] != '\0' ? o->def : "\"\"", o->help, option_type_name(o->type),
		    range[0] != '\0' ? ", " : "", range,
		    o->apply == APPLY_LIVE ? "live: change it with `flowctl set`"
					   : "to change it detach and attach again");
	}
}

/* Commands that begin with the words given ("show"); how many there are. */
static unsigned
help_group(struct buf *out, const char *first)
{
	unsigned n = 0;
	for (unsigned i = 0; i < command_count; i++) {
		size_t len = strlen(first);
		if (strncmp(commands[i].words, first, len) != 0 || commands[i].words[len] != ' ')
			continue;
		buf_printf(out, "  %-24s %s\n", commands[i].words, commands[i].summary);
		n++;
	}
	return n;
}

static int
help_words(struct call *c, struct buf *out)
{
	unsigned used = 0;
	char q[80];
	const struct command *cmd = command_of_words(c->args, c->n_args, &used);
	if (cmd != NULL && cmd->fn == control_cmd_attach && c->n_args == 2) {
		const struct port_type *t = find_type(c, c->args[1], false);
		if (t == NULL)
			return -E_NOENT;
		help_type(out, t);
		return 0;
	}
	if (cmd != NULL && used == c->n_args) {
		help_command(out, cmd);
		if (cmd->fn == control_cmd_attach) {
			unsigned n;
			const struct port_type *const *types = engine_types(&n);
			for (unsigned i = 0; i < n; i++)
				buf_printf(out, "  %-12s %s\n", types[i]->name, types[i]->help);
		}
		return 0;
	}
	if (c->n_args == 1 && help_group(out, c->args[0]) > 0)
		return 0;
	return err_set(&c->err, E_NOENT, "no command %s; `flowctl help` lists them",
	    strv_quote(strv_of(c->args[0]), q, sizeof(q)));
}

int
control_cmd_help(struct call *c)
{
	struct buf out = buf_init(1 << 20);
	int r = 0;
	if (c->n_args == 0)
		help_all(&out);
	else
		r = help_words(c, &out);
	if (r == 0)
		reply_text(c->client, buf_view(&out));
	buf_fini(&out);
	return r;
}
