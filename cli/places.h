// Where the project's files lie: in the current folder, if it is a checkout; else where `make
// install` put them, found from the program.
#pragma once

#include <filesystem>

namespace stpn::cli {

// The running program.
std::filesystem::path program();

// Throws base::UserError if there is none.
std::filesystem::path experiments_folder();

// In a task's folder of experiments: what `stpn reproduce` runs of them.
inline constexpr const char* kReproductionFile = "reproduce.toml";

// What PYTHONPATH needs for the package; empty if it is nowhere.
std::filesystem::path python_folder();

}  // namespace stpn::cli
