// Measures the encoder of images on one core against the same layers of libtorch, contiguous and
// channels last: microseconds an image, forward and with backward, for several numbers of images.
// Prints a JSON object for each number of images, and one for an image in a closed loop.
#include <torch/torch.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdio>
#include <ctime>
#include <functional>
#include <string>
#include <vector>

#include "stpn/nn/models/convolution_encoder.h"

namespace {

using namespace stpn;

// Of the processor, so that other load on the machine counts less.
double seconds() { return static_cast<double>(std::clock()) / CLOCKS_PER_SEC; }

constexpr int kRounds = 20;

struct Competitor {
  std::string name;
  std::function<torch::Tensor()> forward;
  double forward_microseconds = 1e9, both_microseconds = 1e9;
};

// The competitors take turns, so that all meet the same load.
void measure(std::vector<Competitor>& competitors, int64_t images, torch::Tensor grad) {
  const int64_t repeats = std::max<int64_t>(1, 64 / images);
  const auto per_image = [&](double start) {
    return 1e6 * (seconds() - start) / static_cast<double>(repeats * images);
  };
  for (int round = 0; round < kRounds; ++round) {
    for (Competitor& competitor : competitors) {
      double start = seconds();
      {
        const torch::NoGradGuard no_grad;
        for (int64_t k = 0; k < repeats; ++k) competitor.forward();
      }
      competitor.forward_microseconds = std::min(competitor.forward_microseconds, per_image(start));
      start = seconds();
      for (int64_t k = 0; k < repeats; ++k) competitor.forward().backward(grad);
      competitor.both_microseconds = std::min(competitor.both_microseconds, per_image(start));
    }
  }
  std::printf("{\"images\": %lld", static_cast<long long>(images));
  for (const Competitor& competitor : competitors) {
    std::printf(", \"%s_forward\": %.1f, \"%s_both\": %.1f", competitor.name.c_str(),
                competitor.forward_microseconds, competitor.name.c_str(),
                competitor.both_microseconds);
  }
  std::printf("}\n");
}

// The same layers of libtorch, in one of its memory formats.
class Libtorch {
 public:
  Libtorch(const nn::ConvolutionEncoder& encoder, torch::MemoryFormat format)
      : channels_last_(format == torch::MemoryFormat::ChannelsLast) {
    for (const auto& parameter : encoder.parameters()) {
      auto copy = parameter.detach().clone();
      if (copy.dim() == 4) copy = copy.contiguous(format);
      parameters_.push_back(copy.set_requires_grad(true));
    }
  }
  torch::Tensor forward(const torch::Tensor& images) const {
    // With one channel the shape does not say which format it is: the strides do.
    const auto shown = channels_last_ ? images.view({-1, 84, 84, 1}).permute({0, 3, 1, 2})
                                      : images.view({-1, 1, 84, 84});
    const auto first =
        torch::conv2d(shown.to(torch::kFloat).div_(255), parameters_[0], parameters_[1], 4);
    const auto second = torch::conv2d(first.relu_(), parameters_[2], parameters_[3], 2).relu_();
    return (channels_last_ ? second.permute({0, 2, 3, 1}) : second).flatten(1);
  }

 private:
  bool channels_last_;
  std::vector<torch::Tensor> parameters_;
};

}  // namespace

int main() {
  torch::set_num_threads(1);
  torch::manual_seed(1);
  const kernels::ConvolutionImage image{.channels = 1, .height = 84, .width = 84};
  nn::ConvolutionEncoder encoder(image, {});
  encoder.reset_parameters(1);
  const Libtorch contiguous(encoder, torch::MemoryFormat::Contiguous);
  const Libtorch channels_last(encoder, torch::MemoryFormat::ChannelsLast);
  for (const int64_t count : {1, 64, 640}) {
    const auto images = torch::randint(0, 256, {count, image.bytes()}, torch::kUInt8);
    std::vector<Competitor> competitors = {
        {"stpn", [&] { return encoder.forward(images); }},
        {"contiguous", [&] { return contiguous.forward(images); }},
        {"channels_last", [&] { return channels_last.forward(images); }}};
    measure(competitors, count, torch::randn({count, encoder.features()}));
  }

  const auto images = torch::randint(0, 256, {64, image.bytes()}, torch::kUInt8);
  std::vector<float> features(static_cast<size_t>(encoder.features()));
  const auto step = encoder.step_encoder();
  double best = 1e9;
  for (int round = 0; round < kRounds; ++round) {
    const double start = seconds();
    for (int64_t n = 0; n < images.size(0); ++n) {
      step->encode(images.data_ptr<uint8_t>() + n * image.bytes(), features.data());
    }
    best = std::min(best, 1e6 * (seconds() - start) / static_cast<double>(images.size(0)));
  }
  std::printf("{\"step_encoder\": %.1f}\n", best);
}
