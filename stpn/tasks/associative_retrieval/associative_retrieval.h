// Associative retrieval: pairs of key and value are shown, then one of the keys; name its value.
//
//   k1 v1 k2 v2 ... kP vP ? ? kq   ->   vq,   q uniform over 1..P
//
// Keys of a sequence are distinct and values are not: both uniform. What has to be remembered is
// new in each sequence, so it can only be held in the state, and which value belongs to which key
// only by binding the two.
//
// Input: T = 2 * pairs + 3 one-hot vectors of I = keys + values + 1 symbols, in the order keys,
// values, `?`; each element 0 or 1. Target: the symbol of the value, in [keys, keys + values), one
// of I classes.
//
// | option     | default |                                    |
// | ---------- | ------- | ---------------------------------- |
// | pairs      | 3       | pairs in a sequence, 1 .. keys     |
// | keys       | 26      | letters of the alphabet            |
// | values     | 10      | digits of the alphabet, at least 2 |
// | training   | 100,000 | sequences of each split            |
// | validation | 10,000  |                                    |
// | test       | 20,000  |                                    |
//
// Ba, Hinton, Mnih, Leibo, Ionescu: Using Fast Weights to Attend to the Recent Past, NIPS 2016,
// section 4.1. There the alphabet has 26 letters, 10 digits and `?`, as here by default.
// Deviation: splits are drawn independently, each sequence from a counter-based generator, so the
// sequences are not those of any published file, and one of a split may by chance occur in another.
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
  // Throws base::UserError for options that are impossible.
  AssociativeRetrieval(const AssociativeRetrievalOptions& options, uint64_t seed);

  int64_t steps() const override { return 2 * options_.pairs + 3; }
  int64_t input_size() const override { return options_.keys + options_.values + 1; }
  int64_t classes() const override { return input_size(); }
  int64_t size(Split split) const override;
  void batch(Split split, int64_t first, int64_t count, float* x, int64_t* target) const override;

  // chance_accuracy       one of the values at random: 1 / values
  // no_binding_accuracy   the value that is shown most often, which is the best for whom cannot
  //                       tell what went together: the expected largest count of a value / pairs
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
