#pragma once
#include "stpn/nn/models/encoder.h"
namespace stpn::nn {
struct EncodedImage { int64_t channels = 1, height = 84, width = 84; float zero = 0, unit = 255; };
class ConvolutionEncoder : public Encoder {
 public:
  explicit ConvolutionEncoder(EncodedImage image);
  int64_t features() const override { return 32 * h2() * w2(); }
  torch::Tensor forward(const torch::Tensor& images) override;
  std::unique_ptr<StepEncoder> step_encoder() const override;
  void reset_parameters(uint64_t seed) override;
  torch::Tensor run(const torch::Tensor& images) const;
 private:
  int64_t h2() const { return ((image_.height - 8) / 4 + 1 - 4) / 2 + 1; }
  int64_t w2() const { return ((image_.width - 8) / 4 + 1 - 4) / 2 + 1; }
  EncodedImage image_;
  torch::Tensor w1_, b1_, w2_, b2_;
};
}  // namespace stpn::nn
