// Checks the reference's gradients against finite differences, and the CPU kernel against the
// reference, on every SIMD target that this machine supports.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "stpn/base/random.h"
#include "stpn/kernels/backpropamine/equations.h"
#include "stpn/kernels/backpropamine/random_call.h"
#include "stpn/kernels/not_finite.h"
#include "stpn/kernels/testing.h"

namespace stpn::kernels::backpropamine_test {
namespace {

using testing::distance;
using testing::expect_cpu_matches_reference;
using testing::kTolerance;
using testing::RandomBackpropamineCall;

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
    call.given = RandomBackpropamineCall<double>::GivenGradients::all;
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

TEST(BackpropamineRefTest, BoundIsOneAndALittleLessForTheSoftTrace) {
  for (const BackpropamineVariant& v : all_variants()) {
    if (v.modulator != Modulator::tanh) continue;
    SCOPED_TRACE(name_of(v));
    RandomBackpropamineCall<double> call({2, 1, 1, 2}, v, 7, /*with_reset=*/false);
    // With a modulator of zero, the update only clamps P.
    for (const char* name : {"modulator_weight", "modulator_bias", "rate"}) {
      std::fill(call[name].begin(), call[name].end(), 0.0);
    }
    call["P"] = {2, -2, 0.5, -0.5};
    double bound = v.addition == Addition::clamp || v.addition == Addition::soft_clamp ? 1 : 2;
    if (v.has_trace() && v.addition == Addition::soft_clamp) bound = 0.99999;
    EXPECT_EQ(call.reference().final("P"), (std::vector<double>{bound, -bound, 0.5, -0.5}));
  }
}

TEST(BackpropamineRefTest, TraceIsUsedBeforeItIsUpdated) {
  RandomBackpropamineCall<double> call({1, 1, 1, 1}, {Neuromodulation::modul}, 7,
                                       /*with_reset=*/false);
  call["h"] = {0.5};
  call["P"] = call["weight_ih"] = call["weight_hh"] = call["modulator_weight"] = {0.0};
  call["E"] = {0.4};
  call["bias"] = {std::atanh(0.8)};
  call["modulator_bias"] = {std::atanh(0.5)};
  call["rate"] = {0.25};
  const auto r = call.reference();
  EXPECT_DOUBLE_EQ(r.final("P")[0], 0.5 * 0.4);
  EXPECT_DOUBLE_EQ(r.final("E")[0], 0.75 * 0.4 + 0.25 * 0.8 * 0.5);
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
    call["h"] = {0.0};
    call["P"] = {initial_P};
    call["weight_ih"] = call["weight_hh"] = call["alpha"] = {0.0};
    call["rate"] = {0.5};
    call["bias"] = {std::atanh(0.5)};
    call.grad_output = {0.0};
    call.grad_final("P") = {1.0};
    const auto r = call.reference();
    EXPECT_DOUBLE_EQ(r.gradient("P")[0], want_dP);
    EXPECT_DOUBLE_EQ(r.gradient("h")[0], want_dh);
  }
}

TEST(BackpropaminePlanTest, NoCallSavesMoreThanItsBound) {
  for (const BackpropamineVariant& v : all_variants()) {
    testing::expect_saved_is_bounded(v, backpropamine_cpu_plan<float>);
    testing::expect_saved_is_bounded(v, backpropamine_cpu_plan<double>);
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
    expect_cpu_matches_reference(call);
  }
}

TEST_P(BackpropamineCpuTest, MatchesReferenceInDouble) { matches_reference<double>(); }
TEST_P(BackpropamineCpuTest, MatchesReferenceInFloat) { matches_reference<float>(); }

TEST_P(BackpropamineCpuTest, RunsASingleNeuron) {
  for (const BackpropamineVariant& v : all_variants()) {
    SCOPED_TRACE(name_of(v));
    const RandomBackpropamineCall<double> call({.steps = 5, .batch = 6, .inputs = 1, .hidden = 1},
                                               v, 3);
    expect_cpu_matches_reference(call);
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
        expect_cpu_matches_reference(call);
      }
    }
    // Small sizes run in the batch-interleaved layout and have long intervals.
    for (const int64_t hidden : {1, 17}) {
      const RandomBackpropamineCall<double> call(
          {.steps = 70, .batch = 19, .inputs = 3, .hidden = hidden}, {neuromodulation}, 3);
      expect_cpu_matches_reference(call);
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
      expect_cpu_matches_reference(call);
    }
  }
}

// The loss depends on the outputs only, as in training, or on the final state only.
TEST_P(BackpropamineCpuTest, GradientsMayBeMissing) {
  using Given = RandomBackpropamineCall<double>::GivenGradients;
  for (const BackpropamineVariant& v : all_variants()) {
    if (v.modulator != Modulator::tanh) continue;
    for (const Extent& e : kIntervals) {
      SCOPED_TRACE(fmt::format("T {} H {} {}", e.steps, e.hidden, name_of(v)));
      RandomBackpropamineCall<double> call(e, v, 3);
      for (const auto given : {Given::output, Given::final_state}) {
        call.given = given;
        expect_cpu_matches_reference(call);
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
          if (call[name].empty()) continue;
          std::fill_n(call[name].begin(), samples * e.hidden * e.hidden, 0.0);
        }
        expect_cpu_matches_reference(call);
      }
      testing::expect_no_state_is_zeros(call);
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
        std::fill(call["P"].begin(), call["P"].end(), 2.0);
        call["rate"] = {rate};
        expect_cpu_matches_reference(call);
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
  EXPECT_EQ(serial.finals, in_parallel.finals);
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
      call["x"][(1 * batch + sample) * 4] = std::numeric_limits<float>::quiet_NaN();
      call.reset[3 * batch + sample] = 1;
      const auto result = call.cpu();
      const auto reference = call.reference();
      const auto from_reset = [&](const std::vector<float>& output) {
        return std::vector<float>(output.begin() + 3 * batch * kHidden, output.end());
      };
      EXPECT_LE(distance(from_reset(result.output), from_reset(reference.output)),
                kTolerance<float>);
      for (const char* state : {"P", "E"}) {
        EXPECT_LE(distance(result.final(state), reference.final(state)), kTolerance<float>)
            << "final " << state;
      }
    }
  }
}

// Exceptions: `decaying` and the trace, for which the kernel computes P + m (X - P) in place of
// (1 - m) P + m X.
template <typename T>
void not_finite_as_in_reference() {
  for (const BackpropamineVariant& v : all_variants()) {
    const bool exact = v.addition != Addition::decaying && !v.has_trace();
    for (const int64_t batch : {5, 37}) {  // row-vectorised, batch-interleaved
      for (const int64_t steps : {1, 4}) {
        SCOPED_TRACE(fmt::format("{} batch {} steps {}", name_of(v), batch, steps));
        const RandomBackpropamineCall<T> call({steps, batch, 3, 4}, v, 7);
        testing::expect_not_finite_as_in_reference(
            call, exact ? testing::Agreement::on_numbers : testing::Agreement::if_numbers);
        if (::testing::Test::HasFailure()) return;
      }
    }
  }
}

TEST_P(BackpropamineCpuTest, NaNAndInfinitiesAreWhereTheReferenceHasThemInFloat) {
  not_finite_as_in_reference<float>();
}
TEST_P(BackpropamineCpuTest, NaNAndInfinitiesAreWhereTheReferenceHasThemInDouble) {
  not_finite_as_in_reference<double>();
}

// Values exactly at the bound and a delta of exactly zero have the gradients of the reference.
TEST_P(BackpropamineCpuTest, TiesMatchReference) {
  for (const BackpropamineVariant& v : all_variants()) {
    SCOPED_TRACE(name_of(v));
    RandomBackpropamineCall<double> call({.steps = 3, .batch = 13, .inputs = 4, .hidden = 4}, v, 9,
                                         /*with_reset=*/false);
    std::fill(call["h"].begin(), call["h"].end(), 0.0);
    std::fill(call["P"].begin(), call["P"].end(), v.bound() < 1 ? v.bound() : 1.0);
    std::fill(call["E"].begin(), call["E"].end(), 0.0);
    expect_cpu_matches_reference(call);
  }
}

INSTANTIATE_TEST_SUITE_P(Targets, BackpropamineCpuTest, testing::all_targets(),
                         testing::target_name);

}  // namespace
}  // namespace stpn::kernels::backpropamine_test
