#!/usr/bin/env python3
"""The tables of docs/memory-and-time.md, from the plan of `cyclotomo cycle --dry-run`.   memory_table.py BINARY [--update | --check]

Each row is the plan of a project that has only tables, sparse images and masks, with THREADS threads and at most LIMIT_GB of memory (refine
plans for less where less is available). Without an option the tables are printed; --update puts them into the page; --check compares the
first rows with the page, which takes seconds, and ends with 1 if one differs. Needs Python's standard library and 16 GB of memory, which is
not used.
"""
import pathlib
import re
import resource
import struct
import subprocess
import sys
import tempfile

THREADS, LIMIT_GB, N_TILTS = 16, 16, 41
BEGIN, END = "<!-- made by tools/memory_table.py -->", "<!-- end of what tools/memory_table.py makes -->"
# Box, crop, tilt series, particles of each, image width, pixel size.
PROJECTS = [
    (128, 80, 10, 100, 1024, 4.0), (192, 112, 10, 100, 1440, 2.7), (256, 160, 10, 100, 2048, 2.0), (256, 160, 50, 400, 2048, 2.0),
    (384, 256, 10, 100, 3840, 1.4), (512, 192, 5, 1817, 3840, 1.35), (512, 320, 10, 100, 3840, 1.35), (512, 320, 50, 400, 3840, 1.35),
]
N_CHECKED = 2
STEPS = ["Reconstruct", "PostProcess", "Polish", "CtfRefine", "Refine3D"]


def star(path, blocks):
    text = "\n# version 50001\n"
    for name, labels, rows in blocks:
        text += "\ndata_%s\n\nloop_\n%s\n%s\n" % (name, "\n".join("_" + x for x in labels), "\n".join(" ".join(str(v) for v in r) for r in rows))
    path.write_text(text)


def sparse_image(path, n, pixel_A):
    """float32, all zero, without a block on the disk."""
    header = bytearray(1024)
    struct.pack_into("<10i6f3i", header, 0, n, n, 1, 2, 0, 0, 0, n, n, 1, n * pixel_A, n * pixel_A, pixel_A, 90, 90, 90, 1, 2, 3)
    header[208:216] = b"MAP \x44\x44\x00\x00"
    with open(path, "wb") as f:
        f.write(header)
        f.truncate(1024 + 4 * n * n)


def make_project(binary, root, box, crop, n_series, n_particles, image_px, pixel_A):
    (root / "tilt_series").mkdir()
    (root / "frames").mkdir()
    tomograms, particles, half = [], [], 0.4 * image_px * pixel_A
    for s in range(n_series):
        name, tilts = "TS_%02d" % (s + 1), []
        for t in range(N_TILTS):
            image = "frames/%s_%02d.mrc" % (name, t)
            sparse_image(root / image, image_px, pixel_A)
            angle = (t + 1) // 2 * 3 * (-1) ** t
            tilts.append([image, angle, 3 * t, 0, angle, 85, 0, 0, 25000, 24900, 30, 1])
        star(root / "tilt_series" / (name + ".star"), [(name, ["rlnMicrographName", "rlnTomoNominalStageTiltAngle", "rlnMicrographPreExposure", "rlnTomoXTilt", "rlnTomoYTilt",
             "rlnTomoZRot", "rlnTomoXShiftAngst", "rlnTomoYShiftAngst", "rlnDefocusU", "rlnDefocusV", "rlnDefocusAngle", "rlnCtfScalefactor"], tilts)])
        tomograms.append([name, 300, 2.7, 0.1, pixel_A, -1, "og1", pixel_A, 3, "tilt_series/%s.star" % name, image_px, image_px, image_px // 2])
        for p in range(n_particles):
            x, y = (p * 0.618034) % 1, (p * 0.754878) % 1
            particles.append([name, "%s/%d" % (name, p + 1), (2 * x - 1) * half, (2 * y - 1) * half, p % 7 * 100 - 300, 0, 0, 0, 0, 0, 0, p % 2 + 1, 1])
    star(root / "tomograms.star", [("global", ["rlnTomoName", "rlnVoltage", "rlnSphericalAberration", "rlnAmplitudeContrast", "rlnMicrographOriginalPixelSize", "rlnTomoHand",
         "rlnOpticsGroupName", "rlnTomoTiltSeriesPixelSize", "rlnTomoImportFractionalDose", "rlnTomoTiltSeriesStarFile", "rlnTomoSizeX", "rlnTomoSizeY", "rlnTomoSizeZ"], tomograms)])
    star(root / "particles.star", [
        ("optics", ["rlnOpticsGroup", "rlnOpticsGroupName", "rlnSphericalAberration", "rlnVoltage", "rlnAmplitudeContrast", "rlnTomoTiltSeriesPixelSize"], [[1, "og1", 2.7, 300, 0.1, pixel_A]]),
        ("particles", ["rlnTomoName", "rlnTomoParticleName", "rlnCenteredCoordinateXAngst", "rlnCenteredCoordinateYAngst", "rlnCenteredCoordinateZAngst", "rlnAngleRot", "rlnAngleTilt",
         "rlnAnglePsi", "rlnOriginXAngst", "rlnOriginYAngst", "rlnOriginZAngst", "rlnRandomSubset", "rlnOpticsGroup"], particles)])
    subprocess.run([binary, "mask", "-q", "--denovo", "--box-size", str(crop), "--outer-radius", str(crop * 3 // 10), "--soft-edge", "6", "--pixel-size", str(pixel_A),
                    "--o", str(root / "mask.mrc")], check=True, capture_output=True)


def size(text):
    number, unit = text.split()
    return float(number) * {"B": 1, "kB": 1e3, "MB": 1e6, "GB": 1e9}[unit]


def plan(binary, project):
    with tempfile.TemporaryDirectory(prefix="cyclotomo-plan-") as folder:
        root = pathlib.Path(folder)
        make_project(binary, root, *project)
        command = [binary, "cycle", "--root", folder, "--p", "particles.star", "--t", "tomograms.star", "--b", str(project[0]), "--crop", str(project[1]), "--sym", "C1",
                   "--mask-align", "mask.mrc", "--mask-fsc", "mask.mrc", "--duplicates", "keep", "--j", str(THREADS), "--o", "Cycle/", "--dry-run"]
        limit = int(LIMIT_GB * 1e9)
        done = subprocess.run(command, capture_output=True, text=True, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (limit, limit)))
        memory = {}
        for step, need in re.findall(r"^  (\w+)/job\d+/ .*?  ([\d.]+ [kMGT]?B) +[\d.]+ [kMGT]?B$", done.stdout, re.M):
            memory[step] = max(memory.get(step, need), need, key=size)
        disk = re.search(r"^  all .* ([\d.]+ [kMGT]?B)$", done.stdout, re.M)
        if len(memory) < len(STEPS) or not disk:
            sys.exit("no plan of %s:\n%s%s" % (project, done.stdout, done.stderr))
        return [memory[s] for s in STEPS] + [disk[1]]


def row(binary, project):
    box, crop, n_series, n_particles, image_px, pixel_A = project
    head = ["%d" % box, "%d" % crop, "{:,}".format(n_series * n_particles), "%d" % n_series, "%d" % image_px]
    return "| " + " | ".join(head + plan(binary, project)) + " |"


def tables(binary, projects):
    yield "| box (px) | crop (px) | particles | tilt series | images (px) | reconstruct | postprocess | polish | ctfrefine | refine | disk, one cycle |"
    yield "|---|---|---|---|---|---|---|---|---|---|---|"
    for project in projects:
        yield row(binary, project)


def main():
    binary = str(pathlib.Path(sys.argv[1]).resolve())
    page = pathlib.Path(__file__).resolve().parent.parent / "docs/memory-and-time.md"
    if "--check" in sys.argv:
        available_kB = int(re.search(r"MemAvailable: +(\d+)", pathlib.Path("/proc/meminfo").read_text())[1])
        if available_kB < 8e6:
            print("skipped: less than 8 GB of memory are available, so refine plans for less")
            return
        text = page.read_text(encoding="utf-8")
        for line in tables(binary, PROJECTS[:N_CHECKED]):
            if line not in text:
                sys.exit("docs/memory-and-time.md lacks the row\n%s\nrun tools/memory_table.py BINARY --update" % line)
        return
    new = "\n".join(tables(binary, PROJECTS))
    if "--update" not in sys.argv:
        print(new)
        return
    text = page.read_text(encoding="utf-8")
    head, _, rest = text.partition(BEGIN)
    page.write_text("%s%s\n\n%s\n\n%s%s" % (head, BEGIN, new, END, rest.partition(END)[2]), encoding="utf-8")


if __name__ == "__main__":
    main()
