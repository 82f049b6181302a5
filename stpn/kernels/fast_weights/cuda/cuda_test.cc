// The code of a thread of the CUDA kernels of Fast Weights, run on the CPU by an emulation of a
// team, against the reference.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "stpn/base/random.h"
#include "stpn/kernels/cuda/testing.h"
#include "stpn/kernels/fast_weights/cuda/emulated.h"
#include "stpn/kernels/fast_weights/equations.h"
#include "stpn/kernels/fast_weights/random_call.h"
#include "stpn/kernels/testing.h"

namespace stpn::kernels::fast_weights_cuda_test {
namespace {

namespace unit = cuda::fast_weights;

using testing::CudaShape;
using testing::emulate;
using testing::expect_same;
using testing::kCudaShapes;
using testing::RandomFastWeightsCall;

unit::Division division(const Extent& extent, const FastWeightsVariant& variant,
                        const CudaShape& shape) {
  unit::Division d(extent, variant, 8, cuda::Machine());
  testing::give_shape(shape, d.sizes.hidden, d);
  d.forward_memory = unit::ForwardMemory(d.sizes, d.forward);
  d.backward_memory = unit::BackwardMemory(d.sizes, d.backward);
  return d;
}

std::vector<FastWeightsVariant> all_variants() {
  std::vector<FastWeightsVariant> variants;
  for (const int64_t inner_steps : {1, 2, 3, 6}) {
    for (const bool layer_norm : {true, false}) {
      // Without layer norm a large rate amplifies rounding from step to step.
      const double rate = layer_norm ? 0.5 : 0.1;
      variants.push_back({.inner_steps = inner_steps, .rate = rate, .layer_norm = layer_norm});
    }
  }
  variants.push_back({.decay = 0.7, .rate = -0.4});
  variants.push_back({.decay = 0, .rate = 0.1, .layer_norm = false});
  return variants;
}

std::string name_of(const FastWeightsVariant& v) {
  return fmt::format("S {} layer norm {} decay {} rate {}", v.inner_steps, v.layer_norm, v.decay,
                     v.rate);
}

TEST(FastWeightsCudaTest, EveryVariantMatchesReference) {
  base::Random draw(31, base::Stream::test_data, 0);
  for (const FastWeightsVariant& v : all_variants()) {
    for (const CudaShape& shape : kCudaShapes) {
      // With two neurons the gradients through a layer norm would be rounding alone.
      const Extent e{1 + draw.below(7), 1 + draw.below(2), 1 + draw.below(12), 3 + draw.below(6)};
      SCOPED_TRACE(fmt::format("T {} B {} I {} H {} {} lanes {}", e.steps, e.batch, e.inputs,
                               e.hidden, name_of(v), shape.lanes));
      using Call = RandomFastWeightsCall<double>;
      Call c(e, v, e.inputs);
      for (const auto given : {Call::GivenGradients::all, Call::GivenGradients::output,
                               Call::GivenGradients::final_state}) {
        c.given = given;
        expect_same(emulate(c, division(e, v, shape)), c.reference(), e);
      }
      if (HasFailure()) return;
    }
  }
}

TEST(FastWeightsCudaTest, RunsASingleNeuron) {
  const Extent e{5, 3, 1, 1};
  for (const FastWeightsVariant& v : all_variants()) {
    SCOPED_TRACE(name_of(v));
    const RandomFastWeightsCall<double> c(e, v, 3);
    expect_same(emulate(c, division(e, v, {4, 8, true, 3})), c.reference(), e);
  }
}

// As the kernels divide them: matrices in shared memory, and streamed; several intervals between
// checkpoints.
TEST(FastWeightsCudaTest, ItsOwnDivisionsMatchReference) {
  const cuda::Machine small{256, 2, 8};
  for (const FastWeightsVariant& v :
       {FastWeightsVariant{}, {.inner_steps = 3}, {.rate = 0.1, .layer_norm = false}}) {
    for (const cuda::Machine& machine : {cuda::Machine(), small}) {
      const Extent e{35, 2, 7, 5};
      const unit::Division d(e, v, sizeof(double), machine);
      EXPECT_EQ(d.forward.resident, machine.shared_bytes > small.shared_bytes);
      EXPECT_EQ(d.forward.resident, d.backward.resident);
      EXPECT_LT(2 * d.sizes.interval, e.steps);
      const RandomFastWeightsCall<double> c(e, v, 3);
      expect_same(emulate(c, d), c.reference(), e);
      const RandomFastWeightsCall<float> in_float(e, v, 3);
      const unit::Division of_float(e, v, sizeof(float), machine);
      expect_same(emulate(in_float, of_float), in_float.reference(), e);
    }
  }
}

TEST(FastWeightsCudaTest, LargeUnitsGetClusters) {
  const cuda::Machine h200{227 * 1024, 8, 132};
  const auto divided = [&](int64_t batch, int64_t hidden, int64_t inputs) {
    return unit::Division({20, batch, inputs, hidden}, FastWeightsVariant(), sizeof(float), h200);
  };
  EXPECT_TRUE(divided(128, 20, 37).backward.resident);  // associative retrieval
  // Only A counts forward, W's gradient sums too backward.
  EXPECT_TRUE(divided(64, 64, 2592).forward.resident);
  EXPECT_FALSE(divided(64, 64, 2592).backward.resident);
  EXPECT_EQ(divided(64, 64, 2592).backward.blocks, 2);
  EXPECT_FALSE(divided(1, 512, 100).forward.resident);
  EXPECT_EQ(divided(1, 512, 100).forward.blocks, 8);
  EXPECT_EQ(divided(100, 512, 100).forward.blocks, 1);  // no more blocks than processors
}

// The threads between two barriers run in another order for every seed: what one writes and another
// reads without a barrier in between would show.
TEST(FastWeightsCudaTest, BitsDoNotDependOnTheSchedule) {
  const Extent e{4, 2, 5, 6};
  for (const FastWeightsVariant& v : all_variants()) {
    SCOPED_TRACE(name_of(v));
    RandomFastWeightsCall<float> c(e, v, 5);
    c.given = RandomFastWeightsCall<float>::GivenGradients::all;
    for (const bool resident : {true, false}) {
      const unit::Division d = division(e, v, {4, 16, resident, 2});
      const auto one = emulate(c, d, 1);
      for (const uint64_t seed : {77, 78, 79}) {
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
TEST(FastWeightsCudaTest, ResetForgetsADivergedSample) {
  const Extent e{4, 2, 3, 5};
  for (const FastWeightsVariant& v : all_variants()) {
    for (const CudaShape& shape : kCudaShapes) {
      SCOPED_TRACE(fmt::format("{} lanes {}", name_of(v), shape.lanes));
      RandomFastWeightsCall<float> c(e, v, 9, /*with_reset=*/false);
      c["x"][e.batch * e.inputs] = std::numeric_limits<float>::quiet_NaN();
      c.reset[2 * e.batch] = 1;
      const auto result = emulate(c, division(e, v, shape));
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
      expect_close(result.final("A"), reference.final("A"));
      expect_close(from_reset(result.gradient("x")), from_reset(reference.gradient("x")));
    }
  }
}

// And of its gradients only what comes after the reset is lost: a gradient that is NaN there does
// not reach what was before.
TEST(FastWeightsCudaTest, ResetEndsGradientsThatAreNaN) {
  const Extent e{4, 2, 3, 5};
  for (const FastWeightsVariant& v : all_variants()) {
    SCOPED_TRACE(name_of(v));
    RandomFastWeightsCall<float> c(e, v, 9, /*with_reset=*/false);
    c.grad_final("A")[0] = std::numeric_limits<float>::quiet_NaN();
    c.reset[2 * e.batch] = 1;
    const auto result = emulate(c, division(e, v, {4, 16, true, 3}));
    const auto reference = c.reference();
    for (const std::string_view name : {"h", "A"}) {
      EXPECT_LE(testing::distance(result.gradient(name), reference.gradient(name)),
                testing::kTolerance<float>)
          << name;
    }
  }
}

// Prediction alone saves nothing, and measures no energy where none is wanted.
TEST(FastWeightsCudaTest, PredictionAloneGivesTheSameOutput) {
  const Extent e{9, 2, 5, 6};
  for (const FastWeightsVariant& v : all_variants()) {
    RandomFastWeightsCall<double> c(e, v, 5);
    const unit::Division d = division(e, v, {4, 16, true, 2});
    const auto whole = emulate(c, d);
    c.with_energy = false;
    const auto alone =
        c.run([&](FastWeightsForwardParams<double>& p) { unit::emulate_forward(p, d, 1); },
              [](FastWeightsBackwardParams<double>&) {}, /*save=*/false);
    EXPECT_EQ(alone.output, whole.output);
    EXPECT_EQ(alone.finals, whole.finals);
  }
}

// Each gradient may be unwanted: it is not written, and the others are the same.
TEST(FastWeightsCudaTest, GradientsMayBeUnwanted) {
  using Fields = FastWeightsFields<double>;
  const Extent e{5, 2, 6, 5};
  const FastWeightsVariant v;
  const RandomFastWeightsCall<double> c(e, v, 5);
  const unit::Division d = division(e, v, {4, 16, true, 2});
  const auto all = emulate(c, d);
  for (size_t row = 0; row < std::size(Fields::gradients); ++row) {
    if (Fields::gradients[row] == nullptr) continue;
    const auto some = emulate(
        c, d, [&](FastWeightsBackwardParams<double>& p) { p.*Fields::gradients[row] = nullptr; },
        1);
    for (const auto& gradient : all.gradients) {
      SCOPED_TRACE(fmt::format("without {}: {}", kFastWeightsTensors[row].name, gradient.name));
      const std::vector<double>& found = some.gradient(gradient.name);
      if (gradient.name == kFastWeightsTensors[row].name) {
        EXPECT_TRUE(
            std::all_of(found.begin(), found.end(), [](double x) { return std::isnan(x); }));
      } else {
        EXPECT_EQ(found, gradient.values);
      }
    }
  }
}

}  // namespace
}  // namespace stpn::kernels::fast_weights_cuda_test
