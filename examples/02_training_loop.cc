// A training loop: the unit in a small model, libtorch's Adam, and custom data.
//
// The task: the first step shows one of four symbols, the other steps are noise, and the target is
// the symbol. Without memory the accuracy is one in four.
//
//   build/bin/example_02_training_loop
#include <iostream>

#include "stpn/nn/models/classifier.h"
#include "stpn/nn/stpn/stpn_recurrent.h"

constexpr int64_t kSymbols = 4;
constexpr int64_t kSteps = 6;

struct Batch {
  torch::Tensor x;       // (T, B, kSymbols)
  torch::Tensor symbol;  // (B)
};

Batch draw(int64_t size) {
  const torch::Tensor symbol = torch::randint(kSymbols, {size});
  torch::Tensor x = 0.3 * torch::randn({kSteps, size, kSymbols});
  x[0] = torch::one_hot(symbol, kSymbols).to(torch::kFloat);
  return {x, symbol};
}

int main() {
  stpn::nn::StpnRecurrentOptions options;
  options.hidden_size = 8;
  stpn::nn::Classifier model(options.make(kSymbols), kSymbols);
  model.reset_parameters(/*seed=*/1);
  torch::optim::Adam optimizer(model.parameters(), torch::optim::AdamOptions(1e-2));

  torch::manual_seed(0);
  for (int step = 1; step <= 600; ++step) {
    const Batch batch = draw(64);
    const torch::Tensor logits = model.forward({.x = batch.x}, kSteps - 1).logits;
    const torch::Tensor loss = torch::nn::functional::cross_entropy(logits, batch.symbol);
    optimizer.zero_grad();
    loss.backward();
    optimizer.step();
    if (step % 100 == 0) std::cout << "step " << step << ": loss " << loss.item<float>() << "\n";
  }

  const torch::NoGradGuard no_gradients;
  const Batch test = draw(1000);
  const torch::Tensor answer = model.forward({.x = test.x}, kSteps - 1).logits.argmax(-1);
  const double accuracy = answer.eq(test.symbol).to(torch::kDouble).mean().item<double>();
  std::cout << "Correct for " << 100 * accuracy << "% of 1000 new sequences (chance: 25%).\n";
  return accuracy > 0.9 ? 0 : 1;
}
