"""Faults of the kinds that kernels have been shipped with."""

import typing


class Fault(typing.NamedTuple):
    unit: str  # the folder in stpn/kernels/ whose tests have to catch it
    name: str
    file: str
    old: str  # occurs exactly once
    new: str
    objects: str = ""  # of those that include the file, only objects with this in their name change


CPU = "stpn/kernels/cpu/"
STPN = "stpn/kernels/stpn/"
FAST = "stpn/kernels/fast_weights/"
FIXED = "stpn/kernels/fixed_weights/"
BACK = "stpn/kernels/backpropamine/"

FAULTS = [
    # Fast Weights
    Fault("fast_weights", "a reset acts one step late, in the reference", FAST + "ref.cc",
          "  if (p.reset != nullptr && p.reset[row] != 0) {\n    std::fill(state.h",
          "  if (p.reset != nullptr && t > 0 && p.reset[row - p.extent.batch] != 0) {\n"
          "    std::fill(state.h"),
    Fault("fast_weights", "a reset cuts the gradient one step late", FAST + "cpu_backward-inl.h",
          "if (is_reset(begin_ + m, s)) backpropagate_reset(m, s);",
          "if (begin_ + m + 1 < plan_.steps && is_reset(begin_ + m + 1, s)) "
          "backpropagate_reset(m, s);",
          "shard_cc_double"),
    Fault("fast_weights", "the gradient of the final A is dropped", FAST + "cpu_backward-inl.h",
          "if (call_.grad_final_A == nullptr) return;", "return;",
          "shard_cc_double"),
    Fault("fast_weights", "backward reads the checkpoint of the block before",
          FAST + "cpu_backward-inl.h",
          "saved_.checkpoint(block);", "saved_.checkpoint(std::max(block - 1, int64_t{0}));",
          "shard_cc_double"),
    Fault("fast_weights", "shards are added in the order in which threads begin them",
          FAST + "dispatch.cc",
          "fast_weights_shard(p, parameters, plan, sums.start(shard), shard);",
          "static std::atomic<int64_t> begun{0};\n"
          "fast_weights_shard(p, parameters, plan, sums.start(begun++ % plan.shards), shard);"),
    Fault("fast_weights", "the layer norm's gradient lacks the term of the mean",
          CPU + "layer_norm-inl.h",
          "V du = hn::NegMulAdd(sum, common<Layout>(weights + j), hn::Load(d, at));",
          "V du = hn::Load(d, at);",
          "shard_cc_double"),
    Fault("fast_weights", "the last step of a time block adds no gradient of W",
          FAST + "cpu_backward-inl.h",
          "layout_, plan_.hidden, steps_, {dp_ + at,",
          "layout_, plan_.hidden, steps_ - 1, {dp_ + at,",
          "shard_cc_double"),
    # LSTM, GRU, RNN
    Fault("fixed_weights", "a reset does not clear the memory cells", FIXED + "cpu_passes-inl.h",
          "if constexpr (kHasMemory) samples_.clear(c_, b);", "",
          "shard_cc_double"),
    Fault("fixed_weights", "the gradient passes a reset", FIXED + "cpu_passes-inl.h",
          "if (!samples_.is_reset(f_.reset, t, b)) continue;", "continue;",
          "shard_cc_double"),
    Fault("fixed_weights", "the gradient of the final c is dropped", FIXED + "cpu_passes-inl.h",
          "samples_.load_state(p_.grad_final_c, dc_);", "samples_.load_state(nullptr, dc_);",
          "shard_cc_double"),
    Fault("fixed_weights", "the inputs of a closed loop are read before they are written",
          FIXED + "cpu_passes-inl.h",
          "if (p_.closed_loop != nullptr || layout_.shards > 1) return 1;",
          "if (layout_.shards > 1) return 1;",
          "shard_cc_double"),
    Fault("fixed_weights", "the GRU's recurrent bias gets the gradient of the input's",
          FIXED + "cpu_cells-inl.h",
          "store(hn::Mul(d_sum, r), 3);", "store(d_sum, 3);",
          "shard_cc_double"),
    Fault("fixed_weights", "shards are added in the order in which threads begin them",
          FIXED + "dispatch.cc",
          "T* const own = sums.get() + shard * layout.parameters();",
          "static std::atomic<int64_t> begun{0};\n"
          "T* const own = sums.get() + begun++ % layout.shards * layout.parameters();"),
    # Backpropamine
    Fault("backpropamine", "the modulator's gradient is lost where no trace is kept",
          BACK + "cpu_backward-inl.h",
          "return hn::MulAdd(sum, hn::Load(d, h(t) + k), dm);", "return dm;",
          "shard_cc_double"),
    Fault("backpropamine", "with decay the modulator's gradient lacks what decays",
          BACK + "cpu_update-inl.h",
          "      dm = minus_product(dm, dP_new, P);\n", "",
          "shard_cc_double"),
    Fault("backpropamine", "gradients pass the clamp beyond the bound", BACK + "cpu_update-inl.h",
          "return through_clamp(new_P, bound_, dP);", "return dP;",
          "shard_cc_double"),
    Fault("backpropamine", "no gradient passes the clamp at the bound itself",
          CPU + "vector_math-inl.h", "hn::Gt(hn::Abs(value), bound)", "hn::Ge(hn::Abs(value), bound)",
          "shard_cc_double"),
    Fault("backpropamine", "sums of the step before are left in scratch memory",
          BACK + "cpu_backward-inl.h",
          "    std::fill_n(dz_of_update_, plan_.presynaptic(S), T(0));\n", "",
          "shard_cc_double"),
    Fault("backpropamine", "the last sample left over from the groups repeats its neighbour",
          CPU + "plan.h",
          "    return sum_before(group, [](int64_t size) { return size; });\n",
          "    const int64_t first = sum_before(group, [](int64_t size) { return size; });\n"
          "    return size(group) == 1 && first > 0 && first + 1 == batch ? first - 1 : first;\n",
          "shard_cc_double"),
    Fault("backpropamine", "the modulator sees h of the step before, in the reference",
          BACK + "ref.cc", "u += s.p.modulator_weight[i] * step.h[i];",
          "u += s.p.modulator_weight[i] * step.before.h[i];"),
    # STPN
    Fault("stpn", "the energy is that of weights before their norm", STPN + "ref.cc",
          "energy[i] = energy_i / n;", "energy[i] = energy_i;"),
    Fault("stpn", "the norm has the epsilon of another library", STPN + "ref.cc",
          "return norm + static_cast<T>(kNormEpsilon);", "return norm + static_cast<T>(1e-6);"),
    Fault("stpn", "Oja's term takes h of the step before", STPN + "ref.cc",
          "step.oja_term[k % s.P] += step.h[k / s.P] * step.F_in[k];",
          "step.oja_term[k % s.P] += (state.h.empty() ? step.h : state.h)[k / s.P] * "
          "step.F_in[k];"),
    Fault("stpn", "the presynaptic factors `current` and `previous` are swapped", STPN + "ref.cc",
          "  if (v.recurrent && v.presynaptic == Presynaptic::current && v.conn",
          "  if (v.recurrent && v.presynaptic == Presynaptic::previous && v.conn"),
    Fault("stpn", "Lambda's gradient lacks what was just learnt, with decay after the update",
          STPN + "dispatch.cc",
          "of_lambda[rate] += d_lambda + (after ? d_growth * gamma[rate] : T(0));",
          "of_lambda[rate] += d_lambda;"),
    Fault("stpn", "the pending update is applied again after a reset", CPU + "group_loop-inl.h",
          "return t > 0 && t != last_reset_;", "return t > 0;", "float_row"),
    Fault("stpn", "NaN that an infinite activity left in the padding stays",
          STPN + "cpu_forward-inl.h",
          "      if (!this->all_finite(Gz_, plan_.neurons(S))) sum_again(t);\n", "", "float_row"),
    Fault("stpn", "the clamp makes a number of NaN", CPU + "vector_math-inl.h",
          "at_most(bound, at_least(hn::Neg(bound), value))",
          "hn::Min(hn::Max(value, hn::Neg(bound)), bound)", "float_row"),
    Fault("stpn", "the gradient of the energy misses that of the norm after the update",
          STPN + "cpu_backward-inl.h",
          "        dF_dot_C_of_energy = hn::Mul(c, hn::Load(d, energy_->of_C() + k));\n", "",
          "double_row"),
    Fault("stpn", "the gradient of the energy misses that of the norm", STPN + "cpu_backward-inl.h",
          "        minus_dn = hn::MulAdd(c, hn::Mul(inverse, hn::Load(d, energy_->of_G() + k)), minus_dn);\n",
          "", "double_row"),
    Fault("stpn", "NaN stays in the padding of Oja's term", STPN + "cpu_forward-inl.h",
          "      this->clear_presynaptic(s, layout_.width - plan_.fan_in, plan_.fan_in, z(t));\n",
          "", "float_row"),
    Fault("stpn", "the gradient of the final F is dropped", STPN + "cpu_backward-inl.h",
          "    this->copy_in(plastic_columns(call_.grad_final_F), this->d_matrix(0));\n", "",
          "double_row"),
    Fault("stpn", "a reset cuts the gradient of F one step late", STPN + "cpu_backward-inl.h",
          "        if (!is_reset(t, s)) continue;\n",
          "        if (t + 1 >= plan_.steps || !is_reset(t + 1, s)) continue;\n",
          "double_row"),
    Fault("stpn", "Lambda's gradient is that of F before its norm",
          STPN + "cpu_backward_sweep-inl.h",
          "add_products(dA_F, scale_before, d_lambda);", "add_products(dA, F, d_lambda);",
          "double_row"),
    Fault("stpn", "gradients pass the clamp beyond the bound", STPN + "cpu_backward_sweep-inl.h",
          "      if constexpr (kUpdate && kClamp) dF = through_clamp(F, bound_, dF);\n", "",
          "double_neuron"),
    Fault("stpn", "the gradient of x starts from what the interval before has left",
          STPN + "cpu_backward-inl.h", "      clear_dz(t);\n      return;", "      return;",
          "double_neuron"),
    Fault("stpn", "the last column of the sums over SIMD lanes is left out",
          CPU + "gradient_sums-inl.h",
          "for (; j < plan_.fan_in; ++j) {", "for (; j + 1 < plan_.fan_in; ++j) {",
          "double_neuron"),
    Fault("stpn", "backward starts from the checkpoint before", CPU + "neuron_blocks-inl.h",
          "const int64_t k = begin / this->plan_.interval;",
          "const int64_t k = begin / this->plan_.interval - 1;", "double_neuron"),
]
