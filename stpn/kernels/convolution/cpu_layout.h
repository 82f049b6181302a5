// How the CPU kernel of convolutions lays out its arrays. Arithmetic only.
//
// Values between the layers are in the order (row, column, channel), so that the taps of a filter
// are a few segments that are contiguous in the input: in an inner layer a row of the filter, all
// channels; in the image, whose channels come first, a row of the filter in one channel.
//
//   forward   SIMD vectors run along the filters: blocks of 64 bytes of them
//   backward  SIMD vectors run along the taps: each segment is padded to whole vectors
#pragma once

#include <cstdint>
#include <vector>

#include "stpn/kernels/convolution/equations.h"

namespace stpn::kernels {

// Filters of a block.
template <typename T>
inline constexpr int64_t kFilterBlock = 64 / sizeof(T);

constexpr int64_t padded_to(int64_t count, int64_t multiple) {
  return (count + multiple - 1) / multiple * multiple;
}

template <typename T>
struct ConvolutionLayerLayout : ConvolutionExtent {
  ConvolutionLayerLayout(const ConvolutionExtent& extent, bool is_first, int64_t lanes)
      : ConvolutionExtent(extent),
        first(is_first),
        segments(is_first ? channels * size : size),
        segment_length(is_first ? size : size * channels),
        segment_row(padded_to(segment_length, lanes)),
        blocks(padded_to(filters, kFilterBlock<T>) / kFilterBlock<T>) {}

  // Where segment s of the taps begins, from the first tap; and where the taps of a position do.
  int64_t segment_offset(int64_t s) const {
    return first ? (s / size * height + s % size) * width : s * width * channels;
  }
  int64_t position_offset(int64_t position) const {
    const int64_t row = position / out_width();
    const int64_t column = position % out_width();
    return (row * width + column) * stride * (first ? 1 : channels);
  }
  // Where the weight of tap k of segment s lies among those of its filter, as the caller has them.
  int64_t tap_of(int64_t s, int64_t k) const {
    return first ? s * size + k : (k % channels * size + s) * size + k / channels;
  }

  // Weights for forward: (blocks, segments, segment_length, kFilterBlock).
  int64_t forward_weights() const { return blocks * taps() * kFilterBlock<T>; }
  int64_t biases() const { return blocks * kFilterBlock<T>; }
  // Weights for the gradient of the input, and sums of the gradients of the weights: (filters,
  // segments, segment_row).
  int64_t filter_row() const { return segments * segment_row; }
  int64_t backward_weights() const { return filters * filter_row(); }

  bool first;
  int64_t segments, segment_length;
  int64_t segment_row;  // segment_length, padded
  int64_t blocks;       // of filters
  // Of this layer in arrays that all layers share: the forward weights, followed by the biases; the
  // backward weights or the sums of gradients, followed by those of the biases; and the outputs
  // among those that an image saves.
  int64_t forward_offset = 0, backward_offset = 0, saved_offset = 0;
};

template <typename T>
struct ConvolutionLayout {
  // `lanes`: of a SIMD vector.
  ConvolutionLayout(const ConvolutionNetwork& network, int64_t lanes) : image(network.image) {
    for (const ConvolutionExtent& extent : extents_of(network)) {
      layers.emplace_back(extent, layers.empty(), lanes);
      ConvolutionLayerLayout<T>& layer = layers.back();
      layer.forward_offset = forward_parameters;
      layer.backward_offset = backward_parameters;
      layer.saved_offset = saved_values;
      forward_parameters += layer.forward_weights() + layer.biases();
      backward_parameters += padded_to(layer.backward_weights() + layer.filters, kFilterBlock<T>);
      saved_values += padded_to(layer.outputs(), kFilterBlock<T>);
    }
    // The outputs of the last layer are the features.
    saved_values = layers.back().saved_offset;
  }

  // SIMD vectors read past the end of a segment: so many values past the end of an input. They are
  // multiplied, but the products are dropped.
  static constexpr int64_t kSlack = kFilterBlock<T>;

  int64_t features() const { return layers.back().outputs(); }
  int64_t saved_size(int64_t images) const { return images * saved_values + kSlack; }

  ConvolutionImage image;
  std::vector<ConvolutionLayerLayout<T>> layers;
  int64_t forward_parameters = 0, backward_parameters = 0;
  int64_t saved_values = 0;  // of an image
};

// The shards of N images: a function of N only, so that bits do not depend on threads. The images
// of shard i are [first_image(i), first_image(i + 1)).
struct ConvolutionShards {
  explicit ConvolutionShards(int64_t number_of_images)
      : images(number_of_images), count(count_of(number_of_images)) {}
  int64_t first_image(int64_t shard) const { return shard * images / count; }

  int64_t images, count;

 private:
  // A shard takes longer than to wake a thread, and than to add its sums to those of the others.
  static int64_t count_of(int64_t images) {
    constexpr int64_t kMostShards = 16;
    constexpr int64_t kImagesInShard = 8;
    return images < 2 * kImagesInShard             ? 1
           : images / kImagesInShard < kMostShards ? images / kImagesInShard
                                                   : kMostShards;
  }
};

// For each byte, which of its bits are set, in order; then zeros.
struct SetBits {
  constexpr SetBits() {
    for (int byte = 0; byte < 256; ++byte) {
      int count = 0;
      for (uint8_t bit = 0; bit < 8; ++bit) {
        if ((byte >> bit & 1) != 0) places[byte][count++] = bit;
      }
    }
  }
  alignas(64) uint8_t places[256][8] = {};
};
inline constexpr SetBits kSetBits;

}  // namespace stpn::kernels
