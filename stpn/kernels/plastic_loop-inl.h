// The loop over time of every unit with plastic synapses, forward and backward: groups of samples,
// resets, checkpoints and replay. A unit states its step. Compiled once a target.
//
// A step of a group of samples forward, of either layout (plastic_layout-inl.h),
// `template <class Layout> class Step : public ForwardGroup<Step<Layout>, Layout>`, has
//   static int64_t scratch(plan)
//                  how much it takes of the scratch memory, besides the matrices
//   begin()        state in
//   forget(s)      a reset: what it holds of sample s besides the matrices becomes zero
//   forward(t)     one step; leaves the matrices as backward of step t will want to see them
//   end()          updates that still wait; state out
//
// and backward, `class Step : public BackwardGroup<Step<Layout>, Layout>`,
//   static int64_t scratch(plan)
//                  as forward
//   begin(), end() gradients of the final state in, of the initial state out
//   kSeesNext      whether it reads seen(t + 1) while step t goes back
//   replay(t)      seen(t + 1) from seen(t), with what forward kept
//   enter(t)       a replayed interval ends before step t, and is about to be gone back through
//   back(t, more)  step t, from the gradient of what comes after it to that of what comes before;
//                  more: step t - 1 is of the same interval and comes next

#if defined(STPN_KERNELS_PLASTIC_LOOP_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef STPN_KERNELS_PLASTIC_LOOP_INL_H_
#undef STPN_KERNELS_PLASTIC_LOOP_INL_H_
#else
#define STPN_KERNELS_PLASTIC_LOOP_INL_H_
#endif

#include <hwy/aligned_allocator.h>
#include <hwy/highway.h>

#include <algorithm>
#include <type_traits>

#include "stpn/kernels/closed_loop.h"
#include "stpn/kernels/denormals.h"
#include "stpn/kernels/plastic_layout-inl.h"
#include "stpn/kernels/plastic_parameters.h"
#include "stpn/kernels/plastic_plan.h"
#include "stpn/kernels/vector_math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace stpn::kernels {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// A group's scratch memory: hands out pieces that are all zeros, and others.
template <typename T>
struct Scratch {
  T* take(int64_t count) {
    T* const piece = zeros;
    zeros += PlasticPlan<T>::padded(count);
    return piece;
  }

  T* take_unwritten(int64_t count) {
    T* const piece = unwritten;
    unwritten += PlasticPlan<T>::padded(count);
    return piece;
  }

  T* zeros;
  T* unwritten;
};

// What groups forward and backward have in common.
template <class Layout>
class Group {
 protected:
  using T = typename Layout::Value;
  using D = typename Layout::D;
  using V = typename Layout::V;
  using Plan = PlasticPlan<T>;
  static constexpr int S = Layout::kSamples;
  static constexpr int kRows = Layout::kRows;
  static constexpr int kVectors = Layout::kVectors;
  static constexpr int kLanes = Layout::kLanes;

  // `reset` (T, B) or null.
  Group(const Plan& plan, int64_t first, T* kept, const uint8_t* reset)
      : plan_(plan), layout_(plan), first_(first), kept_(kept, plan), reset_(reset) {}

  bool is_reset(int64_t t, int s) const {
    return reset_ != nullptr && reset_[t * plan_.batch + first_ + s] != 0;
  }
  bool any_reset(int64_t t) const {
    for (int s = 0; s < S; ++s) {
      if (is_reset(t, s)) return true;
    }
    return false;
  }
  // Where the values of step t of sample s begin in a (T, B, width) array.
  int64_t place(int64_t t, int s, int64_t width) const {
    return (t * plan_.batch + first_ + s) * width;
  }
  // Where the rows of unit i begin in a matrix.
  int64_t row_of(int64_t i) const { return i * S * layout_.width; }

  void clear_sample(T* matrices, int s) const {
    const int64_t rows = plan_.matrices * plan_.rows(S);
    for (int64_t i = 0; i < rows; ++i)
      put_sources(nullptr, layout_.width, s, 0, matrices + row_of(i));
  }

  // A matrix of the caller's, (B, H, columns), whose columns are ours from `column` on.
  void copy_in(const T* from, int64_t columns, int64_t column, T* matrix) const {
    if (from == nullptr) return;
    for (int64_t i = 0; i < plan_.hidden; ++i) {
      for (int s = 0; s < S; ++s) {
        put_sources(from + ((first_ + s) * plan_.hidden + i) * columns, columns, s, column,
                    matrix + row_of(i));
      }
    }
  }
  void copy_out(const T* matrix, int64_t columns, int64_t column, T* to) const {
    if (to == nullptr) return;
    for (int64_t i = 0; i < plan_.hidden; ++i) {
      for (int s = 0; s < S; ++s) {
        get_sources(matrix + row_of(i), s, column, columns,
                    to + ((first_ + s) * plan_.hidden + i) * columns);
      }
    }
  }
  // Values of a sample between an array of the caller's and presynaptic activity, or a unit's row,
  // from source `begin` on. From null: zeros.
  void put_sources(const T* HWY_RESTRICT from, int64_t count, int s, int64_t begin,
                   T* HWY_RESTRICT to) const {
    for (int64_t j = 0; j < count; ++j) {
      to[layout_.value(s, begin + j)] = from == nullptr ? T(0) : from[j];
    }
  }
  void get_sources(const T* HWY_RESTRICT from, int s, int64_t begin, int64_t count,
                   T* HWY_RESTRICT to) const {
    for (int64_t j = 0; j < count; ++j) to[j] = from[layout_.value(s, begin + j)];
  }
  // Unit values as presynaptic activity from source `begin` on, and back.
  void units_to_sources(const T* HWY_RESTRICT units, int64_t begin, T* HWY_RESTRICT to) const {
    for (int s = 0; s < S; ++s) {
      for (int64_t i = 0; i < plan_.hidden; ++i) to[layout_.value(s, begin + i)] = units[i * S + s];
    }
  }
  void sources_to_units(const T* HWY_RESTRICT from, int64_t begin, T* HWY_RESTRICT units) const {
    for (int s = 0; s < S; ++s) {
      for (int64_t i = 0; i < plan_.hidden; ++i)
        units[i * S + s] = from[layout_.value(s, begin + i)];
    }
  }
  // Values of the units of step t in a (T, B, H) array, or of the state in a (B, H) array (t = 0).
  void units_in(const T* from, int64_t t, T* units) const {
    for (int s = 0; s < S; ++s) {
      const T* HWY_RESTRICT sample = from + place(t, s, plan_.hidden);
      for (int64_t i = 0; i < plan_.hidden; ++i) units[i * S + s] = sample[i];
    }
  }
  void units_out(const T* units, int64_t t, T* to) const {
    for (int s = 0; s < S; ++s) {
      T* HWY_RESTRICT sample = to + place(t, s, plan_.hidden);
      for (int64_t i = 0; i < plan_.hidden; ++i) sample[i] = units[i * S + s];
    }
  }

  const Plan& plan_;
  const Layout layout_;
  const int64_t first_;
  const Kept<T, S> kept_;  // false when only predicting

 private:
  const uint8_t* const reset_;
};

template <class Step, class Layout>
class ForwardGroup : public Group<Layout> {
 protected:
  using T = typename Layout::Value;
  static constexpr int S = Layout::kSamples;

 public:
  static int64_t zeros(const PlasticPlan<T>& plan) {
    return plan.all_matrices(S) + Step::scratch(plan);
  }
  static int64_t unwritten(const PlasticPlan<T>&) { return 0; }

  void run() {
    Step& step = static_cast<Step&>(*this);
    step.begin();
    for (int64_t t = 0; t < this->plan_.steps; ++t) {
      for (int s = 0; s < S; ++s) {
        if (!this->is_reset(t, s)) continue;
        this->clear_sample(matrices_, s);
        step.forget(s);
      }
      step.forward(t);
      if (closed_loop_ != nullptr) {
        closed_loop_->after_step(t, this->first_, S,
                                 output_ + this->place(t, 0, this->plan_.hidden));
      }
      if (this->kept_ && t % this->plan_.interval == 0) {
        std::copy_n(matrices_, this->plan_.all_matrices(S),
                    this->kept_.checkpoint(t / this->plan_.interval));
      }
    }
    step.end();
  }

 protected:
  template <class Call>
  ForwardGroup(const PlasticPlan<T>& plan, int64_t first, T* kept, const Call& call,
               Scratch<T>& scratch)
      : Group<Layout>(plan, first, kept, call.reset),
        matrices_(scratch.take(plan.all_matrices(S))),
        closed_loop_(call.closed_loop),
        output_(call.output) {}

  T* matrix(int64_t which) const { return matrices_ + which * this->plan_.matrix(S); }

 private:
  T* const matrices_;
  ClosedLoop* const closed_loop_;
  const T* const output_;
};

template <class Step, class Layout>
class BackwardGroup : public Group<Layout> {
 protected:
  using T = typename Layout::Value;
  static constexpr int S = Layout::kSamples;

 public:
  static int64_t zeros(const PlasticPlan<T>& plan) {
    return plan.all_matrices(S) + Step::scratch(plan);
  }
  static int64_t unwritten(const PlasticPlan<T>& plan) {
    return (plan.interval + 1) * plan.all_matrices(S);
  }

  void run() {
    Step& step = static_cast<Step&>(*this);
    const PlasticPlan<T>& plan = this->plan_;
    step.begin();
    for (int64_t k = plan.checkpoints - 1; k >= 0; --k) {
      begin_ = k * plan.interval;
      const int64_t end = std::min(begin_ + plan.interval, plan.steps);
      std::copy_n(this->kept_.checkpoint(k), plan.all_matrices(S), seen_);
      for (int64_t t = begin_; t < (Step::kSeesNext ? end : end - 1); ++t) {
        step.replay(t);
        for (int s = 0; s < S && t + 1 < plan.steps; ++s) {
          if (this->is_reset(t + 1, s)) this->clear_sample(seen(t + 1), s);
        }
      }
      step.enter(end);
      for (int64_t t = end - 1; t >= begin_; --t) step.back(t, t > begin_);
    }
    step.end();
  }

 protected:
  BackwardGroup(const PlasticPlan<T>& plan, int64_t first, T* kept, const uint8_t* reset,
                Scratch<T>& scratch)
      : Group<Layout>(plan, first, kept, reset),
        seen_(scratch.unwritten),
        d_matrices_(scratch.take(plan.all_matrices(S))) {}

  // The matrices as step t sees them, as replay left them.
  T* seen(int64_t t, int64_t which = 0) const {
    return seen_ + within(t) * this->plan_.all_matrices(S) + which * this->plan_.matrix(S);
  }
  // Steps of the interval before t.
  int64_t within(int64_t t) const { return t - begin_; }
  T* d_matrix(int64_t which) const { return d_matrices_ + which * this->plan_.matrix(S); }

 private:
  int64_t begin_ = 0;  // first step of the replayed interval
  T* const seen_;
  T* const d_matrices_;
};

// Where steps of either layout add their gradients of parameters. Across the samples each lane has
// its own sum; they come together at the end.
template <typename T>
class Gradients {
  using D = hn::ScalableTag<T>;

 public:
  Gradients(const PlasticPlan<T>& plan, const GradientSums<T>& sums)
      : plan_(plan), sums_(sums), lanes_(plan.across_groups > 0 ? allocate() : nullptr) {}

  T* vector(int64_t which) const { return sums_.vector(which); }
  // Of rows i to i + kRows.
  template <class Layout>
  T* rows(int64_t which, int64_t i) const {
    if constexpr (Layout::kSamples != kAcross<T>) return sums_.matrix(which) + i * plan_.row;
    return lanes_.get() + (which * plan_.hidden_rows() + i) * lanes_of_row();
  }
  void bring_lanes_together() const {
    if (lanes_ == nullptr) return;
    const D d;
    for (int64_t row = 0; row < sums_.matrices * plan_.hidden_rows(); ++row) {
      T* to = sums_.base + row * plan_.row;
      const T* from = lanes_.get() + row * lanes_of_row();
      for (int64_t j = 0; j < plan_.sources; ++j) {
        to[j] += hn::GetLane(hn::SumOfLanes(d, hn::Load(d, from + j * hn::Lanes(d))));
      }
    }
  }

 private:
  int64_t lanes_of_row() const { return plan_.sources * hn::Lanes(D()); }
  hwy::AlignedFreeUniquePtr<T[]> allocate() const {
    const int64_t count = sums_.matrices * plan_.hidden_rows() * lanes_of_row();
    auto lanes = hwy::AllocateAligned<T>(count);
    std::fill_n(lanes.get(), count, T(0));
    return lanes;
  }

  const PlasticPlan<T>& plan_;
  const GradientSums<T>& sums_;
  const hwy::AlignedFreeUniquePtr<T[]> lanes_;
};

// Runs the groups of a chunk. Step<Layout> is made of the plan, the group's first sample, its part
// of `kept` (null when only predicting), its scratch memory and the unit's own arguments.
// kAcrossToo: what the plan was told.
template <template <class> class Step, bool kAcrossToo, typename T, class... Arguments>
void run_chunk(const PlasticPlan<T>& plan, int64_t chunk, T* kept, const Arguments&... arguments) {
  const FlushDenormals flush;
  hwy::AlignedFreeUniquePtr<T[]> memory;
  int64_t last_size = 0;
  for (int64_t g = plan.first_group(chunk); g < plan.first_group(chunk + 1); ++g) {
    const auto run = [&](auto layout) {
      using Group = Step<decltype(layout)>;
      const int64_t zeros = Group::zeros(plan);
      if (last_size != plan.size(g))
        memory = hwy::AllocateAligned<T>(zeros + Group::unwritten(plan));
      last_size = plan.size(g);
      std::fill_n(memory.get(), zeros, T(0));
      Scratch<T> scratch{memory.get(), memory.get() + zeros};
      T* const kept_of_group = kept == nullptr ? nullptr : kept + plan.kept_offset(g);
      Group(plan, plan.first_sample(g), kept_of_group, scratch, arguments...).run();
    };
    switch (plan.size(g)) {
      case kAcross<T>:
        if constexpr (kAcrossToo) run(Across<T>(plan));
        break;
      case kTogether:
        run(Along<T, kTogether>(plan));
        break;
      case 2:
        run(Along<T, 2>(plan));
        break;
      default:
        run(Along<T, 1>(plan));
    }
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace stpn::kernels
HWY_AFTER_NAMESPACE();

#endif
