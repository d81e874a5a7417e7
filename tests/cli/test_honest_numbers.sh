# What is not known, not there, or nothing: errors and warnings that give the reason, and no figures.
set -Eeuo pipefail
bin=$1
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
trap 'echo "failed at line $LINENO"; cat "$dir"/err.txt' ERR
cd "$dir"
refused() { # exit code, text in the message, command
	local want=$1 text=$2 code=0
	shift 2
	"$@" > out.txt 2> err.txt || code=$?
	[ "$code" = "$want" ] || { echo "exit $code, wanted $want: $*"; cat err.txt; exit 1; }
	grep -q -- "$text" err.txt || { echo "message lacks '$text': $*"; cat err.txt; exit 1; }
}
"$bin" simulate -q --preset tiny --sym O --series 2 --tilts 5 --tilt-step 20 --particles 4 --signal 6 --float32 --o p > out.txt
in=(-q --j 2 --root p --p particles.star)
t=(--t tomograms.star)
"$bin" reconstruct "${in[@]}" "${t[@]}" --b 32 --sym O --taper 3 --o R > out.txt
# map FROM TO FACTOR: a map with all voxels times a factor.
map() {
	perl -e 'local $/; open F, "<:raw", $ARGV[0]; my $d = <F>; my @v = unpack("f<*", substr($d, 1024));
		open G, ">:raw", $ARGV[1]; print G substr($d, 0, 1024), pack("f<*", map { $_ * $ARGV[2] } @v);' "p/$1" "p/$2" "$3"
}
map R/half1.mrc zero_half1.mrc 0; map R/half1.mrc zero_half2.mrc 0
cp p/R/half1.mrc p/copy_half1.mrc; cp p/R/half1.mrc p/copy_half2.mrc
cp p/R/half1.mrc p/strong_half1.mrc; map R/half1.mrc strong_half2.mrc 2.5
cp p/R/half1.mrc p/turned_half1.mrc; map R/half1.mrc turned_half2.mrc -1
cp p/R/half1.mrc p/one_half1.mrc; map R/half2.mrc one_half2.mrc 0
cp p/R/half1.mrc p/other_half1.mrc; map R/half2.mrc other_half2.mrc -1
map mask_fsc.mrc no_mask.mrc 0
b=(--b 32 --mask mask_align.mrc)
for m in "" "--mask mask_fsc.mrc"; do
	refused 3 "half map 1 'zero_half1.mrc' is zero everywhere" "$bin" postprocess -q --root p --i zero_half1.mrc $m --o pp
	refused 3 "half map 2 'one_half2.mrc' is zero everywhere" "$bin" postprocess -q --root p --i one_half1.mrc $m --o pp
	refused 3 'identical' "$bin" postprocess -q --root p --i copy_half1.mrc $m --o pp
	refused 3 'identical' "$bin" postprocess -q --root p --i strong_half1.mrc $m --o pp
	refused 3 'inverted contrast' "$bin" postprocess -q --root p --i turned_half1.mrc $m --o pp
	refused 0 'opposite contrast of half map 1' "$bin" postprocess -q --root p --i other_half1.mrc $m --o pp
	grep -q 'nothing in common' err.txt
done
refused 3 "mask 'no_mask.mrc' is empty" "$bin" postprocess -q --root p --i R/half1.mrc --mask no_mask.mrc --o pp
for job in "ctfrefine --kmin 60" "polish --range 3" refine-tilts "refine --no-search --iterations 1"; do
	refused 3 'zero everywhere' "$bin" $job "${in[@]}" "${t[@]}" "${b[@]}" --ref1 zero_half1.mrc --ref2 zero_half2.mrc --o "J_${job%% *}"
	refused 3 'zero everywhere' "$bin" $job "${in[@]}" "${t[@]}" "${b[@]}" --ref1 one_half1.mrc --ref2 one_half2.mrc --o "J_${job%% *}"
	refused 3 'identical' "$bin" $job "${in[@]}" "${t[@]}" "${b[@]}" --ref1 copy_half1.mrc --ref2 copy_half2.mrc --o "J_${job%% *}"
	refused 3 'inverted contrast' "$bin" $job "${in[@]}" "${t[@]}" "${b[@]}" --ref1 turned_half1.mrc --ref2 turned_half2.mrc --o "J_${job%% *}"
	refused 3 'zero everywhere' "$bin" $job "${in[@]}" "${t[@]}" --b 32 --mask no_mask.mrc --ref1 R/half1.mrc --ref2 R/half2.mrc --o "J_${job%% *}"
done
# Tilts that are not there, or all excluded.
ref=(--ref1 R/half1.mrc --ref2 R/half2.mrc)
refused 2 'there are no tilts\|there is no tilt between' "$bin" ctfrefine "${in[@]}" "${t[@]}" "${b[@]}" "${ref[@]}" --kmin 60 --min-tilt 5 --o J_ctfrefine
refused 2 'there are no tilts\|there is no tilt between' "$bin" ctfrefine "${in[@]}" "${t[@]}" "${b[@]}" "${ref[@]}" --kmin 60 --min-tilt 3 --max-tilt 2 --o J_ctfrefine
refused 2 'there are no tilts\|there is no tilt between' "$bin" polish "${in[@]}" "${t[@]}" "${b[@]}" "${ref[@]}" --range 3 --first-tilt 5 --o J_polish
mkdir -p p/none/tilt_series
cp p/tomograms.star p/none/; sed -i 's,tilt_series/,none/tilt_series/,' p/none/tomograms.star
for s in TS_01 TS_02; do awk '/^frames/ {$NF = "0"} {print}' p/tilt_series/$s.star > p/none/tilt_series/$s.star; done
for job in "ctfrefine --kmin 60" "polish --range 3" refine-tilts "refine --no-search --iterations 1"; do
	refused 3 'all tilts' "$bin" $job "${in[@]}" --t none/tomograms.star "${b[@]}" "${ref[@]}" --o "J_${job%% *}"
done
# Columns that RELION needs and the particles lack are those of the tomograms.
awk '/^_/ {if ($1 ~ /Voltage|SphericalAberration|AmplitudeContrast|TiltSeriesPixelSize|OpticsGroupName/ && in_optics) {n++; drop[n] = k + 1; k++; next} k++; sub(/#.*/, ""); print; next}
	/^data_/ {in_optics = $1 == "data_optics"; n = 0; k = 0; delete drop; print; next}
	in_optics && NF > 2 {for (i = 1; i <= n; i++) $drop[i] = ""; print; next} {print}' p/particles.star > p/bare.star
if grep -q rlnVoltage p/bare.star; then exit 1; fi
"$bin" extract -q --root p --p bare.star "${t[@]}" --stacks --b 32 --o E > out.txt
for l in rlnVoltage rlnSphericalAberration rlnAmplitudeContrast rlnOpticsGroupName rlnTomoTiltSeriesPixelSize; do grep -q "_$l " p/E/particles.star; done
[ "$("$bin" star --root p E/particles.star --block optics --print rlnVoltage,rlnTomoTiltSeriesPixelSize | tail -1)" = "$("$bin" star --root p particles.star --block optics --print rlnVoltage,rlnTomoTiltSeriesPixelSize | tail -1)" ]
