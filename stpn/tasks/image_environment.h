// An environment whose observations are images: it writes bytes, and numbers come from these.
#pragma once

#include <cstdint>
#include <vector>

#include "stpn/tasks/environment.h"

namespace stpn::tasks {

class ImageEnvironment : public Environment {
 public:
  void start(Split split, int64_t episode, float* observation) final {
    start_image(split, episode, bytes_.data());
    write(observation);
  }
  Step step(const Action& action, float* observation) final {
    if (observation == nullptr) return step_image(action, nullptr);
    const Step step = step_image(action, bytes_.data());
    write(observation);
    return step;
  }

  void start_image(Split split, int64_t episode, uint8_t* image) override = 0;
  Step step_image(const Action& action, uint8_t* image) override = 0;

 protected:
  explicit ImageEnvironment(const ImageSpec& image)
      : image_(image), bytes_(static_cast<size_t>(image.bytes())) {}

 private:
  void write(float* observation) const {
    for (size_t k = 0; k < bytes_.size(); ++k) observation[k] = image_.value(bytes_[k]);
  }

  const ImageSpec image_;
  std::vector<uint8_t> bytes_;
};

}  // namespace stpn::tasks
