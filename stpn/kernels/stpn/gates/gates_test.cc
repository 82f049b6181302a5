// Gates and rule `delta`: the reference against finite differences, and the CPU kernel against the
// reference, on every SIMD target this machine runs.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "stpn/base/random.h"
#include "stpn/kernels/not_finite.h"
#include "stpn/kernels/stpn/equations.h"
#include "stpn/kernels/stpn/random_call.h"
#include "stpn/kernels/testing.h"

namespace stpn::kernels::gates_test {
namespace {

using testing::expect_cpu_matches_reference;
using testing::expect_same;
using testing::RandomStpnCall;

// Every subset of the gates with every norm, connection and decay that it goes with; then with rule
// `delta`; and the rest drawn.
std::vector<StpnVariant> gated_variants() {
  base::Random draw(29, base::Stream::test_data, 0);
  std::vector<StpnVariant> variants;
  for (int gates = 1; gates < 8; ++gates) {
    for (Norm norm : {Norm::none, Norm::preactivation, Norm::pre, Norm::post}) {
      for (Connections connections :
           {Connections::all, Connections::input, Connections::recurrent}) {
        for (Decay decay : {Decay::before_update, Decay::after_update}) {
          StpnVariant v;
          v.update_gate = (gates & 1) != 0;
          v.write_gate = (gates & 2) != 0;
          v.decay_gate = (gates & 4) != 0;
          v.norm = v.decay_gate ? Norm::pre : norm;
          v.connections = connections;
          v.decay = decay;
          // The others do not go with Oja's rule.
          if (gates == 1) v.rule = static_cast<Rule>(draw.below(2));
          v.presynaptic = static_cast<Presynaptic>(draw.below(2));
          v.activation = static_cast<Activation>(draw.below(4));
          v.rates = static_cast<Rates>(draw.below(3));
          v.layer_norm = draw.below(4) == 0;
          v.plastic_bias = draw.below(3) == 0;
          if (draw.below(3) == 0) v.clamp = 0.4;
          variants.push_back(v);
        }
      }
    }
  }
  for (int gates = 0; gates < 8; ++gates) {
    for (const bool recurrent : {true, false}) {
      if (gates != 0 && !recurrent) continue;
      StpnVariant v;
      v.rule = Rule::delta;
      v.recurrent = recurrent;
      v.update_gate = (gates & 1) != 0;
      v.write_gate = (gates & 2) != 0;
      v.decay_gate = (gates & 4) != 0;
      v.activation = static_cast<Activation>(draw.below(4));
      v.rates = static_cast<Rates>(draw.below(3));
      v.layer_norm = draw.below(4) == 0;
      v.plastic_bias = draw.below(3) == 0;
      if (draw.below(3) == 0) v.clamp = 0.4;
      variants.push_back(v);
    }
  }
  return variants;
}

std::string described(const StpnVariant& v) {
  return fmt::format(
      "update {} write {} decay gate {} norm {} connections {} rule {} decay {} presynaptic {} "
      "activation {} rates {} layer norm {} plastic bias {} clamp {}",
      v.update_gate, v.write_gate, v.decay_gate, static_cast<int>(v.norm),
      static_cast<int>(v.connections), static_cast<int>(v.rule), static_cast<int>(v.decay),
      static_cast<int>(v.presynaptic), static_cast<int>(v.activation), static_cast<int>(v.rates),
      v.layer_norm, v.plastic_bias, v.clamp);
}

TEST(StpnGatesRefTest, GradientMatchesFiniteDifference) {
  for (const StpnVariant& v : gated_variants()) {
    SCOPED_TRACE(described(v));
    RandomStpnCall<double> c({4, 2, 3, 2}, v, 7);
    c.given = RandomStpnCall<double>::GivenGradients::all;
    for (const auto& [name, gradient, row] : c.reference().gradients) {
      std::vector<double>& values = c[name];
      for (size_t k = 0; k < values.size(); ++k) {
        const double at = values[k];
        const auto loss_at = [&](double value) {
          values[k] = value;
          return c.loss();
        };
        constexpr double kStep = 1e-6;
        const double near = loss_at(at + kStep) - loss_at(at - kStep);
        const double far = loss_at(at + 2 * kStep) - loss_at(at - 2 * kStep);
        values[k] = at;
        ASSERT_NEAR(gradient[k], (8 * near - far) / (12 * kStep),
                    2e-7 * (1 + std::abs(gradient[k])))
            << name << " " << k;
      }
    }
  }
}

// One neuron, one step, by hand.
TEST(StpnGatesRefTest, FollowTheirEquations) {
  StpnVariant v;
  v.update_gate = v.write_gate = v.decay_gate = true;
  RandomStpnCall<double> c({1, 1, 1, 1}, v, 5, /*with_reset=*/false);
  const auto at = [&](const char* name, size_t k = 0) { return c[name][k]; };
  const auto sigmoid = [](double u) { return 1 / (1 + std::exp(-u)); };
  const double x = at("x"), h = at("h");
  const double G[] = {at("weight", 0) + at("F", 0), at("weight", 1) + at("F", 1)};
  const double n = std::hypot(G[0], G[1]);
  const double keep =
      sigmoid(at("update_weight", 0) * x + at("update_weight", 1) * h + at("update_bias"));
  const double candidate = std::tanh((G[0] * x + G[1] * h) / n + at("bias"));
  const double activity = keep * h + (1 - keep) * candidate;
  const double write = 2 * sigmoid(at("write_weight") * x);
  const double kept = sigmoid(at("decay_weight") * x + 4);
  const auto result = c.reference();
  EXPECT_NEAR(result.output[0], activity, 1e-14);
  const double z[] = {x, h};
  for (size_t j = 0; j < 2; ++j) {
    const double F = kept * at("weight_lambda", j) * at("F", j) / n +
                     write * at("weight_gamma", j) * activity * z[j];
    EXPECT_NEAR(result.final("F")[j], F, 1e-14);
  }
}

using StpnGatesCpuTest = testing::TargetTest;

TEST_P(StpnGatesCpuTest, EveryVariantMatchesReference) {
  base::Random sizes(17, base::Stream::test_data, 0);
  for (const StpnVariant& v : gated_variants()) {
    // A layer norm of two neurons would round the gradients away.
    const Extent e{1 + sizes.below(9), 1 + sizes.below(10), 2 + sizes.below(30),
                   4 + sizes.below(30)};
    SCOPED_TRACE(fmt::format("T {} B {} I {} H {} ", e.steps, e.batch, e.inputs, e.hidden) +
                 described(v));
    RandomStpnCall<double> c(e, v, e.inputs);
    using Given = RandomStpnCall<double>::GivenGradients;
    for (const Given given : {Given::no_energy, Given::output, Given::final_state, Given::all}) {
      c.given = given;
      expect_cpu_matches_reference(c);
    }
  }
}

StpnVariant all_gates() {
  StpnVariant v;
  v.update_gate = v.write_gate = v.decay_gate = true;
  return v;
}

// Through several intervals of recomputation, in groups of four, two and one.
TEST_P(StpnGatesCpuTest, ManyStepsAndLargeUnitsMatchReference) {
  for (const Rule rule : {Rule::hebb, Rule::delta}) {
    StpnVariant v = all_gates();
    v.rule = rule;
    for (const Extent& e : {Extent{19, 5, 150, 30}, Extent{70, 7, 18, 13}, Extent{6, 7, 150, 91},
                            Extent{3, 3, 1650, 20}}) {
      SCOPED_TRACE(e.inputs);
      const RandomStpnCall<double> c(e, v, 3);
      expect_cpu_matches_reference(c);
    }
  }
  for (const Rule rule : {Rule::hebb, Rule::delta}) {
    StpnVariant v = all_gates();
    v.rule = rule;
    const RandomStpnCall<float> in_float({19, 7, 15, 30}, v, 3);
    expect_cpu_matches_reference(in_float);
  }
}

TEST_P(StpnGatesCpuTest, BitsDoNotDependOnThreads) {
  const base::ParallelFor threads = testing::a_thread_each;
  for (const Rule rule : {Rule::hebb, Rule::delta}) {
    StpnVariant v = all_gates();
    v.rule = rule;
    const RandomStpnCall<float> c({6, 101, 7, 5}, v, 5);
    const auto alone = c.cpu();
    const auto shared = c.cpu(&threads);
    EXPECT_EQ(alone.output, shared.output);
    EXPECT_EQ(alone.finals, shared.finals);
    EXPECT_EQ(alone.gradients, shared.gradients);
  }
}

template <typename T>
void not_finite_as_in_reference() {
  int64_t calls = 0;
  for (const StpnVariant& v : gated_variants()) {
    // See stpn_test.cc: there the kernel multiplies in another order.
    if (v.norm == Norm::post || v.decay == Decay::after_update) continue;
    SCOPED_TRACE(described(v));
    RandomStpnCall<T> c({4, 5, 3, 4}, v, 7);
    c.given = RandomStpnCall<T>::GivenGradients::all;
    // An infinity times an update gate close to 1 depends on the last bit of the gate.
    calls += testing::expect_not_finite_as_in_reference(
        c, v.update_gate ? testing::Agreement::if_numbers : testing::Agreement::on_numbers);
    if (::testing::Test::HasFailure()) return;
  }
  EXPECT_GT(calls, 1000);
}

TEST_P(StpnGatesCpuTest, NaNAndInfinitiesAreWhereTheReferenceHasThem) {
  not_finite_as_in_reference<float>();
  not_finite_as_in_reference<double>();
}

// With weights of zero the write gate is 1.
TEST_P(StpnGatesCpuTest, WriteGateOfOneIsTheUnitWithout) {
  StpnVariant v;
  v.write_gate = true;
  RandomStpnCall<float> gated({9, 6, 7, 12}, v, 5);
  std::fill(gated["write_weight"].begin(), gated["write_weight"].end(), 0.0F);
  RandomStpnCall<float> plain = gated;
  plain.variant.write_gate = false;
  plain["write_weight"].clear();
  const auto got = gated.cpu();
  const auto want = plain.cpu();
  EXPECT_EQ(got.output, want.output);
  EXPECT_EQ(got.finals, want.finals);
  EXPECT_EQ(got.gradient("weight"), want.gradient("weight"));
}

INSTANTIATE_TEST_SUITE_P(Targets, StpnGatesCpuTest, testing::all_targets(), testing::target_name);

}  // namespace
}  // namespace stpn::kernels::gates_test
