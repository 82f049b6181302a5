// The processes of this run, if it was started as one of several: mpirun -n 4 stpn train ...
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "stpn/processes/group.h"

namespace CLI {
class App;
}

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
  // How many threads this process should use unless the user says so: at most `available`, and its
  // part of the cores that it may use, divided among the processes of this machine that may use the
  // same ones.
  int threads(int available) const;
  // After all work.
  void finish();

 private:
  processes::Group& group_;
  processes::GroupGuard guard_;
  int sharing_ = 1;  // how many processes may use the same cores
};

// Adds --process-timeout. `seconds` must outlive the command.
void add_process_timeout(CLI::App& command, int64_t& seconds);
inline constexpr auto kProcessTimeout = static_cast<int64_t>(processes::Group::kPatience.count());

// Throws base::UserError where a launcher has started this command several times; `why` says why it
// must not.
void check_alone(const std::string& command, const std::string& why);

// Reports a failure, once for all processes, and returns the exit code. `lost`: another process
// does not answer.
int end_failed(int exit_code, const std::string& message, bool lost = false);

}  // namespace stpn::cli
