#include "stpn/kernels/cuda/c_api.h"

#include <array>
#include <exception>
#include <iterator>
#include <string>
#include <string_view>
#include <type_traits>

#include "stpn/kernels/backpropamine/cuda/cuda.h"
#include "stpn/kernels/fast_weights/cuda/cuda.h"
#include "stpn/kernels/stpn/cuda/cuda.h"

namespace stpn::kernels {
namespace {

constexpr int kReference = 0;

// A unit as the functions below need it.
struct Stpn {
  static constexpr const char* kName = "stpn";
  static constexpr auto& kTensors = kStpnTensors;
  static constexpr auto& kOptions = kStpnOptions;
  using Variant = StpnVariant;
  template <typename T>
  using Fields = StpnFields<T>;
  template <typename T>
  static constexpr auto kForwardRef = stpn_forward_ref<T>;
  template <typename T>
  static constexpr auto kBackwardRef = stpn_backward_ref<T>;
  template <typename T>
  static constexpr auto kForwardCuda = stpn_forward_cuda<T>;
  template <typename T>
  static constexpr auto kBackwardCuda = stpn_backward_cuda<T>;
  template <typename T>
  static constexpr auto kWorkspace = stpn_cuda_workspace<T>;
  static constexpr auto kSaved = stpn_cuda_saved;

  template <typename Visit>
  static void for_each_option(Variant& variant, const Visit& visit) {
    STPN_OPTIONS(STPN_VISIT_OPTION)
  }
  template <typename Given>
  static void complete(Variant& v, const StpnCudaCall& call, const Given& given) {
    v.recurrent = call.recurrent != 0;
    v.rates = static_cast<Rates>(call.rates);
    v.layer_norm = given("layer_norm_weight");
    v.plastic_bias = given("beta");
    v.scalar_bias_rates = call.scalar_bias_rates != 0;
    v.update_gate = given("update_weight");
    v.write_gate = given("write_weight");
    v.decay_gate = given("decay_weight");
  }
};

struct FastWeights {
  static constexpr const char* kName = "fast_weights";
  static constexpr auto& kTensors = kFastWeightsTensors;
  static constexpr auto& kOptions = kFastWeightsOptions;
  using Variant = FastWeightsVariant;
  template <typename T>
  using Fields = FastWeightsFields<T>;
  template <typename T>
  static constexpr auto kForwardRef = fast_weights_forward_ref<T>;
  template <typename T>
  static constexpr auto kBackwardRef = fast_weights_backward_ref<T>;
  template <typename T>
  static constexpr auto kForwardCuda = fast_weights_forward_cuda<T>;
  template <typename T>
  static constexpr auto kBackwardCuda = fast_weights_backward_cuda<T>;
  template <typename T>
  static constexpr auto kWorkspace = fast_weights_cuda_workspace<T>;
  static constexpr auto kSaved = fast_weights_cuda_saved;

  template <typename Visit>
  static void for_each_option(Variant& variant, const Visit& visit) {
    FAST_WEIGHTS_OPTIONS(STPN_VISIT_OPTION)
  }
  template <typename Given>
  static void complete(Variant& v, const StpnCudaCall&, const Given& given) {
    v.layer_norm = given("layer_norm_weight");
  }
};

struct Backpropamine {
  static constexpr const char* kName = "backpropamine";
  static constexpr auto& kTensors = kBackpropamineTensors;
  static constexpr auto& kOptions = kBackpropamineOptions;
  using Variant = BackpropamineVariant;
  template <typename T>
  using Fields = BackpropamineFields<T>;
  template <typename T>
  static constexpr auto kForwardRef = backpropamine_forward_ref<T>;
  template <typename T>
  static constexpr auto kBackwardRef = backpropamine_backward_ref<T>;
  template <typename T>
  static constexpr auto kForwardCuda = backpropamine_forward_cuda<T>;
  template <typename T>
  static constexpr auto kBackwardCuda = backpropamine_backward_cuda<T>;
  template <typename T>
  static constexpr auto kWorkspace = backpropamine_cuda_workspace<T>;
  static constexpr auto kSaved = backpropamine_cuda_saved;

  template <typename Visit>
  static void for_each_option(Variant& variant, const Visit& visit) {
    BACKPROPAMINE_OPTIONS(STPN_VISIT_OPTION)
  }
  template <typename Given>
  static void complete(Variant&, const StpnCudaCall&, const Given&) {}
};

Extent extent_of(const StpnCudaCall& call) {
  return {call.steps, call.batch, call.inputs, call.hidden};
}

template <class Unit>
typename Unit::Variant variant_of(const StpnCudaCall& call) {
  static_assert(std::size(Unit::kTensors) <= StpnCudaCall::kRows);
  static_assert(std::size(Unit::kOptions) <= StpnCudaCall::kOptions);
  typename Unit::Variant variant;
  int next = 0;
  Unit::for_each_option(variant, [&](auto& option) {
    option = static_cast<std::remove_reference_t<decltype(option)>>(call.options[next++]);
  });
  Unit::complete(variant, call, [&](std::string_view name) {
    size_t row = 0;
    while (Unit::kTensors[row].name != name) ++row;
    return call.values[row] != nullptr;
  });
  return variant;
}

template <class Unit, typename T>
auto params_of(const StpnCudaCall& call) {
  using Fields = typename Unit::template Fields<T>;
  typename Fields::Backward p;
  auto& f = p.forward;
  f.extent = extent_of(call);
  f.variant = variant_of<Unit>(call);
  for (size_t row = 0; row < std::size(Unit::kTensors); ++row) {
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

// The names of a table of the signature.
template <typename Table>
std::string names_in(const Table& table) {
  std::string names;
  for (const auto& row : table) names += (names.empty() ? "" : ",") + std::string(row.name);
  return names;
}

// A unit without its types.
struct Entry {
  const char* name;
  std::string rows, options;
  void (*forward)(const StpnCudaCall&, int backend);
  void (*backward)(const StpnCudaCall&, int backend);
  int64_t (*saved_size)(const StpnCudaCall&);
  int64_t (*workspace_size)(const StpnCudaCall&, bool backward);
};

// use(T()), where T is the type of the call's values.
template <typename Use>
auto as_typed(const StpnCudaCall& call, const Use& use) {
  if (call.is_double != 0) return use(double());
  return use(float());
}

template <class Unit>
Entry entry_of() {
  return {
      Unit::kName,
      names_in(Unit::kTensors),
      names_in(Unit::kOptions),
      [](const StpnCudaCall& call, int backend) {
        as_typed(call, [&](auto type) {
          using T = decltype(type);
          const auto p = params_of<Unit, T>(call).forward;
          backend == kReference ? Unit::template kForwardRef<T>(p)
                                : Unit::template kForwardCuda<T>(p);
        });
      },
      [](const StpnCudaCall& call, int backend) {
        as_typed(call, [&](auto type) {
          using T = decltype(type);
          const auto p = params_of<Unit, T>(call);
          backend == kReference ? Unit::template kBackwardRef<T>(p)
                                : Unit::template kBackwardCuda<T>(p);
        });
      },
      [](const StpnCudaCall& call) {
        return Unit::kSaved(extent_of(call), variant_of<Unit>(call)).size(call.steps, call.batch);
      },
      [](const StpnCudaCall& call, bool backward) {
        return as_typed(call, [&](auto type) {
          return Unit::template kWorkspace<decltype(type)>(extent_of(call), variant_of<Unit>(call),
                                                           backward);
        });
      }};
}

const Entry& entry(int64_t unit) {
  static const std::array entries{entry_of<Stpn>(), entry_of<FastWeights>(),
                                  entry_of<Backpropamine>()};
  static const Entry none{};
  return unit >= 0 && unit < std::ssize(entries) ? entries[static_cast<size_t>(unit)] : none;
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

}  // namespace
}  // namespace stpn::kernels

using namespace stpn::kernels;  // NOLINT(google-build-using-namespace): C has none

const char* stpn_cuda_forward(const StpnCudaCall* call, int backend) {
  return message_of([&] { entry(call->unit).forward(*call, backend); });
}

const char* stpn_cuda_backward(const StpnCudaCall* call, int backend) {
  return message_of([&] { entry(call->unit).backward(*call, backend); });
}

int64_t stpn_cuda_saved_size(const StpnCudaCall* call) {
  return entry(call->unit).saved_size(*call);
}

int64_t stpn_cuda_workspace_size(const StpnCudaCall* call, int backward) {
  int64_t size = -1;
  message_of([&] { size = entry(call->unit).workspace_size(*call, backward != 0); });
  return size;
}

const char* stpn_cuda_unit(int64_t unit) { return entry(unit).name; }
const char* stpn_cuda_rows(int64_t unit) { return entry(unit).rows.c_str(); }
const char* stpn_cuda_options(int64_t unit) { return entry(unit).options.c_str(); }
