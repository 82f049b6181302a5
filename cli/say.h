// Messages to the user on standard error, and the formats of numbers in them.
#pragma once

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <string>

namespace stpn::cli {

// Writes to standard error. Ignores errors: the program goes on if standard error is full or
// closed.
inline void say(const std::string& text) {
  std::fputs(text.c_str(), stderr);
  std::fflush(stderr);
}

// Standard error of a child process as part of a line of our own output.
inline std::string one_line(std::string text) {
  if (text.starts_with("stpn: ")) text.erase(0, 6);
  text.erase(text.find_last_not_of(" \n") + 1);
  std::replace(text.begin(), text.end(), '\n', ' ');
  return text;
}

// H:MM:SS
inline std::string clock_of(double seconds) {
  const auto whole = static_cast<int64_t>(seconds + 0.5);
  return fmt::format("{}:{:02}:{:02}", whole / 3600, whole / 60 % 60, whole % 60);
}

// "validation accuracy" for "validation_accuracy".
inline std::string words(std::string name) {
  std::replace(name.begin(), name.end(), '_', ' ');
  return name;
}

// The value with four significant digits.
inline std::string number(double value) { return fmt::format("{:.4g}", value); }

// "test accuracy 0.9985, chance accuracy 0.1" for pairs of name and value.
template <typename Named>
std::string listed(const Named& named) {
  std::string text;
  for (const auto& [name, value] : named) {
    if (std::isnan(value)) continue;  // the standard deviation of one value
    text += fmt::format("{}{} {}", text.empty() ? "" : ", ", words(name), number(value));
  }
  return text;
}

}  // namespace stpn::cli
