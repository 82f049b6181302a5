// The CPU kernel of networks with fixed weights: shards of the batch over the caller's threads.
// What a shard does is compiled elsewhere (cpu_shard.cc).

#include <hwy/base.h>

#include <algorithm>
#include <cstdint>

#include "stpn/kernels/cpu/scratch_pool.h"
#include "stpn/kernels/cpu/shards.h"
#include "stpn/kernels/cpu/simd_targets.h"
#include "stpn/kernels/fixed_weights/cpu_layout.h"
#include "stpn/kernels/fixed_weights/cpu_shard.h"

namespace stpn::kernels {
namespace {

using Slot = int64_t (*)(Cell cell, int64_t gate);

// Calls body(gate, slot) for all gates.
template <typename Body>
void for_gates(Cell cell, const Slot& slot, const Body& body) {
  for (int64_t g = 0; g < gates_of(cell); ++g) body(g, slot(cell, g));
}

// The parameters as the layout has them.
template <typename T>
ScratchArray<T> transposed_parameters(const FixedWeightsForwardParams<T>& p,
                                      const FixedWeightsLayout<T>& layout) {
  ScratchArray<T> parameters(layout.parameters());
  const int64_t hidden = p.extent.hidden;
  const Cell cell = layout.cell;
  if (layout.row != hidden) std::fill_n(parameters.get(), layout.bias_offset(), T(0));
  T* const bias = parameters.get() + layout.bias_offset();
  std::fill_n(bias, layout.slot_values, T(0));
  const auto transpose = [&](const T* from, int64_t columns, T* to, int64_t gate, int64_t slot) {
    fixed_weights_transpose(from + gate * hidden * columns, columns, hidden, columns,
                            to + slot * layout.row, layout.matrix_row);
  };
  const auto add_bias = [&](const T* from, int64_t gate, int64_t slot) {
    for (int64_t i = 0; i < hidden && from != nullptr; ++i) {
      bias[slot * layout.row + i] += from[gate * hidden + i];
    }
  };
  for_gates(cell, input_slot, [&](int64_t gate, int64_t slot) {
    transpose(p.weight_ih, p.extent.inputs, parameters.get(), gate, slot);
    add_bias(p.bias_ih, gate, slot);
  });
  for_gates(cell, recurrent_slot, [&](int64_t gate, int64_t slot) {
    transpose(p.weight_hh, hidden, parameters.get() + layout.recurrent_offset(), gate,
              slot - first_recurrent_slot(cell));
    add_bias(p.bias_hh, gate, slot);
  });
  return parameters;
}

// The weights of a backward pass: rows of W_hh and, if dx is wanted, of W_ih.
template <typename T>
class PaddedWeights {
 public:
  PaddedWeights(const FixedWeightsBackwardParams<T>& p, const FixedWeightsLayout<T>& layout)
      : with_inputs_(p.grad_x != nullptr),
        recurrent_size_(gates_of(layout.cell) * layout.extent.hidden * layout.row),
        memory_(
            recurrent_size_ +
            (with_inputs_ ? gates_of(layout.cell) * layout.extent.hidden * layout.input_row : 0)) {
    const FixedWeightsForwardParams<T>& f = p.forward;
    const int64_t hidden = f.extent.hidden;
    const auto copy = [&](const T* from, int64_t columns, T* to, int64_t row) {
      for (int64_t i = 0; i < hidden; ++i, to += row, from += columns) {
        std::copy_n(from, columns, to);
        std::fill(to + columns, to + row, T(0));
      }
    };
    // The slots of the recurrent part have the order of the gates.
    for (int64_t g = 0; g < gates_of(layout.cell); ++g) {
      copy(f.weight_hh + g * hidden * hidden, hidden, memory_.get() + g * hidden * layout.row,
           layout.row);
    }
    if (!with_inputs_) return;
    for_gates(layout.cell, input_slot, [&](int64_t gate, int64_t slot) {
      copy(f.weight_ih + gate * hidden * f.extent.inputs, f.extent.inputs,
           memory_.get() + recurrent_size_ + slot * hidden * layout.input_row, layout.input_row);
    });
  }
  BackwardWeights<T> get() const {
    return {with_inputs_ ? memory_.get() + recurrent_size_ : nullptr, memory_.get()};
  }

 private:
  bool with_inputs_;
  int64_t recurrent_size_;
  ScratchArray<T> memory_;
};

// Adds the sums of all shards to those of the first, in order.
template <typename T>
void add_shards(const FixedWeightsLayout<T>& layout, T* HWY_RESTRICT sums) {
  for (int64_t shard = 1; shard < layout.shards; ++shard) {
    const T* HWY_RESTRICT more = sums + shard * layout.parameters();
    for (int64_t k = 0; k < layout.parameters(); ++k) sums[k] += more[k];
  }
}

template <typename T>
void store_gradients(const FixedWeightsBackwardParams<T>& p, const FixedWeightsLayout<T>& layout,
                     const T* sums) {
  const int64_t hidden = layout.extent.hidden;
  const int64_t inputs = layout.extent.inputs;
  const Cell cell = layout.cell;
  const auto store = [&](const T* from, int64_t columns, T* to, int64_t gate, int64_t slot) {
    if (to == nullptr) return;
    fixed_weights_transpose(from + slot * layout.row, layout.matrix_row, columns, hidden,
                            to + gate * hidden * columns, columns);
  };
  const auto store_bias = [&](T* to, int64_t gate, int64_t slot) {
    if (to == nullptr) return;
    std::copy_n(sums + layout.bias_offset() + slot * layout.row, hidden, to + gate * hidden);
  };
  for_gates(cell, input_slot, [&](int64_t gate, int64_t slot) {
    store(sums, inputs, p.grad_weight_ih, gate, slot);
    store_bias(p.grad_bias_ih, gate, slot);
  });
  for_gates(cell, recurrent_slot, [&](int64_t gate, int64_t slot) {
    store(sums + layout.recurrent_offset(), hidden, p.grad_weight_hh, gate,
          slot - first_recurrent_slot(cell));
    store_bias(p.grad_bias_hh, gate, slot);
  });
}

}  // namespace

template <typename T>
int64_t fixed_weights_saved_size(const Extent& extent, const FixedWeightsVariant& variant) {
  return extent.steps * extent.batch * FixedWeightsLayout<T>(extent, variant.cell).saved_values;
}

template <typename T>
void fixed_weights_forward_cpu(const FixedWeightsForwardParams<T>& p) {
  if (!has_simd_target()) return fixed_weights_forward_ref(p);
  const FixedWeightsLayout<T> layout(p.extent, p.variant.cell);
  const ScratchArray<T> parameters = transposed_parameters(p, layout);
  for_each_shard(p.parallel, layout.shards,
                 [&](int64_t shard) { fixed_weights_shard(p, layout, parameters.get(), shard); });
}

template <typename T>
void fixed_weights_backward_cpu(const FixedWeightsBackwardParams<T>& p) {
  if (!has_simd_target()) return fixed_weights_backward_ref(p);
  const FixedWeightsLayout<T> layout(p.forward.extent, p.forward.variant.cell);
  const PaddedWeights<T> weights(p, layout);
  const ScratchArray<T> sums(layout.shards * layout.parameters());
  for_each_shard(p.forward.parallel, layout.shards, [&](int64_t shard) {
    T* const own = sums.get() + shard * layout.parameters();
    fixed_weights_shard(p, layout, weights.get(), own, shard);
  });
  add_shards(layout, sums.get());
  store_gradients<T>(p, layout, sums.get());
}

template int64_t fixed_weights_saved_size<float>(const Extent&, const FixedWeightsVariant&);
template int64_t fixed_weights_saved_size<double>(const Extent&, const FixedWeightsVariant&);
template void fixed_weights_forward_cpu(const FixedWeightsForwardParams<float>&);
template void fixed_weights_forward_cpu(const FixedWeightsForwardParams<double>&);
template void fixed_weights_backward_cpu(const FixedWeightsBackwardParams<float>&);
template void fixed_weights_backward_cpu(const FixedWeightsBackwardParams<double>&);

}  // namespace stpn::kernels
