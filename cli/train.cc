// stpn train
#include <torch/torch.h>

#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "cli/commands.h"
#include "cli/options.h"
#include "cli/processes/connection.h"
#include "cli/progress/event_log.h"
#include "cli/progress/profiled.h"
#include "cli/progress/progress.h"
#include "cli/say.h"
#include "cli/sweep_table.h"
#include "stpn/train/run/run.h"
#include "stpn/train/run/run_folder.h"

namespace stpn::cli {
namespace {

struct TrainArguments {
  std::string experiment;
  std::optional<int64_t> seed;
  std::string out;
  bool resume = false;
  std::optional<int64_t> threads;
  std::string device = "cpu";
  std::vector<std::string> settings;
  bool quiet = false;
  bool profile = false;
  bool tensorboard = false;
  int64_t process_timeout = kProcessTimeout;
};

void run_train(const TrainArguments& arguments) {
  Connection connection(static_cast<double>(arguments.process_timeout));
  torch::set_num_threads(arguments.threads ? static_cast<int>(*arguments.threads)
                                           : connection.threads(torch::get_num_threads()));
  const train::Experiment experiment =
      train::read_experiment(arguments.experiment, arguments.settings, arguments.seed);
  const std::filesystem::path folder = arguments.out.empty() ? train::default_run_folder(experiment)
                                                             : std::filesystem::path(arguments.out);

  const bool quiet = arguments.quiet || !connection.is_first();
  std::unique_ptr<train::Observer> observer;
  if (quiet) {
    observer = std::make_unique<train::Observer>();
  } else {
    observer = std::make_unique<Progress>();
  }
  EventLog events(*observer, train::RunFolder(folder));
  train::Observer& logged = arguments.tensorboard ? events : *observer;
  Profiled profiled(logged);
  train::Observer& observed = arguments.profile ? profiled : logged;
  const auto summary =
      train::run_experiment(experiment, folder, arguments.resume, observed, arguments.device);
  observer.reset();
  connection.finish();
  if (!connection.is_first()) return;
  if (arguments.tensorboard && !summary) train::write_events(train::RunFolder(folder));
  if (arguments.profile) fmt::print("{}", profiled.table());
  if (quiet) return;
  if (!summary) {
    fmt::print("{}: is finished; to continue it, raise {}\n", folder.string(),
               experiment.train->limits());
    return;
  }
  fmt::print("{}{}\n", sweep_table(summary->metrics), listed(without_sweep(summary->metrics)));
  if (!summary->baselines.empty()) {
    fmt::print("to compare with: {}\n", listed(summary->baselines));
  }
  fmt::print("{} parameters; {:.1f} s\n{}\n", summary->parameters, summary->wall_seconds,
             folder.string());
}

}  // namespace

void add_train(CLI::App& app) {
  CLI::App* command = app.add_subcommand("train", "Train the model of an experiment, and test it");
  auto arguments = std::make_shared<TrainArguments>();
  command
      ->add_option("EXPERIMENT", arguments->experiment,
                   "experiment file (TOML); its name without .toml is the name of the model")
      ->required()
      ->check(kNotEmpty);
  add_integer(*command, "--seed", arguments->seed, 0, std::numeric_limits<int64_t>::max(),
              "seed of data and initial parameters; overrides the file");
  command->add_option("--out", arguments->out, "run folder (default: runs/<task>/<model>/seed<N>)")
      ->check(kNotEmpty);
  command->add_flag(
      "--resume", arguments->resume,
      "continue a run that was stopped, or start it if there is none; the result is "
      "the same, bit for bit, as that of a run that was not stopped. A run whose last "
      "checkpoint is missing is left as it is, with an error");
  add_integer(*command, "--threads", arguments->threads, 1, 1024,
              "number of threads (default: one per core, divided among the processes on this "
              "machine); does not change the results");
  command
      ->add_option(
          "--device", arguments->device,
          "where the unit learns: cpu, or cuda or cuda:N in a build with CUDA "
          "(docs/cuda.md); acting, encoder, heads and Adam stay on the CPU. Results differ "
          "in their last bits between devices; a run may be resumed on another")
      ->check(kNotEmpty)
      ->capture_default_str();
  command
      ->add_option("--set", arguments->settings,
                   "TABLE.KEY=VALUE: overrides an option of the file; may be repeated")
      ->check(kNotEmpty)
      ->allow_extra_args(false);
  add_process_timeout(*command, arguments->process_timeout);
  command->add_flag("--profile", arguments->profile,
                    "also print what the time of training went into, for tasks with images");
  command->add_flag("--tensorboard", arguments->tensorboard,
                    "also write events.out.tfevents.stpn into the run folder: config.toml and "
                    "metrics.jsonl as TensorBoard reads them (tensorboard --logdir runs)");
  command->add_flag("--quiet", arguments->quiet, "print errors only");
  command->footer(
      "Examples:\n"
      "  stpn train experiments/retrieval/stpn.toml --seed 3\n"
      "  stpn train experiments/retrieval/stpn.toml --set unit.hidden_size=20 --out runs/wide\n"
      "  stpn train experiments/retrieval/stpn.toml --set train.epochs=300 --resume\n"
      "  mpirun -n 4 stpn train experiments/maze/stpn.toml\n"
      "`stpn list tasks`, `units` and `trainers` list the options of [task], [unit] and [train].");
  command->callback([arguments] { run_train(*arguments); });
}

}  // namespace stpn::cli
