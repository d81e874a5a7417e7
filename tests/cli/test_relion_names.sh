#!/usr/bin/env bash
# Under RELION's names: links, RELION's command lines in their order, its files, flags of the pipeline, ranks, refusals; job2cmd.
set -euo pipefail
cyclotomo=$(realpath "$1") source=$(cd "$(dirname "$0")/../.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
fail() { echo "FAIL: $*" >&2; [ ! -e err ] || tail -n 5 err >&2; exit 1; }
# expect CODE COMMAND...: stdout in out, stderr in err
expect() {
	local want=$1 got=0
	shift
	"$@" >out 2>err || got=$?
	[ "$got" = "$want" ] || { tail -n 20 out; fail "'$*' ended with $got, wanted $want"; }
}

# Links: made, kept, never in place of something else.
expect 0 "$cyclotomo" relion-names names
[ "$(ls names | wc -l)" -ge 10 ] && [ -L names/relion_tomo_align ] && [ -L names/relion_tomo_align_mpi ] || fail "links"
expect 0 "$cyclotomo" relion-names names
mkdir other
echo mine >other/relion_postprocess
expect 1 "$cyclotomo" relion-names other --force
grep -q "it may be RELION's own program" err || fail "message of a file in the way"
[ "$(ls other)" = relion_postprocess ] && [ "$(cat other/relion_postprocess)" = mine ] || fail "a refused call makes links"
ln -sf /bin/true other/relion_postprocess
expect 1 "$cyclotomo" relion-names other
grep -q -- '--force' err || fail "message of a foreign link"
expect 0 "$cyclotomo" relion-names other --force
[ "$(readlink other/relion_postprocess)" = "$cyclotomo" ] || fail "a foreign link is not replaced"
expect 2 "$cyclotomo" relion-names
PATH=$work/names:$PATH

# Documents are the tables; whatever a table passes on is an option of the command.
sed '1,/^<!-- From here on made by/d' "$source/docs/formats/relion-commands.md" | diff - <("$source/tools/relion_commands.sh" "$cyclotomo") ||
	fail "docs/formats/relion-commands.md is not up to date: tools/relion_commands.sh BINARY --update"
for name in names/*[!i]; do
	name=$(basename "$name")
	expect 0 "$name" --help
	command=$(sed -n '1s/.*done by cyclotomo //p' out)
	sed -n 's/^        -> --\([a-z0-9-]*\).*/\1/p' out | sort -u >passed
	[ -s passed ] || fail "$name passes nothing on"
	"$cyclotomo" "$command" --help >help
	while read -r option; do grep -q -- "--$option\b" help || fail "$name passes --$option on, which cyclotomo $command does not have"; done <passed
	# Where RELION's default is not passed on, cyclotomo's is the same (or a text that stands for "off").
	awk -v relion=out '
		{ line = $0 }
		/^  --/ { option = substr($1, 3) }
		match(line, /\[default: -?[0-9.]+( [^ ]*)?\]/) { value[option] = substr(line, RSTART + 10) + 0 }
		END {
			while ((getline line < relion) > 0) {
				if (line ~ /^  --/) wanted = ""
				if (match(line, /RELION.s default: -?[0-9.]+\]/)) wanted = substr(line, RSTART + 18, RLENGTH - 19)
				if (line !~ /^        -> --/ || wanted == "" || line ~ /unless given/) continue
				split(substr(line, 14), to, /[^a-z0-9-]/)
				if (to[1] in value && to[1] != "threads" && to[1] != "defocus-range" && value[to[1]] + 0 != wanted + 0 && !(value[to[1]] + 0 <= 0 && wanted + 0 <= 0)) print to[1], value[to[1]], wanted
			}
		}' help >different
	[ ! -s different ] || fail "$name: other defaults than RELION's: $(cat different)"
	expect 0 "${name}_mpi" --version
	grep -q "^cyclotomo .* as $name" out || fail "version under RELION's name"
	expect 2 "$name"
	grep -q usage err || fail "no usage without options"
done

# RELION's calls.
"$cyclotomo" simulate -q --preset tiny --sym O --particles 8 --signal 6 --o . >/dev/null
cat >commands <<'C'
relion_tomo_reconstruct_particle --p particles.star --t tomograms.star --b 48 --crop 32 --sym O --o R_init/ --j 2 --j_out 2 --j_in 1
relion_postprocess --i R_init/half1.mrc --i2 R_init/half2.mrc --mask mask_fsc.mrc --o PP_init/postprocess --auto_bfac --autob_lowres 20
relion_tomo_align --p particles.star --t tomograms.star --ref1 R_init/half1.mrc --ref2 R_init/half2.mrc --mask mask_align.mrc --fsc PP_init/postprocess.star --b 48 --o J_pol/ --r 5 --motion --s_vel 0.2 --s_div 5000 --j 2
relion_tomo_refine_ctf --p J_pol/particles.star --t J_pol/tomograms.star --mot J_pol/motion.star --ref1 R_init/half1.mrc --ref2 R_init/half2.mrc --mask mask_align.mrc --fsc PP_init/postprocess.star --b 48 --o J_ctf/ --do_defocus --do_reg_defocus --lambda 0.1 --d0 -3000 --d1 3000 --do_scale --per_frame_scale --j 2
relion_tomo_reconstruct_particle_mpi --i J_ctf/optimisation_set.star --b 48 --crop 32 --sym O --o Reconstruct/job007/ --j 1 --theme classic --pipeline_control Reconstruct/job007/
relion_tomo_subtomo --i J_ctf/optimisation_set.star --b 48 --crop 32 --stack2d --float16 --o EX/ --j 2
relion_refine_mpi --o REF/run --auto_refine --split_random_halves --ios EX/optimisation_set.star --ref R_init/half1.mrc --trust_ref_size --ini_high 20 --pool 3 --pad 2 --ctf --flatten_solvent --zero_mask --solvent_mask mask_align.mrc --solvent_correct_fsc --oversampling 1 --healpix_order 5 --auto_local_healpix_order 4 --offset_range 3 --offset_step 2 --sym O --low_resol_join_halves 40 --norm --scale --gpu --j 2 --auto_iter_max 1
relion_mask_create --i Reconstruct/job007/merged.mrc --o mask_relion.mrc --lowpass 20 --ini_threshold 0.1 --extend_inimask 3 --width_soft_edge 5 --j 2
C
box=$(od -An -t d4 -N 4 mask_fsc.mrc | tr -d ' ')
sed -i "s/--crop 32/--crop $box/; s/--b 48/--b $((box + 16))/" commands
mkdir -p Reconstruct/job007
touch Reconstruct/job007/RELION_JOB_EXIT_FAILURE
while read -r line; do
	read -ra words <<<"$line"
	expect 0 "${words[@]}"
	head -n 1 out | grep -q "^cyclotomo .* in place of ${words[0]}: 20" || fail "first line of ${words[0]}: $(head -n 1 out)"
	if grep '^\[' err | grep -v 'warning: '; then fail "${words[0]} talks on stderr"; fi
	[ "${words[0]}" != relion_refine_mpi ] || cp out out_refine
	[ "${words[0]}" != relion_tomo_refine_ctf ] || grep -q 'warning: --lambda is not used' err || fail "nothing said of --lambda"
done <commands
for file in R_init/{half1,half2,merged,half1_full,data_half1,weight_merged}.mrc PP_init/postprocess{.star,.mrc,_masked.mrc,_fsc.xml,_fsc.dat} {PP_init,J_pol}/logfile.pdf \
	J_pol/{tomograms,particles,motion,optimisation_set}.star J_pol/tilt_series/TS_01.star J_pol/note.txt J_pol/RELION_JOB_EXIT_SUCCESS \
	EX/{particles,optimisation_set}.star EX/Subtomograms/TS_01/1_stack2d.mrcs REF/run_{data,optimisation_set,model}.star REF/run_{class001,half1_class001_unfil}.mrc \
	J_ctf/{tomograms,optimisation_set}.star J_ctf/logfile.pdf Reconstruct/job007/{half1.mrc,half2.mrc,merged.mrc,optimisation_set.star} mask_relion.mrc; do
	[ -e "$file" ] || fail "no $file"
done
tr -s '\n ' ' ' <out_refine | grep -q "particle images are those that 'EX/particles.star' names: 2D stacks of $box px at binning 1" || fail "not said what is refined"
[ "$(od -An -t d4 -N 4 REF/run_class001.mrc | tr -d ' ')" = "$box" ] || fail "size of the refined map"
grep -q '^relion_tomo_align --p particles.star' J_pol/note.txt || fail "note.txt has not the line that was typed"
grep -q '"called_as": "relion_tomo_align --p' J_pol/run.json || fail "run.json has not the line that was typed"
[ -e Reconstruct/job007/RELION_JOB_EXIT_SUCCESS ] && [ ! -e Reconstruct/job007/RELION_JOB_EXIT_FAILURE ] || fail "flags of a run that ended well"
[ ! -e Reconstruct/job007/job.star ] || fail "the pipeline's job.star is written"
# Warnings of the job name options as RELION does.
expect 0 relion_mask_create --i Reconstruct/job007/merged.mrc --o mask_wide.mrc --ini_threshold 0.001 --extend_inimask 20 --width_soft_edge 5
grep -q 'warning: .*border of the box: raise --ini_threshold (without the option it would be [0-9.e-]*), lower --extend_inimask or --width_soft_edge' err || fail "a warning in other words than RELION's"
# The same as under cyclotomo's own name.
"$cyclotomo" mask -q --input Reconstruct/job007/merged.mrc --lowpass 20 --threshold 0.1 --extend 3 --soft-edge 5 --output mask_own.mrc >/dev/null 2>&1
cmp mask_own.mrc mask_relion.mrc || fail "masks differ"

# A refinement reads the images that the particles name, as RELION's does: 3D volumes here. With --b they are cut from the tilt images.
expect 0 relion_tomo_subtomo --i J_ctf/optimisation_set.star --b $((box + 16)) --crop "$box" --o EX3/ --j 2
refine=(relion_refine --auto_refine --split_random_halves --ios EX3/optimisation_set.star --ref R_init/half1.mrc --ini_high 20 --ctf --solvent_mask mask_align.mrc --healpix_order 5 --sym O
	--offset_range 3 --offset_step 2 --auto_iter_max 1 --j 2)
expect 0 "${refine[@]}" --o REF3/run
tr -s '\n ' ' ' <out | grep -q "particle images are those that 'EX3/particles.star' names: 3D volumes of $box px at binning 1" || fail "not said that volumes are refined"
! cmp -s REF3/run_data.star REF/run_data.star || fail "volumes were not read"
volume=EX3/Subtomograms/TS_01/1_data.mrc
mv $volume kept.mrc
expect 1 "${refine[@]}" --o REF4/run
grep -q "^relion_refine: error: .*$volume" err && grep -q -- "a box (--b)" err || fail "a volume that is missing: $(cat err)"
expect 0 "${refine[@]}" --b $((box + 16)) --crop "$box" --o REF4/run
grep -q "windows of $((box + 16)) px" out || fail "--b does not cut from the tilt images"
mv kept.mrc $volume
# Particles that were not extracted are cut from the tilt images, too.
expect 0 "${refine[@]/EX3/J_ctf}" --b $((box + 16)) --crop "$box" --o REF5/run
cmp REF4/run_class001.mrc REF5/run_class001.mrc || fail "with --b the volumes are used"
expect 2 "${refine[@]/EX3/J_ctf}" --o REF6/run
grep -q "a box size is needed (--b)" err || fail "particles without images: $(cat err)"

# Other ways to align.
align=(relion_tomo_align --i J_ctf/optimisation_set.star --ref1 R_init/half1.mrc --ref2 R_init/half2.mrc --mask mask_align.mrc --b $((box + 16)) --r 4 --j 2)
expect 0 "${align[@]}" --o J_shift/ --shift_only --shift_only_by_particles
[ -e J_shift/tomograms.star ] && [ ! -e J_shift/particles.star ] || fail "--shift_only_by_particles"
expect 0 "${align[@]}" --o J_def/ --deformation --def_model linear --const_p --min_frame 0 --max_frame -1
[ -e J_def/particles.star ] || fail "--deformation"
expect 2 "${align[@]}" --o J_no/ --deformation --def_model cubic
[ ! -e J_no/tomograms.star ] || fail "a model that is none"

# RELION's defaults: no sharpening unless asked for, and a threshold that is a number.
expect 0 relion_postprocess --i R_init/half1.mrc --o PP_plain/postprocess
grep -q '_rlnBfactorUsedForSharpening  *0.0' PP_plain/postprocess.star || fail "sharpened without --auto_bfac"
expect 0 relion_postprocess --i R_init/half1.mrc --o PP_adhoc/relion --adhoc_bfac -50 --low_pass 20 --filter_edge_width 4 --skip_fsc_weighting --half_maps --verb 0
grep -q '_rlnBfactorUsedForSharpening  *-50.0' PP_adhoc/relion.star && [ -e PP_adhoc/relion_half2.mrc ] || fail "--adhoc_bfac"
expect 0 relion_postprocess --i R_init/half1.mrc --o PP_loc/relion --adhoc_bfac -50 --locres --locres_sampling 40 --locres_minres 100
[ -e PP_loc/relion_locres.mrc ] && [ -e PP_loc/relion_locres_filtered.mrc ] && [ -e PP_loc/histogram.pdf ] || fail "--locres"
printf 'data_\nloop_\n_rlnResolutionInversePixel\n_rlnMtfValue\n0 1\n0.25 0.8\n0.5 0.5\n' >mtf.star
expect 0 relion_postprocess --i R_init/half2.mrc --mask mask_fsc.mrc --o PP_mtf/postprocess --mtf mtf.star --mtf_angpix 3 --auto_bfac --autob_lowres 20 --autob_highres 0 \
	--randomize_at_fsc 0.9 --random_seed 5 --molweight 500 --force_mask --interpolate --extend_inimask 3
grep -q '^_rlnLogAmplitudesMTFCorrected' PP_mtf/postprocess.star && grep -q '^_rlnUnfilteredMapHalf2  *R_init/half1.mrc' PP_mtf/postprocess.star || fail "--mtf"
grep -q 'warning: --extend_inimask has no effect' err || fail "nothing said of an option without effect"
expect 0 relion_postprocess --i R_init/half1.mrc --mask mask_fsc.mrc --o PP_amp/postprocess --ampl_corr --autob_lowres 20
for label in rlnAmplitudeCorrelation{Unm,M}askedMaps rlnDifferentialPhaseResidual{Unm,M}askedMaps; do
	grep -q "^_$label " PP_amp/postprocess.star || fail "--ampl_corr: no $label"
done
expect 3 relion_postprocess --i R_init/half1.mrc --o PP_auto/postprocess --auto_mask
[ ! -e PP_auto ] || fail "a refused call makes a folder"
expect 0 relion_mask_create --i R_init/merged.mrc --and_not R_init/half1.mrc --o x.mrc --invert
grep -q 'threshold 0.01$' out || fail "threshold of RELION"
expect 0 relion_mask_create --i R_init/half1.mrc --and R_init/half2.mrc --or R_init/merged.mrc --ini_threshold 0.05 --angpix 3 --o y.mrc
grep -q 'warning: --or is not used' err || fail "nothing said of the second of two second maps"
expect 2 relion_mask_create --i R_init/merged.mrc --o z.mrc --j 0
[ ! -e z.mrc ] || fail "no threads"

# A pipeline: flags of a refused call, and of one that is asked to stop.
mkdir -p Polish/job009
expect 3 relion_tomo_align --i J_ctf/optimisation_set.star --b 48 --o Polish/job009/ --srp 2 --pipeline_control Polish/job009/
grep -q '^relion_tomo_align: error: --srp is not supported yet' err || fail "form of the refusal"
[ "$(ls Polish/job009)" = RELION_JOB_EXIT_FAILURE ] || fail "flags of a refused call"
rm -r Polish
expect 2 relion_tomo_align --i J_ctf/optimisation_set.star --b 48 --o Polish/job009/ --motoin --pipeline_control Polish/job009/
[ ! -e Polish ] || fail "a call that is not understood makes folders"
mkdir -p Polish/job009
expect 2 relion_tomo_align --i J_ctf/optimisation_set.star --b 48 --o Polish/job009/ --motoin --pipeline_control Polish/job009/
grep -q 'did you mean --motion' err || fail "no did-you-mean"
rm Polish/job009/*
# A request to stop from before the start is of an earlier run (tests/gui has one that comes during the run).
touch Polish/job009/RELION_JOB_ABORT_NOW
expect 0 relion_tomo_reconstruct_particle --i J_ctf/optimisation_set.star --b 48 --o Polish/job009/ --pipeline_control Polish/job009/
grep -q 'warning: removed Polish/job009/RELION_JOB_ABORT_NOW' err || fail "nothing said of a request to stop from before the start"
rm -r Polish/job009
mkdir Polish/job009

# Nothing is left by a dry run, nor by the ranks that do not work.
expect 0 relion_tomo_reconstruct_particle --i J_ctf/optimisation_set.star --b 48 --o Polish/job009/ --pipeline_control Polish/job009/ --dry-run
expect 0 relion_postprocess --i R_init/half1.mrc --mask mask_fsc.mrc --o Polish/job009/postprocess --dry-run
expect 0 relion_mask_create --i R_init/half1.mrc --o Polish/job009/mask.mrc --dry-run
expect 1 relion_postprocess --i R_init/half1.mrc --mtf none.star --o Polish/job009/postprocess --dry-run
expect 0 env OMPI_COMM_WORLD_RANK=1 OMPI_COMM_WORLD_LOCAL_SIZE=2 names/relion_mask_create_mpi --i R_init/half1.mrc --o Polish/job009/mask.mrc
[ ! -s out ] && [ ! -s err ] && [ -z "$(ls -A Polish/job009)" ] || fail "a dry run or an idle rank leaves something"
expect 0 env OMPI_COMM_WORLD_RANK=0 OMPI_COMM_WORLD_LOCAL_SIZE=2 names/relion_mask_create_mpi --i R_init/half1.mrc --o Polish/job009/mask.mrc
[ -e Polish/job009/mask.mrc ] || fail "the first rank does not work"

# Contrast scales that RELION has made negative: refused by default, excluded under its names.
mkdir -p N/tilt_series
cp J_ctf/*.star N/
cp -r J_ctf/J_pol N/ 2>/dev/null || true
series=$(sed -n 's/.* \([^ ]*TS_01\.star\).*/\1/p' N/tomograms.star | head -n 1)
sed "s|$series|N/TS_01.star|" J_ctf/tomograms.star >N/tomograms.star
column=$(sed -n 's/^_rlnCtfScalefactor #\([0-9]*\).*/\1/p' "$series")
awk -v c="$column" '!/^[_#]/ && NF >= c && n++ == 0 { $c = "-0.05" } { print }' "$series" >N/TS_01.star
expect 3 "$cyclotomo" reconstruct --particles J_pol/particles.star --tomograms N/tomograms.star --box 48 --output N/R/ --dry-run
grep -q 'negative: -0.05' err || fail "negative scale"
expect 0 relion_tomo_reconstruct_particle --p J_pol/particles.star --t N/tomograms.star --b 48 --o N/R/
grep -q "warning: 1 tilt with a negative contrast scale counts as excluded, the first in row 1 of 'N/TS_01.star'" err || fail "nothing said of a negative scale"
expect 3 "$cyclotomo" extract --particles J_pol/particles.star --tomograms N/tomograms.star --box 48 --output N/E/ --dry-run
grep -q 'negative: -0.05' err || fail "negative scale"
expect 0 relion_tomo_subtomo --p J_pol/particles.star --t N/tomograms.star --b 48 --stack2d --o N/E/
grep -q "warning: 1 tilt with a negative contrast scale counts as excluded" err || fail "nothing said of a negative scale"

# job.star.
mkdir -p CtfRefine/job011
cat >CtfRefine/job011/job.star <<'J'
data_job
_rlnJobTypeLabel             relion.ctfrefinetomo
_rlnJobIsContinue                       0
_rlnJobIsTomo                           0

data_joboptions_values
loop_
_rlnJobOptionVariable #1
_rlnJobOptionValue #2
box_size 48
do_defocus Yes
do_frame_scale Yes
do_queue No
do_reg_def No
do_scale Yes
do_tomo_scale No
focus_range 3000
in_halfmaps R_init/half1.mrc
in_optimisation J_pol/optimisation_set.star
in_particles ""
in_post PP_init/postprocess.star
in_refmask mask_align.mrc
lambda 0.1
nr_mpi 3
nr_threads 2
other_args "--kmin 40"
use_direct_entries No
J
sed -i "s/box_size 48/box_size $((box + 16))/" CtfRefine/job011/job.star
cp CtfRefine/job011/job.star job.wanted
expect 0 "$cyclotomo" job2cmd CtfRefine/job011/job.star --dry-run -q
grep -q '^cyclotomo ctfrefine --optimisation-set J_pol/optimisation_set.star .*--dry-run' out || fail "job2cmd: $(cat out)"
[ "$(ls CtfRefine/job011)" = job.star ] || fail "a dry run leaves something"
(cd / && "$cyclotomo" job2cmd "$work/CtfRefine/job011" --as relion -q) >out || fail "job2cmd from elsewhere"
grep -q "^relion_tomo_refine_ctf .*--o CtfRefine/job011/ .*--kmin 40 .*--root $work/" out || fail "job2cmd from elsewhere: $(cat out)"
for place in CtfRefine:job011 CtfRefine/job011:job.star; do
	(cd "${place%:*}" && "$cyclotomo" job2cmd "${place#*:}" --dry-run -q) >out || fail "job2cmd from within the project"
	grep -q "^cyclotomo ctfrefine .*--output CtfRefine/job011/ .*--root $(pwd -P)/" out || fail "job2cmd from within the project: $(cat out)"
done
expect 0 "$cyclotomo" job2cmd CtfRefine/job011/ -q
read -ra words <out
expect 0 "$cyclotomo" "${words[@]:1}" -q
[ -e CtfRefine/job011/tomograms.star ] && [ -e CtfRefine/job011/RELION_JOB_EXIT_SUCCESS ] || fail "the command of job2cmd"
cmp CtfRefine/job011/job.star job.wanted || fail "RELION's job.star is written over"
expect 0 "$cyclotomo" job2cmd CtfRefine/job011
grep -q 'would be overwritten' err || fail "nothing said of results that are there"
expect 3 "$cyclotomo" job2cmd particles.star
expect 1 "$cyclotomo" job2cmd no/job.star
expect 0 "$cyclotomo" job2cmd J_pol/job.star
grep -q '^cyclotomo polish .*--motion' out || fail "a job.star of cyclotomo's own: $(cat out)"
[ -z "$(find . -name '*.tmp*')" ] || fail "temporary files are left"
