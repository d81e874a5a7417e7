#!/usr/bin/env bash
# What gpu_check.sh --built needs, for a machine with a GPU on which nothing can be installed: gpu_bundle.sh FILE.tar.xz [BUILD]
# Program, plug-in and test of a build folder (default: build) that has the plug-in, and the libraries that they need but for glibc's and
# CUDA's, which the other machine has: its glibc must be no older than this one's, its CUDA of the same major version.
# There: tar -xJf FILE.tar.xz; tools/gpu_check.sh --built gpu-bundle
set -euo pipefail
file=$(realpath -m "$1")
build=$(cd "${2:-$(dirname "$0")/../build}" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
to=$work/gpu-bundle
mkdir -p "$to/tests" "$to/lib"
cp "$build/cyclotomo" "$build/libcyclotomo_cuda.so" "$to"
cp "$build/tests/test_backends" "$to/tests"
strip "$to/cyclotomo" "$to/tests/test_backends"
ldd "$to/cyclotomo" "$to/tests/test_backends" | awk '$2 == "=>" { print $3 }' | sort -u |
	grep -vE '/(libc|libm|libdl|libpthread|librt|libresolv)\.so' | while read -r library; do cp -L "$library" "$to/lib"; done
"$to/cyclotomo" --version >/dev/null
tar -C "$work" -cJf "$file" gpu-bundle
du -h "$file"
