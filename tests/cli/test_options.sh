#!/usr/bin/env bash
# Documents, man pages and job.star have the options that the tables have.
set -euo pipefail
cyclotomo=$(realpath "$1") source=$(cd "$(dirname "$0")/../.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
fail() { echo "FAIL: $*" >&2; exit 1; }

sed '1,/^<!-- From here on made by/d' "$source/docs/options.md" | diff - <("$source/tools/options.sh" "$cyclotomo") ||
	fail "docs/options.md is not up to date: tools/options.sh BINARY --update"

# One owner: the name of an option stands in its row (of the job, of what contains it), and nowhere else but where RELION's names become it and
# where the cycle says which steps depend on it. Kinds of findings and other commands may have the same names.
known='dry-run|min-separation|no-dose|pixel-size|tomogram-size'
names() { grep -ho 'ROW([A-Z0-9]*, "[a-z0-9-]*"' "$source"/src/*/*_options.c | sed 's/.*"\(.*\)"/\1/' | grep -e - | sort -u; }
[ "$(names | wc -l)" -gt 100 ] || fail "rows of options are not found"
grep -rhoE '"[a-z0-9]+(-[a-z0-9]+)+"' "$source/src" --include=*.c --exclude='*_options.c' --exclude='relion_*.c' --exclude=record.c | tr -d '"' | sort -u |
	comm -12 <(names) - | grep -vxE "$known" >others || true
[ ! -s others ] || fail "options are named in other places than their rows: $(cat others)"

# The same options in help, man page and document.
for command in $(sed -n 's/^CYC_COMMAND(\([a-z0-9-]*\),.*/\1/p' "$source/src/cli/commands.def"); do
	"$cyclotomo" "$command" --help | sed -n 's/^  --\([a-z0-9.-]*\).*/\1/p' | sort >help
	[ -z "$(uniq -d help)" ] || fail "$command has two options of one name: $(uniq -d help)"
	"$cyclotomo" "$command" --help-man | sed -n 's/^\.B \\-\\-\([a-z0-9.\\-]*\).*/\1/p' | tr -d '\\' | sort | diff help - || fail "man page of $command"
	"$cyclotomo" "$command" --help-markdown | sed -n 's/^| --\([a-z0-9.-]*\).*/\1/p' | sort | diff help - || fail "document of $command"
done

# What a step of the cycle was called with is in its job.star, given or not.
"$cyclotomo" simulate --series 2 --particles 10 --tilts 21 --size 240 --size-y 240 --box 64 --pixel-size 3 --o small --quiet >/dev/null
"$cyclotomo" cycle --root small --i optimisation_set.star --b 64 --sym O --mask-align mask_align.mrc --o Run --skip-polish --skip-refine --ctfrefine.resolution 14 --sigma-defocus 700 \
	--quiet >/dev/null
grep -q '^ *resolution  *14' small/Run/CtfRefine/job003/job.star || fail "an option by its name with that of the job is not handed through"
grep -q '^ *sigma-defocus  *700' small/Run/CtfRefine/job003/job.star || fail "an option by its plain name is not handed through"
grep -q -- '--resolution 14 --sigma-defocus 700' small/Run/CtfRefine/job003/note.txt || fail "note.txt lacks options"
for option in $("$cyclotomo" ctfrefine --help | sed '/^Work/,$d' | sed -n 's/^  --\([a-z0-9.-]*\).*/\1/p'); do
	grep -q "^ *$option " small/Run/CtfRefine/job003/job.star || fail "job.star of a step lacks $option"
done
got=0
"$cyclotomo" cycle --root small --i optimisation_set.star --b 64 --sym O --mask-align mask_align.mrc --o Run --skip-polish --skip-refine --ctfrefine.resolution 13 --sigma-defocus 700 \
	--quiet >out 2>&1 || got=$?
[ $got = 2 ] && grep -q -- '--ctfrefine.resolution (was 14, now 13)' out || fail "a changed option of a job is not noticed"
