// The recurrent unit of an installed stpn: forward and backward over a short sequence.
#include <cstdio>

#include "stpn/nn/stpn/stpn_recurrent.h"

int main() {
  stpn::nn::StpnRecurrentOptions options;
  options.hidden_size = 4;
  const auto unit = options.make(3);
  unit->reset_parameters(1);

  stpn::nn::UnitInput input;
  input.x = torch::ones({5, 2, 3});
  input.energy = true;
  const stpn::nn::UnitOutput output = unit->forward(input);
  output.y.square().sum().backward();

  bool gradients = true;
  for (const auto& parameter : unit->parameters()) {
    gradients =
        gradients && parameter.grad().defined() && parameter.grad().norm().item<float>() > 0;
  }
  std::printf("output %ld x %ld x %ld\n", output.y.size(0), output.y.size(1), output.y.size(2));
  std::printf("energy %s\n", output.energy.sum().item<float>() > 0 ? "positive" : "wrong");
  std::printf("gradients %s\n", gradients ? "for every parameter" : "missing");
}
