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

constexpr int64_t kMostActions = 64;

// Of the draw for an action: episodes are below 2^32, and steps below 2^24.
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
             "{} is of another run", name);
  const torch::Tensor values = torch::empty(to.sizes(), torch::kFloat64);
  std::memcpy(values.data_ptr(), from.bytes.data(), from.bytes.size());
  to.copy_(values);
}

}  // namespace

Rollout::Rollout(const tasks::EnvironmentOptions& task, uint64_t seed, int64_t slots, int64_t steps,
                 torch::Dtype dtype)
    : seed_(seed), slots_(slots) {
  for (Slot& slot : slots_) slot.environment = task.make(seed, 1);
  const tasks::Environment& one = *slots_.front().environment;
  STPN_CHECK(one.actions() <= kMostActions, "the task has {} actions; an actor knows at most {}",
             one.actions(), kMostActions);
  if (steps == 0) steps = one.episode_length();
  x_ = torch::zeros({steps + 1, slots, one.observation_size()}, dtype);
  action_ = torch::zeros({steps, slots}, torch::kInt64);
  reward_ = torch::zeros({steps, slots}, dtype);
  ended_ = torch::zeros({steps, slots}, torch::kBool);
  reset_ = torch::zeros({steps + 1, slots}, torch::kBool);
}

nn::ActorCritic::Output Rollout::play(nn::ActorCritic& model, tasks::Split split, int64_t first,
                                      bool energy) {
  split_ = split;
  stride_ = 0;
  for (int64_t b = 0; b < x_.size(1); ++b) start(b, first + b, 0);
  return run(model, {}, {}, energy);
}

nn::ActorCritic::Output Rollout::play_on(nn::ActorCritic& model, int64_t first, int64_t stride) {
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

torch::Tensor Rollout::value_ahead(nn::ActorCritic& model) const {
  const torch::NoGradGuard no_grad;
  nn::UnitInput input;
  input.x = x_.slice(0, -1);
  input.reset = reset_.slice(0, -1);
  input.state = state_;
  return model.forward(input).value[0];
}

// `row` of x gets the first observation.
void Rollout::start(int64_t b, int64_t episode, int64_t row) {
  Slot& slot = slots_[b];
  slot.episode = episode;
  slot.step = 0;
  slot.reward = 0;
  std::vector<float> observation(x_.size(2));
  slot.environment->start(0, split_, episode, observation.data());
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
    // A copy: the last step of the output would hold all of it.
    if (stride_ != 0) state_.emplace_back(name, tensor.detach().clone());
  }
  return output;
}

std::vector<double> Rollout::take_rewards() {
  std::vector<double> rewards;
  for (Slot& slot : slots_) {
    rewards.insert(rewards.end(), slot.rewards.begin(), slot.rewards.end());
    slot.rewards.clear();
  }
  return rewards;
}

int64_t Rollout::episodes_ended() const {
  int64_t count = 0;
  for (const Slot& slot : slots_) count += slot.episodes_ended;
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
    Slot& slot = slots_[b];
    const int64_t action = draw_action(slot, h);
    float reward = 0;
    bool ended = false;
    slot.environment->step(&action, observation.data(), &reward, &ended);
    STPN_CHECK(
        stride_ != 0 || ended == (t + 1 == steps),
        "after {} of {} steps an episode {}: only tasks whose episodes are all equally long can be "
        "tested, and trained on as a whole",
        t + 1, steps, ended ? "ended" : "had not ended");
    action_.data_ptr<int64_t>()[t * batch + b] = action;
    reward_.data_ptr<T>()[t * batch + b] = reward;
    ended_.data_ptr<bool>()[t * batch + b] = ended;
    reset_.data_ptr<bool>()[(t + 1) * batch + b] = ended;
    ++slot.step;
    slot.reward += reward;
    if (ended) {
      slot.rewards.push_back(slot.reward);
      ++slot.episodes_ended;
    }
    if (ended && stride_ != 0) {
      start(b, slot.episode + stride_, t + 1);
    } else {
      write_observation(t + 1, b, observation);
    }
  }
}

// By the inverse of the policy's distribution function.
template <typename T>
int64_t Rollout::draw_action(const Slot& slot, const T* h) const {
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
  base::Random random(seed_, base::Stream::actions, draw_index(split_, slot.episode, slot.step));
  const double point = random.uniform(0, 1) * sum;
  const double* const first = up_to.data();
  return std::upper_bound(first, first + actions - 1, point) - first;
}

void Rollout::save(const std::string& prefix, base::Safetensors& content) const {
  if (!begun_) return;
  const auto batch = static_cast<int64_t>(slots_.size());
  const torch::Tensor counts = torch::zeros({4, batch}, torch::kFloat64);
  std::string environments;
  for (int64_t b = 0; b < batch; ++b) {
    const Slot& slot = slots_[b];
    counts[0][b] = static_cast<double>(slot.episode);
    counts[1][b] = static_cast<double>(slot.step);
    counts[2][b] = slot.reward;
    counts[3][b] = static_cast<double>(slot.episodes_ended);
    const std::string saved = slot.environment->save();
    const auto size = static_cast<uint64_t>(saved.size());
    environments.append(reinterpret_cast<const char*>(&size), sizeof size);
    environments += saved;
  }
  content.tensors.push_back(named(prefix + "counts", counts));
  content.tensors.push_back(named(prefix + "x", x_[-1]));
  content.tensors.push_back(named(prefix + "reset", reset_[-1]));
  for (const auto& [name, tensor] : state_) {
    content.tensors.push_back(named(prefix + "state." + name, tensor));
  }
  const auto bytes = static_cast<int64_t>(environments.size());
  content.tensors.push_back(
      {prefix + "environments", base::TensorType::uint8, {bytes}, std::move(environments)});
}

void Rollout::restore(const std::string& prefix, const base::Safetensors& content,
                      const nn::ActorCritic& model) {
  const auto batch = static_cast<int64_t>(slots_.size());
  const torch::Tensor counts = torch::zeros({4, batch}, torch::kFloat64);
  read_into(content, prefix + "counts", counts);
  read_into(content, prefix + "x", x_[-1]);
  read_into(content, prefix + "reset", reset_[-1]);
  std::string_view environments = content.at(prefix + "environments").bytes;
  for (int64_t b = 0; b < batch; ++b) {
    Slot& slot = slots_[b];
    slot.episode = static_cast<int64_t>(counts[0][b].item<double>());
    slot.step = static_cast<int64_t>(counts[1][b].item<double>());
    slot.reward = counts[2][b].item<double>();
    slot.episodes_ended = static_cast<int64_t>(counts[3][b].item<double>());
    uint64_t size = 0;
    STPN_CHECK(environments.size() >= sizeof size, "{}environments is cut off", prefix);
    std::memcpy(&size, environments.data(), sizeof size);
    environments.remove_prefix(sizeof size);
    STPN_CHECK(environments.size() >= size, "{}environments is cut off", prefix);
    slot.environment->restore(environments.substr(0, size));
    environments.remove_prefix(size);
  }
  state_ = model.unit().initial_state(batch);
  for (const auto& [name, tensor] : state_) read_into(content, prefix + "state." + name, tensor);
  begun_ = true;
}

}  // namespace stpn::train
