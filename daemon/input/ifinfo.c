/* SPDX-License-Identifier: Apache-2.0
 * input/ifinfo.c - what the kernel says about an interface: its speed. */
#include <linux/ethtool.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "input/input.h"

/* The request ends in bitmaps; asked first, the kernel tells their words as a negative number. */
enum { LINK_MODE_OCTETS = 3 * 127 * 4 };

uint64_t
input_interface_speed(const char *name)
{
	_Alignas(8) uint8_t room[sizeof(struct ethtool_link_settings) + LINK_MODE_OCTETS] = {0};
	struct ethtool_link_settings *rq = (void *)room;
	struct ifreq ifr;
	uint64_t mbps = 0;
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return 0;
	memset(&ifr, 0, sizeof(ifr));
	rq->cmd = ETHTOOL_GLINKSETTINGS;
	snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "%.*s", IFNAMSIZ - 1, name);
	ifr.ifr_data = (char *)room;
	if (ioctl(fd, SIOCETHTOOL, &ifr) == 0 && rq->link_mode_masks_nwords < 0) {
		rq->link_mode_masks_nwords = (int8_t)-rq->link_mode_masks_nwords;
		rq->cmd = ETHTOOL_GLINKSETTINGS;
		if (ioctl(fd, SIOCETHTOOL, &ifr) == 0 && rq->speed != (uint32_t)SPEED_UNKNOWN)
			mbps = rq->speed;
	}
	close(fd);
	return mbps * 1000000;
}
