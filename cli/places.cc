#include "cli/places.h"

#include "stpn/base/error.h"

namespace stpn::cli {
namespace {

namespace fs = std::filesystem;

fs::path prefix() { return program().parent_path().parent_path(); }

}  // namespace

fs::path program() { return fs::read_symlink("/proc/self/exe"); }

fs::path checkout() {
  const fs::path folder = prefix().parent_path();  // of build/bin/stpn
  const bool found =
      fs::is_directory(folder / "experiments") && fs::is_directory(folder / "python" / "stpn");
  return found ? folder : fs::path();
}

fs::path experiments_folder() {
  if (fs::is_directory("experiments")) return "experiments";
  if (const fs::path folder = checkout(); !folder.empty()) return folder / "experiments";
  const fs::path installed = prefix() / "share" / "stpn" / "experiments";
  if (fs::is_directory(installed)) return installed;
  throw base::UserError(fmt::format(
      "there is no folder of experiments: neither ./experiments nor {}", installed.string()));
}

fs::path python_folder() {
  if (fs::is_directory("python/stpn")) return "python";
  if (const fs::path folder = checkout(); !folder.empty()) return folder / "python";
  const fs::path installed = prefix() / STPN_INSTALL_LIBDIR / "stpn" / "python";
  return fs::is_directory(installed) ? installed : fs::path();
}

}  // namespace stpn::cli
