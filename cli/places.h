// Where the files of the project are: in the current folder, if it is a checkout; else in the
// checkout that the program was built in; else where `make install` put them, relative to the
// program.
#pragma once

#include <filesystem>

namespace stpn::cli {

// The path of the running program.
std::filesystem::path program();

// The checkout that the program was built in by a preset; empty if there is none.
std::filesystem::path checkout();

// The folder of experiments. Throws base::UserError if there is none.
std::filesystem::path experiments_folder();

// The file in a task's folder of experiments that says what `stpn reproduce` runs.
inline constexpr const char* kReproductionFile = "reproduce.toml";

// The folder to add to PYTHONPATH for the Python package; empty if there is none.
std::filesystem::path python_folder();

}  // namespace stpn::cli
