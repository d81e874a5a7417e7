#!/usr/bin/env python3
"""Memory that jobs say they need, against what they took: tools/memory_said.py BINARY SCRATCH [BOX ...]

Simulates a small project for each box and runs each job on it, as a dry run too. Prints what was said, what was measured and their
ratio; the exit code is 1 if one is wrong by more than a quarter, or the dry run says another figure. Needs Python's standard library.
"""
import json, os, re, subprocess, sys

TOLERANCE = 0.25
THREADS = "2"


def run(binary, arguments):
    done = subprocess.run([binary] + arguments, capture_output=True, text=True)
    if done.returncode:
        sys.exit("%s\n%s" % (" ".join(arguments), done.stderr))
    return done.stdout + done.stderr


def said(log):
    return max(float(x) for x in re.findall(r"memory needed: about ([0-9.e+-]+) GB", log))


def jobs(box, crop):
    project = ["--i", "optimisation_set.star"]
    reference = project + ["--ref1", "R/half1.mrc", "--ref2", "R/half2.mrc", "--mask", "mask_align.mrc", "--b", str(box)]
    yield "reconstruct", project + ["--b", str(box), "--crop", str(crop), "--sym", "O"]
    yield "postprocess", ["--i", "R/half1.mrc", "--mask", "mask_fsc.mrc", "--sym", "O"]
    yield "ctfrefine", reference + ["--kmin", "60"]
    yield "polish", reference + ["--range", "3", "--motion"]
    yield "extract", project + ["--b", str(box)]
    yield "extract", project + ["--b", str(box), "--stack2d"]
    yield "refine", reference + ["--crop", str(crop), "--iterations", "1"]


def measure(binary, root, box):
    crop, bad = box * 3 // 4, 0
    size = str(max(box + 96, box * 7 // 5 // 2 * 2))
    run(binary, ["simulate", "-q", "--preset", "tiny", "--sym", "O", "--series", "2", "--tilts", "5", "--tilt-step", "12", "--particles", "6", "--signal", "6",
                 "--size", size, "--size-y", size, "--edge-px", "60", "--pixel-size", "3", "--box", str(crop), "--radius", "55", "--o", root, "--force"])
    run(binary, ["reconstruct", "-q", "--root", root, "--i", "optimisation_set.star", "--b", str(box), "--crop", str(crop), "--sym", "O", "--j", THREADS, "--o", "R"])
    for i, (job, arguments) in enumerate(jobs(box, crop)):
        out = "out%d/pp" % i if job == "postprocess" else "out%d" % i
        command = [job, "--root", root, "--j", THREADS, "--o", out] + arguments
        plan, figure = said(run(binary, command + ["--dry-run"])), said(run(binary, command))
        record = os.path.join(root, out + ".run.json" if job == "postprocess" else out + "/run.json")
        peak = json.load(open(record))["peak_memory_bytes"] / 1e9
        is_bad = abs(figure / peak - 1) > TOLERANCE or abs(plan / figure - 1) > 0.01
        bad += is_bad
        print("%-4d %-12s said %.3g GB, dry run %.3g GB, took %.3g GB, ratio %.2f%s" % (box, job, figure, plan, peak, figure / peak, "  BAD" if is_bad else ""), flush=True)
    return bad


def main():
    binary, scratch = os.path.abspath(sys.argv[1]), os.path.abspath(sys.argv[2])
    boxes = [int(b) for b in sys.argv[3:]] or [128, 256, 512]
    sys.exit(1 if sum(measure(binary, os.path.join(scratch, "memory%d" % b), b) for b in boxes) else 0)


if __name__ == "__main__":
    main()
