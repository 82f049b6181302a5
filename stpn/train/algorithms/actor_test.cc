#include "stpn/train/algorithms/actor.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>

#include "stpn/ops/runtime/backend.h"
#include "stpn/ops/runtime/threads.h"
#include "stpn/tasks/hold/hold.h"
#include "stpn/tasks/policy.h"
#include "stpn/train/algorithms/agent_test_support.h"

namespace stpn::train::actor_test {
namespace {

using tasks::Split;

const std::vector<std::string> kPlastic = {"unit.hidden_size=6", "unit.norm=\"pre\""};

TEST(ActorTest, DrawsActionsFromThePolicy) {
  // Without memory and input, the bias alone decides the policy.
  const auto task = small_maze().make(1);
  const auto agent = make_model(*task, "perceptron", {"unit.hidden_size=2"}, torch::kFloat);
  const std::vector<double> policy = {0.1, 0.2, 0.3, 0.4};
  const torch::NoGradGuard no_grad;
  for (auto& parameter : agent->parameters()) parameter.zero_();
  for (int64_t a = 0; a < 4; ++a) {
    agent->named_parameters()["policy.bias"][a] = 20 + std::log(policy[a]);
  }
  constexpr int64_t kEpisodes = 500;
  Actor actor(*task, 1, kEpisodes, 0, *agent);
  const torch::Tensor first = actor.play_whole(*agent, 0).rollout.action.clone();
  const double draws = 12 * kEpisodes;
  for (int64_t a = 0; a < 4; ++a) {
    const double share = first.eq(a).sum().item<double>() / draws;
    // Five standard errors.
    EXPECT_NEAR(share, policy[a], 5 * std::sqrt(policy[a] * (1 - policy[a]) / draws)) << a;
  }
  EXPECT_NE(actor.play_episodes(*agent, Split::test, 0, kEpisodes).actions,
            actor.play_episodes(*agent, Split::validation, 0, kEpisodes).actions)
      << "another split draws other actions";
  EXPECT_TRUE(actor.play_whole(*agent, 0).rollout.action.equal(first));
}

TEST(ActorTest, EpisodesDoNotDependOnTheOthersInTheBatch) {
  const auto task = small_maze().make(1);
  const auto agent = make_model(*task, "stpn_recurrent", kPlastic);
  const torch::NoGradGuard no_grad;
  Actor all(*task, 1, 9, 0, *agent), last(*task, 1, 4, 0, *agent);
  const Rollout of_all = all.play_whole(*agent, 10).rollout;
  const Rollout of_last = last.play_whole(*agent, 15).rollout;
  EXPECT_TRUE(of_last.action.equal(of_all.action.slice(1, 5, 9)));
  EXPECT_TRUE(of_last.reward.equal(of_all.reward.slice(1, 5, 9)));
  EXPECT_TRUE(of_all.acted.all().item<bool>());
  const std::vector<double> rewards = all.take_rewards();
  ASSERT_EQ(rewards.size(), 9u);
  for (int64_t b = 0; b < 9; ++b) {
    EXPECT_EQ(rewards[b], of_all.reward.select(1, b).sum().item<double>()) << b;
  }
  EXPECT_TRUE(all.take_rewards().empty());
}

TEST(ActorTest, ConsecutiveRolloutsMakeUpTheEpisodes) {
  constexpr int64_t kEnvironments = 6, kSteps = 12;
  const auto task = small_maze().make(1);
  const auto agent = make_model(*task, "stpn_recurrent", kPlastic);
  const torch::NoGradGuard no_grad;
  std::vector<torch::Tensor> action, reward, value;
  for (int64_t first = 0; first < 3 * kEnvironments; first += kEnvironments) {
    Actor whole(*task, 1, kEnvironments, 0, *agent);
    const Acted acted = whole.play_whole(*agent, first);
    value.push_back(acted.output.value);
    action.push_back(acted.rollout.action);
    reward.push_back(acted.rollout.reward);
  }
  Actor actor(*task, 1, kEnvironments, 5, *agent);  // 7 rollouts of 5: 35 of the 36 steps
  std::vector<torch::Tensor> a, r, v, bootstrap;
  for (int64_t i = 0; i < 7; ++i) {
    const Acted acted = actor.play_on(*agent, {.stride = kEnvironments});
    v.push_back(acted.output.value);
    bootstrap.push_back(bootstrap_value(*agent, acted.rollout));
    a.push_back(acted.rollout.action.clone());
    r.push_back(acted.rollout.reward.clone());
    for (int64_t t = 0; t < 5; ++t) {
      EXPECT_EQ(acted.rollout.terminated[t].all().item<bool>(), (5 * i + t + 1) % kSteps == 0);
    }
  }
  EXPECT_TRUE(torch::cat(a).equal(torch::cat(action).slice(0, 0, 35)));
  EXPECT_TRUE(torch::cat(r).equal(torch::cat(reward).slice(0, 0, 35)));
  const torch::Tensor values = torch::cat(value);
  EXPECT_TRUE(torch::cat(v).allclose(values.slice(0, 0, 35), 0, 1e-12));
  for (int64_t i = 0; i < 7; ++i) {
    EXPECT_TRUE(bootstrap[i].allclose(values[5 * (i + 1)], 0, 1e-12)) << i;
  }
  EXPECT_EQ(actor.episodes_ended(), 2 * kEnvironments);
  EXPECT_EQ(actor.take_rewards().size(), 2u * kEnvironments);
}

// As an algorithm does that learns from a rollout more than once.
TEST(ActorTest, ARolloutCanBeRunAgain) {
  const auto task = tasks::HoldOptions().make(1);
  const auto agent = make_model(*task, "stpn_recurrent", kPlastic);
  const torch::NoGradGuard no_grad;
  Actor actor(*task, 1, 5, 7, *agent);
  for (int64_t i = 0; i < 3; ++i) {
    const Acted acted = actor.play_on(*agent, {.stride = 5});
    const Rollout& rollout = acted.rollout;
    const auto again =
        agent->forward({.x = rollout.observation, .state = rollout.state, .reset = rollout.reset});
    EXPECT_TRUE(again.policy->log_prob(rollout.action)
                    .allclose(acted.output.policy->log_prob(rollout.action), 0, 1e-12))
        << i;
    EXPECT_TRUE(again.value.allclose(acted.output.value, 0, 1e-12)) << i;
  }
}

// Of an agent whose actions are always 1 the reward of each episode is known, and so is its length:
// were the episodes that end first counted more often, the means would be smaller.
TEST(ActorTest, EachTestEpisodeCountsOnceWhateverItsLength) {
  const auto task = tasks::HoldOptions().make(1);
  const auto agent = make_model(*task, "perceptron", {"unit.hidden_size=2"}, torch::kFloat);
  const torch::NoGradGuard no_grad;
  for (auto& parameter : agent->parameters()) parameter.zero_();
  agent->named_parameters()["policy.bias"].copy_(torch::tensor({50.0, -20.0}));
  constexpr int64_t kEpisodes = 45;
  for (const int64_t environments : {1, 7, 45}) {
    for (const int64_t steps : {3, 10}) {
      Actor actor(*task, 1, environments, steps, *agent);
      const PlayedEpisodes played = actor.play_episodes(*agent, Split::test, 5, kEpisodes);
      ASSERT_EQ(played.rewards.size(), kEpisodes);
      for (int64_t n = 0; n < kEpisodes; ++n) {
        const HoldEpisode episode(Split::test, 5 + n);
        EXPECT_EQ(played.lengths[n], episode.steps) << n;
        EXPECT_EQ(played.rewards[n], episode.steps * episode.sign) << n;
      }
      EXPECT_EQ(played.actions.size(), played.lengths[0]);
    }
  }
}

TEST(ActorTest, ATruncatedEpisodeEndsWithAStepWithoutAction) {
  const auto task = tasks::HoldOptions().make(1);
  const auto agent = make_model(*task, "stpn_recurrent", kPlastic);
  const torch::NoGradGuard no_grad;
  constexpr int64_t kEnvironments = 3;
  Actor actor(*task, 1, kEnvironments, 40, *agent);
  const Rollout r = actor.play_on(*agent, {.stride = kEnvironments}).rollout;
  for (int64_t b = 0; b < kEnvironments; ++b) {
    int64_t t = 0;
    for (int64_t number = b; t < 40; number += kEnvironments) {
      const HoldEpisode episode(Split::training, number);
      for (int64_t step = 0; step < episode.steps && t < 40; ++step, ++t) {
        const bool last = step + 1 == episode.steps;
        EXPECT_TRUE(r.acted[t][b].item<bool>());
        EXPECT_EQ(r.observation[t][b][0].item<double>(), step == 0 ? episode.sign : 0);
        EXPECT_NEAR(r.observation[t][b][1].item<double>(), 0.1 * static_cast<double>(step), 1e-6);
        EXPECT_EQ(r.reset[t][b].item<bool>(), step == 0 && t > 0);
        EXPECT_EQ(r.terminated[t][b].item<bool>(), last && !episode.truncated);
        EXPECT_EQ(r.truncated[t][b].item<bool>(), last && episode.truncated);
      }
      if (!episode.truncated || t == 40) continue;
      EXPECT_FALSE(r.acted[t][b].item<bool>());
      EXPECT_FALSE(r.reset[t][b].item<bool>());
      EXPECT_EQ(r.reward[t][b].item<double>(), 0);
      EXPECT_NEAR(r.observation[t][b][1].item<double>(), 0.1 * episode.steps, 1e-6);
      ++t;
    }
  }
}

// What follows a rollout, by its definition: the predicted value, without gradient.
struct Played {
  Rollout rollout;
  torch::Tensor bootstrap;
};

std::function<torch::Tensor(torch::Tensor)> bounded_by(double most) {
  return [most](const torch::Tensor& gradient) {
    const double norm = gradient.defined() ? gradient.norm().item<double>() : 0;
    return norm > most ? gradient * (most / norm) : gradient;
  };
}

// The loss by its definition: one environment after the other, a step at a time with the reference.
torch::Tensor plain_loss(nn::Agent& agent, const ActorCriticOptions& options,
                         const Played& played) {
  const ops::BackendGuard reference(ops::Backend::reference);
  const auto named = agent.named_parameters();
  const Rollout& r = played.rollout;
  const int64_t steps = r.reward.size(0), batch = r.reward.size(1);
  torch::Tensor loss = torch::zeros({}, torch::kDouble);
  for (int64_t b = 0; b < batch; ++b) {
    nn::State state;
    for (const auto& [name, tensor] : r.state) state.emplace_back(name, tensor.slice(0, b, b + 1));
    std::vector<torch::Tensor> log_prob, squared_norm, entropy, value;
    for (int64_t t = 0; t < steps; ++t) {
      if (r.reset[t][b].item<bool>()) state.clear();
      if (options.sequence_length > 0 && t % options.sequence_length == 0) {
        for (auto& [name, tensor] : state) tensor = tensor.detach();
      }
      if (options.state_gradient.is_set() && t > 0 && t % options.state_gradient.steps == 0) {
        const double most =
            options.state_gradient.most / static_cast<double>(options.loss == "sum" ? 1 : batch);
        for (auto& [name, tensor] : state) tensor.register_hook(bounded_by(most));
      }
      nn::UnitInput input;
      input.x = r.observation[t][b].view({1, -1});
      if (agent.encoder() != nullptr) input.x = agent.encoder()->forward(input.x);
      input.x = input.x.unsqueeze(0);
      input.state = state;
      const nn::UnitOutput output = agent.unit().forward(input);
      state = output.state;
      const torch::Tensor h = output.y[0][0];
      const torch::Tensor outputs = named["policy.weight"].mv(h) + named["policy.bias"];
      const torch::Tensor deviation = (1 + outputs[1].exp()).log();
      const torch::Tensor z = (r.action[t][b][0] - outputs[0]) / deviation;
      log_prob.push_back(-z * z / 2 - (deviation * std::sqrt(2 * M_PI)).log());
      squared_norm.push_back(1 / (2 * std::sqrt(M_PI) * deviation));
      entropy.push_back((deviation * std::sqrt(2 * M_PI * M_E)).log());
      value.push_back((named["value.weight"].mv(h) + named["value.bias"])[0]);
    }
    for (int64_t t = 0; t < steps; ++t) {
      if (!r.acted[t][b].item<bool>()) continue;
      // The discounted rewards up to the end of the episode or of the rollout, and what is
      // predicted for the time after it.
      double R = 0, discount = 1;
      for (int64_t k = t;; ++k) {
        R += discount * r.reward[k][b].item<double>();
        discount *= options.discount;
        if (r.terminated[k][b].item<bool>()) break;
        if (k + 1 == steps) {
          R += discount * played.bootstrap[b].item<double>();
          break;
        }
        if (r.truncated[k][b].item<bool>()) {
          R += discount * value[k + 1].item<double>();
          break;
        }
      }
      const torch::Tensor advantage = R - value[t];
      loss = loss - log_prob[t] * advantage.detach() +
             options.value_weight * advantage * advantage +
             options.policy_l2_weight * squared_norm[t] - options.entropy_weight * entropy[t];
    }
  }
  return options.loss == "sum" ? loss : loss / static_cast<double>(steps * batch);
}

void gradient_equals_that_of_a_plain_loop(const tasks::EnvironmentTask& task,
                                          const std::string& unit,
                                          const std::vector<std::string>& settings,
                                          ActorCriticOptions options = {}) {
  SCOPED_TRACE(unit);
  constexpr int64_t kEnvironments = 9, kSteps = 8;
  options.seed = 1;
  options.episodes = kEnvironments;
  options.rollout_length = kSteps;
  auto agent = make_model(task, unit, settings);
  Actor actor(task, 1, kEnvironments, kSteps, *agent);
  PolicyGradient gradient(task, options, *agent);
  for (int64_t iteration = 0; iteration < 3; ++iteration) {
    Played played;
    {
      const torch::NoGradGuard no_grad;
      played.rollout = actor.play_on(*agent, {.stride = kEnvironments}).rollout;
      played.bootstrap = bootstrap_value(*agent, played.rollout);
    }
    const torch::Tensor loss = plain_loss(*agent, options, played);
    const auto expected = torch::autograd::grad({loss}, agent->parameters());
    const auto result = gradient.run(iteration, /*gradients=*/true);
    EXPECT_NEAR(result.loss, loss.item<double>(), 1e-10 * std::abs(result.loss));
    for (size_t i = 0; i < expected.size(); ++i) {
      const double largest = expected[i].abs().max().item<double>();
      EXPECT_GT(largest, 0) << i;
      EXPECT_LE((result.gradients[i] - expected[i]).abs().max().item<double>(), 1e-9 * largest)
          << i;
    }
  }
}

TEST(ActorTest, GradientOfUnequalEpisodesEqualsThatOfAPlainLoop) {
  const auto hold = tasks::HoldOptions().make(1);
  ActorCriticOptions options;
  options.entropy_weight = 0.02;
  gradient_equals_that_of_a_plain_loop(*hold, "stpn_recurrent", kPlastic, options);
  gradient_equals_that_of_a_plain_loop(*hold, "fast_weights", {"unit.hidden_size=6"});
  gradient_equals_that_of_a_plain_loop(*hold, "lstm", {"unit.hidden_size=6"});
}

TEST(ActorTest, BoundedGradientEqualsThatOfAPlainLoop) {
  const auto hold = tasks::HoldOptions().make(1);
  ActorCriticOptions options;
  for (const char* loss : {"mean", "sum"}) {
    options.loss = loss;
    for (const double most : {0.0, 0.02, 1e6}) {
      SCOPED_TRACE(fmt::format("{} {}", loss, most));
      options.state_gradient = {.steps = 3, .most = most};
      gradient_equals_that_of_a_plain_loop(*hold, "stpn_recurrent", kPlastic, options);
      gradient_equals_that_of_a_plain_loop(*hold, "fast_weights", {"unit.hidden_size=6"}, options);
      gradient_equals_that_of_a_plain_loop(*hold, "lstm", {"unit.hidden_size=6"}, options);
    }
  }
}

TEST(ActorTest, GradientOfSequencesEqualsThatOfAPlainLoop) {
  const auto hold = tasks::HoldOptions().make(1);
  ActorCriticOptions options;
  options.policy_l2_weight = 0;
  options.entropy_weight = 0.02;
  for (const char* loss : {"mean", "sum"}) {
    options.loss = loss;
    options.sequence_length = 3;  // the last one has two steps
    gradient_equals_that_of_a_plain_loop(*hold, "stpn_recurrent", kPlastic, options);
    gradient_equals_that_of_a_plain_loop(*hold, "gru", {"unit.hidden_size=5"}, options);
  }
}

TEST(ActorTest, GradientThroughAnEncoderEqualsThatOfAPlainLoop) {
  const ImageHold hold;
  ActorCriticOptions options;
  options.policy_l2_weight = 0;
  for (const int64_t length : {0, 3}) {
    options.sequence_length = length;
    gradient_equals_that_of_a_plain_loop(hold, "stpn_recurrent", kPlastic, options);
    gradient_equals_that_of_a_plain_loop(hold, "gru", {"unit.hidden_size=5"}, options);
  }
}

}  // namespace
}  // namespace stpn::train::actor_test
