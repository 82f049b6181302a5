#include "stpn/train/metrics.h"

#include <algorithm>
#include <nlohmann/json.hpp>

namespace stpn::train {

using Json = nlohmann::ordered_json;

std::string to_json(const EpochMetrics& metrics) {
  return Json{{"epoch", metrics.epoch},
              {"step", metrics.step},
              {"wall_seconds", metrics.wall_seconds},
              {"train_loss", metrics.train_loss},
              {"validation_loss", metrics.validation_loss},
              {"validation_accuracy", metrics.validation_accuracy},
              {"energy_per_step", metrics.energy_per_step},
              {"energy_per_sequence", metrics.energy_per_sequence}}
      .dump();
}

double Summary::metric(const std::string& name) const {
  return std::find_if(metrics.begin(), metrics.end(),
                      [&](const auto& entry) { return entry.first == name; })
      ->second;
}

std::string to_json(const Summary& summary) {
  Json metrics = Json::object();
  for (const auto& [name, value] : summary.metrics) metrics[name] = value;
  Json yardsticks = Json::object();
  for (const auto& [name, value] : summary.yardsticks) yardsticks[name] = value;
  const Json json = {{"experiment", summary.experiment},
                     {"task", summary.task},
                     {"model", summary.model},
                     {"seed", summary.seed},
                     {"parameters", summary.parameters},
                     {"steps", summary.steps},
                     {"wall_seconds", summary.wall_seconds},
                     {"metrics", metrics},
                     {"yardsticks", yardsticks},
                     {"version", summary.version}};
  // The name of a file need not be UTF-8.
  return json.dump(2, ' ', /*ensure_ascii=*/false, Json::error_handler_t::replace) + "\n";
}

}  // namespace stpn::train
