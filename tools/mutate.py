#!/usr/bin/env python3
"""Does a test notice?   mutate.py [--only NAME ...] [--list] [--work FOLDER] [--jobs N]

Each mutation is one wrong line of the program: an option that is forgotten, a formula without its factor, a constant that is
twice what a theory page names. Copies the tracked files into FOLDER (default: build-mutate), builds there, and for each mutation
changes the line, builds again, runs the tests that should notice, and puts the line back. Prints a table; the exit code is 1 if
a mutation survives and 2 if the list is stale. --only takes names, or beginnings of names. Run by hand; needs what building
needs, and Python's standard library.

Files are found by their name anywhere under src/ and backends/, so the list survives moves. The old text has to occur once.
"""
import argparse
import os
import pathlib
import re
import signal
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent

# Name, file, old text, new text, tests (a regular expression of ctest -R).
M = []


def mutation(name, file, old, new, tests):
    M.append((name, file, old, new, tests))


def constant(file, name, value, factor, tests, suffix=""):
    """A named constant times a factor; its old text is `NAME = VALUE` up to what follows."""
    text = "%s =%s" % (name, value if value.startswith("\n") else " " + value)
    for f in factor if isinstance(factor, tuple) else (factor,):
        mutation("%s x%g%s" % (name, f, suffix), file, text, "%s = %g * %s" % (name, f, value.strip()), tests)


REFINE, SEARCH, MEMORY = "property/test_refine3d", "unit/test_pose_search", "docs/memory_said"
RULES, CTF_RULES, POLISH_RULES = "unit/test_refine3d_rules", "unit/test_ctf_rules", "unit/test_polish_rules"
POLISH, CTF, BAD = "unit/test_polish|property/test_polish_project", "property/test_ctfrefine", "property/test_bad_tilts"

# ---------------------------------------------------------------- steps left out

mutation("learn_priors: returns at once", "expectation.c", "\tdeviation *d = NULL;\n\tCYC_TRY(cyc_alloc(&d, 3 * (size_t)n, sizeof *d));",
         "\tdeviation *d = NULL;\n\tif (n >= 0) return CYC_OK;\n\tCYC_TRY(cyc_alloc(&d, 3 * (size_t)n, sizeof *d));", RULES)
# There was once an estimate of a particle's own noise in its reference; now its group is taken out of the map instead (T8.5).
mutation("groups: all images are in every reference", "group_maps.c", "half * g->n_groups + i_group,\n", "-1,\n", REFINE)
mutation("progress: a start is left for any gain", "progress.c", "excess_of_fit(s) * g.w", "0 * excess_of_fit(s) * g.w", RULES)
mutation("progress: a start is left for twice a fit", "progress.c", "excess_of_fit(s) * g.w", "2 * excess_of_fit(s) * g.w", RULES)
mutation("progress: improbable particles have a say", "progress.c", "double w = cyc_refine3d_weight(j, p), d =", "double w = 1, d =", RULES)
mutation("polish: windows of whole images without their sign", "image_shift.c", "unit = -1 / (float)s", "unit = 1 / (float)s", POLISH)
mutation("stacks: fill_shares gives 1", "stack_images.c", "\t\tshare[j] = kept;", "\t\tkept = 1;\n\t\tshare[j] = kept;", SEARCH)
mutation("fit_scales: mean of scales is not 1", "expectation.c", "\t\t\tseries_scale[2 * i + h] *= count / mean;", "\t\t\tseries_scale[2 * i + h] *= 2 * count / mean;", SEARCH)
mutation("fit_scales: clamps left out", "expectation.c", "fmin(fmax(scale, 0.2), 5)", "scale", SEARCH)
mutation("fit_scales: no least amplitude", "expectation.c", "fmax(all[0], sqrt(0.5 * all[2]))", "all[0]", SEARCH)
mutation("fit_scales: no own noise in it", "expectation.c", "amplitude[h] = fmax(all[0], sqrt(0.5 * all[2])) / (all[1] + all[2])",
         "amplitude[h] = fmax(all[0], sqrt(0.5 * all[2])) / all[2]", SEARCH)
mutation("polish: angle widths without floor", "alignment_prior.c", "fmax(robust_spread(squares, n_input, expected), LEAST_ANGLE_RAD)", "robust_spread(squares, n_input, expected)", POLISH)
mutation("polish: shift widths without floor", "alignment_prior.c", "fmax(robust_spread(squares, 2 * (size_t)a->n_tilts, 1.0), LEAST_SHIFT_A)", "robust_spread(squares, 2 * (size_t)a->n_tilts, 1.0)", POLISH)
mutation("reconstruct: weight of partial windows dropped", "tilt_batch.c", "\t\tb->weight[i] = weight;", "\t\tb->weight[i] = 1;", "unit/test_tilt|property/test_reconstruct|property/test_extract")
mutation("reconstruct: weight of an image dropped", "accumulate.c", "b->weight[i] = a->image_weight;", "b->weight[i] = 1;", "property/test_image_weights|property/test_reconstruct")
mutation("reconstruct: weights are not moved with their particles", "accumulate.c", "\t\tb->weight[n] = b->weight[i];\n", "", "property/test_slots")
mutation("refine_tilts: polishing's options are not in the key", "refine_tilts.c", "CYC_TRY(cyc_polish_options_hash(&h, &j->o->polish));", "h++;", "cli/test_refine_tilts")
mutation("refine_tilts: CTF options are not in the key", "refine_tilts.c", "CYC_TRY(cyc_ctfrefine_options_hash(&h, &j->o->ctfrefine));", "h++;", "cli/test_refine_tilts")
mutation("refine_tilts: box is not in the hash", "refine_tilts.c", "{ o->box_px, o->whole_windows }", "{ 0, o->whole_windows }", "cli/test_refine_tilts")
mutation("refine_tilts: whole windows are not in the hash", "refine_tilts.c", "{ o->box_px, o->whole_windows }", "{ o->box_px, 0 }", "cli/test_refine_tilts")
mutation("refine_tilts: references are not in the hash", "refine_tilts.c", "\t\tCYC_TRY(cyc_input_file_hash(&h, files[i], root));", "\t\th++;", "cli/test_refine_tilts")
mutation("magnified tables: full plane", "tilt_batch.c", "if (x * x + ky * ky >= w->n_k2 || w->radial[2 * (x * x + ky * ky)] == 0) continue;", "", "unit/test_tilt|property/test_aberrations")
mutation("magnified tables: envelope of the image's frequency", "tilt_batch.c", "double k2 = k[0] * k[0] + k[1] * k[1], r = w->step_invA * sqrt(k2),", "double k2 = k[0] * k[0] + k[1] * k[1], r = w->step_invA * hypot(x, ky),", "unit/test_conventions|unit/test_tilt")
mutation("poses: no errors", "pose_follow.c", "for (int k = 0; k < N; k++) error[k] = sqrt(A[k * N + k]);", "for (int k = 0; k < N; k++) error[k] = 0;", RULES)
mutation("poses: no mass of a maximum", "pose_follow.c", "tracks[i].best.log_posterior + cyc_peak_errors(", "tracks[i].best.log_posterior + 0 * cyc_peak_errors(", RULES)
mutation("polish: errors of tilts are 0", "polish_output.c", "TILT[k], r->tilt_errors[5 * t + k])", "TILT[k], 0 * r->tilt_errors[5 * t + k])", POLISH)
mutation("polish: errors of particles are 0", "polish_output.c", "PARTICLE[k], errors[k])", "PARTICLE[k], 0 * errors[k])", POLISH)
mutation("polish: errors of motion are 0", "polish_output.c", "CYC_OWN_MOTION_ERROR_ANGST, r->motion_errors[t])", "CYC_OWN_MOTION_ERROR_ANGST, 0 * r->motion_errors[t])", POLISH)

# ---------------------------------------------------------------- memory and disk that is said to be needed


def need(name, file, old, new):
    for factor in ("2.0", "0.5"):
        mutation("memory of %s x%s" % (name, factor), file, old, new % factor, MEMORY)


need("reconstruct", "reconstruct_memory.c", "+ more);\n\treturn m.peak;", "+ more);\n\treturn %s * m.peak;")
need("postprocess", "map_memory.c", "local_resolution_bytes(o, n, pixel_size_A));\n\treturn m.peak;", "local_resolution_bytes(o, n, pixel_size_A));\n\treturn %s * m.peak;")
need("mask", "map_memory.c", "and those of the axis before */\n\treturn m.peak;", "and those of the axis before */\n\treturn %s * m.peak;")
need("ctfrefine", "ctfrefine_memory.c", "\treturn m.peak;", "\treturn %s * m.peak;")
need("polish", "polish_memory.c", "\treturn m.peak;", "\treturn %s * m.peak;")
need("refine-tilts", "refine_tilts_memory.c", "\treturn kept_bytes(o, p) + fmax(cyc_polish_memory_bytes(&polish, p, map_px, radius),\n\t                               cyc_ctfrefine_memory_bytes(&ctfrefine, p, map_px, radius));",
     "\treturn %s * (kept_bytes(o, p) + fmax(cyc_polish_memory_bytes(&polish, p, map_px, radius), cyc_ctfrefine_memory_bytes(&ctfrefine, p, map_px, radius)));")
need("extract", "series.c", "return CYC_PROGRAM_BYTES + image + reached_bytes(pass, j) + batch + threads + volume + 20 * S * S;",
     "return %s * (CYC_PROGRAM_BYTES + image + reached_bytes(pass, j) + batch + threads + volume + 20 * S * S);")
need("check", "check_memory.c", "cyc_fft3_bytes(map_px, o->n_threads));\n\treturn m.peak;", "cyc_fft3_bytes(map_px, o->n_threads));\n\treturn %s * m.peak;")
need("refine", "refine3d_memory.c", "\tout->bytes = fixed + fmax(B, poses + out->references_bytes);",
     "\tout->bytes = %s * (fixed + fmax(B, poses + out->references_bytes));")
need("simulate", "simulate_memory.c", "\treturn m.peak;", "\treturn %s * m.peak;")


def plan(name, old, new, tests="docs/memory_table"):
    """Of a cycle: memory by the jobs' own functions, so that only the disk and what they are given can be wrong here."""
    for factor in ("2.0", "0.5"):
        mutation("plan of %s x%s" % (name, factor), "needs.c", old, new % factor, tests)


plan("reconstruct: disk", "out->disk = SMALL_FILES + 2.0 * 24.0 * cyc_ball_count", "out->disk = SMALL_FILES + %s * 2.0 * 24.0 * cyc_ball_count")
plan("postprocess: disk", "(in->mask_fsc ? 2.0 : 1.0) * cyc_map_bytes", "%s * (in->mask_fsc ? 2.0 : 1.0) * cyc_map_bytes")
plan("refine: disk", "(4.0 * r.max_iterations + 5.0) * cyc_map_bytes", "%s * (4.0 * r.max_iterations + 5.0) * cyc_map_bytes")
plan("tables: disk", "return SMALL_FILES +\n", "return SMALL_FILES + (%s - 1) * p->n_series * FIGURES_OF_SERIES +\n")
# FIGURES_OF_SERIES, ROWS_OF_TILT and the other numbers of needs.c are shares of the last; of a small project they are below the
# megabyte that the plan is rounded to, and of a large one far below the maps.
plan("reconstruct: memory", "out->memory = cyc_reconstruct_memory_bytes", "out->memory = %s * cyc_reconstruct_memory_bytes")
plan("ctfrefine: memory", "out->memory = cyc_ctfrefine_memory_bytes(&c", "out->memory = %s * cyc_ctfrefine_memory_bytes(&c", "unit/test_memory_plans")
plan("polish: memory", "out->memory = cyc_polish_memory_bytes", "out->memory = %s * cyc_polish_memory_bytes")
plan("refine: memory", "const cyc_refine3d_options r = cyc__refine3d_options(o);\n\tconst cyc_refine3d_sizes z = refine3d_sizes(in, o, &r);\n\tout->memory = ",
     "const cyc_refine3d_options r = cyc__refine3d_options(o);\n\tconst cyc_refine3d_sizes z = refine3d_sizes(in, o, &r);\n\tout->memory = %s * ")

# ---------------------------------------------------------------- GPUs: memory, and the trial before a job

for factor in ("2.0", "0.5"):
    mutation("memory of a device x" + factor, "registry.c", "*needed = bytes + fmin(", "*needed = %s * bytes + fmin(" % factor, "cli/test_backends")
mutation("batches do not become smaller", "registry.c", "\t\tbe->batch_bytes /= 2;", "\t\tbreak;", "cuda/test_plugin")
mutation("trial of a GPU: nothing is compared", "trial.c", "got->results[i].n == n &&", "true || got->results[i].n == n &&", "cuda/test_plugin")
mutation("trial of a GPU: numbers that are none pass", "trial.c", "if (!isfinite(a[i]) || !isfinite(b[i])) return false;", "", "cuda/test_plugin")
mutation("whole windows are weighed like partial ones", "frame_share.c", "w->batch->weight[i] < 1 ?", "w->batch->weight[i] < 2 ?", "property/test_image_weights")

# ---------------------------------------------------------------- kernels: barriers taken out, races put in

KERNELS = "equiv/test_kernels"


def barrier(name, file, before, after, tests=KERNELS):
    """The barrier between two lines taken out. (The last one of slice_insert is not there: the pass that it is in began with one.)"""
    at = "%sCYC_BARRIER(lane);\n%s"
    mutation("barrier: " + name, file, before + at % ("\t" * (len(after) - len(after.lstrip("\t"))), after), before + after, tests)


barrier("rows that are correlated", "correlate.h", "\t\t\t}\n", "\t\t\tint32_t d = part")
barrier("means of images", "particle_image.h", "sh->row[lane] = row;\n", "\t\t\tfor (int32_t i = 0; i < n && lane == 0; i++) CYC_MINE(sum)")
barrier("scores: data of a step", "pose_scores.h", "k, lane % CYC_POSE_TILE);\n", "\t\t\t\tint32_t o = lane / CYC_POSE_TILE")
barrier("scores: power", "pose_scores.h", "= CYC_MINE(power);\n", "\t\tint32_t o = at->rotation")
barrier("scores: the best", "pose_scores.h", "sh->best[lane] = best;\n", "\t\tdouble limit = a->none;")
barrier("terms: columns", "poses.h", "sh->columns[k][lane] = sum[k];\n", "\t\t\tfor (int32_t i = lane; i < CYC_N_POSE_TERMS * CYC_POSE_AT_ONCE",
        "equiv/test_poses")  # NaN in every order, which only a comparison with other kernels shows
barrier("terms: blocks", "poses.h", "\t\t\t}\n", "\t\t\tfor (int32_t b = 0; b < CYC_POSE_AT_ONCE && lane")
barrier("insertion: slices that are near", "slice_insert.h", "cyc_is_near(&a->slices[first + lane], corner);\n", "\t\t\t/* Voxels beyond the ball")
barrier("flags", "slice_insert.h", "sh->any[lane] = any;\n", "\t\tint32_t all = 0;")
barrier("means of windows: sums", "window.h", "lane % CYC_SUM_LANES);\n", "\t\t\tif (lane < n)\n\t\t\t\tcyc_corner_row")
barrier("means of windows: rows", "window.h", "first + lane, sh, lane);\n", "\t\t\tfor (int32_t i = 0; i < n && lane == 0; i++) {")
mutation("race of blocks: means of windows", "window.h", "a->means[block.index] = CYC_MINE(count) > 0", "a->means[block.index / 2] = CYC_MINE(count) > 0", KERNELS)
mutation("race of blocks: terms", "poses.h", "a->sums[block.index * CYC_N_POSE_TERMS + lane] = ", "a->sums[lane] = ", KERNELS)
mutation("race of lanes: the best score", "pose_scores.h", "sh->best[lane] = best;", "sh->best[lane / 2] = best;", KERNELS)
mutation("race of lanes: rows that are correlated", "correlate.h", "sh->re[lane] = g.re;", "sh->re[lane / 2] = g.re;", "equiv/test_backends")  # NaN in every order
# Found by threads that really run at the same time; the thread sanitizer needs no luck for it.
mutation("race of threads: one shared memory", "emulate.c", "l->shared + (size_t)i_thread * l->shared_bytes", "l->shared + 0 * (size_t)i_thread", KERNELS)

mutation("a window's plan: the rows are not looked at", "cpu/window.c", "p->spec.radius == spec->radius && p->spec.n_rows == spec->n_rows", "p->spec.radius == spec->radius", "equiv/test_backends")
mutation("shown memory: the last one stays", "registry.c", "cyc_buffer_destroy(b);\n\t\tCYC_TRY(cyc_alloc(b, 1, sizeof **b));", "if (*b) goto done;\n\t\tCYC_TRY(cyc_alloc(b, 1, sizeof **b));", "equiv/test_backends")

# ---------------------------------------------------------------- constants of docs/theory

# 1. Image formation, 2. reconstruction
mutation("dose: 0.245 x2 (T1.7)", "ctf.c", "0.245 * pow(k_invA, -1.665)", "0.49 * pow(k_invA, -1.665)", "unit/test_optics|unit/test_conventions")
mutation("dose: 2.81 x2 (T1.7)", "ctf.c", "+ 2.81))", "+ 5.62))", "unit/test_optics|unit/test_conventions")
mutation("GRIDDING_FLOOR x10 (T2.4)", "finish.c", "GRIDDING_FLOOR = 0.01", "GRIDDING_FLOOR = 0.1", "unit/test_finish")
mutation("WEIGHT_FLOOR x10 (T2.5)", "finish.c", "WEIGHT_FLOOR = 0.001", "WEIGHT_FLOOR = 0.01", "unit/test_finish")
# 3. Maps
constant("half_maps.c", "RANDOMISE_AT_FSC", "0.8", 0.5, RULES)
constant("reference.c", "FSC_THRESHOLD", "0.143", (2, 0.5), "unit/test_reference")
# 4. CTF refinement
constant("hierarchy.c", "STUDENT", "4", 2, CTF_RULES)
constant("hierarchy.c", "PSEUDO_COUNT", "\n\t8", 2, CTF)
constant("bad_tilts.c", "BAD_BELOW", "0.5", (2, 0.5), CTF_RULES)
constant("bad_tilts.c", "SURE", "0.95", 0.5, CTF_RULES)
constant("bad_tilts.c", "FARTHEST_DEFOCUS_A", "4e4", 0.5, BAD)
constant("bad_tilts.c", "LARGEST_AMPLITUDE", "1.5", (2, 0.5), BAD)
constant("self_correlation.c", "PRIOR_SD", "0.5", 2, BAD)
constant("self_correlation.c", "MISFIT_FRAC", "0.3", 2, CTF_RULES)
constant("aberration.c", "CONSTANT_SD_RAD", "0.05", 2, CTF_RULES)
constant("ice.c", "THICKNESS_MEAN", "0.3", 2, "property/test_ice")
constant("ice.c", "THICKNESS_SD", "1", 2, "property/test_ice")
# 6. Polishing
constant("evidence.c", "OVERSAMPLING", "2.2", (2, 0.5), POLISH_RULES)
constant("alignment_prior.c", "OUTLIER", "2.5", 2, POLISH)
constant("alignment_prior.c", "CUT_SHARE", "0.9775", (2, 0.5), POLISH)
constant("alignment_prior.c", "LEAST_SHIFT_A", "2", 2, POLISH)
mutation("LEAST_ANGLE_RAD x2", "alignment_prior.c", "LEAST_ANGLE_RAD = 0.1 * CYC_PI", "LEAST_ANGLE_RAD = 0.2 * CYC_PI", POLISH)
constant("alignment_strength.c", "SHARE_BAD", "0.02", 2, POLISH_RULES)
constant("alignment_strength.c", "MOST_RATIO", "3", 2, POLISH_RULES)
constant("motion_model.c", "KEPT_FRACTION", "0.999", 0.5, POLISH)
constant("motion_speed.c", "LOG_WIDTH", "1", 2, POLISH_RULES)
constant("motion_speed.c", "LEAST_SHARE", "0.2", 2, POLISH_RULES, " (of the speed)")
constant("polish_series.c", "FAR_SHARE", "0.9", 2, POLISH_RULES)
constant("polish_start.c", "LEAST_ODDS", "100", 2, POLISH_RULES)
# 8. Refinement
# Ten times as large they cost time only: samples below e^-25 of the best, images beyond 0.85 of what the coarse resolution has and maxima
# 12 below the best are looked at too, and change nothing but by such chances.
constant("pose_follow.c", "HOPELESS", "\n\t12", 0.1, SEARCH + "|" + REFINE)
constant("pose_sampling.c", "COARSE_SHARE", "\n\t0.85", 0.1, SEARCH + "|" + REFINE)
constant("pose_sampling.c", "NEGLIGIBLE", "25", 0.1, SEARCH + "|" + REFINE)
constant("pose_follow.c", "ENOUGH", "\n\t5e-3", 100, SEARCH + "|" + REFINE)
constant("expectation.c", "LEAST_WIDTH", "0.1", 10, RULES)
constant("expectation.c", "LEAST_SIGMA_OFFSET_A", "1.4142", 2, RULES)
constant("judge.c", "LOW_BAND_A", "20", 2, RULES)
MEMBERS = "unit/test_membership"
constant("membership.c", "FAR_BELOW", "3", 2, MEMBERS)
constant("membership.c", "WRONG_MEAN", "0.15", 2, MEMBERS)
constant("membership.c", "WRONG_SPREAD", "0.15", 2, MEMBERS)
constant("membership.c", "BLOB_SPREAD", "1.5", 2, MEMBERS)
constant("membership.c", "PRIOR_PARTICLES", "9", 2, MEMBERS)
constant("membership.c", "PRIOR_SPREAD", "0.2", 2, MEMBERS)
constant("membership.c", "OTHER_WEIGHT", "3", 2, MEMBERS)
constant("membership.c", "LEAST_SHARE", "0.1", 2, MEMBERS, " (of the particles)")
# 9. Evidence
constant("cycle.c", "WORSE_SIGMAS", "2.0", 2, "unit/test_cycle")
constant("reweight.c", "LEAST_CHANGE", "0.002", 10, "unit/test_cycle")

# ---------------------------------------------------------------- the work


def find(tree, name):
    found = [p for top in ("src", "backends", "include") for p in (tree / top).rglob(name)]
    return found


def place(tree, m):
    """The file that has the old text, once; or why there is none."""
    at = [(p, p.read_text().count(m[2])) for p in find(tree, m[1])]
    hits = [(p, n) for p, n in at if n]
    if len(hits) == 1 and hits[0][1] == 1:
        return hits[0][0], None
    what = "no file of this name" if not at else "the old text is not there" if not hits else "the old text occurs %d times" % sum(n for _, n in hits)
    return None, "%s: %s: %s" % (m[0], m[1], what)


def quiet(command, **more):
    return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **more)


class TimedOut(Exception):
    pass


class Tree:
    def __init__(self, work, jobs):
        self.root, self.build, self.jobs, self.passed = work / "tree", work / "tree/build", jobs, {}
        for name in quiet(["git", "ls-files"], cwd=ROOT).stdout.split("\n"):
            if not name or not (ROOT / name).is_file():
                continue
            to, data = self.root / name, (ROOT / name).read_bytes()
            if to.exists() and to.read_bytes() == data:
                continue
            to.parent.mkdir(parents=True, exist_ok=True)
            to.write_bytes(data)
            to.chmod((ROOT / name).stat().st_mode)
        r = quiet(["cmake", "-S", str(self.root), "-B", str(self.build), "-G", "Ninja"])
        if r.returncode:
            sys.exit(r.stdout)

    def names(self, tests):
        listed = re.findall(r"Test +#\d+: (\S+)", quiet(["ctest", "--test-dir", str(self.build), "-N", "-R", "^(%s)$" % tests]).stdout)
        wanted = tests.split("|")
        return [t for t in wanted if t in listed], [t for t in wanted if t not in listed]

    def make(self, tests):
        targets = {t.split("/")[1] if t.split("/")[0] not in ("cli", "docs", "cuda") else "cyclotomo_cli" for t in tests}
        if any(t.startswith("cuda/") for t in tests):
            targets |= {"pretended_cuda"} | {t.split("/")[1] for t in tests} & {"test_backends", "test_poses"}
        targets = sorted(targets)
        return quiet(["cmake", "--build", str(self.build), "-j", str(self.jobs), "--target"] + targets)

    def run(self, test):
        """True or false; a test that reached its time limit has said nothing."""
        r = quiet(["ctest", "--test-dir", str(self.build), "-R", "^%s$" % test])
        if "***Timeout" in r.stdout:
            raise TimedOut(test)
        return r.returncode == 0

    def first_failure(self, tests):
        return next((t for t in tests if not self.run(t)), None)


def try_one(tree, m):
    tests, missing = tree.names(m[4])
    if missing:
        return "STALE", "no test " + ", ".join(missing)
    path, _ = place(tree.root, m)
    for t in tests:
        if t not in tree.passed:
            r = tree.make([t])
            tree.passed[t] = r.returncode == 0 and tree.run(t)
        if not tree.passed[t]:
            return "STALE", "%s fails without any mutation" % t
    text = path.read_text()
    try:
        path.write_text(text.replace(m[2], m[3]))
        built = tree.make(tests)
        if built.returncode:
            errors = [line for line in built.stdout.split("\n") if "error" in line]
            return "STALE", "does not compile: " + (errors or ["?"])[0]
        caught = tree.first_failure(tests)
    finally:
        path.write_text(text)
    return ("caught", caught) if caught else ("SURVIVES", ", ".join(tests))


def report(rows):
    """The table, what needs a look first; the exit code."""
    order = ["STALE", "SURVIVES", "caught"]
    print("\n| result | mutation | test |\n|---|---|---|")
    for result, name, detail in sorted(rows, key=lambda r: order.index(r[0])):
        print("| %s | %s | %s |" % (result, name, detail))
    counts = {what: sum(r[0] == what for r in rows) for what in order}
    print("\n" + ", ".join("%d %s" % (n, what) for what, n in counts.items() if n))
    return 2 if counts["STALE"] else 1 if counts["SURVIVES"] else 0


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", help="names of mutations, or their beginnings")
    parser.add_argument("--list", action="store_true", help="list the mutations, and check that each has its place")
    parser.add_argument("--work", type=pathlib.Path, default=ROOT / "build-mutate")
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    o = parser.parse_args()
    chosen = [m for m in M if not o.only or any(m[0].startswith(name) for name in o.only)]
    if not chosen:
        sys.exit("no mutation has such a name; --list lists them")
    stale = [why for why in (place(ROOT, m)[1] for m in chosen) if why]
    if o.list:
        for m in chosen:
            print("%-55s %-24s %s" % (m[0], m[1], m[4]))
    for why in stale:
        print("the list is stale: " + why)
    if stale or o.list:
        sys.exit(2 if stale else 0)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the line is put back
    os.environ["CYCLOTOMO_MEMORY_SAID"] = "1"
    o.work.mkdir(parents=True, exist_ok=True)
    os.environ["CMOCKA_TEST_ABORT"] = "1"  # one failure is enough
    tree, rows = Tree(o.work.resolve(), o.jobs), []
    for m in chosen:
        start = time.time()
        try:
            result, detail = try_one(tree, m)
        except TimedOut as test:
            result, detail = "STALE", "%s reached its time limit" % test
        rows.append((result, m[0], detail))
        print("%-8s  %-55s %5.0f s  %s" % (result, m[0], time.time() - start, detail), flush=True)
    sys.exit(report(rows))


if __name__ == "__main__":
    main()
