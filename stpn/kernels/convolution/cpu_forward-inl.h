// Convolutions of one image after the other, a register tile of positions and filters at a time.
// Compiled once for each SIMD target.

#if defined(STPN_KERNELS_CONVOLUTION_CPU_FORWARD_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef STPN_KERNELS_CONVOLUTION_CPU_FORWARD_INL_H_
#undef STPN_KERNELS_CONVOLUTION_CPU_FORWARD_INL_H_
#else
#define STPN_KERNELS_CONVOLUTION_CPU_FORWARD_INL_H_
#endif

#include <hwy/highway.h>

#include <algorithm>

#include "stpn/kernels/convolution/cpu_shard.h"
#include "stpn/kernels/cpu/denormals.h"
#include "stpn/kernels/cpu/scratch_pool.h"
#include "stpn/kernels/cpu/vector_math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace stpn::kernels {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// byte - zero: the division by the unit is in the weights of the first layer.
template <typename T>
HWY_INLINE void load_image(const ConvolutionImage& image, const uint8_t* HWY_RESTRICT bytes,
                           T* HWY_RESTRICT values) {
  const T zero = static_cast<T>(image.zero);
  const int64_t count = image.bytes();
  for (int64_t k = 0; k < count; ++k) values[k] = static_cast<T>(bytes[k]) - zero;
}

template <typename T>
class ConvolutionForward {
  using D = hn::ScalableTag<T>;
  using V = hn::Vec<D>;

 public:
  ConvolutionForward(const ConvolutionForwardParams<T>& p, const ConvolutionLayout<T>& layout,
                     const T* weights)
      : p_(p), layout_(layout), weights_(weights) {}

  void run(ConvolutionRange range) {
    const FlushDenormals flush;
    const ScratchArray<T> values(layout_.image.bytes() + layout_.saved_values);
    for (int64_t n = range.begin; n < range.end; ++n) {
      const int64_t bytes = layout_.image.bytes();
      load_image(layout_.image, p_.image + n * bytes, values.get());
      T* const inner =
          p_.saved != nullptr ? p_.saved + n * layout_.saved_values : values.get() + bytes;
      const T* input = values.get();
      for (const ConvolutionLayerLayout<T>& layer : layout_.layers) {
        const bool last = &layer == &layout_.layers.back();
        T* const output = last ? p_.features + n * layout_.features() : inner + layer.saved_offset;
        run_layer(layer, input, output);
        input = output;
      }
    }
  }

 private:
  static constexpr int kLanes = static_cast<int>(hn::MaxLanes(D()));
  static constexpr int kVectors = static_cast<int>(kFilterBlock<T>) / kLanes;  // of a block
  // As many sums as hide the latency of an addition and leave registers for the weights.
  static constexpr int kPositions = 12 / kVectors;

  void run_layer(const ConvolutionLayerLayout<T>& layer, const T* HWY_RESTRICT input,
                 T* HWY_RESTRICT output) {
    const int64_t positions = layer.positions();
    // All positions for one block of filters, whose weights stay in the first-level cache.
    for (int64_t block = 0; block < layer.blocks; ++block) {
      if (positions < kPositions) {
        for (int64_t at = 0; at < positions; ++at) run_tile<1>(layer, block, at, input, output);
        continue;
      }
      // The last tile overlaps the one before.
      for (int64_t at = 0; at < positions; at += kPositions) {
        run_tile<kPositions>(layer, block, std::min(at, positions - kPositions), input, output);
      }
    }
  }

  // P positions of a layer from `position` on, for one block of filters.
  template <int P>
  HWY_INLINE void run_tile(const ConvolutionLayerLayout<T>& layer, int64_t block, int64_t position,
                           const T* HWY_RESTRICT input, T* HWY_RESTRICT output) {
    const D d;
    const T* HWY_RESTRICT weights =
        weights_ + layer.forward_offset + block * layer.taps() * kFilterBlock<T>;
    const T* const bias =
        weights_ + layer.forward_offset + layer.forward_weights() + block * kFilterBlock<T>;
    const T* HWY_RESTRICT taps[P];
    STPN_UNROLL
    for (int i = 0; i < P; ++i) taps[i] = input + layer.position_offset(position + i);
    V sums[P][kVectors];
    STPN_UNROLL
    for (int i = 0; i < P; ++i) {
      STPN_UNROLL
      for (int v = 0; v < kVectors; ++v) sums[i][v] = hn::LoadU(d, bias + v * kLanes);
    }
    for (int64_t s = 0; s < layer.segments; ++s) {
      const int64_t begin = layer.segment_offset(s);
      const int64_t end = begin + layer.segment_length;
      for (int64_t k = begin; k < end; ++k, weights += kFilterBlock<T>) {
        V weight[kVectors];
        STPN_UNROLL
        for (int v = 0; v < kVectors; ++v) weight[v] = hn::LoadU(d, weights + v * kLanes);
        STPN_UNROLL
        for (int i = 0; i < P; ++i) {
          const V value = hn::Set(d, taps[i][k]);
          STPN_UNROLL
          for (int v = 0; v < kVectors; ++v) sums[i][v] = hn::MulAdd(value, weight[v], sums[i][v]);
        }
      }
    }
    const int64_t filters = std::min(layer.filters - block * kFilterBlock<T>, kFilterBlock<T>);
    T* to = output + position * layer.filters + block * kFilterBlock<T>;
    STPN_UNROLL
    for (int i = 0; i < P; ++i, to += layer.filters) {
      STPN_UNROLL
      for (int v = 0; v < kVectors; ++v) {
        // Not a maximum, because NaN stays.
        sums[i][v] = hn::IfThenZeroElse(hn::Le(sums[i][v], hn::Zero(d)), sums[i][v]);
      }
      if (filters == kFilterBlock<T>) {
        STPN_UNROLL
        for (int v = 0; v < kVectors; ++v) hn::StoreU(sums[i][v], d, to + v * kLanes);
      } else {
        T values[kFilterBlock<T>];
        for (int v = 0; v < kVectors; ++v) hn::StoreU(sums[i][v], d, values + v * kLanes);
        std::copy_n(values, filters, to);
      }
    }
  }

  const ConvolutionForwardParams<T>& p_;
  const ConvolutionLayout<T>& layout_;
  const T* const weights_;
};

}  // namespace HWY_NAMESPACE
}  // namespace stpn::kernels
HWY_AFTER_NAMESPACE();

#endif
