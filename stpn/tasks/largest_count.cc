#include "stpn/tasks/largest_count.h"

#include <algorithm>
#include <cmath>
#include <vector>

namespace stpn::tasks {
namespace {

// The probability that no value occurs more than `most` times in `draws` independent uniform draws
// among `values` values. The counts are distributed like independent Poisson variables of equal
// mean, conditioned on their sum being `draws`; so this is the probability that none of these
// exceeds `most`, given that sum.
double none_exceeds(int64_t most, int64_t draws, int64_t values) {
  const double mean = static_cast<double>(draws) / static_cast<double>(values);
  const auto poisson = [](int64_t n, double m) {
    const auto count = static_cast<double>(n);
    return std::exp(count * std::log(m) - m - std::lgamma(count + 1));
  };
  std::vector<double> one(most + 1);  // P(count = j) of one value
  for (int64_t j = 0; j <= most; ++j) one[j] = poisson(j, mean);
  std::vector<double> sum(draws + 1, 0.0);  // P(sum is n and none exceeds most), values so far
  sum[0] = 1;
  for (int64_t value = 0; value < values; ++value) {
    for (int64_t n = draws; n >= 0; --n) {  // downwards: sum[n - j] does not include this value yet
      double total = 0;
      for (int64_t j = 0; j <= std::min(most, n); ++j) total += one[j] * sum[n - j];
      sum[n] = total;
    }
  }
  return sum[draws] / poisson(draws, static_cast<double>(draws));
}

}  // namespace

// E[max] = sum over m of P(max > m), up to where rounding hides the terms.
double expected_largest_count(int64_t draws, int64_t values) {
  double expected = 0;
  for (int64_t most = 0; most < draws; ++most) {
    const double exceeds = 1 - none_exceeds(most, draws, values);
    if (exceeds < 1e-15) break;
    expected += exceeds;
  }
  return expected;
}

}  // namespace stpn::tasks
