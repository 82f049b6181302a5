// Convolutions of images of bytes, in autograd's graph: for the encoder in C++, without an op of
// torch's dispatcher. The equations are in stpn/kernels/convolution/equations.h.
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <vector>

#include "stpn/kernels/convolution/equations.h"

namespace stpn::ops {

// Of one layer, of one float type, on the CPU.
struct ConvolutionTensors {
  at::Tensor weight;  // (filters, channels, size, size)
  at::Tensor bias;    // (filters)
};

// Throws base::UserError for a network that has no layer, a size below 1, a filter larger than its
// input, or a unit of 0.
void check_convolution(const kernels::ConvolutionNetwork& network);

// Returns the features (N, features) of images (N, bytes) uint8, differentiable once in the
// parameters. The features of an image have the same bits whatever N is, and all results for any
// number of threads. Throws base::UserError for tensors of other shapes or types, and for ones with
// a tangent, because forward-mode differentiation is not implemented.
// REQUIRES: check_convolution accepts the network.
at::Tensor run_convolution(const kernels::ConvolutionNetwork& network, const at::Tensor& images,
                           const std::vector<ConvolutionTensors>& parameters);

// The parameters as they are now, for one image after another without torch: the same bits as
// run_convolution. T: float or double, that of the parameters; throws base::UserError for another.
template <typename T>
std::unique_ptr<kernels::PreparedConvolution<T>> prepare_convolution(
    const kernels::ConvolutionNetwork& network, const std::vector<ConvolutionTensors>& parameters);

}  // namespace stpn::ops
