#include "stpn/train/algorithms/supervised.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace stpn::train {
namespace {

using tasks::Split;

// Sequences in an evaluation batch: enough to fill the vector units, few enough for long sequences
// to fit into memory.
constexpr int64_t kEvaluationBatch = 500;

// Replaces at::sum, whose order of summation depends on the number of threads.
double sum_in_order(const torch::Tensor& tensor) {
  const torch::Tensor values = tensor.contiguous();
  const float* first = values.data_ptr<float>();
  double sum = 0;
  for (const float* value = first; value != first + values.numel(); ++value) sum += *value;
  return sum;
}

Metrics metrics_of(const Evaluation& test) {
  return {{"test_accuracy", test.accuracy},
          {"test_loss", test.loss},
          {"energy_per_step", test.energy_per_step},
          {"energy_per_sequence", test.energy_per_sequence}};
}

class SupervisedTrainer : public Trainer {
 public:
  SupervisedTrainer(const SupervisedOptions& options, const tasks::TaskOptions& task,
                    const nn::UnitOptions& unit)
      : options_(options),
        task_(make_task(task, options.seed)),
        model_(make_classifier(unit, *task_, options.seed)),
        adam_(model_->parameters(), options.learning_rate),
        epochs_(*task_, *model_, adam_, options.batch_size) {}

  torch::nn::Module& model() override { return *model_; }
  Adam& adam() override { return adam_; }
  std::string items() const override { return "sequences"; }
  double batch_size() const override { return static_cast<double>(options_.batch_size); }
  int64_t batches() const override { return epochs_.batches(); }
  bool finished(const Progress& progress) const override {
    return progress.epoch >= options_.epochs() || progress.best_score >= options_.target_accuracy ||
           (options_.patience > 0 && progress.epoch - progress.best_epoch >= options_.patience);
  }
  std::string score() const override { return "validation_accuracy"; }
  bool keeps_best() const override { return true; }

  Metrics train_epoch(int64_t epoch, const std::function<void(int64_t)>& after_batch) override {
    const double train_loss = epochs_.train(epoch, after_batch);
    const Split split = Split::validation;
    const Evaluation validation = evaluate(*model_, *task_, split, task_->size(split));
    if (!std::isfinite(validation.loss)) {
      throw NonFiniteLoss(fmt::format("validation loss is {} after epoch {} (step {})",
                                      validation.loss, epoch, adam_.steps()));
    }
    return {{"train_loss", train_loss},
            {"validation_loss", validation.loss},
            {"validation_accuracy", validation.accuracy},
            {"energy_per_step", validation.energy_per_step},
            {"energy_per_sequence", validation.energy_per_sequence}};
  }

  void try_out() override { evaluate(*model_, *task_, Split::validation, 1); }
  int64_t test_size() const override { return task_->size(Split::test); }
  Metrics test(int64_t count) override {
    if (count > test_size()) {
      throw base::UserError(
          fmt::format("{} test sequences requested: there are {}", count, test_size()));
    }
    return metrics_of(evaluate(*model_, *task_, Split::test, count));
  }
  std::string trace() override {
    throw base::UserError("only reinforcement-learning tasks have a trace: leave out --trace");
  }
  std::vector<tasks::Baseline> baselines() const override { return task_->baselines(); }
  Metric pace(int64_t epochs, double seconds) const override {
    return {"seconds_per_epoch", seconds / static_cast<double>(epochs)};
  }

 private:
  SupervisedOptions options_;
  std::unique_ptr<tasks::SequenceTask> task_;
  std::shared_ptr<nn::Classifier> model_;
  Adam adam_;
  EpochTrainer epochs_;
};

}  // namespace

std::vector<base::Field> SupervisedOptions::fields() {
  return {
      seed_field(),
      base::field("epochs", most_epochs,
                  "passes over the training set; raise it while validation accuracy still rises",
                  {.least = 1}),
      base::field(
          "batch_size", batch_size,
          "sequences in a batch; larger makes an epoch faster and needs a larger learning rate",
          {.least = 1}),
      base::field(
          "learning_rate", learning_rate,
          "step size of Adam; lower it if the loss jumps, raise it if the loss falls slowly",
          {.least = 0, .most = std::numeric_limits<double>::max()}),
      base::field(
          "patience", patience,
          "stop after this many epochs without a better validation accuracy (0: never); set "
          "it to save time on plateaus",
          {.least = 0}),
      base::field("target_accuracy", target_accuracy,
                  "stop when the validation accuracy reaches this value (inf: never); set it to "
                  "measure the time to an accuracy",
                  {.least = 0}),
  };
}

std::unique_ptr<tasks::TaskOptions> SupervisedOptions::task_options(
    const std::string& name, const std::string& where) const {
  return tasks::find_sequence_task(name, where).options();
}

std::unique_ptr<Trainer> SupervisedOptions::make(const tasks::TaskOptions& task,
                                                 const nn::UnitOptions& unit) const {
  return std::make_unique<SupervisedTrainer>(*this, task, unit);
}

std::unique_ptr<tasks::SequenceTask> make_task(const tasks::TaskOptions& task, int64_t seed) {
  return dynamic_cast<const tasks::SequenceTaskOptions&>(task).make(static_cast<uint64_t>(seed));
}

std::shared_ptr<nn::Classifier> make_classifier(const nn::UnitOptions& unit,
                                                const tasks::SequenceTask& task, int64_t seed) {
  auto model = std::make_shared<nn::Classifier>(unit.make(task.input_size()), task.classes());
  model->reset_parameters(static_cast<uint64_t>(seed));
  return model;
}

Evaluation evaluate(nn::Classifier& model, const tasks::SequenceTask& task, tasks::Split split,
                    int64_t count) {
  const torch::NoGradGuard no_grad;
  int64_t correct = 0;
  double loss = 0;
  double energy = 0;
  for (int64_t first = 0; first < count; first += kEvaluationBatch) {
    const int64_t size = std::min(kEvaluationBatch, count - first);
    const torch::Tensor x = torch::empty({task.steps(), size, task.input_size()});
    const torch::Tensor target = torch::empty({size}, torch::kInt64);
    task.batch(split, first, size, x.data_ptr<float>(), target.data_ptr<int64_t>());
    const nn::Classifier::Output output = model.forward(x, /*energy=*/true);
    correct += output.logits.argmax(1).eq(target).sum().item<int64_t>();
    loss += sum_in_order(at::cross_entropy_loss(output.logits, target, {}, at::Reduction::None));
    energy += sum_in_order(output.energy);
  }
  const auto sequences = static_cast<double>(count);
  return {.accuracy = static_cast<double>(correct) / sequences,
          .loss = loss / sequences,
          .energy_per_step = energy / sequences / static_cast<double>(task.steps()),
          .energy_per_sequence = energy / sequences};
}

EpochTrainer::EpochTrainer(const tasks::SequenceTask& task, nn::Classifier& model, Adam& adam,
                           int64_t batch_size)
    : task_(task),
      model_(model),
      adam_(adam),
      batch_size_(batch_size),
      batches_(task.size(tasks::Split::training) / batch_size) {
  if (batches_ == 0) {
    throw base::UserError(
        fmt::format("train.batch_size = {} is more than the {} training sequences: lower it, or "
                    "raise task.training",
                    batch_size, task.size(tasks::Split::training)));
  }
  x_ = torch::empty({task.steps(), batch_size, task.input_size()});
  target_ = torch::empty({batch_size}, torch::kInt64);
}

double EpochTrainer::train(int64_t epoch, const std::function<void(int64_t)>& after_batch) {
  double sum = 0;
  for (int64_t i = 0; i < batches_; ++i) {
    task_.batch(tasks::Split::training, i * batch_size_, batch_size_, x_.data_ptr<float>(),
                target_.data_ptr<int64_t>());
    const torch::Tensor loss = at::cross_entropy_loss(model_.forward(x_).logits, target_);
    const double value = loss.item<float>();
    if (!std::isfinite(value)) {
      throw NonFiniteLoss(fmt::format("loss is {} in epoch {}, batch {} (step {})", value, epoch,
                                      i + 1, adam_.steps() + 1));
    }
    loss.backward();
    adam_.step();
    sum += value;
    after_batch(i + 1);
  }
  return sum / static_cast<double>(batches_);
}

}  // namespace stpn::train
