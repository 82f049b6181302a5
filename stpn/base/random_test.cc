#include "stpn/base/random.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <set>

namespace stpn::base::random_test {
namespace {

// Philox 4x32-10 written after the paper, to check the library's implementation against.
std::array<uint32_t, 4> philox(std::array<uint32_t, 4> counter, std::array<uint32_t, 2> key) {
  for (int round = 0; round < 10; ++round) {
    const uint64_t a = uint64_t{0xD2511F53} * counter[0];
    const uint64_t b = uint64_t{0xCD9E8D57} * counter[2];
    counter = {static_cast<uint32_t>(b >> 32) ^ counter[1] ^ key[0], static_cast<uint32_t>(b),
               static_cast<uint32_t>(a >> 32) ^ counter[3] ^ key[1], static_cast<uint32_t>(a)};
    key = {key[0] + 0x9E3779B9, key[1] + 0xBB67AE85};
  }
  return counter;
}

using Words = std::array<uint32_t, 4>;

Words first_words(uint64_t seed, uint32_t stream, uint64_t index) {
  Random random(seed, static_cast<Stream>(stream), index);
  return {random.next(), random.next(), random.next(), random.next()};
}

// The vectors for philox4x32 10 in the file kat_vectors of Random123.
TEST(Random, PhiloxMatchesThePublishedVectors) {
  constexpr uint32_t kOnes = 0xffffffff;
  EXPECT_EQ(philox({0, 0, 0, 0}, {0, 0}), (Words{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  EXPECT_EQ(philox({kOnes, kOnes, kOnes, kOnes}, {kOnes, kOnes}),
            (Words{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(philox({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}),
            (Words{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
  EXPECT_EQ(first_words(0, 0, 0), (Words{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
}

TEST(Random, CounterIsIndexStreamBlockAndKeyIsSeed) {
  Random random(0x299f31d0a4093822, static_cast<Stream>(0x13198a2e), 0x85a308d3243f6a88);
  for (uint32_t block = 0; block < 100; ++block) {
    const Words expected =
        philox({0x243f6a88, 0x85a308d3, 0x13198a2e, block}, {0xa4093822, 0x299f31d0});
    for (const uint32_t word : expected) ASSERT_EQ(random.next(), word) << "block " << block;
  }
}

// All data sets and initial weights depend on these values: if this test fails, correct the code
// and not the values.
TEST(Random, DrawsNeverChange) {
  Random words(0x0123456789abcdef, Stream::parameters, 0xfedcba9876543210);
  for (const uint32_t expected :
       {0x2b19200bu, 0x5bee5d38u, 0x781fe46eu, 0x8fc6e39du, 0x403ed9b9u, 0x0bbb1ee3u}) {
    EXPECT_EQ(words.next(), expected);
  }
  Random digits(7, Stream::training_data, 0);
  for (const uint32_t expected : {9u, 8u, 3u, 2u, 7u, 4u, 9u, 2u, 1u, 6u, 7u, 2u}) {
    EXPECT_EQ(digits.below(10), expected);
  }
  // With this bound about a third of all words is rejected.
  Random large(7, Stream::training_data, 0);
  for (const uint32_t expected :
       {2552852738u, 679302505u, 2214838864u, 2242880578u, 725589566u, 2998373940u}) {
    EXPECT_EQ(large.below(3000000000u), expected);
  }
  Random unit(7, Stream::parameters, 0);
  for (const double expected : {0x1.faebb4p-2, 0x1.5fb6c8p-3, 0x1.3eb0ecp-2, 0x1.cd676p-3}) {
    EXPECT_EQ(unit.uniform(0, 1), expected);
  }
  Random centred(7, Stream::parameters, 0);
  for (const double expected : {-0x1.4513p-8, -0x1.50249cp-2, -0x1.829e28p-3, -0x1.194c5p-2}) {
    EXPECT_EQ(centred.uniform(-0.5, 0.5), expected);
  }
  EXPECT_EQ(static_cast<uint32_t>(Stream::parameters), 1u);
  EXPECT_EQ(static_cast<uint32_t>(Stream::training_data), 2u);
  EXPECT_EQ(static_cast<uint32_t>(Stream::validation_data), 3u);
  EXPECT_EQ(static_cast<uint32_t>(Stream::test_data), 4u);
}

TEST(Random, EveryPartOfTheAddressMatters) {
  std::set<Words> seen;
  const uint64_t high = uint64_t{1} << 32;
  for (const uint64_t seed : {uint64_t{0}, uint64_t{1}, high}) {
    for (const uint32_t stream : {1u, 2u, 3u, 4u}) {
      for (const uint64_t index : {uint64_t{0}, uint64_t{1}, high}) {
        seen.insert(first_words(seed, stream, index));
      }
    }
  }
  EXPECT_EQ(seen.size(), 36u);
}

TEST(Random, BelowIsUniform) {
  constexpr int kDraws = 100'000, kBound = 7;
  std::array<int, kBound> counts{};
  Random random(3, Stream::training_data, 0);
  for (int i = 0; i < kDraws; ++i) ++counts.at(random.below(kBound));
  double chi2 = 0;
  for (const int count : counts) {
    const double difference = count - double{kDraws} / kBound;
    chi2 += difference * difference / (double{kDraws} / kBound);
  }
  // The 99.9 % quantile for 6 degrees of freedom. The draws are always the same.
  EXPECT_LT(chi2, 22.5);
}

// 2^32 words map to 3 * 2^30 values: without rejection every third value would be twice as
// frequent.
TEST(Random, BelowIsWithoutBiasForLargeBounds) {
  constexpr int kDraws = 60'000;
  std::array<int, 3> residues{};
  Random random(3, Stream::training_data, 1);
  for (int i = 0; i < kDraws; ++i) ++residues.at(random.below(3u << 30) % 3);
  for (const int count : residues) EXPECT_NEAR(count, kDraws / 3, 500);
}

TEST(Random, BelowOneIsZeroAndStaysBelowTheLargestBound) {
  Random random(1, Stream::test_data, 0);
  for (int i = 0; i < 1000; ++i) {
    ASSERT_EQ(random.below(1), 0u);
    ASSERT_LT(random.below(0xffffffff), 0xffffffffu);
    ASSERT_LT(random.below(0x80000001), 0x80000001u);
  }
}

TEST(Random, UniformStaysInItsIntervalOnAGridOfFloats) {
  Random random(1, Stream::parameters, 0);
  double sum = 0, smallest = 1, largest = 0;
  for (int i = 0; i < 100'000; ++i) {
    const double value = random.uniform(0, 1);
    ASSERT_GE(value, 0);
    ASSERT_LT(value, 1);
    ASSERT_EQ(value, static_cast<double>(static_cast<float>(value)));
    sum += value;
    smallest = std::min(smallest, value);
    largest = std::max(largest, value);
    const double shifted = random.uniform(-3, -2);
    ASSERT_GE(shifted, -3);
    ASSERT_LT(shifted, -2);
  }
  EXPECT_NEAR(sum / 100'000, 0.5, 0.005);
  EXPECT_LT(smallest, 1e-3);
  EXPECT_GT(largest, 1 - 1e-3);
}

TEST(Random, NormalHasTheMomentsAndTailsOfTheNormalDistribution) {
  constexpr int kDraws = 200'000;
  double sum = 0, squares = 0, cubes = 0, fourths = 0;
  int beyond_one = 0, beyond_three = 0;
  for (int i = 0; i < kDraws; ++i) {
    Random random(5, Stream::actions, static_cast<uint64_t>(i));
    const double value = random.normal();
    ASSERT_TRUE(std::isfinite(value));
    sum += value;
    squares += value * value;
    cubes += value * value * value;
    fourths += value * value * value * value;
    beyond_one += std::abs(value) > 1;
    beyond_three += std::abs(value) > 3;
  }
  // Five standard errors each.
  const double n = kDraws;
  EXPECT_NEAR(sum / n, 0, 5 / std::sqrt(n));
  EXPECT_NEAR(squares / n, 1, 5 * std::sqrt(2 / n));
  EXPECT_NEAR(cubes / n, 0, 5 * std::sqrt(15 / n));
  EXPECT_NEAR(fourths / n, 3, 5 * std::sqrt(96 / n));
  EXPECT_NEAR(beyond_one / n, 0.317311, 5 * std::sqrt(0.2166 / n));
  EXPECT_NEAR(beyond_three / n, 0.0026998, 5 * std::sqrt(0.0027 / n));
}

}  // namespace
}  // namespace stpn::base::random_test
