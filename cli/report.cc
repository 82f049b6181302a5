// stpn report
#include <memory>
#include <string>
#include <vector>

#include "cli/commands.h"
#include "cli/options.h"
#include "cli/processes/connection.h"
#include "cli/python.h"

namespace stpn::cli {

namespace {

struct ReportArguments {
  std::vector<std::string> folders = {"results"};
  std::string out = "report.html";
  bool no_synapses = false;
};

}  // namespace

void add_report(CLI::App& app) {
  CLI::App* command = app.add_subcommand(
      "report",
      "Make one page of runs: curves, tables, energy, and the synapses of an STPN at work");
  auto arguments = std::make_shared<ReportArguments>();
  command
      ->add_option("FOLDER", arguments->folders,
                   "run folders, or folders with runs in them, finished or not (default: results)")
      ->check(kNotEmpty);
  command
      ->add_option("--out", arguments->out,
                   "the page, a .html file; its figures go into a folder of the same name without "
                   ".html (default: report.html)")
      ->check(kNotEmpty);
  command->add_flag("--no-synapses", arguments->no_synapses,
                    "leave out the synapses at work, for which trained STPNs run again");
  command->footer(
      "The page holds all that it shows, so it can be sent to somebody and read without a "
      "network.\n"
      "It is made by a Python that has altair, jinja2 and scipy: STPN_PYTHON if set, else\n"
      ".venv/bin/python in the current folder or the program's checkout, else python3.\n"
      "Examples:\n"
      "  stpn report\n"
      "  stpn report runs/associative_retrieval --out retrieval.html");
  command->callback([arguments] {
    check_alone("report", "uses one: start it alone");
    std::vector<std::string> words = {"--out", arguments->out};
    if (arguments->no_synapses) words.emplace_back("--no-synapses");
    words.emplace_back("--");
    words.insert(words.end(), arguments->folders.begin(), arguments->folders.end());
    become_report(words);
  });
}

}  // namespace stpn::cli
