// LSTM, GRU and RNN compared with libtorch's own.
#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

#include "stpn/nn/contract/unit_contract_test_support.h"
#include "stpn/nn/library/gru.h"
#include "stpn/nn/library/lstm.h"
#include "stpn/nn/library/rnn.h"
#include "stpn/nn/tolerances.h"

namespace stpn::nn::recurrence_test {
namespace {

using Tensors = std::vector<torch::Tensor>;

template <class Options>
std::shared_ptr<Unit> make(int64_t inputs, int64_t hidden) {
  Options options;
  options.hidden_size = hidden;
  return options.make(inputs);
}

UnitOutput lstm_of_torch(const Unit& unit, const UnitInput& input) {
  const auto [y, h, c] =
      at::lstm(input.x, {input.state[0].second.unsqueeze(0), input.state[1].second.unsqueeze(0)},
               unit.parameters(), /*has_biases=*/true, /*num_layers=*/1, /*dropout=*/0,
               /*train=*/true, /*bidirectional=*/false, /*batch_first=*/false);
  return {y, {{"h", h.squeeze(0)}, {"c", c.squeeze(0)}}, {}};
}

UnitOutput gru_of_torch(const Unit& unit, const UnitInput& input) {
  const auto [y, h] = at::gru(input.x, input.state[0].second.unsqueeze(0), unit.parameters(), true,
                              1, 0, true, false, false);
  return {y, {{"h", h.squeeze(0)}}, {}};
}

// With a bias for each of its two sums, of which a second one would add nothing.
UnitOutput rnn_of_torch(const Unit& unit, const UnitInput& input) {
  Tensors parameters = unit.parameters();
  parameters.push_back(torch::zeros_like(parameters.back()));
  const auto [y, h] = at::rnn_tanh(input.x, input.state[0].second.unsqueeze(0), parameters, true, 1,
                                   0, true, false, false);
  return {y, {{"h", h.squeeze(0)}}, {}};
}

struct OfTorch {
  std::string name;
  std::shared_ptr<Unit> (*make)(int64_t inputs, int64_t hidden);
  UnitOutput (*run)(const Unit& unit, const UnitInput& input);
};
const OfTorch kUnits[] = {{"lstm", make<LstmOptions>, lstm_of_torch},
                          {"gru", make<GruOptions>, gru_of_torch},
                          {"rnn", make<RnnOptions>, rnn_of_torch}};

TEST(RecurrenceTest, ResultsAndGradientsAreThoseOfLibtorch) {
  torch::manual_seed(3);
  for (const OfTorch& of_torch : kUnits) {
    for (const auto& [steps, batch, inputs, hidden] :
         {Sizes{20, 3, 4, 64}, Sizes{9, 40, 37, 9}, Sizes{1, 1, 1, 1}, Sizes{70, 1, 5, 20}}) {
      for (const auto dtype : {torch::kFloat, torch::kDouble}) {
        SCOPED_TRACE(testing::Message() << of_torch.name << " " << dtype << " T " << steps << " B "
                                        << batch << " I " << inputs << " H " << hidden);
        const auto unit = of_torch.make(inputs, hidden);
        unit->to(dtype);
        unit->reset_parameters(5);
        const auto input = random_input(*unit, steps, batch, false);
        const auto got = unit->forward(input);
        const auto want = of_torch.run(*unit, input);
        const double tolerance =
            dtype == torch::kFloat ? kSameInFloatTolerance : kSameInDoubleTolerance;
        expect_close(got.y, want.y, tolerance, "y");
        for (size_t i = 0; i < want.state.size(); ++i) {
          expect_close(got.state[i].second, want.state[i].second, tolerance, want.state[i].first);
        }
        const auto weights = random_cotangents(want);
        const auto of_ours = gradients_of(loss_of(got, weights), *unit, input);
        const auto of_theirs = gradients_of(loss_of(want, weights), *unit, input);
        const auto leaves = leaves_of(*unit, input);
        for (size_t k = 0; k < leaves.size(); ++k) {
          expect_close(of_ours[k], of_theirs[k], tolerance, leaves[k].first);
        }
      }
    }
  }
}

TEST(RecurrenceTest, BackwardTwiceGivesTheSame) {
  for (const OfTorch& of_torch : kUnits) {
    const auto unit = of_torch.make(3, 5);
    unit->reset_parameters(5);
    const auto loss = unit->forward(random_input(*unit, 4, 2, true)).y.square().sum();
    const auto first = torch::autograd::grad({loss}, unit->parameters(), {}, /*retain_graph=*/true);
    const auto second = torch::autograd::grad({loss}, unit->parameters());
    for (size_t k = 0; k < first.size(); ++k) EXPECT_TRUE(first[k].equal(second[k])) << k;
    EXPECT_THROW(torch::autograd::grad({loss}, unit->parameters()), c10::Error) << of_torch.name;
  }
}

TEST(RecurrenceTest, ChangedParametersAreDetectedInBackward) {
  const auto unit = make<LstmOptions>(3, 5);
  unit->reset_parameters(5);
  const auto loss = unit->forward({torch::randn({4, 2, 3})}).y.sum();
  {
    const torch::NoGradGuard no_grad;
    unit->parameters()[1].mul_(2);
  }
  EXPECT_THROW(loss.backward(), c10::Error);
}

TEST(RecurrenceTest, SecondDerivativesAreRefused) {
  for (const OfTorch& of_torch : kUnits) {
    const auto unit = of_torch.make(3, 5);
    unit->reset_parameters(5);
    const auto x = torch::randn({4, 2, 3}).requires_grad_();
    const auto loss = unit->forward({x}).y.sum();
    const auto first = torch::autograd::grad({loss}, {x}, {}, true, /*create_graph=*/true);
    try {
      first[0].sum().backward();
      FAIL() << "a second derivative came out";
    } catch (const c10::Error& error) {
      EXPECT_NE(std::string(error.what())
                    .find(of_torch.name + ": second derivatives are not implemented"),
                std::string::npos);
    }
  }
}

}  // namespace
}  // namespace stpn::nn::recurrence_test
