// The loop over time of units whose neurons are independent of each other, in neuron blocks of the
// batch-interleaved layout: a block of neurons runs through an interval of time steps before the
// next block does. Compiled once for each SIMD target.
//
// A forward pass has, in place of forward(t) of group_loop-inl.h,
//   load(t)           reads the inputs of step t, for all blocks; the inputs of an interval, and of
//                     the step before it, are in memory at the same time
//   forward(t, rows)  one time step of one block, the neurons `rows`
//   store(t)          writes the outputs of step t, of all blocks
// and a backward pass has
//   load(t), store(t)  what step t reads and writes, for all blocks
//   recompute(begin, end, rows), enter(t, rows), back(t, more, rows)
//                      as in group_loop-inl.h, for one block
//   leave(rows)        called when backward has finished an interval of a block

#if defined(STPN_KERNELS_CPU_NEURON_BLOCKS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef STPN_KERNELS_CPU_NEURON_BLOCKS_INL_H_
#undef STPN_KERNELS_CPU_NEURON_BLOCKS_INL_H_
#else
#define STPN_KERNELS_CPU_NEURON_BLOCKS_INL_H_
#endif

#include <hwy/highway.h>

#include <algorithm>
#include <type_traits>

#include "stpn/kernels/cpu/group_loop-inl.h"

HWY_BEFORE_NAMESPACE();
namespace stpn::kernels {
namespace HWY_NAMESPACE {

// A block's steps are so short that what they read or write is fetched this many steps ahead.
inline constexpr int64_t kStepsAhead = 4;

// Calls run(rows) for each neuron block, in order.
template <int S, typename T, typename Run>
void for_each_neuron_block(const PlasticPlan<T>& plan, const Run& run) {
  const int64_t neuron_block = plan.neuron_block(S);
  for (int64_t i = 0; i < plan.rows(S); i += neuron_block) {
    run(Rows{i, std::min(i + neuron_block, plan.rows(S))});
  }
}

template <class Pass, class Layout>
class ForwardNeuronBlocks : public ForwardGroup<Pass, Layout> {
 protected:
  using Loop = ForwardGroup<Pass, Layout>;
  using Loop::Loop;
  using Loop::S;
  using typename Loop::T;

 public:
  void run() {
    Pass& pass = static_cast<Pass&>(*this);
    pass.begin();
    for (int64_t begin = 0, end; begin < this->plan_.steps; begin = end) {
      end = end_of_interval(begin);
      this->forget_reset_samples(begin);
      for (int64_t t = begin; t < end; ++t) pass.load(t);
      for_each_neuron_block<S>(this->plan_, [&](Rows rows) {
        for (int64_t t = begin; t < end; ++t) {
          pass.forward(t, rows);
          save(t, rows);
        }
      });
      for (int64_t t = begin; t < end; ++t) pass.store(t);
      this->call_closed_loop(begin);
    }
    pass.end();
  }

 private:
  // An interval ends where a checkpoint is due or a sample is reset. In a closed loop,
  // where inputs depend on the outputs before them, it is one step.
  int64_t end_of_interval(int64_t begin) const {
    int64_t end = begin + 1;
    while (!this->in_closed_loop() && end < this->plan_.steps && end % this->plan_.interval != 0 &&
           !this->any_reset(end)) {
      ++end;
    }
    return end;
  }

  void save(int64_t t, Rows rows) const {
    if (!this->is_checkpoint(t)) return;
    const int64_t first = this->row_of(rows.begin);
    std::copy_n(this->matrix(0) + first, this->row_of(rows.end) - first,
                this->saved_.checkpoint(t / this->plan_.interval) + first);
  }
};

template <class Pass, class Layout>
class BackwardNeuronBlocks : public BackwardGroup<Pass, Layout> {
 protected:
  using Loop = BackwardGroup<Pass, Layout>;
  using Loop::Loop;
  using Loop::S;
  using typename Loop::T;

 public:
  static int64_t recomputed(const PlasticPlan<T>& plan) {
    return (plan.interval + 1) * plan.neuron_block(S) * plan.presynaptic(S);
  }

  void run() {
    Pass& pass = static_cast<Pass&>(*this);
    const PlasticPlan<T>& plan = this->plan_;
    pass.begin();
    starts_at_zero_ = this->is_zero(pass.initial(0));
    for (int64_t k = plan.checkpoints - 1; k >= 0; --k) {
      const int64_t begin = this->begin_ = k * plan.interval;
      const int64_t end = std::min(begin + plan.interval, plan.steps);
      for (int64_t t = begin; t < end; ++t) pass.load(t);
      for_each_neuron_block<S>(plan, [&](Rows rows) {
        neuron_block_ = rows;
        const bool enters = end < plan.steps || pass.has_final_gradient();
        recompute(enters && Pass::kSeesNext ? end : end - 1);
        if (enters) pass.enter(end, rows);
        for (int64_t t = end - 1; t >= begin; --t) pass.back(t, t > begin, rows);
        pass.leave(rows);
      });
      for (int64_t t = begin; t < end; ++t) pass.store(t);
    }
    pass.end();
  }

 protected:
  // The recomputed rows of the current neuron block that step t finds, from row i on.
  T* seen_rows(int64_t t, int64_t i) const {
    return this->seen_ + this->row_of(this->step_in_interval(t) * this->plan_.neuron_block(S) + i -
                                      neuron_block_.begin);
  }

 private:
  void recompute(int64_t end) {
    Pass& pass = static_cast<Pass&>(*this);
    const int64_t begin = this->begin_;
    const int64_t rows = neuron_block_.end - neuron_block_.begin;
    T* const seen = seen_rows(begin, neuron_block_.begin);
    if (begin > 0) {
      const int64_t k = begin / this->plan_.interval;
      std::copy_n(this->saved_.checkpoint(k) + this->row_of(neuron_block_.begin),
                  this->row_of(rows), seen);
    } else {
      std::fill_n(seen, this->row_of(rows), T(0));
      if (!starts_at_zero_) this->copy_in(pass.initial(0), neuron_block_, seen);
      for (int s = 0; s < S; ++s) {
        if (this->is_reset(0, s)) this->clear_sample(seen, rows, s);
      }
    }
    pass.recompute(begin, end, neuron_block_);
  }

  bool starts_at_zero_ = false;
  Rows neuron_block_{0, 0};
};

// The loop over time for a layout.
template <class Pass, class Layout>
using ForwardLoop = std::conditional_t<Layout::kNeuronBlocks, ForwardNeuronBlocks<Pass, Layout>,
                                       ForwardGroup<Pass, Layout>>;
template <class Pass, class Layout>
using BackwardLoop = std::conditional_t<Layout::kNeuronBlocks, BackwardNeuronBlocks<Pass, Layout>,
                                        BackwardGroup<Pass, Layout>>;

// Runs those groups of a shard that run in neuron blocks.
template <template <class> class Pass, typename T, class... Arguments>
void run_neuron_blocks(const PlasticPlan<T>& plan, int64_t shard, T* saved,
                       const Arguments&... arguments) {
  GroupRunner<Pass, T> runner(plan, saved);
  const int64_t end = std::min(plan.first_group(shard + 1), plan.interleaved_groups);
  for (int64_t g = plan.first_group(shard); g < end; ++g) {
    runner.template run<NeuronBlocks<T>>(g, arguments...);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace stpn::kernels
HWY_AFTER_NAMESPACE();

#endif
