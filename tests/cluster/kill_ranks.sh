#!/usr/bin/env bash
# Runs of several ranks of which one, or all, are killed at random moments (kill -9; SIGTERM; SIGTERM and soon after kill -9, as preemption does),
# resumed with other numbers of ranks: the same bits as in one process; exit codes and messages as docs/cluster.md has them; no process is left.
# The long form of tests/cli/test_ranks.sh, to be run by hand.
#   [JOBS="refine cycle"] kill_ranks.sh BINARY [KILLS [SEED]]   KILLS: so many of each job, 20 by default; only those that found the run
#   at work count
set -euo pipefail
cyclotomo=$(realpath "$1") kills=${2:-20}
RANDOM=${3:-1}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
fail() { echo "FAIL: $*" >&2; tail -n 20 log >&2; exit 1; }
"$cyclotomo" simulate -q --preset tiny --sym O --series 4 --tilts 11 --particles 8 --signal 6 --o p >/dev/null
cd p
"$cyclotomo" reconstruct -q --i optimisation_set.star --b 32 --sym O --o R/ >/dev/null 2>log
"$cyclotomo" postprocess -q --i R/half1.mrc --i2 R/half2.mrc --mask mask_fsc.mrc --o PP/postprocess >/dev/null 2>log
references="--ref1 R/half1.mrc --ref2 R/half2.mrc --fsc PP/postprocess.star --mask mask_align.mrc"
declare -A arguments=([reconstruct]="--i optimisation_set.star --sym O --backup-interval 0"
	[refine]="--i R/optimisation_set.star --sym O --mask mask_align.mrc --iterations 4" [ctfrefine]="--i optimisation_set.star $references --even-aberrations"
	[polish]="--i optimisation_set.star $references --motion" [extract]="--i optimisation_set.star --crop 24"
	[cycle]="--i optimisation_set.star --sym O --mask-align mask_align.mrc --mask-fsc mask_fsc.mrc --iterations 2")
results() {
	(cd "$1" && find . -type f \( -name '*.star' -o -name '*.mrc*' -o -name '*.txt' \) ! -name job.star ! -name note.txt | LC_ALL=C sort | xargs sha256sum)
}
run() { # KIND FOLDER RANKS OPTIONS...
	local kind=$1 folder=$2 ranks=$3
	shift 3
	# Not a child of a shell of its own: it is this process that is killed.
	CYCLOTOMO_PROCESSES=$ranks exec "$cyclotomo" "$kind" --b 32 ${arguments[$kind]} --o "$folder/" --j 1 "$@"
}
are_gone() { # PIDS
	local pid i
	for ((i = 0; i < 100; i++)); do
		for pid in "$@"; do [ ! -e "/proc/$pid" ] || [ "$(awk '$1 == "State:" { print $2 }' "/proc/$pid/status" 2>/dev/null)" = Z ] || break; pid=; done
		[ -n "${pid:-}" ] || return 0
		sleep 0.1
	done
	return 1
}
for kind in ${JOBS:-reconstruct refine ctfrefine polish extract cycle}; do
	resume=--resume
	[ $kind != cycle ] || resume=
	# In one folder, whose name is in the files.
	rm -rf killed
	(run $kind killed 1) >/dev/null 2>log || fail "$kind"
	results killed >wanted
	rm -rf killed
	start=$(date +%s%N)
	(run $kind killed 3) >/dev/null 2>log || fail "$kind, 3 ranks"
	took=$((($(date +%s%N) - start) / 1000000)) # ms
	results killed >found
	diff wanted found || fail "$kind: other bits on 3 ranks"
	n=0 tries=0
	while [ $n -lt "$kills" ]; do
		tries=$((tries + 1))
		[ $tries -le $((6 * kills)) ] || fail "$kind: only $n of $tries runs were at work when they were to be killed"
		rm -rf killed
		ranks=$((2 + RANDOM % 3)) again=$((1 + RANDOM % 4))
		(run $kind killed $ranks) >/dev/null 2>log &
		pid=$!
		ms=$((RANDOM % took))
		sleep "$(printf '%d.%03d' $((ms / 1000)) $((ms % 1000)))"
		children=($(pgrep -P $pid || true))
		how=$((RANDOM % 4)) victim=$pid
		[ ${#children[@]} = 0 ] || [ $how = 3 ] || [ $((RANDOM % 3)) = 0 ] || victim=${children[RANDOM % ${#children[@]}]}
		case $how in
		0 | 1) signal=KILL; kill -KILL "$victim" 2>/dev/null || true ;;
		2) signal=TERM; kill -TERM "$victim" 2>/dev/null || true ;;
		3) # Preemption: all are asked, and soon all are killed.
			signal=preemption
			kill -TERM $pid "${children[@]}" 2>/dev/null || true
			sleep "0.0$((RANDOM % 10))"
			kill -KILL $pid "${children[@]}" 2>/dev/null || true
			;;
		esac
		found=0
		wait $pid 2>/dev/null || found=$?
		are_gone "${children[@]}" || fail "$kind: a rank is left after SIG$signal"
		[ "$found" != 0 ] || continue
		n=$((n + 1))
		what="$kind on $ranks ranks, $signal of ${victim/#$pid/rank 0}"
		if [ $signal = KILL ] && [ "$victim" != $pid ]; then
			[ $found = 1 ] && [ "$(grep -c 'error:' log)" = 1 ] && grep -q 'error: .*lost each other: rank [0-9]* has ended' log ||
				fail "$what: exit code $found"
			grep -q 'hint: the same command' log || fail "$what: no hint how to continue"
		elif [ $signal = KILL ]; then
			[ $found = 137 ] || fail "$what: exit code $found"
		elif [ $signal = TERM ]; then
			# Before its handler is set a signal ends a process on its own.
			[ $found = 143 ] || { [ $found = 130 ] && [ "$(grep -c 'error:' log)" = 1 ] && grep -q 'interrupted (SIGTERM)' log; } ||
				{ [ $found = 1 ] && grep -q 'lost each other: rank [0-9]* has ended' log; } || fail "$what: exit code $found"
		else
			case $found in 1 | 130 | 137 | 143) ;; *) fail "$what: exit code $found" ;; esac
		fi
		(run $kind killed $again $resume) >/dev/null 2>log || fail "$what: resumed with $again"
		results killed | cmp -s wanted - || fail "$what at $ms of $took ms: other bits when resumed with $again"
		[ -z "$(find killed -path '*/temp/*')" ] || fail "$what: left in temp/: $(find killed -path '*/temp/*' | head -3)"
	done
	echo "$kind: $n runs ended (of $tries tries), the same bits each time"
done
