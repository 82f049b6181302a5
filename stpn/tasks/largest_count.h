// How often the most frequent value occurs: what a model can answer that remembers which values
// were shown, but nothing else about them.
#pragma once

#include <cstdint>

namespace stpn::tasks {

// The expected number of times that the most frequent of `draws` independent, uniform draws among
// `values` values occurs.
double expected_largest_count(int64_t draws, int64_t values);

}  // namespace stpn::tasks
