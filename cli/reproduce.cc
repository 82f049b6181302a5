// stpn reproduce
#include <fmt/ranges.h>

#include <algorithm>
#include <chrono>
#include <memory>
#include <nlohmann/json.hpp>
#include <numeric>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "cli/commands.h"
#include "cli/options.h"
#include "cli/places.h"
#include "cli/processes/connection.h"
#include "cli/processes/process_pool.h"
#include "cli/progress/status_line.h"
#include "cli/python.h"
#include "cli/say.h"
#include "stpn/base/error.h"
#include "stpn/base/files.h"
#include "stpn/train/reproduction.h"
#include "stpn/train/run/run_folder.h"

namespace stpn::cli {
namespace {

namespace fs = std::filesystem;
using train::PlannedRun;

constexpr auto kRedrawJobs = std::chrono::milliseconds(1000);

struct ReproduceArguments {
  std::string task;
  std::optional<int64_t> seeds;
  std::string budget = train::kWholeBudget;
  std::optional<int64_t> jobs;
  std::string ray;
  std::string out;
  bool runs_only = false;
  bool tensorboard = false;
};

// Shows the progress of the runs: a line for each run that ends and, on a terminal, a status line.
// The time left is an estimate that assumes epochs of equal length.
class Board {
 public:
  // `todo`: the indices of the runs that have not ended yet.
  Board(const std::vector<PlannedRun>& runs, const fs::path& folder,
        const std::vector<size_t>& todo)
      : runs_(runs), folder_(folder), ended_(runs.size() - todo.size()) {
    for (const PlannedRun& run : runs) epochs_.push_back(run.epochs);
    for (const size_t run : todo) count_epochs(run);
    before_ = epochs_done();
  }
  ~Board() { line_.clear(); }

  void end(size_t run, const std::string& how, const std::vector<size_t>& running) {
    epochs_[run] = runs_[run].epochs;
    ++ended_;
    line_.clear();
    say(fmt::format("{}: {}{}\n", runs_[run].name, how,
                    line_.visible() ? "" : fmt::format(" ({})", status(running).front())));
  }

  void draw(const std::vector<size_t>& running) {
    if (line_.visible()) line_.draw(status(running));
  }

 private:
  using Clock = std::chrono::steady_clock;

  // Counts none in a file that cannot be read: `stpn train` reports the error.
  void count_epochs(size_t run) {
    epochs_[run] = 0;
    try {
      epochs_[run] = train::RunFolder(folder_ / runs_[run].name).epochs();
    } catch (const std::exception&) {
    }
  }

  int64_t epochs_done() const { return std::reduce(epochs_.begin(), epochs_.end()); }

  // Lines for StatusLine: with the names of all running runs, of fewer and fewer, and of none.
  std::vector<std::string> status(const std::vector<size_t>& running) {
    for (const size_t run : running) count_epochs(run);
    const std::string left = time_left() + " left";
    const std::string start = fmt::format("{}/{} done, {}", ended_, runs_.size(), left);
    std::vector<std::string> lines;
    for (size_t named = running.size(); named > 0; --named) {
      std::vector<std::string> names;
      for (size_t i = 0; i < named; ++i) names.push_back(runs_[running[i]].name);
      const size_t others = running.size() - named;
      lines.push_back(fmt::format("{}; running: {}{}", start, fmt::join(names, ", "),
                                  others == 0 ? "" : fmt::format(" and {} more", others)));
    }
    lines.push_back(start);
    lines.push_back(left);
    return lines;
  }

  std::string time_left() const {
    int64_t all = 0;
    for (const PlannedRun& run : runs_) all += run.epochs;
    const int64_t done = epochs_done();
    if (done <= before_) return "?";
    const double seconds = std::chrono::duration<double>(Clock::now() - start_).count();
    return clock_of(seconds * static_cast<double>(all - done) /
                    static_cast<double>(done - before_));
  }

  const std::vector<PlannedRun>& runs_;
  const fs::path folder_;
  std::vector<int64_t> epochs_;  // done, of each run
  int64_t before_ = 0;           // epochs done before this process
  size_t ended_;
  StatusLine line_;
  const Clock::time_point start_ = Clock::now();
};

// What makes the run this one, for `stpn train`.
std::vector<std::string> arguments_of(const PlannedRun& run, bool tensorboard) {
  std::vector<std::string> arguments = {"--seed", fmt::format("{}", run.seed)};
  if (tensorboard) arguments.emplace_back("--tensorboard");
  for (const std::string& setting : run.settings) {
    arguments.emplace_back("--set");
    arguments.push_back(setting);
  }
  return arguments;
}

std::vector<std::string> command_of(const PlannedRun& run, const fs::path& folder,
                                    bool tensorboard) {
  std::vector<std::string> command = {program(), "train",           run.experiment,
                                      "--out",   folder / run.name, "--threads",
                                      "1",       "--resume",        "--quiet"};
  const auto rest = arguments_of(run, tensorboard);
  command.insert(command.end(), rest.begin(), rest.end());
  return command;
}

// Whether the run has ended. If its folder cannot be read, it has not: `stpn train` reports why,
// and the other runs go on.
bool is_finished(const PlannedRun& run, const fs::path& folder) {
  try {
    return train::RunFolder(folder / run.name).finished(run.config);
  } catch (const std::exception&) {
    return false;
  }
}

std::vector<size_t> unfinished(const std::vector<PlannedRun>& runs, const fs::path& folder) {
  std::vector<size_t> todo;
  for (size_t i = 0; i < runs.size(); ++i) {
    if (!is_finished(runs[i], folder)) todo.push_back(i);
  }
  return todo;
}

// Runs the runs on the cluster. Returns the names of those that failed.
std::vector<std::string> run_all_on_ray(const std::vector<PlannedRun>& runs, const fs::path& folder,
                                        const ReproduceArguments& arguments) {
  const std::vector<size_t> todo = unfinished(runs, folder);
  say(fmt::format("{} runs, {} of them finished before; on the Ray cluster {}; in {}\n",
                  runs.size(), runs.size() - todo.size(), arguments.ray, folder.string()));
  nlohmann::json plan = {{"program", program()}, {"runs", nlohmann::json::array()}};
  for (const size_t i : todo) {
    const PlannedRun& run = runs[i];
    const fs::path experiment = fs::absolute(run.experiment);
    plan["runs"].push_back(
        {{"name", run.name},
         {"experiment", experiment.parent_path().filename() / experiment.filename()},
         {"text", base::read_file(run.experiment)},
         {"arguments", arguments_of(run, arguments.tensorboard)},
         {"epochs", run.epochs}});
  }
  std::vector<std::string> words = {arguments.ray, folder};
  if (arguments.jobs) {
    words.emplace_back("--jobs");
    words.push_back(fmt::format("{}", *arguments.jobs));
  }
  const int code = todo.empty() ? 0 : run_on_ray(words, plan.dump());
  std::vector<std::string> failed;
  for (const size_t i : unfinished(runs, folder)) failed.push_back(runs[i].name);
  if (code == 2) throw CLI::RuntimeError(code);  // it has said why
  if (code != 0 && failed.empty()) {
    throw base::Error(fmt::format("python -m stpn.ray_runs failed with exit code {}", code));
  }
  return failed;
}

// Runs the unfinished runs. Returns the names of those that failed.
std::vector<std::string> run_all(const std::vector<PlannedRun>& runs, const fs::path& folder,
                                 size_t jobs, bool tensorboard) {
  const std::vector<size_t> todo = unfinished(runs, folder);
  say(fmt::format("{} runs, {} of them finished before; {} in parallel; in {}\n", runs.size(),
                  runs.size() - todo.size(), jobs, folder.string()));

  Board board(runs, folder, todo);
  ProcessPool pool;
  std::vector<size_t> running;
  std::vector<std::string> failed;
  auto next = todo.begin();
  std::optional<ProcessPool::Ended> ended;
  for (;;) {
    for (; running.size() < jobs && next != todo.end(); ++next) {
      pool.start(*next, command_of(runs[*next], folder, tensorboard));
      running.push_back(*next);
    }
    if (ended) {
      if (ended->exit_code != 0) failed.push_back(runs[ended->key].name);
      board.end(ended->key,
                ended->exit_code == 0 ? "done"
                                      : fmt::format("failed with exit code {}: {}",
                                                    ended->exit_code, one_line(ended->errors)),
                running);
    }
    if (running.empty()) return failed;
    board.draw(running);
    ended = pool.wait(kRedrawJobs);
    if (ended) std::erase(running, ended->key);
  }
}

// Throws base::UserError if a folder that is to hold the runs is one of a run.
void check_holds_runs(const fs::path& folder, const std::vector<PlannedRun>& runs) {
  for (const PlannedRun& run : runs) {
    fs::path above = run.name;
    do {
      above = above.parent_path();
      const fs::path here = above.empty() ? folder : folder / above;
      if (fs::exists(train::RunFolder(here).config())) {
        throw base::UserError(fmt::format(
            "{}: is the folder of a run, where those of {} would go: move it, or choose "
            "another folder with --out",
            here.string(), run.name));
      }
    } while (!above.empty());
  }
}

void reproduce(const ReproduceArguments& arguments) {
  check_alone("reproduce", "starts its own: start it alone, with --jobs or --ray");
  const fs::path file = experiments_folder() / arguments.task / kReproductionFile;
  if (!fs::exists(file)) {
    throw base::UserError(
        fmt::format("{}: there is no reproduction of this task, because there is no {}",
                    arguments.task, file.string()));
  }
  const auto runs = train::plan_reproduction(file, arguments.budget, arguments.seeds);
  const std::string own = arguments.budget == train::kWholeBudget
                              ? arguments.task
                              : fmt::format("{}_{}", arguments.task, arguments.budget);
  const fs::path folder = arguments.out.empty() ? fs::path("runs") / own : fs::path(arguments.out);

  check_holds_runs(folder, runs);
  if (!arguments.runs_only) check_figures();
  if (!arguments.ray.empty()) check_ray();
  std::error_code error;
  fs::create_directories(folder, error);  // the lock reports an error
  const base::FileLock lock(folder / "lock");
  if (!lock.held()) {
    throw base::UserError(
        fmt::format("{}: another process is working on this reproduction: wait for it to end, or "
                    "choose another folder with --out",
                    folder.string()));
  }
  const int64_t cores = std::max(1u, std::thread::hardware_concurrency());
  const auto failed =
      arguments.ray.empty()
          ? run_all(runs, folder, static_cast<size_t>(arguments.jobs.value_or(cores)),
                    arguments.tensorboard)
          : run_all_on_ray(runs, folder, arguments);
  std::vector<std::string> problems;
  if (!failed.empty()) {
    problems.push_back(
        fmt::format("{} of {} runs failed ({}); once their cause is removed, call reproduce again "
                    "to repeat them",
                    failed.size(), runs.size(), fmt::join(failed, ", ")));
  }
  if (failed.size() < runs.size() && !arguments.runs_only) {
    if (const std::string problem = make_figures(folder); !problem.empty())
      problems.push_back(problem);
  }
  if (!problems.empty()) throw base::Error(fmt::format("{}", fmt::join(problems, "; ")));
}

}  // namespace

void add_reproduce(CLI::App& app) {
  CLI::App* command = app.add_subcommand(
      "reproduce", "Train every model of a task with several seeds, and make a table and figures");
  auto arguments = std::make_shared<ReproduceArguments>();
  command
      ->add_option("TASK", arguments->task,
                   "a folder of experiments with a reproduce.toml, which says what is run, such "
                   "as retrieval")
      ->required()
      ->check(kNotEmpty);
  add_integer(*command, "--seeds", arguments->seeds, 1, train::kMaxSeeds,
              "run seeds 1 to N of every model; overrides the file");
  command
      ->add_option("--budget", arguments->budget,
                   "how much to run: full, all of the file (hours); short, one seed and fewer "
                   "epochs; smoke, a test that everything runs")
      ->check(kNotEmpty);
  add_integer(*command, "--jobs", arguments->jobs, 1, 1024,
              "runs in parallel, each on one thread (default: one per core; on a cluster, as many "
              "as it has cores for)");
  command
      ->add_option("--ray", arguments->ray,
                   "run on the Ray cluster with this address, such as head:6379 or auto; our "
                   "program has to be there at the same path")
      ->check(kNotEmpty);
  command
      ->add_option("--out", arguments->out,
                   "output folder (default: runs/<task>, or runs/<task>_<budget> if not full)")
      ->check(kNotEmpty);
  command->add_flag("--runs-only", arguments->runs_only,
                    "train only: make no table and no figures, which need Python");
  command->add_flag("--tensorboard", arguments->tensorboard,
                    "also write a file for TensorBoard into each run folder, as stpn train does");
  command->footer(
      "Each run is a run folder of `stpn train`, <out>/<set>/<model>/seed<N>; table.md and the\n"
      "figures are in <out>. If it is stopped, call it again to continue; finished runs are not\n"
      "repeated. If a run fails, the others continue, and the exit code is 1. The table and the\n"
      "figures are made by a Python that has matplotlib: STPN_PYTHON if set, else "
      ".venv/bin/python\n"
      "in the current folder or the program's checkout, else python3.\n"
      "Examples:\n"
      "  stpn reproduce retrieval --budget short\n"
      "  stpn reproduce retrieval --seeds 5 --jobs 8\n"
      "  stpn reproduce maze --ray head:6379");
  command->callback([arguments] { reproduce(*arguments); });
}

}  // namespace stpn::cli
