// The STPN without recurrence, whose CPU kernel runs in neuron_blocks, against the reference, on
// every SIMD target this machine runs.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "stpn/base/random.h"
#include "stpn/kernels/closed_loop.h"
#include "stpn/kernels/stpn/equations.h"
#include "stpn/kernels/stpn/random_call.h"
#include "stpn/kernels/testing.h"

namespace stpn::kernels::feedforward_test {
namespace {

using testing::expect_cpu_matches_reference;
using testing::RandomStpnCall;

using StpnFeedforwardCpuTest = testing::TargetTest;

// Without recurrence, neurons run in neuron blocks, batch-interleaved. The cases: batches of
// several groups and samples left over; numbers of neurons that are no multiple of a neuron block;
// more steps than a recomputation interval (which is short for many neurons); resets at many steps
// and at few.
template <typename T>
void matches_reference() {
  base::Random draw(13, base::Stream::test_data, 0);
  for (const Norm norm : {Norm::none, Norm::preactivation, Norm::pre, Norm::post}) {
    for (const double clamp : {0.3, std::numeric_limits<double>::infinity()}) {
      for (const Extent& e : {Extent{3, 37, 5, 1}, Extent{7, 66, 18, 13}, Extent{9, 33, 3, 1100},
                              Extent{70, 32, 6, 9}}) {
        StpnVariant v;
        v.recurrent = false;
        v.norm = norm;
        v.clamp = clamp;
        v.rates = static_cast<Rates>(draw.below(3));
        v.decay = static_cast<Decay>(draw.below(2));
        v.plastic_bias = draw.below(2) == 1;
        v.scalar_bias_rates = draw.below(2) == 1;
        // Bounded, as over many steps rounding grows.
        v.activation = static_cast<Activation>(draw.below(2));
        RandomStpnCall<T> c(e, v, e.batch);
        if (e.steps % 2 == 0) c.given = RandomStpnCall<T>::GivenGradients::all;
        if (e.steps > 20) {
          // Through so many steps even the float reference strays from the double one.
          if (sizeof(T) == 4) continue;
          std::fill(c.reset.begin(), c.reset.end(), 0);
          for (int k = 0; k < 5; ++k) c.reset[draw.below(c.reset.size())] = 1;
        }
        SCOPED_TRACE(fmt::format("T {} B {} I {} H {} norm {} clamp {}", e.steps, e.batch, e.inputs,
                                 e.hidden, static_cast<int>(norm), clamp));
        expect_cpu_matches_reference(c);
      }
    }
  }
}

TEST_P(StpnFeedforwardCpuTest, MatchesReferenceInDouble) { matches_reference<double>(); }
TEST_P(StpnFeedforwardCpuTest, MatchesReferenceInFloat) { matches_reference<float>(); }

// A sequence whose inputs and resets are what was there before, but come only when they are asked
// for.
class LateInputs : public ClosedLoop {
 public:
  LateInputs(const RandomStpnCall<double>& c, std::vector<double>& x, std::vector<uint8_t>& reset)
      : case_(c), x_(x), reset_(reset) {
    hand_out(0, 0, c.extent.batch);
  }
  void after_step(int64_t t, int64_t first, int64_t count, const double* h) override {
    const Extent& e = case_.extent;
    outputs_ += count;
    EXPECT_FALSE(std::isnan(h[count * e.hidden - 1]));
    if (t + 1 < e.steps) hand_out(t + 1, first, count);
  }
  void after_step(int64_t, int64_t, int64_t, const float*) override { FAIL(); }

  int64_t outputs() const { return outputs_; }

 private:
  void hand_out(int64_t t, int64_t first, int64_t count) {
    const Extent& e = case_.extent;
    const int64_t begin = t * e.batch + first;
    std::copy_n(case_["x"].begin() + begin * e.inputs, count * e.inputs,
                x_.begin() + begin * e.inputs);
    std::copy_n(case_.reset.begin() + begin, count, reset_.begin() + begin);
  }

  const RandomStpnCall<double>& case_;
  std::vector<double>& x_;
  std::vector<uint8_t>& reset_;
  int64_t outputs_ = 0;
};

TEST_P(StpnFeedforwardCpuTest, ClosedLoopGivesTheSameBits) {
  std::vector<StpnVariant> variants(3);
  variants[0].recurrent = variants[1].recurrent = false;
  variants[0].plastic_bias = true;
  variants[1].rule = Rule::oja;
  variants[1].layer_norm = true;
  for (const StpnVariant& v : variants) {
    const RandomStpnCall<double> c({9, 35, 4, 7}, v, 15);
    std::vector<double> x(c["x"].size(), std::numeric_limits<double>::quiet_NaN());
    std::vector<uint8_t> reset(c.reset.size(), 0);
    LateInputs late(c, x, reset);
    const auto closed = c.run(
        [&](StpnForwardParams<double>& p) {
          p.x = x.data();
          p.reset = reset.data();
          p.closed_loop = &late;
          stpn_forward_cpu(p);
          p.closed_loop = nullptr;
        },
        stpn_backward_cpu<double>, true);
    const auto open = c.cpu();
    EXPECT_EQ(late.outputs(), 9 * 35);
    EXPECT_EQ(closed.output, open.output);
    EXPECT_EQ(closed.finals, open.finals);
    EXPECT_EQ(closed.gradients, open.gradients);
  }
}

// Without the gradient of x the others are the same; without any from above, all are zero.
TEST_P(StpnFeedforwardCpuTest, GradientsThatAreNotAskedFor) {
  std::vector<StpnVariant> variants(4);
  variants[0].recurrent = variants[1].recurrent = false;
  variants[1].rule = variants[2].rule = Rule::oja;
  variants[2].plastic_bias = variants[2].layer_norm = true;
  for (const StpnVariant& v : variants) {
    const RandomStpnCall<float> c({5, 38, 9, 6}, v, 21);
    auto all = c.cpu();
    auto without_x = c.run(
        stpn_forward_cpu<float>,
        [](StpnBackwardParams<float>& b) {
          b.grad_x = nullptr;
          stpn_backward_cpu(b);
        },
        true);
    for (size_t k = 1; k < all.gradients.size(); ++k) {
      EXPECT_EQ(without_x.gradients[k], all.gradients[k]);
    }
    const auto from_none = c.run(
        stpn_forward_cpu<float>,
        [](StpnBackwardParams<float>& b) {
          b.grad_output = b.grad_final_F = b.grad_final_beta = nullptr;
          stpn_backward_cpu(b);
        },
        true);
    for (const auto& [name, values, row] : from_none.gradients) {
      for (const float value : values) ASSERT_EQ(value, 0) << name;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Targets, StpnFeedforwardCpuTest, testing::all_targets(),
                         testing::target_name);

}  // namespace
}  // namespace stpn::kernels::feedforward_test
