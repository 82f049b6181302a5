#include "stpn/nn/backpropamine.h"

#include <gtest/gtest.h>

#include <functional>

#include "stpn/base/error.h"
#include "stpn/nn/contract/unit_contract.h"
#include "stpn/ops/units/backpropamine.h"

namespace stpn::nn::backpropamine_test {
namespace {

UnitCase variant(const std::string& name, Backend backend, const std::string& neuromodulation,
                 const std::string& addition, const std::string& modulator = "tanh") {
  UnitCase result;
  result.name = name;
  result.make = [=](int64_t inputs, int64_t hidden) {
    BackpropamineOptions options;
    options.neuromodulation = neuromodulation;
    options.addition = addition;
    options.modulator = modulator;
    options.hidden_size = hidden;
    return options.make(inputs);
  };
  result.backend = backend;
  result.same_bits = false;  // the energy of the inputs is a matrix product of libtorch's
  return result;
}

INSTANTIATE_TEST_SUITE_P(
    Backpropamine, UnitContract,
    testing::Values(
        variant("modplast_clamp_cpu", Backend::cpu, "modplast", "clamp"),
        variant("modplast_clamp_reference", Backend::reference, "modplast", "clamp"),
        variant("modplast_soft_clamp_sigmoid_cpu", Backend::cpu, "modplast", "soft_clamp",
                "sigmoid"),
        variant("plastic_decaying_cpu", Backend::cpu, "plastic", "decaying"),
        variant("plastic_additive_reference", Backend::reference, "plastic", "additive"),
        variant("modul_clamp_cpu", Backend::cpu, "modul", "clamp"),
        variant("modul_soft_clamp_reference", Backend::reference, "modul", "soft_clamp"),
        variant("modul_decaying_linear_cpu", Backend::cpu, "modul", "decaying", "linear")),
    unit_case_name);

ops::BackpropamineCall small_call(const std::string& neuromodulation) {
  const auto random = [](at::IntArrayRef shape) { return torch::rand(shape) - 0.5; };
  ops::BackpropamineCall call;
  call.variant.neuromodulation = static_cast<kernels::Neuromodulation>(
      ops::parse_choice(kernels::kBackpropamineOptions[0], neuromodulation));
  call.x = random({4, 2, 3});
  call.h = random({2, 5});
  call.P = random({2, 5, 5});
  call.weight_ih = random({5, 3});
  call.bias = random({5});
  call.weight_hh = random({5, 5});
  call.alpha = random({5, 5});
  if (neuromodulation != "plastic") {
    call.modulator_weight = random({5});
    call.modulator_bias = random({1});
  }
  if (neuromodulation != "modplast") call.rate = random({1});
  if (neuromodulation == "modul") call.E = random({2, 5, 5});
  return call;
}

TEST(BackpropamineTest, MatchesTheEquationsStepByStep) {
  torch::manual_seed(4);
  ops::BackpropamineCall c = small_call("modul");
  c.energy = true;
  c.measured = torch::tensor({1.0f, 0.0f, 1.0f});
  for (const Backend backend : {Backend::cpu, Backend::reference}) {
    const BackendGuard guard(backend);
    const ops::BackpropamineResult result = ops::backpropamine(c);
    torch::Tensor h = c.h;
    torch::Tensor P = c.P;
    torch::Tensor E = c.E;
    for (int64_t t = 0; t < 4; ++t) {
      const auto before = h;
      const auto G = c.weight_hh + c.alpha * P;
      const auto energy = (c.x[t].square() * c.measured).matmul(c.weight_ih.abs().t()) +
                          G.abs().matmul(before.square().unsqueeze(2)).squeeze(2);
      h = torch::tanh(c.x[t].matmul(c.weight_ih.t()) + c.bias +
                      G.matmul(before.unsqueeze(2)).squeeze(2));
      const auto m = torch::tanh(h.matmul(c.modulator_weight) + c.modulator_bias).view({2, 1, 1});
      P = (P + m * E).clamp(-1, 1);
      E = (1 - c.rate) * E + c.rate * h.unsqueeze(2) * before.unsqueeze(1);
      EXPECT_TRUE(result.output[t].allclose(h, 1e-5, 1e-6)) << t;
      EXPECT_TRUE(result.energy[t].allclose(energy, 1e-5, 1e-6)) << t;
    }
    EXPECT_TRUE(result.P.allclose(P, 1e-5, 1e-6));
    EXPECT_TRUE(result.E.allclose(E, 1e-5, 1e-6));
  }
}

TEST(BackpropamineTest, PredictingGivesTheBitsOfTraining) {
  torch::manual_seed(4);
  for (const std::string neuromodulation : {"modplast", "plastic", "modul"}) {
    ops::BackpropamineCall call = small_call(neuromodulation);
    call.alpha.requires_grad_();
    const auto training = ops::backpropamine(call);
    const torch::NoGradGuard no_grad;
    const auto predicting = ops::backpropamine(call);
    EXPECT_TRUE(training.output.equal(predicting.output));
    EXPECT_TRUE(training.P.equal(predicting.P));
    EXPECT_TRUE(training.E.equal(predicting.E));
    EXPECT_FALSE(predicting.output.requires_grad());
  }
}

TEST(BackpropamineTest, RejectsWrongArguments) {
  const auto rejects = [](const std::string& neuromodulation,
                          const std::function<void(ops::BackpropamineCall&)>& spoil) {
    ops::BackpropamineCall call = small_call(neuromodulation);
    EXPECT_NO_THROW(ops::backpropamine(call));
    spoil(call);
    EXPECT_THROW(ops::backpropamine(call), base::UserError);
  };
  rejects("modplast", [](auto& c) { c.x = c.x[0]; });
  rejects("modplast", [](auto& c) { c.x = c.x.to(torch::kDouble); });
  rejects("modplast", [](auto& c) { c.x = c.x.to(torch::kInt); });
  rejects("modplast", [](auto& c) { c.x = c.x.slice(0, 0, 0); });
  rejects("modplast", [](auto& c) { c.x = c.x.slice(2, 0, 0); });
  rejects("modplast", [](auto& c) { c.h = c.h[0]; });
  rejects("modplast", [](auto& c) { c.P = c.P.slice(1, 1); });
  rejects("modplast", [](auto& c) { c.weight_ih = c.weight_ih.t(); });
  rejects("modplast", [](auto& c) { c.bias = c.bias.slice(0, 1); });
  rejects("modplast", [](auto& c) { c.alpha = c.alpha[0]; });
  rejects("modplast", [](auto& c) { c.reset = torch::zeros({2, 4}, torch::kBool); });
  rejects("modplast", [](auto& c) { c.measured = torch::ones({8}); });
  rejects("modplast", [](auto& c) { c.modulator_weight = c.modulator_weight.unsqueeze(0); });
  rejects("modplast", [](auto& c) { c.modulator_bias = torch::Tensor(); });
  rejects("modplast", [](auto& c) { c.rate = torch::ones({1}); });
  rejects("modplast", [](auto& c) { c.E = c.P; });
  rejects("plastic", [](auto& c) { c.rate = torch::Tensor(); });
  rejects("plastic", [](auto& c) { c.modulator_weight = c.bias; });
  rejects("modul", [](auto& c) { c.E = torch::Tensor(); });
  rejects("modul", [](auto& c) { c.E = c.E[0]; });
  rejects("modul", [](auto& c) { c.variant.neuromodulation = kernels::Neuromodulation::plastic; });
  for (const char* option : {"neuromodulation", "addition", "modulator"}) {
    BackpropamineOptions options;
    for (const base::Field& field : options.fields()) {
      if (field.key == option) *std::get<std::string*>(field.value) = "relu";
    }
    EXPECT_THROW(options.make(3), base::UserError) << option;
  }
}

TEST(BackpropamineTest, InitialValuesLieWithinTheirBounds) {
  BackpropamineOptions options;
  options.hidden_size = 25;
  options.neuromodulation = "modul";
  const auto unit = options.make(16);
  unit->reset_parameters(3);
  const auto named = unit->named_parameters();
  const auto lies_within = [&](const char* name, double low, double high) {
    const double least = named[name].min().item<double>();
    const double most = named[name].max().item<double>();
    EXPECT_GE(least, low) << name;
    EXPECT_LT(least, low + 0.1 * (high - low)) << name;
    EXPECT_LE(most, high) << name;
    EXPECT_GT(most, high - 0.1 * (high - low)) << name;
  };
  lies_within("weight_ih", -0.25, 0.25);
  lies_within("bias", -0.25, 0.25);
  lies_within("weight_hh", 0, 0.01);
  lies_within("alpha", 0, 0.01);
  lies_within("modulator_weight", -0.2, 0.2);
  EXPECT_FLOAT_EQ(named["rate"].item<float>(), 0.01f);
  EXPECT_EQ(parameter_count(*unit), 25 * 16 + 25 + 2 * 25 * 25 + 25 + 1 + 1);
}

TEST(BackpropamineTest, VariantsHaveOnlyTheParametersTheyUse) {
  const auto names = [](const std::string& neuromodulation) {
    BackpropamineOptions options;
    options.neuromodulation = neuromodulation;
    const auto named = options.make(3)->named_parameters();
    return std::pair(named.contains("modulator_weight"), named.contains("rate"));
  };
  EXPECT_EQ(names("modplast"), std::pair(true, false));
  EXPECT_EQ(names("plastic"), std::pair(false, true));
  EXPECT_EQ(names("modul"), std::pair(true, true));
}

TEST(BackpropamineTest, OptionsRefuseUnknownWords) {
  BackpropamineOptions options;
  options.addition = "soft";
  EXPECT_THROW(options.make(3), base::UserError);
}

}  // namespace
}  // namespace stpn::nn::backpropamine_test
