// The library reports errors as exceptions of the two classes below; it neither prints nor exits.
// The program catches them, prints the message and chooses the exit code.
#pragma once

#include <fmt/format.h>

#include <stdexcept>
#include <string>

namespace stpn::base {

// A failure that is not the caller's mistake, such as a full disk or a loss that is not finite. The
// program ends with exit code 1.
class Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// The caller's mistake, such as an unknown key, a wrong shape or a missing file. The program ends
// with exit code 2. The message is one line that states what was wrong, its value, and what to do.
class UserError : public Error {
 public:
  using Error::Error;
};

}  // namespace stpn::base

// Throws stpn::base::UserError unless `condition` holds. Its text is the message, a format string
// and arguments of fmt. For arguments that a caller passes: shapes, sizes, dtypes.
#define STPN_CHECK(condition, ...)                               \
  do {                                                           \
    if (!(condition)) [[unlikely]] {                             \
      throw ::stpn::base::UserError(::fmt::format(__VA_ARGS__)); \
    }                                                            \
  } while (false)
