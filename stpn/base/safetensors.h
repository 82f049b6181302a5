// The safetensors format: named tensors and a table of strings in one file
// (https://github.com/huggingface/safetensors, README "Format"): 8 bytes little-endian header
// length, a JSON header, then the tensors' bytes end to end.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace stpn::base {

enum class TensorType { float32, float64, int64, uint8 };

// One named tensor, its bytes owned. Row-major; `bytes.size()` is the product of `shape` times the
// size of `type`.
struct NamedTensor {
  std::string name;
  TensorType type = TensorType::float32;
  std::vector<int64_t> shape;
  std::string bytes;
};

struct Safetensors {
  std::map<std::string, std::string> metadata;
  std::vector<NamedTensor> tensors;  // any order; written sorted as the format asks

  // The tensor of that name. Throws UserError if there is none.
  const NamedTensor& at(std::string_view name) const;
};

// Written whole or not at all (base/files.h).
void write_safetensors(const std::filesystem::path& path, const Safetensors& content);

// Throws UserError, in one line that names the file, for a missing, truncated or foreign file:
// lengths, offsets, types and shapes are all checked against the file's size before anything is
// used.
Safetensors read_safetensors(const std::filesystem::path& path);

}  // namespace stpn::base
