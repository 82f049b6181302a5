// Checks the reference's gradients against finite differences, and the CPU kernel against the
// reference, on every SIMD target that this machine supports.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "stpn/base/random.h"
#include "stpn/kernels/convolution/equations.h"
#include "stpn/kernels/testing.h"

namespace stpn::kernels::convolution_test {
namespace {

using testing::distance;

// Relative to the largest value of an array. Sums have at most a few thousand terms, of both signs.
template <typename T>
constexpr double kCloseTo = sizeof(T) == 4 ? 1e-5 : 1e-13;

const ConvolutionNetwork kAtari{{1, 84, 84, 0, 255}, {{16, 8, 4}, {32, 4, 2}}};

// A network with its parameters, images, and the gradient of a loss.
template <typename T>
struct Call {
  Call(ConvolutionNetwork its_network, int64_t its_images, uint64_t seed)
      : network(std::move(its_network)), images(its_images) {
    base::Random random(seed, base::Stream::parameters, 0);
    const auto fill = [&](int64_t count, double bound) {
      std::vector<T> values(count);
      for (T& value : values) value = static_cast<T>(random.uniform(-bound, bound));
      return values;
    };
    for (const ConvolutionExtent& e : extents_of(network)) {
      const double bound = 2 / std::sqrt(static_cast<double>(e.taps()));
      weights.push_back(fill(e.filters * e.taps(), bound));
      biases.push_back(fill(e.filters, bound));
    }
    for (int64_t k = 0; k < images * network.image.bytes(); ++k) {
      bytes.push_back(static_cast<uint8_t>(random.uniform(0, 256)));
    }
    grad_features = fill(images * features_of(network), 1);
  }

  ConvolutionForwardParams<T> params() {
    ConvolutionForwardParams<T> p;
    p.network = &network;
    p.images = images;
    p.image = bytes.data();
    for (size_t l = 0; l < weights.size(); ++l) {
      p.parameters.push_back({weights[l].data(), biases[l].data()});
    }
    return p;
  }

  ConvolutionNetwork network;
  int64_t images;
  std::vector<uint8_t> bytes;
  std::vector<std::vector<T>> weights, biases;
  std::vector<T> grad_features;
};

// The features and the gradients of all parameters.
template <typename T>
struct Result {
  std::vector<T> features;
  std::vector<std::vector<T>> weights, biases;
  bool operator==(const Result&) const = default;
};

template <typename T>
Result<T> run(Call<T>& call, bool reference, const base::ParallelFor* parallel = nullptr) {
  constexpr T kNaN = std::numeric_limits<T>::quiet_NaN();
  Result<T> result;
  result.features.assign(call.images * features_of(call.network), kNaN);
  std::vector<T> saved(convolution_saved_size<T>(call.network, call.images), kNaN);
  ConvolutionBackwardParams<T> p;
  p.forward = call.params();
  p.forward.features = result.features.data();
  p.forward.saved = saved.data();
  p.forward.parallel = parallel;
  p.grad_features = call.grad_features.data();
  for (size_t l = 0; l < call.weights.size(); ++l) {
    result.weights.emplace_back(call.weights[l].size(), kNaN);
    result.biases.emplace_back(call.biases[l].size(), kNaN);
  }
  for (size_t l = 0; l < call.weights.size(); ++l) {
    p.gradients.push_back({result.weights[l].data(), result.biases[l].data()});
  }
  reference ? convolution_forward_ref(p.forward) : convolution_forward_cpu(p.forward);
  reference ? convolution_backward_ref(p) : convolution_backward_cpu(p);
  return result;
}

template <typename T>
void expect_close(const Result<T>& got, const Result<double>& want) {
  const auto check = [](const std::vector<T>& values, const std::vector<double>& wanted,
                        const std::string& what) {
    EXPECT_LE(distance(std::vector<double>(values.begin(), values.end()), wanted), kCloseTo<T>)
        << what;
  };
  check(got.features, want.features, "features");
  for (size_t l = 0; l < want.weights.size(); ++l) {
    check(got.weights[l], want.weights[l], fmt::format("weight of layer {}", l));
    check(got.biases[l], want.biases[l], fmt::format("bias of layer {}", l));
  }
}

std::string text_of(const ConvolutionNetwork& network, int64_t images) {
  const ConvolutionImage& image = network.image;
  std::string text =
      fmt::format("{} of {}x{}x{}", images, image.channels, image.height, image.width);
  for (const ConvolutionLayer& layer : network.layers) {
    text += fmt::format(", {} {}x{}/{}", layer.filters, layer.size, layer.size, layer.stride);
  }
  return text;
}

// One to three layers; sizes that fill no vector, and some that do.
ConvolutionNetwork random_network(base::Random& random) {
  const auto draw = [&](int64_t low, int64_t high) {
    return static_cast<int64_t>(random.uniform(static_cast<double>(low), high + 1.0));
  };
  ConvolutionNetwork network;
  network.image = {draw(1, 3), draw(3, 20), draw(3, 20), 0, 255};
  if (draw(0, 1) == 1) network.image.zero = network.image.unit = 128;
  int64_t height = network.image.height;
  int64_t width = network.image.width;
  for (int64_t layers = draw(1, 3); layers > 0; --layers) {
    const ConvolutionLayer layer{draw(1, draw(0, 1) == 1 ? 40 : 8),
                                 draw(1, std::min<int64_t>({height, width, 8})), draw(1, 4)};
    network.layers.push_back(layer);
    height = (height - layer.size) / layer.stride + 1;
    width = (width - layer.size) / layer.stride + 1;
  }
  return network;
}

// By hand: an image of 3 x 3, two filters of 2 x 2, and one of 2 x 2 over both of their outputs.
TEST(ConvolutionRefTest, TwoLayersAreTheEquations) {
  const ConvolutionNetwork network{{1, 3, 3, 1, 2}, {{2, 2, 1}, {1, 2, 1}}};
  // (byte - 1) / 2 is 0 1 2; 3 4 5; 6 7 8.
  const std::vector<uint8_t> bytes = {1, 3, 5, 7, 9, 11, 13, 15, 17};
  const std::vector<double> first = {1, 0, 0, 1, 0, -1, 1, 0}, first_bias = {0.5, -2.5};
  const std::vector<double> second = {1, 2, 3, 4, 1, 1, 1, 100}, second_bias = {-1};
  double feature = 0;
  ConvolutionForwardParams<double> p;
  p.network = &network;
  p.images = 1;
  p.image = bytes.data();
  p.parameters = {{first.data(), first_bias.data()}, {second.data(), second_bias.data()}};
  p.features = &feature;
  convolution_forward_ref(p);
  // Filter 0: x[y][x] + x[y+1][x+1] + 0.5 = 4.5 6.5; 10.5 12.5. Filter 1: x[y+1][x] - x[y][x+1]
  // - 2.5 = 3 - 1 - 2.5 < 0 everywhere: zeros.
  EXPECT_DOUBLE_EQ(feature, 4.5 + 2 * 6.5 + 3 * 10.5 + 4 * 12.5 - 1);
}

TEST(ConvolutionRefTest, GradientMatchesFiniteDifference) {
  Call<double> call({{2, 7, 6, 128, 128}, {{3, 3, 1}, {4, 2, 2}}}, 2, 3);
  const Result<double> result = run(call, /*reference=*/true);
  const auto loss = [&] {
    std::vector<double> features(result.features.size());
    ConvolutionForwardParams<double> p = call.params();
    p.features = features.data();
    convolution_forward_ref(p);
    double sum = 0;
    for (size_t k = 0; k < features.size(); ++k) sum += features[k] * call.grad_features[k];
    return sum;
  };
  const auto check = [&](std::vector<double>& values, const std::vector<double>& gradient) {
    for (size_t k = 0; k < values.size(); ++k) {
      const double at = values[k];
      constexpr double kStep = 1e-6;
      values[k] = at + kStep;
      const double above = loss();
      values[k] = at - kStep;
      const double below = loss();
      values[k] = at;
      ASSERT_NEAR(gradient[k], (above - below) / (2 * kStep), 1e-7 * (1 + std::abs(gradient[k])));
    }
  };
  for (size_t l = 0; l < call.weights.size(); ++l) {
    check(call.weights[l], result.weights[l]);
    check(call.biases[l], result.biases[l]);
  }
}

using ConvolutionCpuTest = testing::TargetTest;

template <typename T>
void cpu_matches_reference() {
  base::Random random(5, base::Stream::parameters, 0);
  for (uint64_t round = 0; round < 60; ++round) {
    const ConvolutionNetwork network = random_network(random);
    const auto images = static_cast<int64_t>(random.uniform(1, 20));
    SCOPED_TRACE(text_of(network, images));
    Call<T> call(network, images, round);
    Call<double> same(network, images, round);
    for (size_t l = 0; l < call.weights.size(); ++l) {
      same.weights[l].assign(call.weights[l].begin(), call.weights[l].end());
      same.biases[l].assign(call.biases[l].begin(), call.biases[l].end());
    }
    same.grad_features.assign(call.grad_features.begin(), call.grad_features.end());
    expect_close(run(call, /*reference=*/false), run(same, /*reference=*/true));
    if (::testing::Test::HasFailure()) return;
  }
}

TEST_P(ConvolutionCpuTest, MatchesReferenceInFloat) { cpu_matches_reference<float>(); }
TEST_P(ConvolutionCpuTest, MatchesReferenceInDouble) { cpu_matches_reference<double>(); }

TEST_P(ConvolutionCpuTest, NetworkOfAtariMatchesReference) {
  Call<double> call(kAtari, 2, 1);
  expect_close(run(call, /*reference=*/false), run(call, /*reference=*/true));
}

TEST_P(ConvolutionCpuTest, SameBitsForAnyNumberOfThreads) {
  const base::ParallelFor threads = testing::a_thread_each;
  for (const int64_t images : {1, 15, 16, 100, 300}) {
    Call<float> call({{1, 12, 12, 0, 255}, {{4, 4, 2}, {6, 2, 1}}}, images, 1);
    EXPECT_TRUE(run(call, false) == run(call, false, &threads)) << images;
  }
}

template <typename T>
void image_has_the_same_bits_in_any_batch(bool reference) {
  Call<T> call({{2, 13, 11, 0, 255}, {{20, 3, 2}, {7, 2, 1}}}, 40, 1);
  const std::vector<T> all = run(call, reference).features;
  const PreparedConvolution<T> prepared(call.network, call.params().parameters, reference);
  const int64_t bytes = call.network.image.bytes();
  const int64_t count = features_of(call.network);
  for (int64_t n = 0; n < call.images; ++n) {
    std::vector<T> features(count, T(7));
    prepared.run(call.bytes.data() + n * bytes, features.data());
    EXPECT_EQ(features, std::vector<T>(all.begin() + n * count, all.begin() + (n + 1) * count));
  }
}

TEST_P(ConvolutionCpuTest, AnImageHasTheSameBitsInAnyBatch) {
  image_has_the_same_bits_in_any_batch<float>(false);
  image_has_the_same_bits_in_any_batch<double>(false);
  image_has_the_same_bits_in_any_batch<float>(true);
}

TEST_P(ConvolutionCpuTest, GradientsThatAreNotWantedAreNotWritten) {
  Call<float> call({{1, 8, 8, 0, 255}, {{3, 2, 1}, {2, 2, 1}}}, 3, 1);
  const Result<float> all = run(call, false);
  ConvolutionBackwardParams<float> p;
  p.forward = call.params();
  std::vector<float> features = all.features;
  std::vector<float> saved(convolution_saved_size<float>(call.network, call.images));
  std::vector<float> bias(2);
  p.forward.features = features.data();
  p.forward.saved = saved.data();
  convolution_forward_cpu(p.forward);
  p.grad_features = call.grad_features.data();
  p.gradients = {{nullptr, nullptr}, {nullptr, bias.data()}};
  convolution_backward_cpu(p);
  EXPECT_EQ(bias, all.biases[1]);
}

// What is not a number is not hidden by relu or by what is left out, forward or backward.
TEST_P(ConvolutionCpuTest, NaNIsPassedOn) {
  Call<float> call({{1, 6, 6, 0, 255}, {{3, 2, 1}, {2, 2, 1}}}, 2, 1);
  call.biases[0][1] = std::numeric_limits<float>::quiet_NaN();
  const Result<float> result = run(call, false);
  for (const float feature : result.features) EXPECT_TRUE(std::isnan(feature));
  for (const float gradient : result.biases[1]) EXPECT_FALSE(std::isnan(gradient));
  call.biases[0][1] = 0;
  call.grad_features.assign(call.grad_features.size(), std::numeric_limits<float>::quiet_NaN());
  const Result<float> backward = run(call, false);
  EXPECT_TRUE(std::isnan(backward.biases[1][0]) || std::isnan(backward.biases[1][1]));
}

TEST_P(ConvolutionCpuTest, NoImagesGiveZeroGradients) {
  Call<float> call({{1, 6, 6, 0, 255}, {{3, 2, 1}}}, 0, 1);
  EXPECT_EQ(run(call, false).weights[0], std::vector<float>(12, 0.f));
}

INSTANTIATE_TEST_SUITE_P(Targets, ConvolutionCpuTest, testing::all_targets(), testing::target_name);

}  // namespace
}  // namespace stpn::kernels::convolution_test
