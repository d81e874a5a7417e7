#!/usr/bin/env bash
# What only a machine with an NVIDIA GPU can tell, in at most 8 minutes: gpu_check.sh [--rehearse] [--built FOLDER] [FOLDER]
#   1. builds program and plug-in;  2. every operation on the GPU against cpu: bits, or bounds for those with transforms;
#   3. compute-sanitizer (memcheck, racecheck) on the same;  4. jobs on a small simulated project, GPU against cpu;
#   5. times of the jobs on a series of real size;  6. of each job, what its operations take when each is waited for.
# One table at the end; it ends with 1 if anything failed, with 77 without a GPU.
# --rehearse runs the script with the emulated kernels in place of a GPU and small sizes in 5: for machines without one.
# --built FOLDER: program, plug-in and test are there already, with the libraries that they need (gpu_bundle.sh made it on another machine),
# and are not built: for machines with a GPU but without FFTW, OpenBLAS and cairo.
# FOLDER is for results (default: a temporary one, removed at the end).
set -euo pipefail
source=$(cd "$(dirname "$0")/.." && pwd)
backend=cuda size=(--preset large --series 1 --particles 300) box=160 built=
while [[ ${1:-} == --* ]]; do
	case $1 in
	--rehearse) backend=emulate size=(--preset tiny --series 2 --tilts 9 --particles 6) box=32 ;;
	--built) built=$(cd "$2" && pwd) && shift ;;
	*) echo "unknown option $1" >&2; exit 2 ;;
	esac
	shift
done
if [ $# -gt 0 ]; then work=$(mkdir -p "$1" && cd "$1" && pwd); else work=$(mktemp -d) && trap 'rm -rf "$work"' EXIT; fi
failures=0
rows=()
row() { rows+=("$(printf '%-34s %-8s %s' "$1" "$2" "${3:-}")"); [ "$2" != FAILED ] || failures=$((failures + 1)); echo "${rows[-1]}"; }
# A step: what it is, its longest time, its command; a line with the result. What it printed is kept.
step() {
	local what=$1 limit=$2 begin=$SECONDS
	shift 2
	if timeout "$limit" "$@" >"$work/log" 2>&1; then row "$what" ok "$((SECONDS - begin)) s"
	else row "$what" FAILED "after $((SECONDS - begin)) s: $(grep -v '^$' "$work/log" | tail -n 1 | cut -c 1-120)"; fi
}
card="emulated"
if [ $backend = cuda ]; then
	card=$(nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader 2>/dev/null | head -n 1) || card=
	[ -n "$card" ] || { echo "there is no NVIDIA GPU here (nvidia-smi)"; exit 77; }
fi

# 1. and what can be said of the kernels without running them.
if [ -n "$built" ]; then
	build=$built
	export LD_LIBRARY_PATH=$built/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
	"$build/cyclotomo" --version >"$work/log" 2>&1 || { tail -n 20 "$work/log"; echo "what was built elsewhere does not run here"; exit 1; }
	row "build" carried "$(cat "$work/log")"
else
	build=$source/build-gpu
	options=(-DCMAKE_BUILD_TYPE=Release -DCYC_CUDA=ON)
	[ $backend = cuda ] || { build=$source/build; options=(); }
	cmake -S "$source" -B "$build" -G Ninja "${options[@]}" >"$work/log" 2>&1 && cmake --build "$build" --target cyclotomo_cli test_backends all >>"$work/log" 2>&1 ||
		{ tail -n 20 "$work/log"; echo "building failed"; exit 1; }
	row "build" ok
fi
step "kernels: no spills, no fma" 120 "$source/tools/check_cuda.sh"
cyclotomo=$build/cyclotomo
export CYCLOTOMO_PLUGINS=$build

# 2, 3. The test says so if it has found no GPU.
cd "$source/tests"
step "operations against cpu" 120 "$build/tests/test_backends"
[ $backend != cuda ] || ! grep -q 'not compared' "$work/log" || row "operations on the GPU" FAILED "$(grep 'not compared' "$work/log")"
if [ $backend = cuda ]; then
	sanitizer=$(command -v compute-sanitizer || echo /usr/local/cuda/bin/compute-sanitizer)
	for tool in memcheck racecheck; do
		if [ -x "$sanitizer" ]; then
			step "compute-sanitizer $tool" 100 "$sanitizer" --tool $tool --error-exitcode 1 "$build/tests/test_backends" devices_agree_with_cpu
		else row "compute-sanitizer $tool" absent; fi
	done
fi

# 4, 5. A job with both backends: its name, the files to compare with their tolerances, its command.
cd "$work"
seconds() { sed -n 's/.*"wall_s": \([0-9.]*\).*/\1/p' "$1" | head -n 1; }
both() {
	local name=$1 project=$2 compare=$3 file=$4 t=() command=$5 verdict=ok on
	shift 5
	for on in cpu $backend; do
		if ! timeout 120 "$cyclotomo" "$command" -q --root "$project" --o "$on/$name" --backend $on "$@" >"$work/log" 2>&1; then
			row "$project: $name" FAILED "$on: $(tail -n 1 "$work/log" | cut -c 1-120)"
			return
		fi
		t+=("$(seconds "$project/$on/$name/run.json")")
	done
	# What each operation takes, not only its queueing.
	rm -rf "$project/stepwise"
	[ "$project" = small ] || CYCLOTOMO_DEVICE_STEPWISE=1 timeout 120 "$cyclotomo" "$command" --profile --root "$project" --o "stepwise/$name" --backend $backend "$@" >"$work/profile_${project}_$name.txt" 2>&1 ||
		row "$project: $name, each operation waited for" FAILED "$(tail -n 1 "$work/profile_${project}_$name.txt" | cut -c 1-120)"
	# shellcheck disable=SC2086
	"$cyclotomo" compare -q "$project/cpu/$name/$file" "$project/$backend/$name/$file" $compare >"$work/log" 2>&1 ||
		verdict=FAILED
	row "$project: $name" $verdict "cpu, $backend: $(awk -v a="${t[0]}" -v b="${t[1]}" 'BEGIN { printf "%.1f s, %.1f s, %.1f times as fast", a, b, (b + 0 ? a / b : 0) }')$([ $verdict = ok ] || echo "; differs: $(tail -n 1 "$work/log" | cut -c 1-100)")"
}
jobs_of() {
	local p=$1 b=$2
	both reconstruct "$p" "--relative 1e-3" merged.mrc reconstruct --i optimisation_set.star --b "$b" --sym O --taper 3
	both ctfrefine "$p" "--tolerance 1e-2 --column rlnDefocusU=1,rlnDefocusV=1 --ignore rlnTomoTiltSeriesStarFile" tomograms.star ctfrefine --i cpu/reconstruct/optimisation_set.star --mask mask_align.mrc --b "$b"
	both polish "$p" "--tolerance 1e-2" particles.star polish --i cpu/reconstruct/optimisation_set.star --mask mask_align.mrc --b "$b"
	both extract "$p" "--tolerance 1e-2 --ignore rlnImageName" particles.star extract --i optimisation_set.star --stacks --b "$b"
	both refine "$p" "--tolerance 1e-2 --ignore rlnImageName" run_data.star refine --i cpu/reconstruct/optimisation_set.star --mask mask_align.mrc --b "$b" --sym O --iterations 1
}
"$cyclotomo" simulate -q --preset tiny --sym O --series 2 --tilts 21 --tilt-step 5 --particles 12 --o small >/dev/null
jobs_of small 32
begin=$SECONDS
"$cyclotomo" simulate -q "${size[@]}" --sym O --o real >/dev/null
row "a series of real size" made "$((SECONDS - begin)) s"
jobs_of real $box

for profile in "$work"/profile_real_*.txt; do
	echo
	echo "== $(basename "$profile" .txt), each operation waited for"
	sed -n "s,.*profile: ,,p" "$profile"
done
echo
echo "$card, $(nproc) processors, $(git -C "$source" rev-parse --short HEAD 2>/dev/null), $(date -I), $SECONDS s"
printf '%s\n' "${rows[@]}"
exit $((failures > 0))
