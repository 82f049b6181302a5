// A step back of the STPN, for a group of samples. Compiled once a target.
//
// With A[t] the new F before clamp and norm, step t goes back in two halves:
//   back(t):  from dA[t] and du[t] through drive and norm to dF[t-1], and dz[t]; with norm `post`
//             on through that of step t-1
//   into(t):  from there through clamp and update: dA[t], dGamma, dLambda, and the sums over a row
//             that h[t] and the norm need
// back(t) and into(t-1) of a row share one pass over it, but by Oja's rule, where dF gets its part
// between the two. Replay uses the h and n that forward kept: no dot product, norm or activation is
// computed again.
//
// Norm `post`, F = C / m with m = |W + C|:
//   dC = dF / m - k (W + C),   dW gets - k (W + C),   k = (dF . C) / m^3
// needs no pass of its own either, as dF . C = sum of Lambda dA C, a sum of into(t), and what C z
// and C G come to, which forward kept. With 1/m = scale, W + C = G + (1 - scale) C.
//
// What the gradient of W gets of norms along W itself is summed up as one number a row.

#if defined(STPN_KERNELS_STPN_CPU_BACKWARD_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef STPN_KERNELS_STPN_CPU_BACKWARD_INL_H_
#undef STPN_KERNELS_STPN_CPU_BACKWARD_INL_H_
#else
#define STPN_KERNELS_STPN_CPU_BACKWARD_INL_H_
#endif

#include <hwy/highway.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>
#include <utility>

#include "stpn/kernels/cpu/neuron_blocks-inl.h"
#include "stpn/kernels/stpn/cpu_layer_norm-inl.h"
#include "stpn/kernels/stpn/cpu_oja-inl.h"
#include "stpn/kernels/stpn/cpu_plastic_bias-inl.h"
#include "stpn/kernels/stpn/cpu_layout.h"
#include "stpn/kernels/stpn/cpu_sweep-inl.h"

HWY_BEFORE_NAMESPACE();
namespace stpn::kernels {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

template <class Layout, Norm kNorm, bool kClamp>
class StpnBackward : public BackwardLoop<StpnBackward<Layout, kNorm, kClamp>, Layout> {
  using Loop = BackwardLoop<StpnBackward, Layout>;
  using Loop::is_reset;
  using Loop::saved_;
  using Loop::kRows;
  using Loop::layout_;
  using Loop::plan_;
  using Loop::S;
  using typename Loop::D;
  using typename Loop::Plan;
  using typename Loop::T;
  using typename Loop::V;
  static constexpr bool kNormed = kNorm != Norm::none;
  static constexpr bool kPre = kNorm == Norm::pre;
  static constexpr bool kPost = kNorm == Norm::post;
  static constexpr bool kScaled = kPre || kPost;
  using Sweep = StpnSweep<Layout, kNorm, kClamp>;

 public:
  // Only the clamp and the norm after it ask for what an update made.
  static constexpr bool kSeesNext = kClamp || kPost;

  static int64_t scratch(const Plan& plan) {
    return (Layout::kNeuronBlocks ? 0 : 2 * plan.presynaptic(S)) +
           (slots(plan) + (kPost ? 10 : 8)) * plan.neurons(S);
  }
  static int64_t activity(const Plan& plan) {
    return plan.interval * (2 * plan.presynaptic(S) + plan.neurons(S));
  }

  // Adds to `gradients`.
  StpnBackward(const Plan& plan, int64_t first, T* saved, Scratch<T>& scratch,
               const StpnBackwardParams<T>& call, const PaddedMatrices<T>& parameters,
               const Gradients<T>& gradients)
      : Loop(plan, first, saved, call.forward.reset, scratch),
        call_(call),
        forward_(call.forward),
        parameters_(parameters),
        gradients_(gradients),
        inputs_(call.forward.extent.inputs),
        recurrent_(call.forward.variant.recurrent),
        current_(recurrent_ && call.forward.variant.presynaptic == Presynaptic::current),
        oja_(call.forward.variant.rule == Rule::oja),
        first_dz_(call.grad_x != nullptr || oja_ ? 0 : Layout::vector_of(inputs_)),
        z_(Loop::take_activity(scratch, plan.interval * plan.presynaptic(S))),
        hebbian_(Loop::take_activity(scratch,
                                     Layout::kNeuronBlocks ? 0 : plan.interval * plan.presynaptic(S))),
        h_(Loop::take_activity(scratch, plan.interval * plan.neurons(S))),
        dz_(Layout::kNeuronBlocks ? scratch.take_unwritten(plan.interval * plan.presynaptic(S))
                            : scratch.take(plan.presynaptic(S))),
        d_hebbian_(Layout::kNeuronBlocks ? nullptr : scratch.take(plan.presynaptic(S))),
        dh_(scratch.take(slots(plan) * plan.neurons(S))),
        along_h_(scratch.take(plan.neurons(S))),
        along_norm_(scratch.take(plan.neurons(S))),
        per_z_(scratch.take(plan.neurons(S))),
        per_G_(scratch.take(plan.neurons(S))),
        d_bias_(scratch.take(plan.neurons(S))),
        share_of_W_(scratch.take(plan.neurons(S))),
        d_new_per_z_(kPost ? scratch.take(plan.neurons(S)) : per_z_),
        per_C_(kPost ? scratch.take(plan.neurons(S)) : per_z_),
        from_update_(scratch.take(plan.neurons(S))),
        ones_(scratch.take(plan.neurons(S))),
        bound_(static_cast<T>(call.forward.variant.clamp)),
        just_outside_(std::nextafter(bound_, std::numeric_limits<T>::infinity())) {
    std::fill_n(ones_, plan.neurons(S), T(1));
    if (call.forward.variant.plastic_bias) plastic_bias_.emplace(plan, call.forward);
    if (call.forward.variant.layer_norm) layer_norm_.emplace(plan, call.forward);
    if (oja_) prediction_.emplace(plan);
  }

  void begin() {
    this->copy_in(callers(call_.grad_final_F), this->d_matrix(0));
    if (plastic_bias_ && call_.grad_final_beta != nullptr) {
      this->neurons_in(call_.grad_final_beta, 0, plastic_bias_->values());
    }
    for (int64_t t = 0; t < plan_.interval && Layout::kNeuronBlocks; ++t) clear_dz(t);
  }

  void end() {
    this->copy_out(this->d_matrix(0), callers(call_.grad_initial_F));
    if (call_.grad_initial_h != nullptr) this->neurons_out(dh_, 0, call_.grad_initial_h);
    for (int64_t i = 0; i < plan_.hidden; ++i) {
      gradients_.vector(kBias)[i] += sum_of_samples<S>(d_bias_ + i * S);
      if (kNormed) add_normalised_share(i, sum_of_samples<S>(share_of_W_ + i * S));
    }
    if (layer_norm_) layer_norm_->add_to_gradients(gradients_);
    if (!plastic_bias_) return;
    plastic_bias_->add_to_gradients(gradients_);
    if (call_.grad_initial_beta != nullptr) {
      this->neurons_out(plastic_bias_->values(), 0, call_.grad_initial_beta);
    }
  }

  auto initial(int64_t) const { return callers(forward_.initial_F); }
  bool has_final_gradient() const { return call_.grad_final_F != nullptr; }
  void recompute_interval(int64_t begin, int64_t end) { recompute(begin, end, this->all_rows()); }
  void enter(int64_t end) { enter(end, this->all_rows()); }
  void back(int64_t t, bool more) {
    load_gradient(t);
    back(t, more, this->all_rows());
    store(t);
  }

  void load(int64_t t) {
    load_presynaptic(t, false, z(t));
    if (oja_) {
      std::copy_n(saved_.presynaptic(t, 0), plan_.presynaptic(S), hebbian(t));
    } else if (current_) {
      load_presynaptic(t, true, hebbian(t));
    }
    this->neurons_in(forward_.output, t, h(t));
    if (Layout::kNeuronBlocks && call_.grad_output != nullptr) {
      this->neurons_in(call_.grad_output, t, dh(t));
    }
  }

  // From seen(begin) to seen(end), resets too. A few rows through all steps before the next:
  // between steps they do not leave the first-level cache. Those of a neuron_block do not anyway.
  void recompute(int64_t begin, int64_t end, Rows which) {
    const int64_t steps = Layout::kNeuronBlocks ? 1 : end - begin;
    for (int64_t t = begin; t < end; t += steps) {
      for (int64_t i = which.begin; i < which.end; i += kRows) recompute_rows(t, t + steps, i);
    }
  }

  void enter(int64_t end, Rows which) {
    if (kPost && end == plan_.steps) through_last_norm(which);
    sweep<false, true>(end, which);
  }

  void back(int64_t t, bool more, Rows which) {
    through_activation(t, which);
    if (more && !oja_ && !this->any_reset(t)) {
      sweep<true, true>(t, which);
    } else {
      sweep<true, false>(t, which);
      if (oja_) prediction_->add_gradient(this->d_matrix(0));
      for (int s = 0; s < S; ++s) {
        if (!is_reset(t, s)) continue;
        this->clear_sample(this->d_matrix(0) + this->row_of(which.begin), which.end - which.begin,
                           s);
        if (plastic_bias_) plastic_bias_->forget(s, which.begin * S, which.end * S);
      }
      if (more) sweep<false, true>(t, which);
    }
  }

  void leave(Rows which) { gradients_.add_up_lanes(which); }

  // The gradient of z[t] is complete: that of x[t], and what h[t-1] gets of it.
  void store(int64_t t) {
    if (call_.grad_x != nullptr) {
      this->presynaptic_to_rows(dz(t), 0, inputs_, call_.grad_x + this->place(t, 0, inputs_), inputs_);
    }
    if constexpr (Layout::kNeuronBlocks) {
      clear_dz(t);
      return;
    }
    if (!recurrent_) {
      std::fill_n(dh_, plan_.neurons(S), T(0));
      return;
    }
    this->presynaptic_to_neurons(dz_, inputs_, dh_);
    for (int s = 0; s < S; ++s) {
      for (int64_t i = 0; i < plan_.hidden && is_reset(t, s); ++i) dh_[i * S + s] = T(0);
    }
  }

 private:
  // F, or its gradient.
  template <typename U>
  typename Loop::template Callers<U> callers(U* F) const {
    const auto& v = forward_.variant;
    return {F, plastic_fan_in(forward_.extent, v), first_plastic_input(forward_.extent, v)};
  }
  // In neuron_blocks the gradients of z and h are those of all steps of an interval, else of one.
  static int64_t slots(const Plan& plan) { return Layout::kNeuronBlocks ? plan.interval : 1; }
  int64_t slot(int64_t t) const { return Layout::kNeuronBlocks ? this->within(t) : 0; }
  T* dz(int64_t t) const { return dz_ + slot(t) * plan_.presynaptic(S); }
  T* dh(int64_t t) const { return dh_ + slot(t) * plan_.neurons(S); }
  void clear_dz(int64_t t) const {
    if (first_dz_ < inputs_) std::fill_n(dz(t), plan_.presynaptic(S), T(0));
  }
  // Of the update's presynaptic term.
  T* d_hebbian(int64_t t) const { return Layout::kNeuronBlocks ? dz(t) : d_hebbian_; }

  // Of the F that step t sees: what it is multiplied with before it decays.
  const T* scale(int64_t t, int64_t i) const {
    if (kPost) return saved_.neurons(t, kSavedScale, i);
    return kPre ? saved_.neurons(t, kSavedInverseNorm, i) : ones_ + i * S;
  }
  // Activity of the interval's steps: what drives a step, the presynaptic term
  // of its update, and h.
  T* z(int64_t t) const { return z_ + this->within(t) * plan_.presynaptic(S); }
  T* hebbian(int64_t t) const {
    return current_ || oja_ ? hebbian_ + this->within(t) * plan_.presynaptic(S) : z(t);
  }
  T* h(int64_t t) const { return h_ + this->within(t) * plan_.neurons(S); }

  // z of step t; its recurrent part is h[t] (current) or h[t-1], zero after a reset.
  void load_presynaptic(int64_t t, bool current, T* z) const {
    this->rows_to_presynaptic(forward_.x + this->place(t, 0, inputs_), inputs_, inputs_, 0, z);
    if (!recurrent_) return;
    if (current) {
      this->rows_to_presynaptic(forward_.output + this->place(t, 0, plan_.hidden), plan_.hidden,
                            plan_.hidden, inputs_, z);
    } else {
      this->activity_before(forward_.initial_h, forward_.output, t, inputs_, z);
    }
  }

  HWY_INLINE void recompute_rows(int64_t begin, int64_t end, int64_t i) {
    const StpnRecompute<Layout, kNorm, kClamp> recompute(this->layout_, parameters_.row(kLambda, i),
                                                   parameters_.row(kGamma, i), just_outside_);
    // Of a step, and how far it is to the next one's.
    const T* hebbian = this->hebbian(begin);
    const T* neurons = this->h(begin) + i * S;
    const T* scales = this->scale(begin, i);
    T* before = this->seen_rows(begin, i);
    const int64_t matrix = this->seen_rows(begin + 1, i) - before;
    for (int64_t t = begin; t < end; ++t) {
      T* const after = before + matrix;
      // Of the step before, in replay, F may lie just outside; of no other.
      const T inside = t == this->begin_ ? std::numeric_limits<T>::infinity() : bound_;
      recompute.step(hebbian, neurons, scales, inside, before, after);
      if (t + 1 < plan_.steps && this->any_reset(t + 1)) {
        for (int s = 0; s < S; ++s) {
          if (is_reset(t + 1, s)) this->clear_sample(after, kRows, s);
        }
      }
      before = after;
      hebbian += plan_.presynaptic(S);
      neurons += plan_.neurons(S);
      if constexpr (kScaled) scales += saved_.step();
    }
  }

  // What h[t] and z[t] get of all but step t's rows, where it is not in neuron_blocks.
  void load_gradient(int64_t t) {
    if (oja_) back_through_prediction(t);
    if (call_.grad_output != nullptr) {
      this->neurons_in(call_.grad_output, t, from_update_);
      add_neurons(from_update_);
    }
    if (current_) {
      this->presynaptic_to_neurons(d_hebbian_, inputs_, from_update_);
      add_neurons(from_update_);
      for (int s = 0; s < S; ++s) this->clear_presynaptic(s, plan_.hidden, inputs_, d_hebbian_);
    }
    std::swap(dz_, d_hebbian_);  // what the update of step t gave to z[t], to add to
    std::fill_n(d_hebbian_, plan_.presynaptic(S), T(0));
  }

  // What h and the norm get of Oja's rule; F gets its part when it has gone back through the drive.
  void back_through_prediction(int64_t t) {
    const D d;
    const T* HWY_RESTRICT scales = scale(t, 0);
    prediction_->set_activity(h(t), scales);
    prediction_->back(d_hebbian_, this->seen(t), from_update_);
    for (int64_t k = 0; k < plan_.neurons(S); k += hn::Lanes(d)) {
      const V along = hn::Neg(hn::Load(d, from_update_ + k));
      add_to(d, hn::Mul(along, hn::LoadU(d, scales + k)), along_h_ + k);
      if constexpr (kScaled) add_to(d, hn::Mul(along, hn::Load(d, h(t) + k)), along_norm_ + k);
    }
  }

  void add_neurons(const T* HWY_RESTRICT neurons) {
    for (int64_t k = 0; k < plan_.neurons(S); ++k) dh_[k] += neurons[k];
  }

  // From the gradient of h[t] to those of u[t], n[t] and, with norm `post`, m[t-1], for many units
  // at once.
  void through_activation(int64_t t, Rows which) {
    const D d;
    const int64_t begin = which.begin * S;
    const int64_t end = Layout::kNeuronBlocks ? which.end * S : plan_.neurons(S);
    const auto saved = [&](int64_t value, int64_t k) HWY_ATTR {
      return hn::LoadU(d, saved_.neurons(t, value, which.begin) + (k - begin));
    };
    Activation activation = forward_.variant.activation;
    const auto du_of = [&](int64_t k) HWY_ATTR {
      const V dh = hn::Add(hn::Load(d, this->dh(t) + k), hn::Load(d, along_h_ + k));
      return hn::Mul(dh, activation_slope(d, activation, hn::Load(d, h(t) + k)));
    };
    for (int64_t k = begin; k < end && plastic_bias_; k += hn::Lanes(d)) {
      const V beta = saved(saved_plastic_bias(forward_.variant), k);
      add_to(d, plastic_bias_->back(k, beta, hn::Load(d, h(t) + k)), along_h_ + k);
    }
    if (layer_norm_) {
      for (int64_t k = begin; k < end; k += hn::Lanes(d)) {
        hn::Store(du_of(k), d, this->dh(t) + k);
        hn::Store(hn::Zero(d), d, along_h_ + k);
      }
      layer_norm_->back(saved_.neurons(t, saved_layer_norm(forward_.variant)), saved_.samples(t, 0),
                        this->dh(t));
      activation = Activation::identity;
    }
    for (int64_t k = begin; k < end && plastic_bias_; k += hn::Lanes(d)) {
      plastic_bias_->add_preactivation(k, du_of(k));
    }
    for (int64_t k = begin; k < end; k += hn::Lanes(d)) {
      const V du = du_of(k);
      add_to(d, du, d_bias_ + k);
      if constexpr (!kNormed) {
        hn::Store(du, d, per_z_ + k);
        continue;
      }
      const V inverse = saved(kSavedInverseNorm, k);
      const V per_z = hn::Mul(du, inverse);
      V dn = hn::Mul(per_z, saved(kSavedPreactivation, k));
      if constexpr (kPre) {
        dn = hn::MulAdd(hn::Load(d, along_norm_ + k), hn::Mul(inverse, inverse), dn);
      }
      V per_G = or_zero(d, inverse, hn::Neg(hn::Mul(dn, inverse)));
      hn::Store(per_z, d, per_z_ + k);
      V share = per_G;
      if constexpr (kPost) {
        const V scale = saved(kSavedScale, k);
        const V along_C =
            hn::MulAdd(per_G, saved(kSavedCG, k),
                       hn::MulAdd(per_z, saved(kSavedCz, k), hn::Load(d, along_norm_ + k)));
        const V cubed = hn::Mul(hn::Mul(scale, scale), scale);
        // The initial F was not divided.
        const V m = t == 0 ? hn::Zero(d) : or_zero(d, scale, hn::Mul(cubed, along_C));
        share = hn::Sub(per_G, m);
        per_G = hn::MulSub(scale, per_G, m);
        hn::Store(hn::Mul(scale, per_z), d, d_new_per_z_ + k);
        hn::Store(hn::MulSub(m, scale, m), d, per_C_ + k);
      }
      hn::Store(per_G, d, per_G_ + k);
      add_to(d, share, share_of_W_ + k);
    }
  }

  // Where a norm is zero its gradient is taken as zero; its inverse is larger than this.
  static constexpr double kNoNorm = 0.5 / kNormEpsilon;
  static HWY_INLINE V or_zero(D d, V inverse, V value) {
    return hn::IfThenElseZero(hn::Lt(inverse, hn::Set(d, static_cast<T>(kNoNorm))), value);
  }

  void add_normalised_share(int64_t i, T share) {
    const T* HWY_RESTRICT W = parameters_.row(kWeight, i);
    T* HWY_RESTRICT sum = gradients_.row(kWeight, i);
    for (int64_t j = 0; j < plan_.fan_in; ++j) sum[j] += share * W[j];
  }

  template <bool kBack, bool kInto>
  Sweep sweep_from(int64_t t, int64_t i) const {
    const int64_t k = i * S;
    const auto sums = [&](StpnMatrix which) { return gradients_.template rows<Layout>(which, i); };
    return {.layout = layout_,
            .first_dz = first_dz_,
            .bound = bound_,
            .W = parameters_.row(kWeight, i),
            .lambda = parameters_.row(kLambda, i),
            .gamma = parameters_.row(kGamma, i),
            .sum_weight = sums(kWeight),
            .sum_lambda = sums(kLambda),
            .sum_gamma = sums(kGamma),
            .parameters = plan_.row,
            .sums = gradients_.template row_size<Layout>(),
            .matrix = this->row_of(1),
            .F = this->seen_rows(t, i),
            .scale = kBack ? scale(t, i) : nullptr,
            .z = kBack ? z(t) : nullptr,
            .before = kInto ? this->seen_rows(t - 1, i) : nullptr,
            .scale_before = kInto ? scale(t - 1, i) : nullptr,
            .hebbian = kInto ? hebbian(t - 1) : nullptr,
            .h = kInto ? h(t - 1) + k : nullptr,
            .dF = this->d_matrix(0) + this->row_of(i),
            .dz = dz(t),
            .d_hebbian = d_hebbian(t - 1),
            .per_z = per_z_ + k,
            .per_G = per_G_ + k,
            .d_new_per_z = d_new_per_z_ + k,
            .per_C = per_C_ + k,
            .along_h = along_h_ + k,
            .along_norm = along_norm_ + k};
  }

  // back(t) if kBack, then into(t-1) if kInto, for all rows.
  template <bool kBack, bool kInto>
  void sweep(int64_t t, Rows which) {
    const Sweep at = sweep_from<kBack, kInto>(t, which.begin);
    at.template run<kBack, kInto>(which.end - which.begin, upwards_);
    upwards_ = !upwards_;
  }

  // Norm `post` of the last step: from the gradient of the final F to that of its C.
  void through_last_norm(Rows which) {
    for (int64_t i = which.begin; i < std::min(which.end, plan_.hidden); ++i) {
      const T* W = parameters_.row(kWeight, i);
      T* sum = gradients_.row(kWeight, i);
      for (int s = 0; s < S; ++s) {
        const T* C = this->seen_rows(plan_.steps, i) + layout_.value(s, 0);
        T* dF = this->d_matrix(0) + this->row_of(i) + layout_.value(s, 0);
        const int64_t stride = layout_.value(0, 1);
        T squares = 0, along_C = 0;
        for (int64_t j = 0; j < plan_.fan_in; ++j) {
          const T G = W[j] + C[j * stride];
          squares += G * G;
          along_C += dF[j * stride] * C[j * stride];
        }
        const T scale = 1 / (std::sqrt(squares) + static_cast<T>(kNormEpsilon));
        const T m = scale < static_cast<T>(kNoNorm) ? along_C * scale * scale * scale : T(0);
        for (int64_t j = 0; j < plan_.fan_in; ++j) {
          const T of_G = -m * (W[j] + C[j * stride]);
          sum[j] += of_G;
          dF[j * stride] = dF[j * stride] * scale + of_G;
        }
      }
    }
  }

  const StpnBackwardParams<T>& call_;
  const StpnForwardParams<T>& forward_;
  const PaddedMatrices<T>& parameters_;
  const Gradients<T>& gradients_;
  const int64_t inputs_;
  const bool recurrent_;
  const bool current_;  // h[t] in the Hebbian term
  const bool oja_;
  const int64_t first_dz_;  // sources before this one need no gradient
  T* const z_;              // of the interval: activity that drives, (steps, S, row)
  T* const hebbian_;        // of the interval: activity that teaches, where it is another
  T* const h_;              // of the interval: (steps, units)
  T* dz_;                   // gradient of z[t]
  T* d_hebbian_;            // gradient of hebbian_
  T* const dh_;             // gradient of h, but for along_h_
  T* const along_h_;        // the update's part of the gradient of h
  T* const along_norm_;     // sum of Lambda dA F, of the F that the update found
  T* const per_z_;          // du / n
  T* const per_G_;          // what dF gets of G, and d_weight of F
  T* const d_bias_;
  T* const share_of_W_;   // what d_weight gets of W
  T* const d_new_per_z_;  // what dF gets of z
  T* const per_C_;        // what dF gets of C besides; norm `post` only
  T* const from_update_;  // what h gets of the update as a presynaptic activity, and of the caller
  T* const ones_;
  const T bound_;
  // What replay clamps to, so that F itself tells what the clamp cut from what was as large.
  const T just_outside_;
  std::optional<StpnPlasticBias<Layout>> plastic_bias_;
  std::optional<StpnLayerNorm<Layout>> layer_norm_;
  std::optional<StpnPrediction<Layout>> prediction_;
  bool upwards_ = true;  // the next sweep, as in forward
};

}  // namespace HWY_NAMESPACE
}  // namespace stpn::kernels
HWY_AFTER_NAMESPACE();

#endif
