// Which implementation of a fused unit runs: one table, and one choice made in one place.
#pragma once

#include <string>
#include <string_view>

namespace stpn::ops {

// A row of the table in backend.cc, and one in each unit that has it (stpn/ops/units/).
enum class Backend { cpu, batch_invariant, reference, cuda };

// "cpu", "batch_invariant", "ref" or "cuda".
const std::string& name_of(Backend backend);
// Throws base::UserError for a name that is none of them.
Backend backend_of(std::string_view name);

// The backend of this thread: what the environment variable STPN_BACKEND says (read once; without
// it, cpu), unless a BackendGuard says otherwise. Throws base::UserError for another value of the
// variable.
Backend backend();

// Sets the backend of this thread for as long as it lives.
class BackendGuard {
 public:
  explicit BackendGuard(Backend backend);
  ~BackendGuard();
  BackendGuard(const BackendGuard&) = delete;
  BackendGuard& operator=(const BackendGuard&) = delete;

 private:
  int before_;
};

}  // namespace stpn::ops
