# MPI, with which `mpirun -n 4 stpn train` works: target MPI::MPI_CXX, where it is installed. Its C
# functions are called, from C++. Not with sanitizers, which report what MPI leaks.

option(STPN_WITH_MPI "Runs over several processes, with MPI where it is installed" ON)
if(NOT STPN_WITH_MPI OR STPN_WHEEL OR NOT STPN_WITH_TORCH OR STPN_SANITIZE)
  return()
endif()
set(MPI_CXX_SKIP_MPICXX ON)
find_package(MPI QUIET COMPONENTS CXX)
if(MPI_CXX_FOUND)
  message(STATUS "MPI: ${MPI_CXX_LIBRARIES}")
else()
  message(STATUS "MPI: not found; a run is one process")
endif()
