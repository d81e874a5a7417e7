#!/usr/bin/env bash
# Little memory: absurd sizes are refused at once, small limits of addresses end with an error, and in a control group of one
# processor and 2 GB each job stays below that or is refused before it starts.
# usage: test_small_limits.sh BINARY
set -euo pipefail
bin=$(realpath "$1")
tools=$(realpath "$(dirname "$0")/../../tools")
dir=$(mktemp -d)
group=
finish() {
	rm -rf "$dir"
	for g in $group; do rmdir "$g" 2> /dev/null || true; done
}
trap finish EXIT
cd "$dir"
fail() { echo "FAILED: $*"; cat log 2> /dev/null || true; exit 1; }

"$bin" simulate -q --preset tiny --sym O --series 2 --tilts 5 --tilt-step 15 --particles 4 --signal 6 --float32 --o p > /dev/null
"$bin" reconstruct -q --root p --i optimisation_set.star --b 32 --sym O --taper 3 --o R > /dev/null
set_=(--root p --i optimisation_set.star)
ref=(--ref1 R/half1.mrc --ref2 R/half2.mrc --mask mask_align.mrc)

# ---- absurd sizes
absurd() { # WORDS command...
	local words=$1 code=0 start=$EPOCHREALTIME
	shift
	timeout 20 "$bin" "$@" > log 2>&1 || code=$?
	{ [ "$code" -ge 1 ] && [ "$code" -lt 100 ]; } || fail "exit code $code of: $*"
	grep -qE "error: .*($words)" log || fail "no such reason of: $*"
	# One second on an idle machine; tests run beside others and under sanitizers.
	awk -v a="$start" -v b="$EPOCHREALTIME" 'BEGIN { exit !(b - a < 10) }' || fail "it took its time: $*"
}
for b in 100000 30000 400 -4 2147483646; do
	for job in "reconstruct ${set_[*]} --b $b" "ctfrefine ${set_[*]} ${ref[*]} --b $b" "polish ${set_[*]} ${ref[*]} --b $b" "refine ${set_[*]} ${ref[*]} --b $b" \
	           "extract ${set_[*]} --b $b" "refine-tilts ${set_[*]} ${ref[*]} --b $b" "cycle ${set_[*]} --b $b"; do
		# shellcheck disable=SC2086
		absurd 'out of range|larger than|must be|memory|needed|not lie|outside|is seen|missing' $job --o out
		[ ! -e p/out ] || rm -r p/out
	done
done
absurd 'out of range' refine "${set_[@]}" "${ref[@]}" --b 32 --sigma-angle 1e30 --o out
absurd 'order|memory' refine "${set_[@]}" "${ref[@]}" --b 32 --healpix-order 30 --o out
absurd 'poses per particle' refine "${set_[@]}" "${ref[@]}" --b 32 --healpix-order 8 --local-from 9 --no-follow --o out
absurd 'poses per particle' refine "${set_[@]}" "${ref[@]}" --b 32 --healpix-order 8 --sigma-angle 180 --o out
for o in sampling mask-radius edge; do absurd 'out of range' postprocess --root p --i R/half1.mrc --locres --locres-$o 1e9 --o out/pp; done
for o in radius thickness pixel-size size box particles; do absurd 'out of range|whole number' simulate --preset tiny --$o 1e30 --o q; done

# Threads that no processor has take no memory.
"$bin" refine -q "${set_[@]}" "${ref[@]}" --b 32 --iterations 1 --j 2 --o few > /dev/null 2>&1
"$bin" refine -q "${set_[@]}" "${ref[@]}" --b 32 --iterations 1 --j 10000 --o many > /dev/null 2>&1
cmp -s <(tail -n +8 p/few/run_data.star) <(tail -n +8 p/many/run_data.star) || fail "10000 threads give another result"
peak() { sed -n 's/.*"peak_memory_bytes": *\([0-9]*\).*/\1/p' "$1/run.json"; }
[ "$(peak p/many)" -lt $((3 * $(peak p/few))) ] || fail "10000 threads take $(peak p/many) bytes, two take $(peak p/few)"

# Every job says what it needs, and so does its dry run.
says() {
	"$bin" "$@" > log 2>&1 || fail "exit code $? of: $*"
	grep -q 'memory needed: about' log || fail "nothing said of memory: $*"
}
for dry in "" --dry-run; do
	for job in "reconstruct ${set_[*]} --b 32 --sym O --o said/1" "postprocess --root p --i R/half1.mrc --o said/pp" "mask --root p --i R/merged.mrc --o said/mask.mrc" \
	           "ctfrefine ${set_[*]} ${ref[*]} --b 32 --kmin 60 --o said/2" "polish ${set_[*]} ${ref[*]} --b 32 --range 3 --o said/3" \
	           "refine-tilts ${set_[*]} ${ref[*]} --b 32 --range 3 --o said/4" "extract ${set_[*]} --b 32 --o said/5" \
	           "refine ${set_[*]} ${ref[*]} --b 32 --iterations 1 --no-search --o said/6"; do
		# shellcheck disable=SC2086
		says $job $dry
	done
done
says check "${set_[@]}" "${ref[@]}" --deep
says separate "${set_[@]}" --min-separation 10 --o said/7
says simulate --preset tiny --series 1 --tilts 3 --particles 2 --o said

# ---- limits of addresses
if (ulimit -v 1000000; "$bin" version) > log 2>&1; then
	# Images that do not fit are read again.
	(ulimit -v 1000000; "$bin" refine-tilts "${set_[@]}" "${ref[@]}" --b 32 --range 3 --j 1 --cache 1000000 --o said/8) > log 2>&1 \
		|| grep -q 'failed to map\|cannot allocate\|memory' log || fail "a large cache"
	"$tools/small_limits.sh" "$bin" "$dir/limits" 100 300 > log 2>&1 || fail "small limits"
else
	echo "skipped: this program does not start with 1 GB of addresses (sanitizers)"
fi

# ---- control group of one processor and 2 GB
limit=2000000000
make_group() {
	if [ -w /sys/fs/cgroup/memory ] && [ -e /sys/fs/cgroup/memory/memory.limit_in_bytes ]; then
		for kind in memory cpu; do
			mkdir "/sys/fs/cgroup/$kind/cyclotomo_test_$$" 2> /dev/null || return 1
			group="$group /sys/fs/cgroup/$kind/cyclotomo_test_$$"
		done
		echo $limit > "/sys/fs/cgroup/memory/cyclotomo_test_$$/memory.limit_in_bytes" || return 1
		echo 100000 > "/sys/fs/cgroup/cpu/cyclotomo_test_$$/cpu.cfs_period_us" && echo 100000 > "/sys/fs/cgroup/cpu/cyclotomo_test_$$/cpu.cfs_quota_us"
	elif [ -w /sys/fs/cgroup ] && grep -qw memory /sys/fs/cgroup/cgroup.subtree_control 2> /dev/null; then
		mkdir "/sys/fs/cgroup/cyclotomo_test_$$" 2> /dev/null || return 1
		group=/sys/fs/cgroup/cyclotomo_test_$$
		echo $limit > "$group/memory.max" && echo "100000 100000" > "$group/cpu.max"
	else
		return 1
	fi
}
if ! make_group 2> /dev/null; then
	echo "skipped: no control group can be made here"
	exit 0
fi
in_group() { ( for g in $group; do echo "$BASHPID" > "$g/cgroup.procs"; done; exec "$bin" "$@" ); }
# Images large enough that boxes of 512 px fit: some jobs with them need more than 2 GB.
"$bin" simulate -q --preset tiny --sym O --series 1 --tilts 3 --tilt-step 20 --particles 12 --signal 8 --size 640 --size-y 640 --edge-px 100 --o big > /dev/null
"$bin" reconstruct -q --root big --i optimisation_set.star --b 128 --crop 64 --sym O --o R > /dev/null
for f in mask_align mask_fsc; do "$bin" mask -q --root big --i R/merged.mrc --o $f.mrc > /dev/null; done
bset=(--root big --i optimisation_set.star)
for b in 128 512; do
	for job in "reconstruct ${bset[*]} --b $b --crop 64 --sym O" "ctfrefine ${bset[*]} ${ref[*]} --b $b --kmin 60" "polish ${bset[*]} ${ref[*]} --b $b --range 3 --motion" \
	           "refine ${bset[*]} ${ref[*]} --b $b --crop 64 --iterations 1" "extract ${bset[*]} --b $b" "cycle ${bset[*]} --b $b --crop 64 --cycles 1 --kmin 60"; do
		code=0
		# shellcheck disable=SC2086
		in_group $job --o "out$b" > log 2>&1 || code=$?
		[ "$code" -lt 126 ] || fail "ended by a signal in a group of 2 GB, exit code $code: $job"
		if [ "$code" != 0 ] && grep -q 'error: .*memory' log; then grep -q 'hint: .*--' log || fail "no option that would help: $job"; fi
		rm -rf big/out$b
	done
done
# One processor: one thread.
in_group reconstruct "${bset[@]}" --b 128 --o threads --dry-run > log 2>&1 || fail "dry run in a group"
grep -q ' 1 thread' log || fail "not one thread in a group of one processor"
# Memory is looked at before the disk, and before anything is written.
in_group reconstruct "${bset[@]}" --b 640 --sym O --o refused > log 2>&1 && fail "a box of 640 px fits into 2 GB?"
grep -q 'error: about .* GB of memory are needed' log || fail "no figure"
