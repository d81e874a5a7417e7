#!/usr/bin/env bash
# The memory that the plan of a cycle says is what its jobs say when they start, one after another.
set -euo pipefail
cyclotomo=$1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
fail() { echo "FAIL: $*" >&2; [ ! -e log ] || tail -n 20 log >&2; exit 1; }

"$cyclotomo" simulate -q --preset tiny --sym O --series 2 --tilts 5 --tilt-step 12 --particles 6 --signal 6 --o p >/dev/null
cycle=(cycle --root p --i optimisation_set.star --b 48 --crop 32 --sym O --mask-align mask_align.mrc --mask-fsc mask_fsc.mrc --o Run --j 2)
for options in --magnification '--skip-polish --keep-all'; do
	rm -rf p/Run
	# shellcheck disable=SC2086
	"$cyclotomo" "${cycle[@]}" $options --dry-run >out 2>log || fail "plan with '$options'"
	sed -nE 's/^  [A-Z][A-Za-z0-9]*\/job.* ([0-9.]+) MB +[0-9.]+ MB$/\1/p' out >planned
	[ "$(wc -l <planned)" -ge 7 ] || { cat out >&2; fail "a plan without memory"; }
	# shellcheck disable=SC2086
	"$cyclotomo" "${cycle[@]}" $options >out 2>log || fail "cycle with '$options'"
	sed -nE 's/.*memory needed: about ([0-9.]+) GB.*/\1/p' log | awk '{printf "%.1f\n", 1000 * $1}' >said
	diff planned said || fail "with '$options' the plan (<) differs from the jobs (>)"
done
echo "the plan and the jobs say the same"
