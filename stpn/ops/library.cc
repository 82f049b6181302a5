// libstpn_ops.so is the archives of ops and kernels, whole; a shared library needs a source of its
// own.
