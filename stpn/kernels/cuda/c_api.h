// References and CUDA kernels of the units as C functions, for checks from Python
// (benchmarks/gpu/stpn_cuda.py).
#pragma once

#include <cstdint>

extern "C" {

// The arrays of a call by the rows of the unit's signature (stpn/kernels/<unit>/signature.h), and
// its options in the order there, a choice as its index. Null: absent or not wanted. `backend` 0 is
// the reference, which reads and writes the CPU's memory; 1 the kernels, the current device's.
struct StpnCudaCall {
  static constexpr int kRows = 24;  // at least those of any unit
  static constexpr int kOptions = 8;

  int64_t unit;  // an index: stpn_cuda_unit
  int64_t steps, batch, inputs, hidden;
  int64_t is_double;
  // Of the STPN: whether it has recurrent synapses; how many rates (Rates); whether those of the
  // plastic bias are single values.
  int64_t recurrent, rates, scalar_bias_rates;
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

// The name of a unit, or null if there are not as many; the names of its rows or options, joined by
// commas.
const char* stpn_cuda_unit(int64_t unit);
const char* stpn_cuda_rows(int64_t unit);
const char* stpn_cuda_options(int64_t unit);
}
