#include "stpn/train/algorithms/actor_critic.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "stpn/ops/backend.h"
#include "stpn/tasks/policy.h"

namespace stpn::train {
namespace {

using tasks::Split;

// Fills the vector units, and what a block keeps for backward stays near the cache. Part of what a
// run computes: gradients are added up by blocks.
constexpr int64_t kBlock = 64;
constexpr int64_t kMostSlots = 512;  // of the baselines' environment

constexpr int64_t kMostEpisodes = 1 << 16;             // side by side
constexpr int64_t kMostSteps = 1 << 16;                // of a fragment
constexpr int64_t kEpisodeNumbers = int64_t{1} << 32;  // tasks::Environment::start

torch::Dtype dtype_of(const torch::nn::Module& model) {
  return model.parameters().front().scalar_type();
}

// R, from the last step to the first.
torch::Tensor returns_of(const Played& played, double discount) {
  const torch::Tensor goes_on = played.ended.logical_not().to(played.reward.scalar_type());
  torch::Tensor returns = torch::empty_like(played.reward);
  torch::Tensor later = played.ahead.defined() ? played.ahead : torch::zeros_like(played.reward[0]);
  for (int64_t t = returns.size(0) - 1; t >= 0; --t) {
    later = played.reward[t] + discount * goes_on[t] * later;
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
    const auto slots = static_cast<double>(options_.episodes);
    if (options_.fragment == 0) return slots;
    return slots * static_cast<double>(options_.fragment) /
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
    const int64_t episodes = options_.fragment == 0
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
    Rollout(task_, seed(), 1, 0, torch::kFloat).play(model_, Split::test, 0, /*energy=*/true);
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
    // As they are tested: what is played beside an episode may change the last bits of h.
    Rollout rollout(task_, seed(), std::min(kBlock, test_size()), 0, torch::kFloat);
    rollout.play(model_, Split::test, 0);
    const torch::Tensor actions = rollout.action().select(1, 0).contiguous();
    const auto* first = actions.const_data_ptr<int64_t>();
    return environment_->trace(Split::test, 0, {first, first + actions.numel()});
  }

  // Of all test episodes; of a task that knows no best actions, the random policy alone.
  std::vector<tasks::Baseline> baselines() const override {
    if (baselines_.empty()) {
      baselines_.push_back({"random_reward", mean_reward_of("random")});
      try {
        baselines_.push_back({"oracle_reward", mean_reward_of("oracle")});
      } catch (const base::UserError&) {  // there is no oracle
      }
    }
    return baselines_;
  }

  Metric pace(int64_t epochs, double seconds) const override {
    return {"seconds_per_iteration", seconds / static_cast<double>(epochs * options_.report_every)};
  }

 private:
  struct Tested {
    std::vector<double> rewards;  // of an episode
    double energy = 0;            // mean over neurons, steps and episodes
  };

  uint64_t seed() const { return static_cast<uint64_t>(options_.seed); }

  // What share of the margin between a random policy and the oracle it is, where there is an
  // oracle.
  void add_share(double reward, Metrics& metrics) const {
    const auto baselines = this->baselines();
    if (baselines.size() < 2) return;
    const double random = baselines[0].value, oracle = baselines[1].value;
    metrics.emplace_back("reward_share", (reward - random) / (oracle - random));
  }

  double mean_reward_of(const std::string& policy_name) const {
    const auto environment = task_.make(seed(), std::min(test_size(), kMostSlots));
    const auto policy = tasks::make_untrained_policy(policy_name, *environment, seed());
    const auto played = tasks::play(*environment, *policy, Split::test, test_size());
    return tasks::spread_of(played.rewards).mean;
  }

  // One step of the optimiser; the norm of the gradient before it was clipped.
  double learn(std::vector<torch::Tensor> gradients, int64_t epoch, int64_t iteration) {
    const auto parameters = model_.parameters();
    for (size_t i = 0; i < parameters.size(); ++i) parameters[i].mutable_grad() = gradients[i];
    const double norm = torch::nn::utils::clip_grad_norm_(parameters, options_.max_grad_norm);
    if (!std::isfinite(norm)) {
      throw NonFiniteLoss(
          fmt::format("the gradient's norm is {} in epoch {}, iteration {} (step {})", norm, epoch,
                      iteration + 1, adam_.steps() + 1));
    }
    adam_.step();
    return norm;
  }

  Tested play_test(int64_t count) {
    const int64_t blocks = (count + kBlock - 1) / kBlock;
    Tested tested;
    tested.rewards.resize(count);
    std::vector<double> energy(blocks);
    nn::run_side_by_side(blocks, [&](int64_t block) {
      const torch::NoGradGuard no_grad;
      const int64_t first = block * kBlock;
      const int64_t episodes = std::min(kBlock, count - first);
      Rollout rollout(task_, seed(), episodes, 0, torch::kFloat);
      const auto output = rollout.play(model_, Split::test, first, /*energy=*/true);
      const std::vector<double> rewards = rollout.take_rewards();
      std::copy(rewards.begin(), rewards.end(), tested.rewards.begin() + first);
      energy[block] = output.energy.mean(torch::kDouble).item<double>() *
                      static_cast<double>(episodes) / static_cast<double>(count);
    });
    for (const double value : energy) tested.energy += value;
    return tested;
  }

  ActorCriticOptions options_;
  const tasks::EnvironmentOptions& task_;
  std::unique_ptr<tasks::Environment> environment_;  // only asked for what it is
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
                  "batches of episodes to train on; raise it while the reward still rises",
                  {.least = 1}),
      base::field("episodes", episodes,
                  "that are played side by side; fewer make quicker, noisier steps",
                  {.least = 1, .most = kMostEpisodes}),
      base::field("fragment", fragment,
                  "steps between updates, from where the last ended; 0: whole episodes",
                  {.least = 0, .most = kMostSteps}),
      base::field("warm_up", warm_up, "first iterations that change no parameter", {.least = 0}),
      base::field("report_every", report_every,
                  "iterations between lines of metrics and checkpoints; divides iterations",
                  {.least = 1}),
      base::field("learning_rate", learning_rate,
                  "step size of Adam; lower it when the reward falls back, raise it when it creeps",
                  {.least = 0, .most = kLargest}),
      base::field("epsilon", epsilon, "of Adam: added to the root of the mean square gradient",
                  {.least = 1e-30, .most = kLargest}),
      base::field("max_grad_norm", max_grad_norm,
                  "gradients are scaled down so that their joint norm is at most this",
                  {.least = 0})
          .formerly("largest_gradient"),
      base::field("discount", discount, "what a reward one step later is worth",
                  {.least = 0, .most = 1}),
      base::field("value_weight", value_weight, "of the squared error of the value in the loss",
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
    throw base::UserError(fmt::format("train.iterations = {} is no multiple of report_every = {}",
                                      iterations, report_every));
  }
  if (iterations > kEpisodeNumbers / episodes) {
    throw base::UserError(
        fmt::format("train.iterations = {} of {} episodes are more than there are: {}", iterations,
                    episodes, kEpisodeNumbers));
  }
  const auto& played = dynamic_cast<const tasks::EnvironmentOptions&>(task);
  auto trainer = std::make_unique<ActorCriticTrainer>(*this, played, unit);
  if (fragment != 0 && fragment * report_every < trainer->episode_length()) {
    throw base::UserError(fmt::format(
        "train.report_every = {} fragments of {} steps may end no episode of {}, and so tell of no "
        "reward: raise it",
        report_every, fragment, trainer->episode_length()));
  }
  return trainer;
}

torch::Tensor actor_critic_loss(const ActorCriticOptions& options, const torch::Tensor& logits,
                                const torch::Tensor& value, const Played& played) {
  const torch::Tensor log_policy = logits.log_softmax(2);
  const torch::Tensor log_chosen = log_policy.gather(2, played.action.unsqueeze(2)).squeeze(2);
  const torch::Tensor advantage = returns_of(played, options.discount) - value;
  const torch::Tensor policy_l2 = (2 * log_policy).exp().sum(2);
  return (-log_chosen * advantage.detach() + options.value_weight * advantage.square() +
          options.policy_l2_weight * policy_l2)
      .sum();
}

PolicyGradient::PolicyGradient(const tasks::EnvironmentOptions& task,
                               const ActorCriticOptions& options, nn::ActorCritic& model)
    : options_(options), model_(model) {
  for (int64_t first = 0; first < options.episodes; first += kBlock) {
    const int64_t slots = std::min(kBlock, options.episodes - first);
    blocks_.push_back({Rollout(task, static_cast<uint64_t>(options.seed), slots, options.fragment,
                               dtype_of(model)),
                       first});
  }
}

PolicyGradient::Result PolicyGradient::run(int64_t iteration, bool gradients) {
  std::vector<Result> results(blocks_.size());
  nn::run_side_by_side(static_cast<int64_t>(blocks_.size()), [&](int64_t i) {
    results[i] = run_block(blocks_[i], iteration, gradients);
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

PolicyGradient::Result PolicyGradient::run_block(Block& block, int64_t iteration, bool gradients) {
  const torch::AutoGradMode mode(gradients);
  Rollout& rollout = block.rollout;
  const bool whole = options_.fragment == 0;
  const auto output =
      whole ? rollout.play(model_, Split::training, iteration * options_.episodes + block.first)
            : rollout.play_on(model_, block.first, options_.episodes);
  const Played played = {.action = rollout.action(),
                         .reward = rollout.reward(),
                         .ended = rollout.ended(),
                         .ahead = whole ? torch::Tensor() : rollout.value_ahead(model_)};
  const auto steps = played.reward.size(0);
  const torch::Tensor loss = actor_critic_loss(options_, output.logits, output.value, played) /
                             static_cast<double>(steps * options_.episodes);
  Result result{loss.item<double>(), rollout.take_rewards(), {}};
  if (gradients) result.gradients = torch::autograd::grad({loss}, model_.parameters());
  return result;
}

int64_t PolicyGradient::episodes_ended() const {
  int64_t count = 0;
  for (const Block& block : blocks_) count += block.rollout.episodes_ended();
  return count;
}

void PolicyGradient::save(base::Safetensors& content) const {
  if (options_.fragment == 0) return;
  for (const Block& block : blocks_) block.rollout.save(block.name(), content);
}

void PolicyGradient::restore(const base::Safetensors& content) {
  if (options_.fragment == 0) return;
  for (Block& block : blocks_) block.rollout.restore(block.name(), content, model_);
}

}  // namespace stpn::train
