// Files in the safetensors format, which hold named tensors and a table of strings: 8 bytes with
// the length of the header (little-endian), a JSON header, and the bytes of the tensors without
// gaps (https://github.com/huggingface/safetensors, README, section "Format").
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace stpn::base {

enum class TensorType { float32, float64, int64, uint8 };

// One tensor; owns its values.
struct NamedTensor {
  std::string name;
  TensorType type = TensorType::float32;
  std::vector<int64_t> shape;  // empty for a scalar
  std::string bytes;  // row-major, little-endian; product of `shape` times the size of `type` bytes
};

// The content of a file.
struct Safetensors {
  std::map<std::string, std::string> metadata;
  std::vector<NamedTensor> tensors;  // in any order; the file does not depend on it
  // The dtypes, by name, of the tensors whose dtype is not a TensorType. They are not read, because
  // a file may contain more than its reader asks for, and not written.
  std::map<std::string, std::string> skipped = {};

  // Returns the tensor with this name. If there is none, throws UserError with the nearest name, or
  // with the dtype of a tensor that was skipped.
  const NamedTensor& at(std::string_view name) const;
};

// Writes the file completely or not at all, like write_file() of base/files.h. Throws UserError if
// a name occurs twice or is reserved by the format, a shape does not match the number of bytes, or
// a string is not valid UTF-8; Error if the file cannot be written.
void write_safetensors(const std::filesystem::path& path, const Safetensors& content);

// Throws UserError, one line that names the file, if the file is missing, truncated or not in this
// format. Lengths, offsets and shapes are checked against the size of the file before they are
// used, so a damaged file is safe to read.
Safetensors read_safetensors(const std::filesystem::path& path);
// The same for the bytes of a file that was read; `path` is for messages.
Safetensors parse_safetensors(const std::filesystem::path& path, const std::string& file);

}  // namespace stpn::base
