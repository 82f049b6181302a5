// Checks the reference's gradients against finite differences, and the CPU kernel against the
// reference, on every SIMD target that this machine supports.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

#include "stpn/base/random.h"
#include "stpn/kernels/fast_weights/equations.h"
#include "stpn/kernels/testing.h"

namespace stpn::kernels {
namespace {

using testing::distance;
using testing::kTolerance;

// A call with random inputs and all its arrays. Outputs are initialised to NaN, so that an element
// that is never written is detected.
template <typename T>
struct RandomFastWeightsCall {
  RandomFastWeightsCall(const Extent& e, const FastWeightsVariant& v, uint64_t seed,
                        bool with_reset = true)
      : extent(e), variant(v), random(seed, base::Stream::parameters, 0) {
    x = draw(e.steps * e.batch * e.inputs, -1, 1);
    h = draw(e.batch * e.hidden, -1, 1);
    A = draw(e.batch * e.hidden * e.hidden, -0.3, 0.3);
    weight = draw(e.hidden * (e.inputs + e.hidden), -0.5, 0.5);
    bias = draw(e.hidden, -0.5, 0.5);
    layer_norm_weight = draw(e.hidden, 0.5, 1.5);
    layer_norm_bias = draw(e.hidden, -0.5, 0.5);
    grad_output = draw(e.steps * e.batch * e.hidden, -1, 1);
    grad_final_A = draw(e.batch * e.hidden * e.hidden, -1, 1);
    reset.assign(e.steps * e.batch, 0);
    for (uint8_t& mark : reset) mark = with_reset && random.below(4) == 0;
  }

  std::vector<T> draw(int64_t count, double low, double high) {
    std::vector<T> values(count);
    for (T& value : values) value = static_cast<T>(random.uniform(low, high));
    return values;
  }

  // Everything that a call writes; each gradient has the name of its input.
  struct Result {
    std::vector<T> output, final_A, energy, saved;
    std::vector<std::pair<std::string, std::vector<T>>> gradients;
  };

  template <typename Forward, typename Backward>
  Result run(Forward forward, Backward backward, int64_t saved_size,
             const base::ParallelFor* parallel = nullptr) const {
    const T nan = std::numeric_limits<T>::quiet_NaN();
    Result r;
    r.output.assign(grad_output.size(), nan);
    r.final_A.assign(A.size(), nan);
    r.energy.assign(only_sequence ? 0 : grad_output.size(), nan);
    r.saved.assign(saved_size, nan);
    FastWeightsBackwardParams<T> b;
    FastWeightsForwardParams<T>& p = b.forward;
    p.extent = extent;
    p.variant = variant;
    p.x = x.data();
    p.reset = reset.data();
    p.initial_h = h.data();
    p.initial_A = A.data();
    p.weight = weight.data();
    p.bias = bias.data();
    p.layer_norm_weight = variant.layer_norm ? layer_norm_weight.data() : nullptr;
    p.layer_norm_bias = variant.layer_norm ? layer_norm_bias.data() : nullptr;
    p.output = r.output.data();
    p.final_A = r.final_A.data();
    p.energy = only_sequence ? nullptr : r.energy.data();
    p.saved = saved_size > 0 ? r.saved.data() : nullptr;
    p.parallel = parallel;
    forward(p);

    b.grad_output = grad_output.data();
    std::vector<std::pair<const char*, T**>> gradients = {{"x", &b.grad_x},
                                                          {"h", &b.grad_initial_h},
                                                          {"weight", &b.grad_weight},
                                                          {"bias", &b.grad_bias}};
    if (!only_sequence) {
      b.grad_final_A = grad_final_A.data();
      gradients.emplace_back("A", &b.grad_initial_A);
    }
    if (variant.layer_norm) {
      gradients.emplace_back("layer_norm_weight", &b.grad_layer_norm_weight);
      gradients.emplace_back("layer_norm_bias", &b.grad_layer_norm_bias);
    }
    for (auto& [name, gradient] : gradients) {
      auto& values = r.gradients.emplace_back(name, std::vector<T>(input(name).size(), nan)).second;
      *gradient = values.data();
    }
    backward(b);
    return r;
  }

  Result reference() const {
    return run(fast_weights_forward_ref<T>, fast_weights_backward_ref<T>, 0);
  }

  Result cpu(const base::ParallelFor* parallel = nullptr) const {
    return run(fast_weights_forward_cpu<T>, fast_weights_backward_cpu<T>,
               saved_size(*fast_weights_cpu_plan<T>(extent, variant)), parallel);
  }

  // The loss whose gradients `run` computes: output . grad_output + final_A . grad_final_A.
  T loss() const {
    const Result r = run(
        fast_weights_forward_ref<T>, [](auto&) {}, 0);
    auto dot = [](const std::vector<T>& a, const std::vector<T>& b) {
      return std::inner_product(a.begin(), a.end(), b.begin(), T(0));
    };
    return dot(r.output, grad_output) + dot(r.final_A, grad_final_A);
  }

  const std::vector<T>& input(const std::string& name) const {
    if (name == "x") return x;
    if (name == "h") return h;
    if (name == "A") return A;
    if (name == "weight") return weight;
    if (name == "bias") return bias;
    return name == "layer_norm_weight" ? layer_norm_weight : layer_norm_bias;
  }
  std::vector<T>& input(const std::string& name) {
    return const_cast<std::vector<T>&>(std::as_const(*this).input(name));
  }

  Extent extent;
  FastWeightsVariant variant;
  base::Random random;
  std::vector<T> x, h, A, weight, bias, layer_norm_weight, layer_norm_bias;
  std::vector<T> grad_output, grad_final_A;
  std::vector<uint8_t> reset;
  bool only_sequence = false;  // neither the energy nor gradients of the initial and final A
};

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
    const auto result = call.reference();
    for (const auto& [name, gradient] : result.gradients) {
      std::vector<double>& values = call.input(name);
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

template <typename T>
void expect_same(const typename RandomFastWeightsCall<T>::Result& got,
                 const typename RandomFastWeightsCall<T>::Result& want) {
  EXPECT_LE(distance(got.output, want.output), kTolerance<T>) << "output";
  EXPECT_LE(distance(got.final_A, want.final_A), kTolerance<T>) << "final A";
  EXPECT_LE(distance(got.energy, want.energy), kTolerance<T>) << "energy";
  for (size_t k = 0; k < want.gradients.size(); ++k) {
    EXPECT_LE(distance(got.gradients[k].second, want.gradients[k].second), kTolerance<T>)
        << "gradient of " << want.gradients[k].first;
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
      expect_same<T>(call.cpu(), call.reference());
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
    expect_same<double>(call.cpu(), call.reference());
  }
}

// Sequences of several time blocks, the last one whole or shorter, with resets in all of them.
TEST_P(FastWeightsCpuTest, RunsManyTimeBlocks) {
  for (const int64_t steps : {40, 53}) {
    for (const int64_t hidden : {70, 131}) {  // row-vectorised, four and two samples at a time
      const RandomFastWeightsCall<double> call(
          {.steps = steps, .batch = 5, .inputs = 3, .hidden = hidden}, {.inner_steps = 2}, 3);
      expect_same<double>(call.cpu(), call.reference());
    }
    for (const int64_t hidden : {1, 17}) {  // batch-interleaved
      const RandomFastWeightsCall<double> call(
          {.steps = steps, .batch = 19, .inputs = 3, .hidden = hidden}, {.inner_steps = 2}, 3);
      expect_same<double>(call.cpu(), call.reference());
    }
  }
}

// Shortcuts of the kernel: it reads no initial A that is zero, computes no gradient of A that is
// neither provided nor requested, and without energy does not update A in every step.
TEST_P(FastWeightsCpuTest, SkipsZerosWithoutChangingResults) {
  for (const int64_t batch : {5, 21}) {  // row-vectorised, batch-interleaved
    for (const int64_t steps : {9, 40}) {
      for (const bool with_reset : {false, true}) {
        RandomFastWeightsCall<double> call(
            {.steps = steps, .batch = batch, .inputs = 3, .hidden = 13}, {}, 5, with_reset);
        std::fill(call.A.begin(), call.A.end(), 0);
        call.only_sequence = true;
        expect_same<double>(call.cpu(), call.reference());
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
  EXPECT_EQ(serial.final_A, in_parallel.final_A);
  EXPECT_EQ(serial.gradients, in_parallel.gradients);
}

// A reset clears a sample's state completely, even if it is NaN.
TEST_P(FastWeightsCpuTest, ResetForgetsADivergedSample) {
  for (const int64_t batch : {5, 21}) {  // row-vectorised, batch-interleaved
    RandomFastWeightsCall<float> call({.steps = 8, .batch = batch, .inputs = 4, .hidden = 4}, {}, 9,
                                      /*with_reset=*/false);
    call.x[(1 * batch + 2) * 4] = std::numeric_limits<float>::infinity();
    call.reset[5 * batch + 2] = 1;
    const auto result = call.cpu();
    const auto reference = call.reference();
    const auto from_reset = [&](const std::vector<float>& output) {
      return std::vector<float>(output.begin() + 5 * batch * 4, output.end());
    };
    EXPECT_LE(distance(from_reset(result.output), from_reset(reference.output)), kTolerance<float>);
    EXPECT_LE(
        distance(from_reset(result.gradients[0].second), from_reset(reference.gradients[0].second)),
        kTolerance<float>)
        << "gradient of " << result.gradients[0].first;
    EXPECT_LE(distance(result.final_A, reference.final_A), kTolerance<float>);
  }
}

INSTANTIATE_TEST_SUITE_P(Targets, FastWeightsCpuTest, testing::all_targets(), testing::target_name);

}  // namespace
}  // namespace stpn::kernels
