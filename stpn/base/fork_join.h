// Runs a loop, or starts a task, on threads of a library, such as OpenMP or TBB, that
// ThreadSanitizer cannot see into.
#pragma once

#include <cstdint>
#include <functional>

#if defined(__SANITIZE_THREAD__)
#include <sanitizer/tsan_interface.h>
#endif

namespace stpn::base {

// For a task that a library starts and nobody waits for: the first is called by who starts it, the
// second by the task, before it reads what it was given. `order` says which tasks are meant.
inline void announce_start([[maybe_unused]] void* order) {
#if defined(__SANITIZE_THREAD__)
  __tsan_release(order);
#endif
}
inline void announce_begin([[maybe_unused]] void* order) {
#if defined(__SANITIZE_THREAD__)
  __tsan_acquire(order);
#endif
}

// Calls loop(count, body), which calls body(i) once for each i in [0, count) and returns when all
// are done. ThreadSanitizer sees neither how the library starts its threads nor how it waits for
// them, and would report a race between each body and what comes before or after the loop. Here
// both of these orders are announced to it, and none between the bodies, so it still finds races
// there.
template <typename Loop>
void fork_join(int64_t count, const std::function<void(int64_t)>& body, const Loop& loop) {
#if defined(__SANITIZE_THREAD__)
  char fork = 0, join = 0;
  __tsan_release(&fork);
  const std::function<void(int64_t)> ordered = [&](int64_t i) {
    __tsan_acquire(&fork);
    body(i);
    __tsan_release(&join);
  };
  loop(count, ordered);
  __tsan_acquire(&join);
#else
  loop(count, body);
#endif
}

}  // namespace stpn::base
