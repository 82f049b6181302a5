#include "stpn/base/profile.h"

#include <atomic>
#include <chrono>
#include <cstdint>
#include <utility>

namespace stpn::base {
namespace {

std::atomic<bool> profiled = false;
std::array<std::atomic<int64_t>, kWorks> nanoseconds_of_work = {};

struct ThreadWork {
  std::optional<Work> work;
  int64_t since = 0;
};
thread_local ThreadWork thread_work;

// Counts the time up to now for the work so far, and goes over to another. Returns the work so far.
std::optional<Work> change_work(std::optional<Work> work) {
  const auto time = std::chrono::steady_clock::now().time_since_epoch();
  const int64_t now = std::chrono::duration_cast<std::chrono::nanoseconds>(time).count();
  if (thread_work.work) {
    nanoseconds_of_work[static_cast<size_t>(*thread_work.work)].fetch_add(
        now - thread_work.since, std::memory_order_relaxed);
  }
  thread_work.since = now;
  return std::exchange(thread_work.work, work);
}

}  // namespace

void Profile::start() {
  for (auto& count : nanoseconds_of_work) count = 0;
  profiled = true;
}

std::array<double, kWorks> Profile::seconds() {
  std::array<double, kWorks> seconds;
  for (size_t k = 0; k < kWorks; ++k) {
    seconds[k] = static_cast<double>(nanoseconds_of_work[k]) * 1e-9;
  }
  return seconds;
}

Working::Working(std::optional<Work> work) : measured_(profiled.load(std::memory_order_relaxed)) {
  if (measured_) before_ = change_work(work);
}

Working::~Working() {
  if (measured_) change_work(before_);
}

std::optional<Work> Working::now() { return thread_work.work; }

}  // namespace stpn::base
