// The two layouts of a group's arrays (cpu/plan.h), in the vectors of a SIMD target, so that a
// kernel states its loops once for both. Compiled once for each SIMD target.
//
// A pass goes over its rows one register tile of kRows rows at a time, and in a tile over the
// presynaptic index j:
//   for (int64_t j = 0; j < layout.width; j += Layout::kColumns)
//     for r < kRows, v < kVectors:     vector q = r * kVectors + v of kTileVectors
// A vector belongs to one row. Row-vectorised it holds kColumns presynaptic inputs of sample v;
// batch-interleaved, one presynaptic input of as many samples as it has SIMD lanes.

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
#include "stpn/kernels/cpu/scratch_pool.h"
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

  // Offsets of vectors: of a presynaptic array; of the rows of a matrix, and of the rows of sums of
  // gradients, both from the first row of the tile.
  HWY_INLINE int64_t presynaptic(int v, int64_t j) const { return v * width + j; }
  HWY_INLINE int64_t synapse(int q, int64_t j) const { return q * width + j; }
  HWY_INLINE int64_t gradient(int r, int64_t j) const { return r * width + j; }
  // Offset of one value of a presynaptic array: sample s, presynaptic index j.
  HWY_INLINE int64_t value(int s, int64_t j) const { return s * width + j; }
  // The first presynaptic index of the vector that holds `first`.
  static int64_t vector_of(int64_t first) { return first / kColumns * kColumns; }

  // A vector of row r of the tile, of padded rows of parameters.
  HWY_INLINE V parameter(const T* HWY_RESTRICT rows, int r, int64_t j) const {
    return hn::Load(D(), rows + r * width + j);
  }
  // Vector q of neuron values, from those of the first row of the tile.
  static HWY_INLINE V neuron(const T* HWY_RESTRICT neurons, int q) {
    return hn::Set(D(), neurons[q]);
  }
  // A vector of an array of one value a sample.
  static HWY_INLINE V sample(const T* HWY_RESTRICT values, int v) {
    return hn::Set(D(), values[v]);
  }
  // Reduces sums over j and stores them as neuron values.
  template <int N>
  static HWY_INLINE void store_sums(const V (&sums)[N], T* HWY_RESTRICT neurons) {
    sums_of_lanes<N>(D(), sums, neurons);
  }

  const int64_t width;
};

// In neuron blocks a tile is a single row: its update overlaps with the sums of the next row.
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

  HWY_INLINE int64_t presynaptic(int v, int64_t j) const {
    return j * kSamples + v * hn::Lanes(D());
  }
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

// One value a sample, repeated the way the samples repeat in an array of neuron values.
template <typename T, int S>
struct PerSample {
  using D = hn::ScalableTag<T>;
  static constexpr int64_t kLanes = hn::MaxLanes(D());
  static constexpr int64_t kWidth = kLanes > S ? kLanes : S;
  static_assert(kWidth % S == 0 && kWidth % kLanes == 0);

  HWY_INLINE void set(int s, T value) {
    for (int64_t k = s; k < kWidth; k += S) values[k] = value;
  }
  // The vector that goes with the neuron values from index `neuron` on.
  HWY_INLINE hn::Vec<D> at(int64_t neuron) const { return hn::Load(D(), values + neuron % kWidth); }

  alignas(64) T values[kWidth];
};

// sums[s] = for sample s, the sum of value(k) over an array of `neurons` neuron values; value(k)
// returns the vector of those from index k on.
template <class Layout, class Value, typename T = typename Layout::Value>
HWY_INLINE void sums_over_neurons(int64_t neurons, const Value& value,
                                  T (&sums)[Layout::kSamples]) {
  constexpr int S = Layout::kSamples;
  constexpr int64_t kWidth = PerSample<T, S>::kWidth;
  const typename Layout::D d;
  alignas(64) T partial_sums[kWidth] = {};
  for (int64_t place = 0; place < kWidth; place += hn::Lanes(d)) {
    typename Layout::V sum = hn::Zero(d);
    for (int64_t k = place; k < neurons; k += kWidth) sum = hn::Add(sum, value(k));
    hn::Store(sum, d, partial_sums + place);
  }
  std::fill_n(sums, S, T(0));
  for (int64_t place = 0; place < kWidth; ++place) sums[place % S] += partial_sums[place];
}

// Arrays of neuron values, zero at first.
template <typename T>
class NeuronArrays {
 public:
  NeuronArrays(int64_t count, int64_t neurons) : neurons_(neurons), memory_(count * neurons) {
    std::fill_n(memory_.get(), count * neurons, T(0));
  }
  T* operator[](int64_t which) const { return memory_.get() + which * neurons_; }

 private:
  int64_t neurons_;
  ScratchArray<T> memory_;
};

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
