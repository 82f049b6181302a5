// A step forward of the STPN, for a group of samples. Compiled once a target.

#if defined(STPN_KERNELS_STPN_RECURRENT_FORWARD_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef STPN_KERNELS_STPN_RECURRENT_FORWARD_INL_H_
#undef STPN_KERNELS_STPN_RECURRENT_FORWARD_INL_H_
#else
#define STPN_KERNELS_STPN_RECURRENT_FORWARD_INL_H_
#endif

#include <hwy/highway.h>

#include <algorithm>
#include <cmath>

#include "stpn/kernels/plastic_slices-inl.h"
#include "stpn/kernels/stpn_recurrent_layout.h"

HWY_BEFORE_NAMESPACE();
namespace stpn::kernels {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// One pass over F a step: the update of step t-1 waits until h[t-1] is complete
// and is made while row by row the drive of step t is summed.
template <class Layout, Norm kNorm, bool kClamp>
class StpnForward : public ForwardLoop<StpnForward<Layout, kNorm, kClamp>, Layout> {
  using Loop = ForwardLoop<StpnForward, Layout>;
  using Loop::kept_;
  using Loop::kLanes;
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
  static int64_t scratch(const Plan& plan) {
    return slots(plan) * (plan.presynaptic(S) + plan.units(S)) + plan.presynaptic(S) +
           4 * plan.units(S);
  }

  StpnForward(const Plan& plan, int64_t first, T* kept, Scratch<T>& scratch,
              const StpnRecurrentForward<T>& call, const PaddedMatrices<T>& parameters)
      : Loop(plan, first, kept, call, scratch),
        call_(call),
        parameters_(parameters),
        slots_(slots(plan)),
        z_(scratch.take(slots_ * plan.presynaptic(S))),
        h_(scratch.take(slots_ * plan.units(S))),
        z_squared_(scratch.take(plan.presynaptic(S))),
        inverse_norm_(scratch.take(plan.units(S))),
        dot_(scratch.take(plan.units(S))),
        squares_(scratch.take(plan.units(S))),
        bias_(scratch.take(plan.units(S))) {}

  void begin() {
    const auto& v = call_.variant;
    this->copy_in(call_.initial_F, plastic_sources(call_.extent, v),
                  first_plastic_source(call_.extent, v), this->matrix(0));
    if (v.recurrent) this->units_in(call_.initial_h, 0, h(-1));
    for (int64_t i = 0; i < plan_.hidden && call_.bias != nullptr; ++i) {
      std::fill_n(bias_ + i * S, S, call_.bias[i]);
    }
  }

  // The update that still waits then leaves F zero, whatever was there.
  void forget(int s) {
    this->clear_sources(s, plan_.sources, 0, z(next_ - 1));
    T* HWY_RESTRICT h = this->h(next_ - 1);
    for (int64_t i = 0; i < plan_.hidden; ++i) h[i * S + s] = inverse_norm_[i * S + s] = T(0);
  }

  void forward(int64_t t) {
    load(t);
    forward(t, this->all_rows());
    store(t);
  }

  // z = [x; h].
  void load(int64_t t) {
    const int64_t inputs = call_.extent.inputs;
    this->rows_to_sources(call_.x + this->place(t, 0, inputs), inputs, inputs, 0, z(t));
    if (call_.variant.recurrent) this->units_to_sources(h(t - 1), inputs, z(t));
  }

  void forward(int64_t t, Rows which) {
    if (t == 0) {
      sweep<false, true>(t, which);
    } else {
      sweep<true, true>(t, which);
    }
    if (!Layout::kSlices) activate_units(t, 0, plan_.units(S), h(t));
    if (call_.energy != nullptr) measure(t, which);
  }

  // From now on z is the presynaptic term of the update to come.
  void store(int64_t t) {
    this->units_out(h(t), t, call_.output);
    if (call_.variant.recurrent && call_.variant.presynaptic == Presynaptic::current) {
      this->units_to_sources(h(t), call_.extent.inputs, z(t));
    }
    next_ = t + 1;
  }

  void end() {
    sweep<true, false>(plan_.steps, this->all_rows());
    const auto& v = call_.variant;
    this->copy_out(this->matrix(0), plastic_sources(call_.extent, v),
                   first_plastic_source(call_.extent, v), call_.final_F);
  }

 private:
  // Activity of the last steps, those of a block and the one before, goes round in as many slots.
  static int64_t slots(const Plan& plan) { return Layout::kSlices ? plan.interval + 1 : 2; }
  int64_t slot(int64_t t) const { return (t + 1) % (Layout::kSlices ? slots_ : 2); }
  T* z(int64_t t) const { return z_ + slot(t) * plan_.presynaptic(S); }
  T* h(int64_t t) const { return h_ + slot(t) * plan_.units(S); }

  // Of one step, for all its rows.
  struct Activity {
    const T* z;
    const T* hebbian;  // that the update of the step before still waits for
    const T* last_h;
    T* h;
  };
  Activity activity(int64_t t) const { return {z(t), z(t - 1), h(t - 1), h(t)}; }

  template <bool kUpdate, bool kDrive>
  void sweep(int64_t t, Rows which) {
    const Activity at = activity(t);
    for (int64_t i = which.begin; i < which.end; i += kRows) {
      rows<kUpdate, kDrive>(i, t, at);
      if constexpr (Layout::kSlices && kDrive) activate_units(t, i * S, (i + kRows) * S, at.h);
    }
  }

  struct Sums {
    explicit HWY_INLINE Sums(D d) {
      STPN_UNROLL
      for (int q = 0; q < kLanes; ++q) dot[q] = squares[q] = post[q] = hn::Zero(d);
    }
    V dot[kLanes], squares[kLanes], post[kLanes];
  };

  // Rows i to i + kRows of all samples: the update of step t-1, then the sums
  // that the drive of step t needs.
  template <bool kUpdate, bool kDrive>
  HWY_INLINE void rows(int64_t i, int64_t t, const Activity& at) {
    constexpr bool kPost = kUpdate && kNorm == Norm::post;
    const D d;
    const Layout layout = this->layout_;
    const int64_t width = layout.width;
    const T* HWY_RESTRICT W = parameters_.row(kWeight, i);
    const T* HWY_RESTRICT lambda = parameters_.row(kLambda, i);
    const T* HWY_RESTRICT gamma = parameters_.row(kGamma, i);
    const T* HWY_RESTRICT z = at.z;
    const T* HWY_RESTRICT hebbian = at.hebbian;
    const T* HWY_RESTRICT last_h = at.last_h + i * S;
    T* HWY_RESTRICT F = this->matrix(0) + this->row_of(i);
    const V bound = hn::Set(d, static_cast<T>(call_.variant.clamp));
    V h[kLanes], scale[kLanes];
    STPN_UNROLL
    for (int q = 0; q < kLanes; ++q) {
      h[q] = layout.unit(last_h, q);
      scale[q] = layout.unit(inverse_norm_ + i * S, q);
    }
    Sums sums(d);
    for (int64_t j = 0; j < width; j += Layout::kStep) {
      STPN_UNROLL
      for (int r = 0; r < kRows; ++r) {
        const V w = layout.parameter(W, r, j);
        STPN_UNROLL
        for (int v = 0; v < kVectors; ++v) {
          const int q = r * kVectors + v;
          V f = hn::Load(d, F + layout.synapse(q, j));
          if constexpr (kUpdate) {
            V old = hn::Mul(layout.parameter(lambda, r, j), f);
            if constexpr (kNorm == Norm::pre) old = hn::Mul(old, scale[q]);
            const V learnt =
                hn::Mul(layout.parameter(gamma, r, j), hn::Load(d, hebbian + layout.source(v, j)));
            f = hn::MulAdd(learnt, h[q], old);
            if constexpr (kClamp) f = hn::Min(hn::Max(f, hn::Neg(bound)), bound);
            hn::Store(f, d, F + layout.synapse(q, j));
          }
          if constexpr (kPost) {
            const V G = hn::Add(w, f);
            sums.post[q] = hn::MulAdd(G, G, sums.post[q]);
          } else if constexpr (kDrive) {
            add_drive(sums, q, hn::Add(w, f), hn::Load(d, z + layout.source(v, j)));
          }
        }
      }
    }
    if constexpr (kPost) {
      constexpr int64_t kUnits = kRows * S;
      alignas(64) T inverse[std::max(kUnits, Layout::kStep)] = {};
      Layout::store_sums(sums.post, inverse);
      const V floor = hn::Set(d, static_cast<T>(kNormFloor));
      for (int64_t k = 0; k < kUnits; k += hn::Lanes(d)) {
        const V norm = hn::Add(hn::Sqrt(hn::Load(d, inverse + k)), floor);
        hn::Store(hn::Div(hn::Set(d, T(1)), norm), d, inverse + k);
      }
      if (kept_) {
        std::copy_n(inverse, kUnits, kept_.units(t - 1, kKeptInversePostNorm, i));
      }
      STPN_UNROLL
      for (int q = 0; q < kLanes; ++q) scale[q] = layout.unit(inverse, q);
      for (int64_t j = 0; j < width; j += Layout::kStep) {
        STPN_UNROLL
        for (int r = 0; r < kRows; ++r) {
          const V w = layout.parameter(W, r, j);
          STPN_UNROLL
          for (int v = 0; v < kVectors; ++v) {
            const int q = r * kVectors + v;
            const V f = hn::Mul(hn::Load(d, F + layout.synapse(q, j)), scale[q]);
            hn::Store(f, d, F + layout.synapse(q, j));
            if constexpr (kDrive) {
              add_drive(sums, q, hn::Add(w, f), hn::Load(d, z + layout.source(v, j)));
            }
          }
        }
      }
    }
    if constexpr (kDrive) {
      Layout::store_sums(sums.dot, dot_ + i * S);
      if constexpr (kNorm != Norm::none) Layout::store_sums(sums.squares, squares_ + i * S);
    }
  }

  static HWY_INLINE void add_drive(Sums& sums, int q, V G, V z) {
    sums.dot[q] = hn::MulAdd(G, z, sums.dot[q]);
    if constexpr (kNorm != Norm::none) sums.squares[q] = hn::MulAdd(G, G, sums.squares[q]);
  }

  // h = act(G z / n + b) for many units at once, and what backward needs.
  HWY_INLINE void activate_units(int64_t t, int64_t begin, int64_t end, T* HWY_RESTRICT h) {
    const D d;
    T* kept_drive = kept_ ? kept_.units(t, kKeptDrive, begin / S) : nullptr;
    T* kept_inverse = kept_ ? kept_.units(t, kKeptInverseNorm, begin / S) : nullptr;
    for (int64_t k = begin; k < end; k += hn::Lanes(d)) {
      V drive = hn::Load(d, dot_ + k);
      if constexpr (kNorm != Norm::none) {
        const V norm =
            hn::Add(hn::Sqrt(hn::Load(d, squares_ + k)), hn::Set(d, static_cast<T>(kNormFloor)));
        const V inverse = hn::Div(hn::Set(d, T(1)), norm);
        drive = hn::Mul(drive, inverse);
        hn::Store(inverse, d, inverse_norm_ + k);
        if (kept_) hn::StoreU(inverse, d, kept_inverse + (k - begin));
      }
      if (kept_) hn::StoreU(drive, d, kept_drive + (k - begin));
      const V u = hn::Add(drive, hn::Load(d, bias_ + k));
      hn::Store(activate(d, call_.variant.activation, u), d, h + k);
    }
  }

  // A pass of its own: energy is seldom asked for.
  void measure(int64_t t, Rows which) {
    const T* HWY_RESTRICT active = z(t);
    for (int64_t j = 0; j < plan_.sources; ++j) {
      const T counts = call_.measured == nullptr ? T(1) : call_.measured[j];
      for (int s = 0; s < S; ++s) {
        const T z = active[layout_.value(s, j)];
        z_squared_[layout_.value(s, j)] = counts * z * z;
      }
    }
    for (int64_t i = which.begin; i < which.end; i += kRows) measure_rows(i);
    for (int64_t k = which.begin * S; k < which.end * S && kNorm != Norm::none; ++k) {
      dot_[k] *= inverse_norm_[k];
    }
    this->units_out(dot_, t, which, call_.energy);
  }
  HWY_INLINE void measure_rows(int64_t i) {
    const D d;
    const Layout layout = layout_;
    const T* HWY_RESTRICT W = parameters_.row(kWeight, i);
    const T* HWY_RESTRICT F = this->matrix(0) + this->row_of(i);
    V spent[kLanes];
    STPN_UNROLL
    for (int q = 0; q < kLanes; ++q) spent[q] = hn::Zero(d);
    for (int64_t j = 0; j < layout.width; j += Layout::kStep) {
      STPN_UNROLL
      for (int q = 0; q < kLanes; ++q) {
        const V G =
            hn::Add(layout.parameter(W, q / kVectors, j), hn::Load(d, F + layout.synapse(q, j)));
        const V power = hn::Load(d, z_squared_ + layout.source(q % kVectors, j));
        spent[q] = hn::MulAdd(hn::Abs(G), power, spent[q]);
      }
    }
    Layout::store_sums(spent, dot_ + i * S);
  }

  const StpnRecurrentForward<T>& call_;
  const PaddedMatrices<T>& parameters_;
  const int64_t slots_;
  T* const z_;
  T* const h_;
  T* const z_squared_;
  T* const inverse_norm_;
  T* const dot_;
  T* const squares_;
  T* const bias_;
  int64_t next_ = 0;  // the step that comes next
};

}  // namespace HWY_NAMESPACE
}  // namespace stpn::kernels
HWY_AFTER_NAMESPACE();

#endif
