#include <fmt/format.h>

#include "stpn/processes/launch.h"

namespace stpn::processes {

bool has_mpi() { return false; }

std::unique_ptr<Transport> connect(const Launch& launch) {
  throw base::UserError(
      fmt::format("{} has started {} processes, but this program was built without MPI: install "
                  "Open MPI (Debian: libopenmpi-dev) and build it again, or start it alone",
                  launch.launcher, launch.size));
}

}  // namespace stpn::processes
