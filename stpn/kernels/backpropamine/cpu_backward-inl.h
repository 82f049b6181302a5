// The backward pass of Backpropamine for one group of samples. Compiled once for each SIMD target.
//
// dX is the gradient of the loss with respect to X, for the symbols of equations.h and for u[t],
// the pre-activation of h[t], and z[t] = h[t-1] (zero after a reset), its presynaptic input. Step t
// is backpropagated in two halves:
//   update:          from dP[t] and dE[t] to dP[t-1] and dE[t-1]; sums over each row for dh[t],
//                    dm[t] and the gradient of the rate; the update's part of dz[t]
//   pre-activation:  from du[t] to dP[t-1], the gradient of alpha, and the rest of dz[t]
// One sweep over the rows does the pre-activation of step t and the update of step t-1 together,
// so that P[t-1] is loaded once; its value also shows which synapses the clamp changed. P and E are
// recomputed within an interval from the saved h and m, so no dot product or activation is computed
// twice. The gradient of w is a matrix product of the du and z of an interval.

#if defined(STPN_KERNELS_BACKPROPAMINE_CPU_BACKWARD_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef STPN_KERNELS_BACKPROPAMINE_CPU_BACKWARD_INL_H_
#undef STPN_KERNELS_BACKPROPAMINE_CPU_BACKWARD_INL_H_
#else
#define STPN_KERNELS_BACKPROPAMINE_CPU_BACKWARD_INL_H_
#endif

#include <hwy/highway.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "stpn/kernels/backpropamine/cpu_backward_sweep-inl.h"
#include "stpn/kernels/backpropamine/cpu_forward_sweep-inl.h"
#include "stpn/kernels/backpropamine/cpu_layout.h"
#include "stpn/kernels/cpu/group_loop-inl.h"
#include "stpn/kernels/cpu/input_projection-inl.h"
#include "stpn/kernels/cpu/products-inl.h"

HWY_BEFORE_NAMESPACE();
namespace stpn::kernels {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// kAddition: see SynapseUpdate. kTrace: the variant has the trace E.
template <class Layout, Addition kAddition, bool kTrace>
class ModulatedBackward
    : public BackwardGroup<ModulatedBackward<Layout, kAddition, kTrace>, Layout> {
  using Loop = BackwardGroup<ModulatedBackward, Layout>;
  using Loop::is_reset;
  using Loop::kVectors;
  using Loop::layout_;
  using Loop::plan_;
  using Loop::S;
  using Loop::saved_;
  using typename Loop::D;
  using typename Loop::Plan;
  using typename Loop::T;
  using typename Loop::V;

 public:
  static constexpr bool kSeesNext = true;

  static int64_t scratch(const Plan& plan) {
    return 2 * plan.presynaptic(S) + 6 * plan.neurons(S) + plan.interval * Plan::padded(S) +
           InputProjection<T, S>::scratch(plan);
  }
  static int64_t activity(const Plan& plan) {
    return plan.interval * (plan.presynaptic(S) + 2 * plan.neurons(S));
  }

  // Adds to `gradients`.
  ModulatedBackward(const Plan& plan, int64_t first, T* saved, Scratch<T>& scratch,
                    const BackpropamineBackwardParams<T>& call,
                    const ProjectedParameters<T>& parameters, const Gradients<T>& gradients)
      : Loop(plan, first, saved, call.forward.reset, scratch),
        call_(call),
        forward_(call.forward),
        parameters_(parameters.matrices),
        gradients_(gradients),
        z_(Loop::take_activity(scratch, plan.interval * plan.presynaptic(S))),
        dz_(scratch.take(plan.presynaptic(S))),
        dz_of_update_(scratch.take(plan.presynaptic(S))),
        h_(Loop::take_activity(scratch, plan.interval * plan.neurons(S))),
        dh_(scratch.take(plan.neurons(S))),
        du_(Loop::take_activity(scratch, plan.interval * plan.neurons(S))),
        dh_of_update_(scratch.take(plan.neurons(S))),
        dm_of_rows_(scratch.take(plan.neurons(S))),
        grad_rate_of_rows_(scratch.take(plan.neurons(S))),
        m_(scratch.take(plan.interval * Plan::padded(S))),
        modulator_weight_(scratch.take(plan.neurons(S))),
        grad_modulator_weight_(scratch.take(plan.neurons(S))),
        input_(plan, first, call.forward.x, parameters.inputs, scratch),
        bound_(static_cast<T>(call.forward.variant.bound())),
        just_outside_(std::nextafter(bound_, std::numeric_limits<T>::infinity())) {}

  void begin() {
    this->copy_in({call_.grad_final_P, plan_.hidden, 0}, this->d_matrix(kP));
    if constexpr (kTrace) this->copy_in({call_.grad_final_E, plan_.hidden, 0}, this->d_matrix(kE));
    for (int64_t i = 0; i < plan_.hidden && forward_.variant.has_modulator(); ++i) {
      std::fill_n(modulator_weight_ + i * S, S, forward_.modulator_weight[i]);
    }
  }

  void end() {
    this->copy_out(this->d_matrix(kP), {call_.grad_initial_P, plan_.hidden, 0});
    if constexpr (kTrace) {
      this->copy_out(this->d_matrix(kE), {call_.grad_initial_E, plan_.hidden, 0});
    }
    if (call_.grad_initial_h != nullptr) this->neurons_out(dh_, 0, call_.grad_initial_h);
    for (int64_t i = 0; i < plan_.hidden; ++i) {
      gradients_.vector(kModulatorWeight)[i] += sum_of_samples<S>(grad_modulator_weight_ + i * S);
    }
  }

  typename Loop::template CallerMatrix<const T> initial(int64_t which) const {
    return {which == kP ? forward_.initial_P : forward_.initial_E, plan_.hidden, 0};
  }
  bool has_final_gradient() const {
    return call_.grad_final_P != nullptr || (kTrace && call_.grad_final_E != nullptr);
  }

  void load(int64_t t) {
    this->prefetch(forward_.output, t + 1, plan_.hidden);
    this->prefetch(call_.grad_output, t + 1, plan_.hidden);
    this->neurons_in(forward_.output, t, h(t));
    this->activity_before(forward_.initial_h, forward_.output, t, 0, z(t));
    T* HWY_RESTRICT m = this->m(t);
    std::fill_n(m, S, forward_.rate == nullptr ? T(0) : forward_.rate[0]);
    if (forward_.variant.has_modulator()) std::copy_n(saved_.samples(t, kSavedModulator), S, m);
    for (int64_t place = S; place < PerSample<T, S>::kWidth; ++place) m[place] = m[place - S];
    is_finite_ = (is_finite_ || t == this->begin_) && this->all_finite(h(t), plan_.neurons(S)) &&
                 this->all_finite(m, Plan::padded(S));
  }

  void recompute(int64_t t) {
    sweep_rows(layout_, plan_.rows(S), [&](auto layout, int64_t i) HWY_ATTR {
      const int64_t first = this->row_of(i);
      return ModulatedRecompute<decltype(layout), kAddition, kTrace>{
          .call = forward_,
          .z = z(t),
          .h = h(t) + i * S,
          .m = m(t),
          .P = this->seen(t, kP) + first,
          .E = kTrace ? this->seen(t, kE) + first : nullptr,
          .new_P = this->seen(t + 1, kP) + first,
          .new_E = kTrace ? this->seen(t + 1, kE) + first : nullptr,
          // The first step of the interval sees P as forward left it; in later ones P comes from
          // the recomputation and may be just outside the bound.
          .bound = t == this->begin_ ? std::numeric_limits<T>::infinity() : bound_,
          .new_bound = just_outside_};
    });
    if (!is_finite_) clear_padding(this->seen(t + 1));
  }

  // Only the update of step end - 1.
  void enter(int64_t end) { sweep<false, true>(end); }

  void back(int64_t t, bool more) {
    backpropagate_activation(t);
    const bool finite = is_finite_ && this->all_finite(du(t), plan_.neurons(S));
    if (more && finite && !this->any_reset(t)) {
      sweep<true, true>(t);
    } else {
      sweep<true, false>(t);
      if (!finite) clear_padding(this->d_matrix(0));
      for (int s = 0; s < S; ++s) {
        if (is_reset(t, s)) this->clear_sample(this->d_matrix(kP), s);
      }
      if (more) sweep<false, true>(t);
    }
    this->presynaptic_to_neurons(dz_, 0, dh_);
    for (int s = 0; s < S; ++s) {
      for (int64_t i = 0; i < plan_.hidden && is_reset(t, s); ++i) dh_[i * S + s] = T(0);
    }
    if (t == this->begin_) add_weight_gradient();
  }

 private:
  // The arrays of step t, which is in the current interval: z[t] (a presynaptic array), h[t]
  // (neuron values), m[t] (repeated to the width of PerSample) and du[t] (neuron values).
  T* z(int64_t t) const { return z_ + this->step_in_interval(t) * plan_.presynaptic(S); }
  T* h(int64_t t) const { return h_ + this->step_in_interval(t) * plan_.neurons(S); }
  T* m(int64_t t) const { return m_ + this->step_in_interval(t) * Plan::padded(S); }
  T* du(int64_t t) const { return du_ + this->step_in_interval(t) * plan_.neurons(S); }

  // Of P and E, or of their gradients: see Group::clear_outside.
  void clear_padding(T* matrices) const {
    this->clear_outside(matrices, plan_.matrices * plan_.rows(S), 0, plan_.hidden);
  }

  // Computes du[t] of all neurons from dh[t] and dm[t], and backpropagates it through the input
  // projection.
  void backpropagate_activation(int64_t t) {
    const D d;
    T* HWY_RESTRICT du = this->du(t);
    if (call_.grad_output != nullptr) {
      this->neurons_in(call_.grad_output, t, du);
      for (int64_t k = 0; k < plan_.neurons(S); k += hn::Lanes(d)) {
        hn::Store(hn::Add(hn::Load(d, dh_ + k), hn::Load(d, du + k)), d, dh_ + k);
      }
    }
    backpropagate_modulator(t);
    for (int64_t k = 0; k < plan_.neurons(S); k += hn::Lanes(d)) {
      const V dh = hn::Add(hn::Load(d, dh_ + k), hn::Load(d, dh_of_update_ + k));
      const V slope = activation_slope(d, Activation::tanh, hn::Load(d, h(t) + k));
      hn::Store(hn::Mul(dh, slope), d, du + k);
    }
    this->neurons_to_rows(du, input_.width(), input_.neurons());
    input_.backward(t, gradients_.vector(kInput), call_.grad_x);
    // The sweep of step t adds the rest of dz[t] to the update's part.
    std::swap(dz_, dz_of_update_);
    std::fill_n(dz_of_update_, plan_.presynaptic(S), T(0));
  }

  // Adds to dh_ and the gradients of the modulator's parameters and of the rate. Completes
  // dh_of_update_.
  void backpropagate_modulator(int64_t t) {
    const D d;
    const bool modulated = forward_.variant.has_modulator();
    T dm[S];
    sums_over_neurons<Layout>(
        plan_.neurons(S), [&](int64_t k) HWY_ATTR { return complete_update_gradient(t, k); }, dm);
    // No sweep writes the padding, where the NaN of this step's m would reach earlier ones.
    std::fill(dh_of_update_ + plan_.hidden * S, dh_of_update_ + plan_.neurons(S), T(0));
    T grad_rate = T(0);
    for (int64_t k = 0; k < plan_.hidden * S && kTrace; ++k) grad_rate += grad_rate_of_rows_[k];
    PerSample<T, S> dv;  // of the modulator's pre-activation
    for (int s = 0; s < S; ++s) {
      if (!modulated) grad_rate += dm[s];
      dv.set(s,
             dm[s] * kernels::activation_slope(forward_.variant.modulator_activation(), m(t)[s]));
    }
    gradients_.vector(kRate)[0] += grad_rate;
    if (!modulated) return;
    gradients_.vector(kModulatorBias)[0] += sum_of_samples<S>(dv.values);
    const T* HWY_RESTRICT h = this->h(t);
    for (int64_t k = 0; k < plan_.neurons(S); k += hn::Lanes(d)) {
      const V grad_weight =
          hn::MulAdd(dv.at(k), hn::Load(d, h + k), hn::Load(d, grad_modulator_weight_ + k));
      const V dh = hn::MulAdd(dv.at(k), hn::Load(d, modulator_weight_ + k), hn::Load(d, dh_ + k));
      hn::Store(grad_weight, d, grad_modulator_weight_ + k);
      hn::Store(dh, d, dh_ + k);
    }
  }

  // For the vector of neuron values from k on, called once a step: returns the part of dm[t] that
  // comes from these neurons' rows. Without a trace, delta_ij = m h_i z_j, so dh_i and dm share the
  // sum over j of d_delta_ij z_j, which dh_of_update_ holds until this function multiplies it by m.
  HWY_INLINE V complete_update_gradient(int64_t t, int64_t k) const {
    const D d;
    V dm = kTrace || !kIsPlain<kAddition> ? hn::Load(d, dm_of_rows_ + k) : hn::Zero(d);
    if constexpr (kTrace) return dm;
    const V sum = hn::Load(d, dh_of_update_ + k);
    const V m = hn::Load(d, this->m(t) + k % PerSample<T, S>::kWidth);
    hn::Store(hn::Mul(m, sum), d, dh_of_update_ + k);
    return hn::MulAdd(sum, hn::Load(d, h(t) + k), dm);
  }

  // Adds the interval's part of the gradient of w.
  void add_weight_gradient() const {
    const int64_t steps = std::min(plan_.interval, plan_.steps - this->begin_);
    for (int v = 0; v < kVectors; ++v) {
      const int64_t first = v * (S / kVectors);
      add_outer_products_of_all<Layout, T>(
          layout_, plan_.hidden, steps, {du_ + first, S, plan_.neurons(S)},
          {z_ + layout_.presynaptic(v, 0), 0, plan_.presynaptic(S)}, gradients_.row(kWeight, 0),
          plan_.row);
    }
  }

  // For all rows: backpropagates through the pre-activation of step t if kPreactivation, then
  // through the update of step t-1 if kUpdate.
  template <bool kPreactivation, bool kUpdate>
  void sweep(int64_t t) {
    sweep_rows(layout_, plan_.rows(S), [&](auto layout, int64_t i) HWY_ATTR {
      using TileLayout = decltype(layout);
      const int64_t first = this->row_of(i);
      const int64_t k = i * S;
      return ModulatedBackwardSweep<TileLayout, kAddition, kTrace, kPreactivation, kUpdate>{
          .call = forward_,
          .W = parameters_.row(kWeight, i),
          .alpha = parameters_.row(kAlpha, i),
          .grad_alpha = gradients_.template rows<Layout>(kAlpha, i),
          .P = this->seen(t, kP) + first,
          .z = kPreactivation ? z(t) : nullptr,
          .du = kPreactivation ? du(t) + k : nullptr,
          .P_before = kUpdate ? this->seen(t - 1, kP) + first : nullptr,
          .E_before = kUpdate && kTrace ? this->seen(t - 1, kE) + first : nullptr,
          .z_before = kUpdate ? z(t - 1) : nullptr,
          .h = kUpdate ? h(t - 1) + k : nullptr,
          .m = kUpdate ? m(t - 1) : nullptr,
          .dP = this->d_matrix(kP) + first,
          .dE = kTrace ? this->d_matrix(kE) + first : nullptr,
          .dz = dz_,
          .dz_of_update = dz_of_update_,
          .dh = dh_of_update_ + k,
          .dm = dm_of_rows_ + k,
          .grad_rate = grad_rate_of_rows_ + k};
    });
  }

  const BackpropamineBackwardParams<T>& call_;
  const BackpropamineForwardParams<T>& forward_;
  const PaddedMatrices<T>& parameters_;
  const Gradients<T>& gradients_;
  T* const z_;       // of all steps of the interval; so are h_, du_ and m_
  T* dz_;            // of the step whose pre-activation is backpropagated
  T* dz_of_update_;  // the update's part of dz, of the step before
  T* const h_;
  T* const dh_;  // without dh_of_update_
  T* const du_;
  T* const dh_of_update_;       // the update's part of dh; see complete_update_gradient
  T* const dm_of_rows_;         // each neuron's part of dm
  T* const grad_rate_of_rows_;  // each neuron's part of the gradient of the trace's rate
  T* const m_;
  T* const modulator_weight_;  // repeated for each sample, laid out as neuron values
  T* const grad_modulator_weight_;
  const InputProjection<T, S> input_;
  const T bound_, just_outside_;  // of P: c, and the next number beyond it
  bool is_finite_ = true;         // h and m in the steps of the interval
};

}  // namespace HWY_NAMESPACE
}  // namespace stpn::kernels
HWY_AFTER_NAMESPACE();

#endif
