// The STPN's reference and CUDA kernels as C functions, for checks from Python
// (benchmarks/gpu/stpn_cuda.py).
#pragma once

#include <cstdint>
#include <iterator>

#include "stpn/kernels/stpn/signature.h"

extern "C" {

// The arrays of a call by the rows of the signature (stpn/kernels/stpn/signature.h), and its
// options in the order there, a choice as its index. Null: absent or not wanted. `backend` 0 is the
// reference, which reads and writes the CPU's memory; 1 the kernels, the current device's.
struct StpnCudaCall {
  static constexpr int kRows = std::size(stpn::kernels::kStpnTensors);
  static constexpr int kOptions = std::size(stpn::kernels::kStpnOptions);

  int64_t steps, batch, inputs, hidden;
  int64_t is_double, recurrent, rates, layer_norm, plastic_bias, scalar_bias_rates;
  int64_t update_gate, write_gate, decay_gate;
  double options[kOptions];
  const void* values[kRows];  // (initial) values
  void* finals[kRows];        // of states
  const uint8_t* reset;
  void *output, *energy, *saved;
  void *stream, *workspace;
  const void *grad_output, *grad_energy;
  const void* final_gradients[kRows];
  void* gradients[kRows];
};

// Null, or what went wrong, in one line, valid until the thread's next call.
const char* stpn_cuda_forward(const StpnCudaCall* call, int backend);
const char* stpn_cuda_backward(const StpnCudaCall* call, int backend);

// Values that forward saves; values of the workspace, negative where CUDA reports an error.
int64_t stpn_cuda_saved_size(const StpnCudaCall* call);
int64_t stpn_cuda_workspace_size(const StpnCudaCall* call, int backward);

// The names of the rows or of the options, joined by commas.
const char* stpn_cuda_rows(void);
const char* stpn_cuda_options(void);
}
