# cyclotomo star: look into files, print columns, copy other programs' files into RELION's layout.
set -euo pipefail
bin=$1
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"

printf 'data_general\r\n_rlnTomoSubTomosAre2DStacks 1\r\n\r\ndata_particles\r\nloop_\r\n_rlnTomoName#1\r\n_rlnText#2\r\nTS_01\t"a b"\r\nTS_02 c\r\n' > warp.star
"$bin" star warp.star > out.txt
grep -q "^data_general: list" out.txt
grep -q "^data_particles: table of 2 rows" out.txt
[ "$("$bin" star warp.star --print rlnText,rlnTomoName | tail -1)" = "c	TS_02" ]
[ "$("$bin" star warp.star --block general --print rlnTomoSubTomosAre2DStacks)" = 1 ]
"$bin" star warp.star --o relion.star
printf '\n# version 50001\n\ndata_general\n\n_rlnTomoSubTomosAre2DStacks                       1\n \n\n# version 50001\n\ndata_particles\n\nloop_ \n_rlnTomoName #1 \n_rlnText #2 \n     TS_01      "a b" \n     TS_02          c \n \n' > wanted.star
diff wanted.star relion.star
"$bin" star relion.star --o again.star
diff wanted.star relion.star
code=0
"$bin" star warp.star --print rlnNope 2> err.txt || code=$?
[ "$code" = 3 ]
grep -q "no column _rlnNope" err.txt
code=0
"$bin" star none.star 2> err.txt || code=$?
[ "$code" = 1 ]
grep -q "none.star" err.txt
