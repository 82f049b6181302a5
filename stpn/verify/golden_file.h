// A golden file as read (format: golden.h). Everything that is wrong with one throws
// base::UserError naming the file and the place in it.
#pragma once

#include <torch/torch.h>

#include <cstdint>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace stpn::verify {

// The switches of a variant. Each is asked for by name; what nobody asked for is an error.
class GoldenConfig {
 public:
  GoldenConfig(std::filesystem::path path, nlohmann::json switches);

  // At least 1.
  int64_t size(const std::string& key);
  bool flag(const std::string& key);
  bool flag_if_any(const std::string& key);  // false where there is none
  // Above 0, or null.
  std::optional<double> bound(const std::string& key);
  // Of `choices`, pairs of a word of the file ("null": JSON's null) and a word of ours, ours.
  std::string choice(const std::string& key,
                     const std::vector<std::pair<std::string, std::string>>& choices);

  // Throws if there is a key that was not asked for.
  void check_all_read() const;

 private:
  const nlohmann::json& at(const std::string& key);

  std::filesystem::path path_;
  nlohmann::json switches_;
  std::set<std::string> read_;
};

using GoldenArrays = std::map<std::string, torch::Tensor>;

// All arrays in double and finite; x, output and cotangent_output have the shapes config says.
struct GoldenFile {
  explicit GoldenFile(const std::filesystem::path& path);

  [[noreturn]] void fail(const std::string& message) const;

  std::filesystem::path path;
  GoldenConfig config;
  std::string unit;
  int64_t input_size = 0;
  int64_t hidden_size = 0;

  torch::Tensor x, output, cotangent_output;
  torch::Tensor energy;  // undefined if the file has none
  GoldenArrays params, initial_state, final_state, cotangent_final_state, grad;
  double loss = 0;

 private:
  explicit GoldenFile(const std::filesystem::path& path, const nlohmann::json& content);
};

}  // namespace stpn::verify
