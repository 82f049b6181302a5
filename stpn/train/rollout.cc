#include "stpn/train/rollout.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "stpn/base/error.h"
#include "stpn/base/random.h"

namespace stpn::train {
namespace {

constexpr int64_t kMostActions = 64;

// Of the draw for an action: episodes are below 2^32, and steps below 2^24.
uint64_t draw_index(tasks::Split split, int64_t episode, int64_t step) {
  return (static_cast<uint64_t>(split) << 56) | (static_cast<uint64_t>(episode) << 24) |
         static_cast<uint64_t>(step);
}

}  // namespace

Rollout::Rollout(const tasks::EnvironmentOptions& task, uint64_t seed, int64_t episodes,
                 torch::Dtype dtype)
    : seed_(seed) {
  for (int64_t b = 0; b < episodes; ++b) environments_.push_back(task.make(seed, 1));
  const tasks::Environment& one = *environments_.front();
  STPN_CHECK(one.actions() <= kMostActions, "the task has {} actions; an actor knows at most {}",
             one.actions(), kMostActions);
  const int64_t steps = one.episode_length();
  x_ = torch::empty({steps, episodes, one.observation_size()}, dtype);
  action_ = torch::empty({steps, episodes}, torch::kInt64);
  reward_ = torch::empty({steps, episodes}, dtype);
}

nn::ActorCritic::Output Rollout::play(nn::ActorCritic& model, tasks::Split split,
                                      int64_t first_episode, bool energy) {
  split_ = split;
  first_episode_ = first_episode;
  weight_ = model.policy_weight().detach().t().contiguous();
  bias_ = model.policy_bias().detach();
  std::vector<float> observation(x_.size(2));
  for (size_t b = 0; b < environments_.size(); ++b) {
    const auto slot = static_cast<int64_t>(b);
    environments_[b]->start(0, split, first_episode + slot, observation.data());
    x_[0][slot].copy_(torch::from_blob(observation.data(), {x_.size(2)}));
  }
  nn::UnitInput input;
  input.x = x_;
  input.energy = energy;
  input.closed_loop = this;
  return model.forward(input);
}

double Rollout::reward_of(int64_t b) const {
  return reward_.select(1, b).to(torch::kDouble).sum().item<double>();
}

void Rollout::after_step(int64_t t, int64_t first, int64_t count, const float* h) {
  act(t, first, count, h);
}
void Rollout::after_step(int64_t t, int64_t first, int64_t count, const double* h) {
  act(t, first, count, h);
}

template <typename T>
void Rollout::act(int64_t t, int64_t first, int64_t count, const T* h) {
  const int64_t steps = x_.size(0), batch = x_.size(1), inputs = x_.size(2);
  const int64_t hidden = weight_.size(0);
  std::vector<float> observation(inputs);
  for (int64_t b = first; b < first + count; ++b, h += hidden) {
    const int64_t action = draw_action(t, b, h);
    float reward = 0;
    bool ended = false;
    environments_[b]->step(&action, observation.data(), &reward, &ended);
    STPN_CHECK(ended == (t + 1 == steps), "an episode ended after {} steps of {}", t + 1, steps);
    action_.data_ptr<int64_t>()[t * batch + b] = action;
    reward_.data_ptr<T>()[t * batch + b] = reward;
    if (t + 1 < steps) {
      std::copy(observation.begin(), observation.end(),
                x_.data_ptr<T>() + ((t + 1) * batch + b) * inputs);
    }
  }
}

// By the inverse of the policy's distribution function.
template <typename T>
int64_t Rollout::draw_action(int64_t t, int64_t b, const T* h) const {
  const int64_t actions = bias_.size(0), hidden = weight_.size(0);
  std::array<T, kMostActions> logits{};
  std::copy_n(bias_.const_data_ptr<T>(), actions, logits.begin());
  const T* weight = weight_.const_data_ptr<T>();
  for (int64_t i = 0; i < hidden; ++i, weight += actions) {
    for (int64_t a = 0; a < actions; ++a) logits[a] += weight[a] * h[i];
  }
  const T largest = *std::max_element(logits.begin(), logits.begin() + actions);
  std::array<double, kMostActions> up_to{};
  double sum = 0;
  for (int64_t a = 0; a < actions; ++a) {
    sum += std::exp(static_cast<double>(logits[a] - largest));
    up_to[a] = sum;
  }
  base::Random random(seed_, base::Stream::actions, draw_index(split_, first_episode_ + b, t));
  const double point = random.uniform(0, 1) * sum;
  const double* const first = up_to.data();
  return std::upper_bound(first, first + actions - 1, point) - first;
}

}  // namespace stpn::train
