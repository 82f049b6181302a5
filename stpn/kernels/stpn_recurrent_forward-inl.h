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
#include <utility>

#include "stpn/kernels/plastic_loop-inl.h"
#include "stpn/kernels/stpn_recurrent_layout.h"

HWY_BEFORE_NAMESPACE();
namespace stpn::kernels {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// One pass over F a step: the update of step t-1 waits until h[t-1] is complete
// and is made while row by row the drive of step t is summed.
template <typename T, int S, Norm kNorm, bool kClamp>
class StpnForward : public ForwardGroup<StpnForward<T, S, kNorm, kClamp>, T, S> {
  using Loop = ForwardGroup<StpnForward, T, S>;
  using Loop::first_;
  using Loop::kept_;
  using Loop::kRows;
  using Loop::plan_;
  using typename Loop::D;
  using typename Loop::Plan;
  using typename Loop::V;
  // Rows of F that go together: kRows units of S samples.
  static constexpr int kLanes = kRows * S;

 public:
  static int64_t scratch(const Plan& plan) { return 3 * S * plan.row + 5 * plan.units(S); }

  StpnForward(const Plan& plan, int64_t first, T* kept, Scratch<T>& scratch,
              const StpnRecurrentForward<T>& call, const PaddedMatrices<T>& parameters)
      : Loop(plan, first, kept, call.reset, scratch),
        call_(call),
        parameters_(parameters),
        z_(scratch.take(S * plan.row)),
        hebbian_(scratch.take(S * plan.row)),
        z_squared_(scratch.take(S * plan.row)),
        h_(scratch.take(plan.units(S))),
        inverse_norm_(scratch.take(plan.units(S))),
        dot_(scratch.take(plan.units(S))),
        squares_(scratch.take(plan.units(S))),
        bias_(scratch.take(plan.units(S))) {}

  void begin() {
    const auto& v = call_.variant;
    this->copy_in(call_.initial_F, plastic_sources(call_.extent, v),
                  first_plastic_source(call_.extent, v), this->matrix(0));
    if (v.recurrent) this->units_in(call_.initial_h, 0, h_);
    for (int64_t i = 0; i < plan_.hidden && call_.bias != nullptr; ++i) {
      std::fill_n(bias_ + i * S, S, call_.bias[i]);
    }
  }

  // The update that still waits then leaves F zero, whatever was there.
  void forget(int s) {
    std::fill_n(hebbian_ + s * plan_.row, plan_.row, T(0));
    for (int64_t i = 0; i < plan_.hidden; ++i) h_[i * S + s] = inverse_norm_[i * S + s] = T(0);
  }

  void forward(int64_t t) {
    load_presynaptic(t);
    if (t == 0) {
      sweep<false, true>(t);
    } else {
      sweep<true, true>(t);
    }
    activate_units(t);
  }

  void end() {
    sweep<true, false>(plan_.steps);
    const auto& v = call_.variant;
    this->copy_out(this->matrix(0), plastic_sources(call_.extent, v),
                   first_plastic_source(call_.extent, v), call_.final_F);
  }

 private:
  // z = [x; h].
  void load_presynaptic(int64_t t) {
    const int64_t inputs = call_.extent.inputs;
    for (int s = 0; s < S; ++s) {
      T* HWY_RESTRICT z = z_ + s * plan_.row;
      std::copy_n(call_.x + this->place(t, s, inputs), inputs, z);
      if (!call_.variant.recurrent) continue;
      for (int64_t i = 0; i < plan_.hidden; ++i) z[inputs + i] = h_[i * S + s];
    }
  }

  template <bool kUpdate, bool kDrive>
  void sweep(int64_t t) {
    for (int64_t i = 0; i < plan_.rows(S); i += kRows) rows<kUpdate, kDrive>(i, t);
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
  HWY_INLINE void rows(int64_t i, int64_t t) {
    constexpr bool kPost = kUpdate && kNorm == Norm::post;
    const D d;
    const int64_t length = plan_.row;
    const T* HWY_RESTRICT W = parameters_.row(kWeight, i);
    const T* HWY_RESTRICT lambda = parameters_.row(kLambda, i);
    const T* HWY_RESTRICT gamma = parameters_.row(kGamma, i);
    const T* HWY_RESTRICT z = z_;
    const T* HWY_RESTRICT hebbian = hebbian_;
    T* HWY_RESTRICT F = this->matrix(0) + i * S * length;
    const V bound = hn::Set(d, static_cast<T>(call_.variant.clamp));
    V h[kLanes], scale[kLanes];
    STPN_UNROLL
    for (int q = 0; q < kLanes; ++q) {
      h[q] = hn::Set(d, h_[i * S + q]);
      scale[q] = hn::Set(d, inverse_norm_[i * S + q]);
    }
    Sums sums(d);
    for (int64_t j = 0; j < length; j += hn::Lanes(d)) {
      STPN_UNROLL
      for (int r = 0; r < kRows; ++r) {
        const V w = hn::Load(d, W + r * length + j);
        STPN_UNROLL
        for (int s = 0; s < S; ++s) {
          const int q = r * S + s;
          V f = hn::Load(d, F + q * length + j);
          if constexpr (kUpdate) {
            V old = hn::Mul(hn::Load(d, lambda + r * length + j), f);
            if constexpr (kNorm == Norm::pre) old = hn::Mul(old, scale[q]);
            const V learnt =
                hn::Mul(hn::Load(d, gamma + r * length + j), hn::Load(d, hebbian + s * length + j));
            f = hn::MulAdd(learnt, h[q], old);
            if constexpr (kClamp) f = hn::Min(hn::Max(f, hn::Neg(bound)), bound);
            hn::Store(f, d, F + q * length + j);
          }
          if constexpr (kPost) {
            const V G = hn::Add(w, f);
            sums.post[q] = hn::MulAdd(G, G, sums.post[q]);
          } else if constexpr (kDrive) {
            add_drive(sums, q, hn::Add(w, f), hn::Load(d, z + s * length + j));
          }
        }
      }
    }
    if constexpr (kPost) {
      alignas(64) T inverse[kLanes];
      sums_of_lanes<kLanes>(d, sums.post, inverse);
      STPN_UNROLL
      for (int q = 0; q < kLanes; ++q) {
        inverse[q] = T(1) / (std::sqrt(inverse[q]) + static_cast<T>(kNormFloor));
        if (kept_) kept_.units(t - 1, kKeptInversePostNorm)[i * S + q] = inverse[q];
        scale[q] = hn::Set(d, inverse[q]);
      }
      for (int64_t j = 0; j < length; j += hn::Lanes(d)) {
        STPN_UNROLL
        for (int r = 0; r < kRows; ++r) {
          const V w = hn::Load(d, W + r * length + j);
          STPN_UNROLL
          for (int s = 0; s < S; ++s) {
            const int q = r * S + s;
            const V f = hn::Mul(hn::Load(d, F + q * length + j), scale[q]);
            hn::Store(f, d, F + q * length + j);
            if constexpr (kDrive) {
              add_drive(sums, q, hn::Add(w, f), hn::Load(d, z + s * length + j));
            }
          }
        }
      }
    }
    if constexpr (kDrive) {
      sums_of_lanes<kLanes>(d, sums.dot, dot_ + i * S);
      if constexpr (kNorm != Norm::none) sums_of_lanes<kLanes>(d, sums.squares, squares_ + i * S);
    }
  }

  static HWY_INLINE void add_drive(Sums& sums, int q, V G, V z) {
    sums.dot[q] = hn::MulAdd(G, z, sums.dot[q]);
    if constexpr (kNorm != Norm::none) sums.squares[q] = hn::MulAdd(G, G, sums.squares[q]);
  }

  // h = act(G z / n + b) for all units at once; what backward needs; and the
  // presynaptic term of the update to come.
  void activate_units(int64_t t) {
    const D d;
    for (int64_t k = 0; k < plan_.units(S); k += hn::Lanes(d)) {
      V drive = hn::Load(d, dot_ + k);
      if constexpr (kNorm != Norm::none) {
        const V norm =
            hn::Add(hn::Sqrt(hn::Load(d, squares_ + k)), hn::Set(d, static_cast<T>(kNormFloor)));
        const V inverse = hn::Div(hn::Set(d, T(1)), norm);
        drive = hn::Mul(drive, inverse);
        hn::Store(inverse, d, inverse_norm_ + k);
        if (kept_) hn::StoreU(inverse, d, kept_.units(t, kKeptInverseNorm) + k);
      }
      if (kept_) hn::StoreU(drive, d, kept_.units(t, kKeptDrive) + k);
      const V u = hn::Add(drive, hn::Load(d, bias_ + k));
      hn::Store(activate(d, call_.variant.activation, u), d, h_ + k);
    }
    this->units_out(h_, t, call_.output);
    if (call_.energy != nullptr) measure(t);
    if (call_.variant.recurrent && call_.variant.presynaptic == Presynaptic::current) {
      for (int s = 0; s < S; ++s) {
        T* HWY_RESTRICT z = z_ + s * plan_.row + call_.extent.inputs;
        for (int64_t i = 0; i < plan_.hidden; ++i) z[i] = h_[i * S + s];
      }
    }
    std::swap(z_, hebbian_);
  }

  // A pass of its own: energy is seldom asked for.
  void measure(int64_t t) {
    const D d;
    for (int s = 0; s < S; ++s) {
      T* HWY_RESTRICT power = z_squared_ + s * plan_.row;
      for (int64_t j = 0; j < plan_.sources; ++j) {
        const T z = z_[s * plan_.row + j];
        power[j] = call_.measured == nullptr ? z * z : call_.measured[j] * z * z;
      }
    }
    for (int64_t unit = 0; unit < plan_.hidden * S; ++unit) {
      const T* HWY_RESTRICT W = parameters_.row(kWeight, unit / S);
      const T* HWY_RESTRICT F = this->matrix(0) + unit * plan_.row;
      const T* HWY_RESTRICT power = z_squared_ + unit % S * plan_.row;
      V spent = hn::Zero(d);
      for (int64_t j = 0; j < plan_.row; j += hn::Lanes(d)) {
        const V G = hn::Add(hn::Load(d, W + j), hn::Load(d, F + j));
        spent = hn::MulAdd(hn::Abs(G), hn::Load(d, power + j), spent);
      }
      dot_[unit] = hn::GetLane(hn::SumOfLanes(d, spent));
      if constexpr (kNorm != Norm::none) dot_[unit] *= inverse_norm_[unit];
    }
    this->units_out(dot_, t, call_.energy);
  }

  const StpnRecurrentForward<T>& call_;
  const PaddedMatrices<T>& parameters_;
  T* z_;        // of step t
  T* hebbian_;  // of step t-1
  T* const z_squared_;
  T* const h_;
  T* const inverse_norm_;
  T* const dot_;
  T* const squares_;
  T* const bias_;
};

}  // namespace HWY_NAMESPACE
}  // namespace stpn::kernels
HWY_AFTER_NAMESPACE();

#endif
