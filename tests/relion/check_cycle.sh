#!/usr/bin/env bash
# The cycle on the simulated set "small", and its plan for a real project without images.
# usage: check_cycle.sh BINARY SHARED-FOLDER [SMALL]; SMALL is the data set "small" (made here if not given)
. "$(dirname "$0")/common.sh"
echo "== plan for a real project"
code=0
"$bin" cycle --dry-run --root "$shared/data/empiar-10164-tutorial" --p Select/job024/particles.star --t CtfRefine/job027/tomograms.star \
	--b 512 --crop 256 --sym C6 --o RUN >"$dir/plan" 2>"$dir/err" || code=$?
cat "$dir/plan"
[ $code = 3 ] || fail "ended with $code: $(cat "$dir/err")"
for text in '9053 (half 1: 4545, half 2: 4508)' 'Polish/job003/' 'CtfRefine/job006/' 'Refine3D/job009/' 'TS_54 .* 1365 ' 'Images that cannot be found: 203 of 203' 'TS_54.star.*negative'; do
	grep -q "$text" "$dir/plan" || fail "no '$text' in the plan"
done
[ ! -e "$shared/data/empiar-10164-tutorial/RUN" ] || fail "the plan writes"

echo "== cycle on small"
mkdir "$dir/project"
for file in "$small"/*; do ln -s "$file" "$dir/project/"; done
cd "$dir/project"
cycle() {
	TIMEFORMAT="%R s with $*"
	time "$bin" cycle -q --i optimisation_set.star --b 192 --crop 112 --sym O --particle-diameter 140 --mask-align mask_align.mrc \
		--mask-fsc mask_fsc.mrc --o Run "$@" | tee "$dir/out"
}
echo "== one of its tilt series, with a smaller box, by one thread and by two"
awk '$1 !~ /^TS_0[23]$/ { print }' particles.star >one.star
[ "$(grep -c '^TS_' one.star)" = 40 ] || fail "not the particles of one series: $(grep -c '^TS_' one.star)"
awk '$1 !~ /^TS_0[23]$/ { print }' tomograms.star >one_tomogram.star
for j in 1 2; do
	rm -rf Run
	"$bin" cycle -q --p one.star --t one_tomogram.star --b 144 --crop 112 --sym O --particle-diameter 140 --mask-align mask_align.mrc --mask-fsc mask_fsc.mrc \
		--o Run --j $j --no-figures >"$dir/out"
	find Run -name '*.star' -o -name '*.mrc' | sort | xargs sha256sum >"$dir/sums$j"
done
[ "$(wc -l <"$dir/sums1")" -gt 40 ] || fail "there is little to compare"
cmp "$dir/sums1" "$dir/sums2" || fail "results depend on the number of threads"
rm -rf Run
echo "== all of it; with CYCLOTOMO_LONG set, a second cycle"
cycle --j 2
[ -z "${CYCLOTOMO_LONG:-}" ] || cycle --j 2 --cycles 2
"$python" - Run/summary.json <<'P'
import json, sys
s = json.load(open(sys.argv[1]))
before, after = s['before'], s['after']
print('mean FSC %.4f -> %.4f, resolution %.2f -> %.2f A' % (before['mean_fsc'], after['mean_fsc'], before['resolution_A'], after['resolution_A']))
sys.exit(int(not after['mean_fsc'] >= before['mean_fsc'] or not all(x['decision'] in ('start', 'better: accepted', 'no difference: accepted', 'worse: rejected') for x in s['steps'] if 'decision' in x)))
P
bar "mean FSC to truth:" "$(mean_fsc "$(ls -d Run/Reconstruct/*/merged.mrc | tail -n 1)")" '>=' 0.890
end_of_bars
