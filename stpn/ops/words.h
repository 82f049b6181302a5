// Options that are one word of a few.
#pragma once

#include <fmt/ranges.h>

#include <algorithm>
#include <string>
#include <vector>

#include "stpn/base/error.h"

namespace stpn::nn {

// The enumerator that `word` stands for; `words` are in the order of the enum. Throws
// base::UserError for a word that is none of them.
template <typename Enum>
Enum parse_word(const char* what, const std::string& word, const std::vector<std::string>& words) {
  const auto found = std::find(words.begin(), words.end(), word);
  STPN_CHECK(found != words.end(), "{} is \"{}\", wants one of {}", what, word,
             fmt::join(words, ", "));
  return static_cast<Enum>(found - words.begin());
}

}  // namespace stpn::nn
