// Runs the halves of the rows of one sample (row_halves.h). Compiled once for each SIMD target.

#if defined(STPN_KERNELS_CPU_ROW_HALVES_RUN_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef STPN_KERNELS_CPU_ROW_HALVES_RUN_INL_H_
#undef STPN_KERNELS_CPU_ROW_HALVES_RUN_INL_H_
#else
#define STPN_KERNELS_CPU_ROW_HALVES_RUN_INL_H_
#endif

#include <hwy/highway.h>

#include "stpn/kernels/cpu/group_loop-inl.h"
#include "stpn/kernels/cpu/row_halves/row_halves.h"

HWY_BEFORE_NAMESPACE();
namespace stpn::kernels {
namespace HWY_NAMESPACE {

// One of two tasks that together run the only group of a plan. A Pass gets, as its last argument,
// which part of the rows it has. Returns the rows that this task has run.
template <template <class> class Pass, typename T, class... Arguments>
Rows run_halves(const PlasticPlan<T>& plan, T* saved, RowHalves<T>& halves,
                const Arguments&... arguments) {
  const HalvesShare share = halves.join();
  if (share == HalvesShare::none) return {0, 0};
  const RowPart<T> part{&halves, share};
  try {
    GroupRunner<Pass, T>(plan, saved).template run<RowVectorised<T, 1>>(0, arguments..., part);
  } catch (...) {
    if (!part.has_both()) halves.leave(part.half());
    throw;
  }
  return part.rows({0, plan.rows(1)});
}

}  // namespace HWY_NAMESPACE
}  // namespace stpn::kernels
HWY_AFTER_NAMESPACE();

#endif
