/* SPDX-License-Identifier: Apache-2.0
 * control/role.c - who is at the other end of the socket, by what the kernel says. */
#include <errno.h>
#include <grp.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "control/control_priv.h"

enum { GROUPS_MAX = 65536 }; /* NGROUPS_MAX of Linux */

const char *
role_name(enum role r)
{
	static const char *const names[] = {"view", "operate", "admin"};
	return names[r];
}

/* Is @gid among the peer's supplementary groups, as they were when it connected? */
static bool
has_group(int fd, gid_t gid)
{
	gid_t few[64], *list = few;
	socklen_t len = sizeof(few);
	int rc = getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, list, &len);
	if (rc != 0 && errno == ERANGE && len <= GROUPS_MAX * sizeof(gid_t)) {
		list = malloc(len);
		if (list == NULL)
			return false;
		rc = getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, list, &len);
	}
	bool found = false;
	for (size_t i = 0; rc == 0 && i < len / sizeof(gid_t); i++)
		found = found || list[i] == gid;
	if (list != few)
		free(list);
	return found;
}

int
peer_of(int fd, const char *group, struct peer *out)
{
	struct ucred cred;
	socklen_t len = sizeof(cred);
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) != 0 || len != sizeof(cred))
		return -E_SYS;
	*out = (struct peer){cred.uid, cred.gid, cred.pid, ROLE_VIEW};
	if (cred.uid == 0 || cred.uid == geteuid()) {
		out->role = ROLE_ADMIN;
		return 0;
	}
	const struct group *g = group != NULL && group[0] != '\0' ? getgrnam(group) : NULL;
	if (g != NULL && (cred.gid == g->gr_gid || has_group(fd, g->gr_gid)))
		out->role = ROLE_OPERATE;
	return 0;
}
