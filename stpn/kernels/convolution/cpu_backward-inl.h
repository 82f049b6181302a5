// The gradients of convolutions, image after image. SIMD vectors run along the taps, and one value
// of the gradient multiplies a tile of them: relu sets half of the gradient to zero or more, and
// zeros are left out. Compiled once for each SIMD target.

#if defined(STPN_KERNELS_CONVOLUTION_CPU_BACKWARD_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef STPN_KERNELS_CONVOLUTION_CPU_BACKWARD_INL_H_
#undef STPN_KERNELS_CONVOLUTION_CPU_BACKWARD_INL_H_
#else
#define STPN_KERNELS_CONVOLUTION_CPU_BACKWARD_INL_H_
#endif

#include <hwy/highway.h>

#include <algorithm>
#include <vector>

#include "stpn/kernels/convolution/cpu_forward-inl.h"
#include "stpn/kernels/convolution/cpu_shard.h"
#include "stpn/kernels/cpu/denormals.h"
#include "stpn/kernels/cpu/scratch_pool.h"
#include "stpn/kernels/cpu/vector_math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace stpn::kernels {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

template <typename T>
class ConvolutionBackward {
  using D = hn::ScalableTag<T>;
  using V = hn::Vec<D>;
  using Index = hwy::MakeSigned<T>;  // as many bytes as T, so that they are compressed alike
  static constexpr int64_t kLanes = static_cast<int64_t>(hn::MaxLanes(D()));
  static constexpr int kTile = 8;  // vectors of a register tile

 public:
  ConvolutionBackward(const ConvolutionBackwardParams<T>& p, const ConvolutionLayout<T>& layout,
                      const T* weights, T* sums)
      : p_(p), layout_(layout), weights_(weights), sums_(sums) {
    for (const ConvolutionLayerLayout<T>& layer : layout.layers) {
      most_outputs_ = std::max(most_outputs_, layer.outputs());
      const int64_t row = padded_to(layer.positions(), kFilterBlock<T>);
      most_transposed_ = std::max(most_transposed_, layer.filters * row);
      most_lists_ = std::max({most_lists_, layer.filters, layer.positions()});
      most_positions_ = std::max(most_positions_, row);
    }
  }

  void run(ConvolutionRange range) {
    const FlushDenormals flush;
    constexpr int64_t kSlack = ConvolutionLayout<T>::kSlack;
    const int64_t bytes = layout_.image.bytes();
    const ScratchArray<T> image(bytes + kSlack);
    const ScratchArray<T> grads(most_outputs_ + kSlack);
    const ScratchArray<T> input_grads(most_outputs_ + kSlack);
    const ScratchArray<T> transposed(most_transposed_);
    const ScratchArray<T> values(most_transposed_ + kSlack);
    const ScratchArray<Index> places(most_transposed_ + kSlack);
    const ScratchArray<int64_t> ends(most_lists_);
    const ScratchArray<Index> offsets(most_positions_);
    transposed_ = transposed.get();
    values_ = values.get();
    places_ = places.get();
    ends_ = ends.get();
    offsets_ = offsets.get();
    std::fill_n(sums_, layout_.backward_parameters, T(0));
    std::fill_n(image.get() + bytes, kSlack, T(0));
    for (int64_t n = range.begin; n < range.end; ++n) {
      load_image(layout_.image, p_.forward.image + n * bytes, image.get());
      const T* const inner = p_.forward.saved + n * layout_.saved_values;
      const int64_t features = layout_.features();
      T* grad = grads.get();
      T* next = input_grads.get();
      keep_where_positive(p_.grad_features + n * features, p_.forward.features + n * features,
                          features, grad);
      for (size_t l = layout_.layers.size(); l-- > 0;) {
        const ConvolutionLayerLayout<T>& layer = layout_.layers[l];
        add_biases(layer, grad);
        if (l == 0) {
          add_weights(layer, grad, image.get());
          break;
        }
        const ConvolutionLayerLayout<T>& before = layout_.layers[l - 1];
        const T* const input = inner + before.saved_offset;
        add_weights(layer, grad, input);
        input_gradient(layer, grad, next);
        keep_where_positive(next, input, before.outputs(), next);
        std::swap(grad, next);
      }
    }
  }

 private:
  // The nonzero values of a list, and where each belongs.
  struct List {
    const T* HWY_RESTRICT values;
    const Index* HWY_RESTRICT places;
    int64_t count;
  };

  // The gradient through relu, given its values.
  static void keep_where_positive(const T* from, const T* HWY_RESTRICT outputs, int64_t count,
                                  T* to) {
    const D d;
    int64_t k = 0;
    for (; k + kLanes <= count; k += kLanes) {
      const auto zero = hn::Le(hn::LoadU(d, outputs + k), hn::Zero(d));
      hn::StoreU(hn::IfThenZeroElse(zero, hn::LoadU(d, from + k)), d, to + k);
    }
    for (; k < count; ++k) to[k] = outputs[k] <= T(0) ? T(0) : from[k];
  }

  void add_biases(const ConvolutionLayerLayout<T>& layer, const T* HWY_RESTRICT grad) {
    T* HWY_RESTRICT const sums = sums_ + layer.backward_offset + layer.backward_weights();
    const D d;
    int64_t f = 0;
    for (; f + kLanes <= layer.filters; f += kLanes) {
      V sum = hn::LoadU(d, sums + f);
      for (int64_t at = 0; at < layer.positions(); ++at) {
        sum = hn::Add(sum, hn::LoadU(d, grad + at * layer.filters + f));
      }
      hn::StoreU(sum, d, sums + f);
    }
    for (; f < layer.filters; ++f) {
      for (int64_t at = 0; at < layer.positions(); ++at) sums[f] += grad[at * layer.filters + f];
    }
  }

  // Appends to a list that ends at `end` the nonzero values of a row; returns its new end.
  //   place(k)  a vector of the places of the values from k on
  template <class Place>
  HWY_INLINE int64_t append(const T* HWY_RESTRICT row, int64_t count, int64_t end,
                            const Place& place) {
    const D d;
    const hn::RebindToSigned<D> of_places;
    for (int64_t k = 0; k < count; k += kLanes) {
      const V value = hn::LoadU(d, row + k);
      // Not "unequal", because NaN is not left out.
      const auto kept =
          hn::AndNot(hn::Eq(value, hn::Zero(d)), hn::FirstN(d, static_cast<size_t>(count - k)));
      if constexpr (kLanes == 8 && HWY_TARGET == HWY_AVX2) {
        // Highway 1.0 copies its table to the stack in each call.
        uint8_t bits[8];
        hn::StoreMaskBits(d, kept, bits);
        const auto order =
            hn::PromoteTo(of_places, hn::Load(hn::Rebind<uint8_t, D>(), kSetBits.places[bits[0]]));
        hn::StoreU(hn::TableLookupLanes(value, hn::IndicesFromVec(d, order)), d, values_ + end);
        hn::StoreU(hn::TableLookupLanes(place(k), hn::IndicesFromVec(of_places, order)), of_places,
                   places_ + end);
      } else {
        hn::CompressStore(value, kept, d, values_ + end);
        hn::CompressStore(place(k), hn::RebindMask(of_places, kept), of_places, places_ + end);
      }
      end += static_cast<int64_t>(hn::CountTrue(d, kept));
    }
    return end;
  }
  HWY_INLINE List list(int64_t index) const {
    const int64_t begin = index == 0 ? 0 : ends_[index - 1];
    return {values_ + begin, places_ + begin, ends_[index] - begin};
  }

  // Adds the gradients of a layer's weights: for each filter, over the positions.
  void add_weights(const ConvolutionLayerLayout<T>& layer, const T* grad, const T* input) {
    const int64_t positions = layer.positions();
    const int64_t row = padded_to(positions, kFilterBlock<T>);
    transpose(grad, layer.filters, positions, layer.filters, transposed_, row);
    const hn::RebindToSigned<D> of_places;
    for (int64_t at = 0; at < positions; ++at) {
      offsets_[at] = static_cast<Index>(layer.position_offset(at));
    }
    int64_t end = 0;
    for (int64_t f = 0; f < layer.filters; ++f) {
      end = append(transposed_ + f * row, positions, end,
                   [&](int64_t k) HWY_ATTR { return hn::LoadU(of_places, offsets_ + k); });
      ends_[f] = end;
    }
    const int64_t vectors = layer.filter_row() / kLanes;
    for_tiles<kTile>(vectors, 1, [&](auto tile, int64_t first) HWY_ATTR {
      add_tiles<tile>(layer, first, input);
    });
  }

  // Vectors [first, first + N) of the taps, of all filters.
  template <int N>
  HWY_INLINE void add_tiles(const ConvolutionLayerLayout<T>& layer, int64_t first, const T* input) {
    const D d;
    const int64_t in_segment = layer.segment_row / kLanes;
    const T* taps[N];
    STPN_UNROLL
    for (int i = 0; i < N; ++i) {
      taps[i] = input + layer.segment_offset((first + i) / in_segment) +
                (first + i) % in_segment * kLanes;
    }
    T* HWY_RESTRICT to = sums_ + layer.backward_offset + first * kLanes;
    for (int64_t f = 0; f < layer.filters; ++f, to += layer.filter_row()) {
      V sums[N];
      STPN_UNROLL
      for (int i = 0; i < N; ++i) sums[i] = hn::LoadU(d, to + i * kLanes);
      const List nonzero = list(f);
      for (int64_t k = 0; k < nonzero.count; ++k) {
        const int64_t place = nonzero.places[k];
        const V value = hn::Set(d, nonzero.values[k]);
        STPN_UNROLL
        for (int i = 0; i < N; ++i) {
          sums[i] = hn::MulAdd(value, hn::LoadU(d, taps[i] + place), sums[i]);
        }
      }
      STPN_UNROLL
      for (int i = 0; i < N; ++i) hn::StoreU(sums[i], d, to + i * kLanes);
    }
  }

  // The gradient of a layer's input: for each position, over the filters.
  void input_gradient(const ConvolutionLayerLayout<T>& layer, const T* HWY_RESTRICT grad,
                      T* HWY_RESTRICT input_grad) {
    const hn::RebindToSigned<D> of_places;
    const auto row = hn::Set(of_places, static_cast<Index>(layer.filter_row()));
    int64_t end = 0;
    for (int64_t at = 0; at < layer.positions(); ++at) {
      end = append(grad + at * layer.filters, layer.filters, end, [&](int64_t k) HWY_ATTR {
        return hn::Mul(hn::Iota(of_places, static_cast<Index>(k)), row);
      });
      ends_[at] = end;
    }
    std::fill_n(input_grad, layer.channels * layer.height * layer.width, T(0));
    const int64_t in_segment = layer.segment_row / kLanes;
    for (int64_t s = 0; s < layer.segments; ++s) {
      for_tiles<kTile>(in_segment, 1, [&](auto tile, int64_t first) HWY_ATTR {
        const T* HWY_RESTRICT const weights =
            weights_ + layer.backward_offset + s * layer.segment_row + first * kLanes;
        T* HWY_RESTRICT const to = input_grad + layer.segment_offset(s) + first * kLanes;
        for (int64_t at = 0; at < layer.positions(); ++at) {
          add_products<tile>(list(at), weights, to + layer.position_offset(at));
        }
      });
    }
  }

  // Adds to N vectors the products of the values of a list with rows of weights.
  template <int N>
  static HWY_INLINE void add_products(const List& nonzero, const T* HWY_RESTRICT weights,
                                      T* HWY_RESTRICT to) {
    const D d;
    V sums[N];
    STPN_UNROLL
    for (int i = 0; i < N; ++i) sums[i] = hn::Zero(d);
    for (int64_t k = 0; k < nonzero.count; ++k) {
      const T* HWY_RESTRICT const row = weights + nonzero.places[k];
      const V value = hn::Set(d, nonzero.values[k]);
      STPN_UNROLL
      for (int i = 0; i < N; ++i) {
        sums[i] = hn::MulAdd(value, hn::LoadU(d, row + i * kLanes), sums[i]);
      }
    }
    STPN_UNROLL
    for (int i = 0; i < N; ++i) {
      hn::StoreU(hn::Add(hn::LoadU(d, to + i * kLanes), sums[i]), d, to + i * kLanes);
    }
  }

  const ConvolutionBackwardParams<T>& p_;
  const ConvolutionLayout<T>& layout_;
  const T* const weights_;
  T* const sums_;
  int64_t most_outputs_ = 0, most_transposed_ = 0, most_lists_ = 0, most_positions_ = 0;
  T* transposed_ = nullptr;
  T* values_ = nullptr;
  Index* places_ = nullptr;
  int64_t* ends_ = nullptr;
  Index* offsets_ = nullptr;
};

}  // namespace HWY_NAMESPACE
}  // namespace stpn::kernels
HWY_AFTER_NAMESPACE();

#endif
