// What cpu_shard.cc compiles for each SIMD target: images through the CPU kernel.
#pragma once

#include <cstdint>

#include "stpn/kernels/convolution/cpu_layout.h"
#include "stpn/kernels/convolution/equations.h"

namespace stpn::kernels {

// The images [begin, end) of a call.
struct ConvolutionRange {
  int64_t begin, end;
};

// Forward reads from p only the arrays of images, features and saved.
//   weights  forward weights and biases of all layers
template <typename T>
void convolution_shard(const ConvolutionForwardParams<T>& p, const ConvolutionLayout<T>& layout,
                       const T* weights, ConvolutionRange range);
//   weights  backward weights of all layers but the first, which is not read
//   sums     out: of the gradients of the shard, in the same order
template <typename T>
void convolution_shard(const ConvolutionBackwardParams<T>& p, const ConvolutionLayout<T>& layout,
                       const T* weights, T* sums, ConvolutionRange range);

// How many values of T a SIMD vector has.
template <typename T>
int64_t convolution_lanes();

}  // namespace stpn::kernels
