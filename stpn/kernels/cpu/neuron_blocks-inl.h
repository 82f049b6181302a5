// The loop over time of units that do not hear each other, in neuron_blocks across the samples: a neuron_block of
// units goes through a block of steps before the next neuron_block does. Compiled once a target.
//
// Here a step of ForwardGroup has, in place of forward(t),
//   load(t)           inputs of step t, for all neuron_blocks: it keeps those of a block and a step before
//   forward(t, rows)  one step of some rows
//   store(t)          outputs of step t, of all neuron_blocks
// and one of BackwardGroup, besides load and store of what goes in and comes out at step t,
//   replay(begin, end, rows), enter(t, rows), back(t, more, rows)
//   leave(rows)       the neuron_block has gone back through the interval

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

// Calls run(rows) for each neuron_block, in order.
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
    Pass& step = static_cast<Pass&>(*this);
    step.begin();
    for (int64_t begin = 0, end; begin < this->plan_.steps; begin = end) {
      end = end_of_block(begin);
      this->forget_reset_samples(begin);
      for (int64_t t = begin; t < end; ++t) step.load(t);
      for_each_neuron_block<S>(this->plan_, [&](Rows rows) {
        for (int64_t t = begin; t < end; ++t) {
          step.forward(t, rows);
          save(t, rows);
        }
      });
      for (int64_t t = begin; t < end; ++t) step.store(t);
      this->answer(begin);
    }
    step.end();
  }

 private:
  // Where inputs depend on the outputs before them it is one step; and it ends where a sample may
  // be reset.
  int64_t end_of_block(int64_t begin) const {
    int64_t end = begin + 1;
    while (!this->is_answered() && end < this->plan_.steps && end % this->plan_.interval != 0 &&
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
    Pass& step = static_cast<Pass&>(*this);
    const PlasticPlan<T>& plan = this->plan_;
    step.begin();
    starts_at_zero_ = this->is_zero(step.initial(0));
    for (int64_t k = plan.checkpoints - 1; k >= 0; --k) {
      const int64_t begin = this->begin_ = k * plan.interval;
      const int64_t end = std::min(begin + plan.interval, plan.steps);
      for (int64_t t = begin; t < end; ++t) step.load(t);
      for_each_neuron_block<S>(plan, [&](Rows rows) {
        neuron_block_ = rows;
        const bool enters = end < plan.steps || step.has_final_gradient();
        recompute(enters && Pass::kSeesNext ? end : end - 1);
        if (enters) step.enter(end, rows);
        for (int64_t t = end - 1; t >= begin; --t) step.back(t, t > begin, rows);
        step.leave(rows);
      });
      for (int64_t t = begin; t < end; ++t) step.store(t);
    }
    step.end();
  }

 protected:
  // Of the neuron_block at hand, from row i on, as replay left it.
  T* seen_rows(int64_t t, int64_t i) const {
    return this->seen_ + this->row_of(this->within(t) * this->plan_.neuron_block(S) + i - neuron_block_.begin);
  }

 private:
  void recompute(int64_t end) {
    Pass& step = static_cast<Pass&>(*this);
    const int64_t begin = this->begin_;
    const int64_t rows = neuron_block_.end - neuron_block_.begin;
    T* const seen = seen_rows(begin, neuron_block_.begin);
    if (begin > 0) {
      const int64_t k = begin / this->plan_.interval;
      std::copy_n(this->saved_.checkpoint(k) + this->row_of(neuron_block_.begin), this->row_of(rows), seen);
    } else {
      std::fill_n(seen, this->row_of(rows), T(0));
      if (!starts_at_zero_) this->copy_in(step.initial(0), neuron_block_, seen);
      for (int s = 0; s < S; ++s) {
        if (this->is_reset(0, s)) this->clear_sample(seen, rows, s);
      }
    }
    step.recompute(begin, end, neuron_block_);
  }

  bool starts_at_zero_ = false;
  Rows neuron_block_{0, 0};
};

// The loops that a layout asks for.
template <class Pass, class Layout>
using ForwardLoop =
    std::conditional_t<Layout::kNeuronBlocks, ForwardNeuronBlocks<Pass, Layout>, ForwardGroup<Pass, Layout>>;
template <class Pass, class Layout>
using BackwardLoop =
    std::conditional_t<Layout::kNeuronBlocks, BackwardNeuronBlocks<Pass, Layout>, BackwardGroup<Pass, Layout>>;

// Runs those groups of a shard that are in neuron_blocks.
template <template <class> class Pass, typename T, class... Arguments>
void run_neuron_blocks(const PlasticPlan<T>& plan, int64_t shard, T* saved, const Arguments&... arguments) {
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
