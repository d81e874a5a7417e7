# Tables that say something which is not read, or cannot be meant: one fault at a time, and what the check says of it.
set -euo pipefail
bin=$1
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
export OMP_NUM_THREADS=1
fail() { echo "FAIL: $*"; cat out.txt; exit 1; }
"$bin" simulate -q --preset tiny --sym O --series 3 --tilts 5 --tilt-step 20 --particles 4 --signal 6 --float32 --o base > /dev/null
"$bin" reconstruct -q --root base --i optimisation_set.star --b 32 --sym O --taper 3 --o R > /dev/null
fresh() { rm -rf p; cp -r base p; }
check() { code=0; "$bin" check -q --root p --i optimisation_set.star "$@" > out.txt 2>&1 || code=$?; }
# says CODE TEXT [OPTION...]: of the project as it is.
says() {
	local want=$1 text=$2
	shift 2
	check "$@"
	[ "$code" = "$want" ] || fail "exit $code, wanted $want for '$text'"
	grep -q -- "$text" out.txt || fail "nothing says '$text'"
}
# column FILE LABEL: its number. set_value FILE LABEL ROW VALUE: rows from 1, 0: all.
column() { sed -n "s/^_$2 #\([0-9]*\).*/\1/p" "$1"; }
set_value() {
	local c
	c=$(column "$1" "$2")
	[ -n "$c" ] || fail "$1 has no column $2"
	awk -v c="$c" -v label="_$2" -v r="$3" -v v="$4" '
		/^data_/ { here = n = 0 }
		$1 == label { here = 1 }
		here && !/^[_#]/ && NF >= c { n++; if (r == 0 || n == r) $c = v }
		{ print }' "$1" > edit.txt
	mv edit.txt "$1"
}
# add_column FILE LABEL VALUE: to the last table.
add_column() {
	awk -v label="_$2" -v v="$3" '
		NR == FNR { if (/^data_/) last = FNR; next }
		FNR > last && /^_/ { n = substr($2, 2) + 1; head = 1 }
		FNR > last && head && !/^_/ && NF > 1 { if (!done) print label, "#" n; done = 1; $0 = $0 " " v }
		{ print }' "$1" "$1" > edit.txt
	mv edit.txt "$1"
}
fresh
check
[ $code = 0 ] && grep -q 'nothing wrong was found' out.txt || fail 'the project as it was made'

# Blocks with rows that nobody reads.
sed -n '/^data_particles/,$p' base/particles.star | sed 's/^data_particles/data_particles_2/; s,/\([0-9]\) ,/9\1 ,' >> p/particles.star
says 0 "block 'particles_2' of 12 rows is not read"
fresh
sed -n '/^data_global/,$p' base/tomograms.star | sed 's/^data_global/data_global_b/' >> p/tomograms.star
says 0 "block 'global_b' of 3 rows is not read"
fresh
sed -n '/^data_TS_01/,$p' base/tilt_series/TS_01.star | sed 's/^data_TS_01/data_TS_01b/' >> p/tilt_series/TS_01.star
says 0 "block 'TS_01b' of 5 rows is not read"
# One file for all series is no fault, nor is a block of another kind.
fresh
cat base/tilt_series/TS_0?.star > p/all.star
set_value p/tomograms.star rlnTomoTiltSeriesStarFile 0 all.star
printf '\ndata_remarks\n\n_remark nothing\n' >> p/particles.star
check
[ $code = 0 ] && grep -q 'nothing wrong was found' out.txt || fail 'one file for all tilt series'
fresh
printf 'data_x\n\n_rlnTomoParticlesFile other.star\n' >> p/optimisation_set.star
says 3 "block 'x' names files as well"

# Flags that are neither 0 nor 1.
fresh
sed -i 's/\(_rlnTomoSubTomosAre2DStacks *\)1/\12/' p/particles.star
says 3 '_rlnTomoSubTomosAre2DStacks must be 0 or 1, found 2'
fresh
add_column p/particles.star rlnTomoVisibleFrames '[1,1,1,1,1]'
check
[ $code = 0 ] || fail 'visible in all tilts'
set_value p/particles.star rlnTomoVisibleFrames 2 '[1,2,1,1,1]'
says 3 'row 2).*_rlnTomoVisibleFrames must be flags of 0 or 1, found 2'

# Names that stand for none.
for none in nan -inf '<NA>' None NULL; do
	for label in rlnTomoName rlnTomoParticleName; do
		fresh
		set_value p/particles.star $label 2 "$none"
		says 3 "row 2).*_$label is '$none', which is no name"
	done
	for label in rlnTomoName rlnOpticsGroupName; do
		fresh
		set_value p/tomograms.star $label 2 "$none"
		says 3 "row 2).*_$label is '$none', which is no name"
	done
done

# Names of blocks in the results: the job would fail when all is computed.
fresh
set_value p/particles.star rlnTomoParticleName 2 general
says 3 "row 2).*_rlnTomoParticleName cannot be 'general'"
fresh
set_value p/tomograms.star rlnTomoName 2 particles
says 3 "row 2).*_rlnTomoName cannot be 'particles'"

# Numbers that are none in a column that is handed on.
for v in nan -inf 1e999; do
	fresh
	set_value p/tomograms.star rlnMicrographOriginalPixelSize 2 $v
	says 3 '_rlnMicrographOriginalPixelSize is nan Å.*tomograms.star, row 2'
done
fresh
set_value p/tomograms.star rlnMicrographOriginalPixelSize 0 0
says 0 '_rlnMicrographOriginalPixelSize is 0 Å'

# Units and axes.
fresh
add_column p/tilt_series/TS_02.star rlnPhaseShift 1.57
says 0 'tilt series TS_02: no phase shift is above 1.57 degrees.*radians'
fresh
add_column p/tilt_series/TS_02.star rlnPhaseShift 90
check
grep -q 'phase shift' out.txt && fail 'phase shifts of a phase plate'
fresh
set_value p/tilt_series/TS_01.star rlnTomoXTilt 0 89
says 0 'TS_01: _rlnTomoXTilt is 89 degrees'
fresh
set_value p/tilt_series/TS_02.star rlnTomoZRot 3 0
says 0 'TS_02: the tilt axis (_rlnTomoZRot) is at 0 degrees, in the other tilts of the series at 8[0-9]'
grep -q 'TS_02.star, row 3, _rlnTomoZRot' out.txt || fail 'the row'
for turned in 1.47 -85.4 265.4; do
	fresh
	set_value p/tilt_series/TS_03.star rlnTomoZRot 0 $turned
	says 0 'TS_03: the tilt axis (_rlnTomoZRot) is at .* degrees, in the other series at 8[0-9]'
done
fresh
for i in 1 2 3; do set_value p/tilt_series/TS_0$i.star rlnTomoZRot $i 444.5; done # 84.5 and a turn
check
grep -q 'tilt axis' out.txt && fail 'a whole turn'

# Matrices of RELION 4 beside angles that say something else.
fresh
add_column p/tilt_series/TS_01.star rlnTomoProjX '[1,0,0,80]'
add_column p/tilt_series/TS_01.star rlnTomoProjY '[0,1,0,72]'
add_column p/tilt_series/TS_01.star rlnTomoProjZ '[0,0,1,0]'
says 0 'TS_01: _rlnTomoProjX/Y/Z and the angles (_rlnTomoYTilt, ...) of the same tilt differ by 8[0-9]'

# A dose twice.
fresh
set_value p/tilt_series/TS_03.star rlnMicrographPreExposure 4 8
says 0 'TS_03: two tilts have the same dose, 8 e'

# Half maps in the wrong order: each half-set would be compared with the map of the other.
fresh
says 0 'half map 1 is .R/half2.mrc. and half map 2 .R/half1.mrc.' --ref1 R/half2.mrc --ref2 R/half1.mrc
check --ref1 R/half1.mrc --ref2 R/half2.mrc
grep -q 'half map 1 is' out.txt && fail 'half maps in their order'
for job in ctfrefine refine; do
	"$bin" $job -q --root p --i optimisation_set.star --ref1 R/half2.mrc --ref2 R/half1.mrc --b 32 --dry-run --o no > out.txt 2>&1 ||
		fail "$job with half maps in the wrong order"
	grep -q "half map 1 is 'R/half2.mrc' and half map 2 'R/half1.mrc'" out.txt || fail "$job says nothing of the order"
done

# FSC files: of one map with itself, and values that are none.
"$bin" postprocess -q --root base --i R/half1.mrc --mask mask_fsc.mrc --no-figures --o PP/postprocess > /dev/null 2>&1
fsc=PP/postprocess.star value=rlnFourierShellCorrelationCorrected
fresh
awk '/^data_fsc/ { here = 1 } /^data_guinier/ { exit } here { print }' p/$fsc > only.star
mv only.star p/$fsc
check --fsc $fsc
[ $code = 0 ] || fail 'an FSC as it was made'
cp p/$fsc only.star
set_value p/$fsc $value 4 7
says 3 "row 4): _$value cannot be above 1, found 7" --fsc $fsc
cp only.star p/$fsc
set_value p/$fsc $value 0 1.000000
says 3 "_$value is 1 in all [0-9]* shells: the half maps were the same map" --fsc $fsc

# Half-sets that would be joined throughout.
for join in 7 1e-300; do
	code=0
	"$bin" refine -q --root base --i optimisation_set.star --ref1 R/half1.mrc --ref2 R/half2.mrc --b 32 --sym O --join $join --o no > out.txt 2>&1 || code=$?
	[ $code = 2 ] && grep -q 'the half-sets would be joined up to .* beyond the highest resolution of pixels of 4' out.txt || fail "--join $join ended with $code"
done

# Helices that are none, or reach out of the box.
while read -r text options; do
	code=0
	"$bin" reconstruct -q --root base --i optimisation_set.star --b 32 $options --o H > out.txt 2>&1 || code=$?
	[ $code = 2 ] && grep -q "${text//_/ }" out.txt || fail "$options ended with $code"
done <<'END'
need_a_rise_or_a_twist --helical-units 3
beyond_the_box_of_128 --helical-units 20 --helical-rise 14
at_most_10000_are_averaged --helical-units 100000 --helical-twist 1
at_most_10000_are_averaged --helical-units 4000 --sym C3 --helical-twist 1
END
"$bin" reconstruct -q --root base --i optimisation_set.star --b 32 --helical-units 3 --helical-rise 14 --helical-twist 20 --o H > out.txt 2>&1 || fail 'a helix'

# Options that leave nothing: no empty map or mask is written.
while read -r want text command; do
	code=0
	"$bin" ${command%% *} -q --root base ${command#* } > out.txt 2>&1 || code=$?
	[ $code = "$want" ] && grep -q -- "${text//_/ }" out.txt || fail "$command ended with $code"
done <<'END'
3 shrunk_by_1000_px_nothing_of_it_is_left mask --i R/merged.mrc --extend -1000 --o E/mask.mrc
3 is_0_everywhere reconstruct --i optimisation_set.star --b 32 --sym O --snr 1e-300 --o E/R
2 leaves_nothing_in_a_box_of_128 postprocess --i R/half1.mrc --mask mask_fsc.mrc --lowpass 1e6 --o E/pp
2 must_be_1_to_1000 postprocess --i R/half1.mrc --mask mask_fsc.mrc --random-draws 100000 --o E/pp
2 has_less_than_4_pixels_of_4 refine --i optimisation_set.star --ref1 R/half1.mrc --ref2 R/half2.mrc --b 32 --particle-diameter 10 --o E/F
2 must_be_0_to_1000 cycle --i optimisation_set.star --b 32 --mask-fsc mask_fsc.mrc --cycles 100000 --o E/C
2 must_be_0.001_to_1000 refine --i optimisation_set.star --ref1 R/half1.mrc --ref2 R/half2.mrc --b 32 --tau2-fudge 1e-300 --o E/F
END
[ -z "$(find base/E -name '*.mrc' 2> /dev/null)" ] || fail 'maps of nothing are there'

# Extracted images.
"$bin" extract -q --root base --i optimisation_set.star --stack2d --b 32 --crop 24 --o X > /dev/null
stacks() { code=0; rm -rf p/no; "$bin" $1 -q --root p --i X/optimisation_set.star --from-stacks --sym O "${@:2}" --o no/run > out.txt 2>&1 || code=$?; }
refine_with=(--ref1 R/half1.mrc --ref2 R/half2.mrc --iterations 1)
# each_job CODE TEXT: reconstruct and refine from them.
each_job() {
	local job
	for job in reconstruct refine; do
		[ $job = refine ] && stacks $job "${refine_with[@]}" || stacks $job
		[ $code = "$1" ] || fail "$job: exit $code, wanted $1 for '$2'"
		grep -q -- "$2" out.txt || fail "$job: nothing says '$2'"
	done
}
image() { awk -v c="$(column p/X/particles.star rlnImageName)" '/^data_particles/ { here = 1 } here && NF >= c && !/^_/ && ++n == '"$1"' { print $c }' p/X/particles.star; }
fresh
set_value p/X/particles.star rlnTomoVisibleFrames 2 '[0,0,0,0,0]'
each_job 0 'particles that are visible in no tilt take no part: 1 (_rlnTomoVisibleFrames is 0 throughout, first in row 2)'
fresh
set_value p/X/particles.star rlnTomoVisibleFrames 0 '[0,0,0,0,0]'
each_job 3 'no particle is visible in any tilt'
fresh
set_value p/X/particles.star rlnImageName 3 "$(image 1)"
each_job 0 'particles that share the images of another one: 1 (rows 1 and 3 both name'
fresh
set_value p/X/particles.star rlnCtfDataAreCtfPremultiplied 0 2
each_job 3 '_rlnCtfDataAreCtfPremultiplied must be 0 or 1, found 2'
fresh
set_value p/X/particles.star rlnImageDimensionality 0 3
each_job 0 '_rlnTomoSubTomosAre2DStacks is 1, but _rlnImageDimensionality is 3'
fresh
f=p/$(image 1)
{ head -c 1024 "$f"; tail -c +1025 "$f" | tr '\0-\377' '\0'; } > zero.mrcs
cp zero.mrcs "$f"
each_job 3 'the image of tilt 1 (of 1 to 5) is zero everywhere'
{ head -c 1024 zero.mrcs; tail -c +1025 zero.mrcs | tr '\0' '\100'; } > "$f"
each_job 3 'the image of tilt 1 (of 1 to 5) is constant everywhere'
# check looks at them where there is nothing else, or all images are looked at.
fresh
rm "p/$(image 2)"
check_stacks() { code=0; "$bin" check -q --root p --i X/optimisation_set.star "$@" > out.txt 2>&1 || code=$?; }
check_stacks
[ $code = 0 ] && grep -q 'nothing wrong was found' out.txt || fail 'extracted images that nobody reads'
check_stacks --deep --ref1 R/half1.mrc --ref2 R/half2.mrc --kmin 60
grep -q "^warning: .*particle 'TS_01/2': cannot open" out.txt || fail 'a missing stack beside tilt images'
for i in 1 2 3; do sed -i 's/^_rlnMicrographName /_rlnMicrographNameUnknown /' p/tilt_series/TS_0$i.star; done
check_stacks
[ $code = 3 ] && grep -q "^error: .*particle 'TS_01/2': cannot open" out.txt || fail 'a missing stack without tilt images'
echo ok
