// A call of the STPN with all its arrays, for tests.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <limits>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

#include "stpn/base/parallel.h"
#include "stpn/base/random.h"
#include "stpn/kernels/stpn/equations.h"
#include "stpn/kernels/testing.h"

namespace stpn::kernels::testing {

// Outputs start as NaN, so that an element never written shows.
template <typename T>
struct RandomStpnCall {
  RandomStpnCall(const Extent& e, const StpnVariant& v, uint64_t seed, bool with_reset = true)
      : extent(e), variant(v), random(seed, base::Stream::parameters, 0) {
    const int64_t N = fan_in(e, v);
    const int64_t P = plastic_fan_in(e, v);
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
    std::vector<T> output, final_F, final_beta, energy, saved;
    std::vector<std::pair<std::string, std::vector<T>>> gradients;
  };

  template <typename Forward, typename Backward>
  Result run(Forward forward, Backward backward, bool save,
             const base::ParallelFor* parallel = nullptr) const {
    const T nan = std::numeric_limits<T>::quiet_NaN();
    Result r;
    r.output.assign(d_output.size(), nan);
    r.final_F.assign(F.size(), nan);
    r.final_beta.assign(beta.size(), variant.plastic_bias ? nan : T(0));
    r.energy.assign(d_output.size(), nan);
    if (save) r.saved.assign(saved_size(*stpn_cpu_plan<T>(extent, variant)), nan);
    StpnBackwardParams<T> b;
    StpnForwardParams<T>& p = b.forward;
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
    p.saved = save ? r.saved.data() : nullptr;
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
    b.grad_output = given != Given::final_state ? d_output.data() : nullptr;
    b.grad_final_F = given != Given::output ? d_F.data() : nullptr;
    b.grad_final_beta = given != Given::output ? d_beta.data() : nullptr;
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
    return run(stpn_forward_ref<T>, stpn_backward_ref<T>, false);
  }
  Result cpu(const base::ParallelFor* parallel = nullptr) const {
    return run(stpn_forward_cpu<T>, stpn_backward_cpu<T>, true, parallel);
  }

  // The loss whose gradient `run` asks for.
  T loss() const {
    const Result r = run(
        stpn_forward_ref<T>, [](auto&) {}, false);
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
  StpnVariant variant;
  base::Random random;
  std::vector<T> x, h, F, beta, weight, bias, lambda, gamma;
  std::vector<T> layer_norm_weight, layer_norm_bias, bias_lambda, bias_gamma;
  // Which gradients backward is given.
  enum class Given { all, output, final_state } given = Given::all;
  std::vector<T> d_output, d_F, d_beta;
  std::vector<uint8_t> reset;
};

template <typename T>
void expect_same(const typename RandomStpnCall<T>::Result& got,
                 const typename RandomStpnCall<T>::Result& want) {
  EXPECT_LE(distance(got.output, want.output), kTolerance<T>) << "output";
  EXPECT_LE(distance(got.final_F, want.final_F), kTolerance<T>) << "final F";
  EXPECT_LE(distance(got.final_beta, want.final_beta), kTolerance<T>) << "final beta";
  EXPECT_LE(distance(got.energy, want.energy), kTolerance<T>) << "energy";
  for (size_t k = 0; k < want.gradients.size(); ++k) {
    EXPECT_LE(distance(got.gradients[k].second, want.gradients[k].second), kTolerance<T>)
        << "gradient of " << want.gradients[k].first;
  }
}

}  // namespace stpn::kernels::testing
