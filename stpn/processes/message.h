// What a message consists of: numbers and texts one after another, read in the order in which they
// were written. All processes of a run have the same byte order.
#pragma once

#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "stpn/base/error.h"

namespace stpn::processes {

class Writer {
 public:
  template <typename T>
  void number(T value) {
    static_assert(std::is_arithmetic_v<T>);
    message_.append(reinterpret_cast<const char*>(&value), sizeof value);
  }
  void text(std::string_view bytes) {
    number<uint64_t>(bytes.size());
    message_ += bytes;
  }
  template <typename T>
  void numbers(const std::vector<T>& values) {
    static_assert(std::is_arithmetic_v<T>);
    text({reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T)});
  }
  std::string take() { return std::move(message_); }

 private:
  std::string message_;
};

// Throws base::Error where the message is too short for what is read, or damaged. The message must
// outlive it.
class Reader {
 public:
  explicit Reader(std::string_view message) : rest_(message) {}

  template <typename T>
  T number() {
    T value;
    std::memcpy(&value, bytes(sizeof value).data(), sizeof value);
    return value;
  }
  std::string_view text() { return bytes(number<uint64_t>()); }
  template <typename T>
  std::vector<T> numbers() {
    const std::string_view part = text();
    if (part.size() % sizeof(T) != 0) {
      throw base::Error("a message between the processes is damaged");
    }
    std::vector<T> values(part.size() / sizeof(T));
    if (!values.empty()) std::memcpy(values.data(), part.data(), part.size());
    return values;
  }
  bool at_end() const { return rest_.empty(); }

 private:
  std::string_view bytes(uint64_t count) {
    if (count > rest_.size()) throw base::Error("a message between the processes is too short");
    const std::string_view part = rest_.substr(0, count);
    rest_.remove_prefix(count);
    return part;
  }

  std::string_view rest_;
};

}  // namespace stpn::processes
