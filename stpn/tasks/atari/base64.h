// Bytes as text, for JSON.
#pragma once

#include <string>
#include <string_view>

namespace stpn::tasks {

std::string encode_base64(std::string_view bytes);  // RFC 4648

}  // namespace stpn::tasks
