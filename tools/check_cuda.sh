#!/usr/bin/env bash
# What can be said of the CUDA kernels without a GPU: check_cuda.sh [NVCC]
# They compile for all architectures without a warning, no kernel spills registers or has a stack, and no product is contracted with a
# sum: the PTX has no fma, single or double. Ends with 1 otherwise, with 77 where there is no nvcc.
set -euo pipefail
cd "$(dirname "$0")/.."
nvcc=${1:-$(command -v nvcc || echo /usr/local/cuda/bin/nvcc)}
[ -x "$nvcc" ] || { echo "no nvcc"; exit 77; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
flags=(-O3 -std=c++17 -fmad=false --Werror=all-warnings -DCYC_PLUGIN_VERSION='"0"' -I. -Iinclude)
"$nvcc" "${flags[@]}" -arch=compute_80 -ptx backends/cuda/kernels.cu -o "$work/cuda.ptx"
n_kernels=$(grep -c '^\.entry\|\.visible \.entry' "$work/cuda.ptx")
n_fma=$(grep -c 'fma\.' "$work/cuda.ptx" || true)
wanted=$(grep -c '^	X(' backends/kernels/kernels.h)
echo "PTX: $n_kernels kernels, $n_fma fma"
[ "$n_kernels" = "$wanted" ] || { echo "there should be $wanted"; exit 1; }
[ "$n_fma" = 0 ] || { grep 'fma\.' "$work/cuda.ptx" | head; exit 1; }
for architecture in ${CYC_CUDA_ARCHITECTURES:-80 90 100 120}; do
	"$nvcc" "${flags[@]}" -arch="sm_$architecture" -cubin -Xptxas -v backends/cuda/kernels.cu -o "$work/cuda.cubin" 2>"$work/log"
	awk -v name="sm_$architecture" '
		/stack frame/ { n++; if ($1 + 0 || $5 + 0 || $9 + 0) { bad++; print } }
		/Used [0-9]+ registers/ { for (i = 1; i < NF; i++) if ($i == "Used" && $(i + 1) + 0 > most) most = $(i + 1) + 0 }
		END { printf "%s: %d kernels, at most %d registers, %d with a stack or spills\n", name, n, most, bad; exit bad > 0 || n == 0 }' "$work/log"
done
