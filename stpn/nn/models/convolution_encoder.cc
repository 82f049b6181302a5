#include "stpn/nn/models/convolution_encoder.h"
#include "stpn/nn/initialisation.h"
namespace stpn::nn {
ConvolutionEncoder::ConvolutionEncoder(EncodedImage image) : image_(image) {
  w1_ = register_parameter("weight1", torch::zeros({16, image.channels, 8, 8}));
  b1_ = register_parameter("bias1", torch::zeros({16}));
  w2_ = register_parameter("weight2", torch::zeros({32, 16, 4, 4}));
  b2_ = register_parameter("bias2", torch::zeros({32}));
}
torch::Tensor ConvolutionEncoder::run(const torch::Tensor& images) const {
  auto x = (images.to(w1_.scalar_type()) - image_.zero) / image_.unit;
  x = x.view({-1, image_.channels, image_.height, image_.width});
  x = torch::relu(torch::conv2d(x, w1_, b1_, 4));
  x = torch::relu(torch::conv2d(x, w2_, b2_, 2));
  return x.permute({0, 2, 3, 1}).flatten(1);
}
torch::Tensor ConvolutionEncoder::forward(const torch::Tensor& images) { return run(images); }
namespace {
class Step : public StepEncoder {
 public:
  Step(const ConvolutionEncoder& e, int64_t bytes) : e_(e), bytes_(bytes) {}
  template <typename T> void go(const uint8_t* image, T* f) const {
    torch::NoGradGuard g;
    auto t = torch::from_blob(const_cast<uint8_t*>(image), {1, bytes_}, torch::kUInt8);
    auto y = e_.run(t).contiguous();
    std::copy_n(y.const_data_ptr<T>(), y.numel(), f);
  }
  void encode(const uint8_t* image, float* f) const override { go(image, f); }
  void encode(const uint8_t* image, double* f) const override { go(image, f); }
 private:
  const ConvolutionEncoder& e_;
  int64_t bytes_;
};
}
std::unique_ptr<StepEncoder> ConvolutionEncoder::step_encoder() const {
  return std::make_unique<Step>(*this, image_.channels * image_.height * image_.width);
}
void ConvolutionEncoder::reset_parameters(uint64_t seed) {
  uint64_t i = 2000;
  for (auto& p : parameters()) uniform_(p, -0.1, 0.1, seed, i++);
}
}  // namespace stpn::nn
