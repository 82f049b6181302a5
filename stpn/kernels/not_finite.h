// What a CPU kernel makes of NaN and infinities, compared with the reference, for tests.
#pragma once

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "stpn/kernels/testing.h"

namespace stpn::kernels::testing {

// Where the kernel and the reference have to agree.
enum class Agreement {
  everywhere,  // also in which values are NaN
  on_numbers,  // where the reference has a number: the kernel has the same
  if_numbers,  // where both have numbers: these are the same
};

template <typename T>
void expect_agreement(const std::vector<T>& got, const std::vector<T>& want, Agreement where,
                      const std::string& what) {
  ASSERT_EQ(got.size(), want.size()) << what;
  std::vector<T> finite_got, finite_want;
  for (size_t k = 0; k < want.size(); ++k) {
    if (where == Agreement::everywhere) {
      ASSERT_EQ(std::isnan(got[k]), std::isnan(want[k])) << what << " " << k << " is " << got[k];
    }
    if (std::isnan(want[k])) continue;
    if (where == Agreement::if_numbers && std::isnan(got[k])) continue;
    if (std::isinf(want[k])) {
      ASSERT_EQ(got[k], want[k]) << what << " " << k;
    } else {
      finite_got.push_back(got[k]);
      finite_want.push_back(want[k]);
    }
  }
  // Other tests check rounding; here infinities leave few values for large terms to cancel in.
  EXPECT_LE(distance(finite_got, finite_want), 100 * kTolerance<T>) << what;
}

// Puts NaN and both infinities into the first and the last element of every array of a call, one at
// a time. NaN has to come out exactly where the reference has it. For infinities `forward` says
// what holds; gradients agree if they are numbers: where infinities of both signs meet, or one
// meets a zero, the result depends on the order of the operations. Arrays whose name contains
// `finite_only` get NaN only. Returns the number of calls.
template <typename Call>
int64_t expect_not_finite_as_in_reference(const Call& finite, Agreement forward,
                                          const std::string& finite_only = "no array") {
  using T = typename decltype(finite.grad_output)::value_type;
  constexpr T kInfinity = std::numeric_limits<T>::infinity();
  int64_t calls = 0;
  for (size_t row = 0; row < finite.arrays.size(); ++row) {
    if (finite.arrays[row].values.empty()) continue;
    for (const size_t place : {size_t{0}, finite.arrays[row].values.size() - 1}) {
      for (const T value : {std::numeric_limits<T>::quiet_NaN(), kInfinity, -kInfinity}) {
        const bool is_nan = std::isnan(value);
        const std::string& name = finite.arrays[row].name;
        if (!is_nan && name.find(finite_only) != std::string::npos) continue;
        Call call = finite;
        call.arrays[row].values[place] = value;
        const auto got = call.cpu();
        const auto want = call.reference();
        ++calls;
        const std::string given = fmt::format("{} in {}[{}]: ", value, name, place);
        const Agreement in_results = is_nan ? Agreement::everywhere : forward;
        const Agreement in_gradients = is_nan ? Agreement::everywhere : Agreement::if_numbers;
        expect_agreement(got.output, want.output, in_results, given + "output");
        expect_agreement(got.energy, want.energy, in_results, given + "energy");
        for (size_t k = 0; k < want.finals.size(); ++k) {
          expect_agreement(got.finals[k].values, want.finals[k].values, in_results,
                           given + "final " + want.finals[k].name);
        }
        for (size_t k = 0; k < want.gradients.size(); ++k) {
          expect_agreement(got.gradients[k].values, want.gradients[k].values, in_gradients,
                           given + "gradient of " + want.gradients[k].name);
        }
        if (::testing::Test::HasFailure()) return calls;
      }
    }
  }
  return calls;
}

}  // namespace stpn::kernels::testing
