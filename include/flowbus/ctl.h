/* SPDX-License-Identifier: Apache-2.0
 * flowbus/ctl.h - what flowbusd and flowctl agree on about the control socket.
 *
 * JSON lines over a Unix stream socket. The daemon speaks first:
 *     {"flowbus":1,"version":"0.1.0","protocol":1}
 * A request is one line; `id` (a number or a short text) is optional and comes back in every
 * answer:
 *     {"id":1,"cmd":"attach","args":["capture","eth0","name=lan"]}
 * An answer is any number of rows and one final line:
 *     {"id":1,"row":{...}}
 *     {"id":1,"code":1000,"text":"attached lan"}
 * Codes are those of errors.def (1xxx done, 4xxx usage or denied, 8xxx failed); an error about a
 * text also has file, line, col and source. A stream that dropped rows says {"id":1,"lost":17}
 * between rows. Requests may be pipelined; they are answered in order. */
#ifndef FLOWBUS_CTL_H
#define FLOWBUS_CTL_H

enum {
	CTL_PROTOCOL = 1,
	CTL_LINE_MAX = 64 << 10, /* bytes of one request line */
	CTL_ARGS_MAX = 256,
	CTL_OK = 1000,
};

#define CTL_SOCKET     "/run/flowbus/control.sock"
#define CTL_SOCKET_ENV "FLOWBUS_SOCKET"

/** Endpoint types whose address is a file of this host: flowctl makes it absolute. */
#define CTL_FILE_TYPES "pcap", "json"

#endif
