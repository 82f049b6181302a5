#include "stpn/tasks/atari/atari_trace.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "stpn/tasks/atari/base64.h"
#include "stpn/tasks/atari/run_length.h"

namespace stpn::tasks {
namespace {

using Json = nlohmann::ordered_json;

Json colours(const Palette& palette) {
  Json colours = Json::array();
  for (size_t k = 0; k < 256; ++k) {
    colours.push_back({palette.red[k], palette.green[k], palette.blue[k]});
  }
  return colours;
}

}  // namespace

struct AtariTrace::Lists {
  Json screens = Json::array(), observations = screens, actions = screens, pressed = screens,
       rewards = screens, terminated = screens, truncated = screens;
};

AtariTrace::AtariTrace(const Emulator& emulator)
    : emulator_(emulator), lists_(std::make_unique<Lists>()) {}

AtariTrace::~AtariTrace() = default;

void AtariTrace::add_screen(const std::vector<uint8_t>& image) {
  const auto pixels = static_cast<size_t>(emulator_.height() * Emulator::kWidth);
  lists_->screens.push_back(encode_base64(encode_runs(emulator_.screen(), pixels)));
  lists_->observations.push_back(encode_base64(encode_runs(image.data(), image.size())));
}

void AtariTrace::add_step(int64_t action, const std::vector<int64_t>& pressed, const Step& step) {
  lists_->actions.push_back(action);
  lists_->pressed.push_back(pressed);
  lists_->rewards.push_back(step.reward);
  lists_->terminated.push_back(step.terminated);
  lists_->truncated.push_back(step.truncated);
}

int64_t AtariTrace::steps() const { return static_cast<int64_t>(lists_->rewards.size()); }

std::string AtariTrace::text(const AtariTraceHead& head) const {
  return Json{{"task", "atari"},
              {"game", head.game},
              {"episode", head.episode},
              {"ale", emulator_version()},
              {"mode", head.mode},
              {"frames_per_step", head.frames_per_step},
              {"repeat_action_probability", head.repeat_action_probability},
              {"no_ops", head.no_ops},
              {"fire_frames", head.fire_frames},
              {"max_frames", head.max_frames},
              {"clip_rewards", head.clip_rewards},
              {"action_names", emulator_.actions()},
              {"height", emulator_.height()},
              {"width", Emulator::kWidth},
              {"palette", colours(emulator_.palette())},
              {"zero", head.zero},
              {"unit", head.unit},
              {"screens", lists_->screens},
              {"observations", lists_->observations},
              {"actions", lists_->actions},
              {"pressed", lists_->pressed},
              {"rewards", lists_->rewards},
              {"terminated", lists_->terminated},
              {"truncated", lists_->truncated}}
      .dump(-1, ' ', false, Json::error_handler_t::replace);
}

}  // namespace stpn::tasks
