#include "cli/progress/progress.h"

#include <fmt/format.h>

#include <algorithm>
#include <vector>

#include "cli/say.h"

namespace stpn::cli {
namespace {

constexpr auto kRedraw = std::chrono::milliseconds(100);
constexpr int kBarWidths[] = {24, 20, 16, 12, 8};

// "[====    ]  ", for a share from 0 to 1.
std::string bar(double share, int width) {
  const int filled = std::clamp(static_cast<int>(share * width), 0, width);
  return fmt::format("[{:=<{}}{:<{}}]  ", "", filled, "", width - filled);
}

}  // namespace

void Progress::on_start(const train::Trainer& trainer, int64_t epochs_done, int64_t epochs) {
  batch_size_ = trainer.batch_size();
  items_ = trainer.batch_items();
  score_ = trainer.score();
  epochs_ = epochs;
  first_epoch_ = epochs_done;
  start_ = last_draw_ = Clock::now();
  if (epochs_done > 0) say(fmt::format("continues after epoch {} of {}\n", epochs_done, epochs));
}

void Progress::on_batch(int64_t epoch, int64_t done, int64_t batches) {
  seen_ += batch_size_;
  if (!line_.visible() || Clock::now() - last_draw_ < kRedraw) return;
  draw(static_cast<double>(epoch - 1) + static_cast<double>(done) / static_cast<double>(batches));
}

void Progress::on_epoch(const train::EpochMetrics& line) {
  const double score = train::value_of(line.metrics, score_);
  latest_score_ = std::isnan(score) ? "-" : number(score);  // no episode has ended yet
  if (line_.visible()) {
    draw(static_cast<double>(line.epoch));
    return;
  }
  std::string text = fmt::format("epoch {}/{}", line.epoch, epochs_);
  for (const auto& [name, value] : line.metrics) {
    text += fmt::format("  {} {}", words(name), number(value));
  }
  say(fmt::format("{}  {:.1f} s  {}\n", text, line.wall_seconds,
                  time_left(static_cast<double>(line.epoch))));
}

double Progress::seconds() const {
  return std::chrono::duration<double>(Clock::now() - start_).count();
}

std::string Progress::time_left(double epochs_done) const {
  const double left = seconds() * (static_cast<double>(epochs_) - epochs_done) /
                      (epochs_done - static_cast<double>(first_epoch_));
  return clock_of(left) + " left";
}

void Progress::draw(double epochs_done) {
  last_draw_ = Clock::now();
  const double share = epochs_done / static_cast<double>(epochs_);
  const std::string left = time_left(epochs_done);
  const std::string epoch = fmt::format(
      "epoch {}/{}  ", std::min(static_cast<int64_t>(epochs_done) + 1, epochs_), epochs_);
  const std::string speed = fmt::format("{:.0f} {}/s  ", seen_ / seconds(), items_);
  const std::string score = fmt::format("{} {}  ", words(score_), latest_score_);

  // In a narrow window the bar gets shorter; then speed, bar, score and epoch are left out in turn.
  std::vector<std::string> lines;
  const auto add_with_bars = [&](const std::string& line) {
    for (const int width : kBarWidths) lines.push_back(bar(share, width) + line);
  };
  add_with_bars(epoch + speed + score + left);
  add_with_bars(epoch + score + left);
  lines.push_back(epoch + score + left);
  lines.push_back(epoch + left);
  lines.push_back(left);
  line_.draw(lines);
}

}  // namespace stpn::cli
