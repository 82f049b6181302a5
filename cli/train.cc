// stpn train
#include <torch/torch.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "cli/commands.h"
#include "cli/progress.h"
#include "stpn/train/run.h"
#include "stpn/train/run_folder.h"

namespace stpn::cli {
namespace {

struct TrainArguments {
  std::string experiment;
  std::optional<int64_t> seed;
  std::string out;
  bool resume = false;
  std::optional<int> threads;
  std::vector<std::string> settings;
  bool quiet = false;
};

// " (chance accuracy 0.1000, no binding accuracy 0.4300)", or nothing.
std::string in_brackets(const std::vector<tasks::Yardstick>& yardsticks) {
  std::string text;
  for (const auto& [name, value] : yardsticks) {
    text += fmt::format("{}{} {:.4f}", text.empty() ? " (" : ", ", name, value);
  }
  std::replace(text.begin(), text.end(), '_', ' ');
  return text.empty() ? text : text + ")";
}

void run_train(const TrainArguments& arguments) {
  if (arguments.threads) torch::set_num_threads(*arguments.threads);
  const train::Experiment experiment =
      train::read_experiment(arguments.experiment, arguments.settings, arguments.seed);
  const std::filesystem::path folder = arguments.out.empty() ? train::default_run_folder(experiment)
                                                             : std::filesystem::path(arguments.out);

  std::unique_ptr<train::Observer> observer;
  if (arguments.quiet) {
    observer = std::make_unique<train::Observer>();
  } else {
    observer = std::make_unique<Progress>(experiment.train.batch_size);
  }
  const auto summary = train::run_experiment(experiment, folder, arguments.resume, *observer);
  observer.reset();
  if (arguments.quiet) return;
  if (!summary) {
    fmt::print("{}: is finished: a larger train.epochs, or another early stop, would go on\n",
               folder.string());
    return;
  }
  fmt::print(
      "test accuracy {:.4f} with the weights of epoch {:.0f}, {:.4f} with the last{}\n"
      "energy {:.4g} a step, {:.4g} a sequence; {} parameters; {:.1f} s\n"
      "{}\n",
      summary->metric("test_accuracy"), summary->metric("best_epoch"),
      summary->metric("last_test_accuracy"), in_brackets(summary->yardsticks),
      summary->metric("energy_per_step"), summary->metric("energy_per_sequence"),
      summary->parameters, summary->wall_seconds, folder.string());
}

}  // namespace

void add_train(CLI::App& app) {
  CLI::App* command = app.add_subcommand("train", "Train the model of an experiment, and test it");
  auto arguments = std::make_shared<TrainArguments>();
  command
      ->add_option("EXPERIMENT", arguments->experiment,
                   "experiment file (TOML); its stem names the model")
      ->required();
  command->add_option("--seed", arguments->seed, "seed of data and parameters, over the file's");
  command->add_option("--out", arguments->out,
                      "run folder; without it runs/<task>/<model>/seed<N>");
  command->add_flag("--resume", arguments->resume,
                    "go on with a run that was stopped, or start it if there is none; ends in the "
                    "same bits as a run never stopped");
  command
      ->add_option("--threads", arguments->threads,
                   "threads; without it one a core. Results do not depend on it")
      ->check(CLI::Range(1, 1024));
  command
      ->add_option("--set", arguments->settings,
                   "TABLE.KEY=VALUE: an option over the file's; may be repeated")
      ->allow_extra_args(false);
  command->add_flag("--quiet", arguments->quiet, "print nothing but errors");
  command->footer(
      "Examples:\n"
      "  stpn train experiments/retrieval/stpn.toml --seed 3\n"
      "  stpn train experiments/retrieval/stpn.toml --set unit.hidden_size=20 --out runs/wide\n"
      "  stpn train experiments/retrieval/stpn.toml --set train.epochs=300 --resume\n"
      "`stpn list tasks`, `units` and `trainers` name the options of [task], [unit] and [train].");
  command->callback([arguments] { run_train(*arguments); });
}

}  // namespace stpn::cli
