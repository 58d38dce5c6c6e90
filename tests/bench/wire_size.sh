#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The size promise: at most 15 bytes a flow for the 16 base fields at 1024 flows a frame, at most
# 18.5 with random client ports, in the order of ending and in random order, with zlib and zstd.
# usage: wire_size.sh GEN_TRAFFIC WIRE_SIZE
set -eu
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
opts="--packets 1000000 --pps 500000 --flows 100000 --snaplen 64 --out /dev/null"
# shellcheck disable=SC2086
"$1" $opts --flow-list "$dir/count.csv"
# shellcheck disable=SC2086
"$1" $opts --random-ports --flow-list "$dir/random.csv"
for order in csv end wheel random; do
	for rows in 1024 4096; do
		"$2" "$dir/count.csv" --order $order --rows $rows --rounds 1 --max 15
		"$2" "$dir/random.csv" --order $order --rows $rows --rounds 1 --max 18.5
	done
done
