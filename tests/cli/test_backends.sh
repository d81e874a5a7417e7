#!/usr/bin/env bash
# Whole jobs with --backend emulate, whose kernels are those of the GPU: the same bits as with cpu, whatever the order of blocks and
# lanes. And what is said where the backend cannot be had.
set -euo pipefail
cyclotomo=$1
helpers=$(realpath "$(dirname "$0")/../backend_jobs.sh")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
source "$helpers"
make_project

jobs_of cpu --backend cpu --j 2
fingerprint cpu >wanted
[ "$(wc -l <wanted)" -ge 25 ] || fail "only $(wc -l <wanted) files to compare"
for seed in 1 2; do
	jobs_of "e$seed" --backend "emulate:$seed" --j $seed
	fingerprint "e$seed" >found
	diff wanted found || fail "emulate with seed $seed gives other results than cpu"
done

# Several devices: a process for each, the same bits.
jobs_of several --backend emulate:1,2,1 --j 1
fingerprint several >found
diff wanted found || fail "three devices give other results than cpu"
[ "$(grep -c '"device": "emulate"' p/several/R/run.json)" = 4 ] || fail "run.json does not say which devices took part"

# What a job says that it needs on a device, and what it then held there: not less, and not much more (cuFFT's work is counted, which the
# emulated device does without; references to Nyquist, where the resolution is not known).
takes_what_it_says() {
	local out=$1 command=$2 said held
	shift 2
	"$cyclotomo" "$command" --root p --o "$out" "$@" --backend emulate >/dev/null 2>log || fail "$command --o $out"
	said=$(sed -n 's/.*Computing on kernels of the GPU, emulated: about \([0-9.e+-]*\) GB are needed there.*/\1/p' log)
	held=$(sed -n 's/.*"peak_device_memory_bytes": \([0-9]*\).*/\1/p' "p/$out/run.json")
	awk -v said="$said" -v held="$held" 'BEGIN { exit !(said * 1e9 >= 0.99 * held && said * 1e9 < 1.5 * held && held > 1e5) }' ||
		fail "$command $*: $said GB are said to be needed on the device, $held bytes were held"
}
takes_what_it_says device/R reconstruct --i optimisation_set.star --b 96 --crop 64 --crop-images
takes_what_it_says device/C ctfrefine --i cpu/R/optimisation_set.star --mask mask_align.mrc --b 48 --magnification --even-aberrations
takes_what_it_says device/P polish --i cpu/R/optimisation_set.star --mask mask_align.mrc --b 48
takes_what_it_says device/X extract --i optimisation_set.star --stacks --b 48 --crop 40
takes_what_it_says device/X2 extract --i optimisation_set.star --b 96 --crop 64
takes_what_it_says device/S reconstruct --i device/X/optimisation_set.star --from-stacks --b 96 --sym O
takes_what_it_says device/F refine --i cpu/R/optimisation_set.star --mask mask_align.mrc --b 48 --sym O --iterations 1

# The name of the backend: what there is, before anything is done.
refused 1 "there is no compute backend 'vulkan'" --backend vulkan
refused 2 "must be a whole number" --backend emulate:two
refused 2 "must be a whole number" --backend emulate:1,two
refused 2 "separated by commas" --backend emulate:1,

# Without a plug-in, or with one that is none, cuda is refused and auto computes on the processor.
export CYCLOTOMO_PLUGINS=$work
refused 3 "needs the plug-in" --backend cuda
refused 3 "needs the plug-in" --gpu 0,1
refused 3 "needs the plug-in" --gpu=0,1
grep -q -e "--backend cpu" log || fail "not said what to do without a GPU"
echo "no library" >libcyclotomo_cuda.so
refused 3 "needs the plug-in" --backend cuda
if command -v cc >/dev/null; then # a plug-in of another version
	echo 'const void *cyc_device_plugin_3(int abi) { return abi > 1000000 ? &abi : 0; }' >other.c
	cc -w -shared -fPIC other.c -o libcyclotomo_cuda.so
	refused 3 "belongs to another version" --backend cuda
	echo "no library" >libcyclotomo_cuda.so
fi
"$cyclotomo" reconstruct --root p --i optimisation_set.star --b 48 --sym O --taper 3 --o auto/R --backend auto >/dev/null 2>log ||
	fail "reconstruct --backend auto"
[ "$(grep -c 'Computing on the processor' log)" = 1 ] || fail "auto does not say once that it computes on the processor"
for map in half1 half2 merged; do cmp "p/cpu/R/$map.mrc" "p/auto/R/$map.mrc" || fail "auto on the processor gives another $map"; done
rm libcyclotomo_cuda.so
"$cyclotomo" reconstruct --root p --i optimisation_set.star --b 48 --sym O --taper 3 --o auto/R2 --backend auto >/dev/null 2>log ||
	fail "reconstruct --backend auto without a plug-in"
! grep -q 'Computing on' log || fail "auto without a plug-in mentions GPUs"

# The plug-in that was built beside the program, on a machine without a driver.
unset CYCLOTOMO_PLUGINS
if [ -e "$(dirname "$cyclotomo")/libcyclotomo_cuda.so" ] && [ ! -e /proc/driver/nvidia/version ]; then
	refused 3 "no NVIDIA GPU can be used" --backend cuda
	refused 2 "must be a whole number" --backend cuda:first
fi
echo "all passed"
