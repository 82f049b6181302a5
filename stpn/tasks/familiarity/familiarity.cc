#include "stpn/tasks/familiarity/familiarity.h"

#include <algorithm>
#include <array>

#include "stpn/base/error.h"
#include "stpn/base/random.h"

namespace stpn::tasks {
namespace {

// Test streams are compared at these intervals between models, besides those of the sweep.
const std::vector<int64_t> kComparedIntervals = {10, 15, 20};

class Familiarity : public SequenceTask {
 public:
  Familiarity(const FamiliarityOptions& options, uint64_t seed) : options_(options), seed_(seed) {}

  int64_t steps() const override { return options_.length; }
  int64_t input_size() const override { return options_.inputs; }
  int64_t classes() const override { return 1; }
  int64_t size(Split split) const override {
    const std::array sizes = {options_.training, options_.validation, options_.test};
    return sizes[static_cast<size_t>(split)];
  }
  bool endless() const override { return true; }
  std::optional<Difficulty> difficulty() const override {
    return Difficulty{"interval", options_.interval, kComparedIntervals};
  }
  std::unique_ptr<SequenceTask> at_difficulty(int64_t interval) const override {
    if (interval < 1 || interval >= options_.length) return nullptr;
    FamiliarityOptions options = options_;
    options.interval = interval;
    return options.make(seed_);
  }
  void batch(Split split, int64_t first, int64_t count, float* x, int64_t* target) const override {
    for (int64_t b = 0; b < count; ++b) {
      base::Random random(seed_, stream_of(split), static_cast<uint64_t>(first + b));
      for (int64_t t = 0; t < steps(); ++t) draw_step(random, t, b, count, x, target);
    }
  }
  std::vector<Baseline> baselines() const override {
    return {{"chance_accuracy", 1 - share_of_repeats()}};  // of whoever always says "new"
  }

 private:
  // Writes step t of sequence b. Every step but the first R has one draw for whether it repeats; a
  // new vector has one for each 32 values.
  void draw_step(base::Random& random, int64_t t, int64_t b, int64_t count, float* x,
                 int64_t* target) const {
    const int64_t I = options_.inputs, R = options_.interval;
    float* const row = x + (t * count + b) * I;
    const bool repeats =
        t >= R && random.uniform(0, 1) < options_.repeat && target[(t - R) * count + b] == 0;
    target[t * count + b] = repeats ? 1 : 0;
    if (repeats) {
      std::copy_n(x + ((t - R) * count + b) * I, I, row);
      return;
    }
    uint32_t bits = 0;
    for (int64_t i = 0; i < I; ++i, bits >>= 1) {
      if (i % 32 == 0) bits = random.next();
      row[i] = (bits & 1) != 0 ? 1.0f : -1.0f;
    }
  }

  // The expected share. A step is a repeat with probability p[t] = P (1 - p[t-R]), and p is 0 at
  // the first R steps.
  double share_of_repeats() const {
    double sum = 0, p = 0;
    for (int64_t begin = 0; begin < steps(); begin += options_.interval) {
      sum += p * static_cast<double>(std::min(options_.interval, steps() - begin));
      p = options_.repeat * (1 - p);
    }
    return sum / static_cast<double>(steps());
  }

  const FamiliarityOptions options_;
  const uint64_t seed_;
};

}  // namespace

std::vector<base::Field> FamiliarityOptions::fields() {
  const base::Range size = {.least = 1, .most = 1e6};
  return {
      base::field("inputs", inputs, "values of a vector; more are easier to tell apart",
                  {.least = 1, .most = 1e5}),
      base::field("interval", interval,
                  "steps from a vector to its repeat, less than `length`; longer is harder",
                  {.least = 1}),
      base::field("length", length, "steps of a stream", {.least = 2, .most = 1e7}),
      base::field("repeat", repeat, "probability that a new vector is repeated",
                  {.least = 0, .most = 1}),
      base::field("training", training,
                  "streams in the training split; with train.new_data, those of a pass", size),
      base::field("validation", validation, "streams in the validation split", size),
      base::field("test", test, "streams in the test split", size),
  };
}

std::unique_ptr<SequenceTask> FamiliarityOptions::make(uint64_t seed) const {
  STPN_CHECK(interval < length,
             "interval = {}, length = {}: a stream must be longer than the "
             "interval",
             interval, length);
  return std::make_unique<Familiarity>(*this, seed);
}

}  // namespace stpn::tasks
