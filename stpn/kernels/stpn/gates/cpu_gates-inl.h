// The gates of the STPN (equations.h): for each neuron and sample a sigmoid of a projection of the
// presynaptic inputs; and, for rule `delta`, the projection W z. Row-vectorised groups only: neuron
// blocks are for neurons that are independent of each other. Compiled once for each SIMD target.

#if defined(STPN_KERNELS_STPN_GATES_CPU_GATES_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef STPN_KERNELS_STPN_GATES_CPU_GATES_INL_H_
#undef STPN_KERNELS_STPN_GATES_CPU_GATES_INL_H_
#else
#define STPN_KERNELS_STPN_GATES_CPU_GATES_INL_H_
#endif

#include <hwy/highway.h>

#include <algorithm>
#include <optional>

#include "stpn/kernels/cpu/gradient_sums-inl.h"
#include "stpn/kernels/cpu/input_projection-inl.h"
#include "stpn/kernels/cpu/layout-inl.h"
#include "stpn/kernels/stpn/cpu_layout.h"

HWY_BEFORE_NAMESPACE();
namespace stpn::kernels {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// Holds the gates of a time step in the forward pass and, in the backward pass, the gradients of
// their pre-activations. All arrays are of neuron values.
template <class Layout>
class StpnGates {
  using T = typename Layout::Value;
  using D = typename Layout::D;
  using V = typename Layout::V;
  static constexpr int S = Layout::kSamples;

 public:
  StpnGates(const PlasticPlan<T>& plan, const StpnForwardParams<T>& call,
            const StpnParameters<T>& parameters)
      : extent_(call.extent),
        variant_(call.variant),
        row_(Layout(plan).width),
        neurons_(plan.neurons(S)),
        arrays_(kArrays, neurons_),
        rows_(kStpnGates * Projection<T, S>::size(plan)) {
    const int64_t size = Projection<T, S>::size(plan);
    std::fill_n(rows_.get(), kStpnGates * size, T(0));
    for (int64_t gate = 0; gate < kStpnGates; ++gate) {
      if (!parameters.gates[gate]) continue;
      projections_[gate].emplace(plan, *parameters.gates[gate], rows_.get() + gate * size);
    }
  }

  T* gate(StpnGate which) const { return arrays_[which]; }
  // What the update of a step multiplies the presynaptic term by: write gate times h; and F by:
  // decay gate over n. Written by the forward pass.
  T* growth() const { return arrays_[kGrowth]; }
  T* scale() const { return arrays_[kScale]; }

  // From the presynaptic inputs of a step to its gates.
  void forward(const T* z) const {
    const D d;
    for (int64_t which = 0; which < kStpnGates; ++which) {
      if (!projections_[which]) continue;
      projections_[which]->forward(z, row_);
      T* HWY_RESTRICT values = arrays_[which];
      transpose(projections_[which]->neurons(), projections_[which]->width(), S, extent_.hidden,
                values, S);
      if (which == kWrittenValue) continue;
      const V largest = hn::Set(d, which == kWriteGate ? T(2) : T(1));
      for (int64_t k = 0; k < neurons_; k += hn::Lanes(d)) {
        const V sigmoid = activate(d, Activation::sigmoid, hn::Load(d, values + k));
        hn::Store(hn::Mul(largest, sigmoid), d, values + k);
      }
    }
  }

  // In place, from the gradient of `growth` to that of growth without its gate, `ungated`, and from
  // that of `scale` to that of 1/n; and to those of the pre-activations of the write and the decay
  // gate.
  void backpropagate_factors(const SavedActivations<T, S>& saved, int64_t t,
                             const T* HWY_RESTRICT ungated, T* HWY_RESTRICT d_growth,
                             T* HWY_RESTRICT d_scale) const {
    const D d;
    const V one = hn::Set(d, T(1));
    const auto load = [&](int64_t value, int64_t k)
                          HWY_ATTR { return hn::LoadU(d, saved.neurons(t, value) + k); };
    for (int64_t k = 0; k < neurons_ && variant_.write_gate; k += hn::Lanes(d)) {
      const V write = load(saved_write_gate(variant_), k);
      const V gradient = hn::Load(d, d_growth + k);
      // The derivative of w = 2 sigmoid is w (1 - w / 2).
      const V slope = hn::Mul(write, hn::NegMulAdd(hn::Set(d, T(0.5)), write, one));
      const V d_gate = hn::Mul(gradient, hn::LoadU(d, ungated + k));
      hn::Store(hn::Mul(d_gate, slope), d, gate(kWriteGate) + k);
      hn::Store(hn::Mul(gradient, write), d, d_growth + k);
    }
    for (int64_t k = 0; k < neurons_ && variant_.decay_gate; k += hn::Lanes(d)) {
      const V keep = load(saved_decay_gate(variant_), k);
      const V gradient = hn::Load(d, d_scale + k);
      const V slope = hn::Mul(keep, hn::Sub(one, keep));
      const V d_gate = hn::Mul(gradient, load(kSavedInverseNorm, k));
      hn::Store(hn::Mul(d_gate, slope), d, gate(kDecayGate) + k);
      hn::Store(hn::Mul(gradient, keep), d, d_scale + k);
    }
  }

  // In place, from the gradient of h[t] to that of the candidate act(u); writes its part of that of
  // h[t-1], here `h_before`, and that of the update gate's pre-activation.
  void backpropagate_update(const SavedActivations<T, S>& saved, int64_t t,
                            const T* HWY_RESTRICT h_before, T* HWY_RESTRICT dh,
                            T* HWY_RESTRICT dh_before) const {
    const D d;
    const int64_t value = saved_update_gate(variant_);
    for (int64_t k = 0; k < neurons_; k += hn::Lanes(d)) {
      const V keep = hn::LoadU(d, saved.neurons(t, value) + k);
      const V candidate = hn::LoadU(d, saved.neurons(t, value + 1) + k);
      const V rest = hn::Sub(hn::Set(d, T(1)), keep);
      const V gradient = hn::Load(d, dh + k);
      const V d_gate = hn::Mul(gradient, hn::Sub(hn::Load(d, h_before + k), candidate));
      hn::Store(hn::Mul(d_gate, hn::Mul(keep, rest)), d, gate(kUpdateGate) + k);
      hn::Store(hn::Mul(gradient, keep), d, dh_before + k);
      hn::Store(hn::Mul(gradient, rest), d, dh + k);
    }
  }

  // From the gradients of the pre-activations, in gate(), adds to those of the gates' weights and
  // of z.
  void backpropagate(const T* z, const Gradients<T>& gradients, T* dz) const {
    for (int64_t which = 0; which < kStpnGates; ++which) {
      if (!projections_[which]) continue;
      const Projection<T, S>& projection = *projections_[which];
      transpose(arrays_[which], S, extent_.hidden, S, projection.neurons(), projection.width());
      projection.backward(z, row_,
                          gradients.vector(kStpnVectors + gate_vectors(extent_, variant_, which)));
      projection.template backpropagate</*kAdd=*/true>(dz, row_);
    }
  }

 private:
  enum Arrays { kGrowth = kStpnGates, kScale, kArrays };

  const Extent extent_;
  const StpnVariant& variant_;
  const int64_t row_, neurons_;
  const NeuronArrays<T> arrays_;
  const ScratchArray<T> rows_;
  std::optional<Projection<T, S>> projections_[kStpnGates];
};

}  // namespace HWY_NAMESPACE
}  // namespace stpn::kernels
HWY_AFTER_NAMESPACE();

#endif
