// Counter-based random numbers (Philox 4x32-10; Salmon et al., SC 2011): a draw is a function of
// (seed, stream, index, position) and of nothing else, so there is no generator state to save, and
// the same bits come on every machine, in any order, on any thread.
#pragma once

#include <array>
#include <cstdint>

namespace stpn::base {

// What the numbers are for. Streams of one seed are independent. Values are part of the data
// format: never renumber.
enum class Stream : uint32_t {
  parameters = 1,
  training_data = 2,
  validation_data = 3,
  test_data = 4,
  actions = 5,
};

class Random {
 public:
  // The sequence of draws that belongs to item `index` (a sequence of a data set, a parameter
  // tensor) of a stream.
  Random(uint64_t seed, Stream stream, uint64_t index);

  // Uniform over all 32-bit values.
  uint32_t next();
  // Uniform over {0, ..., bound-1}, without bias. REQUIRES: bound > 0.
  uint32_t below(uint32_t bound);
  // Uniform in [low, high), on a grid of 2^-24 of the range (every step exact in float).
  double uniform(double low, double high);

 private:
  uint64_t seed_;
  uint64_t index_;
  uint32_t stream_;
  uint32_t block_ = 0;
  std::array<uint32_t, 4> words_{};
  int used_ = 4;
};

}  // namespace stpn::base
