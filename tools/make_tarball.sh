#!/usr/bin/env bash
# A tarball with the program that runs wherever glibc is 2.28 or newer (RHEL 8 and its relatives), with FFTW, OpenBLAS, cairo,
# xxHash and a font inside.
#   make_tarball.sh [FOLDER]   (default: build-portable/)   needs root and debootstrap, on Debian 12
# Compiled by this machine's compiler with the headers and libraries of Debian 11 (glibc 2.31), which is put into FOLDER/userland: what the
# program asks of glibc is then what was there at that time. cmake/old_glibc.c replaces the few functions that are newer than 2.28.
set -euo pipefail
source=$(cd "$(dirname "$0")/.." && pwd)
folder=$(realpath -m "${1:-$source/build-portable}")
root=$folder/userland release=bullseye newest=2.28
packages=(gcc gfortran libc6-dev libfftw3-dev libopenblas-dev liblapacke-dev libcairo2-dev libxxhash-dev fonts-dejavu-core)

if [ ! -e "$folder/userland.ready" ]; then
	command -v debootstrap >/dev/null || { echo "debootstrap is missing: apt-get install debootstrap" >&2; exit 1; }
	mkdir -p "$folder"
	echo "Debian 11 into $root ..." >&2
	[ -e "$root/usr/bin/apt-get" ] || debootstrap --variant=minbase "$release" "$root" >"$folder/debootstrap.log"
	DEBIAN_FRONTEND=noninteractive chroot "$root" bash -c "apt-get update -qq && apt-get install -qq -y --no-install-recommends ${packages[*]}" >"$folder/apt.log"
	# Links to / are to lead into the folder, not to this machine's files: as text, since what they lead to may be such a link, too.
	find "$root/lib" "$root/lib64" "$root/usr" "$root/etc/alternatives" -type l -lname '/*' | sort -u | while read -r link; do
		ln -sfn "$(realpath -ms --relative-to="$(dirname "$link")" "$root$(readlink "$link")")" "$link"
	done
	touch "$folder/userland.ready"
fi

cmake -S "$source" -B "$folder/build" -G Ninja -DCMAKE_TOOLCHAIN_FILE="$source/cmake/old_userland.cmake" -DCYC_SYSROOT="$root" -DCYC_PORTABLE=ON \
	-DCYC_BUILD_TESTS=OFF -DCMAKE_BUILD_TYPE=Release ${CMAKE_C_COMPILER_LAUNCHER:+-DCMAKE_C_COMPILER_LAUNCHER="$CMAKE_C_COMPILER_LAUNCHER"} >"$folder/cmake.log"
cmake --build "$folder/build" -j "$(nproc)" >"$folder/build.log" || { tail -n 30 "$folder/build.log" >&2; exit 1; }

# What it needs of the system: glibc of no later version, and nothing else.
objdump -T "$folder/build/cyclotomo" | grep -oE 'GLIBC_[0-9.]+' | sort -Vu >"$folder/versions"
last=$(tail -n 1 "$folder/versions" | sed 's/GLIBC_//')
[ "$(printf '%s\n' "$last" "$newest" | sort -V | tail -n 1)" = "$newest" ] || { echo "the program needs glibc $last" >&2; exit 1; }
needed=$(objdump -p "$folder/build/cyclotomo" | awk '$1 == "NEEDED" { print $2 }' | grep -vE '^(lib(c|m|dl|rt|pthread)\.so|ld-linux)' || true)
[ -z "$needed" ] || { echo "the program needs" $needed >&2; exit 1; }

(cd "$folder/build" && cpack -G TGZ >"$folder/cpack.log")
tarball=$(ls "$folder"/build/cyclotomo-*.tar.gz)
mv "$tarball" "$folder/"
echo "$folder/$(basename "$tarball"): needs glibc $last or newer"
