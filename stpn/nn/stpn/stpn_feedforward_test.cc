#include "stpn/nn/stpn/stpn_feedforward.h"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>

#include "stpn/base/error.h"
#include "stpn/nn/contract/unit_contract.h"
#include "stpn/nn/stpn/stpn_recurrent.h"
#include "stpn/ops/units/stpn.h"

namespace stpn::nn::stpn_feedforward_test {
namespace {

using Change = std::function<void(StpnFeedforwardOptions&)>;

UnitCase variant(const std::string& name, Backend backend, const Change& change) {
  return {name,
          [change](int64_t inputs, int64_t hidden) {
            StpnFeedforwardOptions options;
            options.hidden_size = hidden;
            change(options);
            return options.make(inputs);
          },
          backend, /*recurrent=*/false};
}

void hebbff(StpnFeedforwardOptions& o) {
  o.norm = "none";
  o.activation = "sigmoid";
  o.rates = "scalar";
  o.parametrisation = "hebbff";
}

void all_switches(StpnFeedforwardOptions& o) {
  o.norm = "preactivation";
  o.clamp = 0.5;
  o.rule = "oja";
  o.decay = "after_update";
  o.activation = "sigmoid";
  o.layer_norm = o.plastic_bias = true;
  o.bias_rates = "scalar";
}

INSTANTIATE_TEST_SUITE_P(StpnFeedforward, UnitContract,
                         testing::Values(variant("pre_cpu", Backend::cpu, [](auto&) {}),
                                         variant("pre_reference", Backend::reference, [](auto&) {}),
                                         variant("drive_no_bias_cpu", Backend::cpu,
                                                 [](auto& o) {
                                                   o.norm = "preactivation";
                                                   o.bias = false;
                                                 }),
                                         variant("post_clamp_source_cpu", Backend::cpu,
                                                 [](auto& o) {
                                                   o.norm = "post";
                                                   o.clamp = 1;
                                                   o.rates = "presynaptic";
                                                 }),
                                         variant("no_norm_clamp_cpu", Backend::cpu,
                                                 [](auto& o) {
                                                   o.norm = "none";
                                                   o.clamp = 0.1;
                                                 }),
                                         variant("hebbff_cpu", Backend::cpu, hebbff),
                                         variant("all_switches_cpu", Backend::cpu, all_switches),
                                         variant("all_switches_reference", Backend::reference,
                                                 all_switches)),
                         unit_case_name);

ops::StpnCall small_call() {
  const auto random = [](at::IntArrayRef shape) { return torch::rand(shape) - 0.5; };
  ops::StpnCall call;
  call.x = random({4, 2, 3});
  call.F = random({2, 5, 3});
  call.weight = random({5, 3});
  call.bias = random({5});
  call.weight_lambda = random({5, 3});
  call.weight_gamma = random({5, 3});
  return call;
}

// Recurrent synapses of weight zero without fast weights have no effect.
TEST(StpnFeedforwardTest, IsTheRecurrentUnitWithoutRecurrentSynapses) {
  torch::manual_seed(4);
  for (const auto norm : {kernels::Norm::none, kernels::Norm::preactivation, kernels::Norm::pre,
                          kernels::Norm::post}) {
    SCOPED_TRACE(static_cast<int>(norm));
    ops::StpnCall call = small_call();
    call.variant.norm = norm;
    call.energy = true;
    ops::StpnCall recurrent = call;
    recurrent.h = torch::rand({2, 5});
    recurrent.weight = torch::cat({call.weight, torch::zeros({5, 5})}, 1);
    recurrent.variant.connections = kernels::Connections::input;
    const auto ours = ops::stpn_feedforward(call);
    const auto theirs = ops::stpn_recurrent(recurrent);
    EXPECT_TRUE(ours.output.allclose(theirs.output, 1e-5, 1e-6));
    EXPECT_TRUE(ours.F.allclose(theirs.F, 1e-5, 1e-6));
    EXPECT_TRUE(ours.energy.allclose(theirs.energy, 1e-5, 1e-6));
  }
}

TEST(StpnFeedforwardTest, RejectsWrongArguments) {
  const auto rejects = [](const char* what, const std::function<void(ops::StpnCall&)>& spoil) {
    ops::StpnCall call = small_call();
    spoil(call);
    EXPECT_THROW(ops::stpn_feedforward(call), base::UserError) << what;
  };
  EXPECT_NO_THROW(ops::stpn_feedforward(small_call()));
  rejects("h", [](auto& c) { c.h = torch::zeros({2, 5}); });
  rejects("weights of recurrent synapses", [](auto& c) { c.weight = torch::zeros({5, 8}); });
  rejects("a weight vector", [](auto& c) { c.weight = torch::zeros({5}); });
  rejects("measured units", [](auto& c) { c.measured = torch::ones({8}); });
  rejects("F of another size", [](auto& c) { c.F = torch::zeros({2, 5, 8}); });
  rejects("no weight", [](auto& c) { c.weight = at::Tensor(); });
  rejects("rates of recurrent synapses", [](auto& c) { c.weight_gamma = torch::zeros({8}); });
  StpnFeedforwardOptions options;
  options.norm = "G";  // there is no such norm
  EXPECT_THROW(options.make(3), base::UserError);
}

TEST(StpnFeedforwardTest, OptionsHaveNothingRecurrent) {
  for (const auto& field : StpnFeedforwardOptions().fields()) {
    EXPECT_NE(field.key, "connections");
    EXPECT_NE(field.key, "presynaptic");
  }
}

TEST(StpnFeedforwardTest, InitialValuesDependOnTheInputs) {
  StpnFeedforwardOptions options;
  options.hidden_size = 60;
  const auto unit = options.make(25);
  unit->reset_parameters(3);
  EXPECT_EQ(parameter_count(*unit), 60 * 25 * 3 + 60);
  const auto named = unit->named_parameters();
  const auto most = [&](const char* name) { return named[name].abs().max().item<double>(); };
  EXPECT_LE(most("weight"), 0.2);
  EXPECT_GT(most("weight"), 0.19);
  EXPECT_LE(most("weight_gamma"), 0.0002);
  EXPECT_GT(most("weight_gamma"), 0.00019);
  EXPECT_GE(named["weight_lambda"].min().item<double>(), 0);
  EXPECT_GT(most("weight_lambda"), 0.99);
}

TEST(StpnFeedforwardTest, InitialValuesFollowTheOptions) {
  StpnFeedforwardOptions options;
  options.hidden_size = 400;
  options.initialisation = "normal";
  options.lambda_low = options.lambda_high = 0.99;
  options.gamma_low = -0.5;
  options.gamma_high = -0.25;
  const auto unit = options.make(100);
  unit->reset_parameters(3);
  const auto named = unit->named_parameters();
  // Of 40,000 and of 400 normal values, within four standard errors.
  EXPECT_NEAR(named["weight"].mean().item<double>(), 0, 4 * 0.1 / 200);
  EXPECT_NEAR(named["weight"].std().item<double>(), 0.1, 4 * 0.1 / 283);
  EXPECT_GT(named["weight"].abs().max().item<double>(), 0.35);
  EXPECT_NEAR(named["bias"].mean().item<double>(), 0, 4.0 / 20);
  EXPECT_NEAR(named["bias"].std().item<double>(), 1, 4.0 / 28);
  EXPECT_TRUE(named["weight_lambda"].eq(0.99f).all().item<bool>());
  EXPECT_NEAR(named["weight_gamma"].min().item<double>(), -0.05, 1e-5);
  EXPECT_NEAR(named["weight_gamma"].max().item<double>(), -0.025, 1e-5);
  const auto again = options.make(100);
  again->reset_parameters(3);
  EXPECT_TRUE(again->named_parameters()["bias"].equal(named["bias"]));

  options.lambda_low = 1;
  EXPECT_THROW(options.make(4), base::UserError);
  options = StpnFeedforwardOptions();
  options.gamma_high = -1;
  EXPECT_THROW(options.make(4), base::UserError);
  options = StpnFeedforwardOptions();
  options.initialisation = "gaussian";
  EXPECT_THROW(options.make(4), base::UserError);
}

TEST(StpnFeedforwardTest, LambdaStaysInBoundsOnlyIfAskedTo) {
  for (const bool bounded : {false, true}) {
    StpnFeedforwardOptions options;
    options.hidden_size = 2;
    options.plastic_bias = true;
    options.bounded_lambda = bounded;
    const auto unit = options.make(2);
    const torch::NoGradGuard no_grad;
    const auto outside = torch::tensor({{-0.5f, 0.25f}, {1.0f, 1.5f}});
    unit->named_parameters()["weight_lambda"].copy_(outside);
    unit->named_parameters()["bias_lambda"].copy_(outside[1]);
    unit->named_parameters()["weight_gamma"].copy_(outside);
    unit->keep_in_bounds();
    const auto named = unit->named_parameters();
    EXPECT_TRUE(named["weight_lambda"].equal(bounded ? outside.clamp(0, 1) : outside));
    EXPECT_TRUE(named["bias_lambda"].equal(bounded ? outside[1].clamp(0, 1) : outside[1]));
    EXPECT_TRUE(named["weight_gamma"].equal(outside));
  }
}

StpnFeedforwardOptions hebbff_options() {
  StpnFeedforwardOptions options;
  options.hidden_size = 20;
  hebbff(options);
  return options;
}

TEST(StpnFeedforwardTest, HebbFFLearnsLogitAndLogFromTheirInitialValues) {
  const auto unit = hebbff_options().make(4);
  unit->reset_parameters(3);
  EXPECT_EQ(parameter_count(*unit), 20 * 4 + 20 + 2);
  const auto named = unit->named_parameters();
  EXPECT_FALSE(named.contains("weight_lambda"));
  EXPECT_NEAR(torch::sigmoid(named["weight_lambda_logit"]).item<double>(), 0.99, 1e-6);
  EXPECT_NEAR(torch::exp(named["weight_log_gamma"]).item<double>(), 5.0 / 20, 1e-6);

  // The first step of a plain unit, by hand: F = -5/H y x.
  const auto x = torch::rand({1, 1, 4});
  const auto output = unit->forward({x, {}, {}});
  const auto y = torch::sigmoid(torch::matmul(x[0], named["weight"].t()) + named["bias"]);
  EXPECT_TRUE(output.y[0].allclose(y));
  EXPECT_TRUE(output.state[0].second.allclose(-0.25 * y.unsqueeze(2) * x[0].unsqueeze(1)));
}

TEST(StpnFeedforwardTest, HebbFFNeedsScalarRates) {
  for (const std::string rates : {"synapse", "presynaptic"}) {
    StpnFeedforwardOptions options = hebbff_options();
    options.rates = rates;
    EXPECT_THROW(options.make(4), base::UserError) << rates;
  }
  StpnFeedforwardOptions options = hebbff_options();
  options.parametrisation = "HebbFF";
  EXPECT_THROW(options.make(4), base::UserError);
  options = hebbff_options();
  options.bounded_lambda = true;
  EXPECT_THROW(options.make(4), base::UserError);
}

}  // namespace
}  // namespace stpn::nn::stpn_feedforward_test
