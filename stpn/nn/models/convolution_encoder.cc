#include "stpn/nn/models/convolution_encoder.h"

#include <cmath>

#include "stpn/base/error.h"
#include "stpn/nn/initialisation.h"

namespace stpn::nn {
namespace {

constexpr uint64_t kFirstParameter = 2000;

class ConvolutionStepEncoder : public StepEncoder {
 public:
  ConvolutionStepEncoder(const kernels::ConvolutionNetwork& network,
                         const std::vector<ops::ConvolutionTensors>& layers) {
    if (layers[0].weight.scalar_type() == torch::kFloat) {
      in_float_ = ops::prepare_convolution<float>(network, layers);
    } else {
      in_double_ = ops::prepare_convolution<double>(network, layers);
    }
  }
  void encode(const uint8_t* image, float* features) const override {
    STPN_CHECK(in_float_ != nullptr, "the encoder's parameters are double, the features float");
    in_float_->run(image, features);
  }
  void encode(const uint8_t* image, double* features) const override {
    STPN_CHECK(in_double_ != nullptr, "the encoder's parameters are float, the features double");
    in_double_->run(image, features);
  }

 private:
  std::unique_ptr<const kernels::PreparedConvolution<float>> in_float_;
  std::unique_ptr<const kernels::PreparedConvolution<double>> in_double_;
};

}  // namespace

ConvolutionEncoder::ConvolutionEncoder(const kernels::ConvolutionImage& image,
                                       const ConvolutionEncoderOptions& options)
    : network_{image, options.layers} {
  ops::check_convolution(network_);
  for (const kernels::ConvolutionExtent& e : kernels::extents_of(network_)) {
    const std::string layer = fmt::format("layer{}_", layers_.size());
    layers_.push_back({register_parameter(layer + "weight",
                                          torch::zeros({e.filters, e.channels, e.size, e.size})),
                       register_parameter(layer + "bias", torch::zeros({e.filters}))});
  }
}

int64_t ConvolutionEncoder::features() const { return kernels::features_of(network_); }

torch::Tensor ConvolutionEncoder::forward(const torch::Tensor& images) {
  return ops::run_convolution(network_, images, layers_);
}

std::unique_ptr<StepEncoder> ConvolutionEncoder::step_encoder() const {
  return std::make_unique<ConvolutionStepEncoder>(network_, layers_);
}

void ConvolutionEncoder::reset_parameters(uint64_t seed) {
  uint64_t index = kFirstParameter;
  for (const auto& [weight, bias] : layers_) {
    const double bound = 1 / std::sqrt(static_cast<double>(weight[0].numel()));
    uniform_(weight, -bound, bound, seed, index++);
    uniform_(bias, -bound, bound, seed, index++);
  }
}

}  // namespace stpn::nn
