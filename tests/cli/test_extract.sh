# Extraction as a user runs it: the plan, the files, names without folders, and what other commands make of the result.
set -euo pipefail
bin=$1
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
fail() { echo "FAIL: $*" >&2; exit 1; }

"$bin" simulate -q --preset tiny --sym O --series 2 --tilts 5 --tilt-step 20 --particles 4 --signal 6 --o p > /dev/null
cd p
call=("$bin" extract --i optimisation_set.star --stack2d --float16 --b 32 --crop 24 --o Extract/job001/)

## the plan writes nothing
"${call[@]}" --dry-run > out.txt 2> err.txt
grep -q "8 of 8 particles in 2 tilt series, 40 images" err.txt || fail "the plan: $(cat err.txt)"
grep -q "disk space: 5.43e-05 GB for 8 particles" err.txt || fail "disk space: $(cat err.txt)"
[ ! -e Extract ] || fail "the plan writes"

## RELION's names and the descriptive ones are the same
"${call[@]}" > out.txt 2> err.txt
grep -q "^8 particles, 40 images" out.txt || fail "$(cat out.txt)"
"$bin" extract -q --optimisation-set optimisation_set.star --stacks --float16 --box 32 --crop 24 --output Extract/job002/ > /dev/null
cmp Extract/job001/Subtomograms/TS_02/3_stack2d.mrcs Extract/job002/Subtomograms/TS_02/3_stack2d.mrcs
[ -e Extract/job001/RELION_JOB_EXIT_SUCCESS ] && grep -q relion.pseudosubtomo Extract/job001/job.star || fail "no job folder"
[ "$(stat -c %s Extract/job001/Subtomograms/TS_02/3_stack2d.mrcs)" = $((1024 + 24 * 24 * 5 * 2)) ] || fail "size of a stack"
grep -q "rlnTomoParticlesFile *Extract/job001/particles.star" Extract/job001/optimisation_set.star || fail "optimisation set"
"$bin" star Extract/job001/particles.star --print rlnImageName,rlnTomoVisibleFrames | grep -q "^Extract/job001/Subtomograms/TS_01/2_stack2d.mrcs	\[1,1,1,1,1\]$" || fail "columns"
! grep -q rlnCtfImage Extract/job001/particles.star || fail "rlnCtfImage of stacks"

## a second run with --only_do_unfinished finds all done
"${call[@]}" --only_do_unfinished > out.txt 2> err.txt
grep -q "files of 8 particles exist already" err.txt || fail "nothing is kept: $(cat err.txt)"

## a refinement takes its boxes from what was extracted, and reports it
for h in 1 2; do cp truth/map.mrc x_half$h.mrc; done
refine=("$bin" refine --ref x_half1.mrc --dry-run --o Refine/)
"${refine[@]}" --i Extract/job001/optimisation_set.star > out.txt 2> err.txt || true
grep -q "windows of 48 px are cut from the tilt images, for maps of the same 24 px at binning 1 " err.txt || fail "boxes: $(cat err.txt)"
refused() { # MESSAGE COMMAND...
	local code=0
	"${@:2}" > out.txt 2> err.txt || code=$?
	[ "$code" -ge 2 ] && grep -q -- "$1" err.txt || fail "'$1' is not in: $(cat err.txt)"
}
refused 'a box size is needed (--b): .particles.star. does not give one' "${refine[@]}" --i optimisation_set.star
refused '--crop and --bin need a box' "${refine[@]}" --i Extract/job001/optimisation_set.star --crop 16
awk '/^data_/ { optics = /^data_optics/ } optics && $1 ~ /^_rln/ { at[$1] = ++n }
	optics && n > 0 && NF == n && !/^_/ { print; $at["_rlnOpticsGroup"] = 2; $at["_rlnImageSize"] = 32 } { print }' Extract/job001/particles.star > two.star
refused 'cannot be refined in one run' "${refine[@]}" --i Extract/job001/optimisation_set.star --p two.star

## volumes, from particles that are stacks
"$bin" extract -q --i Extract/job001/optimisation_set.star --b 32 --crop 24 --o Extract/job003/ > /dev/null
[ "$(stat -c %s Extract/job003/Subtomograms/TS_02/3_data.mrc)" = $((1024 + 24 * 24 * 24 * 4)) ] || fail "size of a volume"
[ "$(stat -c %s Extract/job003/Subtomograms/TS_02/3_weights.mrc)" = $((1024 + 13 * 24 * 48 * 4)) ] || fail "size of weights"
grep -q "rlnTomoSubTomosAre2DStacks *0" Extract/job003/particles.star || fail "kind of volumes"
! grep -q rlnTomoVisibleFrames Extract/job003/particles.star || fail "visible frames of volumes"

## names without a slash get a folder per tomogram
sed 's# TS_0\([12]\)/\([0-9]\) # p\1_\2 #' particles.star > flat.star
"$bin" extract -q --p flat.star --t tomograms.star --stack2d --b 32 --crop 24 --o Flat > /dev/null
[ -e Flat/Subtomograms/TS_02/p2_3_stack2d.mrcs ] || fail "no folder per tomogram: $(find Flat -name '*.mrcs')"

## what was extracted is input to the other jobs
"$bin" reconstruct -q --i Extract/job001/optimisation_set.star --from-stacks --sym O --taper 3 --o R1 > out.txt
grep -q "8 particles, 40 images" out.txt || fail "$(cat out.txt)"
"$bin" reconstruct -q --i Extract/job001/optimisation_set.star --b 32 --crop 24 --listed-frames --sym O --taper 3 --o R2 > /dev/null
"$bin" reconstruct -q --i Extract/job003/optimisation_set.star --from-stacks --sym O --taper 3 --o R3 > out.txt
grep -q "8 particles, 8 images" out.txt || fail "$(cat out.txt)"
"$bin" compare R1/merged.mrc R3/merged.mrc > out.txt || true
awk '/correlation/ { found = 1 } END { exit !found }' out.txt || fail "volumes: $(cat out.txt)"

## offsets count when duplicates are looked for
"$bin" separate --i Extract/job001/optimisation_set.star --min-separation 1 --o Select/job004/ > out.txt 2> err.txt
grep -q "^8 of 8 particles kept" out.txt || fail "$(cat out.txt)"
echo ok
