# cyclotomo compare: exit codes, tables, tolerances; bad input.
set -euo pipefail
bin=$1
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"

ends() { # expected exit code, text wanted in the output, command...
	local want=$1 text=$2 code=0
	shift 2
	"$@" > out.txt 2>&1 || code=$?
	[ "$code" = "$want" ] || { echo "exit $code, wanted $want: $*"; cat out.txt; exit 1; }
	grep -q -- "$text" out.txt || { echo "output lacks '$text': $*"; cat out.txt; exit 1; }
}

cat > a.star <<'END'
data_general
_rlnTomoSubTomosAre2DStacks 1

data_particles
loop_
_rlnTomoParticleName #1
_rlnDefocusU #2
_rlnImageName #3
TS/1 30000.0 a
TS/2 31000.0 b
END
sed 's/31000.0 b/31000.4 b/' a.star > b.star
sed 's/31000.0 b/31000.0/' a.star > short.star

ends 0 "the same" "$bin" compare a.star a.star
ends 1 "rlnDefocusU .* 1 .* 0.4" "$bin" compare a.star b.star
ends 0 "the same within the tolerances" "$bin" compare a.star b.star --tol 0.5
ends 0 "the same within the tolerances" "$bin" compare a.star b.star --column rlnDefocusU=0.5
ends 1 "differ" "$bin" compare a.star b.star --column rlnDefocusU=0.3
ends 0 "matched by rlnTomoParticleName" "$bin" compare a.star b.star --rtol 1e-4
ends 0 "the same" "$bin" compare --root "$dir" a.star b.star --ignore rlnDefocusU
ends 0 "the same" "$bin" compare a.star b.star --block general
ends 3 "too few values: expected 3, found 2" "$bin" compare a.star short.star
ends 1 "none.star" "$bin" compare a.star none.star
ends 2 "not files of the same kind" "$bin" compare a.star a.mrc
ends 2 "FILE2" "$bin" compare a.star
ends 0 "usage" "$bin" compare --help

"$bin" mask -q --denovo --box_size 32 --outer_radius 8 --width_soft_edge 3 --angpix 2 --o ball.mrc > /dev/null
"$bin" mask -q --denovo --box_size 32 --outer_radius 9 --width_soft_edge 3 --angpix 2 --o larger.mrc > /dev/null
"$bin" mask -q --denovo --box_size 24 --outer_radius 8 --angpix 2 --o small.mrc > /dev/null
ends 0 "the same" "$bin" compare ball.mrc ball.mrc
ends 1 "voxels differ by up to" "$bin" compare ball.mrc larger.mrc
ends 0 "the same within the bounds" "$bin" compare ball.mrc larger.mrc --tol 1
ends 0 "the same within the bounds" "$bin" compare ball.mrc larger.mrc --resolution 20 --min-fsc 0.75
ends 1 "must be at least 0.9" "$bin" compare ball.mrc larger.mrc --min-fsc 0.9
ends 1 "the scale is" "$bin" compare ball.mrc larger.mrc --res 20 --max-scale-error 0.001
ends 0 "masked by ball.mrc" "$bin" compare ball.mrc ball.mrc --mask ball.mrc --z-mirror
ends 3 "24 x 24 x 24" "$bin" compare ball.mrc small.mrc
ends 3 "mask" "$bin" compare ball.mrc ball.mrc --mask small.mrc
head -c 5000 ball.mrc > cut.mrc
ends 3 "truncated" "$bin" compare ball.mrc cut.mrc
"$bin" compare -q ball.mrc larger.mrc --j 1 --all-shells > one.txt 2> /dev/null || true
"$bin" compare -q ball.mrc larger.mrc --j 2 --all-shells > two.txt 2> /dev/null || true
cmp one.txt two.txt
grep -q "^  *16  *4.00 " one.txt
