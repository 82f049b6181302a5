// An encoder of images by layers of convolutions, each followed by relu. Its equations are in
// stpn/kernels/convolution/equations.h; the default is the network of Mnih et al.: Playing Atari
// with Deep Reinforcement Learning, 2013, for images of 84 x 84 bytes: 2592 features.
#pragma once

#include <torch/torch.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "stpn/kernels/convolution/equations.h"
#include "stpn/nn/models/encoder.h"
#include "stpn/ops/undispatched/convolution.h"

namespace stpn::nn {

struct ConvolutionEncoderOptions {
  // In order: filters, their size in rows and columns, stride. Strides make the features fewer and
  // everything faster; more layers see larger parts of the image.
  std::vector<kernels::ConvolutionLayer> layers = {{16, 8, 4}, {32, 4, 2}};
};

// Parameters by name, for each layer l from 0 on: layer<l>_weight (filters, channels, size, size)
// and layer<l>_bias (filters), both ~ U(+-1/sqrt(channels size^2)), which is torch's default. Their
// numbers (initialisation.h) are 2000 + 2 l and 2001 + 2 l.
//
// Features are in the order (row, column, filter).
class ConvolutionEncoder : public Encoder {
 public:
  // `image`: how the bytes of an image count, which are in the order (channel, row, column). Throws
  // base::UserError for layers that do not fit.
  ConvolutionEncoder(const kernels::ConvolutionImage& image,
                     const ConvolutionEncoderOptions& options);

  int64_t features() const override;
  // Throws base::UserError for images that are not (N, bytes) uint8.
  torch::Tensor forward(const torch::Tensor& images) override;
  std::unique_ptr<StepEncoder> step_encoder() const override;
  void reset_parameters(uint64_t seed) override;

 private:
  kernels::ConvolutionNetwork network_;
  std::vector<ops::ConvolutionTensors> layers_;
};

}  // namespace stpn::nn
