// The backward pass of the STPN over a group of samples whose F does not fit the cache: two time
// steps in one sweep over F and its gradient. Compiled once for each SIMD target.
//
// With the gradient dF' of F[t+1], and du/n and dn/n of step t (dn/n is 0 without a norm):
//   dF = Lambda dF' scale + du/n z + dn/n G
//   dz = sum over rows of du/n G + h Gamma dF'
//   dW += du/n z + dn/n G;  dLambda += dF' F scale;  dGamma += dF' h z
// du/n and dn/n of a step need two sums over the row, of Gamma dF' z and Lambda dF' F. The latter
// follows from that of dF' F[t+1], as F[t+1] = Lambda F scale + Gamma h z; so the sweep before,
// which has F[t+1], takes both. It also takes one from which the sums of step t - 1 follow, as dF
// is affine in du/n and dn/n: sums that have no dF' in them are those that forward took and saved
// (StpnPairSum). Only the recurrent columns of dz[t] come in between, in a sweep of their own over
// these few columns; they are a part of dh[t-1]. Then one sweep goes through both steps.
//
// The sweep through the last steps of an interval recomputes the F that its pairs and single steps
// begin with; the recurrent columns come before. Steps go one by one where forward says so.

#if defined(STPN_KERNELS_STPN_TWO_STEPS_CPU_BACKWARD_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef STPN_KERNELS_STPN_TWO_STEPS_CPU_BACKWARD_INL_H_
#undef STPN_KERNELS_STPN_TWO_STEPS_CPU_BACKWARD_INL_H_
#else
#define STPN_KERNELS_STPN_TWO_STEPS_CPU_BACKWARD_INL_H_
#endif

#include <hwy/highway.h>

#include <algorithm>
#include <type_traits>

#include "stpn/kernels/cpu/gradient_sums-inl.h"
#include "stpn/kernels/cpu/group_loop-inl.h"
#include "stpn/kernels/stpn/cpu_backward_sweep-inl.h"
#include "stpn/kernels/stpn/cpu_layout.h"
#include "stpn/kernels/stpn/two_steps/cpu_group-inl.h"
#include "stpn/kernels/stpn/two_steps/cpu_row_loops-inl.h"

HWY_BEFORE_NAMESPACE();
namespace stpn::kernels {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

template <class Layout, Norm kNorm>
class StpnTwoStepBackward : public TwoStepGroup<Layout> {
  using Base = TwoStepGroup<Layout>;
  using Base::in;
  using Base::inputs_;
  using Base::layout_;
  using Base::pair_sum;
  using Base::parameters;
  using Base::parameters_;
  using Base::plan_;
  using Base::read_matrix;
  using Base::row;
  using Base::S;
  using Base::saved_;
  using Base::zeros_;
  using typename Base::D;
  using typename Base::Plan;
  using typename Base::T;
  using typename Base::V;
  static constexpr bool kNormed = kNorm != Norm::none;
  static constexpr bool kScaled = kNorm == Norm::pre;
  // Steps whose z and h are kept: those of an interval and of the one before it.
  static constexpr int64_t kRing = 2 * kTwoStepInterval;
  static constexpr int64_t kRecomputed =
      kTwoStepInterval - 1;  // F of an interval without its first
  // Columns of a row that go through all its samples before the next ones do: the parameters and
  // the sums of their gradients stay in the first-level cache that long.
  static constexpr int64_t kTile = 10 * kLine<T>;

  // One step or two that a sweep goes through; none before the first of all.
  struct Steps {
    int64_t begin, count;
    int64_t last() const { return begin + count - 1; }
  };

 public:
  static int64_t zeros(const Plan& plan) {
    return plan.presynaptic(S) + (kRing + kGradientSums + 9) * plan.neurons(S);
  }
  static int64_t unwritten(const Plan& plan) {
    return (kRecomputed + 2) * plan.matrix(S) + (kRing + 3) * plan.presynaptic(S);
  }

  // Adds to `gradients` the gradients of parameters; the first group of a shard, which begins with
  // sample `first_of_shard`, finds matrices there that have not been set to zero.
  StpnTwoStepBackward(const Plan& plan, int64_t first, T* saved, Scratch<T>& scratch,
                      const StpnBackwardParams<T>& call, const PaddedMatrices<T>& parameters,
                      const Gradients<T>& gradients, int64_t first_of_shard)
      : Base(plan, first, saved, scratch, call.forward, parameters),
        call_(call),
        forward_(call.forward),
        gradients_(gradients),
        clears_(first == first_of_shard),
        first_dz_(call.grad_x != nullptr ? 0 : line_of<T>(inputs_)),
        recomputed_(scratch.take_unwritten(kRecomputed * plan.matrix(S))),
        initial_F_(scratch.take_unwritten(plan.matrix(S))),
        dF_(scratch.take_unwritten(plan.matrix(S))),
        z_(scratch.take_unwritten(kRing * plan.presynaptic(S))),
        dz_(scratch.take_unwritten(2 * plan.presynaptic(S))),
        recurrent_dz_(scratch.take_unwritten(plan.presynaptic(S))),
        h_(scratch.take(kRing * plan.neurons(S))),
        sums_(scratch.take(kGradientSums * plan.neurons(S))),
        dh_(scratch.take(plan.neurons(S))),
        dh_term_(scratch.take(plan.neurons(S))),
        of_decayed_(scratch.take(plan.neurons(S))),
        coefficients_(scratch.take(4 * plan.neurons(S))),
        d_bias_(scratch.take(plan.neurons(S))) {}

  void run() {
    begin();
    Steps next = before(plan_.steps);
    load_interval(next);
    start(next);
    while (next.count > 0) {
      const Steps steps = next;
      next = before(steps.begin);
      if (next.count > 0 && next.begin / plan_.interval < steps.begin / plan_.interval) {
        load_interval(next);
      }
      back(steps, next);
    }
    end();
  }

 private:
  void begin() {
    if (read_matrix(forward_.initial_F, initial_F_)) {
      first_F_ = initial_F_;
      for (int s = 0; s < S; ++s) {
        if (this->is_reset(0, s)) this->clear_sample(initial_F_, s);
      }
    }
    if (read_matrix(call_.grad_final_F, dF_)) last_dF_ = dF_;
  }

  void end() {
    this->copy_out(dF_, {call_.grad_initial_F, plan_.fan_in, 0});
    if (call_.grad_initial_h != nullptr) this->neurons_out(dh_, 0, call_.grad_initial_h);
    for (int64_t i = 0; i < plan_.hidden; ++i) {
      gradients_.vector(kBias)[i] += sum_of_samples<S>(d_bias_ + i * S);
    }
  }

  // The steps that one sweep goes through, before step `end`.
  Steps before(int64_t end) const {
    if (end == 0) return {0, 0};
    const bool pair = end % 2 == 0 && end > 1 && is_pair(end - 2);
    return {end - (pair ? 2 : 1), pair ? 2 : 1};
  }
  bool is_pair(int64_t t) const {
    const D d;
    V zeros = hn::Zero(d);  // NaN if a value is not finite
    for (int which = 0; which < (kNormed ? kSavedPairSums : 2); ++which) {
      const T* sum = pair_sum(t, static_cast<StpnPairSum>(which));
      for (int64_t k = 0; k < plan_.neurons(S); k += hn::Lanes(d)) {
        zeros = hn::MulAdd(hn::Zero(d), hn::LoadU(d, sum + k), zeros);
      }
    }
    return hn::AllTrue(d, hn::Eq(zeros, hn::Zero(d)));
  }

  T* z(int64_t t) const { return z_ + t % kRing * plan_.presynaptic(S); }
  T* h(int64_t t) const { return h_ + t % kRing * plan_.neurons(S); }
  T* dz(int64_t t) const { return dz_ + t % 2 * plan_.presynaptic(S); }
  T* sum(GradientSum which) const { return sums_ + which * plan_.neurons(S); }
  // Of step t, in turns.
  T* du_over_n(int64_t t) const { return coefficients_ + t % 2 * plan_.neurons(S); }
  T* dn_over_n(int64_t t) const { return coefficients_ + (2 + t % 2) * plan_.neurons(S); }
  const T* inverse_norm(int64_t t) const { return saved_.neurons(t, kSavedInverseNorm); }
  V scale(int64_t t, int64_t k) const {
    const D d;
    return kScaled ? hn::LoadU(d, inverse_norm(t) + k) : hn::Set(d, T(1));
  }

  // F that step t finds: a checkpoint or recomputed.
  const T* F(int64_t t) const {
    if (t % plan_.interval > 0) return recomputed(t);
    return t == 0 ? first_F_ : saved_.checkpoint(t / plan_.interval);
  }

  T* recomputed(int64_t t) const {
    return recomputed_ + (t % plan_.interval - 1) * plan_.matrix(S);
  }

  // Reads z and h of all steps of the interval that ends with `last`, and which of them are pairs.
  void load_interval(Steps last) {
    for (int64_t t = last.begin / plan_.interval * plan_.interval; t <= last.last(); ++t) {
      is_pair_[t % kRing] = t % 2 == 0 && t < last.last() && is_pair(t);
      this->clear_outside(z(t), 1, 0, plan_.fan_in);
      this->rows_to_presynaptic(forward_.x + this->place(t, 0, inputs_), inputs_, inputs_, 0, z(t));
      this->activity_before(forward_.initial_h, forward_.output, t, inputs_, z(t));
      this->neurons_in(forward_.output, t, h(t));
    }
  }

  RowStep<T> step(int64_t t, int64_t i, int s) const {
    const int64_t k = i * S + s;
    const int64_t sample = layout_.value(s, 0);
    return {{z(t) + sample, kScaled ? inverse_norm(t)[k] : T(1), h(t)[k]},
            du_over_n(t)[k],
            dn_over_n(t)[k],
            dz(t) + sample};
  }

  // Whether F that the steps begin with is still to be recomputed.
  bool lacks_F(Steps steps) const {
    return steps.begin % plan_.interval > 0 && steps.begin / plan_.interval != recomputed_interval_;
  }

  // Before the sweep through the last steps: the sums over the gradient of the final F. They are
  // zeros, as they begin, if there is none.
  void start(Steps next) {
    if (last_dF_ != zeros_) sweep(Steps{plan_.steps, 0}, next);
  }

  // Backpropagates through `steps`, and takes the sums that those before need.
  void back(Steps steps, Steps next) {
    const D d;
    const int64_t t = steps.last();
    add_output_gradient(t);
    for (int64_t k = 0; k < plan_.neurons(S) && kScaled; k += hn::Lanes(d)) {
      // Of F[t+1] = Lambda F scale + Gamma h z, without the second term.
      const V hebbian = hn::Load(d, sum(kOfHebbian) + k);
      hn::Store(hn::NegMulAdd(hn::Load(d, h(t) + k), hebbian, hn::Load(d, sum(kOfF) + k)), d,
                of_decayed_ + k);
    }
    backpropagate_activation(t, sum(kOfHebbian));
    if (steps.count == 2) {
      if (lacks_F(steps)) recompute_recurrent_columns(steps);
      go_to_first(steps.begin);
    }
    for (int64_t k = 0; k < steps.count; ++k) {
      for (int s = 0; s < S; ++s) {
        std::fill_n(dz(steps.begin + k) + layout_.value(s, first_dz_), layout_.width - first_dz_,
                    T(0));
      }
    }
    sweep(steps, next);
    store(steps);
  }

  void recompute_recurrent_columns(Steps steps) {
    const Recomputations all(*this, steps);
    const Columns columns{line_of<T>(inputs_), layout_.width};
    for (int64_t i = 0; i < plan_.hidden; ++i) {
      fetch<S>(in(all.of[0].from, row(i + 2, 0)), layout_.width, columns);
      for (int s = 0; s < S; ++s) recompute(parameters(i), all, columns, i, s);
    }
  }

  // From the second of two steps to the first, which is step t.
  void go_to_first(int64_t t) {
    const D d;
    const Columns columns{line_of<T>(inputs_), layout_.width};
    std::fill_n(recurrent_dz_, plan_.presynaptic(S), T(0));
    const T* const F = this->F(t);
    for (int64_t i = 0; i < plan_.hidden; ++i) {
      const ParameterRow<T> p = parameters(i);
      fetch<S>(in(F, row(i + 2, 0)), layout_.width, columns);
      fetch<S>(in(last_dF_, row(i + 2, 0)), layout_.width, columns);
      for (int s = 0; s < S; ++s) {
        const RowStep<T> steps[] = {step(t, i, s), step(t + 1, i, s)};
        add_recurrent_gradient<kScaled>(p, steps, columns, in(F, row(i, s)),
                                        in(last_dF_, row(i, s)),
                                        recurrent_dz_ + layout_.value(s, 0));
      }
    }
    this->presynaptic_to_neurons(recurrent_dz_, inputs_, dh_);
    add_output_gradient(t);
    // The sums over the gradient of F[t+1], affine in what step t + 1 has come to.
    for (int64_t k = 0; k < plan_.neurons(S); k += hn::Lanes(d)) {
      const auto saved = [&](StpnPairSum which)
                             HWY_ATTR { return hn::LoadU(d, pair_sum(t, which) + k); };
      const V next_scale = scale(t + 1, k), growth = hn::Load(d, sum(kOfGrowth) + k);
      const V du = hn::Load(d, du_over_n(t + 1) + k), dn = hn::Load(d, dn_over_n(t + 1) + k);
      V of_hebbian = hn::MulAdd(du, saved(kSavedEz), hn::Mul(next_scale, growth));
      if constexpr (kNormed) of_hebbian = hn::MulAdd(dn, saved(kSavedEG), of_hebbian);
      hn::Store(of_hebbian, d, sum(kOfHebbian) + k);
      if constexpr (kScaled) {
        const V of_step = hn::MulAdd(du, saved(kSavedDz), hn::Mul(dn, saved(kSavedDG)));
        const V grown = hn::Mul(next_scale, hn::Mul(hn::Load(d, h(t) + k), growth));
        const V of_next = hn::Sub(hn::Load(d, of_decayed_ + k), grown);
        hn::Store(hn::MulAdd(scale(t, k), of_step, of_next), d, of_decayed_ + k);
      }
    }
    backpropagate_activation(t, sum(kOfHebbian));
  }

  void add_output_gradient(int64_t t) {
    if (call_.grad_output == nullptr) return;
    this->neurons_in(call_.grad_output, t, dh_term_);
    for (int64_t k = 0; k < plan_.neurons(S); ++k) dh_[k] += dh_term_[k];
  }

  // From dh of step t, and the sums that its update adds, to du/n and dn/n.
  void backpropagate_activation(int64_t t, const T* HWY_RESTRICT dh_from_update) {
    const D d;
    for (int64_t k = 0; k < plan_.neurons(S); k += hn::Lanes(d)) {
      const V dh = hn::Add(hn::Load(d, dh_ + k), hn::Load(d, dh_from_update + k));
      const V du =
          hn::Mul(dh, activation_slope(d, forward_.variant.activation, hn::Load(d, h(t) + k)));
      add_to(d, du, d_bias_ + k);
      if constexpr (!kNormed) {
        hn::Store(du, d, du_over_n(t) + k);
      } else {
        const V inverse = hn::LoadU(d, inverse_norm(t) + k);
        const V over_n = hn::Mul(du, inverse);
        V minus_dn = hn::Mul(over_n, hn::LoadU(d, saved_.neurons(t, kSavedPreactivation) + k));
        if constexpr (kScaled) {
          minus_dn = hn::MulAdd(hn::Load(d, of_decayed_ + k), inverse, minus_dn);
        }
        hn::Store(over_n, d, du_over_n(t) + k);
        hn::Store(zero_if_no_norm(d, inverse, hn::Neg(hn::Mul(minus_dn, inverse))), d,
                  dn_over_n(t) + k);
      }
    }
  }

  // One update, or two, that recompute an F, or no update but zeros where a sample is reset.
  struct Recomputation {
    Steps steps;
    const T* from;
    T* to;
  };
  // Those before `steps` in their interval.
  struct Recomputations {
    Recomputations() = default;
    Recomputations(const StpnTwoStepBackward& pass, Steps steps) {
      for (int64_t t = steps.begin / pass.plan_.interval * pass.plan_.interval; t < steps.begin;) {
        const int64_t steps_here = pass.is_pair_[t % kRing] ? 2 : 1;
        of[count++] = {{t, steps_here}, pass.F(t), pass.recomputed(t + steps_here)};
        t += steps_here;
      }
    }
    Recomputation of[kRecomputed];
    int count = 0;
  };
  // What the rows of a sweep have in common.
  struct Sweep {
    Steps steps, next;
    const T* F;  // at the start of steps, or of next if there are none
    Recomputations recomputations;
  };

  // Through `steps`, if there are any, to the sums for `next`, likewise. Up and down the rows in
  // turns, as forward.
  void sweep(Steps steps, Steps next) {
    const Steps from_F = steps.count > 0 ? steps : next;
    Sweep sweep{.steps = steps, .next = next, .F = F(from_F.begin), .recomputations = {}};
    if (lacks_F(from_F)) sweep.recomputations = Recomputations(*this, from_F);
    with_count(steps.count, [&](auto step_count) {
      with_count(next.count, [&](auto next_count) {
        for (int64_t done = 0; done < plan_.hidden; ++done) {
          sweep_row<step_count, next_count>(sweep, upwards_ ? plan_.hidden - 1 - done : done);
        }
      });
    });
    upwards_ = !upwards_;
    recomputed_interval_ = from_F.begin / plan_.interval;
    if (steps.count == 0) return;
    last_dF_ = dF_;
    clears_ = false;
  }
  template <class Body>
  static void with_count(int64_t count, const Body& body) {
    if (count == 0) return body(std::integral_constant<int, 0>());
    if (count == 1) return body(std::integral_constant<int, 1>());
    body(std::integral_constant<int, 2>());
  }

  template <int kSteps, int kNext>
  HWY_NOINLINE void sweep_row(const Sweep& sweep, int64_t i) {
    const D d;
    const ParameterRow<T> p = parameters(i);
    const GradientRow<T> gradient{gradients_.row(kWeight, i), gradients_.row(kLambda, i),
                                  gradients_.row(kGamma, i)};
    for (T* row : {gradient.W, gradient.lambda, gradient.gamma}) {
      if (kSteps > 0 && clears_) std::fill_n(row, layout_.width, T(0));
    }
    V sums[S][kGradientSums];
    RowStep<T> steps[S][std::max(1, kSteps)];
    for (int s = 0; s < S; ++s) {
      std::fill_n(sums[s], int{kGradientSums}, hn::Zero(d));
      for (int k = 0; k < kSteps; ++k) steps[s][k] = step(sweep.steps.begin + k, i, s);
    }
    for (int64_t begin = 0; begin < layout_.width; begin += kTile) {
      const Columns tile{begin, std::min(begin + kTile, layout_.width)};
      for (int s = 0; s < S; ++s) {
        sweep_tile<kSteps, kNext>(sweep, p, gradient, steps[s], tile, i, s, sums[s]);
      }
    }
    for (int k = 0; k < kGradientSums && kNext > 0; ++k) {
      V of_samples[S];
      for (int s = 0; s < S; ++s) of_samples[s] = sums[s][k];
      Layout::store_sums(of_samples, sum(static_cast<GradientSum>(k)) + i * S);
    }
  }

  // Its columns of row i of sample s; adds to the sums.
  template <int kSteps, int kNext>
  HWY_INLINE void sweep_tile(const Sweep& sweep, const ParameterRow<T>& p,
                             const GradientRow<T>& gradient, const RowStep<T>* steps, Columns tile,
                             int64_t i, int s, V (&sums)[kGradientSums]) const {
    const int64_t offset = row(i, s), sample = layout_.value(s, 0);
    T* const dF = dF_ + offset;
    recompute(p, sweep.recomputations, tile, i, s);
    const T* const F = in(sweep.F, offset);
    if constexpr (kSteps > 0) {
      const T* const from = in(last_dF_, offset);
      const Columns without_dz{tile.begin, std::clamp(first_dz_, tile.begin, tile.end)};
      const Columns with_dz{without_dz.end, tile.end};
      InputsOfSteps<T> next_z{};
      if (kNext > 0) next_z = {z(sweep.next.begin) + sample, z(sweep.next.last()) + sample};
      // Of a reset sample nothing reaches the steps before.
      const bool is_reset = this->is_reset(sweep.steps.begin, s);
      V ignored[kGradientSums];
      std::fill_n(ignored, int{kGradientSums}, hn::Zero(hn::ScalableTag<T>()));
      V(&into)[kGradientSums] = is_reset ? ignored : sums;
      back_row<kNorm, kSteps, kNext, false>(p, gradient, steps, without_dz, F, from, dF, next_z,
                                            into);
      back_row<kNorm, kSteps, kNext, true>(p, gradient, steps, with_dz, F, from, dF, next_z, into);
      if (is_reset) std::fill(dF + tile.begin, dF + tile.end, T(0));
    } else if constexpr (kNext > 0) {
      const RowUpdate<T> updates[] = {step(sweep.next.begin, i, s).update,
                                      step(sweep.next.last(), i, s).update};
      add_sums_of_final_gradient<kScaled, kNext>(p, updates, tile, F, dF, sums);
    }
  }

  HWY_INLINE void recompute(const ParameterRow<T>& p, const Recomputations& all, Columns columns,
                            int64_t i, int s) const {
    for (int k = 0; k < all.count; ++k) recompute(p, all.of[k], columns, i, s);
  }
  HWY_INLINE void recompute(const ParameterRow<T>& p, const Recomputation& which, Columns columns,
                            int64_t i, int s) const {
    const T* const from = in(which.from, row(i, s));
    T* const to = which.to + row(i, s);
    if (this->is_reset(which.steps.last() + 1, s)) {
      std::fill(to + columns.begin, to + columns.end, T(0));
      return;
    }
    const RowUpdate<T> updates[] = {step(which.steps.begin, i, s).update,
                                    step(which.steps.last(), i, s).update};
    if (which.steps.count == 2) {
      update_row<kScaled, 2>(p, updates, columns, from, to);
    } else {
      update_row<kScaled, 1>(p, updates, columns, from, to);
    }
  }

  // Writes the gradients of x, and starts that of the h before `steps`.
  void store(Steps steps) {
    for (int64_t t = steps.begin; t <= steps.last() && call_.grad_x != nullptr; ++t) {
      this->presynaptic_to_rows(dz(t), 0, inputs_, call_.grad_x + this->place(t, 0, inputs_),
                                inputs_);
    }
    this->presynaptic_to_neurons(dz(steps.begin), inputs_, dh_);
    for (int s = 0; s < S; ++s) {
      for (int64_t i = 0; i < plan_.hidden && this->is_reset(steps.begin, s); ++i) {
        dh_[i * S + s] = T(0);
      }
    }
  }

  const StpnBackwardParams<T>& call_;
  const StpnForwardParams<T>& forward_;
  const Gradients<T>& gradients_;
  bool clears_;             // whether the next sweep sets the rows of gradients to zero first
  const int64_t first_dz_;  // presynaptic inputs before this one need no gradient
  // Matrices: F of the steps of an interval after its first, of step 0, and the gradient.
  T* const recomputed_;
  T* const initial_F_;
  T* const dF_;
  T* const z_;             // ring of presynaptic arrays
  T* const dz_;            // of two steps
  T* const recurrent_dz_;  // of the second of two steps, recurrent columns only
  // Neuron values.
  T* const h_;             // ring
  T* const sums_;          // GradientSum
  T* const dh_;            // gradient of h, without what the update of its step adds
  T* const dh_term_;       // a term of it
  T* const of_decayed_;    // the sum of Lambda dF F scale
  T* const coefficients_;  // du/n of two steps, and dn/n
  T* const d_bias_;
  const T* first_F_ = zeros_;         // that step 0 finds
  const T* last_dF_ = zeros_;         // the gradient of F after the steps that a sweep goes through
  bool is_pair_[kRing] = {};          // ring: whether a pair begins with the step
  int64_t recomputed_interval_ = -1;  // whose F is in recomputed_; -1: none
  bool upwards_ = true;               // the direction of the next sweep
};

}  // namespace HWY_NAMESPACE
}  // namespace stpn::kernels
HWY_AFTER_NAMESPACE();

#endif
