// libstpn_ops.so consists of all object files of the static libraries of ops and kernels. This
// empty source is here because CMake wants a shared library to have at least one.
