#!/usr/bin/python3
"""export_project.py PROJECT OUT: a RELION-5 project as Warp and IMOD would have written it, with their decimals.

OUT gets stacks/NAME.mrc; warp.star (matrices without shifts) and warp/NAME.xml; imod/NAME.{xf,tlt,xtilt,txt,dose}, of volumes
turned by trimvol -rx; list_warp.star and list_imod.star, with coordinates in pixels binned by 4. Conventions: docs/import.md.
Needs numpy and mrcfile.
"""
import os
import sys

import mrcfile
import numpy as np

BINNING = 4
project, out = sys.argv[1:]


def read_star(path):
    tables = {}
    for line in open(path):
        s = line.strip()
        if s.startswith("data_"):
            labels, rows = tables.setdefault(s[5:], ([], []))
        elif s.startswith("_"):
            labels.append(s.split()[0][1:])
        elif s and s[0] != "#" and s != "loop_":
            rows.append(dict(zip(labels, s.split())))
    return {name: rows for name, (labels, rows) in tables.items()}


def rotation(axis, deg):
    c, s = np.cos(np.radians(deg)), np.sin(np.radians(deg))
    i, j = {"x": (1, 2), "y": (2, 0), "z": (0, 1)}[axis]
    m = np.eye(3)
    m[i, i] = m[j, j] = c
    m[i, j], m[j, i] = -s, s
    return m


def head(name, labels):
    return "\ndata_%s\n\nloop_\n" % name + "".join("_%s\n" % x for x in labels)


def size_of(t):
    return np.array([int(t["rlnTomoSize" + a]) for a in "XYZ"])


for folder in ("stacks", "warp", "imod"):
    os.makedirs(os.path.join(out, folder), exist_ok=True)
tomograms = read_star(project + "/tomograms.star")["global"]
tables = ""
for t in tomograms:
    name, px, size = t["rlnTomoName"], float(t["rlnTomoTiltSeriesPixelSize"]), size_of(t)
    tilts = read_star(project + "/" + t["rlnTomoTiltSeriesStarFile"])[name]
    images = []
    for tilt in tilts:
        with mrcfile.open(project + "/" + tilt["rlnMicrographName"], permissive=True) as m:
            images.append(m.data.squeeze())
    with mrcfile.new("%s/stacks/%s.mrc" % (out, name), overwrite=True) as m:
        m.set_data(np.array(images))
        m.voxel_size = px
    H, W = images[0].shape
    lines = {"xf": [], "tlt": [], "xtilt": [], "txt": ["# a row for each image"], "dose": []}
    tables += head(name, ["rlnTomoProj" + a for a in "XYZW"] +
                   ["rlnDefocusU", "rlnDefocusV", "rlnDefocusAngle", "rlnCtfScalefactor", "rlnMicrographPreExposure"])
    for i, tilt in enumerate(tilts):
        v = lambda label: float(tilt[label])
        x, y, z = v("rlnTomoXTilt"), v("rlnTomoYTilt"), v("rlnTomoZRot")
        R = rotation("z", z) @ rotation("y", y) @ rotation("x", x)
        # Where the middle of the volume lands, from the middle of the image.
        middle = R @ ((size - 1) / 2 - size // 2)
        middle = middle[:2] + np.array([W // 2 - (W - 1) / 2 + v("rlnTomoXShiftAngst") / px, H // 2 - (H - 1) / 2 + v("rlnTomoYShiftAngst") / px])
        A = rotation("z", -z)[:2, :2]
        lines["xf"].append("%11.7f %11.7f %11.7f %11.7f %11.3f %11.3f" % (*A.ravel(), *(-A @ middle)))
        lines["tlt"].append("%.2f" % -y)
        lines["xtilt"].append("%.2f" % -x)
        ctf = v("rlnDefocusU"), v("rlnDefocusV"), v("rlnDefocusAngle")
        lines["txt"].append("%d %.2f %.2f %.3f 0.0 0.1 10.0" % (i + 1, *ctf))
        lines["dose"].append("%g" % v("rlnMicrographPreExposure"))
        tables += " ".join("[%.8g,%.8g,%.8g,0]" % tuple(row) for row in R)
        tables += " [0,0,0,1] %.1f %.1f %.3f %.3f %.3f\n" % (*ctf, v("rlnCtfScalefactor"), v("rlnMicrographPreExposure"))
    for kind, text in lines.items():
        with open("%s/imod/%s.%s" % (out, name, kind), "w") as f:
            f.write("\n".join(text) + "\n")
    with open("%s/warp/%s.xml" % (out, name), "w") as f:
        f.write("<TiltSeries>\n")
        for tag, label in (("AxisOffsetX", "rlnTomoXShiftAngst"), ("AxisOffsetY", "rlnTomoYShiftAngst"), ("Dose", "rlnMicrographPreExposure")):
            f.write("  <%s>%s</%s>\n" % (tag, "\n".join("%.3f" % float(tilt[label]) for tilt in tilts), tag))
        f.write("</TiltSeries>\n")
labels = ["rlnTomoName", "rlnTomoSizeX", "rlnTomoSizeY", "rlnTomoSizeZ", "rlnTomoHand", "rlnTomoTiltSeriesPixelSize", "rlnVoltage",
          "rlnSphericalAberration", "rlnAmplitudeContrast", "rlnOpticsGroupName"]
with open(out + "/warp.star", "w") as f:
    f.write(head("global", labels + ["rlnTomoTiltSeriesName"]))
    for t in tomograms:
        f.write(" ".join(t[x] for x in labels) + " dummy_tiltseries.mrc\n")
    f.write(tables)

particles = read_star(project + "/particles.star")["particles"]
kept = [x for x in particles[0] if x.startswith(("rlnAngle", "rlnOrigin", "rlnRandom", "rlnTomoSub"))]
for kind in ("warp", "imod"):
    with open("%s/list_%s.star" % (out, kind), "w") as f:
        f.write(head("", ["rlnTomoName", "rlnTomoParticleName", "rlnCoordinateX", "rlnCoordinateY", "rlnCoordinateZ"] + kept))
        for p in particles:
            t = next(t for t in tomograms if t["rlnTomoName"] == p["rlnTomoName"])
            v = np.array([float(p["rlnCenteredCoordinate%sAngst" % a]) for a in "XYZ"]) / float(t["rlnTomoTiltSeriesPixelSize"]) + size_of(t) / 2
            v = v / BINNING if kind == "warp" else (v + 0.5) / BINNING - 0.5
            f.write(" ".join([p["rlnTomoName"], p["rlnTomoParticleName"]] + ["%.3f" % x for x in v] + [p[x] for x in kept]) + "\n")
