// A step forward of the STPN, for a group of samples. Compiled once a target.

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
#include "stpn/kernels/stpn/cpu_layer_norm-inl.h"
#include "stpn/kernels/stpn/cpu_oja-inl.h"
#include "stpn/kernels/stpn/cpu_plastic_bias-inl.h"
#include "stpn/kernels/stpn/cpu_layout.h"

HWY_BEFORE_NAMESPACE();
namespace stpn::kernels {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// One pass over F a step: the update of step t-1 waits until h[t-1] is complete and is made while
// row by row the sums are taken that the drive of step t needs.
//
// Norm `post` divides the new F by m = |W + C|, with C the clamped F before that. No pass does it:
// the matrix holds C, and a unit value its scale 1/m. All that a step needs of F = C/m are sums
// over C:
//   m^2 = |W|^2 + 2 W.C + |C|^2;   n^2 = |W|^2 + (2 W.C + |C|^2 / m) / m;   G z = W z + C z / m
// Where C all but cancels W, m lacks the digits that they share.
template <class Layout, Norm kNorm, bool kClamp>
class StpnForward : public ForwardLoop<StpnForward<Layout, kNorm, kClamp>, Layout> {
  using Loop = ForwardLoop<StpnForward, Layout>;
  using Loop::saved_;
  using Loop::kTileVectors;
  using Loop::kRows;
  using Loop::kVectors;
  using Loop::layout_;
  using Loop::plan_;
  using Loop::S;
  using typename Loop::D;
  using typename Loop::Plan;
  using typename Loop::T;
  using typename Loop::V;
  static constexpr bool kNormed = kNorm != Norm::none;
  static constexpr bool kPost = kNorm == Norm::post;
  static constexpr bool kScaled = kNorm == Norm::pre || kPost;
  // Lanes whose sums stay in registers together: `post` has twice as many.
  using Part = TilePart<Layout, kPost ? 2 : kTileRows>;

 public:
  static int64_t scratch(const Plan& plan) {
    return plan.presynaptic(S) + (kPost ? 8 : 4) * plan.neurons(S);
  }
  static int64_t activity(const Plan& plan) {
    return slots(plan) * (plan.presynaptic(S) + plan.neurons(S));
  }

  StpnForward(const Plan& plan, int64_t first, T* saved, Scratch<T>& scratch,
              const StpnForwardParams<T>& call, const PaddedMatrices<T>& parameters)
      : Loop(plan, first, saved, call, scratch),
        call_(call),
        parameters_(parameters),
        slots_(slots(plan)),
        z_(Loop::take_activity(scratch, slots_ * plan.presynaptic(S))),
        h_(Loop::take_activity(scratch, slots_ * plan.neurons(S))),
        z_squared_(scratch.take(plan.presynaptic(S))),
        inverse_norm_(scratch.take(plan.neurons(S))),
        scale_(kPost ? scratch.take(plan.neurons(S)) : inverse_norm_),
        dot_(scratch.take(plan.neurons(S))),
        squares_(scratch.take(plan.neurons(S))),
        bias_(scratch.take(plan.neurons(S))),
        weight_dot_(kPost ? scratch.take(plan.neurons(S)) : dot_),
        weight_along_(kPost ? scratch.take(plan.neurons(S)) : dot_),
        weight_squares_(kPost ? scratch.take(plan.neurons(S)) : dot_) {
    const auto& v = call.variant;
    if (v.plastic_bias) plastic_bias_.emplace(plan, call);
    if (v.layer_norm) layer_norm_.emplace(plan, call);
    if (v.rule == Rule::oja) prediction_.emplace(plan);
  }

  void begin() {
    const auto& v = call_.variant;
    this->copy_in(
        {call_.initial_F, plastic_fan_in(call_.extent, v), first_plastic_input(call_.extent, v)},
        this->matrix(0));
    if (v.recurrent) this->neurons_in(call_.initial_h, 0, h(-1));
    if (plastic_bias_) this->neurons_in(call_.initial_beta, 0, plastic_bias_->values());
    for (int64_t i = 0; i < plan_.hidden && call_.bias != nullptr; ++i) {
      std::fill_n(bias_ + i * S, S, call_.bias[i]);
    }
    for (int64_t i = 0; i < plan_.hidden && kPost; ++i) {
      const T* W = parameters_.row(kWeight, i);
      std::fill_n(weight_squares_ + i * S, S, std::inner_product(W, W + plan_.fan_in, W, T(0)));
    }
  }

  // The update that still waits then leaves F zero, whatever was there.
  void forget(int s) {
    this->clear_presynaptic(s, plan_.fan_in, 0, z(next_ - 1));
    T* HWY_RESTRICT h = this->h(next_ - 1);
    // Padding too: a layer norm sums over all.
    for (int64_t k = s; k < plan_.neurons(S); k += S) h[k] = scale_[k] = T(0);
    if (plastic_bias_) plastic_bias_->forget(s, 0, plan_.neurons(S));
  }

  void forward(int64_t t) {
    load(t);
    forward(t, this->all_rows());
    store(t);
  }

  // z = [x; h].
  void load(int64_t t) {
    const int64_t inputs = call_.extent.inputs;
    this->rows_to_presynaptic(call_.x + this->place(t, 0, inputs), inputs, inputs, 0, z(t));
    if (call_.variant.recurrent) this->neurons_to_presynaptic(h(t - 1), inputs, z(t));
  }

  void forward(int64_t t, Rows which) {
    if (t == 0) {
      sweep<false, true>(t, which);
    } else {
      sweep<true, true>(t, which);
    }
    if (!Layout::kNeuronBlocks) activate_neurons(t, 0, plan_.neurons(S), h(t));
    if (call_.energy != nullptr) measure(t, which);
  }

  // From now on z is the presynaptic term of the update to come.
  void store(int64_t t) {
    this->neurons_out(h(t), t, call_.output);
    if (call_.variant.recurrent && call_.variant.presynaptic == Presynaptic::current) {
      this->neurons_to_presynaptic(h(t), call_.extent.inputs, z(t));
    }
    if (prediction_) take_off_prediction(t);
    next_ = t + 1;
  }

  // By Oja's rule the presynaptic term is not z alone.
  void take_off_prediction(int64_t t) {
    prediction_->set_activity(h(t), kScaled ? scale_ : nullptr);
    prediction_->take_off(this->matrix(0), z(t));
    // Nothing else writes the padding of z: NaN there would outlive a reset.
    for (int s = 0; s < S; ++s) {
      this->clear_presynaptic(s, layout_.width - plan_.fan_in, plan_.fan_in, z(t));
    }
    if (saved_) std::copy_n(z(t), plan_.presynaptic(S), saved_.presynaptic(t, 0));
  }

  void end() {
    sweep<true, false>(plan_.steps, this->all_rows());
    if constexpr (kPost) divide_by_norm();
    const auto& v = call_.variant;
    this->copy_out(this->matrix(0), {call_.final_F, plastic_fan_in(call_.extent, v),
                                     first_plastic_input(call_.extent, v)});
    if (plastic_bias_) this->neurons_out(plastic_bias_->values(), 0, call_.final_beta);
  }

 private:
  // Activity of the last steps, those of a block and the one before, goes round in as many slots.
  static int64_t slots(const Plan& plan) { return Layout::kNeuronBlocks ? plan.interval + 1 : 2; }
  int64_t slot(int64_t t) const { return (t + 1) % (Layout::kNeuronBlocks ? slots_ : 2); }
  T* z(int64_t t) const { return z_ + slot(t) * plan_.presynaptic(S); }
  T* h(int64_t t) const { return h_ + slot(t) * plan_.neurons(S); }

  // Where a sweep finds the first of its rows, and how far it is to the next: worked out once, not
  // for each row.
  struct Sweep {
    const T *W, *lambda, *gamma;
    int64_t parameters, matrix;  // to the next row
    T* F;
    const T* z;
    const T *hebbian, *last_h, *scale;  // that the update of the step before still waits for
    T *dot, *squares, *weight_dot, *weight_along;
  };
  Sweep sweep_from(int64_t t, int64_t i) const {
    const int64_t k = i * S;
    return {.W = parameters_.row(kWeight, i),
            .lambda = parameters_.row(kLambda, i),
            .gamma = parameters_.row(kGamma, i),
            .parameters = plan_.row,
            .matrix = this->row_of(1),
            .F = this->matrix(0) + this->row_of(i),
            .z = z(t),
            .hebbian = z(t - 1),
            .last_h = h(t - 1) + k,
            .scale = scale_ + k,
            .dot = dot_ + k,
            .squares = squares_ + k,
            .weight_dot = weight_dot_ + k,
            .weight_along = weight_along_ + k};
  }

  // Down the rows and, at the next step, up again: what the last sweep left in the cache goes
  // first.
  template <bool kUpdate, bool kDrive>
  void sweep(int64_t t, Rows which) {
    const Sweep at = sweep_from(t, which.begin);
    const int64_t count = which.end - which.begin;
    for (int64_t done = 0; done < count; done += kRows) {
      const int64_t i = t % 2 != 0 ? count - kRows - done : done;
      rows<kUpdate, kDrive>(at, i);
      if constexpr (Layout::kNeuronBlocks && kDrive) {
        activate_neurons(t, (which.begin + i) * S, (which.begin + i + kRows) * S, h(t));
      }
    }
  }

  // Over the sources of a row: F z and |G|^2; norm `post`: C z, |C|^2, W z and W C.
  struct Sums {
    V dot[kTileVectors], squares[kTileVectors], weight_dot[kTileVectors], weight_along[kTileVectors];
  };

  // Rows i to i + kRows of all samples: the update of step t-1, then the sums that the drive of
  // step t needs.
  template <bool kUpdate, bool kDrive>
  HWY_INLINE void rows(const Sweep& at, int64_t i) {
    Sums sums;
    STPN_UNROLL
    for (int b = 0; b < Part::kParts; ++b) lanes<kUpdate, kDrive>(at, i, Part(b), sums);
    if constexpr (kDrive) Layout::store_sums(sums.dot, at.dot + i * S);
    if constexpr (kPost || (kDrive && kNormed)) {
      Layout::store_sums(sums.squares, at.squares + i * S);
    }
    if constexpr (kPost) Layout::store_sums(sums.weight_along, at.weight_along + i * S);
    if constexpr (kPost && kDrive) Layout::store_sums(sums.weight_dot, at.weight_dot + i * S);
  }

  template <bool kUpdate, bool kDrive>
  HWY_INLINE void lanes(const Sweep& at, int64_t i, Part part, Sums& sums) {
    const D d;
    const Layout layout = this->layout_;
    const int64_t width = layout.width;
    const T* HWY_RESTRICT W = at.W + i * at.parameters;
    const T* HWY_RESTRICT lambda = at.lambda + i * at.parameters;
    const T* HWY_RESTRICT gamma = at.gamma + i * at.parameters;
    const T* HWY_RESTRICT z = at.z;
    const T* HWY_RESTRICT hebbian = at.hebbian;
    T* HWY_RESTRICT F = at.F + i * at.matrix;
    const V bound = hn::Set(d, static_cast<T>(call_.variant.clamp));
    V h[Part::kTileVectors], scale[Part::kTileVectors];
    V dot[Part::kTileVectors], squares[Part::kTileVectors];
    V weight_dot[Part::kTileVectors], weight_along[Part::kTileVectors];
    STPN_UNROLL
    for (int p = 0; p < Part::kTileVectors; ++p) {
      h[p] = layout.neuron(at.last_h + i * S, part.tile_vector(p));
      scale[p] = layout.neuron(at.scale + i * S, part.tile_vector(p));
      dot[p] = squares[p] = weight_dot[p] = weight_along[p] = hn::Zero(d);
    }
    // Stage by stage for all lanes, as backward does.
    for (int64_t j = 0; j < width; j += Layout::kColumns) {
      V w[Part::kTileVectors], f[Part::kTileVectors];
      STPN_UNROLL
      for (int p = 0; p < Part::kTileVectors; ++p) {
        w[p] = layout.parameter(W, part.row(p), j);
        f[p] = hn::Load(d, F + layout.synapse(part.tile_vector(p), j));
      }
      if constexpr (kUpdate) {
        V learnt[Part::kTileVectors];
        STPN_UNROLL
        for (int p = 0; p < Part::kTileVectors; ++p) {
          f[p] = hn::Mul(layout.parameter(lambda, part.row(p), j), f[p]);
          learnt[p] = hn::Mul(layout.parameter(gamma, part.row(p), j),
                              hn::Load(d, hebbian + layout.presynaptic(part.vector(p), j)));
        }
        STPN_UNROLL
        for (int p = 0; p < Part::kTileVectors; ++p) {
          if constexpr (kScaled) f[p] = hn::Mul(f[p], scale[p]);
          f[p] = hn::MulAdd(learnt[p], h[p], f[p]);
        }
        STPN_UNROLL
        for (int p = 0; p < Part::kTileVectors; ++p) {
          if constexpr (kClamp) f[p] = hn::Min(hn::Max(f[p], hn::Neg(bound)), bound);
          hn::Store(f[p], d, F + layout.synapse(part.tile_vector(p), j));
        }
      }
      STPN_UNROLL
      for (int p = 0; p < Part::kTileVectors && kPost; ++p) {
        squares[p] = hn::MulAdd(f[p], f[p], squares[p]);
        weight_along[p] = hn::MulAdd(w[p], f[p], weight_along[p]);
      }
      STPN_UNROLL
      for (int p = 0; p < Part::kTileVectors && kDrive; ++p) {
        const V active = hn::Load(d, z + layout.presynaptic(part.vector(p), j));
        const V G = kPost ? f[p] : hn::Add(w[p], f[p]);
        dot[p] = hn::MulAdd(G, active, dot[p]);
        if constexpr (kPost) weight_dot[p] = hn::MulAdd(w[p], active, weight_dot[p]);
        if constexpr (kNormed && !kPost) squares[p] = hn::MulAdd(G, G, squares[p]);
      }
    }
    STPN_UNROLL
    for (int p = 0; p < Part::kTileVectors; ++p) {
      sums.dot[part.tile_vector(p)] = dot[p];
      sums.squares[part.tile_vector(p)] = squares[p];
      sums.weight_dot[part.tile_vector(p)] = weight_dot[p];
      sums.weight_along[part.tile_vector(p)] = weight_along[p];
    }
  }

  static HWY_INLINE V inverse_root(D d, V square) {
    const V norm =
        hn::Add(hn::Sqrt(hn::Max(square, hn::Zero(d))), hn::Set(d, static_cast<T>(kNormEpsilon)));
    return hn::Div(hn::Set(d, T(1)), norm);
  }
  // Norm `post`: the scale of the C that step t sees; of the initial F it is 1.
  HWY_INLINE V post_scale(D d, int64_t t, int64_t k) const {
    if (t == 0) return hn::Set(d, T(1));
    const V along = hn::Load(d, weight_along_ + k);
    const V weight = hn::Load(d, weight_squares_ + k);
    return inverse_root(d,
                        hn::Add(hn::Add(weight, hn::Add(along, along)), hn::Load(d, squares_ + k)));
  }

  // h = act(G z / n + b) for many units at once, and what backward needs.
  HWY_INLINE void activate_neurons(int64_t t, int64_t begin, int64_t end, T* HWY_RESTRICT h) {
    const D d;
    const bool is_preactivation = plastic_bias_ || layer_norm_;  // more is to come
    const Activation activation = is_preactivation ? Activation::identity : call_.variant.activation;
    const auto save = [&](StpnSaved which, int64_t k, V value) HWY_ATTR {
      if (saved_) hn::StoreU(value, d, saved_.neurons(t, which, begin / S) + (k - begin));
    };
    for (int64_t k = begin; k < end; k += hn::Lanes(d)) {
      V preactivation = hn::Load(d, dot_ + k);
      if constexpr (kNormed) {
        V square = hn::Load(d, squares_ + k);
        if constexpr (kPost) {
          const V scale = post_scale(d, t, k);
          const V along_weight = hn::Load(d, weight_along_ + k);
          const V along_G = hn::MulAdd(scale, square, along_weight);
          save(kSavedScale, k, scale);
          save(kSavedCz, k, preactivation);
          save(kSavedCG, k, along_G);
          hn::Store(scale, d, scale_ + k);
          square =
              hn::MulAdd(scale, hn::Add(along_weight, along_G), hn::Load(d, weight_squares_ + k));
          preactivation = hn::MulAdd(scale, preactivation, hn::Load(d, weight_dot_ + k));
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
    if (is_preactivation) finish_preactivation(t, begin, end, h);
  }

  // From G z / n + b to h, with a plastic bias, a layer norm or both.
  void finish_preactivation(int64_t t, int64_t begin, int64_t end, T* HWY_RESTRICT h) {
    const D d;
    for (int64_t k = begin; k < end && plastic_bias_; k += hn::Lanes(d)) {
      const V beta = plastic_bias_->at(k);
      add_to(d, beta, h + k);
      if (!saved_) continue;
      T* const saved = saved_.neurons(t, saved_plastic_bias(call_.variant), begin / S);
      hn::StoreU(beta, d, saved + (k - begin));
    }
    if (layer_norm_) {
      layer_norm_->forward(h, saved_ ? saved_.neurons(t, saved_layer_norm(call_.variant)) : nullptr,
                           saved_ ? saved_.samples(t, 0) : nullptr);
    }
    for (int64_t k = begin; k < end; k += hn::Lanes(d)) {
      const V activity = activate(d, call_.variant.activation, hn::Load(d, h + k));
      hn::Store(activity, d, h + k);
      if (plastic_bias_) plastic_bias_->update(k, activity);
    }
  }

  // Norm `post` of the last step.
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

  // A pass of its own: energy is seldom asked for.
  void measure(int64_t t, Rows which) {
    const T* HWY_RESTRICT active = z(t);
    for (int64_t j = 0; j < plan_.fan_in; ++j) {
      const T counts = call_.measured == nullptr ? T(1) : call_.measured[j];
      for (int s = 0; s < S; ++s) {
        const T z = active[layout_.value(s, j)];
        z_squared_[layout_.value(s, j)] = counts * z * z;
      }
    }
    for (int64_t i = which.begin; i < which.end; i += kRows) measure_rows(i);
    for (int64_t k = which.begin * S; k < which.end * S && kNormed; ++k) {
      dot_[k] *= inverse_norm_[k];
    }
    this->neurons_out(dot_, t, which, call_.energy);
  }
  HWY_INLINE void measure_rows(int64_t i) {
    const D d;
    const Layout layout = layout_;
    const T* HWY_RESTRICT W = parameters_.row(kWeight, i);
    const T* HWY_RESTRICT F = this->matrix(0) + this->row_of(i);
    V spent[kTileVectors];
    STPN_UNROLL
    for (int q = 0; q < kTileVectors; ++q) spent[q] = hn::Zero(d);
    for (int64_t j = 0; j < layout.width; j += Layout::kColumns) {
      STPN_UNROLL
      for (int q = 0; q < kTileVectors; ++q) {
        V f = hn::Load(d, F + layout.synapse(q, j));
        if constexpr (kPost) f = hn::Mul(f, layout.neuron(scale_ + i * S, q));
        const V G = hn::Add(layout.parameter(W, q / kVectors, j), f);
        const V power = hn::Load(d, z_squared_ + layout.presynaptic(q % kVectors, j));
        spent[q] = hn::MulAdd(hn::Abs(G), power, spent[q]);
      }
    }
    Layout::store_sums(spent, dot_ + i * S);
  }

  const StpnForwardParams<T>& call_;
  const PaddedMatrices<T>& parameters_;
  const int64_t slots_;
  T* const z_;
  T* const h_;
  T* const z_squared_;
  T* const inverse_norm_;
  T* const scale_;  // of what the update finds: F / n (`pre`), C / m (`post`)
  T* const dot_;
  T* const squares_;
  T* const bias_;
  T* const weight_dot_;  // norm `post` only, as the next two
  T* const weight_along_;
  T* const weight_squares_;
  std::optional<StpnPlasticBias<Layout>> plastic_bias_;
  std::optional<StpnLayerNorm<Layout>> layer_norm_;
  std::optional<StpnPrediction<Layout>> prediction_;  // Oja's rule
  int64_t next_ = 0;                                  // the step that comes next
};

}  // namespace HWY_NAMESPACE
}  // namespace stpn::kernels
HWY_AFTER_NAMESPACE();

#endif
