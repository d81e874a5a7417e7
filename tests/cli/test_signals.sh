#!/usr/bin/env bash
# Signals and closed streams: a job ends as an error does, with its exit flag; what was told to ignore a signal ignores it.
# usage: test_signals.sh BINARY
set -euo pipefail
bin=$(realpath "$1")
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
fail() { echo "FAILED: $*"; cat log 2> /dev/null || true; exit 1; }
"$bin" simulate -q --preset tiny --sym O --series 3 --tilts 5 --tilt-step 20 --particles 4 --signal 6 --float32 --o p > /dev/null
cycle=("$bin" cycle --root p --i optimisation_set.star --b 32 --sym O --mask-align mask_align.mrc --mask-fsc mask_fsc.mrc --cycles 9 --j 1)

# Start a cycle in the background and wait for its first step.
started() { # folder, command...
	local folder=$1
	shift
	: > log # of the run before
	"$@" --o "$folder/" > out 2> log &
	pid=$!
	for _ in $(seq 600); do
		! grep -q 'job001' log || return 0
		sleep 0.05
	done
	fail "no first step"
}

for signal in INT TERM HUP; do
	# A shell gives background jobs SIGINT ignored; env takes that back.
	started "C$signal" env --default-signal=INT "${cycle[@]}"
	kill "-$signal" "$pid"
	code=0
	wait "$pid" || code=$?
	[ "$code" = 130 ] || fail "$signal: exit code $code"
	grep -q 'error: .*interrupted' log || fail "$signal: no message"
	[ ! -e "p/C$signal/optimisation_set.star" ] || fail "$signal: it went to the end"
done

started Cnohup nohup "${cycle[@]}"
kill -HUP "$pid"
sleep 0.3
kill -0 "$pid" 2> /dev/null || ! wait "$pid" || true
grep -q 'SIGHUP' log && fail "nohup was not respected"
kill -KILL "$pid" 2> /dev/null || true
wait "$pid" 2> /dev/null || true

# Nobody reads the log.
echo 0 > code
{ "${cycle[@]}" --o Cpipe/ 2>&1 > /dev/null || echo $? > code; } | head -n 1 > /dev/null
[ "$(cat code)" = 130 ] || fail "closed pipe: exit code $(cat code)"

echo 0 > code
{ "$bin" mask -q --root p --i truth/map.mrc --o Cmask.mrc 2> log || echo $? > code; } | true
[ "$(cat code)" = 1 ] || [ "$(cat code)" = 130 ] || fail "closed pipe of a mask: exit code $(cat code)"
grep -q 'error: ' log || fail "closed pipe of a mask: no message"

# Closed streams: no message goes into a file that took their place.
rec=("$bin" reconstruct --root p --i optimisation_set.star --b 32 --sym O --taper 3)
"${rec[@]}" --o Copen/ > out 2> log
"${rec[@]}" --o Cclosed/ <&- >&- 2>&- || fail "closed streams: exit code $?"
for f in half1.mrc half2.mrc merged.mrc; do cmp p/Copen/$f p/Cclosed/$f || fail "closed streams: $f differs"; done
sed 's/Copen/Cclosed/' p/Copen/optimisation_set.star | cmp - p/Cclosed/optimisation_set.star || fail "closed streams: optimisation_set.star"
wc -l < p/Copen/.cyclotomo_files | cmp - <(wc -l < p/Cclosed/.cyclotomo_files) || fail "closed streams: list of files"

# A small stack is enough, also for the libraries.
(ulimit -s 64; env -i PATH="$PATH" "$bin" ctfrefine -q --root p --i optimisation_set.star --ref1 Copen/half1.mrc --ref2 Copen/half2.mrc --b 32 --kmin 60 --o Cstack/) > out 2> log || fail "ulimit -s: exit code $?"

# A limit on the size of files is an error that names the file.
code=0
(ulimit -f 20; "$bin" reconstruct -q --root p --i optimisation_set.star --b 32 --sym O --taper 3 --o Climit/) > out 2> log || code=$?
[ "$code" = 1 ] || fail "ulimit -f: exit code $code"
grep -q 'cannot write' log || fail "ulimit -f: no message"
[ -e p/Climit/RELION_JOB_EXIT_FAILURE ] || fail "ulimit -f: no flag"

# A reader of help that has seen enough is no failure; a full disk is.
"$bin" refine --help | head -1 > out || fail "help | head: exit code $?"
"$bin" help | head -1 > out || fail "help of all | head: exit code $?"
[ ! -e /dev/full ] || ! "$bin" refine --help > /dev/full 2> log || fail "help on a full disk"
echo passed
