#include "stpn/train/run/run.h"

#include <fmt/ranges.h>

#include <chrono>
#include <utility>

#include "stpn/base/error.h"
#include "stpn/base/files.h"
#include "stpn/ops/runtime/kernel_device.h"
#include "stpn/ops/runtime/threads.h"
#include "stpn/processes/group.h"
#include "stpn/train/algorithms/finite.h"
#include "stpn/train/run/checkpoint.h"
#include "stpn/train/run/run_folder.h"

namespace stpn::train {
namespace {

// Seconds since construction, plus `before`: those of the run before it was resumed.
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

// Throws base::UserError if what was loaded from the checkpoint is not finite. `adam` may be null.
void check_finite(const std::filesystem::path& checkpoint, const torch::nn::Module& model,
                  const Adam* adam) {
  const std::string name = find_not_finite(model, adam);
  if (name.empty()) return;
  throw base::UserError(
      fmt::format("{}: {} has NaN or infinite values: the run has diverged; train it again, with a "
                  "lower train.learning_rate",
                  checkpoint.string(), name));
}

// Whether the first process has a file there: others may be on machines that do not.
bool first_has(const std::filesystem::path& file) {
  processes::Group& group = processes::group();
  const bool has = group.is_first() && std::filesystem::exists(file);
  return !group.broadcast(has ? "yes" : "").empty();
}

// Throws base::UserError unless all processes run the experiment of the first, by this program.
void check_same_experiment(const std::string& config) {
  const auto same_as_first = [](const std::string& mine) {
    return processes::group().broadcast(mine) == mine;
  };
  if (!same_as_first(version())) {
    throw base::UserError(fmt::format("runs version {} of stpn, and process 0 another", version()));
  }
  if (!same_as_first(config)) {
    throw base::UserError("has another experiment than process 0: give all the same file");
  }
  // All have to get here: nothing is written for a run that one refuses.
  processes::group().gather("");
}

// Throws base::Error unless all processes have the same weights. Those that compute other bits, as
// on another kind of processor, would train models that differ more and more.
void check_same_weights(const torch::nn::Module& model, int64_t epoch) {
  processes::Group& group = processes::group();
  if (group.alone()) return;
  uint64_t digest = 14695981039346656037u;  // FNV-1a
  for (const torch::Tensor& parameter : model.parameters()) {
    const torch::Tensor dense = parameter.detach().contiguous();
    const auto* const bytes = static_cast<const unsigned char*>(dense.const_data_ptr());
    for (size_t i = 0; i < dense.nbytes(); ++i) digest = (digest ^ bytes[i]) * 1099511628211u;
  }
  const std::vector<std::string> all = group.gather(fmt::format("{}", digest));
  for (int rank = 1; rank < group.size(); ++rank) {
    if (all[rank] == all[0]) continue;
    throw base::Error(
        fmt::format("process {} of {} has other weights than process 0 after epoch {}: start them "
                    "on processors of one kind",
                    rank, group.size(), epoch));
  }
}

// Throws base::UserError if units are to run on a GPU and this one cannot.
void check_device(const torch::nn::Module& model, const std::string& unit_name) {
  const c10::Device* const device = ops::kernel_device();
  if (device == nullptr || !device->is_cuda()) return;
  for (const auto& module : model.modules()) {
    const auto* const unit = dynamic_cast<const nn::Unit*>(module.get());
    if (unit == nullptr) continue;
    if (unit->has_gpu_kernels()) return;
    std::vector<std::string> names;
    for (const nn::UnitEntry& entry : nn::unit_registry()) {
      if (entry.options()->make(1)->has_gpu_kernels()) names.push_back(entry.name);
    }
    throw base::UserError(fmt::format("--device {}: unit {} has no kernels for a GPU; {} have",
                                      device->str(), unit_name, fmt::join(names, ", ")));
  }
}

// Restores the model, the optimiser and the trainer.
Progress restore(Trainer& trainer, const std::filesystem::path& checkpoint,
                 const std::string& config) {
  base::Safetensors content;
  const Progress progress =
      load_checkpoint(checkpoint, trainer.model(), &trainer.adam(), config, &content);
  check_finite(checkpoint, trainer.model(), &trainer.adam());
  try {
    trainer.restore(content);
  } catch (const base::UserError& error) {
    throw base::UserError(
        fmt::format("{}: the run cannot be resumed: {}", checkpoint.string(), error.what()));
  }
  return progress;
}

// Throws base::UserError for settings that would change more than the task's options.
void check_task_settings(const std::vector<std::string>& settings) {
  for (const std::string& setting : settings) {
    if (setting.starts_with("task.") && !setting.starts_with("task.name=")) continue;
    throw base::UserError(fmt::format(
        "--set {}: a run keeps its unit and its training; only options of its task, task.KEY, can "
        "be changed",
        setting));
  }
}

// Weights of a run whose task the settings have changed.
Progress load_weights(Trainer& trainer, const std::filesystem::path& checkpoint,
                      const std::string& config, const std::vector<std::string>& settings) {
  try {
    return load_checkpoint(checkpoint, trainer.model(), nullptr, config);
  } catch (const base::UserError& error) {
    if (settings.empty()) throw;
    throw base::UserError(fmt::format(
        "{}; with --set {} the task may have inputs or outputs of another size than the model was "
        "trained with",
        error.what(), fmt::join(settings, " ")));
  }
}

}  // namespace

std::optional<Summary> run_experiment(const Experiment& experiment,
                                      const std::filesystem::path& path, bool resume,
                                      Observer& its_observer, const std::string& device_name) {
  const ops::KernelThreadsGuard same_bits_for_any_threads;
  std::optional<ops::KernelDeviceGuard> on_device;
  const c10::Device device = ops::kernel_device_of(device_name);
  if (!device.is_cpu()) on_device.emplace(device);
  const RunFolder folder(path);
  const std::string config = experiment.to_toml();
  const bool writes = processes::group().is_first();
  Observer no_observer;
  Observer& observer = writes ? its_observer : no_observer;
  if (writes) folder.check(config, resume);
  check_same_experiment(config);

  const auto trainer = experiment.make_trainer();
  torch::nn::Module& model = trainer->model();
  Adam& adam = trainer->adam();
  check_device(model, experiment.unit_name);
  trainer->try_out();
  std::optional<base::FileLock> lock;
  if (writes) lock.emplace(folder.lock());
  Progress progress;
  if (first_has(folder.last())) {
    if (trainer->keeps_best()) {
      load_checkpoint(folder.best(), model, nullptr, config);  // finds a damaged one now
      check_finite(folder.best(), model, nullptr);
    }
    progress = restore(*trainer, folder.last(), config);
    if (writes) folder.check_metrics(progress.metrics_bytes);
  }
  if (trainer->finished(progress) && first_has(folder.summary())) return {};

  std::optional<base::AppendLog> log;
  if (writes) {
    folder.open(config);
    log.emplace(folder.metrics(), progress.metrics_bytes);
  }
  const Stopwatch stopwatch(progress.wall_seconds);
  observer.on_start(*trainer, progress.epoch, experiment.train->epochs());
  try {
    while (!trainer->finished(progress)) {
      const int64_t epoch = progress.epoch + 1;
      const int64_t batches = trainer->batches();
      Metrics metrics = trainer->train_epoch(
          epoch, [&](int64_t done) { observer.on_batch(epoch, done, batches); });
      if (const std::string name = find_not_finite(model, &adam); !name.empty()) {
        throw NonFiniteLoss(
            fmt::format("{} is not finite after epoch {} (step {})", name, epoch, adam.steps()));
      }
      check_same_weights(model, epoch);
      const double score = value_of(metrics, trainer->score());
      const EpochMetrics line = {.epoch = epoch,
                                 .step = adam.steps(),
                                 .wall_seconds = stopwatch.seconds(),
                                 .metrics = std::move(metrics)};
      if (writes) log->append_line(to_json(line));
      progress.epoch = epoch;
      progress.step = adam.steps();
      if (writes) progress.metrics_bytes = log->bytes();
      progress.wall_seconds = line.wall_seconds;
      if (score > progress.best_score) {
        progress.best_epoch = epoch;
        progress.best_score = score;
        if (trainer->keeps_best() && writes) {
          save_checkpoint(folder.best(), model, adam, progress, config);
        }
      }
      base::Safetensors rest;
      trainer->save(rest);
      if (writes) save_checkpoint(folder.last(), model, adam, progress, config, std::move(rest));
      observer.on_epoch(line);
    }
  } catch (const NonFiniteLoss& error) {
    const std::string checkpoint = progress.epoch == 0
                                       ? "there is no checkpoint yet"
                                       : fmt::format("the last good checkpoint is {} (epoch {})",
                                                     folder.last().string(), progress.epoch);
    if (writes) base::write_file(folder.diverged(), fmt::format("{}\n", error.what()));
    throw base::Error(
        fmt::format("{}: {}; a lower train.learning_rate may help", error.what(), checkpoint));
  }

  Metrics metrics = trainer->test(trainer->test_size());
  if (trainer->keeps_best()) {
    const Metric last = metrics.front();
    load_checkpoint(folder.best(), model, nullptr, config);
    metrics = trainer->test(trainer->test_size());
    metrics.emplace_back("last_" + last.first, last.second);
    metrics.emplace_back(trainer->score(), progress.best_score);
    metrics.emplace_back("best_epoch", static_cast<double>(progress.best_epoch));
  }
  metrics.push_back(trainer->pace(progress.epoch, progress.wall_seconds));
  const Summary summary = {.experiment = experiment.name,
                           .task = experiment.task_name,
                           .model = experiment.model,
                           .seed = experiment.train->seed,
                           .parameters = nn::parameter_count(model),
                           .steps = progress.step,
                           .wall_seconds = stopwatch.seconds(),
                           .metrics = std::move(metrics),
                           .baselines = trainer->baselines(),
                           .version = version()};
  if (writes) base::write_file(folder.summary(), to_json(summary));
  return summary;
}

RunEvaluation evaluate_run(const std::filesystem::path& path, std::optional<int64_t> count,
                           Trace trace, const std::vector<std::string>& settings) {
  const ops::KernelThreadsGuard same_bits_for_any_threads;
  const RunFolder folder(path);
  if (!std::filesystem::exists(folder.config())) {
    throw base::UserError(
        fmt::format("{}: is not a run folder: it has no config.toml", path.string()));
  }
  check_task_settings(settings);
  const Experiment trained = read_experiment(folder.config());
  const Experiment experiment = read_experiment(folder.config(), settings);
  check_same_experiment(experiment.to_toml());
  const auto trainer = experiment.make_trainer();
  const auto weights = trainer->keeps_best() ? folder.best() : folder.last();
  if (!std::filesystem::exists(weights)) {
    if (std::filesystem::exists(folder.diverged())) {
      std::string why = base::read_file(folder.diverged());
      while (why.ends_with('\n')) why.pop_back();
      throw base::UserError(fmt::format(
          "{}: has no checkpoint, because the run has diverged ({}): train it again, with a lower "
          "train.learning_rate",
          path.string(), why));
    }
    throw base::UserError(fmt::format("{}: has no checkpoint yet: train it first", path.string()));
  }
  const Progress progress = load_weights(*trainer, weights, trained.to_toml(), settings);
  check_finite(weights, trainer->model(), nullptr);
  const int64_t tested = count.value_or(trainer->test_size());
  if (tested < 1 || tested > kMostTested) {
    throw base::UserError(fmt::format("{} {} requested: must be from 1 to {}", tested,
                                      trainer->items(), kMostTested));
  }
  std::string traced;  // first, because it may throw
  if (trace != Trace::none) traced = trainer->trace(trace == Trace::sampled);
  return {.task = experiment.task_name,
          .unit = experiment.unit_name,
          .epoch = progress.epoch,
          .items = trainer->items(),
          .count = tested,
          .metrics = trainer->test(tested),
          .baselines = trainer->baselines(),
          .trace = std::move(traced)};
}

const std::string& version() {
  static const std::string version = STPN_VERSION;
  return version;
}

}  // namespace stpn::train
