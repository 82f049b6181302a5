#include "stpn/train/supervised.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace stpn::train {
namespace {

// Sequences that are evaluated side by side: fills the vector units, and even long sequences fit
// into memory.
constexpr int64_t kEvaluationChunk = 500;

// Not at::sum, whose order of summation depends on the number of threads.
double sum_in_order(const torch::Tensor& tensor) {
  const torch::Tensor values = tensor.contiguous();
  const float* first = values.data_ptr<float>();
  double sum = 0;
  for (const float* value = first; value != first + values.numel(); ++value) sum += *value;
  return sum;
}

}  // namespace

std::vector<base::Field> SupervisedOptions::fields() {
  return {
      base::field("seed", seed, "of data and initial parameters; change it to repeat an experiment",
                  {.least = 0}),
      base::field("epochs", epochs,
                  "passes over the training set; raise it while validation accuracy still rises",
                  {.least = 1}),
      base::field("batch_size", batch_size,
                  "sequences a step; larger is faster an epoch and needs a larger learning rate",
                  {.least = 1}),
      base::field("learning_rate", learning_rate,
                  "step size of Adam; lower it when the loss jumps, raise it when it creeps",
                  {.least = 0, .most = std::numeric_limits<double>::max()}),
      base::field("patience", patience,
                  "stop after so many epochs without a better validation accuracy (0: never); set "
                  "it to save time on plateaus",
                  {.least = 0}),
      base::field("target_accuracy", target_accuracy,
                  "stop once validation accuracy reaches it (inf: never); set it to measure time "
                  "to a level",
                  {.least = 0}),
  };
}

Evaluation evaluate(nn::Classifier& model, const tasks::SequenceTask& task, tasks::Split split,
                    int64_t count) {
  const torch::NoGradGuard no_grad;
  int64_t correct = 0;
  double loss = 0;
  double energy = 0;
  for (int64_t first = 0; first < count; first += kEvaluationChunk) {
    const int64_t size = std::min(kEvaluationChunk, count - first);
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

SupervisedTrainer::SupervisedTrainer(const tasks::SequenceTask& task, nn::Classifier& model,
                                     Adam& adam, int64_t batch_size)
    : task_(task),
      model_(model),
      adam_(adam),
      batch_size_(batch_size),
      batches_(task.size(tasks::Split::training) / batch_size) {
  if (batches_ == 0) {
    throw base::UserError(fmt::format(
        "train.batch_size = {} is more than the {} training sequences: lower it, or make more",
        batch_size, task.size(tasks::Split::training)));
  }
  x_ = torch::empty({task.steps(), batch_size, task.input_size()});
  target_ = torch::empty({batch_size}, torch::kInt64);
}

double SupervisedTrainer::train_epoch(int64_t epoch,
                                      const std::function<void(int64_t)>& after_batch) {
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
