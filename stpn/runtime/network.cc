#include "stpn/runtime/network.h"

#include <toml++/toml.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>

#include "stpn/base/error.h"
#include "stpn/base/safetensors.h"

namespace stpn::runtime {
namespace {

std::filesystem::path file_of(const std::filesystem::path& path) {
  if (!std::filesystem::is_directory(path)) return path;
  const std::filesystem::path best = path / "checkpoint" / "best.safetensors";
  return std::filesystem::exists(best) ? best : path / "checkpoint" / "last.safetensors";
}

// The [unit] table of the run that wrote a checkpoint. What a run of an older version does not say
// has its default.
class UnitTable {
 public:
  UnitTable(const base::Safetensors& content, const std::filesystem::path& path) : path_(path) {
    const auto metadata = content.metadata.find("stpn");
    const auto json =
        metadata == content.metadata.end()
            ? nlohmann::json()
            : nlohmann::json::parse(metadata->second, nullptr, /*allow_exceptions=*/false);
    STPN_CHECK(json.is_object() && json.contains("config") && json["config"].is_string(),
               "{}: is not a checkpoint of stpn", path.string());
    try {
      const toml::table all = toml::parse(json["config"].get<std::string>());
      if (const toml::table* unit = all["unit"].as_table()) table_ = *unit;
    } catch (const toml::parse_error& error) {
      throw base::UserError(
          fmt::format("{}: its configuration is not TOML: {}", path.string(), error.description()));
    }
  }

  std::string text(const char* key, const char* otherwise) const {
    return table_[key].value_or(std::string(otherwise));
  }
  bool flag(const char* key) const { return table_[key].value_or(false); }
  double number(const char* key, double otherwise) const { return table_[key].value_or(otherwise); }
  // One of the enumerators of an option.
  template <typename Enum>
  void choose(const char* key, Enum& value) const {
    const std::string word = text(key, "");
    if (word.empty()) return;
    std::istringstream names(kernels::names_of(Enum()));
    std::string name;
    for (int index = 0; std::getline(names >> std::ws, name, ','); ++index) {
      if (name != word) continue;
      value = static_cast<Enum>(index);
      return;
    }
    throw base::UserError(
        fmt::format("{}: this version has no {} \"{}\"", path_.string(), key, word));
  }

 private:
  std::filesystem::path path_;
  toml::table table_;
};

class Reader {
 public:
  Reader(const base::Safetensors& content, const std::filesystem::path& path)
      : content_(content), path_(path) {
    for (const base::NamedTensor& tensor : content.tensors) names_.insert(tensor.name);
  }

  bool has(const std::string& name) const { return names_.contains(name); }
  const std::set<std::string>& names() const { return names_; }
  const std::vector<int64_t>& shape(const std::string& name) const {
    return content_.at(name).shape;
  }
  std::vector<float> values(const std::string& name, const std::vector<int64_t>& shape) const {
    const base::NamedTensor& tensor = content_.at(name);
    STPN_CHECK(tensor.type == base::TensorType::float32 && tensor.shape == shape,
               "{}: {} is not a float32 tensor of the shape that the unit's options say",
               path_.string(), name);
    std::vector<float> values(tensor.bytes.size() / sizeof(float));
    std::memcpy(values.data(), tensor.bytes.data(), tensor.bytes.size());
    return values;
  }

 private:
  const base::Safetensors& content_;
  const std::filesystem::path& path_;
  std::set<std::string> names_;
};

kernels::StpnVariant variant_of(const UnitTable& unit, bool recurrent) {
  kernels::StpnVariant v;
  v.recurrent = recurrent;
  unit.choose("norm", v.norm);
  unit.choose("connections", v.connections);
  unit.choose("rule", v.rule);
  unit.choose("decay", v.decay);
  unit.choose("presynaptic", v.presynaptic);
  unit.choose("activation", v.activation);
  v.clamp = unit.number("clamp", v.clamp);
  v.layer_norm = unit.flag("layer_norm");
  v.plastic_bias = unit.flag("plastic_bias");
  v.update_gate = unit.flag("update_gate");
  v.write_gate = unit.flag("write_gate");
  v.decay_gate = unit.flag("decay_gate");
  return v;
}

// One value a synapse or neuron from one each, one for each column, or one in all.
std::vector<float> spread(const std::vector<float>& values, int64_t rows, int64_t columns) {
  std::vector<float> all(static_cast<size_t>(rows * columns));
  for (size_t k = 0; k < all.size(); ++k) all[k] = values[k % values.size()];
  return all;
}

void read_rates(const Reader& reader, bool hebbff, Network& network) {
  const kernels::Extent& extent = network.extent;
  const int64_t H = extent.hidden, P = plastic_fan_in(extent, network.variant);
  const auto read = [&](const char* name) {
    const std::vector<int64_t>& shape = reader.shape(name);
    const bool known = shape == std::vector<int64_t>{H, P} || shape == std::vector<int64_t>{P} ||
                       shape == std::vector<int64_t>{1};
    return spread(reader.values(name, known ? shape : std::vector<int64_t>{H, P}), H, P);
  };
  network.lambda = read(hebbff ? "unit.weight_lambda_logit" : "unit.weight_lambda");
  network.gamma = read(hebbff ? "unit.weight_log_gamma" : "unit.weight_gamma");
  for (float& lambda : network.lambda) lambda = hebbff ? 1 / (1 + std::exp(-lambda)) : lambda;
  for (float& gamma : network.gamma) gamma = hebbff ? -std::exp(gamma) : gamma;
  if (network.variant.plastic_bias) {
    const auto of_bias = [&](const char* name) {
      return spread(reader.values(name, {reader.shape(name) == std::vector<int64_t>{1} ? 1 : H}), H,
                    1);
    };
    network.bias_lambda = of_bias("unit.bias_lambda");
    network.bias_gamma = of_bias("unit.bias_gamma");
  }
  if (network.variant.decay == kernels::Decay::before_update) return;
  const auto times = [](std::vector<float>& gamma, const std::vector<float>& lambda) {
    for (size_t k = 0; k < gamma.size(); ++k) gamma[k] *= lambda[k];
  };
  times(network.gamma, network.lambda);
  times(network.bias_gamma, network.bias_lambda);
}

// Every linear layer that is not the unit's.
std::vector<Head> read_heads(const Reader& reader, int64_t hidden) {
  std::vector<Head> heads;
  const std::string suffix = ".weight";
  for (const std::string& name : reader.names()) {
    if (!name.ends_with(suffix) || name.starts_with("unit.") || name.starts_with("adam.")) continue;
    Head head;
    head.name = name.substr(0, name.size() - suffix.size());
    const std::vector<int64_t>& shape = reader.shape(name);
    head.size = shape.empty() ? 0 : shape[0];
    head.weight = reader.values(name, {head.size, hidden});
    head.bias = reader.values(head.name + ".bias", {head.size});
    heads.push_back(std::move(head));
  }
  return heads;
}

}  // namespace

Network read_network(const std::filesystem::path& path) {
  const std::filesystem::path file = file_of(path);
  const base::Safetensors content = base::read_safetensors(file);
  const UnitTable unit(content, file);
  const Reader reader(content, file);
  const std::string name = unit.text("name", "");
  STPN_CHECK(name == "stpn_recurrent" || name == "stpn_feedforward",
             "{}: a network with the unit {}; the runtime has stpn_recurrent and stpn_feedforward",
             file.string(), name);
  for (const std::string& tensor : reader.names()) {
    STPN_CHECK(!tensor.starts_with("encoder."),
               "{}: the network sees images, and the runtime has no convolution", file.string());
  }
  Network network;
  network.variant = variant_of(unit, name == "stpn_recurrent");
  const std::vector<int64_t> shape = reader.shape("unit.weight");
  STPN_CHECK(shape.size() == 2 && shape[0] > 0, "{}: unit.weight is no matrix", file.string());
  const int64_t H = shape[0], inputs = network.variant.recurrent ? shape[1] - H : shape[1];
  STPN_CHECK(inputs > 0, "{}: unit.weight has {} columns, too few for {} neurons", file.string(),
             shape[1], H);
  network.extent = {.steps = 1, .batch = 1, .inputs = inputs, .hidden = H};
  network.weight = reader.values("unit.weight", shape);
  network.bias = reader.has("unit.bias") ? reader.values("unit.bias", {H})
                                         : std::vector<float>(static_cast<size_t>(H), 0.0F);
  read_rates(reader, unit.text("parametrisation", "plain") == "hebbff", network);
  if (network.variant.layer_norm) {
    network.layer_norm_weight = reader.values("unit.layer_norm_weight", {H});
    network.layer_norm_bias = reader.values("unit.layer_norm_bias", {H});
  }
  const auto gate = [&](const char* weight, int64_t columns, float bias) {
    return Gate{reader.values(weight, {H, columns}),
                std::vector<float>(static_cast<size_t>(H), bias)};
  };
  const kernels::StpnVariant& v = network.variant;
  if (v.update_gate) {
    network.update_gate = gate("unit.update_weight", inputs + H, 0);
    network.update_gate.bias = reader.values("unit.update_bias", {H});
  }
  if (v.write_gate) network.write_gate = gate("unit.write_weight", inputs, 0);
  STPN_CHECK((v.rule != kernels::Rule::oja || !(v.write_gate || v.decay_gate)) &&
                 (v.norm == kernels::Norm::pre || !v.decay_gate),
             "{}: neither a write nor a decay gate goes with rule oja, and a decay gate wants norm "
             "pre",
             file.string());
  STPN_CHECK(v.rule != kernels::Rule::delta,
             "{}: the unit has rule delta, which the runtime does not have", file.string());
  if (v.decay_gate) {
    network.decay_gate =
        gate("unit.decay_weight", inputs, static_cast<float>(kernels::kDecayGateOffset));
  }
  network.heads = read_heads(reader, H);
  return network;
}

}  // namespace stpn::runtime
