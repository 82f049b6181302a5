#include "stpn/nn/signature_options.h"

#include <fmt/ranges.h>

#include <algorithm>

#include "stpn/base/error.h"

namespace stpn::nn {

int choice_index(const char* option, const std::string& word,
                 const std::vector<std::string>& choices) {
  const auto found = std::find(choices.begin(), choices.end(), word);
  STPN_CHECK(found != choices.end(), "{} is \"{}\", wants one of {}", option, word,
             fmt::join(choices, ", "));
  return static_cast<int>(found - choices.begin());
}

}  // namespace stpn::nn
