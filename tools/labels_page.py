#!/usr/bin/env python3
"""docs/formats/labels.md from the table of labels: labels_page.py [--check] [ROOT]

Writes the page from src/project/labels.def. With --check it only says whether the page is that of the table, whether
docs/formats/columns.md explains every column of this program's own, and whether a label is spelt elsewhere in src/;
ends with 1 if not.
"""
import pathlib
import re
import sys

arguments = [a for a in sys.argv[1:] if a != "--check"]
is_check = "--check" in sys.argv
root = pathlib.Path(arguments[0] if arguments else pathlib.Path(__file__).resolve().parent.parent)
page, columns = root / "docs/formats/labels.md", root / "docs/formats/columns.md"

TABLES = {
    "T": "tilts", "G": "tomograms", "O": "optics", "P": "particles", "L": "list of particles",
    "S": "optimisation set", "M": "motion", "C": "curves", "R": "refinement", "U": "results", "J": "jobs",
}
TYPES = {
    "TEXT": "text", "COUNT": "whole number", "NUMBER": "number", "RESULT": "number, -1 if not known",
    "VECTOR": "list of numbers", "FLAGS": "list of 0 and 1",
}
WRITERS = {
    "RELION3": "RELION 3", "RELION4": "RELION 4", "RELION5": "RELION 5", "WARP": "Warp, M",
    "CRYOCAT": "cryoCAT", "OTHER": "scripts", "CYCLOTOMO": "cyclotomo",
}
HEAD = """# Labels

All labels of STAR files that the program knows, made from `src/project/labels.def` by `tools/labels_page.py`; other
columns are kept as they are. "Not read" means that the program writes the label, checks it, or warns of it. The
columns of its own are explained in [columns.md](columns.md).
"""


def units():
    text = (root / "src/project/labels.c").read_text(encoding="utf-8")
    return dict(re.findall(r'#define UNIT_(\w+) "([^"]*)"', text))


def tables(letters):
    return ", ".join(TABLES[x] for x in letters.split(" | ")) if letters != "0" else "not read"


def make(text):
    unit_of, out = units(), [HEAD]
    for section in re.split(r"\n\n(?=/\* )", text)[1:]:
        title = re.match(r"/\* (.*?) \*/", section)[1]
        out.append(f"## {title}\n\n| label | type | unit | stands in | read from | written by |\n|---|---|---|---|---|---|")
        for row in re.findall(r"^LABEL\((.*?)\)$", section, re.M | re.S):
            _, name, kind, unit, stands, read, writer, _ = re.split(r",\s+", row)
            cells = ["`%s`" % name.strip('"'), TYPES[kind], unit_of[unit], tables(stands), tables(read), WRITERS[writer]]
            out.append("| " + " | ".join(cells) + " |")
        out.append("")
    return "\n".join(out)


table = (root / "src/project/labels.def").read_text(encoding="utf-8")
wanted = make(table)
if not is_check:
    page.write_text(wanted, encoding="utf-8")
    sys.exit(0)

faults = []
if not page.exists() or page.read_text(encoding="utf-8") != wanted:
    faults.append("docs/formats/labels.md is not that of src/project/labels.def: run tools/labels_page.py")
explained = columns.read_text(encoding="utf-8")
for name, stands in re.findall(r'"(cyc\w+)",\s+\w+,\s+\w+,\s+([A-Z| ]+),', table):
    if stands != "J" and f"`{name}`" not in explained:
        faults.append(f"docs/formats/columns.md does not explain {name}")
for path in sorted((root / "src").rglob("*.[ch]")):
    for n, line in enumerate(path.read_text(encoding="utf-8").split("\n"), 1):
        if re.search(r'"_?(rln|cyc|wrp)[A-Z]\w*', line):
            faults.append(f"{path.relative_to(root)}:{n}: a label is spelt here, and not only in labels.def")
print("\n".join(faults))
sys.exit(bool(faults))
