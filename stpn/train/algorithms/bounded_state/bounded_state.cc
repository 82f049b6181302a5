#include "stpn/train/algorithms/bounded_state/bounded_state.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>
#include <vector>

namespace stpn::train {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// The same values; backward, the gradient of each sample has a norm of `most` at most.
class BoundGradient : public torch::autograd::Function<BoundGradient> {
 public:
  static torch::Tensor forward(AutogradContext* context, const torch::Tensor& x, double most) {
    context->saved_data["most"] = most;
    return x.view_as(x);
  }
  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    const torch::Tensor& gradient = gradients.front();
    const double most = context->saved_data["most"].toDouble();
    const torch::Tensor norms = gradient.flatten(1).norm(2, 1).clamp_min(1e-30);
    const torch::Tensor scales = (most / norms).clamp_max(1);
    std::vector<int64_t> one_for_each_sample(static_cast<size_t>(gradient.dim()), 1);
    one_for_each_sample.front() = -1;
    return {gradient * scales.view(one_for_each_sample), torch::Tensor()};
  }
};

}  // namespace

base::Field StateGradientBound::most_field(const std::string& of, const std::string& advice) {
  return base::field(
      "max_state_grad_norm", most,
      fmt::format("every state_grad_steps steps, the gradient of {}'s loss that goes "
                  "back through a state tensor is scaled down to this norm (inf: "
                  "never); {}",
                  of, advice),
      {.least = 0});
}

base::Field StateGradientBound::steps_field() {
  return base::field("state_grad_steps", steps,
                     "steps between two places where max_state_grad_norm holds; fewer bound more, "
                     "more let the network learn what is far apart",
                     {.least = 1});
}

nn::UnitOutput forward_bounded(nn::Unit& unit, const nn::UnitInput& input,
                               const StateGradientBound& bound,
                               const std::function<void(int64_t)>& before_piece) {
  if (!bound.is_set()) return unit.forward(input);
  const int64_t T = input.x.size(0);
  std::vector<torch::Tensor> y, energy;
  nn::UnitInput piece = input;
  for (int64_t begin = 0, end; begin < T; begin = end) {
    end = std::min(begin + bound.steps, T);
    if (before_piece) before_piece(begin);
    piece.wants_state = end < T || input.wants_state;
    piece.x = input.x.slice(0, begin, end);
    if (input.reset.defined()) piece.reset = input.reset.slice(0, begin, end);
    nn::UnitOutput output = unit.forward(piece);
    y.push_back(std::move(output.y));
    energy.push_back(std::move(output.energy));
    piece.state = std::move(output.state);
    if (end == T) break;
    for (auto& [name, tensor] : piece.state) tensor = BoundGradient::apply(tensor, bound.most);
  }
  return {.y = torch::cat(y, 0),
          .state = std::move(piece.state),
          .energy = input.energy ? torch::cat(energy, 0) : torch::Tensor()};
}

}  // namespace stpn::train
