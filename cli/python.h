// Tables, figures and pages, which our Python package (python/stpn/) makes.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace stpn::cli {

// Throws base::UserError, which says what to do, if the Python that make_figures() would run does
// not exist or lacks a package. Takes a second.
void check_figures();

// Writes the table and the figures of the runs in the folder into it. Returns the error, if any.
std::string make_figures(const std::filesystem::path& folder);

// Becomes `python -m stpn.report` with these arguments, which ends with our exit codes. Throws
// base::UserError if there is no such Python.
[[noreturn]] void become_report(const std::vector<std::string>& arguments);

}  // namespace stpn::cli
