// Counter-based random numbers (Philox 4x32-10; Salmon et al.: Parallel Random Numbers: As Easy as
// 1, 2, 3, SC 2011). A draw is a function of (seed, stream, index, position) only, so there is no
// generator state to save, and every machine and thread gets the same bits, in any order of calls.
#pragma once

#include <array>
#include <cstdint>

namespace stpn::base {

// The purpose of the numbers. Streams of one seed are independent of each other. The values
// determine all data sets and initial weights, so they must never change.
enum class Stream : uint32_t {
  parameters = 1,
  training_data = 2,
  validation_data = 3,
  test_data = 4,
  actions = 5,
  minibatches = 6,
};

// A sequence of draws. Copies continue independently from the same position. Not safe for use by
// several threads at the same time.
class Random {
 public:
  // Begins the draws of item `index` of a stream, for example of one sequence of a data set or of
  // one parameter tensor.
  Random(uint64_t seed, Stream stream, uint64_t index);

  // Uniformly distributed over all 32-bit values.
  uint32_t next();
  // Uniformly distributed over {0, ..., bound-1}, without bias. REQUIRES: bound > 0.
  uint32_t below(uint32_t bound);
  // Uniformly distributed in [low, high): low + k 2^-24 (high - low) for an integer k. In [0, 1)
  // every value is exact as a float.
  double uniform(double low, double high);
  // Of the standard normal distribution. Two draws of `next` each. Its last bits may depend on the
  // machine's mathematical functions.
  double normal();

 private:
  uint64_t seed_;
  uint64_t index_;
  uint32_t stream_;
  uint32_t block_ = 0;
  std::array<uint32_t, 4> words_{};
  int used_ = 4;
};

}  // namespace stpn::base
