#!/usr/bin/env bash
# The cycle as jobs of the project: numbers, pipeline, folders as RELION's GUI wants them, Continue, locks, kills, and other jobs beside it.
set -euo pipefail
cyclotomo=$(realpath "$1")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
fail() { echo "FAIL: $*" >&2; [ ! -e log ] || tail -n 12 log >&2; exit 1; }

"$cyclotomo" simulate -q --preset tiny --sym O --particles 8 --signal 6 --o clean >/dev/null
box=$(od -An -t d4 -N 4 clean/mask_fsc.mrc | tr -d ' ')
options=(--i optimisation_set.star --b $((box + 16)) --crop "$box" --sym O --mask-align mask_align.mrc --mask-fsc mask_fsc.mrc --j 2)
cycle() { "$cyclotomo" cycle --project "${options[@]}" "$@" >out 2>log; }
# A column of a block of a STAR file: file, block, number of the column.
column() { awk -v b="data_$2" -v c="$3" '/^data_/ { on = $1 == b } on && NF > 1 && !/^(_|data_|loop_|#)/ { print $c }' "$1"; }
counter() { awk '/_rlnPipeLineJobCounter/ { print $2 }' default_pipeline.star; }
status_of() { awk -v j="$1" '$1 == j && NF == 4 { print $4 }' default_pipeline.star; }

# A project of three jobs, of which one has an alias, with a column and a table that this program does not know.
cp -r clean project && cd project
mkdir -p Select/job002 Extract/job003
cp particles.star Select/job002/
ln -s job002 Select/good
cat >default_pipeline.star <<'S'

# version 50001

data_pipeline_general

_rlnPipeLineJobCounter                      4
 

# version 50001

data_pipeline_processes

loop_ 
_rlnPipeLineProcessName #1 
_rlnPipeLineProcessAlias #2 
_rlnPipeLineProcessTypeLabel #3 
_rlnPipeLineProcessStatusLabel #4 
Import/job001/       None relion.importtomo  Succeeded 
Select/job002/ Select/good/ relion.select.removeduplicates  Succeeded 
Extract/job003/       None relion.pseudosubtomo  Scheduled 
 

# version 50001

data_pipeline_nodes

loop_ 
_rlnPipeLineNodeName #1 
_rlnPipeLineNodeTypeLabel #2 
_rlnPipeLineNodeTypeLabelDepth #3 
Select/job002/particles.star ParticleGroupMetadata.star.relion            1 
 

# version 50001

data_pipeline_input_edges

loop_ 
_rlnPipeLineEdgeFromNode #1 
_rlnPipeLineEdgeProcess #2 
Select/job002/particles.star Extract/job003/ 
 

# version 50001

data_pipeline_output_edges

loop_ 
_rlnPipeLineEdgeProcess #1 
_rlnPipeLineEdgeToNode #2 
Select/job002/ Select/job002/particles.star 
 

# version 50001

data_of_somebody

_rlnSomething                      5
 
S
cp default_pipeline.star before.star
mkdir Reconstruct Trash Trash/Polish Trash/Polish/job004 # in the trash: the number is not used again
options[0]=--p
options[1]=Select/good/particles.star
options+=(--t tomograms.star)
cycle --o Cycle || fail "cycle in the project"

# Numbers, in the order of the steps, after all that there are.
jobs=(Reconstruct/job005/ PostProcess/job006/ Polish/job007/ Reconstruct/job008/ PostProcess/job009/ CtfRefine/job010/ Reconstruct/job011/ PostProcess/job012/
	Refine3D/job013/ Reconstruct/job014/ PostProcess/job015/)
printf '%s\n' Import/job001/ Select/job002/ Extract/job003/ "${jobs[@]}" | diff - <(column default_pipeline.star pipeline_processes 1) || fail "jobs in the pipeline"
[ "$(counter)" = 16 ] || fail "the counter is $(counter)"
[ "$(status_of Extract/job003/)" = Scheduled ] || fail "a job of others is changed"
for job in "${jobs[@]}"; do
	[ "$(status_of "$job")" = Succeeded ] || fail "$job is $(status_of "$job")"
	for file in job.star job_pipeline.star default_pipeline.star note.txt run.out run.err RELION_JOB_EXIT_SUCCESS; do
		[ -e "$job$file" ] || fail "no $job$file"
	done
	head -n 1 "${job}run.out" | grep -qE '^cyclotomo [0-9.]+ cycle, .*: [0-9]{4}-[0-9]{2}-[0-9]{2} ' || fail "first line of ${job}run.out"
done
# What was there stays, line by line, but for the counter.
[ "$(diff -b before.star default_pipeline.star | grep -c '^<')" = 1 ] || fail "lines of the pipeline are lost"
cmp before.star Cycle/default_pipeline_before.star || fail "the copy of the pipeline"
[ ! -e .relion_lock ] && [ -e .pipeline_has_changed ] || fail "the lock, or the sign of a change"
[ ! -e Cycle/default_pipeline.star ] && [ ! -e Cycle/Reconstruct ] || fail "jobs in the run folder too"
# Edges end at nodes and at jobs; each node that a job wrote is a file, and is marked for RELION's file dialogues.
column default_pipeline.star pipeline_nodes 1 | sort >nodes
[ -z "$(uniq -d nodes)" ] || fail "nodes twice"
for at in 'pipeline_input_edges 1' 'pipeline_output_edges 2'; do
	# shellcheck disable=SC2086
	column default_pipeline.star $at | sort -u | comm -23 - nodes | grep . && fail "edges without a node"
done
for file in $(column default_pipeline.star pipeline_output_edges 2); do
	[ -s "$file" ] || fail "$file is not there"
	case $file in Select/*) ;; *) ls .Nodes/*/"$file" >/dev/null || fail "no mark of $file" ;; esac
done
grep -q '^Select/job002/particles.star Reconstruct/job005/' default_pipeline.star || fail "an alias is not resolved"
grep -q '^Reconstruct/job005/half1.mrc .* 99 ' default_pipeline.star && ! grep -q 'half2' default_pipeline.star || fail "half maps in the pipeline"
for edge in 'Reconstruct/job005/half1.mrc PostProcess/job006/' 'mask_fsc.mrc PostProcess/job006/' 'PostProcess/job006/postprocess.star Polish/job007/' 'mask_align.mrc Refine3D/job013/'; do
	grep -q "^$edge" default_pipeline.star || fail "no edge $edge"
done
grep -q '^  + FINAL RESOLUTION: *[0-9.]*$' PostProcess/job006/run.out || fail "no resolution in run.out"
grep -q 'href="../Polish/job007/' Cycle/summary.html || fail "the page does not link the jobs"

# Repeated, it does nothing; with more cycles it continues behind what others have made meanwhile.
fingerprint() { find Reconstruct PostProcess Polish CtfRefine Refine3D -name '*.mrc' -o -name '*.star' ! -name '*pipeline.star' | sort | xargs sha256sum; }
fingerprint >wanted
cp default_pipeline.star done.star
cycle --o Cycle || fail "the same command again"
fingerprint | diff wanted - || fail "repeated, it changes results"
cmp done.star default_pipeline.star || fail "repeated, it changes the pipeline"
sed -i 's/^_rlnPipeLineJobCounter .*/_rlnPipeLineJobCounter                      21/' default_pipeline.star
cycle --o Cycle --cycles 2 --skip-check || fail "one more cycle"
[ -d Polish/job021 ] && [ ! -e Polish/job016 ] && [ "$(status_of Polish/job021/)" = Succeeded ] || fail "the number of a job after those of others"
cd ..

# job.star has RELION's variables, all of them and no others, and means what was done: as the GUI's Continue would call it, the job leaves the same.
# Names of variables as RELION 5.0 writes them.
common="do_queue min_dedicated other_args qsub qsubscript queuename"
project="in_optimisation in_particles in_tomograms in_trajectories use_direct_entries nr_mpi nr_threads"
reference="in_halfmaps in_post in_refmask box_size"
helix="do_apply_helical_symmetry do_helix do_local_search_helical_symmetry helical_nr_asu helical_range_distance helical_rise_inistep helical_rise_initial helical_rise_max
	helical_rise_min helical_tube_inner_diameter helical_tube_outer_diameter helical_twist_inistep helical_twist_initial helical_twist_max helical_twist_min helical_z_percentage
	keep_tilt_prior_fixed range_psi range_rot range_tilt"
declare -A variables=(
	[Reconstruct]="$project binning box_size crop_size snr sym_name"
	[PostProcess]="adhoc_bfac angpix autob_lowres do_adhoc_bfac do_auto_bfac do_skip_fsc_weighting fn_in fn_mask fn_mtf low_pass mtf_angpix"
	[Polish]="$project $reference do_motion do_shift_align do_sq_exp_ker max_error shift_align_type sigma_div sigma_vel"
	[CtfRefine]="$project $reference do_defocus do_frame_scale do_reg_def do_scale do_tomo_scale focus_range lambda"
	[Refine3D]="$project $helix auto_faster auto_local_sampling ctf_intact_first_peak do_blush do_combine_thru_disc do_ctf_correction do_pad1 do_parallel_discio
	do_preread_images do_solvent_fsc do_zero_mask fn_cont fn_mask fn_ref gpu_ids ini_high nr_pool offset_range offset_step particle_diameter ref_correct_greyscale relax_sym sampling
	scratch_dir sigma_tilt sym_name trust_ref_size use_gpu"
)
cd project
"$cyclotomo" relion-names -q ../names >/dev/null
for job in PostProcess/job009/ Polish/job007/ CtfRefine/job010/ Reconstruct/job011/ Refine3D/job013/; do
	# shellcheck disable=SC2086
	printf '%s\n' $common ${variables[${job%%/*}]} | sort | diff - <(column "${job}job.star" joboptions_values 1 | sort) || fail "variables of $job"
	command=$("$cyclotomo" job2cmd -q --as relion "${job}job.star" 2>/dev/null) || fail "job2cmd $job"
	case $job in Refine3D/*)
		# Of a refinement the GUI names the optimiser and what its tab lets one change.
		command="relion_refine --continue ${job}run_it001_optimiser.star --o ${job}run --dont_combine_weights_via_disc --pool 3 --pad 2 --particle_diameter -1 --j 2 --pipeline_control $job" ;;
	PostProcess/*) ;;
	*) command="$command --only_do_unfinished" ;;
	esac
	rm "${job}RELION_JOB_EXIT_SUCCESS"
	eval "PATH=$work/names:\$PATH $command" >../out 2>../log || fail "continued: $command"
	[ -e "${job}RELION_JOB_EXIT_SUCCESS" ] || fail "no flag of $job"
	grep " $job" wanted | grep -v 'job.star\|cyclotomo_\|/before/\|optimisation_set.star' | sha256sum --quiet -c - >../out || fail "continued, $job leaves something else: $(cat ../out)"
done
# The refinement once more from its start, without the record of the cycle.
command=$("$cyclotomo" job2cmd -q --as relion Refine3D/job013/job.star 2>/dev/null)
eval "PATH=$work/names:\$PATH ${command//Refine3D\/job013/Refine3D\/job099}" >../out 2>../log || fail "the refinement of job.star"
cmp Refine3D/job013/run_data.star Refine3D/job099/run_data.star && cmp Refine3D/job013/run_class001.mrc Refine3D/job099/run_class001.mrc || fail "the refinement of job.star is another"
cd ..

# Killed at any moment and started again it finds its jobs, in a project where others work too.
options=(--i optimisation_set.star "${options[@]:2:${#options[@]}-4}" --skip-refine --skip-polish --no-figures)
cp -r clean whole && cd whole
cycle --o Cycle || fail "a shorter run"
lines=$(wc -l <log)
fingerprint2() { find Reconstruct PostProcess CtfRefine -name '*.mrc' -o -name '*.star' ! -name '*pipeline.star' | sort | xargs sha256sum; }
fingerprint2 >../wanted
cd ..
for share in 0 20 45 70 90; do
	rm -rf killed pipe && cp -r clean killed && mkfifo pipe && cd killed
	"$cyclotomo" cycle --project "${options[@]}" --o Cycle >/dev/null 2>../pipe &
	pid=$!
	exec 3<../pipe
	for ((i = 0; i <= share * lines / 100; i++)); do read -r line <&3 || fail "the run ended before $share %"; done
	kill -KILL $pid
	exec 3<&-
	wait $pid 2>/dev/null || true
	# A lock that a kill left behind is recognised.
	mkdir -p .relion_lock && echo "cyclotomo $pid $(hostname)" >.relion_lock/lock_default_pipeline.star
	cycle --o Cycle --pipeline-wait 1 || fail "resumed after a kill at $share %"
	[ ! -e .relion_lock ] || fail "the lock stays"
	fingerprint2 | diff ../wanted - || fail "a kill at $share % changes results"
	[ "$(counter)" = 6 ] && [ "$(column default_pipeline.star pipeline_processes 4 | sort | uniq -c | tr -s ' ')" = " 5 Succeeded" ] || fail "the pipeline after a kill at $share %"
	cd ..
done

# Two runs in one project at once: no number twice.
rm -rf killed && cp -r clean both && cd both
"$cyclotomo" cycle --project "${options[@]}" --o One >/dev/null 2>../one.log &
one=$!
cycle --o Two || fail "the second of two runs"
wait $one || fail "the first of two runs: $(tail -n 3 ../one.log)"
[ "$(column default_pipeline.star pipeline_processes 1 | grep -o 'job[0-9]*' | sort | tr '\n' ' ')" = "job001 job002 job003 job004 job005 job006 job007 job008 job009 job010 " ] || fail "numbers of two runs"
[ "$(counter)" = 11 ] || fail "counter of two runs"
# A job that was removed in the GUI (moved to the trash) is done again under a new number.
last=$(ls -d PostProcess/job0* | tail -n 1)
mkdir -p Trash/PostProcess && mv "$last" Trash/PostProcess/
grep -v "^$last/" default_pipeline.star >less && mv less default_pipeline.star
run=Two; grep -q "$last/" One/cyclotomo_jobs.star && run=One
cycle --o $run || fail "after a job was removed"
[ -s PostProcess/job011/postprocess.star ] || fail "the removed job is not done again: $(ls PostProcess)"

# A pipeline that another program has locked: it waits, then reports it, and nothing is done.
mkdir .relion_lock && : >.relion_lock/lock_default_pipeline.star
cp default_pipeline.star before.star
code=0
cycle --o Three --pipeline-wait 1 || code=$?
[ $code = 1 ] && grep -q "error: the pipeline of the project is locked: '.*\.relion_lock'" log && grep -q 'remove that folder' log || fail "a locked pipeline: $code"
cmp before.star default_pipeline.star && [ ! -e Reconstruct/job012 ] || fail "a locked pipeline is changed"
(sleep 1; rm -r .relion_lock) &
cycle --o Three --cycles 0 || fail "after the lock is gone"
wait
[ -s PostProcess/job013/postprocess.star ] || fail "numbers after a lock"
# Abort, as the GUI asks for it, in the folder of the running job.
"$cyclotomo" cycle --project "${options[@]}" --o Four >/dev/null 2>../log &
pid=$!
for _ in $(seq 1000); do [ ! -e Reconstruct/job014/run.out ] || break; sleep 0.01; done
touch Reconstruct/job014/RELION_JOB_ABORT_NOW
code=0
wait $pid || code=$?
if [ $code = 130 ]; then
	[ -e Reconstruct/job014/RELION_JOB_EXIT_ABORTED ] && [ "$(status_of Reconstruct/job014/)" = Aborted ] || fail "an aborted job"
	grep -q '^error: ' Reconstruct/job014/run.err || fail "run.err of an aborted job"
else
	[ $code = 0 ] || fail "an aborted run ends with $code"
fi
cycle --o Four || fail "continued after an abort"
[ "$(status_of Reconstruct/job014/)" = Succeeded ] || fail "continued after an abort, the job is $(status_of Reconstruct/job014/)"

# Refusals.
refused() {
	local text=$1 code=0
	shift
	"$cyclotomo" cycle "${options[@]}" "$@" >out 2>log || code=$?
	[ $code = 2 ] && grep -q -- "$text" log || fail "not refused ($code): $*"
}
refused 'is the project itself' --project --o .
refused 'need a folder of their own' --project --o Reconstruct
refused '--project (was yes, now no)' --o Four
mkdir Own && cp Four/cyclotomo_cycle.star Own/ && : >Own/default_pipeline.star
refused '--project (was no, now yes)' --project --o Own
cp default_pipeline.star good.star
printf 'data_pipeline_general\n\n_rlnPipeLineJobCounter many\n' >default_pipeline.star
code=0
cycle --o Five || code=$?
[ $code = 3 ] && grep -q 'error: .*default_pipeline.star.*many' log || fail "a counter that is no number: $code"
cp good.star default_pipeline.star
# The plan names the folders, and takes no number.
"$cyclotomo" cycle --project "${options[@]}" --o Six --dry-run >out 2>log || fail "a plan"
grep -q "Reconstruct/job$(printf %03d "$(counter)")/" out && cmp good.star default_pipeline.star && [ ! -e Six ] || fail "the plan"
