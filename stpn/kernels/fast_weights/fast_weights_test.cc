// Checks the reference's gradients against finite differences, and the CPU kernel against the
// reference, on every SIMD target that this machine supports.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "stpn/base/random.h"
#include "stpn/kernels/fast_weights/equations.h"
#include "stpn/kernels/fast_weights/random_call.h"
#include "stpn/kernels/not_finite.h"
#include "stpn/kernels/testing.h"

namespace stpn::kernels::fast_weights_test {
namespace {

using testing::distance;
using testing::expect_cpu_matches_reference;
using testing::expect_same;
using testing::kTolerance;
using testing::RandomFastWeightsCall;

std::vector<FastWeightsVariant> all_variants() {
  std::vector<FastWeightsVariant> variants;
  for (const int64_t inner_steps : {1, 2, 3}) {
    for (const bool layer_norm : {true, false}) {
      // Without layer norm a large rate amplifies rounding from step to step.
      const double rate = layer_norm ? 0.5 : 0.1;
      variants.push_back({.inner_steps = inner_steps, .rate = rate, .layer_norm = layer_norm});
    }
  }
  variants.push_back({.decay = 0.7, .rate = -0.4});
  return variants;
}

std::string name_of(const FastWeightsVariant& v) {
  return fmt::format("S {} layer norm {} decay {} rate {}", v.inner_steps, v.layer_norm, v.decay,
                     v.rate);
}

TEST(FastWeightsRefTest, GradientMatchesFiniteDifference) {
  for (const FastWeightsVariant& v : all_variants()) {
    SCOPED_TRACE(name_of(v));
    RandomFastWeightsCall<double> call({.steps = 5, .batch = 2, .inputs = 3, .hidden = 4}, v, 7);
    call.given = RandomFastWeightsCall<double>::GivenGradients::all;
    const auto result = call.reference();
    for (const auto& [name, gradient, row] : result.gradients) {
      std::vector<double>& values = call[name];
      for (size_t k = 0; k < values.size(); ++k) {
        const double at = values[k];
        constexpr double kStep = 1e-6;
        values[k] = at + kStep;
        const double above = call.loss();
        values[k] = at - kStep;
        const double below = call.loss();
        values[k] = at;
        ASSERT_NEAR(gradient[k], (above - below) / (2 * kStep), 2e-7 * (1 + std::abs(gradient[k])))
            << name << " " << k;
      }
    }
  }
}

TEST(FastWeightsPlanTest, NoCallSavesMoreThanItsBound) {
  for (const FastWeightsVariant& v : all_variants()) {
    testing::expect_saved_is_bounded(v, fast_weights_cpu_plan<float>);
    testing::expect_saved_is_bounded(v, fast_weights_cpu_plan<double>);
  }
}

using FastWeightsCpuTest = testing::TargetTest;

template <typename T>
void matches_reference() {
  base::Random sizes(11, base::Stream::test_data, 0);
  for (int round = 0; round < 4; ++round) {
    for (const FastWeightsVariant& v : all_variants()) {
      const Extent e{.steps = 1 + sizes.below(14),
                     .batch = 1 + sizes.below(40),
                     .inputs = 1 + sizes.below(20),
                     .hidden = 2 + sizes.below(40)};
      SCOPED_TRACE(fmt::format("T {} B {} H {} {}", e.steps, e.batch, e.hidden, name_of(v)));
      const RandomFastWeightsCall<T> call(e, v, e.hidden);
      expect_cpu_matches_reference(call);
    }
  }
}

TEST_P(FastWeightsCpuTest, MatchesReferenceInDouble) { matches_reference<double>(); }
TEST_P(FastWeightsCpuTest, MatchesReferenceInFloat) { matches_reference<float>(); }

TEST_P(FastWeightsCpuTest, RunsASingleNeuron) {
  for (const FastWeightsVariant& v : all_variants()) {
    SCOPED_TRACE(name_of(v));
    const RandomFastWeightsCall<double> call({.steps = 5, .batch = 6, .inputs = 1, .hidden = 1}, v,
                                             3);
    expect_cpu_matches_reference(call);
  }
}

// Sequences of several time blocks, the last one whole or shorter, with resets in all of them.
TEST_P(FastWeightsCpuTest, RunsManyTimeBlocks) {
  for (const int64_t steps : {40, 53}) {
    for (const int64_t hidden : {70, 131}) {  // row-vectorised, four and two samples at a time
      const RandomFastWeightsCall<double> call(
          {.steps = steps, .batch = 5, .inputs = 3, .hidden = hidden}, {.inner_steps = 2}, 3);
      expect_cpu_matches_reference(call);
    }
    for (const int64_t hidden : {1, 17}) {  // batch-interleaved
      const RandomFastWeightsCall<double> call(
          {.steps = steps, .batch = 19, .inputs = 3, .hidden = hidden}, {.inner_steps = 2}, 3);
      expect_cpu_matches_reference(call);
    }
  }
}

// What a call returns that has no energy, no gradient of the final A and none of the initial A.
template <typename Forward, typename Backward>
auto run_without_energy_and_gradients_of_A(const RandomFastWeightsCall<double>& call,
                                           const Forward& forward, const Backward& backward,
                                           bool save) {
  auto result = call.run(
      [&](FastWeightsForwardParams<double>& p) {
        p.energy = nullptr;
        forward(p);
      },
      [&](FastWeightsBackwardParams<double>& b) {
        b.grad_final_A = b.grad_initial_A = nullptr;
        backward(b);
      },
      save);
  // These two arrays are still NaN.
  result.energy.clear();
  std::erase_if(result.gradients, [](const auto& array) { return array.name == "A"; });
  return result;
}

// Shortcuts of the kernel: it reads no initial A that is zero, computes no gradient of A that is
// neither provided nor requested, and without energy does not update A in every step.
TEST_P(FastWeightsCpuTest, SkipsZerosWithoutChangingResults) {
  for (const int64_t batch : {5, 21}) {  // row-vectorised, batch-interleaved
    for (const int64_t steps : {9, 40}) {
      for (const bool with_reset : {false, true}) {
        RandomFastWeightsCall<double> call(
            {.steps = steps, .batch = batch, .inputs = 3, .hidden = 13}, {}, 5, with_reset);
        std::fill(call["A"].begin(), call["A"].end(), 0.0);
        const auto cpu = run_without_energy_and_gradients_of_A(
            call, fast_weights_forward_cpu<double>, fast_weights_backward_cpu<double>, true);
        const auto reference = run_without_energy_and_gradients_of_A(
            call, fast_weights_forward_ref<double>, fast_weights_backward_ref<double>, false);
        expect_same(cpu, reference, call.extent);
        testing::expect_no_state_is_zeros(call);
      }
    }
  }
}

TEST_P(FastWeightsCpuTest, BitsDoNotDependOnThreads) {
  const base::ParallelFor threads = testing::a_thread_each;
  const RandomFastWeightsCall<float> call({.steps = 6, .batch = 37, .inputs = 3, .hidden = 5},
                                          {.inner_steps = 2}, 5);
  const auto serial = call.cpu();
  const auto in_parallel = call.cpu(&threads);
  EXPECT_EQ(serial.output, in_parallel.output);
  EXPECT_EQ(serial.finals, in_parallel.finals);
  EXPECT_EQ(serial.gradients, in_parallel.gradients);
}

// A reset clears a sample's state completely, even if it is NaN.
TEST_P(FastWeightsCpuTest, ResetForgetsADivergedSample) {
  for (const int64_t batch : {5, 21}) {  // row-vectorised, batch-interleaved
    RandomFastWeightsCall<float> call({.steps = 8, .batch = batch, .inputs = 4, .hidden = 4}, {}, 9,
                                      /*with_reset=*/false);
    call["x"][(1 * batch + 2) * 4] = std::numeric_limits<float>::infinity();
    call.reset[5 * batch + 2] = 1;
    const auto result = call.cpu();
    const auto reference = call.reference();
    const auto from_reset = [&](const std::vector<float>& output) {
      return std::vector<float>(output.begin() + 5 * batch * 4, output.end());
    };
    EXPECT_LE(distance(from_reset(result.output), from_reset(reference.output)), kTolerance<float>);
    EXPECT_LE(distance(from_reset(result.gradient("x")), from_reset(reference.gradient("x"))),
              kTolerance<float>)
        << "gradient of x";
    EXPECT_LE(distance(result.final("A"), reference.final("A")), kTolerance<float>);
  }
}

// Infinities only if both have numbers: the kernel computes h (h . s) in place of (h outer h) s.
template <typename T>
void not_finite_as_in_reference() {
  for (const FastWeightsVariant& v : all_variants()) {
    for (const int64_t batch : {5, 37}) {  // row-vectorised, batch-interleaved
      for (const int64_t steps : {1, 4}) {
        SCOPED_TRACE(fmt::format("batch {} steps {} {}", batch, steps, name_of(v)));
        const RandomFastWeightsCall<T> call({steps, batch, 3, 4}, v, 7);
        testing::expect_not_finite_as_in_reference(call, testing::Agreement::if_numbers);
        if (::testing::Test::HasFailure()) return;
      }
    }
  }
}

TEST_P(FastWeightsCpuTest, NaNAndInfinitiesAreWhereTheReferenceHasThemInFloat) {
  not_finite_as_in_reference<float>();
}
TEST_P(FastWeightsCpuTest, NaNAndInfinitiesAreWhereTheReferenceHasThemInDouble) {
  not_finite_as_in_reference<double>();
}

INSTANTIATE_TEST_SUITE_P(Targets, FastWeightsCpuTest, testing::all_targets(), testing::target_name);

}  // namespace
}  // namespace stpn::kernels::fast_weights_test
