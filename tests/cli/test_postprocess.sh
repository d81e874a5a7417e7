# cyclotomo postprocess: RELION's option names, outputs, and refusals that leave nothing behind.
set -euo pipefail
bin=$1
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"

# make NAME BOX PIXEL SEED [VALUE]: a ball with noise; VALUE replaces one voxel.
make() {
	perl -e '
		my ($n, $a, $seed, $v) = @ARGV;
		srand($seed);
		print pack("l<10 f<6 l<3 f<3", $n, $n, $n, 2, 0, 0, 0, $n, $n, $n, $n*$a, $n*$a, $n*$a, 90, 90, 90, 1, 2, 3, 0, 1, 0.5);
		print "\0" x (208 - 88), "MAP ", pack("C4", 0x44, 0x44, 0, 0), "\0" x (1024 - 216);
		my @d;
		for my $z (0..$n-1) { for my $y (0..$n-1) { for my $x (0..$n-1) {
			my $r2 = ($x-$n/2)**2 + ($y-$n/2)**2 + ($z-$n/2)**2;
			my $s = 0; $s += rand() - 0.5 for 1..3;
			push @d, ($r2 < $n*$n/16 ? 1 + 0.5*sin($x*$y) : 0) + 0.3*$s;
		} } }
		$d[$n*$n*$n/2 + 5] = $v if defined $v;
		print pack("f<*", @d);' "${@:2}" > "$1"
}
fails() { # expected exit code, text wanted in the message, command...
	local want=$1 text=$2 code=0
	shift 2
	"$@" > out.txt 2> err.txt || code=$?
	[ "$code" = "$want" ] || { echo "exit $code, wanted $want: $*"; cat err.txt; exit 1; }
	grep -q -- "$text" err.txt || { echo "message lacks '$text': $*"; cat err.txt; exit 1; }
	[ ! -e no ] || { echo "something was written: $*"; exit 1; }
}

mkdir maps
make maps/half1.mrc 32 3 1
make maps/half2.mrc 32 3 2
"$bin" mask -q --denovo --box_size 32 --outer_radius 9 --width_soft_edge 4 --angpix 3 --o mask.mrc > /dev/null

# RELION's spelling; the second half is found by its name.
"$bin" postprocess -q --i maps/half1.mrc --mask mask.mrc --o PP/postprocess --auto_bfac --autob_lowres 15 --autob_highres 0 --half_maps --molweight 200 --j 2 > out.txt
grep -q "final resolution" out.txt
for f in .mrc _masked.mrc _half1.mrc _half2.mrc _half1_masked.mrc .star _fsc.xml _fsc.dat _fsc.svg _fsc.png _guinier.svg _guinier.png; do
	[ -s "PP/postprocess$f" ] || { echo "no $f"; exit 1; }
done
[ -s PP/logfile.pdf ]
for label in rlnFinalResolution rlnMolecularWeight rlnRandomiseFrom rlnFittedSlopeGuinierPlot rlnFourierShellCorrelationCorrected \
	rlnFourierShellCorrelationParticleMolWeight rlnCorrectedFourierShellCorrelationPhaseRandomizedMaskedMaps rlnLogAmplitudesWeighted; do
	grep -q "^_$label " PP/postprocess.star || { echo "no $label"; exit 1; }
done
# A folder, with a slash or there already: the same files in it, none hidden.
mkdir P1b
for folder in P1a/ P1b; do
	"$bin" postprocess -q --i maps/half1.mrc --mask mask.mrc --o $folder --bfactor-low 15 --no-figures > /dev/null
	[ -s ${folder%/}/postprocess.star ] && [ -s ${folder%/}/postprocess.mrc ] || { echo "no postprocess.star in $folder"; exit 1; }
	[ -z "$(ls -A $folder | grep '^\.')" ] || { echo "hidden files in $folder: $(ls -A $folder)"; exit 1; }
	cmp PP/postprocess.mrc ${folder%/}/postprocess.mrc
done
# Our spelling, one thread, again: the same bytes.
"$bin" postprocess -q --half1 maps/half1.mrc --half2 maps/half2.mrc --mask mask.mrc --output P2/postprocess --bfactor-low 15 --half-maps --molecular-weight 200 --threads 1 > /dev/null
# The curve that counts is the last one drawn, and the resolution is marked.
grep -o '<text[^>]*>[^<]*' PP/postprocess_fsc.svg | sed 's/.*>//' >texts
[ "$(grep -E '^(unmasked|masked|phases randomised, masked|corrected)$' texts | tail -n 1)" = corrected ]
grep -qxF "$(sed -n 's/^FSC: final resolution //p' texts)" texts
for f in .mrc _masked.mrc _half2.mrc _fsc.xml _fsc.svg _guinier.png; do cmp "PP/postprocess$f" "P2/postprocess$f"; done
diff <(sed s/PP/P2/ PP/postprocess.star) P2/postprocess.star
cmp PP/logfile.pdf P2/logfile.pdf

# Without mask the corrected column is there too; a given B-factor; a low-pass; the other half first.
"$bin" postprocess -q --i maps/half2.mrc --o P3/run --adhoc_bfac -50 --low_pass 12 --skip_fsc_weighting --no-figures > /dev/null
grep -q "^_rlnFourierShellCorrelationCorrected " P3/run.star
grep -q "^_rlnBfactorUsedForSharpening  *-50.0" P3/run.star
grep -q "^_rlnUnfilteredMapHalf2  *maps/half1.mrc" P3/run.star
[ ! -e P3/run_fsc.svg ]
[ ! -e P3/run_masked.mrc ]
# The randomised curve of another run.
"$bin" postprocess -q --i maps/half1.mrc --mask mask.mrc --o P4/run --seed 77 --randomised-fsc PP/postprocess.star --no-figures > /dev/null
diff <(awk '/^data_fsc/ { f = 1 } /^data_gui/ { f = 0 } f && /^ / { print $4, $8 }' P4/run.star) <(awk '/^data_fsc/ { f = 1 } /^data_gui/ { f = 0 } f && /^ / { print $4, $9 }' PP/postprocess.star)
# From an optimisation set, with a project root.
mkdir project
mv maps project/
cp mask.mrc project/
printf 'data_\n\n_rlnTomoParticlesFile   particles.star\n_rlnTomoTomogramsFile   tomograms.star\n_rlnTomoReferenceMap1File   maps/half1.mrc\n_rlnTomoReferenceMap2File   maps/half2.mrc\n\n' > project/set.star
"$bin" postprocess -q --root project --ios set.star --mask mask.mrc --o PP/job001/postprocess --no-figures > /dev/null
grep -q "^_rlnTomoReferenceFscFile  *PP/job001/postprocess.star" project/PP/job001/postprocess_optimisation_set.star
grep -q "^_rlnTomoReferenceMaskFile  *mask.mrc" project/PP/job001/postprocess_optimisation_set.star
grep -q "^_rlnTomoParticlesFile  *particles.star" project/PP/job001/postprocess_optimisation_set.star
[ -e project/PP/job001/RELION_JOB_EXIT_SUCCESS ]
[ -e project/PP/job001/job.star ]
mv project/maps .

make small_half1.mrc 30 3 1
make small_half2.mrc 30 3 2
make px_half2.mrc 32 3.1 2
make nan_half2.mrc 32 3 2 nan
make large_mask.mrc 32 3 5 1.5
make other.mrc 32 3 3
head -c 20000 maps/half2.mrc > cut_half2.mrc
fails 2 "input is missing" "$bin" postprocess --o no/run
fails 2 "neither 'half1' nor 'half2'" "$bin" postprocess --i other.mrc --o no/run
fails 1 "absent_half1.mrc" "$bin" postprocess --i absent_half1.mrc --o no/run
fails 2 "correlates perfectly" "$bin" postprocess --i other.mrc --i2 other.mrc --o no/run
fails 3 "half map 2" "$bin" postprocess --i maps/half1.mrc --i2 small_half2.mrc --o no/run
fails 3 "pixel sizes differ" "$bin" postprocess --i maps/half1.mrc --i2 px_half2.mrc --o no/run
fails 3 "cyclotomo mask" "$bin" postprocess --i small_half1.mrc --mask mask.mrc --o no/run
fails 3 "between 0 and 1" "$bin" postprocess --i maps/half1.mrc --mask large_mask.mrc --o no/run
fails 3 "nan_half2.mrc.*is NaN" "$bin" postprocess --i maps/half1.mrc --i2 nan_half2.mrc --o no/run
fails 3 "cut_half2.mrc" "$bin" postprocess --i maps/half1.mrc --i2 cut_half2.mrc --o no/run
fails 2 "exclude each other" "$bin" postprocess --i maps/half1.mrc --auto_bfac --adhoc_bfac -100 --o no/run
fails 2 "cannot be randomised" "$bin" postprocess --i maps/half1.mrc --mask mask.mrc --randomize_at_A 2 --o no/run
"$bin" mask -q --denovo --box_size 30 --outer_radius 9 --width_soft_edge 3 --angpix 3 --o small_mask.mrc > /dev/null
fails 3 "has 17 shells" "$bin" postprocess --i small_half1.mrc --mask small_mask.mrc --o no/run --randomised-fsc PP/postprocess.star
printf 'data_mtf\n\nloop_\n_rlnResolutionInversePixel #1\n_rlnMtfValue #2\n0.0 1.0\n0.5 0.0\n' > mtf.star
fails 3 "MTF value must be positive" "$bin" postprocess --i maps/half1.mrc --mtf mtf.star --o no/run
printf 'data_mtf\n\nloop_\n_rlnResolutionInversePixel #1\n_rlnMtfValue #2\n0.0 100\n0.5 40\n' > mtf.star
fails 3 "row 1: an MTF value must be a fraction" "$bin" postprocess --i maps/half1.mrc --mtf mtf.star --o no/run
# One that ends before the maps' transforms do is used, with its last value beyond, and that is said: where, what was wanted, what to do.
printf 'data_mtf\n\nloop_\n_rlnResolutionInversePixel #1\n_rlnMtfValue #2\n0.0 1.0\n0.2 0.8\n0.3 0.6\n' > mtf.star
"$bin" postprocess --i maps/half1.mrc --mtf mtf.star --o mtf/run > mtf.log 2>&1
grep -q "warning: 'mtf.star': row 3, the last, is at 0.3 1/px; expected: rows to 0.5 1/px.*its value, 0.6, is used beyond it.*--mtf-pixel-size" mtf.log || { cat mtf.log; exit 1; }
printf '0.5 0.4\n' >> mtf.star
"$bin" postprocess --i maps/half1.mrc --mtf mtf.star --o mtf/run > mtf.log 2>&1
! grep -q "mtf.star" mtf.log || { cat mtf.log; exit 1; }
printf 'data_mtf\n\nloop_\n_rlnResolutionInversePixel #1\n0.0\n0.5\n' > mtf.star
fails 3 "rlnMtfValue" "$bin" postprocess --i maps/half1.mrc --mtf mtf.star --o no/run
# A run that fails on its way leaves no part of its results.
mkdir -p part/run_fsc.xml
code=0
"$bin" postprocess -q --i maps/half1.mrc --o part/run > log 2>&1 || code=$?
[ $code = 1 ] && grep -q 'cannot rename .*run_fsc.xml' log || { echo "FAILED: a folder in the way: exit code $code"; cat log; exit 1; }
[ "$(find part -type f)" = part/run.run.json ] || [ -z "$(find part -type f)" ] || { echo "FAILED: a part is left: $(ls part)"; exit 1; }
echo ok
