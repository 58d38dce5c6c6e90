#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# meter_truth.sh GEN_TRAFFIC METER_TRUTH: make captures, meter them, compare with what was made.
set -eu
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
"$1" --packets 300000 --pps 20000 --snaplen 128 --flows 5000 \
	--out "$dir/a.pcap" --flow-list "$dir/a.csv" >/dev/null
"$2" "$dir/a.pcap" "$dir/a.csv"
"$2" "$dir/a.pcap" "$dir/a.csv" 1
"$1" --packets 200000 --pps 500000 --snaplen 96 --flows 60000 --ipv6 60 --vlan 30 --seed 9 \
	--out "$dir/b.pcap" --flow-list "$dir/b.csv" >/dev/null
"$2" "$dir/b.pcap" "$dir/b.csv"
# It must notice: one record of the list altered.
awk -F, -v OFS=, 'NR == 9 { $7++ } 1' "$dir/b.csv" > "$dir/c.csv"
if "$2" "$dir/b.pcap" "$dir/c.csv" >/dev/null; then
	echo "an altered list was not noticed" >&2
	exit 1
fi
