// Which program has started this process as one of several, and the connection to the others.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "stpn/processes/transport.h"

namespace stpn::processes {

struct Launch {
  std::string launcher;  // "mpirun"
  int rank = 0, size = 1;
};

// What the environment says; nothing if this process was started alone, or with STPN_ALONE set.
std::optional<Launch> find_launch();

// Connects to the other processes. Throws base::UserError without MPI, or if MPI sees fewer
// processes than were started.
std::unique_ptr<Transport> connect(const Launch& launch);

}  // namespace stpn::processes
