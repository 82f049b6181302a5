// libstpn_ops.so is made of the library's op registrations (stpn_recurrent_op.cc); a shared library
// needs a source of its own.
