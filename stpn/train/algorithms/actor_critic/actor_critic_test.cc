#include "stpn/train/algorithms/actor_critic/actor_critic.h"

#include <gmock/gmock.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "stpn/nn/initialisation.h"
#include "stpn/ops/runtime/backend.h"
#include "stpn/ops/runtime/threads.h"
#include "stpn/tasks/maze/maze.h"
#include "stpn/train/algorithms/agent_test_support.h"
#include "stpn/train/test_support.h"

namespace stpn::train::actor_critic_test {
namespace {

using tasks::Split;

struct UnitVariant {
  std::string name;
  std::vector<std::string> settings;
  double energy_weight = 0;
};
void PrintTo(const UnitVariant& variant, std::ostream* out) { *out << variant.name; }

class ActorCriticGradientTest : public testing::TestWithParam<UnitVariant> {};

// The loss by its definition, for given actions: repeats the episodes of a rollout one at a time,
// and a step at a time with the reference units.
torch::Tensor plain_loss(nn::Agent& model, const tasks::MazeOptions& options, uint64_t seed,
                         int64_t first_episode, const torch::Tensor& action, double energy_weight) {
  const ops::BackendGuard reference(ops::Backend::reference);
  const int64_t steps = action.size(0), episodes = action.size(1);
  const auto named = model.named_parameters();
  torch::Tensor loss = torch::zeros({}, torch::kDouble);
  for (int64_t b = 0; b < episodes; ++b) {
    const auto maze = options.make(seed);
    const auto environment = maze->make_environment();
    std::vector<float> observation(tasks::Maze::kObservation);
    environment->start(Split::training, first_episode + b, observation.data());
    nn::State state;
    std::vector<torch::Tensor> log_policies, values;
    std::vector<double> rewards;
    for (int64_t t = 0; t < steps; ++t) {
      nn::UnitInput input;
      input.x = torch::tensor(observation).to(torch::kDouble).view({1, 1, -1});
      input.state = state;
      input.energy = true;
      const nn::UnitOutput output = model.unit().forward(input);
      state = output.state;
      loss = loss + energy_weight * output.energy.mean();
      const torch::Tensor h = output.y[0][0];
      const torch::Tensor logits = named["policy.weight"].mv(h) + named["policy.bias"];
      log_policies.push_back(logits - logits.logsumexp(0));
      values.push_back((named["value.weight"].mv(h) + named["value.bias"])[0]);
      const int64_t taken = action[t][b].item<int64_t>();
      rewards.push_back(environment->step({.choice = taken}, observation.data()).reward);
    }
    double later = 0;
    for (int64_t t = steps - 1; t >= 0; --t) {
      later = rewards[t] + 0.9 * later;
      const torch::Tensor advantage = later - values[t];
      const auto taken = action[t][b].item<int64_t>();
      loss = loss - log_policies[t][taken] * advantage.detach() + 0.1 * advantage * advantage;
      for (int64_t a = 0; a < 4; ++a) loss = loss + 0.03 * log_policies[t][a].exp().pow(2);
    }
  }
  return loss / static_cast<double>(steps * episodes);
}

TEST_P(ActorCriticGradientTest, EqualsThatOfAPlainLoopOverTheReference) {
  constexpr int64_t kEpisodes = 70, kIteration = 3;  // a shard of 64 and one of 6
  const tasks::MazeOptions maze = small_maze();
  const auto task = maze.make(5);
  const auto model_pointer = make_model(*task, GetParam().name, GetParam().settings);
  nn::Agent& model = *model_pointer;
  ActorCriticOptions options;
  options.episodes = kEpisodes;
  options.seed = 5;
  options.energy_weight = GetParam().energy_weight;
  Actor actor(*task, 5, kEpisodes, 0, model);
  torch::Tensor action;
  {
    const torch::NoGradGuard no_grad;
    action = actor.play_whole(model, kIteration * kEpisodes).rollout.action;
  }
  const torch::Tensor loss =
      plain_loss(model, maze, 5, kIteration * kEpisodes, action, options.energy_weight);
  const auto expected = torch::autograd::grad({loss}, model.parameters());

  const PolicyGradient::Result result =
      PolicyGradient(*task, options, model).run(kIteration, /*gradients=*/true);
  EXPECT_NEAR(result.loss, loss.item<double>(), 1e-10 * std::abs(result.loss));
  EXPECT_EQ(result.rewards, actor.take_rewards());
  EXPECT_EQ(result.rewards.size(), kEpisodes);
  ASSERT_EQ(result.gradients.size(), expected.size());
  for (size_t i = 0; i < expected.size(); ++i) {
    const double largest = expected[i].abs().max().item<double>();
    EXPECT_GT(largest, 0) << i;
    EXPECT_LE((result.gradients[i] - expected[i]).abs().max().item<double>(), 1e-9 * largest) << i;
  }
}

INSTANTIATE_TEST_SUITE_P(
    Units, ActorCriticGradientTest,
    testing::Values(
        UnitVariant{
            "stpn_recurrent", {"unit.hidden_size=7", "unit.norm=\"post\"", "unit.clamp=0.4"}, 0.02},
        UnitVariant{"stpn_recurrent", {"unit.hidden_size=6", "unit.norm=\"pre\""}},
        UnitVariant{"stpn_feedforward", {"unit.hidden_size=5", "unit.norm=\"pre\""}, 0.02},
        UnitVariant{"fast_weights", {"unit.hidden_size=6"}},
        UnitVariant{"backpropamine", {"unit.hidden_size=6"}, 0.02},
        UnitVariant{"lstm", {"unit.hidden_size=5"}},
        UnitVariant{"gru", {"unit.hidden_size=5"}, 0.02},
        UnitVariant{"rnn", {"unit.hidden_size=5", "unit.normalised=true"}},
        UnitVariant{"perceptron", {"unit.hidden_size=5"}}),
    [](const auto& info) { return info.param.name + std::to_string(info.index); });

TEST(ActorCriticLossTest, StopsAtEndsAndBootstraps) {
  ActorCriticOptions options;
  options.discount = 0.5;
  options.value_weight = 1;
  options.policy_l2_weight = 0;
  const auto f64 = torch::kDouble;
  const torch::Tensor h = torch::zeros({3, 2, 1}, f64);
  auto head = nn::make_choice_head(1, 4);  // zeros: a uniform policy
  head->to(f64);
  const auto policy = head->forward(h);
  const torch::Tensor value = torch::zeros({3, 2}, f64);
  Rollout rollout;
  rollout.action = torch::zeros({3, 2}, torch::kInt64);
  rollout.acted = torch::ones({3, 2}, torch::kBool);
  rollout.reward = torch::tensor({{1.0, 1.0}, {2.0, 2.0}, {4.0, 4.0}}, f64);
  rollout.terminated = torch::tensor({{false, false}, {false, true}, {false, false}}, torch::kBool);
  const torch::Tensor later = torch::tensor({16.0, 16.0}, f64);
  // From the last step, the returns of the first environment are 4 + 16/2, 2 + 12/2, 1 + 8/2. In
  // the second, whose episode ends after two steps, they are 4 + 16/2, 2, 1 + 2/2.
  const double expected = [] {
    double sum = 0;
    for (const double R : {12.0, 8.0, 5.0, 12.0, 2.0, 2.0}) sum += std::log(4.0) * R + R * R;
    return sum;
  }();
  EXPECT_NEAR(actor_critic_loss(options, *policy, value, rollout, later).item<double>(), expected,
              1e-9);
  EXPECT_LT(actor_critic_loss(options, *policy, value, rollout, {}).item<double>(), expected);

  // A step without an action: its value of 6 is the return there, and it is no term of the sum.
  rollout.acted[1][0] = false;
  rollout.reward[1][0] = 0;
  torch::Tensor values = torch::zeros({3, 2}, f64);
  values[1][0] = 6;
  const double cut = [] {
    double sum = 0;
    for (const double R : {12.0, 1 + 6.0 / 2, 12.0, 2.0, 2.0}) sum += std::log(4.0) * R + R * R;
    return sum;
  }();
  EXPECT_NEAR(actor_critic_loss(options, *policy, values, rollout, later).item<double>(), cut,
              1e-9);
}

constexpr const char* kSmallMaze = R"(# A small maze.
[task]
name = "maze"
size = 5
steps = 15
test = 130

[unit]
name = "perceptron"
hidden_size = 8

[train]
algorithm = "actor_critic"
iterations = 8
episodes = 16
warm_up = 0
report_every = 2
learning_rate = 1e-2
)";

class ActorCriticTrainerTest : public TrainTest {
 protected:
  Experiment small_maze(const std::vector<std::string>& settings = {}) const {
    return read_experiment(write("maze.toml", kSmallMaze), settings);
  }
  static std::vector<torch::Tensor> copy_of(const torch::nn::Module& model) {
    std::vector<torch::Tensor> copy;
    for (const auto& parameter : model.parameters()) copy.push_back(parameter.detach().clone());
    return copy;
  }
};

TEST_F(ActorCriticTrainerTest, WarmUpChangesNoParameter) {
  const Experiment experiment = small_maze({"train.warm_up=3"});
  const auto trainer = experiment.make_trainer();
  const auto before = copy_of(trainer->model());
  const Metrics first = trainer->train_epoch(1, [](int64_t) {});
  const auto between = copy_of(trainer->model());
  for (size_t i = 0; i < before.size(); ++i) EXPECT_TRUE(before[i].equal(between[i])) << i;
  EXPECT_EQ(value_of(first, "gradient_norm"), 0);
  EXPECT_EQ(value_of(first, "episodes"), 32);
  trainer->train_epoch(2, [](int64_t) {});
  EXPECT_EQ(trainer->adam().steps(), 1);
  const auto after = copy_of(trainer->model());
  for (size_t i = 0; i < before.size(); ++i) EXPECT_FALSE(before[i].equal(after[i])) << i;
}

TEST_F(ActorCriticTrainerTest, TheLearningRateFallsWithTheStepsDone) {
  // Two epochs of two iterations, each of 16 episodes of 15 steps.
  const Experiment experiment = small_maze(
      {"train.learning_rate=2e-3", "train.final_learning_rate=1e-3", "train.decay_steps=960"});
  const auto trainer = experiment.make_trainer();
  trainer->train_epoch(1, [](int64_t) {});
  EXPECT_NEAR(trainer->adam().learning_rate(), 1.5e-3, 1e-9);
  trainer->train_epoch(2, [](int64_t) {});
  EXPECT_NEAR(trainer->adam().learning_rate(), 1e-3, 1e-9);
}

TEST_F(ActorCriticTrainerTest, EndsEarlyWhenTheRewardIsReached) {
  const Experiment experiment = small_maze({"train.stop_reward=-1000"});  // any reward is more
  const auto trainer = experiment.make_trainer();
  for (int64_t epoch = 1; epoch <= 4; ++epoch) {
    EXPECT_FALSE(trainer->finished({})) << epoch;  // the last 100 of 32 episodes an epoch count
    trainer->train_epoch(epoch, [](int64_t) {});
  }
  EXPECT_TRUE(trainer->finished({}));
}

TEST_F(ActorCriticTrainerTest, ClipsLargeGradients) {
  const auto norm_of = [&](const char* setting) {
    const Experiment experiment = small_maze({setting, "train.report_every=1"});
    const auto trainer = experiment.make_trainer();
    const double reported = value_of(trainer->train_epoch(1, [](int64_t) {}), "gradient_norm");
    double squares = 0;
    for (const auto& mean : trainer->adam().mean()) squares += mean.square().sum().item<double>();
    return std::pair(reported, std::sqrt(squares) / 0.1);  // after one step mean = 0.1 gradient
  };
  const auto [whole, unclipped] = norm_of("train.max_grad_norm=1e9");
  EXPECT_NEAR(unclipped, whole, 1e-4 * whole);
  const auto [same, clipped] = norm_of("train.max_grad_norm=0.01");
  EXPECT_DOUBLE_EQ(same, whole);
  EXPECT_NEAR(clipped, 0.01, 1e-4);
}

TEST_F(ActorCriticTrainerTest, AGradientThatIsNotFiniteReachesNoParameter) {
  // The value is so far from any reward that the loss is finite and its gradient is not.
  const Experiment experiment = small_maze({"train.report_every=1"});
  const auto trainer = experiment.make_trainer();
  const auto named = trainer->model().named_parameters();
  {
    const torch::NoGradGuard no_grad;
    named["value.bias"].fill_(1e17);
    named["value.weight"].fill_(1e30);
  }
  const auto before = copy_of(trainer->model());
  EXPECT_THROW(trainer->train_epoch(1, [](int64_t) {}), NonFiniteLoss);
  const auto after = copy_of(trainer->model());
  for (size_t i = 0; i < before.size(); ++i) EXPECT_TRUE(before[i].equal(after[i])) << i;
}

TEST_F(ActorCriticTrainerTest, RejectsValuesOutOfRange) {
  const auto error_with = [&](const std::vector<std::string>& settings) {
    return error_of([&] { small_maze(settings).make_trainer(); });
  };
  EXPECT_THAT(error_with({"train.episodes=1000000"}), testing::HasSubstr("episodes"));
  EXPECT_THAT(error_with({"train.iterations=1000000000"}), testing::HasSubstr("iterations"));
  EXPECT_THAT(error_with({"train.rollout_length=1000000"}), testing::HasSubstr("rollout_length"));
  EXPECT_THAT(error_with({"train.rollout_length=5", "train.sequence_length=2"}),
              testing::HasSubstr("policy_l2_weight"));
  EXPECT_THAT(error_with({"train.sequence_length=2"}), testing::HasSubstr("rollout_length"));
  EXPECT_THAT(error_with({"train.rollout_length=5", "train.sequence_length=2",
                          "train.policy_l2_weight=0", "train.max_state_grad_norm=1"}),
              testing::HasSubstr("max_state_grad_norm"));
  EXPECT_THAT(error_with({"train.state_grad_steps=0"}), testing::HasSubstr("state_grad_steps"));
  EXPECT_THAT(error_with({"train.epsilon=0"}), testing::HasSubstr("epsilon"));
}

TEST_F(ActorCriticTrainerTest, OldKeysGiveAnErrorThatNamesTheNewOnes) {
  const std::vector<std::pair<std::string, std::string>> renamed = {
      {"largest_gradient", "max_grad_norm"},
      {"concentration_weight", "policy_l2_weight"},
      {"fragment", "rollout_length"}};
  for (const auto& [old_key, key] : renamed) {
    EXPECT_EQ(error_of([&] { small_maze({"train." + old_key + "=0"}); }),
              fmt::format("--set train.{0}=0: [train] {0} = 0: this key is now called {1}", old_key,
                          key));
  }
}

TEST_F(ActorCriticTrainerTest, TraceIsOfTheFirstTestEpisode) {
  for (const char* unit : {"unit.name=perceptron", "unit.name=gru", "unit.name=fast_weights"}) {
    const Experiment experiment = small_maze({unit});
    const auto trainer = experiment.make_trainer();
    const auto trace = nlohmann::json::parse(trainer->trace(/*sampled=*/false));
    double reward = 0;
    for (const auto& value : trace["rewards"]) reward += value.get<double>();
    const auto task = dynamic_cast<tasks::EnvironmentOptions&>(*experiment.task).make(1);
    auto& agent = dynamic_cast<nn::Agent&>(trainer->model());
    Actor actor(*task, 1, 64, 0, agent);
    const torch::NoGradGuard no_grad;
    EXPECT_EQ(reward, actor.play_episodes(agent, Split::test, 0, 64).rewards[0]) << unit;
  }
}

TEST_F(ActorCriticTrainerTest, TraceIsGreedyOrSampled) {
  const Experiment experiment =
      small_maze({"train.rollout_length=5", "train.sequence_length=5", "train.policy_l2_weight=0"});
  const auto trainer = experiment.make_trainer();
  const auto task = dynamic_cast<tasks::EnvironmentOptions&>(*experiment.task).make(1);
  auto& agent = dynamic_cast<nn::Agent&>(trainer->model());
  std::vector<std::string> traces;
  for (const bool sampled : {false, true}) {
    Actor actor(*task, 1, 64, 0, agent);
    const torch::NoGradGuard no_grad;
    const PlayedEpisodes played = actor.play_episodes(agent, Split::test, 0, 64, !sampled);
    traces.push_back(trainer->trace(sampled));
    EXPECT_EQ(traces.back(), task->trace(Split::test, 0, played.actions));
  }
  EXPECT_NE(traces[0], traces[1]);
}

TEST_F(ActorCriticTrainerTest, LearnsToFindTheReward) {
  const ops::KernelThreadsGuard quick;
  const Experiment experiment = small_maze(
      {"train.report_every=300", "train.iterations=300", "train.episodes=64", "task.steps=30"});
  const auto trainer = experiment.make_trainer();
  const double before = value_of(trainer->test(130), "reward_share");
  trainer->train_epoch(1, [](int64_t) {});
  const double after = value_of(trainer->test(130), "reward_share");
  EXPECT_LT(std::abs(before), 0.08);  // like the random policy
  EXPECT_GT(after, 0.12);
}

TEST_F(ActorCriticTrainerTest, EnergyWithoutTheRewardInputIsLess) {
  const Experiment experiment = small_maze();
  const auto trainer = experiment.make_trainer();
  const Metrics metrics = trainer->test(130);
  EXPECT_LT(value_of(metrics, "energy_per_neuron_without_reward"),
            value_of(metrics, "energy_per_neuron"));
  EXPECT_EQ(trainer->test(130), metrics) << "a test changes nothing";
  EXPECT_EQ(value_of(metrics, "episodes"), 130);
}

TEST_F(ActorCriticTrainerTest, RejectsIterationsThatEndBetweenReports) {
  EXPECT_THAT(error_of([&] { small_maze({"train.iterations=7"}).make_trainer(); }),
              testing::AllOf(testing::HasSubstr("7"), testing::HasSubstr("report_every = 2")));
}

TEST_F(ActorCriticTrainerTest, RejectsASupervisedTask) {
  EXPECT_THAT(error_of([&] { small_maze({"task.name=associative_retrieval"}); }),
              testing::HasSubstr("associative_retrieval"));
}

}  // namespace
}  // namespace stpn::train::actor_critic_test
