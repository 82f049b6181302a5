// Backward: the gradients of presynaptic inputs, which are sums over rows. Compiled once for each
// SIMD target.

#if defined(STPN_KERNELS_CPU_ROW_HALVES_PRESYNAPTIC_SUMS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef STPN_KERNELS_CPU_ROW_HALVES_PRESYNAPTIC_SUMS_INL_H_
#undef STPN_KERNELS_CPU_ROW_HALVES_PRESYNAPTIC_SUMS_INL_H_
#else
#define STPN_KERNELS_CPU_ROW_HALVES_PRESYNAPTIC_SUMS_INL_H_
#endif

#include <hwy/highway.h>

#include <algorithm>
#include <cstdint>
#include <utility>

#include "stpn/kernels/cpu/group-inl.h"
#include "stpn/kernels/cpu/row_halves/row_halves.h"
#include "stpn/kernels/cpu/scratch_pool.h"

HWY_BEFORE_NAMESPACE();
namespace stpn::kernels {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// The gradients of z[t] and of the presynaptic term of the update of step t - 1, summed over all
// rows or, with halves, over each half: the sum of a step is complete when both are added up.
template <typename T>
class PresynapticSums {
 public:
  static int64_t scratch(int64_t size) { return 2 * size; }

  // Takes scratch(size) zeros, for presynaptic arrays of this size.
  PresynapticSums(const RowPart<T>& part, int64_t size, Scratch<T>& scratch)
      : part_(part),
        size_(size),
        memory_of_second_(part.has_both() ? 2 * size : 0),
        sums_{scratch.take(size), scratch.take(size)},
        of_second_{memory_of_second_.get(), memory_of_second_.get() + size} {
    if (part.has_both()) std::fill_n(memory_of_second_.get(), 2 * size, T(0));
  }

  T* dz() const { return sums_.dz; }
  T* d_hebbian() const { return sums_.d_hebbian; }
  // Turns the direction of the sweeps: whether the next one goes up the rows.
  bool turn() { return std::exchange(sums_.upwards, !sums_.upwards); }

  // Calls run(rows) for the rows of a pass; where that has both halves, for one after the other,
  // with sums of its own.
  template <class Run>
  void for_each_part(const Rows& all, const Run& run) {
    if (!part_.has_both()) return run(all);
    for (const int half : {0, 1}) {
      run(part_.halves->rows(half));
      std::swap(sums_, of_second_);
    }
  }

  // At the start of a step: the update's part of dz is there, and the sweeps add the rest.
  void begin() {
    sums_.begin(size_);
    if (part_.has_both()) of_second_.begin(size_);
  }
  // At its end: dz is complete from value `first` on.
  void add_halves(int64_t t, int64_t first) {
    if (!part_) return;
    const T *of_first = sums_.dz, *of_second = of_second_.dz;
    if (!part_.has_both()) {
      std::copy(sums_.dz + first, sums_.dz + size_, part_.halves->sums(t, part_.half()) + first);
      part_.halves->meet(part_.half());
      of_first = part_.halves->sums(t, 0);
      of_second = part_.halves->sums(t, 1);
    }
    const hn::ScalableTag<T> d;
    for (int64_t j = first; j < size_; j += hn::Lanes(d)) {
      hn::Store(hn::Add(hn::Load(d, of_first + j), hn::Load(d, of_second + j)), d, sums_.dz + j);
    }
  }

 private:
  struct Sums {
    void begin(int64_t size) {
      std::swap(dz, d_hebbian);
      std::fill_n(d_hebbian, size, T(0));
    }
    T *dz, *d_hebbian;
    bool upwards = true;
  };

  const RowPart<T> part_;
  const int64_t size_;
  const ScratchArray<T> memory_of_second_;
  Sums sums_, of_second_;
};

}  // namespace HWY_NAMESPACE
}  // namespace stpn::kernels
HWY_AFTER_NAMESPACE();

#endif
