#include "stpn/train/algorithms/supervised.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "stpn/ops/runtime/threads.h"
#include "stpn/train/algorithms/finite.h"
#include "stpn/train/algorithms/shards.h"

namespace stpn::train {
namespace {

using tasks::Split;

static_assert(tasks::kNoTarget == nn::kNoTarget);

// Sequences in an evaluation batch: enough to fill the vector units, few enough for long sequences
// to fit into memory.
constexpr int64_t kEvaluationBatch = 500;

// The end of the piece of a sequence of T steps that begins at `begin`.
int64_t end_of_piece(int64_t begin, int64_t piece_length, int64_t T) {
  return piece_length == 0 ? T : std::min(begin + piece_length, T);
}

struct Asked {
  int64_t targets = 0;
  int64_t first_step = 0;  // with a target, from `begin`
};

// In steps [begin, end) of B sequences; `target` has (T, B) values.
Asked asked_in(const torch::Tensor& target, int64_t B, int64_t begin, int64_t end) {
  const auto* first = target.const_data_ptr<int64_t>() + begin * B;
  const auto* last = first + (end - begin) * B;
  const auto is_target = [](int64_t value) { return value != tasks::kNoTarget; };
  return {.targets = std::count_if(first, last, is_target),
          .first_step = (std::find_if(first, last, is_target) - first) / B};
}

nn::State detached(nn::State state) {
  for (auto& [name, tensor] : state) tensor = tensor.detach();
  return state;
}

// Replaces at::sum, whose order of summation depends on the number of threads.
double sum_in_order(const torch::Tensor& tensor) {
  const torch::Tensor values = tensor.contiguous();
  const float* first = values.data_ptr<float>();
  double sum = 0;
  for (const float* value = first; value != first + values.numel(); ++value) sum += *value;
  return sum;
}

// (T, count) bool: true after the end of each sequence from `first` on. Undefined if all have T
// steps.
torch::Tensor past_end_of(const tasks::SequenceTask& task, Split split, int64_t first,
                          int64_t count) {
  torch::Tensor past_end;
  for (int64_t b = 0; b < count; ++b) {
    const int64_t length = task.length(split, first + b);
    if (length == task.steps()) continue;
    if (!past_end.defined()) past_end = torch::zeros({task.steps(), count}, torch::kBool);
    past_end.slice(0, length).select(1, b).fill_(true);
  }
  return past_end;
}

// How many of the steps [begin, end) of `count` sequences are before their ends.
int64_t steps_in(const torch::Tensor& past_end, int64_t count, int64_t begin, int64_t end) {
  const int64_t all = (end - begin) * count;
  return past_end.defined() ? all - past_end.slice(0, begin, end).sum().item<int64_t>() : all;
}

// The energy of the steps [begin, end), zero after the ends.
torch::Tensor up_to_end(const torch::Tensor& energy, const torch::Tensor& past_end, int64_t begin,
                        int64_t end) {
  if (!past_end.defined()) return energy;
  return energy.masked_fill(past_end.slice(0, begin, end).unsqueeze(-1), 0);
}

Metrics metrics_of(const Evaluation& test) {
  return {{"test_accuracy", test.accuracy},
          {"test_loss", test.loss},
          {"energy_per_step", test.energy_per_step},
          {"energy_per_sequence", test.energy_per_sequence}};
}

// The first sequence of the test split, what it asks, and the most probable answer at each step.
std::string sequence_trace(nn::Classifier& model, const tasks::SequenceTask& task) {
  using Json = nlohmann::ordered_json;
  const torch::NoGradGuard no_grad;
  const int64_t T = task.steps(), I = task.input_size();
  const torch::Tensor x = torch::empty({T, 1, I});
  std::vector<int64_t> target(T);
  task.batch(Split::test, 0, 1, x.data_ptr<float>(), target.data());
  const torch::Tensor logits = model.forward({.x = x}).logits;
  const torch::Tensor answer =
      task.classes() == 1 ? (logits > 0).to(torch::kInt64).squeeze(1) : logits.argmax(1);
  Json observations = Json::array(), targets = observations, answers = observations;
  for (int64_t t = 0; t < task.length(Split::test, 0); ++t) {
    const float* row = x.const_data_ptr<float>() + t * I;
    observations.push_back(std::vector<float>(row, row + I));
    targets.push_back(target[t] == tasks::kNoTarget ? Json() : Json(target[t]));
    answers.push_back(answer.const_data_ptr<int64_t>()[t]);
  }
  return Json{
      {"sequence", 0}, {"observations", observations}, {"targets", targets}, {"answers", answers}}
      .dump();
}

class SupervisedTrainer : public Trainer {
 public:
  SupervisedTrainer(const SupervisedOptions& options, const tasks::TaskOptions& task,
                    const nn::UnitOptions& unit)
      : options_(options),
        task_(make_task(task, options.seed)),
        model_(make_classifier(unit, *task_, options.seed)),
        adam_(model_->parameters(), options.learning_rate),
        epochs_(*task_, *model_, adam_, options.batch_size, options.piece_length,
                options.energy_weight) {}

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
    const Evaluation validation = evaluate(split, task_->size(split));
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

  void try_out() override { evaluate(Split::validation, 1); }
  int64_t test_size() const override { return task_->size(Split::test); }
  Metrics test(int64_t count) override {
    if (count > test_size()) {
      throw base::UserError(
          fmt::format("{} test sequences requested: there are {}", count, test_size()));
    }
    return metrics_of(evaluate(Split::test, count));
  }
  std::string trace(bool sampled) override {
    if (sampled) {
      throw base::UserError("--sampled is for RL tasks: nothing is drawn when a sequence is read");
    }
    return sequence_trace(*model_, *task_);
  }
  std::vector<tasks::Baseline> baselines() const override { return task_->baselines(); }
  Metric pace(int64_t epochs, double seconds) const override {
    return {"seconds_per_epoch", seconds / static_cast<double>(epochs)};
  }

 private:
  Evaluation evaluate(Split split, int64_t count) {
    return train::evaluate(*model_, *task_, split, count, options_.piece_length);
  }

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
      base::field("piece_length", piece_length,
                  "steps between two updates, which go on from the last state; gradients reach no "
                  "further back; 0: whole sequences. Set it for sequences too long for memory",
                  {.least = 0}),
      base::field(
          "learning_rate", learning_rate,
          "step size of Adam; lower it if the loss jumps, raise it if the loss falls slowly",
          {.least = 0, .most = std::numeric_limits<double>::max()}),
      base::field(
          "energy_weight", energy_weight,
          "weight in the loss of energy_per_step, the energy of all neurons at a step; raise "
          "it for a model that spends less, at the expense of accuracy",
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
                    int64_t count, int64_t piece_length) {
  const torch::NoGradGuard no_grad;
  const int64_t T = task.steps();
  int64_t correct = 0, targets = 0, steps = 0;
  double loss = 0;
  double energy = 0;
  for (int64_t first = 0; first < count; first += kEvaluationBatch) {
    const int64_t size = std::min(kEvaluationBatch, count - first);
    const torch::Tensor x = torch::empty({T, size, task.input_size()});
    const torch::Tensor target = torch::empty({T * size}, torch::kInt64);
    task.batch(split, first, size, x.data_ptr<float>(), target.data_ptr<int64_t>());
    const torch::Tensor past_end = past_end_of(task, split, first, size);
    steps += steps_in(past_end, size, 0, T);
    nn::UnitInput input = {.energy = true};
    for (int64_t begin = 0, end; begin < T; begin = end) {
      end = end_of_piece(begin, piece_length, T);
      input.x = x.slice(0, begin, end);
      const Asked asked = asked_in(target, size, begin, end);
      nn::Classifier::Output output = model.forward(input, asked.first_step);
      if (asked.targets > 0) {
        const torch::Tensor answered =
            target.slice(0, (begin + asked.first_step) * size, end * size);
        correct += nn::count_right(output.logits, answered);
        loss += sum_in_order(nn::losses(output.logits, answered));
        targets += asked.targets;
      }
      energy += sum_in_order(up_to_end(output.energy, past_end, begin, end));
      input.state = std::move(output.state);
    }
  }
  const auto all = static_cast<double>(targets);
  return {.accuracy = static_cast<double>(correct) / all,
          .loss = loss / all,
          .energy_per_step = energy / static_cast<double>(steps),
          .energy_per_sequence = energy / static_cast<double>(count)};
}

BatchGradient::BatchGradient(const tasks::SequenceTask& task, nn::Classifier& model,
                             int64_t batch_size, double energy_weight)
    : task_(task), model_(model), parameters_(model.parameters()), energy_weight_(energy_weight) {
  for (int64_t first = 0; first < batch_size; first += kSequencesInShard) {
    const int64_t size = std::min(kSequencesInShard, batch_size - first);
    shards_.push_back({size,
                       torch::empty({task.steps(), size, task.input_size()}),
                       torch::empty({task.steps() * size}, torch::kInt64),
                       {},
                       {}});
  }
}

void BatchGradient::read(int64_t first) {
  for (Shard& shard : shards_) {
    task_.batch(tasks::Split::training, first, shard.size, shard.x.data_ptr<float>(),
                shard.target.data_ptr<int64_t>());
    shard.state.clear();
    if (energy_weight_ > 0) shard.past_end = past_end_of(task_, Split::training, first, shard.size);
    first += shard.size;
  }
}

BatchGradient::Result BatchGradient::run(int64_t begin, int64_t end) {
  Result result;
  std::vector<Asked> asked(shards_.size());
  int64_t steps = 0;  // of all sequences, for the energy
  for (size_t i = 0; i < shards_.size(); ++i) {
    if (energy_weight_ > 0) steps += steps_in(shards_[i].past_end, shards_[i].size, begin, end);
    asked[i] = asked_in(shards_[i].target, shards_[i].size, begin, end);
    result.targets += asked[i].targets;
  }
  const torch::Dtype dtype = parameters_.front().scalar_type();
  const bool is_whole = begin == 0 && end == task_.steps();
  const bool trains_energy = steps > 0;
  std::vector<double> loss(shards_.size());
  std::vector<std::vector<torch::Tensor>> gradients(shards_.size());
  ops::run_concurrently(static_cast<int64_t>(shards_.size()), [&](int64_t i) {
    Shard& shard = shards_[i];
    const torch::AutoGradMode mode(asked[i].targets > 0 || trains_energy);
    const torch::Tensor x = is_whole ? shard.x : shard.x.slice(0, begin, end);
    nn::Classifier::Output output = model_.forward(
        {.x = x.to(dtype), .state = shard.state, .energy = trains_energy}, asked[i].first_step);
    if (end < task_.steps()) shard.state = detached(std::move(output.state));
    std::vector<torch::Tensor> terms, shares;  // the loss is the sum of share times term
    const auto add_term = [&](const torch::Tensor& sum, double share) {
      terms.push_back(sum);
      shares.push_back(torch::full({}, share, sum.options()));
    };
    if (asked[i].targets > 0) {
      const torch::Tensor targets =
          shard.target.slice(0, (begin + asked[i].first_step) * shard.size, end * shard.size);
      const torch::Tensor sum = nn::sum_of_losses(output.logits, targets);
      loss[i] = sum.item<double>() / static_cast<double>(result.targets);
      add_term(sum, 1 / static_cast<double>(result.targets));
    }
    if (trains_energy) {
      add_term(up_to_end(output.energy, shard.past_end, begin, end).sum(),
               energy_weight_ / static_cast<double>(steps));
    }
    if (terms.empty()) return;
    // Without a target the head has no gradient.
    gradients[i] = torch::autograd::grad(terms, parameters_, shares, std::nullopt,
                                         /*create_graph=*/false, /*allow_unused=*/true);
    for (size_t k = 0; k < parameters_.size(); ++k) {
      if (!gradients[i][k].defined()) gradients[i][k] = torch::zeros_like(parameters_[k]);
    }
  });
  for (size_t i = 0; i < shards_.size(); ++i) {
    result.loss += loss[i];
    add_gradients(result.gradients, std::move(gradients[i]));
  }
  return result;
}

EpochTrainer::EpochTrainer(const tasks::SequenceTask& task, nn::Classifier& model, Adam& adam,
                           int64_t batch_size, int64_t piece_length, double energy_weight)
    : task_(task),
      model_(model),
      adam_(adam),
      batch_size_(batch_size),
      piece_length_(piece_length),
      batches_(task.size(tasks::Split::training) / batch_size),
      gradient_(task, model, batches_ == 0 ? 0 : batch_size, energy_weight) {
  if (batches_ == 0) {
    throw base::UserError(
        fmt::format("train.batch_size = {} is more than the {} training sequences: lower it, or "
                    "raise task.training",
                    batch_size, task.size(tasks::Split::training)));
  }
}

double EpochTrainer::train(int64_t epoch, const std::function<void(int64_t)>& after_batch) {
  const std::vector<torch::Tensor> parameters = model_.parameters();
  double sum = 0;
  int64_t pieces = 0;
  for (int64_t i = 0; i < batches_; ++i) {
    gradient_.read(i * batch_size_);
    for (int64_t begin = 0, end; begin < task_.steps(); begin = end) {
      end = end_of_piece(begin, piece_length_, task_.steps());
      const BatchGradient::Result piece = gradient_.run(begin, end);
      if (!std::isfinite(piece.loss)) {
        throw NonFiniteLoss(fmt::format("loss is {} in epoch {}, batch {} (step {})", piece.loss,
                                        epoch, i + 1, adam_.steps() + 1));
      }
      if (piece.gradients.empty()) continue;
      if (const std::string name = find_not_finite(model_, piece.gradients); !name.empty()) {
        throw NonFiniteLoss(
            fmt::format("the gradient of {} is not finite in epoch {}, batch {} (step {})", name,
                        epoch, i + 1, adam_.steps() + 1));
      }
      set_gradients(parameters, piece.gradients);
      adam_.step();
      if (piece.targets == 0) continue;  // trained for its energy alone
      sum += piece.loss;
      ++pieces;
    }
    after_batch(i + 1);
  }
  return sum / static_cast<double>(pieces);
}

}  // namespace stpn::train
