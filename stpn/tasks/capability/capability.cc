#include "stpn/tasks/capability/capability.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>
#include <optional>
#include <utility>

#include "stpn/base/error.h"
#include "stpn/base/random.h"
#include "stpn/tasks/capability/automaton.h"
#include "stpn/tasks/largest_count.h"

namespace stpn::tasks {
namespace {

// Test sequences are so many times as long as those of the training, besides the same length.
constexpr std::array<int64_t, 3> kTimesAsLong = {2, 4, 8};

constexpr int64_t kLongest = 1'000'000;

int64_t steps_needed(const CapabilityOptions& options) {
  return options.pairs * (options.writes + 1) + options.generators;
}

template <typename Value>
void shuffle(std::vector<Value>& values, base::Random& random) {
  for (size_t i = values.size(); i > 1; --i) {
    std::swap(values[i - 1], values[random.below(static_cast<uint32_t>(i))]);
  }
}

class Capability : public SequenceTask {
 public:
  Capability(const CapabilityOptions& options, uint64_t seed)
      : options_(options), seed_(seed), automaton_(make_automaton(options.automaton)) {}

  int64_t steps() const override { return options_.length; }
  int64_t input_size() const override { return first_generator() + shown_generators(); }
  int64_t classes() const override { return values() + (tracks() ? automaton_.states : 0); }
  int64_t size(Split split) const override {
    const std::array sizes = {options_.training, options_.validation, options_.test};
    return sizes[static_cast<size_t>(split)];
  }
  bool endless() const override { return true; }

  std::vector<Part> parts() const override {
    if (!recalls() || !tracks()) return {};
    return {{"recall", 0, values()}, {"tracking", values(), classes()}};
  }

  std::optional<Difficulty> difficulty() const override {
    Difficulty difficulty{"length", options_.length, {}};
    for (const int64_t times : kTimesAsLong) {
      difficulty.compared.push_back(times * options_.length);
    }
    return difficulty;
  }
  std::unique_ptr<SequenceTask> at_difficulty(int64_t length) const override {
    if (length < 1 || length > kLongest) return nullptr;
    CapabilityOptions options = options_;
    options.length = length;
    options.pairs = options_.pairs * length / options_.length;
    options.generators = options_.generators * length / options_.length;
    const bool lost_a_part =
        (recalls() && options.pairs < 1) || (tracks() && options.generators < 1);
    if (lost_a_part || options.pairs > options.symbols) return nullptr;
    return options.make(seed_);
  }

  void batch(Split split, int64_t first, int64_t count, float* x, int64_t* target) const override {
    const int64_t I = input_size();
    std::fill_n(x, steps() * count * I, 0.0f);
    std::fill_n(target, steps() * count, kNoTarget);
    for (int64_t b = 0; b < count; ++b) {
      base::Random random(seed_, stream_of(split), static_cast<uint64_t>(first + b));
      const std::vector<Event> sequence = draw(random);
      for (int64_t t = 0; t < steps(); ++t) {
        for (const int64_t input : sequence[t].inputs) {
          if (input >= 0) x[(t * count + b) * I + input] = size_of(input);
        }
        target[t * count + b] = sequence[t].target;
      }
    }
  }

  std::vector<Baseline> baselines() const override {
    const auto asked_values = static_cast<double>(options_.pairs);
    const auto asked_states = static_cast<double>(options_.generators);
    const auto overall = [&](double recall, double tracking) {
      return (asked_values * recall + asked_states * tracking) / (asked_values + asked_states);
    };
    std::vector<Baseline> baselines = {
        {"chance_accuracy", overall(1.0 / static_cast<double>(options_.symbols),
                                    1.0 / static_cast<double>(automaton_.states))}};
    if (recalls()) {
      baselines.push_back(
          {"no_binding_accuracy", overall(share_of_most_frequent(options_.pairs), 1)});
    }
    if (recalls() && options_.writes > 1) {
      baselines.push_back(
          {"no_order_accuracy", overall(share_of_most_frequent(options_.writes), 1)});
    }
    if (tracks()) {
      baselines.push_back({"no_state_accuracy",
                           overall(1, accuracy_without_state(automaton_, options_.generators))});
    }
    return baselines;
  }

 private:
  struct Event {
    std::array<int64_t, 2> inputs = {-1, -1};  // which are 1; -1: none
    int64_t target = kNoTarget;
  };

  bool recalls() const { return options_.pairs > 0; }
  bool tracks() const { return options_.generators > 0; }
  int64_t values() const { return recalls() ? options_.symbols : 0; }
  int64_t first_generator() const { return 2 * values(); }
  int64_t shown_generators() const { return tracks() ? automaton_.generators : 0; }
  // Of the one element of its one-hot vector that is not zero.
  float size_of(int64_t input) const {
    const int64_t inputs = input < first_generator() ? values() : shown_generators();
    return options_.scaled ? std::sqrt(static_cast<float>(inputs)) : 1.0F;
  }

  // Of the values of `draws` writes.
  double share_of_most_frequent(int64_t draws) const {
    return expected_largest_count(draws, options_.symbols) / static_cast<double>(draws);
  }

  std::vector<Event> draw(base::Random& random) const {
    const std::vector<Event> memory = draw_memory(random), tracking = draw_tracking(random);
    auto next_memory = memory.begin() + options_.pairs * options_.writes;
    auto next_tracking = tracking.begin();
    std::vector<Event> sequence(memory.begin(), next_memory);
    for (int64_t left = steps() - std::ssize(sequence); left > 0; --left) {
      const auto memory_left = memory.end() - next_memory;
      const auto tracking_left = tracking.end() - next_tracking;
      const int64_t place = random.below(static_cast<uint32_t>(left));
      if (place < memory_left) {
        sequence.push_back(*next_memory++);
      } else if (place < memory_left + tracking_left) {
        sequence.push_back(*next_tracking++);
      } else {
        sequence.emplace_back();
      }
    }
    return sequence;
  }

  // The writes and then the questions.
  std::vector<Event> draw_memory(base::Random& random) const {
    std::vector<int64_t> keys(values());
    std::iota(keys.begin(), keys.end(), 0);
    shuffle(keys, random);
    keys.resize(options_.pairs);
    std::vector<int64_t> written;
    for (int64_t i = 0; i < options_.writes; ++i) {
      written.insert(written.end(), keys.begin(), keys.end());
    }
    shuffle(written, random);
    std::vector<Event> steps;
    std::vector<int64_t> value_of(values());  // by key
    for (const int64_t key : written) {
      value_of[key] = random.below(static_cast<uint32_t>(values()));
      steps.push_back({.inputs = {key, values() + value_of[key]}});
    }
    shuffle(keys, random);
    for (const int64_t key : keys) steps.push_back({{key, -1}, value_of[key]});
    return steps;
  }

  std::vector<Event> draw_tracking(base::Random& random) const {
    std::vector<Event> steps;
    int64_t state = 0;
    for (int64_t i = 0; i < options_.generators; ++i) {
      const int64_t generator = random.below(static_cast<uint32_t>(automaton_.generators));
      state = automaton_.after(state, generator);
      steps.push_back({{first_generator() + generator, -1}, values() + state});
    }
    return steps;
  }

  const CapabilityOptions options_;
  const uint64_t seed_;
  const Automaton automaton_;
};

}  // namespace

std::vector<base::Field> CapabilityOptions::fields() {
  const base::Range size = {.least = 1, .most = 1e9};
  const base::Range count = {.least = 1, .most = kLongest};
  std::vector<base::Field> fields;
  if (recalls_) {
    fields.push_back(base::field("pairs", pairs,
                                 "keys with a value, at most `symbols`; more are harder", count));
    fields.push_back(base::field("writes", writes,
                                 "how often a key is shown with a value, of which the last counts",
                                 {.least = 1, .most = 100}));
    fields.push_back(base::field("symbols", symbols, "of which keys and values are drawn",
                                 {.least = 2, .most = 1e4}));
  }
  if (tracks_) {
    fields.push_back(
        base::field("automaton", automaton, "whose state is asked for", automaton_names()));
    fields.push_back(base::field("generators", generators, "that are shown in a sequence", count));
  }
  fields.push_back(base::field("scaled", scaled,
                               "give each one-hot vector a mean square of one, like that of random "
                               "embeddings; without it, units whose rows are normalised learn much "
                               "more slowly"));
  fields.push_back(base::field("length", length,
                               "steps of a sequence; at those left over nothing is shown", count));
  fields.push_back(
      base::field("training", training,
                  "sequences in the training split; with train.new_data, those of a pass", size));
  fields.push_back(
      base::field("validation", validation, "sequences in the validation split", size));
  fields.push_back(base::field("test", test, "sequences in the test split", size));
  return fields;
}

std::unique_ptr<SequenceTask> CapabilityOptions::make(uint64_t seed) const {
  STPN_CHECK(pairs <= symbols,
             "pairs = {}, symbols = {}: the keys of a sequence are distinct, so pairs must be at "
             "most {}",
             pairs, symbols, symbols);
  STPN_CHECK(steps_needed(*this) <= length,
             "length = {}: {} pairs, each shown {} and asked for once, and {} generators need {} "
             "steps",
             length, pairs, writes == 1 ? "once" : fmt::format("{} times", writes), generators,
             steps_needed(*this));
  return std::make_unique<Capability>(*this, seed);
}

}  // namespace stpn::tasks
