// The CPU kernel of a classifier's loss. What it does is compiled elsewhere (cpu_shard.cc).

#include "stpn/kernels/classifier_loss/cpu_shard.h"
#include "stpn/kernels/cpu/simd_targets.h"

namespace stpn::kernels {

template <typename T>
double classifier_loss_cpu(const ClassifierLossParams<T>& p) {
  return has_simd_target() ? classifier_loss_shard(p) : classifier_loss_ref(p);
}

template double classifier_loss_cpu(const ClassifierLossParams<float>&);
template double classifier_loss_cpu(const ClassifierLossParams<double>&);

}  // namespace stpn::kernels
