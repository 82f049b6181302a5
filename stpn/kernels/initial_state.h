// What the references read of an initial state.
#pragma once

#include <cstdint>
#include <vector>

namespace stpn::kernels {

// The `size` values of sample b in an array (B, ...); null: zeros.
template <typename T>
std::vector<T> sample_of(const T* array, int64_t b, int64_t size) {
  if (array == nullptr) return std::vector<T>(size);
  return {array + b * size, array + (b + 1) * size};
}

}  // namespace stpn::kernels
