#!/usr/bin/env bash
# The calls that RELION's GUI makes for its seven jobs, as its job.star files become command lines: run, Continue, Abort, and Continue again;
# flags, log and files that the GUI shows. Calls of other jobs under the same names reach the next program of that name, unchanged.
#   test_gui_calls.sh BINARY
# Stand-ins take the place of RELION's programs. Where RELION is installed, RELION_BIN=/opt/relion/bin names its folder: then its own programs
# are behind cyclotomo's on PATH too, and read what was written.
set -euo pipefail
cyclotomo=$(realpath "$1")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
fail() { echo "FAIL: $*" >&2; for f in run.out run.err out err; do [ ! -s "${job:-.}/$f" ] || { echo "-- $f" >&2; tail -n 8 "${job:-.}/$f" >&2; }; done; exit 1; }

# Programs in place of RELION's: they note what they were called with.
mkdir relion
for name in relion_refine relion_refine_mpi relion_tomo_align relion_postprocess; do
	cat >relion/$name <<'S'
#!/usr/bin/env bash
{ basename "$0"; printf '%s\n' "$@"; } >"$RELION_CALLED.${OMPI_COMM_WORLD_RANK:-0}"
exit 7
S
	chmod +x relion/$name
done
export RELION_CALLED=$work/called
"$cyclotomo" relion-names -q names >/dev/null
PATH=$work/names:$work/relion:$PATH

"$cyclotomo" simulate -q --preset tiny --sym O --particles 8 --signal 6 --o . >/dev/null
box=$(od -An -t d4 -N 4 mask_fsc.mrc | tr -d ' ')
big=$((box + 16))

# What the GUI calls, job by job; @ is the job's folder.
jobs=(Reconstruct/job001 MaskCreate/job002 PostProcess/job003 CtfRefine/job004 Polish/job005 Extract/job006 Refine3D/job007)
calls=(
	"relion_tomo_reconstruct_particle --i optimisation_set.star --theme classic --o @/ --b $big --crop $box --bin 1 --j 2 --j_out 1 --j_in 2 --sym O"
	"relion_mask_create --i Reconstruct/job001/merged.mrc --o @/mask.mrc --lowpass 20 --ini_threshold 0.02 --extend_inimask 0 --width_soft_edge 5 --j 2"
	"relion_postprocess --mask mask_fsc.mrc --i Reconstruct/job001/half1.mrc --o @/postprocess --angpix -1 --auto_bfac --autob_lowres 20"
	"relion_tomo_refine_ctf --i optimisation_set.star --theme classic --ref1 Reconstruct/job001/half1.mrc --ref2 Reconstruct/job001/half2.mrc --mask mask_align.mrc --fsc PostProcess/job003/postprocess.star --b $big --do_defocus --do_reg_defocus --lambda 0.1 --d0 -3000 --d1 3000 --do_scale --per_frame_scale --j 2 --o @/"
	"relion_tomo_align --i optimisation_set.star --theme classic --ref1 Reconstruct/job001/half1.mrc --ref2 Reconstruct/job001/half2.mrc --mask mask_align.mrc --fsc PostProcess/job003/postprocess.star --b $big --r 5 --motion --s_vel 0.2 --s_div 5000 --j 2 --o @/"
	"relion_tomo_subtomo --i optimisation_set.star --theme classic --b $big --crop $box --bin 1 --stack2d --float16 --j 2 --o @/"
	"relion_refine --o @/run --auto_refine --split_random_halves --ios Extract/job006/optimisation_set.star --ref Reconstruct/job001/half1.mrc --trust_ref_size --ini_high 20 --dont_combine_weights_via_disc --pool 3 --pad 2 --ctf --particle_diameter 100 --flatten_solvent --zero_mask --solvent_mask mask_align.mrc --solvent_correct_fsc --oversampling 1 --healpix_order 5 --auto_local_healpix_order 4 --offset_range 3 --offset_step 2 --sym O --low_resol_join_halves 40 --norm --scale --j 1"
)
# A continued job: the tomographic jobs have one more option, refinement has only what its tab lets one change, the others the same call again.
again=("${calls[@]}")
for i in 0 3 4 5; do again[$i]="${calls[$i]} --only_do_unfinished"; done
again[6]="relion_refine --continue @/run_it001_optimiser.star --o @/run --dont_combine_weights_via_disc --pool 3 --pad 2 --particle_diameter 100 --j 1"
results=(merged.mrc mask.mrc postprocess.mrc tomograms.star particles.star optimisation_set.star run_class001.mrc)
titles=(relion_tomo_reconstruct_particle relion_mask_create relion_postprocess relion_tomo_refine_ctf relion_tomo_align relion_tomo_subtomo relion_refine)

# call LINE: as the pipeline does, from the project, log appended; its exit code in $code
call() {
	local words
	read -ra words <<<"${1//@/$job} --pipeline_control $job/"
	code=0
	"${words[@]}" >>"$job/run.out" 2>>"$job/run.err" || code=$?
}
flag() { ls "$job" | grep RELION_JOB_EXIT | tr '\n' ' '; }
wants() { [ "$code" = "$1" ] && [ "$(flag)" = "RELION_JOB_EXIT_$2 " ] || fail "$3: exit code $code, flag $(flag)"; }
start() {
	job=$1
	mkdir -p "$job"
	rm -f "$job"/RELION_JOB_EXIT_*
	: >"$job/run.out"
	: >"$job/run.err"
}

for i in "${!jobs[@]}"; do
	# Run: the first line says what this is, none is too long for the window.
	start "${jobs[$i]}"
	call "${calls[$i]}"
	wants 0 SUCCESS "${titles[$i]}"
	[ -s "$job/${results[$i]}" ] || fail "${titles[$i]}: no ${results[$i]}"
	head -n 1 "$job/run.out" | grep -qE "^cyclotomo [0-9.]+ in place of ${titles[$i]}: [0-9]{4}-[0-9]{2}-[0-9]{2} [0-9:]{8} on " || fail "first line: $(head -n 1 "$job/run.out")"
	long=$(LC_ALL=C sed 's/[\x80-\xbf]//g' "$job/run.out" | LC_ALL=C awk 'length($0) > 110' | head -n 1)
	[ -z "$long" ] || fail "${titles[$i]}: a line is too long: $long"
	[ ! -e "$job/job.star" ] || fail "${titles[$i]}: the pipeline's job.star is written"
	cp "$job/${results[$i]}" result

	# Continue: the flag of success, the same result, a line with the date.
	lines=$(wc -l <"$job/run.out")
	call "${again[$i]}"
	wants 0 SUCCESS "${titles[$i]}, continued"
	cmp "$job/${results[$i]}" result || fail "${titles[$i]}: continuing changed the result"
	[ "$i" = 1 ] || [ "$i" = 2 ] || sed -n "$((lines + 1))p" "$job/run.out" | grep -q '^---- continued: cyclotomo' || fail "${titles[$i]}: no dividing line"

	# A refused call: one line, the last one, in RELION's words; the finished job stays one.
	call "${calls[$i]} --no_such_option 3"
	wants 2 SUCCESS "${titles[$i]}, refused"
	tail -n 1 "$job/run.err" | grep -q "^${titles[$i]}: error: unknown option '--no_such_option' (" || fail "last line of a refused call"

	# Abort: asked for before the run it is one of earlier times; during the run it ends the job.
	touch "$job/RELION_JOB_ABORT_NOW"
	rm -f "$job"/RELION_JOB_EXIT_*
	call "${calls[$i]}"
	wants 0 SUCCESS "${titles[$i]} with an old request to abort"
	grep -q 'warning: removed .*RELION_JOB_ABORT_NOW' "$job/run.err" || fail "nothing said of an old request to abort"
done
grep -q '^  + FINAL RESOLUTION: *[0-9.]*$' PostProcess/job003/run.out || fail "no line as RELION's with the resolution"
[ "$(grep -c 'finished already' Refine3D/job007/run.out)" = 1 ] || fail "a finished refinement is done again"
grep -q '^ignored (see the warnings): --lambda$' CtfRefine/job004/run.out || fail "what is ignored"

# What RELION looks up in the files of a refinement.
job=Refine3D/job007
for label in rlnMaximumCoarseImageSize rlnDoMapEstimation rlnDoSkipAlign rlnSmallestChangesOrientations rlnHasHighFscAtResolLimit rlnDoCorrectNorm rlnDoCorrectCtf rlnRefsAreCtfCorrected \
	rlnFixSigmaNoiseEstimates rlnMaxNumberOfPooledParticles rlnModelStarFile2; do
	grep -q "^_$label " $job/run_it001_optimiser.star || fail "optimiser.star has no $label"
done
n=$(awk '/^data_sampling_directions/ { on = 1 } on && /^ *-?[0-9]/' $job/run_it001_sampling.star | wc -l)
[ "$n" -gt 100 ] && [ "$(awk '/^data_model_pdf_orient_class_1/ { on = 1 } on && /^ *-?[0-9]/' $job/run_it001_half1_model.star | wc -l)" = "$n" ] || fail "directions and their prior"
grep -q '^.cylinder ' $job/run_class001_angdist.bild || fail "no picture of the directions"
[ "$(grep -c '^.cylinder ' $job/run_class001_angdist.bild)" -le 8 ] || fail "more directions than particles"

# Abort and Continue of a refinement that is under way, stopped while the request comes.
job=Refine3D/job008
start $job
read -ra words <<<"${calls[6]//@/$job} --pipeline_control $job/"
"${words[@]}" >>"$job/run.out" 2>>"$job/run.err" &
pid=$!
wait_for() { for _ in $(seq 600); do grep -q "$1" "$job/run.out" && return 0; kill -0 $pid 2>/dev/null || return 1; sleep 0.02; done; return 1; }
wait_for 'iteration 1: FSC' || fail "the refinement has no first iteration"
kill -STOP $pid
[ ! -e $job/run_data.star ] || fail "the refinement ended before it was stopped"
touch $job/RELION_JOB_ABORT_NOW
kill -CONT $pid
code=0
wait $pid || code=$?
wants 130 ABORTED "an aborted refinement"
tail -n 1 $job/run.err | grep -q '^relion_refine: error: ' || fail "last line of an aborted run"
call "${again[6]}"
wants 0 SUCCESS "a refinement continued after an abort"
for file in run_data.star run_class001.mrc run_half1_class001_unfil.mrc; do cmp $job/$file Refine3D/job007/$file >/dev/null || [ $file = run_data.star ] || fail "aborted and continued, $file is another"; done
# With another option it is done again, which is said.
call "${again[6]/--particle_diameter 100/--particle_diameter 90}"
wants 0 SUCCESS "a finished refinement with another diameter"
grep -q 'warning: this run has finished: with another --particle_diameter' $job/run.err || fail "nothing said of another diameter"
# An error of the job itself has RELION's name of the option.
job=Extract/job009
start $job
call "${calls[5]/--b $big/--b 2}"
wants 2 FAILURE "a box that is too small"
tail -n 1 $job/run.err | grep -q '^relion_tomo_subtomo: error: .*--b ' || fail "an option in other words than RELION's"
tail -n 1 $job/run.err | grep -q -- '--box' && fail "an option in other words than RELION's"

# Other jobs under the same names: the stand-in gets the very words, its exit code is that of the call, and one line reports it.
hands_on() {
	rm -f called.*
	code=0
	"$@" >out 2>err || code=$?
	[ $code = 7 ] || fail "exit code $code instead of the other program's: $*"
	{ basename "$1"; shift; printf '%s\n' "$@"; } | diff - called.0 >&2 || fail "the words are changed"
	[ "$(wc -l <out)" = 1 ] && grep -q "is not done by cyclotomo: handed on to $work/relion/" out && [ ! -s err ] || fail "one line: $(cat out err)"
}
read -ra refine <<<"${calls[6]//@/Refine3D/job010}"
class=(--o Class3D/job010/run --ios Extract/job006/optimisation_set.star --ref Reconstruct/job001/half1.mrc --ctf --iter 25 --tau2_fudge 4 --particle_diameter 100 --K 3 --flatten_solvent --zero_mask --sym O)
hands_on relion_refine "${class[@]}" --j 1 --pipeline_control Class3D/job010/
hands_on relion_refine --o InitialModel/job010/run --iter 100 --grad --denovo_3dref --ios Extract/job006/optimisation_set.star --ctf --K 1 --sym C1 --pipeline_control "InitialModel/job010/"
hands_on relion_refine --continue Refine3D/job007/run_it001_optimiser.star --o MultiBody/job010/run --solvent_correct_fsc --multibody_masks 'bodies of mine.star' --pipeline_control MultiBody/job010/
hands_on "${refine[@]}" --blush
hands_on "${refine[@]}" --helix --helical_outer_diameter 200
hands_on "${refine[@]}" --relax_sym C2
hands_on relion_refine --sym D2 --print_symmetry_ops
hands_on relion_refine --o Refine3D/job010/run --auto_refine --split_random_halves --i Extract/job099/particles.star --ref a.mrc --ctf --sym C1
hands_on relion_refine --o Class2D/job010/run --i particles.star --ctf --iter 25 --K 50
hands_on relion_tomo_align --i optimisation_set.star --b "$big" --o Polish/job010/ --srp 2
hands_on relion_postprocess --i Reconstruct/job001/half1.mrc --o PP/postprocess --auto_mask
printf '# RELION optimiser; version 5.0.1\n\ndata_optimiser_general\n' >of_relion.star
hands_on relion_refine --continue of_relion.star --o ./run --iter 30
# Every rank goes there; one of them reports it.
for rank in 0 1 2; do
	code=0
	OMPI_COMM_WORLD_RANK=$rank OMPI_COMM_WORLD_LOCAL_SIZE=3 relion_refine_mpi "${class[@]}" >out.$rank 2>err.$rank || code=$?
	[ $code = 7 ] && [ -s called.$rank ] || fail "rank $rank is not handed on"
done
[ "$(cat out.0 out.1 out.2 | wc -l)" = 1 ] || fail "ranks say it $(cat out.? | wc -l) times"
# What is ours is not handed on, and an option of cyclotomo's own keeps it here.
rm -f called.*
code=0
relion_refine --blush "${refine[@]:1}" --dry-run >out 2>err || code=$?
[ $code = 3 ] && [ ! -e called.0 ] || fail "a dry run is handed on"
# Two installations do not hand it to each other; without any other program the call is refused in one line.
mkdir second
cp "$cyclotomo" second/relion_refine
code=0
PATH=$work/names:$work/second:/usr/bin:/bin relion_refine "${class[@]}" >out 2>err || code=$?
[ $code = 3 ] && [ "$(tail -n 1 err)" = "relion_refine: error: 3D classification is not done by cyclotomo, and there is no other relion_refine on PATH (put the folder of RELION's own programs on PATH, behind that of cyclotomo's links)" ] ||
	fail "refusal: $(cat err)"

[ -n "${RELION_BIN:-}" ] || { echo "RELION_BIN is not set: RELION's own programs are not tried"; exit 0; }
PATH=$work/names:$RELION_BIN:$PATH
relion_refine --sym D2 --print_symmetry_ops >out 2>err || fail "RELION's own program"
grep -q "handed on to $RELION_BIN/relion_refine" out || fail "RELION's own program is not reached"
"$RELION_BIN/relion_postprocess" --i Refine3D/job007/run_half1_class001_unfil.mrc --mask mask_fsc.mrc --o real --auto_bfac >out 2>err || fail "RELION does not read the maps"
"$RELION_BIN/relion_refine" --continue Refine3D/job007/run_it001_optimiser.star --o real_refine >out 2>err || fail "RELION does not continue the refinement"
