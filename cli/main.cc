// The program `stpn`.
#include <malloc.h>

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <exception>
#include <limits>
#include <string>
#include <vector>

#include "cli/commands.h"
#include "cli/processes/connection.h"
#include "stpn/base/config.h"
#include "stpn/base/error.h"
#include "stpn/train/run/run.h"

namespace {

// Reports the message as one line, which scripts and logs rely on.
int fail(int code, std::string message, bool lost = false) {
  message = message.substr(0, message.find("\nException raised from"));  // libtorch's backtrace
  message = message.substr(0, message.find_last_not_of('\n') + 1);
  std::replace(message.begin(), message.end(), '\n', ' ');
  return stpn::cli::end_failed(code, message, lost);
}

std::string explain(const CLI::App& app, const CLI::ParseError& error) {
  const std::vector<std::string> unknown = app.remaining();
  if (unknown.empty() || !app.get_subcommands().empty()) {
    const std::vector<const CLI::App*> given =
        app.get_subcommands([](const CLI::App* command) { return command->parsed(); });
    return fmt::format("{} (see stpn {}--help)", error.what(),
                       given.empty() ? "" : given[0]->get_name() + " ");
  }
  std::vector<std::string> names;
  for (const CLI::App* command : app.get_subcommands(nullptr)) names.push_back(command->get_name());
  const std::string near = stpn::base::nearest(unknown[0], names);
  return fmt::format("there is no command {}: {}", unknown[0],
                     near.empty() ? "see stpn --help" : fmt::format("did you mean {}?", near));
}

}  // namespace

int main(int argc, char** argv) {
  // With this, a file that exceeds the limit of the user gives an error, like a full disk, not a
  // signal.
  std::signal(SIGXFSZ, SIG_IGN);

  // Keep freed memory instead of returning it to the system: every training step allocates tensors
  // of the same sizes, and new pages would cost more time than the arithmetic on them.
  mallopt(M_MMAP_THRESHOLD, std::numeric_limits<int>::max());
  mallopt(M_TRIM_THRESHOLD, std::numeric_limits<int>::max());
  // What is kept is kept once: with an arena for each thread, a thread would not get what another
  // one has freed.
  mallopt(M_ARENA_MAX, 1);

  CLI::App app("Trains, tests and verifies short-term plasticity neurons.", "stpn");
  app.set_version_flag("--version", "stpn " + stpn::train::version());
  app.require_subcommand(1);
  app.footer(
      "Examples:\n"
      "  stpn list experiments\n"
      "  stpn train experiments/retrieval/stpn.toml\n"
      "  stpn eval runs/associative_retrieval/stpn/seed1\n"
      "  stpn reproduce retrieval --budget short\n"
      "  stpn report results --out report.html\n"
      "`stpn COMMAND --help` describes each command. Exit codes: 0 success, 2 invalid input, 1 "
      "failure.");
  stpn::cli::add_train(app);
  stpn::cli::add_eval(app);
  stpn::cli::add_reproduce(app);
  stpn::cli::add_report(app);
  stpn::cli::add_list(app);
  stpn::cli::add_verify(app);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) return app.exit(error);  // --help, --version
    if (dynamic_cast<const CLI::RuntimeError*>(&error) != nullptr) return error.get_exit_code();
    return fail(2, explain(app, error));
  } catch (const stpn::processes::OtherFailed& error) {
    return fail(error.exit_code(), error.what());
  } catch (const stpn::processes::LostProcess& error) {
    return fail(1, error.what(), /*lost=*/true);
  } catch (const stpn::base::UserError& error) {
    return fail(2, error.what());
  } catch (const std::exception& error) {
    return fail(1, error.what());
  }
  if (std::fflush(stdout) != 0) return fail(1, "cannot write to standard output");
  return 0;
}
