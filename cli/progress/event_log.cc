#include "cli/progress/event_log.h"

namespace stpn::cli {

void EventLog::on_start(const train::Trainer& trainer, int64_t epochs_done, int64_t epochs) {
  file_.emplace(folder_);
  inner_.on_start(trainer, epochs_done, epochs);
}

void EventLog::on_batch(int64_t epoch, int64_t done, int64_t batches) {
  inner_.on_batch(epoch, done, batches);
}

void EventLog::on_epoch(const train::EpochMetrics& metrics) {
  file_->append(train::to_json(metrics));
  inner_.on_epoch(metrics);
}

}  // namespace stpn::cli
