// The subcommands of the program: each function adds one to `app`, with its help and a callback
// that does the work. A callback throws base::UserError for the user's mistakes (exit code 2) and
// anything else derived from std::exception for failures (exit code 1).
#pragma once

#include <CLI/CLI.hpp>

namespace stpn::cli {

void add_train(CLI::App& app);
void add_eval(CLI::App& app);
void add_reproduce(CLI::App& app);
void add_list(CLI::App& app);
void add_verify(CLI::App& app);

}  // namespace stpn::cli
