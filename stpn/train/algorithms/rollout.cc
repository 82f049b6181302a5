#include "stpn/train/algorithms/rollout.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <utility>

#include "stpn/base/error.h"
#include "stpn/base/random.h"

namespace stpn::train {
namespace {

constexpr int64_t kMaxActions = 64;

// The index of the draw for an action. Episodes are below 2^32 and steps below 2^24.
uint64_t draw_index(tasks::Split split, int64_t episode, int64_t step) {
  return (static_cast<uint64_t>(split) << 56) | (static_cast<uint64_t>(episode) << 24) |
         static_cast<uint64_t>(step);
}

base::NamedTensor named(const std::string& name, const torch::Tensor& tensor) {
  const torch::Tensor values = tensor.detach().to(torch::kFloat64).contiguous();
  return {name, base::TensorType::float64, values.sizes().vec(),
          std::string(static_cast<const char*>(values.const_data_ptr()), values.nbytes())};
}

void read_into(const base::Safetensors& content, const std::string& name, torch::Tensor to) {
  const base::NamedTensor& from = content.at(name);
  STPN_CHECK(from.type == base::TensorType::float64 && to.sizes() == torch::IntArrayRef(from.shape),
             "{} belongs to another run", name);
  const torch::Tensor values = torch::empty(to.sizes(), torch::kFloat64);
  std::memcpy(values.data_ptr(), from.bytes.data(), from.bytes.size());
  to.copy_(values);
}

}  // namespace

Rollout::Rollout(const tasks::EnvironmentOptions& task, uint64_t seed, int64_t environments,
                 int64_t steps, torch::Dtype dtype)
    : seed_(seed), runners_(environments) {
  for (Runner& runner : runners_) runner.environment = task.make(seed, 1);
  const tasks::Environment& one = *runners_.front().environment;
  STPN_CHECK(one.actions() <= kMaxActions, "the task has {} actions; at most {} are supported",
             one.actions(), kMaxActions);
  if (steps == 0) steps = one.episode_length();
  x_ = torch::zeros({steps + 1, environments, one.observation_size()}, dtype);
  action_ = torch::zeros({steps, environments}, torch::kInt64);
  reward_ = torch::zeros({steps, environments}, dtype);
  ended_ = torch::zeros({steps, environments}, torch::kBool);
  reset_ = torch::zeros({steps + 1, environments}, torch::kBool);
}

nn::ActorCritic::Output Rollout::play_episodes(nn::ActorCritic& model, tasks::Split split,
                                               int64_t first, bool energy) {
  split_ = split;
  stride_ = 0;
  for (int64_t b = 0; b < x_.size(1); ++b) start(b, first + b, 0);
  return run(model, {}, {}, energy);
}

nn::ActorCritic::Output Rollout::play_steps(nn::ActorCritic& model, int64_t first, int64_t stride) {
  split_ = tasks::Split::training;
  stride_ = stride;
  if (begun_) {
    x_[0].copy_(x_[-1]);
    reset_[0].copy_(reset_[-1]);
  } else {
    for (int64_t b = 0; b < x_.size(1); ++b) start(b, first + b, 0);
    reset_[0].zero_();
    state_.clear();
    begun_ = true;
  }
  return run(model, state_, reset_.slice(0, 0, -1), /*energy=*/false);
}

torch::Tensor Rollout::bootstrap_value(nn::ActorCritic& model) const {
  const torch::NoGradGuard no_grad;
  nn::UnitInput input;
  input.x = x_.slice(0, -1);
  input.reset = reset_.slice(0, -1);
  input.state = state_;
  return model.forward(input).value[0];
}

void Rollout::start(int64_t b, int64_t episode, int64_t row) {
  Runner& runner = runners_[b];
  runner.episode = episode;
  runner.step = 0;
  runner.reward = 0;
  std::vector<float> observation(x_.size(2));
  runner.environment->start(0, split_, episode, observation.data());
  write_observation(row, b, observation);
}

nn::ActorCritic::Output Rollout::run(nn::ActorCritic& model, const nn::State& state,
                                     const torch::Tensor& reset, bool energy) {
  weight_ = model.policy_weight().detach().t().contiguous();
  bias_ = model.policy_bias().detach().contiguous();
  nn::UnitInput input;
  input.x = x_.slice(0, 0, -1);
  input.state = state;
  input.reset = reset;
  input.energy = energy;
  input.closed_loop = this;
  nn::ActorCritic::Output output = model.forward(input);
  state_.clear();
  for (const auto& [name, tensor] : output.state) {
    // A copy, because a view of the last step would keep the whole output in memory.
    if (stride_ != 0) state_.emplace_back(name, tensor.detach().clone());
  }
  return output;
}

std::vector<double> Rollout::take_rewards() {
  std::vector<double> rewards;
  for (Runner& runner : runners_) {
    rewards.insert(rewards.end(), runner.rewards.begin(), runner.rewards.end());
    runner.rewards.clear();
  }
  return rewards;
}

int64_t Rollout::episodes_ended() const {
  int64_t count = 0;
  for (const Runner& runner : runners_) count += runner.episodes_ended;
  return count;
}

void Rollout::after_step(int64_t t, int64_t first, int64_t count, const float* h) {
  act(t, first, count, h);
}
void Rollout::after_step(int64_t t, int64_t first, int64_t count, const double* h) {
  act(t, first, count, h);
}

void Rollout::write_observation(int64_t row, int64_t b, const std::vector<float>& observation) {
  const int64_t offset = (row * x_.size(1) + b) * x_.size(2);
  if (x_.scalar_type() == torch::kFloat) {
    std::copy(observation.begin(), observation.end(), x_.data_ptr<float>() + offset);
  } else {
    std::copy(observation.begin(), observation.end(), x_.data_ptr<double>() + offset);
  }
}

template <typename T>
void Rollout::act(int64_t t, int64_t first, int64_t count, const T* h) {
  const int64_t steps = action_.size(0), batch = x_.size(1), hidden = weight_.size(0);
  std::vector<float> observation(x_.size(2));
  for (int64_t b = first; b < first + count; ++b, h += hidden) {
    Runner& runner = runners_[b];
    const int64_t action = draw_action(runner, h);
    float reward = 0;
    bool ended = false;
    runner.environment->step(&action, observation.data(), &reward, &ended);
    STPN_CHECK(stride_ != 0 || ended == (t + 1 == steps),
               "an episode {} after {} of {} steps: tests, and training on whole episodes, need "
               "episodes of "
               "equal length",
               ended ? "ended" : "had not ended", t + 1, steps);
    action_.data_ptr<int64_t>()[t * batch + b] = action;
    reward_.data_ptr<T>()[t * batch + b] = reward;
    ended_.data_ptr<bool>()[t * batch + b] = ended;
    reset_.data_ptr<bool>()[(t + 1) * batch + b] = ended;
    ++runner.step;
    runner.reward += reward;
    if (ended) {
      runner.rewards.push_back(runner.reward);
      ++runner.episodes_ended;
    }
    if (ended && stride_ != 0) {
      start(b, runner.episode + stride_, t + 1);
    } else {
      write_observation(t + 1, b, observation);
    }
  }
}

// Inverts the cumulative distribution function of the policy.
template <typename T>
int64_t Rollout::draw_action(const Runner& runner, const T* h) const {
  const int64_t actions = bias_.size(0), hidden = weight_.size(0);
  std::array<T, kMaxActions> logits{};
  std::copy_n(bias_.const_data_ptr<T>(), actions, logits.begin());
  const T* weight = weight_.const_data_ptr<T>();
  for (int64_t i = 0; i < hidden; ++i, weight += actions) {
    for (int64_t a = 0; a < actions; ++a) logits[a] += weight[a] * h[i];
  }
  const T largest = *std::max_element(logits.begin(), logits.begin() + actions);
  std::array<double, kMaxActions> cumulative{};
  double sum = 0;
  for (int64_t a = 0; a < actions; ++a) {
    sum += std::exp(static_cast<double>(logits[a] - largest));
    cumulative[a] = sum;
  }
  base::Random random(seed_, base::Stream::actions,
                      draw_index(split_, runner.episode, runner.step));
  const double point = random.uniform(0, 1) * sum;
  const double* const first = cumulative.data();
  return std::upper_bound(first, first + actions - 1, point) - first;
}

void Rollout::save(const std::string& prefix, base::Safetensors& content) const {
  if (!begun_) return;
  const auto batch = static_cast<int64_t>(runners_.size());
  const torch::Tensor counts = torch::zeros({4, batch}, torch::kFloat64);
  std::string states;
  for (int64_t b = 0; b < batch; ++b) {
    const Runner& runner = runners_[b];
    counts[0][b] = static_cast<double>(runner.episode);
    counts[1][b] = static_cast<double>(runner.step);
    counts[2][b] = runner.reward;
    counts[3][b] = static_cast<double>(runner.episodes_ended);
    const std::string saved = runner.environment->save();
    const auto size = static_cast<uint64_t>(saved.size());
    states.append(reinterpret_cast<const char*>(&size), sizeof size);
    states += saved;
  }
  content.tensors.push_back(named(prefix + "counts", counts));
  content.tensors.push_back(named(prefix + "x", x_[-1]));
  content.tensors.push_back(named(prefix + "reset", reset_[-1]));
  for (const auto& [name, tensor] : state_) {
    content.tensors.push_back(named(prefix + "state." + name, tensor));
  }
  const auto bytes = static_cast<int64_t>(states.size());
  content.tensors.push_back(
      {prefix + "environments", base::TensorType::uint8, {bytes}, std::move(states)});
}

void Rollout::restore(const std::string& prefix, const base::Safetensors& content,
                      const nn::ActorCritic& model) {
  const auto batch = static_cast<int64_t>(runners_.size());
  const torch::Tensor counts = torch::zeros({4, batch}, torch::kFloat64);
  read_into(content, prefix + "counts", counts);
  read_into(content, prefix + "x", x_[-1]);
  read_into(content, prefix + "reset", reset_[-1]);
  std::string_view states = content.at(prefix + "environments").bytes;
  for (int64_t b = 0; b < batch; ++b) {
    Runner& runner = runners_[b];
    runner.episode = static_cast<int64_t>(counts[0][b].item<double>());
    runner.step = static_cast<int64_t>(counts[1][b].item<double>());
    runner.reward = counts[2][b].item<double>();
    runner.episodes_ended = static_cast<int64_t>(counts[3][b].item<double>());
    uint64_t size = 0;
    STPN_CHECK(states.size() >= sizeof size, "{}environments is truncated", prefix);
    std::memcpy(&size, states.data(), sizeof size);
    states.remove_prefix(sizeof size);
    STPN_CHECK(states.size() >= size, "{}environments is truncated", prefix);
    runner.environment->restore(states.substr(0, size));
    states.remove_prefix(size);
  }
  state_ = model.unit().initial_state(batch);
  for (const auto& [name, tensor] : state_) read_into(content, prefix + "state." + name, tensor);
  begun_ = true;
}

}  // namespace stpn::train
