#include "cli/progress/profiled.h"

#include <fmt/format.h>
#include <torch/torch.h>

#include <algorithm>
#include <numeric>

namespace stpn::cli {

void Profiled::on_start(const train::Trainer& trainer, int64_t epochs_done, int64_t epochs) {
  inner_.on_start(trainer, epochs_done, epochs);
  base::Profile::start();
  start_ = Clock::now();
}

void Profiled::on_batch(int64_t epoch, int64_t done, int64_t batches) {
  inner_.on_batch(epoch, done, batches);
}

void Profiled::on_epoch(const train::EpochMetrics& metrics) {
  inner_.on_epoch(metrics);
  seconds_ = base::Profile::seconds();
  wall_seconds_ = std::chrono::duration<double>(Clock::now() - start_).count();
}

std::string Profiled::table() const {
  const double busy = std::accumulate(seconds_.begin(), seconds_.end(), 0.0);
  if (busy == 0) return "";
  const double all = wall_seconds_ * static_cast<double>(torch::get_num_threads());
  const auto row = [&](const std::string& work, double seconds) {
    return fmt::format("{:14}{:10.2f}{:8.1f}%\n", work, seconds, 100 * seconds / all);
  };
  std::string table = fmt::format("{:14}{:>10}{:>9}\n", "work", "core s", "share");
  for (size_t k = 0; k < base::kWorks; ++k) table += row(base::kWorkNames[k], seconds_[k]);
  return table + row("waiting", std::max(0.0, all - busy));
}

}  // namespace stpn::cli
