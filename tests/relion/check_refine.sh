# 3D refinement on the simulated set "small", against the truth and one iteration of RELION, from tilt images and
# from stacks; and on pure noise.
# usage: check_refine.sh BINARY SHARED-FOLDER [SMALL]; SMALL, or $CYCLOTOMO_SMALL, is the data set "small" (made here if not given);
# $CYCLOTOMO_NOISE is the data set "noise" (that part is left out if not given)
. "$(dirname "$0")/common.sh"
mkdir "$dir/project"
cd "$dir/project"
ln -s "$small"/* "$gold"/* .

cat > set.star <<-S
	data_

	_rlnTomoParticlesFile J_pol3/particles.star
	_rlnTomoTomogramsFile J_ctf4/tomograms.star
	_rlnTomoTrajectoriesFile J_pol3/motion.star
S
settings=(--mask mask_align.mrc --b 192 --sym O --particle_diameter 140 --healpix_order 5 --auto_local_healpix_order 4 --offset_range 3 --offset_step 2 --j 2)

echo "== refine from ctf4"
TIMEFORMAT='%U %R'
{ time "$bin" refine -q --ios set.star --ref R_ctf4/half1.mrc "${settings[@]}" --crop 112 --ini_high 5 --o Refine/ > /dev/null; } 2> time.txt
read -r user wall < <(tail -n 1 time.txt)
echo "      $wall s (bar on an idle machine of 2 cores: 200 s)"
bar "user seconds:" "$user" '<=' 400
bar "peak memory (MB):" "$("$python" -c "import json; print(json.load(open('Refine/run.json'))['peak_memory_bytes'] // 1000000)")" '<=' 1500
now=(--t J_ctf4/tomograms.star --p Refine/run_data.star --mot J_pol3/motion.star)
bar "view error (degrees):" "$(figure view_rms_deg "${now[@]}")" '<=' 0.25
bar "position error (A):" "$(figure pos2d_rms_A "${now[@]}")" '<=' 0.40
"$bin" reconstruct -q --i Refine/run_optimisation_set.star --b 192 --crop 112 --sym O --o Map/ --j 2 > /dev/null
bar "mean FSC to truth:" "$(mean_fsc Map/merged.mrc)" '>=' 0.888

echo "== from 2D stacks of ctf4"
"$bin" extract -q --i J_ctf4/optimisation_set.star --b 192 --crop 96 --stack2d --float16 --o Extract/ --j 2 > /dev/null
"$bin" refine -q --ios Extract/optimisation_set.star --from-stacks --ref R_ctf4/half1.mrc "${settings[@]}" --ini_high 5 --o Stacks/ > /dev/null
# Particles near the border have few images in their stacks: the root mean square is theirs.
now=(--t J_ctf4/tomograms.star --p Stacks/run_data.star --mot J_pol3/motion.star)
bar "view error (degrees):" "$(figure view_rms_deg "${now[@]}")" '<=' 0.30
bar "position error (A):" "$(figure pos2d_rms_A "${now[@]}")" '<=' 0.40
"$bin" reconstruct -q --ios Stacks/run_optimisation_set.star --b 192 --crop 112 --sym O --o StackMap/ --j 2 > /dev/null
bar "mean FSC to truth:" "$(mean_fsc StackMap/merged.mrc)" '>=' 0.888

echo "== from no orientations at all, against a map at 20 A"
awk '/^data_/ { n = 0; split("", at) } /^_rln/ { at[$1] = ++n } NF == n && !/^_/ && ("_rlnAngleRot" in at) { $at["_rlnAngleRot"] = 10; $at["_rlnAngleTilt"] = 40; $at["_rlnAnglePsi"] = 77 } { print }' \
	J_pol3/particles.star > lost.star
"$bin" refine -q --p lost.star --t J_ctf4/tomograms.star --mot J_pol3/motion.star --ref truth/map.mrc --ini_high 20 --mask mask_align.mrc --b 192 --crop 112 --sym O \
	--particle_diameter 140 --healpix_order 2 --offset_range 3 --offset_step 2 --iterations 4 --o Global/ --j 2 > /dev/null
bar "view error (degrees):" "$(figure view_rms_deg --t J_ctf4/tomograms.star --p Global/run_data.star --mot J_pol3/motion.star)" '<=' 0.3

echo "== one iteration as RELION's"
settings[1]=REF/mask_align96.mrc
"$bin" refine -q --p EX_ctf4/particles_asu.star --t J_ctf4/tomograms.star --mot J_pol3/motion.star --ref REF/ref_half1.mrc "${settings[@]}" --crop 96 --ini_high 5 --no-follow \
	--relion-noise REF/run_it000_half1_model.star --relion-grid --absolute-scale --perturbation-value=-0.14448 --iterations 1 --keep-self-correlation --no-scale --dose-cutoff 0 \
	--o One/ > /dev/null
read -r angle offset p_max n_significant < <("$python" - "$shared" <<-'P'
	import sys, numpy as np
	source = open(sys.argv[1] + '/sim/evaluate.py').read().replace('\nmain()\n', '\n')
	exec(source)
	sym = symmetry('O')
	ours, theirs = (read_star(p)['particles'] for p in ('One/run_data.star', 'REF/run_it001_data.star'))
	row = {n: i for i, n in enumerate(ours['rlnTomoParticleName'])}
	angle, offset, pairs = [], [], []
	for j, n in enumerate(theirs['rlnTomoParticleName']):
	    R, S = (euler(*[float(t['rlnAngle' + a][i]) for a in ('Rot', 'Tilt', 'Psi')]) for t, i in ((ours, row[n]), (theirs, j)))
	    angle.append(np.degrees(np.arccos(np.clip((max(np.trace(R.T @ S @ s) for s in sym) - 1) / 2, -1, 1))))
	    offset.append(np.linalg.norm([float(ours['rlnOrigin%sAngst' % a][row[n]]) - float(theirs['rlnOrigin%sAngst' % a][j]) for a in 'XYZ']))
	    pairs.append([float(t[c][i]) for c in ('rlnMaxValueProbDistribution', 'rlnNrOfSignificantSamples') for t, i in ((ours, row[n]), (theirs, j))])
	p = np.array(pairs)
	print('%.4f %.4f %.4f %.4f' % (np.median(angle), np.median(offset), np.corrcoef(p[:, 0], p[:, 1])[0, 1], np.corrcoef(p[:, 2], p[:, 3])[0, 1]))
P
)
bar "median angle to RELION's (degrees; the fine step is 0.94):" "$angle" '<=' 0.28
bar "median offset to RELION's (A; the fine step is 1.7):" "$offset" '<=' 0.51
bar "correlation of P_max:" "$p_max" '>=' 0.95
bar "correlation of the numbers of significant samples:" "$n_significant" '>=' 0.95

if [ -n "${CYCLOTOMO_NOISE:-}" ]; then
	echo "== noise"
	mkdir ../noise
	cd ../noise
	ln -s "$(realpath "$CYCLOTOMO_NOISE")"/* .
	"$bin" refine -q --i optimisation_set.star --ref truth/map.mrc --mask mask_align.mrc --b 192 --crop 112 --sym O --particle_diameter 140 --ini_high 20 --healpix_order 5 \
		--offset_range 3 --offset_step 2 --iterations 3 --o N/ --j 2 > /dev/null
	bar "mean FSC beyond the low-pass:" "$("$python" -c "
t, inside, s = [], False, 0
for line in open('N/run_model.star'):
    inside = line.strip() == 'data_model_class_1' or (inside and not line.startswith('data_'))
    w = line.split()
    if inside and len(w) == 7 and w[0].isdigit() and float(w[2]) < 17: t.append(float(w[4]))
print('%.4f' % abs(sum(t) / len(t)))")" '<=' 0.03
fi
end_of_bars
