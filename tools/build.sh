#!/usr/bin/env bash
# Configure and build:  build.sh [--target TARGET] [FOLDER [cmake options]]   (default: all, in build/ of the repository)
set -euo pipefail
source=$(cd "$(dirname "$0")/.." && pwd)
target=all
if [ "${1:-}" = --target ]; then
	target=$2
	shift 2
fi
build=${1:-$source/build}
[ $# -eq 0 ] || shift
"$source/tools/install-deps.sh"
mkdir -p "$build"
if ! { cmake -S "$source" -B "$build" -G Ninja "$@" && cmake --build "$build" --target "$target"; } >"$build/build.log" 2>&1; then
	tail -n 40 "$build/build.log" >&2
	echo "building failed; all of it: $build/build.log" >&2
	exit 1
fi
