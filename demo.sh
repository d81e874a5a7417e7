#!/usr/bin/env bash
# From a fresh clone to a result: install what is needed, build, simulate a small project, run the cycle on it.
#   demo.sh [FOLDER]   (default: demo/; an earlier demonstration there is continued)
set -euo pipefail
source=$(cd "$(dirname "$0")" && pwd)
demo=${1:-$source/demo}

echo "Building (build/) ..." >&2
"$source/tools/build.sh" --target cyclotomo_cli "$source/build"
cyclotomo=$source/build/cyclotomo

if [ ! -e "$demo/optimisation_set.star" ]; then
	echo "Simulating a project in $demo ..." >&2
	"$cyclotomo" simulate --o "$demo" --particles 60 --size 640 --size-y 600 --error-orientation 1.2 --quiet
fi
echo "Running the cycle ..." >&2
"$cyclotomo" cycle --root "$demo" --i optimisation_set.star --b 128 --crop 96 --sym O \
	--mask-align mask_align.mrc --mask-fsc mask_fsc.mrc --o Cycle/
