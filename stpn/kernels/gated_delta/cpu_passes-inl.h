// A block of memories, one in each lane, through the whole sequence: forward, and backward, which
// computes the S of a segment again before it goes through it. Compiled once for each SIMD target.

#if defined(STPN_KERNELS_GATED_DELTA_CPU_PASSES_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef STPN_KERNELS_GATED_DELTA_CPU_PASSES_INL_H_
#undef STPN_KERNELS_GATED_DELTA_CPU_PASSES_INL_H_
#else
#define STPN_KERNELS_GATED_DELTA_CPU_PASSES_INL_H_
#endif

#include <hwy/highway.h>

#include <algorithm>

#include "stpn/kernels/cpu/denormals.h"
#include "stpn/kernels/cpu/scratch_pool.h"
#include "stpn/kernels/cpu/vector_math-inl.h"
#include "stpn/kernels/gated_delta/cpu_shard.h"

HWY_BEFORE_NAMESPACE();
namespace stpn::kernels {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

template <typename T>
class GatedDeltaPasses {
  using D = hn::ScalableTag<T>;
  using V = hn::Vec<D>;
  using Index = hn::RebindToSigned<D>;
  using I = hn::TFromD<Index>;

 public:
  GatedDeltaPasses(const GatedDeltaForwardParams<T>& p, const GatedDeltaLayout<T>& layout,
                   int64_t block)
      : p_(p),
        extent_(p.extent),
        layout_(layout),
        block_(block),
        first_(block * layout.lanes),
        count_(std::min(layout.lanes, extent_.memories() - first_)),
        keys_(2 * extent_.key_size * layout.lanes),
        key_(keys_.get()),
        query_(key_ + extent_.key_size * layout.lanes) {}

  void forward() {
    const FlushDenormals flush;
    const ScratchArray<T> memory(layout_.state);
    T* const S = memory.get();
    load_state(p_.state, S);
    for (int64_t t = 0; t < extent_.steps; ++t) {
      if (p_.saved != nullptr && t % layout_.segment == 0) {
        std::copy_n(S, layout_.state, p_.saved + layout_.saved_offset(block_, t / layout_.segment));
      }
      begin_step(t, S);
      if (p_.energy != nullptr) measure(t, S);
      advance<true>(t, S, S);
    }
    store_state(S, p_.final_state);
  }

  void backward(const GatedDeltaBackwardParams<T>& b) {
    const FlushDenormals flush;
    const ScratchArray<T> memory((1 + layout_.segment) * layout_.state +
                                 2 * extent_.key_size * layout_.lanes);
    T* const grad = memory.get();
    T* const states = grad + layout_.state;
    T* const grad_key = states + layout_.segment * layout_.state;
    T* const grad_query = grad_key + extent_.key_size * layout_.lanes;
    load_state(b.grad_final_state, grad);
    for (int64_t s = layout_.segments - 1; s >= 0; --s) {
      const int64_t begin = s * layout_.segment;
      const int64_t end = std::min(extent_.steps, begin + layout_.segment);
      std::copy_n(p_.saved + layout_.saved_offset(block_, s), layout_.state, states);
      for (int64_t t = begin; t < end; ++t) {
        T* const S = states + (t - begin) * layout_.state;
        begin_step(t, S);
        if (t + 1 < end) advance<false>(t, S, S + layout_.state);
      }
      for (int64_t t = end - 1; t >= begin; --t) {
        load_keys(t);
        step_back(b, t, states + (t - begin) * layout_.state, grad, grad_key, grad_query);
      }
    }
    store_state(grad, b.grad_state);
  }

 private:
  // Of an array with `apart` values for each memory, where those of each lane begin. Lanes beyond
  // the last memory are copies of it: they read what it reads, and write over it what it writes.
  hn::Vec<Index> lanes_apart(int64_t apart) const {
    const Index d;
    const auto lane = hn::Min(hn::Iota(d, I(0)), hn::Set(d, static_cast<I>(count_ - 1)));
    return hn::Mul(lane, hn::Set(d, static_cast<I>(apart)));
  }
  // Of step t in an array (T, M, apart).
  const T* at(const T* array, int64_t t, int64_t apart) const {
    return array + (t * extent_.memories() + first_) * apart;
  }
  T* at(T* array, int64_t t, int64_t apart) const {
    return array + (t * extent_.memories() + first_) * apart;
  }

  void load_state(const T* from, T* HWY_RESTRICT S) const {
    const D d;
    const int64_t synapses = extent_.synapses();
    if (from == nullptr) return static_cast<void>(std::fill_n(S, layout_.state, T(0)));
    const auto apart = lanes_apart(synapses);
    from += first_ * synapses;
    for (int64_t k = 0; k < synapses; ++k) {
      hn::Store(hn::GatherIndex(d, from + k, apart), d, S + k * layout_.lanes);
    }
  }
  void store_state(const T* HWY_RESTRICT S, T* to) const {
    const D d;
    const int64_t synapses = extent_.synapses();
    const auto apart = lanes_apart(synapses);
    to += first_ * synapses;
    for (int64_t k = 0; k < synapses; ++k) {
      hn::ScatterIndex(hn::Load(d, S + k * layout_.lanes), d, to + k, apart);
    }
  }

  // The key and the query of step t, a vector for each of their values.
  void load_keys(int64_t t) {
    const D d;
    const int64_t K = extent_.key_size;
    const auto apart = lanes_apart(K);
    const T* const key = at(p_.key, t, K);
    const T* const query = at(p_.query, t, K);
    for (int64_t j = 0; j < K; ++j) {
      hn::Store(hn::GatherIndex(d, key + j, apart), d, key_ + j * layout_.lanes);
      hn::Store(hn::GatherIndex(d, query + j, apart), d, query_ + j * layout_.lanes);
    }
  }

  // A vector of ones where a lane's sample is reset at step t, else zeros; whether there is one.
  bool load_reset(int64_t t, T* ones) const {
    if (p_.reset == nullptr) return false;
    bool any = false;
    for (int64_t lane = 0; lane < layout_.lanes; ++lane) {
      const int64_t m = first_ + std::min(lane, count_ - 1);
      const bool is_reset = p_.reset[t * extent_.samples + m / extent_.heads];
      ones[lane] = is_reset ? T(1) : T(0);
      any = any || is_reset;
    }
    return any;
  }
  // Zero where the lane is reset at step t.
  void zero_reset(int64_t t, T* HWY_RESTRICT S) const {
    HWY_ALIGN T ones[hn::MaxLanes(D())];
    if (!load_reset(t, ones)) return;
    const D d;
    const auto is_reset = hn::Ne(hn::Load(d, ones), hn::Zero(d));
    for (int64_t k = 0; k < layout_.state; k += layout_.lanes) {
      hn::Store(hn::IfThenZeroElse(is_reset, hn::Load(d, S + k)), d, S + k);
    }
  }

  void begin_step(int64_t t, T* HWY_RESTRICT S) {
    load_keys(t);
    zero_reset(t, S);
  }

  // The sum over a row of S times the key.
  V found(const T* HWY_RESTRICT row) const {
    const D d;
    V sum = hn::Zero(d);
    for (int64_t j = 0; j < extent_.key_size * layout_.lanes; j += layout_.lanes) {
      sum = hn::MulAdd(hn::Load(d, row + j), hn::Load(d, key_ + j), sum);
    }
    return sum;
  }

  void measure(int64_t t, const T* HWY_RESTRICT S) const {
    const D d;
    const auto apart = lanes_apart(extent_.value_size);
    const int64_t row = extent_.key_size * layout_.lanes;
    for (int64_t i = 0; i < extent_.value_size; ++i) {
      V sum = hn::Zero(d);
      for (int64_t j = 0; j < row; j += layout_.lanes) {
        sum = hn::MulAdd(hn::Abs(hn::Load(d, S + i * row + j)), squares(j), sum);
      }
      hn::ScatterIndex(sum, d, at(p_.energy, t, extent_.value_size) + i, apart);
    }
  }
  V squares(int64_t j) const {
    const D d;
    const V k = hn::Load(d, key_ + j), q = hn::Load(d, query_ + j);
    return hn::MulAdd(k, k, hn::Mul(q, q));
  }

  // From S before step t to S after it, which may be in the same place; and what is read.
  template <bool kRead>
  void advance(int64_t t, const T* before, T* after) const {
    const D d;
    const int64_t lanes = layout_.lanes, row = extent_.key_size * lanes;
    const auto apart = lanes_apart(extent_.value_size), single = lanes_apart(1);
    const V decay = hn::GatherIndex(d, at(p_.decay, t, 1), single);
    const V write = hn::GatherIndex(d, at(p_.write, t, 1), single);
    const T* const value = at(p_.value, t, extent_.value_size);
    for (int64_t i = 0; i < extent_.value_size; ++i) {
      const T* const from = before + i * row;
      T* const to = after + i * row;
      const V v = hn::GatherIndex(d, value + i, apart);
      const V error = hn::Mul(write, hn::NegMulAdd(decay, found(from), v));
      V read = hn::Zero(d);
      for (int64_t j = 0; j < row; j += lanes) {
        const V s = hn::MulAdd(error, hn::Load(d, key_ + j), hn::Mul(decay, hn::Load(d, from + j)));
        hn::Store(s, d, to + j);
        if constexpr (kRead) read = hn::MulAdd(s, hn::Load(d, query_ + j), read);
      }
      if constexpr (kRead) {
        hn::ScatterIndex(read, d, at(p_.read, t, extent_.value_size) + i, apart);
      }
    }
  }

  // The gradients of step t: from that of S after it in `grad` to that of S before, in place. S:
  // before the step, after a reset.
  void step_back(const GatedDeltaBackwardParams<T>& b, int64_t t, const T* HWY_RESTRICT S,
                 T* HWY_RESTRICT grad, T* HWY_RESTRICT grad_key, T* HWY_RESTRICT grad_query) const {
    const D d;
    const int64_t lanes = layout_.lanes, K = extent_.key_size, row = K * lanes;
    const auto apart = lanes_apart(extent_.value_size), single = lanes_apart(1);
    const V decay = hn::GatherIndex(d, at(p_.decay, t, 1), single);
    const V write = hn::GatherIndex(d, at(p_.write, t, 1), single);
    std::fill_n(grad_key, row, T(0));
    std::fill_n(grad_query, row, T(0));
    V grad_decay = hn::Zero(d), grad_write = hn::Zero(d);
    for (int64_t i = 0; i < extent_.value_size; ++i) {
      const auto of_row = [&](const T* array) {
        return array == nullptr ? hn::Zero(d)
                                : hn::GatherIndex(d, at(array, t, extent_.value_size) + i, apart);
      };
      const T* HWY_RESTRICT s = S + i * row;
      T* HWY_RESTRICT g = grad + i * row;
      const V missing = hn::NegMulAdd(decay, found(s), of_row(p_.value));
      const V error = hn::Mul(write, missing);
      const V grad_read = of_row(b.grad_read);
      V grad_error = hn::Zero(d);
      for (int64_t j = 0; j < row; j += lanes) {
        const V k = hn::Load(d, key_ + j);
        const V after = hn::MulAdd(error, k, hn::Mul(decay, hn::Load(d, s + j)));
        const V of_after = hn::MulAdd(grad_read, hn::Load(d, query_ + j), hn::Load(d, g + j));
        hn::Store(of_after, d, g + j);
        grad_error = hn::MulAdd(of_after, k, grad_error);
        add_to(d, hn::Mul(grad_read, after), grad_query + j);
        add_to(d, hn::Mul(error, of_after), grad_key + j);
      }
      const V grad_missing = hn::Mul(write, grad_error);
      hn::ScatterIndex(grad_missing, d, at(b.grad_value, t, extent_.value_size) + i, apart);
      grad_write = hn::MulAdd(grad_error, missing, grad_write);
      for (int64_t j = 0; j < row; j += lanes) {
        const V before = hn::Load(d, s + j);
        const V of_decayed = hn::NegMulAdd(grad_missing, hn::Load(d, key_ + j), hn::Load(d, g + j));
        add_to(d, hn::Neg(hn::Mul(grad_missing, hn::Mul(decay, before))), grad_key + j);
        grad_decay = hn::MulAdd(of_decayed, before, grad_decay);
        hn::Store(hn::Mul(decay, of_decayed), d, g + j);
      }
      if (b.grad_energy != nullptr)
        add_of_energy(of_row(b.grad_energy), s, g, grad_key, grad_query);
    }
    zero_reset(t, grad);
    const auto apart_keys = lanes_apart(K);
    for (int64_t j = 0; j < K; ++j) {
      hn::ScatterIndex(hn::Load(d, grad_key + j * lanes), d, at(b.grad_key, t, K) + j, apart_keys);
      hn::ScatterIndex(hn::Load(d, grad_query + j * lanes), d, at(b.grad_query, t, K) + j,
                       apart_keys);
    }
    hn::ScatterIndex(grad_decay, d, at(b.grad_decay, t, 1), single);
    hn::ScatterIndex(grad_write, d, at(b.grad_write, t, 1), single);
  }

  // Adds what a row's energy, with this gradient, adds to the gradients of its S, key and query.
  void add_of_energy(V spent, const T* HWY_RESTRICT s, T* HWY_RESTRICT g, T* HWY_RESTRICT grad_key,
                     T* HWY_RESTRICT grad_query) const {
    const D d;
    const V twice = hn::Add(spent, spent);
    for (int64_t j = 0; j < extent_.key_size * layout_.lanes; j += layout_.lanes) {
      const V before = hn::Load(d, s + j);
      const V of_size = hn::Mul(spent, squares(j));
      const V signed_size = hn::IfThenElse(hn::Lt(before, hn::Zero(d)), hn::Neg(of_size), of_size);
      add_to(d, hn::IfThenZeroElse(hn::Eq(before, hn::Zero(d)), signed_size), g + j);
      const V size = hn::Mul(twice, hn::Abs(before));
      add_to(d, hn::Mul(size, hn::Load(d, key_ + j)), grad_key + j);
      add_to(d, hn::Mul(size, hn::Load(d, query_ + j)), grad_query + j);
    }
  }

  const GatedDeltaForwardParams<T>& p_;
  const GatedDeltaExtent& extent_;
  const GatedDeltaLayout<T>& layout_;
  const int64_t block_;
  const int64_t first_, count_;  // memories of the block
  const ScratchArray<T> keys_;
  T* const key_;    // (K, lanes), of the step
  T* const query_;  // the same
};

}  // namespace HWY_NAMESPACE
}  // namespace stpn::kernels
HWY_AFTER_NAMESPACE();

#endif  // STPN_KERNELS_GATED_DELTA_CPU_PASSES_INL_H_
