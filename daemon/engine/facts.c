/* SPDX-License-Identifier: Apache-2.0
 * engine/facts.c - what this host is: node id, addresses, captured interfaces and their speed. */
#include <arpa/inet.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <inttypes.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/hash.h"
#include "engine/engine_priv.h"
#include "input/input.h"

uint64_t
facts_node_id(const char *state_dir)
{
	char path[4096], text[32] = "";
	uint64_t id = 0;
	snprintf(path, sizeof(path), "%s/node_id", state_dir);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd >= 0) {
		ssize_t n = read(fd, text, sizeof(text) - 1);
		close(fd);
		id = n > 0 ? strtoull(text, NULL, 16) : 0; /* 0 also when it is no number */
		if (id != 0)
			return id;
	}
	do
		random_bytes(&id, sizeof(id));
	while (id == 0);
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0644);
	if (fd >= 0) {
		int n = snprintf(text, sizeof(text), "%016" PRIx64 "\n", id);
		if (write(fd, text, (size_t)n) != n)
			(void)unlink(path); /* half an id is worse than none */
		close(fd);
	}
	return id;
}

static void
add_word(char *list, size_t size, const char *word)
{
	size_t n = strlen(list), w = strlen(word);
	if (n + w + 2 <= size) /* what does not fit is left out: the list is for people */
		snprintf(list + n, size - n, "%s%s", n > 0 ? " " : "", word);
}

static void
addresses(char *out, size_t size)
{
	struct ifaddrs *all = NULL;
	out[0] = '\0';
	if (getifaddrs(&all) != 0)
		return;
	for (const struct ifaddrs *a = all; a != NULL; a = a->ifa_next) {
		char text[INET6_ADDRSTRLEN] = "";
		if (a->ifa_addr == NULL || (a->ifa_flags & IFF_LOOPBACK) != 0 ||
		    (a->ifa_flags & IFF_UP) == 0)
			continue;
		struct sockaddr_storage ss;
		if (a->ifa_addr->sa_family == AF_INET) {
			memcpy(&ss, a->ifa_addr, sizeof(struct sockaddr_in));
			inet_ntop(AF_INET, &((struct sockaddr_in *)&ss)->sin_addr, text, sizeof(text));
		} else if (a->ifa_addr->sa_family == AF_INET6) {
			memcpy(&ss, a->ifa_addr, sizeof(struct sockaddr_in6));
			const struct in6_addr *v6 = &((struct sockaddr_in6 *)&ss)->sin6_addr;
			if (!IN6_IS_ADDR_LINKLOCAL(v6))
				inet_ntop(AF_INET6, v6, text, sizeof(text));
		}
		if (text[0] != '\0')
			add_word(out, size, text);
	}
	freeifaddrs(all);
}

void
facts_host(struct engine *e, struct link_host *out)
{
	memset(out, 0, sizeof(*out));
	snprintf(out->name, sizeof(out->name), "%s", e->name);
	snprintf(out->version, sizeof(out->version), "%s", engine_version());
	out->node_id = e->node_id;
	out->started_us = e->started_us;
	addresses(out->addresses, sizeof(out->addresses));
	for (unsigned i = 0; i < e->n_ep; i++) {
		if (e->ep[i]->type != &input_capture || e->ep[i]->self == NULL)
			continue;
		const struct conf_endpoint *c = e->ep[i]->conf;
		add_word(out->interface, sizeof(out->interface), c->address);
		uint64_t speed = conf_number(c, "speed");
		out->speed_bps += speed != 0 ? speed : input_interface_speed(c->address);
	}
}

void
facts_update(struct engine *e)
{
	struct link_host host;
	if (e->link == NULL)
		return;
	facts_host(e, &host);
	link_set_host(e->link, &host);
}
