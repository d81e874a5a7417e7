#!/usr/bin/env bash
# C sources as .clang-format has them (clang-format 14), no line of C beyond 110 columns with tabs of four, and no line of a
# shell script that looks like a check and cannot fail.
set -euo pipefail
cd "$(dirname "$0")/.."
git ls-files -z '*.c' '*.h' '*.cpp' '*.cu' | xargs -0 clang-format-14 --dry-run --Werror
git ls-files -z '*.c' '*.h' '*.cpp' '*.cu' '*.def' | xargs -0 python3 -c '
import sys
long = [(f, n) for f in sys.argv[1:] for n, line in enumerate(open(f, encoding="utf-8"), 1)
        if len(line.rstrip("\n").expandtabs(4)) > 110]
for f, n in long:
    print(f"{f}:{n}: longer than 110 columns")
sys.exit(bool(long))'
# Under `set -e` a list "A && B" whose A fails, and "! A", do not end a script: one line for each, or `if A; then exit 1; fi`.
if git ls-files -z '*.sh' | xargs -0 grep -nE '^[[:space:]]*(! |\[ .* && )' | grep -vE '\|\||;|then$|do$|\{$|\\$|--exclude-standard|:[[:space:]]*! -name'; then
	echo "these lines cannot fail"
	exit 1
fi
