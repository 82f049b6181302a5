#include "stpn/base/error.h"

namespace stpn::base::internal {

void check_failed(std::string_view function, std::string_view expression,
                  const std::string& message) {
  throw UserError(fmt::format("{} [{} in {}]", message, expression, function));
}

}  // namespace stpn::base::internal
