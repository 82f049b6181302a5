#include "cli/processes/connection.h"

#include <sched.h>

#include <algorithm>
#include <chrono>
#include <fstream>
#include <memory>
#include <thread>
#include <vector>

#include "cli/options.h"
#include "cli/say.h"
#include "stpn/base/error.h"
#include "stpn/processes/launch.h"

namespace stpn::cli {
namespace {

const std::optional<processes::Launch>& launched() {
  static const std::optional<processes::Launch> launch = processes::find_launch();
  return launch;
}

// Of this run, once there is a connection. It is not destroyed by an exception that ends the run,
// because the others have to be told of it.
processes::Group* connected = nullptr;

processes::Group& connect(double patience_seconds) {
  static processes::Group group =
      launched() ? processes::Group(processes::connect(*launched()),
                                    processes::Group::Seconds(patience_seconds))
                 : processes::Group();
  connected = &group;
  return group;
}

// The cores that this process may use; empty if the system does not say.
cpu_set_t own_cores() {
  cpu_set_t cores;
  if (::sched_getaffinity(0, sizeof cores, &cores) != 0) CPU_ZERO(&cores);
  return cores;
}

// The same for two processes if they may use the same cores of the same machine. The containers of
// a machine have different host names, but its boot id.
std::string machine_and_cores() {
  std::string boot;
  std::getline(std::ifstream("/proc/sys/kernel/random/boot_id"), boot);
  const cpu_set_t cores = own_cores();
  return boot + std::string(reinterpret_cast<const char*>(&cores), sizeof cores);
}

// All of one line, which scripts and logs rely on.
void say_line(const std::string& message) { say(fmt::format("stpn: {}\n", message)); }

}  // namespace

Connection::Connection(double patience_seconds)
    : group_(connect(patience_seconds)), guard_(group_) {
  const std::string mine = machine_and_cores();
  const std::vector<std::string> all = group_.gather(mine);
  sharing_ = static_cast<int>(std::count(all.begin(), all.end(), mine));
}

Connection::~Connection() = default;

int Connection::threads(int available) const {
  if (group_.alone()) return available;
  const cpu_set_t own = own_cores();
  const int cores = CPU_COUNT(&own) > 0 ? CPU_COUNT(&own) : available;
  return std::max(1, std::min(available, cores / sharing_));
}

void Connection::finish() {
  group_.finish();
  connected = nullptr;  // an error from here on is this process's own
}

void add_process_timeout(CLI::App& command, int64_t& seconds) {
  add_integer(
      command, "--process-timeout", seconds, 1, 1'000'000,
      fmt::format("seconds; what runs over several processes ends when one of them does not "
                  "answer for so long (default: {})",
                  kProcessTimeout));
}

void check_alone(const std::string& command, const std::string& why) {
  if (!launched()) return;
  throw base::UserError(
      fmt::format("{} has started {} processes, but `{}` {} (or set STPN_ALONE=1)",
                  launched()->launcher, launched()->size, command, why));
}

int end_failed(int exit_code, const std::string& message, bool lost) {
  if (connected != nullptr && !connected->alone()) {
    connected->fail(exit_code, message, lost, say_line);
  }
  // Without a connection, all processes fail alike: the first reports it. The others leave it the
  // time to, because mpirun ends all when one returns an exit code.
  if (launched() && launched()->rank > 0) {
    std::this_thread::sleep_for(std::chrono::seconds(1));
  } else {
    say_line(message);
  }
  return exit_code;
}

}  // namespace stpn::cli
