# Post-processing against RELION's own results, and its rules against the curves of a real project.
# usage: check_postprocess.sh BINARY SHARED-FOLDER [SMALL]; SMALL, or $CYCLOTOMO_SMALL, is the data set "small" (made here if not given)
set -euo pipefail
python=${PYTHON:-/usr/bin/python3}
bin=$(realpath "$1") shared=$(realpath "$2") here=$(cd "$(dirname "$0")" && pwd)
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
small=${3:-${CYCLOTOMO_SMALL:-}}
if [ -z "$small" ]; then
	small=$dir/small
	bash "$shared/sim/make_dataset.sh" small "$small" > /dev/null
fi
cp "$small/mask_fsc.mrc" "$dir/"
cd "$dir"
gold=$shared/golden/small
for state in init pol1 ctf2 ctf4; do
	ln -s "$gold/R_$state" "R_$state"
	echo "== $state, with RELION's phase-randomised curve"
	"$bin" postprocess -q --i "R_$state/half1.mrc" --mask mask_fsc.mrc --o "PP_$state/postprocess" --randomised-fsc "$gold/PP_$state/postprocess.star" > /dev/null
	"$python" "$here/compare_postprocess.py" "PP_$state/postprocess.star" "$gold/PP_$state/postprocess.star" same
	if [ -e "$gold/PP_$state/postprocess.mrc" ]; then
		"$python" - "PP_$state/postprocess.mrc" "$gold/PP_$state/postprocess.mrc" <<-'P'
			import sys, mrcfile, numpy as np
			a, b = (mrcfile.open(p).data.astype(float) for p in sys.argv[1:])
			d = np.sqrt(((a - b) ** 2).mean() / (b ** 2).mean())
			print('sharpened map, relative RMS        %.2g (bar 1e-4)' % d)
			sys.exit(int(d > 1e-4))
		P
	fi
	echo "== $state, own draws"
	/usr/bin/time -f "%e s, %M kB" "$bin" postprocess -q --i "R_$state/half1.mrc" --mask mask_fsc.mrc --o "PPO_$state/postprocess" --j 2 > /dev/null
	"$python" "$here/compare_postprocess.py" "PPO_$state/postprocess.star" "$gold/PP_$state/postprocess.star"
done
echo "== mask"
"$bin" mask -q --i "$gold/R_ctf4/merged.mrc" --o m.mrc --lowpass 12 --ini_threshold 0.6 --extend_inimask 3 --width_soft_edge 5 > /dev/null
"$python" - m.mrc "$gold/mask_relion.mrc" <<'P'
import sys, mrcfile
a, b = (mrcfile.open(p).data for p in sys.argv[1:])
print('largest difference to RELION %.2g (bar 1e-5)' % abs(a - b).max())
sys.exit(int(abs(a - b).max() > 1e-5))
P
echo "== rules on a real project"
build=$(dirname "$bin")
# shellcheck disable=SC2046
${CC:-cc} -std=c17 -I"$here/../../include" "$here/postprocess_rules.c" "$build/libcyclotomo.a" -o rules $(pkg-config --libs fftw3f cairo libxxhash) -llapacke -llapack -lpthread -lm
./rules "$shared"/data/empiar-10164-tutorial/PostProcess/*/postprocess.star
