#include "stpn/train/run/metrics.h"

#include <algorithm>
#include <nlohmann/json.hpp>

namespace stpn::train {

using Json = nlohmann::ordered_json;

double value_of(const Metrics& metrics, const std::string& name) {
  return std::find_if(metrics.begin(), metrics.end(),
                      [&](const Metric& metric) { return metric.first == name; })
      ->second;
}

std::string to_json(const EpochMetrics& line) {
  Json json = {{"epoch", line.epoch}, {"step", line.step}, {"wall_seconds", line.wall_seconds}};
  for (const auto& [name, value] : line.metrics) json[name] = value;
  return json.dump();
}

std::string to_json(const Summary& summary) {
  Json metrics = Json::object();
  for (const auto& [name, value] : summary.metrics) metrics[name] = value;
  Json baselines = Json::object();
  for (const auto& [name, value] : summary.baselines) baselines[name] = value;
  const Json json = {{"experiment", summary.experiment},
                     {"task", summary.task},
                     {"model", summary.model},
                     {"seed", summary.seed},
                     {"parameters", summary.parameters},
                     {"steps", summary.steps},
                     {"wall_seconds", summary.wall_seconds},
                     {"metrics", metrics},
                     {"baselines", baselines},
                     {"version", summary.version}};
  // File names need not be valid UTF-8.
  return json.dump(2, ' ', /*ensure_ascii=*/false, Json::error_handler_t::replace) + "\n";
}

}  // namespace stpn::train
