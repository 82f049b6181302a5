// What every unit must do, whatever it computes. The tests are in unit_contract_test.cc; a unit's
// own test file names its variants:
//
//   INSTANTIATE_TEST_SUITE_P(Lstm, UnitContract, testing::Values(UnitCase{"lstm", make_lstm}),
//                            unit_case_name);
#pragma once

#include <gtest/gtest.h>
#include <torch/torch.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <ostream>
#include <string>

#include "stpn/nn/unit.h"
#include "stpn/ops/runtime/backend.h"

namespace stpn::nn {

using ops::Backend;
using ops::BackendGuard;

struct UnitCase {
  std::string name;  // letters, digits and underscores
  std::function<std::shared_ptr<Unit>(int64_t inputs, int64_t hidden)> make;
  Backend backend = Backend::cpu;
  bool recurrent = true;     // h[t-1] is a presynaptic input; otherwise the state may be empty
  bool coupled = true;       // every neuron depends on every parameter
  int64_t least_hidden = 1;  // of units that are made of several
  bool same_bits = true;     // for any number of threads; with libtorch's matrix products: false
};

// How GoogleTest names a case in its reports.
inline void PrintTo(const UnitCase& unit_case, std::ostream* out) { *out << unit_case.name; }

inline std::string unit_case_name(const testing::TestParamInfo<UnitCase>& info) {
  return info.param.name;
}

class UnitContract : public testing::TestWithParam<UnitCase> {
 protected:
  UnitContract() : guard_(GetParam().backend) { torch::manual_seed(1); }

  // A unit with every parameter drawn from U(-0.6, 0.6): the initial values of some are too small
  // for a wrong gradient to show.
  std::shared_ptr<Unit> make(int64_t inputs, int64_t hidden, torch::Dtype dtype) const;

 private:
  BackendGuard guard_;
};

}  // namespace stpn::nn
