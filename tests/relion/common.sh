# What the comparisons share; sourced with their arguments: BINARY SHARED-FOLDER [SMALL].
# Sets bin, shared, gold (RELION's results on "small"), small (the data set: SMALL, $CYCLOTOMO_SMALL, or made here), here, python, and dir, a
# folder that is removed at the end.
set -euo pipefail
python=${PYTHON:-/usr/bin/python3}
bin=$(realpath "$1") shared=$(realpath "$2") here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
gold=$shared/golden/small
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
small=${3:-${CYCLOTOMO_SMALL:-}}
if [ -z "$small" ]; then
	small=$dir/small
	bash "$shared/sim/make_dataset.sh" small "$small" > /dev/null
fi
small=$(realpath "$small")
failures=0

fail() { echo "FAIL: $*" >&2; exit 1; }
# bar NAME VALUE (<|<=|>=) BOUND: numbers or expressions; a miss is counted, see end_of_bars.
bar() {
	if "$python" -c "import sys; sys.exit(0 if $2 $3 $4 else 1)"; then echo "ok    $1 $2 ($3 $4)"; else echo "FAIL  $1 $2 (wanted $3 $4)"; failures=$((failures + 1)); fi
}
end_of_bars() { [ $failures -eq 0 ] || fail "$failures bars are missed"; }
# figure NAME arguments of evaluate.py: how far metadata are from the truth, in a folder with truth/.
figure() { "$python" "$shared/sim/evaluate.py" truth "${@:2}" --sym O --json | "$python" -c "import sys, json; print('%.4f' % json.load(sys.stdin)['$1'])"; }
# mean_fsc MAP [TRUTH MASK]: with the true map, under the tight mask, unless others are named.
mean_fsc() { "$python" "$shared/sim/fsc.py" "$1" "${2:-truth/map.mrc}" "${3:-mask_fsc.mrc}" | sed -n 's/.*mean FSC //p'; }
