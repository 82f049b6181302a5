// The table and the figures of a reproduction. Python makes them (python/stpn/reproduction.py).
#pragma once

#include <filesystem>
#include <string>

namespace stpn::cli {

// Throws base::UserError, which says what to do, if the Python that make_report() would run does
// not exist or lacks a package. Takes a second.
void check_report();

// Writes the table and the figures of the runs in the folder into it. Returns the error, if any.
std::string make_report(const std::filesystem::path& folder);

}  // namespace stpn::cli
