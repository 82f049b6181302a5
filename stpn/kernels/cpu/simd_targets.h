// Which SIMD targets the CPU kernels are compiled for.
#pragma once

namespace stpn::kernels {

// Whether this machine has one of them (stpn/kernels/CMakeLists.txt, docs/kernels.md). On one that
// has none, an x86 processor without AVX2, the CPU kernels of all units run their references.
bool has_simd_target();

}  // namespace stpn::kernels
