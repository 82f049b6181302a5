// Measures how many fused multiply-adds of 16 floats a second 1, 2, ... threads do in total. From
// these rates bench.py computes the least time that the arithmetic of a unit takes. Prints JSON:
// {"1": rate, "2": rate ...}.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "benchmarks/fma_rate.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <thread>
#include <vector>

HWY_BEFORE_NAMESPACE();
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// Twelve independent chains hide the latency. Returns their sum, so that the compiler keeps them
// all.
float chains(int64_t rounds) {
  const hn::ScalableTag<float> d;
  const auto a = hn::Set(d, 0.9999f);
  const auto b = hn::Set(d, 1e-4f);
  // The start values differ; otherwise the compiler would compute one chain only.
  const auto start = [&](int k) { return hn::Set(d, static_cast<float>(k)); };
  auto v0 = start(0), v1 = start(1), v2 = start(2), v3 = start(3), v4 = start(4), v5 = start(5);
  auto v6 = start(6), v7 = start(7), v8 = start(8), v9 = start(9), va = start(10), vb = start(11);
  for (int64_t round = 0; round < rounds; ++round) {
    v0 = hn::MulAdd(v0, a, b);
    v1 = hn::MulAdd(v1, a, b);
    v2 = hn::MulAdd(v2, a, b);
    v3 = hn::MulAdd(v3, a, b);
    v4 = hn::MulAdd(v4, a, b);
    v5 = hn::MulAdd(v5, a, b);
    v6 = hn::MulAdd(v6, a, b);
    v7 = hn::MulAdd(v7, a, b);
    v8 = hn::MulAdd(v8, a, b);
    v9 = hn::MulAdd(v9, a, b);
    va = hn::MulAdd(va, a, b);
    vb = hn::MulAdd(vb, a, b);
  }
  const auto sum = hn::Add(hn::Add(hn::Add(v0, v1), hn::Add(v2, v3)),
                           hn::Add(hn::Add(hn::Add(v4, v5), hn::Add(v6, v7)),
                                   hn::Add(hn::Add(v8, v9), hn::Add(va, vb))));
  return hn::GetLane(hn::SumOfLanes(d, sum));
}
float of_16(int64_t fmas) {
  return chains(fmas * 16 / static_cast<int64_t>(hn::Lanes(hn::ScalableTag<float>())) / 12);
}

}  // namespace HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
HWY_EXPORT(of_16);

namespace {

using Clock = std::chrono::steady_clock;

// The best of several rounds, because other load on the machine only lowers the rate.
double rate(int threads) {
  constexpr int64_t kFmas = 48'000'000;
  double best = 0;
  for (int round = 0; round < 5; ++round) {
    const auto start = Clock::now();
    std::vector<std::thread> pool;
    for (int k = 0; k < threads; ++k) {
      pool.emplace_back(
          [] { [[maybe_unused]] volatile float sink = HWY_DYNAMIC_DISPATCH(of_16)(kFmas); });
    }
    for (std::thread& thread : pool) thread.join();
    const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
    best = std::max(best, threads * static_cast<double>(kFmas) / seconds);
  }
  return best;
}

}  // namespace

int main() {
  const int cores = std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
  std::printf("{");
  for (int threads = 1; threads <= cores; ++threads) {
    std::printf("%s\"%d\": %.6g", threads == 1 ? "" : ", ", threads, rate(threads));
  }
  std::printf("}\n");
}
#endif
