# cyclotomo mask: RELION's option names, the automatic threshold, refusals without a half-written mask.
set -euo pipefail
bin=$1
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"

fails() { # expected exit code, text wanted in the message, command...
	local want=$1 text=$2 code=0
	shift 2
	"$@" > out.txt 2> err.txt || code=$?
	[ "$code" = "$want" ] || { echo "exit $code, wanted $want: $*"; cat err.txt; exit 1; }
	grep -q -- "$text" err.txt || { echo "message lacks '$text': $*"; cat err.txt; exit 1; }
}

"$bin" mask --denovo --box_size 32 --outer_radius 8 --width_soft_edge 3 --angpix 2 --o ball.mrc | grep -q "32 px, 2.0000"
"$bin" mask --denovo --box-size 32 --inner-radius 4 --outer-radius 8 --center_x 2 --pixel-size 2 --o shell.mrc > /dev/null
[ "$(stat -c %s ball.mrc)" = $((1024 + 4 * 32 * 32 * 32)) ]

# The same mask by both spellings, for any number of threads, and again.
"$bin" mask -q --i ball.mrc --o a.mrc --ini_threshold 0.5 --extend_inimask 3 --width_soft_edge 5 --lowpass 12 --j 1
"$bin" mask -q --input ball.mrc --output b.mrc --threshold 0.5 --extend 3 --soft-edge 5 --lowpass 12A --threads 3
cmp a.mrc b.mrc
"$bin" mask -q --i ball.mrc --o auto.mrc > auto.txt
grep -q "threshold 0\.[0-9]* (automatic)" auto.txt
"$bin" mask -q --i ball.mrc --o and.mrc --ini_threshold 0.5 --and shell.mrc
"$bin" mask -q --i ball.mrc --o not.mrc --ini_threshold 0.5 --and_not shell.mrc
"$bin" mask -q --i ball.mrc --o inv.mrc --ini_threshold 0.5 --invert
"$bin" mask -q --i ball.mrc --o helix.mrc --ini_threshold 0.5 --width_soft_edge 2 --helix --z_percentage 0.2
if cmp -s and.mrc not.mrc; then exit 1; fi

"$bin" mask --denovo --box_size 30 --outer_radius 8 --angpix 2 --o small.mrc > /dev/null
rm -f no.mrc
fails 2 "input is missing" "$bin" mask --o no.mrc
fails 1 "nothere.mrc" "$bin" mask --i nothere.mrc --o no.mrc
fails 3 "mask is empty" "$bin" mask --i ball.mrc --ini_threshold 7 --o no.mrc
fails 3 "one box" "$bin" mask --i ball.mrc --ini_threshold 0.5 --and small.mrc --o no.mrc
fails 2 "needs a --threshold" "$bin" mask --i ball.mrc --and shell.mrc --o no.mrc
fails 2 "exclude each other" "$bin" mask --i ball.mrc --ini_threshold 0.5 --and shell.mrc --or shell.mrc --o no.mrc
fails 2 "even box" "$bin" mask --denovo --box_size 31 --o no.mrc
fails 2 "radii" "$bin" mask --denovo --box_size 32 --inner_radius 9 --outer_radius 8 --o no.mrc
head -c 5000 ball.mrc > short.mrc
fails 3 "short.mrc" "$bin" mask --i short.mrc --o no.mrc
[ ! -e no.mrc ]
echo ok
