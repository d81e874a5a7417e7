#!/usr/bin/env bash
# Odd input on three ranks: one error, the one of a single process, with the same exit code; where one process can work with it, the same
# warnings and the same files.
set -euo pipefail
bin=$(realpath "$1")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
fail() { echo "FAIL: $*" >&2; exit 1; }

"$bin" simulate -q --preset tiny --sym O --series 3 --tilts 5 --tilt-step 20 --particles 4 --signal 6 --float32 --o good >/dev/null
(cd good && "$bin" reconstruct -q --i optimisation_set.star --b 32 --sym O --o R/ >/dev/null 2>&1)
references="--ref1 R/half1.mrc --ref2 R/half2.mrc --mask mask_align.mrc --no-figures"
declare -A arguments=([reconstruct]="--i optimisation_set.star --sym O" [refine]="--i R/optimisation_set.star --sym O --iterations 1"
	[ctfrefine]="--i optimisation_set.star $references --kmin 60 --odd-aberrations" [polish]="--i optimisation_set.star $references --range 3"
	[extract]="--i optimisation_set.star --crop 24 --stack2d")

# Changes of a project: table FILE BLOCK PYTHON changes the rows (lists of texts) of a block; `c` gives the number of a column.
table() {
	python3 - "$@" <<'END'
import sys
path, block, change = sys.argv[1:]
lines, rows, column, at, here = open(path).read().split("\n"), [], {}, None, False
for i, line in enumerate(lines):
    word = line.split()
    if line.startswith("data_"): here = line == "data_" + block or block == "*"
    elif word and here and word[0].startswith("_"): column[word[0][1:]], at = len(column), i
    elif word and here and at is not None and word[0] != "loop_" and word[0] != "#": rows.append(i)
rows_of = [lines[i].split() for i in rows]
c = column.__getitem__
rows_of = eval(change)
kept = [line for i, line in enumerate(lines) if i not in rows]
kept[at + 1:at + 1] = [" ".join(r) for r in rows_of]
open(path, "w").write("\n".join(kept))
END
}
set_all='[r[:c("%s")] + ["%s"] + r[c("%s") + 1:] for r in rows_of]'
change() {
	local f
	case $1 in
	nan) # in the image of a series that is not rank 0's
		python3 -c 'import sys, struct
f = open(sys.argv[1], "r+b"); f.seek(1024 + 4 * 5000); f.write(struct.pack("<f", float("nan")))' frames/TS_03_002.mrc
		;;
	truncated) truncate -s -4000 frames/TS_02_003.mrc ;;
	missing-image) rm frames/TS_03_001.mrc ;;
	missing-table) rm tilt_series/TS_02.star ;;
	one-half) table particles.star particles "$(printf "$set_all" rlnRandomSubset 1 rlnRandomSubset)" ;;
	one-tilt) for f in tilt_series/*.star; do table $f '*' 'rows_of[:1]'; done ;;
	one-particle) table particles.star particles 'rows_of[:1]' ;;
	empty-table) table particles.star particles '[]' ;;
	excluded-tilt) table tilt_series/TS_02.star '*' '[r[:c("rlnCtfScalefactor")] + ["0"] + r[c("rlnCtfScalefactor") + 1:] if i == 1 else r for i, r in enumerate(rows_of)]' ;;
	constant-image)
		python3 -c 'import sys
f = open(sys.argv[1], "r+b"); n = f.seek(0, 2) - 1024; f.seek(1024); f.write(bytes(n))' frames/TS_03_004.mrc
		;;
	esac
}
# Errors and warnings without times, and without the rank that met them.
messages() { { grep -E '(error|warning|hint):' "$1" || true; } | sed -E 's/^\[[^]]*\] //; s/rank [0-9]+ \([^)]*\): //' | LC_ALL=C sort; }
results() { (cd "$1" && find . -type f \( -name '*.star' -o -name '*.mrc*' -o -name '*.txt' \) ! -name job.star ! -name note.txt | LC_ALL=C sort | xargs -r sha256sum); }

n_failed=0 n_done=0
for case in nan truncated missing-image missing-table one-half one-tilt one-particle empty-table excluded-tilt constant-image; do
	rm -rf p
	cp -r good p
	cd p
	change $case
	for kind in ${JOBS:-reconstruct refine ctfrefine polish extract}; do
		for n in 1 3; do
			rm -rf O
			code=0
			CYCLOTOMO_PROCESSES=$n timeout 120 "$bin" $kind --b 32 ${arguments[$kind]} --o O/ --j 1 >out 2>"log$n" || code=$?
			what="$case, $kind on $n ranks"
			[ $code != 124 ] && [ $code -lt 128 ] || { cat "log$n"; fail "$what: exit code $code"; }
			[ "$(grep -c 'error:' "log$n")" = $((code != 0)) ] || { cat "log$n"; fail "$what: exit code $code, not one error"; }
			messages "log$n" >"messages$n"
			echo "exit code $code" >>"messages$n"
			[ ! -d O ] || results O >>"messages$n"
		done
		diff messages1 messages3 || fail "$case, $kind: three ranks differ from one"
		if [ $code = 0 ]; then n_done=$((n_done + 1)); else n_failed=$((n_failed + 1)); fi
	done
	cd ..
done
[ -n "${JOBS:-}" ] || { [ $n_failed -gt 20 ] && [ $n_done -gt 8 ]; } || fail "the input is not as odd as it was to be: $n_failed errors, $n_done runs"
echo "odd input: $n_failed errors and $n_done runs, on three ranks as on one"
