# Imported projects refine like those they were exported from: "small", as Warp and IMOD would have written it, is as far from the truth
# after CTF refinement and polishing as the project itself. Real stacks that Warp exported give the map that came with them.
. "$(dirname "$0")/common.sh" "$@"
"$python" -c 'import mrcfile, numpy' || { echo "no mrcfile: not checked"; exit 0; }
mkdir "$dir/p"
cd "$dir/p"
ln -s "$small"/* .
"$python" "$here/export_project.py" . .
"$bin" import -q --tomograms warp.star --warp 'warp/*.xml' --images 'stacks/*.mrc' --particles list_warp.star --binning 4 --o Warp > out.txt
"$bin" import -q --xf 'imod/*.xf' --tilt-angles 'imod/*.tlt' --x-tilts 'imod/*.xtilt' --images 'stacks/*.mrc' --ctf 'imod/*.txt' --exposures 'imod/*.dose' \
	--pixel-size 1.7 --voltage 300 --cs 2.7 --amplitude-contrast 0.07 --hand 1 --tomogram-axes rotx --tomogram-size 860,760,392 \
	--particles list_imod.star --binning 4 --o Imod > out.txt
for project in . Warp Imod; do
	"$bin" check -q --i $project/optimisation_set.star | grep -q 'nothing wrong was found' || fail "check of $project"
	j=jobs/$project
	"$bin" reconstruct -q --i $project/optimisation_set.star --b 192 --crop 112 --sym O --o "$j/R" > out.txt
	"$bin" postprocess -q --i "$j/R/half1.mrc" --i2 "$j/R/half2.mrc" --mask mask_fsc.mrc --o "$j/P/postprocess" > out.txt
	ref=(--ref1 "$j/R/half1.mrc" --ref2 "$j/R/half2.mrc" --mask mask_align.mrc --fsc "$j/P/postprocess.star" --b 192 --no-figures)
	"$bin" ctfrefine -q --i $project/optimisation_set.star "${ref[@]}" --o "$j/C" > out.txt
	"$bin" polish -q --i "$j/C/optimisation_set.star" "${ref[@]}" --o "$j/L" > out.txt
	for f in defocus_rms_A astig_rms_A scale_rel_rms pos2d_rms_A view_rms_deg; do
		now=$(figure $f --t "$j/L/tomograms.star" --p "$j/L/particles.star")
		if [ $project = . ]; then printf -v "was_$f" %s "$now"; continue; fi
		was=was_$f
		bar "$project $f" "abs($now - ${!was})" "<=" "0.03 * ${!was}"
	done
done

cp "$shared"/data/mpneumoniae-70s-stacks/*.star "$dir"
ln -s "$shared"/data/mpneumoniae-70s-stacks/*angpix-12 "$dir"
cd "$dir"
set=warptools_test_4-tomos_10-ptcls_box-32_angpix-12
"$bin" import -q --tomograms ${set}_tomograms.star --particles $set.star --stacks-only --o W > out.txt
grep -q 'particles    40, half-sets of 20 and 20' out.txt
"$bin" check -q --i W/optimisation_set.star > out.txt || fail "check of real stacks: $(cat out.txt)"
"$bin" reconstruct -q --i W/optimisation_set.star --from-stacks --o R > out.txt
"$bin" reconstruct -q --p $set.star --t ${set}_tomograms.star --from-stacks --o R0 > out.txt
"$bin" compare --min-fsc 0.9999 R/merged.mrc R0/merged.mrc > out.txt || fail "the map is another one than without the import"
# Exported with the other hand.
correlation() { "$bin" compare "$@" R/merged.mrc "$shared"/data/mpneumoniae-70s-stacks/warptools_test_box-32_angpix-12_reconstruct.mrc 2> /dev/null | sed -n 's/^correlation *//p'; }
mirrored=$(correlation --z-mirror || true) plain=$(correlation || true)
bar "correlation with Warp's map" "$mirrored" ">=" 0.65
bar "and more than without the mirror" "$mirrored" ">=" "$plain + 0.2"
end_of_bars
