#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Frames of the C encoder through the Python decoder (written from the README), value by value.
# usage: frame_python.sh TEST_FRAME FRAME_PY
set -eu
command -v python3 >/dev/null || exit 77
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
here=$(cd "$(dirname "$0")" && pwd)
FRAME_DUMP=$dir "$1" >/dev/null 2>&1
python3 "$2" --check "$here/golden.frame" "$here/golden.jsonl"
cd "$dir"
python3 "$2" --check ./*
