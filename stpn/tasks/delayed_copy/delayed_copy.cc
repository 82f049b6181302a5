#include "stpn/tasks/delayed_copy/delayed_copy.h"

#include <algorithm>
#include <array>

namespace stpn::tasks {
namespace {

class DelayedCopy : public SequenceTask {
 public:
  DelayedCopy(const DelayedCopyOptions& options, uint64_t seed) : options_(options), seed_(seed) {}

  int64_t steps() const override { return 2 * options_.longest + options_.delay; }
  int64_t input_size() const override { return options_.symbols + 1; }
  int64_t classes() const override { return options_.symbols; }
  int64_t size(Split split) const override {
    const std::array sizes = {options_.training, options_.validation, options_.test};
    return sizes[static_cast<size_t>(split)];
  }
  bool endless() const override { return true; }
  int64_t length(Split split, int64_t sequence) const override {
    return 2 * static_cast<int64_t>(draw(split, sequence).size()) + options_.delay;
  }
  void batch(Split split, int64_t first, int64_t count, float* x, int64_t* target) const override {
    const int64_t I = input_size();
    std::fill_n(x, steps() * count * I, 0.0f);
    std::fill_n(target, steps() * count, kNoTarget);
    for (int64_t b = 0; b < count; ++b) {
      const std::vector<int64_t> symbols = draw(split, first + b);
      const auto n = static_cast<int64_t>(symbols.size());
      for (int64_t i = 0; i < n; ++i) {
        const int64_t asked = n + options_.delay + i;  // at this step
        x[(i * count + b) * I + symbols[i]] = 1;
        x[(asked * count + b) * I + options_.symbols] = 1;
        target[asked * count + b] = symbols[i];
      }
    }
  }
  std::vector<Baseline> baselines() const override {
    return {{"chance_accuracy", 1.0 / static_cast<double>(options_.symbols)}};
  }

 private:
  std::vector<int64_t> draw(Split split, int64_t sequence) const {
    base::Random random(seed_, stream_of(split), static_cast<uint64_t>(sequence));
    std::vector<int64_t> symbols(1 + random.below(static_cast<uint32_t>(options_.longest)));
    for (int64_t& symbol : symbols) symbol = random.below(static_cast<uint32_t>(options_.symbols));
    return symbols;
  }

  const DelayedCopyOptions options_;
  const uint64_t seed_;
};

}  // namespace

std::vector<base::Field> DelayedCopyOptions::fields() {
  const base::Range size = {.least = 1, .most = 1e9};
  return {
      base::field("symbols", symbols, "number of different symbols", {.least = 2, .most = 1e4}),
      base::field("longest", longest, "the most symbols of a sequence; more are harder",
                  {.least = 1, .most = 1e4}),
      base::field("delay", delay, "steps between the symbols and the questions",
                  {.least = 0, .most = 1e6}),
      base::field("training", training, "sequences in the training split", size),
      base::field("validation", validation, "sequences in the validation split", size),
      base::field("test", test, "sequences in the test split", size),
  };
}

std::unique_ptr<SequenceTask> DelayedCopyOptions::make(uint64_t seed) const {
  return std::make_unique<DelayedCopy>(*this, seed);
}

}  // namespace stpn::tasks
