// The reference against finite differences, and the CPU kernel against the reference, on every SIMD
// target this machine runs.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "stpn/base/random.h"
#include "stpn/kernels/cpu/simd_targets.h"
#include "stpn/kernels/not_finite.h"
#include "stpn/kernels/stpn/cpu_layout.h"
#include "stpn/kernels/stpn/equations.h"
#include "stpn/kernels/stpn/random_call.h"
#include "stpn/kernels/testing.h"

namespace stpn::kernels::stpn_test {
namespace {

using testing::distance;
using testing::expect_cpu_matches_reference;
using testing::expect_same;
using testing::kTolerance;
using testing::RandomStpnCall;

// Every rule, decay, norm and connection, with and without layer norm and plastic bias.
std::vector<StpnVariant> all_variants() {
  base::Random draw(19, base::Stream::test_data, 0);
  std::vector<StpnVariant> variants;
  for (Norm norm : {Norm::none, Norm::preactivation, Norm::pre, Norm::post}) {
    for (Connections connections : {Connections::all, Connections::input, Connections::recurrent}) {
      for (Rule rule : {Rule::hebb, Rule::oja}) {
        for (Decay decay : {Decay::before_update, Decay::after_update}) {
          for (Presynaptic presynaptic : {Presynaptic::previous, Presynaptic::current}) {
            StpnVariant v;
            v.norm = norm;
            v.connections = connections;
            v.rule = rule;
            v.decay = decay;
            v.presynaptic = presynaptic;
            v.activation = static_cast<Activation>(draw.below(4));
            v.rates = static_cast<Rates>(draw.below(3));
            v.recurrent = draw.below(4) != 0;
            v.layer_norm = draw.below(5) < 2;
            v.plastic_bias = draw.below(2) == 0;
            v.scalar_bias_rates = draw.below(2) == 0;
            if (draw.below(3) == 0) v.clamp = 0.4;
            variants.push_back(v);
          }
        }
      }
    }
  }
  return variants;
}

TEST(StpnRecurrentRefTest, GradientMatchesFiniteDifference) {
  for (const StpnVariant& v : all_variants()) {
    RandomStpnCall<double> c({4, 2, 3, 2}, v, 7);
    c.given = RandomStpnCall<double>::GivenGradients::all;
    const auto result = c.reference();
    for (const auto& [name, gradient, row] : result.gradients) {
      std::vector<double>& values = c[name];
      for (size_t k = 0; k < values.size(); ++k) {
        const double at = values[k];
        const auto loss_at = [&](double value) {
          values[k] = value;
          return c.loss();
        };
        // Of fourth order: some of these losses bend sharply.
        constexpr double kStep = 1e-6;
        const double near = loss_at(at + kStep) - loss_at(at - kStep);
        const double far = loss_at(at + 2 * kStep) - loss_at(at - 2 * kStep);
        values[k] = at;
        const double difference = (8 * near - far) / (12 * kStep);
        ASSERT_NEAR(gradient[k], difference, 2e-7 * (1 + std::abs(gradient[k])))
            << name << " " << k << ", norm " << static_cast<int>(v.norm) << ", connections "
            << static_cast<int>(v.connections) << ", rule " << static_cast<int>(v.rule);
      }
    }
  }
}

TEST(StpnSimdTargetTest, AMachineWithoutOneRunsTheReference) {
  const RandomStpnCall<float> c({3, 5, 4, 6}, StpnVariant(), 7);
  const auto reference = c.reference();
  hwy::GetChosenTarget().Update(HWY_SCALAR);
  EXPECT_FALSE(has_simd_target());
  const auto cpu = c.cpu();
  hwy::GetChosenTarget().Update(hwy::SupportedTargets());
  EXPECT_EQ(cpu.output, reference.output);
  EXPECT_EQ(cpu.finals, reference.finals);
  EXPECT_EQ(cpu.gradients, reference.gradients);
}

TEST(StpnPlanTest, NoCallSavesMoreThanItsBound) {
  for (const StpnVariant& v : all_variants()) {
    testing::expect_saved_is_bounded(v, stpn_cpu_plan<float>);
    testing::expect_saved_is_bounded(v, stpn_cpu_plan<double>);
  }
}

using StpnRecurrentCpuTest = testing::TargetTest;

// By Hebb's rule, which is what the sweeps of the kernel are made for.
std::vector<StpnVariant> hebbian_variants() {
  std::vector<StpnVariant> variants;
  for (Norm norm : {Norm::none, Norm::preactivation, Norm::pre, Norm::post}) {
    for (double clamp : {0.3, std::numeric_limits<double>::infinity()}) {
      for (Presynaptic presynaptic : {Presynaptic::previous, Presynaptic::current}) {
        for (Rates rates : {Rates::synapse, Rates::presynaptic, Rates::scalar}) {
          StpnVariant v;
          v.norm = norm;
          v.clamp = clamp;
          v.presynaptic = presynaptic;
          v.rates = rates;
          const size_t n = variants.size();
          v.recurrent = n % 5 != 1;
          v.connections = static_cast<Connections>(n % 7 % 3);
          v.decay = static_cast<Decay>(n % 3 % 2);
          v.plastic_bias = n % 4 == 1;
          v.scalar_bias_rates = n % 8 == 1;
          // Without norm or clamp an unbounded activity lets F explode, and rounding with it.
          const bool bounded = norm == Norm::pre || norm == Norm::post || clamp < 1;
          v.activation = static_cast<Activation>(n % (bounded ? 4 : 2));
          variants.push_back(v);
        }
      }
    }
  }
  return variants;
}

template <typename T>
void matches_reference() {
  base::Random sizes(11, base::Stream::test_data, 0);
  for (const StpnVariant& v : hebbian_variants()) {
    // With a single presynaptic input, the gradient of a normed weight would be rounding alone.
    const Extent e{1 + sizes.below(14), 1 + sizes.below(9), 2 + sizes.below(39),
                   1 + sizes.below(20)};
    SCOPED_TRACE(fmt::format("T {} B {} I {} H {} norm {} clamp {} presynaptic {}", e.steps,
                             e.batch, e.inputs, e.hidden, static_cast<int>(v.norm), v.clamp,
                             static_cast<int>(v.presynaptic)));
    RandomStpnCall<T> c(e, v, e.inputs);
    expect_cpu_matches_reference(c);
    c.given = RandomStpnCall<T>::GivenGradients::all;
    expect_cpu_matches_reference(c);
  }
}

TEST_P(StpnRecurrentCpuTest, MatchesReferenceInDouble) { matches_reference<double>(); }
TEST_P(StpnRecurrentCpuTest, MatchesReferenceInFloat) { matches_reference<float>(); }

// Few steps: without norm and clamp what Oja's rule makes grows faster and faster, and rounding
// with it. Batches of whole groups and of single samples; units that fill vectors and do not.
TEST_P(StpnRecurrentCpuTest, EveryVariantMatchesReference) {
  base::Random sizes(17, base::Stream::test_data, 0);
  for (const StpnVariant& v : all_variants()) {
    const Extent e{1 + sizes.below(5), 1 + sizes.below(10), 2 + sizes.below(20),
                   2 + sizes.below(20)};
    SCOPED_TRACE(fmt::format(
        "T {} B {} I {} H {} norm {} connections {} rule {} decay {} presynaptic {} layer norm {} "
        "plastic bias {}",
        e.steps, e.batch, e.inputs, e.hidden, static_cast<int>(v.norm),
        static_cast<int>(v.connections), static_cast<int>(v.rule), static_cast<int>(v.decay),
        static_cast<int>(v.presynaptic), v.layer_norm, v.plastic_bias));
    RandomStpnCall<double> c(e, v, e.inputs);
    expect_cpu_matches_reference(c);
    c.given = RandomStpnCall<double>::GivenGradients::all;
    expect_cpu_matches_reference(c);
  }
}

StpnVariant coupled_variant() {
  StpnVariant v;
  v.norm = Norm::post;
  v.clamp = 0.2;
  v.rule = Rule::oja;
  v.layer_norm = true;
  v.plastic_bias = true;
  return v;
}

TEST_P(StpnRecurrentCpuTest, OjaLayerNormAndPlasticBiasMatchReferenceThroughManySteps) {
  for (const bool recurrent : {true, false}) {
    for (const Norm norm : {Norm::pre, Norm::post}) {
      StpnVariant v = coupled_variant();
      v.recurrent = recurrent;
      v.norm = norm;
      const RandomStpnCall<double> c({19, 7, 150, 30}, v, 3);
      expect_cpu_matches_reference(c);
      const RandomStpnCall<float> in_float({19, 7, 15, 30}, v, 3);
      expect_cpu_matches_reference(in_float);
    }
  }
}

// As large as Pong's, whose groups are of two samples.
TEST_P(StpnRecurrentCpuTest, LargeUnitsMatchReference) {
  for (const StpnVariant& v : {StpnVariant(), coupled_variant()}) {
    const RandomStpnCall<double> c({6, 5, 150, 91}, v, 3);
    expect_cpu_matches_reference(c);
  }
}

// Longer than one recomputation interval, with and without a remainder, at sizes whose interval is
// short.
TEST_P(StpnRecurrentCpuTest, RecomputesFromManyCheckpoints) {
  for (Norm norm : {Norm::none, Norm::pre, Norm::post}) {
    for (int64_t steps : {16, 19}) {
      StpnVariant v;
      v.norm = norm;
      v.clamp = 0.2;
      const RandomStpnCall<double> c({steps, 5, 150, 30}, v, 3);
      expect_cpu_matches_reference(c);
    }
  }
}

// As in training on Maze: what all groups save exceeds the cache, and is streamed past it if it
// lies on the boundary of a vector. With resets, whole groups and single samples.
TEST_P(StpnRecurrentCpuTest, WhatIsSavedMayExceedTheCacheAndLieAnywhere) {
  StpnVariant v;
  v.norm = Norm::post;
  v.clamp = 0.2;
  RandomStpnCall<float> c({40, 30, 17, 55}, v, 3);
  ASSERT_FALSE(stpn_plan<float>(c.extent, v).saved_fits_cache);
  expect_cpu_matches_reference(c);
  const auto aligned = c.cpu();
  c.saved_offset = 4;
  const auto elsewhere = c.cpu();
  EXPECT_EQ(aligned.output, elsewhere.output);
  EXPECT_EQ(aligned.finals, elsewhere.finals);
  EXPECT_EQ(aligned.gradients, elsewhere.gradients);
}

// A loss of the outputs alone, as in training, or of the final state alone; and a state that begins
// at zero, for all samples or some. With recurrence and without, in one interval and in several.
TEST_P(StpnRecurrentCpuTest, GradientsMayBeMissingAndStateZero) {
  using Given = RandomStpnCall<double>::GivenGradients;
  std::vector<StpnVariant> variants = hebbian_variants();
  for (const bool recurrent : {true, false}) {
    variants.push_back(coupled_variant());
    variants.back().recurrent = recurrent;
  }
  for (StpnVariant v : variants) {
    if (v.rates != Rates::synapse) continue;
    for (const Extent& e : {Extent{1, 37, 5, 3}, Extent{9, 37, 18, 13}, Extent{16, 5, 150, 30},
                            Extent{70, 37, 18, 13}}) {
      // Long enough for several intervals in neuron_blocks; bounded, as over many steps rounding
      // grows.
      const bool is_long = e.steps > 20;
      if (is_long && v.recurrent) continue;
      if (is_long) v.activation = Activation::tanh;
      SCOPED_TRACE(fmt::format("T {} H {} norm {} clamp {} recurrent {}", e.steps, e.hidden,
                               static_cast<int>(v.norm), v.clamp, v.recurrent));
      RandomStpnCall<double> c(e, v, 3);
      for (size_t k = 0; k < c.reset.size() && is_long; ++k) c.reset[k] = k % 401 == 5;
      for (const Given given : {Given::output, Given::final_state, Given::all}) {
        c.given = given;
        expect_cpu_matches_reference(c);
      }
      c.given = Given::no_energy;
      const auto of_a_sample = static_cast<int64_t>(c["F"].size()) / e.batch;
      for (const int64_t samples : {int64_t{4}, e.batch}) {
        std::fill_n(c["F"].begin(), samples * of_a_sample, 0.0);
        expect_cpu_matches_reference(c);
      }
      testing::expect_no_state_is_zeros(c);
    }
  }
}

TEST_P(StpnRecurrentCpuTest, BitsDoNotDependOnThreads) {
  const base::ParallelFor threads = testing::a_thread_each;
  StpnVariant feedforward;
  feedforward.recurrent = false;
  feedforward.plastic_bias = true;
  for (const StpnVariant& v : {StpnVariant(), feedforward, coupled_variant()}) {
    const RandomStpnCall<float> c({6, 101, 7, 5}, v, 5);
    const auto alone = c.cpu();
    const auto row_vectorised = c.cpu(&threads);
    EXPECT_EQ(alone.output, row_vectorised.output);
    EXPECT_EQ(alone.finals, row_vectorised.finals);
    EXPECT_EQ(alone.gradients, row_vectorised.gradients);
  }
}

// What a sample has come to, NaN even, ends at its reset, in its rows' padding too; the first
// sample of a group and one that is left over. The gradient of x has not met it yet, going back.
TEST_P(StpnRecurrentCpuTest, ResetForgetsADivergedSample) {
  std::vector<StpnVariant> variants(7);
  variants[1].recurrent = false;
  variants[2].rule = Rule::oja;
  variants[3].layer_norm = true;
  variants[4].layer_norm = variants[4].plastic_bias = true;
  variants[5] = coupled_variant();
  variants[6].recurrent = false;
  variants[6].plastic_bias = true;
  for (const StpnVariant& v : variants) {
    for (const int64_t batch : {5, 33}) {
      for (const int64_t sample : {int64_t{2}, batch - 1}) {
        SCOPED_TRACE(
            fmt::format("variant {} batch {} sample {}", &v - variants.data(), batch, sample));
        RandomStpnCall<float> c({4, batch, 3, 5}, v, 9, /*with_reset=*/false);
        c["x"][sample * 3] = std::numeric_limits<float>::infinity();
        c.reset[2 * batch + sample] = 1;
        const auto result = c.cpu();
        const auto reference = c.reference();
        const auto from_reset = [&](const std::vector<float>& values) {
          return std::vector<float>(values.begin() + static_cast<int64_t>(values.size()) / 2,
                                    values.end());
        };
        EXPECT_LE(distance(from_reset(result.output), from_reset(reference.output)),
                  kTolerance<float>);
        for (const char* state : {"F", "beta"}) {
          EXPECT_LE(distance(result.final(state), reference.final(state)), kTolerance<float>);
        }
        EXPECT_LE(distance(from_reset(result.gradient("x")), from_reset(reference.gradient("x"))),
                  kTolerance<float>);
      }
    }
  }
}

// Every variant, with each activation; single samples and groups, recurrent or not. Exceptions:
//   norm `post`  in backward, the kernel divides by the norm in the step that follows. Where that
//                step resets the sample, the reference's 0 * NaN is missing. With infinities, sums
//                over C and W come to NaN where the equations' sums over W + F are infinite.
//   decay `after_update`  the kernel has Lambda Gamma in place of Gamma, so that with an infinite
//                Lambda it adds infinities of both signs.
template <typename T>
void not_finite_as_in_reference() {
  int64_t calls = 0;
  for (StpnVariant v : all_variants()) {
    for (const Activation activation :
         {Activation::tanh, Activation::sigmoid, Activation::relu, Activation::identity}) {
      v.activation = activation;
      for (const int64_t steps : {1, 4}) {
        const Extent e{steps, v.recurrent ? 5 : 37, 3, 4};
        SCOPED_TRACE(fmt::format(
            "T {} norm {} connections {} rule {} decay {} presynaptic {} layer norm {} plastic "
            "bias {} activation {} recurrent {}",
            steps, static_cast<int>(v.norm), static_cast<int>(v.connections),
            static_cast<int>(v.rule), static_cast<int>(v.decay), static_cast<int>(v.presynaptic),
            v.layer_norm, v.plastic_bias, static_cast<int>(activation), v.recurrent));
        const bool post = v.norm == Norm::post;
        RandomStpnCall<T> c(e, v, 7, /*with_reset=*/!post);
        if (steps > 1) c.given = RandomStpnCall<T>::GivenGradients::all;
        calls += testing::expect_not_finite_as_in_reference(c, testing::Agreement::on_numbers,
                                                            post ? ""
                                                            : v.decay == Decay::after_update
                                                                ? "_lambda"
                                                                : "no array");
        if (::testing::Test::HasFailure()) return;
      }
    }
  }
  EXPECT_GT(calls, 10000);
}

TEST_P(StpnRecurrentCpuTest, NaNAndInfinitiesAreWhereTheReferenceHasThemInFloat) {
  not_finite_as_in_reference<float>();
}
TEST_P(StpnRecurrentCpuTest, NaNAndInfinitiesAreWhereTheReferenceHasThemInDouble) {
  not_finite_as_in_reference<double>();
}

// Far beyond where exp() overflows, and in between.
template <typename T>
void activations_of_any_size() {
  constexpr T kInfinity = std::numeric_limits<T>::infinity();
  for (const Activation activation :
       {Activation::tanh, Activation::sigmoid, Activation::relu, Activation::identity}) {
    StpnVariant v;
    v.activation = activation;
    RandomStpnCall<T> c({1, 1, 1, 60}, v, 3);
    std::fill(c["x"].begin(), c["x"].end(), T(0));
    std::fill(c["h"].begin(), c["h"].end(), T(0));
    for (int i = 0; i < 58; ++i) {
      c["bias"][i] = static_cast<T>((i % 2 == 0 ? 1 : -1) * std::pow(1.4, i - 20));
    }
    c["bias"][58] = kInfinity;
    c["bias"][59] = -kInfinity;
    const std::vector<T> got = c.cpu().output;
    for (size_t i = 0; i < got.size(); ++i) {
      const double want = activate(activation, static_cast<double>(c["bias"][i]));
      if (std::isinf(want)) {
        EXPECT_EQ(got[i], static_cast<T>(want));
      } else {
        EXPECT_NEAR(got[i], want, kTolerance<T> * std::abs(want) + 1e-37)
            << static_cast<int>(activation) << " of " << c["bias"][i];
      }
    }
  }
}

TEST_P(StpnRecurrentCpuTest, ActivationsAreRightForValuesOfAnySize) {
  activations_of_any_size<float>();
  activations_of_any_size<double>();
}

// G = 0: n is its floor, and its gradient is taken as zero.
TEST_P(StpnRecurrentCpuTest, RowsOfZeroNormMatchReference) {
  for (Norm norm : {Norm::pre, Norm::post}) {
    StpnVariant v;
    v.norm = norm;
    RandomStpnCall<double> c({3, 5, 3, 4}, v, 9, /*with_reset=*/false);
    std::fill(c["weight"].begin(), c["weight"].end(), 0.0);
    std::fill(c["F"].begin(), c["F"].end(), 0.0);
    std::fill(c["weight_gamma"].begin(), c["weight_gamma"].end(), 0.0);
    expect_cpu_matches_reference(c);
  }
}

// As torch.clamp: the gradient passes where the value is exactly at the bound, and ends beyond it.
TEST_P(StpnRecurrentCpuTest, GradientPassesAtTheBoundItself) {
  StpnVariant v;
  v.norm = Norm::none;
  v.clamp = 0.25;
  for (const bool recurrent : {true, false}) {
    v.recurrent = recurrent;
    // Where F begins and how it decays: it stays at the bound, is cut at every step, or at the
    // first.
    for (const auto& [first, lambda] :
         {std::pair(0.25, 1.0), std::pair(0.25, 1.5), std::pair(0.5, 1.0)}) {
      RandomStpnCall<double> c({3, recurrent ? 5 : 37, 3, 4}, v, 9, /*with_reset=*/false);
      std::fill(c["weight_lambda"].begin(), c["weight_lambda"].end(), lambda);
      std::fill(c["weight_gamma"].begin(), c["weight_gamma"].end(), 0.0);
      for (size_t k = 0; k < c["F"].size(); ++k) c["F"][k] = k % 2 == 0 ? first : -first;
      std::fill(c.grad_output.begin(), c.grad_output.end(), 0.0);
      const auto got = c.cpu();
      expect_same(got, c.reference(), c.extent);
      // Nothing but the updates is between the final F and the initial one.
      const bool is_cut = lambda > 1 || first > v.clamp;
      for (const auto& [name, gradient, row] : got.gradients) {
        if (name != "F") continue;
        EXPECT_EQ(gradient, is_cut ? std::vector<double>(c["F"].size()) : c.grad_final("F"));
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Targets, StpnRecurrentCpuTest, testing::all_targets(),
                         testing::target_name);

}  // namespace
}  // namespace stpn::kernels::stpn_test
