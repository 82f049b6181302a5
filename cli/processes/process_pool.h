// Child processes that run in parallel. They are killed when this process ends, in whatever way.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstddef>
#include <optional>
#include <string>
#include <vector>

namespace stpn::cli {

class ProcessPool {
 public:
  struct Ended {
    size_t key;          // the argument of start()
    int exit_code;       // 128 + N for a process killed by signal N
    std::string errors;  // what it wrote to standard error
  };

  ProcessPool() = default;
  ~ProcessPool();  // kills the running processes
  ProcessPool(const ProcessPool&) = delete;
  ProcessPool& operator=(const ProcessPool&) = delete;

  // Starts `command`: a program, searched for in PATH, and its arguments. If there is no such
  // program, the exit code is 127. Throws base::Error if the system cannot create another process.
  void start(size_t key, const std::vector<std::string>& command);

  size_t running() const { return children_.size(); }

  // A process that has ended, if one ends within this time.
  std::optional<Ended> wait(std::chrono::milliseconds patience);

 private:
  struct Child {
    size_t key;
    pid_t process;
    int errors;  // the reading end of its standard error
    std::string text;
  };

  std::vector<Child> children_;
};

// Runs a command to its end, with `input` as its standard input and this process's output and
// errors. It is killed when this process ends. Returns its exit code. Throws base::Error.
int run_process(const std::vector<std::string>& command, const std::string& input);

}  // namespace stpn::cli
