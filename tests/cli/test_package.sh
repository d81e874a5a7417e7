#!/usr/bin/env bash
# What is installed and packaged: one version everywhere, a .deb with the right contents that runs from where it is unpacked.
set -euo pipefail
cyclotomo=$(realpath "$1") source=$(cd "$(dirname "$0")/../.." && pwd)
build=$(dirname "$cyclotomo")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
fail() { echo "FAIL: $*" >&2; exit 1; }

# CMakeLists.txt has the version; the program, and what names it, agree.
version=$(sed -n 's/^project(cyclotomo VERSION \([0-9.]*\).*/\1/p' "$source/CMakeLists.txt")
[ "$("$cyclotomo" --version)" = "cyclotomo $version" ] || fail "version of the program"
grep -qx "version: $version" "$source/CITATION.cff" || fail "CITATION.cff has another version than $version"
[ "$(sed -n 's/^## \([0-9.]*\).*/\1/p' "$source/CHANGELOG.md" | head -n 1)" = "$version" ] || fail "the first section of CHANGELOG.md is not of $version"
grep -rnoE 'cyclotomo[-_/ "]+[0-9]+\.[0-9]+\.[0-9]+' "$source"/{README.md,docs,tools} --include='*.md' --include='*.def' | grep -v "[-_/ \"]$version\$" >others || true
[ ! -s others ] || fail "another version than $version: $(cat others)"

if ! command -v cpack >/dev/null || ! command -v dpkg-deb >/dev/null || [ ! -e "$build/CPackConfig.cmake" ]; then
	echo "skipped: no cpack or dpkg-deb"
	exit 0
fi
cpack --config "$build/CPackConfig.cmake" -G DEB -B "$work" >log 2>&1 || { tail log >&2; fail "cpack"; }
deb=cyclotomo_${version}_$(dpkg --print-architecture).deb
[ -e "$deb" ] || fail "no $deb"
[ "$(dpkg-deb -f "$deb" Version)" = "$version" ] || fail "version of the package"
for needed in libc6 libcairo2 libfftw3-single3 libxxhash0 openblas; do
	dpkg-deb -f "$deb" Depends | grep -q "$needed" || fail "the package does not depend on $needed"
done
# MPI is a package of its own, and nothing that the program needs.
! dpkg-deb -f "$deb" Depends | grep -qi mpi || fail "the package depends on MPI: $(dpkg-deb -f "$deb" Depends)"
! dpkg-deb -c "$deb" | grep -q 'cyclotomo_mpi' || fail "the plug-in for MPI is in the program's package"
plugin=$(find "$build" -maxdepth 1 -name '*cyclotomo_mpi.so')
if [ -n "$plugin" ]; then
	mpi=cyclotomo-mpi_${version}_$(dpkg --print-architecture).deb
	[ -e "$mpi" ] && dpkg-deb -c "$mpi" | grep -q "usr/lib/cyclotomo/${plugin##*/}$" || fail "the package of the plug-in for MPI: $(ls)"
	dpkg-deb -f "$mpi" Depends | grep -q "cyclotomo (= $version)" || fail "the plug-in goes with any version"
fi
dpkg-deb -x "$deb" root
for file in bin/cyclotomo lib/libcyclotomo.a lib/pkgconfig/cyclotomo.pc include/cyclotomo/{cycle,version}.h share/man/man1/cyclotomo.1 share/doc/cyclotomo/{copyright,README.md,docs/install.md} \
	share/bash-completion/completions/cyclotomo share/zsh/vendor-completions/_cyclotomo share/cyclotomo/modulefiles/cyclotomo/"$version"; do
	[ -s "root/usr/$file" ] || fail "the package has no $file"
done
for command in $("$cyclotomo" --help | sed -n 's/^  \([a-z][a-z0-9-]*\) .*/\1/p'); do
	[ -s "root/usr/share/man/man1/cyclotomo-$command.1" ] || fail "the package has no man page of $command"
done
find root -name '*.in' -o -name '*.o' -o -path '*/build*' | grep . && fail "files that belong to building"
[ "$(root/usr/bin/cyclotomo --version)" = "cyclotomo $version" ] || fail "the packaged program"
cmp root/usr/share/bash-completion/completions/cyclotomo <("$cyclotomo" completion --shell bash) || fail "completion of another state"
[ "$(sed -n 's/^Version: //p' root/usr/lib/pkgconfig/cyclotomo.pc)" = "$version" ] || fail "version for pkg-config"
# Below its prefix, wherever that is.
if command -v pkg-config >/dev/null; then
	flags=$(PKG_CONFIG_PATH=$work/root/usr/lib/pkgconfig pkg-config --cflags cyclotomo)
	folder=$(tr ' ' '\n' <<<"$flags" | sed -n 's/^-I\(.*cyclotomo.*\|.*root.*\)/\1/p' | head -n 1)
	[ -e "$folder/cyclotomo/cycle.h" ] || fail "pkg-config: $flags"
fi
