// Associative retrieval: a sequence shows pairs of a key and a value and then one of the keys
// again; the target is the value of that key.
//
//   k1 v1 k2 v2 ... kP vP ? ? kq   ->   vq,   q uniform over 1..P
//
// The keys of a sequence are distinct, its values need not be; both are drawn uniformly. Since the
// pairs are new in every sequence, trained weights cannot hold them: the model's state has to, and
// it has to bind each value to its key.
//
// Input: T = 2 * pairs + 3 one-hot vectors over I = keys + values + 1 symbols, in the order keys,
// values, `?`; every element is 0 or 1. Target, at the last step: the symbol of the value, in
// [keys, keys + values); there are I classes.
//
// | option     | default |                                            |
// | ---------- | ------- | ------------------------------------------ |
// | pairs      | 3       | pairs in a sequence, 1 .. keys             |
// | keys       | 26      | symbols that are keys                      |
// | values     | 10      | symbols that are values, at least 2        |
// | training   | 100,000 | sequences of the training split            |
// | validation | 10,000  | sequences of the validation split          |
// | test       | 20,000  | sequences of the test split                |
//
// Ba, Hinton, Mnih, Leibo, Ionescu: Using Fast Weights to Attend to the Recent Past, NIPS 2016,
// section 4.1. The defaults are the paper's: 26 letters, 10 digits and `?`.
// Differences: every sequence is drawn independently from a counter-based generator. So the
// sequences are not those of any published file, and by chance two splits may share one.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <vector>

#include "stpn/tasks/sequence_task.h"
#include "stpn/tasks/task_registry.h"

namespace stpn::tasks {

struct AssociativeRetrievalOptions : SequenceTaskOptions {
  int64_t pairs = 3;
  int64_t keys = 26;
  int64_t values = 10;
  int64_t training = 100'000;
  int64_t validation = 10'000;
  int64_t test = 20'000;

  std::vector<base::Field> fields() override;
  std::unique_ptr<SequenceTask> make(uint64_t seed) const override;
};

class AssociativeRetrieval : public SequenceTask {
 public:
  // Throws base::UserError for impossible options.
  AssociativeRetrieval(const AssociativeRetrievalOptions& options, uint64_t seed);

  int64_t steps() const override { return 2 * options_.pairs + 3; }
  int64_t input_size() const override { return options_.keys + options_.values + 1; }
  int64_t classes() const override { return input_size(); }
  int64_t size(Split split) const override;
  void batch(Split split, int64_t first, int64_t count, float* x, int64_t* target) const override;

  // chance_accuracy       that of guessing a value at random: 1 / values
  // no_binding_accuracy   a bound: the best that a model can do which remembers the values shown,
  //                       but not their keys. It answers the value that was shown most often, and
  //                       is right with probability (expected largest count of a value) / pairs.
  std::vector<Baseline> baselines() const override;

 private:
  struct Sequences {
    std::vector<uint16_t> symbols;  // (size, T)
    std::vector<uint16_t> targets;  // (size)
  };

  Sequences draw(uint64_t seed, Split split) const;

  AssociativeRetrievalOptions options_;
  std::array<Sequences, 3> splits_;  // by Split
};

}  // namespace stpn::tasks
