// stpn eval
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "cli/commands.h"
#include "stpn/train/run.h"

namespace stpn::cli {
namespace {

struct EvalArguments {
  std::string run;
  std::optional<int64_t> episodes;
  bool json = false;
};

void run_eval(const EvalArguments& arguments) {
  const train::RunEvaluation evaluation = train::evaluate_run(arguments.run, arguments.episodes);
  const train::Evaluation& result = evaluation.result;
  if (arguments.json) {
    const nlohmann::ordered_json json = {{"run", arguments.run},
                                         {"task", evaluation.task},
                                         {"unit", evaluation.unit},
                                         {"epoch", evaluation.epoch},
                                         {"sequences", evaluation.sequences},
                                         {"metrics",
                                          {{"test_accuracy", result.accuracy},
                                           {"test_loss", result.loss},
                                           {"energy_per_step", result.energy_per_step},
                                           {"energy_per_sequence", result.energy_per_sequence}}}};
    // The name of a folder need not be UTF-8.
    fmt::print("{}\n", json.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace));
    return;
  }
  fmt::print("{} on {}, weights of epoch {}, {} test sequences\n", evaluation.unit, evaluation.task,
             evaluation.epoch, evaluation.sequences);
  fmt::print("accuracy {:.4f}  loss {:.4f}  energy {:.4g} a step, {:.4g} a sequence\n",
             result.accuracy, result.loss, result.energy_per_step, result.energy_per_sequence);
}

}  // namespace

void add_eval(CLI::App& app) {
  CLI::App* command =
      app.add_subcommand("eval", "Test the best weights of a run on its test sequences");
  auto arguments = std::make_shared<EvalArguments>();
  command->add_option("RUN_DIR", arguments->run, "folder that stpn train made")->required();
  command
      ->add_option("--episodes", arguments->episodes,
                   "test on so many sequences, the first; without it on all")
      ->check(CLI::PositiveNumber);
  command->add_flag("--json", arguments->json, "print one JSON object");
  command->footer(
      "Example:\n"
      "  stpn eval runs/associative_retrieval/stpn/seed1 --json");
  command->callback([arguments] { run_eval(*arguments); });
}

}  // namespace stpn::cli
