// The reference against finite differences, and the CPU kernel against the reference, on every SIMD
// target this machine runs.
#include "stpn/kernels/stpn_recurrent.h"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <hwy/targets.h>

#include <cmath>
#include <limits>
#include <numeric>
#include <string>
#include <thread>
#include <vector>

#include "stpn/base/random.h"
#include "stpn/kernels/closed_loop.h"

namespace stpn::kernels {
namespace {

// One call with all its arrays. Outputs start as NaN, so that an element never written shows.
template <typename T>
struct Case {
  Case(const Extent& e, const StpnRecurrentVariant& v, uint64_t seed, bool with_reset = true)
      : extent(e), variant(v), random(seed, base::Stream::parameters, 0) {
    const int64_t N = sources(e, v);
    const int64_t P = plastic_sources(e, v);
    const int64_t rates = rate_count(e, v);
    const int64_t bias_rates = v.scalar_bias_rates ? 1 : e.hidden;
    x = draw(e.steps * e.batch * e.inputs, -1, 1);
    h = draw(e.batch * e.hidden, -1, 1);
    F = draw(e.batch * e.hidden * P, -0.3, 0.3);
    beta = draw(e.batch * e.hidden, -0.3, 0.3);
    weight = draw(e.hidden * N, -0.5, 0.5);
    bias = draw(e.hidden, -0.5, 0.5);
    lambda = draw(rates, 0.2, 1);
    gamma = draw(rates, -0.5, 0.5);
    layer_norm_weight = draw(e.hidden, 0.5, 1.5);
    layer_norm_bias = draw(e.hidden, -0.5, 0.5);
    bias_lambda = draw(bias_rates, 0.2, 1);
    bias_gamma = draw(bias_rates, -0.5, 0.5);
    d_output = draw(e.steps * e.batch * e.hidden, -1, 1);
    d_F = draw(e.batch * e.hidden * P, -1, 1);
    d_beta = draw(e.batch * e.hidden, -1, 1);
    reset.assign(e.steps * e.batch, 0);
    for (uint8_t& mark : reset) mark = with_reset && random.below(4) == 0;
  }

  std::vector<T> draw(int64_t count, double low, double high) {
    std::vector<T> values(count);
    for (T& value : values) value = static_cast<T>(random.uniform(low, high));
    return values;
  }

  // Everything a call writes, by name.
  struct Result {
    std::vector<T> output, final_F, final_beta, energy, kept;
    std::vector<std::pair<std::string, std::vector<T>>> gradients;
  };

  template <typename Forward, typename Backward>
  Result run(Forward forward, Backward backward, bool keep,
             const base::ParallelFor* parallel = nullptr) const {
    const T nan = std::numeric_limits<T>::quiet_NaN();
    Result r;
    r.output.assign(d_output.size(), nan);
    r.final_F.assign(F.size(), nan);
    r.final_beta.assign(beta.size(), variant.plastic_bias ? nan : T(0));
    r.energy.assign(d_output.size(), nan);
    if (keep) r.kept.assign(stpn_recurrent_kept_size<T>(extent, variant), nan);
    StpnRecurrentBackward<T> b;
    StpnRecurrentForward<T>& p = b.forward;
    p.extent = extent;
    p.variant = variant;
    p.x = x.data();
    p.reset = reset.data();
    p.initial_h = variant.recurrent ? h.data() : nullptr;
    p.initial_F = F.data();
    p.initial_beta = beta.data();
    p.weight = weight.data();
    p.bias = bias.data();
    p.weight_lambda = lambda.data();
    p.weight_gamma = gamma.data();
    p.layer_norm_weight = layer_norm_weight.data();
    p.layer_norm_bias = layer_norm_bias.data();
    p.bias_lambda = bias_lambda.data();
    p.bias_gamma = bias_gamma.data();
    p.output = r.output.data();
    p.final_F = r.final_F.data();
    p.final_beta = r.final_beta.data();
    p.energy = r.energy.data();
    p.kept = keep ? r.kept.data() : nullptr;
    p.parallel = parallel;
    forward(p);

    auto gradient = [&](const char* name, const std::vector<T>& like) {
      r.gradients.emplace_back(name, std::vector<T>(like.size(), nan));
    };
    gradient("x", x);
    if (variant.recurrent) gradient("h", h);
    gradient("F", F);
    gradient("weight", weight);
    gradient("bias", bias);
    gradient("lambda", lambda);
    gradient("gamma", gamma);
    if (variant.plastic_bias) {
      gradient("beta", beta);
      gradient("bias_lambda", bias_lambda);
      gradient("bias_gamma", bias_gamma);
    }
    if (variant.layer_norm) {
      gradient("layer_norm_weight", layer_norm_weight);
      gradient("layer_norm_bias", layer_norm_bias);
    }
    auto slot = [&](const std::string& name) {
      for (auto& [its, values] : r.gradients) {
        if (its == name) return values.data();
      }
      return static_cast<T*>(nullptr);
    };
    b.grad_output = d_output.data();
    b.grad_final_F = d_F.data();
    b.grad_final_beta = d_beta.data();
    b.grad_x = slot("x");
    b.grad_initial_h = slot("h");
    b.grad_initial_F = slot("F");
    b.grad_initial_beta = slot("beta");
    b.grad_weight = slot("weight");
    b.grad_bias = slot("bias");
    b.grad_weight_lambda = slot("lambda");
    b.grad_weight_gamma = slot("gamma");
    b.grad_layer_norm_weight = slot("layer_norm_weight");
    b.grad_layer_norm_bias = slot("layer_norm_bias");
    b.grad_bias_lambda = slot("bias_lambda");
    b.grad_bias_gamma = slot("bias_gamma");
    backward(b);
    return r;
  }

  Result reference() const {
    return run(stpn_recurrent_forward_ref<T>, stpn_recurrent_backward_ref<T>, false);
  }
  Result cpu(const base::ParallelFor* parallel = nullptr) const {
    return run(stpn_recurrent_forward_cpu<T>, stpn_recurrent_backward_cpu<T>, true, parallel);
  }

  // The loss whose gradient `run` asks for.
  T loss() const {
    const Result r = run(
        stpn_recurrent_forward_ref<T>, [](auto&) {}, false);
    auto dot = [](const std::vector<T>& a, const std::vector<T>& b) {
      return std::inner_product(a.begin(), a.end(), b.begin(), T(0));
    };
    T sum = dot(r.output, d_output) + dot(r.final_F, d_F);
    return variant.plastic_bias ? sum + dot(r.final_beta, d_beta) : sum;
  }

  std::vector<T>* input(const std::string& name) {
    if (name == "x") return &x;
    if (name == "h") return &h;
    if (name == "F") return &F;
    if (name == "beta") return &beta;
    if (name == "weight") return &weight;
    if (name == "bias") return &bias;
    if (name == "lambda") return &lambda;
    if (name == "gamma") return &gamma;
    if (name == "layer_norm_weight") return &layer_norm_weight;
    if (name == "layer_norm_bias") return &layer_norm_bias;
    if (name == "bias_lambda") return &bias_lambda;
    return &bias_gamma;
  }

  Extent extent;
  StpnRecurrentVariant variant;
  base::Random random;
  std::vector<T> x, h, F, beta, weight, bias, lambda, gamma;
  std::vector<T> layer_norm_weight, layer_norm_bias, bias_lambda, bias_gamma;
  std::vector<T> d_output, d_F, d_beta;
  std::vector<uint8_t> reset;
};

// Largest difference, as a part of the largest value; NaN if there is one.
template <typename T>
double distance(const std::vector<T>& got, const std::vector<T>& want) {
  double worst = 0;
  double scale = 1e-30;
  for (size_t k = 0; k < want.size(); ++k) {
    const double difference = std::abs(static_cast<double>(got[k]) - static_cast<double>(want[k]));
    if (!(difference <= worst)) worst = difference;
    scale = std::max(scale, std::abs(static_cast<double>(want[k])));
  }
  return worst / scale;
}

// Rounding grows with the steps; these hold with a margin of about ten for the sizes below.
template <typename T>
constexpr double kTolerance = sizeof(T) == 4 ? 2e-4 : 1e-11;

template <typename T>
void expect_same(const typename Case<T>::Result& got, const typename Case<T>::Result& want) {
  EXPECT_LE(distance(got.output, want.output), kTolerance<T>) << "output";
  EXPECT_LE(distance(got.final_F, want.final_F), kTolerance<T>) << "final F";
  EXPECT_LE(distance(got.energy, want.energy), kTolerance<T>) << "energy";
  for (size_t k = 0; k < want.gradients.size(); ++k) {
    EXPECT_LE(distance(got.gradients[k].second, want.gradients[k].second), kTolerance<T>)
        << "gradient of " << want.gradients[k].first;
  }
}

std::vector<StpnRecurrentVariant> all_reference_variants() {
  std::vector<StpnRecurrentVariant> variants;
  for (Norm norm : {Norm::none, Norm::drive, Norm::pre, Norm::post}) {
    for (Connections connections : {Connections::all, Connections::input, Connections::recurrent}) {
      for (Rule rule : {Rule::hebb, Rule::oja}) {
        for (Decay decay : {Decay::before_update, Decay::after_update}) {
          for (Presynaptic presynaptic : {Presynaptic::previous, Presynaptic::current}) {
            StpnRecurrentVariant v;
            v.norm = norm;
            v.connections = connections;
            v.rule = rule;
            v.decay = decay;
            v.presynaptic = presynaptic;
            // The other switches go round with the case, so that each meets many of these.
            const size_t n = variants.size();
            v.activation = static_cast<Activation>(n % 4);
            v.rates = static_cast<Rates>(n % 3);
            v.recurrent = n % 4 != 3;
            v.layer_norm = n % 5 < 2;
            v.plastic_bias = n % 7 < 3;
            v.scalar_bias_rates = n % 2 == 0;
            if (n % 3 == 1) v.clamp = 0.4;
            variants.push_back(v);
          }
        }
      }
    }
  }
  return variants;
}

TEST(StpnRecurrentRefTest, GradientMatchesFiniteDifference) {
  for (const StpnRecurrentVariant& v : all_reference_variants()) {
    Case<double> c({4, 2, 3, 2}, v, 7);
    const auto result = c.reference();
    for (const auto& [name, gradient] : result.gradients) {
      std::vector<double>& values = *c.input(name);
      for (size_t k = 0; k < values.size(); ++k) {
        const double at = values[k];
        constexpr double kStep = 1e-6;
        values[k] = at + kStep;
        const double above = c.loss();
        values[k] = at - kStep;
        const double below = c.loss();
        values[k] = at;
        ASSERT_NEAR(gradient[k], (above - below) / (2 * kStep), 2e-7 * (1 + std::abs(gradient[k])))
            << name << " " << k << ", norm " << static_cast<int>(v.norm) << ", connections "
            << static_cast<int>(v.connections) << ", rule " << static_cast<int>(v.rule);
      }
    }
  }
}

class StpnRecurrentCpuTest : public testing::TestWithParam<int64_t> {
 protected:
  void SetUp() override { choose(GetParam()); }
  void TearDown() override { choose(0); }
  // 0: whatever the machine has.
  static void choose(int64_t target) {
    hwy::SetSupportedTargetsForTest(target);
    hwy::GetChosenTarget().Update(hwy::SupportedTargets());
  }
};

std::vector<StpnRecurrentVariant> all_cpu_variants() {
  std::vector<StpnRecurrentVariant> variants;
  for (Norm norm : {Norm::none, Norm::drive, Norm::pre, Norm::post}) {
    for (double clamp : {0.3, std::numeric_limits<double>::infinity()}) {
      for (Presynaptic presynaptic : {Presynaptic::previous, Presynaptic::current}) {
        for (Rates rates : {Rates::synapse, Rates::source, Rates::scalar}) {
          StpnRecurrentVariant v;
          v.norm = norm;
          v.clamp = clamp;
          v.presynaptic = presynaptic;
          v.rates = rates;
          const size_t n = variants.size();
          v.recurrent = n % 5 != 1;
          v.connections = static_cast<Connections>(n % 7 % 3);
          v.decay = static_cast<Decay>(n % 3 % 2);
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
  for (const StpnRecurrentVariant& v : all_cpu_variants()) {
    ASSERT_TRUE(stpn_recurrent_cpu_supports(v));
    // One source alone would leave a normed weight no gradient but rounding.
    const Extent e{1 + sizes.below(14), 1 + sizes.below(9), 2 + sizes.below(39),
                   1 + sizes.below(20)};
    SCOPED_TRACE(fmt::format("T {} B {} I {} H {} norm {} clamp {} presynaptic {}", e.steps,
                             e.batch, e.inputs, e.hidden, static_cast<int>(v.norm), v.clamp,
                             static_cast<int>(v.presynaptic)));
    const Case<T> c(e, v, e.inputs);
    expect_same<T>(c.cpu(), c.reference());
  }
}

TEST_P(StpnRecurrentCpuTest, MatchesReferenceInDouble) { matches_reference<double>(); }
TEST_P(StpnRecurrentCpuTest, MatchesReferenceInFloat) { matches_reference<float>(); }

// Longer than one interval of replay, with and without a remainder, at sizes whose interval is
// short.
TEST_P(StpnRecurrentCpuTest, ReplaysFromManyCheckpoints) {
  for (Norm norm : {Norm::none, Norm::pre, Norm::post}) {
    for (int64_t steps : {16, 19}) {
      StpnRecurrentVariant v;
      v.norm = norm;
      v.clamp = 0.2;
      const Case<double> c({steps, 5, 150, 30}, v, 3);
      expect_same<double>(c.cpu(), c.reference());
    }
  }
}

// Without recurrence units run in slices across the samples: batches of several groups and what is
// left over, numbers of units that no slice divides, more steps than an interval of replay, resets
// at many steps and at few.
template <typename T>
void matches_reference_in_slices() {
  base::Random draw(13, base::Stream::test_data, 0);
  for (const Norm norm : {Norm::none, Norm::drive, Norm::pre, Norm::post}) {
    for (const double clamp : {0.3, std::numeric_limits<double>::infinity()}) {
      for (const Extent& e : {Extent{3, 37, 5, 1}, Extent{7, 66, 18, 13}, Extent{70, 32, 6, 9}}) {
        StpnRecurrentVariant v;
        v.recurrent = false;
        v.norm = norm;
        v.clamp = clamp;
        v.rates = static_cast<Rates>(draw.below(3));
        v.decay = static_cast<Decay>(draw.below(2));
        // Bounded, as over many steps rounding grows.
        v.activation = static_cast<Activation>(draw.below(2));
        Case<T> c(e, v, e.batch);
        if (e.steps > 20) {
          std::fill(c.reset.begin(), c.reset.end(), 0);
          for (int k = 0; k < 5; ++k) c.reset[draw.below(c.reset.size())] = 1;
          for (T& rate : c.lambda) rate *= T(0.9);
          for (T& rate : c.gamma) rate *= T(0.5);
        }
        SCOPED_TRACE(fmt::format("T {} B {} I {} H {} norm {} clamp {}", e.steps, e.batch, e.inputs,
                                 e.hidden, static_cast<int>(norm), clamp));
        expect_same<T>(c.cpu(), c.reference());
      }
    }
  }
}

TEST_P(StpnRecurrentCpuTest, SlicesMatchReferenceInDouble) {
  matches_reference_in_slices<double>();
}
TEST_P(StpnRecurrentCpuTest, SlicesMatchReferenceInFloat) { matches_reference_in_slices<float>(); }

// A sequence whose inputs and resets are what was there before, but come only when they are asked
// for.
class LateInputs : public ClosedLoop {
 public:
  LateInputs(const Case<double>& c, std::vector<double>& x, std::vector<uint8_t>& reset)
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
    std::copy_n(case_.x.begin() + begin * e.inputs, count * e.inputs,
                x_.begin() + begin * e.inputs);
    std::copy_n(case_.reset.begin() + begin, count, reset_.begin() + begin);
  }

  const Case<double>& case_;
  std::vector<double>& x_;
  std::vector<uint8_t>& reset_;
  int64_t outputs_ = 0;
};

TEST_P(StpnRecurrentCpuTest, ClosedLoopGivesTheSameBits) {
  for (const bool recurrent : {false, true}) {
    StpnRecurrentVariant v;
    v.recurrent = recurrent;
    const Case<double> c({9, 35, 4, 7}, v, 15);
    std::vector<double> x(c.x.size(), std::numeric_limits<double>::quiet_NaN());
    std::vector<uint8_t> reset(c.reset.size(), 0);
    LateInputs late(c, x, reset);
    const auto closed = c.run(
        [&](StpnRecurrentForward<double>& p) {
          p.x = x.data();
          p.reset = reset.data();
          p.closed_loop = &late;
          stpn_recurrent_forward_cpu(p);
          p.closed_loop = nullptr;
        },
        stpn_recurrent_backward_cpu<double>, true);
    const auto open = c.cpu();
    EXPECT_EQ(late.outputs(), 9 * 35);
    EXPECT_EQ(closed.output, open.output);
    EXPECT_EQ(closed.final_F, open.final_F);
    EXPECT_EQ(closed.gradients, open.gradients);
  }
}

// Without the gradient of x the others are the same; without any from above, all are zero.
TEST_P(StpnRecurrentCpuTest, GradientsThatAreNotAskedFor) {
  StpnRecurrentVariant v;
  v.recurrent = false;
  const Case<float> c({5, 38, 9, 6}, v, 21);
  auto all = c.cpu();
  auto without_x = c.run(
      stpn_recurrent_forward_cpu<float>,
      [](StpnRecurrentBackward<float>& b) {
        b.grad_x = nullptr;
        stpn_recurrent_backward_cpu(b);
      },
      true);
  for (size_t k = 1; k < all.gradients.size(); ++k) {
    EXPECT_EQ(without_x.gradients[k], all.gradients[k]);
  }
  const auto from_none = c.run(
      stpn_recurrent_forward_cpu<float>,
      [](StpnRecurrentBackward<float>& b) {
        b.grad_output = b.grad_final_F = nullptr;
        stpn_recurrent_backward_cpu(b);
      },
      true);
  for (const auto& [name, values] : from_none.gradients) {
    for (const float value : values) ASSERT_EQ(value, 0) << name;
  }
}

TEST_P(StpnRecurrentCpuTest, BitsDoNotDependOnThreads) {
  const base::ParallelFor threads = [](int64_t count, const std::function<void(int64_t)>& body) {
    std::vector<std::thread> pool;
    for (int64_t i = count - 1; i >= 0; --i) pool.emplace_back([&body, i] { body(i); });
    for (std::thread& thread : pool) thread.join();
  };
  for (const bool recurrent : {true, false}) {
    StpnRecurrentVariant v;
    v.recurrent = recurrent;
    const Case<float> c({6, 101, 7, 5}, v, 5);
    const auto alone = c.cpu();
    const auto together = c.cpu(&threads);
    EXPECT_EQ(alone.output, together.output);
    EXPECT_EQ(alone.final_F, together.final_F);
    EXPECT_EQ(alone.gradients, together.gradients);
  }
}

// What a sample has come to, NaN even, ends at its reset.
TEST_P(StpnRecurrentCpuTest, ResetForgetsADivergedSample) {
  for (const bool recurrent : {true, false}) {
    for (const int64_t batch : {5, 33}) {
      StpnRecurrentVariant v;
      v.recurrent = recurrent;
      Case<float> c({4, batch, 3, 4}, v, 9, /*with_reset=*/false);
      c.x[(1 * batch + 2) * 3] = std::numeric_limits<float>::infinity();
      c.reset[2 * batch + 2] = 1;
      const auto result = c.cpu();
      const auto reference = c.reference();
      const auto from_reset = [&](const std::vector<float>& output) {
        return std::vector<float>(output.begin() + 2 * batch * 4, output.end());
      };
      EXPECT_LE(distance(from_reset(result.output), from_reset(reference.output)),
                kTolerance<float>);
      EXPECT_LE(distance(result.final_F, reference.final_F), kTolerance<float>);
    }
  }
}

// G = 0: n is its floor, and its gradient is taken as zero.
TEST_P(StpnRecurrentCpuTest, RowsOfZeroNormMatchReference) {
  for (Norm norm : {Norm::pre, Norm::post}) {
    StpnRecurrentVariant v;
    v.norm = norm;
    Case<double> c({3, 5, 3, 4}, v, 9, /*with_reset=*/false);
    std::fill(c.weight.begin(), c.weight.end(), 0.0);
    std::fill(c.F.begin(), c.F.end(), 0.0);
    std::fill(c.gamma.begin(), c.gamma.end(), 0.0);
    expect_same<double>(c.cpu(), c.reference());
  }
}

INSTANTIATE_TEST_SUITE_P(Targets, StpnRecurrentCpuTest,
                         testing::ValuesIn(hwy::SupportedAndGeneratedTargets()),
                         [](const auto& info) { return hwy::TargetName(info.param); });

TEST(StpnRecurrentCpuSupportTest, LeavesOtherVariantsToTheReference) {
  StpnRecurrentVariant oja;
  oja.rule = Rule::oja;
  StpnRecurrentVariant layer_norm;
  layer_norm.layer_norm = true;
  for (const auto& v : {oja, layer_norm}) EXPECT_FALSE(stpn_recurrent_cpu_supports(v));
  EXPECT_TRUE(stpn_recurrent_cpu_supports({}));
}

}  // namespace
}  // namespace stpn::kernels
