// Checks the reference's gradients against finite differences, and the CPU kernel against the
// reference, on every SIMD target that this machine supports.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

#include "stpn/base/random.h"
#include "stpn/kernels/backpropamine/equations.h"
#include "stpn/kernels/testing.h"

namespace stpn::kernels {
namespace {

using testing::distance;
using testing::kTolerance;

// A call with random inputs and all its arrays. Outputs are initialised to NaN, so that an element
// that is never written is detected.
template <typename T>
struct RandomBackpropamineCall {
  RandomBackpropamineCall(const Extent& e, const BackpropamineVariant& v, uint64_t seed,
                          bool with_reset = true)
      : extent(e), variant(v), random(seed, base::Stream::parameters, 0) {
    const int64_t neurons = e.batch * e.hidden;
    const int64_t synapses = e.hidden * e.hidden;
    draw("x", e.steps * e.batch * e.inputs, -1, 1);
    draw("h", neurons, -1, 1);
    draw("P", neurons * e.hidden, -0.9, 0.9);
    // Larger weights make many of the networks chaotic, and rounding errors then grow
    // exponentially.
    const double bound = 1 / std::sqrt(static_cast<double>(e.hidden));
    draw("weight_ih", e.hidden * e.inputs, -1, 1);
    draw("bias", e.hidden, -0.5, 0.5);
    draw("weight_hh", synapses, -bound, bound);
    draw("alpha", synapses, -bound, bound);
    if (v.has_trace()) draw("E", neurons * e.hidden, -0.9, 0.9);
    if (v.has_modulator()) {
      draw("modulator_weight", e.hidden, -0.7, 0.7);
      draw("modulator_bias", 1, -0.5, 0.5);
    }
    if (v.has_rate()) draw("rate", 1, 0.2, 0.8);
    grad_output = drawn(e.steps * neurons, -1, 1);
    grad_final_P = drawn(neurons * e.hidden, -1, 1);
    grad_final_E = drawn(neurons * e.hidden, -1, 1);
    reset.assign(e.steps * e.batch, 0);
    for (uint8_t& mark : reset) mark = with_reset && random.below(4) == 0;
  }

  std::vector<T> drawn(int64_t count, double low, double high) {
    std::vector<T> values(count);
    for (T& value : values) value = static_cast<T>(random.uniform(low, high));
    return values;
  }
  void draw(const char* name, int64_t count, double low, double high) {
    inputs.emplace_back(name, drawn(count, low, high));
  }

  // The input of that name, or null if the variant has none.
  std::vector<T>* input(const std::string& name) {
    for (auto& [array_name, values] : inputs) {
      if (array_name == name) return &values;
    }
    return nullptr;
  }

  using Named = std::vector<std::pair<std::string, std::vector<T>>>;

  // Everything that a call writes; each gradient has the name of its input.
  struct Result {
    std::vector<T> output, final_P, final_E, energy, saved;
    Named gradients;
  };

  template <typename Forward, typename Backward>
  Result run(Forward forward, Backward backward, bool save,
             const base::ParallelFor* parallel = nullptr) const {
    const T nan = std::numeric_limits<T>::quiet_NaN();
    Result r;
    r.output.assign(grad_output.size(), nan);
    r.final_P.assign(grad_final_P.size(), nan);
    r.final_E.assign(variant.has_trace() ? grad_final_E.size() : 0, nan);
    r.energy.assign(grad_output.size(), nan);
    if (save) r.saved.assign(saved_size(*backpropamine_cpu_plan<T>(extent, variant)), nan);
    BackpropamineBackwardParams<T> b;
    BackpropamineForwardParams<T>& p = b.forward;
    p.extent = extent;
    p.variant = variant;
    p.reset = reset.data();
    p.x = read("x");
    p.initial_h = read("h");
    p.initial_P = read("P");
    p.initial_E = read("E");
    p.weight_ih = read("weight_ih");
    p.bias = read("bias");
    p.weight_hh = read("weight_hh");
    p.alpha = read("alpha");
    p.modulator_weight = read("modulator_weight");
    p.modulator_bias = read("modulator_bias");
    p.rate = read("rate");
    p.output = r.output.data();
    p.final_P = r.final_P.data();
    p.final_E = variant.has_trace() ? r.final_E.data() : nullptr;
    p.energy = r.energy.data();
    p.saved = save ? r.saved.data() : nullptr;
    p.parallel = parallel;
    forward(p);

    for (const auto& [name, values] : inputs) {
      r.gradients.emplace_back(name, std::vector<T>(values.size(), nan));
    }
    const auto gradient = [&](const std::string& name) { return find(r.gradients, name); };
    b.grad_output = given != Given::final_state ? grad_output.data() : nullptr;
    b.grad_final_P = given != Given::output ? grad_final_P.data() : nullptr;
    b.grad_final_E = given != Given::output && variant.has_trace() ? grad_final_E.data() : nullptr;
    b.grad_x = gradient("x");
    b.grad_initial_h = gradient("h");
    b.grad_initial_P = gradient("P");
    b.grad_initial_E = gradient("E");
    b.grad_weight_ih = gradient("weight_ih");
    b.grad_bias = gradient("bias");
    b.grad_weight_hh = gradient("weight_hh");
    b.grad_alpha = gradient("alpha");
    b.grad_modulator_weight = gradient("modulator_weight");
    b.grad_modulator_bias = gradient("modulator_bias");
    b.grad_rate = gradient("rate");
    backward(b);
    return r;
  }

  Result reference() const {
    return run(backpropamine_forward_ref<T>, backpropamine_backward_ref<T>, false);
  }
  Result cpu(const base::ParallelFor* parallel = nullptr) const {
    return run(backpropamine_forward_cpu<T>, backpropamine_backward_cpu<T>, true, parallel);
  }

  // The loss whose gradients `run` computes: output . grad_output + final_P . grad_final_P +
  // final_E . grad_final_E.
  T loss() const {
    const Result r = run(
        backpropamine_forward_ref<T>, [](auto&) {}, false);
    const auto dot = [](const std::vector<T>& a, const std::vector<T>& b) {
      return std::inner_product(a.begin(), a.end(), b.begin(), T(0));
    };
    return dot(r.output, grad_output) + dot(r.final_P, grad_final_P) + dot(r.final_E, grad_final_E);
  }

  template <typename Arrays>
  static auto find(Arrays& arrays, const std::string& name) -> decltype(arrays[0].second.data()) {
    for (auto& [array_name, values] : arrays) {
      if (array_name == name) return values.data();
    }
    return nullptr;
  }
  const T* read(const std::string& name) const { return find(inputs, name); }

  Extent extent;
  BackpropamineVariant variant;
  base::Random random;
  Named inputs;
  // Which gradients backward receives.
  enum class Given { all, output, final_state } given = Given::all;
  std::vector<T> grad_output, grad_final_P, grad_final_E;
  std::vector<uint8_t> reset;
};

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

TEST(BackpropamineRefTest, GradientMatchesFiniteDifference) {
  for (const BackpropamineVariant& v : all_variants()) {
    SCOPED_TRACE(name_of(v));
    RandomBackpropamineCall<double> call({5, 3, 2, 3}, v, 7);
    const auto result = call.reference();
    for (const auto& [name, gradient] : result.gradients) {
      std::vector<double>& values = *call.input(name);
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

TEST(BackpropamineRefTest, BoundIsOneAndALittleLessForTheSoftTrace) {
  for (const BackpropamineVariant& v : all_variants()) {
    if (v.modulator != Modulator::tanh) continue;
    SCOPED_TRACE(name_of(v));
    RandomBackpropamineCall<double> call({2, 1, 1, 2}, v, 7, /*with_reset=*/false);
    // With a modulator of zero, the update only clamps P.
    for (const char* name : {"modulator_weight", "modulator_bias", "rate"}) {
      if (auto* values = call.input(name)) std::fill(values->begin(), values->end(), 0.0);
    }
    *call.input("P") = {2, -2, 0.5, -0.5};
    double bound = v.addition == Addition::clamp || v.addition == Addition::soft_clamp ? 1 : 2;
    if (v.has_trace() && v.addition == Addition::soft_clamp) bound = 0.99999;
    EXPECT_EQ(call.reference().final_P, (std::vector<double>{bound, -bound, 0.5, -0.5}));
  }
}

TEST(BackpropamineRefTest, TraceIsUsedBeforeItIsUpdated) {
  RandomBackpropamineCall<double> call({1, 1, 1, 1}, {Neuromodulation::modul}, 7,
                                       /*with_reset=*/false);
  *call.input("h") = {0.5};
  *call.input("P") = *call.input("weight_ih") = *call.input("weight_hh") =
      *call.input("modulator_weight") = {0.0};
  *call.input("E") = {0.4};
  *call.input("bias") = {std::atanh(0.8)};
  *call.input("modulator_bias") = {std::atanh(0.5)};
  *call.input("rate") = {0.25};
  const auto r = call.reference();
  EXPECT_DOUBLE_EQ(r.final_P[0], 0.5 * 0.4);
  EXPECT_DOUBLE_EQ(r.final_E[0], 0.75 * 0.4 + 0.25 * 0.8 * 0.5);
}

// One neuron whose P is exactly at the bound, in a step whose delta is exactly zero. The gradient
// is the one that torch's clamp gives for the bound and for max(delta, 0) and min(delta, 0).
TEST(BackpropamineRefTest, GradientPassesAtTheBoundAndOnBothSidesOfZero) {
  for (const auto& [addition, initial_P, want_dP, want_dh] :
       {std::tuple(Addition::clamp, 1.0, 1.0, 0.25), std::tuple(Addition::clamp, 1.5, 0.0, 0.0),
        std::tuple(Addition::soft_clamp, 1.0, 1.0, 0.5),
        std::tuple(Addition::soft_clamp, 0.5, 1.0, 0.5)}) {
    RandomBackpropamineCall<double> call({1, 1, 1, 1}, {Neuromodulation::plastic, addition}, 7,
                                         /*with_reset=*/false);
    *call.input("h") = {0.0};
    *call.input("P") = {initial_P};
    *call.input("weight_ih") = *call.input("weight_hh") = *call.input("alpha") = {0.0};
    *call.input("rate") = {0.5};
    *call.input("bias") = {std::atanh(0.5)};
    call.grad_output = {0.0};
    call.grad_final_P = {1.0};
    const auto r = call.reference();
    EXPECT_DOUBLE_EQ(RandomBackpropamineCall<double>::find(r.gradients, "P")[0], want_dP);
    EXPECT_DOUBLE_EQ(RandomBackpropamineCall<double>::find(r.gradients, "h")[0], want_dh);
  }
}

template <typename T>
void expect_same(const typename RandomBackpropamineCall<T>::Result& got,
                 const typename RandomBackpropamineCall<T>::Result& want) {
  EXPECT_LE(distance(got.output, want.output), kTolerance<T>) << "output";
  EXPECT_LE(distance(got.final_P, want.final_P), kTolerance<T>) << "final P";
  EXPECT_LE(distance(got.final_E, want.final_E), kTolerance<T>) << "final E";
  EXPECT_LE(distance(got.energy, want.energy), kTolerance<T>) << "energy";
  for (size_t k = 0; k < want.gradients.size(); ++k) {
    EXPECT_LE(distance(got.gradients[k].second, want.gradients[k].second), kTolerance<T>)
        << "gradient of " << want.gradients[k].first;
  }
}

using BackpropamineCpuTest = testing::TargetTest;

template <typename T>
void matches_reference() {
  base::Random sizes(11, base::Stream::test_data, 0);
  for (const BackpropamineVariant& v : all_variants()) {
    const Extent e{.steps = 1 + sizes.below(14),
                   .batch = 1 + sizes.below(40),
                   .inputs = 1 + sizes.below(20),
                   .hidden = 1 + sizes.below(40)};
    SCOPED_TRACE(fmt::format("T {} B {} H {} {}", e.steps, e.batch, e.hidden, name_of(v)));
    const RandomBackpropamineCall<T> call(e, v, e.hidden);
    expect_same<T>(call.cpu(), call.reference());
  }
}

TEST_P(BackpropamineCpuTest, MatchesReferenceInDouble) { matches_reference<double>(); }
TEST_P(BackpropamineCpuTest, MatchesReferenceInFloat) { matches_reference<float>(); }

TEST_P(BackpropamineCpuTest, RunsASingleNeuron) {
  for (const BackpropamineVariant& v : all_variants()) {
    SCOPED_TRACE(name_of(v));
    const RandomBackpropamineCall<double> call({.steps = 5, .batch = 6, .inputs = 1, .hidden = 1},
                                               v, 3);
    expect_same<double>(call.cpu(), call.reference());
  }
}

// Sequences of several checkpoint intervals, the last one whole or shorter, at sizes that have
// short intervals. With the larger size the kernel processes two samples at a time.
TEST_P(BackpropamineCpuTest, RecomputesFromManyCheckpoints) {
  for (const auto neuromodulation : {Neuromodulation::modplast, Neuromodulation::modul}) {
    for (const int64_t hidden : {70, 131}) {
      for (const int64_t steps : {12, 15}) {
        const RandomBackpropamineCall<double> call(
            {.steps = steps, .batch = 5, .inputs = 3, .hidden = hidden}, {neuromodulation}, 3);
        expect_same<double>(call.cpu(), call.reference());
      }
    }
    // Small sizes run in the batch-interleaved layout and have long intervals.
    for (const int64_t hidden : {1, 17}) {
      const RandomBackpropamineCall<double> call(
          {.steps = 70, .batch = 19, .inputs = 3, .hidden = hidden}, {neuromodulation}, 3);
      expect_same<double>(call.cpu(), call.reference());
    }
  }
}

// Both layouts, batch-interleaved and row-vectorised, with one interval and with several.
const Extent kIntervals[] = {{.steps = 1, .batch = 19, .inputs = 3, .hidden = 5},
                             {.steps = 9, .batch = 19, .inputs = 3, .hidden = 13},
                             {.steps = 70, .batch = 17, .inputs = 3, .hidden = 13},
                             {.steps = 12, .batch = 7, .inputs = 3, .hidden = 70}};

TEST_P(BackpropamineCpuTest, EveryAdditionIsRecomputed) {
  for (const BackpropamineVariant& v : all_variants()) {
    if (v.modulator != Modulator::tanh) continue;
    for (const Extent& e : kIntervals) {
      SCOPED_TRACE(fmt::format("T {} H {} {}", e.steps, e.hidden, name_of(v)));
      const RandomBackpropamineCall<double> call(e, v, 3);
      expect_same<double>(call.cpu(), call.reference());
    }
  }
}

// The loss depends on the outputs only, as in training, or on the final state only.
TEST_P(BackpropamineCpuTest, GradientsMayBeMissing) {
  for (const BackpropamineVariant& v : all_variants()) {
    if (v.modulator != Modulator::tanh) continue;
    for (const Extent& e : kIntervals) {
      SCOPED_TRACE(fmt::format("T {} H {} {}", e.steps, e.hidden, name_of(v)));
      RandomBackpropamineCall<double> call(e, v, 3);
      for (const auto given : {RandomBackpropamineCall<double>::Given::output,
                               RandomBackpropamineCall<double>::Given::final_state}) {
        call.given = given;
        expect_same<double>(call.cpu(), call.reference());
      }
    }
  }
}

// The initial P and E are zero, for all samples or for the first half of the batch.
TEST_P(BackpropamineCpuTest, StateMayBeginAtZero) {
  for (const auto neuromodulation : {Neuromodulation::modplast, Neuromodulation::modul}) {
    for (const Extent& e : kIntervals) {
      RandomBackpropamineCall<double> call(e, {neuromodulation}, 3);
      for (const int64_t samples : {e.batch / 2, e.batch}) {
        for (const char* name : {"P", "E"}) {
          if (auto* state = call.input(name)) {
            std::fill_n(state->begin(), samples * e.hidden * e.hidden, 0.0);
          }
        }
        expect_same<double>(call.cpu(), call.reference());
      }
    }
  }
}

// The clamp changes P in one step and leaves it at the bound in the next one, whose gradient
// passes. With one checkpoint interval and with two; with a rate of 0.5 the clamp changes P
// repeatedly.
TEST_P(BackpropamineCpuTest, GradientPassesAtTheBoundAfterACut) {
  for (const int64_t batch : {1, 19}) {
    for (const int64_t steps : {4, 70}) {
      for (const double rate : {0.0, 0.5}) {
        RandomBackpropamineCall<double> call(
            {.steps = steps, .batch = batch, .inputs = 1, .hidden = 1}, {Neuromodulation::plastic},
            7, /*with_reset=*/false);
        std::fill(call.input("P")->begin(), call.input("P")->end(), 2.0);
        *call.input("rate") = {rate};
        expect_same<double>(call.cpu(), call.reference());
      }
    }
  }
}

TEST_P(BackpropamineCpuTest, BitsDoNotDependOnThreads) {
  const base::ParallelFor threads = testing::a_thread_each;
  const RandomBackpropamineCall<float> call({.steps = 6, .batch = 37, .inputs = 3, .hidden = 5},
                                            {Neuromodulation::modul}, 5);
  const auto serial = call.cpu();
  const auto in_parallel = call.cpu(&threads);
  EXPECT_EQ(serial.output, in_parallel.output);
  EXPECT_EQ(serial.final_P, in_parallel.final_P);
  EXPECT_EQ(serial.final_E, in_parallel.final_E);
  EXPECT_EQ(serial.gradients, in_parallel.gradients);
}

// A reset clears a sample's state completely, even if it is NaN.
TEST_P(BackpropamineCpuTest, ResetForgetsADivergedSample) {
  constexpr int64_t kHidden = 5;
  for (const BackpropamineVariant& v : all_variants()) {
    // A batch-interleaved sample, and row-vectorised ones in a group of four and in one of one.
    for (const auto& [batch, sample] : {std::pair(21, 2), std::pair(21, 17), std::pair(21, 20)}) {
      SCOPED_TRACE(fmt::format("sample {} {}", sample, name_of(v)));
      RandomBackpropamineCall<float> call(
          {.steps = 5, .batch = batch, .inputs = 4, .hidden = kHidden}, v, 9,
          /*with_reset=*/false);
      (*call.input("x"))[(1 * batch + sample) * 4] = std::numeric_limits<float>::quiet_NaN();
      call.reset[3 * batch + sample] = 1;
      const auto result = call.cpu();
      const auto reference = call.reference();
      const auto from_reset = [&](const std::vector<float>& output) {
        return std::vector<float>(output.begin() + 3 * batch * kHidden, output.end());
      };
      EXPECT_LE(distance(from_reset(result.output), from_reset(reference.output)),
                kTolerance<float>);
      EXPECT_LE(distance(result.final_P, reference.final_P), kTolerance<float>);
      EXPECT_LE(distance(result.final_E, reference.final_E), kTolerance<float>);
    }
  }
}

// Values exactly at the bound and a delta of exactly zero have the gradients of the reference.
TEST_P(BackpropamineCpuTest, TiesMatchReference) {
  for (const BackpropamineVariant& v : all_variants()) {
    SCOPED_TRACE(name_of(v));
    RandomBackpropamineCall<double> call({.steps = 3, .batch = 13, .inputs = 4, .hidden = 4}, v, 9,
                                         /*with_reset=*/false);
    std::fill(call.input("h")->begin(), call.input("h")->end(), 0.0);
    std::fill(call.input("P")->begin(), call.input("P")->end(), v.bound() < 1 ? v.bound() : 1.0);
    if (auto* E = call.input("E")) std::fill(E->begin(), E->end(), 0.0);
    expect_same<double>(call.cpu(), call.reference());
  }
}

INSTANTIATE_TEST_SUITE_P(Targets, BackpropamineCpuTest, testing::all_targets(),
                         testing::target_name);

}  // namespace
}  // namespace stpn::kernels
