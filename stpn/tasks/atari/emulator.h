// An Atari 2600 with a game in it, emulated by the Arcade Learning Environment (Bellemare, Naddaf,
// Veness, Bowling: The Arcade Learning Environment, JAIR 47, 2013). Nothing else in the project
// sees ALE's own headers. In a build without ALE load_emulator() throws.
//
//   const auto emulator = load_emulator("pong", "");
//   const int64_t points = emulator->act(choice);
//   emulator->screen();
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace stpn::tasks {

// The colours of the 256 values of a pixel.
struct Palette {
  std::array<uint8_t, 256> red{}, green{}, blue{};
  std::array<uint8_t, 256> grey{};  // ALE's luma: 0.2989 red + 0.5870 green + 0.1140 blue, rounded
};

// Not safe to use from several threads at once; several emulators are. After it has been loaded a
// game is at its start, and never random.
class Emulator {
 public:
  static constexpr int64_t kWidth = 160;  // of a screen, in pixels

  virtual ~Emulator() = default;

  virtual int64_t height() const = 0;  // of a screen, in pixels: 210 for most games
  virtual const Palette& palette() const = 0;
  // The names of the actions that have an effect in the game, such as "NOOP", "FIRE", "RIGHTFIRE":
  // ALE's minimal set, in ALE's order.
  virtual const std::vector<std::string>& actions() const = 0;

  // Emulates one frame, 1/60 s, and returns the points that it earned. Once the game has ended
  // nothing happens, and the points are 0.
  //   action  an index into actions()
  virtual int64_t act(int64_t action) = 0;
  virtual bool ended() const = 0;  // the game

  // The pixels of the last frame (height, kWidth), indices into the palette. Valid until the next
  // call of act() or restore().
  virtual const uint8_t* screen() const = 0;

  // All that decides how the game goes on, and the screen. `restore` continues with the same bits,
  // also in another emulator with the same game.
  // REQUIRES: `saved` comes from save() of the same game and emulator_version(), undamaged.
  virtual std::string save() const = 0;
  virtual void restore(std::string_view saved) = 0;
};

// Loads a game, by ALE's name for it, such as "space_invaders".
//   rom  the path of the game's ROM file; empty: the one that came with ALE
// Throws base::UserError if there is no such game (naming the nearest one) or file, if the file
// contains another game or version of it, if the game is one of the four whose state ALE does not
// restore with the same bits, and in a build without ALE.
std::unique_ptr<Emulator> load_emulator(const std::string& game, const std::string& rom);

// The version of ALE that is linked, such as "0.12.1"; empty without.
std::string emulator_version();

// The names of the games that can be loaded with the ROM files of ALE, sorted.
std::vector<std::string> emulator_games();

}  // namespace stpn::tasks
