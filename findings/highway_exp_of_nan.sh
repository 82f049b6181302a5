#!/usr/bin/env bash
# Highway 1.0.3 (Debian 12): hn::Exp(NaN) is 0, so that a sigmoid 1 / (1 + Exp(-x)) of NaN is 1, and
# hn::Exp of numbers beyond its range is not infinity but a number or NaN.
#
# Exp ends in a selection, 0 where not x >= -104, which is true of NaN too. Its range, -FLT_MAX to 104, is
# stated; what lies beyond is built from exponent bits that overflow. Tanh keeps NaN, and Min and Max
# return, on x86, their second operand if one is NaN: which is kept depends on the order.
#
# Fails if that changes. Needs apt-get, dpkg-deb, g++ 12 or later and a processor with AVX2; installs
# nothing.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
apt-get download -q libhwy-dev=1.0.3-3+deb12u1 >/dev/null 2>&1
dpkg-deb -x libhwy-dev_*.deb .
cat >exp.cc <<'CODE'
#include <hwy/contrib/math/math-inl.h>
#include <hwy/highway.h>

#include <cmath>
#include <cstdio>

int main() {
  namespace hn = hwy::HWY_NAMESPACE;
  const hn::ScalableTag<float> d;
  const auto of = [&](float x) { return hn::Set(d, x); };
  const auto show = [&](const char* what, auto v) {
    const float value = hn::GetLane(v);
    std::printf("%s %s\n", what, std::isnan(value) ? "nan" : value == 0 ? "0" : value > 3e38f ? "inf" : "other");
  };
  show("Exp(NaN):", hn::Exp(d, of(NAN)));
  show("Exp(100):", hn::Exp(d, of(100)));
  show("Exp(300):", hn::Exp(d, of(300)));
  show("Tanh(NaN):", hn::Tanh(d, of(NAN)));
  show("Max(NaN, 0):", hn::Max(of(NAN), of(0)));
  show("Max(0, NaN):", hn::Max(of(0), of(NAN)));
}
CODE
g++ -std=c++17 -O1 -mavx2 -maes -mfma -mbmi -mbmi2 -mf16c -mpclmul -Iusr/include exp.cc -o exp
seen=$(./exp)
echo "$seen"
wanted="Exp(NaN): 0
Exp(100): inf
Exp(300): other
Tanh(NaN): nan
Max(NaN, 0): 0
Max(0, NaN): nan"
[[ $seen == "$wanted" ]] || { echo "has changed: was"; echo "$wanted"; exit 1; }
