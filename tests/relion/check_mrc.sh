# Every MRC file of the data folder is read; mean and standard deviation of the voxels are those of the mrcfile package, and
# what we write is what it reads. Arguments: program, folder. Needs /usr/bin/python3 with numpy and mrcfile.
set -euo pipefail
bin=$1 shared=$2
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
/usr/bin/python3 -c 'import mrcfile, numpy' || { echo "no mrcfile: not checked"; exit 0; }
n=0
while IFS= read -r f; do
	"$bin" compare -q "$f" "$f" > "$dir/out.txt"
	/usr/bin/python3 - "$f" "$dir/out.txt" <<'END'
import sys, warnings, mrcfile, numpy as np
warnings.simplefilter('ignore')
m = mrcfile.open(sys.argv[1], permissive=True)
v = m.data.astype('f8')
out = open(sys.argv[2]).read()
size = 'maps of %d x %d x %d voxels, %.4f' % (m.header.nx, m.header.ny, m.header.nz, m.header.cella.x / m.header.mx)
assert size in out, (size, out)
std = float(out.split('standard deviation')[1].split(',')[0])
assert abs(std - v.std()) < 1e-5 * v.std(), (std, v.std())
END
	n=$((n + 1))
done < <(find "$shared/data" -name '*.mrc' -o -name '*.mrcs' | sort)
[ "$n" -ge 41 ]
"$bin" mask -q --denovo --box_size 32 --outer_radius 8 --width_soft_edge 3 --angpix 2.5 --o "$dir/ball.mrc" > /dev/null
/usr/bin/python3 - "$dir/ball.mrc" <<'END'
import sys, warnings, mrcfile, numpy as np
warnings.simplefilter('ignore')
m = mrcfile.open(sys.argv[1])
h, v = m.header, m.data.astype('f8')
assert v.shape == (32, 32, 32) and v[16, 16, 16] == 1 and v[0, 0, 0] == 0
assert abs(m.voxel_size.x - 2.5) < 1e-6 and abs(m.voxel_size.z - 2.5) < 1e-6
assert abs(h.dmin - v.min()) + abs(h.dmax - v.max()) == 0
assert abs(h.dmean - v.mean()) < 1e-6 and abs(h.rms - v.std()) < 1e-6
assert m.get_labels()[0].startswith('cyclotomo '), m.get_labels()
END
echo "$n files"
