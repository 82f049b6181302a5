#include "stpn/train/run/checkpoint.h"

#include <cstring>
#include <nlohmann/json.hpp>
#include <utility>
#include <vector>

#include "stpn/base/error.h"
#include "stpn/base/files.h"
#include "stpn/base/safetensors.h"
#include "stpn/processes/group.h"
#include "stpn/train/experiment.h"

namespace stpn::train {
namespace {

using Json = nlohmann::ordered_json;

constexpr int kFormat = 2;
constexpr const char* kMetadataKey = "stpn";

using NamedTensors = std::vector<std::pair<std::string, torch::Tensor>>;

// The tensors of model and optimiser that a checkpoint holds, by name.
NamedTensors tensors_of(const torch::nn::Module& model, const Adam* adam) {
  NamedTensors tensors;
  size_t i = 0;
  for (const auto& parameter : model.named_parameters()) {
    tensors.emplace_back(parameter.key(), parameter.value());
    if (adam) {
      tensors.emplace_back("adam.mean." + parameter.key(), adam->mean()[i]);
      tensors.emplace_back("adam.square." + parameter.key(), adam->square()[i]);
    }
    ++i;
  }
  return tensors;
}

Progress read_metadata(const base::Safetensors& content, const std::string& path,
                       const std::string& config) {
  const auto text = content.metadata.find(kMetadataKey);
  if (text == content.metadata.end()) {
    throw base::UserError(fmt::format("{}: is not a checkpoint of stpn", path));
  }
  try {
    const Json json = Json::parse(text->second);
    if (const int format = json.at("format").get<int>(); format != kFormat) {
      throw base::UserError(fmt::format(
          "{}: has checkpoint format {}; this program reads format {}", path, format, kFormat));
    }
    if (const std::string difference = first_difference(
            brought_up_to_date(json.at("config").get<std::string>(), path), config);
        !difference.empty()) {
      throw base::UserError(fmt::format("{}: belongs to another experiment: {}", path, difference));
    }
    const Json& best = json.at("best_score");  // null: none yet
    return {.epoch = json.at("epoch").get<int64_t>(),
            .step = json.at("step").get<int64_t>(),
            .best_epoch = json.at("best_epoch").get<int64_t>(),
            .best_score = best.is_null() ? Progress().best_score : best.get<double>(),
            .metrics_bytes = json.at("metrics_bytes").get<int64_t>(),
            .wall_seconds = json.at("wall_seconds").get<double>()};
  } catch (const nlohmann::json::exception&) {
    throw base::UserError(
        fmt::format("{}: its metadata is not that of a checkpoint of stpn", path));
  }
}

}  // namespace

void save_checkpoint(const std::filesystem::path& path, const torch::nn::Module& model,
                     const Adam& adam, const Progress& progress, const std::string& config,
                     base::Safetensors content) {
  for (const auto& [name, tensor] : tensors_of(model, &adam)) {
    content.tensors.push_back(
        {name, base::TensorType::float32, tensor.sizes().vec(),
         std::string(static_cast<const char*>(tensor.const_data_ptr()), tensor.nbytes())});
  }
  content.metadata[kMetadataKey] = Json{
      {"format", kFormat},
      {"epoch", progress.epoch},
      {"step", progress.step},
      {"best_epoch", progress.best_epoch},
      {"best_score", progress.best_score},
      {"metrics_bytes", progress.metrics_bytes},
      {"wall_seconds", progress.wall_seconds},
      {"config", config}}.dump();
  base::write_safetensors(path, content);
}

Progress load_checkpoint(const std::filesystem::path& path, torch::nn::Module& model, Adam* adam,
                         const std::string& config, base::Safetensors* whole) {
  processes::Group& group = processes::group();
  base::Safetensors content = base::parse_safetensors(
      path, group.broadcast(group.is_first() ? base::read_file(path) : std::string()));
  const Progress progress = read_metadata(content, path.string(), config);
  const NamedTensors targets = tensors_of(model, adam);
  std::vector<const base::NamedTensor*> sources;
  for (const auto& [name, tensor] : targets) {
    sources.push_back(nullptr);
    for (const base::NamedTensor& source : content.tensors) {
      if (source.name == name) sources.back() = &source;
    }
    if (!sources.back() || sources.back()->type != base::TensorType::float32 ||
        tensor.sizes() != torch::IntArrayRef(sources.back()->shape)) {
      throw base::UserError(
          fmt::format("{}: belongs to another model: it has no float32 tensor {} of {} values",
                      path.string(), name, tensor.numel()));
    }
  }
  const torch::NoGradGuard no_grad;
  for (size_t i = 0; i < targets.size(); ++i) {
    std::memcpy(targets[i].second.data_ptr(), sources[i]->bytes.data(), sources[i]->bytes.size());
  }
  if (adam) adam->set_steps(progress.step);
  if (whole) *whole = std::move(content);
  return progress;
}

}  // namespace stpn::train
