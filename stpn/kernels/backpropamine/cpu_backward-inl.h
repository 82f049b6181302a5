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

#include "stpn/kernels/backpropamine/cpu_update-inl.h"
#include "stpn/kernels/cpu/input_projection-inl.h"
#include "stpn/kernels/cpu/products-inl.h"

HWY_BEFORE_NAMESPACE();
namespace stpn::kernels {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// kPlain: see SynapseUpdate. kTrace: the variant has the trace E.
template <class Layout, bool kPlain, bool kTrace>
class ModulatedBackward : public BackwardGroup<ModulatedBackward<Layout, kPlain, kTrace>, Layout> {
  using Loop = BackwardGroup<ModulatedBackward, Layout>;
  using Loop::is_reset;
  using Loop::kRows;
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
    this->neurons_in(forward_.output, t, h(t));
    this->activity_before(forward_.initial_h, forward_.output, t, 0, z(t));
    T* HWY_RESTRICT m = this->m(t);
    std::fill_n(m, S, forward_.rate == nullptr ? T(0) : forward_.rate[0]);
    if (forward_.variant.has_modulator()) std::copy_n(saved_.samples(t, kSavedModulator), S, m);
    for (int64_t place = S; place < PerSample<T, S>::kWidth; ++place) m[place] = m[place - S];
  }

  void recompute(int64_t t) {
    for_tiles<kRows>(plan_.rows(S), 1,
                     [&](auto count, int64_t i) HWY_ATTR { recompute_rows<count>(t, i); });
  }

  // Only the update of step end - 1.
  void enter(int64_t end) { sweep<false, true>(end); }

  void back(int64_t t, bool more) {
    backpropagate_activation(t);
    if (more && !this->any_reset(t)) {
      sweep<true, true>(t);
    } else {
      sweep<true, false>(t);
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

  template <int kCount>
  HWY_INLINE void recompute_rows(int64_t t, int64_t i) {
    constexpr int kTileVectors = kCount * kVectors;
    const D d;
    const Layout layout = layout_;
    const T* HWY_RESTRICT z = this->z(t);
    const T* HWY_RESTRICT P = this->seen(t, kP) + this->row_of(i);
    T* HWY_RESTRICT new_P = this->seen(t + 1, kP) + this->row_of(i);
    [[maybe_unused]] const T* HWY_RESTRICT E =
        kTrace ? this->seen(t, kE) + this->row_of(i) : nullptr;
    [[maybe_unused]] T* HWY_RESTRICT new_E =
        kTrace ? this->seen(t + 1, kE) + this->row_of(i) : nullptr;
    const SynapseUpdate<T, kPlain> update(forward_);
    // The first step of the interval sees P as forward left it; in later ones P comes from the
    // recomputation and may be just outside the bound.
    const V bound = hn::Set(d, t == this->begin_ ? std::numeric_limits<T>::infinity() : bound_);
    const V just_outside = hn::Set(d, just_outside_);
    V h[kTileVectors], m[kVectors];
    STPN_UNROLL
    for (int v = 0; v < kVectors; ++v) m[v] = layout.sample(this->m(t), v);
    STPN_UNROLL
    for (int q = 0; q < kTileVectors; ++q) h[q] = layout.neuron(this->h(t) + i * S, q);
    for (int64_t j = 0; j < layout.width; j += Layout::kColumns) {
      STPN_UNROLL
      for (int q = 0; q < kTileVectors; ++q) {
        const int64_t at = layout.synapse(q, j);
        const V hebbian = hn::Mul(h[q], hn::Load(d, z + layout.presynaptic(q % kVectors, j)));
        V X = hebbian;
        if constexpr (kTrace) {
          const V e = hn::Load(d, E + at);
          hn::Store(update.trace(e, hebbian), d, new_E + at);
          X = e;
        }
        const V p = update.clamped(hn::Load(d, P + at), bound);
        hn::Store(update.recomputed(p, m[q % kVectors], X, just_outside), d, new_P + at);
      }
    }
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
    V dm = kTrace || !kPlain ? hn::Load(d, dm_of_rows_ + k) : hn::Zero(d);
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
    for_tiles<kRows>(plan_.rows(S), 1, [&](auto count, int64_t i) HWY_ATTR {
      sweep_rows<kPreactivation, kUpdate, count>(t, i);
    });
  }

  template <bool kPreactivation, bool kUpdate, int kCount>
  HWY_INLINE void sweep_rows(int64_t t, int64_t i) {
    constexpr int kTileVectors = kCount * kVectors;
    const D d;
    const Layout layout = this->layout_;
    const int64_t width = layout.width;
    const int64_t first = this->row_of(i);
    const T* HWY_RESTRICT W = parameters_.row(kWeight, i);
    const T* HWY_RESTRICT alpha = parameters_.row(kAlpha, i);
    T* HWY_RESTRICT grad_alpha_rows = gradients_.template rows<Layout>(kAlpha, i);
    T* HWY_RESTRICT dP_rows = this->d_matrix(kP) + first;
    [[maybe_unused]] T* HWY_RESTRICT dE_rows = kTrace ? this->d_matrix(kE) + first : nullptr;
    const SynapseUpdate<T, kPlain> update(forward_);
    V du[kTileVectors];
    STPN_UNROLL
    for (int q = 0; q < kTileVectors; ++q) {
      du[q] = kPreactivation ? layout.neuron(this->du(t) + i * S, q) : hn::Zero(d);
    }
    const T* HWY_RESTRICT P_rows = this->seen(t, kP) + first;
    const T* HWY_RESTRICT z = kPreactivation ? this->z(t) : nullptr;
    T* HWY_RESTRICT dz_rows = dz_;
    T* HWY_RESTRICT dz_of_update_rows = dz_of_update_;
    UpdateRows<kCount> update_rows(layout);
    if constexpr (kUpdate) update_rows.begin(*this, t - 1, i);
    for (int64_t j = 0; j < width; j += Layout::kColumns) {
      V dz[kVectors], dz_of_update[kVectors];
      STPN_UNROLL
      for (int v = 0; v < kVectors; ++v) {
        dz[v] = hn::Load(d, dz_rows + layout.presynaptic(v, j));
        dz_of_update[v] = hn::Load(d, dz_of_update_rows + layout.presynaptic(v, j));
      }
      STPN_UNROLL
      for (int r = 0; r < kCount; ++r) {
        const V w = layout.parameter(W, r, j);
        const V a = layout.parameter(alpha, r, j);
        V grad_alpha = hn::Zero(d);
        STPN_UNROLL
        for (int v = 0; v < kVectors; ++v) {
          const int q = r * kVectors + v;
          const int64_t at = layout.synapse(q, j);
          V dP = hn::Load(d, dP_rows + at);
          V dE = kTrace ? hn::Load(d, dE_rows + at) : hn::Zero(d);
          const V P = hn::Load(d, P_rows + at);
          if constexpr (kPreactivation) {
            const V dG = hn::Mul(hn::Load(d, z + layout.presynaptic(v, j)), du[q]);
            grad_alpha = hn::MulAdd(dG, P, grad_alpha);
            dz[v] = hn::MulAdd(hn::MulAdd(a, P, w), du[q], dz[v]);
            dP = hn::MulAdd(dG, a, dP);
          }
          if constexpr (kUpdate) {
            dP = update.backpropagate_clamp(P, dP);
            update_rows.backpropagate(update, q, j, dP, dE, dz_of_update[v]);
          }
          hn::Store(dP, d, dP_rows + at);
          if constexpr (kTrace) hn::Store(dE, d, dE_rows + at);
        }
        if constexpr (kPreactivation) {
          add_to(d, grad_alpha, grad_alpha_rows + layout.gradient(r, j));
        }
      }
      STPN_UNROLL
      for (int v = 0; v < kVectors; ++v) {
        hn::Store(dz[v], d, dz_rows + layout.presynaptic(v, j));
        hn::Store(dz_of_update[v], d, dz_of_update_rows + layout.presynaptic(v, j));
      }
    }
    if constexpr (kUpdate) update_rows.finish(*this, i);
  }

  // Backpropagates rows i to i + kCount through the update of step t. Holds, in registers, what is
  // constant along a row and the sums over it.
  template <int kCount>
  struct UpdateRows {
    static constexpr int kTileVectors = kCount * kVectors;

    explicit HWY_INLINE UpdateRows(const Layout& its_layout) : layout(its_layout) {}

    // Loads what is constant along the rows from i on, and zeroes the sums.
    HWY_INLINE void begin(const ModulatedBackward& group, int64_t t, int64_t i) {
      const D d;
      z = group.z(t);
      if constexpr (!kPlain) P = group.seen(t, kP) + group.row_of(i);
      if constexpr (kTrace) E = group.seen(t, kE) + group.row_of(i);
      STPN_UNROLL
      for (int v = 0; v < kVectors; ++v) m[v] = Layout::sample(group.m(t), v);
      STPN_UNROLL
      for (int q = 0; q < kTileVectors; ++q) {
        h[q] = Layout::neuron(group.h(t) + i * S, q);
        dh_sums[q] = dm_sums[q] = grad_rate_sums[q] = hn::Zero(d);
      }
    }

    // For the vector of synapses at tile vector q and presynaptic index j: turns dP (of the new P
    // before its clamp) and dE (of the new E) into those of P and E before the update; adds to dz
    // and to the sums.
    HWY_INLINE void backpropagate(const SynapseUpdate<T, kPlain>& update, int q, int64_t j, V& dP,
                                  V& dE, V& dz) {
      const D d;
      const int v = q % kVectors;
      const V z_j = hn::Load(d, z + layout.presynaptic(v, j));
      const V hebbian = hn::Mul(h[q], z_j);
      const V p = kPlain ? hn::Zero(d) : hn::Load(d, P + layout.synapse(q, j));
      if constexpr (kTrace) {
        const V e = hn::Load(d, E + layout.synapse(q, j));
        const V d_delta = update.backpropagate_addition(p, m[v], e, dP, dm_sums[q]);
        dm_sums[q] = hn::MulAdd(d_delta, e, dm_sums[q]);
        const V d_hebbian = update.backpropagate_trace(e, hebbian, dE, grad_rate_sums[q]);
        dE = hn::MulAdd(d_delta, m[v], dE);
        dh_sums[q] = hn::MulAdd(d_hebbian, z_j, dh_sums[q]);
        dz = hn::MulAdd(d_hebbian, h[q], dz);
      } else {
        const V d_delta = update.backpropagate_addition(p, m[v], hebbian, dP, dm_sums[q]);
        dh_sums[q] = hn::MulAdd(d_delta, z_j, dh_sums[q]);
        dz = hn::MulAdd(hn::Mul(d_delta, m[v]), h[q], dz);
      }
    }

    // Stores the sums.
    HWY_INLINE void finish(const ModulatedBackward& group, int64_t i) {
      Layout::store_sums(dh_sums, group.dh_of_update_ + i * S);
      if constexpr (kTrace || !kPlain) Layout::store_sums(dm_sums, group.dm_of_rows_ + i * S);
      if constexpr (kTrace) Layout::store_sums(grad_rate_sums, group.grad_rate_of_rows_ + i * S);
    }

    const Layout layout;
    const T* HWY_RESTRICT z;  // z[t]
    const T* HWY_RESTRICT P;  // P[t-1] and E[t-1]
    const T* HWY_RESTRICT E;
    V m[kVectors], h[kTileVectors];
    // Sums over the row of d_hebbian_ij z_j (without a trace d_delta_ij z_j), and of the synapses'
    // parts of dm and of the gradient of the rate.
    V dh_sums[kTileVectors], dm_sums[kTileVectors], grad_rate_sums[kTileVectors];
  };

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
};

}  // namespace HWY_NAMESPACE
}  // namespace stpn::kernels
HWY_AFTER_NAMESPACE();

#endif
