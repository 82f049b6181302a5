#include "stpn/ops/runtime/backend.h"

#include <cstdlib>
#include <iterator>

#include "stpn/base/error.h"

namespace stpn::ops {
namespace {

struct Row {
  Backend backend;
  std::string name;
};

const Row kBackends[] = {{Backend::cpu, "cpu"},
                         {Backend::batch_invariant, "batch_invariant"},
                         {Backend::reference, "ref"},
                         {Backend::cuda, "cuda"}};

constexpr int kNoGuard = -1;
thread_local int guarded = kNoGuard;

std::string names() {
  std::string names;
  for (const Row& row : kBackends) names += (names.empty() ? "" : ", ") + row.name;
  return names;
}

Backend from_environment() {
  const char* variable = std::getenv("STPN_BACKEND");
  if (variable == nullptr) return Backend::cpu;
  for (const Row& row : kBackends) {
    if (row.name == variable) return row.backend;
  }
  throw base::UserError(
      fmt::format("STPN_BACKEND is \"{}\": set it to {}, or unset it", variable, names()));
}

}  // namespace

const std::string& name_of(Backend backend) {
  for (const Row& row : kBackends) {
    if (row.backend == backend) return row.name;
  }
  throw base::Error("a backend that is not in the table");
}

Backend backend_of(std::string_view name) {
  for (const Row& row : kBackends) {
    if (row.name == name) return row.backend;
  }
  throw base::UserError(fmt::format("there is no backend \"{}\": there are {}", name, names()));
}

Backend backend() {
  if (guarded != kNoGuard) return static_cast<Backend>(guarded);
  static const Backend chosen = from_environment();
  return chosen;
}

BackendGuard::BackendGuard(Backend backend) : before_(guarded) {
  guarded = static_cast<int>(backend);
}

BackendGuard::~BackendGuard() { guarded = before_; }

}  // namespace stpn::ops
