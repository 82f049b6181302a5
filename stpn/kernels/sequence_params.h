// What the parameter structs of all fused units have in common. A struct holds the arguments of one
// call, which runs forward or backward through a whole sequence.
//
// All pointers are borrowed for the call; arrays are dense and row-major (stpn/kernels/extent.h),
// and those that are read must not overlap those that are written.
#pragma once

#include <cstdint>
#include <memory>

#include "stpn/base/parallel.h"
#include "stpn/kernels/closed_loop.h"
#include "stpn/kernels/extent.h"

namespace stpn::kernels {

// How the CPU kernel of a unit divides a call, and where the values lie that it saves for backward
// (stpn/kernels/cpu/plan.h). Made once, used by forward and backward.
template <typename T>
struct PlasticPlan;

// How a plan divides a batch: in the fastest way; or into groups of one sample, so that the bits of
// a sample's results and of its gradients do not depend on the rest of the batch, not even its
// size.
enum class Grouping { fastest, single_samples };

// How many values of T a call with this plan saves for backward.
template <typename T>
int64_t saved_size(const PlasticPlan<T>& plan);

// What a kernel on a GPU needs besides (stpn/kernels/stpn/cuda/cuda.h).
struct OnDevice {
  void* stream = nullptr;     // cudaStream_t; null: the default one
  void* workspace = nullptr;  // scratch memory of the call, of the size that the kernel asks for
};

template <typename T>
struct SequenceForward {
  Extent extent;
  // in (T, B), or null for no resets. Not 0: the sample's state is zeroed before step t.
  const uint8_t* reset = nullptr;

  T* output = nullptr;  // out (T, B, H)  h[0] .. h[T-1]
  T* energy = nullptr;  // out (T, B, H); null if it is not measured

  // out (saved_size of the plan): what the CPU kernel saves for backward, in a layout of its own.
  // Null when there will be no backward; the reference saves nothing.
  T* saved = nullptr;
  // The CPU kernel's plan of this call; null: the kernel makes one.
  const PlasticPlan<T>* plan = nullptr;

  const base::ParallelFor* parallel = nullptr;  // null: all on the calling thread
  ClosedLoop* closed_loop = nullptr;            // null: inputs and resets are complete
  OnDevice on_device;
};

template <typename T>
struct SequenceBackward {
  // in (T, B, H). The gradient of h[T-1] as a final state is part of its last step. Null: zero.
  const T* grad_output = nullptr;
  const T* grad_energy = nullptr;  // in (T, B, H). Null: zero
};

}  // namespace stpn::kernels
