// The kernel alone, without torch: one neuron with one input, small enough to compute by hand.
#include <cstdio>
#include <vector>

#include "stpn/kernels/stpn/equations.h"

int main() {
  namespace kernels = stpn::kernels;
  // Identity, no norm: h[t] = (W + F[t-1]) z, F[t] = Lambda F[t-1] + Gamma h[t] z, z = [x[t];
  // h[t-1]].
  const std::vector<float> x{1, 1};
  const std::vector<float> zero(2, 0);
  const std::vector<float> weight{2, 0};
  const std::vector<float> lambda{0.5F, 0.5F};
  const std::vector<float> gamma{0.25F, 0.25F};
  std::vector<float> output(2);
  std::vector<float> final_F(2);

  kernels::StpnForwardParams<float> p;
  p.extent = {.steps = 2, .batch = 1, .inputs = 1, .hidden = 1};
  p.variant.norm = kernels::Norm::none;
  p.variant.activation = kernels::Activation::identity;
  p.x = x.data();
  p.initial_h = zero.data();
  p.initial_F = zero.data();
  p.weight = weight.data();
  p.weight_lambda = lambda.data();
  p.weight_gamma = gamma.data();
  p.output = output.data();
  p.final_F = final_F.data();
  kernels::stpn_forward_cpu(p);
  std::printf("h %g %g\nF %g %g\n", output[0], output[1], final_F[0], final_F[1]);
}
