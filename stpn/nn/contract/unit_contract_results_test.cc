// The contract of a unit: its energy, its parameters and its states.
#include <cmath>
#include <memory>

#include "stpn/base/error.h"
#include "stpn/nn/contract/unit_contract.h"
#include "stpn/nn/contract/unit_contract_test_support.h"
#include "stpn/ops/runtime/backend.h"
#include "stpn/ops/runtime/kernel_device.h"

namespace stpn::nn {

TEST_P(UnitContract, GradientsOfTheEnergyMatchFiniteDifferences) {
  const auto unit = make(3, 2, torch::kDouble);
  auto input = random_input(*unit, 4, 2, true);
  input.energy = true;
  expect_gradients_match_differences(*unit, input);
  unit->leave_out_of_energy({1});
  expect_gradients_match_differences(*unit, input);
}

TEST_P(UnitContract, MeasuresEnergyOnlyIfAsked) {
  const auto unit = make(3, 4, torch::kDouble);
  auto input = random_input(*unit, 5, 2, true);
  const auto quiet = unit->forward(input);
  EXPECT_FALSE(quiet.energy.defined());
  input.energy = true;
  const auto output = unit->forward(input);
  expect_same(output, quiet, "measured");
  ASSERT_EQ(output.energy.dim(), 3);
  EXPECT_EQ(output.energy.size(0), 5);
  EXPECT_EQ(output.energy.size(1), 2);
  EXPECT_EQ(output.energy.size(2), unit->hidden_size()) << "gates count for their neuron";
  EXPECT_TRUE(output.energy.requires_grad());
  EXPECT_TRUE((output.energy >= 0).all().item<bool>());
  EXPECT_GT(output.energy.min().item<double>(), 0);
}

TEST_P(UnitContract, LeavesInputsOutOfEnergy) {
  const auto unit = make(3, 4, torch::kDouble);
  const auto x = torch::randn({1, 2, 3}, torch::kDouble);
  const auto energy = [&](const torch::Tensor& of) {
    return unit->forward({of, {}, torch::Tensor(), true}).energy;
  };
  const auto all = energy(x);

  unit->leave_out_of_energy({0, 2});
  const auto one = energy(x);
  EXPECT_TRUE((one < all).all().item<bool>());
  EXPECT_TRUE((one > 0).all().item<bool>());
  EXPECT_TRUE(energy(x * torch::tensor({5.0, 1.0, 7.0}, torch::kDouble)).allclose(one));

  unit->leave_out_of_energy({0, 1, 2});
  EXPECT_EQ(energy(x).abs().max().item<double>(), 0) << "h is zero, so nothing else counts";
  const auto later = energy(torch::cat({x, x}))[1];
  if (GetParam().recurrent) {
    EXPECT_GT(later.min().item<double>(), 0) << "recurrent inputs count";
  } else {
    EXPECT_EQ(later.abs().max().item<double>(), 0) << "nothing else counts";
  }

  unit->leave_out_of_energy({});
  EXPECT_TRUE(energy(x).equal(all));
  EXPECT_THROW(unit->leave_out_of_energy({3}), base::UserError);
  EXPECT_THROW(unit->leave_out_of_energy({-1}), base::UserError);
}

TEST_P(UnitContract, SameSeedGivesSameParameters) {
  const auto one = make(3, 4, torch::kFloat);
  const auto two = GetParam().make(3, 4);
  one->reset_parameters(11);
  two->reset_parameters(11);
  const auto first = one->parameters();
  const auto second = two->parameters();
  ASSERT_EQ(first.size(), second.size());
  bool differs = false;
  for (size_t i = 0; i < first.size(); ++i) EXPECT_TRUE(first[i].equal(second[i])) << i;
  two->reset_parameters(12);
  for (size_t i = 0; i < first.size(); ++i) differs |= !first[i].equal(second[i]);
  EXPECT_TRUE(differs);
}

TEST_P(UnitContract, ACloneIsTheSameUnitWithParametersOfItsOwn) {
  const auto unit = make(3, 4, torch::kDouble);
  unit->leave_out_of_energy({1});
  unit->parameters().front().set_requires_grad(false);
  const auto copy = std::dynamic_pointer_cast<Unit>(unit->clone());
  ASSERT_NE(copy, nullptr);
  auto input = random_input(*unit, 3, 2, true);
  input.energy = true;
  const auto expected = unit->forward(input);
  const auto output = copy->forward(input);
  EXPECT_TRUE(output.y.equal(expected.y));
  EXPECT_TRUE(output.energy.equal(expected.energy));
  const auto ours = copy->named_parameters();
  for (const auto& item : unit->named_parameters()) {
    EXPECT_EQ(ours[item.key()].requires_grad(), item.value().requires_grad()) << item.key();
    EXPECT_NE(ours[item.key()].data_ptr(), item.value().data_ptr()) << item.key();
  }
  EXPECT_NE(std::dynamic_pointer_cast<Unit>(copy->clone()), nullptr);
}

TEST_P(UnitContract, RunsOnAnotherDeviceIfItHasKernelsThere) {
  const auto unit = make(3, 4, torch::kFloat);
  if (!unit->has_gpu_kernels()) return;
  const ops::KernelDeviceGuard guard(torch::kMeta);  // from where no values come back
  EXPECT_THROW(unit->forward(random_input(*unit, 2, 1, false)), c10::Error);
}

TEST_P(UnitContract, NoStateKeepsTheOutputInMemory) {
  const auto unit = make(3, 4, torch::kFloat);
  const auto output = unit->forward(random_input(*unit, 50, 2, false));
  for (const auto& [name, tensor] : output.state) {
    EXPECT_EQ(tensor.storage().nbytes(), tensor.nbytes()) << name;
  }
}

TEST_P(UnitContract, NaNInAnyParameterComesOut) {
  for (const auto backend : {ops::Backend::cpu, ops::Backend::reference}) {
    const ops::BackendGuard guard(backend);
    for (const auto dtype : {torch::kFloat, torch::kDouble}) {
      const auto unit = make(3, 4, dtype);
      const auto input = random_input(*unit, 5, 2, false);
      for (const auto& item : unit->named_parameters()) {
        const auto parameter = item.value();
        const auto before = parameter.detach().clone();
        {
          const torch::NoGradGuard no_grad;
          parameter.fill_(std::nan(""));
        }
        const auto output = unit->forward(input);
        const auto nan = output.y[-1].isnan();
        EXPECT_TRUE((GetParam().coupled ? nan : nan.any(1)).all().item<bool>()) << item.key();
        const torch::NoGradGuard no_grad;
        parameter.copy_(before);
      }
    }
  }
}

TEST_P(UnitContract, InitialStateIsZero) {
  for (const auto dtype : {torch::kFloat, torch::kDouble}) {
    const auto unit = make(3, 4, dtype);
    const auto state = unit->initial_state(5);
    EXPECT_TRUE(!state.empty() || !GetParam().recurrent);
    for (const auto& [name, tensor] : state) {
      EXPECT_EQ(tensor.size(0), 5) << name;
      EXPECT_EQ(tensor.scalar_type(), dtype) << name;
      EXPECT_FALSE(tensor.requires_grad()) << name;
      EXPECT_FALSE(tensor.any().item<bool>()) << name;
    }
    const auto x = torch::randn({3, 5, 3}, dtype);
    EXPECT_TRUE(unit->forward({x, state, {}}).y.equal(unit->forward({x, {}, {}}).y));
  }
}

TEST_P(UnitContract, WithoutTheLastStateAllElseIsTheSame) {
  const auto unit = make(3, 4, torch::kFloat);
  const auto x = torch::randn({7, 5, 3});
  const auto result = [&](bool wants_state) {
    const auto output = unit->forward({.x = x, .energy = true, .wants_state = wants_state});
    auto all =
        torch::autograd::grad({output.y.cos().sum() + output.energy.sum()}, unit->parameters());
    all.push_back(output.y);
    all.push_back(output.energy);
    return all;
  };
  const auto with = result(true), without = result(false);
  for (size_t k = 0; k < with.size(); ++k) EXPECT_TRUE(with[k].equal(without[k])) << k;
}

}  // namespace stpn::nn
