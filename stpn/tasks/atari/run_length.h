// Run-length encoding: a screen of an Atari game has long runs of pixels of one colour, and takes
// some hundred bytes in place of 33,600.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace stpn::tasks {

// Pairs of bytes: how often, 1 to 255, and which value.
std::string encode_runs(const uint8_t* values, size_t count);

// Decodes `count` values from the start of `runs`, and returns how many bytes that took. Throws
// base::UserError, with some of `values` written, if these are not runs of so many values.
size_t decode_runs(std::string_view runs, uint8_t* values, size_t count);

}  // namespace stpn::tasks
