#include "stpn/tasks/atari/base64.h"

#include <cstdint>

namespace stpn::tasks {

std::string encode_base64(std::string_view bytes) {
  constexpr std::string_view kDigits =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string text;
  for (size_t at = 0; at < bytes.size(); at += 3) {
    uint32_t group = 0;
    for (size_t k = 0; k < 3; ++k) {
      const bool is_there = at + k < bytes.size();
      group = group << 8 | (is_there ? static_cast<uint8_t>(bytes[at + k]) : 0);
    }
    for (size_t k = 0; k < 4; ++k) {
      text.push_back(at + k <= bytes.size() ? kDigits[group >> (18 - 6 * k) & 63] : '=');
    }
  }
  return text;
}

}  // namespace stpn::tasks
