#include <gmock/gmock.h>

#include <cmath>
#include <limits>

#include "stpn/ops/runtime/threads.h"
#include "stpn/train/algorithms/ppo/ppo_options.h"
#include "stpn/train/test_support.h"

namespace stpn::train::ppo_trainer_test {
namespace {

constexpr const char* kHold = R"(# A small control task.
[task]
name = "hold"
test = 70

[unit]
name = "stpn_recurrent"
hidden_size = 8
norm = "pre"

[train]
algorithm = "ppo"
steps = 1500
environments = 10
rollout_length = 30
minibatch_steps = 60
report_every = 2
passes = 2
)";

class PpoTrainerTest : public TrainTest {
 protected:
  Experiment hold(const std::vector<std::string>& settings = {}) const {
    return read_experiment(write("hold.toml", kHold), settings);
  }
};

TEST_F(PpoTrainerTest, LearnsToRemember) {
  const ops::KernelThreadsGuard quick;
  const Experiment experiment =
      hold({"train.steps=25600", "train.environments=32", "train.rollout_length=20",
            "train.passes=4", "train.minibatch_steps=160", "train.report_every=40",
            "train.learning_rate=4e-3", "train.time_limit=truncation", "train.sequence_length=10"});
  const auto trainer = experiment.make_trainer();
  EXPECT_LT(value_of(trainer->test(70), "reward"), 2.5);
  trainer->train_epoch(1, [](int64_t) {});
  const Metrics after = trainer->test(70);
  // Without memory at most 1; the best is 6.
  EXPECT_GT(value_of(after, "reward"), 4.5);
  EXPECT_GT(value_of(after, "sampled_reward"), 4);
  EXPECT_LE(value_of(after, "least_reward"), 2);
}

TEST_F(PpoTrainerTest, CountsStepsOfAllEnvironments) {
  const Experiment experiment = hold({"train.steps=1201"});
  const auto trainer = experiment.make_trainer();
  EXPECT_EQ(experiment.train->epochs(), 3);  // five iterations of 300 steps
  int64_t batches = 0;
  const Metrics first = trainer->train_epoch(1, [&](int64_t done) { batches = done; });
  EXPECT_EQ(batches, 2);
  EXPECT_EQ(value_of(first, "environment_steps"), 600);
  // 60 steps a minibatch: five in each of two passes of two iterations, or one more, where a
  // sequence does not fit.
  EXPECT_GE(trainer->adam().steps(), 20);
  EXPECT_LE(trainer->adam().steps(), 24);
  trainer->train_epoch(2, [](int64_t) {});
  EXPECT_FALSE(trainer->finished({}));
  EXPECT_EQ(value_of(trainer->train_epoch(3, [](int64_t) {}), "environment_steps"), 1500);
  EXPECT_TRUE(trainer->finished({}));
}

TEST_F(PpoTrainerTest, ALossThatIsNotFiniteReachesNoParameter) {
  const Experiment experiment = hold();
  const auto trainer = experiment.make_trainer();
  const auto named = trainer->model().named_parameters();
  {
    const torch::NoGradGuard no_grad;
    named["value.bias"].fill_(std::numeric_limits<float>::infinity());
  }
  const torch::Tensor before = named["policy.weight"].detach().clone();
  EXPECT_THROW(trainer->train_epoch(1, [](int64_t) {}), NonFiniteLoss);
  EXPECT_TRUE(before.equal(named["policy.weight"]));
}

TEST_F(PpoTrainerTest, HasNoRewardUntilAnEpisodeHasEnded) {
  const Experiment experiment = hold({"train.rollout_length=1", "train.report_every=1"});
  const auto trainer = experiment.make_trainer();
  EXPECT_TRUE(std::isnan(value_of(trainer->train_epoch(1, [](int64_t) {}), "reward")));
  double reward = 0;
  for (int64_t epoch = 2; epoch <= 12; ++epoch) {
    reward = value_of(trainer->train_epoch(epoch, [](int64_t) {}), "reward");
  }
  EXPECT_FALSE(std::isnan(reward));
}

TEST_F(PpoTrainerTest, TheLearningRateFallsWithTheStepsDone) {
  const Experiment experiment = hold(
      {"train.learning_rate=2e-3", "train.final_learning_rate=1e-3", "train.decay_steps=1200"});
  const auto trainer = experiment.make_trainer();
  trainer->train_epoch(1, [](int64_t) {});
  EXPECT_NEAR(trainer->adam().learning_rate(), 1.5e-3, 1e-9);  // after 600 of 1,200 steps
  trainer->train_epoch(2, [](int64_t) {});
  EXPECT_NEAR(trainer->adam().learning_rate(), 1e-3, 1e-9);
}

TEST_F(PpoTrainerTest, EndsEarlyWhenTheRewardIsReached) {
  const Experiment experiment = hold({"train.stop_reward=-100"});  // any reward is more
  const auto trainer = experiment.make_trainer();
  EXPECT_FALSE(trainer->finished({}));
  const Metrics metrics = trainer->train_epoch(1, [](int64_t) {});
  EXPECT_GE(value_of(metrics, "episodes"), 70);
  EXPECT_EQ(trainer->finished({}), value_of(metrics, "episodes") >= 100);
  trainer->train_epoch(2, [](int64_t) {});
  EXPECT_TRUE(trainer->finished({}));
}

TEST_F(PpoTrainerTest, RejectsOptionsThatDoNotGoTogether) {
  const auto error_with = [&](const std::vector<std::string>& settings) {
    return error_of([&] { hold(settings).make_trainer(); });
  };
  EXPECT_THAT(error_with({"train.states=old"}), testing::HasSubstr("recomputed"));
  EXPECT_THAT(error_with({"train.environments=0"}), testing::HasSubstr("environments"));
}

}  // namespace
}  // namespace stpn::train::ppo_trainer_test
