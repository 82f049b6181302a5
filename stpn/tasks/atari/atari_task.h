// Games of the Atari 2600 on the Arcade Learning Environment 0.12.1. `pong` is one of them: a point
// is +1 or -1, and the game ends when a player has 21.
//
// An observation is one grey image of 84 x 84 bytes, no stack of them: an agent that needs speeds
// has to remember. An action is one of ALE's minimal set for the game, six for Pong. The reward is
// what the step adds to the score. Terminated when the game is over; a lost life is not an end.
//
// |                      | stpn                               | deepmind                     |
// | -------------------- | ---------------------------------- | ---------------------------- |
// | frames in a step     | 1                                  | 4                            |
// | start of an episode  | a new game                         | 1 to 30 frames of NOOP, then |
// |                      |                                    | a step of FIRE, if it exists |
// | image                | `channels` of screen.h             | `luma` of screen.h           |
// | byte b shows         | (b - 128) / 128                    | b / 255                      |
// | truncated after      | 400,000 frames                     | 108,000 frames               |
//
// | option                    | default  |                                                      |
// | ------------------------- | -------- | ---------------------------------------------------- |
// | mode                      | deepmind | the column above                                     |
// | game                      | pong     | of task `atari` only: ALE's name of the game         |
// | rom                       |          | a ROM file of the game; empty: the one of ALE        |
// | repeat_action_probability | 0        | that a frame repeats the last frame's action instead |
// | no_ops                    | -1       | the most frames of NOOP at the start; -1: the mode's |
// | max_frames                | 0        | the time limit, without the start; 0: the mode's     |
// | clip_rewards              | false    | only the sign of a reward counts                     |
// | test                      | 10       | episodes of the final test                           |
//
// `stpn` is how the published STPNs were trained (Garcia Rodriguez, Guo, Moraitis, ICML 2022),
// `deepmind` is what most others report (Mnih et al.: Human-level control through deep
// reinforcement learning, Nature 518, 2015). Differences from the usual wrappers: the number of
// no-ops is drawn from seed, split and episode; FIRE is pressed for one step, and no second action
// after it; lives do not end an episode; the frames of the start do not count for the time limit;
// and where a game ends within a step, its last observation still shows the last two frames. In
// `stpn` the mean of the three channels is rounded.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "stpn/tasks/task_registry.h"

namespace stpn::tasks {

struct AtariOptions : EnvironmentOptions {
  std::string mode = "deepmind";
  std::string game = "pong";
  std::string rom;
  double repeat_action_probability = 0;
  int64_t no_ops = -1;
  int64_t max_frames = 0;
  bool clip_rewards = false;
  int64_t test = 10;

  std::vector<base::Field> fields() override;
  // Throws base::UserError also for a game or a ROM that ALE does not know, and in a build without
  // ALE.
  std::unique_ptr<EnvironmentTask> make(uint64_t seed) const override;
};

struct PongOptions : AtariOptions {
  std::vector<base::Field> fields() override;  // without the game
};

}  // namespace stpn::tasks
