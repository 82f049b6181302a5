#include "cli/sweep_table.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <optional>
#include <regex>
#include <vector>

#include "cli/say.h"

namespace stpn::cli {
namespace {

struct SweepMetric {
  std::string measure;     // "test_accuracy"
  std::string difficulty;  // "interval"
  int64_t value;           // 10
};

std::optional<SweepMetric> parse(const std::string& name) {
  static const std::regex kForm("(.+)_([a-z]+)_([0-9]{1,18})");
  std::smatch match;
  if (!std::regex_match(name, match, kForm)) return std::nullopt;
  return SweepMetric{match[1], match[2], std::stoll(match[3])};
}

}  // namespace

train::Metrics without_sweep(const train::Metrics& metrics) {
  train::Metrics others = metrics;
  std::erase_if(others, [](const train::Metric& metric) { return parse(metric.first); });
  return others;
}

std::string sweep_table(const train::Metrics& metrics) {
  std::string header;
  std::vector<std::string> measures;                       // in the order of the columns
  std::map<int64_t, std::map<std::string, double>> table;  // by difficulty and measure
  for (const auto& [name, value] : metrics) {
    const auto metric = parse(name);
    if (!metric) continue;
    if (header.empty()) header = metric->difficulty;
    if (std::find(measures.begin(), measures.end(), metric->measure) == measures.end()) {
      measures.push_back(metric->measure);
      header += "  " + words(metric->measure);
    }
    table[metric->value][metric->measure] = value;
  }
  if (table.empty()) return "";
  const size_t first = header.find(' ');
  std::string text = header + "\n";
  for (const auto& [difficulty, values] : table) {
    text += fmt::format("{:>{}}", difficulty, first);
    for (const std::string& measure : measures) {
      const auto value = values.find(measure);
      text += fmt::format("  {:>{}}", value == values.end() ? "" : number(value->second),
                          measure.size());
    }
    text += "\n";
  }
  return text;
}

}  // namespace stpn::cli
