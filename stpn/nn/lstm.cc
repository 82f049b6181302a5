#include "stpn/nn/lstm.h"

#include <cmath>

#include "stpn/base/error.h"
#include "stpn/nn/initialisation.h"

namespace stpn::nn {
namespace {

// The steps at which sequences are cut: 0, each later step that has a reset, and T.
std::vector<int64_t> cuts_of(const torch::Tensor& reset, int64_t steps) {
  std::vector<int64_t> cuts = {0};
  if (reset.defined()) {
    const auto any = reset.any(1);
    for (int64_t t = 1; t < steps; ++t) {
      if (any[t].item<bool>()) cuts.push_back(t);
    }
  }
  cuts.push_back(steps);
  return cuts;
}

}  // namespace

std::vector<base::Field> LstmOptions::fields() {
  return {base::field("hidden_size", hidden_size,
                      "units; more hold more, cost grows with the square",
                      {.least = 1, .most = kMostUnits})};
}

std::shared_ptr<Unit> LstmOptions::make(int64_t input_size) const {
  return std::make_shared<Lstm>(input_size, *this);
}

Lstm::Lstm(int64_t input_size, const LstmOptions& options) : Unit(input_size, options.hidden_size) {
  STPN_CHECK(input_size >= 1, "input_size is {}", input_size);
  STPN_CHECK(hidden_size() >= 1, "hidden_size is {}", hidden_size());
  const int64_t gates = 4 * hidden_size();
  weight_ih_ = register_parameter("weight_ih", torch::zeros({gates, input_size}));
  weight_hh_ = register_parameter("weight_hh", torch::zeros({gates, hidden_size()}));
  bias_ih_ = register_parameter("bias_ih", torch::zeros({gates}));
  bias_hh_ = register_parameter("bias_hh", torch::zeros({gates}));
}

UnitOutput Lstm::forward(const UnitInput& input) {
  check_input(input);
  const auto& x = input.x;
  const State start = input.state.empty() ? initial_state(x.size(1)) : input.state;
  torch::Tensor h = start[0].second;
  torch::Tensor c = start[1].second;

  // One call of the library for each run of steps between resets.
  const auto cuts = cuts_of(input.reset, x.size(0));
  std::vector<torch::Tensor> outputs;
  std::vector<torch::Tensor> before;
  for (size_t run = 0; run + 1 < cuts.size(); ++run) {
    const int64_t begin = cuts[run];
    const int64_t end = cuts[run + 1];
    if (input.reset.defined()) {
      const auto mark = input.reset[begin].unsqueeze(1);
      h = h.masked_fill(mark, 0);
      c = c.masked_fill(mark, 0);
    }
    const auto h_start = h.unsqueeze(0);
    auto [y, h_end, c_end] =
        at::lstm(x.slice(0, begin, end), {h_start, c.unsqueeze(0)},
                 {weight_ih_, weight_hh_, bias_ih_, bias_hh_}, /*has_biases=*/true,
                 /*num_layers=*/1, /*dropout=*/0, is_training(), /*bidirectional=*/false,
                 /*batch_first=*/false);
    h = h_end.squeeze(0);
    c = c_end.squeeze(0);
    if (input.energy) {
      before.push_back(h_start);
      before.push_back(y.slice(0, 0, end - begin - 1));
    }
    outputs.push_back(std::move(y));
  }

  UnitOutput output;
  output.y = outputs.size() == 1 ? outputs[0] : torch::cat(outputs);
  output.state = {{"h", h}, {"c", c}};
  if (input.energy) {
    torch::NoGradGuard no_grad;
    output.energy = energy(x, torch::cat(before));
  }
  return output;
}

torch::Tensor Lstm::energy(const torch::Tensor& x, const torch::Tensor& h_before) const {
  auto x_power = x.square();
  auto h_power = h_before.square();
  if (measured().defined()) {
    const auto mask = measured().to(x.scalar_type());
    x_power *= mask.slice(0, 0, input_size());
    h_power *= mask.slice(0, input_size());
  }
  return x_power.matmul(weight_ih_.abs().t()) + h_power.matmul(weight_hh_.abs().t());
}

State Lstm::initial_state(int64_t batch) const {
  const auto zeros =
      torch::zeros({batch, hidden_size()}, weight_ih_.options().requires_grad(false));
  return {{"h", zeros}, {"c", zeros.clone()}};
}

void Lstm::reset_parameters(uint64_t seed) {
  const double bound = 1 / std::sqrt(static_cast<double>(hidden_size()));
  uint64_t index = 0;
  for (const auto& parameter : {weight_ih_, weight_hh_, bias_ih_, bias_hh_}) {
    uniform_(parameter, -bound, bound, seed, index++);
  }
}

}  // namespace stpn::nn
