// From a screen of an Atari game to an observation: a grey image of 84 x 84 bytes, made smaller by
// averaging over the area that each new pixel covers, as OpenCV's INTER_AREA.
//
// | style    | rows                     | order                                                  |
// | -------- | ------------------------ | ------------------------------------------------------ |
// | luma     | all                      | grey, the larger of the last two frames, 84 x 84       |
// | channels | without the outermost 25 | red, green and blue each 84 x 84, the mean of the three |
//
// The averages, and then the mean, are rounded to bytes. All bytes are those that OpenCV 4 computes
// (the mean apart, which is ours): its sums are of floats, so their order matters where an average
// lies between two bytes.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "stpn/tasks/atari/emulator.h"

namespace stpn::tasks {

enum class ScreenStyle { luma, channels };

// Has working memory, so not safe to use from several threads at once.
class ScreenReader {
 public:
  static constexpr int64_t kSize = 84;  // of an observation, in pixels

  // Throws base::UserError if the screen is not high enough.
  //   height  of the screens, in pixels
  ScreenReader(ScreenStyle style, const Palette& palette, int64_t height);

  //   screen, before  in (height, Emulator::kWidth), indices into the palette: the last frame and
  //                   the one before it, which only luma reads
  //   image           out (kSize, kSize)
  void read(const uint8_t* screen, const uint8_t* before, uint8_t* image);

 private:
  static constexpr int64_t kWidth = Emulator::kWidth;
  static constexpr int64_t kPixels = 3;  // at most, of which a new pixel has parts, in a row

  // A part of a column of new pixels: rows of the screen times their weights.
  struct RowPart {
    int64_t row = 0;
    float weight = 0;
    bool is_first = false, is_last = false;  // of the new row
  };

  void make_narrow(const uint8_t* screen, const uint8_t* before);
  void narrow_row(const std::array<float, kWidth>& row, float* narrow) const;
  void write_row(uint8_t* image) const;

  const ScreenStyle style_;
  const int64_t first_row_;
  const int64_t values_;                            // in a narrow row: kSize for each channel
  std::array<std::array<float, 256>, 3> tables_{};  // of palette indices: grey, or red, green, blue
  // Of each new pixel in a row: the pixels of which it has parts, and their weights, 0 without one.
  std::array<std::array<int32_t, kSize>, kPixels> columns_{};
  std::array<std::array<float, kSize>, kPixels> weights_{};
  std::vector<RowPart> parts_;  // of all new rows, one after the other
  std::array<float, 3 * kSize> narrow_{}, sum_{};
};

}  // namespace stpn::tasks
