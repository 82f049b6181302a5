// A stack of convolutions over one image of bytes: what turns the screen of a game into features.
//
//   x_0[c, y, x]  = (byte[c, y, x] - zero) / unit
//   x_l[f, y, x]  = relu(b_l[f] + sum over c, i, j of W_l[f, c, i, j] x_{l-1}[c, s y + i, s x + j])
//
// for the layers l = 1 .. L, each with filters of k x k taps, stride s and no padding: an input of
// height H gives (H - k) / s + 1 rows, rounded down, and its width the columns alike. The same as
// torch.nn.Conv2d and ReLU.
//
// Features are the values of the last layer in the order (row, column, filter): channels last. The
// image is in the order (channel, row, column), parameters are as in torch.
//
// The gradient of relu at 0 is 0. A gradient that is 0 adds nothing to others, whatever it would be
// multiplied by; there is no gradient of the image.
//
// Mnih et al.: Human-level control through deep reinforcement learning, Nature 2015, has the
// network; two layers, of 16 and 32 filters, are those of Mnih et al.: Playing Atari with Deep
// Reinforcement Learning, 2013.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "stpn/base/parallel.h"

namespace stpn::kernels {

// How a byte counts, and how many there are.
struct ConvolutionImage {
  int64_t channels = 1, height = 0, width = 0;
  double zero = 0, unit = 255;

  int64_t bytes() const { return channels * height * width; }
};

struct ConvolutionLayer {
  int64_t filters = 1;
  int64_t size = 1;  // of a filter, in rows and columns
  int64_t stride = 1;
};

// REQUIRES: at least one layer, all sizes at least 1, unit not 0, and in each layer a filter that
// is not larger than the layer's input.
struct ConvolutionNetwork {
  ConvolutionImage image;
  std::vector<ConvolutionLayer> layers;
};

// One layer with the size of its input.
struct ConvolutionExtent {
  int64_t channels, height, width;  // of the input
  int64_t filters, size, stride;

  int64_t out_height() const { return (height - size) / stride + 1; }
  int64_t out_width() const { return (width - size) / stride + 1; }
  int64_t positions() const { return out_height() * out_width(); }
  int64_t taps() const { return channels * size * size; }  // of a filter
  int64_t outputs() const { return positions() * filters; }
};

std::vector<ConvolutionExtent> extents_of(const ConvolutionNetwork& network);
// How many features an image has.
int64_t features_of(const ConvolutionNetwork& network);

// The parameters of a layer, or where their gradients go.
template <typename Pointer>
struct ConvolutionParameters {
  Pointer weight;  // (filters, channels, size, size)
  Pointer bias;    // (filters)
};

// All arrays are the caller's, in memory order as their shapes are, and must live during the call.
template <typename T>
struct ConvolutionForwardParams {
  const ConvolutionNetwork* network = nullptr;
  int64_t images = 0;                                       // N
  const uint8_t* image = nullptr;                           // in   (N, bytes)
  std::vector<ConvolutionParameters<const T*>> parameters;  // in   one for each layer
  T* features = nullptr;                                    // out  (N, features)
  // What backward reads besides: convolution_saved_size values. Null when only predicting.
  T* saved = nullptr;                           // out
  const base::ParallelFor* parallel = nullptr;  // null: on this thread
};

// Gradients of a scalar loss, summed over the images. `forward` is as it was in the forward call;
// its features and `saved` are read.
template <typename T>
struct ConvolutionBackwardParams {
  ConvolutionForwardParams<T> forward;
  const T* grad_features = nullptr;                  // in   (N, features)
  std::vector<ConvolutionParameters<T*>> gradients;  // out  one for each layer; null: not wanted
};

// The reference: the equations line by line. It neither writes nor reads `saved`.
template <typename T>
void convolution_forward_ref(const ConvolutionForwardParams<T>& p);
template <typename T>
void convolution_backward_ref(const ConvolutionBackwardParams<T>& p);

// SIMD with run-time dispatch. The features of an image have the same bits whatever the others are,
// and all results for any number of threads.
template <typename T>
void convolution_forward_cpu(const ConvolutionForwardParams<T>& p);
template <typename T>
void convolution_backward_cpu(const ConvolutionBackwardParams<T>& p);

// How many values of T a call of the CPU kernel saves for backward.
template <typename T>
int64_t convolution_saved_size(const ConvolutionNetwork& network, int64_t images);

// A network with its parameters, ready for one image after another: the same bits as
// convolution_forward_cpu or, if `reference`, as convolution_forward_ref. It holds a copy of the
// parameters; several threads may use it at once.
template <typename T>
class PreparedConvolution {
 public:
  PreparedConvolution(const ConvolutionNetwork& network,
                      const std::vector<ConvolutionParameters<const T*>>& parameters,
                      bool reference = false);
  ~PreparedConvolution();
  PreparedConvolution(const PreparedConvolution&) = delete;
  PreparedConvolution& operator=(const PreparedConvolution&) = delete;

  //   image     in   (bytes)
  //   features  out  (features)
  void run(const uint8_t* image, T* features) const;

 private:
  struct Content;
  std::unique_ptr<const Content> content_;
};

}  // namespace stpn::kernels
