// Forward of the recurrent STPN for a group of samples, all steps. Compiled once a target.

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

#include "stpn/kernels/stpn_recurrent_plan.h"
#include "stpn/kernels/vector_math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace stpn::kernels {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// One pass over F a step: the update of step t-1 waits until h[t-1] is complete and is made while
// row by row the drive of step t is summed.
template <typename T, int S, Norm kNorm, bool kClamp, bool kEnergy>
class ForwardGroup {
  using D = hn::ScalableTag<T>;
  using V = hn::Vec<D>;
  using Plan = StpnRecurrentPlan<T>;

 public:
  static int64_t scratch(const Plan& plan) {
    return plan.weights(S) + 3 * S * plan.row + 6 * plan.units(S);
  }

  // `scratch` is all zeros; `kept` null when only predicting.
  ForwardGroup(const StpnRecurrentForward<T>& p, const PaddedParameters<T>& parameters,
               const Plan& plan, int64_t first, T* kept, T* scratch)
      : p_(p),
        parameters_(parameters),
        plan_(plan),
        first_(first),
        kept_base_(kept),
        kept_(kept, plan, S),
        F_(scratch),
        z_(F_ + plan.weights(S)),
        hebbian_(z_ + S * plan.row),
        power_(hebbian_ + S * plan.row),
        h_(power_ + S * plan.row),
        inverse_norm_(h_ + plan.units(S)),
        dot_(inverse_norm_ + plan.units(S)),
        squares_(dot_ + plan.units(S)),
        spent_(squares_ + plan.units(S)),
        bias_(spent_ + plan.units(S)) {}

  void run() {
    load_state();
    for (int64_t t = 0; t < plan_.steps; ++t) {
      begin_step(t);
      if (t == 0) {
        sweep<false, true>(t);
      } else {
        sweep<true, true>(t);
      }
      if (kept_base_ != nullptr && t % plan_.interval == 0) {
        std::copy_n(F_, plan_.weights(S), kept_.checkpoint(t / plan_.interval));
      }
      finish_step(t);
    }
    sweep<true, false>(plan_.steps);
    store_state();
  }

 private:
  void load_state() {
    for (int64_t i = 0; i < plan_.hidden; ++i) {
      for (int s = 0; s < S; ++s) {
        h_[i * S + s] = p_.initial_h[(first_ + s) * plan_.hidden + i];
        bias_[i * S + s] = p_.bias == nullptr ? T(0) : p_.bias[i];
        std::copy_n(p_.initial_F + ((first_ + s) * plan_.hidden + i) * plan_.sources, plan_.sources,
                    F_ + (i * S + s) * plan_.row);
      }
    }
  }

  void store_state() {
    for (int64_t i = 0; i < plan_.hidden; ++i) {
      for (int s = 0; s < S; ++s) {
        std::copy_n(F_ + (i * S + s) * plan_.row, plan_.sources,
                    p_.final_F + ((first_ + s) * plan_.hidden + i) * plan_.sources);
      }
    }
  }

  // z = [x; h], after resets.
  void begin_step(int64_t t) {
    for (int s = 0; s < S; ++s) {
      const int64_t sample = t * p_.extent.batch + first_ + s;
      if (p_.reset != nullptr && p_.reset[sample] != 0) forget(s);
      T* z = z_ + s * plan_.row;
      std::copy_n(p_.x + sample * plan_.inputs, plan_.inputs, z);
      for (int64_t i = 0; i < plan_.hidden; ++i) z[plan_.inputs + i] = h_[i * S + s];
    }
    if constexpr (kEnergy) {
      for (int64_t k = 0; k < S * plan_.row; ++k) {
        const bool counts = p_.measured == nullptr || k % plan_.row >= plan_.sources ||
                            p_.measured[k % plan_.row] != T(0);
        power_[k] = counts ? z_[k] * z_[k] : T(0);
      }
    }
  }

  // Zero state; and the update that still waits then leaves it zero, whatever was there.
  void forget(int s) {
    std::fill_n(hebbian_ + s * plan_.row, plan_.row, T(0));
    for (int64_t i = 0; i < plan_.hidden; ++i) {
      std::fill_n(F_ + (i * S + s) * plan_.row, plan_.row, T(0));
      h_[i * S + s] = T(0);
      inverse_norm_[i * S + s] = T(0);
    }
  }

  template <bool kUpdate, bool kDrive>
  void sweep(int64_t t) {
    for (int64_t i = 0; i < plan_.hidden; ++i) row<kUpdate, kDrive>(i, t);
  }

  // Row i of all samples: the update of step t-1, then the sums that the drive of step t needs.
  template <bool kUpdate, bool kDrive>
  HWY_INLINE void row(int64_t i, int64_t t) {
    constexpr bool kPost = kUpdate && kNorm == Norm::post;
    const D d;
    const int64_t length = plan_.row;
    const T* HWY_RESTRICT W = parameters_.weight + i * length;
    const T* HWY_RESTRICT lambda = parameters_.lambda + i * length;
    const T* HWY_RESTRICT gamma = parameters_.gamma + i * length;
    T* HWY_RESTRICT F = F_ + i * S * length;
    const V bound = hn::Set(d, static_cast<T>(p_.variant.clamp));
    V h[S], scale[S];
    for (int s = 0; s < S; ++s) {
      h[s] = hn::Set(d, h_[i * S + s]);
      scale[s] = hn::Set(d, inverse_norm_[i * S + s]);
    }
    Sums sums(d);
    for (int64_t j = 0; j < length; j += hn::Lanes(d)) {
      const V w = hn::Load(d, W + j);
      const V l = hn::Load(d, lambda + j);
      const V g = hn::Load(d, gamma + j);
      for (int s = 0; s < S; ++s) {
        V f = hn::Load(d, F + s * length + j);
        if constexpr (kUpdate) {
          V old = hn::Mul(l, f);
          if constexpr (kNorm == Norm::pre) old = hn::Mul(old, scale[s]);
          f = hn::MulAdd(hn::Mul(g, hn::Load(d, hebbian_ + s * length + j)), h[s], old);
          if constexpr (kClamp) f = hn::Min(hn::Max(f, hn::Neg(bound)), bound);
          hn::Store(f, d, F + s * length + j);
        }
        if constexpr (kPost) {
          const V G = hn::Add(w, f);
          sums.post[s] = hn::MulAdd(G, G, sums.post[s]);
        } else if constexpr (kDrive) {
          add_drive(d, sums, s, j, hn::Add(w, f));
        }
      }
    }
    if constexpr (kPost) {
      alignas(64) T inverse[S];
      sums_of_lanes<S>(d, sums.post, inverse);
      for (int s = 0; s < S; ++s) {
        inverse[s] = T(1) / (std::sqrt(inverse[s]) + static_cast<T>(kNormFloor));
        if (kept_base_ != nullptr) kept_.inverse_post_norm(t - 1)[i * S + s] = inverse[s];
        scale[s] = hn::Set(d, inverse[s]);
      }
      for (int64_t j = 0; j < length; j += hn::Lanes(d)) {
        const V w = hn::Load(d, W + j);
        for (int s = 0; s < S; ++s) {
          const V f = hn::Mul(hn::Load(d, F + s * length + j), scale[s]);
          hn::Store(f, d, F + s * length + j);
          if constexpr (kDrive) add_drive(d, sums, s, j, hn::Add(w, f));
        }
      }
    }
    if constexpr (kDrive) {
      sums_of_lanes<S>(d, sums.dot, dot_ + i * S);
      if constexpr (kNorm != Norm::none) sums_of_lanes<S>(d, sums.squares, squares_ + i * S);
      if constexpr (kEnergy) sums_of_lanes<S>(d, sums.spent, spent_ + i * S);
    }
  }

  struct Sums {
    explicit HWY_INLINE Sums(D d) {
      for (int s = 0; s < S; ++s) dot[s] = squares[s] = spent[s] = post[s] = hn::Zero(d);
    }
    V dot[S], squares[S], spent[S], post[S];
  };

  HWY_INLINE void add_drive(D d, Sums& sums, int s, int64_t j, V G) {
    const int64_t at = s * plan_.row + j;
    sums.dot[s] = hn::MulAdd(G, hn::Load(d, z_ + at), sums.dot[s]);
    if constexpr (kNorm != Norm::none) sums.squares[s] = hn::MulAdd(G, G, sums.squares[s]);
    if constexpr (kEnergy) {
      sums.spent[s] = hn::MulAdd(hn::Abs(G), hn::Load(d, power_ + at), sums.spent[s]);
    }
  }

  // h = act(G z / n + b) for all units at once; what backward needs; and the presynaptic term of
  // the update to come.
  void finish_step(int64_t t) {
    const D d;
    for (int64_t k = 0; k < plan_.units(S); k += hn::Lanes(d)) {
      V drive = hn::Load(d, dot_ + k);
      if constexpr (kNorm != Norm::none) {
        const V norm =
            hn::Add(hn::Sqrt(hn::Load(d, squares_ + k)), hn::Set(d, static_cast<T>(kNormFloor)));
        const V inverse = hn::Div(hn::Set(d, T(1)), norm);
        drive = hn::Mul(drive, inverse);
        hn::Store(inverse, d, inverse_norm_ + k);
        if (kept_base_ != nullptr) hn::StoreU(inverse, d, kept_.inverse_norm(t) + k);
      }
      if (kept_base_ != nullptr) hn::StoreU(drive, d, kept_.drive(t) + k);
      const V u = hn::Add(drive, hn::Load(d, bias_ + k));
      hn::Store(activate(d, p_.variant.activation, u), d, h_ + k);
    }
    for (int s = 0; s < S; ++s) {
      const int64_t out = (t * p_.extent.batch + first_ + s) * plan_.hidden;
      for (int64_t i = 0; i < plan_.hidden; ++i) {
        p_.output[out + i] = h_[i * S + s];
        if constexpr (kEnergy) {
          p_.energy[out + i] = kNorm == Norm::none ? spent_[i * S + s]
                                                   : spent_[i * S + s] * inverse_norm_[i * S + s];
        }
        if (p_.variant.presynaptic == Presynaptic::current) {
          z_[s * plan_.row + plan_.inputs + i] = h_[i * S + s];
        }
      }
    }
    std::swap(z_, hebbian_);
  }

  const StpnRecurrentForward<T>& p_;
  const PaddedParameters<T>& parameters_;
  const Plan& plan_;
  const int64_t first_;
  T* const kept_base_;
  const Kept<T> kept_;
  T* const F_;
  T* z_;        // of step t
  T* hebbian_;  // of step t-1
  T* const power_;
  T* const h_;
  T* const inverse_norm_;
  T* const dot_;
  T* const squares_;
  T* const spent_;
  T* const bias_;
};

}  // namespace HWY_NAMESPACE
}  // namespace stpn::kernels
HWY_AFTER_NAMESPACE();

#endif
