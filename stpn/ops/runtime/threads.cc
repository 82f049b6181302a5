#include "stpn/ops/runtime/threads.h"

#include <ATen/Parallel.h>
#include <tbb/info.h>
#include <tbb/parallel_for.h>
#include <tbb/task_arena.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <thread>
#include <utility>

#include "stpn/base/fork_join.h"
#include "stpn/base/profile.h"
#include "stpn/ops/runtime/backend.h"

namespace stpn::ops {
namespace {

thread_local KernelThreadsGuard* kernel_threads = nullptr;
thread_local bool alone = false;  // in run_concurrently

// More than the time between two loops of a step of training.
constexpr std::chrono::microseconds kAwake{200};

}  // namespace

struct KernelThreadsGuard::Pool {
  // More threads than cores would gain nothing, and the library would print a warning.
  explicit Pool(int threads) : arena(std::min(threads, tbb::info::default_concurrency())) {}
  ~Pool() { ++*loops; }

  // The other threads that a loop of `count` bodies can use wait in the arena for the next one, for
  // a while. Where they had gone to sleep, a loop of 60 us would take 90, since they would come
  // late.
  void keep_awake(int64_t count) {
    static char started;
    for (int64_t i = 1; i < std::min<int64_t>(count, arena.max_concurrency()); ++i) {
      base::announce_start(&started);
      arena.enqueue([loops = loops, loop = loops->load()] {
        base::announce_begin(&started);
        const auto end = std::chrono::steady_clock::now() + kAwake;
        while (*loops == loop && std::chrono::steady_clock::now() < end) std::this_thread::yield();
      });
    }
  }

  tbb::task_arena arena;
  // How many loops there have been. Threads that wait may outlive the pool.
  const std::shared_ptr<std::atomic<int64_t>> loops = std::make_shared<std::atomic<int64_t>>(0);
};

KernelThreadsGuard::KernelThreadsGuard()
    : torch_threads_(at::get_num_threads()),
      before_(kernel_threads),
      pool_(std::make_unique<Pool>(torch_threads_)) {
  at::set_num_threads(1);
  kernel_threads = this;
}

KernelThreadsGuard::~KernelThreadsGuard() {
  kernel_threads = before_;
  at::set_num_threads(torch_threads_);
}

bool KernelThreadsGuard::has_one_thread() const { return pool_->arena.max_concurrency() == 1; }

void KernelThreadsGuard::run(int64_t count, const std::function<void(int64_t)>& body) {
  const auto work = base::Working::now();
  const base::Working waiting(std::nullopt);
  const auto working = [&](int64_t i) {
    const base::Working same(work);
    body(i);
  };
  ++*pool_->loops;
  base::fork_join(count, working, [this](int64_t n, const std::function<void(int64_t)>& each) {
    pool_->arena.execute([&] {
      tbb::parallel_for(tbb::blocked_range<int64_t>(0, n, 1),
                        [&](const tbb::blocked_range<int64_t>& range) {
                          for (int64_t i = range.begin(); i < range.end(); ++i) each(i);
                        });
    });
  });
  pool_->keep_awake(count);
}

namespace {

class AloneGuard {
 public:
  // Asked for, a new thread takes over how many threads libtorch may use there: one.
  AloneGuard() : before_(std::exchange(alone, true)) { at::get_num_threads(); }
  ~AloneGuard() { alone = before_; }
  AloneGuard(const AloneGuard&) = delete;
  AloneGuard& operator=(const AloneGuard&) = delete;

 private:
  bool before_;
};

}  // namespace

void run_concurrently(int64_t count, const std::function<void(int64_t)>& body) {
  if (count == 1) return body(0);  // nothing else wants the threads
  const Backend chosen = backend();
  const auto run_alone = [&](int64_t i) {
    const BackendGuard same(chosen);
    const AloneGuard guard;
    body(i);
  };
  kernel_threads != nullptr ? kernel_threads->run(count, run_alone)
                            : base::serial_for(count, run_alone);
}

const base::ParallelFor& kernel_parallel_for() {
  static const base::ParallelFor loop = [](int64_t count,
                                           const std::function<void(int64_t)>& body) {
    if (alone) return base::serial_for(count, body);
    if (kernel_threads != nullptr) return kernel_threads->run(count, body);
    base::fork_join(count, body, [](int64_t n, const std::function<void(int64_t)>& each) {
      at::parallel_for(0, n, 1, [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) each(i);
      });
    });
  };
  return loop;
}

const base::ParallelFor* parallel_for_of_call() {
  const bool one = kernel_threads != nullptr
                       ? kernel_threads->has_one_thread()
                       : at::get_num_threads() == 1 || at::in_parallel_region();
  return alone || one ? nullptr : &kernel_parallel_for();
}

}  // namespace stpn::ops
