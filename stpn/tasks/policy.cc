#include "stpn/tasks/policy.h"

#include <cassert>
#include <cmath>
#include <numeric>

#include "stpn/base/random.h"

namespace stpn::tasks {
namespace {

class RandomPolicy : public Policy {
 public:
  RandomPolicy(int64_t batch, int64_t actions, uint64_t seed)
      : actions_(static_cast<uint32_t>(actions)),
        seed_(seed),
        random_(batch, base::Random(seed, base::Stream::actions, 0)) {}

  void start(int64_t b, int64_t episode) override {
    random_[b] = base::Random(seed_, base::Stream::actions, static_cast<uint64_t>(episode));
  }
  void act(const float* /*observation*/, int64_t* action) override {
    for (base::Random& random : random_) *action++ = random.below(actions_);
  }

 private:
  uint32_t actions_;
  uint64_t seed_;
  std::vector<base::Random> random_;  // by environment
};

class Oracle : public Policy {
 public:
  explicit Oracle(Environment& environment) : environment_(environment) {}
  void start(int64_t /*b*/, int64_t /*episode*/) override {}
  void act(const float* /*observation*/, int64_t* action) override {
    environment_.best_actions(action);
  }

 private:
  Environment& environment_;
};

}  // namespace

const std::vector<std::string>& untrained_policies() {
  static const std::vector<std::string> names = {"random", "oracle"};
  return names;
}

std::unique_ptr<Policy> make_untrained_policy(const std::string& name, Environment& environment,
                                              uint64_t seed) {
  assert(name == "random" || name == "oracle");
  if (name == "oracle") return std::make_unique<Oracle>(environment);
  return std::make_unique<RandomPolicy>(environment.batch(), environment.actions(), seed);
}

Episodes play(Environment& environment, Policy& policy, Split split, int64_t count) {
  assert(count >= 1);
  const int64_t batch = environment.batch(), size = environment.observation_size();
  std::vector<float> observation(batch * size), reward(batch);
  std::vector<int64_t> action(batch), episode(batch);
  std::vector<double> total(batch), steps(batch);
  const auto ended = std::make_unique<bool[]>(batch);
  const auto start = [&](int64_t b, int64_t number) {
    episode[b] = number;
    total[b] = steps[b] = 0;
    environment.start(b, split, number, observation.data() + b * size);
    policy.start(b, number);
  };

  Episodes played;
  played.rewards.resize(count);
  played.lengths.resize(count);
  for (int64_t b = 0; b < batch; ++b) start(b, b);
  for (int64_t left = count; left > 0;) {
    policy.act(observation.data(), action.data());
    if (episode[0] == 0) played.first_actions.push_back(action[0]);
    environment.step(action.data(), observation.data(), reward.data(), ended.get());
    for (int64_t b = 0; b < batch; ++b) {
      total[b] += reward[b];
      ++steps[b];
      if (!ended[b]) continue;
      if (episode[b] < count) {  // the others only keep their environment busy
        played.rewards[episode[b]] = total[b];
        played.lengths[episode[b]] = steps[b];
        --left;
      }
      start(b, episode[b] + batch);
    }
  }
  return played;
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
