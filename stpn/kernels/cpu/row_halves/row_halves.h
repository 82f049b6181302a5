// The halves of the rows of one sample, each on a thread of its own: a long sequence leaves the
// threads nothing else to share. They meet at every time step.
//
// The division depends on the shapes alone, and so do the bits: a single thread that does both
// halves adds up the sums over rows of each half by themselves.
#pragma once

#include <hwy/cache_control.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <limits>

#include "stpn/base/parallel.h"
#include "stpn/kernels/cpu/plan.h"
#include "stpn/kernels/cpu/scratch_pool.h"

namespace stpn::kernels {

// What one of two tasks of a parallel loop has to do.
enum class HalvesShare { first, second, both, none };

template <typename T>
class RowHalves {
 public:
  // `synapses_in_nanosecond`: how many of them a thread handles in that time, in a pass's steps.
  RowHalves(const PlasticPlan<T>& plan, const base::ParallelFor* parallel,
            int64_t synapses_in_nanosecond)
      : parallel_(parallel),
        rows_(plan.rows(1)),
        first_rows_(plan.padded((rows_ + 1) / 2)),
        width_(plan.presynaptic(1)),
        slowest_meeting_((rows_ - first_rows_) * plan.fan_in / synapses_in_nanosecond),
        longest_wait_(std::min<int64_t>(200'000, plan.steps * plan.hidden * plan.fan_in / 40)),
        sums_(4 * width_) {}

  // The rows of half 0 or 1. Their neuron values begin at a cache line.
  Rows rows(int half) const { return half == 0 ? Rows{0, first_rows_} : Rows{first_rows_, rows_}; }

  // Calls task() for each half, at the same time if there are threads.
  void run(const std::function<void()>& task) {
    parallel_ == nullptr ? task() : (*parallel_)(2, [&](int64_t) { task(); });
  }

  // Called by each task. The two may run one after the other: nobody knows how many threads of a
  // parallel loop are free. So the first one waits for the second only as long as it takes to wake
  // a thread, and then does both halves; likewise if their cores are too far apart.
  HalvesShare join() {
    if (parallel_ == nullptr) return HalvesShare::both;
    int nobody = kNobody;
    if (!state_.compare_exchange_strong(nobody, kWaiting)) {
      int waiting = kWaiting;
      if (!state_.compare_exchange_strong(waiting, kTogether)) return HalvesShare::none;
      time_meetings(1);
      meet(1);
      return is_worth_it_ ? HalvesShare::second : HalvesShare::none;
    }
    const auto end = std::chrono::steady_clock::now() + std::chrono::nanoseconds(longest_wait_);
    while (state_.load() == kWaiting) {
      hwy::Pause();
      if (std::chrono::steady_clock::now() < end) continue;
      int waiting = kWaiting;
      if (state_.compare_exchange_strong(waiting, kAlone)) return HalvesShare::both;
    }
    is_worth_it_ = time_meetings(0) <= slowest_meeting_;
    meet(0);
    return is_worth_it_ ? HalvesShare::first : HalvesShare::both;
  }

  // Returns when the other half has called this as often as this one.
  void meet(int half) {
    const std::atomic<int>& other = steps_[1 - half].count;
    const int step = steps_[half].count.load(std::memory_order_relaxed) + 1;
    tell(half, step);
    // Both halves take about as long. If the other is late, its thread waits for a core, perhaps
    // for this one: not every system moves one of two threads that share a core while both run, but
    // a thread that wakes up goes to an idle core.
    for (int turn = 0; turn < kTurns; ++turn) {
      if (other.load(std::memory_order_acquire) >= step) return;
      hwy::Pause();
    }
    for (int count = other.load(); count < step; count = other.load()) other.wait(count);
  }
  // A half that failed: the other one no longer waits for it.
  void leave(int half) { tell(half, std::numeric_limits<int>::max()); }

  // A presynaptic array of sums over the rows of a half. Those of two steps in turn, so that a half
  // can write the next while the other still reads the last.
  T* sums(int64_t t, int half) const { return sums_.get() + (t % 2 * 2 + half) * width_; }

 private:
  // Nanoseconds of a meeting at which each half passes on the sums that the other one wrote before:
  // what the halves have to tell each other takes as long as the meeting itself.
  int64_t time_meetings(int half) {
    constexpr int kFirst = 4, kTimed = 8;
    std::chrono::steady_clock::time_point begin;
    for (int i = 1; i <= kFirst + kTimed; ++i) {
      std::copy_n(sums(i - 1, 1 - half), width_, sums(i, half));
      meet(half);
      if (i == kFirst) begin = std::chrono::steady_clock::now();
    }
    const std::chrono::nanoseconds time = std::chrono::steady_clock::now() - begin;
    return time.count() / kTimed;
  }

  enum { kNobody, kWaiting, kTogether, kAlone };
  static constexpr int kTurns = 1000;  // tens of microseconds, a few steps
  struct alignas(128) Steps {          // no two of them in neighbouring lines of the cache
    std::atomic<int> count{0};
  };
  void tell(int half, int count) {
    steps_[half].count.store(count);
    steps_[half].count.notify_one();
  }

  const base::ParallelFor* const parallel_;
  const int64_t rows_, first_rows_, width_;
  // In nanoseconds: how long a meeting may take, which is what the second thread saves at a step,
  // and the wait for that thread, a part of all that it saves.
  const int64_t slowest_meeting_, longest_wait_;
  bool is_worth_it_ = false;
  const ScratchArray<T> sums_;
  std::atomic<int> state_{kNobody};
  Steps steps_[2];
};

// The part of a sample's rows that a pass has: without halves, all.
template <typename T>
struct RowPart {
  explicit operator bool() const { return halves != nullptr; }
  // Both halves, or those of a sample that has none, are all rows.
  bool has_both() const { return halves != nullptr && share == HalvesShare::both; }
  bool is_half() const { return halves != nullptr && share != HalvesShare::both; }
  int half() const { return share == HalvesShare::second ? 1 : 0; }
  Rows rows(const Rows& all) const { return is_half() ? halves->rows(half()) : all; }

  RowHalves<T>* halves = nullptr;
  HalvesShare share = HalvesShare::both;
};

}  // namespace stpn::kernels
