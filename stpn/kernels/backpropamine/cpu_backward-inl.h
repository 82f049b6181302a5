// A step back of Backpropamine, for a group of samples. Compiled once a target.
//
// Step t goes back in two halves:
//   into(t):  from dP[t] and dE[t] through the update to those before it, and the sums over a row
//             that h[t] and m[t] need
//   back(t):  from du[t] through the drive: dP[t-1], dalpha, dh[t-1]
// back(t) and into(t-1) of a row share one pass over it, and one load of P, which also tells what
// the clamp cut. Replay uses the h and m that forward kept: no dot product or activation is
// computed again. dw is a product of the du and z of an interval.

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

#include "stpn/kernels/backpropamine/cpu_step-inl.h"
#include "stpn/kernels/cpu/input_projection-inl.h"
#include "stpn/kernels/cpu/products-inl.h"

HWY_BEFORE_NAMESPACE();
namespace stpn::kernels {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

template <class Layout, bool kPlain, bool kTrace>
class ModulatedBackward : public BackwardGroup<ModulatedBackward<Layout, kPlain, kTrace>, Layout> {
  using Loop = BackwardGroup<ModulatedBackward, Layout>;
  using Loop::is_reset;
  using Loop::saved_;
  using Loop::kRows;
  using Loop::kVectors;
  using Loop::layout_;
  using Loop::plan_;
  using Loop::S;
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
                    const BackpropamineBackwardParams<T>& call, const ProjectedParameters<T>& parameters,
                    const Gradients<T>& gradients)
      : Loop(plan, first, saved, call.forward.reset, scratch),
        call_(call),
        forward_(call.forward),
        parameters_(parameters.matrices),
        gradients_(gradients),
        z_(Loop::take_activity(scratch, plan.interval * plan.presynaptic(S))),
        dz_(scratch.take(plan.presynaptic(S))),
        d_hebbian_(scratch.take(plan.presynaptic(S))),
        h_(Loop::take_activity(scratch, plan.interval * plan.neurons(S))),
        dh_(scratch.take(plan.neurons(S))),
        du_(Loop::take_activity(scratch, plan.interval * plan.neurons(S))),
        along_h_(scratch.take(plan.neurons(S))),
        along_m_(scratch.take(plan.neurons(S))),
        along_rate_(scratch.take(plan.neurons(S))),
        m_(scratch.take(plan.interval * Plan::padded(S))),
        modulator_(scratch.take(plan.neurons(S))),
        d_modulator_(scratch.take(plan.neurons(S))),
        input_(plan, first, call.forward.x, parameters.inputs, scratch),
        bound_(static_cast<T>(call.forward.variant.bound())),
        just_outside_(std::nextafter(bound_, std::numeric_limits<T>::infinity())) {}

  void begin() {
    this->copy_in({call_.grad_final_P, plan_.hidden, 0}, this->d_matrix(kP));
    if constexpr (kTrace) this->copy_in({call_.grad_final_E, plan_.hidden, 0}, this->d_matrix(kE));
    for (int64_t i = 0; i < plan_.hidden && forward_.variant.has_modulator(); ++i) {
      std::fill_n(modulator_ + i * S, S, forward_.modulator_weight[i]);
    }
  }

  void end() {
    this->copy_out(this->d_matrix(kP), {call_.grad_initial_P, plan_.hidden, 0});
    if constexpr (kTrace) {
      this->copy_out(this->d_matrix(kE), {call_.grad_initial_E, plan_.hidden, 0});
    }
    if (call_.grad_initial_h != nullptr) this->neurons_out(dh_, 0, call_.grad_initial_h);
    for (int64_t i = 0; i < plan_.hidden; ++i) {
      gradients_.vector(kModulatorWeight)[i] += sum_of_samples<S>(d_modulator_ + i * S);
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

  void enter(int64_t end) { sweep<false, true>(end); }

  void back(int64_t t, bool more) {
    load_gradient(t);
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
  // Of a step of the interval: z = h[t-1] (zero after a reset), which drives it and is learnt;
  // h[t]; m, repeated as the samples are in unit values; and the gradient of the drive.
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
    // Of the step before, in replay, P may lie just outside; of no other.
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
        V learnt = hn::Mul(h[q], hn::Load(d, z + layout.presynaptic(q % kVectors, j)));
        if constexpr (kTrace) {
          const V e = hn::Load(d, E + at);
          hn::Store(update.trace(e, learnt), d, new_E + at);
          learnt = e;
        }
        const V before = update.clamped(hn::Load(d, P + at), bound);
        hn::Store(update.recomputed(before, m[q % kVectors], learnt, just_outside), d, new_P + at);
      }
    }
  }

  // What back(t) reads: from the gradients of h[t] and m[t] to that of u[t], for all units at once.
  void load_gradient(int64_t t) {
    const D d;
    T* HWY_RESTRICT du = this->du(t);
    if (call_.grad_output != nullptr) {
      this->neurons_in(call_.grad_output, t, du);
      for (int64_t k = 0; k < plan_.neurons(S); k += hn::Lanes(d)) {
        hn::Store(hn::Add(hn::Load(d, dh_ + k), hn::Load(d, du + k)), d, dh_ + k);
      }
    }
    back_through_modulator(t);
    for (int64_t k = 0; k < plan_.neurons(S); k += hn::Lanes(d)) {
      const V dh = hn::Add(hn::Load(d, dh_ + k), hn::Load(d, along_h_ + k));
      const V slope = activation_slope(d, Activation::tanh, hn::Load(d, h(t) + k));
      hn::Store(hn::Mul(dh, slope), d, du + k);
    }
    this->neurons_to_rows(du, input_.width(), input_.neurons());
    input_.backward(t, gradients_.vector(kInput), call_.grad_x);
    std::swap(dz_, d_hebbian_);  // what the update of step t gave to h[t-1], to add to
    std::fill_n(d_hebbian_, plan_.presynaptic(S), T(0));
  }

  void back_through_modulator(int64_t t) {
    const D d;
    const bool modulated = forward_.variant.has_modulator();
    T dm[S];
    sums_over_neurons<Layout>(
        plan_.neurons(S), [&](int64_t k) HWY_ATTR { return back_through_product(t, k); }, dm);
    T d_rate = T(0);
    for (int64_t neuron = 0; neuron < plan_.hidden * S && kTrace; ++neuron) d_rate += along_rate_[neuron];
    PerSample<T, S> du;
    for (int s = 0; s < S; ++s) {
      if (!modulated) d_rate += dm[s];
      du.set(s,
             dm[s] * kernels::activation_slope(forward_.variant.modulator_activation(), m(t)[s]));
    }
    gradients_.vector(kRate)[0] += d_rate;
    if (!modulated) return;
    gradients_.vector(kModulatorBias)[0] += sum_of_samples<S>(du.values);
    const T* HWY_RESTRICT h = this->h(t);
    for (int64_t k = 0; k < plan_.neurons(S); k += hn::Lanes(d)) {
      const V of_weight = hn::MulAdd(du.at(k), hn::Load(d, h + k), hn::Load(d, d_modulator_ + k));
      const V dh = hn::MulAdd(du.at(k), hn::Load(d, modulator_ + k), hn::Load(d, dh_ + k));
      hn::Store(of_weight, d, d_modulator_ + k);
      hn::Store(dh, d, dh_ + k);
    }
  }

  // Of the vector of units from k on, once: returns the gradient of m[t]; that of h[t] gets its
  // factor m.
  HWY_INLINE V back_through_product(int64_t t, int64_t k) const {
    const D d;
    V along = kTrace || !kPlain ? hn::Load(d, along_m_ + k) : hn::Zero(d);
    if constexpr (kTrace) return along;
    // Both m and h multiply the same sum.
    const V along_learnt = hn::Load(d, along_h_ + k);
    const V m = hn::Load(d, this->m(t) + k % PerSample<T, S>::kWidth);
    hn::Store(hn::Mul(m, along_learnt), d, along_h_ + k);
    return hn::MulAdd(along_learnt, hn::Load(d, h(t) + k), along);
  }

  // dw of the interval.
  void add_weight_gradient() const {
    const int64_t steps = std::min(plan_.interval, plan_.steps - this->begin_);
    for (int v = 0; v < kVectors; ++v) {
      const int64_t first = v * (S / kVectors);
      add_outer_products_of_all<Layout, T>(layout_, plan_.hidden, steps,
                                           {du_ + first, S, plan_.neurons(S)},
                                           {z_ + layout_.presynaptic(v, 0), 0, plan_.presynaptic(S)},
                                           gradients_.row(kWeight, 0), plan_.row);
    }
  }

  // back(t) if kBack, then into(t-1) if kInto, for all rows.
  template <bool kBack, bool kInto>
  void sweep(int64_t t) {
    for_tiles<kRows>(plan_.rows(S), 1,
                     [&](auto count, int64_t i) HWY_ATTR { rows<kBack, kInto, count>(t, i); });
  }

  template <bool kBack, bool kInto, int kCount>
  HWY_INLINE void rows(int64_t t, int64_t i) {
    constexpr int kTileVectors = kCount * kVectors;
    const D d;
    const Layout layout = this->layout_;
    const int64_t width = layout.width;
    const int64_t first = this->row_of(i);
    const T* HWY_RESTRICT W = parameters_.row(kWeight, i);
    const T* HWY_RESTRICT alpha = parameters_.row(kAlpha, i);
    T* HWY_RESTRICT sum_alpha = gradients_.template rows<Layout>(kAlpha, i);
    T* HWY_RESTRICT dP_rows = this->d_matrix(kP) + first;
    [[maybe_unused]] T* HWY_RESTRICT dE_rows = kTrace ? this->d_matrix(kE) + first : nullptr;
    const SynapseUpdate<T, kPlain> update(forward_);
    V du[kTileVectors];
    STPN_UNROLL
    for (int q = 0; q < kTileVectors; ++q) {
      du[q] = kBack ? layout.neuron(this->du(t) + i * S, q) : hn::Zero(d);
    }
    const T* HWY_RESTRICT P_rows = this->seen(t, kP) + first;
    const T* HWY_RESTRICT z = kBack ? this->z(t) : nullptr;
    T* HWY_RESTRICT dz_rows = dz_;
    T* HWY_RESTRICT d_hebbian_rows = d_hebbian_;
    Into<kCount> into(layout);
    if constexpr (kInto) into.begin(*this, t - 1, i);
    for (int64_t j = 0; j < width; j += Layout::kColumns) {
      V dz[kVectors], d_hebbian[kVectors];
      STPN_UNROLL
      for (int v = 0; v < kVectors; ++v) {
        dz[v] = hn::Load(d, dz_rows + layout.presynaptic(v, j));
        d_hebbian[v] = hn::Load(d, d_hebbian_rows + layout.presynaptic(v, j));
      }
      STPN_UNROLL
      for (int r = 0; r < kCount; ++r) {
        const V w = layout.parameter(W, r, j);
        const V a = layout.parameter(alpha, r, j);
        V d_alpha = hn::Zero(d);
        STPN_UNROLL
        for (int v = 0; v < kVectors; ++v) {
          const int q = r * kVectors + v;
          const int64_t at = layout.synapse(q, j);
          V dP = hn::Load(d, dP_rows + at);
          V dE = kTrace ? hn::Load(d, dE_rows + at) : hn::Zero(d);
          const V P = hn::Load(d, P_rows + at);
          if constexpr (kBack) {
            const V dG = hn::Mul(hn::Load(d, z + layout.presynaptic(v, j)), du[q]);
            d_alpha = hn::MulAdd(dG, P, d_alpha);
            dz[v] = hn::MulAdd(hn::MulAdd(a, P, w), du[q], dz[v]);
            dP = hn::MulAdd(dG, a, dP);
          }
          if constexpr (kInto) {
            dP = update.back_clamp(P, dP);
            into.step(d_hebbian[v], update, q, j, dP, dE);
          }
          hn::Store(dP, d, dP_rows + at);
          if constexpr (kTrace) hn::Store(dE, d, dE_rows + at);
        }
        if constexpr (kBack) {
          add_to(d, d_alpha, sum_alpha + layout.gradient(r, j));
        }
      }
      STPN_UNROLL
      for (int v = 0; v < kVectors; ++v) {
        hn::Store(dz[v], d, dz_rows + layout.presynaptic(v, j));
        hn::Store(d_hebbian[v], d, d_hebbian_rows + layout.presynaptic(v, j));
      }
    }
    if constexpr (kInto) into.finish(*this, i);
  }

  // Rows i to i + kCount on their way into step t: what is fixed along them, and the sums over
  // them.
  template <int kCount>
  struct Into {
    static constexpr int kTileVectors = kCount * kVectors;

    explicit HWY_INLINE Into(const Layout& its_layout) : layout(its_layout) {}

    HWY_INLINE void begin(const ModulatedBackward& group, int64_t t, int64_t i) {
      const D d;
      hebbian = group.z(t);
      if constexpr (!kPlain) P = group.seen(t, kP) + group.row_of(i);
      if constexpr (kTrace) E = group.seen(t, kE) + group.row_of(i);
      STPN_UNROLL
      for (int v = 0; v < kVectors; ++v) m[v] = Layout::sample(group.m(t), v);
      STPN_UNROLL
      for (int q = 0; q < kTileVectors; ++q) {
        h[q] = Layout::neuron(group.h(t) + i * S, q);
        along_hebbian[q] = along_m[q] = along_rate[q] = hn::Zero(d);
      }
    }

    // From the gradients of P, before its clamp, and E after the update to those before it; adds to
    // all that it touches.
    HWY_INLINE void step(V& d_hebbian, const SynapseUpdate<T, kPlain>& update, int q, int64_t j,
                         V& dP, V& dE) {
      const D d;
      const int v = q % kVectors;
      const V before = hn::Load(d, hebbian + layout.presynaptic(v, j));
      const V learnt = hn::Mul(h[q], before);
      const V p = kPlain ? hn::Zero(d) : hn::Load(d, P + layout.synapse(q, j));
      V d_learnt;
      if constexpr (kTrace) {
        const V e = hn::Load(d, E + layout.synapse(q, j));
        const V d_delta = update.back(p, m[v], e, dP, along_m[q]);
        along_m[q] = hn::MulAdd(d_delta, e, along_m[q]);
        d_learnt = update.back_trace(e, learnt, dE, along_rate[q]);
        dE = hn::MulAdd(d_delta, m[v], dE);
      } else {
        d_learnt = update.back(p, m[v], learnt, dP, along_m[q]);
      }
      along_hebbian[q] = hn::MulAdd(d_learnt, before, along_hebbian[q]);
      if constexpr (!kTrace) d_learnt = hn::Mul(d_learnt, m[v]);
      d_hebbian = hn::MulAdd(d_learnt, h[q], d_hebbian);
    }

    HWY_INLINE void finish(const ModulatedBackward& group, int64_t i) {
      Layout::store_sums(along_hebbian, group.along_h_ + i * S);
      if constexpr (kTrace || !kPlain) Layout::store_sums(along_m, group.along_m_ + i * S);
      if constexpr (kTrace) Layout::store_sums(along_rate, group.along_rate_ + i * S);
    }

    const Layout layout;
    const T* HWY_RESTRICT hebbian;
    const T* HWY_RESTRICT P;
    const T* HWY_RESTRICT E;
    V m[kVectors], h[kTileVectors];
    V along_hebbian[kTileVectors];  // of the gradient of D (without a trace: of m D) times h[t-1]
    V along_m[kTileVectors], along_rate[kTileVectors];
  };

  const BackpropamineBackwardParams<T>& call_;
  const BackpropamineForwardParams<T>& forward_;
  const PaddedMatrices<T>& parameters_;
  const Gradients<T>& gradients_;
  T* const z_;           // of the interval's steps
  T* dz_;                // gradient of z, of the step that is gone back through
  T* d_hebbian_;         // and of that which is gone into
  T* const h_;           // of the interval's steps
  T* const dh_;          // gradient of h, but for along_h_
  T* const du_;          // gradient of the drive, of the interval's steps
  T* const along_h_;     // the update's part of the gradient of h
  T* const along_m_;     // summed over units, the gradient of m
  T* const along_rate_;  // and that of the trace's rate
  T* const m_;           // of the interval's steps
  T* const modulator_;   // its weights, as unit values
  T* const d_modulator_;
  const InputProjection<T, S> input_;
  const T bound_, just_outside_;  // of P
};

}  // namespace HWY_NAMESPACE
}  // namespace stpn::kernels
HWY_AFTER_NAMESPACE();

#endif
