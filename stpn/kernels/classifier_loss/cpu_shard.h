// What cpu_shard.cc compiles for each SIMD target.
#pragma once

#include "stpn/kernels/classifier_loss/equations.h"

namespace stpn::kernels {

template <typename T>
double classifier_loss_shard(const ClassifierLossParams<T>& p);

}  // namespace stpn::kernels
