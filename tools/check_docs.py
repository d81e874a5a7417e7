#!/usr/bin/env python3
"""Do documents and code still fit together?  check_docs.py [ROOT]

  anchors   every (Tn.m) that code cites stands in docs/theory/0n-*.md, once; equations that no code cites are listed
  paths     every docs/, tests/, src/, tools/ ... path that a document or a comment names is there
  params    every @param of a header is a parameter of the function below it
  layers    #include goes only to lower layers (EXCEPTIONS below have their reasons), and never to another folder's *_internal.h
  seams     FFTW, cairo, the backends' insides and the end of the process stay in their places (SEAMS)
  symbols   every page of docs/theory has a table of its symbols (or a line 'Symbols: ...'), and none stands there twice
  numbers   the sentences of docs/conventions.md and the tests of tests/unit/test_conventions.c have the same numbers

Prints one line per fault and ends with 1 if there are any. Needs nothing but Python's standard library.
"""
import pathlib
import re
import sys

# Lowest first; folders on one line do not see each other.
LAYERS = [
    ["base"], ["ranks"], ["geom"], ["array"], ["io", "optics"], ["backends"], ["project"], ["tilt"], ["survey"], ["images", "report"], ["map"], ["reference"], ["halfmaps"],
    ["reconstruct", "ctfrefine", "polish", "extract", "simulate", "check", "import"], ["refine3d", "joint"], ["run"], ["summary"], ["cycle"], ["cli"],
]
# Public headers by the layer they belong to; others are named as their folder.
HEADER_LAYER = {"status": "base", "profile": "base", "json": "base", "options": "base", "version": "base", "git_state": "cli", "star": "io", "mrc": "io", "compare": "map", "record": "project", "outputs": "project", "parts": "project", "stacks": "images", "cycle": "run"}
# (folder that includes, header): why it may.
EXCEPTIONS = {
    ("project", "cyclotomo/compare.h"): "compare.h has the comparison of maps (map) and that of STAR files (project)",
}
# (what, where alone it may stand): the library never prints or ends the process, and libraries are used in one place.
SEAMS = [
    (r"#\s*include <fftw3", ("src/array/fft.c", "src/cli/cmd_version.c")),
    (r"#\s*include <cairo", ("src/report/", "src/cli/cmd_version.c")),
    (r'#\s*include "backends/(?!backend\.h)', ("backends/",)),
    (r"\b_?[eE]xit\(|\babort\(", ("src/cli/main.c", "src/cli/console.c")),
    (r"(?<![\w>.])printf\(|\bputs\(|fprintf\(std", ("src/cli/",)),
]
# Pages that code cites before they are written. Empty this as they come.
TO_COME = {}
CODE = ("include", "src", "backends", "tests")

root = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).resolve().parent.parent).resolve()
faults, notes = [], []


def files(folder, *suffixes):
    return sorted(p for p in (root / folder).rglob("*") if p.is_file() and (not suffixes or p.suffix in suffixes))


def show(path, text, at=None):
    line = "" if at is None else ":%d" % (text.count("\n", 0, at) + 1)
    return "%s%s" % (path.relative_to(root), line)


def read(path):
    return path.read_text(encoding="utf-8")


def check_anchors():
    anchors, cited = {}, set()
    for page in files("docs/theory", ".md"):
        text = read(page)
        # A number stands at the end of its equation's line, two blanks off, or in bold.
        places = [(m.start(), m[0]) for m in re.finditer(r"^.*  (\(T\d+\.\d+\))$|\*\*[^*\n]*\*\*", text, re.M)]
        for at, span in places:
            found = re.findall(r"\(T(\d+)\.(\d+)\)", span)
            for key in [(int(a), int(b)) for a, b in (found if span.startswith("**") else found[-1:])]:
                if not page.name.startswith("%02d-" % key[0]):
                    faults.append("%s: (T%d.%d) is on the wrong page" % (show(page, text, at), *key))
                if key in anchors:
                    faults.append("%s: (T%d.%d) stands twice" % (show(page, text, at), *key))
                anchors[key] = page
    for folder in CODE:
        for path in files(folder, ".c", ".h"):
            text = read(path)
            for m in re.finditer(r"\bT(\d+)\.(\d+)(?:\)?\s*(?:to|-|–)\s*\(?T(\d+)\.(\d+))?", text):
                last = int(m[4]) if m[4] else int(m[2])
                for i in range(int(m[2]), last + 1):
                    key = (int(m[1]), i)
                    cited.add(key)
                    if key not in anchors and key[0] not in TO_COME:
                        faults.append("%s: (T%d.%d) is not in docs/theory" % (show(path, text, m.start()), *key))
    for key, page in TO_COME.items():
        if (root / page).exists():
            faults.append("tools/check_docs.py: %s has come; take it off TO_COME" % page)
        else:
            notes.append("to come: " + page)
    unused = sorted(set(anchors) - cited)
    if unused:
        notes.append("not cited by code: " + " ".join("T%d.%d" % k for k in unused))


def check_merges():
    for path in [p for p in root.glob("*.md")] + files("docs", ".md") + [p for f in CODE for p in files(f)]:
        if path.suffix in (".md", ".c", ".h", ".def", ".sh", ".py"):
            text = read(path)
            for m in re.finditer(r"^(<{7}|>{7}) ", text, re.M):
                faults.append("%s: an unfinished merge" % show(path, text, m.start()))


def check_paths():
    path_like = re.compile(r"(?<![\w/.<])((?:docs|tests|src|tools|backends|include|cmake)/[\w./{},-]*\w\.(?:md|c|h|sh|py|def|txt))\b")
    documents = [p for p in root.glob("*.md")] + files("docs", ".md")
    for path in documents + [p for f in CODE for p in files(f, ".c", ".h")]:
        text = read(path)
        for m in path_like.finditer(text):
            if "{" in m[1] or re.search(r"[/_]x\.", m[1]) or m[1] in TO_COME.values() or (root / m[1]).exists():
                continue
            if m[1].startswith(("src/", "tests/")) and path.suffix in (".c", ".h") and (root / "include" / m[1]).exists():
                continue
            faults.append("%s: there is no %s" % (show(path, text, m.start()), m[1]))
    for path in documents:
        text = read(path)
        for m in re.finditer(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", text):
            if not re.search("[./]", m[1]):
                continue  # a formula
            if not (path.parent / m[1]).exists():
                faults.append("%s: the link to %s leads nowhere" % (show(path, text, m.start()), m[1]))


def parameters(prototype):
    """Names of the parameters of 'type f(type a, type b[3], ...)'."""
    inside = prototype[prototype.index("(") + 1 : prototype.rindex(")")]
    parts, depth, now = [], 0, ""
    for c in inside:
        depth += (c == "(") - (c == ")")
        if c == "," and depth == 0:
            parts.append(now)
            now = ""
        else:
            now += c
    parts.append(now)
    names = []
    for part in parts:
        found = re.search(r"\(\*(\w+)\)", part) or re.search(r"(\w+)\s*(?:\[[^]]*\]\s*)*$", part.strip())
        names.append(found[1] if found else "")
    return names


def check_params():
    for path in files("include", ".h") + files("backends", ".h") + files("src", ".h"):
        text = read(path)
        for m in re.finditer(r"/\*\*(.*?)\*/\s*([^;{]*)", text, re.S):
            wanted = [w for line in re.findall(r"@param(?:\[[^]]*\])?\s+([\w, ]+)", m[1]) for w in re.split(r",\s*", line.split("  ")[0].strip())]
            wanted = [w.split()[0] for w in wanted if w]
            if not wanted:
                continue
            prototype = re.sub(r"CYC_PRINTF\([^)]*\)", "", m[2]).strip()
            prototype = re.sub(r"^CYC_MUST_CHECK\s+", "", prototype)
            if "(" not in prototype or ")" not in prototype:
                faults.append("%s: @param, but no function follows" % show(path, text, m.start()))
                continue
            have = parameters(prototype)
            for w in wanted:
                if w not in have:
                    faults.append("%s: @param %s; the function has %s" % (show(path, text, m.start()), w, ", ".join(have)))


def layer_of(path):
    parts = path.relative_to(root).parts
    if parts[0] == "backends":
        return "backends"
    return parts[1] if parts[0] == "src" else HEADER_LAYER.get(path.stem.split(".")[0], path.stem.split(".")[0])


def check_layers():
    rank = {name: i for i, layer in enumerate(LAYERS) for name in layer}
    used = set()
    for folder in ("include", "src", "backends"):
        for path in files(folder, ".c", ".h", ".def", ".in"):
            text, own = read(path), layer_of(path)
            if own not in rank:
                faults.append("%s: the folder '%s' has no place in LAYERS" % (show(path, text), own))
                continue
            for m in re.finditer(r'^#\s*include "([^"]+)"', text, re.M):
                head = m[1].split("/")
                if len(head) == 1:
                    continue  # of the same folder
                stem = head[-1].split(".")[0]
                to = HEADER_LAYER.get(stem, stem) if head[0] == "cyclotomo" else head[0]
                if to == own:
                    continue
                if stem.endswith("_internal"):
                    faults.append("%s: '%s' is internal to %s; what is shared goes into a header with a name of its own" % (show(path, text, m.start()), m[1], to))
                if (own, m[1]) in EXCEPTIONS:
                    used.add((own, m[1]))
                elif to not in rank:
                    faults.append("%s: '%s' has no place in LAYERS" % (show(path, text, m.start()), m[1]))
                elif rank[to] >= rank[own]:
                    faults.append("%s: %s may not include %s, which is not below it" % (show(path, text, m.start()), own, m[1]))
    for key in sorted(set(EXCEPTIONS) - used):
        faults.append("tools/check_docs.py: the exception %s, %s is not needed any more" % key)


def check_seams():
    for folder in ("include", "src", "backends"):
        for path in files(folder, ".c", ".h"):
            # Comments may speak of what code may not do.
            text = re.sub(r"/\*.*?\*/", lambda m: re.sub(r"[^\n]", " ", m[0]), read(path), flags=re.S)
            for pattern, places in SEAMS:
                if path.relative_to(root).as_posix().startswith(places):
                    continue
                for m in re.finditer(pattern, text):
                    faults.append("%s: '%s' belongs in %s" % (show(path, text, m.start()), m[0].strip(), " or ".join(places)))


def check_symbols():
    for page in files("docs/theory", ".md"):
        text = read(page)
        table = re.search(r"^\| symbol \| meaning \|\n\|---\|---\|\n((?:\|.*\n)+)", text, re.M)
        if not table:
            if not re.search(r"^Symbols:", text, re.M):
                faults.append("%s: there is no table of symbols" % show(page, text))
            continue
        seen = set()
        for line in table[1].splitlines():
            names = re.split("[,;=]", re.sub(r"\([^)]*\)", "", line.split(" | ")[0].lstrip("| ")))
            for name in filter(None, (n.strip() for n in names)):
                if name in seen:
                    faults.append("%s: the symbol '%s' has two meanings" % (show(page, text), name))
                seen.add(name)


def check_numbers():
    page, test = root / "docs/conventions.md", root / "tests/unit/test_conventions.c"
    if not page.exists() or not test.exists():
        faults.append("docs/conventions.md or tests/unit/test_conventions.c is not there")
        return
    sentences = [int(n) for n in re.findall(r"^(\d+)\. ", read(page), re.M)]
    if sentences != list(range(1, len(sentences) + 1)):
        faults.append("docs/conventions.md: sentences are not numbered 1 to %d" % len(sentences))
    text = read(test)
    tests = {int(n) for n in re.findall(r"^static void sentence_(\d+)", text, re.M)}
    for n in sorted(set(sentences) - tests):
        faults.append("docs/conventions.md: sentence %d has no test" % n)
    for n in sorted(tests - set(sentences)):
        faults.append("tests/unit/test_conventions.c: there is no sentence %d" % n)


for check in (check_anchors, check_merges, check_paths, check_params, check_layers, check_seams, check_symbols, check_numbers):
    check()
for note in notes:
    print("note: " + note)
for fault in faults:
    print(fault)
sys.exit(1 if faults else 0)
