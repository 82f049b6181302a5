#include "stpn/base/random.h"

#include <Random123/philox.h>

#include <cmath>

namespace stpn::base {

Random::Random(uint64_t seed, Stream stream, uint64_t index)
    : seed_(seed), index_(index), stream_(static_cast<uint32_t>(stream)) {}

uint32_t Random::next() {
  if (used_ == 4) {
    const auto low = [](uint64_t v) { return static_cast<uint32_t>(v); };
    const auto high = [](uint64_t v) { return static_cast<uint32_t>(v >> 32); };
    const philox4x32_key_t key = {{low(seed_), high(seed_)}};
    const philox4x32_ctr_t counter = {{low(index_), high(index_), stream_, block_++}};
    const philox4x32_ctr_t drawn = philox4x32(counter, key);
    words_ = {drawn.v[0], drawn.v[1], drawn.v[2], drawn.v[3]};
    used_ = 0;
  }
  return words_[used_++];
}

// Lemire: Fast Random Integer Generation in an Interval, 2019. The result is the high word of
// next() * bound. It is uniform if products whose low word is below 2^32 mod bound are rejected.
uint32_t Random::below(uint32_t bound) {
  uint64_t product = uint64_t{next()} * bound;
  if (static_cast<uint32_t>(product) < bound) {
    const uint32_t threshold = (0 - bound) % bound;  // 2^32 mod bound
    while (static_cast<uint32_t>(product) < threshold) product = uint64_t{next()} * bound;
  }
  return static_cast<uint32_t>(product >> 32);
}

// An explicit fused multiply-add: otherwise the compiler would decide whether to fuse, and the bits
// would depend on the machine.
double Random::uniform(double low, double high) {
  return std::fma(high - low, (next() >> 8) * 0x1p-24, low);
}

// Box and Muller: A Note on the Generation of Random Normal Deviates, 1958; the sine is not used.
double Random::normal() {
  const double radius = std::sqrt(-2 * std::log((next() + 1.0) * 0x1p-32));
  return radius * std::cos(2 * M_PI * (next() * 0x1p-32));
}

}  // namespace stpn::base
