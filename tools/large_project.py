#!/usr/bin/env python3
"""A made-up project of any size: its tables are real, its images sparse files that hold nothing.

  large_project.py FOLDER [--series 1000] [--particles 100] [--tilts 41] [--size 4096] [--pixel-size 1.5] [--box 128]

What a program does with the metadata of a large project can be tried with it: reading, checking, planning, dealing. --particles is the mean
of a series; their numbers differ by a factor of up to four, as they do in practice. Uses nothing but Python itself.
"""
import argparse
import math
import pathlib
import random
import struct


def table(name, labels, rows):
    head = "\n# version 50001\n\ndata_%s\n\nloop_\n" % name
    return head + "".join("_%s #%d\n" % (label, i + 1) for i, label in enumerate(labels)) + "".join(" ".join(row) + "\n" for row in rows) + "\n"


def mrc(path, nx, ny, nz, pixel_size, values=None):
    """Header and, without values, a hole for the data."""
    header = bytearray(1024)
    struct.pack_into("<10i", header, 0, nx, ny, nz, 2, 0, 0, 0, nx, ny, nz)
    struct.pack_into("<6f", header, 40, nx * pixel_size, ny * pixel_size, nz * pixel_size, 90, 90, 90)
    struct.pack_into("<3i3f2i", header, 64, 1, 2, 3, 0, 1, 0, 0, 0)
    header[208:216] = b"MAP \x44\x44\0\0"
    struct.pack_into("<i", header, 108, 20140)
    with open(path, "wb") as f:
        f.write(header)
        if values is not None:
            f.write(values)
        f.truncate(1024 + 4 * nx * ny * nz)


def ball(box, radius, rng):
    """Bytes of a ball with a soft edge, in noise."""
    line = []
    for z in range(box):
        for y in range(box):
            r2 = (z - box / 2) ** 2 + (y - box / 2) ** 2
            line.append(struct.pack("<%df" % box, *(min(1.0, max(0.0, radius + 3 - math.sqrt(r2 + (x - box / 2) ** 2))) + (0.2 * rng.random() if rng else 0) for x in range(box))))
    return b"".join(line)


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("folder")
    for name, value in (("series", 1000), ("particles", 100), ("tilts", 41), ("size", 4096), ("box", 128)):
        p.add_argument("--" + name, type=int, default=value)
    p.add_argument("--pixel-size", type=float, default=1.5)
    o = p.parse_args()
    root = pathlib.Path(o.folder)
    for name in ("tilt_series", "stacks"):
        (root / name).mkdir(parents=True, exist_ok=True)
    rng = random.Random(1)
    half = 0.4 * o.size * o.pixel_size
    particles, tomograms = [], []
    counts = [max(1, round(o.particles * rng.uniform(0.4, 1.6))) for _ in range(o.series)]
    counts[-1] = max(1, counts[-1] + o.series * o.particles - sum(counts))
    for s in range(o.series):
        name = "TS_%04d" % (s + 1)
        mrc(root / "stacks" / (name + ".mrcs"), o.size, o.size, o.tilts, o.pixel_size)
        rows = []
        for f in range(o.tilts):
            angle = 3 * ((f + 1) // 2) * (1 if f % 2 else -1)
            rows.append(["%d@stacks/%s.mrcs" % (f + 1, name)] + ["%.4f" % v for v in (
                angle, 3.0 * f, 0, angle + rng.gauss(0, 0.1), 85 + rng.gauss(0, 0.1), rng.gauss(0, 20), rng.gauss(0, 20),
                25000 + rng.gauss(0, 800), 24500 + rng.gauss(0, 800), rng.uniform(-90, 90), 1)])
        (root / "tilt_series" / (name + ".star")).write_text(table(name, [
            "rlnMicrographName", "rlnTomoNominalStageTiltAngle", "rlnMicrographPreExposure", "rlnTomoXTilt", "rlnTomoYTilt", "rlnTomoZRot", "rlnTomoXShiftAngst",
            "rlnTomoYShiftAngst", "rlnDefocusU", "rlnDefocusV", "rlnDefocusAngle", "rlnCtfScalefactor"], rows))
        tomograms.append([name, "300", "2.7", "0.1", "%g" % o.pixel_size, "-1", "opticsGroup1", "%g" % o.pixel_size, "3", "tilt_series/%s.star" % name,
                          str(o.size), str(o.size), str(o.size // 3)])
        for i in range(counts[s]):
            particles.append([name, "%s/%d" % (name, i + 1)] + ["%.4f" % v for v in (
                rng.uniform(-half, half), rng.uniform(-half, half), rng.uniform(-half / 4, half / 4),
                rng.uniform(-180, 180), math.degrees(math.acos(rng.uniform(-1, 1))), rng.uniform(-180, 180))] + [str(1 + i % 2), "1"])
    optics = table("optics", ["rlnOpticsGroup", "rlnOpticsGroupName", "rlnSphericalAberration", "rlnVoltage", "rlnAmplitudeContrast", "rlnTomoTiltSeriesPixelSize"],
                   [["1", "opticsGroup1", "2.7", "300", "0.1", "%g" % o.pixel_size]])
    (root / "particles.star").write_text("data_general\n\n_rlnTomoSubTomosAre2DStacks 1\n" + optics + table("particles", [
        "rlnTomoName", "rlnTomoParticleName", "rlnCenteredCoordinateXAngst", "rlnCenteredCoordinateYAngst", "rlnCenteredCoordinateZAngst",
        "rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi", "rlnRandomSubset", "rlnOpticsGroup"], particles))
    (root / "tomograms.star").write_text(table("global", [
        "rlnTomoName", "rlnVoltage", "rlnSphericalAberration", "rlnAmplitudeContrast", "rlnMicrographOriginalPixelSize", "rlnTomoHand", "rlnOpticsGroupName",
        "rlnTomoTiltSeriesPixelSize", "rlnTomoImportFractionalDose", "rlnTomoTiltSeriesStarFile", "rlnTomoSizeX", "rlnTomoSizeY", "rlnTomoSizeZ"], tomograms))
    (root / "optimisation_set.star").write_text("data_\n\n_rlnTomoParticlesFile particles.star\n_rlnTomoTomogramsFile tomograms.star\n")
    for name in ("half1.mrc", "half2.mrc"):
        mrc(root / name, o.box, o.box, o.box, o.pixel_size, ball(o.box, 0.3 * o.box, rng))
    mrc(root / "mask.mrc", o.box, o.box, o.box, o.pixel_size, ball(o.box, 0.35 * o.box, None))
    print("%d particles in %d tilt series, %d images of %d px: %s/optimisation_set.star" % (len(particles), o.series, o.series * o.tilts, o.size, o.folder))


if __name__ == "__main__":
    main()
