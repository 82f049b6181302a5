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

// Of one unit's values.
template <int S, typename T>
HWY_INLINE T sum_of_samples(const T* values) {
  return std::accumulate(values, values + S, T(0));
}

// Of the vectors of rows that go together, a few whose sums stay in registers while they go over
// the sources.
template <class Layout, int kMost>
struct TilePart {
  using V = typename Layout::V;
  static constexpr int kTileVectors = std::min(kMost, Layout::kTileVectors);
  static constexpr int kParts = Layout::kTileVectors / kTileVectors;
  static constexpr int kVectors = std::min(kTileVectors, Layout::kVectors);
  static constexpr int kRows = kTileVectors / kVectors;
  static_assert(Layout::kTileVectors % kTileVectors == 0 && Layout::kVectors % kVectors == 0);

  explicit HWY_INLINE TilePart(int part) : first(part * kTileVectors) {}
  // Of the block's vector p: which it is of all, and of which row and vector of samples.
  HWY_INLINE int tile_vector(int p) const { return first + p; }
  HWY_INLINE int row(int p) const { return tile_vector(p) / Layout::kVectors; }
  HWY_INLINE int vector(int p) const { return tile_vector(p) % Layout::kVectors; }

  const int first;
};

// The gradient of presynaptic activity, in registers for the rows of a block.
template <class Layout, class Part, bool kUsed>
struct PresynapticGradient {
  using T = typename Layout::Value;
  using D = typename Layout::D;

  // Sources before `from` need none.
  HWY_INLINE PresynapticGradient(const Layout& its_layout, const Part& its_block,
                                 T* HWY_RESTRICT its_memory, int64_t from)
      : layout(its_layout), part(its_block), memory(its_memory), first(from) {
    STPN_UNROLL
    for (int v = 0; v < Part::kVectors; ++v) sums[v] = hn::Zero(D());
  }
  HWY_INLINE void load(int64_t j) {
    wanted = kUsed && j >= first;
    if (!wanted) return;
    STPN_UNROLL
    for (int v = 0; v < Part::kVectors; ++v) {
      sums[v] = hn::Load(D(), memory + layout.presynaptic(part.vector(v), j));
    }
  }
  HWY_INLINE void add(int p, typename Layout::V factor, typename Layout::V other) {
    if (wanted) sums[p % Part::kVectors] = hn::MulAdd(factor, other, sums[p % Part::kVectors]);
  }
  HWY_INLINE void store(int64_t j) const {
    if (!wanted) return;
    STPN_UNROLL
    for (int v = 0; v < Part::kVectors; ++v) {
      hn::Store(sums[v], D(), memory + layout.presynaptic(part.vector(v), j));
    }
  }

  const Layout layout;
  const Part part;
  T* const HWY_RESTRICT memory;
  const int64_t first;
  bool wanted = false;
  typename Layout::V sums[Part::kVectors];
};

}  // namespace HWY_NAMESPACE
}  // namespace stpn::kernels
HWY_AFTER_NAMESPACE();

#endif
