#include "stpn/train/algorithms/actor_critic/actor_critic.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <utility>

#include "stpn/base/profile.h"
#include "stpn/processes/group.h"
#include "stpn/tasks/policy.h"
#include "stpn/train/algorithms/actor_critic/actor_critic_step.h"
#include "stpn/train/algorithms/clip_norm.h"
#include "stpn/train/algorithms/shards.h"

namespace stpn::train {
namespace {

constexpr int64_t kMaxEpisodes = 1 << 16;              // in parallel
constexpr int64_t kMaxSteps = 1 << 16;                 // of a rollout
constexpr int64_t kEpisodeNumbers = int64_t{1} << 32;  // tasks::Environment::start

// R, (T, B).
torch::Tensor returns_of(const Rollout& rollout, const torch::Tensor& value,
                         const torch::Tensor& bootstrap_value, double discount) {
  const torch::Tensor& reward = rollout.reward;
  const torch::Tensor not_ended = rollout.terminated.logical_not().to(reward.scalar_type());
  const bool all_acted = rollout.acted.all().item<bool>();
  torch::Tensor returns = torch::empty_like(reward);
  torch::Tensor later = bootstrap_value.defined() ? bootstrap_value : torch::zeros_like(reward[0]);
  for (int64_t t = returns.size(0) - 1; t >= 0; --t) {
    later = reward[t] + discount * not_ended[t] * later;
    if (!all_acted) later = torch::where(rollout.acted[t], later, value[t].detach());
    returns[t].copy_(later);
  }
  return returns;
}

class ActorCriticTrainer : public AgentTrainer {
 public:
  ActorCriticTrainer(ActorCriticOptions options, const tasks::EnvironmentOptions& task,
                     const nn::UnitOptions& unit)
      : AgentTrainer(task, unit, static_cast<uint64_t>(options.seed)),
        options_(std::move(options)),
        adam_(agent().parameters(), options_.learning_rate, options_.epsilon),
        gradient_(this->task(), options_, agent()) {}

  Adam& adam() override { return adam_; }
  void save(base::Safetensors& content) const override {
    save_rewards(content);
    gradient_.save(content);
  }
  void restore(const base::Safetensors& content) override {
    restore_rewards(content);
    gradient_.restore(content);
  }
  std::string batch_items() const override {
    return options_.rollout_length == 0 ? items() : "steps";
  }
  double batch_size() const override {
    const int64_t steps = std::max<int64_t>(1, options_.rollout_length);
    return static_cast<double>(options_.episodes * steps);
  }
  int64_t batches() const override { return options_.report_every; }
  bool finished(const Progress& progress) const override {
    return progress.epoch >= options_.epochs() || reached(options_.stop_reward);
  }

  Metrics train_epoch(int64_t epoch, const std::function<void(int64_t)>& after_batch) override {
    std::vector<double> losses, rewards, norms;
    const base::Working working(base::Work::rest);
    for (int64_t i = 0; i < options_.report_every; ++i) {
      const int64_t iteration = (epoch - 1) * options_.report_every + i;
      const bool learns = iteration >= options_.warm_up;
      PolicyGradient::Result result = gradient_.run(iteration, learns);
      if (!std::isfinite(result.loss)) {
        throw NonFiniteLoss(fmt::format("loss is {} in epoch {}, iteration {} (step {})",
                                        result.loss, epoch, iteration + 1, adam_.steps() + 1));
      }
      if (learns) norms.push_back(learn(result.gradients, epoch, iteration));
      losses.push_back(result.loss);
      rewards.insert(rewards.end(), result.rewards.begin(), result.rewards.end());
      after_batch(i + 1);
    }
    const int64_t episodes = options_.rollout_length == 0
                                 ? epoch * options_.report_every * options_.episodes
                                 : gradient_.episodes_ended();
    Metrics metrics;
    if (gradient_.cuts_sequences()) {
      const auto iterations = static_cast<double>(epoch * options_.report_every);
      metrics.emplace_back("environment_steps", iterations * steps_of_iteration());
    }
    metrics.emplace_back("episodes", static_cast<double>(episodes));
    metrics.emplace_back("train_loss", tasks::spread_of(losses).mean);
    add_reward(rewards, metrics);
    metrics.emplace_back("gradient_norm", norms.empty() ? 0 : tasks::spread_of(norms).mean);
    return metrics;
  }

  Metric pace(int64_t epochs, double seconds) const override {
    const auto iterations = static_cast<double>(epochs * options_.report_every);
    if (!gradient_.cuts_sequences()) return {"seconds_per_iteration", seconds / iterations};
    return {"steps_per_second", iterations * steps_of_iteration() / seconds};
  }

 protected:
  bool tests_greedily() const override { return gradient_.cuts_sequences(); }

 private:
  // One step of the optimiser. Returns the norm of the gradient before clipping.
  double learn(const std::vector<torch::Tensor>& gradients, int64_t epoch, int64_t iteration) {
    const double norm = clip_norm(gradients, options_.max_grad_norm);
    if (!std::isfinite(norm)) {
      throw NonFiniteLoss(
          fmt::format("the norm of the gradient is {} in epoch {}, iteration {} (step {})", norm,
                      epoch, iteration + 1, adam_.steps() + 1));
    }
    adam_.set_learning_rate(
        options_.learning_rate_at(static_cast<double>(iteration + 1) * steps_of_iteration()));
    set_gradients(agent().parameters(), gradients);
    adam_.step();
    agent().unit().keep_in_bounds();
    return norm;
  }
  double steps_of_iteration() const {
    const int64_t steps =
        options_.rollout_length == 0 ? task().max_steps() : options_.rollout_length;
    return static_cast<double>(options_.episodes * steps);
  }

  ActorCriticOptions options_;
  Adam adam_;
  PolicyGradient gradient_;
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
      base::field("sequence_length", sequence_length,
                  "steps through which gradients flow back; 0: the whole rollout",
                  {.least = 0, .most = kMaxSteps}),
      base::field("loss", loss,
                  "whether the loss is the mean over the steps of an iteration or their sum, which "
                  "makes gradients longer than max_grad_norm",
                  {"mean", "sum"}),
      base::field("warm_up", warm_up, "iterations at the start that do not change the parameters",
                  {.least = 0}),
      base::field(
          "report_every", report_every,
          "iterations between two lines of metrics and checkpoints; must divide `iterations`",
          {.least = 1}),
      learning_rate_field(),
      final_learning_rate_field(),
      decay_steps_field(),
      epsilon_field(),
      max_grad_norm_field().formerly("largest_gradient"),
      state_gradient.most_field(
          "an environment",
          "set it, to 0.02 say, if the reward stays low at first, or with a larger learning_rate"),
      state_gradient.steps_field(),
      discount_field(),
      base::field("value_weight", value_weight,
                  "weight of the squared error of the value in the loss",
                  {.least = 0, .most = kLargest}),
      base::field("policy_l2_weight", policy_l2_weight,
                  "weight in the loss of the squared probabilities of the policy, summed over "
                  "actions; raise it when the policy stops exploring too soon",
                  {.least = 0, .most = kLargest})
          .formerly("concentration_weight"),
      entropy_weight_field(),
      energy_weight_field(),
      stop_reward_field(),
  };
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
  return std::make_unique<ActorCriticTrainer>(*this, environments, unit);
}

torch::Tensor actor_critic_loss(const ActorCriticOptions& options, const nn::Policy& policy,
                                const torch::Tensor& value, const Rollout& rollout,
                                const torch::Tensor& bootstrap_value) {
  const torch::Tensor log_chosen = policy.log_prob(rollout.action);
  const torch::Tensor advantage =
      returns_of(rollout, value, bootstrap_value, options.discount) - value;
  const torch::Tensor policy_l2 = policy.squared_norm();
  torch::Tensor terms = -log_chosen * advantage.detach() +
                        options.value_weight * advantage.square() +
                        options.policy_l2_weight * policy_l2;
  if (options.entropy_weight > 0) terms = terms - options.entropy_weight * policy.entropy();
  if (rollout.acted.all().item<bool>()) return terms.sum();
  return terms.masked_fill(rollout.acted.logical_not(), 0).sum();
}

PolicyGradient::PolicyGradient(const tasks::EnvironmentTask& task,
                               const ActorCriticOptions& options, nn::Agent& agent)
    : options_(options), agent_(agent) {
  STPN_CHECK(options.rollout_length > 0 || task.fixed_length(),
             "train.rollout_length = 0 trains on whole episodes, which must be of one length; "
             "those of this task are not: set it to 20, for example");
  if (options.sequence_length > 0 || agent.encoder() != nullptr) {
    STPN_CHECK(options.rollout_length > 0,
               "train.rollout_length = 0: whole episodes cannot be cut into sequences, and with "
               "images they have to be: set it to 50, for example");
    STPN_CHECK(!options.state_gradient.is_set(),
               "train.max_state_grad_norm = {}: must be inf where rollouts are cut into sequences, "
               "as with images: a smaller sequence_length bounds the gradient too",
               options.state_gradient.most);
    STPN_CHECK(options.policy_l2_weight == 0,
               "train.policy_l2_weight = {}: must be 0 where rollouts are cut into sequences, as "
               "with images: use entropy_weight",
               options.policy_l2_weight);
    learner_ = std::make_unique<SequenceLearner>(
        task,
        SequenceOptions{.seed = static_cast<uint64_t>(options.seed),
                        .environments = options.episodes,
                        .rollout_length = options.rollout_length,
                        .sequence_length = options.sequence_length},
        agent);
    return;
  }
  shard_count_ = shards_of(options.episodes, kEnvironmentsInShard);
  const processes::Share share = processes::group().share(shard_count_);
  for (int64_t i = share.begin; i < share.end; ++i) {
    const int64_t first = i * kEnvironmentsInShard;
    const int64_t environments = std::min(kEnvironmentsInShard, options.episodes - first);
    shards_.push_back({Actor(task, static_cast<uint64_t>(options.seed), environments,
                             options.rollout_length, agent),
                       first});
  }
}

PolicyGradient::Result PolicyGradient::run(int64_t iteration, bool gradients) {
  if (learner_ != nullptr) return run_sequences(gradients);
  const int64_t first = processes::group().share(shard_count_).begin;
  ShardResults shards = run_shards(
      shard_count_, [&](int64_t i) { return run_shard(shards_[i - first], iteration, gradients); });
  Result result{shards.sum_of(0), {}, std::move(shards.gradients)};
  for (const auto& numbers : shards.numbers) {
    result.rewards.insert(result.rewards.end(), numbers.begin() + 1, numbers.end());
  }
  return result;
}

// Its numbers: the loss, and the rewards of the episodes that ended.
ShardResult PolicyGradient::run_shard(Shard& shard, int64_t iteration, bool gradients) {
  const torch::AutoGradMode mode(gradients);
  const bool whole = options_.rollout_length == 0;
  const bool energy = gradients && options_.energy_weight > 0;
  ActorPass pass{.energy = energy, .state_gradient = options_.state_gradient};
  if (options_.loss == "mean") {
    pass.state_gradient.most /= static_cast<double>(options_.episodes);
  }
  const Acted acted =
      whole ? shard.actor.play_whole(agent_, iteration * options_.episodes + shard.first, pass)
            : shard.actor.play_on(
                  agent_, {.first = shard.first, .stride = options_.episodes, .pass = pass});
  const torch::Tensor later = whole ? torch::Tensor() : bootstrap_value(agent_, acted.rollout);
  const auto steps = acted.rollout.reward.size(0);
  torch::Tensor sum =
      actor_critic_loss(options_, *acted.output.policy, acted.output.value, acted.rollout, later);
  if (energy) {
    const torch::Tensor of_steps =
        acted.output.energy.mean(2).masked_fill(acted.rollout.acted.logical_not(), 0);
    sum = sum + options_.energy_weight * of_steps.sum();
  }
  const torch::Tensor loss = sum * options_.scale(steps);
  ShardResult result{.numbers = shard.actor.take_rewards()};
  result.numbers.insert(result.numbers.begin(), loss.item<double>());
  if (gradients) result.gradients = torch::autograd::grad({loss}, agent_.parameters());
  return result;
}

PolicyGradient::Result PolicyGradient::run_sequences(bool gradients) {
  learner_->play();
  SequenceBatch& batch = learner_->batch();
  batch.find_advantages(options_.discount, /*gae_lambda=*/1, /*truncation_ends=*/false);
  Result result{0, learner_->take_rewards(), {}};
  const auto policy = agent_.policy_head().step_policy();
  const ActorCriticStep loss(options_.value_weight, options_.entropy_weight, *policy);
  const double scale = options_.scale(batch.steps());
  SequenceLearner::Result learnt =
      learner_->gradient(batch.sequences(), loss, scale, options_.energy_weight);
  result.loss = scale * loss.of(learnt.sums) + options_.energy_weight * learnt.energy;
  if (gradients) result.gradients = std::move(learnt.gradients);
  return result;
}

int64_t PolicyGradient::episodes_ended() const {
  if (learner_ != nullptr) return learner_->episodes_ended();
  double count = 0;
  for (const Shard& shard : shards_) count += static_cast<double>(shard.actor.episodes_ended());
  const std::vector<double> counts = gather_numbers({count});
  return static_cast<int64_t>(std::accumulate(counts.begin(), counts.end(), 0.0));
}

void PolicyGradient::save(base::Safetensors& content) const {
  if (learner_ != nullptr) return learner_->save(content);
  if (options_.rollout_length == 0) return;
  base::Safetensors of_share;
  for (const Shard& shard : shards_) shard.actor.save(shard.prefix(), of_share);
  gather_tensors(of_share, content);
}

void PolicyGradient::restore(const base::Safetensors& content) {
  if (learner_ != nullptr) return learner_->restore(content);
  if (options_.rollout_length == 0) return;
  for (Shard& shard : shards_) shard.actor.restore(shard.prefix(), content, agent_);
}

}  // namespace stpn::train
