// The processes of this run, if it was started as one of several: mpirun -n 4 stpn train ...
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "stpn/processes/group.h"

namespace stpn::cli {

// While an object of this class exists, work is shared with the other processes
// (processes::group); in a process that was started alone it does nothing. There is one at most.
class Connection {
 public:
  // Throws base::UserError without MPI.
  explicit Connection(double patience_seconds);
  ~Connection();
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  bool is_first() const { return group_.is_first(); }
  // How many threads this process should use unless the user says so: those of this machine,
  // divided by its processes, unless the launcher has given each its own cores.
  int threads(int available) const;
  // After all work.
  void finish();

 private:
  processes::Group& group_;
  processes::GroupGuard guard_;
};

// Reports a failure, once for all processes, and returns the exit code. `lost`: another process
// does not answer.
int end_failed(int exit_code, const std::string& message, bool lost = false);

}  // namespace stpn::cli
