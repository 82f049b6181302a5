// Shows the progress of a training run on stderr: a bar on a terminal, else one line per epoch.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

#include "cli/progress/status_line.h"
#include "stpn/train/run/run.h"

namespace stpn::cli {

class Progress : public train::Observer {
 public:
  ~Progress() override { line_.keep(); }

  void on_start(const train::Trainer& trainer, int64_t epochs_done, int64_t epochs) override;
  void on_batch(int64_t epoch, int64_t done, int64_t batches) override;
  void on_epoch(const train::EpochMetrics& metrics) override;

 private:
  using Clock = std::chrono::steady_clock;

  void draw(double epochs_done);
  double seconds() const;  // since on_start
  // "0:01:30 left", assuming epochs of equal length. REQUIRES: epochs_done > first_epoch_.
  std::string time_left(double epochs_done) const;

  StatusLine line_;
  int64_t epochs_ = 0;
  int64_t first_epoch_ = 0;  // epochs done before this process
  double batch_size_ = 0;
  double seen_ = 0;  // items trained on by this process
  std::string items_, score_;
  Clock::time_point start_, last_draw_;
  std::string latest_score_ = "-";
};

}  // namespace stpn::cli
