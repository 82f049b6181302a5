// The one way things fail: exceptions. The library neither prints nor exits.
#pragma once

#include <fmt/format.h>

#include <stdexcept>
#include <string>
#include <string_view>

namespace stpn::base {

// Something went wrong while running. The program ends with exit code 1.
class Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// The caller asked for something that cannot be done: an unknown key, a wrong shape, a missing
// file. The program ends with exit code 2. The message names what was wrong, its value, and what to
// do.
class UserError : public Error {
 public:
  using Error::Error;
};

namespace internal {
[[noreturn]] void check_failed(std::string_view function, std::string_view expression,
                               const std::string& message);
}  // namespace internal

}  // namespace stpn::base

// Throws stpn::base::UserError naming the function, the expression and the message (fmt syntax)
// unless `condition` holds. For what a caller passes in: shapes, sizes, dtypes.
#define STPN_CHECK(condition, ...)                                                            \
  do {                                                                                        \
    if (!(condition)) [[unlikely]] {                                                          \
      ::stpn::base::internal::check_failed(__func__, #condition, ::fmt::format(__VA_ARGS__)); \
    }                                                                                         \
  } while (false)
