#include "stpn/ops/runtime/backend.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <mutex>
#include <set>
#include <thread>
#include <vector>

#include "stpn/base/error.h"
#include "stpn/ops/runtime/threads.h"
#include "stpn/ops/units/stpn.h"

namespace stpn::ops::backend_test {
namespace {

TEST(BackendGuardTest, NestsAndPutsBackWhatWas) {
  const Backend before = backend();
  {
    BackendGuard outer(Backend::cpu);
    EXPECT_EQ(backend(), Backend::cpu);
    {
      BackendGuard inner(Backend::reference);
      EXPECT_EQ(backend(), Backend::reference);
    }
    EXPECT_EQ(backend(), Backend::cpu);
  }
  EXPECT_EQ(backend(), before);
}

TEST(BackendGuardTest, LeavesOtherThreadsAlone) {
  const Backend before = backend();
  BackendGuard guard(before == Backend::cpu ? Backend::reference : Backend::cpu);
  Backend seen = backend();
  std::thread([&] { seen = backend(); }).join();
  EXPECT_EQ(seen, before);
}

TEST(BackendTest, CudaRefusesTensorsOnTheCpu) {
  const BackendGuard guard(Backend::cuda);
  StpnCall call;
  call.x = at::zeros({2, 3, 4});
  try {
    stpn_recurrent(call);
    FAIL();
  } catch (const base::UserError& error) {
    EXPECT_STREQ(error.what(),
                 "stpn_recurrent: x is on cpu, and the backend \"cuda\" runs on a GPU: change "
                 "STPN_BACKEND or move the tensors");
  }
}

TEST(KernelParallelForTest, CallsEachIndexOnceWithMoreItemsThanThreads) {
  std::vector<std::atomic<int>> calls(1001);
  kernel_parallel_for()(1001, [&](int64_t i) { ++calls[i]; });
  for (const auto& count : calls) EXPECT_EQ(count, 1);
}

TEST(KernelParallelForTest, DoesNothingForNoItems) {
  kernel_parallel_for()(0, [](int64_t) { FAIL(); });
}

TEST(KernelParallelForTest, UsesAsManyThreadsAsTorch) {
  const int before = at::get_num_threads();
  at::set_num_threads(2);
  std::mutex mutex;
  std::set<std::thread::id> threads;
  kernel_parallel_for()(2, [&](int64_t) {
    std::lock_guard lock(mutex);
    threads.insert(std::this_thread::get_id());
  });
  at::set_num_threads(before);
  EXPECT_EQ(threads.size(), 2u);
}

TEST(KernelThreadsGuardTest, LeavesTorchOneThreadAndPutsBackWhatWas) {
  const int before = at::get_num_threads();
  at::set_num_threads(3);
  {
    const KernelThreadsGuard guard;
    EXPECT_EQ(at::get_num_threads(), 1);
    { const KernelThreadsGuard inner; }
    EXPECT_EQ(at::get_num_threads(), 1);
  }
  EXPECT_EQ(at::get_num_threads(), 3);
  at::set_num_threads(before);
}

// Each of the two waits for the other, so one thread alone would never end.
TEST(KernelThreadsGuardTest, PoolUsesAsManyThreadsAsTorchHad) {
  if (std::thread::hardware_concurrency() < 2) GTEST_SKIP() << "this machine has one core";
  const int before = at::get_num_threads();
  at::set_num_threads(2);
  {
    const KernelThreadsGuard guard;
    std::atomic<int> arrived = 0;
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(30);
    kernel_parallel_for()(2, [&](int64_t) {
      ++arrived;
      while (arrived < 2 && std::chrono::steady_clock::now() < deadline) std::this_thread::yield();
      EXPECT_EQ(arrived, 2);
    });
  }
  at::set_num_threads(before);
}

TEST(KernelThreadsGuardTest, PoolCallsEachIndexOnceAndHandsExceptionsOn) {
  const KernelThreadsGuard guard;
  std::vector<std::atomic<int>> calls(1001);
  kernel_parallel_for()(1001, [&](int64_t i) { ++calls[i]; });
  for (const auto& count : calls) EXPECT_EQ(count, 1);
  EXPECT_THROW(kernel_parallel_for()(4, [](int64_t) { throw base::Error("all"); }), base::Error);
}

TEST(KernelParallelForTest, HandsExceptionsOn) {
  EXPECT_THROW(kernel_parallel_for()(4,
                                     [](int64_t i) {
                                       if (i == 3) throw base::Error("three");
                                     }),
               base::Error);
}

TEST(RunSideBySideTest, RunsEachOnceAndWithItAllOnOneThread) {
  const int before = at::get_num_threads();
  at::set_num_threads(2);
  {
    const KernelThreadsGuard guard;
    const BackendGuard reference(Backend::reference);
    std::vector<std::atomic<int>> calls(50);
    std::atomic<int> wrong = 0;
    run_concurrently(50, [&](int64_t i) {
      ++calls[i];
      const auto here = std::this_thread::get_id();
      if (at::get_num_threads() != 1 || backend() != Backend::reference) ++wrong;
      kernel_parallel_for()(8, [&](int64_t) {
        if (std::this_thread::get_id() != here) ++wrong;
      });
    });
    for (const auto& count : calls) EXPECT_EQ(count, 1);
    EXPECT_EQ(wrong, 0);
    EXPECT_THROW(run_concurrently(1, [](int64_t) { throw base::Error("no"); }), base::Error);
    // Kernels share out their work again: no item ends before both have begun.
    std::atomic<int> begun = 0;
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    kernel_parallel_for()(2, [&](int64_t) {
      ++begun;
      while (begun < 2 && std::chrono::steady_clock::now() < end) std::this_thread::yield();
    });
    EXPECT_EQ(begun, 2);
  }
  at::set_num_threads(before);
}

TEST(RunSideBySideTest, WithoutAGuardRunsHere) {
  std::vector<int64_t> order;
  run_concurrently(3, [&](int64_t i) { order.push_back(i); });
  EXPECT_EQ(order, (std::vector<int64_t>{0, 1, 2}));
}

}  // namespace
}  // namespace stpn::ops::backend_test
