// emulator.h in a build without ALE.
#include "stpn/base/error.h"
#include "stpn/tasks/atari/emulator.h"

namespace stpn::tasks {

std::unique_ptr<Emulator> load_emulator(const std::string& game, const std::string&) {
  throw base::UserError(
      fmt::format("game {}: this build has no Arcade Learning Environment: run `cmake/setup.sh "
                  "ale`, then configure with -DSTPN_WITH_ALE=ON and build again",
                  game));
}

std::string emulator_version() { return ""; }

std::vector<std::string> emulator_games() { return {}; }

}  // namespace stpn::tasks
