#!/usr/bin/env bash
# What is said: counts that add up, nothing twice, no units that are none, no "1 iterations".
set -euo pipefail
cyclotomo=$(realpath "$1")
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
fail() { echo "FAIL: $*" >&2; [ ! -e log ] || tail -n 8 log >&2; exit 1; }

# A default has its unit, where there is one.
for command in $("$cyclotomo" --help | sed -n 's/^  \([a-z][a-z0-9-]*\) .*/\1/p'); do
	"$cyclotomo" "$command" --help | tr -s '\n ' ' ' >help
	if grep -E 'default: [-0-9.e+]+ (factor|fraction|ratio|strength|row|number|n)\]' help; then fail "$command: a unit that is none"; fi
done
"$cyclotomo" ctfrefine --help | tr -s '\n ' ' ' | grep -q 'default: 30 Å\]' || fail "defaults have lost their units"

"$cyclotomo" simulate -q --preset tiny --sym O --series 2 --tilts 11 --particles 6 --signal 6 --o s >/dev/null
in=(--root s --i optimisation_set.star --b 32 --sym O)
cycle=("$cyclotomo" cycle "${in[@]}" --mask-align mask_align.mrc --mask-fsc mask_fsc.mrc)

# Words that users did not understand without the documents stay out of the messages; "weak" is read from files of earlier versions.
source=$(cd "$here/../.." && pwd)
if grep -nE '"[^"]*\b(weak|weakly|moved|gained|known to)\b' "$source"/src/*/*.c | grep -vE 'strcmp\(.*"(weak|moved)"\)'; then fail "words that are not understood"; fi
grep -q 'strcmp(.*"weak")' "$source"/src/summary/page_series.c || fail "the search for words finds nothing"

# A cycle counts its warnings in one way: different texts.
"${cycle[@]}" --o Cycle/ --j 1 >out 2>log || fail "the cycle"
sed -n 's/.*warning: //p' log | sort -u | wc -l >different
said=$(sed -n 's/.*\] \([0-9]*\) warnings\? above$/\1/p' log)
[ "$said" = "$(cat different)" ] && [ "$said" -gt 0 ] || fail "$said warnings are counted, $(cat different) are different"
grep -q "The steps gave $said warning" out || fail "the verdict counts $(grep -o 'The steps gave [0-9]* warning' out), the log $said"
grep -q "\"warnings\": $said" s/Cycle/run.json || fail "run.json counts other warnings"
# Evidence and outliers of a series are told once where they stay the same.
sed 's/^\[[^]]*\] //' log | grep -E 'hand .* and dose|outlier pixel' | sort | uniq -d >twice
[ ! -s twice ] || fail "told twice: $(head -n 1 twice)"
grep -q 'hand .* and dose' log || fail "no evidence is told"
if grep -E '[^0-9.]1 (iterations|threads|rounds|outlier pixels|warnings|tilts) ?' log; then fail "one of many"; fi

# Tilts of all kinds are counted, here one that is excluded.
table=s/tilt_series/TS_01.star
column=$(sed -n 's/^_rlnCtfScalefactor #\([0-9]*\).*/\1/p' $table)
awk -v c="$column" '!/^[_#]/ && NF >= c && n++ == 3 { $c = 0 } { print }' $table >new && mv new $table
"$cyclotomo" ctfrefine --root s --i optimisation_set.star --ref1 Cycle/Reconstruct/job001/half1.mrc --ref2 Cycle/Reconstruct/job001/half2.mrc --mask mask_align.mrc --b 32 --o Ctf --do-defocus \
	--j 1 >out 2>log || fail "ctfrefine"
line=$(sed -n 's/.*\] \([0-9]* tilts: .*\) (tilt by tilt.*/\1/p' log)
sum=$(sed 's/^[0-9]* tilts: //; s/, /\n/g' <<<"$line" | awk '{ n += $1 } END { print n }')
[ "$sum" = 22 ] && [ "${line%% *}" = 22 ] && grep -q '1 excluded' <<<"$line" || fail "counts do not add up: $line"

# A plan without masks says what that means, as the run would.
"$cyclotomo" cycle "${in[@]}" --o Other/ --dry-run >out 2>log || fail "plan without masks"
grep -q 'warning: no mask is given' log || fail "nothing said of masks that are not there"
"${cycle[@]}" --o Other/ --dry-run >out 2>log || fail "plan"
if grep -q 'no mask is given' log; then fail "masks that are there are missed"; fi

# One iteration, one thread.
"$cyclotomo" refine "${in[@]}" --ref Cycle/Reconstruct/job001/half1.mrc --mask mask_align.mrc --o Ref --iterations 1 --j 1 >out 2>log || fail "refine"
grep -q ', 1 iteration, ' out && grep -q ', 1 thread$' log || fail "one iteration: $(cat out)"
