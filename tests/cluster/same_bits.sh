#!/usr/bin/env bash
# A whole cycle, and an extraction from its result, by any number of ranks, threads, parts and nodes: the same STAR files and maps, to the bit.
# The long form of tests/cli/test_ranks.sh and test_cycle_parts.sh, to be run by hand: each way takes a whole cycle.
#   same_bits.sh BINARY PROJECT WORK WAY... -- OPTIONS OF CYCLE
# WAY: RxT         R ranks of T threads as processes of the program's own; 1x1 is one process
#      mpi:RxT     the same by mpirun
#      parts:N     steps that can be dealt in N parts, one after the other
#      srun:RxT    by srun --mpi=pmix on two nodes, which this script starts (tools/slurm_cluster.sh)
# WORK keeps the sums of what each way wrote: a way that has them is not run again. The first way is what the others are compared with.
#   same_bits.sh build/cyclotomo small /tmp/work 1x1 1x2 2x1 mpi:3x1 parts:5 srun:2x1 -- --b 192 --crop 112 --sym O --mask-fsc mask_fsc.mrc
set -euo pipefail
[ $# -ge 6 ] || { sed -n '2,11s/^# \{0,1\}//p' "$0" >&2; exit 2; }
cyclotomo=$(realpath "$1") project=$(realpath "$2")
mkdir -p "$3"
work=$(realpath "$3")
tools=$(cd "$(dirname "$0")/../../tools" && pwd)
shift 3
ways=()
while [ $# -gt 0 ] && [ "$1" != -- ]; do ways+=("$1"); shift; done
[ $# -gt 0 ] || { echo "same_bits.sh: the options of the cycle are missing (-- OPTIONS)" >&2; exit 2; }
shift
options=("$@")
crop=() box=()
for ((i = 0; i < $#; i++)); do
	case ${options[i]} in --b) box=(--b "${options[i + 1]}") ;; --crop) crop=(--crop "${options[i + 1]}") ;; esac
done
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
trap '"$tools/slurm_cluster.sh" stop "$work/cluster" >/dev/null 2>&1 || true; rm -rf "$work/cluster" "$work/project"' EXIT
cd "$work"
fail() {
	echo "FAIL: $*" >&2
	tail -n 20 "$work/log" >&2
	exit 1
}

start_cluster() {
	[ -z "${SLURM_CONF:-}" ] || return 0
	rm -rf cluster
	"$tools/slurm_cluster.sh" start "$work/cluster" "$work" >log 2>&1 || fail "the cluster does not start"
	export SLURM_CONF=$work/cluster/slurm.conf
}
# run WAY COMMAND...: in the project
run() {
	local way=$1 ranks threads
	shift
	ranks=${way#*:} threads=${way#*x}
	ranks=${ranks%x*}
	case $way in
	mpi:*) mpirun --oversubscribe -n "$ranks" "$cyclotomo" "$@" --j "$threads" ;;
	srun:*) srun --mpi=pmix --overcommit --nodes 2 --ntasks "$ranks" "$cyclotomo" "$@" --j "$threads" ;;
	*) CYCLOTOMO_PROCESSES=$ranks "$cyclotomo" "$@" --j "$threads" ;;
	esac
}
run_parts() { # N
	local stops k
	# A cycle stops before each step that can be dealt.
	for stops in 0 1 2 3 4 5 6 7 8 9 10; do
		"$cyclotomo" cycle --i optimisation_set.star "${options[@]}" --o Cycle/ --parts "$1" || return 1
		[ -e Cycle/.cyclotomo_parts ] || break
		for ((k = 1; k <= $1; k++)); do "$cyclotomo" cycle --o Cycle/ --part "$k/$1" || return 1; done
	done
	if [ "$stops" -lt 2 ] || [ "$stops" -ge 10 ]; then echo "the cycle stopped $stops times for parts"; return 1; fi
	for ((k = 1; k <= $1; k++)); do "${extract[@]}" --part "$k/$1" || return 1; done
	"${extract[@]}"
}
results() { find Cycle Extract -type f \( -name '*.star' -o -name '*.mrc' -o -name '*.mrcs' \) ! -name job.star | LC_ALL=C sort | xargs sha256sum; }

extract=("$cyclotomo" extract --i Cycle/optimisation_set.star "${box[@]}" "${crop[@]}" --stack2d --o Extract/)
for way in "${ways[@]}"; do
	sums=$work/${way//:/_}.sums
	if [ ! -s "$sums" ]; then
		case $way in srun:*) start_cluster ;; esac
		rm -rf project
		cp -rL "$project" project
		cd project
		start=$(date +%s)
		case $way in
		parts:*) run_parts "${way#parts:}" >../log 2>&1 || fail "$way" ;;
		*)
			run "$way" cycle --i optimisation_set.star "${options[@]}" --o Cycle/ >../log 2>&1 || fail "$way"
			run "$way" "${extract[@]:1}" >../log 2>&1 || fail "$way: extract"
			# Or it was shared by nobody, which is no test.
			shared=$(python3 -c 'import json; print(len(json.load(open("Cycle/run.json")).get("ranks", [0])))')
			wanted=${way#*:} wanted=${wanted%x*}
			[ "$shared" = "$wanted" ] || fail "$way: $shared ranks took part"
			;;
		esac
		[ -e Cycle/optimisation_set.star ] || fail "$way: the cycle has not ended"
		results >"$sums.new"
		cd ..
		echo "$way: $(($(date +%s) - start)) s"
		mv "$sums.new" "$sums"
	fi
	[ "$(wc -l <"$sums")" -gt 50 ] || fail "$way: there is little to compare"
	diff "$work/${ways[0]//:/_}.sums" "$sums" || fail "$way: other files than ${ways[0]}"
	echo "$way: the same $(wc -l <"$sums") files as ${ways[0]}"
done
