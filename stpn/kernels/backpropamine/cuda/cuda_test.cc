// The code of a thread of the CUDA kernels, run on the CPU by an emulation of a team, against the
// reference.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "stpn/base/random.h"
#include "stpn/kernels/backpropamine/cuda/emulated.h"
#include "stpn/kernels/backpropamine/equations.h"
#include "stpn/kernels/backpropamine/random_call.h"
#include "stpn/kernels/cuda/testing.h"
#include "stpn/kernels/testing.h"

namespace stpn::kernels::backpropamine_cuda_test {
namespace {

namespace unit = cuda::backpropamine;

using testing::CudaShape;
using testing::emulate;
using testing::expect_same;
using testing::kCudaShapes;
using testing::RandomBackpropamineCall;

unit::Division division(const Extent& extent, const BackpropamineVariant& variant,
                        const CudaShape& shape) {
  unit::Division d(extent, variant, 8, cuda::Machine());
  testing::give_shape(shape, d.sizes.hidden, d);
  d.forward_memory = unit::ForwardMemory(d.sizes, d.forward);
  d.backward_memory = unit::BackwardMemory(d.sizes, d.backward);
  return d;
}

std::vector<BackpropamineVariant> all_variants() {
  std::vector<BackpropamineVariant> variants;
  for (const auto neuromodulation :
       {Neuromodulation::modplast, Neuromodulation::plastic, Neuromodulation::modul}) {
    for (const auto addition :
         {Addition::clamp, Addition::soft_clamp, Addition::additive, Addition::decaying}) {
      for (const auto modulator : {Modulator::tanh, Modulator::sigmoid, Modulator::linear}) {
        variants.push_back({neuromodulation, addition, modulator});
      }
    }
  }
  return variants;
}

std::string name_of(const BackpropamineVariant& v) {
  return fmt::format("neuromodulation {} addition {} modulator {}",
                     static_cast<int>(v.neuromodulation), static_cast<int>(v.addition),
                     static_cast<int>(v.modulator));
}

template <typename T>
void matches_reference() {
  using Given = typename RandomBackpropamineCall<T>::GivenGradients;
  base::Random draw(29, base::Stream::test_data, 0);
  for (const BackpropamineVariant& v : all_variants()) {
    for (const CudaShape& shape : kCudaShapes) {
      const Extent e{1 + draw.below(7), 1 + draw.below(3), 1 + draw.below(9), 1 + draw.below(9)};
      SCOPED_TRACE(fmt::format("T {} B {} I {} H {} {} lanes {}", e.steps, e.batch, e.inputs,
                               e.hidden, name_of(v), shape.lanes));
      RandomBackpropamineCall<T> c(e, v, e.inputs);
      for (const Given given : {Given::all, Given::output, Given::final_state}) {
        c.given = given;
        expect_same(emulate(c, division(e, v, shape)), c.reference(), e);
      }
    }
  }
}

TEST(BackpropamineCudaTest, EveryVariantMatchesReferenceInDouble) { matches_reference<double>(); }
TEST(BackpropamineCudaTest, EveryVariantMatchesReferenceInFloat) { matches_reference<float>(); }

// As the kernels divide them: matrices in shared memory, or streamed by a cluster; several
// intervals between checkpoints.
template <typename T>
void matches_reference_as_divided(const BackpropamineVariant& v, const cuda::Machine& machine,
                                  bool resident) {
  const Extent e{18, 2, 7, 5};
  const unit::Division d(e, v, sizeof(T), machine);
  EXPECT_EQ(d.forward.resident, resident);
  EXPECT_EQ(d.backward.resident, resident);
  EXPECT_EQ(d.backward.blocks, 1);
  EXPECT_LT(d.sizes.interval, e.steps);
  RandomBackpropamineCall<T> c(e, v, 3);
  c.given = RandomBackpropamineCall<T>::GivenGradients::all;
  expect_same(emulate(c, d), c.reference(), e);
}

TEST(BackpropamineCudaTest, ItsOwnDivisionsMatchReference) {
  for (const auto neuromodulation :
       {Neuromodulation::modplast, Neuromodulation::plastic, Neuromodulation::modul}) {
    SCOPED_TRACE(static_cast<int>(neuromodulation));
    const BackpropamineVariant v{neuromodulation};
    matches_reference_as_divided<double>(v, cuda::Machine(), true);
    matches_reference_as_divided<float>(v, cuda::Machine(), true);
    matches_reference_as_divided<double>(v, {64, 2, 8}, false);
    matches_reference_as_divided<float>(v, {64, 2, 8}, false);
  }
}

TEST(BackpropamineCudaTest, AClusterMatchesReference) {
  const Extent e{6, 2, 3, 70};
  for (const auto neuromodulation : {Neuromodulation::modplast, Neuromodulation::modul}) {
    const BackpropamineVariant v{neuromodulation};
    const unit::Division d(e, v, sizeof(double), {1024, 4, 8});
    EXPECT_EQ(d.backward.blocks, 2);
    const RandomBackpropamineCall<double> c(e, v, 3);
    expect_same(emulate(c, d), c.reference(), e);
  }
}

// A sample that does not fit in shared memory gets a cluster while there are processors and rows.
TEST(BackpropamineCudaTest, LargeUnitsGetClusters) {
  const cuda::Machine h200{227 * 1024, 8, 132};
  const auto blocks = [&](int64_t batch, int64_t inputs, int64_t hidden) {
    const unit::Division d({20, batch, inputs, hidden}, {Neuromodulation::modul}, sizeof(float),
                           h200);
    EXPECT_EQ(d.backward.resident, hidden <= 100);
    return d.backward.blocks;
  };
  EXPECT_EQ(blocks(512, 17, 100), 1);  // Maze: in shared memory
  EXPECT_EQ(blocks(1, 17, 200), 8);
  EXPECT_EQ(blocks(30, 17, 200), 4);  // no more blocks than processors
  EXPECT_EQ(blocks(100, 17, 200), 1);
}

// The threads between two barriers run in another order for every seed: what one writes and another
// reads without a barrier in between would show.
TEST(BackpropamineCudaTest, BitsDoNotDependOnTheSchedule) {
  for (const auto neuromodulation :
       {Neuromodulation::modplast, Neuromodulation::plastic, Neuromodulation::modul}) {
    const BackpropamineVariant v{neuromodulation};
    const Extent e{7, 2, 5, 6};
    RandomBackpropamineCall<float> c(e, v, 5);
    c.given = RandomBackpropamineCall<float>::GivenGradients::all;
    for (const CudaShape& shape : kCudaShapes) {
      const unit::Division d = division(e, v, shape);
      const auto one = emulate(c, d, 1);
      for (const uint64_t seed : {50, 77, 91}) {
        const auto other = emulate(c, d, seed);
        EXPECT_EQ(one.output, other.output);
        EXPECT_EQ(one.energy, other.energy);
        EXPECT_EQ(one.finals, other.finals);
        EXPECT_EQ(one.gradients, other.gradients);
      }
    }
  }
}

// What a sample has come to, NaN even, ends at its reset, forward and backward.
TEST(BackpropamineCudaTest, ResetForgetsADivergedSample) {
  for (const BackpropamineVariant& v : all_variants()) {
    SCOPED_TRACE(name_of(v));
    const Extent e{4, 2, 3, 5};
    RandomBackpropamineCall<float> c(e, v, 9, /*with_reset=*/false);
    c["x"][0] = std::numeric_limits<float>::quiet_NaN();
    c.reset[2 * e.batch] = 1;
    const auto result = emulate(c, division(e, v, {4, 16, true, 3}));
    const auto reference = c.reference();
    EXPECT_TRUE(std::isnan(result.output[e.hidden * e.batch]));
    const auto from_reset = [](const std::vector<float>& values) {
      return std::vector<float>(values.begin() + static_cast<int64_t>(values.size()) / 2,
                                values.end());
    };
    const auto expect_close = [](const std::vector<float>& got, const std::vector<float>& want) {
      EXPECT_LE(testing::distance(got, want), testing::kTolerance<float>);
    };
    expect_close(from_reset(result.output), from_reset(reference.output));
    expect_close(result.final("P"), reference.final("P"));
    expect_close(result.final("E"), reference.final("E"));
    expect_close(from_reset(result.gradient("x")), from_reset(reference.gradient("x")));
  }
}

// Values exactly at the bound and a delta of exactly zero have the gradients of the reference.
TEST(BackpropamineCudaTest, TiesMatchReference) {
  for (const BackpropamineVariant& v : all_variants()) {
    SCOPED_TRACE(name_of(v));
    const Extent e{3, 2, 4, 4};
    RandomBackpropamineCall<double> c(e, v, 9, /*with_reset=*/false);
    std::fill(c["h"].begin(), c["h"].end(), 0.0);
    std::fill(c["P"].begin(), c["P"].end(), v.bound() < 1 ? v.bound() : 1.0);
    std::fill(c["E"].begin(), c["E"].end(), 0.0);
    expect_same(emulate(c, division(e, v, {2, 8, true, 2})), c.reference(), e);
  }
}

// The clamp changes P in one step and leaves it at the bound in the next one, whose gradient
// passes.
TEST(BackpropamineCudaTest, GradientPassesAtTheBoundAfterACut) {
  for (const double rate : {0.0, 0.5}) {
    const Extent e{5, 2, 1, 1};
    const BackpropamineVariant v{Neuromodulation::plastic};
    RandomBackpropamineCall<double> c(e, v, 7, /*with_reset=*/false);
    std::fill(c["P"].begin(), c["P"].end(), 2.0);
    c["rate"] = {rate};
    expect_same(emulate(c, division(e, v, {1, 2, true, 2})), c.reference(), e);
  }
}

// Prediction alone saves nothing.
TEST(BackpropamineCudaTest, SavesNothingWhereThereIsNoBackward) {
  const Extent e{9, 2, 5, 6};
  const BackpropamineVariant v{Neuromodulation::modul};
  RandomBackpropamineCall<double> c(e, v, 5);
  c.with_energy = false;
  const unit::Division d = division(e, v, {4, 16, true, 2});
  const auto forward = [&](BackpropamineForwardParams<double>& p) {
    unit::emulate_forward(p, d, 1);
  };
  const auto result = c.run(
      forward, [](BackpropamineBackwardParams<double>&) {}, /*save=*/false);
  EXPECT_EQ(result.output, emulate(c, d).output);
  EXPECT_EQ(result.finals, emulate(c, d).finals);
}

// Without some of the gradients, the others are the same.
TEST(BackpropamineCudaTest, GradientsMayBeUnwanted) {
  const Extent e{5, 2, 6, 5};
  const BackpropamineVariant v{Neuromodulation::modul};
  RandomBackpropamineCall<double> c(e, v, 5);
  c.given = RandomBackpropamineCall<double>::GivenGradients::all;
  for (const bool resident : {true, false}) {
    const unit::Division d = division(e, v, {4, 16, resident, 2});
    const auto all = emulate(c, d);
    const auto check = [&](const auto& leave_out, const std::vector<std::string>& unwanted) {
      const auto some = emulate(c, d, leave_out, 1);
      for (size_t k = 0; k < all.gradients.size(); ++k) {
        const auto& [name, values, row] = some.gradients[k];
        if (std::find(unwanted.begin(), unwanted.end(), name) == unwanted.end()) {
          EXPECT_EQ(values, all.gradients[k].values) << name;
        } else {
          for (const double value : values) EXPECT_TRUE(std::isnan(value)) << name;
        }
      }
    };
    using Backward = BackpropamineBackwardParams<double>;
    check([](Backward& p) { p.grad_x = p.grad_initial_h = p.grad_initial_P = nullptr; },
          {"x", "h", "P"});
    check(
        [](Backward& p) {
          p.grad_initial_E = p.grad_weight_ih = p.grad_bias = p.grad_weight_hh = nullptr;
          p.grad_alpha = p.grad_modulator_weight = p.grad_modulator_bias = p.grad_rate = nullptr;
        },
        {"E", "weight_ih", "bias", "weight_hh", "alpha", "modulator_weight", "modulator_bias",
         "rate"});
  }
}

}  // namespace
}  // namespace stpn::kernels::backpropamine_cuda_test
