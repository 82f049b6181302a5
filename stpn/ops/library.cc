// libstpn_ops.so is made of the library's op registrations (*_op.cc); a shared library
// needs a source of its own.
