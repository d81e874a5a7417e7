#!/bin/bash
# Every job under small limits of addresses (ulimit -v): a result or an error within a minute, never a hang and no signal.
#   tools/small_limits.sh BINARY SCRATCH [LIMIT_MB ...]
set -u
C=$(readlink -f "$1"); mkdir -p "$2"; cd "$2" || exit 1; shift 2
limits=("$@"); [ ${#limits[@]} -gt 0 ] || for i in $(seq 0 19); do limits+=($((100 + 100 * i))); done
rm -rf p
"$C" simulate -q --preset tiny --sym O --series 2 --tilts 5 --tilt-step 15 --particles 4 --signal 6 --float32 --motion 3 --o p || exit 1
"$C" reconstruct -q --root p --i optimisation_set.star --b 32 --sym O --taper 3 --o R || exit 1
set_="--root p --i optimisation_set.star" ref="--ref1 R/half1.mrc --ref2 R/half2.mrc --mask mask_align.mrc" bad=0 n=0
one() { # NAME LIMIT ARGUMENTS
	local name=$1 limit=$2 r; shift 2
	rm -rf p/out
	( ulimit -v $((limit * 1024)); timeout -s KILL 60 "$C" "$@" ) > log 2>&1; r=$?
	n=$((n + 1))
	# 127: the loader found no room for the libraries, and says so.
	if [ $r -ge 128 ] || { [ $r -ne 0 ] && ! grep -q "error" log; }; then
		bad=$((bad + 1)); echo "BAD $name at $limit MB: exit code $r: $(tail -1 log)"
	fi
}
for v in "${limits[@]}"; do
	one simulate "$v" simulate -q --preset tiny --series 1 --tilts 3 --particles 2 --force --o p/out
	one reconstruct "$v" reconstruct -q $set_ --b 32 --sym O --taper 3 --j 2 --o out
	one postprocess "$v" postprocess -q --root p --i R/half1.mrc --mask mask_fsc.mrc --sym O --o out/pp
	one mask "$v" mask -q --root p --i R/merged.mrc --o out/mask.mrc
	one ctfrefine "$v" ctfrefine -q $set_ $ref --b 32 --kmin 60 --j 2 --o out
	one polish "$v" polish -q $set_ $ref --b 32 --range 3 --motion --j 2 --o out
	one refine "$v" refine -q $set_ $ref --b 32 --iterations 1 --j 2 --o out
	one refine-tilts "$v" refine-tilts -q $set_ $ref --b 32 --rounds 1 --range 3 --j 2 --o out
	one extract "$v" extract -q $set_ --b 32 --j 2 --o out
	one extract-2d "$v" extract -q $set_ --b 32 --stack2d --j 2 --o out
	one check "$v" check $set_
	one cycle "$v" cycle -q $set_ --b 32 --sym O --mask-align mask_align.mrc --mask-fsc mask_fsc.mrc --cycles 1 --kmin 60 --j 2 --o out
done
echo "$n runs, $bad bad"
[ $bad -eq 0 ]
