// The threads that kernels run on.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>

#include "stpn/base/parallel.h"

namespace stpn::ops {

// For as long as it lives, on this thread: libtorch's own ops run on one thread, and the kernels on
// as many as libtorch had, in a pool of their own.
//
// Two reasons. The kernels give the same bits for any number of threads; libtorch's matrix products
// do not (measured: at::linear on 1 and 3 threads), nor does MKL promise it. And the pool steals
// work: where another process holds a core, the thread that runs does it all, while OpenMP's
// barrier spins for the one that does not (measured: an epoch in 3.9 s instead of 0.7 beside one
// busy process on two cores).
class KernelThreadsGuard {
 public:
  KernelThreadsGuard();
  ~KernelThreadsGuard();
  KernelThreadsGuard(const KernelThreadsGuard&) = delete;
  KernelThreadsGuard& operator=(const KernelThreadsGuard&) = delete;

  // body(i) for each i in [0, count), on the pool.
  void run(int64_t count, const std::function<void(int64_t)>& body);

 private:
  struct Pool;
  int torch_threads_;
  KernelThreadsGuard* before_;
  std::unique_ptr<Pool> pool_;
};

// body(i) for each i in [0, count), on the pool of this thread's KernelThreadsGuard, each from
// beginning to end on one thread: kernels inside it do not share out their work. Without a guard,
// on this thread. The backend is this thread's; what `body` needs of libtorch's modes (NoGradGuard)
// it sets itself.
void run_concurrently(int64_t count, const std::function<void(int64_t)>& body);

// The loop the kernels share out their work with: the pool of this thread's KernelThreadsGuard;
// without one, libtorch's own threads (torch::set_num_threads).
const base::ParallelFor& kernel_parallel_for();

}  // namespace stpn::ops
