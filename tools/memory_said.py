#!/usr/bin/env python3
"""Memory that jobs say they need, against what they took: tools/memory_said.py BINARY SCRATCH [--tolerance=SHARE] [BOX ...]

Simulates a small project for each box and runs each job on it, as a dry run too. Prints what was said, what was measured and their
ratio; the exit code is 1 if one is wrong by more than SHARE (a quarter), or the dry run says another figure. Needs Python's standard library.
"""
import os, re, subprocess, sys, tempfile

TOLERANCE = 0.25
THREADS = "2"


def run(binary, arguments):
    """Its messages, and the most memory that it held [bytes]."""
    with tempfile.TemporaryFile("w+") as log:
        child = subprocess.Popen([binary] + arguments, stdout=log, stderr=log)
        _, status, usage = os.wait4(child.pid, 0)
        log.seek(0)
        text = log.read()
    if status:
        sys.exit("%s\n%s" % (" ".join(arguments), text))
    return text, 1024 * usage.ru_maxrss


def said(log):
    """The job's figure comes first; refine-tilts has those of its parts after it."""
    return float(re.search(r"memory needed: about ([0-9.e+-]+) GB", log).group(1))


def jobs(box, crop):
    project = ["--i", "optimisation_set.star"]
    reference = project + ["--ref1", "R/half1.mrc", "--ref2", "R/half2.mrc", "--mask", "mask_align.mrc", "--b", str(box)]
    yield "reconstruct", project + ["--b", str(box), "--crop", str(crop), "--sym", "O"]
    yield "postprocess", ["--i", "R/half1.mrc", "--mask", "mask_fsc.mrc", "--sym", "O"]
    yield "ctfrefine", reference + ["--kmin", "60"]
    yield "polish", reference + ["--range", "3", "--motion"]
    yield "extract", project + ["--b", str(box)]
    yield "extract", project + ["--b", str(box), "--stack2d"]
    yield "refine-tilts", reference + ["--range", "3"]
    yield "mask", ["--i", "R/merged.mrc"]
    yield "check", project + ["--ref1", "R/half1.mrc", "--ref2", "R/half2.mrc", "--mask", "mask_align.mrc", "--deep"]
    yield "separate", project + ["--min-separation", "50"]
    yield "refine", reference + ["--crop", str(crop), "--sym", "O", "--iterations", "1"]


NO_DRY_RUN = ("check", "separate", "simulate")


def report(box, job, figure, plan, peak):
    is_bad = abs(figure / peak - 1) > TOLERANCE or abs(plan / figure - 1) > 0.01
    print("%-4d %-12s said %.3g GB, dry run %.3g GB, took %.3g GB, ratio %.2f%s" % (box, job, figure, plan, peak, figure / peak, "  BAD" if is_bad else ""), flush=True)
    return is_bad


def measure(binary, root, box):
    crop, bad = box * 3 // 4, 0
    size = str(max(box + 96, box * 7 // 5 // 2 * 2))
    text, peak = run(binary, ["simulate", "--preset", "tiny", "--sym", "O", "--series", "2", "--tilts", "5", "--tilt-step", "12", "--particles", "6", "--signal", "6",
                              "--size", size, "--size-y", size, "--edge-px", "60", "--pixel-size", "3", "--box", str(crop), "--radius", "55", "--j", THREADS,
                              "--o", root, "--force"])
    bad += report(box, "simulate", said(text), said(text), peak / 1e9)
    run(binary, ["reconstruct", "-q", "--root", root, "--i", "optimisation_set.star", "--b", str(box), "--crop", str(crop), "--sym", "O", "--j", THREADS, "--o", "R"])
    for i, (job, arguments) in enumerate(jobs(box, crop)):
        out = "out%d/%s" % (i, job) if job in ("postprocess", "mask") else "out%d" % i
        command = [job, "--root", root, "--j", THREADS] + arguments + (["--o", out + (".mrc" if job == "mask" else "")] if job != "check" else [])
        text, peak = run(binary, command)
        plan = said(text if job in NO_DRY_RUN else run(binary, command + ["--dry-run"])[0])
        bad += report(box, job, said(text), plan, peak / 1e9)
    return bad


def main():
    global TOLERANCE
    for option in [a for a in sys.argv if a.startswith("--tolerance=")]:
        TOLERANCE = float(option.split("=")[1])
        sys.argv.remove(option)
    binary, scratch = os.path.abspath(sys.argv[1]), os.path.abspath(sys.argv[2])
    boxes = [int(b) for b in sys.argv[3:]] or [128, 256, 512]
    sys.exit(1 if sum(measure(binary, os.path.join(scratch, "memory%d" % b), b) for b in boxes) else 0)


if __name__ == "__main__":
    main()
