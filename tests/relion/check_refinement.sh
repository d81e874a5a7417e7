# Reconstruction, CTF refinement and polishing on the simulated set "small", against RELION's results and the truth.
# usage: check_refinement.sh BINARY SHARED-FOLDER [SMALL]; SMALL, or $CYCLOTOMO_SMALL, is the data set "small" (made here if not given)
. "$(dirname "$0")/common.sh"
mkdir "$dir/project"
cd "$dir/project"
ln -s "$small"/* "$gold"/* .

timed() { # NAME SECONDS MB command...
	local name=$1 seconds=$2 mb=$3
	shift 3
	/usr/bin/env bash -c 'TIMEFORMAT=%R; time "$@" > /dev/null' _ "$@" 2> time.txt || { cat time.txt; exit 1; }
	echo "      $name: $(tail -n 1 time.txt) s (bar on an idle machine of 2 cores: $seconds s, $mb MB)"
}

echo "== reconstruct"
for state in init ctf2; do
	particles=particles.star tomograms=tomograms.star motion=()
	[ $state = init ] || { particles=J_pol1/particles.star tomograms=J_ctf2/tomograms.star motion=(--mot J_pol1/motion.star); }
	timed reconstruct 4 450 "$bin" reconstruct -q --p $particles --t $tomograms "${motion[@]}" --b 192 --crop 112 --sym O --o RC_$state/ --j 2 --whole-windows
	for h in 1 2; do
		read -r worst scale < <("$python" - RC_$state/half$h.mrc R_$state/half$h.mrc mask_fsc.mrc <<-'P'
			import sys, mrcfile, numpy as np
			a, b, m = (mrcfile.open(p).data.astype(float) for p in sys.argv[1:])
			px, n = float(mrcfile.open(sys.argv[1]).voxel_size.x), a.shape[0]
			fa, fb = np.fft.rfftn(a * m), np.fft.rfftn(b * m)
			k = np.fft.fftfreq(n) * n
			r = np.sqrt(k[:, None, None] ** 2 + k[None, :, None] ** 2 + np.arange(n // 2 + 1) ** 2).round().astype(int)
			fsc = [(fa[r == i] * fb[r == i].conj()).real.sum() / np.sqrt((abs(fa[r == i]) ** 2).sum() * (abs(fb[r == i]) ** 2).sum()) for i in range(1, int(n * px / 4.2) + 1)]
			s = (r > 0) & (r <= n * px / 8)
			print('%.5f %.5f' % (min(fsc), (fa[s] * fb[s].conj()).real.sum() / (abs(fb[s]) ** 2).sum()))
		P
		)
		bar "$state half $h, least masked FSC with RELION's to 4.2 A:" "$worst" '>=' 0.995
		bar "$state half $h, grey scale over RELION's:" "$scale" '>=' 0.98
		bar "$state half $h, grey scale over RELION's:" "$scale" '<=' 1.02
	done
done
bar "init, mean FSC to truth:" "$(mean_fsc RC_init/merged.mrc)" '>=' 0.5104
bar "ctf2, mean FSC to truth:" "$(mean_fsc RC_ctf2/merged.mrc)" '>=' 0.8655

echo "== ctfrefine after polishing"
timed ctfrefine 3 400 "$bin" ctfrefine -q --p J_pol1/particles.star --t J_pol1/tomograms.star --mot J_pol1/motion.star --ref1 R_pol1/half1.mrc --ref2 R_pol1/half2.mrc \
	--mask mask_align.mrc --fsc PP_pol1/postprocess.star --b 192 --o CC/ --j 2
now=(--t CC/tomograms.star --p J_pol1/particles.star --mot J_pol1/motion.star)
bar "defocus error (A):" "$(figure defocus_rms_A "${now[@]}")" '<=' 200
bar "astigmatism error (A):" "$(figure astig_rms_A "${now[@]}")" '<=' 70
bar "scale error:" "$(figure scale_rel_rms "${now[@]}")" '<=' 0.045
"$bin" reconstruct -q --p J_pol1/particles.star --t CC/tomograms.star --mot J_pol1/motion.star --b 192 --crop 112 --sym O --o RCC/ --j 2 > /dev/null
bar "mean FSC to truth:" "$(mean_fsc RCC/merged.mrc)" '>=' 0.870

echo "== ctfrefine from the raw start: nothing gets worse"
"$bin" ctfrefine -q --p particles.star --t tomograms.star --ref1 R_init/half1.mrc --ref2 R_init/half2.mrc --mask mask_align.mrc --fsc PP_init/postprocess.star --b 192 \
	--o C0/ --j 2 > /dev/null
for name in defocus_rms_A astig_rms_A scale_rel_rms pos2d_rms_A pos2d_rms_flat_A view_rms_deg; do
	bar "$name:" "$(figure $name --t C0/tomograms.star --p particles.star)" '<=' "$(figure $name --t tomograms.star --p particles.star)"
done

echo "== polish from the raw start"
timed polish 3 380 "$bin" polish -q --p particles.star --t tomograms.star --ref1 R_init/half1.mrc --ref2 R_init/half2.mrc --mask mask_align.mrc \
	--fsc PP_init/postprocess.star --b 192 --motion --o P0/ --j 2
now=(--t P0/tomograms.star --p P0/particles.star --mot P0/motion.star)
bar "position error (A):" "$(figure pos2d_rms_A "${now[@]}")" '<=' 0.40
bar "position error, all tilts alike (A):" "$(figure pos2d_rms_flat_A "${now[@]}")" '<=' 0.60
"$bin" reconstruct -q --p P0/particles.star --t P0/tomograms.star --mot P0/motion.star --b 192 --crop 112 --sym O --o RP0/ --j 2 > /dev/null
bar "mean FSC to truth:" "$(mean_fsc RP0/merged.mrc)" '>=' 0.6732

echo "== polish after CTF refinement"
"$bin" polish -q --p J_pol1/particles.star --t J_ctf2/tomograms.star --mot J_pol1/motion.star --ref1 R_ctf2/half1.mrc --ref2 R_ctf2/half2.mrc --mask mask_align.mrc \
	--fsc PP_ctf2/postprocess.star --b 192 --motion --o P2/ --j 2 > /dev/null
now=(--t P2/tomograms.star --p P2/particles.star --mot P2/motion.star)
bar "position error (A):" "$(figure pos2d_rms_A "${now[@]}")" '<=' 0.40
bar "position error, all tilts alike (A):" "$(figure pos2d_rms_flat_A "${now[@]}")" '<=' 0.60
"$bin" reconstruct -q --p P2/particles.star --t P2/tomograms.star --mot P2/motion.star --b 192 --crop 112 --sym O --o RP2/ --j 2 > /dev/null
bar "mean FSC to truth:" "$(mean_fsc RP2/merged.mrc)" '>=' 0.8680

echo "== alignment and CTFs in turn, from the raw start"
timed refine-tilts 12 600 "$bin" refine-tilts -q --p particles.star --t tomograms.star --ref1 R_init/half1.mrc --ref2 R_init/half2.mrc --mask mask_align.mrc \
	--fsc PP_init/postprocess.star --b 192 --o PT/ --j 2
now=(--t PT/CtfRefine/job002/tomograms.star --p PT/Polish/job001/particles.star --mot PT/Polish/job001/motion.star)
bar "defocus error (A):" "$(figure defocus_rms_A "${now[@]}")" '<=' 180
bar "astigmatism error (A):" "$(figure astig_rms_A "${now[@]}")" '<=' 65
bar "position error (A):" "$(figure pos2d_rms_A "${now[@]}")" '<=' 0.40
"$bin" reconstruct -q --i PT/optimisation_set.star --b 192 --crop 112 --sym O --o RPT/ --j 2 > /dev/null
bar "mean FSC to truth:" "$(mean_fsc RPT/merged.mrc)" '>=' 0.8745

echo "== shifts from whole images"
"$bin" polish -q --p particles.star --t tomograms.star --ref1 R_init/half1.mrc --ref2 R_init/half2.mrc --mask mask_align.mrc --fsc PP_init/postprocess.star --b 192 \
	--shift-only --o PS/ --j 2 > /dev/null
bar "position error (A):" "$(figure pos2d_rms_A --t PS/tomograms.star --p particles.star)" '<=' 2.0

echo "== a specimen that does not move"
bash "$shared/sim/make_dataset.sh" static "$dir/static" > /dev/null
cd "$dir/static"
"$bin" reconstruct -q --p particles.star --t tomograms.star --b 192 --crop 112 --sym O --o R0/ --j 2 > /dev/null
"$bin" postprocess -q --i R0/half1.mrc --i2 R0/half2.mrc --mask mask_fsc.mrc --o PP0/postprocess > /dev/null
for with in still motion; do
	motion=()
	[ $with = still ] || motion=(--motion)
	"$bin" polish -q --p particles.star --t tomograms.star --ref1 R0/half1.mrc --ref2 R0/half2.mrc --mask mask_align.mrc --fsc PP0/postprocess.star --b 192 \
		"${motion[@]}" --o P_$with/ --j 2 > /dev/null
	[ $with = still ] || motion=(--mot P_$with/motion.star)
	"$bin" reconstruct -q --p P_$with/particles.star --t P_$with/tomograms.star "${motion[@]}" --b 192 --crop 112 --sym O --o R_$with/ --j 2 > /dev/null
done
rms=$(awk 'NF == 3 && $1 ~ /^-?[0-9]/ { sum += $1 ^ 2 + $2 ^ 2 + $3 ^ 2; n++ } END { print sqrt(sum / n) }' P_motion/motion.star)
bar "trajectories (A RMS):" "$rms" '<=' 0.15
bar "mean FSC to truth with motion over that without:" "$(mean_fsc R_motion/merged.mrc) - $(mean_fsc R_still/merged.mrc)" '>=' -0.002

end_of_bars
