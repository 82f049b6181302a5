#include "stpn/tasks/capability/automaton.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <numeric>
#include <set>
#include <utility>

namespace stpn::tasks::automaton_test {
namespace {

TEST(Automaton, HasTheSizesOfItsTable) {
  const auto sizes = [](const std::string& name) {
    const Automaton automaton = make_automaton(name);
    EXPECT_EQ(static_cast<int64_t>(automaton.next.size()), automaton.states * automaton.generators);
    return std::pair(automaton.states, automaton.generators);
  };
  using Sizes = std::pair<int64_t, int64_t>;
  EXPECT_EQ(automaton_names(),
            (std::vector<std::string>{"parity", "cycle", "s3", "s5", "quadratic"}));
  EXPECT_EQ(sizes("parity"), Sizes(2, 2));
  EXPECT_EQ(sizes("cycle"), Sizes(5, 3));
  EXPECT_EQ(sizes("s3"), Sizes(6, 2));
  EXPECT_EQ(sizes("s5"), Sizes(120, 4));
  EXPECT_EQ(sizes("quadratic"), Sizes(64, 64));
}

TEST(Automaton, EveryStateIsReached) {
  for (const std::string& name : automaton_names()) {
    const Automaton automaton = make_automaton(name);
    std::set<int64_t> reached = {0};
    for (size_t before = 0; before != reached.size();) {
      before = reached.size();
      for (const int64_t state : std::set(reached)) {
        for (int64_t g = 0; g < automaton.generators; ++g)
          reached.insert(automaton.after(state, g));
      }
    }
    EXPECT_EQ(static_cast<int64_t>(reached.size()), automaton.states) << name;
    EXPECT_EQ(*reached.rbegin(), automaton.states - 1) << name;
  }
}

TEST(Automaton, GroupsLoseNothingAndQuadraticDoes) {
  for (const std::string& name : automaton_names()) {
    const Automaton automaton = make_automaton(name);
    for (int64_t g = 0; g < automaton.generators; ++g) {
      std::set<int64_t> images;
      for (int64_t s = 0; s < automaton.states; ++s) images.insert(automaton.after(s, g));
      // There are twelve squares modulo 64.
      const int64_t expected = name == "quadratic" ? 12 : automaton.states;
      EXPECT_EQ(static_cast<int64_t>(images.size()), expected) << name << ", generator " << g;
    }
  }
}

// The number of a permutation in lexicographic order, from its inversions.
int64_t rank_of(const std::vector<int>& permutation) {
  int64_t rank = 0;
  for (size_t i = 0; i < permutation.size(); ++i) {
    const auto smaller = std::count_if(permutation.begin() + i, permutation.end(),
                                       [&](int value) { return value < permutation[i]; });
    rank = rank * static_cast<int64_t>(permutation.size() - i) + smaller;
  }
  return rank;
}

TEST(Automaton, PermutationsAreSwapsOfNeighboursOneAfterAnother) {
  for (const auto& [name, n] : {std::pair("s3", 3), std::pair("s5", 5)}) {
    const Automaton automaton = make_automaton(name);
    std::vector<int> things(n);
    std::iota(things.begin(), things.end(), 0);
    int64_t state = 0;
    for (int64_t i = 0; i < 500; ++i) {
      const int64_t g = i * i * 7 % 11 % (n - 1);
      std::swap(things[g], things[g + 1]);
      state = automaton.after(state, g);
      ASSERT_EQ(state, rank_of(things)) << name << ", step " << i;
    }
  }
}

TEST(Automaton, OthersAreArithmetic) {
  const Automaton parity = make_automaton("parity"), cycle = make_automaton("cycle"),
                  quadratic = make_automaton("quadratic");
  int64_t ones = 0, place = 0, p = 0, c = 0, q = 0;
  unsigned x = 0;
  for (int64_t i = 0; i < 300; ++i) {
    const int64_t draw = i * i * i % 193;
    ones += draw % 2;
    ASSERT_EQ(p = parity.after(p, draw % 2), ones % 2);
    place += draw % 3 - 1;
    ASSERT_EQ(c = cycle.after(c, draw % 3), (place % 5 + 5) % 5);
    x = (x * x + static_cast<unsigned>(draw)) & 63U;
    ASSERT_EQ(q = quadratic.after(q, draw % 64), x);
  }
}

// Of all sequences of `steps` generators: the best answer at each step for each last generator.
double by_counting(const Automaton& automaton, int64_t steps) {
  std::map<std::pair<int64_t, int64_t>, std::map<int64_t, int64_t>> counts;  // by step, generator
  int64_t sequences = 1;
  for (int64_t t = 0; t < steps; ++t) sequences *= automaton.generators;
  for (int64_t i = 0; i < sequences; ++i) {
    int64_t state = 0;
    for (int64_t t = 0, left = i; t < steps; ++t, left /= automaton.generators) {
      const int64_t g = left % automaton.generators;
      state = automaton.after(state, g);
      ++counts[{t, g}][state];
    }
  }
  int64_t right = 0;
  for (const auto& [place, by_state] : counts) {
    int64_t most = 0;
    for (const auto& [state, count] : by_state) most = std::max(most, count);
    right += most;
  }
  return static_cast<double>(right) / static_cast<double>(sequences * steps);
}

TEST(Automaton, AccuracyWithoutStateIsThatOfTheBestAnswers) {
  for (const auto& [name, steps] :
       {std::pair("parity", 6), std::pair("cycle", 7), std::pair("s3", 9), std::pair("s5", 7),
        std::pair("quadratic", 3)}) {
    const Automaton automaton = make_automaton(name);
    EXPECT_NEAR(accuracy_without_state(automaton, steps), by_counting(automaton, steps), 1e-12)
        << name;
  }
  // In the long run: a third for S3, of whose states half have the parity of the number of swaps.
  EXPECT_NEAR(accuracy_without_state(make_automaton("s3"), 100'000), 1.0 / 3, 1e-4);
  EXPECT_NEAR(accuracy_without_state(make_automaton("parity"), 100'000), 0.5, 1e-4);
}

}  // namespace
}  // namespace stpn::tasks::automaton_test
