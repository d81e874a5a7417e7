# cyclotomo refine as a user runs it: right use under its own and RELION's names, what follows from its output, bad input.
set -euo pipefail
bin=$1
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
fails() { # CODE TEXT COMMAND...
	local want=$1 text=$2 code=0
	shift 2
	"$@" > out.txt 2> err.txt || code=$?
	[ "$code" = "$want" ] || { echo "exit $code, wanted $want: $*"; cat err.txt; exit 1; }
	grep -q -- "$text" err.txt || { echo "message lacks '$text': $*"; cat err.txt; exit 1; }
	if find . -name '*.tmp*' | grep .; then echo "temporary files are left"; exit 1; fi
	[ ! -e p/no/run_data.star ] || { echo "an output is there"; exit 1; }
}
"$bin" simulate -q --preset tiny --sym O --series 2 --tilts 5 --tilt-step 20 --particles 4 --signal 6 --float32 --o p > /dev/null
"$bin" reconstruct -q --root p --i optimisation_set.star --b 40 --crop 32 --sym O --taper 3 --o R > /dev/null
common=(-q --root p --b 40 --crop 32 --sym O --j 2)

# The set of a reconstruction names the half maps.
"$bin" refine "${common[@]}" --i R/optimisation_set.star --mask mask_align.mrc --no-search --iterations 2 --o A > out.txt 2> err.txt || { cat err.txt; exit 1; }
grep -q 'A/run_data.star' out.txt
[ -e p/A/RELION_JOB_EXIT_SUCCESS ]
[ -e p/A/run.json ]
[ -e p/A/run_class001.mrc ]
[ -e p/A/run_it001_optimiser.star ]
# Iteration 0 is the start: poses as they were given, noise of the images, nothing that was found out later.
[ -e p/A/run_it000_half1_class001.mrc ]
[ -e p/A/run_it000_half2_class001.mrc ]
[ -e p/A/run_it000_optimisation_set.star ]
python3 - p/particles.star p/A/run_it000_ p/A/run_it001_ <<'END'
import re, sys
def blocks(name):
    found, now = {}, None
    for line in open(name):
        if line.startswith('data_'): now = found[line.strip()] = ([], [])
        elif line.startswith('_'): now[0].append(line.split())
        elif now and line.strip() and not line.startswith(('#', 'loop_')): now[1].append(line.split())
    return found
def column(table, label): return [row[[x[0] for x in table[0]].index(label)] for row in table[1]]
def values(table): return {x[0]: x[1] for x in table[0] if len(x) > 1}
given, start, first = sys.argv[1:]
for label in ('_rlnAngleRot', '_rlnAngleTilt', '_rlnAnglePsi', '_rlnOriginXAngst'):
    for a, b in zip(column(blocks(given)['data_particles'], label), column(blocks(start + 'data.star')['data_particles'], label)):
        assert abs((float(a) - float(b) + 180) % 360 - 180) < 1e-3, (label, a, b)
assert not [x for x in blocks(start + 'data.star')['data_particles'][0] if re.match('_cyc|_rlnLogLikeli|_rlnMaxValue', x[0])]
settings = [values(blocks(name + 'optimiser.star')['data_optimiser_general']) for name in (start, first)]
assert settings[0].keys() == settings[1].keys()
assert settings[0]['_rlnCurrentIteration'] == '0' and float(settings[0]['_rlnChangesOptimalOrientations']) == 999, settings[0]
assert settings[0]['_rlnSmallestChangesClasses'] == '9999999' and 0 < float(settings[0]['_rlnBestResolutionThusFar']) < 1
for name in ('half1_model.star', 'half2_model.star', 'sampling.star'):
    a, b = blocks(start + name), blocks(first + name)
    assert a.keys() == b.keys() and all([x[0] for x in a[k][0]] == [x[0] for x in b[k][0]] for k in a), name
model = blocks(start + 'half1_model.star')
assert 'run_it000_half1_class001.mrc' in model['data_model_classes'][1][0][0]
assert float(column(model['data_model_optics_group_1'], '_rlnSigma2Noise')[5]) > 0
END
[ ! -e p/A/temp ]
# What the time went into: always in run.json, and printed where it is asked for.
"$bin" reconstruct --profile --root p --i optimisation_set.star --b 40 --crop 32 --sym O --taper 3 --j 2 --o P > /dev/null 2> err.txt
for text in 'fewer than 2 threads at work in' 'GB read' 'GFLOP/s' 'slice_insert ' 'window '; do
	grep -q "profile: .*$text" err.txt || { echo "no $text in the profile"; cat err.txt; exit 1; }
done
python3 - p/P/run.json <<'END'
import json, sys
run = json.load(open(sys.argv[1]))
rows = {r['operation']: r for r in run['operations']}
insert = rows['slice_insert']
assert insert['rows'] == 2 * 5 * 4, insert # of two tilt series, five tilts, four particles
assert insert['calls'] == 2 * 2, insert # all images of a series and half-set together
assert insert['wall_s'] > 0 and insert['nominal_flop'] > 0 and insert['operand_bytes'] > 0, insert
assert 0 < run['not_all_busy_s'] <= run['wall_s'] and run['bytes_read'] > 0, run
END
# RELION's names.
"$bin" refine "${common[@]}" --ios optimisation_set.star --ref R/half1.mrc --solvent_mask mask_align.mrc --particle_diameter 60 --ini_high 12 --healpix_order 4 \
	--auto_local_healpix_order 4 --offset_range 1 --offset_step 1 --low_resol_join_halves 40 --auto_iter_max 1 --auto_refine --split_random_halves --trust_ref_size \
	--flatten_solvent --zero_mask --solvent_correct_fsc --ctf --norm --scale --oversampling 1 --pad 2 --pool 8 --dont_combine_weights_via_disc --o B > /dev/null 2> err.txt || { cat err.txt; exit 1; }
# A map of another size and pixel size is made to fit: the true one is larger.
"$bin" refine "${common[@]}" --i optimisation_set.star --ref truth/map.mrc --ini_high 25 --no-search --iterations 1 --o C > /dev/null 2> err.txt || { cat err.txt; exit 1; }
# The result is the input of the next steps.
"$bin" reconstruct -q --root p --i A/run_optimisation_set.star --b 40 --crop 32 --sym O --taper 3 --o R2 > /dev/null
"$bin" refine "${common[@]}" --i R2/optimisation_set.star --mask mask_align.mrc --no-search --iterations 1 --dry-run --o no > /dev/null
[ ! -e p/no ]

# A particle that is there twice is there once in the end.
awk '{ print } $2 == "TS_01/1" { sub("TS_01/1", "TS_01/99"); print }' p/particles.star > p/double.star
"$bin" refine "${common[@]}" --p double.star --t tomograms.star --ref R/half1.mrc --mask mask_align.mrc --no-search --iterations 1 --min-separation 20 --o D > /dev/null
[ "$(grep -c 'TS_0./' p/double.star)" = 9 ] && [ "$(grep -c 'TS_0./' p/D/run_data.star)" = 8 ] || { echo "duplicates stay"; exit 1; }

# From the stacks of an extraction, which needs no tilt images: box, crop and binning are theirs.
"$bin" extract -q --root p --i optimisation_set.star --b 40 --crop 32 --stack2d --o EX > /dev/null
"$bin" extract -q --root p --i optimisation_set.star --b 40 --crop 32 --o EX3 > /dev/null
stacks=(-q --root p --sym O --j 2 --from-stacks --ref R/half1.mrc --no-search --iterations 1)
"$bin" refine "${stacks[@]}" --i EX/optimisation_set.star --o E > /dev/null
"$bin" reconstruct -q --root p --i E/run_optimisation_set.star --from-stacks --sym O --taper 3 --o R3 > /dev/null

no=(--o no)
# Volumes: read with --from-stacks; without it their poses are refined from the tilt images.
"$bin" refine "${stacks[@]}" --i EX3/optimisation_set.star --o E3 > /dev/null 2> err.txt || { cat err.txt; exit 1; }
"$bin" reconstruct -q --root p --i E3/run_optimisation_set.star --from-stacks --sym O --taper 3 --o R4 > /dev/null
volume="p/$(awk '/_data.mrc/ { for (i = 1; i <= NF; i++) if ($i ~ /_data.mrc/) { print $i; exit } }' p/EX3/particles.star)"
mv "$volume" kept.mrc
fails 1 'EX3/.*_data.mrc' "$bin" refine "${stacks[@]}" --i EX3/optimisation_set.star "${no[@]}"
mv kept.mrc "$volume"
"$bin" refine "${stacks[@]/--from-stacks/--keep-all}" --i EX3/optimisation_set.star --o V > /dev/null
"$bin" refine "${stacks[@]/--from-stacks/--keep-all}" --i EX/optimisation_set.star --o V2 > /dev/null
cmp p/V/run_class001.mrc p/V2/run_class001.mrc || { echo "FAIL: volumes and stacks of the same particles give other maps"; exit 1; }
fails 3 'rlnImageName' "$bin" refine "${stacks[@]}" --i optimisation_set.star "${no[@]}"
fails 2 'a binning of 2 was given' "$bin" refine "${stacks[@]}" --i EX/optimisation_set.star --bin 2 "${no[@]}"
fails 2 'two half maps are needed' "$bin" refine "${common[@]}" --i optimisation_set.star "${no[@]}"
fails 2 'one map for both half-sets' "$bin" refine "${common[@]}" --i optimisation_set.star --ref truth/map.mrc "${no[@]}"
fails 1 'R/half3.mrc' "$bin" refine "${common[@]}" --i optimisation_set.star --ref R/half3.mrc --ini_high 20 "${no[@]}"
fails 3 'masks must be between 0 and 1' "$bin" refine "${common[@]}" --i R/optimisation_set.star --mask R/half1.mrc "${no[@]}"
"$bin" mask -q --denovo --box_size 30 --outer_radius 8 --angpix 4 --o p/small.mrc > /dev/null
"$bin" mask -q --denovo --box_size 64 --outer_radius 16 --angpix 2 --o p/fine.mrc > /dev/null
"$bin" mask -q --denovo --box_size 32 --outer_radius 1 --angpix 4 --width_soft_edge 0 --o p/point.mrc > /dev/null
"$bin" reconstruct -q --root p --i optimisation_set.star --b 40 --crop 30 --sym O --taper 3 --o R30 > /dev/null
fails 3 'small.mrc' "$bin" refine "${common[@]}" --i R/optimisation_set.star --mask small.mrc "${no[@]}"
fails 3 'less than 2 px' "$bin" refine "${common[@]}" --i R/optimisation_set.star --mask point.mrc "${no[@]}"
fails 3 'half maps differ' "$bin" refine "${common[@]}" --i optimisation_set.star --ref1 R/half1.mrc --ref2 R30/half2.mrc "${no[@]}"
"$bin" refine "${common[@]}" --i R/optimisation_set.star --mask fine.mrc --no-search --iterations 1 --o F > /dev/null
fails 2 'does not fit' "$bin" refine "${common[@]}" --i R/optimisation_set.star --particle-diameter 1000 "${no[@]}"
fails 2 '--healpix-order must be 0 to 8, got 12' "$bin" refine "${common[@]}" --i R/optimisation_set.star --healpix-order 12 "${no[@]}"
fails 1 'nothere.star' "$bin" refine "${common[@]}" --i nothere.star --ref R/half1.mrc "${no[@]}"
rm "p/frames/$(ls p/frames | head -n 1)"
fails 1 "p/frames/" "$bin" refine "${common[@]}" --i R/optimisation_set.star --no-search "${no[@]}"
fails 2 'not smaller than the extracted images' "$bin" refine "${stacks[@]}" --i EX/optimisation_set.star --b 30 "${no[@]}"
rm "$(find p/EX -name '*.mrcs' | head -n 1)"
fails 1 'EX/' "$bin" refine "${stacks[@]}" --i EX/optimisation_set.star "${no[@]}"
