#!/usr/bin/env bash
# RELION's own calls, unchanged and in their order, write the files that RELION has written; job.star of a real project become commands.
# usage: check_relion_names.sh BINARY SHARED-FOLDER [SMALL]; SMALL, or $CYCLOTOMO_SMALL, is the data set "small" (made here if not given)
. "$(dirname "$0")/common.sh"
"$bin" relion-names -q "$dir/names" >/dev/null
PATH=$dir/names:$PATH

echo "== options in the descriptions of RELION's programs"
# known PROGRAM FILE FROM TO: the options between two headings are in the program's table.
known() {
	local n=0 option
	"$1" --help >"$dir/help"
	for option in $(awk -v from="$3" -v to="$4" 'index($0, to) == 1 { on = 0 } index($0, from) == 1 { on = 1 } on' "$shared/spec/$2" | grep -o -- '--[A-Za-z][A-Za-z0-9_]*' | sort -u); do
		grep -Eq -- "(^  |, )$option\b" "$dir/help" || fail "$1 does not know $option"
		n=$((n + 1))
	done
	echo "$1: $n options of '$3'"
	[ $n -gt 10 ] || fail "no options there"
}
known relion_tomo_reconstruct_particle reconstruct-extract-postprocess.md '### 2.1' '### 2.2'
known relion_tomo_subtomo reconstruct-extract-postprocess.md '### 3.1' '### 3.2'
known relion_refine refine3d.md '### 1.8' '---'
known relion_postprocess reconstruct-extract-postprocess.md '### 4.1' '### 4.2'
known relion_mask_create reconstruct-extract-postprocess.md '### 5.1' '### 5.2'
for program in relion_tomo_refine_ctf relion_tomo_align; do known $program ctf-refine-and-polish.md '## A2.' '## A3.'; done
known relion_tomo_refine_ctf ctf-refine-and-polish.md '## B1.' '## B2.'
known relion_tomo_align ctf-refine-and-polish.md '## C1.' '## C2.'

echo "== RELION's calls"
mkdir "$dir/small"
cd "$dir/small"
for file in "$small"/*; do ln -s "$file" .; done
# Of the extraction whose stacks were refined RELION's poses are there; of the refinement, the references.
mkdir EX_ctf4 REF
ln -s "$gold"/EX_ctf4/*_asu.star EX_ctf4/
ln -s "$gold"/REF/ref_half?.mrc "$gold"/REF/mask_align96.mrc REF/
# The list that is refined is RELION's: its flags of images (rlnTomoVisibleFrames) count the sections of stacks cut at the positions
# that RELION's polishing found. Above, stacks are cut where cyclotomo's polishing put the particles, and near the border one may be in
# an image more or less: refinement then rightly refuses the pair of list and stacks. From RELION's own refined tables the extraction
# writes RELION's table, flags included; the stacks are taken from there.
stacks_at_positions_of_relion() {
	local call
	mkdir "$dir/positions"
	cd "$dir/positions"
	for file in "$small"/* "$gold"/J_pol3 "$gold"/J_ctf4; do ln -s "$file" .; done
	read -ra call <<<"$(grep -- '--stack2d' "$gold/commands.txt")"
	"${call[@]}" >out 2>err || { cat out err; fail "extraction at RELION's positions"; }
	"$bin" compare --tolerance 1e-4 "$gold/EX_ctf4/particles.star" EX_ctf4/particles.star || fail "at RELION's positions other images are extracted"
	cd "$dir/small"
	rm -r EX_ctf4/Subtomograms
	mv "$dir/positions/EX_ctf4/Subtomograms" EX_ctf4/
}
n=0
while read -r line; do
	read -ra words <<<"$line"
	# One iteration is enough to see what is written; no ranks are needed for it.
	[ "${words[0]}" != mpirun ] || stacks_at_positions_of_relion
	[ "${words[0]}" != mpirun ] || words=("${words[@]:3}" --auto_iter_max 1)
	[ -e "$dir/names/${words[0]}" ] || continue
	/usr/bin/time -f "%e s  $(cut -c 1-60 <<<"$line") ..." "${words[@]}" >out 2>err || { cat out err; fail "$line"; }
	tail -n 1 err
	head -n 1 out | grep -q "^cyclotomo .* in place of ${words[0]}: " || fail "first line of: $line"
	n=$((n + 1))
done <"$gold/commands.txt"
[ $n = 18 ] || fail "$n calls instead of 18"
# What lies there of other calls: a reconstruction with the truth; of the refinement, the start that RELION writes out as iteration 0.
"$python" "$here/compare_files.py" "$gold" . $(cd "$gold" && ls -d R_* PP_* J_* EX_ctf4 EX3_ctf4 mask_relion.mrc | grep -v PP_truth)
"$python" "$here/compare_files.py" "$gold" . REF/run_it001_data.star REF/run_it001_half1_class001.mrc REF/run_it001_half2_class001.mrc
"${words[@]}" --dry-run >dry 2>/dev/null || fail "a dry run of the refinement"
running=$(grep "^as cyclotomo's own command: cyclotomo refine " dry) || fail "not said what is run"
for words in "optimisation-set EX_ctf4/optimisation_set_asu.star" "lowpass 5" "join 40" "healpix-order 5" "local-from 4" "offset-range 3" "offset-step 2"; do
	grep -q -- " --$words " <<<"$running " || fail "settings of the refinement: no --$words in: $running"
done
tr -s '\n ' ' ' <out | grep -q "particle images are those that '[^']*' names: 2D stacks of 96 px at binning 1" || fail "not said what is refined"
"$python" "$here/compare_files.py" "$gold" "$gold" J_pol1 >/dev/null
if "$python" "$here/compare_files.py" "$gold" "$dir" J_pol1 >/dev/null; then fail "the comparison finds nothing"; fi

echo "== job.star of a real project"
# Its images, maps and trajectories are not there: stand-ins of the maps' size, and RELION's alias of the selection.
mkdir "$dir/project"
cd "$dir/project"
for file in "$shared"/data/empiar-10164-tutorial/*; do
	if [ -d "$file" ]; then
		mkdir "$(basename "$file")"
		for job in "$file"/*; do
			mkdir "$(basename "$file")/$(basename "$job")"
			ln -s "$job"/* "$(basename "$file")/$(basename "$job")/"
		done
	else
		ln -s "$file" .
	fi
done
ln -s job024 Select/remove-dups2
n=0
for job in */*/job.star; do
	type=$(sed -n 's/^_rlnJobTypeLabel  *//p' "$job" | tr -d ' ')
	case $type in relion.reconstructparticletomo | relion.ctfrefinetomo | relion.framealigntomo | relion.postprocess | relion.pseudosubtomo | relion.refine3d.tomo) ;; *) continue ;; esac
	n=$((n + 1))
	code=0
	"$bin" job2cmd "$job" --dry-run >out 2>err || code=$?
	[ $code = 1 ] || fail "$job ended with $code: $(cat err)"
	grep -q '^cyclotomo [a-z]* --.*--dry-run' out || fail "$job gives no command"
	# Nothing is wrong but that files of images are missing.
	grep -Eq "error: .*('[^']*\.mrc'|motion\.star')" err && grep -Eq 'No such file|is missing' err || fail "$job: $(cat err)"
	grep -q -- '--help' err && fail "$job: $(cat err)"
	echo "$job: $(grep -o 'error: .*' err | cut -c 1-110)"
done
[ $n = 12 ] || fail "$n jobs instead of 12"
# With the maps there, post-processing passes, and refinement comes to its images.
"$bin" mask -q --denovo --box-size 192 --outer-radius 60 --soft-edge 10 --pixel-size 1.35 --o map.mrc >/dev/null
for name in Reconstruct/job025/half1 Reconstruct/job025/half2 mask_fsc mask_align; do cp map.mrc $name.mrc; done
"$bin" job2cmd PostProcess/job026/job.star --dry-run >/dev/null 2>err || fail "post-processing: $(cat err)"
"$bin" job2cmd Extract/job031 --dry-run >out 2>err || grep -q 'motion.star' err || fail "extraction: $(cat err)"
"$bin" job2cmd Refine3D/job034 --as relion >out
grep -q -- '--sigma_tilt 10 .*--scratch_dir ' out || fail "refinement as RELION's: $(cat out)"
# RELION has noted its own command line of that job: the same options, with the same values.
sort_options() { sed 's/ --/\n--/g' | sed "s/ *''//; s/ *\$//; /^--scratch_dir/d; /^--pipeline_control/d; /^--gpu/d" | sort; }
sed -n '2s/^# *//p' Refine3D/job034/run_optimiser.star | sort_options >wanted
sed 's/^relion_refine //' out | sort_options | diff wanted - || fail "the command line of Refine3D/job034 is not RELION's"
"$bin" job2cmd CtfRefine/job027/job.star --dry-run >/dev/null 2>err || grep -q 'images of this tilt series are missing' err || fail "refinement: $(cat err)"
