// stpn reproduce
#include <fmt/ranges.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <memory>
#include <numeric>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "cli/commands.h"
#include "cli/places.h"
#include "cli/process_pool.h"
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
constexpr const char* kWholeBudget = "full";

struct ReproduceArguments {
  std::string task;
  std::optional<int64_t> seeds;
  std::string budget = kWholeBudget;
  int jobs = static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
  std::string out;
};

// Standard error of a child process as part of a line of our own output.
std::string one_line(std::string text) {
  if (text.starts_with("stpn: ")) text.erase(0, 6);
  text.erase(text.find_last_not_of(" \n") + 1);
  std::replace(text.begin(), text.end(), '\n', ' ');
  return text;
}

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
  ~Board() { clear(); }

  void end(size_t run, const std::string& how, const std::vector<size_t>& running) {
    epochs_[run] = runs_[run].epochs;
    ++ended_;
    clear();
    say(fmt::format("{}: {}{}\n", runs_[run].name, how,
                    terminal_ ? "" : fmt::format(" ({})", status(running))));
  }

  void draw(const std::vector<size_t>& running) {
    if (!terminal_) return;
    std::string line = status(running);
    winsize size = {};
    if (::ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 1) {
      line.resize(std::min<size_t>(line.size(), size.ws_col - 1));
    }
    say(fmt::format("\r{}\x1b[K", line));
    drawn_ = true;
  }

 private:
  using Clock = std::chrono::steady_clock;

  void clear() {
    if (drawn_) say("\r\x1b[K");
    drawn_ = false;
  }

  void count_epochs(size_t run) {
    const fs::path metrics = train::RunFolder(folder_ / runs_[run].name).metrics();
    const std::string lines = fs::exists(metrics) ? base::read_file(metrics) : "";
    epochs_[run] = std::count(lines.begin(), lines.end(), '\n');
  }

  int64_t epochs_done() const { return std::reduce(epochs_.begin(), epochs_.end()); }

  std::string status(const std::vector<size_t>& running) {
    std::vector<std::string> names;
    for (const size_t run : running) {
      count_epochs(run);
      names.push_back(runs_[run].name);
    }
    return fmt::format("{}/{} done, {} left{}{}", ended_, runs_.size(), time_left(),
                       names.empty() ? "" : "; running: ", fmt::join(names, ", "));
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
  const bool terminal_ = isatty(STDERR_FILENO) != 0;
  std::vector<int64_t> epochs_;  // done, of each run
  int64_t before_ = 0;           // epochs done before this process
  size_t ended_;
  bool drawn_ = false;
  const Clock::time_point start_ = Clock::now();
};

std::vector<std::string> command_of(const PlannedRun& run, const fs::path& folder) {
  std::vector<std::string> command = {program(),
                                      "train",
                                      run.experiment,
                                      "--out",
                                      folder / run.name,
                                      "--seed",
                                      fmt::format("{}", run.seed),
                                      "--threads",
                                      "1",
                                      "--resume",
                                      "--quiet"};
  for (const std::string& setting : run.settings) {
    command.push_back("--set");
    command.push_back(setting);
  }
  return command;
}

// Runs the unfinished runs. Returns the names of those that failed.
std::vector<std::string> run_all(const std::vector<PlannedRun>& runs, const fs::path& folder,
                                 size_t jobs) {
  std::vector<size_t> todo;
  for (size_t i = 0; i < runs.size(); ++i) {
    if (!train::RunFolder(folder / runs[i].name).finished(runs[i].config)) todo.push_back(i);
  }
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
      pool.start(*next, command_of(runs[*next], folder));
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

// Makes the table and the figures. Returns the error, if any.
std::string report(const fs::path& folder) {
  const char* named = std::getenv("STPN_PYTHON");
  const fs::path checkout = fs::path(".venv") / "bin" / "python";
  const std::string python = named != nullptr       ? named
                             : fs::exists(checkout) ? checkout.string()
                                                    : "python3";
  const std::vector<std::string> command = {python, "-m", "stpn.reproduction", folder};
  std::string command_line = fmt::format("{}", fmt::join(command, " "));
  if (const fs::path package = python_folder(); !package.empty()) {
    const char* before = std::getenv("PYTHONPATH");
    const std::string path =
        package.string() + (before == nullptr ? "" : fmt::format(":{}", before));
    ::setenv("PYTHONPATH", path.c_str(), /*overwrite=*/1);
    command_line = fmt::format("PYTHONPATH={} {}", package.string(), command_line);
  }
  ProcessPool pool;
  pool.start(0, command);
  for (;;) {
    const auto ended = pool.wait(kRedrawJobs);
    if (!ended) continue;
    if (ended->exit_code == 0) return "";
    const size_t last = ended->errors.find_last_of('\n', ended->errors.size() - 2);
    return fmt::format("table and figures failed with exit code {}: {}; to try again: {}",
                       ended->exit_code, one_line(ended->errors.substr(last + 1)), command_line);
  }
}

void reproduce(const ReproduceArguments& arguments) {
  const fs::path file = experiments_folder() / arguments.task / kReproductionFile;
  if (!fs::exists(file)) {
    throw base::UserError(
        fmt::format("{}: there is no reproduction of this task, because there is no {}",
                    arguments.task, file.string()));
  }
  const auto runs = train::plan_reproduction(file, arguments.budget, arguments.seeds);
  const std::string own = arguments.budget == kWholeBudget
                              ? arguments.task
                              : fmt::format("{}_{}", arguments.task, arguments.budget);
  const fs::path folder = arguments.out.empty() ? fs::path("runs") / own : fs::path(arguments.out);

  std::error_code error;
  fs::create_directories(folder, error);  // the lock reports an error
  const base::FileLock lock(folder / "lock");
  if (!lock.held()) {
    throw base::UserError(
        fmt::format("{}: another process is working on this reproduction: wait for it to end, or "
                    "choose another folder with --out",
                    folder.string()));
  }
  const auto failed = run_all(runs, folder, static_cast<size_t>(arguments.jobs));
  std::vector<std::string> problems;
  if (!failed.empty()) {
    problems.push_back(
        fmt::format("{} of {} runs failed ({}); call reproduce again to repeat "
                    "them",
                    failed.size(), runs.size(), fmt::join(failed, ", ")));
  }
  if (failed.size() < runs.size()) {
    if (const std::string problem = report(folder); !problem.empty()) problems.push_back(problem);
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
                   "a folder of experiments with a reproduce.toml, which says what is run: "
                   "retrieval or maze")
      ->required();
  command
      ->add_option("--seeds", arguments->seeds,
                   "run seeds 1 to N of every model; overrides the file")
      ->check(CLI::Range(1, 1000));
  command->add_option("--budget", arguments->budget,
                      "how much to run: full, all of the file (hours); short, one seed and fewer "
                      "epochs; smoke, a test that everything runs");
  command
      ->add_option("--jobs", arguments->jobs,
                   "runs in parallel, each on one thread (default: one per core)")
      ->check(CLI::Range(1, 1024));
  command->add_option("--out", arguments->out,
                      "output folder (default: runs/<task>, or runs/<task>_<budget> if not full)");
  command->footer(
      "Each run is a run folder of `stpn train`, <out>/<set>/<model>/seed<N>; table.md and the\n"
      "figures are in <out>. If it is stopped, call it again to continue; finished runs are not\n"
      "repeated. If a run fails, the others continue, and the exit code is 1. The table and the\n"
      "figures are made by Python: STPN_PYTHON if set, else .venv/bin/python, else python3.\n"
      "Examples:\n"
      "  stpn reproduce retrieval --budget short\n"
      "  stpn reproduce retrieval --seeds 5 --jobs 8");
  command->callback([arguments] { reproduce(*arguments); });
}

}  // namespace stpn::cli
