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

Progress::Progress(int64_t batch_size)
    : batch_size_(batch_size), terminal_(isatty(STDERR_FILENO) != 0) {}

Progress::~Progress() {
  if (drawn_) say("\n");
}

void Progress::on_start(int64_t epochs_done, int64_t epochs) {
  epochs_ = epochs;
  first_epoch_ = epochs_done;
  start_ = last_draw_ = Clock::now();
  if (epochs_done > 0) say(fmt::format("goes on after epoch {} of {}\n", epochs_done, epochs));
}

void Progress::on_batch(int64_t epoch, int64_t done, int64_t batches) {
  sequences_ += batch_size_;
  if (!terminal_ || Clock::now() - last_draw_ < kRedraw) return;
  draw(static_cast<double>(epoch - 1) + static_cast<double>(done) / static_cast<double>(batches));
}

void Progress::on_epoch(const train::EpochMetrics& metrics) {
  accuracy_ = fmt::format("{:.4f}", metrics.validation_accuracy);
  if (terminal_) {
    draw(static_cast<double>(metrics.epoch));
  } else {
    say(fmt::format(
        "epoch {}/{}  loss {:.4f}  validation loss {:.4f}  validation accuracy {}  energy a "
        "step {:.4g}  {:.1f} s\n",
        metrics.epoch, epochs_, metrics.train_loss, metrics.validation_loss, accuracy_,
        metrics.energy_per_step, metrics.wall_seconds));
  }
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
      "\r[{:=<{}}{:<{}}] epoch {}/{}  {:.0f} sequences/s  validation accuracy {}  {} left "
      "\x1b[K",
      "", filled, "", kBarWidth - filled, std::min(static_cast<int64_t>(epochs_done) + 1, epochs_),
      epochs_, static_cast<double>(sequences_) / seconds, accuracy_, clock_of(left)));
}

}  // namespace stpn::cli
