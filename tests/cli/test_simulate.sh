#!/usr/bin/env bash
# simulate: layout of the project, presets, same bytes for any number of threads, refused input.
set -euo pipefail
cyclotomo=$1
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
fail() { echo "FAILED: $*" >&2; exit 1; }

"$cyclotomo" simulate --preset tiny --o "$dir/a" --j 1 -q > "$dir/out"
for f in optimisation_set.star particles.star tomograms.star tilt_series/TS_01.star frames/TS_01_001.mrc mask_align.mrc mask_fsc.mrc \
	truth/map.mrc truth/motion.star truth/particles.star truth/tomograms.star truth/tilt_series/TS_01.star truth/optimisation_set.star; do
	[ -s "$dir/a/$f" ] || fail "no $f"
done
grep -q "TS_01/4" "$dir/a/particles.star" || fail "particles are missing"
[ "$(ls "$dir/a/frames" | wc -l)" = 11 ] || fail "not 11 images"
# Every image named is there.
for f in $(grep -o 'frames/[^ ]*' "$dir/a/tilt_series/TS_01.star"); do [ -s "$dir/a/$f" ] || fail "no image $f"; done

# Same bytes with two threads, whatever the place; other bytes with another seed.
"$cyclotomo" simulate --preset tiny --o b --root "$dir" --j 2 -q > /dev/null
rm "$dir"/*/optimisation_set.run.json
diff -r "$dir/a" "$dir/b" || fail "two threads give another result"
"$cyclotomo" simulate --preset tiny --o "$dir/c" --seed 2 -q > /dev/null
if cmp -s "$dir/a/frames/TS_01_001.mrc" "$dir/c/frames/TS_01_001.mrc"; then fail "the seed does nothing"; fi

# Stacks hold the same images.
"$cyclotomo" simulate --preset tiny --o "$dir/d" --stack -q > /dev/null
grep -q "000001@stacks/TS_01.mrcs" "$dir/d/tilt_series/TS_01.star" || fail "stack is not named"
size=$((160 * 144 * 4))
cmp <(tail -c +1025 "$dir/a/frames/TS_01_003.mrc") <(tail -c +$((1025 + 2 * size)) "$dir/d/stacks/TS_01.mrcs" | head -c $size) || fail "stack differs"

# Errors can be switched off: then the metadata are the truth.
"$cyclotomo" simulate --preset tiny --o "$dir/e" --error-defocus 0 --error-astigmatism 0 --error-scale 0 --error-shift 0 --error-angle 0 \
	--error-position 0 --error-orientation 0 -q > /dev/null
cmp "$dir/e/particles.star" "$dir/e/truth/particles.star"
cmp "$dir/e/tilt_series/TS_01.star" "$dir/e/truth/tilt_series/TS_01.star"

status=0; "$cyclotomo" simulate --preset tiny --o "$dir/a" -q 2> "$dir/err" || status=$?
[ $status = 1 ] && grep -q -- --force "$dir/err" || fail "an existing project must be kept, status $status"
status=0; "$cyclotomo" simulate 2> "$dir/err" || status=$?
[ $status = 2 ] && grep -q -- --o "$dir/err" || fail "missing --o, status $status"
status=0; "$cyclotomo" simulate --o "$dir/f" --preset huge 2> "$dir/err" || status=$?
[ $status = 2 ] || fail "unknown preset, status $status"
status=0; "$cyclotomo" simulate --o "$dir/f" --box 31 2> "$dir/err" || status=$?
[ $status = 2 ] && [ ! -e "$dir/f" ] || fail "odd box, status $status"
"$cyclotomo" simulate --help > "$dir/help"; grep -q "noise-free" "$dir/help" || fail "help"
echo passed
