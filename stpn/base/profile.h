// What the time of a training step goes into. Costs nothing to speak of unless it was started.
//
//   base::Profile::start();
//   { const base::Working working(base::Work::emulator); ... }   // on any thread
//   base::Profile::seconds();
#pragma once

#include <array>
#include <optional>
#include <string>

namespace stpn::base {

enum class Work { rest, emulator, preprocessing, convolution, unit };
inline constexpr size_t kWorks = 5;
// In the order of Work.
inline const std::array<std::string, kWorks> kWorkNames = {"rest", "emulator", "preprocessing",
                                                           "convolution", "unit"};

class Profile {
 public:
  static void start();
  // By Work: since the start, of all threads together. What a thread does now is not in it yet.
  static std::array<double, kWorks> seconds();
};

// While an object of this class exists, its thread does this work and no other; or, without work,
// waits, which does not count.
class Working {
 public:
  explicit Working(std::optional<Work> work);
  ~Working();
  Working(const Working&) = delete;
  Working& operator=(const Working&) = delete;

  static std::optional<Work> now();  // of this thread

 private:
  bool measured_;
  std::optional<Work> before_;
};

}  // namespace stpn::base
