#include <fmt/format.h>

#include "stpn/processes/launch.h"

namespace stpn::processes {

std::unique_ptr<Transport> connect(const Launch& launch) {
  throw base::UserError(
      fmt::format("{} has started {} processes, but this program was built without MPI: install "
                  "Open MPI (Debian: libopenmpi-dev) and build it again, or set STPN_ALONE=1 for "
                  "independent runs",
                  launch.launcher, launch.size));
}

}  // namespace stpn::processes
