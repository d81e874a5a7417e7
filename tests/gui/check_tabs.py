#!/usr/bin/env python3
"""Does every field of the tabs of RELION's GUI do what docs/formats/relion-commands.md says?   check_tabs.py BINARY [PROJECT]

A job.star with RELION 5's variables and usual values is made for each of the seven jobs; then each variable is changed alone, and what `cyclotomo job2cmd` makes
of it is compared: a field that is honoured changes the command, one with nothing to do changes nothing and says nothing, one that is ignored changes nothing and
says so, one that is refused ends the call. Variables of these files and rows of the tables must be the same ones.
"""
import os
import pathlib
import re
import subprocess
import sys
import tempfile

binary = os.path.realpath(sys.argv[1])
work = tempfile.mkdtemp()
faults = []

COMMON = "do_queue=No min_dedicated=1 other_args= qsub=qsub qsubscript= queuename=openmpi"
PROJECT = "nr_mpi=1 nr_threads=2 in_optimisation=A/optimisation_set.star in_particles= in_tomograms= in_trajectories= use_direct_entries=No"
REFERENCE = "in_halfmaps=R/half1.mrc in_post=P/postprocess.star in_refmask=mask.mrc box_size=64"
TABS = {
    "relion_tomo_reconstruct_particle": ("relion.reconstructparticletomo", PROJECT + " binning=1 box_size=64 crop_size=32 snr=0 sym_name=C1"),
    "relion_tomo_refine_ctf": ("relion.ctfrefinetomo", PROJECT + " " + REFERENCE + " do_defocus=Yes do_frame_scale=Yes do_reg_def=Yes do_scale=Yes do_tomo_scale=No focus_range=3000 lambda=0.001"),
    "relion_tomo_align": ("relion.framealigntomo", PROJECT + " " + REFERENCE + " do_motion=Yes do_shift_align=No do_sq_exp_ker=No max_error=5 shift_align_type=Entire_micrographs sigma_div=5000 sigma_vel=0.2"),
    "relion_tomo_subtomo": ("relion.pseudosubtomo", PROJECT + " binning=1 box_size=64 crop_size=32 do_float16=Yes do_stack2d=Yes max_dose=50 min_frames=1"),
    "relion_refine": ("relion.refine3d.tomo", PROJECT + """ auto_faster=No auto_local_sampling=1.8_degrees ctf_intact_first_peak=No do_apply_helical_symmetry=Yes do_blush=No
        do_combine_thru_disc=No do_ctf_correction=Yes do_helix=No do_local_search_helical_symmetry=No do_pad1=No do_parallel_discio=Yes do_preread_images=No do_solvent_fsc=Yes do_zero_mask=Yes
        fn_cont= fn_mask=mask.mrc fn_ref=R/half1.mrc gpu_ids= helical_nr_asu=1 helical_range_distance=-1 helical_rise_inistep=0 helical_rise_initial=0 helical_rise_max=0 helical_rise_min=0
        helical_tube_inner_diameter=-1 helical_tube_outer_diameter=-1 helical_twist_inistep=0 helical_twist_initial=0 helical_twist_max=0 helical_twist_min=0 helical_z_percentage=30
        ini_high=20 keep_tilt_prior_fixed=Yes nr_pool=3 offset_range=5 offset_step=1 particle_diameter=200 range_psi=10 range_rot=-1 range_tilt=15 ref_correct_greyscale=Yes relax_sym=
        sampling=0.9_degrees scratch_dir= sigma_tilt=0 sym_name=C1 trust_ref_size=Yes use_gpu=No"""),
    "relion_postprocess": ("relion.postprocess", "adhoc_bfac=-100 angpix=-1 autob_lowres=10 do_adhoc_bfac=No do_auto_bfac=Yes do_skip_fsc_weighting=No fn_in=R/half1.mrc fn_mask=mask.mrc fn_mtf= low_pass=5 mtf_angpix=1"),
    "relion_mask_create": ("relion.maskcreate", "angpix=-1 do_helix=No extend_inimask=3 fn_in=R/merged.mrc helical_z_percentage=30 inimask_threshold=0.02 lowpass_filter=15 nr_threads=2 width_mask_edge=3"),
}
# Rows that jobs of RELION 5.0 do not have: other versions, single particles.
NEWER = {"do_even_aberrations", "do_odd_aberrations", "do_real_subtomo", "fn_img"}
# A field that counts only beside others: these are set for both sides of the comparison.
BESIDE = {
    "in_particles": "use_direct_entries=Yes in_tomograms=T/tomograms.star", "in_tomograms": "use_direct_entries=Yes in_particles=P/particles.star",
    "in_trajectories": "use_direct_entries=Yes in_tomograms=T/tomograms.star in_particles=P/particles.star",
    "use_direct_entries": "in_tomograms=T/tomograms.star in_particles=P/particles.star",
    "do_frame_scale": "do_tomo_scale=No", "do_tomo_scale": "do_frame_scale=No", "shift_align_type": "do_motion=No do_shift_align=Yes", "do_shift_align": "do_motion=No",
    "adhoc_bfac": "do_auto_bfac=No do_adhoc_bfac=Yes", "do_adhoc_bfac": "do_auto_bfac=No", "low_pass": "do_skip_fsc_weighting=Yes", "mtf_angpix": "fn_mtf=mtf.star",
    "mask:helical_z_percentage": "do_helix=Yes", "gpu_ids": "use_gpu=Yes", "fn_cont": "continued=1", "do_real_subtomo": "do_stack2d=No",
    "scratch_dir": "do_preread_images=No",
}
# The value that it is changed to, where it is no switch and no number.
OTHER = {
    "in_optimisation": "B/optimisation_set.star", "in_particles": "P/others.star", "in_tomograms": "T/others.star", "in_trajectories": "M/motion.star", "in_halfmaps": "S/half1.mrc",
    "in_post": "S/postprocess.star", "in_refmask": "other.mrc", "fn_in": "S/half1.mrc", "fn_ref": "S/half1.mrc", "fn_mask": "other.mrc", "fn_mtf": "mtf.star", "fn_cont": "Refine3D/job001/run_it001_optimiser.star",
    "fn_img": "Extract/job001/particles.star", "sym_name": "C3", "shift_align_type": "Only_particles", "auto_local_sampling": "0.9_degrees", "sampling": "1.8_degrees", "relax_sym": "C2",
    "scratch_dir": "/tmp", "gpu_ids": "0", "other_args": "--theme_dark", "queuename": "long", "qsub": "sbatch", "qsubscript": "my.sh", "lambda": "0.1", "angpix": "1.5", "sigma_tilt": "10",
    "helical_z_percentage": "50", "do_real_subtomo": "Yes", "do_even_aberrations": "Yes", "do_odd_aberrations": "Yes", "inimask_threshold": "0.05", "binning": "2", "crop_size": "24",
}
OWN_ARGUMENT = {"relion_tomo_reconstruct_particle": "--crop-images", "relion_tomo_refine_ctf": "--per-tilt-bfactor", "relion_tomo_align": "--fixed-speed", "relion_tomo_subtomo": "--cone_weight",
                "relion_refine": "--no-follow", "relion_postprocess": "--ampl_corr", "relion_mask_create": "--invert"}


def values_of(text):
    return dict(word.split("=", 1) for word in text.split())


def write(job_type, values):
    values = dict(values)
    continued = values.pop("continued", "0")
    lines = ["", "data_job", "", "_rlnJobTypeLabel %s" % job_type, "_rlnJobIsContinue %s" % continued, "_rlnJobIsTomo 0", "", "data_joboptions_values", "", "loop_",
             "_rlnJobOptionVariable #1", "_rlnJobOptionValue #2"]
    lines += ['%s "%s"' % (k, v.replace("_", " ") if k in ("shift_align_type", "auto_local_sampling", "sampling") else v) for k, v in sorted(values.items())]
    (pathlib.Path(work) / "job.star").write_text("\n".join(lines) + "\n")


def run():
    """(exit code, command line, warnings)"""
    r = subprocess.run([binary, "job2cmd", "job.star", "--o", "Job/job001/"], cwd=work, capture_output=True, text=True)
    warnings = [l for l in r.stderr.splitlines() if "warning" in l and "warnings above" not in l]
    return r.returncode, r.stdout, sorted(re.sub(r"^\[.*?\] ", "", w) for w in warnings), r.stderr


def table_of(program):
    """variable: what its row says"""
    text = subprocess.run([binary, program, "--help-markdown"], capture_output=True, text=True, check=True).stdout
    rows = {}
    for line in text.split("Fields of its tab in the GUI:")[1].splitlines():
        cells = [c.strip() for c in line.strip("|").split("|")]
        if len(cells) == 4 and cells[1].startswith("`"):
            if not cells[0]:
                faults.append("%s: no description of %s" % (program, cells[1]))
            rows[cells[1].strip("`")] = cells[3]
    return rows


def row_of(rows, variable):
    if variable in rows:
        return rows[variable]
    for name, fate in rows.items():
        if name.endswith("*") and variable.startswith(name[:-1]):
            return fate
    return None


def changed(program, variable, value):
    if variable == "other_args":
        return OWN_ARGUMENT[program]
    if value in ("Yes", "No"):
        return "No" if value == "Yes" else "Yes"
    if variable in OTHER:
        return OTHER[variable]
    return "%g" % (float(value) + 4)


def check(program, job_type, base, rows, variable):
    fate = row_of(rows, variable)
    if fate is None:
        faults.append("%s: %s has no row in the table" % (program, variable))
        return
    values = dict(base)
    values.setdefault(variable, "No" if variable.startswith("do_") else "")
    beside = BESIDE.get(("mask:" if program == "relion_mask_create" else "") + variable, BESIDE.get(variable, ""))
    if variable == "in_particles":
        values[variable] = "P/particles.star"
    known = {k: v for k, v in values_of(beside).items() if k in values or k == "continued"}
    if variable in known:
        del known[variable]
    values.update(known)
    write(job_type, values)
    before = run()
    if before[0] != 0:
        faults.append("%s: %s: the job itself is refused: %s" % (program, variable, before[3].strip()))
        return
    values[variable] = changed(program, variable, values[variable])
    write(job_type, values)
    after = run()
    is_same, is_told = after[1] == before[1], after[2] != before[2]
    found = "code %d, command %s, %s" % (after[0], "the same" if is_same else "another", "; ".join(w for w in after[2] if w not in before[2]) or "no warning")
    if fate.startswith("honoured"):
        good = (after[0] == 0 and not is_same) or (variable == "do_ctf_correction" and after[0] == 3)
    elif fate.startswith("nothing to do"):
        good = after[0] == 0 and is_same and not is_told
    elif fate.startswith("ignored"):
        good = after[0] == 0 and is_same and is_told or variable == "gpu_ids"
    else:
        good = after[0] == 3
    if not good:
        faults.append("%s: %s = %s is '%s', but: %s" % (program, variable, values[variable], fate, found))


n = 0
for program, (job_type, text) in TABS.items():
    base = values_of(text + " " + COMMON)
    rows = table_of(program)
    for variable in base:
        check(program, job_type, base, rows, variable)
        n += 1
    for name in rows:
        if name in NEWER:
            check(program, job_type, base, rows, name)
            n += 1
        elif not any(v == name or (name.endswith("*") and v.startswith(name[:-1])) for v in base) and name not in ("do_helix", "helical_*", "nr_mpi"):
            faults.append("%s: the row of %s is of no variable of RELION's" % (program, name))

if len(sys.argv) > 2:
    for path in sorted(pathlib.Path(sys.argv[2]).rglob("job.star")):
        label = re.search(r"_rlnJobTypeLabel\s+(\S+)", path.read_text())[1]
        for program, (job_type, _) in TABS.items():
            if label != job_type and not label.startswith(job_type + "."):
                continue
            rows = table_of(program)
            for line in path.read_text().split("joboptions_values")[1].splitlines():
                words = line.split(None, 1)
                if len(words) == 2 and not words[0].startswith(("_", "#", "loop_")) and row_of(rows, words[0]) is None:
                    faults.append("%s: %s has no row in the table of %s" % (path, words[0], program))
            n += 1

for fault in faults:
    print(fault)
print("%d fields tried, %d faults" % (n, len(faults)))
sys.exit(1 if faults else 0)
