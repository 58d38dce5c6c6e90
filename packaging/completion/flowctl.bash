# SPDX-License-Identifier: Apache-2.0
# bash completion of flowctl: it knows its own words, see `flowctl complete`.
_flowctl() {
	local line=${COMP_LINE:0:COMP_POINT} word cur skip=0
	local -a words=() options=()
	read -ra words <<<"$line"
	[[ $line == *[[:space:]] ]] && words+=("")
	cur=${words[-1]}
	# options of flowctl itself are not part of the command; --socket matters for names
	local -a typed=()
	for word in "${words[@]:1}"; do
		if ((skip)); then
			options+=("$word")
			skip=0
			continue
		fi
		case $word in
		--socket | -s | --timeout | -t) options+=("$word") skip=1 ;;
		--socket=* | --timeout=*) options+=("$word") ;;
		--json | -j) ;;
		*) typed+=("$word") ;;
		esac
	done
	if ((skip)) || ((${#typed[@]} == 0)); then
		return
	fi
	mapfile -t COMPREPLY < <(flowctl "${options[@]}" complete "${typed[@]}" 2>/dev/null)
	# bash replaces only what is behind the last = or :
	local i cut=${cur%"${cur##*[=:]}"}
	for i in "${!COMPREPLY[@]}"; do
		COMPREPLY[i]=${COMPREPLY[i]#"$cut"}
	done
	if [[ ${#COMPREPLY[@]} -eq 1 && ${COMPREPLY[0]} == *= ]]; then
		compopt -o nospace
	fi
}
complete -o default -F _flowctl flowctl
