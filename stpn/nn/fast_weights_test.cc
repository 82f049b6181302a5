#include "stpn/nn/fast_weights.h"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <string>

#include "stpn/base/error.h"
#include "stpn/nn/contract/unit_contract.h"
#include "stpn/ops/units/fast_weights.h"

namespace stpn::nn::fast_weights_test {
namespace {

using Change = std::function<void(FastWeightsOptions&)>;

UnitCase variant(const std::string& name, Backend backend, const Change& change) {
  UnitCase result{name,
                  [change](int64_t inputs, int64_t hidden) {
                    FastWeightsOptions options;
                    options.hidden_size = hidden;
                    change(options);
                    return options.make(inputs);
                  },
                  backend};
  result.same_bits = false;  // the pre-activation is a matrix product of libtorch's
  return result;
}

void no_layer_norm(FastWeightsOptions& options) { options.layer_norm = false; }
void three_inner_steps(FastWeightsOptions& options) { options.inner_steps = 3; }
void other_rates(FastWeightsOptions& options) {
  options.layer_norm = false;
  options.inner_steps = 2;
  options.decay = 0.6;
  options.rate = -0.3;
}

INSTANTIATE_TEST_SUITE_P(
    FastWeights, UnitContract,
    testing::Values(variant("cpu", Backend::cpu, [](auto&) {}),
                    variant("reference", Backend::reference, [](auto&) {}),
                    variant("no_layer_norm_cpu", Backend::cpu, no_layer_norm),
                    variant("no_layer_norm_reference", Backend::reference, no_layer_norm),
                    variant("three_inner_steps_cpu", Backend::cpu, three_inner_steps),
                    variant("three_inner_steps_reference", Backend::reference, three_inner_steps),
                    variant("other_rates_cpu", Backend::cpu, other_rates)),
    unit_case_name);

ops::FastWeightsCall small_call() {
  const auto random = [](at::IntArrayRef shape) { return torch::rand(shape) - 0.5; };
  ops::FastWeightsCall call;
  call.x = random({4, 2, 3});
  call.h = random({2, 5});
  call.A = random({2, 5, 5});
  call.weight = random({5, 8});
  call.bias = random({5});
  call.layer_norm_weight = random({5});
  call.layer_norm_bias = random({5});
  return call;
}

TEST(FastWeightsTest, CpuKernelAndReferenceAgree) {
  torch::manual_seed(4);
  ops::FastWeightsCall call = small_call();
  call.energy = true;
  const auto run = [&](Backend backend) {
    const BackendGuard guard(backend);
    return ops::fast_weights(call);
  };
  const auto cpu = run(Backend::cpu);
  const auto reference = run(Backend::reference);
  EXPECT_TRUE(cpu.output.allclose(reference.output, 1e-5, 1e-6));
  EXPECT_TRUE(cpu.A.allclose(reference.A, 1e-5, 1e-6));
  EXPECT_TRUE(cpu.energy.allclose(reference.energy, 1e-5, 1e-6));
}

TEST(FastWeightsTest, PredictingGivesTheBitsOfTraining) {
  torch::manual_seed(4);
  ops::FastWeightsCall call = small_call();
  call.weight.requires_grad_();
  const auto training = ops::fast_weights(call);
  const torch::NoGradGuard no_grad;
  const auto predicting = ops::fast_weights(call);
  EXPECT_TRUE(training.output.equal(predicting.output));
  EXPECT_TRUE(training.A.equal(predicting.A));
  EXPECT_FALSE(predicting.output.requires_grad());
}

// A reset cuts off the activity that the slow weights' energy is counted with, too.
TEST(FastWeightsTest, EnergyAfterAResetIsThatOfAFirstStep) {
  torch::manual_seed(4);
  ops::FastWeightsCall call = small_call();
  call.energy = true;
  call.reset = torch::zeros({4, 2}, torch::kBool);
  call.reset[2][1] = true;
  const auto energy = ops::fast_weights(call).energy;

  ops::FastWeightsCall rest = call;
  rest.x = call.x.slice(0, 2);
  rest.h = torch::zeros({2, 5});
  rest.A = torch::zeros({2, 5, 5});
  rest.reset = torch::Tensor();
  const auto alone = ops::fast_weights(rest).energy;
  EXPECT_TRUE(energy.slice(0, 2).select(1, 1).allclose(alone.select(1, 1)));
  EXPECT_FALSE(energy.slice(0, 2).select(1, 0).allclose(alone.select(1, 0)));
}

TEST(FastWeightsTest, RejectsWrongArguments) {
  const auto rejects = [](const std::function<void(ops::FastWeightsCall&)>& spoil) {
    ops::FastWeightsCall call = small_call();
    spoil(call);
    EXPECT_THROW(ops::fast_weights(call), base::UserError);
  };
  EXPECT_NO_THROW(ops::fast_weights(small_call()));
  rejects([](auto& c) { c.x = c.x[0]; });
  rejects([](auto& c) { c.x = c.x.to(torch::kDouble); });
  rejects([](auto& c) { c.x = c.x.slice(0, 0, 0); });
  rejects([](auto& c) { c.x = c.x.slice(2, 1); });
  rejects([](auto& c) { c.x = c.x.to(torch::kHalf); });
  rejects([](auto& c) { c.h = c.h[0]; });
  rejects([](auto& c) { c.A = c.A.slice(2, 1); });
  rejects([](auto& c) { c.weight = c.weight.t(); });
  rejects([](auto& c) { c.weight = c.weight.slice(1, 1); });
  rejects([](auto& c) { c.weight = c.weight[0]; });
  rejects([](auto& c) { c.bias = c.bias.slice(0, 1); });
  rejects([](auto& c) { c.layer_norm_bias = torch::Tensor(); });
  rejects([](auto& c) { c.layer_norm_weight = torch::ones({4}); });
  rejects([](auto& c) { c.measured = torch::ones({5}); });
  rejects([](auto& c) { c.reset = torch::zeros({4, 2}); });
  rejects([](auto& c) { c.reset = torch::zeros({2, 4}, torch::kBool); });
  rejects([](auto& c) { c.variant.inner_steps = 0; });
  rejects([](auto& c) { c.variant.decay = std::nan(""); });
  rejects([](auto& c) { c.variant.rate = INFINITY; });
}

TEST(FastWeightsTest, SecondDerivativesAreRefused) {
  ops::FastWeightsCall call = small_call();
  call.x.requires_grad_();
  const auto loss = ops::fast_weights(call).output.sum();
  const auto first = torch::autograd::grad({loss}, {call.x}, {}, true, /*create_graph=*/true);
  try {
    first[0].sum().backward();
    FAIL() << "a second derivative came out";
  } catch (const c10::Error& error) {
    EXPECT_NE(std::string(error.what()).find("second derivatives are not implemented"),
              std::string::npos);
  }
}

TEST(FastWeightsTest, InitialValuesLieWithinTheirBounds) {
  FastWeightsOptions options;
  options.hidden_size = 25;
  const auto unit = options.make(60);
  unit->reset_parameters(3);
  const auto named = unit->named_parameters();
  EXPECT_EQ(parameter_count(*unit), 25 * 85 + 25 * 3);
  for (const char* name : {"weight", "bias"}) {
    EXPECT_GE(named[name].min().item<double>(), -0.2);
    EXPECT_LT(named[name].max().item<double>(), 0.2);
    EXPECT_GT(named[name].abs().max().item<double>(), 0.15);
  }
  EXPECT_TRUE(named["layer_norm_weight"].equal(torch::ones({25})));
  EXPECT_TRUE(named["layer_norm_bias"].equal(torch::zeros({25})));
}

}  // namespace
}  // namespace stpn::nn::fast_weights_test
