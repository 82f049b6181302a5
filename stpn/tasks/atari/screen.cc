#include "stpn/tasks/atari/screen.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

#include "stpn/base/error.h"

namespace stpn::tasks {
namespace {

constexpr int64_t kCropped = 25;  // rows at the top and at the bottom

struct Overlap {
  int64_t source = 0;
  float weight = 0;
};

// Which of `sources` pixels in a row a new pixel consists of, and how much, if there are to be
// `count` new ones. Parts of less than a thousandth of a pixel are left out, as OpenCV does it.
std::vector<Overlap> overlaps(int64_t sources, int64_t count, int64_t index) {
  constexpr double kSmallest = 1e-3;
  const double size = 1 / (static_cast<double>(count) / static_cast<double>(sources));
  const double begin = static_cast<double>(index) * size, end = begin + size;
  const double width = std::min(size, static_cast<double>(sources) - begin);
  const auto past = std::min(static_cast<int64_t>(std::floor(end)), sources - 1);
  const auto first = std::min(static_cast<int64_t>(std::ceil(begin)), past);
  std::vector<Overlap> found;
  const auto add = [&](int64_t source, double part) {
    found.push_back({source, static_cast<float>(part / width)});
  };
  if (static_cast<double>(first) - begin > kSmallest) {
    add(first - 1, static_cast<double>(first) - begin);
  }
  for (int64_t source = first; source < past; ++source) add(source, 1);
  const double rest = end - static_cast<double>(past);
  if (rest > kSmallest) add(past, std::min({rest, 1.0, width}));
  return found;
}

// Halves to the even neighbour, for 0 <= value < 2^22: adding 1.5 * 2^23 leaves no bits for a
// fraction.
uint8_t rounded(float value) {
  return static_cast<uint8_t>(std::bit_cast<uint32_t>(value + 12582912.0f));
}

}  // namespace

ScreenReader::ScreenReader(ScreenStyle style, const Palette& palette, int64_t height)
    : style_(style),
      first_row_(style == ScreenStyle::luma ? 0 : kCropped),
      values_(style == ScreenStyle::luma ? kSize : 3 * kSize) {
  const int64_t rows = height - 2 * first_row_;
  STPN_CHECK(rows >= kSize, "a screen of {} rows: {} are the least", height,
             kSize + 2 * first_row_);
  for (size_t index = 0; index < 256; ++index) {
    const bool is_luma = style == ScreenStyle::luma;
    tables_[0][index] = is_luma ? palette.grey[index] : palette.red[index];
    tables_[1][index] = palette.green[index];
    tables_[2][index] = palette.blue[index];
  }
  for (int64_t x = 0; x < kSize; ++x) {
    const std::vector<Overlap> found = overlaps(kWidth, kSize, x);
    for (size_t k = 0; k < found.size(); ++k) {
      columns_.at(k)[static_cast<size_t>(x)] = static_cast<int32_t>(found[k].source);
      weights_.at(k)[static_cast<size_t>(x)] = found[k].weight;
    }
  }
  for (int64_t y = 0; y < kSize; ++y) {
    const std::vector<Overlap> found = overlaps(rows, kSize, y);
    for (size_t k = 0; k < found.size(); ++k) {
      parts_.push_back({.row = first_row_ + found[k].source,
                        .weight = found[k].weight,
                        .is_first = k == 0,
                        .is_last = k + 1 == found.size()});
    }
  }
}

void ScreenReader::read(const uint8_t* screen, const uint8_t* before, uint8_t* image) {
  int64_t made = -1;
  const auto is_as_made = [&](const uint8_t* pixels, int64_t row) {
    return std::memcmp(pixels + row * kWidth, pixels + made * kWidth, kWidth) == 0;
  };
  for (const RowPart& part : parts_) {
    if (part.row != made) {
      // Most rows of most games are as the one above.
      if (made < 0 || !is_as_made(screen, part.row) ||
          (style_ == ScreenStyle::luma && !is_as_made(before, part.row))) {
        make_narrow(screen + part.row * kWidth, before + part.row * kWidth);
      }
      made = part.row;
    }
    if (part.is_first) {
      for (int64_t k = 0; k < values_; ++k) sum_[k] = part.weight * narrow_[k];
    } else {
      for (int64_t k = 0; k < values_; ++k) sum_[k] += part.weight * narrow_[k];
    }
    if (part.is_last) {
      write_row(image);
      image += kSize;
    }
  }
}

// Both are rows.
void ScreenReader::make_narrow(const uint8_t* screen, const uint8_t* before) {
  std::array<float, kWidth> row;
  if (style_ == ScreenStyle::luma) {
    for (size_t x = 0; x < kWidth; ++x) {
      row[x] = std::max(tables_[0][screen[x]], tables_[0][before[x]]);
    }
    narrow_row(row, narrow_.data());
    return;
  }
  for (size_t channel = 0; channel < 3; ++channel) {
    for (size_t x = 0; x < kWidth; ++x) row[x] = tables_[channel][screen[x]];
    narrow_row(row, narrow_.data() + channel * kSize);
  }
}

void ScreenReader::narrow_row(const std::array<float, kWidth>& row, float* narrow) const {
  for (size_t x = 0; x < kSize; ++x) {
    narrow[x] = row[columns_[0][x]] * weights_[0][x] + row[columns_[1][x]] * weights_[1][x] +
                row[columns_[2][x]] * weights_[2][x];
  }
}

void ScreenReader::write_row(uint8_t* image) const {
  if (style_ == ScreenStyle::luma) {
    for (size_t x = 0; x < kSize; ++x) image[x] = rounded(sum_[x]);
    return;
  }
  for (size_t x = 0; x < kSize; ++x) {
    const uint32_t all = rounded(sum_[x]) + rounded(sum_[x + kSize]) + rounded(sum_[x + 2 * kSize]);
    image[x] = static_cast<uint8_t>((all + 1) / 3);  // a third is never half-way
  }
}

}  // namespace stpn::tasks
