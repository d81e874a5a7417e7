#!/usr/bin/env bash
# import as a user runs it: an alignment of AreTomo and one of Warp's exports become projects that check and
# reconstruct take; outputs, exit codes, messages. Geometry is compared in tests/property/test_import.c.
set -Eeuo pipefail
bin=$1
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
trap 'echo "failed at line $LINENO"; cat "$dir"/err.txt' ERR
cd "$dir"
# refused CODE TEXT ARGS...: ends with CODE and says TEXT.
refused() {
	local want=$1 text=$2 code=0
	shift 2
	"$bin" import -q --root p "$@" > out.txt 2> err.txt || code=$?
	[ "$code" = "$want" ] || { echo "exit $code, wanted $want: $*"; cat err.txt; exit 1; }
	grep -q -- "$text" err.txt || { echo "no '$text': $*"; cat err.txt; exit 1; }
}
"$bin" simulate -q --preset tiny --sym O --series 2 --tilts 5 --tilt-step 20 --particles 4 --signal 6 --float32 --stack --error-angle 0 --o p > out.txt
# Contrast scales of 1 and no tilt about x: they are not in the files below.
for t in p/tilt_series/*.star; do
	awk '/^_rlnCtfScalefactor/ { c = substr($2, 2) } /^_rlnTomoXTilt/ { x = substr($2, 2) } /@/ { $c = 1; $x = 0 } { print }' "$t" > t.star
	mv t.star "$t"
done
# value LABEL TABLE: a column of a table.
value() { awk -v l="_$1" '$1 == l { c = substr($2, 2) } NF > 3 && c { print $c }' "$2"; }
size=$(for a in X Y Z; do value "rlnTomoSize$a" p/tomograms.star | head -1; done | paste -sd,)
px=$(value rlnTomoTiltSeriesPixelSize p/tomograms.star | head -1)
read -r nx ny nz < <(head -c 12 p/stacks/TS_01.mrcs | od -An -t d4)
mkdir p/are
for s in TS_01 TS_02; do
	t=p/tilt_series/$s.star
	{
		echo "# AreTomo Alignment / Priims bprmMn"
		echo "# RawSize = $nx $ny $nz"
		paste <(value rlnTomoZRot $t) <(value rlnTomoXShiftAngst $t) <(value rlnTomoYShiftAngst $t) <(value rlnTomoYTilt $t) |
			awk -v px="$px" '{ printf "%5d %.6f 1.00000 %.6f %.6f 1.00 1.00 1.00 0.00 %.6f\n", NR - 1, $1, $2 / px, $3 / px, $4 }'
	} > p/are/$s.aln
	paste <(value rlnDefocusU $t) <(value rlnDefocusV $t) <(value rlnDefocusAngle $t) | awk '{ print NR, $0, 0, 0.1, 8 }' > p/are/$s.txt
	value rlnMicrographPreExposure $t > p/are/$s.dose
done
are=(--aln 'are/*.aln' --images 'stacks/*.mrcs' --ctf 'are/*.txt' --exposures 'are/*.dose' --pixel-size "$px" --voltage 300 --cs 2.7
	--amplitude-contrast 0.1 --hand "$(value rlnTomoHand p/tomograms.star | head -1 | cut -d. -f1)" --tomogram-axes relion --flat-scales
	--tomogram-size "$size" --particles particles.star)
"$bin" import -q --root p "${are[@]}" --dry-run > out.txt
grep -q 'tilt series  2 with 10 tilts' out.txt
[ ! -e p/Import ]
"$bin" import -q --root p "${are[@]}" --o Import/job001/ > out.txt
grep -q 'particles    8, half-sets of' out.txt
[ -e p/Import/job001/RELION_JOB_EXIT_SUCCESS ]
[ -e p/Import/job001/run.json ]
"$bin" check -q --root p --i Import/job001/optimisation_set.star > out.txt
grep -q 'nothing wrong was found' out.txt || { cat out.txt; exit 1; }
"$bin" reconstruct -q --root p --i optimisation_set.star --b 40 --crop 32 --sym O --o R > out.txt
"$bin" reconstruct -q --root p --i Import/job001/optimisation_set.star --b 40 --crop 32 --sym O --o RI > out.txt
"$bin" compare --root p --min-fsc 0.9999 R/merged.mrc RI/merged.mrc > out.txt 2> err.txt
# Again into the same folder, of fewer series: nothing of the first run is left.
rm p/are/TS_02.aln
grep -v TS_02 p/particles.star > p/few.star
"$bin" import -q --root p "${are[@]}" --particles few.star --o Import/job001/ > out.txt 2> err.txt && { echo "an option twice was taken"; exit 1; }
are=("${are[@]/particles.star/few.star}")
"$bin" import -q --root p "${are[@]}" --o Import/job001/ > out.txt
[ ! -e p/Import/job001/tilt_series/TS_02.star ]
[ -e p/Import/job001/tilt_series/TS_01.star ]

# Outputs never go over inputs, nor into the project itself.
mkdir -p p/x && cp p/few.star p/x/particles.star
before=$(md5sum p/x/particles.star)
refused 2 'same file' "${are[@]/few.star/x/particles.star}" --o x
refused 2 'the project itself' "${are[@]}" --o .
[ "$before" = "$(md5sum p/x/particles.star)" ]
refused 2 'an output folder' "${are[@]}"

# What is missing or does not fit together.
refused 1 'no file matches --aln' "${are[@]/are\/\*.aln/none/*.aln}" --o n
grep -q 'hint: .*quotes' err.txt
refused 1 'does not exist' "${are[@]/stacks\/\*.mrcs/stack/*.mrcs}" --o n
refused 2 '--dose-per-tilt cannot be used' "${are[@]}" --dose-per-tilt 3 --o n
sed -i 's/^    3/    9/' p/are/TS_01.aln
refused 3 'RawSize' "${are[@]}" --o n
sed -i 's/^    9/    2/' p/are/TS_01.aln
refused 3 "line 6: section 2 occurs twice" "${are[@]}" --o n
sed -i '6s/^    2/    3/; 5s/[-0-9.]*$/tilt/' p/are/TS_01.aln
refused 3 "line 5: expected the tilt angle (TILT) in column 10, found 'tilt'" "${are[@]}" --o n
sed -i '5s/tilt$/0/' p/are/TS_01.aln
echo 7 >> p/are/TS_01.dose
refused 3 'has 6 doses' "${are[@]}" --o n
sed -i '$d' p/are/TS_01.dose
printf '1 2 3\n4 5 x\n' > p/picks.txt
refused 3 "line 2: expected z in column 3, found 'x'" "${are[@]/few.star/picks.txt}" --binning 1 --o n
printf 'TS_09 1 2 3\n' > p/picks.txt
refused 3 "there is no tomogram 'TS_09'" "${are[@]/few.star/picks.txt}" --binning 1 --o n
refused 2 '--binning' "${are[@]/few.star/picks.txt}" --o n
refused 3 "Dynamo" "${are[@]/few.star/picks.tbl}" --binning 1 --o n
[ ! -e p/n/optimisation_set.star ]
refused 2 'one alignment is needed' --particles few.star --o n
refused 3 'needs no import' --tomograms tomograms.star --particles few.star --images 'stacks/*.mrcs' --o n

# Warp: matrices without shifts, a dummy stack, and stacks of particles that are the only images.
"$bin" extract -q --root p --i optimisation_set.star --stacks --b 48 --crop 32 --bin 1 --o E > out.txt
{
	awk '/^data_global/ { on = 1 } /^data_TS/ { exit } on' p/tomograms.star | awk '
		/^_rlnTomoTiltSeriesStarFile/ { skip = substr($2, 2); $0 = "_rlnTomoTiltSeriesName #" skip }
		NF > 3 && skip { $skip = "dummy_tiltseries.mrc" } { print }'
	for s in TS_01 TS_02; do
		t=p/tilt_series/$s.star
		printf '\n\ndata_%s\n\nloop_\n_rlnTomoProjX\n_rlnTomoProjY\n_rlnTomoProjZ\n_rlnTomoProjW\n_rlnDefocusU\n_rlnDefocusV\n_rlnDefocusAngle\n_rlnMicrographPreExposure\n' $s
		paste <(value rlnTomoZRot $t) <(value rlnTomoYTilt $t) <(value rlnDefocusU $t) <(value rlnDefocusV $t) <(value rlnDefocusAngle $t) <(value rlnMicrographPreExposure $t) |
			awk '{ r = atan2(0, -1) / 180; c = cos($1 * r); s = sin($1 * r); C = cos($2 * r); S = sin($2 * r)
				printf "[%.9f,%.9f,%.9f,0] [%.9f,%.9f,%.9f,0] [%.9f,0,%.9f,0] [0,0,0,1] %s %s %s %s\n", c * C, -s, c * S, s * C, c, s * S, -S, C, $3, $4, $5, $6 }'
	done
} > p/warp.star
refused 2 'dummy_tiltseries.mrc' --tomograms warp.star --particles E/particles.star --o n
refused 2 'have no shifts' --tomograms warp.star --particles E/particles.star --images 'stacks/*.mrcs' --o n
"$bin" import -q --root p --tomograms warp.star --particles E/particles.star --stacks-only --o W > out.txt
"$bin" check -q --root p --i W/optimisation_set.star > out.txt
grep -q 'from-stacks' out.txt
"$bin" reconstruct -q --root p --i E/optimisation_set.star --from-stacks --sym O --o RE > out.txt
"$bin" reconstruct -q --root p --i W/optimisation_set.star --from-stacks --sym O --o RW > out.txt
"$bin" compare --root p --min-fsc 0.9999 RE/merged.mrc RW/merged.mrc > out.txt 2> err.txt
echo passed
