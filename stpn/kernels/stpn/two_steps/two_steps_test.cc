// Sweeps of two time steps against the reference, on every SIMD target this machine runs.
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <hwy/aligned_allocator.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "stpn/kernels/cpu/plan.h"
#include "stpn/kernels/stpn/equations.h"
#include "stpn/kernels/stpn/random_call.h"
#include "stpn/kernels/testing.h"

namespace stpn::kernels::two_steps_test {
namespace {

using testing::distance;
using testing::expect_cpu_matches_reference;
using testing::expect_same;
using testing::expect_x_may_need_no_gradient;
using testing::kTolerance;
using testing::RandomStpnCall;

using StpnTwoStepTest = testing::TargetTest;

// A unit whose fast weights are just too many for one step a sweep, with rows that do not fill
// lines of the cache.
Extent wide(int64_t steps, int64_t batch) { return {steps, batch, 1650, 20}; }

template <typename T>
RandomStpnCall<T> wide_call(int64_t steps, int64_t batch, Norm norm, bool with_reset = false) {
  StpnVariant v;
  v.norm = norm;
  // The gradient of a single rate is a sum over so many synapses that float rounds it too much.
  v.rates = static_cast<Rates>(steps % (sizeof(T) == 4 ? 2 : 3));
  v.decay = static_cast<Decay>(batch % 2);
  RandomStpnCall<T> c(wide(steps, batch), v, 3, with_reset);
  c.with_energy = false;
  // As many inputs as this drive an activity far into saturation where there is no norm.
  for (T& value : c["x"]) value *= T(0.05);
  return c;
}

constexpr Norm kNorms[] = {Norm::none, Norm::preactivation, Norm::pre};

TEST(StpnTwoStepPlanTest, WideUnitsTakeTwoSteps) {
  const auto takes = [](const Extent& e, const StpnVariant& v) {
    return stpn_cpu_plan<float>(e, v)->two_steps;
  };
  const StpnVariant v;
  EXPECT_TRUE(takes(wide(2, 1), v));
  EXPECT_TRUE(takes({20, 64, 2592, 64}, v));
  EXPECT_FALSE(takes(wide(1, 1), v));
  EXPECT_FALSE(takes({20, 64, 100, 64}, v));
  // Most columns are recurrent, and would take two sweeps.
  EXPECT_FALSE(takes({20, 64, 64, 256}, v));
  std::vector<StpnVariant> others(7);
  others[0].norm = Norm::post;
  others[1].clamp = 1;
  others[2].rule = Rule::oja;
  others[3].layer_norm = true;
  others[4].plastic_bias = true;
  others[5].recurrent = false;
  others[6].connections = Connections::input;
  for (const StpnVariant& other : others) EXPECT_FALSE(takes({20, 64, 2592, 64}, other));
}

template <typename T>
void matches_reference() {
  using Given = typename RandomStpnCall<T>::GivenGradients;
  for (const Norm norm : kNorms) {
    // Up to four intervals, of which the last has any number of steps.
    for (const int64_t steps : {2, 3, 4, 5, 7, 8, 9, 14, 18, 27}) {
      SCOPED_TRACE(fmt::format("T {} norm {}", steps, static_cast<int>(norm)));
      RandomStpnCall<T> c = wide_call<T>(steps, 1 + steps % 6, norm);
      for (const Given given : {Given::no_energy, Given::output, Given::final_state}) {
        c.given = given;
        expect_cpu_matches_reference(c);
      }
    }
  }
}

TEST_P(StpnTwoStepTest, MatchesReferenceInDouble) { matches_reference<double>(); }
TEST_P(StpnTwoStepTest, MatchesReferenceInFloat) { matches_reference<float>(); }

TEST_P(StpnTwoStepTest, ResetsAtAnyStepMatchReference) {
  for (const Norm norm : kNorms) {
    expect_cpu_matches_reference(wide_call<double>(19, 5, norm, /*with_reset=*/true));
    for (int64_t t = 0; t < 10; ++t) {
      SCOPED_TRACE(fmt::format("reset at {} norm {}", t, static_cast<int>(norm)));
      RandomStpnCall<double> c = wide_call<double>(10, 5, norm);
      c.reset[t * 5 + 2] = c.reset[t * 5 + 4] = 1;
      expect_cpu_matches_reference(c);
    }
  }
}

// Inputs that come only after the step before; zeros until then, since sums that are not finite
// would make the steps go one by one.
struct LateInputs : ClosedLoop {
  explicit LateInputs(const RandomStpnCall<double>& c) : call(c), x(c["x"].size(), 0.0) {
    hand_out(0, 0, c.extent.batch);
  }
  void after_step(int64_t t, int64_t first, int64_t count, const double*) override {
    if (t + 1 < call.extent.steps) hand_out(t + 1, first, count);
  }
  void after_step(int64_t, int64_t, int64_t, const float*) override { FAIL(); }
  void hand_out(int64_t t, int64_t first, int64_t count) {
    const int64_t inputs = call.extent.inputs, begin = (t * call.extent.batch + first) * inputs;
    std::copy_n(call["x"].begin() + begin, count * inputs, x.begin() + begin);
  }

  const RandomStpnCall<double>& call;
  std::vector<double> x;
};

// Forward that saves nothing, and one whose steps cannot go in pairs, are other sweeps.
TEST_P(StpnTwoStepTest, OneStepAtATimeMatchesReference) {
  for (const Norm norm : kNorms) {
    RandomStpnCall<double> c = wide_call<double>(11, 5, norm);
    const auto reference = c.reference();
    LateInputs loop(c);
    const auto in_loop = [&](StpnForwardParams<double> p) {
      p.x = loop.x.data();
      p.closed_loop = &loop;
      stpn_forward_cpu(p);
    };
    expect_same(c.run(in_loop, stpn_backward_cpu<double>, true), reference, c.extent);
    const auto no_backward = [](auto&) {};
    const auto result = c.run(stpn_forward_cpu<double>, no_backward, false);
    EXPECT_LE(distance(result.output, reference.output), kTolerance<double>);
    c.with_energy = true;
    c.given = RandomStpnCall<double>::GivenGradients::all;
    expect_cpu_matches_reference(c);
  }
}

TEST_P(StpnTwoStepTest, InputsMayNeedNoGradient) {
  for (const Norm norm : kNorms) expect_x_may_need_no_gradient(wide_call<double>(12, 5, norm));
}

// More groups than shards: only the first of a shard finds sums that nobody has set to zero. The
// last shard has a group of four samples and one of a single sample.
TEST_P(StpnTwoStepTest, GradientsOfAllGroupsAddUp) {
  expect_cpu_matches_reference(wide_call<double>(2, 69, Norm::pre));
}

// |G|^2 of a row exceeds what a float holds: 1/n is zero.
TEST_P(StpnTwoStepTest, RowsOfInfiniteNormHaveFiniteGradients) {
  RandomStpnCall<float> c = wide_call<float>(6, 5, Norm::pre);
  for (int64_t j = 0; j < c.extent.inputs; ++j) c["weight"][j] = 1e19F;
  for (const auto& gradient : c.cpu().gradients) {
    for (const float value : gradient.values) ASSERT_TRUE(std::isfinite(value)) << gradient.name;
  }
}

// Rows of the final F that fill lines of the cache, at such an address, are written at once.
TEST_P(StpnTwoStepTest, AlignedFinalStateMatchesReference) {
  for (const int64_t steps : {2, 3, 20}) {
    StpnVariant v;
    v.norm = Norm::pre;
    RandomStpnCall<double> c({steps, 5, 1660, 20}, v, 3, /*with_reset=*/true);
    c.with_energy = false;
    for (double& value : c["x"]) value *= 0.05;
    const int64_t size = c.extent.batch * c.extent.hidden * (c.extent.inputs + c.extent.hidden);
    const auto aligned = hwy::AllocateAligned<double>(size);
    const auto forward = [&](StpnForwardParams<double> p) {
      double* const final_F = p.final_F;
      p.final_F = aligned.get();
      stpn_forward_cpu(p);
      std::copy_n(aligned.get(), size, final_F);
    };
    expect_same(c.run(forward, stpn_backward_cpu<double>, true), c.reference(), c.extent);
  }
}

TEST_P(StpnTwoStepTest, StateMayBeAbsent) {
  for (const Norm norm : kNorms) {
    testing::expect_no_state_is_zeros(wide_call<double>(12, 5, norm, /*with_reset=*/true));
  }
}

TEST_P(StpnTwoStepTest, BitsDoNotDependOnThreads) {
  const base::ParallelFor threads = testing::a_thread_each;
  const RandomStpnCall<float> c = wide_call<float>(11, 13, Norm::pre, /*with_reset=*/true);
  const auto alone = c.cpu();
  const auto together = c.cpu(&threads);
  EXPECT_EQ(alone.output, together.output);
  EXPECT_EQ(alone.finals, together.finals);
  EXPECT_EQ(alone.gradients, together.gradients);
}

// F all but cancels W at every second step: |W + F|^2 from sums over both would lack digits.
TEST_P(StpnTwoStepTest, WeightsThatCancelMatchReference) {
  RandomStpnCall<double> c = wide_call<double>(10, 4, Norm::preactivation);
  std::fill(c["weight_lambda"].begin(), c["weight_lambda"].end(), -1.0);
  for (double& value : c["weight_gamma"]) value *= 1e-4;
  const std::vector<double>& W = c["weight"];
  for (size_t k = 0; k < c["F"].size(); ++k) c["F"][k] = 0.999 * W[k % W.size()];
  expect_cpu_matches_reference(c);
}

TEST_P(StpnTwoStepTest, RowsOfZeroNormMatchReference) {
  RandomStpnCall<double> c = wide_call<double>(10, 5, Norm::pre);
  for (const char* name : {"weight", "F", "weight_gamma"}) {
    std::fill(c[name].begin(), c[name].end(), 0.0);
  }
  expect_cpu_matches_reference(c);
}

// A sample that diverges, in the first or second step of a pair, harms neither the others nor
// what comes after its reset.
TEST_P(StpnTwoStepTest, ResetForgetsADivergedSample) {
  for (const int64_t step : {0, 1, 2}) {
    RandomStpnCall<float> c = wide_call<float>(6, 5, Norm::pre);
    c["x"][(step * 5 + 2) * c.extent.inputs] = std::numeric_limits<float>::infinity();
    c.reset[4 * 5 + 2] = 1;
    const auto result = c.cpu();
    const auto reference = c.reference();
    const int64_t hidden = c.extent.hidden;
    for (int64_t t = 0; t < 6; ++t) {
      for (int64_t sample = 0; sample < 5; ++sample) {
        if (sample == 2 && t >= step && t < 4) continue;
        const auto of = [&](const std::vector<float>& values) {
          const auto first = values.begin() + (t * 5 + sample) * hidden;
          return std::vector<float>(first, first + hidden);
        };
        EXPECT_LE(distance(of(result.output), of(reference.output)), kTolerance<float>)
            << "step " << t << " sample " << sample << " infinite at " << step;
      }
    }
    EXPECT_LE(distance(result.final("F"), reference.final("F")), kTolerance<float>);
  }
}

INSTANTIATE_TEST_SUITE_P(Targets, StpnTwoStepTest, testing::all_targets(), testing::target_name);

}  // namespace
}  // namespace stpn::kernels::two_steps_test
