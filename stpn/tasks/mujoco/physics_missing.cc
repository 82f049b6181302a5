// physics.h in a build without MuJoCo.
#include "stpn/base/error.h"
#include "stpn/tasks/mujoco/physics.h"

namespace stpn::tasks {
namespace {

[[noreturn]] void fail(const std::string& name) {
  throw base::UserError(
      fmt::format("{}: this build has no MuJoCo: `pip install mujoco-core==4.0.0` in the virtual "
                  "environment .venv, then configure and build again",
                  name));
}

}  // namespace

std::unique_ptr<const Physics> load_physics_text(const std::string& name, const std::string&,
                                                 const PhysicsRoom&) {
  fail(name);
}

std::unique_ptr<const Physics> load_physics_file(const std::string& path) { fail(path); }

std::string physics_version() { return ""; }

}  // namespace stpn::tasks
