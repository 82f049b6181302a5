#include "stpn/tasks/atari/emulator.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <thread>

#include "stpn/base/files.h"
#include "stpn/base/random.h"
#include "stpn/base/testing.h"
#include "stpn/tasks/atari/base64.h"
#include "stpn/tasks/atari/run_length.h"

namespace stpn::tasks::emulator_test {
namespace {

class Emulator : public ::testing::Test {
 protected:
  void SetUp() override {
    if (emulator_version().empty()) GTEST_SKIP() << "this build has no Arcade Learning Environment";
  }
};

std::string screen_of(const tasks::Emulator& emulator) {
  return {reinterpret_cast<const char*>(emulator.screen()),
          static_cast<size_t>(emulator.height() * tasks::Emulator::kWidth)};
}

// Plays with random actions, and returns all that could be seen.
std::string play(tasks::Emulator& emulator, int frames, uint64_t seed) {
  base::Random random(seed, base::Stream::actions, 0);
  const auto choices = static_cast<uint32_t>(emulator.actions().size());
  std::string seen;
  for (int frame = 0; frame < frames; ++frame) {
    seen += std::to_string(emulator.act(random.below(choices))) + " " +
            std::to_string(static_cast<int>(emulator.ended())) + screen_of(emulator);
  }
  return seen;
}

std::string refused(const std::string& game, const std::string& rom) {
  return base::testing::error_of([&] { load_emulator(game, rom); });
}

TEST(EmulatorMissing, SaysHowToGetIt) {
  if (!emulator_version().empty()) GTEST_SKIP() << "this build has the Arcade Learning Environment";
  EXPECT_NE(refused("pong", "").find("cmake/setup.sh ale"), std::string::npos);
  EXPECT_TRUE(emulator_games().empty());
}

TEST_F(Emulator, HasPongsSizesAndActions) {
  const auto emulator = load_emulator("pong", "");
  EXPECT_EQ(emulator_version(), "0.12.1");
  EXPECT_EQ(emulator->height(), 210);
  EXPECT_EQ(emulator->actions(),
            std::vector<std::string>({"NOOP", "FIRE", "RIGHT", "LEFT", "RIGHTFIRE", "LEFTFIRE"}));
  const Palette& palette = emulator->palette();
  for (size_t k = 0; k < 256; k += 2) {
    const double luma =
        0.2989 * palette.red[k] + 0.5870 * palette.green[k] + 0.1140 * palette.blue[k];
    EXPECT_NEAR(palette.grey[k], luma, 0.5001) << k;
  }
  const std::string screen = screen_of(*emulator);
  EXPECT_GE(std::count(screen.begin(), screen.end(), screen[100 * 160 + 80]), 20'000);
}

// Figures of ALE's Python package, the same for any seed.
TEST_F(Emulator, WhoeverDoesNothingLosesPongIn3056Frames) {
  for (const int64_t action : {0, 1}) {
    const auto emulator = load_emulator("pong", "");
    int frames = 0, lost = 0, first_point = 0;
    while (!emulator->ended()) {
      const int64_t points = emulator->act(action);
      ++frames;
      ASSERT_TRUE(points == 0 || points == -1);
      lost += points == -1 ? 1 : 0;
      if (points != 0 && first_point == 0) first_point = frames;
      ASSERT_LE(frames, 4000);
    }
    EXPECT_EQ(first_point, 256);
    EXPECT_EQ(frames, 3056);
    EXPECT_EQ(lost, 21);
    const std::string last = screen_of(*emulator);
    EXPECT_EQ(emulator->act(2), 0) << "goes on after its end";
    EXPECT_EQ(screen_of(*emulator), last);
  }
}

TEST_F(Emulator, RestoresTheScreenToo) {
  const auto emulator = load_emulator("pong", "");
  play(*emulator, 100, 1);
  const std::string saved = emulator->save(), screen = screen_of(*emulator);
  play(*emulator, 50, 2);
  ASSERT_NE(screen_of(*emulator), screen);
  emulator->restore(saved);
  EXPECT_EQ(screen_of(*emulator), screen);
  EXPECT_EQ(emulator->save(), saved);
}

// Bank switching, memory on the cartridge, paddles, and screens that are drawn in part. All games
// with the environment variable STPN_ALL_GAMES.
TEST_F(Emulator, GoesOnFromAStateWithTheSameBits) {
  const std::vector<std::string> games =
      std::getenv("STPN_ALL_GAMES") != nullptr
          ? emulator_games()
          : std::vector<std::string>{"pong", "breakout", "ms_pacman", "montezuma_revenge"};
  for (const std::string& game : games) {
    SCOPED_TRACE(game);
    const auto emulator = load_emulator(game, ""), other = load_emulator(game, "");
    play(*other, 37, 3);
    for (const int before : {0, 1, 150, 331}) {
      play(*emulator, before, 1);
      const std::string saved = emulator->save();
      const std::string seen = play(*emulator, 120, 2);
      other->restore(saved);
      EXPECT_EQ(other->save(), saved);
      EXPECT_EQ(play(*other, 120, 2) == seen, true) << "after " << before;
    }
  }
}

TEST_F(Emulator, SeveralPlayAtOnce) {
  const auto game = [](uint64_t seed) { return play(*load_emulator("pong", ""), 200, seed); };
  std::vector<std::string> alone, together(4);
  for (uint64_t seed = 0; seed < 4; ++seed) alone.push_back(game(seed));
  std::vector<std::thread> threads;
  for (uint64_t seed = 0; seed < 4; ++seed) {
    threads.emplace_back([&, seed] { together[seed] = game(seed); });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_TRUE(together == alone);
  EXPECT_FALSE(alone[0] == alone[1]);
}

TEST_F(Emulator, NamesTheNearestGame) {
  EXPECT_EQ(refused("pomg", ""), "game = \"pomg\": ALE knows no such game (did you mean pong?)");
  EXPECT_NE(refused("space-invaders", "").find("did you mean space_invaders?"), std::string::npos);
  for (const char* game : {"", "chess_with_nobody", "../pong", "Pong"}) {
    EXPECT_NE(refused(game, "").find("ALE knows no such game"), std::string::npos) << game;
  }
  EXPECT_NE(refused("qbert", "").find("restores only a part of its state"), std::string::npos);
  const std::vector<std::string> games = emulator_games();
  EXPECT_EQ(std::count(games.begin(), games.end(), "qbert"), 0);
  EXPECT_EQ(std::count(games.begin(), games.end(), "pong"), 1);
  EXPECT_EQ(games.size(), 100u);
}

TEST_F(Emulator, RefusesAnotherRom) {
  const base::testing::Folder folder;
  EXPECT_NE(refused("pong", folder / "no.bin").find("no.bin\": there is no such file"),
            std::string::npos);
  EXPECT_NE(refused("pong", folder / "").find("there is no such file"), std::string::npos);
  base::write_file(folder / "bad.bin", std::string(2048, 'x'));
  const std::string message = refused("pong", folder / "bad.bin");
  EXPECT_NE(message.find("not the ROM of pong that ALE knows: its MD5 is "), std::string::npos);
  EXPECT_NE(message.find("should be 60e0ea3cbe0913d39803477945e9e5ec"), std::string::npos);
  base::write_file(folder / "large.bin", std::string(size_t{2} << 20, 'x'));
  EXPECT_NE(refused("pong", folder / "large.bin").find("too large"), std::string::npos);
}

TEST_F(Emulator, TakesACopyOfTheRomByAnyNameButAnotherGames) {
  const base::testing::Folder folder;
  const std::string rom = base::read_file(std::filesystem::path(STPN_ALE_ROMS) / "pong.bin");
  base::write_file(folder / "mine.a26", rom);
  EXPECT_EQ(play(*load_emulator("pong", folder / "mine.a26"), 50, 1),
            play(*load_emulator("pong", ""), 50, 1));
  base::write_file(folder / "breakout.bin", rom);
  EXPECT_NE(refused("pong", folder / "breakout.bin").find("call it pong.bin"), std::string::npos);
}

TEST(Runs, ComeBack) {
  base::Random random(1, base::Stream::actions, 0);
  for (const size_t count : {0, 1, 2, 254, 255, 256, 511, 5000}) {
    std::vector<uint8_t> values(count), again(count);
    uint8_t value = 0;
    for (uint8_t& v : values) {
      if (random.below(200) == 0) value = static_cast<uint8_t>(random.next());
      v = value;
    }
    const std::string runs = encode_runs(values.data(), count);
    EXPECT_EQ(decode_runs(runs + "more", again.data(), count), runs.size());
    EXPECT_EQ(again, values);
    if (count == 0) continue;
    for (const std::string& bad : {runs.substr(0, runs.size() - 1), std::string("\0a", 2),
                                   std::string(), runs.substr(0, runs.size() - 2) + "\xff" + "a"}) {
      if (bad == runs) continue;
      base::testing::error_of([&] { decode_runs(bad, again.data(), count); });
    }
  }
}

TEST(Base64, IsThatOfTheStandard) {
  EXPECT_EQ(encode_base64(""), "");
  EXPECT_EQ(encode_base64("f"), "Zg==");
  EXPECT_EQ(encode_base64("fo"), "Zm8=");
  EXPECT_EQ(encode_base64("foo"), "Zm9v");
  EXPECT_EQ(encode_base64("foobar"), "Zm9vYmFy");
  EXPECT_EQ(encode_base64("\xff\xfe\xfd"), "//79");
}

}  // namespace
}  // namespace stpn::tasks::emulator_test
