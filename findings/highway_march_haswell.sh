#!/usr/bin/env bash
# Highway 1.0.3 (Debian 12) with GCC 12: code compiled with -march=haswell, a processor with AVX2, is
# compiled for SSSE3.
#
# Highway counts a target as available at compile time only if the compiler has every extension that
# Highway assumes for it, AES included. GCC's -march=haswell and -march=broadwell have AVX2, FMA, BMI2
# and F16C, but not AES: vectors then have 16 bytes, not 32, and nothing says so. With -maes the same
# code is AVX2. Dispatch at run time is not affected.
#
# Fails if that changes. Needs apt-get, dpkg-deb and g++ 12 or later; installs nothing.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
apt-get download -q libhwy-dev=1.0.3-3+deb12u1 >/dev/null 2>&1
dpkg-deb -x libhwy-dev_*.deb .
cat >target.cc <<'CODE'
#include <hwy/highway.h>

#include <cstdio>

int main() {
  namespace hn = hwy::HWY_NAMESPACE;
  std::printf("%s, %zu floats\n", hwy::TargetName(HWY_TARGET), hn::Lanes(hn::ScalableTag<float>()));
}
CODE
target_of() { g++ -std=c++17 -Iusr/include "$@" target.cc -o target && ./target; }
status=0
expect() {
  local wanted=$1 seen
  shift
  seen=$(target_of "$@")
  echo "g++ $*: $seen"
  [[ $seen == "$wanted" ]] || { echo "  has changed: was $wanted"; status=1; }
}
expect "SSSE3, 4 floats" -march=haswell
expect "SSSE3, 4 floats" -march=broadwell
expect "AVX2, 8 floats" -march=haswell -maes
exit $status
