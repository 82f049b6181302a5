#include "stpn/base/safetensors.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>

#include "stpn/base/config.h"
#include "stpn/base/error.h"
#include "stpn/base/files.h"

namespace stpn::base {
namespace {

using Json = nlohmann::json;

constexpr size_t kLengthBytes = 8;
constexpr size_t kMaxHeaderBytes = 100'000'000;  // the limit of the reference implementation
constexpr const char* kMetadata = "__metadata__";

struct TypeInfo {
  TensorType type;
  const char* name;
  uint64_t size;
};
constexpr TypeInfo kTypes[] = {{TensorType::float32, "F32", 4},
                               {TensorType::float64, "F64", 8},
                               {TensorType::int64, "I64", 8},
                               {TensorType::uint8, "U8", 1}};

const TypeInfo& info(TensorType type) {
  return *std::find_if(std::begin(kTypes), std::end(kTypes),
                       [type](const TypeInfo& t) { return t.type == type; });
}

// For messages: a name in quotes and escaped, on one line.
std::string shown(std::string_view name) {
  return Json(name).dump(-1, ' ', true, Json::error_handler_t::replace);
}

// The size of a tensor in bytes; nothing if an extent is negative or the product overflows.
std::optional<uint64_t> byte_count(const std::vector<int64_t>& shape, TensorType type) {
  uint64_t product = info(type).size;
  for (const int64_t extent : shape) {
    if (extent < 0) return std::nullopt;
    if (__builtin_mul_overflow(product, static_cast<uint64_t>(extent), &product)) {
      return std::nullopt;
    }
  }
  return product;
}

// Parses the bytes of one file. Every failure is a UserError that names the file.
class Reader {
 public:
  Reader(const std::filesystem::path& path, std::string_view file) : path_(path), file_(file) {}

  Safetensors read() {
    const Json header = read_header();
    Safetensors content;
    std::vector<Span> spans;
    for (const auto& [name, entry] : header.items()) {
      if (name == kMetadata) {
        content.metadata = read_metadata(entry);
      } else {
        spans.push_back(read_span(name, entry));
        if (!spans.back().type) content.skipped[name] = entry["dtype"].get<std::string>();
      }
    }
    // The tensors' bytes must cover the data without gap or overlap.
    std::sort(spans.begin(), spans.end(), [](const Span& a, const Span& b) {
      return std::pair(a.begin, a.end) < std::pair(b.begin, b.end);
    });
    uint64_t covered = 0;
    for (const Span& span : spans) {
      require(span.begin == covered, "tensor {} does not begin where the previous one ends",
              shown(span.tensor.name));
      covered = span.end;
    }
    require(covered == data_.size(), "its tensors have {} bytes, but {} bytes follow the header",
            covered, data_.size());
    for (Span& span : spans) {
      if (!span.type) continue;
      span.tensor.bytes = data_.substr(span.begin, span.end - span.begin);
      content.tensors.push_back(std::move(span.tensor));
    }
    return content;
  }

 private:
  struct Span {
    NamedTensor tensor;
    std::optional<TensorType> type;  // none: a dtype that is not read
    uint64_t begin;
    uint64_t end;
  };

  // Throws unless `condition` holds; `why` continues a message about the file.
  template <typename... Args>
  void require(bool condition, fmt::format_string<Args...> why, Args&&... args) const {
    if (condition) return;
    throw UserError(fmt::format("{}: not a valid safetensors file: {}", path_.string(),
                                fmt::format(why, std::forward<Args>(args)...)));
  }

  // Returns the JSON header, and sets data_ to the bytes after it.
  Json read_header() {
    require(file_.size() >= kLengthBytes, "it has only {} bytes", file_.size());
    uint64_t length = 0;
    for (size_t i = kLengthBytes; i-- > 0;) {
      length = length << 8 | static_cast<unsigned char>(file_[i]);
    }
    require(length <= kMaxHeaderBytes && length <= file_.size() - kLengthBytes,
            "its header should have {} bytes, but the whole file has {}", length, file_.size());
    data_ = file_.substr(kLengthBytes + length);

    // Where a key occurs twice, the parser would use the last one; here that is an error. keys has
    // the keys of each object that is not closed yet.
    std::vector<std::set<std::string>> keys;
    const auto check_keys = [&](int depth, Json::parse_event_t event, Json& parsed) {
      require(depth <= 3, "its header is nested too deeply");
      if (event == Json::parse_event_t::object_start) keys.emplace_back();
      if (event == Json::parse_event_t::object_end) keys.pop_back();
      if (event == Json::parse_event_t::key) {
        const auto& key = parsed.get_ref<const std::string&>();
        require(keys.back().insert(key).second, "its header contains {} twice", shown(key));
      }
      return true;
    };
    const std::string_view text = file_.substr(kLengthBytes, length);
    Json header;
    try {
      header = Json::parse(text.begin(), text.end(), check_keys);
    } catch (const Json::exception&) {
      require(false, "its header is not valid JSON");
    }
    require(header.is_object(), "its header is not a JSON object");
    return header;
  }

  std::map<std::string, std::string> read_metadata(const Json& entry) const {
    require(entry.is_object(), "its {} is not an object", kMetadata);
    std::map<std::string, std::string> metadata;
    for (const auto& [key, value] : entry.items()) {
      require(value.is_string(), "{} {} is not a string", kMetadata, shown(key));
      metadata[key] = value.get<std::string>();
    }
    return metadata;
  }

  Span read_span(const std::string& name, const Json& entry) const {
    const auto require_part = [&](const char* key, bool valid) {
      require(valid, "tensor {} has no valid {}", shown(name), key);
    };
    // Whether this is a list of non-negative integers that fit into int64_t.
    const auto are_counts = [](const Json& list) {
      constexpr uint64_t kMax = std::numeric_limits<int64_t>::max();
      return list.is_array() && std::all_of(list.begin(), list.end(), [](const Json& number) {
               return number.is_number_unsigned() && number.get<uint64_t>() <= kMax;
             });
    };
    require_part("entry", entry.is_object());
    const Json dtype = entry.value("dtype", Json());
    const Json shape = entry.value("shape", Json());
    const Json offsets = entry.value("data_offsets", Json());
    require_part("dtype", dtype.is_string());
    require_part("shape", are_counts(shape));
    require_part("data_offsets", are_counts(offsets) && offsets.size() == 2);

    const auto* type = std::find_if(std::begin(kTypes), std::end(kTypes),
                                    [&](const TypeInfo& t) { return t.name == dtype; });
    Span span{{name, {}, shape.get<std::vector<int64_t>>(), ""},
              std::nullopt,
              offsets[0].get<uint64_t>(),
              offsets[1].get<uint64_t>()};
    require(span.begin <= span.end && span.end <= data_.size(),
            "tensor {} is at bytes {} to {} of {}", shown(name), span.begin, span.end,
            data_.size());
    if (type == std::end(kTypes)) return span;
    span.type = span.tensor.type = type->type;
    require(byte_count(span.tensor.shape, type->type) == span.end - span.begin,
            "the shape of tensor {} does not match its {} bytes", shown(name),
            span.end - span.begin);
    return span;
  }

  const std::filesystem::path& path_;
  std::string_view file_;
  std::string_view data_;
};

}  // namespace

const NamedTensor& Safetensors::at(std::string_view name) const {
  std::vector<std::string> names;
  for (const NamedTensor& tensor : tensors) {
    if (tensor.name == name) return tensor;
    names.push_back(tensor.name);
  }
  if (const auto other = skipped.find(std::string(name)); other != skipped.end()) {
    throw UserError(fmt::format("tensor {} has dtype {}; only F32, F64, I64 and U8 can be read",
                                shown(name), shown(other->second)));
  }
  const std::string near = nearest(name, names);
  throw UserError(fmt::format("there is no tensor {}{}", shown(name),
                              near.empty() ? "" : fmt::format(" (did you mean {}?)", shown(near))));
}

void write_safetensors(const std::filesystem::path& path, const Safetensors& content) {
  std::vector<const NamedTensor*> sorted;
  for (const NamedTensor& tensor : content.tensors) sorted.push_back(&tensor);
  // Types with larger elements first, so that every tensor is aligned to its element size.
  std::sort(sorted.begin(), sorted.end(), [](const NamedTensor* a, const NamedTensor* b) {
    const uint64_t size_a = info(a->type).size, size_b = info(b->type).size;
    return size_a != size_b ? size_a > size_b : a->name < b->name;
  });

  Json header = Json::object();
  if (!content.metadata.empty()) header[kMetadata] = content.metadata;
  std::string data;
  for (const NamedTensor* tensor : sorted) {
    STPN_CHECK(tensor->name != kMetadata && !header.contains(tensor->name),
               "the name of tensor {} is not available", shown(tensor->name));
    STPN_CHECK(byte_count(tensor->shape, tensor->type) == tensor->bytes.size(),
               "the shape of tensor {} does not match its {} bytes", shown(tensor->name),
               tensor->bytes.size());
    header[tensor->name] = {{"dtype", info(tensor->type).name},
                            {"shape", tensor->shape},
                            {"data_offsets", {data.size(), data.size() + tensor->bytes.size()}}};
    data += tensor->bytes;
  }

  std::string text;
  try {
    text = header.dump();
  } catch (const Json::exception&) {
    throw UserError(fmt::format("{}: a name or the metadata is not valid UTF-8", path.string()));
  }
  text.append((kLengthBytes - text.size() % kLengthBytes) % kLengthBytes, ' ');
  std::string file;
  for (size_t i = 0; i < kLengthBytes; ++i) file += static_cast<char>(text.size() >> (8 * i));
  write_file(path, file + text + data);
}

Safetensors read_safetensors(const std::filesystem::path& path) {
  return parse_safetensors(path, read_file(path));
}

Safetensors parse_safetensors(const std::filesystem::path& path, const std::string& file) {
  return Reader(path, file).read();
}

}  // namespace stpn::base
