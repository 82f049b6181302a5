#include "stpn/train/algorithms/supervised/supervised.h"

#include <gmock/gmock.h>

#include <cmath>
#include <limits>

#include "stpn/ops/runtime/threads.h"
#include "stpn/train/algorithms/finite.h"
#include "stpn/train/test_support.h"

namespace stpn::train::supervised_test {
namespace {

using tasks::Split;

class SupervisedTest : public TrainTest {};

// Records which sequences are requested; every input is 1.
class ToyTask : public tasks::SequenceTask {
 public:
  int64_t steps() const override { return 3; }
  int64_t input_size() const override { return 2; }
  int64_t classes() const override { return 2; }
  int64_t size(Split split) const override { return split == Split::training ? 10 : 1201; }
  void batch(Split, int64_t first, int64_t count, float* x, int64_t* target) const override {
    asked.emplace_back(first, count);
    std::fill(x, x + 3 * count * 2, 1.0f);
    std::fill(target, target + 2 * count, tasks::kNoTarget);
    for (int64_t i = 0; i < count; ++i) target[2 * count + i] = (first + i) % 3 == 0;
  }
  std::vector<tasks::Baseline> baselines() const override { return {}; }

  mutable std::vector<std::pair<int64_t, int64_t>> asked;
};

// h is the sum of the inputs, so loss and energy can be computed by hand.
class SumUnit : public nn::Unit {
 public:
  SumUnit() : Unit(2, 1) {}
  nn::UnitOutput forward(const nn::UnitInput& input) override {
    nn::UnitOutput output;
    output.y = input.x.sum(2, /*keepdim=*/true);
    if (input.energy) output.energy = torch::cat({output.y, 2 * output.y}, 2);
    return output;
  }
  nn::StateShapes state_shapes() const override { return {}; }
  void reset_parameters(uint64_t) override {}
};

TEST_F(SupervisedTest, TrainsOnWholeBatchesInOrder) {
  const ToyTask task;
  nn::Classifier model(std::make_shared<SumUnit>(), 2);
  Adam adam(model.parameters(), 1e-3);
  EpochTrainer trainer(task, model, adam, {.batch_size = 4});
  EXPECT_EQ(trainer.batches(), 2);
  std::vector<int64_t> done;
  trainer.train(1, [&](int64_t n) { done.push_back(n); });
  trainer.train(2, [&](int64_t n) { done.push_back(n); });
  const std::vector<std::pair<int64_t, int64_t>> expected = {{0, 4}, {4, 4}, {0, 4}, {4, 4}};
  EXPECT_EQ(task.asked, expected);
  EXPECT_EQ(done, (std::vector<int64_t>{1, 2, 1, 2}));
  EXPECT_EQ(adam.steps(), 4);
}

class EndlessTask : public ToyTask {
 public:
  bool endless() const override { return true; }
};

TEST_F(SupervisedTest, PassesTakeTheSameSequencesOrNewOnes) {
  const EndlessTask task;
  nn::Classifier model(std::make_shared<SumUnit>(), 2);
  Adam adam(model.parameters(), 1e-3);
  for (const bool new_data : {false, true}) {
    EpochTrainer trainer(task, model, adam, {.batch_size = 4, .passes = 3, .new_data = new_data});
    EXPECT_EQ(trainer.batches(), 6);
    task.asked.clear();
    trainer.train(1, [](int64_t) {});
    trainer.train(2, [](int64_t) {});
    std::vector<std::pair<int64_t, int64_t>> expected;
    for (int64_t i = 0; i < 12; ++i) expected.emplace_back(4 * (new_data ? i : i % 2), 4);
    EXPECT_EQ(task.asked, expected);
  }
}

TEST_F(SupervisedTest, TheStepSizeRisesDuringWarmUpAndThenStays) {
  const ToyTask task;
  nn::Classifier model(std::make_shared<SumUnit>(), 2);
  Adam adam(model.parameters(), 1e-2);
  EpochTrainer trainer(task, model, adam,
                       {.batch_size = 4, .learning_rate = 1e-2, .warm_up_steps = 3});
  std::vector<double> rates;
  for (int64_t epoch = 1; epoch <= 3; ++epoch) {
    trainer.train(epoch, [&](int64_t) { rates.push_back(adam.learning_rate()); });
  }
  ASSERT_EQ(rates.size(), 6u);
  for (size_t i = 0; i < rates.size(); ++i) {
    EXPECT_DOUBLE_EQ(rates[i], 1e-2 * std::min(1.0, static_cast<double>(i + 1) / 3)) << i;
  }
  adam.set_steps(1);  // resumed: it depends on the number of steps alone
  trainer.train(4, [](int64_t n) { ASSERT_LE(n, 2); });
  EXPECT_DOUBLE_EQ(adam.learning_rate(), 1e-2);
}

// The first moment after one update is a tenth of the gradient.
TEST_F(SupervisedTest, GradientsAreClippedToTheirJointNorm) {
  const ToyTask task;
  const auto norm_after_a_step = [&](double most) {
    nn::Classifier model(std::make_shared<SumUnit>(), 2);
    model.reset_parameters(1);
    Adam adam(model.parameters(), 1e-3);
    EpochTrainer trainer(task, model, adam, {.batch_size = 10, .max_grad_norm = most});
    trainer.train(1, [](int64_t) {});
    double squares = 0;
    for (const auto& mean : adam.mean()) squares += mean.square().sum().item<double>();
    return 10 * std::sqrt(squares);
  };
  const double whole = norm_after_a_step(std::numeric_limits<double>::infinity());
  ASSERT_GT(whole, 0.1);
  EXPECT_NEAR(norm_after_a_step(0.1), 0.1, 1e-6);
  EXPECT_DOUBLE_EQ(norm_after_a_step(2 * whole), whole);
}

TEST_F(SupervisedTest, EvaluatesEverySequenceOfASplit) {
  const ToyTask task;
  nn::Classifier model(std::make_shared<SumUnit>(), 2);
  {
    const torch::NoGradGuard no_grad;
    for (auto& parameter : model.parameters()) parameter.zero_();
    model.parameters()[1][0] = 1.0;  // the bias: always class 0, with logits (1, 0)
  }
  const Evaluation result = evaluate(model, task, Split::test, 1201);
  int64_t sequences = 0;
  for (const auto& [first, count] : task.asked) {
    EXPECT_EQ(first, sequences);
    sequences += count;
  }
  EXPECT_EQ(sequences, 1201);
  EXPECT_DOUBLE_EQ(result.accuracy,
                   800.0 / 1201);  // every third sequence, from the first, is of class 1
  const double right = std::log1p(std::exp(-1.0));
  EXPECT_NEAR(result.loss, (800 * right + 401 * (right + 1)) / 1201, 1e-6);
  EXPECT_DOUBLE_EQ(result.energy_per_step, 6);  // two neurons with 2 and 4
  EXPECT_DOUBLE_EQ(result.energy_per_sequence, 18);
}

TEST_F(SupervisedTest, EvaluatesTheFirstSequencesOnly) {
  const ToyTask task;
  nn::Classifier model(std::make_shared<SumUnit>(), 2);
  evaluate(model, task, Split::validation, 501);
  const std::vector<std::pair<int64_t, int64_t>> expected = {{0, 500}, {500, 1}};
  EXPECT_EQ(task.asked, expected);
}

TEST_F(SupervisedTest, EvaluationChangesNothing) {
  const Experiment experiment = small();
  const auto task = task_of(experiment);
  const auto model = model_of(experiment);
  const Evaluation one = evaluate(*model, *task, Split::test, 130);
  const Evaluation two = evaluate(*model, *task, Split::test, 130);
  EXPECT_EQ(one.loss, two.loss);
  for (const auto& parameter : model->parameters()) EXPECT_FALSE(parameter.grad().defined());
}

TEST_F(SupervisedTest, RejectsABatchLargerThanTheTrainingSet) {
  const ToyTask task;
  nn::Classifier model(std::make_shared<SumUnit>(), 2);
  Adam adam(model.parameters(), 1e-3);
  EXPECT_THAT(
      error_of([&] { EpochTrainer(task, model, adam, {.batch_size = 11}); }),
      testing::AllOf(testing::HasSubstr("train.batch_size = 11"), testing::HasSubstr("10")));
}

TEST_F(SupervisedTest, NonFiniteLossStopsBeforeItReachesTheParameters) {
  const ToyTask task;
  nn::Classifier model(std::make_shared<SumUnit>(), 2);
  Adam adam(model.parameters(), 1e38);
  EpochTrainer trainer(task, model, adam, {.batch_size = 4});
  try {
    for (int64_t epoch = 1; epoch < 10; ++epoch) trainer.train(epoch, [](int64_t) {});
    FAIL() << "no NonFiniteLoss";
  } catch (const NonFiniteLoss& error) {
    EXPECT_THAT(error.what(), testing::HasSubstr("epoch "));
    EXPECT_THAT(error.what(), testing::HasSubstr(fmt::format("(step {})", adam.steps() + 1)));
  }
  for (const auto& parameter : model.parameters())
    EXPECT_FALSE(parameter.isnan().any().item<bool>());
}

// Its loss is finite, but the gradient of its parameter is 0 times infinity.
class SteepUnit : public nn::Unit {
 public:
  SteepUnit() : Unit(2, 1) { steep_ = register_parameter("steep", torch::ones({1})); }
  nn::UnitOutput forward(const nn::UnitInput& input) override {
    nn::UnitOutput output;
    output.y = input.x.sum(2, /*keepdim=*/true) + (0 * steep_).sqrt();
    return output;
  }
  nn::StateShapes state_shapes() const override { return {}; }
  void reset_parameters(uint64_t) override {}

 private:
  torch::Tensor steep_;
};

TEST_F(SupervisedTest, AGradientThatIsNotFiniteStopsBeforeItReachesTheParameters) {
  const ToyTask task;
  nn::Classifier model(std::make_shared<SteepUnit>(), 2);
  Adam adam(model.parameters(), 1e-3);
  EpochTrainer trainer(task, model, adam, {.batch_size = 4});
  try {
    trainer.train(1, [](int64_t) {});
    FAIL() << "no NonFiniteLoss";
  } catch (const NonFiniteLoss& error) {
    EXPECT_THAT(error.what(),
                testing::HasSubstr("gradient of unit.steep is not finite in epoch 1, batch 1"));
  }
  EXPECT_EQ(adam.steps(), 0);
  EXPECT_EQ(find_not_finite(model, nullptr), "");
  const torch::NoGradGuard no_grad;
  model.parameters().back().view(-1)[0] = std::numeric_limits<float>::infinity();
  EXPECT_EQ(find_not_finite(model, nullptr), model.named_parameters().keys().back());
}

TEST_F(SupervisedTest, AGradientThatIsNotFiniteOverManyStepsNamesTheBound) {
  const ToyTask task;
  const auto error_with = [&](const StateGradientBound& bound) -> std::string {
    nn::Classifier model(std::make_shared<SteepUnit>(), 2);
    Adam adam(model.parameters(), 1e-3);
    EpochTrainer trainer(task, model, adam, {.batch_size = 4, .state_gradient = bound});
    try {
      trainer.train(1, [](int64_t) {});
    } catch (const NonFiniteLoss& error) {
      return error.what();
    }
    return "";
  };
  ASSERT_GT(task.steps(), 1);
  EXPECT_THAT(error_with({.steps = 1}), testing::HasSubstr("see train.max_state_grad_norm"));
  const auto without_hint = testing::AllOf(testing::HasSubstr("is not finite"),
                                           testing::Not(testing::HasSubstr("see train")));
  EXPECT_THAT(error_with({.steps = task.steps()}), without_hint);
  EXPECT_THAT(error_with({.steps = 1, .most = 1}), without_hint);
}

TEST_F(SupervisedTest, LearnsMoreThanChance) {
  const ops::KernelThreadsGuard
      quick;  // at this size libtorch's threads cost more time than they save
  // With one pair the target is the value shown: one of 10 of the 37 classes.
  const Experiment experiment =
      small({"task.pairs=1", "task.training=2000", "unit.hidden_size=12"});
  const auto task = task_of(experiment);
  const auto model = model_of(experiment);
  Adam adam(model->parameters(), 1e-2);
  EpochTrainer trainer(*task, *model, adam, {.batch_size = 32});
  const double before = evaluate(*model, *task, Split::test, 130).loss;
  double loss = 0;
  for (int64_t epoch = 1; epoch <= 8; ++epoch) loss = trainer.train(epoch, [](int64_t) {});
  const Evaluation after = evaluate(*model, *task, Split::test, 130);
  EXPECT_LT(loss, 0.5 * before);
  EXPECT_GT(after.accuracy, 0.5);  // chance: 0.1
}

}  // namespace
}  // namespace stpn::train::supervised_test
