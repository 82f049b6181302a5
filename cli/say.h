// What the program tells a person beside its results.
#pragma once

#include <cstdio>
#include <string>

namespace stpn::cli {

// Writes to standard error. That it may be full or closed is no reason to stop: nothing is thrown.
inline void say(const std::string& text) {
  std::fputs(text.c_str(), stderr);
  std::fflush(stderr);
}

}  // namespace stpn::cli
