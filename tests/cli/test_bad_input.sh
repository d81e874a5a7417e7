# Bad projects: each a message that says what and where, the right exit code, and nothing half-written.
set -euo pipefail
bin=$1
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
"$bin" simulate -q --preset tiny --o good > /dev/null

n_cases=0
# refused CODE TEXT [TEXT...]: the project in bad/ is refused by reconstruct.
refused() {
	local want=$1 code=0 text
	shift
	"$bin" reconstruct --root bad --i optimisation_set.star --b 32 --crop 24 --o Reconstruct/job001/ > out.txt 2> err.txt || code=$?
	[ "$code" = "$want" ] || { echo "exit $code, wanted $want ($*)"; cat err.txt; exit 1; }
	for text in "$@"; do
		grep -q -- "$text" err.txt || { echo "message lacks '$text':"; cat err.txt; exit 1; }
	done
	if ls bad/Reconstruct/job001/*.mrc > /dev/null 2>&1; then echo "maps are there ($*)"; exit 1; fi
	if find bad -name '*.tmp*' | grep .; then echo "temporary files are there ($*)"; exit 1; fi
	[ -e bad/Reconstruct/job001/RELION_JOB_EXIT_FAILURE ] || [ ! -e bad/Reconstruct/job001 ] || { echo "no exit flag ($*)"; exit 1; }
	n_cases=$((n_cases + 1))
}
fresh() { rm -rf bad && cp -r good bad; }
edit() { # file, text, new text
	grep -q -- "$2" "$1"
	sed -i "s|$2|$3|" "$1"
}

# Files that are not there.
fresh; rm bad/optimisation_set.star; refused 1 "optimisation_set.star"
fresh; rm bad/particles.star; refused 1 "particles.star"
fresh; rm bad/tomograms.star; refused 1 "tomograms.star"
fresh; rm bad/tilt_series/TS_01.star; refused 1 "TS_01.star" "row 1 of 'tomograms.star'" "--root"
fresh; rm bad/frames/TS_01_00[37].mrc; refused 1 "TS_01_003.mrc" "row 3" "2 of the 11 images"

# STAR files that are not right.
fresh; awk '/^ *TS_01 / && !n++{NF--} {print}' good/particles.star > bad/particles.star; refused 3 "particles.star: line" "too few values: wanted"
fresh; edit bad/tomograms.star "data_global" "data_globe"; refused 3 "no block 'global'"
fresh; edit bad/tilt_series/TS_01.star "_rlnDefocusV" "_rlnDefocusW"; refused 3 "TS_01.star" "_rlnDefocusV"
fresh; edit bad/tilt_series/TS_01.star "_rlnTomoYTilt" "_rlnTomoWTilt"; refused 3 "TS_01" "no tilt geometry"
fresh; printf '\0' >> bad/particles.star; refused 3 "particles.star" "NUL"
fresh; : > bad/particles.star; refused 3 "particles.star" "no block 'particles'"

# Values that cannot be used.
fresh; awk '/^ *TS_01 /{sub("TS_01 ","TS_99 ")} {print}' good/particles.star > bad/particles.star; refused 3 "particles.star" "TS_99" "none of the 4"
fresh; awk '/^frames/ && !n++{$12="-0.1"} {print}' good/tilt_series/TS_01.star > bad/tilt_series/TS_01.star; refused 3 "TS_01.star" "row 1" "negative: -0.1"
fresh; awk '/^frames/ && !n++{$9="nan"} {print}' good/tilt_series/TS_01.star > bad/tilt_series/TS_01.star; refused 3 "TS_01.star" "_rlnDefocusU" "nan"
fresh; awk '/^ *TS_01 /{$12=3} {print}' good/particles.star > bad/particles.star; refused 3 "particles.star" "_rlnRandomSubset must be 1 or 2, found 3"
fresh; awk '/^ *TS_01 /{$2="TS_01/1"} {print}' good/particles.star > bad/particles.star; refused 3 "particles.star" "'TS_01/1' is there already"
fresh; edit bad/tomograms.star "    -1.00000" "    -2.00000"; refused 3 "_rlnTomoHand" "-2"

# Images that are not right.
fresh; truncate -s 20000 bad/frames/TS_01_005.mrc; refused 3 "TS_01_005.mrc" "cut short" "20000" "row 5"
fresh; cp good/mask_fsc.mrc bad/frames/TS_01_004.mrc; refused 3 "TS_01_004.mrc" "sections" "row 4"
fresh; printf '\x00\x00\xc0\x7f' | dd of=bad/frames/TS_01_006.mrc bs=1 seek=2048 conv=notrunc status=none; refused 3 "TS_01_006.mrc" "x 96, y 1, z 0" "NaN"
fresh; printf '\x04' | dd of=bad/frames/TS_01_002.mrc bs=1 seek=12 conv=notrunc status=none; refused 3 "TS_01_002.mrc" "mode 4"

# And the good one is not refused; an excluded tilt is used as such, with a warning.
awk '/^frames/ && !n++{$12="0"} {print}' good/tilt_series/TS_01.star > zero.star && cp zero.star good/tilt_series/TS_01.star
"$bin" reconstruct --root good --i optimisation_set.star --b 32 --crop 24 --o Reconstruct/job001/ > /dev/null 2> err.txt
grep -q "1 tilt of 1 tilt series has a contrast scale of 0" err.txt
[ -e good/Reconstruct/job001/half1.mrc ] && [ -e good/Reconstruct/job001/RELION_JOB_EXIT_SUCCESS ]
echo "$n_cases cases"
