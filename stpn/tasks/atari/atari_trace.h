// A played episode of an Atari game as JSON (docs/formats.md): for a film, and to play it again
// with another emulator.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "stpn/tasks/atari/emulator.h"
#include "stpn/tasks/environment.h"

namespace stpn::tasks {

// What an episode was played by.
struct AtariTraceHead {
  std::string game, mode;
  int64_t episode = 0;
  int64_t no_ops = 0;       // frames of NOOP before the first observation
  int64_t fire_frames = 0;  // then of FIRE
  int64_t frames_per_step = 1;
  double repeat_action_probability = 0;
  int64_t max_frames = 0;
  bool clip_rewards = false;
  float zero = 0, unit = 255;  // of an image's bytes
};

class AtariTrace {
 public:
  // `emulator` plays the episode, and must outlive the trace.
  explicit AtariTrace(const Emulator& emulator);
  ~AtariTrace();
  AtariTrace(const AtariTrace&) = delete;
  AtariTrace& operator=(const AtariTrace&) = delete;

  // The emulator's screen, and the observation made of it.
  void add_screen(const std::vector<uint8_t>& image);
  //   pressed  the action of each frame
  void add_step(int64_t action, const std::vector<int64_t>& pressed, const Step& step);

  int64_t steps() const;
  std::string text(const AtariTraceHead& head) const;

 private:
  struct Lists;
  const Emulator& emulator_;
  const std::unique_ptr<Lists> lists_;
};

}  // namespace stpn::tasks
