// Dispatch of the recurrent STPN's CPU kernel: chunks of groups over the caller's threads, on the
// best SIMD target of this machine.

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "stpn/kernels/stpn_recurrent_cpu.cc"
#include <hwy/foreach_target.h>

// Highway's own headers come after its list of targets.
#include <hwy/aligned_allocator.h>
#include <hwy/highway.h>

#include "stpn/kernels/denormals.h"
#include "stpn/kernels/stpn_recurrent_backward-inl.h"
#include "stpn/kernels/stpn_recurrent_forward-inl.h"

HWY_BEFORE_NAMESPACE();
namespace stpn::kernels {
namespace HWY_NAMESPACE {

template <typename T, Norm kNorm, bool kClamp, bool kEnergy>
void forward_chunk(const StpnRecurrentForward<T>& p, const PaddedParameters<T>& parameters,
                   const StpnRecurrentPlan<T>& plan, int64_t chunk) {
  const FlushDenormals flush;
  using Together = ForwardGroup<T, kTogether, kNorm, kClamp, kEnergy>;
  using Alone = ForwardGroup<T, 1, kNorm, kClamp, kEnergy>;
  const int64_t size = std::max(Together::scratch(plan), Alone::scratch(plan));
  const auto scratch = hwy::AllocateAligned<T>(size);
  for (int64_t g = plan.first_group(chunk); g < plan.first_group(chunk + 1); ++g) {
    std::fill_n(scratch.get(), size, T(0));
    T* kept = p.kept == nullptr ? nullptr : p.kept + plan.kept_offset(g);
    const int64_t first = plan.first_sample(g);
    if (plan.size(g) == kTogether) {
      Together(p, parameters, plan, first, kept, scratch.get()).run();
    } else {
      Alone(p, parameters, plan, first, kept, scratch.get()).run();
    }
  }
}

template <typename T, Norm kNorm, bool kClamp>
void backward_chunk(const StpnRecurrentBackward<T>& p, const PaddedParameters<T>& parameters,
                    const StpnRecurrentPlan<T>& plan, const ParameterGradients<T>& gradients,
                    int64_t chunk) {
  const FlushDenormals flush;
  using Together = BackwardGroup<T, kTogether, kNorm, kClamp>;
  using Alone = BackwardGroup<T, 1, kNorm, kClamp>;
  const int64_t size = std::max(Together::scratch(plan), Alone::scratch(plan));
  const auto scratch = hwy::AllocateAligned<T>(size);
  for (int64_t g = plan.first_group(chunk); g < plan.first_group(chunk + 1); ++g) {
    std::fill_n(scratch.get(), size, T(0));
    T* kept = p.forward.kept + plan.kept_offset(g);
    const int64_t first = plan.first_sample(g);
    if (plan.size(g) == kTogether) {
      Together(p, parameters, plan, first, kept, scratch.get(), gradients).run();
    } else {
      Alone(p, parameters, plan, first, kept, scratch.get(), gradients).run();
    }
  }
}

// From the variant of a call to the code made for it. Norm `post` always clamps, if only at
// infinity.
template <typename T>
void forward(const StpnRecurrentForward<T>& p, const PaddedParameters<T>& parameters,
             const StpnRecurrentPlan<T>& plan, int64_t chunk) {
  const bool clamp = p.variant.clamp < std::numeric_limits<double>::infinity();
  const bool energy = p.energy != nullptr;
  using Chunk = void (*)(const StpnRecurrentForward<T>&, const PaddedParameters<T>&,
                         const StpnRecurrentPlan<T>&, int64_t);
  constexpr Chunk kChunks[4][2][2] = {
      {{forward_chunk<T, Norm::none, false, false>, forward_chunk<T, Norm::none, false, true>},
       {forward_chunk<T, Norm::none, true, false>, forward_chunk<T, Norm::none, true, true>}},
      {{forward_chunk<T, Norm::drive, false, false>, forward_chunk<T, Norm::drive, false, true>},
       {forward_chunk<T, Norm::drive, true, false>, forward_chunk<T, Norm::drive, true, true>}},
      {{forward_chunk<T, Norm::pre, false, false>, forward_chunk<T, Norm::pre, false, true>},
       {forward_chunk<T, Norm::pre, true, false>, forward_chunk<T, Norm::pre, true, true>}},
      {{forward_chunk<T, Norm::post, true, false>, forward_chunk<T, Norm::post, true, true>},
       {forward_chunk<T, Norm::post, true, false>, forward_chunk<T, Norm::post, true, true>}}};
  kChunks[static_cast<int>(p.variant.norm)][clamp][energy](p, parameters, plan, chunk);
}

template <typename T>
void backward(const StpnRecurrentBackward<T>& p, const PaddedParameters<T>& parameters,
              const StpnRecurrentPlan<T>& plan, const ParameterGradients<T>& gradients,
              int64_t chunk) {
  const bool clamp = p.forward.variant.clamp < std::numeric_limits<double>::infinity();
  using Chunk = void (*)(const StpnRecurrentBackward<T>&, const PaddedParameters<T>&,
                         const StpnRecurrentPlan<T>&, const ParameterGradients<T>&, int64_t);
  constexpr Chunk kChunks[4][2] = {
      {backward_chunk<T, Norm::none, false>, backward_chunk<T, Norm::none, true>},
      {backward_chunk<T, Norm::drive, false>, backward_chunk<T, Norm::drive, true>},
      {backward_chunk<T, Norm::pre, false>, backward_chunk<T, Norm::pre, true>},
      {backward_chunk<T, Norm::post, true>, backward_chunk<T, Norm::post, true>}};
  kChunks[static_cast<int>(p.forward.variant.norm)][clamp](p, parameters, plan, gradients, chunk);
}

void forward_float(const StpnRecurrentForward<float>& p, const PaddedParameters<float>& parameters,
                   const StpnRecurrentPlan<float>& plan, int64_t chunk) {
  forward(p, parameters, plan, chunk);
}
void forward_double(const StpnRecurrentForward<double>& p,
                    const PaddedParameters<double>& parameters,
                    const StpnRecurrentPlan<double>& plan, int64_t chunk) {
  forward(p, parameters, plan, chunk);
}
void backward_float(const StpnRecurrentBackward<float>& p,
                    const PaddedParameters<float>& parameters, const StpnRecurrentPlan<float>& plan,
                    const ParameterGradients<float>& gradients, int64_t chunk) {
  backward(p, parameters, plan, gradients, chunk);
}
void backward_double(const StpnRecurrentBackward<double>& p,
                     const PaddedParameters<double>& parameters,
                     const StpnRecurrentPlan<double>& plan,
                     const ParameterGradients<double>& gradients, int64_t chunk) {
  backward(p, parameters, plan, gradients, chunk);
}

}  // namespace HWY_NAMESPACE
}  // namespace stpn::kernels
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace stpn::kernels {
namespace {

HWY_EXPORT(forward_float);
HWY_EXPORT(forward_double);
HWY_EXPORT(backward_float);
HWY_EXPORT(backward_double);

void dispatch(const StpnRecurrentForward<float>& p, const PaddedParameters<float>& parameters,
              const StpnRecurrentPlan<float>& plan, int64_t chunk) {
  HWY_DYNAMIC_DISPATCH(forward_float)(p, parameters, plan, chunk);
}
void dispatch(const StpnRecurrentForward<double>& p, const PaddedParameters<double>& parameters,
              const StpnRecurrentPlan<double>& plan, int64_t chunk) {
  HWY_DYNAMIC_DISPATCH(forward_double)(p, parameters, plan, chunk);
}
void dispatch(const StpnRecurrentBackward<float>& p, const PaddedParameters<float>& parameters,
              const StpnRecurrentPlan<float>& plan, const ParameterGradients<float>& gradients,
              int64_t chunk) {
  HWY_DYNAMIC_DISPATCH(backward_float)(p, parameters, plan, gradients, chunk);
}
void dispatch(const StpnRecurrentBackward<double>& p, const PaddedParameters<double>& parameters,
              const StpnRecurrentPlan<double>& plan, const ParameterGradients<double>& gradients,
              int64_t chunk) {
  HWY_DYNAMIC_DISPATCH(backward_double)(p, parameters, plan, gradients, chunk);
}

void for_each_chunk(const base::ParallelFor* parallel, int64_t chunks,
                    const std::function<void(int64_t)>& body) {
  parallel == nullptr ? base::serial_for(chunks, body) : (*parallel)(chunks, body);
}

// Where the rate of synapse (i, j) lies among Lambda's or Gamma's values.
int64_t rate_index(Rates rates, int64_t sources, int64_t i, int64_t j) {
  if (rates == Rates::scalar) return 0;
  return rates == Rates::source ? j : i * sources + j;
}

// Copies of W, Lambda and Gamma with padded rows, a value for each synapse.
template <typename T>
class PaddedCopy {
 public:
  PaddedCopy(const StpnRecurrentForward<T>& p, const StpnRecurrentPlan<T>& plan)
      : memory_(hwy::AllocateAligned<T>(3 * plan.hidden * plan.row)) {
    const int64_t matrix = plan.hidden * plan.row;
    std::fill_n(memory_.get(), 3 * matrix, T(0));
    for (int64_t i = 0; i < plan.hidden; ++i) {
      T* at = memory_.get() + i * plan.row;
      std::copy_n(p.weight + i * plan.sources, plan.sources, at);
      for (int64_t j = 0; j < plan.sources; ++j) {
        const int64_t rate = rate_index(p.variant.rates, plan.sources, i, j);
        at[matrix + j] = p.weight_lambda[rate];
        at[2 * matrix + j] = p.weight_gamma[rate];
      }
    }
    parameters_ = {memory_.get(), memory_.get() + matrix, memory_.get() + 2 * matrix};
  }
  const PaddedParameters<T>& operator*() const { return parameters_; }

 private:
  hwy::AlignedFreeUniquePtr<T[]> memory_;
  PaddedParameters<T> parameters_;
};

}  // namespace

bool stpn_recurrent_cpu_supports(const StpnRecurrentVariant& v) {
  return v.recurrent && v.connections == Connections::all && v.rule == Rule::hebb &&
         v.decay == Decay::before_update && !v.layer_norm && !v.plastic_bias;
}

template <typename T>
int64_t stpn_recurrent_kept_size(const Extent& extent, const StpnRecurrentVariant& variant) {
  const StpnRecurrentPlan<T> plan(extent, variant);
  return plan.kept_offset(plan.groups);
}

template <typename T>
void stpn_recurrent_forward_cpu(const StpnRecurrentForward<T>& p) {
  const StpnRecurrentPlan<T> plan(p.extent, p.variant);
  const PaddedCopy<T> parameters(p, plan);
  for_each_chunk(p.parallel, plan.chunks,
                 [&](int64_t chunk) { dispatch(p, *parameters, plan, chunk); });
}

template <typename T>
void stpn_recurrent_backward_cpu(const StpnRecurrentBackward<T>& p) {
  const StpnRecurrentForward<T>& f = p.forward;
  const StpnRecurrentPlan<T> plan(f.extent, f.variant);
  const PaddedCopy<T> parameters(f, plan);
  const int64_t matrix = plan.hidden * plan.row;
  const int64_t per_chunk = 3 * matrix + StpnRecurrentPlan<T>::padded(plan.hidden);
  const auto sums = hwy::AllocateAligned<T>(plan.chunks * per_chunk);
  for_each_chunk(f.parallel, plan.chunks, [&](int64_t chunk) {
    T* mine = sums.get() + chunk * per_chunk;
    std::fill_n(mine, per_chunk, T(0));
    dispatch(p, *parameters, plan, {mine, mine + matrix, mine + 2 * matrix, mine + 3 * matrix},
             chunk);
  });
  T* const total = sums.get();
  for (int64_t chunk = 1; chunk < plan.chunks; ++chunk) {
    const T* mine = total + chunk * per_chunk;
    for (int64_t k = 0; k < per_chunk; ++k) total[k] += mine[k];
  }

  if (p.grad_bias != nullptr) std::copy_n(total + 3 * matrix, plan.hidden, p.grad_bias);
  const int64_t rates = rate_count(f.extent, f.variant);
  if (p.grad_weight_lambda != nullptr) std::fill_n(p.grad_weight_lambda, rates, T(0));
  if (p.grad_weight_gamma != nullptr) std::fill_n(p.grad_weight_gamma, rates, T(0));
  for (int64_t i = 0; i < plan.hidden; ++i) {
    const T* row = total + i * plan.row;
    if (p.grad_weight != nullptr) {
      std::copy_n(row, plan.sources, p.grad_weight + i * plan.sources);
    }
    for (int64_t j = 0; j < plan.sources; ++j) {
      const int64_t rate = rate_index(f.variant.rates, plan.sources, i, j);
      if (p.grad_weight_lambda != nullptr) p.grad_weight_lambda[rate] += row[matrix + j];
      if (p.grad_weight_gamma != nullptr) p.grad_weight_gamma[rate] += row[2 * matrix + j];
    }
  }
}

template void stpn_recurrent_forward_cpu(const StpnRecurrentForward<float>&);
template void stpn_recurrent_forward_cpu(const StpnRecurrentForward<double>&);
template void stpn_recurrent_backward_cpu(const StpnRecurrentBackward<float>&);
template void stpn_recurrent_backward_cpu(const StpnRecurrentBackward<double>&);
template int64_t stpn_recurrent_kept_size<float>(const Extent&, const StpnRecurrentVariant&);
template int64_t stpn_recurrent_kept_size<double>(const Extent&, const StpnRecurrentVariant&);

}  // namespace stpn::kernels
#endif  // HWY_ONCE
