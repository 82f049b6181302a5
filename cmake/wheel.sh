#!/usr/bin/env bash
# Makes the wheel of the Python package, dist/stpn-*.whl, with the environment .venv.
#
# auditwheel puts in the libraries of the system that the ops link, and leaves out those of torch, which
# are those of the torch that the wheel is installed beside.
set -euo pipefail
cd "$(dirname "$0")/.."
made=build-wheel/made
rm -rf "$made" dist
# As in the presets, so that a compiler cache has the kernels already.
.venv/bin/python -m build --wheel --no-isolation --outdir "$made" -Ccmake.define.STPN_WERROR=ON
PATH=$PWD/.venv/bin:$PATH .venv/bin/python -m auditwheel repair --exclude 'libtorch*' --exclude libc10.so \
  --wheel-dir dist "$made"/*.whl
bytes=$(stat -c %s dist/*.whl)
echo "wheel: $(ls dist/*.whl), $bytes bytes"
if ((bytes > 8 * 1024 * 1024)); then
  echo "wheel: is larger than 8 MiB" >&2
  exit 1
fi
