#include "stpn/train/algorithms/supervised/bounded_state.h"

#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

#include "stpn/train/algorithms/supervised/steps.h"

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

nn::Classifier::Output forward_bounded(nn::Classifier& model, const nn::UnitInput& input,
                                       int64_t first, const StateGradientBound& bound) {
  if (!std::isfinite(bound.most)) return model.forward(input, first);
  const int64_t T = input.x.size(0);
  std::vector<torch::Tensor> logits, energy;
  nn::UnitInput block = input;
  for (int64_t begin = 0, end; begin < T; begin = end) {
    end = end_of_piece(begin, bound.steps, T);
    block.x = input.x.slice(0, begin, end);
    if (input.reset.defined()) block.reset = input.reset.slice(0, begin, end);
    nn::Classifier::Output output =
        model.forward(block, std::clamp<int64_t>(first - begin, 0, end - begin));
    logits.push_back(std::move(output.logits));
    energy.push_back(std::move(output.energy));
    block.state = std::move(output.state);
    if (end == T) break;
    for (auto& [name, tensor] : block.state) tensor = BoundGradient::apply(tensor, bound.most);
  }
  return {.logits = torch::cat(logits, 0),
          .energy = input.energy ? torch::cat(energy, 0) : torch::Tensor(),
          .state = std::move(block.state)};
}

}  // namespace stpn::train
