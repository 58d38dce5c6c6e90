# SPDX-License-Identifier: Apache-2.0
# Sourced by packaging/quickstart and tests/run: install what packaging/deps lists and is missing.
# deps_install DIR KIND...: nothing is downloaded, and no network needed, when all is there.

deps_missing() {
	local list=$1/packaging/deps kind name
	shift
	while read -r kind name; do
		case " $* " in
		*" $kind "*)
			if ! dpkg-query -W -f='${Status}' "$name" 2>/dev/null |
			    grep -q '^install ok installed$'; then
				# pkg-config is pkgconf on newer releases: what it provides counts
				[ "$name" = pkg-config ] && command -v pkg-config >/dev/null || echo "$name"
			fi ;;
		esac
	done < <(grep -v '^#' "$list")
}

deps_install() {
	local missing
	command -v dpkg-query >/dev/null || {
		echo "no dpkg here: install by your own means what packaging/deps lists" >&2
		return 1
	}
	missing=$(deps_missing "$@" | tr '\n' ' ')
	[ -n "$missing" ] || return 0
	if [ "${DEPS_NO_INSTALL:-}" = yes ] || [ "$(id -u)" -ne 0 ]; then
		echo "these Debian packages are missing: $missing" >&2
		echo "as root: apt-get install --no-install-recommends $missing" >&2
		return 1
	fi
	echo "installing: $missing"
	export DEBIAN_FRONTEND=noninteractive
	# shellcheck disable=SC2086
	apt-get install -y -q --no-install-recommends $missing >"${TMPDIR:-/tmp}/flowbus-apt.log" 2>&1 ||
	    { apt-get update -q >>"${TMPDIR:-/tmp}/flowbus-apt.log" 2>&1 &&
	    apt-get install -y -q --no-install-recommends $missing \
	        >>"${TMPDIR:-/tmp}/flowbus-apt.log" 2>&1; } ||
	    { tail -20 "${TMPDIR:-/tmp}/flowbus-apt.log" >&2; return 1; }
	rm -f "${TMPDIR:-/tmp}/flowbus-apt.log"
}
