// Oja's rule of the STPN: synapses grow by the part of their presynaptic term z that the activities
// of the neurons do not predict,
//   h outer (z - prediction),   prediction = sum over neurons of f F,   f = h scale
// with `scale` as in the update of F. It takes passes of its own, as the rule is seldom used. Not
// with neuron blocks, whose neurons are independent of each other. Compiled once for each SIMD
// target.

#if defined(STPN_KERNELS_STPN_RULES_CPU_OJA_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef STPN_KERNELS_STPN_RULES_CPU_OJA_INL_H_
#undef STPN_KERNELS_STPN_RULES_CPU_OJA_INL_H_
#else
#define STPN_KERNELS_STPN_RULES_CPU_OJA_INL_H_
#endif

#include <hwy/highway.h>

#include <algorithm>

#include "stpn/kernels/cpu/products-inl.h"
#include "stpn/kernels/cpu/scratch_pool.h"

HWY_BEFORE_NAMESPACE();
namespace stpn::kernels {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// The prediction at one time step; `F` and `dF` are matrices of the group.
template <class Layout>
class StpnPrediction {
  using T = typename Layout::Value;
  using D = typename Layout::D;
  using V = typename Layout::V;
  static constexpr int S = Layout::kSamples;

 public:
  explicit StpnPrediction(const PlasticPlan<T>& plan)
      : layout_(plan),
        hidden_(plan.hidden),
        padded_(plan.padded(plan.hidden)),
        neurons_(plan.neurons(S)),
        presynaptic_(plan.presynaptic(S)),
        memory_(neurons_ + presynaptic_ + S * padded_) {
    std::fill_n(memory_.get(), neurons_ + presynaptic_ + S * padded_, T(0));
  }

  // Neuron values; null for `scale` means 1.
  void set_activity(const T* HWY_RESTRICT h, const T* HWY_RESTRICT scale) const {
    const D d;
    for (int64_t k = 0; k < neurons_; k += hn::Lanes(d)) {
      const V minus_h = hn::Neg(hn::Load(d, h + k));
      hn::Store(scale == nullptr ? minus_h : hn::Mul(minus_h, hn::LoadU(d, scale + k)), d,
                minus_f() + k);
    }
  }

  // In place, from z to z - prediction.
  void subtract(const T* F, T* term) const {
    for (int s = 0; s < S; ++s) {
      const int64_t sample = layout_.presynaptic(s, 0);
      sum_rows<RowsOf::shared, 1>(layout_, T(1), hidden_, {minus_f() + s, 0, S},
                                  {F + sample, 0, presynaptic_}, term + sample, 0);
    }
  }

  // From the gradient of z - prediction to that of -f, neuron values.
  void backpropagate(const T* d_term, const T* F, T* d_minus_f) const {
    std::copy_n(d_term, presynaptic_, this->d_term());
    for (int s = 0; s < S; ++s) {
      const int64_t sample = layout_.presynaptic(s, 0);
      dot_rows(layout_, hidden_, F + sample, presynaptic_, d_term + sample,
               of_samples() + s * padded_);
    }
    transpose(of_samples(), padded_, S, hidden_, d_minus_f, S);
  }
  // Adds the gradient of F, after backpropagate().
  void add_gradient(T* dF) const {
    for (int s = 0; s < S; ++s) {
      const int64_t sample = layout_.presynaptic(s, 0);
      add_outer_products<Layout, T>(layout_, T(1), hidden_, 1, {minus_f() + s, S, 0},
                                    {d_term() + sample, 0, 0}, dF + sample, presynaptic_);
    }
  }

 private:
  T* minus_f() const { return memory_.get(); }
  T* d_term() const { return minus_f() + neurons_; }
  T* of_samples() const { return d_term() + presynaptic_; }  // (S, H), padded

  const Layout layout_;
  const int64_t hidden_, padded_, neurons_, presynaptic_;
  const ScratchArray<T> memory_;
};

}  // namespace HWY_NAMESPACE
}  // namespace stpn::kernels
HWY_AFTER_NAMESPACE();

#endif
