// The forward pass of the STPN over a group of samples. Compiled once for each SIMD target.

#if defined(STPN_KERNELS_STPN_CPU_FORWARD_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef STPN_KERNELS_STPN_CPU_FORWARD_INL_H_
#undef STPN_KERNELS_STPN_CPU_FORWARD_INL_H_
#else
#define STPN_KERNELS_STPN_CPU_FORWARD_INL_H_
#endif

#include <hwy/highway.h>

#include <algorithm>
#include <numeric>
#include <optional>

#include "stpn/kernels/cpu/neuron_blocks-inl.h"
#include "stpn/kernels/cpu/row_halves/row_halves.h"
#include "stpn/kernels/stpn/cpu_forward_sweep-inl.h"
#include "stpn/kernels/stpn/cpu_layer_norm-inl.h"
#include "stpn/kernels/stpn/cpu_layout.h"
#include "stpn/kernels/stpn/cpu_plastic_bias-inl.h"
#include "stpn/kernels/stpn/gates/cpu_gates-inl.h"
#include "stpn/kernels/stpn/rules/cpu_delta-inl.h"
#include "stpn/kernels/stpn/rules/cpu_oja-inl.h"

HWY_BEFORE_NAMESPACE();
namespace stpn::kernels {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// Each time step sweeps over F once. The update of step t - 1 has to wait for all of h[t - 1], so
// it is made at step t, in the same sweep that takes the sums G z and |G|^2 of step t row by row.
//
// Norm `post` divides the new F by m = |W + C|, where C is the clamped F before that division. No
// sweep over F does the division: the matrix in memory is C, and 1/m is a neuron value (`scale_`).
// All that a step needs of F = C / m follows from sums over C:
//   m^2 = |W|^2 + 2 W.C + |C|^2;   n^2 = |W|^2 + (2 W.C + |C|^2 / m) / m;   G z = W z + C z / m
// Where C all but cancels W, m lacks the digits that the two share.
template <class Layout, Norm kNorm, bool kClamp>
class StpnForward : public ForwardLoop<StpnForward<Layout, kNorm, kClamp>, Layout> {
  using Loop = ForwardLoop<StpnForward, Layout>;
  using Loop::kRows;
  using Loop::kTileVectors;
  using Loop::layout_;
  using Loop::plan_;
  using Loop::S;
  using Loop::saved_;
  using typename Loop::D;
  using typename Loop::Plan;
  using typename Loop::T;
  using typename Loop::V;
  static constexpr bool kNormed = kNorm != Norm::none;
  static constexpr bool kPost = kNorm == Norm::post;
  static constexpr bool kScaled = kIsScaled<kNorm>;

 public:
  static int64_t scratch(const Plan& plan) {
    return plan.presynaptic(S) + (kPost ? 8 : 4) * plan.neurons(S);
  }
  static int64_t activity(const Plan& plan) {
    return slots(plan) * (plan.presynaptic(S) + plan.neurons(S));
  }

  StpnForward(const Plan& plan, int64_t first, T* saved, Scratch<T>& scratch,
              const StpnForwardParams<T>& call, const StpnParameters<T>& parameters,
              const RowPart<T>& part = {})
      : Loop(plan, first, saved, call, scratch),
        call_(call),
        part_(part),
        parameters_(parameters.matrices),
        plastic_(call.extent, call.variant),
        slots_(slots(plan)),
        z_(Loop::take_activity(scratch, slots_ * plan.presynaptic(S))),
        h_(Loop::take_activity(scratch, slots_ * plan.neurons(S))),
        z_squared_(scratch.take(plan.presynaptic(S))),
        inverse_norm_(scratch.take(plan.neurons(S))),
        scale_(kPost ? scratch.take(plan.neurons(S)) : inverse_norm_),
        Gz_(scratch.take(plan.neurons(S))),
        squares_(scratch.take(plan.neurons(S))),
        bias_(scratch.take(plan.neurons(S))),
        Wz_(kPost ? scratch.take(plan.neurons(S)) : Gz_),
        WC_(kPost ? scratch.take(plan.neurons(S)) : Gz_),
        W_squares_(kPost ? scratch.take(plan.neurons(S)) : Gz_) {
    this->rows_ = part.rows(this->rows_);
    const auto& v = call.variant;
    if (v.plastic_bias) plastic_bias_.emplace(plan, call);
    if (v.layer_norm) layer_norm_.emplace(plan, call);
    if (v.rule == Rule::oja) prediction_.emplace(plan);
    if (has_any_gate(v)) gates_.emplace(plan, call, parameters);
    if (v.rule == Rule::delta) written_.emplace(plan, v);
    if (v.decay_gate) scale_ = gates_->scale();
  }

  void begin() {
    this->copy_in({call_.initial_F, plastic_.end - plastic_.begin, plastic_.begin},
                  this->matrix(0));
    if (call_.variant.recurrent) this->neurons_in(call_.initial_h, 0, h(-1));
    if (plastic_bias_) this->neurons_in(call_.initial_beta, 0, plastic_bias_->values());
    if (call_.bias != nullptr) repeat_for_samples<S>(call_.bias, plan_.hidden, bias_);
    for (int64_t i = 0; i < plan_.hidden && kPost; ++i) {
      const T* W = parameters_.row(kWeight, i);
      std::fill_n(W_squares_ + i * S, S, std::inner_product(W, W + plan_.fan_in, W, T(0)));
    }
  }

  void apply_pending_update(int64_t t) { sweep<true, false>(t, this->rows_); }
  // All but the matrix; the padding too, where an update gate would keep a NaN.
  void forget(int s) {
    T* HWY_RESTRICT h = this->h(next_ - 1);
    for (int64_t k = s; k < plan_.neurons(S); k += S) h[k] = T(0);
    if (plastic_bias_) plastic_bias_->forget(s, 0, plan_.neurons(S));
  }

  void forward(int64_t t) {
    this->prefetch(call_.x, t + 1, call_.extent.inputs);
    this->prefetch(call_.output, t + 1, plan_.hidden);
    load(t);
    if constexpr (!Layout::kNeuronBlocks) {
      if (gates_) gates_->forward(z(t));
      if (written_) written_->begin(z(t));
    }
    forward(t, this->rows_);
    if (part_.is_half()) exchange_activity(t);
    store(t);
  }

  // z[t] = [x[t]; h[t-1]]
  void load(int64_t t) {
    const int64_t inputs = call_.extent.inputs;
    if constexpr (Layout::kNeuronBlocks) this->prefetch(call_.x, t + 1, inputs);
    this->rows_to_presynaptic(call_.x + this->place(t, 0, inputs), inputs, inputs, 0, z(t));
    if (call_.variant.recurrent) this->neurons_to_presynaptic(h(t - 1), inputs, z(t));
  }

  void forward(int64_t t, Rows which) {
    if constexpr (Layout::kNeuronBlocks) this->prefetch_saved(t + kStepsAhead, which.begin);
    if (this->is_update_pending(t)) {
      sweep<true, true>(t, which);
    } else {
      sweep<false, true>(t, which);
    }
    if constexpr (!Layout::kNeuronBlocks) {
      if (!this->all_finite(Gz_, plan_.neurons(S))) sum_again(t);
      activate_neurons(t, which.begin * S, this->end_of_neurons(which), h(t));
    }
    if (call_.energy != nullptr) measure(t, which);
  }

  // The other half of h[t] comes from where its thread has written it.
  void exchange_activity(int64_t t) {
    this->neurons_out(h(t), t, this->rows_, call_.output);
    part_.halves->meet(part_.half());
    const Rows other = part_.halves->rows(1 - part_.half());
    const T* from = call_.output + this->place(t, 0, plan_.hidden);
    std::copy(from + other.begin, from + std::min(other.end, plan_.hidden), h(t) + other.begin);
  }

  // The sums of step t, without what the update wrote where there are no fast weights.
  void sum_again(int64_t t) {
    this->clear_outside(this->matrix(0), plan_.rows(S), plastic_.begin, plastic_.end);
    sweep<false, true>(t, this->rows_);
  }

  // From here on z(t) is the presynaptic term of the update of step t.
  void store(int64_t t) {
    if constexpr (Layout::kNeuronBlocks) this->prefetch(call_.output, t + 1, plan_.hidden);
    if (!part_.is_half()) this->neurons_out(h(t), t, call_.output);
    if (has_current_activity(call_.variant)) {
      this->neurons_to_presynaptic(h(t), call_.extent.inputs, z(t));
    }
    if (!plastic_.are_all) this->clear_outside(z(t), 1, plastic_.begin, plastic_.end);
    if (prediction_) subtract_prediction(t);
    next_ = t + 1;
  }

  // Oja's rule: the presynaptic term is z minus its prediction.
  void subtract_prediction(int64_t t) {
    prediction_->set_activity(h(t), kScaled ? scale_ : nullptr);
    prediction_->subtract(this->matrix(0), z(t));
    // Only this product writes the padding of z, where a NaN would outlive a reset.
    for (int s = 0; s < S; ++s) {
      this->clear_presynaptic(s, layout_.width - plan_.fan_in, plan_.fan_in, z(t));
    }
    if (saved_) std::copy_n(z(t), plan_.presynaptic(S), saved_.presynaptic(t, 0));
  }

  void end() {
    apply_pending_update(plan_.steps);
    if constexpr (kPost) divide_by_norm();
    this->copy_out(this->matrix(0), {call_.final_F, plastic_.end - plastic_.begin, plastic_.begin});
    if (plastic_bias_ && call_.final_beta != nullptr) {
      this->neurons_out(plastic_bias_->values(), 0, call_.final_beta);
    }
  }

 private:
  // z and h of the last steps, in a ring of slots: those of a time interval and of the step before
  // it with neuron blocks, otherwise of two steps.
  static int64_t slots(const Plan& plan) { return Layout::kNeuronBlocks ? plan.interval + 1 : 2; }
  int64_t slot(int64_t t) const { return (t + 1) % (Layout::kNeuronBlocks ? slots_ : 2); }
  T* z(int64_t t) const { return z_ + slot(t) * plan_.presynaptic(S); }
  T* h(int64_t t) const { return h_ + slot(t) * plan_.neurons(S); }

  // What the update of step t multiplies its presynaptic term by.
  const T* growth(int64_t t) const {
    if constexpr (!Layout::kNeuronBlocks) {
      if (has_growth(call_.variant)) return gates_->growth();
    }
    return h(t);
  }

  template <bool kUpdate, bool kSum>
  auto sweep_from(int64_t t, int64_t i) const {
    const int64_t k = i * S;
    return StpnForwardSweep<Layout, kNorm, kClamp, kUpdate, kSum>{
        .W = parameters_.row(kWeight, i),
        .lambda = parameters_.row(kLambda, i),
        .gamma = parameters_.row(kGamma, i),
        .parameter_row = plan_.row,
        .matrix_row = this->row_of(1),
        .F = this->matrix(0) + this->row_of(i),
        .bound = static_cast<T>(call_.variant.clamp),
        .z = z(t),
        .hebbian = z(t - 1),
        .h = growth(t - 1) + k,
        .scale = scale_ + k,
        .Gz = Gz_ + k,
        .squares = squares_ + k,
        .Wz = Wz_ + k,
        .WC = WC_ + k};
  }

  // Down the rows at one step and up at the next, so that each sweep begins with the rows that the
  // last one left in the cache.
  template <bool kUpdate, bool kSum>
  void sweep(int64_t t, Rows which) {
    const auto pass = sweep_from<kUpdate, kSum>(t, which.begin);
    const int64_t count = which.end - which.begin;
    for (int64_t done = 0; done < count; done += kRows) {
      const int64_t i = t % 2 != 0 ? count - kRows - done : done;
      sweep_tile(pass, layout_, i);
      if constexpr (Layout::kNeuronBlocks && kSum) {
        activate_neurons(t, (which.begin + i) * S, (which.begin + i + kRows) * S, h(t));
      }
    }
  }

  static HWY_INLINE V inverse_root(D d, V square) {
    const V norm =
        hn::Add(hn::Sqrt(at_least(hn::Zero(d), square)), hn::Set(d, static_cast<T>(kNormEpsilon)));
    return hn::Div(hn::Set(d, T(1)), norm);
  }
  // Norm `post`: 1/m of the C that step t finds; the initial F is not divided.
  HWY_INLINE V post_scale(D d, int64_t t, int64_t k) const {
    if (t == 0) return hn::Set(d, T(1));
    const V WC = hn::Load(d, WC_ + k);
    const V W_squares = hn::Load(d, W_squares_ + k);
    return inverse_root(d, hn::Add(hn::Add(W_squares, hn::Add(WC, WC)), hn::Load(d, squares_ + k)));
  }

  // h = act(G z / n + b) for the neuron values [begin, end), from the sums of the sweep; saves what
  // backward needs.
  HWY_INLINE void activate_neurons(int64_t t, int64_t begin, int64_t end, T* HWY_RESTRICT h) {
    const D d;
    const bool is_unfinished = plastic_bias_ || layer_norm_ || (!Layout::kNeuronBlocks && gates_);
    const Activation activation = is_unfinished ? Activation::identity : call_.variant.activation;
    const auto save = [&](StpnSaved which, int64_t k, V value)
                          HWY_ATTR { this->save_neurons(t, which, begin, k, value); };
    for (int64_t k = begin; k < end; k += hn::Lanes(d)) {
      V preactivation = hn::Load(d, Gz_ + k);
      if constexpr (kNormed) {
        V square = hn::Load(d, squares_ + k);
        if constexpr (kPost) {
          const V scale = post_scale(d, t, k);
          const V WC = hn::Load(d, WC_ + k);
          const V CG = hn::MulAdd(scale, square, WC);
          save(kSavedScale, k, scale);
          save(kSavedCz, k, preactivation);
          save(kSavedCG, k, CG);
          hn::Store(scale, d, scale_ + k);
          square = hn::MulAdd(scale, hn::Add(WC, CG), hn::Load(d, W_squares_ + k));
          preactivation = hn::MulAdd(scale, preactivation, hn::Load(d, Wz_ + k));
        }
        const V inverse = inverse_root(d, square);
        preactivation = hn::Mul(preactivation, inverse);
        hn::Store(inverse, d, inverse_norm_ + k);
        save(kSavedInverseNorm, k, inverse);
      }
      save(kSavedPreactivation, k, preactivation);
      const V u = hn::Add(preactivation, hn::Load(d, bias_ + k));
      hn::Store(activate(d, activation, u), d, h + k);
    }
    if (is_unfinished) finish_preactivation(t, begin, end, h);
  }

  // Saves neuron values from index k on, of those from `begin` on that are activated together.
  HWY_INLINE void save_neurons(int64_t t, int64_t which, int64_t begin, int64_t k, V value) const {
    if (!saved_) return;
    T* const to = saved_.neurons(t, which, begin / S) + (k - begin);
    // In neuron blocks, what a block saves has been fetched ahead.
    if (!Layout::kNeuronBlocks && this->streams_saved()) {
      hn::Stream(value, D(), to);
    } else {
      hn::StoreU(value, D(), to);
    }
  }

  // From G z / n + b to h, with a plastic bias, a layer norm, gates or several of these. Not
  // inlined, as that would slow down the units that have none.
  HWY_NOINLINE void finish_preactivation(int64_t t, int64_t begin, int64_t end, T* HWY_RESTRICT h) {
    const D d;
    for (int64_t k = begin; k < end && plastic_bias_; k += hn::Lanes(d)) {
      const V beta = plastic_bias_->at(k);
      add_to(d, beta, h + k);
      save_neurons(t, saved_plastic_bias(call_.variant), begin, k, beta);
    }
    if (layer_norm_) {
      layer_norm_->forward(h, saved_ ? saved_.neurons(t, saved_layer_norm(call_.variant)) : nullptr,
                           saved_ ? saved_.samples(t, 0) : nullptr);
    }
    for (int64_t k = begin; k < end; k += hn::Lanes(d)) {
      V activity = activate(d, call_.variant.activation, hn::Load(d, h + k));
      if constexpr (!Layout::kNeuronBlocks) {
        if (gates_) activity = gated(t, k, activity);
      }
      hn::Store(activity, d, h + k);
      if (plastic_bias_) plastic_bias_->update(k, activity);
    }
  }

  // From act(u) to h, and what the gates make of the update that follows.
  HWY_INLINE V gated(int64_t t, int64_t k, V candidate) {
    const D d;
    const StpnVariant& v = call_.variant;
    const auto gate = [&](StpnGate which) HWY_ATTR { return hn::Load(d, gates_->gate(which) + k); };
    V activity = candidate;
    if (v.update_gate) {
      const V keep = gate(kUpdateGate);
      const V change = hn::Mul(hn::Sub(hn::Set(d, T(1)), keep), candidate);
      activity = hn::MulAdd(keep, hn::Load(d, h(t - 1) + k), change);
      save_neurons(t, saved_update_gate(v), 0, k, keep);
      save_neurons(t, saved_update_gate(v) + 1, 0, k, candidate);
    }
    V growth = activity;
    if (written_) {
      const V inverse = hn::Load(d, inverse_norm_ + k);
      const auto parts =
          written_->forward(k, hn::Mul(gate(kWrittenValue), inverse),
                            hn::Mul(hn::Load(d, Gz_ + k), inverse), hn::Load(d, bias_ + k));
      growth = parts.growth;
      save_neurons(t, saved_written(v), 0, k, parts.value);
      save_neurons(t, saved_written(v) + 1, 0, k, parts.recalled);
      save_neurons(t, saved_written(v) + 2, 0, k, parts.growth);
    }
    if (v.write_gate) {
      const V write = gate(kWriteGate);
      growth = hn::Mul(write, growth);
      save_neurons(t, saved_write_gate(v), 0, k, write);
    }
    if (has_growth(v)) hn::Store(growth, d, gates_->growth() + k);
    if (v.decay_gate) {
      const V keep = gate(kDecayGate);
      const V scale = hn::Mul(keep, hn::Load(d, inverse_norm_ + k));
      hn::Store(scale, d, scale_ + k);
      save_neurons(t, saved_decay_gate(v), 0, k, keep);
      save_neurons(t, saved_decay_gate(v) + 1, 0, k, scale);
    }
    return activity;
  }

  // Norm `post`, after the last step: from C to F.
  void divide_by_norm() {
    const D d;
    const Layout layout = layout_;
    for (int64_t k = 0; k < plan_.neurons(S); k += hn::Lanes(d)) {
      hn::Store(post_scale(d, plan_.steps, k), d, scale_ + k);
    }
    for (int64_t i = 0; i < plan_.rows(S); i += kRows) {
      T* HWY_RESTRICT F = this->matrix(0) + this->row_of(i);
      for (int64_t j = 0; j < layout.width; j += Layout::kColumns) {
        for (int q = 0; q < kTileVectors; ++q) {
          T* HWY_RESTRICT here = F + layout.synapse(q, j);
          hn::Store(hn::Mul(hn::Load(d, here), layout.neuron(scale_ + i * S, q)), d, here);
        }
      }
    }
  }

  // Energy takes a sweep of its own, as it is seldom asked for.
  void measure(int64_t t, Rows which) {
    const T* HWY_RESTRICT active = z(t);
    for (int64_t j = 0; j < plan_.fan_in; ++j) {
      const T counts = call_.measured == nullptr ? T(1) : call_.measured[j];
      for (int s = 0; s < S; ++s) {
        const T z = active[layout_.value(s, j)];
        z_squared_[layout_.value(s, j)] = counts * z * z;
      }
    }
    const StpnEnergySweep<Layout, kNorm> pass{.W = parameters_.row(kWeight, 0),
                                              .F = this->matrix(0),
                                              .parameter_row = plan_.row,
                                              .matrix_row = this->row_of(1),
                                              .z_squared = z_squared_,
                                              .scale = scale_,
                                              .energy = Gz_};
    for (int64_t i = which.begin; i < which.end; i += kRows) sweep_tile(pass, layout_, i);
    for (int64_t k = which.begin * S; k < which.end * S && kNormed; ++k) {
      Gz_[k] *= inverse_norm_[k];
    }
    this->neurons_out(Gz_, t, which, call_.energy);
  }

  const StpnForwardParams<T>& call_;
  const RowPart<T> part_;
  const PaddedMatrices<T>& parameters_;
  const PlasticColumns plastic_;
  const int64_t slots_;
  // z_ and z_squared_ are presynaptic arrays, all others are arrays of neuron values. z_ and h_
  // have one array for each entry of the ring of time steps (slot()).
  T* const z_;
  T* const h_;
  T* const z_squared_;
  T* const inverse_norm_;  // 1 / n
  // What the update multiplies F (norm `post`: C) by: 1/n (`pre`; times the decay gate) or 1/m
  // (`post`).
  T* scale_;
  T* const Gz_;       // G z; norm `post`: C z. Afterwards, the energy
  T* const squares_;  // |G|^2; norm `post`: |C|^2
  T* const bias_;
  // Norm `post` only: W z, W.C and |W|^2.
  T* const Wz_;
  T* const WC_;
  T* const W_squares_;
  std::optional<StpnPlasticBias<Layout>> plastic_bias_;
  std::optional<StpnLayerNorm<Layout>> layer_norm_;
  std::optional<StpnPrediction<Layout>> prediction_;  // Oja's rule
  std::optional<StpnGates<Layout>> gates_;
  std::optional<StpnWrittenValue<Layout>> written_;  // rule `delta`
  int64_t next_ = 0;                                 // the time step that forward() makes next
};

}  // namespace HWY_NAMESPACE
}  // namespace stpn::kernels
HWY_AFTER_NAMESPACE();

#endif
