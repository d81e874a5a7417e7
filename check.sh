#!/usr/bin/env bash
# Build and run the tests. Arguments go to ctest (check.sh -R star -V).
set -euo pipefail
source=$(cd "$(dirname "$0")" && pwd)
"$source/tools/build.sh" "$source/build"
exec ctest --test-dir "$source/build" --output-on-failure -j "$(nproc)" "$@"
