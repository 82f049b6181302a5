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

// The version of Ray that we test with.
inline constexpr const char* kRayVersion = "2.60.0";

// Throws base::UserError, which says how to install it, if our Python has no Ray. Takes a second.
void check_ray();

// Runs `python -m stpn.ray_runs` with these arguments and this plan. Returns its exit code.
int run_on_ray(const std::vector<std::string>& arguments, const std::string& plan);

// Becomes `python -m stpn.report` with these arguments, which ends with our exit codes. Throws
// base::UserError if there is no such Python.
[[noreturn]] void become_report(const std::vector<std::string>& arguments);

}  // namespace stpn::cli
