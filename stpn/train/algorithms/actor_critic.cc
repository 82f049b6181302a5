#include "stpn/train/algorithms/actor_critic.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "stpn/ops/threads.h"
#include "stpn/tasks/policy.h"

namespace stpn::train {
namespace {

using tasks::Split;

// Environments in a shard: enough to fill the vector units, few enough for the activations saved
// for backward to stay near the cache. A constant, because it decides the order in which gradients
// are added.
constexpr int64_t kShardSize = 64;
constexpr int64_t kMaxEnvironments = 512;  // in which a baseline policy plays

constexpr int64_t kMaxEpisodes = 1 << 16;              // in parallel
constexpr int64_t kMaxSteps = 1 << 16;                 // of a rollout
constexpr int64_t kEpisodeNumbers = int64_t{1} << 32;  // tasks::Environment::start

torch::Dtype dtype_of(const torch::nn::Module& model) {
  return model.parameters().front().scalar_type();
}

// R, (T, B).
torch::Tensor returns_of(const Transitions& transitions, double discount) {
  const torch::Tensor not_ended =
      transitions.ended.logical_not().to(transitions.reward.scalar_type());
  torch::Tensor returns = torch::empty_like(transitions.reward);
  torch::Tensor later = transitions.bootstrap_value.defined()
                            ? transitions.bootstrap_value
                            : torch::zeros_like(transitions.reward[0]);
  for (int64_t t = returns.size(0) - 1; t >= 0; --t) {
    later = transitions.reward[t] + discount * not_ended[t] * later;
    returns[t].copy_(later);
  }
  return returns;
}

class ActorCriticTrainer : public Trainer {
 public:
  ActorCriticTrainer(ActorCriticOptions options, const tasks::EnvironmentOptions& task,
                     const nn::UnitOptions& unit)
      : options_(std::move(options)),
        task_(task),
        environment_(task_.make(seed(), 1)),
        model_(unit.make(environment_->observation_size()), environment_->actions()),
        adam_(model_.parameters(), options_.learning_rate, options_.epsilon),
        gradient_(task_, options_, model_) {
    model_.reset_parameters(seed());
  }

  int64_t episode_length() const { return environment_->episode_length(); }

  torch::nn::Module& model() override { return model_; }
  Adam& adam() override { return adam_; }
  void save(base::Safetensors& content) const override { gradient_.save(content); }
  void restore(const base::Safetensors& content) override { gradient_.restore(content); }
  std::string items() const override { return "episodes"; }
  double batch_size() const override {
    const auto environments = static_cast<double>(options_.episodes);
    if (options_.rollout_length == 0) return environments;
    return environments * static_cast<double>(options_.rollout_length) /
           static_cast<double>(environment_->episode_length());
  }
  int64_t batches() const override { return options_.report_every; }
  bool finished(const Progress& progress) const override {
    return progress.epoch >= options_.epochs();
  }
  std::string score() const override { return "reward"; }
  bool keeps_best() const override { return false; }

  Metrics train_epoch(int64_t epoch, const std::function<void(int64_t)>& after_batch) override {
    std::vector<double> losses, rewards, norms;
    for (int64_t i = 0; i < options_.report_every; ++i) {
      const int64_t iteration = (epoch - 1) * options_.report_every + i;
      const bool learns = iteration >= options_.warm_up;
      PolicyGradient::Result result = gradient_.run(iteration, learns);
      if (!std::isfinite(result.loss)) {
        throw NonFiniteLoss(fmt::format("loss is {} in epoch {}, iteration {} (step {})",
                                        result.loss, epoch, iteration + 1, adam_.steps() + 1));
      }
      if (learns) norms.push_back(learn(std::move(result.gradients), epoch, iteration));
      losses.push_back(result.loss);
      rewards.insert(rewards.end(), result.rewards.begin(), result.rewards.end());
      after_batch(i + 1);
    }
    const double reward = tasks::spread_of(rewards).mean;
    const int64_t episodes = options_.rollout_length == 0
                                 ? epoch * options_.report_every * options_.episodes
                                 : gradient_.episodes_ended();
    Metrics metrics = {{"episodes", static_cast<double>(episodes)},
                       {"train_loss", tasks::spread_of(losses).mean},
                       {"reward", reward}};
    add_share(reward, metrics);
    metrics.emplace_back("gradient_norm", norms.empty() ? 0 : tasks::spread_of(norms).mean);
    return metrics;
  }

  void try_out() override {
    const torch::NoGradGuard no_grad;
    Rollout(task_, seed(), 1, 0, torch::kFloat)
        .play_episodes(model_, Split::test, 0, /*energy=*/true);
  }

  int64_t test_size() const override { return environment_->test_episodes(); }
  Metrics test(int64_t count) override {
    const Tested all = play_test(count);
    model_.unit().leave_out_of_energy(environment_->reward_inputs());
    const double energy_without_reward = play_test(count).energy;
    model_.unit().leave_out_of_energy({});
    const tasks::Spread reward = tasks::spread_of(all.rewards);
    Metrics metrics = {{"reward", reward.mean}, {"reward_standard_error", reward.standard_error}};
    add_share(reward.mean, metrics);
    metrics.emplace_back("energy_per_neuron", all.energy);
    metrics.emplace_back("energy_per_neuron_without_reward", energy_without_reward);
    metrics.emplace_back("episodes", static_cast<double>(count));
    return metrics;
  }

  std::string trace() override {
    const torch::NoGradGuard no_grad;
    // In a batch of the size that `test` uses, because the batch size may change the last bits of
    // h.
    Rollout rollout(task_, seed(), std::min(kShardSize, test_size()), 0, torch::kFloat);
    rollout.play_episodes(model_, Split::test, 0);
    const torch::Tensor actions = rollout.action().select(1, 0).contiguous();
    const auto* first = actions.const_data_ptr<int64_t>();
    return environment_->trace(Split::test, 0, {first, first + actions.numel()});
  }

  // Over all test episodes. If the task knows no best actions, that of the random policy alone.
  std::vector<tasks::Baseline> baselines() const override {
    if (baselines_.empty()) {
      baselines_.push_back({"random_reward", mean_reward_of("random")});
      try {
        baselines_.push_back({"oracle_reward", mean_reward_of("oracle")});
      } catch (const base::UserError&) {  // the task has no oracle
      }
    }
    return baselines_;
  }

  Metric pace(int64_t epochs, double seconds) const override {
    return {"seconds_per_iteration", seconds / static_cast<double>(epochs * options_.report_every)};
  }

 private:
  struct Tested {
    std::vector<double> rewards;  // of each episode
    double energy = 0;            // mean over neurons, steps and episodes
  };

  uint64_t seed() const { return static_cast<uint64_t>(options_.seed); }

  // Adds (reward - random) / (oracle - random) to the metrics, if the task has an oracle.
  void add_share(double reward, Metrics& metrics) const {
    const auto baselines = this->baselines();
    if (baselines.size() < 2) return;
    const double random = baselines[0].value, oracle = baselines[1].value;
    metrics.emplace_back("reward_share", (reward - random) / (oracle - random));
  }

  double mean_reward_of(const std::string& policy_name) const {
    const auto environment = task_.make(seed(), std::min(test_size(), kMaxEnvironments));
    const auto policy = tasks::make_untrained_policy(policy_name, *environment, seed());
    const auto played = tasks::play(*environment, *policy, Split::test, test_size());
    return tasks::spread_of(played.rewards).mean;
  }

  // One step of the optimiser. Returns the norm of the gradient before clipping.
  double learn(std::vector<torch::Tensor> gradients, int64_t epoch, int64_t iteration) {
    const auto parameters = model_.parameters();
    for (size_t i = 0; i < parameters.size(); ++i) parameters[i].mutable_grad() = gradients[i];
    const double norm = torch::nn::utils::clip_grad_norm_(parameters, options_.max_grad_norm);
    if (!std::isfinite(norm)) {
      throw NonFiniteLoss(
          fmt::format("the norm of the gradient is {} in epoch {}, iteration {} (step {})", norm,
                      epoch, iteration + 1, adam_.steps() + 1));
    }
    adam_.step();
    return norm;
  }

  Tested play_test(int64_t count) {
    const int64_t shards = (count + kShardSize - 1) / kShardSize;
    Tested tested;
    tested.rewards.resize(count);
    std::vector<double> energy(shards);
    ops::run_concurrently(shards, [&](int64_t shard) {
      const torch::NoGradGuard no_grad;
      const int64_t first = shard * kShardSize;
      const int64_t episodes = std::min(kShardSize, count - first);
      Rollout rollout(task_, seed(), episodes, 0, torch::kFloat);
      const auto output = rollout.play_episodes(model_, Split::test, first, /*energy=*/true);
      const std::vector<double> rewards = rollout.take_rewards();
      std::copy(rewards.begin(), rewards.end(), tested.rewards.begin() + first);
      energy[shard] = output.energy.mean(torch::kDouble).item<double>() *
                      static_cast<double>(episodes) / static_cast<double>(count);
    });
    for (const double value : energy) tested.energy += value;
    return tested;
  }

  ActorCriticOptions options_;
  const tasks::EnvironmentOptions& task_;
  std::unique_ptr<tasks::Environment> environment_;  // for the properties of the task; never played
  nn::ActorCritic model_;
  Adam adam_;
  PolicyGradient gradient_;
  mutable std::vector<tasks::Baseline> baselines_;
};

}  // namespace

std::vector<base::Field> ActorCriticOptions::fields() {
  constexpr double kLargest = std::numeric_limits<double>::max();
  return {
      seed_field(),
      base::field("iterations", iterations,
                  "updates, each on a batch of episodes; raise it while the reward still rises",
                  {.least = 1}),
      base::field("episodes", episodes,
                  "episodes played in parallel (batch size); fewer give faster but noisier updates",
                  {.least = 1, .most = kMaxEpisodes}),
      base::field("rollout_length", rollout_length,
                  "steps of each environment between updates, which go on where the last ones "
                  "ended; 0: whole episodes",
                  {.least = 0, .most = kMaxSteps})
          .formerly("fragment"),
      base::field("warm_up", warm_up, "iterations at the start that do not change the parameters",
                  {.least = 0}),
      base::field(
          "report_every", report_every,
          "iterations between two lines of metrics and checkpoints; must divide `iterations`",
          {.least = 1}),
      base::field("learning_rate", learning_rate,
                  "step size of Adam; lower it if the reward drops again, raise it if the reward "
                  "rises slowly",
                  {.least = 0, .most = kLargest}),
      base::field("epsilon", epsilon,
                  "epsilon of Adam, added to the root of the mean squared gradient",
                  {.least = 1e-30, .most = kLargest}),
      base::field("max_grad_norm", max_grad_norm,
                  "gradients are scaled down so that their joint norm is at most this",
                  {.least = 0})
          .formerly("largest_gradient"),
      base::field("discount", discount, "discount factor of rewards per step",
                  {.least = 0, .most = 1}),
      base::field("value_weight", value_weight,
                  "weight of the squared error of the value in the loss",
                  {.least = 0, .most = kLargest}),
      base::field("policy_l2_weight", policy_l2_weight,
                  "weight in the loss of the squared probabilities of the policy, summed over "
                  "actions; raise it when the policy stops exploring too soon",
                  {.least = 0, .most = kLargest})
          .formerly("concentration_weight"),
  };
}

std::unique_ptr<tasks::TaskOptions> ActorCriticOptions::task_options(
    const std::string& name, const std::string& where) const {
  return tasks::find_environment(name, where).options();
}

std::unique_ptr<Trainer> ActorCriticOptions::make(const tasks::TaskOptions& task,
                                                  const nn::UnitOptions& unit) const {
  if (iterations % report_every != 0) {
    throw base::UserError(fmt::format(
        "train.iterations = {} must be a multiple of report_every = {}", iterations, report_every));
  }
  if (iterations > kEpisodeNumbers / episodes) {
    throw base::UserError(fmt::format(
        "train.iterations = {} of {} episodes: together there may be at most {} episodes",
        iterations, episodes, kEpisodeNumbers));
  }
  const auto& environments = dynamic_cast<const tasks::EnvironmentOptions&>(task);
  auto trainer = std::make_unique<ActorCriticTrainer>(*this, environments, unit);
  if (rollout_length != 0 && rollout_length * report_every < trainer->episode_length()) {
    throw base::UserError(
        fmt::format("train.report_every = {} rollouts of {} steps need not end an episode of {} "
                    "steps, so there "
                    "may be no reward to report: raise it",
                    report_every, rollout_length, trainer->episode_length()));
  }
  return trainer;
}

torch::Tensor actor_critic_loss(const ActorCriticOptions& options, const torch::Tensor& logits,
                                const torch::Tensor& value, const Transitions& transitions) {
  const torch::Tensor log_policy = logits.log_softmax(2);
  const torch::Tensor log_chosen = log_policy.gather(2, transitions.action.unsqueeze(2)).squeeze(2);
  const torch::Tensor advantage = returns_of(transitions, options.discount) - value;
  const torch::Tensor policy_l2 = (2 * log_policy).exp().sum(2);
  return (-log_chosen * advantage.detach() + options.value_weight * advantage.square() +
          options.policy_l2_weight * policy_l2)
      .sum();
}

PolicyGradient::PolicyGradient(const tasks::EnvironmentOptions& task,
                               const ActorCriticOptions& options, nn::ActorCritic& model)
    : options_(options), model_(model) {
  for (int64_t first = 0; first < options.episodes; first += kShardSize) {
    const int64_t environments = std::min(kShardSize, options.episodes - first);
    shards_.push_back({Rollout(task, static_cast<uint64_t>(options.seed), environments,
                               options.rollout_length, dtype_of(model)),
                       first});
  }
}

PolicyGradient::Result PolicyGradient::run(int64_t iteration, bool gradients) {
  std::vector<Result> results(shards_.size());
  ops::run_concurrently(static_cast<int64_t>(shards_.size()), [&](int64_t i) {
    results[i] = run_shard(shards_[i], iteration, gradients);
  });
  Result sum = std::move(results.front());
  for (size_t i = 1; i < results.size(); ++i) {
    const Result& part = results[i];
    sum.loss += part.loss;
    sum.rewards.insert(sum.rewards.end(), part.rewards.begin(), part.rewards.end());
    for (size_t k = 0; k < sum.gradients.size(); ++k) sum.gradients[k].add_(part.gradients[k]);
  }
  return sum;
}

PolicyGradient::Result PolicyGradient::run_shard(Shard& shard, int64_t iteration, bool gradients) {
  const torch::AutoGradMode mode(gradients);
  Rollout& rollout = shard.rollout;
  const bool whole = options_.rollout_length == 0;
  const auto output = whole ? rollout.play_episodes(model_, Split::training,
                                                    iteration * options_.episodes + shard.first)
                            : rollout.play_steps(model_, shard.first, options_.episodes);
  const Transitions transitions = {
      .action = rollout.action(),
      .reward = rollout.reward(),
      .ended = rollout.ended(),
      .bootstrap_value = whole ? torch::Tensor() : rollout.bootstrap_value(model_)};
  const auto steps = transitions.reward.size(0);
  const torch::Tensor loss = actor_critic_loss(options_, output.logits, output.value, transitions) /
                             static_cast<double>(steps * options_.episodes);
  Result result{loss.item<double>(), rollout.take_rewards(), {}};
  if (gradients) result.gradients = torch::autograd::grad({loss}, model_.parameters());
  return result;
}

int64_t PolicyGradient::episodes_ended() const {
  int64_t count = 0;
  for (const Shard& shard : shards_) count += shard.rollout.episodes_ended();
  return count;
}

void PolicyGradient::save(base::Safetensors& content) const {
  if (options_.rollout_length == 0) return;
  for (const Shard& shard : shards_) shard.rollout.save(shard.prefix(), content);
}

void PolicyGradient::restore(const base::Safetensors& content) {
  if (options_.rollout_length == 0) return;
  for (Shard& shard : shards_) shard.rollout.restore(shard.prefix(), content, model_);
}

}  // namespace stpn::train
