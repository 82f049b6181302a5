#include "stpn/ops/runtime/threads.h"

#include <ATen/Parallel.h>
#include <tbb/info.h>
#include <tbb/parallel_for.h>
#include <tbb/task_arena.h>

#include <algorithm>
#include <utility>

#include "stpn/base/fork_join.h"
#include "stpn/base/profile.h"
#include "stpn/ops/runtime/backend.h"

namespace stpn::ops {
namespace {

thread_local KernelThreadsGuard* kernel_threads = nullptr;
thread_local bool alone = false;  // in run_concurrently

}  // namespace

struct KernelThreadsGuard::Pool {
  // More threads than cores would gain nothing, and the library would print a warning.
  explicit Pool(int threads) : arena(std::min(threads, tbb::info::default_concurrency())) {}
  tbb::task_arena arena;
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
  base::fork_join(count, working, [this](int64_t n, const std::function<void(int64_t)>& each) {
    pool_->arena.execute([&] {
      tbb::parallel_for(tbb::blocked_range<int64_t>(0, n, 1),
                        [&](const tbb::blocked_range<int64_t>& range) {
                          for (int64_t i = range.begin(); i < range.end(); ++i) each(i);
                        });
    });
  });
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
