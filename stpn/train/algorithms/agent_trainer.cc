#include "stpn/train/algorithms/agent_trainer.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <utility>

#include "stpn/base/error.h"
#include "stpn/nn/models/convolution_encoder.h"
#include "stpn/tasks/policy.h"
#include "stpn/train/algorithms/run_shards.h"
#include "stpn/train/algorithms/saved_tensor.h"
#include "stpn/train/algorithms/shards.h"

namespace stpn::train {
namespace {

// Steps in a pass over test episodes of different lengths: many end long before the longest.
constexpr int64_t kTestSteps = 128;

constexpr size_t kLastRewards = 100;         // AgentTrainer::reached
constexpr const char* kRewards = "rewards";  // in a checkpoint

constexpr double kLargest = std::numeric_limits<double>::max();

}  // namespace

std::shared_ptr<nn::Agent> make_agent(const tasks::EnvironmentTask& task,
                                      const nn::UnitOptions& unit) {
  const tasks::ActionSpec& actions = task.actions();
  std::shared_ptr<nn::Encoder> encoder;
  if (const tasks::ImageSpec* image = task.image(); image != nullptr) {
    encoder = std::make_shared<nn::ConvolutionEncoder>(
        kernels::ConvolutionImage{.channels = image->channels,
                                  .height = image->height,
                                  .width = image->width,
                                  .zero = image->zero,
                                  .unit = image->unit},
        nn::ConvolutionEncoderOptions());
  }
  auto made = unit.make(encoder == nullptr ? task.observation_size() : encoder->features());
  const int64_t H = made->hidden_size();
  return std::make_shared<nn::Agent>(std::move(encoder), std::move(made),
                                     actions.is_box() ? nn::make_number_head(H, actions.numbers())
                                                      : nn::make_choice_head(H, actions.choices));
}

torch::Tensor bootstrap_value(nn::Agent& agent, const Rollout& rollout) {
  const torch::NoGradGuard no_grad;
  nn::UnitInput input;
  input.x = rollout.next_observation.unsqueeze(0);
  input.reset = rollout.next_reset.unsqueeze(0);
  input.state = rollout.next_state;
  return agent.forward(input).value[0];
}

std::unique_ptr<tasks::TaskOptions> AgentTrainerOptions::task_options(
    const std::string& name, const std::string& where) const {
  return tasks::find_environment(name, where).options();
}

base::Field AgentTrainerOptions::epsilon_field() {
  return base::field("epsilon", epsilon,
                     "epsilon of Adam, added to the root of the mean squared gradient",
                     {.least = 1e-30, .most = kLargest});
}

base::Field AgentTrainerOptions::max_grad_norm_field() {
  return base::field("max_grad_norm", max_grad_norm,
                     "gradients are scaled down so that their joint norm is at most this",
                     {.least = 0});
}

base::Field AgentTrainerOptions::discount_field() {
  return base::field("discount", discount, "discount factor of rewards per step",
                     {.least = 0, .most = 1});
}

base::Field AgentTrainerOptions::learning_rate_field() {
  return base::field("learning_rate", learning_rate,
                     "step size of Adam at the start; lower it if the reward drops again, raise "
                     "it if the reward rises slowly",
                     {.least = 0, .most = kLargest});
}

base::Field AgentTrainerOptions::final_learning_rate_field() {
  return base::field("final_learning_rate", final_learning_rate,
                     "step size after decay_steps steps, to which it falls linearly",
                     {.least = 0, .most = kLargest});
}

base::Field AgentTrainerOptions::decay_steps_field() {
  return base::field("decay_steps", decay_steps,
                     "steps of all environments until the final step size, which then stays; 0: "
                     "the step size does not change",
                     {.least = 0, .most = kLargest});
}

base::Field AgentTrainerOptions::stop_reward_field() {
  return base::field("stop_reward", stop_reward,
                     "training ends early when the mean reward of the last 100 episodes is at "
                     "least this; inf: never",
                     {.least = -kLargest});
}

double AgentTrainerOptions::learning_rate_at(double steps_done) const {
  if (decay_steps == 0) return learning_rate;
  const double share = std::min(1.0, steps_done / decay_steps);
  return learning_rate + share * (final_learning_rate - learning_rate);
}

base::Field AgentTrainerOptions::entropy_weight_field() {
  return base::field("entropy_weight", entropy_weight,
                     "weight of the policy's entropy, which the loss rewards; raise it when the "
                     "policy stops exploring too soon",
                     {.least = 0, .most = kLargest});
}

base::Field AgentTrainerOptions::energy_weight_field() {
  return base::field("energy_weight", energy_weight,
                     "weight in the loss of energy_per_neuron, the mean over neurons and steps; "
                     "raise it for a model that spends less, at the expense of reward",
                     {.least = 0, .most = kLargest});
}

AgentTrainer::AgentTrainer(const tasks::EnvironmentOptions& task, const nn::UnitOptions& unit,
                           uint64_t seed)
    : seed_(seed), task_(task.make(seed)), agent_(make_agent(*task_, unit)) {
  agent_->reset_parameters(seed);
}

void AgentTrainer::try_out() {
  const torch::NoGradGuard no_grad;
  Actor(*task_, seed_, 1, 1, *agent_).play_on(*agent_, {.stride = 1, .pass = {.energy = true}});
}

Metrics AgentTrainer::test(int64_t count) {
  const PlayedEpisodes all = play_test(count, tests_greedily());
  const tasks::Spread reward = tasks::spread_of(all.rewards);
  Metrics metrics = {{"reward", reward.mean}, {"reward_standard_error", reward.standard_error}};
  add_reward_share(reward.mean, metrics);
  if (tests_greedily()) {
    metrics.emplace_back("least_reward", *std::min_element(all.rewards.begin(), all.rewards.end()));
    metrics.emplace_back("sampled_reward",
                         tasks::spread_of(play_test(count, /*greedy=*/false).rewards).mean);
  }
  if (!task_->fixed_length()) {
    metrics.emplace_back("episode_length", tasks::spread_of(all.lengths).mean);
  }
  metrics.emplace_back("energy_per_neuron", all.energy);
  if (!task_->reward_inputs().empty()) {
    agent_->unit().leave_out_of_energy(task_->reward_inputs());
    metrics.emplace_back("energy_per_neuron_without_reward",
                         play_test(count, tests_greedily()).energy);
    agent_->unit().leave_out_of_energy({});
  }
  metrics.emplace_back("episodes", static_cast<double>(count));
  return metrics;
}

std::string AgentTrainer::trace(bool sampled) {
  const torch::NoGradGuard no_grad;
  // In a batch of the size that `test` uses, because the batch size may change the last bits of h.
  const int64_t episodes = std::min(environments_in_shard(*task_), test_size());
  Actor actor(*task_, seed_, episodes, test_steps(), *agent_);
  const bool greedy = tests_greedily() && !sampled;
  const PlayedEpisodes played =
      actor.play_episodes(*agent_, tasks::Split::test, 0, episodes, greedy);
  return task_->trace(tasks::Split::test, 0, played.actions);
}

std::vector<tasks::Baseline> AgentTrainer::baselines() const {
  std::vector<tasks::Baseline> baselines = {{"random_reward", random_reward()}};
  if (const auto oracle = oracle_reward()) baselines.push_back({"oracle_reward", *oracle});
  return baselines;
}

double AgentTrainer::random_reward() const {
  if (!random_reward_) random_reward_ = mean_reward_of("random");
  return *random_reward_;
}

std::optional<double> AgentTrainer::oracle_reward() const {
  if (!oracle_asked_) {
    oracle_asked_ = true;
    try {
      oracle_reward_ = mean_reward_of("oracle");
    } catch (const base::UserError&) {  // the task has no oracle
    }
  }
  return oracle_reward_;
}

void AgentTrainer::add_reward(const std::vector<double>& rewards, Metrics& metrics) {
  if (!rewards.empty()) reward_ = tasks::spread_of(rewards).mean;
  last_rewards_.insert(last_rewards_.end(), rewards.begin(), rewards.end());
  while (last_rewards_.size() > kLastRewards) last_rewards_.pop_front();
  metrics.emplace_back("reward", reward_);
  add_reward_share(reward_, metrics);
}

bool AgentTrainer::reached(double stop_reward) const {
  if (last_rewards_.size() < kLastRewards) return false;
  return std::accumulate(last_rewards_.begin(), last_rewards_.end(), 0.0) >=
         stop_reward * static_cast<double>(kLastRewards);
}

void AgentTrainer::save_rewards(base::Safetensors& content) const {
  torch::Tensor values = torch::full({1 + static_cast<int64_t>(kLastRewards)},
                                     std::numeric_limits<double>::quiet_NaN(), torch::kDouble);
  values[0] = reward_;
  std::copy(last_rewards_.begin(), last_rewards_.end(), values.data_ptr<double>() + 1);
  content.tensors.push_back(saved_tensor(kRewards, values));
}

void AgentTrainer::restore_rewards(const base::Safetensors& content) {
  const auto is_there = [](const base::NamedTensor& tensor) { return tensor.name == kRewards; };
  if (std::none_of(content.tensors.begin(), content.tensors.end(), is_there)) return;  // older
  const torch::Tensor values =
      torch::zeros({1 + static_cast<int64_t>(kLastRewards)}, torch::kDouble);
  read_saved(content, kRewards, values);
  const double* const saved = values.const_data_ptr<double>();
  reward_ = saved[0];
  last_rewards_.clear();
  for (size_t k = 1; k <= kLastRewards && !std::isnan(saved[k]); ++k) {
    last_rewards_.push_back(saved[k]);
  }
}

void AgentTrainer::add_reward_share(double reward, Metrics& metrics) const {
  const std::optional<double> oracle = oracle_reward();
  if (!oracle) return;  // before the random policy plays, which may take long
  const double random = random_reward();
  metrics.emplace_back("reward_share", (reward - random) / (*oracle - random));
}

int64_t AgentTrainer::test_steps() const {
  return task_->fixed_length() ? 0 : std::min(kTestSteps, task_->max_steps());
}

double AgentTrainer::mean_reward_of(const std::string& policy_name) const {
  const auto played =
      tasks::play_untrained(*task_, policy_name, seed_, tasks::Split::test, test_size());
  return tasks::spread_of(played.rewards).mean;
}

PlayedEpisodes AgentTrainer::play_test(int64_t count, bool greedy) {
  const int64_t most = environments_in_shard(*task_);
  // Numbers of a shard: energy, steps, and the reward and length of each episode.
  const ShardResults shards = run_shards(shards_of(count, most), [&](int64_t shard) {
    const torch::NoGradGuard no_grad;
    const int64_t first = shard * most;
    const int64_t episodes = std::min(most, count - first);
    Actor actor(*task_, seed_, episodes, test_steps(), *agent_);
    const PlayedEpisodes played =
        actor.play_episodes(*agent_, tasks::Split::test, first, episodes, greedy);
    const double steps = std::accumulate(played.lengths.begin(), played.lengths.end(), 0.0);
    ShardResult result{.numbers = {played.energy * steps, steps}};
    for (int64_t i = 0; i < episodes; ++i) {
      result.numbers.push_back(played.rewards[i]);
      result.numbers.push_back(played.lengths[i]);
    }
    return result;
  });
  PlayedEpisodes all;
  for (const std::vector<double>& numbers : shards.numbers) {
    for (size_t i = 2; i < numbers.size(); i += 2) {
      all.rewards.push_back(numbers[i]);
      all.lengths.push_back(numbers[i + 1]);
    }
  }
  all.energy = shards.sum_of(0) / shards.sum_of(1);
  return all;
}

}  // namespace stpn::train
