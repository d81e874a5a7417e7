#!/usr/bin/env bash
# Whole jobs with the plug-in for GPUs on a pretended CUDA (tests/cuda/pretended/cuda_runtime.h): they agree with the processor's, are the same
# however late the device works and on however many devices; and what is said where a GPU cannot be used, or fails.
#   test_plugin.sh CYCLOTOMO FOLDER-OF-THE-PLUG-IN
set -euo pipefail
cyclotomo=$1
export CYCLOTOMO_PLUGINS=$2 PRETEND_OPEN=1
helpers=$(realpath "$(dirname "$0")/../backend_jobs.sh")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
source "$helpers"
make_project
same_as_first() {
	fingerprint "$1" >found
	diff wanted found >difference || fail "$1 gives other results than $first: $(head -n 4 difference)"
}

jobs_of cpu --backend cpu --j 2
first=late
jobs_of late --backend cuda --j 2
grep -q '"device": "GPU 0, Pretended GPU' p/late/R/run.json || fail "run.json does not name the GPU"
fingerprint late >wanted
[ "$(wc -l <wanted)" -ge 25 ] || fail "only $(wc -l <wanted) files to compare"
agrees() { "$cyclotomo" compare -q "p/cpu/$1" "p/late/$1" "${@:2}" >log 2>&1 || fail "$1 on the GPU is another than on the processor"; }
agrees R/merged.mrc --relative 1e-3
agrees R/half1.mrc --relative 1e-3
agrees C/tomograms.star --tolerance 1e-2 --column rlnDefocusU=1,rlnDefocusV=1 --ignore rlnTomoTiltSeriesStarFile
agrees P/particles.star --tolerance 1e-2
agrees X/particles.star --tolerance 1e-2 --ignore rlnImageName
agrees F/run_data.star --tolerance 1e-2 --ignore rlnImageName
# The device works earlier, by chance; memory comes from the driver each time; each operation is waited for.
# With sanitizers, which look at the code, fewer ways suffice.
seeds=(1 2) failures=(launch:60 copy:160 fft:13)
if [ -n "${CYCLOTOMO_FEW_WAYS-}" ]; then seeds=() failures=(launch:60); fi
for seed in "${seeds[@]}"; do PRETEND_SEED=$seed jobs_of "early$seed" --backend cuda --j $seed && same_as_first "early$seed"; done
PRETEND_POOLS=0 job driver/R reconstruct --i optimisation_set.star --b 48 --sym O --taper 3 --backend cuda
cmp p/driver/R/merged.mrc p/late/R/merged.mrc || fail "without memory pools the map is another one"
if [ -z "${CYCLOTOMO_FEW_WAYS-}" ]; then CYCLOTOMO_DEVICE_STEPWISE=1 jobs_of stepwise --gpu 0 && same_as_first stepwise; fi
# Several devices: a process for each, the same bits.
PRETEND_DEVICES=3 jobs_of several --gpu 0,2 --j 1 && same_as_first several
[ "$(grep -c '"device": "GPU [02], ' p/several/R/run.json)" = 3 ] || fail "run.json does not say which GPUs took part"

PRETEND_DRIVER=0 refused 3 "there is no driver on this machine" --backend cuda
PRETEND_DRIVER=12040 refused 3 "the driver is for CUDA 12.4, this was built for 13.0" --backend cuda
PRETEND_DEVICES=0 refused 3 "no NVIDIA GPU can be used: no CUDA-capable device" --backend cuda
PRETEND_MAJOR=7 refused 3 "has compute capability 7.0; 8.0 is the least" --backend cuda
PRETEND_DEVICES=2 refused 3 "there is no GPU 2: this machine shows 2" --gpu 0,2
refused 2 "must be a whole number" --backend cuda:first

# A device that computes something else is found before a job begins, whichever kernel it is.
n_wrong=0
every=${CYCLOTOMO_FEW_WAYS:+9}
for launch in $(seq 1 ${every:-1} 40); do
	code=0
	PRETEND_WRONG=$launch "$cyclotomo" reconstruct --root p --i optimisation_set.star --b 48 --o wrong --backend cuda >/dev/null 2>log || code=$?
	grep -q "does not compute as the processor" log || break
	[ $code = 3 ] || fail "exit code $code, not 3, for a GPU that computes wrongly"
	[ -z "$(find p/wrong -name '*.mrc*')" ] || fail "a GPU that computes wrongly has made a map"
	n_wrong=$((n_wrong + 1))
done
[ "$n_wrong" -ge $((20 / ${every:-1})) ] || fail "only $n_wrong launches are compared with the processor"
PRETEND_WRONG=12 "$cyclotomo" reconstruct --root p --o auto/wrong --i optimisation_set.star --b 48 --sym O --taper 3 --backend auto >/dev/null 2>log ||
	fail "auto where the GPU computes wrongly"
grep -q "Computing on the processor: GPU 0, .* slice_extract gives another result" log || fail "auto does not say that the GPU computes wrongly"
cmp p/auto/wrong/merged.mrc p/cpu/R/merged.mrc || fail "auto where the GPU computes wrongly gives another map"

# A device that fails in the middle: what failed is said, and nothing half done is taken for a result.
fails() {
	local code=$1 text=$2 got=0 command=$3
	shift 3
	"$cyclotomo" "$command" --root p --o "failed/$command" -q "$@" --backend cuda >/dev/null 2>log || got=$?
	[ $got = "$code" ] || fail "exit code $got, not $code, for $command with ${PRETEND_FAIL-}${PRETEND_MEMORY-}"
	grep -q "$text" log || fail "no '$text' for $command with ${PRETEND_FAIL-}${PRETEND_MEMORY-}"
	[ "$(grep -c ': error: ' log)" = 1 ] || fail "not one error for $command with ${PRETEND_FAIL-}${PRETEND_MEMORY-}"
	[ ! -e "p/failed/$command/RELION_JOB_EXIT_SUCCESS" ] || fail "$command with ${PRETEND_FAIL-} says that it succeeded"
	[ -z "$(find p/failed -name '*.mrc' -o -name 'particles.star' -o -name '*_data.star')" ] || fail "$command left results"
	rm -rf p/failed
}
one() { # of each job: its command
	case $1 in
	reconstruct) echo reconstruct --i optimisation_set.star --b 48 --sym O --taper 3 ;;
	refine) echo refine --i cpu/R/optimisation_set.star --mask mask_align.mrc --b 48 --sym O --iterations 1 ;;
	*) echo "$1" --i cpu/R/optimisation_set.star --mask mask_align.mrc --b 48 ;;
	esac
}
for name in reconstruct ctfrefine polish refine; do
	read -ra command < <(one $name)
	for what in "${failures[@]}"; do
		PRETEND_FAIL=$what fails 1 "GPU 0: .*unspecified launch failure" "${command[@]}"
	done
	PRETEND_FAIL=plan:1 job "again/$name" "${command[@]}" --backend cuda # what the process keeps is given back, then there is room
	PRETEND_FAIL=host:2 fails 1 "GPU 0: no memory of the host for copies" "${command[@]}"
	PRETEND_FAIL=memory:55 fails 1 "GPU 0 has no room for .* MB more" "${command[@]}"
	PRETEND_MEMORY=3000000 fails 1 "GB of memory are needed on GPU 0, .*, 0.0 of 0.0 GB free" "${command[@]}"
done
# auto takes a GPU where there is one, and else says why not.
job auto/R reconstruct --i optimisation_set.star --b 48 --sym O --taper 3 --backend auto
cmp p/auto/R/merged.mrc p/late/R/merged.mrc || fail "auto gives another map"
PRETEND_MAJOR=7 "$cyclotomo" reconstruct --root p --o auto/cpu --i optimisation_set.star --b 48 --sym O --taper 3 --backend auto >/dev/null 2>log ||
	fail "auto on the processor"
grep -q "Computing on the processor: GPU 0, Pretended GPU, has compute capability 7.0" log || fail "auto does not say why it computes on the processor"
cmp p/auto/cpu/merged.mrc p/cpu/R/merged.mrc || fail "auto on the processor gives another map"
PRETEND_MEMORY=3000000 "$cyclotomo" reconstruct --root p --o auto/small --i optimisation_set.star --b 48 --sym O --taper 3 --backend auto >/dev/null 2>log ||
	fail "auto without room on the GPU"
grep -q "Computing on the processor: about .* GB of memory are needed on GPU 0" log || fail "auto does not say that the GPU is too small"
cmp p/auto/small/merged.mrc p/cpu/R/merged.mrc || fail "auto without room on the GPU gives another map"

# Where memory is short (nine tenths of it are used) batches are smaller, which shows nowhere in the results.
"$cyclotomo" simulate --series 1 --particles 60 --tilts 5 --size 400 --box 48 --pixel-size 4 --sym O --o p60 --quiet >/dev/null
on_60() { # folder, command and options
	local out=$1 command=$2
	shift 2
	"$cyclotomo" "$command" --root p60 --o "$out" "$@" --b 48 >/dev/null 2>log || fail "$command --o $out"
}
on_60 R reconstruct --i optimisation_set.star --sym O --backend cpu
names=(ctfrefine polish extract)
[ -z "${CYCLOTOMO_FEW_WAYS-}" ] || names=(polish)
for name in "${names[@]}"; do
	options=(--i R/optimisation_set.star --mask mask_align.mrc)
	[ $name != extract ] || options=(--i optimisation_set.star --stacks --crop 40)
	on_60 "$name" $name "${options[@]}" --backend cuda
	! grep -q "with batches of" log || fail "$name has smaller batches without need"
	needed=$(sed -n 's/.*about \([0-9.]*\) GB are needed there.*/\1/p' log)
	PRETEND_MEMORY=$(awk -v n="$needed" 'BEGIN { printf "%d", 1.0e9 * n }') on_60 "$name-small" $name "${options[@]}" --backend cuda
	grep -q "GB are needed there, with batches of [0-9]* MB" log || fail "$name does not make its batches smaller"
	(cd "p60/$name" && find . -name '*.star' -o -name '*.mrcs') | grep -v job | while read -r file; do
		diff <(sed "s#$name-small/#$name/#g" "p60/$name-small/$file") "p60/$name/$file" >difference || fail "$name-small/$file is another one"
	done
done
echo "all passed"
