#include <algorithm>
#include <vector>

#include "stpn/kernels/convolution/equations.h"

namespace stpn::kernels {
namespace {

// The values of a layer of one image, in the order (row, column, channel).
template <typename T>
using Values = std::vector<T>;

// Calls body(input, output, tap) for each product that a layer sums: the index of the input's
// value, of the output's, and of the weight.
template <typename Body>
void for_products(const ConvolutionExtent& e, const Body& body) {
  for (int64_t y = 0; y < e.out_height(); ++y) {
    for (int64_t x = 0; x < e.out_width(); ++x) {
      for (int64_t f = 0; f < e.filters; ++f) {
        for (int64_t c = 0; c < e.channels; ++c) {
          for (int64_t i = 0; i < e.size; ++i) {
            for (int64_t j = 0; j < e.size; ++j) {
              body(((y * e.stride + i) * e.width + x * e.stride + j) * e.channels + c,
                   (y * e.out_width() + x) * e.filters + f,
                   ((f * e.channels + c) * e.size + i) * e.size + j);
            }
          }
        }
      }
    }
  }
}

template <typename T>
Values<T> values_of(const ConvolutionImage& image, const uint8_t* bytes) {
  Values<T> values(image.bytes());
  for (int64_t c = 0; c < image.channels; ++c) {
    for (int64_t place = 0; place < image.height * image.width; ++place) {
      values[place * image.channels + c] =
          (T(bytes[c * image.height * image.width + place]) - T(image.zero)) / T(image.unit);
    }
  }
  return values;
}

// The image, and what each layer makes of it.
template <typename T>
std::vector<Values<T>> run_layers(const ConvolutionForwardParams<T>& p, int64_t n) {
  const ConvolutionImage& image = p.network->image;
  std::vector<Values<T>> values = {values_of<T>(image, p.image + n * image.bytes())};
  size_t layer = 0;
  for (const ConvolutionExtent& e : extents_of(*p.network)) {
    const auto [weight, bias] = p.parameters[layer++];
    const Values<T>& input = values.back();
    Values<T> output(e.outputs());
    for (int64_t k = 0; k < e.outputs(); ++k) output[k] = bias[k % e.filters];
    for_products(e, [&, weight = weight](int64_t from, int64_t to, int64_t tap) {
      output[to] += weight[tap] * input[from];
    });
    for (T& value : output) value = value <= T(0) ? T(0) : value;  // NaN stays
    values.push_back(std::move(output));
  }
  return values;
}

}  // namespace

std::vector<ConvolutionExtent> extents_of(const ConvolutionNetwork& network) {
  int64_t channels = network.image.channels;
  int64_t height = network.image.height;
  int64_t width = network.image.width;
  std::vector<ConvolutionExtent> extents;
  for (const ConvolutionLayer& layer : network.layers) {
    extents.push_back({channels, height, width, layer.filters, layer.size, layer.stride});
    channels = layer.filters;
    height = extents.back().out_height();
    width = extents.back().out_width();
  }
  return extents;
}

int64_t features_of(const ConvolutionNetwork& network) {
  return extents_of(network).back().outputs();
}

template <typename T>
void convolution_forward_ref(const ConvolutionForwardParams<T>& p) {
  for (int64_t n = 0; n < p.images; ++n) {
    const Values<T> features = run_layers(p, n).back();
    std::copy(features.begin(), features.end(), p.features + n * features.size());
  }
}

template <typename T>
void convolution_backward_ref(const ConvolutionBackwardParams<T>& p) {
  const ConvolutionForwardParams<T>& forward = p.forward;
  const std::vector<ConvolutionExtent> extents = extents_of(*forward.network);
  for (size_t l = 0; l < extents.size(); ++l) {
    const auto [weight, bias] = p.gradients[l];
    const ConvolutionExtent& e = extents[l];
    if (weight != nullptr) std::fill_n(weight, e.filters * e.taps(), T(0));
    if (bias != nullptr) std::fill_n(bias, e.filters, T(0));
  }
  for (int64_t n = 0; n < forward.images; ++n) {
    const std::vector<Values<T>> values = run_layers(forward, n);
    const auto size = static_cast<int64_t>(values.back().size());
    Values<T> grad(p.grad_features + n * size, p.grad_features + (n + 1) * size);
    for (size_t l = extents.size(); l-- > 0;) {
      const ConvolutionExtent& e = extents[l];
      for (int64_t k = 0; k < e.outputs(); ++k) {
        if (values[l + 1][k] <= T(0)) grad[k] = 0;
        if (p.gradients[l].bias != nullptr) p.gradients[l].bias[k % e.filters] += grad[k];
      }
      Values<T> grad_input(values[l].size(), T(0));
      for_products(e, [&](int64_t from, int64_t to, int64_t tap) {
        if (grad[to] == T(0)) return;
        grad_input[from] += grad[to] * forward.parameters[l].weight[tap];
        if (p.gradients[l].weight != nullptr) {
          p.gradients[l].weight[tap] += grad[to] * values[l][from];
        }
      });
      grad = std::move(grad_input);
    }
  }
}

template void convolution_forward_ref(const ConvolutionForwardParams<float>&);
template void convolution_forward_ref(const ConvolutionForwardParams<double>&);
template void convolution_backward_ref(const ConvolutionBackwardParams<float>&);
template void convolution_backward_ref(const ConvolutionBackwardParams<double>&);

}  // namespace stpn::kernels
