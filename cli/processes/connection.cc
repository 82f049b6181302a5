#include "cli/processes/connection.h"

#include <sched.h>

#include <algorithm>
#include <memory>
#include <thread>

#include "cli/say.h"
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

// All of one line, which scripts and logs rely on.
void say_line(const std::string& message) { say(fmt::format("stpn: {}\n", message)); }

}  // namespace

Connection::Connection(double patience_seconds)
    : group_(connect(patience_seconds)), guard_(group_) {}

Connection::~Connection() = default;

int Connection::threads(int available) const {
  cpu_set_t own;
  const bool known = ::sched_getaffinity(0, sizeof own, &own) == 0;
  const bool bound =
      known && CPU_COUNT(&own) < static_cast<int>(std::thread::hardware_concurrency());
  return bound ? available : std::max(1, available / group_.on_this_machine());
}

void Connection::finish() { group_.finish(); }

int end_failed(int exit_code, const std::string& message, bool lost) {
  if (connected != nullptr && !connected->alone()) {
    connected->fail(exit_code, message, lost, say_line);
  }
  // Without a connection, all processes fail alike: the first reports it. If another returned an
  // exit code, mpirun might end the first before it has.
  if (launched() && launched()->rank > 0) return 0;
  say_line(message);
  return exit_code;
}

}  // namespace stpn::cli
