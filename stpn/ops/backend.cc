#include "stpn/ops/backend.h"

#include <cstdlib>
#include <iterator>

#include "stpn/base/error.h"

namespace stpn::ops {
namespace {

struct Row {
  Backend backend;
  std::string name;
};

const Row kBackends[] = {{Backend::cpu, "cpu"}, {Backend::reference, "ref"}};

constexpr int kNoGuard = -1;
thread_local int guarded = kNoGuard;

Backend from_environment() {
  const char* variable = std::getenv("STPN_BACKEND");
  if (variable == nullptr) return Backend::cpu;
  for (const Row& row : kBackends) {
    if (row.name == variable) return row.backend;
  }
  throw base::UserError(
      fmt::format("STPN_BACKEND is \"{}\": set it to cpu or ref, or unset it", variable));
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
  throw base::UserError(fmt::format("there is no backend \"{}\": there are cpu and ref", name));
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
