// Finite automata whose state a model has to track: a generator at a time takes the state to the
// next one. State 0 is the first.
//
// | name      | states | generators | a generator                                            |
// | --------- | ------ | ---------- | ------------------------------------------------------ |
// | parity    | 2      | 2          | adds 0 or 1, modulo 2                                  |
// | cycle     | 5      | 3          | takes a step back, none, or a step forward on a circle |
// | s3        | 6      | 2          | swaps two neighbours of three                          |
// | s5        | 120    | 4          | swaps two neighbours of five                           |
// | quadratic | 64     | 64         | c: x becomes x^2 + c, modulo 64                        |
//
// The first four are groups: no generator loses information. `quadratic` does: only 12 of the 64
// values are squares, so it forgets most of where it was.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace stpn::tasks {

struct Automaton {
  int64_t states = 0, generators = 0;
  std::vector<int64_t> next;  // (states, generators)

  int64_t after(int64_t state, int64_t generator) const {
    return next[state * generators + generator];
  }
};

// In the order of the table above.
std::vector<std::string> automaton_names();

// REQUIRES: `name` is one of automaton_names().
Automaton make_automaton(const std::string& name);

// The mean accuracy over `steps` uniform generators of the best answers of whoever knows, at each,
// how many there have been and which the last one was, but not the others.
double accuracy_without_state(const Automaton& automaton, int64_t steps);

}  // namespace stpn::tasks
