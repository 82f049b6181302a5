// Writes the file that TensorBoard reads: stpn train --tensorboard.
#pragma once

#include <cstdint>
#include <optional>
#include <utility>

#include "stpn/train/run/event_file.h"
#include "stpn/train/run/run.h"

namespace stpn::cli {

// Passes everything on to another observer, and writes the events of the run in the folder.
class EventLog : public train::Observer {
 public:
  // `inner` must live as long as training does.
  EventLog(train::Observer& inner, train::RunFolder folder)
      : inner_(inner), folder_(std::move(folder)) {}

  void on_start(const train::Trainer& trainer, int64_t epochs_done, int64_t epochs) override;
  void on_batch(int64_t epoch, int64_t done, int64_t batches) override;
  void on_epoch(const train::EpochMetrics& metrics) override;

 private:
  train::Observer& inner_;
  train::RunFolder folder_;
  std::optional<train::EventFile> file_;
};

}  // namespace stpn::cli
