// The threads that kernels run on.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>

#include "stpn/base/parallel.h"

namespace stpn::ops {

// While an object of this class exists on a thread, libtorch's own ops called there run on one
// thread, and the kernels run on as many threads as libtorch had, in a pool of their own.
//
// There are two reasons. The kernels give the same bits for any number of threads; libtorch's
// matrix products do not (measured: at::linear on 1 and 3 threads), and MKL does not promise it.
// And the pool steals work: where another process occupies a core, the threads that do run take
// over the work, while OpenMP's barrier spins until the other thread has run (measured on two
// cores, one of them taken by a busy process: an epoch took 3.9 s with OpenMP, 0.7 s with the
// pool). Its threads stay awake for 200 us after a loop, and give their core to whoever wants it.
class KernelThreadsGuard {
 public:
  KernelThreadsGuard();
  ~KernelThreadsGuard();
  KernelThreadsGuard(const KernelThreadsGuard&) = delete;
  KernelThreadsGuard& operator=(const KernelThreadsGuard&) = delete;

  bool has_one_thread() const;
  // body(i) for each i in [0, count), on the pool.
  void run(int64_t count, const std::function<void(int64_t)>& body);

 private:
  struct Pool;
  int torch_threads_;
  KernelThreadsGuard* before_;
  std::unique_ptr<Pool> pool_;
};

// Runs body(i) for each i in [0, count) on the pool of this thread's KernelThreadsGuard, each from
// beginning to end on one thread: kernels called in it do not use other threads, unless count is 1.
// Without a guard, all run on this thread. They use this thread's backend; libtorch's thread-local
// modes (such as NoGradGuard) are not passed on, `body` has to set them.
void run_concurrently(int64_t count, const std::function<void(int64_t)>& body);

// The parallel loop that the kernels use: on the pool of this thread's KernelThreadsGuard; without
// one, on libtorch's own threads (torch::set_num_threads).
const base::ParallelFor& kernel_parallel_for();
// The same for a kernel's call: null, for all on the calling thread, where there is one thread
// only.
const base::ParallelFor* parallel_for_of_call();

}  // namespace stpn::ops
