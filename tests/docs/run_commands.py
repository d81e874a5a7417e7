#!/usr/bin/env python3
"""Do the commands in the documents work?  run_commands.py BINARY ROOT [--names] [PAGE ...]

Commands stand in fenced blocks (```sh). Each page has a folder of its own, in which its blocks run one after another; a block that fails
fails the test. `cyclotomo` on the PATH is BINARY. What a block needs or cannot do is said in comments before it, which readers do not see:

  <!-- first:            commands that run before the block: the project that the page works on
  COMMANDS -->
  <!-- replace: OLD => NEW -->   run NEW in place of OLD, such as fewer particles; OLD must be in the block
  <!-- ends with: N -->          exit code of the block, 0 without this
  <!-- needs: git -->            only run in a clone
  <!-- not run: REASON -->       only names are checked

Names are checked in all blocks, in all `code` between words, and in the examples of --help: the command exists, and so do its options. Any
other `--option` in the documents must be an option of some command, or of RELION's under its name. --names checks only these.
"""
import pathlib
import re
import shlex
import subprocess
import sys
import tempfile

COMMAND = re.compile(r"^(?:\S*/)?cyclotomo$")
RELION_NAME = re.compile(r"^relion_\w+$")
# Options of other programs that documents speak of.
FOREIGN = {"--preset", "--build", "--install", "--prefix", "--component", "--cpus-per-task", "--mem", "--bind-to", "--update", "--version", "--as", "--dest", "--time",
           "--job-name", "--output", "--help-man", "--help-markdown", "--ci", "--strip-components", "--enablerepo", "--test-dir", "--requeue"}


def fail(where, text):
    sys.exit("%s: %s" % (where, text))


class Block:
    def __init__(self, page, line):
        self.where, self.lines, self.first, self.replace = "%s:%d" % (page, line), [], "", []
        self.ends_with, self.not_run, self.needs_git = 0, None, False

    def directive(self, text):
        key, _, value = text.partition(":")
        value = value.strip()
        if key == "first":
            self.first += value + "\n"
        elif key == "replace":
            old, arrow, new = value.partition("=>")
            if not arrow:
                fail(self.where, "'replace: OLD => NEW' is wanted, found '%s'" % text)
            self.replace.append((old.strip(), new.strip()))
        elif key == "ends with":
            self.ends_with = int(value)
        elif key == "needs" and value == "git":
            self.needs_git = True
        elif key == "not run" and value:
            self.not_run = value
        else:
            return False
        return True

    def script(self):
        text = "\n".join(self.lines)
        for old, new in self.replace:
            if old not in text:
                fail(self.where, "'%s' is to be replaced, but is not in the block" % old)
            text = text.replace(old, new)
        return text


def blocks_of(path, name):
    """Blocks of a page, and the rest of its text."""
    lines, blocks, rest, i, pending = path.read_text(encoding="utf-8").split("\n"), [], [], 0, []
    while i < len(lines):
        if lines[i].startswith("<!-- "):
            start, comment = i, lines[i]
            while not comment.endswith("-->"):
                i += 1
                comment += "\n" + lines[i]
            pending.append((start, comment[4:-3].strip()))
        elif lines[i].startswith("```"):
            kind, start = lines[i][3:].strip(), i + 1
            i += 1
            while not lines[i].startswith("```"):
                i += 1
            if kind == "sh":
                block = Block(name, start + 1)
                block.lines = lines[start:i]
                for at, text in pending:
                    if not block.directive(text):
                        fail("%s:%d" % (name, at + 1), "'%s' is no word for this test" % text.split("\n")[0])
                blocks.append(block)
            pending = []
        else:
            if lines[i].strip() and not lines[i].startswith("#"):
                pending = []
            if re.match(r"    +(\./|(\S*/)?cyclotomo [a-z-]+( |$)|cmake |tools/|sudo )", lines[i]):
                fail("%s:%d" % (name, i + 1), "commands stand in ```sh blocks, where this test finds them")
            rest.append(lines[i])
        i += 1
    return blocks, "\n".join(rest)


class Names:
    """Commands and their options, from --help."""

    def __init__(self, binary):
        self.binary, self.known = binary, {}
        self.commands = set(re.findall(r"^  ([a-z][a-z0-9-]*) +\S", self.help([]), re.M)) | {"help"}
        self.relion = set()

    def help(self, words):
        done = subprocess.run([self.binary, *words, "--help"], capture_output=True, text=True)
        return done.stdout if done.returncode == 0 else None

    def options(self, command):
        if command not in self.known:
            text = self.help([command]) or ""
            head = re.findall(r"^  (--[^\n]*)$", text, re.M)
            self.known[command] = {w for line in head for w in re.findall(r"(?<![\w-])--?[A-Za-z][\w-]*", line)} | {"--help", "-h"}
            # In a table of markdown, as pages of RELION's names have.
            self.known[command] |= set(re.findall(r"\| `(--?[\w-]+)", text))
        return self.known[command]

    def check(self, where, words):
        """Of one simple command."""
        if not words or not COMMAND.match(words[0]) or len(words) < 2 or words[1].startswith(("-", "<", "$")) or words[1] in ("COMMAND", "..."):
            return
        if RELION_NAME.match(words[1]):
            return
        if words[1] not in self.commands:
            fail(where, "there is no command '%s'" % words[1])
        for word in words[2:]:
            option = word.partition("=")[0]
            if re.match(r"^--?[A-Za-z]", option) and option not in self.options(words[1]):
                fail(where, "'cyclotomo %s' has no option '%s'" % (words[1], option))

    def check_text(self, where, text):
        text = re.sub(r"\\\n\s*", " ", text)
        for line in text.split("\n"):
            line = line.strip()
            if not line or line.startswith("#"):
                continue
            for part in re.split(r"\s(?:&&|\|\||\||;)\s", line):
                try:
                    words = shlex.split(part, comments=True)
                except ValueError:
                    words = part.split()
                while words and re.match(r"^[A-Za-z_]+=", words[0]):
                    words.pop(0)
                while words and words[0] in ("srun", "nice", "time", "exec"):
                    words.pop(0)
                    while words and words[0].startswith("-"):
                        words.pop(0)
                self.check(where, words)

    def everywhere(self):
        return set().union(*(self.options(c) for c in self.commands if c != "help")) | FOREIGN

    def check_examples(self):
        for command in sorted(self.commands - {"help"}):
            text = self.help([command])
            if text is None:
                fail("cyclotomo %s --help" % command, "fails")
            lines = re.sub(r"\\\n\s*", " ", text.split("\nInput")[0]).split("\n")
            for line in lines:
                if re.match(r"^  cyclotomo ", line):
                    self.check_text("cyclotomo %s --help" % command, line)


def check_names(names, where, blocks, rest, relion_options):
    for block in blocks:
        names.check_text(block.where, "\n".join(block.lines))
    for code in re.findall(r"`([^`\n]+)`", rest):
        if code.startswith(("cyclotomo ", "build/cyclotomo ")):
            names.check_text("%s: `%s`" % (where, code), code)
    every = names.everywhere() | relion_options
    for option in re.findall(r"(?<![\w`/-])`(--[a-zA-Z][\w-]*)", rest):
        # RELION's spelling of an option of ours, by any of its programs.
        if option not in every:
            fail(where, "no command has the option '%s'" % option)


def run_page(binary, root, blocks, folder):
    (folder / "bin").mkdir()
    (folder / "bin" / "cyclotomo").symlink_to(binary)
    work = folder / "work"
    work.mkdir()
    here = work
    for block in blocks:
        if block.not_run or (block.needs_git and not (root / ".git").exists()):
            continue
        at = folder / "at"
        at.unlink(missing_ok=True)
        script = "set -euo pipefail\n%s%s\n" % (block.first, block.script())
        keep = "trap 'pwd >%s' EXIT\n" % shlex.quote(str(at))
        environment = {"PATH": "%s:/usr/local/bin:/usr/bin:/bin" % (folder / "bin"), "HOME": str(work), "LC_ALL": "C.UTF-8", "CYC_SOURCE": str(root)}
        done = subprocess.run(["bash", "-c", keep + script], cwd=here, env=environment, capture_output=True, text=True)
        if done.returncode != block.ends_with:
            fail(block.where, "ended with %d, not with %d:\n%s\n%s%s" % (done.returncode, block.ends_with, script, done.stdout[-2000:], done.stderr[-3000:]))
        here = pathlib.Path(at.read_text().strip())


def main():
    arguments = [a for a in sys.argv[1:] if a != "--names"]
    binary, root = pathlib.Path(arguments[0]).resolve(), pathlib.Path(arguments[1]).resolve()
    pages = [root / p for p in arguments[2:]] or sorted(root.glob("*.md")) + sorted((root / "docs").rglob("*.md"))
    names = Names(str(binary))
    names.check_examples()
    relion_page = root / "docs/formats/relion-commands.md"
    relion_options = set(re.findall(r"`(--[\w-]+)", relion_page.read_text(encoding="utf-8").partition("<!-- From here on")[2]))
    n_run = 0
    for page in pages:
        name = str(page.relative_to(root))
        if name in ("CHANGELOG.md",):
            continue
        blocks, rest = blocks_of(page, name)
        check_names(names, name, blocks, rest, relion_options)
        if "--names" in sys.argv or not any(b.not_run is None for b in blocks):
            continue
        with tempfile.TemporaryDirectory(prefix="cyclotomo-docs-") as folder:
            run_page(binary, root, blocks, pathlib.Path(folder))
        n_run += sum(b.not_run is None for b in blocks)
    print("%d pages, %d blocks run" % (len(pages), n_run))


if __name__ == "__main__":
    main()
