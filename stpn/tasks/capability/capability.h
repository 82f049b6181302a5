// Recall, state tracking, and both in one sequence.
//
//   recall     k pairs of a key and a value are shown, and then the keys again, in random order;
//              the model is asked for the value of each. With `writes` = 2 every key is shown
//              with two values, at random places: the last one counts.
//   tracking   generators of an automaton (automaton.h), uniform and independent; after each, the
//              state is asked for.
//   joint      both: first the pairs, and then questions and generators.
//
//   step      1      2     3    4    5    6    7
//   shown    k1 v1  k2 v2  g1   k2   g2   .    k1
//   target    .      .     s1   v2   s2   .    v1
//
// A key and its value are shown in one step; a key alone is the question. Steps that are left over
// are fillers, at which nothing is shown or asked. What follows the pairs comes in any order, each
// as probable as the others. Keys of a sequence are distinct; its values need not be. Both are
// symbols, and uniform. As in the task of Arora, Eyuboglu, Timalsina, Johnson, Poli, Zou, Rudra,
// Re: Zoology (ICLR 2024), the questions are among other steps; there a pair takes two steps.
//
// Input: one-hot vectors of the key, the value and the generator, in this order, of which `recall`
// has the first two and `tracking` the last; each is zero if there is none. With `scaled`, each is
// multiplied by the root of its length. Target: the value, 0 .. symbols-1; or the state, in `joint`
// counted from `symbols` on.
//
// The difficulty is `length`. At m times the length there are m times as many pairs and generators
// (rounded down), so that a model can be tested on longer sequences than it was trained on.
//
// Baselines:
//   chance_accuracy      of guessing
//   no_binding_accuracy  a bound: the best of a model that remembers the values that count, but not
//                        their keys. It answers the value that was shown most often.
//   no_order_accuracy    with several writes, a bound: the best of a model that remembers the
//                        values of every key, but not which was the last
//   no_state_accuracy    a bound: the best of a model that knows how many generators there have
//                        been and which is the last, but has no state (accuracy_without_state)
// Those of `joint` are of all targets; a model without one ability is taken to be perfect at the
// rest.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "stpn/tasks/task_registry.h"

namespace stpn::tasks {

// A task has the fields of those that it asks for.
struct CapabilityOptions : SequenceTaskOptions {
  int64_t pairs = 0, writes = 1, symbols = 64;
  std::string automaton = "s3";
  int64_t generators = 0;
  bool scaled = true;
  int64_t length = 32;
  int64_t training = 3200, validation = 500, test = 2000;

  std::vector<base::Field> fields() override;
  std::unique_ptr<SequenceTask> make(uint64_t seed) const override;

 protected:
  CapabilityOptions(int64_t pairs, int64_t generators)
      : pairs(pairs), generators(generators), recalls_(pairs > 0), tracks_(generators > 0) {}

 private:
  bool recalls_, tracks_;
};

struct RecallOptions : CapabilityOptions {
  RecallOptions() : CapabilityOptions(/*pairs=*/8, /*generators=*/0) {}
};
struct TrackingOptions : CapabilityOptions {
  TrackingOptions() : CapabilityOptions(/*pairs=*/0, /*generators=*/32) {}
};
struct JointOptions : CapabilityOptions {
  JointOptions() : CapabilityOptions(/*pairs=*/8, /*generators=*/16) {}
};

}  // namespace stpn::tasks
