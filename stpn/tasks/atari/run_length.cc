#include "stpn/tasks/atari/run_length.h"

#include <algorithm>

#include "stpn/base/error.h"

namespace stpn::tasks {

std::string encode_runs(const uint8_t* values, size_t count) {
  std::string runs;
  for (size_t at = 0; at < count;) {
    const size_t most = std::min<size_t>(count - at, 255);
    size_t length = 1;
    while (length < most && values[at + length] == values[at]) ++length;
    runs.push_back(static_cast<char>(length));
    runs.push_back(static_cast<char>(values[at]));
    at += length;
  }
  return runs;
}

size_t decode_runs(std::string_view runs, uint8_t* values, size_t count) {
  size_t used = 0;
  for (size_t at = 0; at < count;) {
    const size_t length = used + 1 < runs.size() ? static_cast<uint8_t>(runs[used]) : 0;
    STPN_CHECK(length >= 1 && length <= count - at, "runs of values: damaged at byte {}", used);
    std::fill_n(values + at, length, static_cast<uint8_t>(runs[used + 1]));
    at += length;
    used += 2;
  }
  return used;
}

}  // namespace stpn::tasks
