#!/usr/bin/env bash
# Runs of several ranks: the same bits as one process has, whatever their number; a rank that fails, is stopped or killed ends the
# run on all of them, and another number of ranks resumes it. With processes of our own, and by MPI where mpirun and the plug-in are.
set -euo pipefail
bin=$(realpath "$1")
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
fail() { echo "FAIL: $*" >&2; exit 1; }
. "$here/kill_at_line.sh"
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_rmaps_base_oversubscribe=1 OMPI_MCA_btl=self,vader,tcp

"$bin" simulate -q --preset tiny --sym O --series 4 --tilts 9 --particles 6 --signal 6 --o project >/dev/null
# Fresh copies of the project, so that names in the files are the same.
fresh() { rm -rf "$1" && cp -r project "$1"; }
reconstruct="reconstruct --i optimisation_set.star --b 32 --sym O --o Reconstruct/"
refine="refine --i Reconstruct/optimisation_set.star --b 32 --sym O --mask mask_align.mrc --iterations 3 --o Refine/"
extract="extract --i optimisation_set.star --b 32 --crop 24 --stack2d --o Extract/"
cycle="cycle --i optimisation_set.star --b 32 --sym O --mask-align mask_align.mrc --mask-fsc mask_fsc.mrc --o Cycle/ --iterations 2 --no-figures"
# All jobs; RANKS as for on(), THREADS
all_jobs() {
	local ranks=$1 command
	for command in "$reconstruct" "$refine" "$extract" "$cycle"; do
		on "$ranks" $command -q --j "$2" >log 2>&1 || { cat log; fail "$ranks ranks: ${command%% *}"; }
	done
}
# on RANKS COMMAND...: 0 is by MPI, two ranks
on() {
	local n=$1
	shift
	if [ "$n" = 0 ]; then mpirun -n 2 "$bin" "$@"; else CYCLOTOMO_PROCESSES=$n "$bin" "$@"; fi
}
# What was computed; STAR files and maps, not the notes of when and how.
same() {
	local n=0 f
	while IFS= read -r f; do
		cmp "$1/$f" "$2/$f" || fail "$2: $f is not that of one process"
		n=$((n + 1))
	done < <(cd "$1" && find Reconstruct Refine Extract Cycle -name '*.star' -o -name '*.mrc' 2>/dev/null | grep -v job.star | sort)
	[ "$n" -gt 5 ] || fail "there was nothing to compare ($n files)"
}

fresh one
(cd one && all_jobs 1 2)
ways="2 3 6"
if command -v mpirun >/dev/null && [ -e "$(dirname "$bin")/libcyclotomo_mpi.so" ]; then ways="$ways 0"
else echo "skipped: by MPI: no mpirun, or no plug-in"; fi
# Set under sanitizers, where one number of ranks reaches the same code.
[ -z "${CYCLOTOMO_FEW_WAYS:-}" ] || ways=3
for n in $ways; do
	fresh several
	(cd several && all_jobs "$n" 1)
	same one several
done

python3 - several/Reconstruct/run.json <<'END' || fail "run.json does not say what the ranks did"
import json, sys
ranks = json.load(open(sys.argv[1]))["ranks"]
assert len(ranks) > 1 and all(r["host"] and r["cpu_s"] > 0 and r["sent_bytes"] > 0 for r in ranks), ranks
END

# Extracted particles, 3D volumes and 2D stacks: the same bits for ranks and threads, maps and poses.
(cd one && for kind in "" --stack2d; do "$bin" extract -q --i optimisation_set.star --b 32 --crop 24 $kind --o "Extract${kind:+2}/" >/dev/null; done)
for set in Extract Extract2; do
	for way in "1 1" "1 2" "2 1" "3 1" "2 2"; do
		[ -z "${CYCLOTOMO_FEW_WAYS:-}" ] || [ "${way% *}" = "${way#* }" ] || continue
		read -r n threads <<<"$way"
		rm -rf several && mkdir several && cp -r one/tomograms.star one/tilt_series one/mask_align.mrc one/$set one/Reconstruct several/
		(cd several && rm -rf Reconstruct/run.json &&
			on "$n" refine -q --i $set/optimisation_set.star --from-stacks --ref Reconstruct/half1.mrc --mask mask_align.mrc --sym O --iterations 2 --j "$threads" --o Refine/ >log 2>&1 &&
			on "$n" reconstruct -q --i Refine/run_optimisation_set.star --from-stacks --sym O --j "$threads" --o Map/ >>log 2>&1) ||
			{ cat several/log; fail "$set, $n ranks of $threads threads"; }
		(cd several && find Refine Map -name '*.mrc' -o -name '*.star' ! -name job.star | sort | xargs sha256sum) >sums
		[ "$way" != "1 1" ] || cp sums wanted
		[ "$(wc -l <sums)" -gt 20 ] && diff wanted sums || fail "$set: $n ranks of $threads threads leave something else"
	done
	cp wanted wanted.$set
done
! diff -q wanted.Extract wanted.Extract2 >/dev/null || fail "volumes and stacks give the same bits: one of them was not read"

# A rank is killed in the middle: the run ends with one error, and resumes with other ranks.
fresh killed
cd killed
# The run takes a tenth of a second: its child is found first, and nothing is started between the first checkpoint and the kill.
# On a busy machine it may still be done before that.
for _ in $(seq 20); do
	rm -rf Reconstruct
	CYCLOTOMO_PROCESSES=3 "$bin" $reconstruct --j 1 --backup-interval 0 >log 2>&1 &
	pid=$!
	child=
	while [ -z "$child" ] && kill -0 $pid 2>/dev/null; do child=$(pgrep -P $pid | tail -1 || true); done
	while [ ! -e Reconstruct/temp/sums.checkpoint.1 ] && [ ! -e Reconstruct/temp/sums.checkpoint ] && kill -0 $pid 2>/dev/null; do :; done
	[ -z "$child" ] || kill -9 "$child" 2>/dev/null || true
	code=0
	wait $pid || code=$?
	[ $code = 0 ] || break
done
[ $code = 1 ] || { cat log; fail "exit code $code of a run that lost a rank"; }
grep -q 'error: .*lost each other: rank [12] has ended' log || { cat log; fail "the lost rank was not named"; }
[ "$(grep -c 'error:' log)" = 1 ] || { cat log; fail "more than one error"; }
CYCLOTOMO_PROCESSES=2 "$bin" $reconstruct --j 1 --resume >log 2>&1 || { cat log; fail "resumed"; }
[ -z "$(ls Reconstruct/temp 2>/dev/null)" ] || fail "checkpoints were left"
cd ..
for f in half1 half2 merged; do cmp one/Reconstruct/$f.mrc killed/Reconstruct/$f.mrc || fail "resumed with other ranks: $f"; done

# A rank that is asked to stop stops all, with its reason, once.
fresh stopped
cd stopped
"$bin" $reconstruct -q >log 2>&1
CYCLOTOMO_PROCESSES=2 "$bin" $refine --j 1 >log 2>&1 &
pid=$!
for _ in $(seq 2000); do child=$(pgrep -P $pid | tail -1 || true); [ -z "$child" ] || ! grep -q 'iteration 1: ref' log || break; sleep 0.005; done
kill -TERM "$child" 2>/dev/null || true
code=0
wait $pid || code=$?
[ $code = 130 ] || { cat log; fail "exit code $code of a run whose rank was asked to stop"; }
grep -q 'error: rank 1 (.*interrupted (SIGTERM)' log || { cat log; fail "the reason was not named"; }
cd ..

# Warnings about the images of all ranks, each once.
fresh doubtful
for image in $(find doubtful/frames doubtful/tilt_series -name '*.mrc' | sort | awk 'NR % 7 == 3'); do
	size=$(stat -c %s "$image")
	truncate -s 1024 "$image" && truncate -s "$size" "$image"
done
for n in 1 3; do
	(cd doubtful && CYCLOTOMO_PROCESSES=$n "$bin" $reconstruct --j 1 >"../log$n" 2>&1) || { cat "log$n"; fail "constant images on $n ranks"; }
	sed -n 's/.*\(tilt series [^ ]*, row .*constant.*\)/\1/p' "log$n" | sort >"warnings$n"
done
[ "$(grep -c 'row' warnings1)" -gt 2 ] || { cat log1; fail "constant images are not warned about"; }
diff warnings1 warnings3 || fail "other warnings on 3 ranks"

# Errors before and in a job are those of one process.
for n in 1 3; do
	code=0
	(cd one && CYCLOTOMO_PROCESSES=$n "$bin" reconstruct --i optimisation_set.star --b 4096 --o X/ >"../log$n" 2>&1) || code=$?
	[ $code != 0 ] || fail "$n ranks: a box larger than the images"
done
diff <(sed 's/^\[[^]]*\] //' log1 | grep error) <(sed 's/^\[[^]]*\] //' log3 | grep error) || fail "another error with ranks"
code=0
CYCLOTOMO_PROCESSES=many "$bin" version >log 2>&1 || code=$?
[ $code = 2 ] && grep -q "CYCLOTOMO_PROCESSES must be a number" log || { cat log; fail "a number that is none"; }
