// Threads for the layers that do not use torch: they own none, and run parallel loops through a
// function that the caller passes.
#pragma once

#include <cstdint>
#include <functional>

namespace stpn::base {

// Calls body(i) once for each i in [0, count), in any order, possibly at the same time on several
// threads, and returns when all calls have returned. Users choose `count` from the size of the
// problem and never from the number of threads, so that results are bit for bit the same for any
// number of threads.
using ParallelFor = std::function<void(int64_t count, const std::function<void(int64_t)>& body)>;

// The ParallelFor that runs everything on the calling thread, in order.
inline void serial_for(int64_t count, const std::function<void(int64_t)>& body) {
  for (int64_t i = 0; i < count; ++i) body(i);
}

}  // namespace stpn::base
