#include "stpn/verify/golden_file.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <cmath>

#include "stpn/base/error.h"
#include "stpn/base/files.h"

namespace stpn::verify {
namespace {

using nlohmann::json;

[[noreturn]] void fail_at(const std::filesystem::path& path, const std::string& message) {
  throw base::UserError(fmt::format("{}: {}", path.string(), message));
}

// Keeps a message one short line whatever the file holds.
std::string excerpt(const json& value) {
  const std::string text = value.dump(-1, ' ', true);
  return text.size() <= 40 ? text : text.substr(0, 40) + "...";
}

json parse(const std::filesystem::path& path) {
  const std::string text = base::read_file(path);
  json content;
  try {
    // A golden file is four deep; what is deeper is foreign, and would overflow the stack.
    content = json::parse(text, [&](int depth, json::parse_event_t, json&) {
      if (depth > 8) fail_at(path, "not a golden file: nested too deeply");
      return true;
    });
  } catch (const json::exception& error) {
    fail_at(path, fmt::format("not JSON: {}", error.what()));
  }
  if (!content.is_object()) fail_at(path, "not a golden file: the JSON is not an object");
  return content;
}

// Reads the arrays of one file, naming it when something is wrong.
class Reader {
 public:
  Reader(const std::filesystem::path& path, const json& content) : path_(path), content_(content) {}

  const json& at(const std::string& key) const {
    const auto found = content_.find(key);
    if (found == content_.end()) fail_at(path_, fmt::format("\"{}\" is missing", key));
    return *found;
  }

  double number(const std::string& key) const { return number(at(key), key); }

  torch::Tensor array(const std::string& key) const { return array(at(key), key); }

  GoldenArrays arrays(const std::string& key) const {
    const json& group = at(key);
    if (!group.is_object()) fail_at(path_, fmt::format("{} is not an object of arrays", key));
    GoldenArrays result;
    for (const auto& [name, value] : group.items()) {
      result[name] = array(value, fmt::format("{}.{}", key, name));
    }
    return result;
  }

 private:
  double number(const json& value, const std::string& name) const {
    if (!value.is_number() || !std::isfinite(value.get<double>())) {
      fail_at(path_, fmt::format("{} is {}, not a finite number", name, excerpt(value)));
    }
    return value.get<double>();
  }

  torch::Tensor array(const json& value, const std::string& name) const {
    if (!value.is_object() || !value.contains("shape") || !value["shape"].is_array() ||
        !value.contains("data") || !value["data"].is_array()) {
      fail_at(path_, fmt::format("{} is not {{\"shape\": [...], \"data\": [...]}}", name));
    }
    const json& data = value["data"];
    std::vector<int64_t> shape;
    // As a double the product cannot overflow, and is exact as far as data can match it.
    double size = 1;
    for (const json& length : value["shape"]) {
      if (!length.is_number_unsigned() || length.get<double>() > 1e9) {
        fail_at(path_, fmt::format("{}: {} in its shape is not a length", name, excerpt(length)));
      }
      shape.push_back(length.get<int64_t>());
      size *= static_cast<double>(shape.back());
    }
    if (size != static_cast<double>(data.size())) {
      fail_at(path_, fmt::format("{} has {} values, its shape ({}) asks for {}", name, data.size(),
                                 fmt::join(shape, ", "), size));
    }
    auto tensor = torch::empty(shape, torch::kDouble);
    auto* out = tensor.data_ptr<double>();
    for (size_t i = 0; i < data.size(); ++i) {
      out[i] = number(data[i], fmt::format("{} value {}", name, i));
    }
    return tensor;
  }

  const std::filesystem::path& path_;
  const json& content_;
};

}  // namespace

GoldenConfig::GoldenConfig(std::filesystem::path path, json switches)
    : path_(std::move(path)), switches_(std::move(switches)) {
  if (!switches_.is_object()) fail_at(path_, "config is not an object");
}

const json& GoldenConfig::at(const std::string& key) {
  const auto found = switches_.find(key);
  if (found == switches_.end()) fail_at(path_, fmt::format("config.{} is missing", key));
  read_.insert(key);
  return *found;
}

int64_t GoldenConfig::size(const std::string& key) {
  const json& value = at(key);
  if (!value.is_number_unsigned() || value.get<double>() < 1 || value.get<double>() > 1e9) {
    fail_at(path_, fmt::format("config.{} is {}, not a size of at least 1", key, excerpt(value)));
  }
  return value.get<int64_t>();
}

bool GoldenConfig::flag(const std::string& key) {
  const json& value = at(key);
  if (!value.is_boolean()) {
    fail_at(path_, fmt::format("config.{} is {}, not true or false", key, excerpt(value)));
  }
  return value.get<bool>();
}

bool GoldenConfig::flag_if_any(const std::string& key) {
  return switches_.contains(key) && flag(key);
}

std::optional<double> GoldenConfig::bound(const std::string& key) {
  const json& value = at(key);
  if (value.is_null()) return std::nullopt;
  if (!value.is_number() || !(value.get<double>() > 0)) {
    fail_at(path_,
            fmt::format("config.{} is {}, not null or a number above 0", key, excerpt(value)));
  }
  return value.get<double>();
}

std::string GoldenConfig::choice(const std::string& key,
                                 const std::vector<std::pair<std::string, std::string>>& choices) {
  const json& value = at(key);
  const std::string word = value.is_string()           ? value.get<std::string>()
                           : value.is_number_integer() ? value.dump()
                                                       : "";
  std::vector<std::string> known;
  for (const auto& [theirs, ours] : choices) {
    if (theirs == "null" ? value.is_null() : theirs == word) return ours;
    known.push_back(theirs);
  }
  fail_at(path_, fmt::format("config.{} is {}, known is: {}", key, excerpt(value),
                             fmt::join(known, ", ")));
}

void GoldenConfig::check_all_read() const {
  for (const auto& [key, value] : switches_.items()) {
    if (!read_.count(key)) {
      fail_at(path_, fmt::format("config.{} ({}) is not known for this unit", key, excerpt(value)));
    }
  }
}

GoldenFile::GoldenFile(const std::filesystem::path& path) : GoldenFile(path, parse(path)) {}

GoldenFile::GoldenFile(const std::filesystem::path& path_in, const json& content)
    : path(path_in), config(path, Reader(path, content).at("config")) {
  const json& name = content["config"].contains("unit") ? content["config"]["unit"] : json();
  if (!name.is_string()) fail("config.unit is missing or not a string");
  unit = name.get<std::string>();
  config.choice("unit", {{unit, unit}});
  input_size = config.size("input_size");
  hidden_size = config.size("hidden_size");

  const Reader reader(path, content);
  x = reader.array("x");
  output = reader.array("output");
  cotangent_output = reader.array("cotangent_output");
  if (content.contains("energy")) energy = reader.array("energy");
  params = reader.arrays("params");
  initial_state = reader.arrays("initial_state");
  final_state = reader.arrays("final_state");
  cotangent_final_state = reader.arrays("cotangent_final_state");
  grad = reader.arrays("grad");
  loss = reader.number("loss");

  // Before any unit is made, so that no size is larger than the file.
  if (x.dim() != 3 || x.numel() == 0 || x.size(2) != input_size) {
    fail(fmt::format("x is ({}), it must be (T, B, {}) with T and B at least 1",
                     fmt::join(x.sizes(), ", "), input_size));
  }
  for (const auto& [key, tensor] :
       {std::pair("output", output), std::pair("cotangent_output", cotangent_output)}) {
    if (tensor.sizes() != torch::IntArrayRef({x.size(0), x.size(1), hidden_size})) {
      fail(fmt::format("{} is ({}), it must be ({}, {}, {})", key, fmt::join(tensor.sizes(), ", "),
                       x.size(0), x.size(1), hidden_size));
    }
  }
}

void GoldenFile::fail(const std::string& message) const { fail_at(path, message); }

}  // namespace stpn::verify
