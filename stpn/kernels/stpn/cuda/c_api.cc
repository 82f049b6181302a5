#include "stpn/kernels/stpn/cuda/c_api.h"

#include <exception>
#include <string>
#include <type_traits>

#include "stpn/kernels/stpn/cuda/cuda.h"
#include "stpn/kernels/stpn/cuda/layout.h"

namespace stpn::kernels {
namespace {

constexpr int kReference = 0;

Extent extent_of(const StpnCudaCall& call) {
  return {call.steps, call.batch, call.inputs, call.hidden};
}

StpnVariant variant_of(const StpnCudaCall& call) {
  StpnVariant variant;
  int next = 0;
  const auto visit = [&](auto& option) {
    option = static_cast<std::remove_reference_t<decltype(option)>>(call.options[next++]);
  };
  STPN_OPTIONS(STPN_VISIT_OPTION)
  variant.recurrent = call.recurrent != 0;
  variant.rates = static_cast<Rates>(call.rates);
  variant.layer_norm = call.layer_norm != 0;
  variant.plastic_bias = call.plastic_bias != 0;
  variant.scalar_bias_rates = call.scalar_bias_rates != 0;
  variant.update_gate = call.update_gate != 0;
  variant.write_gate = call.write_gate != 0;
  variant.decay_gate = call.decay_gate != 0;
  return variant;
}

template <typename T>
StpnBackwardParams<T> params_of(const StpnCudaCall& call) {
  using Fields = StpnFields<T>;
  StpnBackwardParams<T> p;
  StpnForwardParams<T>& f = p.forward;
  f.extent = extent_of(call);
  f.variant = variant_of(call);
  for (int row = 0; row < StpnCudaCall::kRows; ++row) {
    if (Fields::values[row] != nullptr) {
      f.*Fields::values[row] = static_cast<const T*>(call.values[row]);
    }
    if (Fields::finals[row] != nullptr) f.*Fields::finals[row] = static_cast<T*>(call.finals[row]);
    if (Fields::gradients[row] != nullptr) {
      p.*Fields::gradients[row] = static_cast<T*>(call.gradients[row]);
    }
    if (Fields::final_gradients[row] != nullptr) {
      p.*Fields::final_gradients[row] = static_cast<const T*>(call.final_gradients[row]);
    }
  }
  f.reset = call.reset;
  f.output = static_cast<T*>(call.output);
  f.energy = static_cast<T*>(call.energy);
  f.saved = static_cast<T*>(call.saved);
  f.on_device = {call.stream, call.workspace};
  p.grad_output = static_cast<const T*>(call.grad_output);
  p.grad_energy = static_cast<const T*>(call.grad_energy);
  return p;
}

template <typename T>
void forward(const StpnCudaCall& call, int backend) {
  const StpnForwardParams<T> p = params_of<T>(call).forward;
  backend == kReference ? stpn_forward_ref(p) : stpn_forward_cuda(p);
}
template <typename T>
void backward(const StpnCudaCall& call, int backend) {
  const StpnBackwardParams<T> p = params_of<T>(call);
  backend == kReference ? stpn_backward_ref(p) : stpn_backward_cuda(p);
}

template <typename Run>
const char* message_of(const Run& run) {
  thread_local std::string message;
  try {
    run();
    return nullptr;
  } catch (const std::exception& error) {
    message = error.what();
  }
  return message.c_str();
}

// The names of a table of the signature.
template <typename Table>
std::string names_in(const Table& table) {
  std::string names;
  for (const auto& row : table) names += (names.empty() ? "" : ",") + std::string(row.name);
  return names;
}

}  // namespace
}  // namespace stpn::kernels

using namespace stpn::kernels;  // NOLINT(google-build-using-namespace): C has none

const char* stpn_cuda_forward(const StpnCudaCall* call, int backend) {
  return message_of([&] {
    call->is_double != 0 ? forward<double>(*call, backend) : forward<float>(*call, backend);
  });
}

const char* stpn_cuda_backward(const StpnCudaCall* call, int backend) {
  return message_of([&] {
    call->is_double != 0 ? backward<double>(*call, backend) : backward<float>(*call, backend);
  });
}

int64_t stpn_cuda_saved_size(const StpnCudaCall* call) {
  return cuda::Sizes(extent_of(*call), variant_of(*call)).saved_size();
}

int64_t stpn_cuda_workspace_size(const StpnCudaCall* call, int backward) {
  int64_t size = -1;
  message_of([&] {
    const Extent extent = extent_of(*call);
    const StpnVariant variant = variant_of(*call);
    size = call->is_double != 0 ? stpn_cuda_workspace<double>(extent, variant, backward != 0)
                                : stpn_cuda_workspace<float>(extent, variant, backward != 0);
  });
  return size;
}

const char* stpn_cuda_rows() {
  static const std::string names = names_in(kStpnTensors);
  return names.c_str();
}

const char* stpn_cuda_options() {
  static const std::string names = names_in(kStpnOptions);
  return names.c_str();
}
