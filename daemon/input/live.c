/* SPDX-License-Identifier: Apache-2.0
 * input/live.c - open and close the packet sockets of an interface. */
#include "input/live.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/hash.h"
#include "base/strv.h"
#include "wire/packet.h"

#ifndef PACKET_FANOUT_FLAG_UNIQUEID
#define PACKET_FANOUT_FLAG_UNIQUEID 0x2000
#endif

bool
live_is_any(const char *device)
{
	return strcmp(device, "any") == 0;
}

/** No such interface: name the nearest one, or all. */
static int
no_such_device(const char *device, struct err *err)
{
	const char *names[256];
	char list[200] = "";
	unsigned n = 0;
	struct if_nameindex *all = if_nameindex();
	for (struct if_nameindex *i = all; i != NULL && i->if_index != 0 && n < 255; i++) {
		size_t at = strlen(list);
		names[n++] = i->if_name;
		if (at + strlen(i->if_name) + 2 < sizeof(list))
			snprintf(
			    list + at, sizeof(list) - at, "%s%s", at > 0 ? " " : "", i->if_name);
	}
	names[n] = NULL;
	const char *near = strv_nearest(strv_of(device), names);
	int rc =
	    near != NULL
		? err_set(err, E_NOENT,
		      "capture: there is no interface \"%s\"; did you mean \"%s\"?", device, near)
		: err_set(err, E_NOENT, "capture: there is no interface \"%s\"; there are: %s any",
		      device, list);
	if_freenameindex(all);
	return rc;
}

/** Why pcap_activate failed, and what to try. */
static int
activate_error(const struct live_conf *conf, pcap_t *p, int status, struct err *err)
{
	switch (status) {
	case PCAP_ERROR_NO_SUCH_DEVICE:
		return no_such_device(conf->device, err);
	case PCAP_ERROR_PERM_DENIED:
	case PCAP_ERROR_PROMISC_PERM_DENIED:
		return err_set(err, E_PERM,
		    "capture: %s: not permitted to capture: run flowbusd as root, "
		    "or give it CAP_NET_RAW (the systemd unit does)",
		    conf->device);
	case PCAP_ERROR_IFACE_NOT_UP:
		return err_set(err, E_AGAIN,
		    "capture: %s: the interface is down; try: ip link set %s up", conf->device,
		    conf->device);
	default:
		return err_set(err, E_SYS, "capture: %s: %s: %s", conf->device,
		    pcap_statustostr(status), pcap_geterr(p));
	}
}

/** One socket, active, without a filter. */
static int
open_one(const struct live_conf *conf, struct live *h, struct err *err)
{
	char text[PCAP_ERRBUF_SIZE] = "";
	*h = (struct live){NULL, -1, -1, 0};
	if (conf->ring > INT_MAX)
		return err_set(
		    err, E_RANGE, "capture: %s: ring is limited to 2047M per worker", conf->device);
	if (!live_is_any(conf->device) && (h->ifindex = if_nametoindex(conf->device)) == 0)
		return no_such_device(conf->device, err);
	h->pcap = pcap_create(conf->device, text);
	if (h->pcap == NULL)
		return err_set(err, E_SYS, "capture: %s: %s", conf->device, text);
	pcap_set_snaplen(h->pcap, conf->snaplen);
	pcap_set_promisc(h->pcap, conf->promisc);
	pcap_set_timeout(h->pcap, LIVE_BLOCK_MS);
	pcap_set_buffer_size(h->pcap, (int)conf->ring);
	int status = pcap_activate(h->pcap);
	if (status < 0)
		return activate_error(conf, h->pcap, status, err);
	if (live_is_any(conf->device))
		(void)pcap_set_datalink(
		    h->pcap, DLT_LINUX_SLL2); /* else it is the older cooked form */
	h->linktype = pcap_datalink(h->pcap);
	if (!wire_linktype_known(h->linktype)) {
		const char *name = pcap_datalink_val_to_name(h->linktype);
		return err_set(err, E_UNSUP, "capture: %s: link type %d (%s) is not supported",
		    conf->device, h->linktype, name != NULL ? name : "unknown");
	}
	if (pcap_setnonblock(h->pcap, 1, text) != 0)
		return err_set(err, E_SYS, "capture: %s: %s", conf->device, text);
	h->fd = pcap_get_selectable_fd(h->pcap);
	if (h->fd < 0)
		return err_set(err, E_SYS, "capture: %s: libpcap gives no descriptor to wait on",
		    conf->device);
	return 0;
}

static int
compile(pcap_t *p, const struct live_conf *conf, struct bpf_program *program, struct err *err)
{
	return pcap_compile(p, program, conf->filter, 1, PCAP_NETMASK_UNKNOWN) == 0
		   ? 0
		   : err_set(err, E_SYNTAX,
			 "capture: %s: filter \"%.200s\": %s (write it as for tcpdump)",
			 conf->device, conf->filter, pcap_geterr(p));
}

int
live_filter_check(const struct live_conf *conf, struct err *err)
{
	struct bpf_program program;
	pcap_t *dead = pcap_open_dead(DLT_EN10MB, conf->snaplen);
	if (dead == NULL)
		return err_set(err, E_NOMEM, "capture: out of memory");
	int rc = compile(dead, conf, &program, err);
	if (rc == 0)
		pcap_freecode(&program);
	pcap_close(dead);
	return rc;
}

static int
set_filter(struct live *h, const struct live_conf *conf, struct err *err)
{
	struct bpf_program program;
	int rc = compile(h->pcap, conf, &program, err);
	if (rc != 0)
		return rc;
	rc = pcap_setfilter(h->pcap, &program);
	pcap_freecode(&program);
	return rc == 0 ? 0
		       : err_set(err, E_SYS, "capture: %s: cannot set the filter: %s", conf->device,
			     pcap_geterr(h->pcap));
}

static int
set_reject_all(struct live *h, const char *device, struct err *err)
{
	struct bpf_insn reject = {BPF_RET | BPF_K, 0, 0, 0};
	struct bpf_program program = {1, &reject};
	return pcap_setfilter(h->pcap, &program) == 0
		   ? 0
		   : err_set(err, E_SYS, "capture: %s: cannot set the filter: %s", device,
			 pcap_geterr(h->pcap));
}

/** Join the group *id, or begin one when it is negative. */
static int
join(const struct live *h, const char *device, int *id, struct err *err)
{
	int arg = PACKET_FANOUT_HASH << 16;
	int rc = -1;
	if (*id >= 0) {
		arg |= *id;
		rc = setsockopt(h->fd, SOL_PACKET, PACKET_FANOUT, &arg, sizeof(arg));
	} else {
		socklen_t size = sizeof(arg);
		arg |= PACKET_FANOUT_FLAG_UNIQUEID << 16;
		rc = setsockopt(h->fd, SOL_PACKET, PACKET_FANOUT, &arg, sizeof(arg));
		if (rc == 0)
			rc = getsockopt(h->fd, SOL_PACKET, PACKET_FANOUT, &arg, &size);
		*id = arg & 0xffff;
	}
	return rc == 0 ? 0
		       : err_sys(err, E_SYS,
			     "capture: %s: cannot share the interface between "
			     "workers (PACKET_FANOUT; try workers=1)",
			     device);
}

static void
discard(u_char *user, const struct pcap_pkthdr *h, const u_char *bytes)
{
	(void)user, (void)h, (void)bytes;
}

static int
open_all(const struct live_conf *conf, struct live *h, unsigned n, struct err *err)
{
	int group = -1, rc = 0;
	for (unsigned i = 0; i < n && rc == 0; i++) {
		rc = open_one(conf, &h[i], err);
		if (rc == 0 && n > 1)
			rc = set_reject_all(&h[i], conf->device, err);
		if (rc == 0 && n > 1)
			rc = join(&h[i], conf->device, &group, err);
	}
	if (rc == 0 && n > 1) {
		/* blocks begun before the filter are handed over within this time */
		clock_sleep_us(2 * LIVE_BLOCK_MS * 1000 + 10000);
		for (unsigned i = 0; i < n; i++)
			for (int k = 0; k < 64 && pcap_dispatch(h[i].pcap, -1, discard, NULL) > 0;
			     k++)
				continue;
	}
	for (unsigned i = 0; i < n && rc == 0; i++)
		rc = set_filter(&h[i], conf, err);
	return rc;
}

int
live_open(const struct live_conf *conf, struct live *handles, unsigned n, struct err *err)
{
	for (unsigned i = 0; i < n; i++)
		handles[i] = (struct live){NULL, -1, -1, 0};
	int rc = open_all(conf, handles, n, err);
	for (unsigned i = 0; i < n && rc != 0; i++)
		live_close(&handles[i]);
	return rc;
}

void
live_close(struct live *h)
{
	if (h->pcap != NULL)
		pcap_close(h->pcap);
	*h = (struct live){NULL, -1, -1, 0};
}

enum live_link
live_check(const char *device, unsigned ifindex)
{
	struct ifreq ifr = {0};
	if (live_is_any(device))
		return LIVE_UP;
	unsigned now = if_nametoindex(device);
	if (now != ifindex)
		return now == 0 ? LIVE_GONE : LIVE_REPLACED;
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return LIVE_UP;
	snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "%.*s", IFNAMSIZ - 1, device);
	bool is_down = ioctl(fd, SIOCGIFFLAGS, &ifr) == 0 && (ifr.ifr_flags & IFF_UP) == 0;
	close(fd);
	return is_down ? LIVE_LINK_DOWN : LIVE_UP;
}
