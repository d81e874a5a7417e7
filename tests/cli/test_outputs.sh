# Where outputs go: never over inputs, whatever the command; the table of outputs has every file that jobs write.
set -euo pipefail
bin=$1
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"

"$bin" simulate -q --preset tiny --sym O --series 2 --tilts 5 --tilt-step 20 --particles 4 --signal 6 --float32 --motion 3 --o p > out.txt
in=(-q --j 2 --root p --i optimisation_set.star)
"$bin" reconstruct "${in[@]}" --b 32 --sym O --taper 3 --o R > out.txt
ref=(--ref1 R/half1.mrc --ref2 R/half2.mrc --mask mask_align.mrc)
listing() { (cd p && find . -type f -o -type l | sort | xargs -d '\n' md5sum); }
# refused COMMAND...: ends with 2, names input and output, and no file is made or changed.
refused() {
	local code=0
	listing > before.txt
	"$bin" "$@" > out.txt 2> err.txt || code=$?
	[ "$code" = 2 ] || { echo "exit $code, wanted 2: $*"; cat err.txt; exit 1; }
	grep -q 'same file\|the project itself' err.txt || { echo "wrong message: $*"; cat err.txt; exit 1; }
	grep -q 'hint: ' err.txt
	listing | diff before.txt - || { echo "files changed: $*"; exit 1; }
}
for o in . ./ ../p "$dir/p" R/..; do
	refused reconstruct "${in[@]}" --b 32 --o "$o"
	refused ctfrefine "${in[@]}" "${ref[@]}" --kmin 60 --o "$o"
	refused polish "${in[@]}" "${ref[@]}" --range 3 --o "$o"
	refused refine-tilts "${in[@]}" "${ref[@]}" --o "$o"
	refused extract "${in[@]}" --stacks --b 32 --o "$o"
	refused refine "${in[@]}" "${ref[@]}" --b 32 --o "$o"
	refused separate "${in[@]}" --min-separation 10 --o "$o"
	refused cycle "${in[@]}" --b 32 --o "$o"
	refused check "${in[@]}" --fix "$o"
done
refused cycle "${in[@]}" --b 32 --o . --dry-run
refused ctfrefine "${in[@]}" "${ref[@]}" --o . --dry-run
refused postprocess -q --root p --i R/half1.mrc --o R/half1
refused postprocess -q --root p --i R/half1.mrc --o R/half2
refused postprocess -q --root p --i R/half1.mrc --mask mask_fsc.mrc --o mask_fsc
refused mask -q --root p --i R/merged.mrc --o R/merged.mrc
refused mask -q --root p --i R/merged.mrc --threshold 1 --and mask_fsc.mrc --o mask_fsc.mrc
refused star --root p tomograms.star --o tomograms.star
refused reconstruct "${in[@]}" --p R/../particles.star --b 32 --o R/..
# By RELION's names, also for the folder of the pipeline.
(cd p && ! "$bin" relion_tomo_refine_ctf --p particles.star --t tomograms.star --ref1 R/half1.mrc --ref2 R/half2.mrc --mask mask_align.mrc --b 32 --kmin 60 --o . > ../out.txt 2> ../err.txt)
grep -q 'the project itself' err.txt
# A job again into the folder of its own set.
mkdir -p p/Polish/job001
cp p/particles.star p/Polish/job001/
printf 'data_\n_rlnTomoParticlesFile Polish/job001/particles.star\n_rlnTomoTomogramsFile tomograms.star\n' > p/Polish/job001/optimisation_set.star
refused polish -q --root p --i Polish/job001/optimisation_set.star "${ref[@]}" --range 3 --o Polish/job001/
refused separate -q --root p --i Polish/job001/optimisation_set.star --min-separation 1 --o Polish/job001
ln -s ../../tilt_series p/Polish/tilt_series
refused ctfrefine "${in[@]}" "${ref[@]}" --kmin 60 --o Polish
# A simulated project goes over none.
mkdir e
echo mine > e/particles.star
! "$bin" simulate -q --preset tiny --o e > out.txt 2> err.txt
grep -q 'e/particles.star would be written over' err.txt
[ "$(cat e/particles.star)" = mine ]
[ "$(ls e)" = particles.star ]
