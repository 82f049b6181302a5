// The inner loops of two time steps in one sweep over F (two_steps/cpu_forward-inl.h). Each works
// on one row of one sample, whose F the loop before has left in the first-level cache. Compiled
// once for each SIMD target.
//
// All take a row of parameters, columns [begin, end) that fill whole lines of the cache, and the
// fast weights F of the row. Pointers are to column 0. F may lie in the caller's memory, so it need
// not be aligned.

#if defined(STPN_KERNELS_STPN_TWO_STEPS_CPU_ROW_LOOPS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef STPN_KERNELS_STPN_TWO_STEPS_CPU_ROW_LOOPS_INL_H_
#undef STPN_KERNELS_STPN_TWO_STEPS_CPU_ROW_LOOPS_INL_H_
#else
#define STPN_KERNELS_STPN_TWO_STEPS_CPU_ROW_LOOPS_INL_H_
#endif

#include <hwy/cache_control.h>
#include <hwy/highway.h>

#include <algorithm>
#include <cstdint>

#include "stpn/kernels/cpu/vector_math-inl.h"
#include "stpn/kernels/stpn/equations.h"

HWY_BEFORE_NAMESPACE();
namespace stpn::kernels {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

struct Columns {
  int64_t begin, end;
};

// Values in 64 bytes: a line of the cache, and what rows are padded to.
template <typename T>
inline constexpr int64_t kLine = 64 / sizeof(T);
// The first column of the line of column j.
template <typename T>
constexpr int64_t line_of(int64_t j) {
  return j / kLine<T> * kLine<T>;
}

// F and its gradient come from beyond the second-level cache: they are fetched eight lines ahead,
// which gives backward a tenth or more.
template <typename T>
HWY_INLINE void fetch_ahead(const T* values) {
  hwy::Prefetch(values + 8 * kLine<T>);
}
// Those columns of a row of all samples, `width` apart.
template <int S, typename T>
HWY_INLINE void fetch(const T* rows, int64_t width, Columns in) {
  for (int s = 0; s < S; ++s) {
    for (int64_t j = in.begin; j < in.end; j += kLine<T>) hwy::Prefetch(rows + s * width + j);
  }
}

template <typename T>
struct ParameterRow {
  const T* HWY_RESTRICT W;
  const T* HWY_RESTRICT lambda;
  const T* HWY_RESTRICT gamma;
};

// The update of a step: F[t+1] = Lambda F[t] scale + Gamma h z, with scale 1/n (norm `pre`) or 1.
template <typename T>
struct RowUpdate {
  const T* z;
  T scale, h;
};

// The inputs z of one step or two.
template <typename T>
struct InputsOfSteps {
  const T* HWY_RESTRICT first;
  const T* HWY_RESTRICT last;
};

// F[t+1] in vectors, from Lambda F[t] and Gamma z.
template <bool kScaled, class V>
HWY_INLINE V updated(V decayed, V growth, V scale, V h) {
  return hn::MulAdd(growth, h, kScaled ? hn::Mul(decayed, scale) : decayed);
}

// kSteps updates in vectors, one after the other.
template <bool kScaled, int kSteps, typename T>
class RowUpdates {
 public:
  using V = hn::Vec<hn::ScalableTag<T>>;
  HWY_INLINE explicit RowUpdates(const RowUpdate<T>* updates)
      : z_{updates[0].z, updates[kSteps - 1].z},
        scale0_(hn::Set(d_, updates[0].scale)),
        scale1_(hn::Set(d_, updates[kSteps - 1].scale)),
        h0_(hn::Set(d_, updates[0].h)),
        h1_(hn::Set(d_, updates[kSteps - 1].h)) {}
  // F after them, from columns j on of F before them.
  HWY_INLINE V of(V F, V lambda, V gamma, int64_t j) const {
    F = updated<kScaled>(hn::Mul(lambda, F), hn::Mul(gamma, hn::Load(d_, z_.first + j)), scale0_,
                         h0_);
    if constexpr (kSteps == 2) {
      F = updated<kScaled>(hn::Mul(lambda, F), hn::Mul(gamma, hn::Load(d_, z_.last + j)), scale1_,
                           h1_);
    }
    return F;
  }
  const InputsOfSteps<T>& z() const { return z_; }

 private:
  static constexpr hn::ScalableTag<T> d_{};
  InputsOfSteps<T> z_;
  V scale0_, scale1_, h0_, h1_;
};

// Makes kSteps updates, one after the other: `from` and `to` may be the same. With kStreams past
// the caches, to where it is aligned; the caller flushes streams.
template <bool kScaled, int kSteps, bool kStreams = false, typename T>
HWY_INLINE void update_row(const ParameterRow<T>& p, const RowUpdate<T>* updates, Columns in,
                           const T* from, T* to) {
  const hn::ScalableTag<T> d;
  const RowUpdates<kScaled, kSteps, T> all(updates);
  for (int64_t line = in.begin; line < in.end; line += kLine<T>) {
    fetch_ahead(from + line);
    STPN_UNROLL
    for (int64_t j = line; j < line + kLine<T>; j += hn::Lanes(d)) {
      const auto F =
          all.of(hn::LoadU(d, from + j), hn::Load(d, p.lambda + j), hn::Load(d, p.gamma + j), j);
      if constexpr (kStreams) {
        hn::Stream(F, d, to + j);
      } else {
        hn::Store(F, d, to + j);
      }
    }
  }
}

// A copy that is not read again soon, past the caches if `streams` and it is aligned; the caller
// flushes streams.
template <typename T>
HWY_INLINE void copy_row(const T* HWY_RESTRICT from, Columns in, bool streams, T* HWY_RESTRICT to) {
  const hn::ScalableTag<T> d;
  if (streams && is_aligned(to)) {
    for (int64_t j = in.begin; j < in.end; j += hn::Lanes(d)) {
      hn::Stream(hn::Load(d, from + j), d, to + j);
    }
  } else {
    std::copy(from + in.begin, from + in.end, to + in.begin);
  }
}

// Sums over a row. The first two are those of step t; from the others those of step t + 1 follow.
// There, D = Lambda F, E = Gamma z, and z' is z[t+1].
enum RowSum { kGz, kGG, kDz, kEz, kWz, kWD, kDD, kWE, kDE, kEE, kRowSums };
// Where step t comes by itself after the update of step t - 1, from which D and E are: those of
// D z, E z, D.G and E.G, which backward needs to take both steps in one sweep.
inline constexpr RowSum kDG = kWD, kEG = kWE;
// How many of them, from the first on, a sweep takes.
template <Norm kNorm, int kUpdates, int kSteps>
inline constexpr int kRowSumsOf = kSteps == 1 && kUpdates != 1
                                      ? (kNorm == Norm::none ? kGz : kGG) + 1
                                      : (kNorm == Norm::none ? int{kWz} + 1 : int{kRowSums});

// Makes kUpdates updates of a row, from `from` to `row`, which may be the same, then writes its
// sums of kSteps steps, (kRowSums) vectors. Without updates it writes no row.
template <Norm kNorm, int kUpdates, int kSteps, typename T>
HWY_INLINE void update_and_sum_row(const ParameterRow<T>& p, const RowUpdate<T>* updates,
                                   const T* HWY_RESTRICT z, const T* HWY_RESTRICT next_z,
                                   Columns in, const T* from, T* row,
                                   hn::Vec<hn::ScalableTag<T>>* HWY_RESTRICT sums) {
  constexpr bool kNormed = kNorm != Norm::none;
  constexpr bool kScaled = kNorm == Norm::pre;
  const hn::ScalableTag<T> d;
  using V = hn::Vec<decltype(d)>;
  const RowUpdate<T> none{nullptr, T(0), T(0)};
  const RowUpdates<kScaled, std::max(1, kUpdates), T> all_updates(kUpdates > 0 ? updates : &none);
  V Gz = hn::Zero(d), GG = Gz, Dz = Gz, Ez = Gz, Wz = Gz;
  V WD = Gz, DD = Gz, WE = Gz, DE = Gz, EE = Gz;
  for (int64_t line = in.begin; line < in.end; line += kLine<T>) {
    fetch_ahead(from + line);
    STPN_UNROLL
    for (int64_t j = line; j < line + kLine<T>; j += hn::Lanes(d)) {
      const V lambda = hn::Load(d, p.lambda + j);
      const V gamma = hn::Load(d, p.gamma + j);
      V F = hn::Load(d, from + j);
      V D = hn::Zero(d), E = hn::Zero(d);
      if constexpr (kUpdates == 1) {
        D = hn::Mul(lambda, F);
        E = hn::Mul(gamma, hn::Load(d, updates[0].z + j));
      }
      if constexpr (kUpdates > 0) {
        F = all_updates.of(F, lambda, gamma, j);
        hn::Store(F, d, row + j);
      }
      const V W = hn::Load(d, p.W + j);
      const V here = hn::Load(d, z + j);
      const V G = hn::Add(W, F);
      Gz = hn::MulAdd(G, here, Gz);
      if constexpr (kNormed) GG = hn::MulAdd(G, G, GG);
      if constexpr (kSteps == 1 && kUpdates == 1) {
        Dz = hn::MulAdd(D, here, Dz);
        Ez = hn::MulAdd(E, here, Ez);
        if constexpr (kNormed) {
          WD = hn::MulAdd(D, G, WD);
          WE = hn::MulAdd(E, G, WE);
        }
      }
      if constexpr (kSteps == 2) {
        const V next = hn::Load(d, next_z + j);
        D = hn::Mul(lambda, F);
        E = hn::Mul(gamma, here);
        Dz = hn::MulAdd(D, next, Dz);
        Ez = hn::MulAdd(E, next, Ez);
        Wz = hn::MulAdd(W, next, Wz);
        if constexpr (kNormed) {
          WD = hn::MulAdd(W, D, WD);
          DD = hn::MulAdd(D, D, DD);
          WE = hn::MulAdd(W, E, WE);
          DE = hn::MulAdd(D, E, DE);
          EE = hn::MulAdd(E, E, EE);
        }
      }
    }
  }
  const V all[kRowSums] = {Gz, GG, Dz, Ez, Wz, WD, DD, WE, DE, EE};
  std::copy_n(all, int{kRowSums}, sums);
}

// The columns of step t + 1 whose z' is known only after step t: the part of kDz, kEz and kWz.
template <typename T>
HWY_INLINE void add_recurrent_sums(const ParameterRow<T>& p, const T* HWY_RESTRICT z,
                                   const T* HWY_RESTRICT next_z, Columns in,
                                   const T* HWY_RESTRICT row,
                                   hn::Vec<hn::ScalableTag<T>>* HWY_RESTRICT sums) {
  const hn::ScalableTag<T> d;
  using V = hn::Vec<decltype(d)>;
  V Dz = hn::Zero(d), Ez = hn::Zero(d), Wz = hn::Zero(d);
  for (int64_t line = in.begin; line < in.end; line += kLine<T>) {
    STPN_UNROLL
    for (int64_t j = line; j < line + kLine<T>; j += hn::Lanes(d)) {
      const V next = hn::Load(d, next_z + j);
      const V D = hn::Mul(hn::Load(d, p.lambda + j), hn::LoadU(d, row + j));
      const V E = hn::Mul(hn::Load(d, p.gamma + j), hn::Load(d, z + j));
      Dz = hn::MulAdd(D, next, Dz);
      Ez = hn::MulAdd(E, next, Ez);
      Wz = hn::MulAdd(hn::Load(d, p.W + j), next, Wz);
    }
  }
  sums[0] = Dz, sums[1] = Ez, sums[2] = Wz;
}

// What backward of a step needs of it: its update, the gradients of its pre-activation, divided by
// n, and of its n, divided by n; and the gradient of its z, which is added to.
template <typename T>
struct RowStep {
  RowUpdate<T> update;
  T du_over_n, dn_over_n;
  T* dz;
};

// Sums of the gradients of a row of parameters.
template <typename T>
struct GradientRow {
  T* HWY_RESTRICT W;
  T* HWY_RESTRICT lambda;
  T* HWY_RESTRICT gamma;
};

// From the gradient of F[t+1] to that of F[t], in vectors; adds to the other gradients.
template <Norm kNorm, bool kPresynaptic, class V>
struct StepBack {
  static constexpr bool kNormed = kNorm != Norm::none;
  static constexpr bool kScaled = kNorm == Norm::pre;
  V scale, h, du_over_n, dn_over_n;

  template <typename T>
  HWY_INLINE explicit StepBack(const RowStep<T>& s) {
    const hn::ScalableTag<T> d;
    scale = hn::Set(d, s.update.scale);
    h = hn::Set(d, s.update.h);
    du_over_n = hn::Set(d, s.du_over_n);
    dn_over_n = hn::Set(d, s.dn_over_n);
  }
  template <typename T>
  HWY_INLINE V through(V W, V lambda, V gamma, V F, V z, V dF, V& dW, V& d_lambda, V& d_gamma,
                       T* HWY_RESTRICT dz) const {
    const hn::ScalableTag<T> d;
    const V G = hn::Add(W, F);
    V through_u = hn::Mul(du_over_n, z);
    if constexpr (kNormed) through_u = hn::MulAdd(dn_over_n, G, through_u);
    dW = hn::Add(dW, through_u);
    const V dF_scale = kScaled ? hn::Mul(dF, scale) : dF;
    const V dF_h = hn::Mul(dF, h);
    d_lambda = hn::MulAdd(dF_scale, F, d_lambda);
    d_gamma = hn::MulAdd(dF_h, z, d_gamma);
    if constexpr (kPresynaptic) {
      const V sum = hn::MulAdd(du_over_n, G, hn::Load(d, dz));
      hn::Store(hn::MulAdd(dF_h, gamma, sum), d, dz);
    }
    return hn::MulAdd(lambda, dF_scale, through_u);
  }
};

// Sums over a row that backward needs of the kSteps steps that made F, dF being the gradient of F.
// With z' of the last of them and z of the first: Gamma dF z'; of two steps Lambda Gamma dF z; with
// norm `pre` dF F.
enum GradientSum { kOfHebbian, kOfGrowth, kOfF, kGradientSums };

// Adds their terms, in vectors. kOfF only if kScaled.
template <bool kScaled, int kSteps, class V, typename T>
HWY_INLINE void add_gradient_terms(V lambda, V gamma, V F, V dF, const InputsOfSteps<T>& z,
                                   int64_t j, V (&sums)[kGradientSums]) {
  const hn::ScalableTag<T> d;
  const V growth = hn::Mul(gamma, dF);
  sums[kOfHebbian] = hn::MulAdd(growth, hn::Load(d, z.last + j), sums[kOfHebbian]);
  if constexpr (kSteps == 2) {
    sums[kOfGrowth] =
        hn::MulAdd(hn::Mul(lambda, growth), hn::Load(d, z.first + j), sums[kOfGrowth]);
  }
  if constexpr (kScaled) sums[kOfF] = hn::MulAdd(dF, F, sums[kOfF]);
}

// Backpropagates through kSteps steps of which `row` has the F of the first: dF from `d_from` to
// `d_row`, which may be the same. The gradients of z only if kPresynaptic. Adds to the sums that
// the kNext steps before need, whose inputs are `next_z`, if there are any.
template <Norm kNorm, int kSteps, int kNext, bool kPresynaptic, typename T>
HWY_INLINE void back_row(const ParameterRow<T>& p, const GradientRow<T>& gradient,
                         const RowStep<T>* steps, Columns in, const T* HWY_RESTRICT row,
                         const T* d_from, T* d_row, const InputsOfSteps<T>& next_z,
                         hn::Vec<hn::ScalableTag<T>> (&sums)[kGradientSums]) {
  const hn::ScalableTag<T> d;
  using V = hn::Vec<decltype(d)>;
  using Step = StepBack<kNorm, kPresynaptic, V>;
  const Step first(steps[0]), second(steps[kSteps - 1]);
  const T* HWY_RESTRICT z0 = steps[0].update.z;
  const T* HWY_RESTRICT z1 = steps[kSteps - 1].update.z;
  T* HWY_RESTRICT dz0 = steps[0].dz;
  T* HWY_RESTRICT dz1 = steps[kSteps - 1].dz;
  const T* HWY_RESTRICT W_row = p.W;
  const T* HWY_RESTRICT lambda_row = p.lambda;
  const T* HWY_RESTRICT gamma_row = p.gamma;
  T* HWY_RESTRICT dW_row = gradient.W;
  T* HWY_RESTRICT d_lambda_row = gradient.lambda;
  T* HWY_RESTRICT d_gamma_row = gradient.gamma;
  V all[kGradientSums];
  std::copy_n(sums, int{kGradientSums}, all);
  for (int64_t line = in.begin; line < in.end; line += kLine<T>) {
    fetch_ahead(row + line);
    fetch_ahead(d_from + line);
    STPN_UNROLL
    for (int64_t j = line; j < line + kLine<T>; j += hn::Lanes(d)) {
      const V W = hn::Load(d, W_row + j);
      const V lambda = hn::Load(d, lambda_row + j);
      const V gamma = hn::Load(d, gamma_row + j);
      const V F = hn::LoadU(d, row + j);
      const V z = hn::Load(d, z0 + j);
      V dF = hn::Load(d, d_from + j);
      V dW = hn::Load(d, dW_row + j);
      V d_lambda = hn::Load(d, d_lambda_row + j);
      V d_gamma = hn::Load(d, d_gamma_row + j);
      if constexpr (kSteps == 2) {
        const V next_F =
            updated<Step::kScaled>(hn::Mul(lambda, F), hn::Mul(gamma, z), first.scale, first.h);
        dF = second.through(W, lambda, gamma, next_F, hn::Load(d, z1 + j), dF, dW, d_lambda,
                            d_gamma, dz1 + j);
      }
      dF = first.through(W, lambda, gamma, F, z, dF, dW, d_lambda, d_gamma, dz0 + j);
      hn::Store(dF, d, d_row + j);
      if constexpr (kNext > 0) {
        add_gradient_terms<Step::kScaled, kNext>(lambda, gamma, F, dF, next_z, j, all);
      }
      hn::Store(dW, d, dW_row + j);
      hn::Store(d_lambda, d, d_lambda_row + j);
      hn::Store(d_gamma, d, d_gamma_row + j);
    }
  }
  std::copy_n(all, int{kGradientSums}, sums);
}

// The same sums where the kSteps steps are the last of all: of the gradient of the final F, which
// they make from `row`.
template <bool kScaled, int kSteps, typename T>
HWY_INLINE void add_sums_of_final_gradient(const ParameterRow<T>& p, const RowUpdate<T>* updates,
                                           Columns in, const T* HWY_RESTRICT row,
                                           const T* HWY_RESTRICT d_row,
                                           hn::Vec<hn::ScalableTag<T>> (&sums)[kGradientSums]) {
  const hn::ScalableTag<T> d;
  using V = hn::Vec<decltype(d)>;
  const RowUpdates<kScaled, kSteps, T> all(updates);
  for (int64_t j = in.begin; j < in.end; j += hn::Lanes(d)) {
    const V lambda = hn::Load(d, p.lambda + j);
    const V gamma = hn::Load(d, p.gamma + j);
    const V F = all.of(hn::LoadU(d, row + j), lambda, gamma, j);
    add_gradient_terms<kScaled, kSteps>(lambda, gamma, F, hn::Load(d, d_row + j), all.z(), j, sums);
  }
}

// Of the last of kSteps steps, which starts with F[t] and has made F[t+1], dF being the gradient
// of that, the part of the gradient of z[t] that other neurons wait for: in the recurrent columns.
template <bool kScaled, typename T>
HWY_INLINE void add_recurrent_gradient(const ParameterRow<T>& p, const RowStep<T>* steps,
                                       Columns in, const T* HWY_RESTRICT row,
                                       const T* HWY_RESTRICT d_row, T* HWY_RESTRICT dz) {
  const hn::ScalableTag<T> d;
  using V = hn::Vec<decltype(d)>;
  const T* HWY_RESTRICT z = steps[0].update.z;
  const V scale = hn::Set(d, steps[0].update.scale), h = hn::Set(d, steps[0].update.h);
  const V next_h = hn::Set(d, steps[1].update.h), du_over_n = hn::Set(d, steps[1].du_over_n);
  for (int64_t line = in.begin; line < in.end; line += kLine<T>) {
    STPN_UNROLL
    for (int64_t j = line; j < line + kLine<T>; j += hn::Lanes(d)) {
      const V gamma = hn::Load(d, p.gamma + j);
      const V F = updated<kScaled>(hn::Mul(hn::Load(d, p.lambda + j), hn::LoadU(d, row + j)),
                                   hn::Mul(gamma, hn::Load(d, z + j)), scale, h);
      V sum = hn::MulAdd(du_over_n, hn::Add(hn::Load(d, p.W + j), F), hn::Load(d, dz + j));
      sum = hn::MulAdd(hn::Mul(hn::Load(d, d_row + j), next_h), gamma, sum);
      hn::Store(sum, d, dz + j);
    }
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace stpn::kernels
HWY_AFTER_NAMESPACE();

#endif
