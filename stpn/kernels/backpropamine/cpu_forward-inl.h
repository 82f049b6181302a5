// The forward pass of Backpropamine for one group of samples. Compiled once for each SIMD target.

#if defined(STPN_KERNELS_BACKPROPAMINE_CPU_FORWARD_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef STPN_KERNELS_BACKPROPAMINE_CPU_FORWARD_INL_H_
#undef STPN_KERNELS_BACKPROPAMINE_CPU_FORWARD_INL_H_
#else
#define STPN_KERNELS_BACKPROPAMINE_CPU_FORWARD_INL_H_
#endif

#include <hwy/highway.h>

#include <algorithm>
#include <utility>

#include "stpn/kernels/backpropamine/cpu_forward_sweep-inl.h"
#include "stpn/kernels/backpropamine/cpu_layout.h"
#include "stpn/kernels/cpu/group_loop-inl.h"
#include "stpn/kernels/cpu/input_projection-inl.h"

HWY_BEFORE_NAMESPACE();
namespace stpn::kernels {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// The modulator of step t-1 depends on all of h[t-1], so P is updated one step late: a single sweep
// over the rows of P in step t applies the pending update of step t-1 and sums the pre-activations
// of step t.
//
// kAddition: see SynapseUpdate. kTrace: the variant has the trace E.
template <class Layout, Addition kAddition, bool kTrace>
class ModulatedForward : public ForwardGroup<ModulatedForward<Layout, kAddition, kTrace>, Layout> {
  using Loop = ForwardGroup<ModulatedForward, Layout>;
  using Loop::layout_;
  using Loop::plan_;
  using Loop::S;
  using Loop::saved_;
  using typename Loop::D;
  using typename Loop::Plan;
  using typename Loop::T;
  using typename Loop::V;

 public:
  static int64_t scratch(const Plan& plan) {
    return 3 * plan.neurons(S) + Plan::padded(S) + InputProjection<T, S>::scratch(plan);
  }
  static int64_t activity(const Plan& plan) { return 2 * plan.presynaptic(S); }

  ModulatedForward(const Plan& plan, int64_t first, T* saved, Scratch<T>& scratch,
                   const BackpropamineForwardParams<T>& call,
                   const ProjectedParameters<T>& parameters)
      : Loop(plan, first, saved, call, scratch),
        call_(call),
        parameters_(parameters.matrices),
        z_(Loop::take_activity(scratch, plan.presynaptic(S))),
        z_before_(Loop::take_activity(scratch, plan.presynaptic(S))),
        h_(scratch.take(plan.neurons(S))),
        sums_(scratch.take(plan.neurons(S))),
        m_(scratch.take(S)),
        modulator_weight_(scratch.take(plan.neurons(S))),
        input_(plan, first, call.x, parameters.inputs, scratch) {}

  void begin() {
    this->copy_in({call_.initial_P, plan_.hidden, 0}, this->matrix(kP));
    if constexpr (kTrace) this->copy_in({call_.initial_E, plan_.hidden, 0}, this->matrix(kE));
    this->neurons_in(call_.initial_h, 0, h_);
    for (int64_t i = 0; i < plan_.hidden && call_.variant.has_modulator(); ++i) {
      std::fill_n(modulator_weight_ + i * S, S, call_.modulator_weight[i]);
    }
  }

  void apply_pending_update(int64_t) { sweep<true, false>(); }
  // All but the matrices.
  void forget(int s) {
    // Padding rows too, because the modulator sums over all rows.
    for (int64_t i = 0; i < plan_.rows(S); ++i) h_[i * S + s] = T(0);
  }

  void forward(int64_t t) {
    this->prefetch(call_.x, t + 1, call_.extent.inputs);
    this->prefetch(call_.output, t + 1, plan_.hidden);
    this->neurons_to_presynaptic(h_, 0, z_);
    if (this->is_update_pending(t)) {
      sweep<true, true>();
    } else {
      sweep<false, true>();
    }
    if (!this->all_finite(sums_, plan_.neurons(S))) {
      this->clear_outside(this->matrix(0), plan_.matrices * plan_.rows(S), 0, plan_.hidden);
      sweep<false, true>();
    }
    activate_neurons(t);
    if (call_.energy != nullptr) measure_energy(t);
    compute_modulator(t);
    std::swap(z_, z_before_);
  }

  void end() {
    apply_pending_update(plan_.steps);
    this->copy_out(this->matrix(kP), {call_.final_P, plan_.hidden, 0});
    if constexpr (kTrace) this->copy_out(this->matrix(kE), {call_.final_E, plan_.hidden, 0});
  }

 private:
  // kUpdate: applies the pending update. kPreactivation: sums the recurrent pre-activations.
  template <bool kUpdate, bool kPreactivation>
  void sweep() {
    sweep_rows(layout_, plan_.rows(S), [&](auto layout, int64_t i) HWY_ATTR {
      using TileLayout = decltype(layout);
      return ModulatedForwardSweep<TileLayout, kAddition, kTrace, kUpdate, kPreactivation>{
          .call = call_,
          .W = parameters_.row(kWeight, i),
          .alpha = parameters_.row(kAlpha, i),
          .P = this->matrix(kP) + this->row_of(i),
          .E = kTrace ? this->matrix(kE) + this->row_of(i) : nullptr,
          .z = z_,
          .z_before = z_before_,
          .h = h_ + i * S,
          .m = m_,
          .Gz = sums_ + i * S};
    });
  }

  // h = tanh(W_i x + b_i + (w + alpha P) z) for all neurons.
  void activate_neurons(int64_t t) {
    const D d;
    input_.forward(t);
    this->rows_to_neurons(input_.neurons(), input_.width(), h_);
    for (int64_t k = 0; k < plan_.neurons(S); k += hn::Lanes(d)) {
      const V u = hn::Add(hn::Load(d, h_ + k), hn::Load(d, sums_ + k));
      hn::Store(activate(d, Activation::tanh, u), d, h_ + k);
    }
    this->neurons_out(h_, t, call_.output);
  }

  // Writes the energy of step t. It is seldom requested, so it has a sweep of its own.
  void measure_energy(int64_t t) {
    sweep_rows(layout_, plan_.rows(S), [&](auto layout, int64_t i) HWY_ATTR {
      return ModulatedEnergySweep<decltype(layout)>{.W = parameters_.row(kWeight, i),
                                                    .alpha = parameters_.row(kAlpha, i),
                                                    .P = this->matrix(kP) + this->row_of(i),
                                                    .z = z_,
                                                    .energy = sums_ + i * S};
    });
    this->neurons_out(sums_, t, call_.energy);
  }

  // m of step t, for the update that the next sweep applies.
  void compute_modulator(int64_t t) {
    if (!call_.variant.has_modulator()) {
      std::fill_n(m_, S, call_.rate[0]);
      return;
    }
    const D d;
    T sums[S];
    sums_over_neurons<Layout>(
        plan_.neurons(S),
        [&](int64_t k)
            HWY_ATTR { return hn::Mul(hn::Load(d, modulator_weight_ + k), hn::Load(d, h_ + k)); },
        sums);
    for (int s = 0; s < S; ++s) m_[s] = sums[s] + call_.modulator_bias[0];
    for (int64_t k = 0; k < Plan::padded(S); k += hn::Lanes(d)) {
      const V m = activate(d, call_.variant.modulator_activation(), hn::Load(d, m_ + k));
      hn::Store(m, d, m_ + k);
    }
    if (saved_) std::copy_n(m_, S, saved_.samples(t, kSavedModulator));
  }

  const BackpropamineForwardParams<T>& call_;
  const PaddedMatrices<T>& parameters_;
  T* z_;         // h[t-1], the presynaptic input of step t
  T* z_before_;  // h[t-2], the presynaptic input of step t-1, whose update is pending
  T* const h_;
  T* const sums_;              // (w + alpha P) z of each neuron; in measure_energy its energy
  T* const m_;                 // the modulator of each sample
  T* const modulator_weight_;  // repeated for each sample, laid out as neuron values
  const InputProjection<T, S> input_;
};

}  // namespace HWY_NAMESPACE
}  // namespace stpn::kernels
HWY_AFTER_NAMESPACE();

#endif
