// The forward pass of the STPN over a group of samples whose F does not fit the cache: two time
// steps in one sweep over F. Compiled once for each SIMD target.
//
// F[t+1] = D scale + E h, with D = Lambda F[t] and E = Gamma z[t], is affine in two numbers of each
// row, its scale 1/n and its h. Both follow from the first sums over the row, G z and |G|^2. So a
// sweep that reads F[t] also takes those sums from which step t + 1 follows. With z' = z[t+1]:
//   G' z'  = W z' + scale D z' + h E z'
//   |G'|^2 = |W|^2 + 2 (scale W.D + h W.E) + scale^2 |D|^2 + 2 scale h D.E + h^2 |E|^2
// Only the recurrent columns of z' need the h of all neurons; they come after, in a sweep of their
// own over these few columns. The next sweep makes both updates before it takes its sums.
//
// Steps go one by one where a sample is reset between the two, in a closed loop, and where a sum is
// not finite or has lost digits. Without a reset backward still takes them in pairs.

#if defined(STPN_KERNELS_STPN_TWO_STEPS_CPU_FORWARD_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef STPN_KERNELS_STPN_TWO_STEPS_CPU_FORWARD_INL_H_
#undef STPN_KERNELS_STPN_TWO_STEPS_CPU_FORWARD_INL_H_
#else
#define STPN_KERNELS_STPN_TWO_STEPS_CPU_FORWARD_INL_H_
#endif

#include <hwy/highway.h>

#include <algorithm>
#include <limits>

#include "stpn/kernels/stpn/cpu_layout.h"
#include "stpn/kernels/stpn/two_steps/cpu_group-inl.h"
#include "stpn/kernels/stpn/two_steps/cpu_row_loops-inl.h"

HWY_BEFORE_NAMESPACE();
namespace stpn::kernels {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

template <class Layout, Norm kNorm>
class StpnTwoStepForward : public TwoStepGroup<Layout> {
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
  static constexpr int kRing = 4;  // steps whose z, h and 1/n are kept: the last two and the next

 public:
  static int64_t zeros(const Plan& plan) {
    return 2 * plan.presynaptic(S) + (2 * kRing + kRowSums + 6) * plan.neurons(S);
  }
  static int64_t unwritten(const Plan& plan) {
    return plan.matrix(S) + kRing * plan.presynaptic(S);
  }

  StpnTwoStepForward(const Plan& plan, int64_t first, T* saved, Scratch<T>& scratch,
                     const StpnForwardParams<T>& call, const PaddedMatrices<T>& parameters)
      : Base(plan, first, saved, scratch, call, parameters),
        call_(call),
        F_(scratch.take_unwritten(plan.matrix(S))),
        z_(scratch.take_unwritten(kRing * plan.presynaptic(S))),
        recurrent_z_(scratch.take(plan.presynaptic(S))),
        h_(scratch.take(kRing * plan.neurons(S))),
        scale_(scratch.take(kRing * plan.neurons(S))),
        sums_(scratch.take(kRowSums * plan.neurons(S))),
        recurrent_(scratch.take(3 * plan.neurons(S))),
        bias_(scratch.take(plan.neurons(S))),
        W_squares_(scratch.take(plan.neurons(S))),
        next_sum_(scratch.take(plan.neurons(S))) {}

  void run() {
    begin();
    int pending = 0;  // updates of the steps before t that are still to be made
    for (int64_t t = 0; t < plan_.steps;) {
      forget_reset_samples(t);
      load(t, h(t - 1));
      const bool pair = may_be_pair(t);
      if (pair) {
        load(t + 1, nullptr);
        sweep_pending<2>(t, pending);
      } else {
        sweep_pending<1>(t, pending);
      }
      if (t % 2 != 0 && pending == 1 && !this->any_reset(t)) save_pair_sums(t - 1);
      const bool finite = Base::all_finite(sum(kGz), plan_.neurons(S));
      if (!finite) sum_again(t);
      activate(t, sum(kGz), sum(kGG));
      finish(t);
      pending = 1;
      if (pair && finite && follows(t)) {
        activate(t + 1, next_sum_, sum(kGG));
        finish(t + 1);
        pending = 2;
      } else if (t % 2 == 0) {
        std::fill_n(pair_sum(t, kSavedDz), plan_.neurons(S), std::numeric_limits<T>::quiet_NaN());
      }
      t += pending;
    }
    if (call_.final_F == nullptr) return;
    pending == 2 ? write_final_F<2>() : write_final_F<1>();
  }

 private:
  T* z(int64_t t) const { return z_ + (t + kRing) % kRing * plan_.presynaptic(S); }
  T* h(int64_t t) const { return h_ + (t + kRing) % kRing * plan_.neurons(S); }
  // 1/n of step t.
  T* inverse_norm(int64_t t) const { return scale_ + (t + kRing) % kRing * plan_.neurons(S); }
  T* sum(int which) const { return sums_ + which * plan_.neurons(S); }

  void begin() {
    if (read_matrix(call_.initial_F, F_)) last_F_ = F_;
    this->neurons_in(call_.initial_h, 0, h(-1));
    for (int64_t t = 0; t < kRing; ++t) this->clear_outside(z(t), 1, 0, plan_.fan_in);
    if (call_.bias != nullptr) repeat_for_samples<S>(call_.bias, plan_.hidden, bias_);
    const D d;
    for (int64_t i = 0; i < plan_.hidden && kNormed; ++i) {
      const T* HWY_RESTRICT W = parameters_.row(kWeight, i);
      V squares = hn::Zero(d);
      for (int64_t j = 0; j < layout_.width; j += hn::Lanes(d)) {
        const V here = hn::Load(d, W + j);
        squares = hn::MulAdd(here, here, squares);
      }
      std::fill_n(W_squares_ + i * S, S, hn::GetLane(hn::SumOfLanes(d, squares)));
    }
  }

  void forget_reset_samples(int64_t t) {
    for (int s = 0; s < S; ++s) {
      if (!this->is_reset(t, s)) continue;
      this->clear_sample(F_, s);
      for (int64_t i = 0; i < plan_.hidden; ++i) h(t - 1)[i * S + s] = T(0);
    }
  }

  // z[t] = [x[t]; h[t-1]], without h where that is not known yet.
  void load(int64_t t, const T* h) {
    this->rows_to_presynaptic(call_.x + this->place(t, 0, inputs_), inputs_, inputs_, 0, z(t));
    if (h != nullptr) {
      this->neurons_to_presynaptic(h, inputs_, z(t));
    } else {
      for (int s = 0; s < S; ++s) this->clear_presynaptic(s, plan_.hidden, inputs_, z(t));
    }
  }

  // Pairs begin at even steps, so that there is a sweep from the step of each checkpoint. A closed
  // loop writes the next input, and may reset, only after the step.
  bool may_be_pair(int64_t t) const {
    return call_.closed_loop == nullptr && t % 2 == 0 && t + 1 < plan_.steps &&
           !this->any_reset(t + 1);
  }

  template <int kSteps>
  void sweep_pending(int64_t t, int pending) {
    if (pending == 2) return sweep<2, kSteps>(t);
    if (pending == 1) return sweep<1, kSteps>(t);
    sweep<0, kSteps>(t);
  }

  // The updates of kUpdates steps before t, then the sums of kSteps steps from t on, and the
  // checkpoint of step t, if there is one. Up and down the rows in turns, so that each sweep begins
  // with the rows that the last one left in the cache.
  template <int kUpdates, int kSteps>
  void sweep(int64_t t) {
    T* const checkpoint =
        t > 0 && t % plan_.interval == 0 ? saved_.checkpoint(t / plan_.interval) : nullptr;
    for (int64_t done = 0; done < plan_.hidden; ++done) {
      sweep_row<kUpdates, kSteps>(t, upwards_ ? plan_.hidden - 1 - done : done, checkpoint);
    }
    upwards_ = !upwards_;
    if (kUpdates > 0) last_F_ = F_;
    if (checkpoint != nullptr) hwy::FlushStream();
  }

  template <int kUpdates, int kSteps>
  HWY_INLINE void sweep_row(int64_t t, int64_t i, T* checkpoint) {
    const D d;
    const ParameterRow<T> p = parameters(i);
    const Columns all{0, layout_.width};
    V sums[S][kRowSums];
    for (int s = 0; s < S; ++s) {
      const int64_t sample = layout_.value(s, 0);
      T* const F = F_ + row(i, s);
      const T* const from = in(last_F_, row(i, s));
      RowUpdate<T> updates[std::max(1, kUpdates)];
      for (int u = 0; u < kUpdates; ++u) updates[u] = update(t - kUpdates + u, i, s);
      if (this->is_reset(t, s)) {
        // It has forgotten its updates.
        update_and_sum_row<kNorm, 0, kSteps>(p, updates, z(t) + sample, z(t + 1) + sample, all,
                                             from, F, sums[s]);
      } else {
        update_and_sum_row<kNorm, kUpdates, kSteps>(p, updates, z(t) + sample, z(t + 1) + sample,
                                                    all, from, F, sums[s]);
      }
      if (checkpoint != nullptr) {
        copy_row(F, all, !plan_.saved_fits_cache, checkpoint + row(i, s));
      }
    }
    store_sums<kRowSumsOf<kNorm, kUpdates, kSteps>>(sums, sums_ + i * S);
  }

  // The last updates; the rows go to the caller at once if they are there as they are here.
  template <int kUpdates>
  void write_final_F() {
    const Columns all{0, layout_.width};
    const bool at_once = plan_.fan_in == layout_.width && is_aligned(call_.final_F);
    for (int64_t done = 0; done < plan_.hidden; ++done) {
      const int64_t i = upwards_ ? plan_.hidden - 1 - done : done;
      for (int s = 0; s < S; ++s) {
        RowUpdate<T> updates[kUpdates];
        for (int u = 0; u < kUpdates; ++u) updates[u] = update(plan_.steps - kUpdates + u, i, s);
        const T* const from = in(last_F_, row(i, s));
        if (at_once) {
          T* const to = call_.final_F + ((this->first_ + s) * plan_.hidden + i) * plan_.fan_in;
          update_row<kScaled, kUpdates, true>(parameters(i), updates, all, from, to);
        } else {
          update_row<kScaled, kUpdates>(parameters(i), updates, all, from, F_ + row(i, s));
        }
      }
    }
    if (at_once) return hwy::FlushStream();
    this->copy_out(F_, {call_.final_F, plan_.fan_in, 0});
  }

  RowUpdate<T> update(int64_t t, int64_t i, int s) const {
    return {z(t) + layout_.value(s, 0), kScaled ? inverse_norm(t)[i * S + s] : T(1),
            h(t)[i * S + s]};
  }

  // The first kCount sums of a row, as neuron values.
  template <int kCount, int kStored>
  HWY_INLINE void store_sums(const V (&sums)[S][kStored], T* HWY_RESTRICT to) const {
    for (int k = 0; k < kCount; ++k) {
      V of_samples[S];
      for (int s = 0; s < S; ++s) of_samples[s] = sums[s][k];
      Layout::store_sums(of_samples, to + k * plan_.neurons(S));
    }
  }

  // The sums of step t, without what an update wrote to the padding (see Group::clear_outside).
  void sum_again(int64_t t) {
    this->clear_outside(F_, plan_.rows(S), 0, plan_.fan_in);
    sweep<0, 1>(t);
  }

  // h[t] = act(G z / n + b); saves what backward needs.
  void activate(int64_t t, const T* HWY_RESTRICT Gz, const T* HWY_RESTRICT squares) {
    const D d;
    for (int64_t k = 0; k < plan_.neurons(S); k += hn::Lanes(d)) {
      V preactivation = hn::Load(d, Gz + k);
      if constexpr (kNormed) {
        const V norm = hn::Add(hn::Sqrt(at_least(hn::Zero(d), hn::Load(d, squares + k))),
                               hn::Set(d, static_cast<T>(kNormEpsilon)));
        const V inverse = hn::Div(hn::Set(d, T(1)), norm);
        preactivation = hn::Mul(preactivation, inverse);
        hn::Store(inverse, d, inverse_norm(t) + k);
        hn::StoreU(inverse, d, saved_.neurons(t, kSavedInverseNorm) + k);
      }
      hn::StoreU(preactivation, d, saved_.neurons(t, kSavedPreactivation) + k);
      const V u = hn::Add(preactivation, hn::Load(d, bias_ + k));
      hn::Store(::stpn::kernels::HWY_NAMESPACE::activate(d, call_.variant.activation, u), d,
                h(t) + k);
    }
  }

  void finish(int64_t t) {
    this->neurons_out(h(t), t, call_.output);
    if (call_.closed_loop == nullptr) return;
    call_.closed_loop->after_step(t, this->first_, S,
                                  call_.output + this->place(t, 0, plan_.hidden));
  }

  // Where step t + 1 came by itself, but backward may take it together with step t.
  void save_pair_sums(int64_t t) {
    constexpr RowSum kSums[] = {kDz, kEz, kDG, kEG};
    for (int which = 0; which < (kNormed ? kSavedPairSums : 2); ++which) {
      std::copy_n(sum(kSums[which]), plan_.neurons(S),
                  pair_sum(t, static_cast<StpnPairSum>(which)));
    }
  }

  // G' z' and |G'|^2 of step t + 1 from the sums of the sweep of step t and its h. Returns whether
  // they are good.
  bool follows(int64_t t) {
    this->neurons_to_presynaptic(h(t), inputs_, z(t + 1));
    this->neurons_to_presynaptic(h(t), inputs_, recurrent_z_);
    sum_recurrent_columns(t);
    const D d;
    // Where G' is this much smaller than its parts, |G'|^2 has lost digits to their difference.
    const V loss = hn::Set(d, T(1) / 64);
    V zeros = hn::Zero(d);  // NaN if a value is not finite
    bool precise = true;
    for (int64_t k = 0; k < plan_.neurons(S); k += hn::Lanes(d)) {
      const auto get = [&](RowSum which) HWY_ATTR { return hn::Load(d, sum(which) + k); };
      const auto save = [&](StpnPairSum which, V value) HWY_ATTR {
        zeros = hn::MulAdd(hn::Zero(d), value, zeros);
        hn::StoreU(value, d, pair_sum(t, which) + k);
      };
      const V h = hn::Load(d, this->h(t) + k);
      const V scale = kScaled ? hn::Load(d, inverse_norm(t) + k) : hn::Set(d, T(1));
      const T* recurrent = recurrent_ + k;
      const V Dz = hn::Add(get(kDz), hn::Load(d, recurrent));
      const V Ez = hn::Add(get(kEz), hn::Load(d, recurrent + plan_.neurons(S)));
      const V Wz = hn::Add(get(kWz), hn::Load(d, recurrent + 2 * plan_.neurons(S)));
      const V Gz = hn::MulAdd(scale, Dz, hn::MulAdd(h, Ez, Wz));
      zeros = hn::MulAdd(hn::Zero(d), Gz, zeros);
      hn::Store(Gz, d, next_sum_ + k);
      save(kSavedDz, Dz);
      save(kSavedEz, Ez);
      if constexpr (kNormed) {
        const V scaled = hn::Mul(scale, get(kDD)), grown = hn::Mul(h, get(kEE));
        const V WD = get(kWD), WE = get(kWE), DE = get(kDE);
        const V WW = hn::Load(d, W_squares_ + k);
        const V DG = hn::Add(WD, hn::MulAdd(h, DE, scaled));
        const V EG = hn::Add(WE, hn::MulAdd(scale, DE, grown));
        const V square = hn::MulAdd(scale, hn::Add(WD, DG), hn::MulAdd(h, hn::Add(WE, EG), WW));
        const V parts = hn::MulAdd(scale, scaled, hn::MulAdd(h, grown, WW));
        precise &= hn::AllTrue(d, hn::Ge(square, hn::Mul(loss, parts)));
        hn::Store(square, d, sum(kGG) + k);
        save(kSavedDG, DG);
        save(kSavedEG, EG);
      }
    }
    return precise && hn::AllTrue(d, hn::Eq(zeros, hn::Zero(d)));
  }

  void sum_recurrent_columns(int64_t t) {
    const Columns columns{line_of<T>(inputs_), layout_.width};
    for (int64_t i = 0; i < plan_.hidden; ++i) {
      const ParameterRow<T> p = parameters(i);
      fetch<S>(in(last_F_, row(i + 2, 0)), layout_.width, columns);
      V sums[S][3];
      for (int s = 0; s < S; ++s) {
        const int64_t sample = layout_.value(s, 0);
        add_recurrent_sums(p, z(t) + sample, recurrent_z_ + sample, columns, in(last_F_, row(i, s)),
                           sums[s]);
      }
      store_sums<3>(sums, recurrent_ + i * S);
    }
  }

  const StpnForwardParams<T>& call_;
  T* const F_;
  // Rings of steps: presynaptic arrays and neuron values.
  T* const z_;
  T* const recurrent_z_;  // z without inputs
  T* const h_;
  T* const scale_;  // 1/n
  // Neuron values: the sums of a sweep (RowSum), and those over recurrent columns of kDz, kEz, kWz.
  T* const sums_;
  T* const recurrent_;
  T* const bias_;
  T* const W_squares_;        // |W|^2
  T* const next_sum_;         // G' z'
  const T* last_F_ = zeros_;  // what the last sweep has left
  bool upwards_ = false;      // the direction of the next sweep
};

}  // namespace HWY_NAMESPACE
}  // namespace stpn::kernels
HWY_AFTER_NAMESPACE();

#endif
