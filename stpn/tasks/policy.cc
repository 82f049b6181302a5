#include "stpn/tasks/policy.h"

#include <cassert>
#include <cmath>
#include <numeric>

#include "stpn/base/random.h"

namespace stpn::tasks {
namespace {

class RandomPolicy : public Policy {
 public:
  RandomPolicy(const ActionSpec& actions, uint64_t seed)
      : actions_(actions), seed_(seed), numbers_(actions.low.size()) {}

  void start(int64_t episode) override {
    random_ = base::Random(seed_, base::Stream::actions, static_cast<uint64_t>(episode));
  }
  Action act(const float* /*observation*/) override {
    if (!actions_.is_box())
      return {.choice = random_.below(static_cast<uint32_t>(actions_.choices))};
    for (size_t k = 0; k < numbers_.size(); ++k) {
      numbers_[k] = static_cast<float>(random_.uniform(actions_.low[k], actions_.high[k]));
    }
    return {.numbers = numbers_.data()};
  }

 private:
  const ActionSpec& actions_;
  uint64_t seed_;
  base::Random random_{0, base::Stream::actions, 0};
  std::vector<float> numbers_;
};

class Oracle : public Policy {
 public:
  explicit Oracle(Environment& environment) : environment_(environment) {}
  void start(int64_t /*episode*/) override {}
  Action act(const float* /*observation*/) override {
    return {.choice = environment_.best_choice()};
  }

 private:
  Environment& environment_;
};

}  // namespace

const std::vector<std::string>& untrained_policies() {
  static const std::vector<std::string> names = {"random", "oracle"};
  return names;
}

std::unique_ptr<Policy> make_untrained_policy(const std::string& name, const EnvironmentTask& task,
                                              Environment& environment, uint64_t seed) {
  assert(name == "random" || name == "oracle");
  if (name == "oracle") return std::make_unique<Oracle>(environment);
  return std::make_unique<RandomPolicy>(task.actions(), seed);
}

Episodes play(const EnvironmentTask& task, Environment& environment, Policy& policy, Split split,
              int64_t count) {
  assert(count >= 1);
  std::vector<float> observation(task.observation_size());
  Episodes played;
  for (int64_t episode = 0; episode < count; ++episode) {
    environment.start(split, episode, observation.data());
    policy.start(episode);
    double total = 0, steps = 0;
    for (bool ended = false; !ended; ++steps) {
      const Action action = policy.act(observation.data());
      if (episode == 0 && task.actions().is_box()) {
        played.first_actions.insert(played.first_actions.end(), action.numbers,
                                    action.numbers + task.actions().numbers());
      } else if (episode == 0) {
        played.first_actions.push_back(static_cast<float>(action.choice));
      }
      const Step step = environment.step(action, observation.data());
      total += step.reward;
      ended = step.ended();
    }
    played.rewards.push_back(total);
    played.lengths.push_back(steps);
  }
  return played;
}

Episodes play_untrained(const EnvironmentTask& task, const std::string& policy, uint64_t seed,
                        Split split, int64_t count) {
  const auto environment = task.make_environment();
  return play(task, *environment, *make_untrained_policy(policy, task, *environment, seed), split,
              count);
}

Spread spread_of(const std::vector<double>& values) {
  assert(!values.empty());
  const auto count = static_cast<double>(values.size());
  const double mean = std::accumulate(values.begin(), values.end(), 0.0) / count;
  double squares = 0;
  for (const double value : values) squares += (value - mean) * (value - mean);
  const double standard_deviation = std::sqrt(squares / (count - 1));  // of one value 0 / 0 is NaN
  return {mean, standard_deviation, standard_deviation / std::sqrt(count)};
}

}  // namespace stpn::tasks
