#include "stpn/tasks/atari/screen.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "stpn/base/files.h"
#include "stpn/base/random.h"
#include "stpn/base/testing.h"
#include "stpn/tasks/atari/run_length.h"

namespace stpn::tasks::screen_test {
namespace {

using Json = nlohmann::json;

constexpr int64_t kHeight = 210, kWidth = Emulator::kWidth, kSize = ScreenReader::kSize;
using Bytes = std::vector<uint8_t>;

// Index k has the colours k, 3 k and 7 k modulo 256, and the grey k.
Palette plain_palette() {
  Palette palette;
  for (size_t k = 0; k < 256; ++k) {
    palette.red[k] = palette.grey[k] = static_cast<uint8_t>(k);
    palette.green[k] = static_cast<uint8_t>(3 * k);
    palette.blue[k] = static_cast<uint8_t>(7 * k);
  }
  return palette;
}

Bytes random_screen(uint64_t seed, uint32_t colours) {
  base::Random random(seed, base::Stream::test_data, 0);
  Bytes screen(kHeight * kWidth);
  for (uint8_t& pixel : screen) pixel = static_cast<uint8_t>(random.below(colours));
  return screen;
}

// The part of source pixel `source` in new pixel `index`, in units of 1 / `count` source pixels.
int64_t overlap(int64_t sources, int64_t count, int64_t source, int64_t index) {
  return std::max<int64_t>(0, std::min((index + 1) * sources, (source + 1) * count) -
                                  std::max(index * sources, source * count));
}

// The exact average of a plane (rows, kWidth) in new pixel (y, x).
double average(const Bytes& plane, int64_t rows, int64_t y, int64_t x) {
  int64_t sum = 0;
  for (int64_t row = 0; row < rows; ++row) {
    const int64_t high = overlap(rows, kSize, row, y);
    if (high == 0) continue;
    for (int64_t column = 0; column < kWidth; ++column) {
      sum += high * overlap(kWidth, kSize, column, x) * plane[row * kWidth + column];
    }
  }
  return static_cast<double>(sum) / static_cast<double>(rows * kWidth);
}

Bytes read(ScreenStyle style, const Palette& palette, const Bytes& screen, const Bytes& before) {
  Bytes image(kSize * kSize, 99);
  ScreenReader reader(style, palette, static_cast<int64_t>(screen.size()) / kWidth);
  reader.read(screen.data(), before.data(), image.data());
  Bytes again(image.size(), 7);
  reader.read(before.data(), screen.data(), again.data());
  reader.read(screen.data(), before.data(), again.data());
  EXPECT_EQ(again, image) << "something is left of the image before";
  return image;
}

TEST(Screen, LumaIsTheAverageOfTheLargerGrey) {
  const Palette palette = plain_palette();
  for (const uint32_t colours : {2, 5, 256}) {
    const Bytes screen = random_screen(1, colours), before = random_screen(2, colours);
    Bytes grey(screen.size());
    for (size_t k = 0; k < grey.size(); ++k) grey[k] = std::max(screen[k], before[k]);
    const Bytes image = read(ScreenStyle::luma, palette, screen, before);
    for (int64_t y = 0; y < kSize; ++y) {
      for (int64_t x = 0; x < kSize; ++x) {
        ASSERT_NEAR(image[y * kSize + x], average(grey, kHeight, y, x), 0.5 + 1e-4)
            << y << " " << x;
      }
    }
  }
}

TEST(Screen, ChannelsAreTheMeanOfThreeRoundedAveragesWithoutTheOutermostRows) {
  const Palette palette = plain_palette();
  const Bytes screen = random_screen(3, 256);
  constexpr int64_t kRows = 160;
  const auto plane = [&](const std::array<uint8_t, 256>& table) {
    Bytes plane;
    for (int64_t k = 25 * kWidth; k < (25 + kRows) * kWidth; ++k) plane.push_back(table[screen[k]]);
    return plane;
  };
  const Bytes red = plane(palette.red), green = plane(palette.green), blue = plane(palette.blue);
  const Bytes image = read(ScreenStyle::channels, palette, screen, random_screen(4, 256));
  for (int64_t y = 0; y < kSize; ++y) {
    for (int64_t x = 0; x < kSize; ++x) {
      double sum = 0;
      bool is_half = false;
      for (const Bytes* one : {&red, &green, &blue}) {
        const double exact = average(*one, kRows, y, x);
        is_half = is_half || std::abs(exact - std::floor(exact) - 0.5) < 1e-3;
        sum += std::round(exact);
      }
      if (is_half) continue;
      ASSERT_EQ(image[y * kSize + x], std::lround(sum / 3)) << y << " " << x;
    }
  }
}

TEST(Screen, OfOneColourStaysThatColour) {
  const Palette palette = plain_palette();
  for (int colour = 0; colour < 256; ++colour) {
    const Bytes screen(kHeight * kWidth, static_cast<uint8_t>(colour));
    EXPECT_EQ(read(ScreenStyle::luma, palette, screen, screen),
              Bytes(kSize * kSize, static_cast<uint8_t>(colour)));
    const int sum = palette.red[colour] + palette.green[colour] + palette.blue[colour];
    EXPECT_EQ(read(ScreenStyle::channels, palette, screen, screen),
              Bytes(kSize * kSize, static_cast<uint8_t>(std::lround(sum / 3.0))));
  }
}

TEST(Screen, MayBeHigherOrLower) {
  const Palette palette = plain_palette();
  for (const int64_t height : {134, 200, 250}) {
    const Bytes screen(height * kWidth, 80);
    EXPECT_EQ(read(ScreenStyle::luma, palette, screen, screen), Bytes(kSize * kSize, 80));
    EXPECT_EQ(read(ScreenStyle::channels, palette, screen, screen)[0], (80 + 240 + 48 + 1) / 3);
  }
  base::testing::error_of([&] { ScreenReader(ScreenStyle::channels, palette, 133); });
  base::testing::error_of([&] { ScreenReader(ScreenStyle::luma, palette, 83); });
}

// Images that OpenCV has made: tests/golden/atari/make_images.py.

Bytes decoded(const std::string& base64, size_t count) {
  std::string runs;
  uint32_t group = 0;
  int bits = 0;
  for (const char c : base64) {
    constexpr std::string_view kDigits =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    if (c == '=') break;
    group = group << 6 | static_cast<uint32_t>(kDigits.find(c));
    bits += 6;
    if (bits < 8) continue;
    bits -= 8;
    runs.push_back(static_cast<char>(group >> bits));
  }
  Bytes values(count);
  EXPECT_EQ(decode_runs(runs, values.data(), count), runs.size());
  EXPECT_EQ(encode_base64(runs), base64);
  return values;
}

Bytes made_up(int64_t kind) {
  Bytes screen;
  for (int64_t y = 0; y < kHeight; ++y) {
    for (int64_t x = 0; x < kWidth; ++x) {
      const std::array<int64_t, 4> values = {(x * x * 7 + y * 13 + x * y * 3) / 5 % 256,
                                             (x / 3 + y / 2) % 2 * 255,
                                             (x * 31 + y * 17) % 11 + y % 7 * 20, y % 5 * 40};
      screen.push_back(static_cast<uint8_t>(values.at(static_cast<size_t>(kind))));
    }
  }
  return screen;
}

Bytes upside_down(const Bytes& screen) {
  Bytes turned;
  for (int64_t y = kHeight - 1; y >= 0; --y) {
    turned.insert(turned.end(), screen.begin() + y * kWidth, screen.begin() + (y + 1) * kWidth);
  }
  return turned;
}

TEST(Screen, HasTheBytesOfOpenCv) {
  const auto golden =
      Json::parse(base::read_file(STPN_SOURCE_DIR "/tests/golden/atari/images.json"));
  ASSERT_EQ(golden.at("cases").size(), 7u);
  for (const Json& one : golden.at("cases")) {
    Palette palette = plain_palette();
    Bytes last, before;
    if (one.contains("formula")) {
      last = made_up(one.at("formula"));
      before = upside_down(last);
    } else {
      SCOPED_TRACE(one.at("game").get<std::string>());
      last = decoded(one.at("last"), kHeight * kWidth);
      before = decoded(one.at("before"), kHeight * kWidth);
      for (const auto& [index, colours] : one.at("palette").items()) {
        const auto k = static_cast<size_t>(std::stoi(index));
        palette.red.at(k) = colours[0];
        palette.green.at(k) = colours[1];
        palette.blue.at(k) = colours[2];
        palette.grey.at(k) = colours[3];
      }
    }
    EXPECT_EQ(read(ScreenStyle::luma, palette, last, before),
              decoded(one.at("luma"), kSize * kSize));
    std::vector<int> sum(kSize * kSize);
    for (const Json& channel : one.at("channels")) {
      const Bytes values = decoded(channel, kSize * kSize);
      for (size_t k = 0; k < sum.size(); ++k) sum[k] += values[k];
    }
    Bytes mean;
    for (const int s : sum) mean.push_back(static_cast<uint8_t>(std::lround(s / 3.0)));
    EXPECT_EQ(read(ScreenStyle::channels, palette, last, before), mean);
  }
}

}  // namespace
}  // namespace stpn::tasks::screen_test
