// Forward and backward of one shard of the batch through a whole sequence. All samples of the shard
// take a step together, so that the weights, which may be larger than the first-level cache, are
// read once for several of them. Compiled once for each SIMD target.

#if defined(STPN_KERNELS_FIXED_WEIGHTS_CPU_PASSES_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef STPN_KERNELS_FIXED_WEIGHTS_CPU_PASSES_INL_H_
#undef STPN_KERNELS_FIXED_WEIGHTS_CPU_PASSES_INL_H_
#else
#define STPN_KERNELS_FIXED_WEIGHTS_CPU_PASSES_INL_H_
#endif

#include <hwy/highway.h>

#include <algorithm>

#include "stpn/kernels/closed_loop.h"
#include "stpn/kernels/cpu/denormals.h"
#include "stpn/kernels/cpu/matrices/products-inl.h"
#include "stpn/kernels/cpu/scratch_pool.h"
#include "stpn/kernels/fixed_weights/cpu_cells-inl.h"

HWY_BEFORE_NAMESPACE();
namespace stpn::kernels {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// The samples of a shard, and rows of H values as the caller has them and as the kernel has them.
template <typename T>
struct ShardSamples {
  ShardSamples(const FixedWeightsLayout<T>& its_layout, int64_t shard)
      : layout(its_layout),
        first(its_layout.first_sample(shard)),
        count(its_layout.first_sample(shard + 1) - first) {}

  // The row of sample b of the shard in an array (T, B, ...).
  int64_t place(int64_t t, int64_t b) const { return t * layout.extent.batch + first + b; }
  // Whether the state is zeroed before step t.
  bool is_reset(const uint8_t* reset, int64_t t, int64_t b) const {
    return reset != nullptr && reset[place(t, b)] != 0;
  }
  // From (B, H), or zeros if that is null, to padded rows.
  void load_state(const T* from, T* to) const {
    std::fill_n(to, count * layout.row, T(0));
    if (from == nullptr) return;
    const int64_t hidden = layout.extent.hidden;
    for (int64_t b = 0; b < count; ++b) {
      std::copy_n(from + (first + b) * hidden, hidden, to + b * layout.row);
    }
  }
  // The other way; nothing if `to` is null.
  void store_state(const T* from, T* to) const {
    if (to == nullptr) return;
    const int64_t hidden = layout.extent.hidden;
    for (int64_t b = 0; b < count; ++b) {
      std::copy_n(from + b * layout.row, hidden, to + (first + b) * hidden);
    }
  }
  void clear(T* states, int64_t b) const { std::fill_n(states + b * layout.row, layout.row, T(0)); }

  const FixedWeightsLayout<T>& layout;
  int64_t first, count;
};

template <Cell kCell, typename T>
class FixedWeightsForward {
  static constexpr bool kHasMemory = kCell == Cell::lstm;

 public:
  FixedWeightsForward(const FixedWeightsForwardParams<T>& p, const FixedWeightsLayout<T>& layout,
                      const T* parameters, int64_t shard)
      : p_(p),
        layout_(layout),
        input_weights_(parameters),
        recurrent_weights_(parameters + layout.recurrent_offset()),
        bias_(parameters + layout.bias_offset()),
        samples_(layout, shard),
        saves_(p.saved != nullptr && layout.saved_values > 0),
        block_(steps_at_once()),
        h_memory_(samples_.count * layout.row),
        c_memory_(kHasMemory ? samples_.count * layout.row : 0),
        slots_memory_(saves_ ? 0 : block_ * samples_.count * layout.slot_values),
        h_(h_memory_.get()),
        c_(c_memory_.get()) {}

  void run() {
    const FlushDenormals flush;
    samples_.load_state(p_.initial_h, h_);
    if constexpr (kHasMemory) samples_.load_state(p_.initial_c, c_);
    for (int64_t t = 0; t < layout_.extent.steps; ++t) step(t);
    samples_.store_state(h_, p_.final_h);
    if constexpr (kHasMemory) samples_.store_state(c_, p_.final_c);
  }

 private:
  // Steps whose inputs are multiplied by W_ih together, so that a few samples, too, share its
  // loads. In a closed loop there is only one: the inputs of the next step are not known.
  int64_t steps_at_once() const {
    constexpr int64_t kRowsAtOnce = 16;
    if (p_.closed_loop != nullptr || layout_.shards > 1) return 1;
    return std::clamp(kRowsAtOnce / samples_.count, int64_t{1}, layout_.extent.steps);
  }

  // The slots of the shard's samples at step t.
  StridedRows<T> slots(int64_t t) const {
    if (saves_) {
      return {p_.saved + samples_.place(t, 0) * layout_.saved_values, layout_.saved_values};
    }
    return {slots_memory_.get() + (t % block_) * samples_.count * layout_.slot_values,
            layout_.slot_values};
  }

  // Writes p, with the biases, to the slots of steps [t, t + block).
  void multiply_inputs(int64_t t) const {
    const int64_t rows = std::min(block_, layout_.extent.steps - t) * samples_.count;
    const int64_t inputs = layout_.extent.inputs;
    const StridedRows<T> to = slots(t);
    multiply<T>({.factors = {p_.x + samples_.place(t, 0) * inputs, inputs},
                 .blocks = 1,
                 .block = inputs,
                 .block_stride = inputs,
                 .matrix = {input_weights_, layout_.matrix_row},
                 .initial = {bias_, 0},
                 .out = to},
                rows, layout_.gate_values);
    // What of a slot does not come from the inputs begins with its bias.
    const int64_t rest = layout_.slot_values - layout_.gate_values;
    for (int64_t k = 0; k < rows && rest > 0; ++k) {
      std::copy_n(bias_ + layout_.gate_values, rest, to.at(k) + layout_.gate_values);
    }
  }

  void step(int64_t t) {
    for (int64_t b = 0; b < samples_.count; ++b) {
      if (!samples_.is_reset(p_.reset, t, b)) continue;
      samples_.clear(h_, b);
      if constexpr (kHasMemory) samples_.clear(c_, b);
    }
    if (t % block_ == 0) multiply_inputs(t);
    const int64_t hidden = layout_.extent.hidden;
    const StridedRows<T> all = slots(t);
    const int64_t offset = first_recurrent_slot(kCell) * layout_.row;
    multiply<T>({.factors = {h_, layout_.row},
                 .blocks = 1,
                 .block = hidden,
                 .block_stride = hidden,
                 .matrix = {recurrent_weights_, layout_.matrix_row},
                 .initial = {all.first + offset, all.stride},
                 .out = {all.first + offset, all.stride}},
                samples_.count, layout_.gate_values);
    T* const output = p_.output + samples_.place(t, 0) * hidden;
    for (int64_t b = 0; b < samples_.count; ++b) {
      T* const h = h_ + b * layout_.row;
      T* const c = kHasMemory ? c_ + b * layout_.row : nullptr;
      run_cell<kCell>(layout_.row, all.at(b), h, c);
      if (kHasMemory && saves_) copy(c, layout_.row, all.at(b) + layout_.slot_values);
      copy(h, hidden, output + b * hidden);
    }
    if (p_.closed_loop != nullptr) {
      p_.closed_loop->after_step(t, samples_.first, samples_.count, output);
    }
  }

  const FixedWeightsForwardParams<T>& p_;
  const FixedWeightsLayout<T>& layout_;
  const T* const input_weights_;
  const T* const recurrent_weights_;
  const T* const bias_;
  const ShardSamples<T> samples_;
  const bool saves_;
  const int64_t block_;
  const ScratchArray<T> h_memory_, c_memory_, slots_memory_;
  T* const h_;
  T* const c_;
};

template <Cell kCell, typename T>
class FixedWeightsBackward {
  static constexpr bool kHasMemory = kCell == Cell::lstm;
  // Rows (t, b) whose gradients are multiplied together by their inputs, for the gradients of the
  // weights. Few enough for the first-level cache.
  static constexpr int64_t kBlockRows = 64;

 public:
  // `sums`: of the shard's gradients, as the layout has them; written.
  FixedWeightsBackward(const FixedWeightsBackwardParams<T>& p, const FixedWeightsLayout<T>& layout,
                       const BackwardWeights<T>& weights, T* sums, int64_t shard)
      : p_(p),
        f_(p.forward),
        layout_(layout),
        weights_(weights),
        samples_(layout, shard),
        sums_(sums),
        block_(std::max(int64_t{1}, kBlockRows / samples_.count)),
        grads_stride_(layout.slot_values + kLanesOfRow<T>),  // as FixedWeightsLayout::matrix_row
        dh_memory_(samples_.count * layout.row),
        dc_memory_(kHasMemory ? samples_.count * layout.row : 0),
        row_memory_(2 * layout.row),
        grads_memory_(block_ * samples_.count * grads_stride_),
        dx_memory_(p.grad_x != nullptr ? samples_.count * layout.input_row : 0),
        factors_memory_(2 * block_ * samples_.count),
        dh_(dh_memory_.get()),
        dc_(dc_memory_.get()),
        padded_(row_memory_.get()),
        zeros_(padded_ + layout.row) {}

  void run() {
    const FlushDenormals flush;
    std::fill_n(sums_, layout_.parameters(), T(0));
    std::fill_n(padded_, 2 * layout_.row, T(0));
    samples_.load_state(p_.grad_final_h, dh_);
    if constexpr (kHasMemory) samples_.load_state(p_.grad_final_c, dc_);
    for (int64_t end = layout_.extent.steps; end > 0;) {
      const int64_t begin = (end - 1) / block_ * block_;
      for (int64_t t = end - 1; t >= begin; --t) step(t, begin);
      add_up(begin, end);
      end = begin;
    }
    samples_.store_state(dh_, p_.grad_initial_h);
    if constexpr (kHasMemory) samples_.store_state(dc_, p_.grad_initial_c);
  }

 private:
  // h[t-1], (H), as the weights saw it.
  const T* last_h(int64_t t, int64_t b) const {
    const int64_t hidden = layout_.extent.hidden;
    if (samples_.is_reset(f_.reset, t, b)) return zeros_;
    if (t == 0) return f_.initial_h + (samples_.first + b) * hidden;
    return f_.output + samples_.place(t - 1, b) * hidden;
  }
  const T* saved(int64_t t, int64_t b) const {
    return f_.saved + samples_.place(t, b) * layout_.saved_values;
  }
  // A row of H values with padding, until the next call.
  const T* padded(const T* values) const {
    copy(values, layout_.extent.hidden, padded_);
    return padded_;
  }
  // What backpropagate_cell calls the state.
  const T* state(int64_t t, int64_t b) const {
    const int64_t hidden = layout_.extent.hidden;
    if constexpr (kCell == Cell::rnn) return padded(f_.output + samples_.place(t, b) * hidden);
    if constexpr (kCell == Cell::gru) return padded(last_h(t, b));
    if (samples_.is_reset(f_.reset, t, b)) return zeros_;
    if (t == 0) return padded(f_.initial_c + (samples_.first + b) * hidden);
    return saved(t - 1, b) + layout_.slot_values;
  }
  // The gradients of the slots of the shard's samples at step t of the block that starts at
  // `begin`.
  StridedRows<T> grads(int64_t t, int64_t begin) const {
    return {grads_memory_.get() + (t - begin) * samples_.count * grads_stride_, grads_stride_};
  }

  void step(int64_t t, int64_t begin) const {
    const int64_t hidden = layout_.extent.hidden;
    const StridedRows<T> all = grads(t, begin);
    for (int64_t b = 0; b < samples_.count; ++b) {
      T* const dh = dh_ + b * layout_.row;
      T* const dc = kHasMemory ? dc_ + b * layout_.row : nullptr;
      if (p_.grad_output != nullptr) add(p_.grad_output + samples_.place(t, b) * hidden, dh);
      const T* const slots = kCell == Cell::rnn ? nullptr : saved(t, b);
      backpropagate_cell<kCell>(layout_.row, slots, state(t, b),
                                kHasMemory ? slots + layout_.slot_values : nullptr, all.at(b), dh,
                                dc);
    }
    multiply<T>({.factors = {all.first + first_recurrent_slot(kCell) * layout_.row, all.stride},
                 .blocks = gates_of(kCell),
                 .block = hidden,
                 .block_stride = layout_.row,
                 .matrix = {weights_.recurrent, layout_.row},
                 .initial = {dh_, layout_.row},
                 .out = {dh_, layout_.row}},
                samples_.count, layout_.row);
    for (int64_t b = 0; b < samples_.count; ++b) {
      if (!samples_.is_reset(f_.reset, t, b)) continue;
      samples_.clear(dh_, b);
      if constexpr (kHasMemory) samples_.clear(dc_, b);
    }
  }

  // to += values, (H)
  void add(const T* HWY_RESTRICT values, T* HWY_RESTRICT to) const {
    const hn::ScalableTag<T> d;
    const int64_t hidden = layout_.extent.hidden;
    int64_t i = 0;
    for (; i + static_cast<int64_t>(hn::Lanes(d)) <= hidden; i += hn::Lanes(d)) {
      hn::Store(hn::Add(hn::Load(d, to + i), hn::LoadU(d, values + i)), d, to + i);
    }
    for (; i < hidden; ++i) to[i] += values[i];
  }

  // With the gradients of all slots in steps [begin, end): those of the parameters and of x.
  void add_up(int64_t begin, int64_t end) const {
    const auto [steps, batch, inputs, hidden] = layout_.extent;
    const int64_t rows = (end - begin) * samples_.count;
    const T** const x = factors_memory_.get();
    const T** const h = x + rows;
    for (int64_t t = begin, k = 0; t < end; ++t) {
      for (int64_t b = 0; b < samples_.count; ++b, ++k) {
        x[k] = f_.x + samples_.place(t, b) * inputs;
        h[k] = last_h(t, b);
      }
    }
    const int64_t values = layout_.gate_values;
    const StridedRows<const T> of_p{grads_memory_.get(), grads_stride_};
    const StridedRows<const T> of_q{of_p.first + first_recurrent_slot(kCell) * layout_.row,
                                    grads_stride_};
    if (p_.grad_weight_ih != nullptr) {
      add_outer_products<2>(x, inputs, of_p, rows, 0, values,
                            StridedRows<T>{sums_, layout_.matrix_row});
    }
    if (p_.grad_weight_hh != nullptr) {
      add_outer_products<2>(h, hidden, of_q, rows, 0, values,
                            StridedRows<T>{sums_ + layout_.recurrent_offset(), layout_.matrix_row});
    }
    if (p_.grad_bias_ih != nullptr || p_.grad_bias_hh != nullptr) {
      T* HWY_RESTRICT sums = sums_ + layout_.bias_offset();
      for (int64_t k = 0; k < rows; ++k) {
        const hn::ScalableTag<T> d;
        const T* HWY_RESTRICT row = of_p.at(k);
        for (int64_t i = 0; i < layout_.slot_values; i += hn::Lanes(d)) {
          add_to(d, hn::Load(d, row + i), sums + i);
        }
      }
    }
    for (int64_t t = begin; t < end && p_.grad_x != nullptr; ++t) write_grad_x(t, begin);
  }

  void write_grad_x(int64_t t, int64_t begin) const {
    const int64_t inputs = layout_.extent.inputs;
    const StridedRows<T> all = grads(t, begin);
    std::fill_n(dx_memory_.get(), samples_.count * layout_.input_row, T(0));
    const StridedRows<T> dx{dx_memory_.get(), layout_.input_row};
    multiply<T>({.factors = {all.first, all.stride},
                 .blocks = gates_of(kCell),
                 .block = layout_.extent.hidden,
                 .block_stride = layout_.row,
                 .matrix = {weights_.input, layout_.input_row},
                 .initial = {dx.first, dx.stride},
                 .out = dx},
                samples_.count, layout_.input_row);
    for (int64_t b = 0; b < samples_.count; ++b) {
      copy(dx.at(b), inputs, p_.grad_x + samples_.place(t, b) * inputs);
    }
  }

  const FixedWeightsBackwardParams<T>& p_;
  const FixedWeightsForwardParams<T>& f_;
  const FixedWeightsLayout<T>& layout_;
  const BackwardWeights<T>& weights_;
  const ShardSamples<T> samples_;
  T* const sums_;
  const int64_t block_, grads_stride_;
  const ScratchArray<T> dh_memory_, dc_memory_, row_memory_, grads_memory_, dx_memory_;
  const ScratchArray<const T*> factors_memory_;
  T* const dh_;
  T* const dc_;
  T* const padded_;  // a row whose padding is zero
  T* const zeros_;   // a row
};

}  // namespace HWY_NAMESPACE
}  // namespace stpn::kernels
HWY_AFTER_NAMESPACE();

#endif
