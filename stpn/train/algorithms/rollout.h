// A rollout: T steps of an agent in B environments, as a value that a trainer may read several
// times.
//
// An environment whose episode ends starts the next one, whose first observation is that of the
// next step. If the episode was truncated, a step without an action comes in between: its
// observation is the last one of the episode, so that the agent predicts the value of what would
// have come.
#pragma once

#include <torch/torch.h>

#include "stpn/nn/unit.h"

namespace stpn::train {

struct Rollout {
  torch::Tensor observation;  // (T, B, I), of the dtype of the model; of images uint8
  torch::Tensor reset;        // (T, B) bool: the first observation of an episode, but for step 0 of
                              // the first; undefined: no episode begins
  torch::Tensor action;       // (T, B) int64: choices; or (T, B, d), of the dtype of the model
  torch::Tensor acted;        // (T, B) bool: whether there was an action
  torch::Tensor reward;       // (T, B); 0 without an action
  torch::Tensor terminated;   // (T, B) bool: the action ended the episode
  torch::Tensor truncated;    // (T, B) bool: the episode was cut off after the action
  nn::State state;            // of the unit before step 0; empty: the initial one
  // What follows the last step, as above: (B, I) and (B), and the unit's state, if the rollout goes
  // on.
  torch::Tensor next_observation = {}, next_reset = {};
  nn::State next_state = {};
};

}  // namespace stpn::train
