// A small maze and an agent for a task, for the tests of actors and trainers.
#pragma once

#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "stpn/nn/initialisation.h"
#include "stpn/tasks/hold/hold.h"
#include "stpn/tasks/image_environment.h"
#include "stpn/tasks/maze/maze.h"
#include "stpn/train/algorithms/actor_critic/actor_critic.h"

namespace stpn::train {

inline tasks::MazeOptions small_maze() {
  tasks::MazeOptions options;
  options.size = 5;
  options.steps = 12;
  return options;
}

// An episode of the task `hold`, as it shows itself.
struct HoldEpisode {
  HoldEpisode(tasks::Split split, int64_t number) {
    const auto environment = tasks::HoldOptions().make(1)->make_environment();
    float observation[3];
    environment->start(split, number, observation);
    sign = observation[0];
    tasks::Step step;
    for (const float action = 0; !step.ended(); ++steps) {
      step = environment->step({.numbers = &action}, observation);
    }
    truncated = step.truncated;
  }
  double sign;
  int64_t steps = 0;
  bool truncated;
};

// The task `hold` with images: its three numbers are the brightness of stripes of dots.
class ImageHold : public tasks::EnvironmentTask {
 public:
  int64_t observation_size() const override { return image_.bytes(); }
  const tasks::ImageSpec* image() const override { return &image_; }
  const tasks::ActionSpec& actions() const override { return hold_->actions(); }
  int64_t max_steps() const override { return hold_->max_steps(); }
  int64_t test_episodes() const override { return hold_->test_episodes(); }
  std::unique_ptr<tasks::Environment> make_environment() const override {
    return std::make_unique<Shown>(image_, hold_->make_environment());
  }

 private:
  class Shown : public tasks::ImageEnvironment {
   public:
    Shown(const tasks::ImageSpec& image, std::unique_ptr<tasks::Environment> hold)
        : ImageEnvironment(image), spec_(image), hold_(std::move(hold)) {}
    void start_image(tasks::Split split, int64_t episode, uint8_t* image) override {
      float numbers[3];
      hold_->start(split, episode, numbers);
      show(numbers, image);
    }
    tasks::Step step_image(const tasks::Action& action, uint8_t* image) override {
      float numbers[3];
      const tasks::Step step = hold_->step(action, numbers);
      if (image != nullptr) show(numbers, image);
      return step;
    }
    std::string save() const override { return hold_->save(); }
    void restore(std::string_view saved) override { hold_->restore(saved); }

   private:
    void show(const float* numbers, uint8_t* image) const {
      for (int64_t row = 0; row < spec_.height; ++row) {
        for (int64_t column = 0; column < spec_.width; ++column) {
          const float dot = static_cast<float>((7 * row + 3 * column) % 5) * 25.0f;
          const float value = numbers[std::min<int64_t>(row / 7, 2)];
          image[row * spec_.width + column] = static_cast<uint8_t>(128.0f + dot * value);
        }
      }
    }

    const tasks::ImageSpec spec_;
    const std::unique_ptr<tasks::Environment> hold_;
  };

  const std::unique_ptr<tasks::EnvironmentTask> hold_ = tasks::HoldOptions().make(1);
  const tasks::ImageSpec image_ = {.height = 24, .width = 20, .zero = 128, .unit = 128};
};

inline std::unique_ptr<nn::UnitOptions> options_of(const std::string& unit_name,
                                                   const std::vector<std::string>& settings) {
  auto options = nn::find_unit(unit_name, "test").options();
  base::Config config;
  config.tables["unit"] = {};
  for (const std::string& setting : settings) base::apply_setting(config, setting);
  base::assign(config, "unit", options->fields());
  return options;
}

// Makes the parameters so large that the policy and the fast weights matter.
inline std::shared_ptr<nn::Agent> strong(std::shared_ptr<nn::Agent> agent, torch::Dtype dtype) {
  agent->to(dtype);
  uint64_t index = 0;
  for (auto& parameter : agent->parameters()) nn::uniform_(parameter, -0.5, 0.5, 3, index++);
  return agent;
}

inline std::shared_ptr<nn::Agent> make_model(const tasks::EnvironmentTask& task,
                                             const std::string& unit_name,
                                             const std::vector<std::string>& settings,
                                             torch::Dtype dtype = torch::kDouble) {
  return strong(make_agent(task, *options_of(unit_name, settings)), dtype);
}

}  // namespace stpn::train
