#include "cli/python.h"

#include <fmt/ranges.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <system_error>

#include "cli/places.h"
#include "cli/processes/process_pool.h"
#include "cli/say.h"
#include "stpn/base/error.h"

namespace stpn::cli {
namespace {

namespace fs = std::filesystem;

// The Python named by the user, else that of the current folder or of the program's checkout.
std::string python() {
  const char* named = std::getenv("STPN_PYTHON");
  if (named != nullptr && *named != '\0') return named;
  for (const fs::path& folder : {fs::path(), checkout()}) {
    const fs::path found = folder / ".venv" / "bin" / "python";
    if (fs::exists(found)) return found;
  }
  return "python3";
}

// Lets a Python that is started from now on find our package.
void add_package() {
  if (const fs::path package = python_folder(); !package.empty()) {
    static const char* const given = std::getenv("PYTHONPATH");
    static const std::string others =
        given == nullptr || *given == '\0' ? "" : fmt::format(":{}", given);
    ::setenv("PYTHONPATH", (package.string() + others).c_str(), /*overwrite=*/1);
  }
}

// Runs Python with these arguments and our package, and waits for it to end.
ProcessPool::Ended run_python(const std::vector<std::string>& arguments) {
  add_package();
  std::vector<std::string> command = {python()};
  command.insert(command.end(), arguments.begin(), arguments.end());
  ProcessPool pool;
  pool.start(0, command);
  for (;;) {
    if (auto ended = pool.wait(std::chrono::seconds(1))) return *std::move(ended);
  }
}

// The last line, which is that of the exception if Python ended with one.
std::string last_line(const std::string& errors) {
  const std::string text = errors.substr(0, errors.find_last_not_of('\n') + 1);
  return one_line(text.substr(text.find_last_of('\n') + 1));
}

}  // namespace

void check_figures() {
  const ProcessPool::Ended ended = run_python({"-c", "import stpn.reproduction"});
  if (ended.exit_code == 0) return;
  throw base::UserError(
      fmt::format("{} cannot make the table and the figures: {}: set STPN_PYTHON to a Python that "
                  "has matplotlib, or train without table and figures with --runs-only",
                  python(), last_line(ended.errors)));
}

std::string make_figures(const fs::path& folder) {
  const std::vector<std::string> arguments = {"-m", "stpn.reproduction", folder};
  const ProcessPool::Ended ended = run_python(arguments);
  if (ended.exit_code == 0) {
    say(ended.errors);  // warnings: runs that are not in the means
    return "";
  }
  const fs::path package = python_folder();
  return fmt::format("table and figures failed with exit code {}: {}; to try again: {}{} {}",
                     ended.exit_code, last_line(ended.errors),
                     package.empty() ? "" : fmt::format("PYTHONPATH={} ", package.string()),
                     python(), fmt::join(arguments, " "));
}

void check_ray() {
  const ProcessPool::Ended ended = run_python({"-c", "import ray"});
  if (ended.exit_code == 0) return;
  throw base::UserError(fmt::format(
      "--ray: {} has no Ray: {}: install it with {} -m pip install ray=={}, or set STPN_PYTHON to "
      "a Python that has it",
      python(), last_line(ended.errors), python(), kRayVersion));
}

int run_on_ray(const std::vector<std::string>& arguments, const std::string& plan) {
  add_package();
  std::vector<std::string> command = {python(), "-m", "stpn.ray_runs"};
  command.insert(command.end(), arguments.begin(), arguments.end());
  return run_process(command, plan);
}

void become_report(const std::vector<std::string>& arguments) {
  add_package();
  ::setenv("STPN_PROGRAM", program().c_str(), /*overwrite=*/1);  // records episodes
  std::vector<std::string> command = {python(), "-m", "stpn.report"};
  command.insert(command.end(), arguments.begin(), arguments.end());
  std::vector<char*> words;
  for (std::string& word : command) words.push_back(word.data());
  words.push_back(nullptr);
  ::execvp(words[0], words.data());
  throw base::UserError(
      fmt::format("{}: {}: set STPN_PYTHON to a Python that has altair, jinja2 and scipy",
                  command[0], std::generic_category().message(errno)));
}

}  // namespace stpn::cli
