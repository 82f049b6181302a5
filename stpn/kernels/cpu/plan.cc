#include "stpn/kernels/cpu/plan.h"

#include "stpn/kernels/saved_bound.h"

namespace stpn::kernels {

template <typename T>
int64_t saved_size(const PlasticPlan<T>& plan) {
  return plan.saved_size();
}

template <typename T>
SavedBound saved_bound(const PlasticPlan<T>& plan) {
  SavedBound bound{.interval = plan.interval};
  for (int64_t group = 0; group < plan.groups; ++group) {
    const int64_t size = plan.size(group);
    const auto of_sample = [size](int64_t values) { return (values + size - 1) / size; };
    bound.widen({of_sample(plan.before_checkpoints(size) / plan.steps),
                 of_sample(plan.all_matrices(size)), plan.interval});
  }
  return bound;
}

template SavedBound saved_bound(const PlasticPlan<float>&);
template SavedBound saved_bound(const PlasticPlan<double>&);
template int64_t saved_size(const PlasticPlan<float>&);
template int64_t saved_size(const PlasticPlan<double>&);

}  // namespace stpn::kernels
