// What the time of a training run went into: stpn train --profile.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <string>

#include "stpn/base/profile.h"
#include "stpn/train/run/run.h"

namespace stpn::cli {

// Passes everything on to another observer, and measures up to the end of the last epoch.
class Profiled : public train::Observer {
 public:
  // `inner` must live as long as training does.
  explicit Profiled(train::Observer& inner) : inner_(inner) {}

  void on_start(const train::Trainer& trainer, int64_t epochs_done, int64_t epochs) override;
  void on_batch(int64_t epoch, int64_t done, int64_t batches) override;
  void on_epoch(const train::EpochMetrics& metrics) override;

  // A line for each kind of work: seconds of all threads together, and their share of the time.
  std::string table() const;

 private:
  using Clock = std::chrono::steady_clock;

  train::Observer& inner_;
  Clock::time_point start_;
  std::array<double, base::kWorks> seconds_ = {};
  double wall_seconds_ = 0;
};

}  // namespace stpn::cli
