// stpn verify
#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "cli/commands.h"
#include "cli/options.h"
#include "cli/processes/connection.h"
#include "cli/say.h"
#include "stpn/base/error.h"
#include "stpn/verify/golden.h"

namespace stpn::cli {
namespace {

struct Tally {
  size_t bad = 0;  // files that could not be checked
  size_t off = 0;  // files with a result beyond its tolerance
};

void verify_file(const std::string& path, size_t width, Tally& tally) {
  try {
    bool off = false;
    for (const auto& result : verify::verify_golden(path)) {
      fmt::print("{:<{}}  {:<6} {:<9} {:<6}  {:.2e} of at most {:.0e}  {:<26} {}\n", path, width,
                 result.unit, result.backend, result.dtype, result.largest_error, result.tolerance,
                 result.array, result.ok ? "ok" : "OFF");
      off |= !result.ok;
    }
    tally.off += off;
  } catch (const base::UserError& error) {
    say(fmt::format("stpn: {}\n", error.what()));
    ++tally.bad;
  }
}

void verify(const std::vector<std::string>& paths) {
  check_alone("verify", "uses one: start it alone");
  size_t width = 0;
  for (const auto& path : paths) width = std::max(width, path.size());
  Tally tally;
  for (const auto& path : paths) verify_file(path, width, tally);
  if (tally.bad > 0) {
    if (paths.size() == 1) throw CLI::RuntimeError(2);  // its line is printed already
    throw base::UserError(
        fmt::format("{} of {} files could not be checked", tally.bad, paths.size()));
  }
  if (tally.off > 0) {
    throw base::Error(
        fmt::format("{} of {} files have a result beyond its tolerance", tally.off, paths.size()));
  }
}

}  // namespace

void add_verify(CLI::App& app) {
  CLI::App* command = app.add_subcommand("verify", "Check the units against golden vectors");
  auto paths = std::make_shared<std::vector<std::string>>();
  command->add_option("GOLDEN.json", *paths, "files of golden vectors")
      ->required()
      ->check(kNotEmpty);
  command->footer(
      "Prints a line for each file, backend and dtype: the largest relative error over the arrays "
      "of\n"
      "the file, max|ours - golden| / max|golden|, and the array that has it.\n"
      "Example: stpn verify tests/golden/*.json");
  command->callback([paths] { verify(*paths); });
}

}  // namespace stpn::cli
