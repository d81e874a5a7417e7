#!/usr/bin/env python3
"""Functions with more than 8 parameters: check_parameters.py [ROOT]

Reads all C sources and headers below include/, src/ and backends/ and prints one line per function that has more
parameters than a reader can tell apart at a call; ends with 1 if there are any. Structs of arguments, as
cyc_ctf_sums_in, are the way out.
"""
import pathlib
import re
import sys

MOST = 8
folders = ("include", "src", "backends")
root = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).resolve().parent.parent)


def without_comments(text):
    """Comments, strings and preprocessor lines as blanks, line breaks kept."""
    blank = lambda m: re.sub(r"[^\n]", " ", m[0])
    text = re.sub(r"/\*.*?\*/|//[^\n]*|\"(\\.|[^\"\\\n])*\"|'(\\.|[^'\\\n])*'", blank, text, flags=re.S)
    return re.sub(r"^[ \t]*#(?:[^\n\\]|\\\n|\\.)*", blank, text, flags=re.M)


def parameters(text, at):
    """The parameters of the list that opens at `at`."""
    depth, begin, found = 0, at + 1, []
    for i in range(at, len(text)):
        if text[i] in "([{":
            depth += 1
        elif text[i] in ")]}":
            depth -= 1
        if (text[i] == "," and depth == 1) or depth == 0:
            found.append(text[begin:i].strip())
            begin = i + 1
        if depth == 0:
            break
    return found


def functions(text):
    """(name, position, parameters) of declarations, definitions and members that point to functions."""
    word = r"(?:[A-Za-z_]\w*[\s*]+)+"
    for m in re.finditer(word + r"\(?\*?\s*([A-Za-z_]\w*)\s*\)?\s*(\()", text):
        found = parameters(text, m.start(2))
        if m[0].split()[0] in ("return", "else", "case", "goto"):
            continue
        # A definition or declaration has types in its list: each parameter two words, or one and a star.
        if all(re.match(r"(const\s+|struct\s+|unsigned\s+)*[A-Za-z_]\w*[\s*]+.*[A-Za-z_\]\)]", p, re.S) for p in found):
            yield m[1], m.start(1), found


faults = 0
for folder in folders:
    for path in sorted((root / folder).rglob("*.[ch]")):
        text = without_comments(path.read_text(encoding="utf-8"))
        for name, at, found in functions(text):
            if len(found) > MOST:
                line = text.count("\n", 0, at) + 1
                print(f"{path.relative_to(root)}:{line}: {name} has {len(found)} parameters, more than {MOST}")
                faults += 1
sys.exit(faults > 0)
