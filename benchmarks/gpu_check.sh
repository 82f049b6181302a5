#!/usr/bin/env bash
# Everything about the CUDA kernels that needs a GPU, in at most eight minutes from a bare start:
#
#   benchmarks/gpu_check.sh [OUT]      OUT: folder of the JSON file; default results/gpu
#
# Builds libstpn_cuda.so, compares the kernels with golden vectors and with the reference, looks for
# memory errors and races where compute-sanitizer is installed, and times them against PyTorch. Needs
# nvcc, CMake, ninja and a Python with torch, which is PYTHON, else that of .venv, else python3; nothing else
# of the project's set-up, no network.
# Exit code: 0 all passed, 1 something failed, 2 no torch, 77 skipped because there is no GPU.
set -uo pipefail
cd "$(dirname "$0")/.."
out=${1:-results/gpu}
python=python3
[ -x .venv/bin/python ] && python=.venv/bin/python
python=${PYTHON:-$python}
build=build-cuda
started=$SECONDS
failed=0
export PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1

say() { printf '== %4ds %s\n' $((SECONDS - started)) "$*"; }

"$python" -c 'import torch' 2>/dev/null || {
  echo "gpu_check: $python cannot import torch: set PYTHON to a Python that can" >&2
  exit 2
}
has_gpu=$("$python" -c 'import torch; print(int(torch.cuda.is_available()))')
if [ "$has_gpu" = 0 ] && nvidia-smi -L >/dev/null 2>&1; then
  echo "gpu_check: there is a GPU, but $python's torch cannot use it: set PYTHON to one with a torch for" \
    "CUDA, and see whether the driver is new enough for it" >&2
  exit 1
fi
if [ "$has_gpu" = 1 ]; then
  architecture=$("$python" -c 'import torch; print("%d%d" % torch.cuda.get_device_capability())')
else
  architecture=90
fi

say "build for compute capability $architecture"
mkdir -p $build
cmake -G Ninja -S stpn/kernels/cuda -B $build -DCMAKE_CUDA_ARCHITECTURES="$architecture" \
  >$build/log 2>&1 && cmake --build $build >>$build/log 2>&1 || {
  cat $build/log
  echo "gpu_check: the build failed" >&2
  exit 1
}
export STPN_CUDA_LIBRARY=$PWD/$build/libstpn_cuda.so

if [ "$has_gpu" = 0 ]; then
  say "skipped: no GPU"
  exit 77
fi

# check NAME SECONDS COMMAND...: runs it, and notes what it gave in `checks`.
checks=""
check() {
  local name=$1 limit=$2 result=passed
  shift 2
  say "$name"
  timeout "$limit" "$@" || { result="failed ($?)" && failed=1; }
  checks+="${checks:+, }\"$name\": \"$result\""
  say "$name: $result"
}

tests="$python -m unittest discover -v -s python/tests -p test_cuda.py"
check "golden vectors, random shapes, repetitions" 150 $tests
# CUDA's programs lie together, though often nvcc alone is on the path.
PATH=$PATH:$(dirname "$(readlink -f "$(command -v nvcc)")")
if command -v compute-sanitizer >/dev/null; then
  # Without torch's cache of memory an access beyond an array is beyond its allocation.
  export PYTORCH_NO_CUDA_MEMORY_CACHING=1
  for tool in memcheck racecheck; do
    check "$tool" 75 compute-sanitizer --tool $tool --error-exitcode 9 $tests -k under_a_sanitizer
  done
  unset PYTORCH_NO_CUDA_MEMORY_CACHING
else
  checks+=', "sanitizer": "not installed"'
  say "compute-sanitizer is not installed"
fi
left=$((470 - (SECONDS - started)))
check "times" $left "$python" benchmarks/gpu/gpu_bench.py --deadline $((left / 2)) \
  --library "$STPN_CUDA_LIBRARY" --out "$out" --checks "{$checks}"
say "done"
exit $failed
