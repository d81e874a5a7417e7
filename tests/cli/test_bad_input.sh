# What goes wrong with real data: each command says which file and what, ends with the status of docs/errors.md, and leaves no
# half-written output. Killed runs that are resumed end with the same bytes.
set -euo pipefail
bin=$1
here=$(cd "$(dirname "$0")" && pwd)
dir=$(mktemp -d)
mounted=
trap '[ -z "$mounted" ] || umount "$dir/full"; rm -rf "$dir"' EXIT
cd "$dir"
export OMP_NUM_THREADS=1
fail() { echo "FAIL: $*"; exit 1; }
source "$here/kill_at_line.sh"

# fails CODE COMMAND...: the texts in the array `say` are in the message; nothing but records of the job is in the folder "no".
fails() {
	local want=$1 code=0 text
	shift
	rm -rf no
	"$@" > out.txt 2> err.txt || code=$?
	[ "$code" = "$want" ] || { echo "exit $code, wanted $want: $*"; cat err.txt; exit 1; }
	for text in "${say[@]}"; do
		grep -q -- "$text" err.txt || { echo "message lacks '$text': $*"; cat err.txt; exit 1; }
	done
	nothing_half_written
}
nothing_half_written() {
	if find . -name '*.tmp*' | grep .; then echo "temporary files are left"; exit 1; fi
	if find no full -name '*.mrc' -o -name 'tomograms.star' -o -name 'particles.star' -o -name 'motion.star' -o -name 'optimisation_set.star' -o -name 'uncertainty.star' -o -name 'postprocess.star' 2> /dev/null | grep .; then
		echo "an output is there"
		exit 1
	fi
}
# column FILE LABEL: its number.
column() { sed -n "s/^_$2 #\([0-9]*\).*/\1/p" "$1"; }
# set_value FILE LABEL ROW VALUE: in the table with this label, rows from 1.
set_value() {
	awk -v c="$(column "$1" "$2")" -v label="_$2" -v r="$3" -v v="$4" '
		/^data_/ { here = n = 0 }
		$1 == label { here = 1 }
		here && !/^[_#]/ && NF >= c { n++; if (n == r) $c = v }
		{ print }' "$1" > edit.txt
	mv edit.txt "$1"
}

"$bin" simulate -q --preset tiny --sym O --series 3 --tilts 5 --tilt-step 20 --particles 4 --signal 6 --float32 --o p > /dev/null
reconstruct=("$bin" reconstruct -q --root p --i optimisation_set.star --b 32 --sym O --taper 3 --o ../no)
"$bin" reconstruct -q --root p --i optimisation_set.star --b 32 --sym O --taper 3 --o R > /dev/null
"$bin" ctfrefine --help > /dev/null
refine_with=(--ref1 R/half1.mrc --ref2 R/half2.mrc --mask mask_align.mrc --b 32 --kmin 60 --no-figures)
refine=("$bin" ctfrefine -q --root p --i optimisation_set.star "${refine_with[@]}" --o ../no)
polish_with=(--ref1 R/half1.mrc --ref2 R/half2.mrc --mask mask_align.mrc --b 32 --range 3 --no-figures)
polish=("$bin" polish -q --root p --i optimisation_set.star "${polish_with[@]}" --o ../no)
extract_with=(--stack2d --float16 --b 32 --crop 24)
extract=("$bin" extract -q --root p --i optimisation_set.star "${extract_with[@]}" --o ../no)
from_stacks=("$bin" reconstruct -q --root p --i X/optimisation_set.star --from-stacks --sym O --taper 3 --o ../no)
postprocess=("$bin" postprocess -q --i p/R/half1.mrc --mask p/mask_fsc.mrc --no-figures --o no/postprocess)
mask=("$bin" mask -q --i p/R/merged.mrc --ini_threshold 1e-9 --o no/mask.mrc)
# So they work; what follows breaks one thing at a time.
"$bin" ctfrefine -q --root p --i optimisation_set.star "${refine_with[@]}" --o C > /dev/null 2> err.txt || { cat err.txt; exit 1; }
"$bin" polish -q --root p --i optimisation_set.star "${polish_with[@]}" --motion --accept-worse --o M > /dev/null 2> err.txt || { cat err.txt; exit 1; }
"$bin" extract -q --root p --i optimisation_set.star "${extract_with[@]}" --o X > /dev/null 2> err.txt || { cat err.txt; exit 1; }
"$bin" reconstruct -q --root p --i X/optimisation_set.star --from-stacks --sym O --taper 3 --o RX > /dev/null 2> err.txt || { cat err.txt; exit 1; }

"$bin" ctfrefine -q --root p --i optimisation_set.star "${refine_with[@]}" --do_even_aberrations --ne 6 --do_odd_aberrations --no 3 --magnification --o CA > out.txt 2> err.txt ||
	{ cat err.txt; exit 1; }
grep -q 'CA/particles.star' out.txt && [ -f p/CA/particles.star ] && [ -f p/CA/aberrations.star ] && [ ! -f p/CA/tomograms.star ] || { echo "aberrations alone: wrong files"; ls p/CA; exit 1; }
"$bin" ctfrefine -q --root p --i optimisation_set.star "${refine_with[@]}" --do_scale --per_tomo_scale --per-tilt-bfactor --o CS > /dev/null 2> err.txt || { cat err.txt; exit 1; }
grep -q rlnTomoRelativeIceThickness p/CS/tomograms.star && grep -rq rlnCtfBfactor p/CS/tilt_series || { echo "ice and B-factors are not in the files"; exit 1; }

# with_broken FILE COMMAND...: runs a line of shell on a copy, then puts the file back.
broken() { cp "$1" keep; eval "$2"; }
mended() { mv keep "$1"; }

## options that do not fit
say=("must be 4, 6 or 8, got 5")
fails 2 "${refine[@]}" --even-aberrations --ne 5
say=("must be 3, 5 or 7, got 1")
fails 2 "${refine[@]}" --do_odd_aberrations --no 1
say=("exclude each other")
fails 2 "${refine[@]}" --per_frame_scale --per_tomogram_scale
say=("--scale-model needs scales")
fails 2 "${refine[@]}" --do_defocus --scale-model global
say=("must be -20")
fails 2 "$bin" simulate -q --preset tiny --aberrations 50 --o no

## missing files
say=("p/nothere.star")
fails 1 "$bin" reconstruct -q --root p --i nothere.star --b 32 --o ../no
fails 1 "$bin" ctfrefine -q --root p --i nothere.star "${refine_with[@]}" --o ../no
fails 1 "$bin" polish -q --root p --i nothere.star "${polish_with[@]}" --o ../no
broken p/particles.star 'rm p/particles.star'
say=("p/particles.star")
fails 1 "${reconstruct[@]}"
fails 1 "${extract[@]}"
fails 1 "${refine[@]}"
fails 1 "${polish[@]}"
mended p/particles.star
broken p/tilt_series/TS_02.star 'rm p/tilt_series/TS_02.star'
say=("p/tilt_series/TS_02.star")
fails 1 "${reconstruct[@]}"
fails 1 "${extract[@]}"
fails 1 "${refine[@]}"
fails 1 "${polish[@]}"
mended p/tilt_series/TS_02.star
broken p/frames/TS_02_003.mrc 'rm p/frames/TS_02_003.mrc'
say=("TS_02" "frames/TS_02_003.mrc")
fails 1 "${reconstruct[@]}"
fails 1 "${extract[@]}"
fails 1 "${refine[@]}"
fails 1 "${polish[@]}"
mended p/frames/TS_02_003.mrc
say=("R/none.mrc")
fails 1 "$bin" ctfrefine -q --root p --i optimisation_set.star --ref1 R/none.mrc --ref2 R/half2.mrc --mask mask_align.mrc --b 32 --o ../no
fails 1 "$bin" polish -q --root p --i optimisation_set.star --ref1 R/none.mrc --ref2 R/half2.mrc --mask mask_align.mrc --b 32 --o ../no
say=("none_half1.mrc")
fails 1 "$bin" postprocess -q --i none_half1.mrc --o no/postprocess
fails 1 "$bin" mask -q --i none_half1.mrc --o no/mask.mrc

## truncated MRC
broken p/frames/TS_03_002.mrc 'head -c 30000 keep > p/frames/TS_03_002.mrc'
say=("TS_03_002.mrc" "30000")
fails 3 "${reconstruct[@]}"
fails 3 "${extract[@]}"
fails 3 "${refine[@]}"
fails 3 "${polish[@]}"
mended p/frames/TS_03_002.mrc
broken p/R/half1.mrc 'head -c 5000 keep > p/R/half1.mrc'
say=("R/half1.mrc" "5000")
fails 3 "${refine[@]}"
fails 3 "${polish[@]}"
fails 3 "${postprocess[@]}"
mended p/R/half1.mrc
broken p/R/merged.mrc 'head -c 500 keep > p/R/merged.mrc'
say=("R/merged.mrc")
fails 3 "${mask[@]}"
mended p/R/merged.mrc

## STAR with a short row, unknown tomogram
broken p/particles.star "awk '/TS_02\/2/ { \$NF = \"\" } { print }' keep > p/particles.star"
say=("particles.star" "line")
fails 3 "${reconstruct[@]}"
fails 3 "${extract[@]}"
fails 3 "${refine[@]}"
fails 3 "${polish[@]}"
mended p/particles.star
broken p/particles.star "sed 's/\bTS_0\([123]\) /XX_0\1 /' keep > p/particles.star"
say=("particles.star" "XX_01")
fails 3 "${reconstruct[@]}"
fails 3 "${extract[@]}"
fails 3 "${refine[@]}"
fails 3 "${polish[@]}"
mended p/particles.star

## masks and halves
"$bin" mask -q --denovo --box_size 30 --outer_radius 8 --angpix 4 --o p/small.mrc > /dev/null
say=("small.mrc" "30" "32" "cyclotomo mask")
fails 3 "$bin" ctfrefine -q --root p --i optimisation_set.star --ref1 R/half1.mrc --ref2 R/half2.mrc --mask small.mrc --b 32 --o ../no
fails 3 "$bin" polish -q --root p --i optimisation_set.star --ref1 R/half1.mrc --ref2 R/half2.mrc --mask small.mrc --b 32 --o ../no
fails 3 "$bin" postprocess -q --i p/R/half1.mrc --mask p/small.mrc --o no/postprocess
say=("small.mrc" "30" "32")
fails 3 "$bin" refine -q --root p --i optimisation_set.star --ref1 R/half1.mrc --ref2 R/half2.mrc --mask small.mrc --b 32 --o ../no
"$bin" mask -q --denovo --box_size 32 --outer_radius 1 --angpix 4 --width_soft_edge 0 --o p/point.mrc > /dev/null
say=("point.mrc" "less than 2 px")
fails 3 "${postprocess[@]/mask_fsc/point}"
fails 3 "$bin" cycle -q --dry-run --root p --i optimisation_set.star --b 32 --mask-fsc mask_fsc.mrc --mask-align point.mrc --o ../no
# The solvent's mask: ones around a hole.
{
	head -c 1024 p/mask_align.mrc
	for z in $(seq 0 31); do
		if [ "$z" -lt 10 ] || [ "$z" -gt 22 ]; then printf '\0\0\200\77%.0s' $(seq 1024); else head -c 4096 /dev/zero; fi
	done
} > p/solvent.mrc
say=("solvent.mrc" "inverted")
fails 3 "${refine[@]/mask_align/solvent}"
fails 3 "${polish[@]/mask_align/solvent}"
fails 3 "${postprocess[@]/mask_fsc/solvent}"
fails 3 "$bin" refine -q --root p --i optimisation_set.star --ref1 R/half1.mrc --ref2 R/half2.mrc --mask solvent.mrc --b 32 --iterations 1 --o ../no
fails 3 "$bin" cycle -q --dry-run --root p --i optimisation_set.star --b 32 --mask-fsc mask_fsc.mrc --mask-align solvent.mrc --o ../no
say=("small.mrc" "one box")
fails 3 "$bin" mask -q --i p/R/merged.mrc --and p/small.mrc --ini_threshold 0.01 --o no/mask.mrc
broken p/particles.star 'for r in $(seq 12); do set_value p/particles.star rlnRandomSubset $r 2; done'
say=("particles.star" "half-set 1 has no particles")
fails 3 "${reconstruct[@]}"
fails 3 "${refine[@]}"
fails 3 "${polish[@]}"
mended p/particles.star

## scales: negative is an error, zero excludes with one warning a file
broken p/tilt_series/TS_01.star 'set_value p/tilt_series/TS_01.star rlnCtfScalefactor 2 -0.5'
say=("TS_01.star" "-0.5")
fails 3 "${reconstruct[@]}"
fails 3 "${refine[@]}"
fails 3 "${polish[@]}"
mended p/tilt_series/TS_01.star
broken p/tilt_series/TS_01.star 'set_value p/tilt_series/TS_01.star rlnCtfScalefactor 2 0; set_value p/tilt_series/TS_01.star rlnCtfScalefactor 4 0'
"$bin" reconstruct --root p --i optimisation_set.star --b 32 --sym O --taper 3 --o Rzero > /dev/null 2> err.txt || { cat err.txt; exit 1; }
[ "$(grep -c 'contrast scale of 0' err.txt)" = 1 ] || { echo "not one warning for scales of zero"; cat err.txt; exit 1; }
"$bin" ctfrefine -q --root p --i optimisation_set.star "${refine_with[@]}" --o Czero > /dev/null 2> err.txt || { cat err.txt; exit 1; }
[ "$(grep -c excluded p/Czero/uncertainty.star)" = 2 ]
"$bin" polish -q --root p --i optimisation_set.star "${polish_with[@]}" --o Mzero > /dev/null 2> err.txt || { cat err.txt; exit 1; }
[ "$(grep -c 'contrast scale of 0' err.txt)" = 1 ] || { echo "not one warning for scales of zero"; cat err.txt; exit 1; }
mended p/tilt_series/TS_01.star

## a tilt that shows no particle: used as it is, flagged
broken p/tilt_series/TS_01.star 'set_value p/tilt_series/TS_01.star rlnTomoXShiftAngst 3 9000'
"$bin" reconstruct -q --root p --i optimisation_set.star --b 32 --sym O --taper 3 --o Rblind > /dev/null
"$bin" ctfrefine -q --root p --i optimisation_set.star "${refine_with[@]}" --o Cblind > /dev/null 2> err.txt || { cat err.txt; exit 1; }
grep -q "no-particles" p/Cblind/uncertainty.star
grep -q "no-particles" p/Cblind/refinement.txt
"$bin" polish -q --root p --i optimisation_set.star "${polish_with[@]}" --o Mblind > /dev/null 2> err.txt || { cat err.txt; exit 1; }
if grep -qi "nan\|inf" p/Mblind/tilt_series/TS_01.star; then exit 1; fi
mended p/tilt_series/TS_01.star

## extracted particles that do not fit
broken p/X/Subtomograms/TS_02/1_stack2d.mrcs 'rm p/X/Subtomograms/TS_02/1_stack2d.mrcs'
say=("TS_02/1" "1_stack2d.mrcs")
fails 1 "${from_stacks[@]}"
mended p/X/Subtomograms/TS_02/1_stack2d.mrcs
broken p/X/Subtomograms/TS_02/1_stack2d.mrcs 'head -c 3000 keep > p/X/Subtomograms/TS_02/1_stack2d.mrcs'
say=("TS_02/1" "1_stack2d.mrcs" "truncated")
fails 3 "${from_stacks[@]}"
mended p/X/Subtomograms/TS_02/1_stack2d.mrcs
say=("rlnImageName" "cyclotomo extract")
fails 3 "$bin" reconstruct -q --root p --i optimisation_set.star --from-stacks --o ../no
say=("--whiten")
fails 2 "${from_stacks[@]}" --whiten
say=("not smaller than the extracted images of 24 px, got 20")
fails 2 "${from_stacks[@]}" --b 20
say=("binning of 2")
fails 2 "${from_stacks[@]}" --bin 2
say=("rlnTomoVisibleFrames" "extracted")
fails 3 "${reconstruct[@]}" --listed-frames
say=("--crop-images")
fails 2 "${reconstruct[@]}" --crop-images
say=("unknown option '--max-dos'")
fails 2 "${extract[@]}" --max-dos 3
say=("none of the 12 particles" "visible in at least 6 tilt images")
fails 3 "${extract[@]}" --min_frames 6
# Names that would leave the folder, or meet in one file, become other names of files.
cp p/particles.star keep
sed 's#TS_01/1 #TS_01/../../1 #; s#TS_01/2 #TS_02//1 #' keep > p/particles.star
"$bin" extract -q --root p --i optimisation_set.star --b 32 --crop 24 --stack2d --o Odd > out.txt
[ "$(find p/Odd/Subtomograms -name '*_stack2d.mrcs' | wc -l)" = 12 ]
[ "$("$bin" star p/Odd/particles.star --print rlnImageName | while read -r f; do [ -e "p/$f" ] && echo "$f"; done | sort -u | wc -l)" = 12 ]
mv keep p/particles.star
rm -r p/Odd

## duplicates
"$bin" separate -q --root p --i optimisation_set.star --min-separation 100000 --o Sep > out.txt
grep -q "^3 of 12 particles kept" out.txt
[ "$("$bin" star p/Sep/particles.star --print rlnTomoParticleName | paste -sd ' ')" = "TS_01/1 TS_02/1 TS_03/1" ]
say=("min-separation")
fails 2 "$bin" separate -q --root p --i optimisation_set.star --o ../no
say=("_rlnNothing")
fails 3 "$bin" separate -q --root p --i optimisation_set.star --min-separation 10 --score rlnNothing --o ../no

## NaN in a map, in an image
nan() { printf '\000\000\300\177' | dd of="$1" bs=1 seek="$2" conv=notrunc 2> /dev/null; }
broken p/R/half1.mrc 'nan p/R/half1.mrc 20000'
say=("R/half1.mrc" "NaN")
fails 3 "${refine[@]}"
fails 3 "${polish[@]}"
fails 3 "${postprocess[@]}"
mended p/R/half1.mrc
broken p/R/merged.mrc 'nan p/R/merged.mrc 20000'
say=("R/merged.mrc" "NaN")
fails 3 "${mask[@]}"
mended p/R/merged.mrc
broken p/frames/TS_02_004.mrc 'nan p/frames/TS_02_004.mrc 4000'
say=("TS_02_004.mrc" "NaN" "TS_02")
fails 3 "${extract[@]}"
fails 3 "${reconstruct[@]}"
if grep -q "smaller box" err.txt; then exit 1; fi
fails 3 "${refine[@]}"
fails 3 "${polish[@]}"
mended p/frames/TS_02_004.mrc

## values whose squares are no numbers
huge() { # FILE FACTOR
	perl -e 'local $/; open F, "<:raw", $ARGV[0]; my $d = <F>; my @v = unpack("f<*", substr($d, 1024));
		open G, ">:raw", $ARGV[0]; print G substr($d, 0, 1024), pack("f<*", map { $_ * $ARGV[1] } @v);' "$1" "$2"
}
broken p/frames/TS_02_004.mrc 'huge p/frames/TS_02_004.mrc 1e30'
say=("TS_02_004.mrc" "row 4" "1e+15" "rlnCtfScalefactor")
fails 3 "${extract[@]}"
fails 3 "${reconstruct[@]}"
fails 3 "${refine[@]}"
fails 3 "${polish[@]}"
fails 3 "$bin" refine -q --root p --i optimisation_set.star --ref1 R/half1.mrc --ref2 R/half2.mrc --mask mask_align.mrc --b 32 --iterations 1 --o ../no/run
mended p/frames/TS_02_004.mrc

## options that do not go together, and boxes that do not fit
say=("--motion" "--shift-only")
fails 2 "${polish[@]}" --motion --shift-only
say=("nothing to refine")
fails 2 "${polish[@]}" --const-positions --const-angles --const-shifts
say=("range" "quarter")
fails 2 "${polish[@]/%3/8}"
say=("--velocity-sigma must be above 0")
fails 2 "${polish[@]}" --motion --velocity-sigma 0
say=("TS_01" "window of 400")
fails 3 "$bin" polish -q --root p --i optimisation_set.star --ref1 R/half1.mrc --ref2 R/half2.mrc --mask mask_align.mrc --b 400 --o ../no
say=("half maps are needed")
fails 2 "$bin" polish -q --root p --i optimisation_set.star --b 32 --o ../no

## full disk: a small file system, or else a limit on the size of files
mkdir full
say=("cannot write\|ot enough space\|File too large")
limited() { (trap '' XFSZ; ulimit -f "$1"; shift; exec "$@"); }
if [ "$(id -u)" = 0 ] && mount -t tmpfs -o size=64k none full 2> /dev/null; then
	mounted=yes
	limited() { shift; "$@"; }
	dd if=/dev/zero of=full/filler bs=1k count=56 2> /dev/null
fi
fails 1 limited 40 "$bin" reconstruct -q --root p --i optimisation_set.star --b 32 --sym O --taper 3 --o ../full/reconstruct
fails 1 limited 1 "$bin" ctfrefine -q --root p --i optimisation_set.star "${refine_with[@]}" --o ../full/ctfrefine
fails 1 limited 1 "$bin" polish -q --root p --i optimisation_set.star "${polish_with[@]}" --o ../full/polish
fails 1 limited 5 "$bin" extract -q --root p --i optimisation_set.star "${extract_with[@]}" --o ../full/extract
fails 1 limited 1 "$bin" separate -q --root p --i optimisation_set.star --min-separation 1 --o ../full/separate
fails 1 limited 40 "$bin" postprocess -q --i p/R/half1.mrc --mask p/mask_fsc.mrc --no-figures --o full/postprocess
fails 1 limited 40 "$bin" mask -q --i p/R/merged.mrc --ini_threshold 1e-9 --o full/mask.mrc

## killed at any moment, resumed: the same bytes
same() { # folders, files
	local a=$1 b=$2 f
	shift 2
	for f in "$@"; do cmp "$a/$f" "$b/$f"; done
}
# killed LINE COMMAND...: killed when it has written this line, "N" or "N:TEXT" for the N-th with this text.
hits=0
killed() {
	local line=$1 text=()
	shift
	[[ $line != *:* ]] || text=(-e "${line#*:}")
	kill_at_line KILL "${line%%:*}" "${text[@]}" "$@"
	[ "$killed_code" != 137 ] || hits=$((hits + 1))
}
reconstruct=("$bin" reconstruct --root p --i optimisation_set.star --b 32 --sym O --taper 3 --backup-interval 0 --j 1 --o K)
refine=("$bin" ctfrefine --root p --i optimisation_set.star "${refine_with[@]}" --j 1 --o KC)
extract=("$bin" extract --root p --i optimisation_set.star "${extract_with[@]}" --j 1 --o KX)
polish=("$bin" polish --root p --i optimisation_set.star "${polish_with[@]}" --motion --accept-worse --j 1 --o KM)
for line in 1 2 '1:tilt series TS_01' '2:tilt series' 1:done; do
	rm -rf p/K p/KC p/KX p/KM
	# Only polish has a line for each series.
	killed "${line/2:tilt/1:tilt}" "${reconstruct[@]}"
	"${reconstruct[@]}" --resume > /dev/null 2> err.txt || { cat err.txt; exit 1; }
	same p/R p/K half1.mrc half2.mrc merged.mrc
	killed "${line/2:tilt series/1:contrast}" "${refine[@]}"
	"${refine[@]}" --resume > /dev/null 2> err.txt || { cat err.txt; exit 1; }
	same p/C p/KC uncertainty.star refinement.txt
	killed "${line/2:tilt/1:tilt}" "${extract[@]}"
	"${extract[@]}" --resume > /dev/null 2> err.txt || { cat err.txt; exit 1; }
	same p/X p/KX Subtomograms/TS_01/1_stack2d.mrcs Subtomograms/TS_03/4_stack2d.mrcs
	killed "$line" "${polish[@]}"
	"${polish[@]}" --resume > /dev/null 2> err.txt || { cat err.txt; exit 1; }
	same p/M p/KM uncertainty.star particles.star motion.star tilt_series/TS_01.star tilt_series/TS_03.star
done
postprocess=("$bin" postprocess --i p/R/half1.mrc --mask p/mask_fsc.mrc --no-figures)
"${postprocess[@]}" --o P/postprocess > /dev/null 2>&1
for line in 1 1:warning 1:done; do
	rm -rf KP
	killed "$line" "${postprocess[@]}" --o KP/postprocess
	"${postprocess[@]}" --o KP/postprocess > /dev/null 2> err.txt || { cat err.txt; exit 1; }
	same P KP postprocess.mrc postprocess_masked.mrc
done
[ "$hits" -gt 0 ] || fail "no run was killed before it ended"
echo ok
