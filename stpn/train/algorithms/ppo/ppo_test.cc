#include "stpn/train/algorithms/ppo/ppo.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <utility>

#include "stpn/ops/runtime/backend.h"
#include "stpn/train/algorithms/agent_test_support.h"
#include "stpn/train/algorithms/agent_trainer.h"

namespace stpn::train::ppo_test {
namespace {

// The task `hold` with three choices in place of a number: -1, 0 or 1.
class ChoiceHold : public tasks::EnvironmentTask {
 public:
  int64_t observation_size() const override { return hold_->observation_size(); }
  const tasks::ActionSpec& actions() const override { return actions_; }
  int64_t max_steps() const override { return hold_->max_steps(); }
  int64_t test_episodes() const override { return hold_->test_episodes(); }
  std::unique_ptr<tasks::Environment> make_environment() const override {
    return std::make_unique<Played>(hold_->make_environment());
  }

 private:
  class Played : public tasks::Environment {
   public:
    explicit Played(std::unique_ptr<tasks::Environment> hold) : hold_(std::move(hold)) {}
    void start(tasks::Split split, int64_t episode, float* observation) override {
      hold_->start(split, episode, observation);
    }
    tasks::Step step(const tasks::Action& action, float* observation) override {
      const auto number = static_cast<float>(action.choice - 1);
      return hold_->step({.numbers = &number}, observation);
    }
    std::string save() const override { return hold_->save(); }
    void restore(std::string_view saved) override { hold_->restore(saved); }

   private:
    std::unique_ptr<tasks::Environment> hold_;
  };

  const std::unique_ptr<tasks::EnvironmentTask> hold_ = tasks::HoldOptions().make(1);
  const tasks::ActionSpec actions_ = tasks::ActionSpec::one_of(3);
};

struct Variant {
  std::string name, unit;
  std::vector<std::string> settings;
  bool choices = false;
  std::string time_limit = "truncation", value_clipping = "change", states = "stored";
  double energy_weight = 0;
  int64_t environments = 3;
  int64_t minibatch_steps = 40;
  bool images = false;
};
void PrintTo(const Variant& variant, std::ostream* out) { *out << variant.name; }

PpoOptions options_of(const Variant& variant) {
  PpoOptions options;
  options.environments = variant.environments;
  options.rollout_length = 23;
  options.sequence_length = 5;  // the last sequence has three steps
  options.minibatch_steps = variant.minibatch_steps;
  options.discount = 0.9;
  options.gae_lambda = 0.8;
  options.clip = 0.02;
  options.value_weight = 0.7;
  options.value_clip = variant.value_clipping == "change" ? 0.05 : 0.3;
  options.entropy_weight = 0.05;
  options.kl_weight = 0.4;
  options.energy_weight = variant.energy_weight;
  options.time_limit = variant.time_limit;
  options.value_clipping = variant.value_clipping;
  options.states = variant.states;
  return options;
}

// What an agent computes, one environment and one step at a time, by the reference units.
struct PlainStep {
  torch::Tensor outputs, value, energy;
};

PlainStep plain_step(nn::Agent& agent, const SequenceBatch& batch, int64_t e, int64_t t,
                     nn::State& state) {
  const ops::BackendGuard reference(ops::Backend::reference);
  const auto named = agent.named_parameters();
  nn::UnitInput input;
  input.x = batch.observation[t][e].view({1, -1});
  if (agent.encoder() != nullptr) input.x = agent.encoder()->forward(input.x);
  input.x = input.x.unsqueeze(0);
  input.reset = batch.reset[t][e].view({1, 1});
  input.state = state;
  input.energy = true;
  const nn::UnitOutput output = agent.unit().forward(input);
  state = output.state;
  const torch::Tensor h = output.y[0][0];
  return {named["policy.weight"].mv(h) + named["policy.bias"],
          (named["value.weight"].mv(h) + named["value.bias"])[0], output.energy.mean()};
}

nn::State state_of(const nn::State& all, int64_t e) {
  nn::State state;
  for (const auto& [name, tensor] : all) state.emplace_back(name, tensor.slice(0, e, e + 1));
  return state;
}

// The distribution by its definition.
class PlainPolicy {
 public:
  PlainPolicy(torch::Tensor outputs, bool choices)
      : outputs_(std::move(outputs)), choices_(choices) {}
  torch::Tensor log_prob(const SequenceBatch& batch, int64_t t, int64_t e) const {
    if (choices_) return outputs_.log_softmax(0)[batch.choice[t][e].item<int64_t>()];
    const torch::Tensor z = (batch.numbers[t][e] - mean()) / deviation();
    return (-z * z / 2 - (deviation() * std::sqrt(2 * M_PI)).log()).sum();
  }
  torch::Tensor entropy() const {
    if (choices_) return -(outputs_.softmax(0) * outputs_.log_softmax(0)).sum();
    return (0.5 * (2 * M_PI * std::exp(1.0) * deviation().square()).log()).sum();
  }
  torch::Tensor divergence_from(const PlainPolicy& old) const {
    if (choices_) {
      return (old.outputs_.softmax(0) * (old.outputs_.log_softmax(0) - outputs_.log_softmax(0)))
          .sum();
    }
    return ((deviation() / old.deviation()).log() +
            (old.deviation().square() + (old.mean() - mean()).square()) /
                (2 * deviation().square()) -
            0.5)
        .sum();
  }

 private:
  torch::Tensor mean() const { return outputs_.chunk(2)[0]; }
  torch::Tensor deviation() const { return torch::log1p(outputs_.chunk(2)[1].exp()); }
  torch::Tensor outputs_;
  bool choices_;
};

// The states before sequences alone, with the weights that the agent has now.
std::map<std::pair<int64_t, int64_t>, nn::State> states_before_sequences(
    nn::Agent& agent, const PpoOptions& options, const SequenceBatch& batch) {
  const torch::NoGradGuard no_grad;
  std::map<std::pair<int64_t, int64_t>, nn::State> states;
  for (int64_t e = 0; e < batch.environments(); ++e) {
    nn::State state = state_of(batch.states[0], e);
    for (int64_t t = 0; t < batch.steps(); ++t) {
      if (t % options.sequence_length == 0) states[{e, t}] = state;
      plain_step(agent, batch, e, t, state);
    }
  }
  return states;
}

// What was played, transcribed: values, outputs and states of each step, and from them advantages.
struct Played {
  std::vector<std::vector<double>> value, advantage, target;  // by environment and step
  std::map<std::pair<int64_t, int64_t>, nn::State> states;    // before sequences: environment, step
  std::vector<nn::State> after;                               // the last step, by environment
};

Played transcribe(nn::Agent& agent, const PpoOptions& options, const SequenceBatch& batch) {
  const torch::NoGradGuard no_grad;
  const int64_t T = batch.steps();
  Played played;
  played.states = states_before_sequences(agent, options, batch);
  double sum = 0, squares = 0, count = 0;
  for (int64_t e = 0; e < batch.environments(); ++e) {
    nn::State state = state_of(batch.states[0], e);
    std::vector<double> value;
    for (int64_t t = 0; t < T; ++t) {
      const PlainStep step = plain_step(agent, batch, e, t, state);
      value.push_back(step.value.item<double>());
      EXPECT_LE((step.outputs - batch.outputs[t][e]).abs().max().item<double>(), 1e-9) << e << t;
    }
    value.push_back(batch.value[T][e].item<double>());
    played.after.push_back(state);
    const auto is = [&](const torch::Tensor& mark, int64_t t) { return mark[t][e].item<bool>(); };
    // A_t by its sum: of the differences of all later steps of the episode.
    std::vector<double> advantage(T), target(T);
    for (int64_t t = 0; t < T; ++t) {
      if (!is(batch.acted, t)) continue;
      double weight = 1;
      for (int64_t k = t; k < T && is(batch.acted, k); ++k) {
        const bool ended =
            is(batch.terminated, k) || (is(batch.truncated, k) && options.time_limit == "end");
        advantage[t] += weight * (batch.reward[k][e].item<double>() +
                                  (ended ? 0 : options.discount * value[k + 1]) - value[k]);
        if (ended) break;
        weight *= options.discount * options.gae_lambda;
      }
      target[t] = advantage[t] + value[t];
      sum += advantage[t];
      squares += advantage[t] * advantage[t];
      ++count;
    }
    played.value.push_back(value);
    played.advantage.push_back(advantage);
    played.target.push_back(target);
  }
  const double mean = sum / count, deviation = std::sqrt(squares / count - mean * mean);
  for (auto& of_environment : played.advantage) {
    for (double& advantage : of_environment) advantage = (advantage - mean) / deviation;
  }
  return played;
}

torch::Tensor plain_loss(nn::Agent& agent, const PpoOptions& options, const SequenceBatch& batch,
                         const Played& played, const Minibatch& minibatch, bool choices) {
  torch::Tensor loss = torch::zeros({}, torch::kDouble);
  int64_t count = 0;
  for (const Sequence& sequence : minibatch) {
    const int64_t e = sequence.environment;
    nn::State state = played.states.at({e, sequence.begin});
    for (int64_t t = sequence.begin; t < sequence.begin + sequence.length; ++t) {
      const PlainStep step = plain_step(agent, batch, e, t, state);
      if (!batch.acted[t][e].item<bool>()) continue;
      ++count;
      const PlainPolicy now(step.outputs, choices), old(batch.outputs[t][e], choices);
      const torch::Tensor ratio = (now.log_prob(batch, t, e) - old.log_prob(batch, t, e)).exp();
      const double A = played.advantage[e][t], R = played.target[e][t], v = played.value[e][t];
      loss = loss - torch::min(ratio * A, ratio.clamp(1 - options.clip, 1 + options.clip) * A);
      const torch::Tensor error = (step.value - R).square();
      torch::Tensor of_value = error;
      if (options.value_clipping == "change") {
        const torch::Tensor near =
            v + (step.value - v).clamp(-options.value_clip, options.value_clip);
        of_value = torch::max(error, (near - R).square());
      } else if (options.value_clipping == "error") {
        of_value = error.clamp_max(options.value_clip);
      }
      loss = loss + options.value_weight * of_value - options.entropy_weight * now.entropy() +
             options.kl_weight * now.divergence_from(old) + options.energy_weight * step.energy;
    }
  }
  return loss / static_cast<double>(count);
}

class PpoGradientTest : public testing::TestWithParam<Variant> {};

TEST_P(PpoGradientTest, EqualsThatOfAPlainTranscription) {
  const Variant& variant = GetParam();
  const ChoiceHold choice_hold;
  const auto hold = tasks::HoldOptions().make(1);
  const ImageHold image_hold;
  const tasks::EnvironmentTask* task_of_variant = hold.get();
  if (variant.choices) task_of_variant = &choice_hold;
  if (variant.images) task_of_variant = &image_hold;
  const tasks::EnvironmentTask& task = *task_of_variant;
  const auto agent = make_model(task, variant.unit, variant.settings);
  const PpoOptions options = options_of(variant);
  Ppo ppo(task, options, *agent);
  std::vector<nn::State> after;
  for (int64_t iteration = 0; iteration < 2; ++iteration) {
    SCOPED_TRACE(iteration);
    ppo.play();
    const SequenceBatch& batch = ppo.batch();
    ASSERT_GE(batch.terminated.sum().item<int64_t>(), 3);
    ASSERT_GE(batch.truncated.sum().item<int64_t>(), 3);
    EXPECT_EQ(batch.acted.all().item<bool>(), variant.time_limit == "end");
    // The first state is that in which the last iteration, with the weights of that time, ended.
    for (size_t e = 0; e < after.size(); ++e) {
      for (size_t k = 0; k < after[e].size(); ++k) {
        EXPECT_TRUE(after[e][k].second[0].allclose(
            batch.states[0][k].second[static_cast<int64_t>(e)], 1e-9, 1e-9));
      }
    }
    Played played = transcribe(*agent, options, batch);
    after = played.after;
    for (int64_t e = 0; e < batch.environments(); ++e) {
      for (int64_t t = 0; t < batch.steps(); ++t) {
        if (!batch.acted[t][e].item<bool>()) continue;
        EXPECT_NEAR(batch.advantage[t][e].item<double>(), played.advantage[e][t], 1e-9) << t;
        EXPECT_NEAR(batch.target[t][e].item<double>(), played.target[e][t], 1e-9) << t;
      }
    }
    {
      const torch::NoGradGuard no_grad;
      uint64_t index = 100;
      for (auto& parameter : agent->parameters()) {  // as if something had been learnt
        torch::Tensor change = torch::empty_like(parameter);
        nn::uniform_(change, -0.1, 0.1, 3, index++);
        parameter += change;
      }
    }
    if (variant.states == "recomputed") {
      ppo.recompute_states();
      played.states = states_before_sequences(*agent, options, batch);
    }
    double clipped = 0;
    for (const Minibatch& minibatch : ppo.minibatches(iteration)) {
      const torch::Tensor loss =
          plain_loss(*agent, options, batch, played, minibatch, variant.choices);
      const auto expected = torch::autograd::grad({loss}, agent->parameters());
      const Ppo::Result result = ppo.gradient(minibatch);
      clipped += result.sums.clipped;
      EXPECT_NEAR(result.loss, loss.item<double>(), 1e-9);
      ASSERT_EQ(result.gradients.size(), expected.size());
      for (size_t i = 0; i < expected.size(); ++i) {
        const double largest = expected[i].abs().max().item<double>();
        EXPECT_GT(largest, 0) << i;
        EXPECT_LE((result.gradients[i] - expected[i]).abs().max().item<double>(), 1e-9 * largest)
            << i;
      }
    }
    EXPECT_GT(clipped, 0);
  }
}

INSTANTIATE_TEST_SUITE_P(
    Variants, PpoGradientTest,
    testing::Values(
        Variant{"numbers", "stpn_recurrent", {"unit.hidden_size=6", "unit.norm=\"pre\""}},
        Variant{"choices", "stpn_recurrent", {"unit.hidden_size=6", "unit.norm=\"pre\""}, true},
        Variant{"end", "stpn_feedforward", {"unit.hidden_size=7", "unit.clamp=0.1"}, false, "end"},
        Variant{"error", "lstm", {"unit.hidden_size=5"}, true, "truncation", "error"},
        Variant{"none", "gru", {"unit.hidden_size=5"}, false, "end", "none"},
        Variant{"recomputed",
                "stpn_recurrent",
                {"unit.hidden_size=5"},
                false,
                "truncation",
                "change",
                "recomputed"},
        Variant{"energy",
                "stpn_feedforward",
                {"unit.hidden_size=5"},
                false,
                "truncation",
                "change",
                "stored",
                0.3},
        Variant{"shards",  // 70 environments, and minibatches of more than 128 sequences
                "stpn_feedforward",
                {"unit.hidden_size=3"},
                false,
                "truncation",
                "change",
                "stored",
                0,
                70,
                900},
        Variant{"perceptron", "perceptron", {"unit.hidden_size=5"}, true, "truncation"},
        Variant{.name = "images",
                .unit = "stpn_recurrent",
                .settings = {"unit.hidden_size=5", "unit.norm=\"pre\""},
                .images = true}),
    [](const auto& info) { return info.param.name; });

TEST(PpoTest, EachPassHasEachSequenceOnceInAnotherOrder) {
  const auto task = tasks::HoldOptions().make(1);
  const auto agent = make_model(*task, "perceptron", {"unit.hidden_size=3"});
  const PpoOptions options = options_of({});
  const Ppo ppo(*task, options, *agent);
  std::vector<std::vector<std::pair<int64_t, int64_t>>> orders;
  for (int64_t pass = 0; pass < 3; ++pass) {
    auto& order = orders.emplace_back();
    for (const Minibatch& minibatch : ppo.minibatches(pass)) {
      int64_t steps = 0;
      for (const Sequence& sequence : minibatch) {
        order.emplace_back(sequence.environment, sequence.begin);
        steps += sequence.length;
        EXPECT_EQ(sequence.length, sequence.begin == 20 ? 3 : 5);
      }
      EXPECT_LE(steps, options.minibatch_steps);
    }
    const auto again = ppo.minibatches(pass);
    EXPECT_EQ(again[0][0].begin, order[0].second);
  }
  EXPECT_NE(orders[0], orders[1]);
  EXPECT_NE(orders[1], orders[2]);
  for (auto& order : orders) {
    std::sort(order.begin(), order.end());
    ASSERT_EQ(order.size(), 15u);
    EXPECT_EQ(std::unique(order.begin(), order.end()), order.end());
  }
}

TEST(PpoTest, AtLeastOneSequenceIsInAMinibatch) {
  const auto task = tasks::HoldOptions().make(1);
  const auto agent = make_model(*task, "perceptron", {"unit.hidden_size=3"});
  PpoOptions options = options_of({});
  options.minibatch_steps = 1;
  const Ppo ppo(*task, options, *agent);
  EXPECT_EQ(ppo.minibatches(0).size(), 15u);
  options.sequence_length = 0;
  const Ppo whole(*task, options, *agent);
  ASSERT_EQ(whole.minibatches(0).size(), 3u);
  EXPECT_EQ(whole.minibatches(0)[0][0].length, options.rollout_length);
}

TEST(PpoTest, TheBootstrapValueIsThatOfTheNextStep) {
  const auto task = tasks::HoldOptions().make(1);
  const auto agent = make_model(*task, "stpn_recurrent", {"unit.hidden_size=6"});
  for (const int64_t length : {10, 23, 100}) {  // the last is longer than the rollout
    PpoOptions options = options_of({});
    options.sequence_length = length;
    Ppo ppo(*task, options, *agent);
    ppo.play();
    const torch::Tensor bootstrap = ppo.batch().value[23].clone();
    ppo.play();
    EXPECT_TRUE(bootstrap.allclose(ppo.batch().value[0], 1e-12, 1e-12)) << length;
  }
}

TEST(PpoTest, WithoutAnActionThereIsNoGradient) {
  const auto task = tasks::HoldOptions().make(1);
  const auto agent = make_model(*task, "perceptron", {"unit.hidden_size=3"});
  PpoOptions options = options_of({});
  options.environments = 1;
  options.rollout_length = 1;
  Ppo ppo(*task, options, *agent);
  int64_t without = 0;
  for (int64_t iteration = 0; iteration < 60; ++iteration) {
    ppo.play();
    const bool acted = ppo.batch().acted.item<bool>();
    const Ppo::Result result = ppo.gradient(ppo.minibatches(iteration)[0]);
    EXPECT_EQ(result.gradients.empty(), !acted);
    EXPECT_EQ(result.sums.steps, acted ? 1 : 0);
    without += acted ? 0 : 1;
  }
  EXPECT_GT(without, 0);
}

TEST(PpoTest, RecomputedStatesOfUnchangedWeightsAreTheStoredOnes) {
  const auto task = tasks::HoldOptions().make(1);
  const auto agent = make_model(*task, "stpn_recurrent", {"unit.hidden_size=6"});
  const PpoOptions options = options_of({});
  Ppo ppo(*task, options, *agent);
  ppo.play();
  ppo.play();
  std::vector<torch::Tensor> before;
  for (const nn::State& state : ppo.batch().states) before.push_back(state[1].second.clone());
  EXPECT_GT(before[1].abs().max().item<double>(), 0);
  ppo.recompute_states();
  for (size_t piece = 0; piece < before.size(); ++piece) {
    EXPECT_TRUE(before[piece].allclose(ppo.batch().states[piece][1].second, 1e-12, 1e-12));
  }
}

TEST(PpoTest, TheWeightOfTheDivergenceAdapts) {
  const auto task = tasks::HoldOptions().make(1);
  const auto agent = make_model(*task, "perceptron", {"unit.hidden_size=3"});
  PpoOptions options;
  Ppo ppo(*task, options, *agent);
  ppo.adapt_kl_weight(0.021);
  EXPECT_DOUBLE_EQ(ppo.kl_weight(), 0.3);
  ppo.adapt_kl_weight(0.019);
  EXPECT_DOUBLE_EQ(ppo.kl_weight(), 0.3);
  ppo.adapt_kl_weight(0.004);
  EXPECT_DOUBLE_EQ(ppo.kl_weight(), 0.15);
}

TEST(PpoTest, TheLearningRateFallsLinearlyAndStays) {
  PpoOptions options;
  options.learning_rate = 0.5;
  options.final_learning_rate = 0.1;
  options.decay_steps = 100;
  EXPECT_DOUBLE_EQ(options.learning_rate_at(0), 0.5);
  EXPECT_DOUBLE_EQ(options.learning_rate_at(25), 0.4);
  EXPECT_DOUBLE_EQ(options.learning_rate_at(100), 0.1);
  EXPECT_DOUBLE_EQ(options.learning_rate_at(1e6), 0.1);
}

}  // namespace
}  // namespace stpn::train::ppo_test
