// The subcommands of the program. Each function adds one to `app`, with its help and a callback
// that runs it. A callback throws base::UserError for a mistake of the user (exit code 2) and
// another std::exception for a failure (exit code 1).
#pragma once

#include <CLI/CLI.hpp>

namespace stpn::cli {

void add_train(CLI::App& app);
void add_eval(CLI::App& app);
void add_reproduce(CLI::App& app);
void add_report(CLI::App& app);
void add_list(CLI::App& app);
void add_verify(CLI::App& app);

}  // namespace stpn::cli
