#!/usr/bin/env bash
# Install what building and testing needs, on Debian 12 or a relative of it. The one place that lists the packages.
#   install-deps.sh [--ci] [--cluster]   --ci adds what only the full check needs (clang, Chromium for the page), --cluster what
#   the cluster of tools/slurm_cluster.sh and MPI need
set -euo pipefail
packages=(build-essential cmake ninja-build pkg-config git libfftw3-dev libopenblas-dev liblapacke-dev libcairo2-dev libxxhash-dev zlib1g-dev libcmocka-dev python3)
for list in "$@"; do
	case $list in
	--ci) packages+=(chromium clang clang-format-14 libclang-rt-dev python3-numpy python3-mrcfile time) ;;
	--cluster) packages+=(slurm-wlm munge openmpi-bin libopenmpi-dev) ;;
	*) echo "unknown list $list" >&2; exit 2 ;;
	esac
done

missing=()
for package in "${packages[@]}"; do
	dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
done
[ ${#missing[@]} -gt 0 ] || exit 0
command -v apt-get >/dev/null || { echo "this is no Debian; install by hand what corresponds to: ${missing[*]}" >&2; exit 1; }
as_root=()
if [ "$(id -u)" != 0 ]; then
	command -v sudo >/dev/null || { echo "run as root: apt-get install ${missing[*]}" >&2; exit 1; }
	as_root=(sudo)
fi
echo "installing: ${missing[*]}" >&2
export DEBIAN_FRONTEND=noninteractive
"${as_root[@]}" apt-get update -qq
"${as_root[@]}" apt-get install -qq -y --no-install-recommends "${missing[@]}" >/dev/null
