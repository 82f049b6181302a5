// The shards of a kernel over the threads of its caller.
#pragma once

#include <cstdint>
#include <functional>

#include "stpn/base/parallel.h"

namespace stpn::kernels {

// Without `parallel`, and if there is one shard, on the calling thread.
inline void for_each_shard(const base::ParallelFor* parallel, int64_t shards,
                           const std::function<void(int64_t)>& body) {
  parallel == nullptr || shards == 1 ? base::serial_for(shards, body) : (*parallel)(shards, body);
}

}  // namespace stpn::kernels
