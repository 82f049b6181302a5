#include "stpn/nn/backend.h"

#include <ATen/Parallel.h>
#include <omp.h>

#include <cstdlib>
#include <string_view>

#include "stpn/base/error.h"

namespace stpn::nn {
namespace {

constexpr int kNoGuard = -1;
thread_local int guarded = kNoGuard;
thread_local int kernel_threads = 0;  // 0: libtorch's number

Backend from_environment() {
  const char* variable = std::getenv("STPN_BACKEND");
  const std::string_view word = variable == nullptr ? "auto" : variable;
  if (word == "auto") return Backend::automatic;
  if (word == "ref") return Backend::reference;
  if (word == "cpu") return Backend::cpu;
  throw base::UserError(
      fmt::format("STPN_BACKEND is \"{}\": set it to auto, ref or cpu, or unset it", word));
}

}  // namespace

Backend backend() {
  if (guarded != kNoGuard) return static_cast<Backend>(guarded);
  static const Backend chosen = from_environment();
  return chosen;
}

BackendGuard::BackendGuard(Backend backend) : before_(guarded) {
  guarded = static_cast<int>(backend);
}

BackendGuard::~BackendGuard() { guarded = before_; }

KernelThreadsGuard::KernelThreadsGuard()
    : torch_threads_(at::get_num_threads()), before_(kernel_threads) {
  if (kernel_threads == 0) kernel_threads = torch_threads_;
  at::set_num_threads(1);
}

KernelThreadsGuard::~KernelThreadsGuard() {
  at::set_num_threads(torch_threads_);
  kernel_threads = before_;
}

const base::ParallelFor& torch_parallel_for() {
  static const base::ParallelFor loop = [](int64_t count,
                                           const std::function<void(int64_t)>& body) {
    // at::parallel_for takes OpenMP's number; MKL, which has its own, is left on one thread.
    if (kernel_threads > 0) omp_set_num_threads(kernel_threads);
    at::parallel_for(0, count, 1, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) body(i);
    });
    if (kernel_threads > 0) omp_set_num_threads(1);
  };
  return loop;
}

}  // namespace stpn::nn
