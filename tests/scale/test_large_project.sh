#!/usr/bin/env bash
# A project with many tilt series through planning, dealing, gathering and writing, with made-up results in place of the computing: in
# little time and memory.
#   test_large_project.sh BINARY PRETEND_PARTS [SERIES [PARTS [SECONDS [MB]]]]   1000 series of 100 particles are the size meant
set -euo pipefail
cyclotomo=$(realpath "$1") pretend=$(realpath "$2") series=${3:-60} parts=${4:-7} seconds=${5:-60} most_MB=${6:-300}
tools=$(cd "$(dirname "$0")/../../tools" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
fail() { echo "FAIL: $*" >&2; tail -n 20 log >&2; exit 1; }
"$tools/large_project.py" p --series "$series" --box 64
begin=$SECONDS peak=0
# Time and peak memory of a command, in a line of its own.
measured() { # WHAT COMMAND...
	local what=$1 start MB
	shift
	start=$(date +%s.%N)
	"$@" >out 2>log || fail "$what"
	MB=$(sed -n 's/.*peak memory \([0-9]*\) MB.*/\1/p' log | tail -n 1)
	peak=$((${MB:-0} > peak ? ${MB:-0} : peak))
	printf '  %-46s %7.1f s %6s MB\n' "$what" "$(echo "$(date +%s.%N) - $start" | bc 2>/dev/null || awk "BEGIN { print $(date +%s.%N) - $start }")" "${MB:-}"
}
cycle=(--root p --i optimisation_set.star --b 128 --crop 64 --mask-fsc mask.mrc --o Cycle/)
polish=(polish --root p --i optimisation_set.star --ref1 half1.mrc --ref2 half2.mrc --mask mask.mrc --b 64 --motion --no-figures --o Polish/)
measured "plan of the cycle" "$cyclotomo" cycle "${cycle[@]}" --dry-run
measured "jobs for Slurm" "$cyclotomo" slurm "${cycle[@]}" --parts "$parts"
grep -q '02_polish_1 *array' out || fail "no array"
measured "plan of a part" "$cyclotomo" "${polish[@]}" --part "$parts/$parts" --dry-run
measured "what all parts need" "$cyclotomo" "${polish[@]}" --part "0/$parts"
measured "$parts parts, pretended" "$pretend" p p/Polish/ "$parts"
[ "$(find p/Polish/temp -name '*.polish' | wc -l)" = "$series" ] || fail "not one record for each series"
measured "a part that had finished" "$cyclotomo" "${polish[@]}" --part "1/$parts"
grep -q 'had finished earlier; nothing was computed' log || fail "a part computes again"
measured "gathering and writing" "$cyclotomo" "${polish[@]}"
grep -q "$parts of $parts parts have finished" log || fail "not all parts are counted"
grep -q "$series tilt series, $series better" log || fail "not all records are taken: $(tail -n 3 log)"
[ "$(find p/Polish/tilt_series -name '*.star' | wc -l)" = "$series" ] || fail "not all tilt tables are written"
measured "the next job's plan" "$cyclotomo" extract --root p --i Polish/optimisation_set.star --b 64 --crop 16 --float16 --stacks --o Extract/ --dry-run
echo "all: $((SECONDS - begin)) s, at most $peak MB"
[ $((SECONDS - begin)) -le "$seconds" ] || fail "took longer than $seconds s"
[ "$peak" -le "$most_MB" ] || fail "took more than $most_MB MB"
