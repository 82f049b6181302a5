#include "cli/processes/process_pool.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <memory>

#include "stpn/base/error.h"

namespace stpn::cli {
namespace {

int wait_for(pid_t process) {
  int status = 0;
  while (::waitpid(process, &status, 0) < 0 && errno == EINTR) {
  }
  return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

// Runs in the child: calls only functions that are allowed between fork and exec.
[[noreturn]] void become(char* const* command, pid_t parent, int file, int as) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != parent) ::_exit(1);  // the parent ended before prctl
  ::dup2(file, as);
  ::execvp(command[0], command);
  const char* const why = std::strerror(errno);
  [[maybe_unused]] const ssize_t written = ::write(STDERR_FILENO, why, std::strlen(why));
  ::_exit(127);
}

// For execvp; points into `command`.
std::vector<char*> words_of(const std::vector<std::string>& command) {
  std::vector<char*> words;
  for (const std::string& word : command) words.push_back(const_cast<char*>(word.c_str()));
  words.push_back(nullptr);
  return words;
}

[[noreturn]] void throw_not_started(const std::string& program) {
  throw base::Error(fmt::format("{}: cannot be started: {}", program, std::strerror(errno)));
}

}  // namespace

ProcessPool::~ProcessPool() {
  for (const Child& child : children_) {
    ::kill(child.process, SIGKILL);
    wait_for(child.process);
    ::close(child.errors);
  }
}

void ProcessPool::start(size_t key, const std::vector<std::string>& command) {
  const std::vector<char*> words = words_of(command);
  std::array<int, 2> pipe;
  const pid_t parent = ::getpid();
  pid_t process = -1;
  if (::pipe2(pipe.data(), O_CLOEXEC) == 0) {
    process = ::fork();
    if (process == 0) become(words.data(), parent, pipe[1], STDERR_FILENO);
    ::close(pipe[1]);
    if (process < 0) ::close(pipe[0]);
  }
  if (process < 0) throw_not_started(command[0]);
  children_.push_back({key, process, pipe[0], ""});
}

std::optional<ProcessPool::Ended> ProcessPool::wait(std::chrono::milliseconds patience) {
  std::vector<pollfd> pipes;
  for (const Child& child : children_) pipes.push_back({child.errors, POLLIN, 0});
  if (::poll(pipes.data(), pipes.size(), static_cast<int>(patience.count())) <= 0) return {};
  for (size_t i = 0; i < children_.size(); ++i) {
    if (pipes[i].revents == 0) continue;
    Child& child = children_[i];
    std::array<char, 4096> bytes;
    const ssize_t got = ::read(child.errors, bytes.data(), bytes.size());
    if (got < 0 && errno == EINTR) continue;
    if (got > 0) {
      child.text.append(bytes.data(), static_cast<size_t>(got));
      continue;
    }
    // The child has closed its standard error, so it has ended.
    Ended ended = {child.key, wait_for(child.process), std::move(child.text)};
    ::close(child.errors);
    children_.erase(children_.begin() + static_cast<std::ptrdiff_t>(i));
    return ended;
  }
  return {};
}

int run_process(const std::vector<std::string>& command, const std::string& input) {
  const std::vector<char*> words = words_of(command);
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(std::tmpfile(), std::fclose);
  if (file == nullptr || std::fwrite(input.data(), 1, input.size(), file.get()) != input.size() ||
      std::fflush(file.get()) != 0 || std::fseek(file.get(), 0, SEEK_SET) != 0) {
    throw_not_started(command[0]);
  }
  const pid_t parent = ::getpid();
  const pid_t process = ::fork();
  if (process == 0) become(words.data(), parent, ::fileno(file.get()), STDIN_FILENO);
  if (process < 0) throw_not_started(command[0]);
  return wait_for(process);
}

}  // namespace stpn::cli
