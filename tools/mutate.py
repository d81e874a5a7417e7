#!/usr/bin/env python3
"""Do the tests notice when the code is wrong?   tools/mutate.py [--only REGEX] [--list] [--build DIR] [--jobs N]

Each mutation below spoils one place that results depend on. The tree is copied to a scratch folder, each mutation is applied there alone, the
tests that should notice it are built and run until one fails, and the file is restored. Prints a table; the exit code is 1 if a mutation
survives, if one that should have no effect has one, or if the list is stale (a text is not in its file exactly once). The tests are run once without
mutations first. --build DIR keeps the scratch folder, and with it the build, for the next time. By hand, not in CI: all of it takes about an hour
of two cores. Needs Python's standard library and what the build needs.
"""
import argparse, os, pathlib, re, shutil, subprocess, sys, tempfile, time

ROOT = pathlib.Path(__file__).resolve().parent.parent
TIMEOUT_S = 900


class Mutation:
    """A text in a file of src, what it is replaced by, the tests that notice, and why it matters. `no_effect` says why none can."""

    def __init__(self, name, file, old, new, tests, why, no_effect=None):
        self.name, self.file, self.old, self.new, self.why, self.no_effect = name, file, old, new, why, no_effect
        self.tests = tests.split()


# Code that was to be mutated and is no more: the estimator of each image's part in its own reference (own_noise) was replaced by groups, and what the
# plan of a cycle says (steps) by the jobs' own functions of memory. Their nearest equivalents are here.
MUTATIONS = [
    # ---- refinement of poses
    Mutation("priors-not-learned", "expectation.c", "static cyc_status learn_priors(cyc_refine3d_job *j, int first)\n{\n\tcyc_status st = CYC_OK;\n",
             "static cyc_status learn_priors(cyc_refine3d_job *j, int first)\n{\n\tcyc_status st = CYC_OK;\n\tif (first >= 0) return st;\n", "property/test_refine3d",
             "widths of the priors stay those of the options, whatever the data say"),
    Mutation("own-images-in-reference", "group_maps.c", "half * g->n_groups + i_group,\n", "-1,\n", "property/test_refine3d",
             "a particle's own images hold it where it is"),
    Mutation("own-noise-of-map", "pose_model.c", "w->share[j] = r->spread ? 1 / (1 + s2 * image->weight[j] * r->spread[shell[j]]) : 1;",
             "w->share[j] = r->spread && s2 < 0 ? (float)shell[j] : 1;", "property/test_refine3d", "images are trusted as if the reference had no noise (T8.19)"),
    Mutation("stack-shares-of-one", "stack_images.c", "\t\ts->share[j] = share;\n\t\ts->rest[j] = 0.5 * (1 - share);\n",
             "\t\ts->share[j] = share > -1 ? 1 : 0;\n\t\ts->rest[j] = 0;\n", "property/test_refine3d", "noise of stacks is too low where the CTF oscillates fast (T8.14)"),
    Mutation("hopeless-10x", "pose_search.c", "HOPELESS =\n\t12;", "HOPELESS =\n\t120;", "unit/test_pose_search", "maxima without a chance are followed",
             no_effect="a maximum more is followed to the full resolution, where the best counts: the pose found can only be better, at a cost in time"),
    Mutation("hopeless-0.1x", "pose_search.c", "HOPELESS =\n\t12;", "HOPELESS =\n\t1.2;", "unit/test_pose_search", "the right maximum is given up at the coarse resolution"),
    Mutation("coarse-share-all", "pose_search.c", "\t0.85; /* of the weight", "\t8.5; /* of the weight", "unit/test_pose_search", "images that say little are sampled, too",
             no_effect="samples are only starts of what is followed with all images: more images can choose no worse ones, at a cost in time"),
    Mutation("coarse-share-0.1x", "pose_search.c", "\t0.85; /* of the weight", "\t0.085; /* of the weight", "unit/test_pose_search", "starts are chosen by one image"),
    Mutation("negligible-10x", "pose_search.c", "NEGLIGIBLE = 25;", "NEGLIGIBLE = 250;", "unit/test_pose_search", "samples of no weight are sorted",
             no_effect="what is kept in addition weighs e^-25 of the best at most, and is seen neither in the 0.999 of the posterior nor in a start; it is sorted, at a cost in time"),
    Mutation("negligible-0.1x", "pose_search.c", "NEGLIGIBLE = 25;", "NEGLIGIBLE = 2.5;", "unit/test_pose_search", "samples that hold a part of the posterior are left out"),
    Mutation("scales-not-normalised", "expectation.c", "\t\t\tj->series_scale[2 * i + h] *= count / mean;\n", "\t\t\tj->series_scale[2 * i + h] *= 1;\n", "property/test_refine3d",
             "contrasts of series and grey scale of the reference count twice (T8.6)"),
    Mutation("scales-clamped-hard", "expectation.c", "fmin(fmax(scale, 0.2), 5)", "fmin(fmax(scale, 0.9), 1.1)", "property/test_refine3d", "contrasts of series cannot differ"),
    Mutation("scales-unclamped", "expectation.c", "fmin(fmax(scale, 0.2), 5)", "scale", "property/test_refine3d", "a series of noise gets a contrast below zero"),
    Mutation("amplitude-without-floor", "expectation.c", "fmax(all[0], sqrt(0.5 * all[2])) /", "all[0] /", "property/test_refine3d", "a reference of something else turns poses"),
    Mutation("pose-errors-zero", "pose_search.c", "\tfor (int k = 0; k < N; k++) error[k] = sqrt(A[k * N + k]);\n\treturn log_root;", "\treturn log_root;", "unit/test_pose_search",
             "standard errors of zero"),
    Mutation("pose-errors-2x", "pose_search.c", "error[k] = sqrt(A[k * N + k]);\n\treturn log_root;", "error[k] = 2 * sqrt(A[k * N + k]);\n\treturn log_root;", "unit/test_pose_search",
             "standard errors of twice what they are"),
    Mutation("least-width-10x", "expectation.c", "LEAST_WIDTH = 0.1;", "LEAST_WIDTH = 1;", "property/test_refine3d", "priors cannot become narrow"),
    Mutation("least-offset-2x", "expectation.c", "LEAST_SIGMA_OFFSET_A = 1.4142;", "LEAST_SIGMA_OFFSET_A = 2.8284;", "property/test_refine3d", "floor of the width of offsets"),
    Mutation("groups-2", "group_maps.h", "CYC_MOST_GROUPS = 5", "CYC_MOST_GROUPS = 2", "property/test_refine3d", "two groups turn to each other's place for ever (T8.15)"),
    Mutation("frames-significance-2x", "frames.c", "\t3; /* standard deviations of chi^2", "\t6; /* standard deviations of chi^2", "property/test_refine3d",
             "half maps drift apart by more before they are moved together (T8.26)"),
    Mutation("shared-noise-2x", "references.c", "LEAST_SHARED_NOISE = 0.25;", "LEAST_SHARED_NOISE = 0.5;", "property/test_refine3d",
             "maps of these images cropped otherwise are taken to be of others (T8.16)"),
    # ---- which are particles
    Mutation("member-wrong-mean-2x", "membership.c", "WRONG_MEAN = 0.15,", "WRONG_MEAN = 0.30,", "unit/test_membership property/test_judge", "agreement of wrong poses (T8.22)"),
    Mutation("member-blob-spread-2x", "membership.c", "BLOB_SPREAD = 1.5;", "BLOB_SPREAD = 3;", "unit/test_membership property/test_judge", "amplitudes of blobs (T8.22)"),
    Mutation("member-prior-particles-2x", "membership.c", "PRIOR_PARTICLES = 9,", "PRIOR_PARTICLES = 18,", "unit/test_membership property/test_judge", "shares before data"),
    Mutation("member-prior-others-2x", "membership.c", "PRIOR_OTHERS = 0.5;", "PRIOR_OTHERS = 1;", "unit/test_membership property/test_judge", "shares before data"),
    Mutation("member-prior-spread-2x", "membership.c", "PRIOR_SPREAD = 0.2,", "PRIOR_SPREAD = 0.4,", "unit/test_membership property/test_judge", "spread of particles before data"),
    Mutation("member-other-weight-2x", "membership.c", "OTHER_WEIGHT = 3;", "OTHER_WEIGHT = 6;", "unit/test_membership property/test_judge", "how firmly noise is believed to be what it should"),
    Mutation("member-least-share-2x", "membership.c", "LEAST_SHARE = 0.1,", "LEAST_SHARE = 0.2,", "unit/test_membership property/test_judge", "sets with few particles are not judged"),
    Mutation("member-far-below-2x", "membership.c", "FAR_BELOW = 3;", "FAR_BELOW = 6;", "unit/test_membership property/test_judge", "wrong poses are not looked for again (T8.24)"),
    # ---- tilt images
    Mutation("partial-weight-one", "tilt_batch.c", "\t\tb->weight[i] = weight;\n", "\t\tb->weight[i] = weight > 0 ? 1 : 0;\n", "unit/test_tilt",
             "windows across the border count as whole ones"),
    Mutation("partial-weight-unused", "evidence.c", "double share = k->b->weight[i];", "double share = k->b->weight[i] > 0 ? 1 : 0;", "property/test_polish_project",
             "polish trusts windows that show half a particle"),
    Mutation("cut-share-unused", "particle_images.c", "(float)(C / noise * c->share[i])", "(float)(C / noise)", "property/test_refine3d", "refine trusts windows that show half a particle"),
    Mutation("magnified-cut-at-circle", "tilt_batch.c", "return t->is_full_plane ? t->s * t->s / 2 + 1 : t->s * t->s / 4 + 1;", "return t->has_k2 ? t->s * t->s / 4 + 1 : t->is_full_plane ? t->s * t->s / 2 + 1 : t->s * t->s / 4 + 1;",
             "unit/test_tilt", "what is cut off sharply rings in the crop"),
    Mutation("dose-constant-2x", "ctf.c", "/ (0.245 *", "/ (0.49 *", "unit/test_optics unit/test_conventions", "dose weights"),
    Mutation("dose-floor-2x", "ctf.c", "+ 2.81))", "+ 5.62))", "unit/test_optics unit/test_conventions", "dose weights"),
    Mutation("least-inside-2x", "frame_share.h", "CYC_LEAST_INSIDE 0.25", "CYC_LEAST_INSIDE 0.5", "unit/test_tilt property/test_refine3d", "images near the border are not used"),
    # ---- polishing
    Mutation("angle-floor-none", "alignment_prior.c", "fmax(robust_spread(squares, n_input, expected), LEAST_ANGLE_RAD)", "robust_spread(squares, n_input, expected)", "unit/test_polish property/test_polish_project",
             "an input refined on these images nails down its own errors"),
    Mutation("angle-floor-10x", "alignment_prior.c", "LEAST_ANGLE_RAD = 0.1 *", "LEAST_ANGLE_RAD = 1 *", "unit/test_polish property/test_polish_project", "angles of the input say nothing"),
    Mutation("shift-floor-none", "alignment_prior.c", "LEAST_SHIFT_A = 2;", "LEAST_SHIFT_A = 0;", "unit/test_polish property/test_polish_project", "shifts of the input are nailed down"),
    Mutation("shift-floor-10x", "alignment_prior.c", "LEAST_SHIFT_A = 2;", "LEAST_SHIFT_A = 20;", "unit/test_polish property/test_polish_project", "shifts of the input say nothing"),
    Mutation("outlier-2x", "alignment_prior.c", "OUTLIER = 2.5;", "OUTLIER = 5;", "unit/test_polish property/test_polish_project", "one bad tilt widens the prior of all (T6)"),
    Mutation("start-odds-100x", "polish_start.c", "LEAST_ODDS = 100;", "LEAST_ODDS = 1e4;", "property/test_polish_project", "gross shifts are not accepted"),
    Mutation("bad-share-10x", "alignment_strength.c", "SHARE_BAD = 0.02;", "SHARE_BAD = 0.2;", "unit/test_polish property/test_polish_project", "tilts are taken to be without signal"),
    # ---- CTF refinement
    Mutation("z-trend-2x", "hierarchy.c", "Z_EXPECTED_TREND_A = 200;", "Z_EXPECTED_TREND_A = 400;", "property/test_ctfrefine property/test_bad_tilts", "defocus before data (4.5)"),
    Mutation("z-input-2x", "hierarchy.c", "Z_EXPECTED_INPUT_A = 100,", "Z_EXPECTED_INPUT_A = 200,", "property/test_ctfrefine property/test_bad_tilts", "defocus before data (4.5)"),
    Mutation("pseudo-count-2x", "hierarchy.c", "\t8; /* weight, in tilts", "\t16; /* weight, in tilts", "property/test_ctfrefine property/test_bad_tilts", "how firmly widths are believed"),
    Mutation("bad-below-2x", "bad_tilts.c", "BAD_BELOW = 0.5;", "BAD_BELOW = 1;", "property/test_bad_tilts", "good tilts are called bad"),
    Mutation("ice-mean-2x", "ice.c", "THICKNESS_MEAN = 0.3,", "THICKNESS_MEAN = 0.6,", "property/test_ice", "thickness before data"),
    # ---- records
    Mutation("record-without-polish-options", "refine_tilts.c", "if (i % N_KINDS == 0) CYC_TRY(cyc_polish_options_hash(&h, &j->o->polish));", "if (i % N_KINDS == 0) h += 1;", "cli/test_refine_tilts",
             "blocks of other options are taken over"),
    Mutation("record-without-ctfrefine-options", "refine_tilts.c", "else CYC_TRY(cyc_ctfrefine_options_hash(&h, &j->o->ctfrefine));", "else h += 2;", "cli/test_refine_tilts", "blocks of other options are taken over"),
    Mutation("record-without-windows", "refine_tilts.c", "{ o->box_px, o->whole_windows }", "{ o->box_px, 0 }", "cli/test_refine_tilts", "blocks of other windows are taken over"),
    Mutation("record-without-inputs", "refine_tilts.c", "\th = cyc_project_hash(h, tomograms, particles);\n", "", "cli/test_refine_tilts", "blocks of other tables are taken over"),
    # ---- what may be lost
    Mutation("worse-sigmas-2x", "cycle.c", "WORSE_SIGMAS = 2.0;", "WORSE_SIGMAS = 4.0;", "unit/test_cycle", "a worse map is accepted"),
    Mutation("reference-threshold-2x", "reference.c", "FSC_THRESHOLD = 0.143;", "FSC_THRESHOLD = 0.286;", "unit/test_reference", "references end too early"),
]

# What jobs say they need: one that says half is killed, one that says twice refuses what fits.
for name, file, old, value, tests in [
    ("reconstruct", "reconstruct_memory.c", "\treturn m.peak;\n}\n", "m.peak", "docs/memory_table"),
    ("polish", "polish_memory.c", "\treturn m.peak;\n}\n", "m.peak", "docs/memory_table"),
    ("ctfrefine", "ctfrefine_memory.c", "\treturn m.peak;\n}\n", "m.peak", "cli/memory_said"),
    ("refine", "refine3d_memory.c", "\treturn m.bytes;\n", "m.bytes", "docs/memory_table"),
    ("simulate", "simulate_memory.c", "\treturn m.peak;\n}\n", "m.peak", "cli/memory_said"),
    ("postprocess", "map_memory.c", "local_resolution_bytes(o, n, pixel_size_A));\n\treturn m.peak;\n", "m.peak", "docs/memory_table"),
    ("mask", "map_memory.c", "of the axis before */\n\treturn m.peak;\n", "m.peak", "cli/memory_said"),
    ("check", "check_memory.c", "\t                        cyc_fft3_bytes(map_px, o->n_threads));\n\treturn m.peak;\n", "m.peak", "cli/memory_said"),
    ("separate", "project_size.c", "return CYC_PROGRAM_BYTES + cyc_project_bytes(s) + OF_PARTICLE * (double)s->n_particles", "CYC_PROGRAM_BYTES + cyc_project_bytes(s) + OF_PARTICLE * (double)s->n_particles", "cli/memory_said"),
    ("refine-tilts", "refine_tilts_memory.c", "(double)p->n_series * p->most_tilts * each)", "(double)p->n_series * p->most_tilts * each", "unit/test_memory_plans"),
    ("extract", "series.c", "return CYC_PROGRAM_BYTES + image + pass + batch + threads + volume + 20 * S * S", "CYC_PROGRAM_BYTES + image + pass + batch + threads + volume + 20 * S * S", "cli/memory_said"),
]:
    for factor in ("2", "0.5"):
        MUTATIONS.append(Mutation("memory-%s-%sx" % (name, factor), file, old, old.replace(value, "%s * (%s)" % (factor, value)), tests,
                                  "a job is killed, or refuses what fits"))


def find(root, name):
    found = sorted(path for folder in ("src", "backends", "include") for path in (root / folder).rglob(name))
    return found


def place(root, m):
    """The file and its text; None if the list is stale."""
    fits = [path for path in find(root, m.file) if path.read_text().count(m.old) > 0]
    if len(fits) != 1 or fits[0].read_text().count(m.old) != 1:
        return None
    return fits[0]


def copy_tree(to):
    """What git has and what is new, without what it ignores; files that did not change keep their times, so that only the others are built."""
    names = subprocess.run(["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"], check=True, stdout=subprocess.PIPE).stdout.decode().split("\0")
    wanted = {name for name in names if name and (ROOT / name).is_file()}
    for path in [p for p in to.rglob("*") if p.is_file() and p.relative_to(to).parts[0] != "build"]:
        if str(path.relative_to(to)) not in wanted:
            path.unlink()
    for name in wanted:
        old, new = ROOT / name, to / name
        if not new.exists() or new.read_bytes() != old.read_bytes():
            new.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(old, new)


def target_of(test):
    tier, name = test.split("/", 1)
    return name if tier in ("unit", "property", "equiv", "fault") else "cyclotomo_cli"


def build(scratch, tests, jobs):
    """The end of the messages if it fails."""
    run = subprocess.run(["ninja", "-C", str(scratch / "build"), "-j%d" % jobs] + sorted({target_of(t) for t in tests}), stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    return None if run.returncode == 0 else run.stdout.decode(errors="replace")[-1500:]


def run_test(scratch, test):
    """What failed first, or None. Programs of tests are stopped at their first failure."""
    tier, name = test.split("/", 1)
    if target_of(test) == "cyclotomo_cli":
        command, where = ["ctest", "--test-dir", str(scratch / "build"), "-R", "^%s$" % re.escape(test), "--no-tests=error", "--timeout", str(TIMEOUT_S)], scratch
    else:
        command, where = [str(next((scratch / "build").rglob(name)))], scratch / "tests"
    start, failed = time.time(), None
    child = subprocess.Popen(["timeout", str(TIMEOUT_S)] + command, cwd=where, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace")
    for line in child.stdout:
        match = re.search(r"\[  FAILED  \] (?!\d+ test)(\S.*)", line)
        if match and not failed:
            failed = match.group(1).strip()
            child.terminate()
    code = child.wait()
    if failed:
        return failed.rstrip(".")
    return None if code == 0 else "%s (exit code %d after %.0f s)" % (name, code, time.time() - start)


def try_one(scratch, m, jobs):
    path = place(scratch, m)
    text = path.read_text()
    try:
        path.write_text(text.replace(m.old, m.new))
        message = build(scratch, m.tests, jobs)
        if message:
            return "does not build", message
        for test in m.tests:
            failed = run_test(scratch, test)
            if failed:
                return "caught", "%s: %s" % (test, failed)
        return "survived", ""
    finally:
        path.write_text(text)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", metavar="REGEX", default="", help="mutations whose name matches")
    parser.add_argument("--list", action="store_true", help="what there is; stale entries are marked")
    parser.add_argument("--build", metavar="DIR", help="scratch folder that is kept, inside a folder that git ignores or outside the tree")
    parser.add_argument("--jobs", metavar="N", type=int, default=os.cpu_count(), help="of the build")
    parser.add_argument("cmake", nargs="*", help="more arguments for cmake, after --")
    o = parser.parse_args()
    chosen = [m for m in MUTATIONS if re.search(o.only, m.name)]
    stale = [m for m in chosen if not place(ROOT, m)]
    if o.list or stale:
        for m in chosen if o.list else stale:
            print("%-34s %-22s %s%s" % (m.name, m.file, "STALE, not there exactly once: " if m in stale else "", m.why if not m.no_effect else "no effect: " + m.no_effect))
        return 1 if stale else 0
    scratch = pathlib.Path(o.build or tempfile.mkdtemp(prefix="mutate-")).resolve()
    scratch.mkdir(parents=True, exist_ok=True)
    rows = []
    try:
        copy_tree(scratch)
        subprocess.run(["cmake", "-S", str(scratch), "--preset", "default"] + o.cmake, cwd=scratch, check=True, stdout=subprocess.DEVNULL)
        tests = sorted({t for m in chosen for t in m.tests})
        message = build(scratch, tests, o.jobs)
        if message:
            sys.exit(message)
        for test in tests:
            start, failed = time.time(), run_test(scratch, test)
            print("%-34s %s, %.0f s" % (test, "FAILS without a mutation: " + failed if failed else "passes", time.time() - start), flush=True)
            if failed:
                return 1
        for m in chosen:
            start = time.time()
            result, detail = try_one(scratch, m, o.jobs)
            if m.no_effect:
                result = {"survived": "no effect", "caught": "HAS AN EFFECT"}.get(result, result)
            elif result == "survived":
                result = "SURVIVED"
            rows.append(result)
            print("%-34s %-14s %4.0f s  %s" % (m.name, result, time.time() - start, detail or m.why), flush=True)
    finally:
        if not o.build:
            shutil.rmtree(scratch, ignore_errors=True)
    good = rows.count("caught") + rows.count("no effect")
    print("%d mutations: %d caught, %d without effect, %d wrong" % (len(rows), rows.count("caught"), rows.count("no effect"), len(rows) - good))
    return 0 if good == len(rows) else 1


if __name__ == "__main__":
    sys.exit(main())
