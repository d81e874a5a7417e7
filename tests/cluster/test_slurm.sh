#!/usr/bin/env bash
# A whole cycle through Slurm, on a cluster of two nodes that this script starts: the same bits as in one process; also when a job is
# queued again while it runs, and when a node dies. Where no such cluster can be started the test says why, and is skipped (exit code 77).
#   test_slurm.sh BINARY [KILLS]   KILLS: so many nodes are killed, at moments that differ; 1 by default
set -euo pipefail
cyclotomo=$(realpath "$1") kills=${2:-1}
tools=$(cd "$(dirname "$0")/../../tools" && pwd)
reason=$("$tools/slurm_cluster.sh" can) || { echo "SKIPPED: $reason"; exit 77; }
work=$(mktemp -d)
trap '"$tools/slurm_cluster.sh" stop "$work/cluster" >/dev/null 2>&1 || true; rm -rf "$work"' EXIT
cd "$work"
fail() {
	echo "FAIL: $*" >&2
	tail -n 5 log ./*/Cycle/slurm/*.log 2>/dev/null >&2 || true
	squeue 2>/dev/null >&2 || true
	exit 1
}

"$cyclotomo" simulate -q --preset tiny --sym O --series 4 --tilts 11 --particles 6 --signal 6 --o project >/dev/null
options=(--i optimisation_set.star --b 32 --sym O --mask-align mask_align.mrc --mask-fsc mask_fsc.mrc --o Cycle/ --even-aberrations --no-figures)
results() { (cd "$1/Cycle" && find . -name '*.star' -o -name '*.mrc' -o -name '*.json' ! -name 'run*.json' ! -name summary.json | LC_ALL=C sort | xargs sha256sum); }
cp -r project whole
"$cyclotomo" cycle -q --root whole "${options[@]}" --j 2 >/dev/null 2>log || fail "the cycle in one process"
results whole >wanted
[ "$(wc -l <wanted)" -gt 80 ] || fail "there is little to compare"

"$tools/slurm_cluster.sh" start "$work/cluster" "$work" >log 2>&1 || fail "the cluster does not start: $(cat log)"
export SLURM_CONF=$work/cluster/slurm.conf

submit() { # PROJECT [OPTIONS...]
	local project=$1
	shift
	rm -rf "$project"
	cp -r project "$project"
	"$cyclotomo" slurm --root "$project" "${options[@]}" --parts 3 --cpus 1 "$@" --submit >out 2>log || fail "submitting"
	grep -q '02_polish_1 *array' out || fail "no array of parts: $(cat out)"
}
# Wait until the command holds.
wait_for() { # SECONDS WHAT COMMAND...
	local i seconds=$1 what=$2
	shift 2
	for ((i = 0; i < 10 * seconds; i++)); do
		! "$@" >/dev/null 2>&1 || return 0
		sleep 0.1
	done
	fail "$what"
}
declare -A waits_since
queue_is_empty() {
	# What was queued again waits two minutes. Here it waits three seconds: Slurm refuses a start within the second of the stop.
	local id queue
	for id in $(squeue --noheader --array --format='%i %r' | awk '$2 == "BeginTime" { print $1 }'); do
		: "${waits_since[$id]:=$SECONDS}"
		[ $((SECONDS - waits_since[$id])) -ge 3 ] || continue
		scontrol update "jobid=$id" starttime=now >/dev/null 2>&1 || true
		unset "waits_since[$id]"
	done
	queue=$(squeue --noheader) && [ -z "$queue" ]
}
node_of() { squeue --noheader --states=RUNNING --format='%N %j' | awk -v name="$1" 'index($2, name) { print $1; exit }'; }
runs() { [ -n "$(node_of "$1")" ]; }
has_same() { # PROJECT
	[ -s "$1/Cycle/optimisation_set.star" ] || fail "$1: the run has not ended: $(cat "$1"/Cycle/slurm/*.log)"
	results "$1" >found
	diff wanted found || fail "$1: not the same files as in one process"
}

submit plain
! "$cyclotomo" slurm --root plain "${options[@]}" --parts 3 --cpus 1 --submit >out 2>log || fail "the same run is submitted twice"
grep -q 'is still queued or running' log || fail "submitted twice: $(cat log)"
"$cyclotomo" slurm --root plain --o Cycle/ --status >out 2>log || fail "--status"
grep -q '02_polish_1' out || fail "--status shows no jobs: $(cat out)"
wait_for 300 "the jobs do not end" queue_is_empty
has_same plain
[ "$(cat plain/Cycle/slurm/02_polish_1_*.log | grep -c 'part ./3 has finished')" = 3 ] || fail "the parts were not computed by the array"
grep -q '4 of 4\|3 of 3 parts have finished' plain/Cycle/slurm/03_*.log || fail "the job after the array does not take its parts"
[ "$(sed -n 's/.* on \(n[12]\), start.*/\1/p' plain/Cycle/slurm/*.log | sort -u | wc -l)" = 2 ] || fail "not both nodes took part"
"$cyclotomo" slurm --root plain --o Cycle/ --status >out 2>log || fail "--status at the end"
grep -q 'plain/Cycle/: finished' out || fail "--status at the end: $(cat out)"

# The jobs between the arrays as two ranks on two nodes, by MPI; one of them is queued again while it runs.
ranks="jobs between arrays by MPI not tried: no pmix in Slurm, or no plug-in for MPI"
if srun --mpi=list 2>&1 | grep -qw pmix && [ -e "$(dirname "$cyclotomo")/libcyclotomo_mpi.so" ]; then
	submit ranks --nodes 2 --launcher 'srun --mpi=pmix'
	wait_for 100 "the job of two ranks does not start" runs 05_after
	sleep 1
	scontrol requeue "$(awk 'NR == 5 { print $1 }' ranks/Cycle/slurm/jobs)" || fail "a job of two ranks cannot be queued again"
	wait_for 400 "the jobs of two ranks do not end" queue_is_empty
	has_same ranks
	grep -q 'start 1$' ranks/Cycle/slurm/05_after_*.log || fail "the job of two ranks was not started again"
	[ "$(grep -o '"host": "n[12]"' ranks/Cycle/run.json | sort -u | wc -l)" = 2 ] || fail "the last job was not shared by two nodes"
	ranks="jobs between arrays by MPI on both nodes"
fi

# A job that is queued again while it runs: what preemption and the time limit do.
submit "requeued here"
wait_for 60 "the first job does not start" grep -qs 'Reconstruct/job001' 'requeued here/Cycle/slurm/01_start.log'
scontrol requeue "$(awk 'NR == 1 { print $1 }' 'requeued here/Cycle/slurm/jobs')" || fail "the job cannot be queued again"
wait_for 300 "the jobs do not end after one was queued again" queue_is_empty
has_same "requeued here"
grep -q 'start 1$' 'requeued here/Cycle/slurm/01_start.log' || fail "the job was not started again"

# One that is queued again after its end runs beside a job after it, which waits for the run folder as long as another has it.
submit late
wait_for 60 "the parts do not start" runs 02_polish
flock late/Cycle/.cyclotomo_lock sleep 6 &
scontrol requeue "$(awk 'NR == 1 { print $1 }' late/Cycle/slurm/jobs)" || fail "a job that has ended cannot be queued again"
wait_for 300 "the jobs do not end after one that had ended was queued again" queue_is_empty
wait
has_same late
grep -q 'waiting for another' late/Cycle/slurm/03_after*.log || fail "the job after the parts did not wait"
grep -q 'start 1$' late/Cycle/slurm/01_start.log || fail "the job that had ended was not started again"

# Nodes that die, with all that runs there.
for ((kill = 0; kill < kills; kill++)); do
	names=(03_after 02_polish 01_start 05_after 04_ctf)
	name=${names[kill % 5]}
	submit "killed_$kill"
	wait_for 200 "$name does not start" runs "$name"
	sleep "0.$((kill * 37 % 100 + 10))"
	node=$(node_of "$name")
	if [ -n "$node" ]; then
		"$tools/slurm_cluster.sh" kill "$work/cluster" "$node"
	else
		echo "killed_$kill: $name had ended before its node was killed"
		node=n1
		"$tools/slurm_cluster.sh" kill "$work/cluster" "$node"
	fi
	wait_for 400 "the jobs do not end after node $node died" queue_is_empty
	has_same "killed_$kill"
	cat killed_$kill/Cycle/slurm/*.log | grep -o 'on n[12], start [0-9]*' | sort | uniq -c
	"$tools/slurm_cluster.sh" node "$work/cluster" "$node"
	wait_for 60 "node $node does not come back" sh -c "sinfo -h -N -o '%N %T' | grep -qx '$node idle'"
done
echo "Slurm: the same bits in one process, as jobs on two nodes, queued again, and after $kills dead node(s); $ranks"
