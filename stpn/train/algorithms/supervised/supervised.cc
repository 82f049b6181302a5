#include "stpn/train/algorithms/supervised/supervised.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "stpn/ops/runtime/threads.h"
#include "stpn/processes/group.h"
#include "stpn/train/algorithms/clip_norm.h"
#include "stpn/train/algorithms/finite.h"
#include "stpn/train/algorithms/run_shards.h"
#include "stpn/train/algorithms/saved_tensor.h"
#include "stpn/train/algorithms/shards.h"
#include "stpn/train/algorithms/supervised/steps.h"

namespace stpn::train {
namespace {

using tasks::Split;

static_assert(tasks::kNoTarget == nn::kNoTarget);

nn::State detached(nn::State state) {
  for (auto& [name, tensor] : state) tensor = tensor.detach();
  return state;
}

constexpr const char* kDifficulty = "supervised.difficulty";  // in checkpoints

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
        adam_(model_->parameters(), options.learning_rate) {
    if (options_.has_curriculum()) {
      check_curriculum();
      train_at(task_->difficulty()->value);
    } else {
      train_on(*task_);
    }
  }

  torch::nn::Module& model() override { return *model_; }
  Adam& adam() override { return adam_; }
  std::string items() const override { return "sequences"; }
  double batch_size() const override { return static_cast<double>(options_.batch_size); }
  int64_t batches() const override { return epochs_->batches(); }
  bool finished(const Progress& progress) const override {
    return progress.epoch >= options_.epochs() || progress.best_score >= options_.target_accuracy ||
           (options_.patience > 0 && progress.epoch - progress.best_epoch >= options_.patience);
  }
  std::string score() const override { return "validation_accuracy"; }
  // Accuracies at different difficulties do not compare.
  bool keeps_best() const override { return !options_.has_curriculum(); }

  void save(base::Safetensors& content) const override {
    if (!options_.has_curriculum()) return;
    const torch::Tensor difficulty = torch::tensor({difficulty_}, torch::kInt64);
    content.tensors.push_back(saved_tensor(kDifficulty, difficulty));
  }
  void restore(const base::Safetensors& content) override {
    if (!options_.has_curriculum()) return;
    const torch::Tensor difficulty = torch::zeros({1}, torch::kInt64);
    read_saved(content, kDifficulty, difficulty);
    const auto value = difficulty.item<int64_t>();
    if (task_->at_difficulty(value) == nullptr) {
      throw base::UserError(
          fmt::format("{} is {}: the task does not exist there", kDifficulty, value));
    }
    train_at(value);
  }

  Metrics train_epoch(int64_t epoch, const std::function<void(int64_t)>& after_batch) override {
    const double train_loss = epochs_->train(epoch, after_batch);
    const tasks::SequenceTask& task = current_ == nullptr ? *task_ : *current_;
    const Evaluation validation = evaluate(*model_, task, Split::validation,
                                           task.size(Split::validation), options_.piece_length);
    if (!std::isfinite(validation.loss)) {
      throw NonFiniteLoss(fmt::format("validation loss is {} after epoch {} (step {})",
                                      validation.loss, epoch, adam_.steps()));
    }
    Metrics metrics = {{"train_loss", train_loss}, {"validation_loss", validation.loss}};
    for (Metric& metric : accuracies("validation", validation))
      metrics.push_back(std::move(metric));
    metrics.emplace_back("energy_per_step", validation.energy_per_step);
    metrics.emplace_back("energy_per_sequence", validation.energy_per_sequence);
    if (options_.has_curriculum()) {
      metrics.emplace_back(task.difficulty()->name, static_cast<double>(difficulty_));
      if (validation.accuracy >= options_.solved_accuracy) raise_difficulty();
    }
    return metrics;
  }

  void try_out() override {
    evaluate(*model_, *task_, Split::validation, 1, options_.piece_length);
  }
  int64_t test_size() const override { return task_->size(Split::test); }
  Metrics test(int64_t count) override {
    if (count > test_size()) {
      throw base::UserError(
          fmt::format("{} test sequences requested: there are {}", count, test_size()));
    }
    return test_metrics(*model_, *task_, count, options_.piece_length);
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
  // Throws base::UserError.
  void check_curriculum() const {
    if (!task_->difficulty()) {
      throw base::UserError(
          "train.solved_accuracy is set, but the task has no difficulty to raise: leave it out");
    }
    if (options_.patience > 0 || std::isfinite(options_.target_accuracy)) {
      throw base::UserError(
          "train.solved_accuracy raises the difficulty, so that accuracies of different epochs do "
          "not compare: leave out train.patience and train.target_accuracy");
    }
  }

  void train_on(const tasks::SequenceTask& task) {
    epochs_.emplace(task, *model_, adam_,
                    EpochOptions{.batch_size = options_.batch_size,
                                 .piece_length = options_.piece_length,
                                 .energy_weight = options_.energy_weight,
                                 .learning_rate = options_.learning_rate,
                                 .warm_up_steps = options_.warm_up_steps,
                                 .max_grad_norm = options_.max_grad_norm,
                                 .state_gradient = options_.state_gradient,
                                 .passes = options_.passes,
                                 .new_data = options_.new_data});
  }
  // REQUIRES: the task exists at this difficulty.
  void train_at(int64_t difficulty) {
    epochs_.reset();  // it refers to the task
    current_ = task_->at_difficulty(difficulty);
    difficulty_ = difficulty;
    train_on(*current_);
  }
  // Unless it is the hardest already.
  void raise_difficulty() {
    if (options_.hardest > 0 && difficulty_ >= options_.hardest) return;
    if (task_->at_difficulty(difficulty_ + 1) != nullptr) train_at(difficulty_ + 1);
  }

  SupervisedOptions options_;
  std::unique_ptr<tasks::SequenceTask> task_;
  std::shared_ptr<nn::Classifier> model_;
  Adam adam_;
  // With a curriculum: the difficulty to train at, and the task there.
  int64_t difficulty_ = 0;
  std::unique_ptr<tasks::SequenceTask> current_;
  std::optional<EpochTrainer> epochs_;
};

}  // namespace

std::vector<base::Field> SupervisedOptions::fields() {
  return {
      seed_field(),
      base::field("epochs", most_epochs,
                  "validation follows each, and the checkpoint; raise it while validation accuracy "
                  "still rises",
                  {.least = 1}),
      base::field("passes", passes,
                  "passes over the training set in an epoch; raise it for a set that is small",
                  {.least = 1, .most = 1e6}),
      base::field("new_data", new_data,
                  "each pass takes new sequences, if the task has any number of them, so that "
                  "nothing can be learnt by heart"),
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
      base::field("warm_up_steps", warm_up_steps,
                  "updates at the start over which the step size rises to learning_rate; raise it "
                  "if the first updates make the loss jump",
                  {.least = 0, .most = 1e9}),
      base::field(
          "max_grad_norm", max_grad_norm,
          "gradients are scaled down so that their joint norm is at most this (inf: never); "
          "set it if single batches make the loss jump",
          {.least = 0}),
      state_gradient.most_field(
          "a sequence", "set it, to 0.3 say, if gradients of long sequences are not finite"),
      state_gradient.steps_field(),
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
      base::field("solved_accuracy", solved_accuracy,
                  "a curriculum: after an epoch with this validation accuracy the task gets harder "
                  "by one (inf: never); set it for a task that is too hard to begin with",
                  {.least = 0}),
      base::field("hardest", hardest, "where the curriculum ends (0: as hard as can be)",
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

BatchGradient::BatchGradient(const tasks::SequenceTask& task, nn::Classifier& model,
                             int64_t batch_size, double energy_weight,
                             const StateGradientBound& state_gradient)
    : task_(task),
      model_(model),
      parameters_(model.parameters()),
      of_unit_(model.unit().parameters()),
      energy_weight_(energy_weight),
      state_gradient_(state_gradient) {
  state_gradient_.most /= static_cast<double>(batch_size);
  shard_count_ = shards_of(batch_size, kSequencesInShard);
  const processes::Share share = processes::group().share(shard_count_);
  for (int64_t i = share.begin; i < share.end; ++i) {
    const int64_t first = i * kSequencesInShard;
    const int64_t size = std::min(kSequencesInShard, batch_size - first);
    shards_.push_back({first,
                       size,
                       torch::empty({task.steps(), size, task.input_size()}),
                       torch::empty({task.steps() * size}, torch::kInt64),
                       {},
                       {}});
  }
}

void BatchGradient::read(int64_t first) {
  for (Shard& shard : shards_) {
    const int64_t first_of_shard = first + shard.first;
    task_.batch(tasks::Split::training, first_of_shard, shard.size, shard.x.data_ptr<float>(),
                shard.target.data_ptr<int64_t>());
    shard.state.clear();
    if (energy_weight_ > 0) {
      shard.past_end = past_end_of(task_, Split::training, first_of_shard, shard.size);
    }
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
  if (shard_count_ > 1) {  // the loss of each is divided by those of all
    const auto counts =
        gather_numbers({static_cast<double>(result.targets), static_cast<double>(steps)});
    result.targets = steps = 0;
    for (size_t k = 0; k < counts.size(); k += 2) {
      result.targets += static_cast<int64_t>(counts[k]);
      steps += static_cast<int64_t>(counts[k + 1]);
    }
  }
  const torch::Dtype dtype = parameters_.front().scalar_type();
  const bool is_whole = begin == 0 && end == task_.steps();
  const bool trains_energy = steps > 0;
  const int64_t first_shard = processes::group().share(shard_count_).begin;
  // Numbers of a shard: the loss, and how many targets it has.
  ShardResults shards = run_shards(shard_count_, [&](int64_t number) {
    const int64_t i = number - first_shard;
    Shard& shard = shards_[i];
    const torch::AutoGradMode mode(asked[i].targets > 0 || trains_energy);
    const torch::Tensor x = is_whole ? shard.x : shard.x.slice(0, begin, end);
    nn::UnitOutput output = forward_bounded(model_.unit(),
                                            {.x = x.to(dtype),
                                             .state = shard.state,
                                             .energy = trains_energy,
                                             .wants_state = end < task_.steps()},
                                            state_gradient_);
    if (end < task_.steps()) shard.state = detached(std::move(output.state));
    ShardResult of_shard{.numbers = {0, static_cast<double>(asked[i].targets)}};
    // What the loss reads of the unit, and its gradients with respect to that.
    std::vector<torch::Tensor> results, slopes;
    ops::ClassifierLoss of_loss;
    if (asked[i].targets > 0) {
      const torch::Tensor targets =
          shard.target.slice(0, (begin + asked[i].first_step) * shard.size, end * shard.size);
      of_loss = model_.loss(output.y, targets, 1 / static_cast<double>(result.targets));
      of_shard.numbers[0] = of_loss.loss / static_cast<double>(result.targets);
      results.push_back(output.y);
      slopes.push_back(of_loss.y);
    }
    if (trains_energy) {
      const torch::Tensor sum = up_to_end(output.energy, shard.past_end, begin, end).sum();
      results.push_back(sum);
      slopes.push_back(torch::full({}, energy_weight_ / static_cast<double>(steps), sum.options()));
    }
    if (results.empty()) return of_shard;
    if (!of_unit_.empty()) {
      of_shard.gradients = torch::autograd::grad(results, of_unit_, slopes, std::nullopt,
                                                 /*create_graph=*/false, /*allow_unused=*/true);
    }
    of_shard.gradients.push_back(of_loss.weight);
    of_shard.gradients.push_back(of_loss.bias);
    // Without a target the head has no gradient.
    for (size_t k = 0; k < parameters_.size(); ++k) {
      torch::Tensor& gradient = of_shard.gradients[k];
      if (!gradient.defined()) gradient = torch::zeros_like(parameters_[k]);
    }
    return of_shard;
  });
  result.loss = shards.sum_of(0);
  result.targets = static_cast<int64_t>(shards.sum_of(1));
  result.gradients = std::move(shards.gradients);
  return result;
}

EpochTrainer::EpochTrainer(const tasks::SequenceTask& task, nn::Classifier& model, Adam& adam,
                           const EpochOptions& options)
    : task_(task),
      model_(model),
      adam_(adam),
      options_(options),
      batches_(task.size(tasks::Split::training) / options.batch_size),
      gradient_(task, model, batches_ == 0 ? 0 : options.batch_size, options.energy_weight,
                options.state_gradient) {
  if (batches_ == 0) {
    throw base::UserError(
        fmt::format("train.batch_size = {} is more than the {} training sequences: lower it, or "
                    "raise task.training",
                    options.batch_size, task.size(tasks::Split::training)));
  }
  if (options.new_data && !task.endless()) {
    throw base::UserError(
        "train.new_data is set, but the task draws its training set once: leave it out");
  }
}

double EpochTrainer::train(int64_t epoch, const std::function<void(int64_t)>& after_batch) {
  Losses losses;
  for (int64_t i = 0; i < batches(); ++i) {
    const int64_t batch = options_.new_data ? (epoch - 1) * batches() + i : i % batches_;
    train_batch(batch * options_.batch_size, fmt::format("epoch {}, batch {}", epoch, i + 1),
                losses);
    after_batch(i + 1);
  }
  return losses.sum / static_cast<double>(losses.pieces);
}

void EpochTrainer::warm_up() {
  if (options_.warm_up_steps == 0) return;
  const auto next = static_cast<double>(adam_.steps() + 1);
  const double share = std::min(1.0, next / static_cast<double>(options_.warm_up_steps));
  adam_.set_learning_rate(share * options_.learning_rate);
}

void EpochTrainer::train_batch(int64_t first, const std::string& where, Losses& losses) {
  const std::vector<torch::Tensor> parameters = model_.parameters();
  gradient_.read(first);
  for (int64_t begin = 0, end; begin < task_.steps(); begin = end) {
    end = end_of_piece(begin, options_.piece_length, task_.steps());
    const BatchGradient::Result piece = gradient_.run(begin, end);
    if (!std::isfinite(piece.loss)) {
      throw NonFiniteLoss(
          fmt::format("loss is {} in {} (step {})", piece.loss, where, adam_.steps() + 1));
    }
    if (piece.gradients.empty()) continue;
    if (const std::string name = find_not_finite(model_, piece.gradients); !name.empty()) {
      const bool may_be_bounded = !std::isfinite(options_.state_gradient.most) &&
                                  end - begin > options_.state_gradient.steps;
      throw NonFiniteLoss(fmt::format("the gradient of {} is not finite in {} (step {}{})", name,
                                      where, adam_.steps() + 1,
                                      may_be_bounded ? "; see train.max_state_grad_norm" : ""));
    }
    if (std::isfinite(options_.max_grad_norm)) clip_norm(piece.gradients, options_.max_grad_norm);
    set_gradients(parameters, piece.gradients);
    warm_up();
    adam_.step();
    model_.unit().keep_in_bounds();
    if (piece.targets == 0) continue;  // trained for its energy alone
    losses.sum += piece.loss;
    ++losses.pieces;
  }
}

}  // namespace stpn::train
