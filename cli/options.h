// Options of the commands, with the checks that all of them share: an integer is written in decimal
// digits and is in its range, and no word is empty.
#pragma once

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cstdint>
#include <string>

#include "stpn/base/config.h"

namespace stpn::cli {

// Adds an option `name`, such as "--seed", whose value is an integer from `least` to `most`. CLI11
// itself would read 010 as 8 and take the largest integer for a larger one. `value` must outlive
// the command.
template <typename Integer>
void add_integer(CLI::App& command, const std::string& name, Integer& value, int64_t least,
                 int64_t most, const std::string& help) {
  command
      .add_option_function<std::string>(
          name,
          [=, &value](const std::string& word) {
            value = base::parse_integer(name, word, least, most);
          },
          help)
      ->type_name(fmt::format("INT in [{} - {}]", least, most));
}

// For CLI::Option::check: an empty word, as that of an unset variable of the shell, is refused.
inline const CLI::Validator kNotEmpty(
    [](std::string& word) { return word.empty() ? std::string("is empty") : std::string(); }, "");

}  // namespace stpn::cli
