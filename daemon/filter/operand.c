/* SPDX-License-Identifier: Apache-2.0
 * filter/operand.c - operands, read by the type of the field they are compared with. */
#include <stdio.h>

#include "filter/filter_priv.h"

const struct primitive primitives[N_PRIMITIVES] = {
    {"host", F_src_addr, F_dst_addr, true},
    {"net", F_src_addr, F_dst_addr, false},
    {"port", F_src_port, F_dst_port, false},
    {"portrange", F_src_port, F_dst_port, false},
    {"vlan", F_vlan, F_rev_vlan, false},
    {"as", F_src_as, F_dst_as, false},
    {"if", F_in_if, F_out_if, false},
    {"proto", F_proto, F_proto, false},
    {"app", F_app, F_app, false},
};

const struct primitive *
primitive_find(struct strv lower)
{
	for (int i = 0; i < N_PRIMITIVES; i++)
		if (strv_eq(lower, strv_of(primitives[i].word)))
			return &primitives[i];
	return NULL;
}

const char *
either_name(enum field f)
{
	return f == F_src_addr	 ? "net"
	       : f == F_src_port ? "port"
	       : f == F_src_as	 ? "as"
	       : f == F_in_if	 ? "if"
				 : "src or dst vlan";
}

bool
token_field(const struct parser *p, const struct token *t, enum field *f_out)
{
	char low[64];
	if (t->type != T_WORD)
		return false;
	*f_out = field_by_name(word_lower(token_text(p, t), low, sizeof(low)));
	return *f_out != F_NONE;
}

bool
token_is_value(const struct token *t)
{
	return t->type == T_WORD || t->type == T_LIT || t->type == T_STRING;
}

const char *
nearest_word(struct strv w)
{
	static const char *const more[] = {"host", "net", "port", "portrange", "proto", "app",
	    "vlan", "src", "dst", "and", "not", "tcp", "udp", "icmp", "icmp6", "sctp", "true",
	    "false", NULL};
	const char *names[F_COUNT + sizeof(more) / sizeof(more[0])];
	size_t n = 0;
	char low[64];
	for (; n < F_COUNT; n++)
		names[n] = field_names[n];
	for (size_t i = 0; i < sizeof(more) / sizeof(more[0]); i++)
		names[n++] = more[i];
	return strv_nearest(word_lower(w, low, sizeof(low)), names);
}

bool
time_in_range(int64_t us)
{
	return us >= 0 && us < INT64_C(253402214400000000);
}

static const char *
expected_form(enum field f)
{
	switch ((enum field_type)field_info[f].type) {
	case FT_U8:
		if (f == F_proto)
			return "a protocol name or number (tcp, udp, 47)";
		/* fall through */
	case FT_U16:
	case FT_U32:
	case FT_U64:
		return field_dim(f) == DIM_SPAN ? "a time with its unit (250ms, 30s, 5m)"
						: "a number (443, 0x1bb, 10K, 1.5M)";
	case FT_TIME:
		return "a time (2026-11-22T10:00:00Z)";
	case FT_SPAN:
		return "a time with its unit (250ms, 30s, 5m)";
	case FT_ADDR:
		return "an address or network (10.1.2.3, 10.0.0.0/8, 2001:db8::/32)";
	case FT_MAC:
		return "a MAC address (00:1a:2b:3c:4d:5e)";
	case FT_BITS:
		return "flags (syn, ack), letters (SA) or a number";
	case FT_ENUM:
		return "one of its names";
	case FT_TEXT:
		return "text (\"www.example.org\")";
	case FT_COUNT:
		break;
	}
	return "a value";
}

static int
fail_value(struct parser *p, enum field f, int rc)
{
	char show[64], more[160] = "";
	const struct token *t = p->tok;
	struct strv s = token_text(p, t);
	token_show(p, t, show, sizeof(show));
	if (rc == -E_RANGE)
		return parse_fail(p, t->off, E_RANGE, "%s is out of range for %s (%s)", show,
		    field_info[f].name, field_type_name((enum field_type)field_info[f].type));
	if (field_info[f].type == FT_ENUM) {
		const char *names[16];
		size_t n = 0;
		field_enum_names(f, names);
		for (int i = 0; names[i] != NULL; i++)
			n += (size_t)snprintf(
			    more + n, sizeof(more) - n, "%s%s", i ? ", " : ": ", names[i]);
	} else if (s.n > 1 && s.p[s.n - 1] == 'm' && field_dim(f) == DIM_NUM &&
		   field_is_number(f)) {
		snprintf(more, sizeof(more), "; m is minutes, M is a million");
	}
	return parse_fail(p, t->off, E_SYNTAX, "%s expects %s%s, not %s", field_info[f].name,
	    expected_form(f), more, show);
}

static int
key_from_num(struct parser *p, enum field f, const struct num *v, enum dim dim, uint64_t *key)
{
	__int128 x;
	bool zero = v->m == 0;
	if (dim != field_dim(f) && !(zero && dim == DIM_NUM && field_dim(f) == DIM_SPAN))
		return fail_value(p, f, -E_SYNTAX);
	if (!num_integer(v, &x))
		return parse_fail(p, p->tok->off, E_SYNTAX, "%s has whole %s only",
		    field_info[f].name, dim == DIM_SPAN ? "microseconds" : "numbers");
	if (field_is_signed(f) ? x > INT64_MAX || x < INT64_MIN
			       : x < 0 || x > (__int128)field_key_max(f))
		return fail_value(p, f, -E_RANGE);
	*key = field_is_signed(f) ? (uint64_t)(int64_t)x ^ UINT64_C(1) << 63 : (uint64_t)x;
	return 0;
}

int
operand_key(struct parser *p, enum field f, uint64_t *key_out)
{
	char low[64];
	struct num v;
	enum dim dim;
	struct value val;
	bool neg = p->tok->type == T_SUB && field_is_signed(f);
	if (neg)
		p->tok++;
	struct strv s = token_text(p, p->tok);
	if (!token_is_value(p->tok))
		return fail_value(p, f, -E_SYNTAX);
	int rc = field_is_number(f) ? num_parse(s, &v, &dim) : -E_SYNTAX;
	if (rc != -E_SYNTAX) {
		v.neg = neg && v.m != 0;
		rc = rc != 0 ? fail_value(p, f, rc) : key_from_num(p, f, &v, dim, key_out);
		p->tok += rc == 0;
		return rc;
	}
	/* names, times, MAC addresses: as everywhere else */
	if (field_info[f].type == FT_BITS) {
		uint16_t mask;
		rc = operand_bits(p, &mask);
		*key_out = mask;
		return rc;
	}
	if (field_info[f].type != FT_TIME)
		s = word_lower(s, low, sizeof(low));
	rc = neg || s.n == 0 ? -E_SYNTAX : value_parse(f, s, &val);
	if (rc == 0 && field_info[f].type == FT_TIME && !time_in_range(val.i))
		rc = -E_RANGE;
	if (rc != 0)
		return fail_value(p, f, rc);
	*key_out = field_is_signed(f) ? (uint64_t)val.i ^ UINT64_C(1) << 63 : val.u;
	p->tok++;
	return 0;
}

int
operand_net(struct parser *p, const struct target *t, struct net *out)
{
	unsigned bits;
	struct strv s = token_text(p, p->tok);
	if (!token_is_value(p->tok))
		return fail_value(p, t->f, -E_SYNTAX);
	if (addr_parse_net(s, &out->addr, &bits) != 0) {
		char show[64];
		if (p->tok->type == T_LIT)
			return fail_value(p, t->f, -E_SYNTAX);
		return parse_fail(p, p->tok->off, E_SYNTAX,
		    "%s is not an address (10.1.2.3, 10.0.0.0/8, 2001:db8::/32); names are never "
		    "resolved",
		    token_show(p, p->tok, show, sizeof(show)));
	}
	if (t->single && bits != 128)
		return parse_fail(p, p->tok->off, E_TYPE,
		    "host takes one address; for a network write net %.*s", (int)s.n, s.p);
	if (t->f == F_NONE)
		return parse_fail(p, p->tok->off, E_TYPE, "an address cannot stand here");
	out->bits = (uint8_t)bits;
	p->tok++;
	return 0;
}

/* One flag, letters or number at the current token. */
static int
bits_one(struct parser *p, uint16_t *mask)
{
	char low[64];
	struct value v;
	struct strv s = token_text(p, p->tok);
	uint16_t bit = field_bit_value(word_lower(s, low, sizeof(low)));
	if (!token_is_value(p->tok) || s.n == 0)
		return fail_value(p, F_tcp_flags, -E_SYNTAX);
	if (bit == 0) {
		int rc = value_parse(F_tcp_flags, s, &v);
		if (rc != 0)
			return fail_value(p, F_tcp_flags, rc);
		bit = (uint16_t)v.u;
	}
	*mask |= bit;
	p->tok++;
	return 0;
}

int
operand_bits(struct parser *p, uint16_t *mask_out)
{
	*mask_out = 0;
	int rc = bits_one(p, mask_out);
	while (rc == 0 && p->tok->type == T_BAR) {
		p->tok++;
		rc = bits_one(p, mask_out);
	}
	return rc;
}

static int
hex_digit(char c)
{
	return c >= '0' && c <= '9'   ? c - '0'
	       : c >= 'a' && c <= 'f' ? c - 'a' + 10
	       : c >= 'A' && c <= 'F' ? c - 'A' + 10
				      : -1;
}

/* Undo the escapes of a string. Wildcards and backslashes that were escaped stay quoted by a \. */
static bool
unescape(struct strv s, char *out, size_t *n)
{
	for (size_t i = 0; i < s.n; i++) {
		char c = s.p[i];
		if (c != '\\') {
			out[(*n)++] = c;
			continue;
		}
		if (++i >= s.n)
			return false;
		c = s.p[i];
		if (c == 'x') {
			if (i + 2 >= s.n || hex_digit(s.p[i + 1]) < 0 || hex_digit(s.p[i + 2]) < 0)
				return false;
			c = (char)((unsigned)hex_digit(s.p[i + 1]) << 4 | (unsigned)hex_digit(s.p[i + 2]));
			i += 2;
		} else if (c == 'n' || c == 't' || c == 'r') {
			c = c == 'n' ? '\n' : c == 't' ? '\t' : '\r';
		} else if (strchr("\\\"'*?", c) == NULL || c == '\0') {
			return false;
		}
		if (c == '*' || c == '?' || c == '\\')
			out[(*n)++] = '\\';
		out[(*n)++] = c;
	}
	return true;
}

int
operand_text(struct parser *p, bool pattern, struct strv *out)
{
	const struct token *t = p->tok;
	struct strv s = token_text(p, t);
	if (!token_is_value(t))
		return fail_value(p, F_app, -E_SYNTAX);
	char *to = arena_get(p->arena, 2 * s.n + 1);
	size_t n = 0;
	if (to == NULL)
		return p->rc = -E_NOMEM;
	if (t->type != T_STRING) {
		memcpy(to, s.p, s.n);
		n = s.n;
	} else if (!unescape(s, to, &n)) {
		return parse_fail(p, t->off, E_SYNTAX,
		    "unknown escape in text; known are \\\\ \\\" \\* \\? \\n \\t \\r and \\xHH");
	}
	if (!pattern)
		glob_unquote(to, &n);
	*out = (struct strv){to, n};
	p->tok++;
	return 0;
}
