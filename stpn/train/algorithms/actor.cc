#include "stpn/train/algorithms/actor.h"

#include <algorithm>
#include <cassert>
#include <cstring>
#include <utility>

#include "stpn/base/error.h"
#include "stpn/base/profile.h"
#include "stpn/base/random.h"
#include "stpn/train/algorithms/saved_tensor.h"

namespace stpn::train {
namespace {

// The index of the draw for an action. Episodes are below 2^32 and steps below 2^24.
uint64_t draw_index(tasks::Split split, int64_t episode, int64_t step) {
  return (static_cast<uint64_t>(split) << 56) | (static_cast<uint64_t>(episode) << 24) |
         static_cast<uint64_t>(step);
}

}  // namespace

Actor::Actor(const tasks::EnvironmentTask& task, uint64_t seed, int64_t environments, int64_t steps,
             const nn::Agent& agent)
    : task_(task),
      seed_(seed),
      steps_(steps == 0 ? task.max_steps() : steps),
      runners_(environments),
      end_(steps_) {
  const tasks::ActionSpec& actions = task.actions();
  for (Runner& runner : runners_) {
    runner.environment = task.make_environment();
    runner.numbers.resize(actions.low.size());
    runner.scaled.resize(actions.low.size());
  }
  const torch::Dtype dtype = agent.policy_head().bias().scalar_type();
  x_ = torch::zeros({steps_ + 1, environments, agent.unit().input_size()}, dtype);
  if (agent.encoder() != nullptr) {
    image_ = torch::zeros({steps_ + 1, environments, task.observation_size()}, torch::kUInt8);
  }
  reset_ = torch::zeros({steps_ + 1, environments}, torch::kBool);
  action_ = actions.is_box() ? torch::zeros({steps_, environments, actions.numbers()}, dtype)
                             : torch::zeros({steps_, environments}, torch::kInt64);
  reward_ = torch::zeros({steps_, environments}, dtype);
  acted_ = torch::zeros({steps_, environments}, torch::kBool);
  terminated_ = torch::zeros_like(acted_);
  truncated_ = torch::zeros_like(acted_);
}

Acted Actor::play_whole(nn::Agent& agent, int64_t first, const ActorPass& pass) {
  assert(task_.fixed_length() && steps_ == task_.max_steps());
  const auto batch = static_cast<int64_t>(runners_.size());
  start_all(tasks::Split::training, first, batch, first + batch, /*bootstraps=*/false);
  return run(agent, {}, steps_, /*resets=*/false, pass);
}

Acted Actor::play_on(nn::Agent& agent, const PlayOn& how) {
  assert(how.steps <= steps_);
  if (begun_) {  // by this actor, or by the one that was saved
    plan(tasks::Split::training, how.stride, kNoLimit, how.bootstraps);
    go_on();
  } else {
    start_all(tasks::Split::training, how.first, how.stride, kNoLimit, how.bootstraps);
    begun_ = true;
  }
  return run(agent, state_, how.steps == 0 ? steps_ : how.steps, /*resets=*/true, how.pass);
}

PlayedEpisodes Actor::play_episodes(nn::Agent& agent, tasks::Split split, int64_t first,
                                    int64_t count, bool greedy) {
  const auto batch = static_cast<int64_t>(runners_.size());
  assert(count >= batch);
  PlayedEpisodes played;
  played.rewards.resize(count);
  played.lengths.resize(count);
  for (Runner& runner : runners_) {
    runner.rewards.clear();
    runner.lengths.clear();
  }
  start_all(split, first, batch, first + count, /*bootstraps=*/false);
  record_ = &played.actions;
  greedy_ = greedy;
  const bool whole = task_.fixed_length() && steps_ == task_.max_steps() && count == batch;
  double energy = 0, steps = 0;
  for (bool going_on = false;; going_on = true) {
    if (going_on) go_on();
    const Acted acted = run(agent, state_, steps_, /*resets=*/!whole, {.energy = true});
    const torch::Tensor of_step = acted.output.energy.mean(2, /*keepdim=*/false, torch::kDouble);
    energy += of_step.masked_select(acted_).sum().item<double>();
    steps += acted_.sum().item<double>();
    const auto finished = [](const Runner& runner) { return runner.finished; };
    if (std::all_of(runners_.begin(), runners_.end(), finished)) break;
  }
  record_ = nullptr;
  greedy_ = false;
  for (int64_t b = 0; b < batch; ++b) {
    Runner& runner = runners_[b];
    for (size_t k = 0; k < runner.rewards.size(); ++k) {
      played.rewards[b + static_cast<int64_t>(k) * batch] = runner.rewards[k];
      played.lengths[b + static_cast<int64_t>(k) * batch] = runner.lengths[k];
    }
    runner.rewards.clear();
    runner.lengths.clear();
  }
  played.energy = energy / steps;
  return played;
}

void Actor::plan(tasks::Split split, int64_t stride, int64_t limit, bool bootstraps) {
  split_ = split;
  stride_ = stride;
  limit_ = limit;
  bootstraps_ = bootstraps;
}

void Actor::start_all(tasks::Split split, int64_t first, int64_t stride, int64_t limit,
                      bool bootstraps) {
  plan(split, stride, limit, bootstraps);
  begun_ = false;
  state_.clear();
  reset_[0].zero_();
  for (int64_t b = 0; b < x_.size(1); ++b) start(b, first + b, 0);
}

void Actor::start(int64_t b, int64_t episode, int64_t row) {
  Runner& runner = runners_[b];
  runner.cut = false;
  runner.finished = episode >= limit_;
  if (runner.finished) return;
  runner.episode = episode;
  runner.step = 0;
  runner.reward = 0;
  start_environment(b, row);
}

void Actor::go_on() {
  torch::Tensor& observation = image_.defined() ? image_ : x_;
  observation[0].copy_(observation[end_]);
  reset_[0].copy_(reset_[end_]);
}

Acted Actor::run(nn::Agent& agent, const nn::State& state, int64_t steps, bool resets,
                 const ActorPass& pass) {
  sampler_ = agent.policy_head().sampler();
  end_ = steps;
  piece_ = 0;
  if (image_.defined()) {
    encoder_ = agent.encoder()->step_encoder();
    for (int64_t b = 0; b < x_.size(1); ++b) encode(b, 0);
  }
  const auto first = [steps](const torch::Tensor& tensor) { return tensor.slice(0, 0, steps); };
  nn::UnitInput input;
  input.x = first(x_);
  input.state = state;
  if (resets) input.reset = first(reset_);
  input.energy = pass.energy;
  input.closed_loop = this;
  const torch::Tensor& observation = image_.defined() ? image_ : x_;
  Rollout rollout = {.observation = first(observation),
                     .reset = input.reset,
                     .action = first(action_),
                     .acted = first(acted_),
                     .reward = first(reward_),
                     .terminated = first(terminated_),
                     .truncated = first(truncated_),
                     .state = state};
  const base::Working working(base::Work::unit);
  nn::Agent::Output output = agent.with_heads(forward_bounded(
      agent.unit(), input, pass.state_gradient, [&](int64_t begin) { piece_ = begin; }));
  state_.clear();
  if (resets) {
    for (const auto& [name, tensor] : output.state) {
      // A copy, because a view of the last step would keep the whole output in memory.
      state_.emplace_back(name, tensor.detach().clone());
    }
    rollout.next_observation = observation[end_];
    rollout.next_reset = reset_[end_];
    rollout.next_state = state_;
  }
  return {std::move(rollout), std::move(output)};
}

std::vector<double> Actor::take_rewards() {
  std::vector<double> rewards;
  for (Runner& runner : runners_) {
    rewards.insert(rewards.end(), runner.rewards.begin(), runner.rewards.end());
    runner.rewards.clear();
    runner.lengths.clear();
  }
  return rewards;
}

int64_t Actor::episodes_ended() const {
  int64_t count = 0;
  for (const Runner& runner : runners_) count += runner.episodes_ended;
  return count;
}

void Actor::after_step(int64_t t, int64_t first, int64_t count, const float* h) {
  act(t, first, count, h);
}
void Actor::after_step(int64_t t, int64_t first, int64_t count, const double* h) {
  act(t, first, count, h);
}

void Actor::start_environment(int64_t b, int64_t row) {
  const Runner& runner = runners_[b];
  const int64_t place = row * x_.size(1) + b;
  if (image_.defined()) {
    runner.environment->start_image(split_, runner.episode,
                                    image_.data_ptr<uint8_t>() + place * image_.size(2));
  } else if (x_.scalar_type() == torch::kFloat) {
    runner.environment->start(split_, runner.episode, x_.data_ptr<float>() + place * x_.size(2));
  } else {
    std::vector<float> numbers(x_.size(2));
    runner.environment->start(split_, runner.episode, numbers.data());
    std::copy(numbers.begin(), numbers.end(), x_.data_ptr<double>() + place * x_.size(2));
  }
}

tasks::Step Actor::step_environment(int64_t b, const tasks::Action& action, int64_t row) {
  tasks::Environment& environment = *runners_[b].environment;
  const int64_t place = row * x_.size(1) + b;
  if (image_.defined()) {
    return environment.step_image(action, image_.data_ptr<uint8_t>() + place * image_.size(2));
  }
  if (x_.scalar_type() == torch::kFloat) {
    return environment.step(action, x_.data_ptr<float>() + place * x_.size(2));
  }
  std::vector<float> numbers(x_.size(2));
  const tasks::Step step = environment.step(action, numbers.data());
  std::copy(numbers.begin(), numbers.end(), x_.data_ptr<double>() + place * x_.size(2));
  return step;
}

void Actor::encode(int64_t b, int64_t row) {
  const base::Working working(base::Work::convolution);
  const int64_t place = row * x_.size(1) + b;
  const uint8_t* const image = image_.const_data_ptr<uint8_t>() + place * image_.size(2);
  if (x_.scalar_type() == torch::kFloat) {
    encoder_->encode(image, x_.data_ptr<float>() + place * x_.size(2));
  } else {
    encoder_->encode(image, x_.data_ptr<double>() + place * x_.size(2));
  }
}

void Actor::record(const tasks::Action& action) {
  if (task_.actions().is_box()) {
    record_->insert(record_->end(), action.numbers, action.numbers + task_.actions().numbers());
  } else {
    record_->push_back(static_cast<float>(action.choice));
  }
}

template <typename T>
void Actor::act(int64_t t, int64_t first, int64_t count, const T* h) {
  const base::Working working(base::Work::rest);
  t += piece_;
  const int64_t batch = x_.size(1), hidden = sampler_->inputs();
  const int64_t numbers = task_.actions().numbers();
  const tasks::ActionSpec& actions = task_.actions();
  for (int64_t b = first; b < first + count; ++b, h += hidden) {
    Runner& runner = runners_[b];
    const int64_t here = t * batch + b;
    tasks::Action action = {.numbers = runner.scaled.data()};
    tasks::Step step;
    const bool acts = !runner.cut && !runner.finished;
    if (acts) {
      base::Random random(seed_, base::Stream::actions,
                          draw_index(split_, runner.episode, runner.step));
      action.choice = sampler_->draw(h, greedy_ ? nullptr : &random, runner.numbers.data());
      for (int64_t k = 0; k < numbers; ++k) {
        const float middle = (actions.low[k] + actions.high[k]) / 2;
        runner.scaled[k] = middle + (actions.high[k] - middle) * runner.numbers[k];
      }
      if (record_ != nullptr && b == 0 && runner.rewards.empty()) record(action);
      step = step_environment(b, action, t + 1);
      ++runner.step;
      runner.reward += step.reward;
    } else {
      std::fill(runner.numbers.begin(), runner.numbers.end(), 0.0f);
    }
    if (numbers > 0) {
      std::copy(runner.numbers.begin(), runner.numbers.end(),
                action_.data_ptr<T>() + here * numbers);
    } else {
      action_.data_ptr<int64_t>()[here] = action.choice;
    }
    acted_.data_ptr<bool>()[here] = acts;
    reward_.data_ptr<T>()[here] = step.reward;
    terminated_.data_ptr<bool>()[here] = step.terminated;
    truncated_.data_ptr<bool>()[here] = step.truncated && !step.terminated;
    if (step.ended()) {
      runner.rewards.push_back(runner.reward);
      runner.lengths.push_back(static_cast<double>(runner.step));
      ++runner.episodes_ended;
    }
    const bool starts = step.terminated || runner.cut || (step.truncated && !bootstraps_);
    runner.cut = step.truncated && !starts;
    reset_.data_ptr<bool>()[here + batch] = starts;
    if (starts) start(b, runner.episode + stride_, t + 1);
    // What follows the last step is encoded when it is needed: perhaps by other weights.
    if (image_.defined() && t + 1 < end_ && !runner.finished) encode(b, t + 1);
  }
}

void Actor::save(const std::string& prefix, base::Safetensors& content) const {
  if (!begun_) return;
  const auto batch = static_cast<int64_t>(runners_.size());
  const torch::Tensor counts = torch::zeros({5, batch}, torch::kFloat64);
  std::string states;
  for (int64_t b = 0; b < batch; ++b) {
    const Runner& runner = runners_[b];
    counts[0][b] = static_cast<double>(runner.episode);
    counts[1][b] = static_cast<double>(runner.step);
    counts[2][b] = runner.reward;
    counts[3][b] = static_cast<double>(runner.episodes_ended);
    counts[4][b] = runner.cut ? 1.0 : 0.0;
    const std::string saved = runner.environment->save();
    const auto size = static_cast<uint64_t>(saved.size());
    states.append(reinterpret_cast<const char*>(&size), sizeof size);
    states += saved;
  }
  content.tensors.push_back(saved_tensor(prefix + "counts", counts));
  if (image_.defined()) {
    const torch::Tensor image = image_[end_];
    content.tensors.push_back(
        {prefix + "image", base::TensorType::uint8, image.sizes().vec(),
         std::string(static_cast<const char*>(image.const_data_ptr()), image.nbytes())});
  } else {
    content.tensors.push_back(saved_tensor(prefix + "x", x_[end_]));
  }
  content.tensors.push_back(saved_tensor(prefix + "reset", reset_[end_]));
  for (const auto& [name, tensor] : state_) {
    content.tensors.push_back(saved_tensor(prefix + "state." + name, tensor));
  }
  const auto bytes = static_cast<int64_t>(states.size());
  content.tensors.push_back(
      {prefix + "environments", base::TensorType::uint8, {bytes}, std::move(states)});
}

void Actor::restore(const std::string& prefix, const base::Safetensors& content,
                    const nn::Agent& agent) {
  const auto batch = static_cast<int64_t>(runners_.size());
  const torch::Tensor counts = torch::zeros({5, batch}, torch::kFloat64);
  read_saved(content, prefix + "counts", counts);
  end_ = steps_;
  if (image_.defined()) {
    const base::NamedTensor& image = content.at(prefix + "image");
    STPN_CHECK(image.type == base::TensorType::uint8 &&
                   image_[end_].sizes() == torch::IntArrayRef(image.shape),
               "{}image belongs to another run", prefix);
    std::memcpy(image_[end_].data_ptr(), image.bytes.data(), image.bytes.size());
  } else {
    read_saved(content, prefix + "x", x_[end_]);
  }
  read_saved(content, prefix + "reset", reset_[end_]);
  std::string_view states = content.at(prefix + "environments").bytes;
  for (int64_t b = 0; b < batch; ++b) {
    Runner& runner = runners_[b];
    runner.episode = static_cast<int64_t>(counts[0][b].item<double>());
    runner.step = static_cast<int64_t>(counts[1][b].item<double>());
    runner.reward = counts[2][b].item<double>();
    runner.episodes_ended = static_cast<int64_t>(counts[3][b].item<double>());
    runner.cut = counts[4][b].item<double>() != 0;
    uint64_t size = 0;
    STPN_CHECK(states.size() >= sizeof size, "{}environments is truncated", prefix);
    std::memcpy(&size, states.data(), sizeof size);
    states.remove_prefix(sizeof size);
    STPN_CHECK(states.size() >= size, "{}environments is truncated", prefix);
    runner.environment->restore(states.substr(0, size));
    states.remove_prefix(size);
  }
  state_ = agent.unit().initial_state(batch);
  for (const auto& [name, tensor] : state_) read_saved(content, prefix + "state." + name, tensor);
  begun_ = true;
}

}  // namespace stpn::train
