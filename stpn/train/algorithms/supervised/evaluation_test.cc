#include "stpn/train/algorithms/supervised/evaluation.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <cmath>

namespace stpn::train::evaluation_test {
namespace {

using tasks::Split;

constexpr int64_t kSteps = 20;

// Ten questions with the answer yes and then ten with no. The input is the answer that a model
// should give, 1 or -1, except that it is wrong for `difficulty` of the first ten and two of the
// others.
class Signs : public tasks::SequenceTask {
 public:
  explicit Signs(int64_t difficulty, int64_t classes = 1, int64_t compared = 5)
      : difficulty_(difficulty), classes_(classes), compared_(compared) {}

  int64_t steps() const override { return kSteps; }
  int64_t input_size() const override { return 1; }
  int64_t classes() const override { return classes_; }
  int64_t size(Split) const override { return 3; }
  void batch(Split, int64_t, int64_t count, float* x, int64_t* target) const override {
    for (int64_t t = 0; t < kSteps; ++t) {
      const bool yes = t < 10;
      const bool wrong = yes ? t < difficulty_ : t < 12;
      std::fill_n(x + t * count, count, yes == wrong ? -1.0f : 1.0f);
      std::fill_n(target + t * count, count, yes ? 1 : 0);
    }
  }
  std::vector<tasks::Baseline> baselines() const override { return {}; }
  std::optional<tasks::Difficulty> difficulty() const override {
    return tasks::Difficulty{"errors", difficulty_, {compared_, 4}};
  }
  std::unique_ptr<tasks::SequenceTask> at_difficulty(int64_t value) const override {
    return value > 10 ? nullptr : std::make_unique<Signs>(value, classes_, compared_);
  }

 private:
  int64_t difficulty_, classes_, compared_;
};

class Copy : public nn::Unit {
 public:
  Copy() : Unit(1, 1) {}
  nn::UnitOutput forward(const nn::UnitInput& input) override {
    nn::UnitOutput output;
    output.y = input.x;
    if (input.energy) output.energy = output.y.abs();
    return output;
  }
  nn::StateShapes state_shapes() const override { return {}; }
  void reset_parameters(uint64_t) override {}
};

// Says what the input says.
nn::Classifier copying(int64_t classes = 1) {
  nn::Classifier model(std::make_shared<Copy>(), classes);
  const torch::NoGradGuard no_grad;
  model.parameters()[0].fill_(2);
  model.parameters()[1].zero_();
  return model;
}

TEST(EvaluationTest, CountsHitsAndFalseAlarms) {
  nn::Classifier model = copying();
  for (const int64_t piece_length : {0, 7}) {
    const Evaluation result = evaluate(model, Signs(3), Split::test, 3, piece_length);
    EXPECT_DOUBLE_EQ(result.accuracy, 15.0 / 20);
    EXPECT_DOUBLE_EQ(result.true_positive_rate, 0.7);
    EXPECT_DOUBLE_EQ(result.false_positive_rate, 0.2);
    EXPECT_NEAR(result.loss, std::log1p(std::exp(-2.0)) + 2.0 * 5 / 20, 1e-6);
    EXPECT_DOUBLE_EQ(result.energy_per_step, 1);
  }
  nn::Classifier of_two = copying(2);
  EXPECT_TRUE(std::isnan(evaluate(of_two, Signs(3, 2), Split::test, 1).true_positive_rate));
}

TEST(EvaluationTest, SweepsUntilTruePositivesAreAsRareAsFalseOnes) {
  nn::Classifier model = copying();
  std::vector<int64_t> at;
  for (const auto& [difficulty, result] : sweep(model, Signs(3), 2)) {
    at.push_back(difficulty);
    EXPECT_DOUBLE_EQ(result.true_positive_rate, 1 - 0.1 * static_cast<double>(difficulty));
  }
  // Each is 1.3 times the one before, rounded up, and at 8 both rates are 0.2.
  EXPECT_EQ(at, (std::vector<int64_t>{1, 2, 3, 4, 5, 6, 8}));
  at.clear();
  nn::Classifier of_two = copying(2);
  for (const AtDifficulty& result : sweep(of_two, Signs(3, 2), 2)) at.push_back(result.difficulty);
  EXPECT_EQ(at, (std::vector<int64_t>{3, 4, 5})) << "with two classes there is no yes";
}

// It fails everywhere. There is no task at 11.
TEST(EvaluationTest, SweepsAtLeastToWhereModelsAreCompared) {
  nn::Classifier model = copying();
  const torch::NoGradGuard no_grad;
  model.parameters()[1].fill_(-5);  // always no
  const auto swept = [&](const Signs& task) {
    std::vector<int64_t> at;
    for (const AtDifficulty& result : sweep(model, task, 1)) at.push_back(result.difficulty);
    return at;
  };
  EXPECT_EQ(swept(Signs(3)), (std::vector<int64_t>{1, 2, 3, 4, 5, 6}));
  EXPECT_EQ(swept(Signs(7)), (std::vector<int64_t>{1, 2, 3, 4, 5, 6, 8}));
  EXPECT_EQ(swept(Signs(3, 1, 10)), (std::vector<int64_t>{1, 2, 3, 4, 6, 8, 10}));
}

TEST(EvaluationTest, MetricsAreThoseOfTheTaskAndOfTheSweep) {
  nn::Classifier model = copying();
  const Metrics metrics = test_metrics(model, Signs(3), 3);
  EXPECT_EQ(metrics.front().first, "test_accuracy");
  EXPECT_DOUBLE_EQ(value_of(metrics, "test_accuracy"), 15.0 / 20);
  EXPECT_DOUBLE_EQ(value_of(metrics, "test_true_positive_rate"), 0.7);
  EXPECT_DOUBLE_EQ(value_of(metrics, "test_false_positive_rate"), 0.2);
  EXPECT_DOUBLE_EQ(value_of(metrics, "test_accuracy_errors_5"), 13.0 / 20);
  EXPECT_DOUBLE_EQ(value_of(metrics, "test_true_positive_rate_errors_8"), 0.2);
  EXPECT_DOUBLE_EQ(value_of(metrics, "test_false_positive_rate_errors_1"), 0.2);
  EXPECT_EQ(metrics.size(), 4u + 2 + 3 * 7);
  nn::Classifier of_two = copying(2);
  EXPECT_EQ(test_metrics(of_two, Signs(3, 2), 3).size(), 4u + 3);
}

// Its first part are the targets no, its second the targets yes.
class SignsInParts : public Signs {
 public:
  explicit SignsInParts(int64_t difficulty) : Signs(difficulty, 2) {}
  std::vector<tasks::Part> parts() const override { return {{"no", 0, 1}, {"yes", 1, 2}}; }
  std::unique_ptr<tasks::SequenceTask> at_difficulty(int64_t value) const override {
    return std::make_unique<SignsInParts>(value);
  }
};

// Answers the sign of the input.
nn::Classifier answering_the_sign() {
  nn::Classifier model = copying(2);
  const torch::NoGradGuard no_grad;
  model.parameters()[0][0].fill_(-2);
  return model;
}

TEST(EvaluationTest, PartsHaveAccuraciesOfTheirOwn) {
  nn::Classifier model = answering_the_sign();
  for (const int64_t piece_length : {0, 7}) {
    const Metrics metrics = test_metrics(model, SignsInParts(3), 3, piece_length);
    EXPECT_DOUBLE_EQ(value_of(metrics, "test_accuracy"), 15.0 / 20);
    EXPECT_DOUBLE_EQ(value_of(metrics, "test_no_accuracy"), 0.8);
    EXPECT_DOUBLE_EQ(value_of(metrics, "test_yes_accuracy"), 0.7);
    EXPECT_DOUBLE_EQ(value_of(metrics, "test_yes_accuracy_errors_5"), 0.5);
    EXPECT_EQ(metrics.size(), 3u + 3 + 3 * 3);
  }
}

}  // namespace
}  // namespace stpn::train::evaluation_test
