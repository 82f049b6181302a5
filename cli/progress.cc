#include "cli/progress.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>

#include "cli/say.h"

namespace stpn::cli {
namespace {

constexpr auto kRedraw = std::chrono::milliseconds(100);
constexpr int kBarWidth = 24;

}  // namespace

Progress::Progress() : terminal_(isatty(STDERR_FILENO) != 0) {}

Progress::~Progress() {
  if (drawn_) say("\n");
}

void Progress::on_start(const train::Trainer& trainer, int64_t epochs_done, int64_t epochs) {
  batch_size_ = trainer.batch_size();
  items_ = trainer.items();
  score_ = trainer.score();
  epochs_ = epochs;
  first_epoch_ = epochs_done;
  start_ = last_draw_ = Clock::now();
  if (epochs_done > 0) say(fmt::format("continues after epoch {} of {}\n", epochs_done, epochs));
}

void Progress::on_batch(int64_t epoch, int64_t done, int64_t batches) {
  seen_ += batch_size_;
  if (!terminal_ || Clock::now() - last_draw_ < kRedraw) return;
  draw(static_cast<double>(epoch - 1) + static_cast<double>(done) / static_cast<double>(batches));
}

void Progress::on_epoch(const train::EpochMetrics& line) {
  latest_score_ = number(train::value_of(line.metrics, score_));
  if (terminal_) {
    draw(static_cast<double>(line.epoch));
    return;
  }
  std::string text = fmt::format("epoch {}/{}", line.epoch, epochs_);
  for (const auto& [name, value] : line.metrics) {
    text += fmt::format("  {} {}", words(name), number(value));
  }
  say(fmt::format("{}  {:.1f} s\n", text, line.wall_seconds));
}

void Progress::draw(double epochs_done) {
  last_draw_ = Clock::now();
  drawn_ = true;
  const double seconds = std::chrono::duration<double>(last_draw_ - start_).count();
  const double share = epochs_done / static_cast<double>(epochs_);
  const double left = seconds * (static_cast<double>(epochs_) - epochs_done) /
                      (epochs_done - static_cast<double>(first_epoch_));
  const int filled = std::clamp(static_cast<int>(share * kBarWidth), 0, kBarWidth);
  say(fmt::format(
      "\r[{:=<{}}{:<{}}] epoch {}/{}  {:.0f} {}/s  {} {}  {} left "
      "\x1b[K",
      "", filled, "", kBarWidth - filled, std::min(static_cast<int64_t>(epochs_done) + 1, epochs_),
      epochs_, seen_ / seconds, items_, words(score_), latest_score_, clock_of(left)));
}

}  // namespace stpn::cli
