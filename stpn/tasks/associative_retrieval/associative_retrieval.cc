#include "stpn/tasks/associative_retrieval/associative_retrieval.h"

#include <algorithm>
#include <cassert>
#include <numeric>
#include <utility>

#include "stpn/base/error.h"
#include "stpn/base/random.h"
#include "stpn/tasks/largest_count.h"

namespace stpn::tasks {
namespace {

// A symbol is stored in 16 bits.
constexpr int64_t kMostSymbols = 65'536;
constexpr int64_t kMostSequences = 1'000'000'000;
// Limit on the stored symbols of all splits: 8 GiB.
constexpr int64_t kMostStored = int64_t{1} << 32;

}  // namespace

std::vector<base::Field> AssociativeRetrievalOptions::fields() {
  const base::Range size = {.least = 1, .most = static_cast<double>(kMostSequences)};
  return {
      base::field("pairs", pairs, "key-value pairs in a sequence, at most `keys`; more are harder",
                  {.least = 1}),
      base::field("keys", keys, "number of symbols that are keys", {.least = 1}),
      base::field("values", values, "number of symbols that are values", {.least = 2}),
      base::field("training", training, "sequences in the training split", size),
      base::field("validation", validation,
                  "sequences in the validation split, measured after every epoch", size),
      base::field("test", test, "sequences in the test split, measured at the end", size),
  };
}

std::unique_ptr<SequenceTask> AssociativeRetrievalOptions::make(uint64_t seed) const {
  return std::make_unique<AssociativeRetrieval>(*this, seed);
}

AssociativeRetrieval::AssociativeRetrieval(const AssociativeRetrievalOptions& options,
                                           uint64_t seed)
    : options_(options) {
  const auto [pairs, keys, values] = std::array{options.pairs, options.keys, options.values};
  STPN_CHECK(pairs >= 1, "pairs = {}: must be at least 1", pairs);
  STPN_CHECK(
      pairs <= keys,
      "pairs = {}, keys = {}: the keys of a sequence are distinct, so pairs must be at most {}",
      pairs, keys, keys);
  STPN_CHECK(values >= 2, "values = {}: must be at least 2", values);
  STPN_CHECK(std::max(keys, values) < kMostSymbols && keys + values + 1 <= kMostSymbols,
             "keys = {}, values = {}: their sum must be at most {}", keys, values,
             kMostSymbols - 1);
  int64_t sequences = 0;
  for (const int64_t size : {options.training, options.validation, options.test}) {
    STPN_CHECK(size >= 1 && size <= kMostSequences,
               "training = {}, validation = {}, test = {}: each must be from 1 to {}",
               options.training, options.validation, options.test, kMostSequences);
    sequences += size;
  }
  STPN_CHECK(sequences <= kMostStored / steps(),
             "{} sequences of {} steps: there may be at most {} sequences of that length",
             sequences, steps(), kMostStored / steps());
  for (const Split split : {Split::training, Split::validation, Split::test}) {
    splits_[static_cast<size_t>(split)] = draw(seed, split);
  }
}

int64_t AssociativeRetrieval::size(Split split) const {
  return static_cast<int64_t>(splits_[static_cast<size_t>(split)].targets.size());
}

AssociativeRetrieval::Sequences AssociativeRetrieval::draw(uint64_t seed, Split split) const {
  const std::array sizes = {options_.training, options_.validation, options_.test};
  const int64_t size = sizes[static_cast<size_t>(split)];
  const int64_t pairs = options_.pairs;
  const auto keys = static_cast<uint32_t>(options_.keys);
  const auto values = static_cast<uint32_t>(options_.values);
  const auto query = static_cast<uint16_t>(keys + values);

  Sequences drawn{std::vector<uint16_t>(size * steps()), std::vector<uint16_t>(size)};
  std::vector<uint16_t> deck(keys);  // the keys; back in order after each sequence
  std::iota(deck.begin(), deck.end(), uint16_t{0});
  std::vector<uint32_t> swapped(pairs);
  for (int64_t i = 0; i < size; ++i) {
    base::Random random(seed, stream_of(split), static_cast<uint64_t>(i));
    uint16_t* symbols = drawn.symbols.data() + i * steps();
    for (int64_t p = 0; p < pairs; ++p) {
      const auto top = static_cast<uint32_t>(p);
      swapped[p] = top + random.below(keys - top);
      std::swap(deck[top], deck[swapped[p]]);
      symbols[2 * p] = deck[top];
      symbols[2 * p + 1] = static_cast<uint16_t>(keys + random.below(values));
    }
    for (int64_t p = pairs; p-- > 0;) std::swap(deck[p], deck[swapped[p]]);
    const uint32_t asked = random.below(static_cast<uint32_t>(pairs));
    symbols[2 * pairs] = symbols[2 * pairs + 1] = query;
    symbols[2 * pairs + 2] = symbols[2 * asked];
    drawn.targets[i] = symbols[2 * asked + 1];
  }
  return drawn;
}

void AssociativeRetrieval::batch(Split split, int64_t first, int64_t count, float* x,
                                 int64_t* target) const {
  assert(0 <= first && 0 <= count && first + count <= size(split));
  const Sequences& sequences = splits_[static_cast<size_t>(split)];
  const int64_t T = steps(), I = input_size();
  std::fill_n(x, T * count * I, 0.0f);
  std::fill_n(target, (T - 1) * count, kNoTarget);
  for (int64_t b = 0; b < count; ++b) {
    const uint16_t* symbols = sequences.symbols.data() + (first + b) * T;
    for (int64_t t = 0; t < T; ++t) x[(t * count + b) * I + symbols[t]] = 1.0f;
    target[(T - 1) * count + b] = sequences.targets[first + b];
  }
}

std::vector<Baseline> AssociativeRetrieval::baselines() const {
  return {{"chance_accuracy", 1.0 / static_cast<double>(options_.values)},
          {"no_binding_accuracy", expected_largest_count(options_.pairs, options_.values) /
                                      static_cast<double>(options_.pairs)}};
}

}  // namespace stpn::tasks
