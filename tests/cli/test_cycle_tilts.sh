#!/usr/bin/env bash
# The cycle ends well where numbers are missing: excluded tilts, tilts without particles, and whatever may be skipped.
set -euo pipefail
cyclotomo=$1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
fail() { echo "FAIL: $*" >&2; [ ! -e log ] || tail -n 20 log >&2; exit 1; }

"$cyclotomo" simulate -q --preset tiny --sym O --series 2 --tilts 9 --particles 6 --signal 6 --o clean >/dev/null
options=(--i optimisation_set.star --b 32 --sym O --mask-align mask_align.mrc --mask-fsc mask_fsc.mrc --o Run --j 2)
# Ends with a summary, an optimisation set, no NaN, and does nothing when it is started again.
ends_well() {
	local what=$1 root=$2
	shift 2
	"$cyclotomo" cycle --root "$root" "${options[@]}" "$@" >out 2>log || fail "$what: ended with $?"
	[ -s "$root/Run/optimisation_set.star" ] || fail "$what: no optimisation set"
	[ -s "$root/Run/summary.html" ] || fail "$what: no summary"
	if grep -qi '\bnan\b' out log "$root/Run/summary.json"; then fail "$what: NaN is printed"; fi
	if grep -q '[>",  ]nan' "$root/Run/summary.html"; then fail "$what: NaN on the page"; fi
	"$cyclotomo" cycle --root "$root" "${options[@]}" "$@" >out 2>log || fail "$what: the second start ended with $?"
}

# Rows of the first series: column 12 is the contrast scale, 7 the shift along x. Tilts 3 and 7 are excluded, 5 shows no particle.
cp -r clean excluded
awk '/frames\// { n++; if (n == 3 || n == 7) $12 = 0; if (n == 5) $7 = 5000 } { print }' clean/tilt_series/TS_01.star >excluded/tilt_series/TS_01.star
ends_well "excluded tilts and one without particles" excluded
awk '$1 ~ /frames/ && $12 == 0 { n++ } END { exit n != 2 }' "$(find excluded/Run/CtfRefine -name TS_01.star)" || fail "excluded tilts did not stay excluded"

for skip in "--skip-defocus --skip-refine" "--skip-scale --skip-refine" "--skip-defocus --skip-scale" --skip-polish "--skip-motion --skip-refine"; do
	rm -rf skipping && cp -r excluded skipping && rm -r skipping/Run
	# shellcheck disable=SC2086
	ends_well "$skip" skipping $skip
done

# One series of a single tilt, which shows no motion.
cp -r clean single
awk '/^frames/ && n++ { next } { print }' clean/tilt_series/TS_01.star > single/tilt_series/TS_01.star
ends_well "a series of one tilt" single
