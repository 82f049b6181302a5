#include "stpn/nn/models/convolution_encoder.h"

#include <gtest/gtest.h>

#include <cmath>
#include <tuple>
#include <vector>

#include "stpn/base/random.h"
#include "stpn/base/testing.h"
#include "stpn/ops/runtime/backend.h"
#include "stpn/ops/runtime/threads.h"

namespace stpn::nn::convolution_encoder_test {
namespace {

using base::testing::error_of;
using Layers = std::vector<kernels::ConvolutionLayer>;

const kernels::ConvolutionImage kAtari{.channels = 1, .height = 84, .width = 84};
const kernels::ConvolutionImage kSmall{.channels = 1, .height = 12, .width = 12};
const Layers kSmallLayers = {{4, 4, 2}, {6, 2, 1}};

ConvolutionEncoder make_encoder(const kernels::ConvolutionImage& image, const Layers& layers,
                                torch::Dtype type = torch::kFloat) {
  ConvolutionEncoder encoder(image, {layers});
  encoder.reset_parameters(3);
  encoder.to(type);
  return encoder;
}

torch::Tensor random_images(int64_t count, int64_t bytes, uint64_t seed = 1) {
  base::Random random(seed, base::Stream::parameters, 0);
  auto images = torch::empty({count, bytes}, torch::kUInt8);
  auto* byte = images.data_ptr<uint8_t>();
  for (int64_t k = 0; k < images.numel(); ++k) {
    byte[k] = static_cast<uint8_t>(random.uniform(0, 256));
  }
  return images;
}

// The features by torch's own operations.
torch::Tensor torch_forward(ConvolutionEncoder& encoder, const kernels::ConvolutionImage& image,
                            const Layers& layers, const torch::Tensor& images) {
  const auto parameters = encoder.parameters();
  auto x = (images.to(parameters[0].scalar_type()) - image.zero) / image.unit;
  x = x.view({-1, image.channels, image.height, image.width});
  for (size_t l = 0; l < layers.size(); ++l) {
    const auto options = torch::nn::functional::Conv2dFuncOptions()
                             .bias(parameters[2 * l + 1])
                             .stride(layers[l].stride);
    x = torch::nn::functional::conv2d(x, parameters[2 * l], options).relu();
  }
  return x.permute({0, 2, 3, 1}).flatten(1);
}

std::vector<torch::Tensor> gradients_of(ConvolutionEncoder& encoder, const torch::Tensor& features,
                                        const torch::Tensor& weights) {
  return torch::autograd::grad({(features * weights).sum()}, encoder.parameters());
}

double relative_error(const torch::Tensor& got, const torch::Tensor& want) {
  return ((got - want).abs().max() / want.abs().max()).item<double>();
}

void expect_same_as_torch(const kernels::ConvolutionImage& image, const Layers& layers,
                          torch::Dtype type, int64_t count) {
  const double tolerance = type == torch::kFloat ? 1e-5 : 1e-12;
  auto encoder = make_encoder(image, layers, type);
  const auto images = random_images(count, image.bytes());
  const auto features = encoder.forward(images);
  const auto expected = torch_forward(encoder, image, layers, images);
  ASSERT_EQ(features.sizes(), expected.sizes());
  EXPECT_EQ(features.size(1), encoder.features());
  EXPECT_LE(relative_error(features, expected), tolerance);
  const auto weights = torch::randn_like(features);
  const auto got = gradients_of(encoder, features, weights);
  const auto want = gradients_of(encoder, expected, weights);
  for (size_t k = 0; k < got.size(); ++k) {
    EXPECT_LE(relative_error(got[k], want[k]), tolerance) << k;
  }
}

TEST(ConvolutionEncoderTest, IsTorchsConvolutionAndRelu) {
  const kernels::ConvolutionImage wide{
      .channels = 3, .height = 17, .width = 23, .zero = 128, .unit = 128};
  for (const auto type : {torch::kFloat, torch::kDouble}) {
    expect_same_as_torch(kAtari, ConvolutionEncoderOptions().layers, type, 3);
    expect_same_as_torch(kSmall, kSmallLayers, type, 40);
    expect_same_as_torch(wide, {{5, 3, 2}, {33, 2, 1}, {7, 3, 2}}, type, 5);
    expect_same_as_torch(wide, {{20, 5, 3}}, type, 1);
  }
}

TEST(ConvolutionEncoderTest, GradientMatchesFiniteDifference) {
  auto encoder = make_encoder(kSmall, kSmallLayers, torch::kDouble);
  const auto images = random_images(2, kSmall.bytes());
  const auto features = encoder.forward(images);
  const auto weights = torch::randn_like(features);
  const auto gradients = gradients_of(encoder, features, weights);
  const torch::NoGradGuard no_grad;
  const auto loss = [&] { return (encoder.forward(images) * weights).sum().item<double>(); };
  constexpr double kStep = 1e-6;
  for (size_t p = 0; p < gradients.size(); ++p) {
    auto values = encoder.parameters()[p].view({-1});
    for (int64_t k = 0; k < values.numel(); k += 3) {
      values[k] += kStep;
      const double above = loss();
      values[k] -= 2 * kStep;
      const double below = loss();
      values[k] += kStep;
      EXPECT_NEAR(gradients[p].view({-1})[k].item<double>(), (above - below) / (2 * kStep), 1e-6);
    }
  }
}

TEST(ConvolutionEncoderTest, SameBitsForAnyNumberOfThreads) {
  auto encoder = make_encoder(kSmall, kSmallLayers);
  const auto images = random_images(100, kSmall.bytes());
  const auto weights = torch::randn({100, encoder.features()});
  const auto run = [&] {
    const auto features = encoder.forward(images);
    auto results = gradients_of(encoder, features, weights);
    results.push_back(features);
    return results;
  };
  const int before = torch::get_num_threads();
  std::vector<std::vector<torch::Tensor>> results;
  for (const int threads : {1, 2, 3}) {
    torch::set_num_threads(threads);
    results.push_back(run());
    const ops::KernelThreadsGuard guard;
    results.push_back(run());
  }
  torch::set_num_threads(before);
  for (const auto& result : results) {
    for (size_t k = 0; k < result.size(); ++k) EXPECT_TRUE(result[k].equal(results[0][k]));
  }
}

template <typename T>
void step_encoder_is_forward(const kernels::ConvolutionImage& image, const Layers& layers) {
  ConvolutionEncoder encoder = make_encoder(image, layers, torch::CppTypeToScalarType<T>::value);
  const auto images = random_images(20, image.bytes());
  const torch::Tensor all = encoder.forward(images);
  const auto step = encoder.step_encoder();
  encoder.reset_parameters(4);  // it has a copy
  torch::Tensor features = torch::empty({encoder.features()}, all.options().requires_grad(false));
  for (int64_t n = 0; n < images.size(0); ++n) {
    step->encode(images[n].data_ptr<uint8_t>(), features.data_ptr<T>());
    EXPECT_TRUE(features.equal(all[n])) << n;
  }
  encoder.reset_parameters(3);
  EXPECT_TRUE(encoder.forward(images.slice(0, 7, 10)).equal(all.slice(0, 7, 10)));
}

TEST(ConvolutionEncoderTest, AnImageHasTheSameBitsInAnyBatchAndInAStep) {
  step_encoder_is_forward<float>(kAtari, ConvolutionEncoderOptions().layers);
  step_encoder_is_forward<float>(kSmall, kSmallLayers);
  step_encoder_is_forward<double>(kSmall, kSmallLayers);
  const ops::BackendGuard reference(ops::Backend::reference);
  step_encoder_is_forward<float>(kSmall, kSmallLayers);
}

TEST(ConvolutionEncoderTest, ReferenceIsClose) {
  auto encoder = make_encoder(kSmall, kSmallLayers);
  const auto images = random_images(3, kSmall.bytes());
  const auto features = encoder.forward(images);
  const ops::BackendGuard guard(ops::Backend::reference);
  EXPECT_LE(relative_error(encoder.forward(images), features), 1e-5);
}

TEST(ConvolutionEncoderTest, StridedImagesAndGradientsAreRead) {
  auto encoder = make_encoder(kSmall, kSmallLayers);
  const auto images = random_images(6, kSmall.bytes());
  const auto strided = images.t().contiguous().t();
  const auto features = encoder.forward(images);
  EXPECT_TRUE(encoder.forward(strided).equal(features));
  // The gradient of a sum is an expanded scalar.
  const auto got = torch::autograd::grad({encoder.forward(images).sum()}, encoder.parameters());
  const auto want = gradients_of(encoder, features, torch::ones_like(features));
  for (size_t k = 0; k < got.size(); ++k) EXPECT_TRUE(got[k].equal(want[k]));
}

TEST(ConvolutionEncoderTest, FrozenParametersHaveNoGradient) {
  auto encoder = make_encoder(kSmall, kSmallLayers);
  const auto images = random_images(6, kSmall.bytes());
  encoder.forward(images).sum().backward();
  const auto wanted = encoder.named_parameters()["layer1_weight"].grad().clone();
  encoder.zero_grad();
  encoder.named_parameters()["layer0_weight"].set_requires_grad(false);
  encoder.forward(images).sum().backward();
  EXPECT_FALSE(encoder.named_parameters()["layer0_weight"].grad().defined());
  EXPECT_TRUE(encoder.named_parameters()["layer1_weight"].grad().equal(wanted));
}

TEST(ConvolutionEncoderTest, NoImagesGiveNoFeatures) {
  auto encoder = make_encoder(kSmall, kSmallLayers);
  const auto features = encoder.forward(random_images(0, kSmall.bytes()));
  EXPECT_EQ(features.sizes(), torch::IntArrayRef({0, encoder.features()}));
  features.sum().backward();
  for (const auto& parameter : encoder.parameters()) {
    EXPECT_EQ(parameter.grad().abs().max().item<float>(), 0);
  }
}

TEST(ConvolutionEncoderTest, ParametersLieWithinTheirBoundAndDependOnTheSeed) {
  auto encoder = make_encoder(kAtari, ConvolutionEncoderOptions().layers);
  EXPECT_EQ(encoder.features(), 2592);
  const auto named = encoder.named_parameters();
  EXPECT_EQ(named["layer0_weight"].sizes(), torch::IntArrayRef({16, 1, 8, 8}));
  EXPECT_EQ(named["layer1_weight"].sizes(), torch::IntArrayRef({32, 16, 4, 4}));
  EXPECT_EQ(named["layer1_bias"].sizes(), torch::IntArrayRef({32}));
  for (const auto& parameter : named) {
    const double bound = 1 / std::sqrt(parameter.key().starts_with("layer0") ? 64. : 256.);
    const auto largest = parameter.value().abs().max().item<double>();
    EXPECT_LE(largest, bound) << parameter.key();
    EXPECT_GE(largest, 0.8 * bound) << parameter.key();
  }
  const auto before = named["layer1_weight"].detach().clone();
  encoder.reset_parameters(3);
  EXPECT_TRUE(named["layer1_weight"].equal(before));
  encoder.reset_parameters(4);
  EXPECT_FALSE(named["layer1_weight"].equal(before));
}

TEST(ConvolutionEncoderTest, RejectsLayersThatDoNotFit) {
  const auto make = [](const kernels::ConvolutionImage& image, const Layers& layers) {
    return error_of([&] { ConvolutionEncoder(image, {layers}); });
  };
  EXPECT_NE(make(kSmall, {}).find("no layer"), std::string::npos);
  EXPECT_NE(make(kSmall, {{4, 13, 1}}).find("size 13"), std::string::npos);
  EXPECT_NE(make(kSmall, {{4, 4, 4}, {4, 4, 1}}).find("layer 1"), std::string::npos);
  EXPECT_NE(make(kSmall, {{0, 4, 4}}).find("0 filters"), std::string::npos);
  EXPECT_NE(make(kSmall, {{4, 4, 0}}).find("stride 0"), std::string::npos);
  EXPECT_NE(make({.channels = 0, .height = 4, .width = 4}, {{1, 1, 1}}).find("image is 0"),
            std::string::npos);
  EXPECT_NE(make({.channels = 1, .height = 4, .width = 4, .unit = 0}, {{1, 1, 1}}).find("unit"),
            std::string::npos);
}

TEST(ConvolutionEncoderTest, RejectsOtherImages) {
  auto encoder = make_encoder(kSmall, kSmallLayers);
  for (const auto& images :
       {torch::zeros({2, 143}, torch::kUInt8), torch::zeros({144}, torch::kUInt8),
        torch::zeros({2, 144}), torch::zeros({2, 12, 12}, torch::kUInt8), torch::Tensor()}) {
    EXPECT_NE(error_of([&] { encoder.forward(images); }).find("(N, 144)"), std::string::npos);
  }
}

TEST(ConvolutionEncoderTest, RejectsFeaturesOfAnotherType) {
  const auto step = make_encoder(kSmall, kSmallLayers).step_encoder();
  std::vector<uint8_t> image(144);
  std::vector<double> features(10'000);
  error_of([&] { step->encode(image.data(), features.data()); });
}

TEST(ConvolutionEncoderTest, RejectsSecondDerivatives) {
  auto encoder = make_encoder(kSmall, kSmallLayers);
  const auto features = encoder.forward(random_images(2, kSmall.bytes()));
  const auto gradient =
      torch::autograd::grad({features.square().sum()}, {encoder.parameters()[0]}, {},
                            /*retain_graph=*/true, /*create_graph=*/true)[0];
  EXPECT_ANY_THROW(gradient.sum().backward());
}

}  // namespace
}  // namespace stpn::nn::convolution_encoder_test
