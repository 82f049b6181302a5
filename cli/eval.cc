// stpn eval
#include <fmt/ranges.h>
#include <torch/torch.h>

#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "cli/commands.h"
#include "cli/options.h"
#include "cli/processes/connection.h"
#include "cli/say.h"
#include "cli/sweep_table.h"
#include "stpn/base/error.h"
#include "stpn/base/files.h"
#include "stpn/train/policy_experiment.h"
#include "stpn/train/run/run.h"

namespace stpn::cli {
namespace {

using Json = nlohmann::ordered_json;

struct EvalArguments {
  std::string subject;
  std::optional<int64_t> episodes;
  std::vector<std::string> settings;
  std::string trace;
  bool sampled = false;
  bool json = false;
  int64_t process_timeout = kProcessTimeout;
};

void print_json(const Json& json) {
  // File names need not be valid UTF-8.
  fmt::print("{}\n", json.dump(2, ' ', false, Json::error_handler_t::replace));
}

// Makes the folders above it too.
void write_trace(const std::filesystem::path& file, const std::string& trace) {
  std::error_code error;
  std::filesystem::create_directories(file.parent_path(), error);  // write_file reports an error
  base::write_file(file, trace + "\n");
}

void eval_run(const EvalArguments& arguments) {
  Connection connection(static_cast<double>(arguments.process_timeout));
  torch::set_num_threads(connection.threads(torch::get_num_threads()));
  const train::Trace trace = arguments.trace.empty() ? train::Trace::none
                             : arguments.sampled     ? train::Trace::sampled
                                                     : train::Trace::as_tested;
  const train::RunEvaluation result =
      train::evaluate_run(arguments.subject, arguments.episodes, trace, arguments.settings);
  connection.finish();
  if (!connection.is_first()) return;
  if (!arguments.trace.empty()) write_trace(arguments.trace, result.trace);
  if (arguments.json) {
    Json metrics = Json::object();
    for (const auto& [name, value] : result.metrics) metrics[name] = value;
    Json baselines = Json::object();
    for (const auto& [name, value] : result.baselines) baselines[name] = value;
    print_json({{"run", arguments.subject},
                {"task", result.task},
                {"unit", result.unit},
                {"epoch", result.epoch},
                {"settings", arguments.settings},
                {result.items, result.count},
                {"metrics", metrics},
                {"baselines", baselines}});
    return;
  }
  fmt::print(
      "{} on {}{}, weights of epoch {}, {} test {}\n{}\n", result.unit, result.task,
      arguments.settings.empty() ? "" : fmt::format(" with {}", fmt::join(arguments.settings, " ")),
      result.epoch, result.count, result.items, listed(without_sweep(result.metrics)));
  for (const auto& [name, value] : result.baselines) fmt::print("{} {:.4g}\n", name, value);
  fmt::print("{}", sweep_table(result.metrics));
}

void eval_policy(const EvalArguments& arguments) {
  check_alone("eval", "tests a policy in one process: start it alone");
  if (arguments.sampled) {
    throw base::UserError(
        fmt::format("{}: --sampled is for a run; a policy that needs no training plays in one way",
                    arguments.subject));
  }
  const train::PolicyExperiment experiment =
      train::read_policy_experiment(arguments.subject, arguments.settings);
  const train::PolicyEvaluation result =
      train::evaluate_policy(experiment, arguments.episodes, !arguments.trace.empty());
  if (!arguments.trace.empty()) write_trace(arguments.trace, result.trace);
  if (arguments.json) {
    print_json({{"experiment", experiment.name},
                {"task", experiment.task_name},
                {"policy", experiment.policy},
                {"seed", experiment.seed},
                {"episodes", result.episodes},
                {"metrics",
                 {{"reward", result.reward.mean},
                  {"reward_std", result.reward.standard_deviation},
                  {"reward_standard_error", result.reward.standard_error},
                  {"episode_length", result.episode_length.mean}}}});
    return;
  }
  fmt::print("{} on {}, {} test episodes of {:.6g} steps\n", experiment.policy,
             experiment.task_name, result.episodes, result.episode_length.mean);
  fmt::print("reward per episode {:.2f}", result.reward.mean);
  if (result.episodes > 1) {
    fmt::print(", standard error {:.2f}, standard deviation {:.2f}", result.reward.standard_error,
               result.reward.standard_deviation);
  }
  fmt::print("\n");
}

}  // namespace

void add_eval(CLI::App& app) {
  CLI::App* command =
      app.add_subcommand("eval", "Test the result of a run, or a policy that needs no training");
  auto arguments = std::make_shared<EvalArguments>();
  command
      ->add_option("RUN_DIR|EXPERIMENT", arguments->subject,
                   "a folder written by stpn train, or an experiment (TOML) with a [policy]: "
                   "random or oracle")
      ->required()
      ->check(kNotEmpty);
  add_integer(*command, "--episodes", arguments->episodes, 1, train::kMostTested,
              "test on the first N sequences or episodes (default: all)");
  command
      ->add_option("--set", arguments->settings,
                   "TABLE.KEY=VALUE: overrides an option of the experiment; may be repeated. Of a "
                   "run only options of the task, task.KEY: tries it on a harder or longer one")
      ->check(kNotEmpty)
      ->allow_extra_args(false);
  CLI::Option* trace =
      command
          ->add_option("--trace", arguments->trace,
                       "write the first episode to this file, as input of python -m "
                       "stpn.maze_picture, stpn.pendulum_film or stpn.pong_film")
          ->check(kNotEmpty);
  command
      ->add_flag("--sampled", arguments->sampled,
                 "with --trace: an episode with drawn actions, not the most probable ones")
      ->needs(trace);
  command->add_flag("--json", arguments->json, "print one JSON object");
  add_process_timeout(*command, arguments->process_timeout);
  command->footer(
      "Examples:\n"
      "  stpn eval runs/associative_retrieval/stpn/seed1 --json\n"
      "  stpn eval runs/associative_retrieval/stpn/seed1 --set task.pairs=8\n"
      "  stpn eval experiments/maze/oracle.toml --set task.size=9 --episodes 20000");
  command->callback([arguments] {
    std::error_code missing;  // the functions that read it report an error
    if (std::filesystem::is_regular_file(arguments->subject, missing)) {
      eval_policy(*arguments);
    } else {
      eval_run(*arguments);
    }
  });
}

}  // namespace stpn::cli
