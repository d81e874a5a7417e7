# cyclotomo check as a user runs it: tables, images, a corrected project, exit codes, bad input.
set -euo pipefail
bin=$1
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
fails() { # CODE TEXT COMMAND...
	local want=$1 text=$2 code=0
	shift 2
	"$@" > out.txt 2> err.txt || code=$?
	[ "$code" = "$want" ] || { echo "exit $code, wanted $want: $*"; cat out.txt err.txt; exit 1; }
	grep -q -- "$text" out.txt err.txt || { echo "neither output nor message has '$text': $*"; cat out.txt err.txt; exit 1; }
}
"$bin" simulate -q --preset tiny --sym O --series 2 --tilts 7 --tilt-step 15 --particles 4 --signal 6 --float32 --o p > /dev/null
"$bin" reconstruct -q --root p --i optimisation_set.star --b 40 --crop 32 --sym O --taper 3 --o R > /dev/null
check=("$bin" check -q --root p)

# Tables alone: nothing wrong, no maps needed, nothing written.
"${check[@]}" --i optimisation_set.star > out.txt
grep -q 'nothing wrong was found' out.txt
"${check[@]}" --i optimisation_set.star --fix Fixed > out.txt
grep -q 'nothing to correct' out.txt
[ ! -e p/Fixed ]

# Stage angles of the other sign: a warning, mended beside the project, which stays as it is.
cp p/tilt_series/TS_02.star right.star
awk '/^_rlnTomoNominalStageTiltAngle/ { c = substr($2, 2) } /^frames/ { $c = -$c } { print }' right.star > p/tilt_series/TS_02.star
cp p/tilt_series/TS_02.star wrong.star
"${check[@]}" --i optimisation_set.star --fix Fixed > out.txt
grep -q 'warning: tilt series TS_02: stage angles' out.txt
grep -q 'rlnTomoNominalStageTiltAngle' out.txt
cmp wrong.star p/tilt_series/TS_02.star
"${check[@]}" --i Fixed/optimisation_set.star > out.txt
grep -q 'nothing wrong was found' out.txt
fails 2 'already exists' "${check[@]}" --i optimisation_set.star --fix Fixed
fails 2 'is the project itself' "${check[@]}" --i optimisation_set.star --fix .
"${check[@]}" --i optimisation_set.star --json > out.txt
python3 -c 'import json, sys; d = json.load(open("out.txt")); f = d["findings"]; assert len(f) == 1 and f[0]["kind"] == "stage-sign" and f[0]["level"] == "warning" and f[0]["sigma"] > 10' 2> err.txt ||
	{ command -v python3 > /dev/null && { cat out.txt err.txt; exit 1; }; }
cp right.star p/tilt_series/TS_02.star

# A half-set without particles spoils every refinement.
cp p/particles.star right.star
awk '/^_rlnRandomSubset/ { c = substr($2, 2) } $1 ~ /^TS_/ && c { $c = 1 } { print }' right.star > p/particles.star
fails 3 'half-set 2 has no particles' "${check[@]}" --i optimisation_set.star
cp right.star p/particles.star

# Findings that spoil a refinement end with 3: contrast inverted by the phase shift that a phase plate does not have.
for i in 1 2; do
	awk '/^_rlnTomoNominalStageTiltAngle/ { head = 1 } /^frames/ { $0 = $0 " 180" } head && /^frames/ && !done { done = 1; print "_rlnPhaseShift" } { print }' p/tilt_series/TS_0$i.star > x.star
	cp p/tilt_series/TS_0$i.star right$i.star
	cp x.star p/tilt_series/TS_0$i.star
done
"$bin" reconstruct -q --root p --i optimisation_set.star --b 40 --crop 32 --sym O --taper 3 --o R2 > /dev/null
fails 3 'contrast is inverted' "${check[@]}" --i R2/optimisation_set.star --deep --b 40 --kmin 60 --fix Fixed2
for i in 1 2; do
	grep -q rlnPhaseShift p/Fixed2/tilt_series/TS_0$i.star
	cp right$i.star p/tilt_series/TS_0$i.star
done

# Half maps of another calibration; those of binned images are none.
for pixel in 4.2 8; do
	"$bin" simulate -q --preset tiny --sym O --series 1 --tilts 3 --particles 2 --pixel-size $pixel --o q$pixel --force > /dev/null
	"${check[@]}" --i optimisation_set.star --ref1 ../q$pixel/truth/map.mrc --ref2 ../q$pixel/truth/map.mrc > out.txt
	if [ $pixel = 8 ]; then ! grep -q 'pixel size' out.txt; else grep -q 'warning: the half maps have a pixel size of 4.2' out.txt; fi
done

# The images.
"${check[@]}" --i R/optimisation_set.star --mask mask_align.mrc --deep --b 40 --kmin 60 > out.txt 2> err.txt || { [ $? = 3 ] && ! grep -q 'CYC_E' err.txt; }
grep -q '^TS_01' out.txt
fails 2 'half maps' "${check[@]}" --i optimisation_set.star --deep
fails 1 'cannot open' "${check[@]}" --i R/optimisation_set.star --deep --mask no.mrc
echo ok
