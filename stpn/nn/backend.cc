#include "stpn/nn/backend.h"

#include <ATen/Parallel.h>

#include <cstdlib>
#include <string_view>

#include "stpn/base/error.h"

namespace stpn::nn {
namespace {

constexpr int kNoGuard = -1;
thread_local int guarded = kNoGuard;

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

const base::ParallelFor& torch_parallel_for() {
  static const base::ParallelFor loop = [](int64_t count,
                                           const std::function<void(int64_t)>& body) {
    at::parallel_for(0, count, 1, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) body(i);
    });
  };
  return loop;
}

}  // namespace stpn::nn
