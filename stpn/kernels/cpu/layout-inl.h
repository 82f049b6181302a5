// The two layouts of a group's values, as plastic_plan.h has them, in the vectors of a target: what
// a unit's step says once for both. Compiled once a target.
//
// A step goes over its rows kRows at a time, across over the last few one by one, and over their
// sources:
//   for (int64_t j = 0; j < layout.width; j += Layout::kColumns)
//     for r < kRows, v < kVectors:     vector q = r * kVectors + v of kTileVectors

#if defined(STPN_KERNELS_CPU_LAYOUT_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef STPN_KERNELS_CPU_LAYOUT_INL_H_
#undef STPN_KERNELS_CPU_LAYOUT_INL_H_
#else
#define STPN_KERNELS_CPU_LAYOUT_INL_H_
#endif

#include <hwy/highway.h>

#include <algorithm>
#include <numeric>

#include "stpn/kernels/cpu/plan.h"
#include "stpn/kernels/cpu/vector_math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace stpn::kernels {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

template <typename T, int S>
struct RowVectorised {
  using Value = T;
  static constexpr bool kBatchInterleaved = false;
  using D = hn::ScalableTag<T>;
  using V = hn::Vec<D>;
  static constexpr int kSamples = S;
  static constexpr bool kNeuronBlocks = false;
  static constexpr int kVectors = S;
  static constexpr int kRows = kTileRows / S;
  static constexpr int kTileVectors = kRows * kVectors;
  static constexpr int64_t kColumns = hn::MaxLanes(D());

  explicit RowVectorised(const PlasticPlan<T>& plan) : width(plan.row) {}

  // Offsets of vectors: of a presynaptic array; of rows of a matrix, from the first of kRows on; of
  // rows of sums of gradients, likewise.
  HWY_INLINE int64_t presynaptic(int v, int64_t j) const { return v * width + j; }
  HWY_INLINE int64_t synapse(int q, int64_t j) const { return q * width + j; }
  HWY_INLINE int64_t gradient(int r, int64_t j) const { return r * width + j; }
  // Offset of one value of a presynaptic array.
  HWY_INLINE int64_t value(int s, int64_t j) const { return s * width + j; }
  // Sources from this one on are those from `first` on, and some before.
  static int64_t vector_of(int64_t first) { return first / kColumns * kColumns; }

  // Of padded rows of parameters, from the first of kRows on.
  HWY_INLINE V parameter(const T* HWY_RESTRICT rows, int r, int64_t j) const {
    return hn::Load(D(), rows + r * width + j);
  }
  // Of unit values, from those of the first of kRows on.
  static HWY_INLINE V neuron(const T* HWY_RESTRICT neurons, int q) { return hn::Set(D(), neurons[q]); }
  // One value a sample.
  static HWY_INLINE V sample(const T* HWY_RESTRICT values, int v) {
    return hn::Set(D(), values[v]);
  }
  // Sums over the sources, to unit values.
  template <int N>
  static HWY_INLINE void store_sums(const V (&sums)[N], T* HWY_RESTRICT neurons) {
    sums_of_lanes<N>(D(), sums, neurons);
  }

  const int64_t width;
};

// In neuron_blocks one row goes after the other: an update then hides behind the next row's sums.
template <typename T, bool kInNeuronBlocks = false>
struct BatchInterleaved {
  using Value = T;
  static constexpr bool kBatchInterleaved = true;
  using D = hn::ScalableTag<T>;
  using V = hn::Vec<D>;
  static constexpr int kSamples = kInNeuronBlocks ? kNeuronBlockSamples<T> : kInterleavedSamples<T>;
  static constexpr bool kNeuronBlocks = kInNeuronBlocks;
  static constexpr int kVectors = kSamples / static_cast<int>(hn::MaxLanes(D()));
  static constexpr int kRows = kNeuronBlocks ? 1 : std::max(1, kTileRows / kVectors);
  static constexpr int kTileVectors = kRows * kVectors;
  static constexpr int64_t kColumns = 1;

  explicit BatchInterleaved(const PlasticPlan<T>& plan) : width(plan.fan_in), row_(plan.row) {}

  HWY_INLINE int64_t presynaptic(int v, int64_t j) const { return j * kSamples + v * hn::Lanes(D()); }
  HWY_INLINE int64_t synapse(int q, int64_t j) const {
    return (q / kVectors * width + j) * kSamples + q % kVectors * hn::Lanes(D());
  }
  HWY_INLINE int64_t gradient(int r, int64_t j) const { return (r * width + j) * hn::Lanes(D()); }
  HWY_INLINE int64_t value(int s, int64_t j) const { return j * kSamples + s; }
  static int64_t vector_of(int64_t first) { return first; }

  HWY_INLINE V parameter(const T* HWY_RESTRICT rows, int r, int64_t j) const {
    return hn::Set(D(), rows[r * row_ + j]);
  }
  static HWY_INLINE V neuron(const T* HWY_RESTRICT neurons, int q) {
    return hn::LoadU(D(), neurons + q * hn::Lanes(D()));
  }
  static HWY_INLINE V sample(const T* HWY_RESTRICT values, int v) {
    return hn::Load(D(), values + v * hn::Lanes(D()));
  }
  template <int N>
  static HWY_INLINE void store_sums(const V (&sums)[N], T* HWY_RESTRICT neurons) {
    STPN_UNROLL
    for (int q = 0; q < N; ++q) hn::Store(sums[q], D(), neurons + q * hn::Lanes(D()));
  }

  const int64_t width;

 private:
  const int64_t row_;
};

template <typename T>
using NeuronBlocks = BatchInterleaved<T, true>;

// A value for each sample, repeated as the samples are in unit values.
template <typename T, int S>
struct PerSample {
  using D = hn::ScalableTag<T>;
  static constexpr int64_t kTileVectors = hn::MaxLanes(D());
  static constexpr int64_t kWidth = kTileVectors > S ? kTileVectors : S;
  static_assert(kWidth % S == 0 && kWidth % kTileVectors == 0);

  HWY_INLINE void set(int s, T value) {
    for (int64_t k = s; k < kWidth; k += S) values[k] = value;
  }
  // For the vector of unit values that begins at `unit`.
  HWY_INLINE hn::Vec<D> at(int64_t neuron) const { return hn::Load(D(), values + neuron % kWidth); }

  alignas(64) T values[kWidth];
};

// Of each sample, the sum over `units` unit values of value(k), the vector of those from k on.
template <class Layout, class Value, typename T = typename Layout::Value>
HWY_INLINE void sums_over_neurons(int64_t neurons, const Value& value, T (&sums)[Layout::kSamples]) {
  constexpr int S = Layout::kSamples;
  constexpr int64_t kWidth = PerSample<T, S>::kWidth;
  const typename Layout::D d;
  alignas(64) T sums_of_places[kWidth] = {};
  for (int64_t place = 0; place < kWidth; place += hn::Lanes(d)) {
    typename Layout::V sum = hn::Zero(d);
    for (int64_t k = place; k < neurons; k += kWidth) sum = hn::Add(sum, value(k));
    hn::Store(sum, d, sums_of_places + place);
  }
  std::fill_n(sums, S, T(0));
  for (int64_t place = 0; place < kWidth; ++place) sums[place % S] += sums_of_places[place];
}

// Writes one value a neuron, the same for all samples, as neuron values.
template <int S, typename T>
void repeat_for_samples(const T* values, int64_t count, T* neurons) {
  for (int64_t i = 0; i < count; ++i) std::fill_n(neurons + i * S, S, values[i]);
}

// The sum of one neuron's values over the samples.
template <int S, typename T>
HWY_INLINE T sum_of_samples(const T* values) {
  return std::accumulate(values, values + S, T(0));
}

}  // namespace HWY_NAMESPACE
}  // namespace stpn::kernels
HWY_AFTER_NAMESPACE();

#endif
