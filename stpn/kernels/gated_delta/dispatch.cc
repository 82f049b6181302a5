// The CPU kernel of the gated delta rule: blocks of memories over the caller's threads. What a
// block does is compiled elsewhere (cpu_shard.cc).

#include <cstdint>

#include "stpn/kernels/cpu/shards.h"
#include "stpn/kernels/cpu/simd_targets.h"
#include "stpn/kernels/gated_delta/cpu_layout.h"
#include "stpn/kernels/gated_delta/cpu_shard.h"

namespace stpn::kernels {
namespace {

template <typename T>
GatedDeltaLayout<T> layout_of(const GatedDeltaExtent& extent) {
  return {extent, has_simd_target() ? gated_delta_lanes<T>() : 1};
}

template <typename T, typename Params>
void run_blocks(const Params& p, const GatedDeltaForwardParams<T>& forward) {
  const GatedDeltaLayout<T> layout = layout_of<T>(forward.extent);
  for_each_shard(forward.parallel, layout.blocks,
                 [&](int64_t block) { gated_delta_shard(p, layout, block); });
}

}  // namespace

template <typename T>
int64_t gated_delta_saved_size(const GatedDeltaExtent& extent) {
  return layout_of<T>(extent).saved_size();
}

template <typename T>
void gated_delta_forward_cpu(const GatedDeltaForwardParams<T>& p) {
  if (!has_simd_target()) return gated_delta_forward_ref(p);
  run_blocks(p, p);
}

template <typename T>
void gated_delta_backward_cpu(const GatedDeltaBackwardParams<T>& p) {
  if (!has_simd_target()) return gated_delta_backward_ref(p);
  run_blocks(p, p.forward);
}

template int64_t gated_delta_saved_size<float>(const GatedDeltaExtent&);
template int64_t gated_delta_saved_size<double>(const GatedDeltaExtent&);
template void gated_delta_forward_cpu(const GatedDeltaForwardParams<float>&);
template void gated_delta_forward_cpu(const GatedDeltaForwardParams<double>&);
template void gated_delta_backward_cpu(const GatedDeltaBackwardParams<float>&);
template void gated_delta_backward_cpu(const GatedDeltaBackwardParams<double>&);

}  // namespace stpn::kernels
