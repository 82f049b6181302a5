// What the references read of an array of samples or steps.
#pragma once

#include <cstdint>
#include <vector>

namespace stpn::kernels {

// A row of an array (rows, length); of null: zeros.
template <typename T>
std::vector<T> row_of(const T* array, int64_t row, int64_t length) {
  if (array == nullptr) return std::vector<T>(length, T(0));
  return {array + row * length, array + (row + 1) * length};
}

}  // namespace stpn::kernels
