// Rows of matrices, padded so that whole SIMD vectors fill them on every SIMD target.
#pragma once

#include <cstdint>

namespace stpn::kernels {

// At most as many values of a row are one SIMD vector.
template <typename T>
inline constexpr int64_t kLanesOfRow = 64 / sizeof(T);

template <typename T>
constexpr int64_t padded_row(int64_t count) {
  return (count + kLanesOfRow<T> - 1) / kLanesOfRow<T> * kLanesOfRow<T>;
}

}  // namespace stpn::kernels
