#!/usr/bin/env bash
# Parts that are killed at random moments (kill -9, and SIGTERM as at a time limit), repeated and gathered: the same bits as in one process. The
# long form of tests/cli/test_parts.sh, to be run by hand.
#   kill_parts.sh BINARY [KILLS [SEED]]   KILLS: so many of each job, 20 by default; only those that found the part at work count
set -euo pipefail
cyclotomo=$(realpath "$1") kills=${2:-20}
RANDOM=${3:-1}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
fail() { echo "FAIL: $*" >&2; tail -n 20 log >&2; exit 1; }
"$cyclotomo" simulate --series 6 --particles 10 --tilts 15 --size 300 --size-y 300 --box 64 --pixel-size 3 --o p --quiet >/dev/null
"$cyclotomo" reconstruct -q --root p --i optimisation_set.star --b 64 --sym O --o R/ >/dev/null 2>log
"$cyclotomo" postprocess -q --root p --i R/half1.mrc --i2 R/half2.mrc --mask mask_fsc.mrc --o PP/postprocess >/dev/null 2>log
references="--ref1 R/half1.mrc --ref2 R/half2.mrc --fsc PP/postprocess.star --mask mask_align.mrc"
declare -A arguments=([ctfrefine]="$references --even-aberrations --odd-aberrations" [polish]="$references --motion" [extract]="--crop 48")
results() {
	(cd "p/$1" && find . -type f \( -name '*.star' -o -name '*.mrc*' -o -name '*.txt' \) ! -name job.star ! -name note.txt | LC_ALL=C sort | xargs sed "s|$1/|JOB/|g" | sha256sum)
}
run() { # KIND FOLDER OPTIONS...
	local kind=$1 folder=$2
	shift 2
	# Not a child of a shell of its own: it is this process that is killed.
	exec "$cyclotomo" "$kind" --root p --i optimisation_set.star --b 64 ${arguments[$kind]} --o "$folder/" --j 1 "$@"
}
for kind in ctfrefine polish extract; do
	(run $kind "whole_$kind") >/dev/null 2>log || fail "$kind"
	results "whole_$kind" >wanted
	start=$(date +%s%N)
	(run $kind "timed_$kind" --part 1/2) >/dev/null 2>log || fail "$kind, part 1/2"
	took=$((($(date +%s%N) - start) / 1000000)) # ms
	n=0 tries=0
	while [ $n -lt "$kills" ]; do
		tries=$((tries + 1))
		[ $tries -le $((5 * kills)) ] || fail "$kind: only $n of $tries parts were at work when they were to be killed"
		rm -rf p/killed
		signal=KILL code=137
		[ $((tries % 3)) != 0 ] || { signal=TERM; code=130; }
		(run $kind killed --part 1/2) >/dev/null 2>log &
		pid=$!
		ms=$((RANDOM % took))
		sleep "$(printf '%d.%03d' $((ms / 1000)) $((ms % 1000)))"
		kill -$signal $pid 2>/dev/null || true
		found=0
		wait $pid 2>/dev/null || found=$?
		[ "$found" != 0 ] || continue
		# Before its handler is set a signal ends the program on its own.
		[ "$found" = $code ] || [ "$signal $found" = "TERM 143" ] || fail "$kind: SIG$signal ends a part with $found"
		n=$((n + 1))
		[ ! -e p/killed/optimisation_set.star ] || fail "$kind: a part wrote an output"
		# Half of the time the other part ran before the repetition, and sometimes the repetition is left to who gathers.
		[ $((n % 2)) = 0 ] || (run $kind killed --part 2/2) >/dev/null 2>log || fail "$kind: part 2/2"
		[ $((n % 4)) = 3 ] || (run $kind killed --part 1/2) >/dev/null 2>log || fail "$kind: repeating part 1/2 after SIG$signal"
		(run $kind killed) >/dev/null 2>log || fail "$kind: gathering after SIG$signal"
		results killed | cmp -s wanted - || fail "$kind: other bits after SIG$signal at $ms of $took ms"
		[ -z "$(find p/killed -name '*.tmp*' ! -path '*/temp/*')" ] || echo "$kind: a temporary file is left: $(find p/killed -name '*.tmp*')"
	done
	echo "$kind: $n parts killed (of $tries tries), the same bits each time"
done
