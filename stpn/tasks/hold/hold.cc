#include "stpn/tasks/hold/hold.h"

#include <algorithm>

#include "stpn/tasks/plain_environment.h"

namespace stpn::tasks {
namespace {

struct HoldState {
  int64_t sign = 1, steps = 0, truncated = 0;  // of the episode
  int64_t done = 0;                            // steps
};

class HoldEnvironment : public PlainEnvironment<HoldState> {
 public:
  HoldEnvironment(const HoldOptions& options, uint64_t seed)
      : PlainEnvironment(fmt::format("hold longest {} seed {}", options.longest, seed)),
        options_(options),
        seed_(seed) {}

  void start(Split split, int64_t number, float* observation) override {
    base::Random random(seed_, stream_of(split), static_cast<uint64_t>(number));
    state_.sign = random.below(2) == 0 ? -1 : 1;
    state_.steps = 2 + random.below(static_cast<uint32_t>(options_.longest - 1));
    state_.truncated = random.below(2);
    state_.done = 0;
    observe(observation);
  }
  Step step(const Action& action, float* observation) override {
    const bool last = ++state_.done == state_.steps;
    if (observation != nullptr) observe(observation);
    return {std::clamp(action.numbers[0], -1.0f, 1.0f) * static_cast<float>(state_.sign),
            /*terminated=*/last && state_.truncated == 0,
            /*truncated=*/state_.truncated == 1 && last};
  }

 private:
  bool is_possible(const HoldState& state) const override {
    return (state.sign == -1 || state.sign == 1) && (state.truncated | 1) == 1 && 0 <= state.done &&
           state.done <= state.steps && state.steps <= options_.longest;
  }
  void observe(float* observation) const {
    observation[0] = state_.done == 0 ? static_cast<float>(state_.sign) : 0;
    observation[1] = static_cast<float>(state_.done) / static_cast<float>(options_.longest);
    observation[2] = 1;
  }

  const HoldOptions options_;
  const uint64_t seed_;
};

class Hold : public EnvironmentTask {
 public:
  Hold(const HoldOptions& options, uint64_t seed) : options_(options), seed_(seed) {}

  int64_t observation_size() const override { return 3; }
  const ActionSpec& actions() const override { return actions_; }
  int64_t max_steps() const override { return options_.longest; }
  int64_t test_episodes() const override { return options_.test; }
  std::unique_ptr<Environment> make_environment() const override {
    return std::make_unique<HoldEnvironment>(options_, seed_);
  }

 private:
  const HoldOptions options_;
  const uint64_t seed_;
  const ActionSpec actions_ = ActionSpec::box({-1}, {1});
};

}  // namespace

std::vector<base::Field> HoldOptions::fields() {
  const base::Range range = {.least = 2, .most = 1e6};
  return {base::field("longest", longest, "the most steps of an episode; more are harder", range),
          base::field("test", test, "episodes of the final test", range)};
}

std::unique_ptr<EnvironmentTask> HoldOptions::make(uint64_t seed) const {
  STPN_CHECK(longest >= 2, "longest = {}: must be at least 2", longest);
  return std::make_unique<Hold>(*this, seed);
}

}  // namespace stpn::tasks
