# Aberrations of the simulated set "aberr" (coma, trefoil, tetrafoil), and none where "small" has none, against what was planted.
# usage: check_aberrations.sh BINARY SHARED-FOLDER [SMALL]; the sets are SMALL or $CYCLOTOMO_SMALL, and $CYCLOTOMO_ABERR (made here if not given)
. "$(dirname "$0")/common.sh"
aberr=${CYCLOTOMO_ABERR:-}
[ -n "$aberr" ] || { aberr=$dir/aberr; bash "$shared/sim/make_dataset.sh" aberr "$aberr" > /dev/null; }
aberr=$(realpath "$aberr")
mkdir "$dir/s" "$dir/a"
ln -s "$small"/* "$gold"/* "$dir/s"
ln -s "$aberr"/* "$dir/a"

# reconstruction PARTICLES TOMOGRAMS MOTION OUT: maps and their FSC file
reconstruction() {
	"$bin" reconstruct -q --p "$1" --t "$2" --mot "$3" --b 192 --crop 112 --sym O --o "$4/" --j 2 > /dev/null
	"$bin" postprocess -q --i "$4/half1.mrc" --mask mask_fsc.mrc --o "$4/postprocess" > /dev/null
}
refine() { # PARTICLES TOMOGRAMS MOTION REFERENCES FSC OUT options...
	local p=$1 t=$2 m=$3 r=$4 f=$5 o=$6
	shift 6
	"$bin" ctfrefine -q --p "$p" --t "$t" --mot "$m" --ref1 "$r/half1.mrc" --ref2 "$r/half2.mrc" --mask mask_align.mrc --fsc "$f" --b 192 --o "$o/" --j 2 "$@" > /dev/null
}
errors() { # PARTICLES PLANTED: sets odd and even
	read -r odd even < <("$python" "$here/aberration_error.py" "$1" "$2" 4)
}
truth=(truth/particles.star truth/tomograms.star truth/motion.star)

echo "== none planted"
cd "$dir/s"
reconstruction "${truth[@]}" RT
ceiling=$(mean_fsc RT/merged.mrc)
for state in truth ctf4; do
	if [ $state = truth ]; then
		set -- "${truth[@]}" RT RT/postprocess.star
	else
		set -- J_pol3/particles.star J_ctf4/tomograms.star J_pol3/motion.star R_ctf4 PP_ctf4/postprocess.star
	fi
	refine "$@" C_$state
	refine "$@" A_$state --even-aberrations --odd-aberrations
	errors A_$state/particles.star none
	bar "$state, odd phases to 4 A (rad rms):" "$odd" '<' 0.1
	bar "$state, even phases to 4 A (rad rms):" "$even" '<' 0.1
	# Also what was found and not written, to the highest frequency used.
	read -r even odd < <(awk '/^data_/ { here = $1 == "data_checks" } here && $2 == "even" { e = $5 } here && $2 == "odd" { o = $5 } END { print e, o }' A_$state/aberrations.star)
	bar "$state, odd phases before the check (rad rms):" "$odd" '<' 0.1
	bar "$state, even phases before the check (rad rms):" "$even" '<' 0.1
	for k in C A; do
		p=$1
		[ $k = C ] || p=A_$state/particles.star
		"$bin" reconstruct -q --p "$p" --t ${k}_$state/tomograms.star --mot "$3" --b 192 --crop 112 --sym O --o R$k/ --j 2 > /dev/null
	done
	bar "$state, mean FSC to truth:" "$(mean_fsc RA/merged.mrc)" '>=' "$(mean_fsc RC/merged.mrc) - 0.0005"
done

echo "== coma, trefoil and tetrafoil planted"
cd "$dir/a"
reconstruction "${truth[@]}" R0
refine "${truth[@]}" R0 R0/postprocess.star C1 --even-aberrations --odd-aberrations
errors C1/particles.star aberr
bar "odd phases to 4 A, error (rad rms):" "$odd" '<' 0.15
bar "even phases to 4 A, error (rad rms):" "$even" '<' 0.15
reconstruction C1/particles.star C1/tomograms.star truth/motion.star R1
bar "mean FSC to truth, of $(mean_fsc R0/merged.mrc) without aberrations:" "$(mean_fsc R1/merged.mrc)" '>=' "$ceiling - 0.01"
echo "      (the set without aberrations: $ceiling)"
refine "${truth[@]}" R0 R0/postprocess.star C2 --do_even_aberrations --do_odd_aberrations
errors C2/particles.star aberr
bar "tilts kept, odd phases (rad rms):" "$odd" '<' 0.15
bar "tilts kept, even phases (rad rms):" "$even" '<' 0.15

end_of_bars
