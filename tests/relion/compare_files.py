#!/usr/bin/env python3
"""Are all files of one folder in another too, with the same tables, columns and map sizes?  compare_files.py WANTED FOUND NAME...

NAME: files or folders below WANTED. STAR: blocks, and the columns of each, of WANTED must be in FOUND (more is allowed), with as many
rows. MRC: number of voxels, mode and pixel size. Other files only have to be there. Prints what is missing; ends with 1 then.
"""
import pathlib
import struct
import sys

wanted_root, found_root = map(pathlib.Path, sys.argv[1:3])
faults, n_files = [], 0


def blocks(path):
    """{block: (columns, rows)} of a STAR file."""
    out, columns, rows, in_list = {}, None, 0, False
    for line in path.read_text().splitlines():
        line = line.strip()
        if line.startswith("data_"):
            columns, rows, in_list = [], 0, True
            out[line[5:]] = [columns, rows]
            name = line[5:]
        elif line == "loop_":
            in_list = False
        elif line.startswith("_") and columns is not None:
            columns.append(line.split()[0][1:])
            if in_list:
                out[name][1] = 1
        elif line and not line.startswith("#") and columns:
            out[name][1] += 1
    return out


def header(path):
    with open(path, "rb") as f:
        head = f.read(1024)
    size = struct.unpack("<3i", head[:12])
    cell = struct.unpack("<3f", head[40:52])
    return size, struct.unpack("<i", head[12:16])[0], round(cell[0] / size[0], 3)


def compare(name):
    wanted, found = wanted_root / name, found_root / name
    if not found.exists():
        faults.append("%s is not there" % name)
    elif wanted.suffix == ".star":
        have = blocks(found)
        for block, (columns, rows) in blocks(wanted).items():
            if block not in have:
                faults.append("%s: no block '%s'" % (name, block))
                continue
            for column in columns:
                if column not in have[block][0]:
                    faults.append("%s: block '%s' has no column %s" % (name, block, column))
            if have[block][1] != rows:
                faults.append("%s: block '%s' has %d rows, RELION's %d" % (name, block, have[block][1], rows))
    elif wanted.suffix == ".mrc" and header(wanted) != header(found):
        faults.append("%s: size, mode, pixel size %s, RELION's %s" % (name, header(found), header(wanted)))


for name in sys.argv[3:]:
    path = wanted_root / name
    for file in sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]:
        n_files += 1
        compare(file.relative_to(wanted_root))
for fault in faults:
    print(fault)
print("%d files of RELION's, %d differences in names, tables and sizes" % (n_files, len(faults)))
sys.exit(int(bool(faults) or n_files == 0))
