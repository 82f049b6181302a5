#include "stpn/train/run.h"

#include <chrono>
#include <cmath>

#include "stpn/base/error.h"
#include "stpn/base/files.h"
#include "stpn/nn/backend.h"
#include "stpn/train/checkpoint.h"
#include "stpn/train/run_folder.h"

namespace stpn::train {
namespace {

using tasks::Split;

// Seconds since it was made, on top of those of the run's earlier lives.
class Stopwatch {
 public:
  explicit Stopwatch(double before) : before_(before) {}
  double seconds() const {
    return before_ + std::chrono::duration<double>(Clock::now() - start_).count();
  }

 private:
  using Clock = std::chrono::steady_clock;
  double before_;
  Clock::time_point start_ = Clock::now();
};

bool finished(const Progress& progress, const SupervisedOptions& options) {
  return progress.epoch >= options.epochs || progress.best_accuracy >= options.target_accuracy ||
         (options.patience > 0 && progress.epoch - progress.best_epoch >= options.patience);
}

Evaluation evaluate_all(nn::Classifier& model, const tasks::SequenceTask& task, Split split) {
  return evaluate(model, task, split, task.size(split));
}

}  // namespace

std::optional<Summary> run_experiment(const Experiment& experiment,
                                      const std::filesystem::path& path, bool resume,
                                      Observer& observer) {
  const nn::KernelThreadsGuard same_bits_for_any_threads;
  const SupervisedOptions& options = experiment.train;
  const RunFolder folder(path);
  const std::string config = experiment.to_toml();
  folder.check(config, resume);

  const auto task = experiment.make_task();
  const auto model = experiment.make_model(*task);
  Adam adam(model->parameters(), options.learning_rate);
  SupervisedTrainer trainer(*task, *model, adam, options.batch_size);
  evaluate(*model, *task, Split::validation, 1);  // what the unit refuses, it refuses now
  const base::FileLock lock = folder.lock();
  Progress progress;
  if (std::filesystem::exists(folder.last())) {
    load_checkpoint(folder.best(), *model, nullptr,
                    config);  // a broken one is found now, not later
    progress = load_checkpoint(folder.last(), *model, &adam, config);
    folder.check_metrics(progress.metrics_bytes);
  }
  if (finished(progress, options) && std::filesystem::exists(folder.summary())) return {};

  folder.open(config);
  base::LineLog log(folder.metrics(), progress.metrics_bytes);
  const Stopwatch stopwatch(progress.wall_seconds);
  observer.on_start(progress.epoch, options.epochs);
  try {
    while (!finished(progress, options)) {
      const int64_t epoch = progress.epoch + 1;
      const double train_loss = trainer.train_epoch(
          epoch, [&](int64_t done) { observer.on_batch(epoch, done, trainer.batches()); });
      const Evaluation validation = evaluate_all(*model, *task, Split::validation);
      if (!std::isfinite(validation.loss)) {
        throw NonFiniteLoss(fmt::format("validation loss is {} after epoch {} (step {})",
                                        validation.loss, epoch, adam.steps()));
      }
      const EpochMetrics metrics = {.epoch = epoch,
                                    .step = adam.steps(),
                                    .wall_seconds = stopwatch.seconds(),
                                    .train_loss = train_loss,
                                    .validation_loss = validation.loss,
                                    .validation_accuracy = validation.accuracy,
                                    .energy_per_step = validation.energy_per_step,
                                    .energy_per_sequence = validation.energy_per_sequence};
      log.append(to_json(metrics));
      const bool best = validation.accuracy > progress.best_accuracy;
      progress.epoch = epoch;
      progress.step = adam.steps();
      progress.metrics_bytes = log.bytes();
      progress.wall_seconds = metrics.wall_seconds;
      if (best) {
        progress.best_epoch = epoch;
        progress.best_accuracy = validation.accuracy;
        save_checkpoint(folder.best(), *model, adam, progress, config);
      }
      save_checkpoint(folder.last(), *model, adam, progress, config);
      observer.on_epoch(metrics);
    }
  } catch (const NonFiniteLoss& error) {
    const std::string kept = progress.epoch == 0
                                 ? "there is no checkpoint yet"
                                 : fmt::format("the last good checkpoint is {} (epoch {})",
                                               folder.last().string(), progress.epoch);
    throw base::Error(
        fmt::format("{}: {}; a lower train.learning_rate may help", error.what(), kept));
  }

  const Evaluation last = evaluate_all(*model, *task, Split::test);
  load_checkpoint(folder.best(), *model, nullptr, config);
  const Evaluation best = evaluate_all(*model, *task, Split::test);
  const Summary summary = {
      .experiment = experiment.name,
      .task = experiment.task_name,
      .model = experiment.model,
      .seed = options.seed,
      .parameters = model->parameter_count(),
      .steps = progress.step,
      .wall_seconds = stopwatch.seconds(),
      .metrics = {{"test_accuracy", best.accuracy},
                  {"last_test_accuracy", last.accuracy},
                  {"validation_accuracy", progress.best_accuracy},
                  {"best_epoch", static_cast<double>(progress.best_epoch)},
                  {"energy_per_step", best.energy_per_step},
                  {"energy_per_sequence", best.energy_per_sequence},
                  {"seconds_per_epoch",
                   progress.wall_seconds / static_cast<double>(progress.epoch)}},
      .yardsticks = task->yardsticks(),
      .version = version()};
  base::write_file(folder.summary(), to_json(summary));
  return summary;
}

RunEvaluation evaluate_run(const std::filesystem::path& path, std::optional<int64_t> sequences) {
  const nn::KernelThreadsGuard same_bits_for_any_threads;
  const RunFolder folder(path);
  if (!std::filesystem::exists(folder.config())) {
    throw base::UserError(
        fmt::format("{}: is no run folder: it has no config.toml", path.string()));
  }
  const Experiment experiment = read_experiment(folder.config());
  const auto task = experiment.make_task();
  const int64_t size = task->size(Split::test);
  const int64_t count = sequences.value_or(size);
  if (count < 1 || count > size) {
    throw base::UserError(fmt::format("{} test sequences asked for: there are {}", count, size));
  }
  if (!std::filesystem::exists(folder.best())) {
    throw base::UserError(fmt::format("{}: has no checkpoint yet: train it first", path.string()));
  }
  const auto model = experiment.make_model(*task);
  const Progress progress = load_checkpoint(folder.best(), *model, nullptr, experiment.to_toml());
  return {.task = experiment.task_name,
          .unit = experiment.unit_name,
          .epoch = progress.epoch,
          .sequences = count,
          .result = evaluate(*model, *task, Split::test, count)};
}

const std::string& version() {
  static const std::string version = STPN_VERSION;
  return version;
}

}  // namespace stpn::train
