#include "stpn/kernels/cpu/plan.h"

#include "stpn/kernels/sequence_params.h"

namespace stpn::kernels {

template <typename T>
int64_t saved_size(const PlasticPlan<T>& plan) {
  return plan.saved_size();
}

template int64_t saved_size(const PlasticPlan<float>&);
template int64_t saved_size(const PlasticPlan<double>&);

}  // namespace stpn::kernels
