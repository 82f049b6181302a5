// The trainer `ppo`: options, epochs and metrics.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "stpn/base/error.h"
#include "stpn/base/profile.h"
#include "stpn/train/algorithms/agent_trainer.h"
#include "stpn/train/algorithms/clip_norm.h"
#include "stpn/train/algorithms/ppo/ppo.h"
#include "stpn/train/algorithms/ppo/ppo_options.h"
#include "stpn/train/algorithms/saved_tensor.h"
#include "stpn/train/algorithms/shards.h"

namespace stpn::train {
namespace {

constexpr const char* kProgress = "ppo.progress";

constexpr double kMostSteps = 4e9;  // each may end an episode: tasks::Environment::start
constexpr double kMostBatch = 1 << 24;
constexpr double kMostEnvironments = 1 << 16;
constexpr double kMostRollout = 1 << 20;

class PpoTrainer : public AgentTrainer {
 public:
  PpoTrainer(PpoOptions options, const tasks::EnvironmentOptions& task, const nn::UnitOptions& unit)
      : AgentTrainer(task, unit, static_cast<uint64_t>(options.seed)),
        options_(std::move(options)),
        adam_(parameters_, options_.learning_rate, options_.epsilon),
        ppo_(this->task(), options_, agent()) {}

  Adam& adam() override { return adam_; }
  void save(base::Safetensors& content) const override {
    ppo_.save(content);
    save_rewards(content);
    content.tensors.push_back(
        saved_tensor(kProgress, torch::tensor(static_cast<double>(iterations_), torch::kDouble)));
  }
  void restore(const base::Safetensors& content) override {
    ppo_.restore(content);
    restore_rewards(content);
    const torch::Tensor iterations = torch::zeros({}, torch::kDouble);
    read_saved(content, kProgress, iterations);
    iterations_ = static_cast<int64_t>(iterations.item<double>());
  }
  std::string batch_items() const override { return "steps"; }
  double batch_size() const override { return static_cast<double>(options_.batch_steps()); }
  int64_t batches() const override {
    return std::min(options_.report_every, options_.iterations());
  }
  bool finished(const Progress& /*progress*/) const override {
    return iterations_ >= options_.iterations() || reached(options_.stop_reward);
  }

  // The last epoch may be shorter. Since a finished run may be given more steps, an epoch begins
  // where the last one ended, whatever its number.
  Metrics train_epoch(int64_t /*epoch*/, const std::function<void(int64_t)>& after_batch) override {
    const int64_t begin = iterations_;
    const int64_t end = std::min(begin + options_.report_every, options_.iterations());
    Result all;
    for (; iterations_ < end; ++iterations_) {
      learn(iterations_, all);
      after_batch(iterations_ - begin + 1);
    }
    const double steps = std::max(1.0, all.sums.steps);
    all.minibatches = std::max(1.0, all.minibatches);
    Metrics metrics = {
        {"environment_steps", static_cast<double>(end * options_.batch_steps())},
        {"episodes", static_cast<double>(ppo_.episodes_ended())},
        {"train_loss", all.loss / all.minibatches},
    };
    add_reward(ppo_.take_rewards(), metrics);
    metrics.emplace_back("policy_loss", all.sums.policy / steps);
    metrics.emplace_back("value_loss", all.sums.value / steps);
    metrics.emplace_back("entropy", all.sums.entropy / steps);
    metrics.emplace_back("kl_divergence", all.sums.divergence / steps);
    metrics.emplace_back("kl_weight", ppo_.kl_weight());
    metrics.emplace_back("clipped_share", all.sums.clipped / steps);
    metrics.emplace_back("gradient_norm", all.norm / all.minibatches);
    return metrics;
  }

  Metric pace(int64_t /*epochs*/, double seconds) const override {
    return {"steps_per_second",
            static_cast<double>(iterations_ * options_.batch_steps()) / seconds};
  }

 protected:
  bool tests_greedily() const override { return true; }

 private:
  // Sums over the minibatches of an epoch.
  struct Result {
    LossSums sums;
    double loss = 0, norm = 0, minibatches = 0;
  };

  void learn(int64_t iteration, Result& all) {
    const base::Working working(base::Work::rest);
    ppo_.play();
    const double steps_done = static_cast<double>((iteration + 1) * options_.batch_steps());
    adam_.set_learning_rate(options_.learning_rate_at(steps_done));
    LossSums last;
    for (int64_t pass = 0; pass < options_.passes; ++pass) {
      if (options_.states == "recomputed" && pass > 0) ppo_.recompute_states();
      last = {};
      for (const Minibatch& minibatch : ppo_.minibatches(iteration * options_.passes + pass)) {
        const Ppo::Result result = ppo_.gradient(minibatch);
        if (result.gradients.empty()) continue;  // no step with an action
        const double norm = clip_norm(result.gradients, options_.max_grad_norm);
        check_finite("loss", result.loss, iteration);
        check_finite("the norm of the gradient", norm, iteration);
        set_gradients(parameters_, result.gradients);
        adam_.step();
        agent().unit().keep_in_bounds();
        last.add(result.sums);
        all.sums.add(result.sums);
        all.loss += result.loss;
        all.norm += norm;
        all.minibatches += 1;
      }
    }
    if (last.steps > 0) ppo_.adapt_kl_weight(last.divergence / last.steps);
  }

  void check_finite(const char* name, double value, int64_t iteration) const {
    if (std::isfinite(value)) return;
    throw NonFiniteLoss(fmt::format("{} is {} in iteration {} (step {})", name, value,
                                    iteration + 1, adam_.steps() + 1));
  }

  const PpoOptions options_;
  const std::vector<torch::Tensor> parameters_ = agent().parameters();
  Adam adam_;
  Ppo ppo_;
  int64_t iterations_ = 0;  // done
};

}  // namespace

std::vector<base::Field> PpoOptions::fields() {
  constexpr double kLargest = std::numeric_limits<double>::max();
  return {
      seed_field(),
      base::field("steps", steps,
                  "steps of all environments together, rounded up to whole iterations; raise it "
                  "while the reward still rises",
                  {.least = 1, .most = kMostSteps}),
      base::field("environments", environments,
                  "environments played in parallel; more take less time, for larger batches",
                  {.least = 1, .most = kMostEnvironments}),
      base::field("rollout_length", rollout_length,
                  "steps of each environment between two rounds of learning",
                  {.least = 1, .most = kMostRollout}),
      base::field("sequence_length", sequence_length,
                  "steps through which gradients flow back; 0: the whole rollout. Raise it if what "
                  "is to be remembered lies further back",
                  {.least = 0, .most = kMostRollout}),
      base::field("minibatch_steps", minibatch_steps,
                  "steps between two updates, in whole sequences; more give fewer and less noisy "
                  "updates",
                  {.least = 1, .most = kMostSteps}),
      base::field("passes", passes,
                  "over the steps of an iteration; more learn more from them, until the policy "
                  "has moved too far from the one that played",
                  {.least = 1, .most = 1000}),
      base::field("report_every", report_every,
                  "iterations between two lines of metrics and checkpoints",
                  {.least = 1, .most = kMostSteps}),
      base::field("states", states,
                  "where sequences start: from the states that were stored when they were played, "
                  "or from states recomputed before each pass, which costs another forward pass",
                  {"stored", "recomputed"}),
      base::field("time_limit", time_limit,
                  "whether a time limit is an end, after which there is nothing to earn, or a "
                  "truncation, at which the value of what would have come is added",
                  {"end", "truncation"}),
      discount_field(),
      base::field("gae_lambda", gae_lambda,
                  "lambda of generalised advantages: 1 trusts rewards alone, 0 the value of the "
                  "next step",
                  {.least = 0, .most = 1}),
      base::field("clip", clip, "how far the ratio of probabilities may move from 1",
                  {.least = 0, .most = kLargest}),
      base::field("value_weight", value_weight,
                  "weight of the squared error of the value in the loss; there is no factor 1/2",
                  {.least = 0, .most = kLargest}),
      base::field("value_clipping", value_clipping,
                  "what value_clip bounds: the change of the value since it was played, the "
                  "squared error (a larger one has no gradient), or nothing",
                  {"change", "error", "none"}),
      base::field("value_clip", value_clip, "see value_clipping", {.least = 0, .most = kLargest}),
      entropy_weight_field(),
      base::field("kl_weight", kl_weight,
                  "weight in the loss of the divergence from the policy that played, at the "
                  "start; 0: without",
                  {.least = 0, .most = kLargest}),
      base::field("kl_target", kl_target,
                  "the divergence to which kl_weight adapts: times 1.5 above twice of it, times "
                  "0.5 below half of it",
                  {.least = 1e-12, .most = kLargest}),
      energy_weight_field(),
      max_grad_norm_field(),
      learning_rate_field(),
      final_learning_rate_field(),
      decay_steps_field(),
      epsilon_field(),
      stop_reward_field(),
  };
}

std::unique_ptr<Trainer> PpoOptions::make(const tasks::TaskOptions& task,
                                          const nn::UnitOptions& unit) const {
  if (static_cast<double>(batch_steps()) > kMostBatch) {
    throw base::UserError(fmt::format(
        "train.environments = {} times rollout_length = {}: together at most {:.0f} steps an "
        "iteration",
        environments, rollout_length, kMostBatch));
  }
  const auto& environments_of = dynamic_cast<const tasks::EnvironmentOptions&>(task);
  return std::make_unique<PpoTrainer>(*this, environments_of, unit);
}

}  // namespace stpn::train
