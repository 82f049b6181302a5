#include "stpn/processes/launch.h"

#include <cstdlib>

namespace stpn::processes {
namespace {

struct Launcher {
  const char* name;
  const char *rank, *size;  // environment variables
};

// SLURM_STEP_NUM_TASKS, because a batch script itself, where nothing is started several times, has
// SLURM_NTASKS.
constexpr Launcher kLaunchers[] = {
    {"mpirun", "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"},
    {"mpiexec", "PMI_RANK", "PMI_SIZE"},
    {"srun", "SLURM_PROCID", "SLURM_STEP_NUM_TASKS"},
};

int number_in(const char* variable) {
  const char* text = std::getenv(variable);
  return text == nullptr ? 0 : std::atoi(text);
}

}  // namespace

std::optional<Launch> find_launch() {
  // The launchers start independent programs too, and what these start inherits the variables.
  if (std::getenv("STPN_ALONE") != nullptr) return {};
  for (const Launcher& launcher : kLaunchers) {
    const int size = number_in(launcher.size);
    if (size > 1) return Launch{launcher.name, number_in(launcher.rank), size};
  }
  return {};
}

}  // namespace stpn::processes
