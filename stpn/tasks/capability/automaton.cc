#include "stpn/tasks/capability/automaton.h"

#include <algorithm>
#include <functional>
#include <numeric>
#include <utility>

#include "stpn/base/error.h"

namespace stpn::tasks {
namespace {

// The automaton in which generator g takes state s to next(s, g).
Automaton tabulate(int64_t states, int64_t generators,
                   const std::function<int64_t(int64_t, int64_t)>& next) {
  Automaton automaton{states, generators, {}};
  for (int64_t s = 0; s < states; ++s) {
    for (int64_t g = 0; g < generators; ++g) automaton.next.push_back(next(s, g));
  }
  return automaton;
}

// The permutations of n things in lexicographic order, so that the first changes nothing. Generator
// g swaps what is at places g and g + 1.
Automaton symmetric_group(int64_t n) {
  std::vector<int64_t> order(n);
  std::iota(order.begin(), order.end(), 0);
  std::vector<std::vector<int64_t>> all;
  do {
    all.push_back(order);
  } while (std::next_permutation(order.begin(), order.end()));
  return tabulate(static_cast<int64_t>(all.size()), n - 1, [&](int64_t state, int64_t g) {
    std::vector<int64_t> swapped = all[state];
    std::swap(swapped[g], swapped[g + 1]);
    return std::lower_bound(all.begin(), all.end(), swapped) - all.begin();
  });
}

struct NamedAutomaton {
  std::string name;
  Automaton (*make)();
};

const std::vector<NamedAutomaton>& automata() {
  static const std::vector<NamedAutomaton> table = {
      {"parity",
       [] { return tabulate(2, 2, [](int64_t state, int64_t bit) { return state ^ bit; }); }},
      {"cycle",
       [] { return tabulate(5, 3, [](int64_t place, int64_t g) { return (place + g + 4) % 5; }); }},
      {"s3", [] { return symmetric_group(3); }},
      {"s5", [] { return symmetric_group(5); }},
      {"quadratic",
       [] { return tabulate(64, 64, [](int64_t x, int64_t c) { return (x * x + c) % 64; }); }},
  };
  return table;
}

}  // namespace

std::vector<std::string> automaton_names() {
  std::vector<std::string> names;
  for (const NamedAutomaton& automaton : automata()) names.push_back(automaton.name);
  return names;
}

Automaton make_automaton(const std::string& name) {
  for (const NamedAutomaton& automaton : automata()) {
    if (automaton.name == name) return automaton.make();
  }
  throw base::Error("there is no automaton " + name);
}

double accuracy_without_state(const Automaton& automaton, int64_t steps) {
  const auto generators = static_cast<double>(automaton.generators);
  std::vector<double> before(automaton.states);  // the probability of each state
  before[0] = 1;
  double sum = 0;
  for (int64_t step = 0; step < steps; ++step) {
    std::vector<double> after(automaton.states);
    for (int64_t g = 0; g < automaton.generators; ++g) {
      std::vector<double> given(automaton.states);  // given that the last generator is g
      for (int64_t s = 0; s < automaton.states; ++s) given[automaton.after(s, g)] += before[s];
      sum += *std::max_element(given.begin(), given.end()) / generators;
      for (int64_t s = 0; s < automaton.states; ++s) after[s] += given[s] / generators;
    }
    before = std::move(after);
  }
  return sum / static_cast<double>(steps);
}

}  // namespace stpn::tasks
