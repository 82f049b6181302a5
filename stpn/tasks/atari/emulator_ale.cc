// emulator.h with ALE 0.12.1. The only file that sees ALE's headers.
#include <ale/ale_interface.hpp>
#include <ale/emucore/Console.hxx>
#include <ale/emucore/MD5.hxx>
#include <ale/emucore/MediaSrc.hxx>
#include <algorithm>
#include <array>
#include <cstring>
#include <filesystem>
#include <mutex>

#include "stpn/base/config.h"
#include "stpn/base/error.h"
#include "stpn/base/files.h"
#include "stpn/tasks/atari/emulator.h"
#include "stpn/tasks/atari/run_length.h"

namespace stpn::tasks {
namespace {

constexpr const char* kRoms = STPN_ALE_ROMS;  // a folder

std::string known_rom(const std::string& game) {
  return (std::filesystem::path(kRoms) / (game + ".bin")).string();
}

// Games whose state ALE 0.12.1 restores in part only, so that they go on differently. All others
// have been tried (emulator_test.cc).
constexpr std::array<std::string_view, 4> kNotRestored = {"miniature_golf", "qbert", "tetris",
                                                          "yars_revenge"};

bool is_restored(const std::string& game) {
  return std::find(kNotRestored.begin(), kNotRestored.end(), game) == kNotRestored.end();
}

// ALE's rules of a game; null if it does not know it.
std::unique_ptr<ale::RomSettings> rules_of(const std::string& game) {
  return std::unique_ptr<ale::RomSettings>(ale::buildRomRLWrapper(game + ".bin", ""));
}

void check_game(const std::string& game) {
  const bool is_name = !game.empty() && std::all_of(game.begin(), game.end(), [](char c) {
    return ('a' <= c && c <= 'z') || ('0' <= c && c <= '9') || c == '_';
  });
  if (is_name && rules_of(game) != nullptr) {
    STPN_CHECK(
        is_restored(game),
        "game = \"{}\": ALE {} restores only a part of its state, and the start of an episode "
        "and a checkpoint need all of it: choose another game",
        game, ALE_VERSION);
    return;
  }
  const std::string near = base::nearest(game, emulator_games());
  throw base::UserError(fmt::format("game = \"{}\": ALE knows no such game ({})", game,
                                    near.empty()
                                        ? fmt::format("they are called as the files in {}", kRoms)
                                        : fmt::format("did you mean {}?", near)));
}

// ALE only warns of a ROM that it does not know, and ends the process without one.
void check_rom(const std::string& game, const std::string& path, bool is_default) {
  std::error_code ignored;
  STPN_CHECK(std::filesystem::is_regular_file(path, ignored), "rom = \"{}\": {}", path,
             is_default
                 ? "the ROM that came with ALE is gone: run `cmake/setup.sh ale` again, or "
                   "set task.rom to a copy"
                 : "there is no such file; leave task.rom empty for the ROM that came with ALE");
  constexpr size_t kLargest = 1 << 20;
  STPN_CHECK(std::filesystem::file_size(path, ignored) <= kLargest,
             "rom = \"{}\": the file is too large to be a ROM", path);
  const std::string bytes = base::read_file(path);
  const std::string sum = ale::stella::MD5(reinterpret_cast<const uint8_t*>(bytes.data()),
                                           static_cast<uint32_t>(bytes.size()));
  const std::string wanted = rules_of(game)->md5();
  STPN_CHECK(
      sum == wanted,
      "rom = \"{}\": not the ROM of {} that ALE knows: its MD5 is {} and should be {}; leave "
      "task.rom empty for the ROM that came with ALE",
      path, game, sum, wanted);
  // ALE takes the first game that has this sum or the name of this file, and never returns if its
  // rules are those of another game.
  const std::unique_ptr<ale::RomSettings> taken(ale::buildRomRLWrapper(path, sum));
  STPN_CHECK(game == taken->rom(),
             "rom = \"{}\": ALE takes a file of this name for {}: call it {}.bin", path,
             taken->rom(), game);
}

Palette palette_of(const ale::ColourPalette& colours) {
  Palette palette;
  for (int index = 0; index < 256; ++index) {
    const uint32_t colour = colours.getRGB(index);
    palette.red[index] = static_cast<uint8_t>(colour >> 16);
    palette.green[index] = static_cast<uint8_t>(colour >> 8);
    palette.blue[index] = static_cast<uint8_t>(colour);
    // Each colour, at an even index, is followed by its grey.
    palette.grey[index] = static_cast<uint8_t>(colours.getRGB(index | 1));
  }
  return palette;
}

class AleEmulator : public Emulator {
 public:
  AleEmulator(const std::string& game, const std::string& rom) {
    ale_.setFloat("repeat_action_probability", 0);
    ale_.setInt("frame_skip", 1);
    ale_.setInt("max_num_frames_per_episode", 0);
    ale_.setInt("random_seed", 1);  // by default the time; with these settings it has no effect
    ale_.loadROM(rom);
    STPN_CHECK(ale_.getScreen().width() == kWidth, "game = \"{}\": its screen has {} columns", game,
               ale_.getScreen().width());
    choices_ = ale_.getMinimalActionSet();
    for (const ale::Action action : choices_) {
      std::string name = ale::action_to_string(action);
      names_.push_back(name.substr(name.starts_with("PLAYER_A_") ? 9 : 0));
    }
    palette_ = palette_of(ale_.theOSystem->colourPalette());
  }

  int64_t height() const override { return static_cast<int64_t>(ale_.getScreen().height()); }
  const Palette& palette() const override { return palette_; }
  const std::vector<std::string>& actions() const override { return names_; }

  int64_t act(int64_t action) override { return ale_.act(choices_[static_cast<size_t>(action)]); }
  bool ended() const override { return ale_.game_over(); }
  const uint8_t* screen() const override { return ale_.getScreen().getArray(); }

  // ALE's state has no pixels. Some games draw a part of each frame only and leave the rest as it
  // was two frames before, so both frame buffers belong to the state. The last frame is in the
  // current one.
  std::string save() const override {
    const ale::stella::MediaSource& source = ale_.theOSystem->console().mediaSource();
    std::string saved = encode_runs(source.currentFrameBuffer(), pixels());
    saved += encode_runs(source.previousFrameBuffer(), pixels());
    // The call changes nothing, but ALE does not say so.
    saved += const_cast<ale::ALEInterface&>(ale_).cloneState(/*include_rng=*/true).serialize();
    return saved;
  }

  void restore(std::string_view saved) override {
    const ale::stella::MediaSource& source = ale_.theOSystem->console().mediaSource();
    saved.remove_prefix(decode_runs(saved, source.currentFrameBuffer(), pixels()));
    saved.remove_prefix(decode_runs(saved, source.previousFrameBuffer(), pixels()));
    std::memcpy(ale_.getScreen().getArray(), source.currentFrameBuffer(), pixels());
    ale_.restoreState(ale::ALEState(std::string(saved)));
  }

 private:
  size_t pixels() const { return ale_.getScreen().arraySize(); }

  ale::ALEInterface ale_;
  Palette palette_;
  ale::ActionVect choices_;
  std::vector<std::string> names_;
};

}  // namespace

std::unique_ptr<Emulator> load_emulator(const std::string& game, const std::string& rom) {
  static std::mutex one_at_a_time;  // ALE's tables and its logger are global
  const std::lock_guard lock(one_at_a_time);
  ale::Logger::setMode(ale::Logger::Error);
  check_game(game);
  const std::string path = rom.empty() ? known_rom(game) : rom;
  check_rom(game, path, rom.empty());
  return std::make_unique<AleEmulator>(game, path);
}

std::string emulator_version() { return ALE_VERSION; }

std::vector<std::string> emulator_games() {
  std::vector<std::string> games;
  std::error_code ignored;
  for (const auto& entry : std::filesystem::directory_iterator(kRoms, ignored)) {
    const std::filesystem::path& path = entry.path();
    const std::string game = path.stem().string();
    if (path.extension() == ".bin" && is_restored(game) && rules_of(game) != nullptr) {
      games.push_back(game);
    }
  }
  std::sort(games.begin(), games.end());
  return games;
}

}  // namespace stpn::tasks
