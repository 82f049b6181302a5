// The CPU kernel of convolutions: shards of the images over the caller's threads. What a shard does
// is compiled elsewhere (cpu_shard.cc).

#include <algorithm>
#include <cstdint>
#include <vector>

#include "stpn/kernels/convolution/cpu_layout.h"
#include "stpn/kernels/convolution/cpu_shard.h"
#include "stpn/kernels/cpu/scratch_pool.h"
#include "stpn/kernels/cpu/shards.h"
#include "stpn/kernels/cpu/simd_targets.h"

namespace stpn::kernels {
namespace {

template <typename T>
using Parameters = std::vector<ConvolutionParameters<const T*>>;

template <typename T>
ConvolutionLayout<T> layout_of(const ConvolutionNetwork& network) {
  return {network, convolution_lanes<T>()};
}

// Calls body(segment, place in it, tap) for each tap of a filter.
template <typename T, typename Body>
void for_taps(const ConvolutionLayerLayout<T>& layer, const Body& body) {
  for (int64_t s = 0; s < layer.segments; ++s) {
    for (int64_t k = 0; k < layer.segment_length; ++k) body(s, k, layer.tap_of(s, k));
  }
}

// What the values of a layer's input have to be multiplied by: the image is not divided.
template <typename T>
T factor_of(const ConvolutionLayout<T>& layout, const ConvolutionLayerLayout<T>& layer) {
  return layer.first ? T(1) / static_cast<T>(layout.image.unit) : T(1);
}

template <typename T>
ScratchArray<T> forward_weights(const ConvolutionLayout<T>& layout,
                                const Parameters<T>& parameters) {
  ScratchArray<T> packed(layout.forward_parameters);
  std::fill_n(packed.get(), layout.forward_parameters, T(0));
  for (size_t l = 0; l < layout.layers.size(); ++l) {
    const ConvolutionLayerLayout<T>& layer = layout.layers[l];
    const T factor = factor_of(layout, layer);
    T* const to = packed.get() + layer.forward_offset;
    for_taps(layer, [&](int64_t s, int64_t k, int64_t tap) {
      const T* const from = parameters[l].weight + tap;
      T* const row = to + (s * layer.segment_length + k) * kFilterBlock<T>;
      for (int64_t f = 0; f < layer.filters; ++f) {
        row[f / kFilterBlock<T> * layer.taps() * kFilterBlock<T> + f % kFilterBlock<T>] =
            from[f * layer.taps()] * factor;
      }
    });
    std::copy_n(parameters[l].bias, layer.filters, to + layer.forward_weights());
  }
  return packed;
}

template <typename T>
ScratchArray<T> backward_weights(const ConvolutionLayout<T>& layout,
                                 const Parameters<T>& parameters) {
  ScratchArray<T> packed(layout.backward_parameters);
  std::fill_n(packed.get(), layout.backward_parameters, T(0));
  for (size_t l = 1; l < layout.layers.size(); ++l) {
    const ConvolutionLayerLayout<T>& layer = layout.layers[l];
    T* const to = packed.get() + layer.backward_offset;
    for_taps(layer, [&](int64_t s, int64_t k, int64_t tap) {
      for (int64_t f = 0; f < layer.filters; ++f) {
        to[f * layer.filter_row() + s * layer.segment_row + k] =
            parameters[l].weight[f * layer.taps() + tap];
      }
    });
  }
  return packed;
}

// Adds the sums of all shards to those of the first, in order.
template <typename T>
void add_shards(const ConvolutionLayout<T>& layout, int64_t shards, T* sums) {
  for (int64_t shard = 1; shard < shards; ++shard) {
    const T* const more = sums + shard * layout.backward_parameters;
    for (int64_t k = 0; k < layout.backward_parameters; ++k) sums[k] += more[k];
  }
}

template <typename T>
void store_gradients(const ConvolutionLayout<T>& layout, const T* sums,
                     const std::vector<ConvolutionParameters<T*>>& gradients) {
  for (size_t l = 0; l < layout.layers.size(); ++l) {
    const ConvolutionLayerLayout<T>& layer = layout.layers[l];
    const T factor = factor_of(layout, layer);
    const T* const from = sums + layer.backward_offset;
    if (gradients[l].weight != nullptr) {
      for_taps(layer, [&](int64_t s, int64_t k, int64_t tap) {
        for (int64_t f = 0; f < layer.filters; ++f) {
          gradients[l].weight[f * layer.taps() + tap] =
              from[f * layer.filter_row() + s * layer.segment_row + k] * factor;
        }
      });
    }
    if (gradients[l].bias == nullptr) continue;
    std::copy_n(from + layer.backward_weights(), layer.filters, gradients[l].bias);
  }
}

}  // namespace

template <typename T>
int64_t convolution_saved_size(const ConvolutionNetwork& network, int64_t images) {
  // The number of lanes changes nothing of what is saved.
  return ConvolutionLayout<T>(network, 1).saved_size(images);
}

template <typename T>
void convolution_forward_cpu(const ConvolutionForwardParams<T>& p) {
  if (!has_simd_target()) return convolution_forward_ref(p);
  const ConvolutionLayout<T> layout = layout_of<T>(*p.network);
  const ScratchArray<T> weights = forward_weights(layout, p.parameters);
  const ConvolutionShards shards(p.images);
  for_each_shard(p.parallel, shards.count, [&](int64_t shard) {
    convolution_shard(p, layout, weights.get(),
                      {shards.first_image(shard), shards.first_image(shard + 1)});
  });
}

template <typename T>
void convolution_backward_cpu(const ConvolutionBackwardParams<T>& p) {
  if (!has_simd_target()) return convolution_backward_ref(p);
  const ConvolutionLayout<T> layout = layout_of<T>(*p.forward.network);
  const ScratchArray<T> weights = backward_weights(layout, p.forward.parameters);
  const ConvolutionShards shards(p.forward.images);
  const ScratchArray<T> sums(shards.count * layout.backward_parameters);
  for_each_shard(p.forward.parallel, shards.count, [&](int64_t shard) {
    convolution_shard(p, layout, weights.get(), sums.get() + shard * layout.backward_parameters,
                      {shards.first_image(shard), shards.first_image(shard + 1)});
  });
  add_shards(layout, shards.count, sums.get());
  store_gradients<T>(layout, sums.get(), p.gradients);
}

template <typename T>
struct PreparedConvolution<T>::Content {
  Content(const ConvolutionNetwork& its_network, const Parameters<T>& parameters, bool reference)
      : network(its_network), simd(!reference && has_simd_target()), layout(network, lanes()) {
    if (simd) {
      const ScratchArray<T> packed = forward_weights(layout, parameters);
      memory.assign(packed.get(), packed.get() + layout.forward_parameters);
      return;
    }
    for (size_t l = 0; l < layout.layers.size(); ++l) {
      const ConvolutionLayerLayout<T>& layer = layout.layers[l];
      memory.insert(memory.end(), parameters[l].weight,
                    parameters[l].weight + layer.filters * layer.taps());
      memory.insert(memory.end(), parameters[l].bias, parameters[l].bias + layer.filters);
    }
  }
  int64_t lanes() const { return simd ? convolution_lanes<T>() : 1; }

  ConvolutionNetwork network;
  bool simd;
  ConvolutionLayout<T> layout;
  // With SIMD the forward weights; else the parameters, one after the other, for the reference.
  std::vector<T> memory;
};

template <typename T>
PreparedConvolution<T>::PreparedConvolution(const ConvolutionNetwork& network,
                                            const Parameters<T>& parameters, bool reference)
    : content_(std::make_unique<Content>(network, parameters, reference)) {}
template <typename T>
PreparedConvolution<T>::~PreparedConvolution() = default;

template <typename T>
void PreparedConvolution<T>::run(const uint8_t* image, T* features) const {
  ConvolutionForwardParams<T> p;
  p.network = &content_->network;
  p.images = 1;
  p.image = image;
  p.features = features;
  if (content_->simd)
    return convolution_shard(p, content_->layout, content_->memory.data(), {0, 1});
  const T* next = content_->memory.data();
  for (const ConvolutionLayerLayout<T>& layer : content_->layout.layers) {
    const int64_t weights = layer.filters * layer.taps();
    p.parameters.push_back({next, next + weights});
    next += weights + layer.filters;
  }
  convolution_forward_ref(p);
}

template int64_t convolution_saved_size<float>(const ConvolutionNetwork&, int64_t);
template int64_t convolution_saved_size<double>(const ConvolutionNetwork&, int64_t);
template void convolution_forward_cpu(const ConvolutionForwardParams<float>&);
template void convolution_forward_cpu(const ConvolutionForwardParams<double>&);
template void convolution_backward_cpu(const ConvolutionBackwardParams<float>&);
template void convolution_backward_cpu(const ConvolutionBackwardParams<double>&);
template class PreparedConvolution<float>;
template class PreparedConvolution<double>;

}  // namespace stpn::kernels
