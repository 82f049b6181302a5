// The backward pass of the STPN over a group of samples. Compiled once for each SIMD target.
//
// Let A[t] be what the update of step t makes, before its clamp and norm:
//   A[t] = Lambda F[t-1] scale + Gamma h[t] z[t]
// with `scale` 1/n (norm `pre`), 1/m (norm `post`, with C in place of F) or 1. Step t is
// backpropagated in two halves:
//   back(t)   from dA[t] and du[t] through A, the pre-activation and its norm to dF[t-1] and dz[t];
//             with norm `post`, on through the norm of the update of step t - 1
//   update    from there through the clamp of step t - 1 to dA[t-1], and from dA[t-1] to dGamma,
//             dLambda, and the sums over a row that dh[t-1] and the gradient of `scale` need
// Both halves share one sweep over the rows, except with Oja's rule, where dF gets another term
// between the two. F is recomputed from checkpoints with the h and n that forward saved, so that no
// dot product, norm or activation is computed again.
//
// Norm `post`, F = C / m with m = |W + C|:
//   dC = dF / m - kappa (W + C),   dW gets - kappa (W + C),   kappa = (dF . C) / m^3
// This needs no sweep of its own: dF . C is the sum of Lambda dA C, which the update half computes,
// plus terms in C z and C.G, which forward saved; and W + C = G + (1 - scale) C.
//
// Because of the norms, a part of dW is a multiple of W itself. Its coefficient is summed over the
// time steps, one number per neuron and sample (dW_from_W_), and applied at the end.

#if defined(STPN_KERNELS_STPN_CPU_BACKWARD_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef STPN_KERNELS_STPN_CPU_BACKWARD_INL_H_
#undef STPN_KERNELS_STPN_CPU_BACKWARD_INL_H_
#else
#define STPN_KERNELS_STPN_CPU_BACKWARD_INL_H_
#endif

#include <hwy/highway.h>

#include <algorithm>
#include <optional>

#include "stpn/kernels/cpu/neuron_blocks-inl.h"
#include "stpn/kernels/cpu/row_halves/presynaptic_sums-inl.h"
#include "stpn/kernels/stpn/cpu_backward_sweep-inl.h"
#include "stpn/kernels/stpn/cpu_layer_norm-inl.h"
#include "stpn/kernels/stpn/cpu_layout.h"
#include "stpn/kernels/stpn/cpu_plastic_bias-inl.h"
#include "stpn/kernels/stpn/cpu_recompute-inl.h"
#include "stpn/kernels/stpn/energy/cpu_energy_backward-inl.h"
#include "stpn/kernels/stpn/gates/cpu_gates-inl.h"
#include "stpn/kernels/stpn/rules/cpu_delta-inl.h"
#include "stpn/kernels/stpn/rules/cpu_oja-inl.h"

HWY_BEFORE_NAMESPACE();
namespace stpn::kernels {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

template <class Layout, Norm kNorm, bool kClamp>
class StpnBackward
    : public StpnRecomputed<StpnBackward<Layout, kNorm, kClamp>, Layout, kNorm, kClamp> {
  using Base = StpnRecomputed<StpnBackward, Layout, kNorm, kClamp>;
  using Base::bound_;
  using Base::current_;
  using Base::forward_;
  using Base::growth;
  using Base::h;
  using Base::hebbian;
  using Base::inputs_;
  using Base::is_finite;
  using Base::is_finite_;
  using Base::is_reset;
  using Base::kPost;
  using Base::kPre;
  using Base::kRows;
  using Base::kScaled;
  using Base::layout_;
  using Base::oja_;
  using Base::parameters_;
  using Base::plan_;
  using Base::plastic_;
  using Base::plastic_columns;
  using Base::recurrent_;
  using Base::S;
  using Base::saved_;
  using Base::scale;
  using Base::z;
  using typename Base::D;
  using typename Base::Plan;
  using typename Base::T;
  using typename Base::V;
  static constexpr bool kNormed = kNorm != Norm::none;

 public:
  static int64_t scratch(const Plan& plan) {
    return Base::recompute_scratch(plan) + PresynapticSums<T>::scratch(summed(plan)) +
           (slots(plan) + (kPost ? 10 : 8)) * plan.neurons(S);
  }

  // Adds to `gradients` or, those of synapses of row-vectorised groups, to `side_by_side`.
  StpnBackward(const Plan& plan, int64_t first, T* saved, Scratch<T>& scratch,
               const StpnBackwardParams<T>& call, const StpnParameters<T>& parameters,
               const Gradients<T>& gradients, const StpnSideBySide<T>* side_by_side = nullptr,
               const RowPart<T>& part = {})
      : Base(plan, first, saved, scratch, call.forward, parameters),
        call_(call),
        gradients_(gradients),
        side_by_side_(side_by_side),
        part_(part),
        first_dz_(call.grad_x != nullptr || oja_ ? 0 : Layout::vector_of(inputs_)),
        dz_of_steps_(Layout::kNeuronBlocks
                         ? scratch.take_unwritten(plan.interval * plan.presynaptic(S))
                         : nullptr),
        sums_(part, summed(plan), scratch),
        dh_(scratch.take(slots(plan) * plan.neurons(S))),
        dh_from_update_(scratch.take(plan.neurons(S))),
        d_scale_(scratch.take(plan.neurons(S))),
        du_over_n_(scratch.take(plan.neurons(S))),
        dF_from_G_(scratch.take(plan.neurons(S))),
        d_bias_(scratch.take(plan.neurons(S))),
        dW_from_W_(scratch.take(plan.neurons(S))),
        dF_from_z_(kPost ? scratch.take(plan.neurons(S)) : du_over_n_),
        dF_from_C_(kPost ? scratch.take(plan.neurons(S)) : du_over_n_),
        dh_term_(scratch.take(plan.neurons(S))),
        dh_kept_(scratch.take(plan.neurons(S))) {
    this->rows_ = part.rows(this->rows_);
    if (call.forward.variant.plastic_bias) plastic_bias_.emplace(plan, call.forward);
    if (call.forward.variant.layer_norm) layer_norm_.emplace(plan, call.forward);
    if (oja_) prediction_.emplace(plan);
    if (call.grad_energy != nullptr) energy_.emplace(plan);
    const StpnVariant& v = call.forward.variant;
    if (has_any_gate(v)) gates_.emplace(plan, call.forward, parameters);
    if (v.rule == Rule::delta) written_.emplace(plan, v);
  }

  void begin() {
    this->copy_in(plastic_columns(call_.grad_final_F), this->d_matrix(0));
    if (plastic_bias_ && call_.grad_final_beta != nullptr) {
      this->neurons_in(call_.grad_final_beta, 0, plastic_bias_->values());
    }
    for (int64_t t = 0; t < plan_.interval && Layout::kNeuronBlocks; ++t) clear_dz(t);
  }

  void end() {
    this->copy_out(this->d_matrix(0), plastic_columns(call_.grad_initial_F));
    const Rows rows{this->rows_.begin, std::min(this->rows_.end, plan_.hidden)};
    if (call_.grad_initial_h != nullptr) this->neurons_out(dh_, 0, rows, call_.grad_initial_h);
    for (int64_t i = rows.begin; i < rows.end; ++i) {
      gradients_.vector(kBias)[i] += sum_of_samples<S>(d_bias_ + i * S);
      if (kNormed) {
        gradients_.add_multiple(kWeight, i, sum_of_samples<S>(dW_from_W_ + i * S),
                                parameters_.row(kWeight, i));
      }
    }
    if (layer_norm_) layer_norm_->add_to_gradients(gradients_);
    if (!plastic_bias_) return;
    plastic_bias_->add_to_gradients(gradients_);
    if (call_.grad_initial_beta != nullptr) {
      this->neurons_out(plastic_bias_->values(), 0, call_.grad_initial_beta);
    }
  }

  bool has_final_gradient() const { return call_.grad_final_F != nullptr; }
  void enter(int64_t end) {
    sums_.for_each_part(this->rows_, [&](Rows rows) { enter(end, rows); });
  }
  void back(int64_t t, bool more) {
    this->prefetch_before(t, call_.grad_output);
    load_gradient(t);
    sums_.for_each_part(this->rows_, [&](Rows rows) { back(t, more, rows); });
    sums_.add_halves(t, first_dz_);
    store(t);
  }

  void load(int64_t t) {
    if constexpr (Layout::kNeuronBlocks) this->prefetch_after(t, call_.grad_output);
    this->load_step(t);
    if (Layout::kNeuronBlocks && call_.grad_output != nullptr) {
      this->neurons_in(call_.grad_output, t, dh(t));
    }
  }

  void enter(int64_t end, Rows which) {
    if (kPost && end == plan_.steps) backpropagate_last_norm(which);
    sweep<false, true>(end, which);
  }

  void back(int64_t t, bool more, Rows which) {
    if (energy_) sum_energy(t, which);
    backpropagate_activation(t, which);
    const bool finite =
        is_finite_ && is_finite(dF_from_z_) && is_finite(dF_from_G_) &&
        (!energy_ || (is_finite(energy_->c()) && this->are_inputs_finite(energy_->z_squared())));
    if (more && finite && !oja_ && !energy_ && !this->any_reset(t)) {
      sweep<true, true>(t, which);
    } else {
      sweep<true, false>(t, which);
      if (energy_) backpropagate_energy(t, which);
      if (!finite) this->clear_unplastic(this->d_matrix(0), plan_.rows(S));
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

  // Called when the gradient of z[t] is complete: writes that of x[t], and starts that of h[t-1].
  void store(int64_t t) {
    if (call_.grad_x != nullptr && part_.half() == 0) {
      this->presynaptic_to_rows(dz(t), 0, inputs_, call_.grad_x + this->place(t, 0, inputs_),
                                inputs_);
    }
    if constexpr (Layout::kNeuronBlocks) return clear_dz(t);
    if (!recurrent_) {
      std::fill_n(dh_, plan_.neurons(S), T(0));
      return;
    }
    this->presynaptic_to_neurons(dz(t), inputs_, dh_);
    if (forward_.variant.update_gate) add_neurons(dh_kept_);
    for (int s = 0; s < S; ++s) {
      for (int64_t i = 0; i < plan_.hidden && is_reset(t, s); ++i) dh_[i * S + s] = T(0);
    }
  }

 private:
  // The gradients of z and h: with neuron blocks of all steps of an interval, otherwise of one.
  static int64_t slots(const Plan& plan) { return Layout::kNeuronBlocks ? plan.interval : 1; }
  static int64_t summed(const Plan& p) { return Layout::kNeuronBlocks ? 0 : p.presynaptic(S); }
  int64_t slot(int64_t t) const { return Layout::kNeuronBlocks ? this->step_in_interval(t) : 0; }
  T* dz(int64_t t) const {
    if (!Layout::kNeuronBlocks) return sums_.dz();
    return dz_of_steps_ + slot(t) * plan_.presynaptic(S);
  }
  T* dh(int64_t t) const { return dh_ + slot(t) * plan_.neurons(S); }
  void clear_dz(int64_t t) const {
    if (first_dz_ < inputs_) std::fill_n(dz(t), plan_.presynaptic(S), T(0));
  }
  // The gradient of hebbian(t).
  T* d_hebbian(int64_t t) const { return Layout::kNeuronBlocks ? dz(t) : sums_.d_hebbian(); }

  // Computes the gradients of h[t] and z[t], except the terms that the sweep of step t adds. Not
  // called with neuron blocks.
  void load_gradient(int64_t t) {
    // Gradients that the parameters, zero there, would cancel if there were no NaN.
    if (oja_ || !plastic_.are_all) {
      sums_.for_each_part(this->rows_, [&](Rows) {
        this->clear_outside(d_hebbian(t), 1, plastic_.begin, plastic_.end);
      });
    }
    if (oja_) backpropagate_prediction(t);
    if (call_.grad_output != nullptr) {
      this->neurons_in(call_.grad_output, t, dh_term_);
      add_neurons(dh_term_);
    }
    if (current_) {
      this->presynaptic_to_neurons(d_hebbian(t), inputs_, dh_term_);
      add_neurons(dh_term_);
      for (int s = 0; s < S; ++s) this->clear_presynaptic(s, plan_.hidden, inputs_, d_hebbian(t));
    }
    sums_.begin();
  }

  // The sums over the rows that backpropagate_activation(t) needs for the gradients of the norms.
  void sum_energy(int64_t t, Rows which) {
    this->neurons_in(call_.grad_energy, t, energy_->c());
    energy_->begin(z(t), forward_.measured, plan_.fan_in);
    if constexpr (!kNormed) return;
    const StpnEnergySweep<Layout, kNorm, /*kOfC=*/kPost> pass{
        .W = parameters_.row(kWeight, which.begin),
        .F = this->seen_rows(t, which.begin),
        .parameter_row = plan_.row,
        .matrix_row = this->row_of(1),
        .z_squared = energy_->z_squared(),
        .scale = scale(t, which.begin),
        .energy = energy_->of_G() + which.begin * S,
        .of_C = energy_->of_C() + which.begin * S};
    for (int64_t i = 0; i < which.end - which.begin; i += kRows) sweep_tile(pass, layout_, i);
  }

  // Adds the energy's part to the gradients of F (norm `post`: C), W and z.
  void backpropagate_energy(int64_t t, Rows which) {
    for (int64_t i = which.begin; i < which.end; i += kRows) {
      const StpnEnergyBackwardSweep<Layout, kPost> pass{
          .W = parameters_.row(kWeight, i),
          .C = this->seen_rows(t, i),
          .z_squared = energy_->z_squared(),
          .scale = scale(t, i),
          .c = energy_->c() + i * S,
          .dC = this->d_matrix(0) + this->row_of(i),
          .dW = gradients_.template rows<Layout>(kWeight, i),
          .over_rows = energy_->over_rows()};
      sweep_tile(pass, layout_, 0);
    }
    if (recurrent_ || first_dz_ < inputs_) energy_->add_presynaptic_gradient(dz(t));
  }

  // Oja's rule: its part of the gradients of h and `scale`. That of F follows in back().
  void backpropagate_prediction(int64_t t) {
    const D d;
    const T* HWY_RESTRICT scales = scale(t, 0);
    prediction_->set_activity(h(t), scales);
    prediction_->backpropagate(d_hebbian(t), this->seen(t), dh_term_);
    for (int64_t k = 0; k < plan_.neurons(S); k += hn::Lanes(d)) {
      const V df = hn::Neg(hn::Load(d, dh_term_ + k));
      add_to(d, hn::Mul(df, hn::LoadU(d, scales + k)), dh_from_update_ + k);
      if constexpr (kScaled) add_to(d, hn::Mul(df, hn::Load(d, h(t) + k)), d_scale_ + k);
    }
  }

  void add_neurons(const T* HWY_RESTRICT neurons) {
    for (int64_t k = 0; k < plan_.neurons(S); ++k) dh_[k] += neurons[k];
  }

  // From the gradient of h[t] to those of u[t] and n[t] and, with norm `post`, of the m of step
  // t - 1: the coefficients that the sweep of step t multiplies z, G and C by.
  void backpropagate_activation(int64_t t, Rows which) {
    const D d;
    const int64_t begin = which.begin * S;
    const int64_t end = Layout::kNeuronBlocks ? which.end * S : this->end_of_neurons(which);
    const auto saved = [&](int64_t value, int64_t k) HWY_ATTR {
      return hn::LoadU(d, saved_.neurons(t, value, which.begin) + (k - begin));
    };
    Activation activation = forward_.variant.activation;
    const StpnVariant& v = forward_.variant;
    const bool has_gate = !Layout::kNeuronBlocks && v.update_gate;
    const bool has_delta = !Layout::kNeuronBlocks && written_;
    const T* HWY_RESTRICT activity =
        has_gate ? saved_.neurons(t, saved_update_gate(v) + 1, which.begin) - begin : h(t);
    const auto du_of = [&](int64_t k) HWY_ATTR {
      const V dh = hn::Add(hn::Load(d, this->dh(t) + k), hn::Load(d, dh_from_update_ + k));
      return hn::Mul(dh, activation_slope(d, activation, hn::LoadU(d, activity + k)));
    };
    if constexpr (!Layout::kNeuronBlocks) {
      if (gates_) {
        gates_->backpropagate_factors(saved_, t, this->ungated_growth(t), dh_from_update_,
                                      d_scale_);
      }
      if (written_) {
        written_->begin(z(t));
        written_->backward(saved_, t, dh_from_update_, gates_->gate(kWrittenValue), d_bias_);
        written_->add_presynaptic_gradient(z(t), dz(t));
      }
    }
    for (int64_t k = begin; k < end && plastic_bias_; k += hn::Lanes(d)) {
      const V beta = saved(saved_plastic_bias(v), k);
      add_to(d, plastic_bias_->backpropagate(k, beta, hn::Load(d, h(t) + k)), dh_from_update_ + k);
    }
    if constexpr (!Layout::kNeuronBlocks) {
      if (v.update_gate) {
        this->presynaptic_to_neurons(z(t), inputs_, dh_term_);  // h[t-1]
        add_neurons(dh_from_update_);
        std::fill_n(dh_from_update_, plan_.neurons(S), T(0));
        gates_->backpropagate_update(saved_, t, dh_term_, dh_, dh_kept_);
      }
      if (gates_) gates_->backpropagate(z(t), gradients_, dz(t));
    }
    if (layer_norm_) {
      for (int64_t k = begin; k < end; k += hn::Lanes(d)) {
        hn::Store(du_of(k), d, this->dh(t) + k);
        hn::Store(hn::Zero(d), d, dh_from_update_ + k);
      }
      layer_norm_->backpropagate(saved_.neurons(t, saved_layer_norm(forward_.variant)),
                                 saved_.samples(t, 0), this->dh(t));
      activation = Activation::identity;
    }
    for (int64_t k = begin; k < end && plastic_bias_; k += hn::Lanes(d)) {
      plastic_bias_->add_preactivation(k, du_of(k));
    }
    for (int64_t k = begin; k < end; k += hn::Lanes(d)) {
      const V du = du_of(k);
      add_to(d, du, d_bias_ + k);
      if constexpr (!kNormed) {
        hn::Store(du, d, du_over_n_ + k);
        continue;
      }
      const V inverse = saved(kSavedInverseNorm, k);
      const V du_over_n = hn::Mul(du, inverse);
      // u = G z / n, the energy, and with norm `pre` also the `scale` 1/n of the update, depend on
      // n.
      V minus_dn = hn::Mul(du_over_n, saved(kSavedPreactivation, k));
      V dF_dot_C_of_energy = hn::Zero(d);
      if (energy_) {
        const V c = hn::Mul(hn::Load(d, energy_->c() + k), inverse);
        minus_dn = hn::MulAdd(c, hn::Mul(inverse, hn::Load(d, energy_->of_G() + k)), minus_dn);
        dF_dot_C_of_energy = hn::Mul(c, hn::Load(d, energy_->of_C() + k));
        hn::Store(c, d, energy_->c() + k);
      }
      if constexpr (kPre) {
        minus_dn = hn::MulAdd(hn::Load(d, d_scale_ + k), hn::Mul(inverse, inverse), minus_dn);
      }
      if (has_delta) minus_dn = hn::Add(minus_dn, written_->minus_of_norm(k));
      const V dn_over_n = zero_if_no_norm(d, inverse, hn::Neg(hn::Mul(minus_dn, inverse)));
      const V of_Gz = has_delta ? hn::Add(du_over_n, written_->of_recalled(k)) : du_over_n;
      hn::Store(of_Gz, d, du_over_n_ + k);
      V dF_from_G = dn_over_n;
      V dW_from_W = dn_over_n;
      if constexpr (kPost) {
        const V scale = saved(kSavedScale, k);
        const V dF_dot_C =
            hn::MulAdd(dn_over_n, saved(kSavedCG, k),
                       hn::MulAdd(du_over_n, saved(kSavedCz, k),
                                  hn::Add(hn::Load(d, d_scale_ + k), dF_dot_C_of_energy)));
        const V scale_cubed = hn::Mul(hn::Mul(scale, scale), scale);
        // The initial F was not divided by m.
        const V kappa =
            t == 0 ? hn::Zero(d) : zero_if_no_norm(d, scale, hn::Mul(scale_cubed, dF_dot_C));
        dW_from_W = hn::Sub(dn_over_n, kappa);
        dF_from_G = hn::MulSub(scale, dn_over_n, kappa);
        hn::Store(hn::Mul(scale, du_over_n), d, dF_from_z_ + k);
        hn::Store(hn::MulSub(kappa, scale, kappa), d, dF_from_C_ + k);
      }
      hn::Store(dF_from_G, d, dF_from_G_ + k);
      add_to(d, dW_from_W, dW_from_W_ + k);
    }
  }

  template <bool kStep, bool kUpdate>
  auto sweep_from(int64_t t, int64_t i) const {
    const int64_t k = i * S;
    const auto sums = [&](StpnMatrix which) { return gradients_.template rows<Layout>(which, i); };
    return StpnBackwardSweep<Layout, kNorm, kClamp, kStep, kUpdate>{
        .first_dz = first_dz_,
        .bound = bound_,
        .side_by_side = side_by_side_ == nullptr ? nullptr : side_by_side_->row(i),
        .parameters = {parameters_.row(kWeight, i), parameters_.row(kLambda, i),
                       parameters_.row(kGamma, i)},
        .gradients = {sums(kWeight), sums(kLambda), sums(kGamma)},
        .parameter_row = plan_.row,
        .gradient_row = gradients_.template row_size<Layout>(),
        .matrix_row = this->row_of(1),
        .F = this->seen_rows(t, i),
        .scale = kStep ? scale(t, i) : nullptr,
        .z = kStep ? z(t) : nullptr,
        .F_before = kUpdate ? this->seen_rows(t - 1, i) : nullptr,
        .scale_before = kUpdate ? scale(t - 1, i) : nullptr,
        .hebbian = kUpdate ? hebbian(t - 1) : nullptr,
        .h = kUpdate ? growth(t - 1) + k : nullptr,
        .dF = this->d_matrix(0) + this->row_of(i),
        .dz = dz(t),
        .d_hebbian = d_hebbian(t - 1),
        .du_over_n = du_over_n_ + k,
        .dF_from_z = dF_from_z_ + k,
        .dF_from_G = dF_from_G_ + k,
        .dF_from_C = dF_from_C_ + k,
        .dh = dh_from_update_ + k,
        .d_scale = d_scale_ + k};
  }

  // back(t) if kStep, then the update of step t - 1 if kUpdate, for the rows `which`: up and down
  // in turns, so that each sweep begins with the rows that the last one left in the cache.
  template <bool kStep, bool kUpdate>
  void sweep(int64_t t, Rows which) {
    const auto pass = sweep_from<kStep, kUpdate>(t, which.begin);
    const int64_t count = which.end - which.begin;
    const bool upwards = sums_.turn();
    for (int64_t done = 0; done < count; done += kRows) {
      sweep_tile(pass, layout_, upwards ? count - kRows - done : done);
    }
  }

  // Norm `post`, after the last step: from the gradient of the final F to that of its C.
  void backpropagate_last_norm(Rows which) {
    for (int64_t i = which.begin; i < std::min(which.end, plan_.hidden); ++i) {
      backpropagate_division(layout_, parameters_.row(kWeight, i), plan_.fan_in,
                             this->seen_rows(plan_.steps, i), this->d_matrix(0) + this->row_of(i),
                             gradients_.row(kWeight, i));
    }
  }

  const StpnBackwardParams<T>& call_;
  const Gradients<T>& gradients_;
  const StpnSideBySide<T>* const side_by_side_;
  const RowPart<T> part_;
  const int64_t first_dz_;   // presynaptic inputs before this one need no gradient
  T* const dz_of_steps_;     // neuron blocks: presynaptic arrays, the gradients of z
  PresynapticSums<T> sums_;  // otherwise: those of z[t] and of hebbian(t - 1)
  // Neuron values, as all below. F is C with norm `post`; kappa as at the top.
  T* const dh_;              // gradient of h, without dh_from_update_
  T* const dh_from_update_;  // sum over j of Gamma dA z: what the update adds to that of `growth`
  T* const d_scale_;         // sum over j of Lambda dA F: gradient of the update's `scale`
  T* const du_over_n_;  // du / n, rule `delta`: and that of F z. dW gets it times z, dz times G
  T* const dF_from_G_;  // dn / n; `post`: scale dn / n - kappa. dF gets it times G, dW times F
  T* const d_bias_;
  T* const dW_from_W_;  // the sum over steps of dn / n - kappa, which dW gets times W
  T* const dF_from_z_;  // du / n; `post`: scale du / n. dF gets it times z
  T* const dF_from_C_;  // kappa scale - kappa, which dF gets times C; `post` only
  T* const dh_term_;    // a term of dh on its way to dh_
  T* const dh_kept_;    // the update gate times the gradient of h[t]: a term of that of h[t-1]
  std::optional<StpnPlasticBias<Layout>> plastic_bias_;
  std::optional<StpnLayerNorm<Layout>> layer_norm_;
  std::optional<StpnPrediction<Layout>> prediction_;
  std::optional<StpnEnergyBackward<Layout>> energy_;
  std::optional<StpnGates<Layout>> gates_;
  std::optional<StpnWrittenValue<Layout>> written_;
};

}  // namespace HWY_NAMESPACE
}  // namespace stpn::kernels
HWY_AFTER_NAMESPACE();

#endif
