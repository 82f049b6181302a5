// A team of CUDA threads on the CPU, for tests: each thread is a fiber with a stack of its own, and
// one runs until it waits for others. So the threads between two barriers run one after the other,
// in an order that the seed shuffles anew each time: what depends on the order shows as other bits.
// What this does not show: docs/cuda.md.
#pragma once

#include <ucontext.h>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <numeric>
#include <random>
#include <stdexcept>
#include <vector>

#include "stpn/kernels/cuda/team.h"

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#endif

namespace stpn::kernels::cuda {

// All memory that the kernels write before they read begins as NaN.
template <typename T>
std::vector<T> unwritten(int64_t count) {
  return std::vector<T>(static_cast<size_t>(count), std::numeric_limits<T>::quiet_NaN());
}

// As an H200, so that large units get clusters.
inline constexpr Machine kEmulated{227 * 1024, 8, 132};

// Each call of a kernel runs the threads in another order.
inline uint64_t next_seed() {
  static std::atomic<uint64_t> calls = 0;
  return 1000 * ++calls;
}

// Runs the threads of one team.
class Emulation {
 public:
  Emulation(int threads, int lanes, uint64_t seed)
      : lanes_(lanes), random_(seed), groups_(threads / lanes), slots_(threads), fibers_(threads) {
    for (Fiber& fiber : fibers_) fiber.stack = std::make_unique_for_overwrite<std::byte[]>(kStack);
  }

  // Throws std::logic_error where some threads wait at a barrier that others never reach.
  void run(const std::function<void(int thread)>& body) {
    body_ = &body;
    running_ = static_cast<int>(fibers_.size());
    for (int k = 0; k < running_; ++k) start(k);
    std::vector<int> order(fibers_.size());
    std::iota(order.begin(), order.end(), 0);
    while (running_ > 0) {
      std::shuffle(order.begin(), order.end(), random_);
      const int64_t before = progress_;
      for (const int k : order) {
        if (!fibers_[k].done) resume(k);
      }
      if (progress_ == before) throw std::logic_error("a barrier that some threads do not reach");
    }
  }

  int lanes() const { return lanes_; }
  int threads() const { return static_cast<int>(fibers_.size()); }

  void sync() { meet(all_, static_cast<int>(fibers_.size())); }

  // As the shuffles of a warp add: lane k and lane k xor offset, offset lanes/2 ... 1.
  template <typename T>
  T sum(int thread, T value) {
    const int first = thread / lanes_ * lanes_;
    share(thread, value);
    std::vector<T> values(lanes_);
    for (int k = 0; k < lanes_; ++k) values[k] = static_cast<T>(slots_[first + k]);
    meet(groups_[thread / lanes_], lanes_);  // all have read
    for (int offset = lanes_ / 2; offset > 0; offset /= 2) {
      std::vector<T> sums(lanes_);
      for (int k = 0; k < lanes_; ++k) sums[k] = values[k] + values[k ^ offset];
      values = sums;
    }
    return values[thread - first];
  }
  template <typename T>
  T from_first(int thread, T value) {
    share(thread, value);
    const T first = static_cast<T>(slots_[thread / lanes_ * lanes_]);
    meet(groups_[thread / lanes_], lanes_);
    return first;
  }

 private:
  static constexpr size_t kStack = 256 * 1024;
  struct Fiber {
    ucontext_t context{};
    std::unique_ptr<std::byte[]> stack;
    bool done = false;
  };
  struct Barrier {
    int arrived = 0;
    int64_t generation = 0;
  };

  template <typename T>
  void share(int thread, T value) {
    slots_[thread] = static_cast<double>(value);  // exact for float
    meet(groups_[thread / lanes_], lanes_);
  }

  void meet(Barrier& barrier, int wanted) {
    const int64_t mine = barrier.generation;
    ++progress_;
    if (++barrier.arrived == wanted) {
      barrier.arrived = 0;
      ++barrier.generation;
      return;
    }
    while (barrier.generation == mine) leave(false);
  }

  // makecontext passes ints only.
  static void enter(unsigned high, unsigned low) {
    auto* self =
        reinterpret_cast<Emulation*>((static_cast<uintptr_t>(high) << 32) | uintptr_t{low});
    self->arrive(nullptr);
    (*self->body_)(self->current_);
    self->fibers_[self->current_].done = true;
    --self->running_;
    ++self->progress_;
    self->leave(true);
  }

  void start(int k) {
    Fiber& fiber = fibers_[k];
    fiber.done = false;
    getcontext(&fiber.context);
    fiber.context.uc_stack.ss_sp = fiber.stack.get();
    fiber.context.uc_stack.ss_size = kStack;
    fiber.context.uc_link = nullptr;
    const auto self = reinterpret_cast<uintptr_t>(this);
    makecontext(&fiber.context, reinterpret_cast<void (*)()>(&Emulation::enter), 2,
                static_cast<unsigned>(self >> 32), static_cast<unsigned>(self));
  }

  void resume(int k) {
    current_ = k;
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_start_switch_fiber(&main_fake_, fibers_[k].stack.get(), kStack);
#endif
    swapcontext(&main_, &fibers_[k].context);
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_finish_switch_fiber(main_fake_, nullptr, nullptr);
#endif
  }

  // Back to run().
  void leave([[maybe_unused]] bool for_good) {
    const int k = current_;
#if defined(__SANITIZE_ADDRESS__)
    void* fake = nullptr;
    __sanitizer_start_switch_fiber(for_good ? nullptr : &fake, main_bottom_, main_size_);
#endif
    swapcontext(&fibers_[k].context, &main_);
#if defined(__SANITIZE_ADDRESS__)
    arrive(fake);
#endif
  }
  void arrive([[maybe_unused]] void* fake) {
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_finish_switch_fiber(fake, &main_bottom_, &main_size_);
#endif
  }

  int lanes_;
  std::mt19937_64 random_;
  std::vector<Barrier> groups_;
  Barrier all_;
  std::vector<double> slots_;
  std::vector<Fiber> fibers_;
  const std::function<void(int)>* body_ = nullptr;
  ucontext_t main_{};
  int current_ = 0, running_ = 0;
  int64_t progress_ = 0;
#if defined(__SANITIZE_ADDRESS__)
  void* main_fake_ = nullptr;
  const void* main_bottom_ = nullptr;
  size_t main_size_ = 0;
#endif
};

// The place of one thread (team_thread-inl.h has the interface).
class EmulatedTeam {
 public:
  EmulatedTeam(Emulation& of, int thread) : of_(&of), thread_(thread) {}

  int thread() const { return thread_; }
  int threads() const { return of_->threads(); }
  int lane() const { return thread_ % of_->lanes(); }
  int lanes() const { return of_->lanes(); }
  int group() const { return thread_ / of_->lanes(); }
  int groups() const { return of_->threads() / of_->lanes(); }
  void sync() const { of_->sync(); }
  template <typename T>
  T sum(T value) const {
    return of_->sum(thread_, value);
  }
  template <typename T>
  void sum(T& one, T& other) const {
    one = sum(one);
    other = sum(other);
  }
  template <typename T>
  T from_first(T value) const {
    return of_->from_first(thread_, value);
  }

 private:
  Emulation* of_;
  int thread_;
};

// run(team, memory, sample) in each thread of the team of every sample, one sample after the other.
// `memory` has `values` values: a resident team's own, or at streamed(sample).
template <typename T, typename Streamed, typename Run>
void emulate_teams(const Team& shape, int64_t values, int batch, uint64_t seed,
                   const Streamed& streamed, const Run& run) {
  for (int sample = 0; sample < batch; ++sample) {
    std::vector<T> shared = unwritten<T>(shape.resident ? values : 0);
    T* const memory = shape.resident ? shared.data() : streamed(sample);
    Emulation threads(shape.threads * shape.blocks, shape.lanes, seed + sample);
    threads.run([&](int thread) { run(EmulatedTeam(threads, thread), memory, sample); });
  }
}

}  // namespace stpn::kernels::cuda
