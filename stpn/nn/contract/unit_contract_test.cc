#include "stpn/nn/contract/unit_contract.h"

#include <atomic>
#include <cmath>
#include <type_traits>
#include <vector>

#include "stpn/base/error.h"
#include "stpn/nn/contract/unit_contract_test_support.h"
#include "stpn/nn/initialisation.h"
#include "stpn/nn/tolerances.h"

namespace stpn::nn {

std::shared_ptr<Unit> UnitContract::make(int64_t inputs, int64_t hidden, torch::Dtype dtype) const {
  auto unit = GetParam().make(inputs, hidden);
  unit->to(dtype);
  uint64_t index = 500;
  for (auto& parameter : unit->parameters()) uniform_(parameter, -0.6, 0.6, 7, index++);
  return unit;
}

TEST_P(UnitContract, GradientsMatchFiniteDifferences) {
  const auto unit = make(3, 2, torch::kDouble);
  expect_gradients_match_differences(*unit, random_input(*unit, 4, 2, false));
}

TEST_P(UnitContract, GradientsMatchFiniteDifferencesAcrossResets) {
  const auto unit = make(2, 3, torch::kDouble);
  auto input = random_input(*unit, 5, 3, true);
  input.reset[0][1] = true;  // cuts the initial state off
  input.reset[2][0] = true;
  expect_gradients_match_differences(*unit, input);
}

TEST_P(UnitContract, OddSizesHaveRightGradientsAndSamplesKeepApart) {
  for (const auto& [steps, batch, inputs, hidden] :
       {Sizes{1, 1, 1, 1}, Sizes{1, 2, 3, 1}, Sizes{3, 1, 1, 2}, Sizes{2, 3, 1, 1},
        Sizes{2, 5, 7, 3}, Sizes{3, 2, 2, 11}}) {
    SCOPED_TRACE(testing::Message()
                 << "T " << steps << " B " << batch << " I " << inputs << " H " << hidden);
    if (hidden < GetParam().least_hidden) continue;
    const auto unit = make(inputs, hidden, torch::kDouble);
    const auto input = random_input(*unit, steps, batch, true);
    expect_gradients_match_differences(*unit, input);

    const auto whole = unit->forward(input);
    ASSERT_EQ(whole.y.sizes(), torch::IntArrayRef({steps, batch, hidden}));
    for (int64_t b = 0; b < batch; ++b) {
      UnitInput alone{input.x.slice(1, b, b + 1), {}, input.reset.slice(1, b, b + 1)};
      UnitOutput expected{whole.y.slice(1, b, b + 1), {}, {}};
      for (const auto& [name, tensor] : input.state) {
        alone.state.emplace_back(name, tensor.slice(0, b, b + 1));
      }
      for (const auto& [name, tensor] : whole.state) {
        expected.state.emplace_back(name, tensor.slice(0, b, b + 1));
      }
      expect_same(unit->forward(alone), expected, "sample alone");
    }
  }
}

TEST_P(UnitContract, SplitSequenceEqualsWhole) {
  const auto unit = make(3, 5, torch::kDouble);
  for (const bool with_reset : {false, true}) {
    const auto input = random_input(*unit, 7, 3, with_reset);
    const auto whole = unit->forward(input);
    const auto weights = random_cotangents(whole);
    const auto gradients = gradients_of(loss_of(whole, weights), *unit, input);
    for (const int64_t cut : {1, 4, 6}) {
      const auto first = unit->forward(steps_of(input, 0, cut, input.state));
      const auto second = unit->forward(steps_of(input, cut, 7, first.state));
      const UnitOutput joined{torch::cat({first.y, second.y}), second.state, {}};
      expect_same(joined, whole, "joined");
      const auto joined_gradients = gradients_of(loss_of(joined, weights), *unit, input);
      const auto leaves = leaves_of(*unit, input);
      for (size_t k = 0; k < leaves.size(); ++k) {
        expect_close(joined_gradients[k], gradients[k], kSameInDoubleTolerance, leaves[k].first);
      }
    }
  }
}

TEST_P(UnitContract, ResetsEqualSeparateSequences) {
  const auto unit = make(3, 4, torch::kDouble);
  auto input = random_input(*unit, 8, 3, false);
  input.energy = true;
  input.reset = torch::zeros({8, 3}, torch::kBool);
  // Sample 0 at its first, two neighbouring and its last step, 1 never, 2 in the middle.
  for (const int64_t t : {0, 3, 4, 7}) input.reset[t][0] = true;
  input.reset[3][2] = true;
  const auto whole = unit->forward(input);
  for (int64_t b = 0; b < 3; ++b) {
    State state;
    for (const auto& [name, tensor] : input.state) {
      state.emplace_back(name, tensor.slice(0, b, b + 1));
    }
    for (int64_t t = 0; t < 8; ++t) {
      if (input.reset[t][b].item<bool>()) state.clear();
      const auto step = unit->forward(
          {input.x.slice(0, t, t + 1).slice(1, b, b + 1), state, torch::Tensor(), true});
      expect_close(step.y[0][0], whole.y[t][b], kSameInDoubleTolerance, "y");
      expect_close(step.energy[0][0], whole.energy[t][b], kSameInDoubleTolerance, "energy");
      state = step.state;
    }
    for (size_t i = 0; i < state.size(); ++i) {
      expect_close(state[i].second[0], whole.state[i].second[b], kSameInDoubleTolerance,
                   state[i].first);
    }
  }
}

TEST_P(UnitContract, ResetsForgetEvenNaN) {
  const auto unit = make(3, 4, torch::kDouble);
  auto input = random_input(*unit, 3, 2, false);
  input.energy = true;
  input.reset = torch::zeros({3, 2}, torch::kBool);
  input.reset[0] = true;
  auto spoilt = input;
  for (auto& [name, tensor] : spoilt.state) {
    tensor = torch::full_like(tensor, std::nan("")).requires_grad_();
  }
  const auto expected = unit->forward(input);
  const auto output = unit->forward(spoilt);
  expect_same(output, expected, "from NaN");
  expect_close(output.energy, expected.energy, kSameInDoubleTolerance, "energy");
  const auto weights = random_cotangents(expected);
  const auto expected_gradients = gradients_of(loss_of(expected, weights), *unit, input);
  const auto gradients = gradients_of(loss_of(output, weights), *unit, spoilt);
  const auto leaves = leaves_of(*unit, input);
  for (size_t k = 0; k < leaves.size(); ++k) {
    expect_close(gradients[k], expected_gradients[k], kSameInDoubleTolerance, leaves[k].first);
  }
}

TEST_P(UnitContract, GivesTheSameForAnyNumberOfThreads) {
  const int before = at::get_num_threads();
  for (const auto dtype : {torch::kFloat, torch::kDouble}) {
    const auto unit = make(37, 23, dtype);
    auto input = random_input(*unit, 6, 41, true);
    input.energy = true;
    std::vector<torch::Tensor> first;
    Cotangents weights;
    for (const int threads : {1, 1, 2, 3}) {
      at::set_num_threads(threads);
      const auto output = unit->forward(input);
      if (first.empty()) weights = random_cotangents(output);
      auto values = gradients_of(loss_of(output, weights), *unit, input);
      values.push_back(output.y);
      values.push_back(output.energy);
      for (const auto& [name, tensor] : output.state) values.push_back(tensor);
      if (first.empty()) first = values;
      for (size_t i = 0; i < values.size(); ++i) {
        const auto what = std::to_string(threads) + " threads, value " + std::to_string(i);
        if (GetParam().same_bits || threads == 1) {
          EXPECT_TRUE(values[i].equal(first[i])) << what;
        } else {
          expect_close(values[i], first[i],
                       dtype == torch::kFloat ? kSameInFloatTolerance : kSameInDoubleTolerance,
                       what);
        }
      }
    }
  }
  at::set_num_threads(before);
}

// The next input is a function of what the unit just did; some samples are reset on the way.
template <typename T>
class Echo : public kernels::ClosedLoop {
 public:
  Echo(const torch::Tensor& x, const torch::Tensor& reset, int64_t hidden)
      : x_(x), reset_(reset), hidden_(hidden) {}
  void after_step(int64_t t, int64_t first, int64_t count, const float* h) override {
    answer(t, first, count, h);
  }
  void after_step(int64_t t, int64_t first, int64_t count, const double* h) override {
    answer(t, first, count, h);
  }
  int64_t calls() const { return calls_; }

 private:
  template <typename U>
  void answer(int64_t t, int64_t first, int64_t count, const U* h) {
    if constexpr (!std::is_same_v<T, U>) {
      ADD_FAILURE() << "h is of another type than x";
    } else {
      const int64_t batch = x_.size(1), inputs = x_.size(2);
      calls_ += count;
      for (int64_t b = first; b < first + count && t + 1 < x_.size(0); ++b) {
        for (int64_t j = 0; j < inputs; ++j) {
          const T seen = h[(b - first) * hidden_ + j % hidden_];
          x_.data_ptr<T>()[((t + 1) * batch + b) * inputs + j] =
              static_cast<T>(0.3 + 0.1 * static_cast<double>(j)) - seen;
        }
        reset_.data_ptr<bool>()[(t + 1) * batch + b] = (t + b) % 4 == 3;
      }
    }
  }

  torch::Tensor x_, reset_;
  int64_t hidden_;
  std::atomic<int64_t> calls_ = 0;
};

template <typename T>
void expect_closed_loop_equals_whole(Unit& unit, double tolerance) {
  constexpr int64_t kSteps = 7, kBatch = 19;
  UnitInput input;
  input.x =
      torch::full({kSteps, kBatch, unit.input_size()}, NAN, c10::CppTypeToScalarType<T>::value);
  input.x[0] = 0.5;
  input.reset = torch::zeros({kSteps, kBatch}, torch::kBool);
  Echo<T> echo(input.x, input.reset, unit.hidden_size());
  input.closed_loop = &echo;
  const auto gradients = [&](const UnitOutput& output) {
    return torch::autograd::grad({output.y.square().sum()}, unit.parameters());
  };
  const UnitOutput looped = unit.forward(input);
  EXPECT_EQ(echo.calls(), kSteps * kBatch);
  const auto looped_gradients = gradients(looped);
  ASSERT_FALSE(input.x.isnan().any().item<bool>());

  input.closed_loop = nullptr;
  const UnitOutput whole = unit.forward(input);
  expect_close(looped.y, whole.y, tolerance, "y");
  const auto whole_gradients = gradients(whole);
  for (size_t i = 0; i < whole_gradients.size(); ++i) {
    expect_close(looped_gradients[i], whole_gradients[i], tolerance, std::to_string(i));
  }
  // And the closed loop got the output of the right step each time: if it had got another one, the
  // same inputs could not result again, one step at a time.
  State state = unit.initial_state(kBatch);
  for (int64_t t = 0; t < kSteps; ++t) {
    UnitOutput step = unit.forward(steps_of(input, t, t + 1, state));
    expect_close(step.y[0], whole.y[t], tolerance, "step");
    if (t + 1 < kSteps) {
      const auto expected = 0.3 - step.y[0].select(1, 0);
      expect_close(input.x[t + 1].select(1, 0), expected, tolerance, "input");
    }
    state = step.state;
  }
}

TEST_P(UnitContract, ClosedLoopSeesEachStepAndGivesTheNext) {
  const auto in_double = make(3, 5, torch::kDouble);
  expect_closed_loop_equals_whole<double>(*in_double, kSameInDoubleTolerance);
  const auto in_float = make(3, 5, torch::kFloat);
  expect_closed_loop_equals_whole<float>(*in_float, 1e-4);
}

TEST_P(UnitContract, ClosedLoopWantsContiguousInputWithoutGradient) {
  const auto unit = make(3, 5, torch::kDouble);
  UnitInput input = random_input(*unit, 4, 2, /*with_reset=*/false);
  Echo<double> echo(input.x, {}, 5);
  input.closed_loop = &echo;
  EXPECT_THROW(unit->forward(input), base::UserError);  // x has a gradient
  input.x = torch::randn({2, 4, 3}, torch::kDouble).transpose(0, 1);
  EXPECT_THROW(unit->forward(input), base::UserError);
}

TEST_P(UnitContract, RejectsWrongInput) {
  const auto unit = make(3, 2, torch::kFloat);
  const auto good = [&] { return random_input(*unit, 4, 2, true); };
  const auto rejects = [&](const std::string& what, const std::function<void(UnitInput&)>& spoil) {
    auto input = good();
    spoil(input);
    EXPECT_THROW(unit->forward(input), base::UserError) << what;
  };
  EXPECT_NO_THROW(unit->forward(good()));
  rejects("no x", [](UnitInput& in) { in.x = torch::Tensor(); });
  rejects("x in two dimensions", [](UnitInput& in) { in.x = torch::zeros({4, 3}); });
  rejects("too many inputs", [](UnitInput& in) { in.x = torch::zeros({4, 2, 4}); });
  rejects("no steps", [](UnitInput& in) {
    in.x = torch::zeros({0, 2, 3});
    in.reset = torch::Tensor();
  });
  rejects("no samples", [&](UnitInput& in) {
    in = {torch::zeros({4, 0, 3}), {}, torch::Tensor()};
  });
  rejects("x in double", [](UnitInput& in) { in.x = in.x.to(torch::kDouble); });
  rejects("x elsewhere", [](UnitInput& in) { in.x = in.x.to(torch::kMeta); });
  rejects("reset of numbers", [](UnitInput& in) { in.reset = in.reset.to(torch::kFloat); });
  rejects("reset of another length", [](UnitInput& in) { in.reset = in.reset.slice(0, 1); });
  rejects("state one too many", [](UnitInput& in) {
    in.state.emplace_back("h", torch::zeros({2, 2}));
  });
  const size_t states = unit->initial_state(1).size();
  // Without its only tensor a state is empty, which asks for the initial one.
  if (states > 1) rejects("state one too few", [](UnitInput& in) { in.state.pop_back(); });
  for (size_t i = 0; i < states; ++i) {
    rejects("state of another name", [&](UnitInput& in) { in.state[i].first = "other"; });
    rejects("state undefined", [&](UnitInput& in) { in.state[i].second = torch::Tensor(); });
    rejects("state of another batch",
            [&](UnitInput& in) { in.state[i].second = in.state[i].second.slice(0, 1); });
    rejects("state in double",
            [&](UnitInput& in) { in.state[i].second = in.state[i].second.to(torch::kDouble); });
  }
}

TEST_P(UnitContract, TakesInputOfAnyStride) {
  const auto unit = make(3, 4, torch::kDouble);
  const auto input = random_input(*unit, 5, 2, true);
  auto strided = input;
  strided.x = input.x.transpose(0, 2).contiguous().transpose(0, 2);
  strided.reset = input.reset.t().contiguous().t();
  for (auto& [name, tensor] : strided.state) {
    tensor = tensor.transpose(0, 1).contiguous().transpose(0, 1);
  }
  expect_same(unit->forward(strided), unit->forward(input), "strided");
}

}  // namespace stpn::nn
