// What the CPU kernels of units with plastic synapses share: running the groups of a shard, and
// copies between a group's arrays and the caller's; for the STPN and Backpropamine also the loop
// over time, forward and backward, with resets, checkpoints and recomputation. Such a unit adds a
// pass: what it does at each time step. (Fast Weights has its own loop, over time blocks:
// fast_weights/cpu_forward-inl.h.) Compiled once for each SIMD target.
//
// The forward pass of a group, in either layout (layout-inl.h), is
// `template <class Layout> class Pass : public ForwardGroup<Pass<Layout>, Layout>` with
//   static int64_t scratch(plan)
//                  how many values of scratch memory have to be zero at first, besides the matrices
//   static int64_t activity(plan)
//                  how many more it writes before it reads them, so that only padding of rows has
//                  to be zero
//   begin()        reads the initial state
//   forward(t)     one time step. Afterwards the matrices are those that backward calls seen(t):
//                  the update of step t is still to be made
//   apply_pending_update(t)
//                  makes the update of step t - 1, before a reset at step t
//   forget(s)      a reset: sets its state of sample s to zero, except the matrices
//   end()          makes updates that are still to be made, and writes the final state
//
// The backward pass is `class Pass : public BackwardGroup<Pass<Layout>, Layout>` with
//   static int64_t scratch(plan), activity(plan)
//                  as forward
//   begin(), end() read the gradients of the final state, write those of the initial state
//   kSeesNext      whether backward of step t reads seen(t + 1), the matrices after its update
//   has_final_gradient()
//                  whether there is a gradient of the final state
//   initial(which) a matrix of the initial state, in the caller's memory
//   load(t)        reads what step t needs besides the matrices
//   recompute(t)   seen(t + 1) from seen(t), with what forward saved; or, in its place,
//                  recompute_interval(begin, end): from seen(begin) to seen(end), with resets
//   enter(t)       backpropagates the gradient of seen(t) through the update of step t - 1, the
//                  last step of an interval; after the last step of all it is called only if
//                  has_final_gradient()
//   back(t, more)  backpropagates through step t and, if `more`, through the update of step t - 1:
//                  that step is then in the same interval and comes next

#if defined(STPN_KERNELS_CPU_GROUP_LOOP_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef STPN_KERNELS_CPU_GROUP_LOOP_INL_H_
#undef STPN_KERNELS_CPU_GROUP_LOOP_INL_H_
#else
#define STPN_KERNELS_CPU_GROUP_LOOP_INL_H_
#endif

#include <hwy/highway.h>

#include <algorithm>

#include "stpn/kernels/closed_loop.h"
#include "stpn/kernels/cpu/denormals.h"
#include "stpn/kernels/cpu/gradient_sums-inl.h"
#include "stpn/kernels/cpu/group-inl.h"
#include "stpn/kernels/cpu/layout-inl.h"
#include "stpn/kernels/cpu/plan.h"
#include "stpn/kernels/cpu/scratch_pool.h"
#include "stpn/kernels/cpu/vector_math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace stpn::kernels {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

template <class Pass, class Layout>
class ForwardGroup : public Group<Layout> {
 protected:
  using T = typename Layout::Value;
  static constexpr int S = Layout::kSamples;

 public:
  static int64_t zeros(const PlasticPlan<T>& plan) {
    return plan.all_matrices(S) + Pass::scratch(plan) +
           Group<Layout>::zeros_of_activity(Pass::activity(plan));
  }
  static int64_t unwritten(const PlasticPlan<T>& plan) {
    return Group<Layout>::unwritten_activity(Pass::activity(plan));
  }

  void run() {
    Pass& pass = static_cast<Pass&>(*this);
    pass.begin();
    for (int64_t t = 0; t < this->plan_.steps; ++t) {
      forget_reset_samples(t);
      pass.forward(t);
      call_closed_loop(t);
      save(t);
    }
    pass.end();
    if (streams_saved_) hwy::FlushStream();
  }

 protected:
  template <class Call>
  ForwardGroup(const PlasticPlan<T>& plan, int64_t first, T* saved, const Call& call,
               Scratch<T>& scratch)
      : Group<Layout>(plan, first, saved, call.reset),
        streams_saved_(saved != nullptr && this->has_distant_steps() && is_aligned(saved)),
        matrices_(scratch.take(plan.all_matrices(S))),
        closed_loop_(call.closed_loop),
        output_(call.output) {}

  T* matrix(int64_t which) const { return matrices_ + which * this->plan_.matrix(S); }

  // Whether what a step saves is to be written past the caches: backward is long after it.
  bool streams_saved() const { return streams_saved_; }

  // A pending update of the step before is applied first: after the reset it would write NaN where
  // a parameter is not finite.
  void forget_reset_samples(int64_t t) {
    if (!this->any_reset(t)) return;
    if (is_update_pending(t)) static_cast<Pass&>(*this).apply_pending_update(t);
    last_reset_ = t;
    for (int s = 0; s < S; ++s) {
      if (!this->is_reset(t, s)) continue;
      this->clear_sample(matrices_, s);
      static_cast<Pass&>(*this).forget(s);
    }
  }
  // Whether step t has to begin with the update of step t - 1.
  bool is_update_pending(int64_t t) const { return t > 0 && t != last_reset_; }
  // Step 0 needs no checkpoint: it starts from the initial state, which the caller has.
  bool is_checkpoint(int64_t t) const {
    return this->saved_ && t > 0 && t % this->plan_.interval == 0;
  }
  void save(int64_t t) const {
    if (!is_checkpoint(t)) return;
    const auto [first, count] = this->values_of_rows();
    T* const checkpoint = this->saved_.checkpoint(t / this->plan_.interval) + first;
    if (this->plan_.saved_fits_cache) {
      std::copy_n(matrices_ + first, count, checkpoint);
    } else {
      stream(matrices_ + first, count, checkpoint);
    }
  }
  bool in_closed_loop() const { return closed_loop_ != nullptr; }
  void call_closed_loop(int64_t t) const {
    if (!in_closed_loop()) return;
    closed_loop_->after_step(t, this->first_, S, output_ + this->place(t, 0, this->plan_.hidden));
  }

 private:
  const bool streams_saved_;
  T* const matrices_;
  ClosedLoop* const closed_loop_;
  const T* const output_;
  int64_t last_reset_ = -1;  // the last step before which samples were reset
};

template <class Pass, class Layout>
class BackwardGroup : public Group<Layout> {
 protected:
  using T = typename Layout::Value;
  static constexpr int S = Layout::kSamples;

 public:
  static int64_t zeros(const PlasticPlan<T>& plan) {
    return plan.all_matrices(S) + Pass::scratch(plan) +
           Group<Layout>::zeros_of_activity(Pass::activity(plan));
  }
  static int64_t unwritten(const PlasticPlan<T>& plan) {
    return Pass::recomputed(plan) + Group<Layout>::unwritten_activity(Pass::activity(plan));
  }
  // Values of scratch memory for the recomputed matrices of an interval.
  static int64_t recomputed(const PlasticPlan<T>& plan) {
    return (plan.interval + 1) * plan.all_matrices(S);
  }

  void run() {
    Pass& pass = static_cast<Pass&>(*this);
    const PlasticPlan<T>& plan = this->plan_;
    pass.begin();
    for (int64_t k = plan.checkpoints - 1; k >= 0; --k) {
      begin_ = k * plan.interval;
      const int64_t end = std::min(begin_ + plan.interval, plan.steps);
      const bool enters = end < plan.steps || pass.has_final_gradient();
      for (int64_t t = begin_; t < end; ++t) pass.load(t);
      if (k > 0) {
        load_checkpoint(k);
      } else {
        load_initial_state();
      }
      pass.recompute_interval(begin_, enters && Pass::kSeesNext ? end : end - 1);
      if (enters) pass.enter(end);
      for (int64_t t = end - 1; t >= begin_; --t) pass.back(t, t > begin_);
    }
    pass.end();
  }

 protected:
  BackwardGroup(const PlasticPlan<T>& plan, int64_t first, T* saved, const uint8_t* reset,
                Scratch<T>& scratch)
      : Group<Layout>(plan, first, saved, reset),
        seen_(scratch.take_unwritten(Pass::recomputed(plan))),
        d_matrices_(scratch.take(plan.all_matrices(S))) {}

  // seen(begin_) from checkpoint k: where forward has saved it, if it can be loaded from there.
  void load_checkpoint(int64_t k) {
    first_seen_ = this->saved_.checkpoint(k);
    if (is_aligned(first_seen_)) return;
    const auto [first, count] = this->values_of_rows();
    std::copy_n(first_seen_ + first, count, seen_ + first);
    first_seen_ = seen_;
  }
  // Writes seen(0).
  void load_initial_state() {
    first_seen_ = seen_;
    std::fill_n(seen_, this->plan_.all_matrices(S), T(0));
    for (int64_t which = 0; which < this->plan_.matrices; ++which) {
      this->copy_in(static_cast<Pass&>(*this).initial(which), seen(0, which));
    }
    for (int s = 0; s < S; ++s) {
      if (this->is_reset(0, s)) this->clear_sample(seen_, s);
    }
  }
  // From seen(begin) to seen(end), all rows at each step.
  void recompute_interval(int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      static_cast<Pass&>(*this).recompute(t);
      for (int s = 0; s < S && t + 1 < this->plan_.steps; ++s) {
        if (this->is_reset(t + 1, s)) this->clear_sample(seen(t + 1), s);
      }
    }
  }

  // The recomputed matrices at the start of step t, or one of them.
  T* seen(int64_t t, int64_t which = 0) const {
    T* const at_step =
        t == begin_ ? first_seen_ : seen_ + step_in_interval(t) * this->plan_.all_matrices(S);
    return at_step + which * this->plan_.matrix(S);
  }
  // From row i on, for a unit with one matrix.
  T* seen_rows(int64_t t, int64_t i) const { return seen(t) + this->row_of(i); }
  // Steps from the beginning of the interval to t.
  int64_t step_in_interval(int64_t t) const { return t - begin_; }
  T* d_matrix(int64_t which) const { return d_matrices_ + which * this->plan_.matrix(S); }

  int64_t begin_ = 0;  // first step of the recomputed interval
  T* const seen_;
  T* first_seen_ = nullptr;  // seen(begin_): in seen_, or a checkpoint

 private:
  T* const d_matrices_;
};

// Runs groups one after the other, in scratch memory that they share. A Pass<Layout> is constructed
// from the plan, the group's first sample, its part of the saved activations (null if there will be
// no backward pass), its scratch memory, and the unit's own arguments.
template <template <class> class Pass, typename T>
class GroupRunner {
 public:
  GroupRunner(const PlasticPlan<T>& plan, T* saved) : plan_(plan), saved_(saved) {}

  template <class Layout, class... Arguments>
  void run(int64_t group, const Arguments&... arguments) {
    const int64_t zeros = Pass<Layout>::zeros(plan_);
    if (last_size_ != plan_.size(group))
      memory_ = ScratchArray<T>(zeros + Pass<Layout>::unwritten(plan_));
    last_size_ = plan_.size(group);
    std::fill_n(memory_.get(), zeros, T(0));
    Scratch<T> scratch{memory_.get(), memory_.get() + zeros};
    T* const saved_of_group = saved_ == nullptr ? nullptr : saved_ + plan_.saved_offset(group);
    Pass<Layout>(plan_, plan_.first_sample(group), saved_of_group, scratch, arguments...).run();
  }

 private:
  const FlushDenormals flush_;
  const PlasticPlan<T>& plan_;
  T* const saved_;
  ScratchArray<T> memory_;
  int64_t last_size_ = 0;
};

// Runs the groups of a shard; the batch-interleaved ones only if kBatchInterleavedToo.
template <template <class> class Pass, bool kBatchInterleavedToo, typename T, class... Arguments>
void run_shard(const PlasticPlan<T>& plan, int64_t shard, T* saved, const Arguments&... arguments) {
  GroupRunner<Pass, T> runner(plan, saved);
  const int64_t first =
      std::max(plan.first_group(shard), kBatchInterleavedToo ? 0 : plan.interleaved_groups);
  for (int64_t g = first; g < plan.first_group(shard + 1); ++g) {
    switch (plan.size(g)) {
      case kInterleavedSamples<T>:
        if constexpr (kBatchInterleavedToo)
          runner.template run<BatchInterleaved<T>>(g, arguments...);
        break;
      case kTileRows:
        runner.template run<RowVectorised<T, kTileRows>>(g, arguments...);
        break;
      case 2:
        runner.template run<RowVectorised<T, 2>>(g, arguments...);
        break;
      default:
        runner.template run<RowVectorised<T, 1>>(g, arguments...);
    }
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace stpn::kernels
HWY_AFTER_NAMESPACE();

#endif
