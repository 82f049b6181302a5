#include "stpn/train/run/event_file.h"

#include <fmt/format.h>

#include <array>
#include <bit>
#include <chrono>
#include <cstring>
#include <nlohmann/json.hpp>
#include <sstream>
#include <vector>

#include "stpn/base/error.h"

namespace stpn::train {
namespace {

using Json = nlohmann::ordered_json;

// Writes the fields of a protocol buffer.
class Message {
 public:
  Message& number(int field, uint64_t value) {
    tag(field, 0);
    varint(value);
    return *this;
  }
  Message& real(int field, double value) {
    tag(field, 1);
    little_endian(std::bit_cast<uint64_t>(value), 8);
    return *this;
  }
  Message& single(int field, float value) {
    tag(field, 5);
    little_endian(std::bit_cast<uint32_t>(value), 4);
    return *this;
  }
  Message& text(int field, std::string_view value) {
    tag(field, 2);
    varint(value.size());
    bytes_ += value;
    return *this;
  }
  Message& message(int field, const Message& value) { return text(field, value.bytes_); }

  // An integer of `size` bytes, without a tag.
  Message& little_endian(uint64_t value, int size) {
    for (int i = 0; i < size; ++i) bytes_ += static_cast<char>((value >> (8 * i)) & 0xff);
    return *this;
  }

  const std::string& bytes() const { return bytes_; }

 private:
  void tag(int field, int type) { varint(static_cast<uint64_t>(field) << 3 | type); }
  void varint(uint64_t value) {
    for (; value >= 0x80; value >>= 7) bytes_ += static_cast<char>((value & 0x7f) | 0x80);
    bytes_ += static_cast<char>(value);
  }

  std::string bytes_;
};

std::string masked_crc(std::string_view bytes) {
  const uint32_t crc = crc32c(bytes);
  return Message().little_endian(((crc >> 15) | (crc << 17)) + 0xa282ead8u, 4).bytes();
}

std::string record(const Message& event) {
  const std::string length = Message().little_endian(event.bytes().size(), 8).bytes();
  return length + masked_crc(length) + event.bytes() + masked_crc(event.bytes());
}

// Where the double `wall_time`, the first field of the first event, is in a file, and where it
// ends.
constexpr size_t kFirstTime = 8 + 4 + 1, kFirstTimeEnd = kFirstTime + 8;

std::string first_record(double started) {
  return record(Message().real(1, started).text(3, "brain.Event:2"));
}

std::string config_record(double started, const std::string& config) {
  constexpr uint64_t kString = 7;  // DT_STRING of TensorFlow's types.proto
  const Message shape = Message().message(2, Message().number(1, 1));
  const Message tensor =
      Message().number(1, kString).message(2, shape).text(8, "```\n" + config + "```");
  const Message metadata = Message().message(1, Message().text(1, "text"));
  const Message value = Message().text(1, "config").message(8, tensor).message(9, metadata);
  return record(Message().real(1, started).number(2, 0).message(5, Message().message(1, value)));
}

std::string scalars_record(double started, std::string_view line) {
  const Json json = Json::parse(line);
  uint64_t step = 0;
  for (const char* key : {"epoch", "episodes", "environment_steps"}) {
    if (json.contains(key)) step = static_cast<uint64_t>(json.at(key).get<double>());
  }
  Message summary;
  for (const auto& [name, value] : json.items()) {
    if (!value.is_number()) continue;
    summary.message(1, Message().text(1, name).single(2, value.get<float>()));
  }
  const double time = started + json.at("wall_seconds").get<double>();
  return record(Message().real(1, time).number(2, step).message(5, summary));
}

// The time at which the run was started, in seconds since 1970: that of a file of the run, else
// what the clock says less the seconds that the run has taken so far.
double start_time(const std::string& file, const std::vector<std::string>& lines) {
  if (file.size() >= kFirstTimeEnd) {
    double time;
    std::memcpy(&time, file.data() + kFirstTime, sizeof(time));
    if (file.starts_with(first_record(time))) return time;
  }
  const double now =
      std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
  return lines.empty() ? now : now - Json::parse(lines.back()).at("wall_seconds").get<double>();
}

std::vector<std::string> lines_of(const std::filesystem::path& file) {
  std::vector<std::string> lines;
  if (!std::filesystem::exists(file)) return lines;
  std::istringstream text(base::read_file(file));
  for (std::string line; std::getline(text, line) && !text.eof();) lines.push_back(line);
  return lines;
}

}  // namespace

uint32_t crc32c(std::string_view bytes) {
  static const std::array<uint32_t, 256> table = [] {
    std::array<uint32_t, 256> made = {};
    for (uint32_t i = 0; i < made.size(); ++i) {
      made[i] = i;
      for (int bit = 0; bit < 8; ++bit) made[i] = made[i] >> 1 ^ (made[i] & 1 ? 0x82f63b78u : 0);
    }
    return made;
  }();
  uint32_t crc = ~0u;
  for (const char byte : bytes) crc = crc >> 8 ^ table[(crc ^ static_cast<uint8_t>(byte)) & 0xff];
  return ~crc;
}

EventFile::EventFile(const RunFolder& folder) {
  const std::filesystem::path path = folder.events();
  const std::string old = std::filesystem::exists(path) ? base::read_file(path) : "";
  const std::vector<std::string> lines = lines_of(folder.metrics());
  std::string bytes;
  try {
    started_ = start_time(old, lines);
    bytes = first_record(started_) + config_record(started_, base::read_file(folder.config()));
    for (const std::string& line : lines) bytes += scalars_record(started_, line);
  } catch (const Json::exception& error) {
    throw base::Error(fmt::format("{}: has a line that is not an output of a run: {}",
                                  folder.metrics().string(), error.what()));
  }
  if (!old.starts_with(bytes)) base::write_file(path, bytes);
  log_ = std::make_unique<base::AppendLog>(path, static_cast<int64_t>(bytes.size()));
}

void EventFile::append(std::string_view line) { log_->append(scalars_record(started_, line)); }

void write_events(const RunFolder& folder) {
  const base::FileLock lock = folder.lock();
  const EventFile file(folder);
}

}  // namespace stpn::train
