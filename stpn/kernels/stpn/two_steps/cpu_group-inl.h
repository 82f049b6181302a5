// What the passes with sweeps of two time steps have in common. Compiled once for each SIMD target.

#if defined(STPN_KERNELS_STPN_TWO_STEPS_CPU_GROUP_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef STPN_KERNELS_STPN_TWO_STEPS_CPU_GROUP_INL_H_
#undef STPN_KERNELS_STPN_TWO_STEPS_CPU_GROUP_INL_H_
#else
#define STPN_KERNELS_STPN_TWO_STEPS_CPU_GROUP_INL_H_
#endif

#include <hwy/highway.h>

#include <algorithm>

#include "stpn/kernels/cpu/group_loop-inl.h"
#include "stpn/kernels/stpn/cpu_layout.h"
#include "stpn/kernels/stpn/equations.h"
#include "stpn/kernels/stpn/two_steps/cpu_row_loops-inl.h"

HWY_BEFORE_NAMESPACE();
namespace stpn::kernels {
namespace HWY_NAMESPACE {

template <class Layout>
class TwoStepGroup : public Group<Layout> {
  using Base = Group<Layout>;

 protected:
  using Base::layout_;
  using Base::plan_;
  using Base::S;
  using typename Base::Plan;
  using typename Base::T;

  TwoStepGroup(const Plan& plan, int64_t first, T* saved, Scratch<T>& scratch,
               const StpnForwardParams<T>& call, const PaddedMatrices<T>& parameters)
      : Base(plan, first, saved, call.reset),
        parameters_(parameters),
        variant_(call.variant),
        inputs_(call.extent.inputs),
        zeros_(scratch.take(plan.presynaptic(S))) {}

  ParameterRow<T> parameters(int64_t i) const {
    return {parameters_.row(kWeight, i), parameters_.row(kLambda, i), parameters_.row(kGamma, i)};
  }
  // Offset of row i of sample s in a matrix.
  int64_t row(int64_t i, int s) const { return this->row_of(i) + layout_.value(s, 0); }
  // A row in a matrix.
  const T* in(const T* matrix, int64_t offset) const {
    return matrix == zeros_ ? zeros_ : matrix + offset;
  }
  // A sum of the pair of steps that begins with t.
  T* pair_sum(int64_t t, StpnPairSum which) const {
    return this->saved_.neurons(t + which / kSavedForTwoSteps,
                                saved_pair_sums(variant_) + which % kSavedForTwoSteps);
  }

  // Reads a matrix of the caller into memory that is not written. Returns false, and leaves it so,
  // if there is none or it is zero.
  bool read_matrix(const T* from, T* to) const {
    const typename Base::template CallerMatrix<const T> matrix{from, plan_.fan_in, 0};
    if (this->is_zero(matrix)) return false;
    this->clear_outside(to, plan_.rows(S), 0, plan_.fan_in);
    Base::copy_in(matrix, this->rows_, to);
    return true;
  }

  const PaddedMatrices<T>& parameters_;
  const StpnVariant& variant_;
  const int64_t inputs_;
  const T* const zeros_;  // a presynaptic array; as a matrix, one of zeros
};

}  // namespace HWY_NAMESPACE
}  // namespace stpn::kernels
HWY_AFTER_NAMESPACE();

#endif
