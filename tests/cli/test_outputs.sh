# Where outputs go: never over inputs, whatever the command; the table of outputs has every file that jobs write.
set -Eeuo pipefail
bin=$1
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
trap 'echo "failed at line $LINENO"; cat "$dir"/err.txt' ERR
cd "$dir"

"$bin" simulate -q --preset tiny --sym O --series 2 --tilts 5 --tilt-step 20 --particles 4 --signal 6 --float32 --motion 3 --o p > out.txt
in=(-q --j 2 --root p --i optimisation_set.star)
"$bin" reconstruct "${in[@]}" --b 32 --sym O --taper 3 --o R > out.txt
ref=(--ref1 R/half1.mrc --ref2 R/half2.mrc --mask mask_align.mrc --b 32)
listing() { (cd p && find . -type f | sort | xargs -d '\n' md5sum); }
fails() { if "$@"; then echo "no failure: $*"; exit 1; fi; }
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
	refused refine "${in[@]}" "${ref[@]}" --o "$o"
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
(cd p && fails "$bin" relion_tomo_refine_ctf --p particles.star --t tomograms.star --ref1 R/half1.mrc --ref2 R/half2.mrc --mask mask_align.mrc --b 32 --do_defocus --o . > ../out.txt 2> ../err.txt)
grep -q 'the project itself' err.txt
# A job again into the folder of its own set.
mkdir -p p/Polish/job001
cp p/particles.star p/Polish/job001/
printf 'data_\n_rlnTomoParticlesFile Polish/job001/particles.star\n_rlnTomoTomogramsFile tomograms.star\n' > p/Polish/job001/optimisation_set.star
refused polish -q --root p --i Polish/job001/optimisation_set.star "${ref[@]}" --range 3 --o Polish/job001/
refused separate -q --root p --i Polish/job001/optimisation_set.star --min-separation 1 --o Polish/job001
ln -s ../tilt_series p/Polish/tilt_series
refused ctfrefine "${in[@]}" "${ref[@]}" --kmin 60 --o Polish
# A simulated project goes over none.
mkdir e
echo mine > e/particles.star
fails "$bin" simulate -q --preset tiny --o e > out.txt 2> err.txt
grep -q 'e/particles.star would be overwritten' err.txt
[ "$(cat e/particles.star)" = mine ]
[ "$(ls e)" = particles.star ]

# Again with other options: nothing of the first run stays beside the second, but for what somebody changed or added.
"$bin" polish "${in[@]}" "${ref[@]}" --range 3 --motion --o P > out.txt 2> err.txt
[ -e p/P/motion.star ]
[ -e p/P/TS_01_polish.png ]
echo mine > p/P/notes_of_mine.txt
echo "# mine" >> p/P/TS_02_polish.png
"$bin" polish "${in[@]}" "${ref[@]}" --range 3 --no-figures --o P > out.txt 2> err.txt
[ ! -e p/P/motion.star ]
[ ! -e p/P/TS_01_polish.png ]
[ ! -e p/P/logfile.pdf ]
[ -e p/P/tomograms.star ]
[ -e p/P/RELION_JOB_EXIT_SUCCESS ]
[ -e p/P/notes_of_mine.txt ]
[ -e p/P/TS_02_polish.png ]
# A run that fails before it has results leaves the old ones, and tells.
fails "$bin" polish "${in[@]}" "${ref[@]}" --range 1000 --o P > out.txt 2> err.txt
grep -q 'P still holds the results of an earlier run' err.txt
[ -e p/P/tomograms.star ]
[ -e p/P/RELION_JOB_EXIT_FAILURE ]
# Extraction resumed: what is kept stays.
"$bin" extract "${in[@]}" --stacks --b 32 --o E > out.txt
rm p/E/Subtomograms/TS_01/1_stack2d.mrcs
"$bin" extract "${in[@]}" --stacks --b 32 --o E --resume > out.txt
[ "$(find p/E/Subtomograms -name '*.mrcs' | wc -l)" = 8 ]
"$bin" extract "${in[@]}" --b 32 --o E > out.txt
[ "$(find p/E/Subtomograms -name '*.mrcs' | wc -l)" = 0 ]

# What jobs write is in the table of outputs, else it would not be listed.
listed() {
	(cd "p/$1" && find . -type f ! -name job.star ! -name note.txt ! -name run.json ! -name 'RELION_JOB_*' ! -name .cyclotomo_files | sed 's,^\./,,' | sort) > found.txt
	tail -n +2 "p/$1/.cyclotomo_files" | cut -d ' ' -f 4- | sort -u > listed.txt
	[ -s found.txt ] || { echo "$1 is empty"; exit 1; }
	diff found.txt listed.txt || { echo "files in $1 that are not in the table of outputs"; exit 1; }
}
rm -rf p/P
"$bin" polish "${in[@]}" "${ref[@]}" --range 3 --motion --deformation --o P > out.txt 2> err.txt
"$bin" ctfrefine "${in[@]}" "${ref[@]}" --kmin 60 --even-aberrations --odd-aberrations --do-defocus --magnification --o C > out.txt 2> err.txt
"$bin" refine-tilts "${in[@]}" "${ref[@]}" --o RT > out.txt 2> err.txt
"$bin" refine "${in[@]}" "${ref[@]}" --sym O --no-search --iterations 1 --o RF > out.txt 2> err.txt
"$bin" refine "${in[@]}" "${ref[@]}" --sym O --only-judge --o J > out.txt 2> err.txt
"$bin" separate "${in[@]}" --min-separation 10 --o S > out.txt
for d in R P C RT E RF J S; do listed "$d"; done

# Whose job.star it is: of this program's own the command line is that of note.txt.
"$bin" job2cmd p/S/job.star > out.txt 2> err.txt
grep -q '^cyclotomo separate .*--min-separation 10' out.txt
[ "$(wc -l < out.txt)" = 1 ]
fails "$bin" job2cmd p/S/job.star --as relion > out.txt 2> err.txt
grep -q 'written by cyclotomo itself' err.txt

# A run that fails while it writes leaves no part of its results.
mkdir -p p/Half/half2.mrc p/Tilts/optimisation_set.star
fails "$bin" reconstruct "${in[@]}" --b 32 --sym O --taper 3 --o Half > out.txt 2> err.txt
grep -q 'half2.mrc' err.txt
[ ! -e p/Half/half1.mrc ]
[ -e p/Half/RELION_JOB_EXIT_FAILURE ]
fails "$bin" ctfrefine "${in[@]}" "${ref[@]}" --kmin 60 --o Tilts > out.txt 2> err.txt
grep -q 'optimisation_set.star' err.txt
[ ! -e p/Tilts/tomograms.star ]
[ ! -e p/Tilts/uncertainty.star ]
[ ! -e p/Tilts/tilt_series/TS_01.star ]
# Of jobs that resume, whole iterations and blocks stay and the one that failed leaves nothing.
mkdir -p p/Iteration/run_it002_data.star p/Block/CtfRefine/job002/optimisation_set.star
fails "$bin" refine "${in[@]}" "${ref[@]}" --sym O --iterations 3 --o Iteration > out.txt 2> err.txt
grep -q 'run_it002_data.star' err.txt
[ -e p/Iteration/run_it001_half1_class001.mrc ]
[ -e p/Iteration/run_it001_data.star ]
[ ! -e p/Iteration/run_it002_half1_class001.mrc ]
[ ! -e p/Iteration/run_it002_half1_model.star ]
fails "$bin" refine-tilts "${in[@]}" "${ref[@]}" --rounds 1 --range 3 --o Block > out.txt 2> err.txt
grep -q 'CtfRefine/job002/optimisation_set.star' err.txt
[ -e p/Block/Polish/job001/optimisation_set.star ]
[ ! -e p/Block/CtfRefine/job002/tomograms.star ]
# Both resume from there.
rmdir p/Iteration/run_it002_data.star p/Block/CtfRefine/job002/optimisation_set.star
"$bin" refine "${in[@]}" "${ref[@]}" --sym O --iterations 3 --resume --o Iteration > out.txt 2> err.txt
"$bin" refine-tilts "${in[@]}" "${ref[@]}" --rounds 1 --range 3 --resume --o Block > out.txt 2> err.txt

# The folder of another kind of job is not written into.
fails "$bin" ctfrefine "${in[@]}" "${ref[@]}" --kmin 60 --o R > out.txt 2> err.txt
grep -q "belongs to another job (relion.reconstructparticletomo)" err.txt
fails "$bin" ctfrefine "${in[@]}" "${ref[@]}" --kmin 60 --o R --dry-run > out.txt 2> err.txt
grep -q "belongs to another job" err.txt
for dry in "" --dry-run; do
	fails "$bin" cycle $dry -q --root p --i optimisation_set.star --b 32 --sym O --mask-fsc mask_fsc.mrc --o R > out.txt 2> err.txt
	grep -q "belongs to another job (relion.reconstructparticletomo)" err.txt
done
