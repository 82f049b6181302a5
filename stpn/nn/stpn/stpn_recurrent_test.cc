#include "stpn/nn/stpn/stpn_recurrent.h"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>

#include "stpn/base/error.h"
#include "stpn/nn/contract/unit_contract.h"
#include "stpn/ops/units/stpn.h"

namespace stpn::nn::stpn_recurrent_test {
namespace {

using Change = std::function<void(StpnRecurrentOptions&)>;

UnitCase variant(const std::string& name, Backend backend, const Change& change) {
  return {name,
          [change](int64_t inputs, int64_t hidden) {
            StpnRecurrentOptions options;
            options.hidden_size = hidden;
            change(options);
            return options.make(inputs);
          },
          backend};
}

void all_switches(StpnRecurrentOptions& o) {
  o.norm = "none";
  o.clamp = 0.5;
  o.connections = "recurrent";
  o.rule = "oja";
  o.decay = "after_update";
  o.rates = "presynaptic";
  o.activation = "sigmoid";
  o.layer_norm = o.plastic_bias = true;
  o.bias_rates = "scalar";
}

void all_gates(StpnRecurrentOptions& o) { o.update_gate = o.write_gate = o.decay_gate = true; }

void delta_and_gates(StpnRecurrentOptions& o) {
  all_gates(o);
  o.rule = "delta";
}

UnitCase gates(const std::string& name, Backend backend,
               void (*change)(StpnRecurrentOptions&) = all_gates) {
  UnitCase result = variant(name, backend, change);
  result.same_bits = false;  // the energy of the gates is a matrix product of libtorch's
  return result;
}

INSTANTIATE_TEST_SUITE_P(
    StpnRecurrent, UnitContract,
    testing::Values(variant("pre_cpu", Backend::cpu, [](auto&) {}),
                    variant("pre_reference", Backend::reference, [](auto&) {}),
                    variant("drive_cpu", Backend::cpu, [](auto& o) { o.norm = "preactivation"; }),
                    variant("post_clamp_cpu", Backend::cpu,
                            [](auto& o) {
                              o.norm = "post";
                              o.clamp = 1;
                            }),
                    variant("no_norm_clamp_cpu", Backend::cpu,
                            [](auto& o) {
                              o.norm = "none";
                              o.clamp = 0.1;
                            }),
                    variant("current_scalar_cpu", Backend::cpu,
                            [](auto& o) {
                              o.presynaptic = "current";
                              o.rates = "scalar";
                            }),
                    gates("gates_cpu", Backend::cpu), gates("gates_reference", Backend::reference),
                    gates("delta_cpu", Backend::cpu, delta_and_gates),
                    gates("delta_reference", Backend::reference, delta_and_gates),
                    variant("all_switches_cpu", Backend::cpu, all_switches),
                    variant("all_switches_reference", Backend::reference, all_switches)),
    unit_case_name);

ops::StpnCall small_call() {
  const auto random = [](at::IntArrayRef shape) { return torch::rand(shape) - 0.5; };
  ops::StpnCall call;
  call.x = random({4, 2, 3});
  call.h = random({2, 5});
  call.F = random({2, 5, 8});
  call.weight = random({5, 8});
  call.bias = random({5});
  call.weight_lambda = random({5, 8});
  call.weight_gamma = random({5, 8});
  return call;
}

TEST(StpnRecurrentTest, CpuKernelAndReferenceAgree) {
  torch::manual_seed(4);
  ops::StpnCall call = small_call();
  call.energy = true;
  const auto run = [&](Backend backend) {
    const BackendGuard guard(backend);
    return ops::stpn_recurrent(call);
  };
  const auto cpu = run(Backend::cpu);
  const auto reference = run(Backend::reference);
  EXPECT_TRUE(cpu.output.allclose(reference.output, 1e-5, 1e-6));
  EXPECT_TRUE(cpu.F.allclose(reference.F, 1e-5, 1e-6));
  EXPECT_TRUE(cpu.energy.allclose(reference.energy, 1e-5, 1e-6));
}

TEST(StpnRecurrentTest, PredictingGivesTheBitsOfTraining) {
  torch::manual_seed(4);
  ops::StpnCall call = small_call();
  call.weight.requires_grad_();
  const auto training = ops::stpn_recurrent(call);
  const torch::NoGradGuard no_grad;
  const auto predicting = ops::stpn_recurrent(call);
  EXPECT_TRUE(training.output.equal(predicting.output));
  EXPECT_TRUE(training.F.equal(predicting.F));
  EXPECT_FALSE(predicting.output.requires_grad());
}

TEST(StpnRecurrentTest, TakesTensorsThatAreNotContiguous) {
  torch::manual_seed(4);
  const ops::StpnCall call = small_call();
  ops::StpnCall strided = call;
  strided.x = call.x.transpose(0, 1).contiguous().transpose(0, 1);
  strided.weight = call.weight.t().contiguous().t();
  EXPECT_TRUE(ops::stpn_recurrent(call).output.equal(ops::stpn_recurrent(strided).output));
}

TEST(StpnRecurrentTest, RejectsWrongArguments) {
  const auto rejects = [](const std::function<void(ops::StpnCall&)>& spoil) {
    ops::StpnCall call = small_call();
    spoil(call);
    EXPECT_THROW(ops::stpn_recurrent(call), base::UserError);
  };
  rejects([](auto& c) { c.x = c.x[0]; });
  rejects([](auto& c) { c.x = c.x.to(torch::kDouble); });
  rejects([](auto& c) { c.x = c.x.slice(0, 0, 0); });
  rejects([](auto& c) { c.x = c.x.to(torch::kHalf); });
  rejects([](auto& c) { c.weight = c.weight.t(); });
  rejects([](auto& c) { c.F = c.F.slice(2, 0, 5); });
  rejects([](auto& c) { c.weight_gamma = c.weight_gamma[0]; });
  rejects([](auto& c) { c.beta = c.h; });
  rejects([](auto& c) { c.layer_norm_weight = torch::ones({5}); });
  rejects([](auto& c) { c.reset = torch::zeros({4, 2}); });
  rejects([](auto& c) { c.reset = torch::zeros({2, 4}, torch::kBool); });
  rejects([](auto& c) { c.variant.clamp = 0.0; });
  rejects([](auto& c) { c.variant.clamp = std::nan(""); });
  rejects([](auto& c) { c.update_bias = torch::zeros({5}); });
  rejects([](auto& c) { c.update_weight = torch::zeros({5, 3}); });
  rejects([](auto& c) { c.write_weight = torch::zeros({5, 8}); });
  rejects([](auto& c) {
    c.write_weight = torch::zeros({5, 3});
    c.variant.rule = kernels::Rule::oja;
  });
  rejects([](auto& c) {
    c.decay_weight = torch::zeros({5, 3});
    c.variant.norm = kernels::Norm::post;
  });
  const auto rejects_delta = [&](const auto& change) {
    rejects([&](auto& c) {
      c.variant.rule = kernels::Rule::delta;
      change(c.variant);
    });
  };
  rejects_delta([](auto& v) { v.norm = kernels::Norm::post; });
  rejects_delta([](auto& v) { v.decay = kernels::Decay::after_update; });
  rejects_delta([](auto& v) { v.presynaptic = kernels::Presynaptic::current; });
  const auto option_rejects = [](const Change& change) {
    StpnRecurrentOptions options;
    change(options);
    EXPECT_THROW(options.make(3), base::UserError);
  };
  option_rejects([](auto& o) { o.norm = "G"; });  // there is no such norm
  option_rejects([](auto& o) {
    o.write_gate = true;
    o.rule = "oja";
  });
  option_rejects([](auto& o) {
    o.decay_gate = true;
    o.norm = "none";
  });
  option_rejects([](auto& o) {
    o.rule = "delta";
    o.connections = "input";
  });
}

TEST(StpnRecurrentTest, SecondDerivativesAreRefused) {
  ops::StpnCall call = small_call();
  call.x.requires_grad_();
  const auto loss = ops::stpn_recurrent(call).output.sum();
  const auto first = torch::autograd::grad({loss}, {call.x}, {}, true, /*create_graph=*/true);
  try {
    first[0].sum().backward();
    FAIL() << "a second derivative came out";
  } catch (const c10::Error& error) {
    EXPECT_NE(std::string(error.what()).find("second derivatives are not implemented"),
              std::string::npos);
  }
}

TEST(StpnRecurrentTest, InitialValuesLieWithinTheirBounds) {
  StpnRecurrentOptions options;
  options.hidden_size = 25;
  options.plastic_bias = options.layer_norm = true;
  const auto unit = options.make(60);
  unit->reset_parameters(3);
  const auto named = unit->named_parameters();
  const auto range = [&](const char* name) {
    return std::pair(named[name].min().item<double>(), named[name].max().item<double>());
  };
  EXPECT_EQ(parameter_count(*unit), 25 * 85 * 3 + 25 * 5);
  for (const char* name : {"weight", "bias"}) {
    EXPECT_GE(range(name).first, -0.2);
    EXPECT_LT(range(name).second, 0.2);
  }
  EXPECT_GE(range("weight_lambda").first, 0);
  EXPECT_GT(range("weight_lambda").second, 0.99);
  EXPECT_GE(range("weight_gamma").first, -0.0002);
  EXPECT_GT(range("weight_gamma").second, 0.00019);
  EXPECT_TRUE(named["layer_norm_weight"].equal(torch::ones({25})));
}

TEST(StpnRecurrentTest, AnUpdateGateAtFirstKeepsLittle) {
  StpnRecurrentOptions options;
  options.hidden_size = 25;
  options.update_gate = true;
  const auto unit = options.make(60);
  unit->reset_parameters(3);
  const torch::Tensor bias = unit->named_parameters()["update_bias"];
  EXPECT_GE(bias.min().item<double>(), -2.2);
  EXPECT_LT(bias.max().item<double>(), -1.8);
  EXPECT_LT(unit->named_parameters()["update_weight"].abs().max().item<double>(), 0.2);
}

}  // namespace
}  // namespace stpn::nn::stpn_recurrent_test
