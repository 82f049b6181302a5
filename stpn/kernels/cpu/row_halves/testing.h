// Two threads for tests of the halves of rows.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <thread>

#include "stpn/base/parallel.h"

namespace stpn::kernels::testing {

// Both bodies on threads that are there when they begin, as those of a pool are.
inline void on_two_threads(int64_t count, const std::function<void(int64_t)>& body) {
  if (count != 2) return base::serial_for(count, body);
  std::atomic<int> ready{0};
  const auto run = [&](int64_t i) {
    ++ready;
    while (ready < 2) std::this_thread::yield();
    body(i);
  };
  std::thread second(run, 1);
  run(0);
  second.join();
}

}  // namespace stpn::kernels::testing
