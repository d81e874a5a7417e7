#!/usr/bin/env bash
# Extraction on the simulated set "small" against RELION's files, maps from extracted stacks against maps from tilt images, and from stacks by
# WarpTools, as they are and with refined poses, against the map beside them.
# usage: check_extract.sh BINARY SHARED-FOLDER [SMALL]; SMALL, or $CYCLOTOMO_SMALL, is the data set "small" (made here if not given)
. "$(dirname "$0")/common.sh"
mkdir "$dir/project"
cd "$dir/project"
ln -s "$small"/* "$gold"/J_* .

same() { # NAME FILE FILE
	if "$bin" compare -q --tolerance 2e-5 "$2" "$3" > out.txt 2> err.txt; then echo "ok    $1"; else cat out.txt err.txt; echo "FAIL  $1"; failures=$((failures + 1)); fi
}
# worst FOLDER FOLDER: largest relative RMS difference of any section of a stack, of a volume, of half a weight volume.
worst() {
	"$python" - "$1" "$2" <<-'P'
		import glob, sys, mrcfile, numpy as np
		worst, files = 0, sorted(glob.glob(sys.argv[2] + '/Subtomograms/*/*.mrc*'))
		for f in files:
		    a, b = (mrcfile.open(p, permissive=True) for p in (f.replace(sys.argv[2], sys.argv[1]), f))
		    assert a.header.mode == b.header.mode and a.data.shape == b.data.shape, f
		    assert abs(a.header.cella.x - b.header.cella.x) < 1e-3, f
		    a, b = a.data.astype(float), b.data.astype(float)
		    n = len(b) if 'stack2d' in f else 2 if 'weights' in f else 1
		    for x, y in zip(np.split(a, n), np.split(b, n)):
		        worst = max(worst, np.sqrt(((x - y) ** 2).mean() / (y ** 2).mean()))
		assert files
		print('%.3g' % worst)
	P
}
fsc() { # A B MASK RESOLUTION [options]: lowest FSC to the resolution
	{ "$bin" compare -q "$1" "$2" --mask "$3" --resolution "$4" "${@:5}" 2> /dev/null || true; } | sed -n 's/.*lowest FSC //p'
}

echo "== extraction: 2D stacks"
TIMEFORMAT='%R s wall, %U s user'
time "$bin" extract -q --i J_ctf4/optimisation_set.star --b 192 --crop 96 --stack2d --float16 --o EX_ctf4/ --j 2
echo "      (bar on an idle machine of 2 cores: 1.5 s wall, 3 s user)"
bar "stacks, largest relative RMS difference of an image:" "$(worst EX_ctf4 "$gold/EX_ctf4")" '<=' 1e-3
same "stacks: particles.star, all columns and visible frames" EX_ctf4/particles.star "$gold/EX_ctf4/particles.star"
echo "== extraction: 3D volumes"
time "$bin" extract -q --i J_ctf4/optimisation_set.star --b 192 --crop 96 --o EX3_ctf4/ --j 2
bar "volumes, largest relative RMS difference:" "$(worst EX3_ctf4 "$gold/EX3_ctf4")" '<=' 1e-3
same "volumes: particles.star" EX3_ctf4/particles.star "$gold/EX3_ctf4/particles.star"
rm -r EX3_ctf4

echo "== maps from stacks"
"$python" - <<-'P'
	import mrcfile
	for name, to in ('mask_fsc.mrc', 'mask96.mrc'), ('truth/map.mrc', 'truth96.mrc'):
	    m = mrcfile.open(name)
	    with mrcfile.new(to) as o:
	        o.set_data(m.data[8:104, 8:104, 8:104].copy())
	        o.voxel_size = float(m.voxel_size.x)
P
"$bin" reconstruct -q --i EX_ctf4/optimisation_set.star --from-stacks --sym O --o RS/ --j 2
"$bin" reconstruct -q --i J_ctf4/optimisation_set.star --b 192 --crop 96 --crop-images --whole-windows --no-noise-weights --sym O --o RC/ --j 2
"$bin" reconstruct -q --i EX_ctf4/optimisation_set.star --b 192 --crop 96 --listed-frames --sym O --o RL/ --j 2
for m in half1 half2 merged; do bar "$m, least masked FSC to 4 A with images cropped alike:" "$(fsc RS/$m.mrc RC/$m.mrc mask96.mrc 4)" '>=' 0.99; done
bar "mean FSC to truth, from stacks:" "$(mean_fsc RS/merged.mrc truth96.mrc mask96.mrc)" '>=' 0.884
bar "mean FSC to truth over that of windows, same images:" "$(mean_fsc RS/merged.mrc truth96.mrc mask96.mrc) - $(mean_fsc RL/merged.mrc truth96.mrc mask96.mrc)" '>=' 0
echo "      (windows cropped before the CTF, same images: least FSC to 4 A $(fsc RS/merged.mrc RL/merged.mrc mask96.mrc 4))"
# Whole windows as stacks are the windows of a reconstruction.
"$bin" extract -q --i J_ctf4/optimisation_set.star --b 192 --stack2d --float16 --circle-precrop --no-circle-crop --o EXW/ --j 2
"$bin" reconstruct -q --i EXW/optimisation_set.star --from-stacks --b 192 --crop 96 --sym O --o RW/ --j 2
"$bin" reconstruct -q --i J_ctf4/optimisation_set.star --whole-windows --b 192 --crop 96 --sym O --o RT/ --j 2
bar "stacks of whole windows, least masked FSC to 4 A with the tilt images':" "$(fsc RW/merged.mrc RT/merged.mrc mask96.mrc 4)" '>=' 0.99

echo "== real stacks by WarpTools"
real=$shared/data/mpneumoniae-70s-stacks name=warptools_test_4-tomos_10-ptcls_box-32_angpix-12
"$bin" reconstruct -q --root "$real" --i ${name}_optimisation_set.star --from-stacks --taper 5 --o "$dir/RM" --j 2 2> err.txt || { cat err.txt; exit 1; }
"$python" - <<-'P'
	import mrcfile, numpy as np
	z, y, x = np.mgrid[:32, :32, :32] - 16  # the ribosome's radius is about 120 A = 10 px
	g = np.clip((13 - np.sqrt(x * x + y * y + z * z)) / 3, 0, 1)
	with mrcfile.new('sphere.mrc') as o:
	    o.set_data((0.5 - 0.5 * np.cos(np.pi * g)).astype('f4'))
	    o.voxel_size = 12
P
bar "least masked FSC to 75 A with the supplied map, mirrored:" "$(fsc "$dir/RM/merged.mrc" "$real/warptools_test_box-32_angpix-12_reconstruct.mrc" sphere.mrc 75 --z-mirror)" '>=' 0.85
# Half-sets are not in the file: every other particle of each series.
ln -s "$real"/* .
awk '/^data_/ { is_table = $1 == "data_particles"; n = 0 } is_table && $1 == "_rlnTomoVisibleFrames" { print; print "_rlnRandomSubset #16"; next }
	is_table && NF == 15 { print $0, 1 + n++ % 2; next } { print }' "$name.star" > halves.star
set=(--p halves.star --t ${name}_tomograms.star --from-stacks)
"$bin" reconstruct -q "${set[@]}" --taper 5 --o RH --j 2 > /dev/null 2> err.txt || { cat err.txt; exit 1; }
"$bin" refine -q "${set[@]}" --ref RH/half1.mrc --particle-diameter 260 --o Refine --j 2 > /dev/null 2> err.txt || { cat err.txt; exit 1; }
set[1]=Refine/run_data.star
"$bin" reconstruct -q "${set[@]}" --taper 5 --o RR --j 2 > /dev/null 2> err.txt || { cat err.txt; exit 1; }
bar "the same with refined poses:" "$(fsc RR/merged.mrc "$real/warptools_test_box-32_angpix-12_reconstruct.mrc" sphere.mrc 75 --z-mirror)" '>=' 0.85
halves() { fsc "$1/half1.mrc" "$1/half2.mrc" sphere.mrc 75; }
bar "gain in the least masked FSC of the half maps to 75 A:" "$("$python" -c "print('%.4f' % ($(halves RR) - $(halves RH)))")" '>=' 0
end_of_bars
