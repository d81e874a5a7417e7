#!/usr/bin/env bash
# Tries the packages where nothing is installed: a fresh Debian 12 for the .deb, a fresh Debian 11 (glibc 2.31) for the tarball.
#   try_packages.sh DEB TARBALL [FOLDER]   (default: a temporary folder)   needs root and debootstrap
set -euo pipefail
deb=$(realpath "$1") tarball=$(realpath "$2")
work=${3:-$(mktemp -d)}
mkdir -p "$work"
work=$(realpath "$work")
fail() { echo "FAIL: $*" >&2; exit 1; }

fresh() { # RELEASE: its root
	[ -e "$work/$1.ready" ] || { debootstrap --variant=minbase "$1" "$work/$1" >"$work/$1.log" && touch "$work/$1.ready"; } || fail "debootstrap: $work/$1.log"
	mountpoint -q "$work/$1/proc" || mount --bind /proc "$work/$1/proc"
}
trap 'umount "$work"/*/proc 2>/dev/null || true' EXIT

cat >"$work/cycle.sh" <<'S'
set -euo pipefail
cd "$(mktemp -d)"
cyclotomo version --verbose
cyclotomo simulate -q --preset tiny --sym O --series 2 --tilts 11 --particles 6 --signal 6 --o small
cyclotomo cycle -q --root small --i optimisation_set.star --b 32 --sym O --mask-align mask_align.mrc --mask-fsc mask_fsc.mrc --o Cycle/ >log 2>&1 || { tail log; exit 1; }
if grep -i font log; then echo "figures have no font"; exit 1; fi
test -s small/Cycle/summary.html
S
cat >"$work/library.c" <<'S'
#include <cyclotomo/cycle.h>
#include <cyclotomo/version.h>
#include <stdio.h>
int main(void)
{
	cyc_cycle_options o;
	cyc_cycle_result r;
	cyc_cycle_options_default(&o);
	printf("library %s: %s\n", CYCLOTOMO_VERSION, cyc_status_text(cyc_cycle_run(&r, &o, NULL)));
	return 0;
}
S

fresh bookworm
cp "$deb" "$work/cycle.sh" "$work/library.c" "$work/bookworm/root/"
chroot "$work/bookworm" bash -euc "
	export DEBIAN_FRONTEND=noninteractive
	apt-get update -qq
	apt-get install -y /root/$(basename "$deb") >/root/apt.log 2>&1 || { tail /root/apt.log; exit 1; }
	bash /root/cycle.sh
	apt-get install -y -qq man-db bash-completion zsh gcc pkg-config libc6-dev libfftw3-dev libopenblas-dev liblapacke-dev libcairo2-dev libxxhash-dev >/dev/null 2>&1
	man cyclotomo | grep -q 'SYNOPSIS'
	man cyclotomo-cycle | grep -q -- '--mask-align'
	bash -c 'source /usr/share/bash-completion/bash_completion; _completion_loader cyclotomo || true; complete -p cyclotomo' | grep -q _cyclotomo
	zsh -fc 'autoload -Uz compinit; compinit -u -d /tmp/dump; [[ \$_comps[cyclotomo] == _cyclotomo ]]'
	gcc -std=c17 /root/library.c \$(pkg-config --cflags --libs cyclotomo) -o /root/library
	/root/library
	apt-get remove -y -qq cyclotomo >/dev/null
	[ ! -e /usr/share/cyclotomo ]
	[ ! -e /usr/bin/cyclotomo ]
" || fail "the package on Debian 12"
echo "ok: $(basename "$deb") on a fresh Debian 12"

fresh bullseye
rm -rf "$work/bullseye/opt/cyclotomo"
mkdir "$work/bullseye/opt/cyclotomo"
tar xf "$tarball" --strip-components 1 -C "$work/bullseye/opt/cyclotomo"
cp "$work/cycle.sh" "$work/bullseye/root/"
chroot "$work/bullseye" env PATH=/opt/cyclotomo/bin:/usr/bin:/bin bash /root/cycle.sh || fail "the tarball on Debian 11"
echo "ok: $(basename "$tarball") on a fresh Debian 11, without libraries or fonts"
