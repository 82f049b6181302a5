// Child processes, several at once. They are killed when this one ends, however it ends.
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
    size_t key;          // that start() was given
    int exit_code;       // 128 + N of a process killed by signal N
    std::string errors;  // what it wrote to standard error
  };

  ProcessPool() = default;
  ~ProcessPool();  // kills those that run
  ProcessPool(const ProcessPool&) = delete;
  ProcessPool& operator=(const ProcessPool&) = delete;

  // `command`: the program, looked for as a shell does, and its arguments. A program that is not
  // there ends with exit code 127. Throws base::Error if there can be no more processes.
  void start(size_t key, const std::vector<std::string>& command);

  size_t running() const { return children_.size(); }

  // One that has ended, waited for at most so long.
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

}  // namespace stpn::cli
