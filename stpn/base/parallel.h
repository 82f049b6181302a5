// How the torch-free layers use threads without owning any: the caller hands in a loop.
#pragma once

#include <cstdint>
#include <functional>

namespace stpn::base {

// Calls body(i) once for each i in [0, count), in any order, possibly at the same time on several
// threads, and returns when all are done. Work is cut into `count` pieces by the problem alone,
// never by the number of threads, so results are the same bits for any thread count.
using ParallelFor = std::function<void(int64_t count, const std::function<void(int64_t)>& body)>;

// All of it on the calling thread.
inline void serial_for(int64_t count, const std::function<void(int64_t)>& body) {
  for (int64_t i = 0; i < count; ++i) body(i);
}

}  // namespace stpn::base
